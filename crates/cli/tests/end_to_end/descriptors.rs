//! What programs do with descriptors, by Python scripts that do it against Narrows' sockets and
//! assert what the kernel's would do. The scripts run on the kernel too, so they are right.

use crate::stage::{On, Stage, eventually, installed, scripts};
use anyhow::Result;

fn script(name: &str, text: &str) -> Result<()> {
    let Some(python) = installed("python3")? else { return Ok(()) };
    let stage = Stage::new()?;
    let _server = stage.serve_echo(On::Kernel, 7000)?;
    for on in [On::Kernel, On::Narrows] {
        stage.script(on, &python, name, text, On::Kernel.port(7000))?;
    }
    eventually("no socket is owned", || Ok(stage.owned_sockets()? == 0))
}

scripts! {
    script:
    fork_and_accept
    exec_and_dup
    epoll_mixed
    nonblocking_connect
    options
    half_close
    threads_accept
    passing_descriptors
    names_and_families
    fast_open
    tcp_info
}
