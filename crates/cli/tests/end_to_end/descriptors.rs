//! What programs do with descriptors, by Python scripts that do it against Narrows' sockets and
//! assert what the kernel's would do. The scripts run on the kernel too, so they are right.

use crate::stage::{On, PATIENCE, Stage, eventually, installed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Process, as_root};

fn script(name: &str, text: &str) -> Result<()> {
    let Some(python) = installed("python3")? else { return Ok(()) };
    let stage = Stage::new()?;
    let _server = stage.serve_echo(On::Kernel, 7000)?;
    for on in [On::Kernel, On::Narrows] {
        let mut command = stage.command(on, &python);
        // Own address, the address of an echo server.
        command.args(["-c", text]).arg(on.address().to_string());
        command.arg(On::Kernel.port(7000).to_string());
        let output =
            Process::output(&mut command, PATIENCE).with_context(|| format!("{name} on {on:?}"))?;
        ensure!(output.status.success(), "{name} on {on:?}:\n{}{}", output.stdout, output.stderr);
    }
    eventually("no socket is owned", || Ok(stage.owned_sockets()? == 0))
}

macro_rules! scripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            as_root(|| {
                script(
                    stringify!($name),
                    include_str!(concat!("scripts/", stringify!($name), ".py")),
                )
            })
        }
    )*};
}

scripts! {
    fork_and_accept
    exec_and_dup
    epoll_mixed
    nonblocking_connect
    options
    half_close
    threads_accept
    passing_descriptors
    names_and_families
}
