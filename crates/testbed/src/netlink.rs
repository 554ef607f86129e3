//! What the testbed asks of rtnetlink, in the calling thread's namespace.

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use rtnetlink::{
    Handle, LinkUnspec, LinkVeth,
    packet_route::link::{LinkAttribute, LinkMessage, State},
};
use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd},
    thread,
    time::{Duration, Instant},
};

/// How long a link may take to become operational.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(1);

pub struct Links {
    handle: Handle,
}

/// Runs `work` with a connection to the kernel's links.
pub fn run<T>(work: impl AsyncFnOnce(Links) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("opening rtnetlink")?;
        let connection = tokio::spawn(connection);
        let result = work(Links { handle }).await;
        connection.abort();
        result
    })
}

impl Links {
    pub async fn set_up(&self, name: &str) -> Result<()> {
        let message = LinkUnspec::new_with_name(name).up().build();
        Ok(self.handle.link().set(message).execute().await?)
    }

    /// A pair of Ethernet interfaces joined by a wire.
    pub async fn add_veth(&self, name: &str, peer: &str) -> Result<()> {
        Ok(self.handle.link().add(LinkVeth::new(name, peer).build()).execute().await?)
    }

    pub async fn move_to(&self, name: &str, namespace: BorrowedFd<'_>) -> Result<()> {
        let message = LinkUnspec::new_with_name(name).setns_by_fd(namespace.as_raw_fd()).build();
        Ok(self.handle.link().set(message).execute().await?)
    }

    /// Waits until frames can cross the link. Setting both ends of a veth pair up only starts that; a
    /// frame sent before is lost.
    pub async fn wait_until_operational(&self, name: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_operational(name).await? {
            ensure!(Instant::now() < deadline, "interface {name} does not become operational");
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    async fn is_operational(&self, name: &str) -> Result<bool> {
        let up = LinkAttribute::OperState(State::Up);
        Ok(self.get(name).await?.attributes.contains(&up))
    }

    pub async fn add_address(&self, name: &str, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let index = self.index(name).await?;
        Ok(self.handle.address().add(index, address.into(), prefix).execute().await?)
    }

    async fn index(&self, name: &str) -> Result<u32> {
        Ok(self.get(name).await?.header.index)
    }

    async fn get(&self, name: &str) -> Result<LinkMessage> {
        let link = self.handle.link().get().match_name(name).execute().try_next().await?;
        link.with_context(|| format!("no interface {name}"))
    }
}
