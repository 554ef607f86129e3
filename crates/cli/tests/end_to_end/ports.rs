//! Sharing ports: every way in which two sockets may come to share one, on the kernel and on Narrows; and
//! what a member of a group leaves to the others.

use crate::{
    isolation::has_users,
    stage::{On, PATIENCE, Stage, installed},
};
use anyhow::{Result, ensure};
use narrows_testbed::{Process, as_root};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const EVERY_WAY: &str = include_str!("scripts/sharing_ports.py");

const THROUGH_THE_ENGINE: &str = r#"
[[interface]]
name = "wire"
device = "packet:nw0"
address = ["10.77.0.2/24"]

[local]
cut_through = false
"#;

fn answers(stage: &Stage, on: On, python: &Path) -> Result<Vec<String>> {
    let mut command = stage.command(on, python);
    command.args(["-c", EVERY_WAY, "127.0.0.1", &on.address().to_string()]);
    let output = Process::output(&mut command, PATIENCE)?;
    ensure!(output.status.success(), "on {on:?}:\n{}", output.stderr);
    Ok(output.stdout.lines().map(str::to_owned).collect())
}

#[test]
fn ports_are_shared_as_on_the_kernel() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        if !has_users() {
            eprintln!("there is only one user in this namespace: left out");
            return Ok(());
        }
        // Who closes first waits, also where both ends are here.
        let stage = Stage::with(THROUGH_THE_ENGINE)?;
        // Other users have to reach the daemon's socket.
        fs::set_permissions(stage.directory(), fs::Permissions::from_mode(0o755))?;
        let mut lo = stage.network.kernel.command("ip");
        Process::output(lo.args(["link", "set", "lo", "up"]), PATIENCE)?;
        let kernel = answers(&stage, On::Kernel, &python)?;
        let narrows = answers(&stage, On::Narrows, &python)?;
        ensure!(kernel.len() == narrows.len() && kernel.len() >= 800, "{} cases", kernel.len());
        let differ = kernel.iter().zip(&narrows).filter(|(kernel, narrows)| kernel != narrows);
        let differ: Vec<_> =
            differ.map(|(kernel, narrows)| format!("{kernel}, here {narrows}")).collect();
        ensure!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
        Ok(())
    })
}

/// One of two that share a port is killed; the other serves all who had connected. On Linux that is a
/// setting (`tcp_migrate_req`).
const LEFT_BEHIND: &str = "
import os, signal, socket, sys
def member():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((sys.argv[1], 7000))
    listener.listen(100)
    return listener
reading, writing = os.pipe()
other = os.fork()
if other == 0:
    kept = member()
    os.write(writing, b'x')
    signal.pause()
os.read(reading, 1)
listener = member()
clients = [socket.create_connection((sys.argv[1], 7000)) for _ in range(40)]
for number, client in enumerate(clients):
    client.sendall(bytes([number]))
os.kill(other, signal.SIGKILL)
os.waitpid(other, 0)
listener.settimeout(30)
servers = [listener.accept()[0] for _ in clients]
print(sorted(server.recv(1)[0] for server in servers) == list(range(40)))
";

#[test]
fn who_connected_to_a_member_that_is_killed_is_served_by_another() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        for stage in [Stage::new()?, Stage::with(THROUGH_THE_ENGINE)?] {
            let mut command = stage.command(On::Narrows, &python);
            command.args(["-c", LEFT_BEHIND, &On::Narrows.address().to_string()]);
            let output = Process::output(&mut command, PATIENCE)?;
            ensure!(output.stdout == "True\n", "{output:?}");
        }
        Ok(())
    })
}
