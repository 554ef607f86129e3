//! Word of changes of the kernel's interfaces.

use crate::common::PATIENCE;
use anyhow::{Context, Result, ensure};
use narrows_device::{Monitor, link};
use narrows_testbed::{Network, as_root};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn told(monitor: &Monitor) -> Result<bool> {
    let timeout = Timespec { tv_sec: PATIENCE.as_secs().try_into()?, tv_nsec: 0 };
    let mut descriptors = [PollFd::new(monitor, PollFlags::IN)];
    Ok(poll(&mut descriptors, Some(&timeout))? > 0 && monitor.drain())
}

#[test]
fn a_wire_that_is_cut_at_the_other_end_is_seen() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let near = || link::find(Network::NARROWS_INTERFACE)?.context("no interface");
        let (monitor, before) =
            network.narrows.run(|| -> Result<_> { Ok((Monitor::open()?, near()?)) })??;
        ensure!(before.up && before.carrier);
        ensure!(!monitor.drain());
        network.kernel.run(|| set_down(Network::KERNEL_INTERFACE))??;
        loop {
            ensure!(told(&monitor)?, "no word of it");
            let after = network.narrows.run(near)??;
            if !after.carrier {
                ensure!(after.up, "it is the other end that is down");
                return Ok(());
            }
        }
    })
}

fn set_down(name: &str) -> Result<()> {
    let index = link::find(name)?.context("no interface")?.index;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let down = rtnetlink::LinkUnspec::new_with_index(index).down().build();
        Ok(handle.link().set(down).execute().await?)
    })
}
