//! What a user may take of the daemon, and what his bill says.

use crate::stage::{NARROWS, On, Stage, succeed};
use anyhow::{Result, ensure};
use narrows_testbed::{Daemon, Network, as_root};
use serde_json::Value;
use std::{fs, path::Path};

const WIRE: &str =
    "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\naddress = [\"10.77.0.2/24\"]\n";

fn stage(quota: &str) -> Result<Stage> {
    let network = Network::new()?;
    let text = format!("{WIRE}[quota]\n{quota}\n");
    let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &text)?;
    Ok(Stage { daemon, network })
}

fn python(stage: &Stage, script: &str) -> Result<()> {
    let mut command = stage.command(On::Narrows, "python3");
    command.args(["-c", script]);
    succeed(command).map(drop)
}

fn bill(stage: &Stage) -> Result<Value> {
    let output = stage.ask(&["stat", "--by", "user", "--json"])?;
    ensure!(output.status.success(), "{}", output.stderr);
    let bills: Value = serde_json::from_str(&output.stdout)?;
    Ok(bills[0].clone())
}

#[test]
fn sockets_beyond_the_quota_are_refused_and_let_go_ones_come_back() -> Result<()> {
    const SCRIPT: &str = "
import errno, socket
for _ in range(2):
    held = []
    try:
        while len(held) < 10: held.append(socket.socket())
    except OSError as error:
        assert error.errno == errno.ENOBUFS, error
    assert len(held) == 4, len(held)
    del held
";
    as_root(|| {
        let stage = stage("sockets = 4")?;
        python(&stage, SCRIPT)?;
        let bill = bill(&stage)?;
        ensure!(bill["refused"] == 2 && bill["user"] == 0, "{bill}");
        // More from now on.
        let file = stage.directory().join("narrows.toml");
        fs::write(&file, format!("{WIRE}[[quota.user]]\nname = 0\nsockets = 20\n"))?;
        let output = stage.ask(&["reload"])?;
        ensure!(output.stdout == "quotas changed\n", "{output:?}");
        python(&stage, "import socket\nheld = [socket.socket() for _ in range(20)]")
    })
}

#[test]
fn connections_beyond_the_quota_wait_for_the_next_second() -> Result<()> {
    const SCRIPT: &str = "
import errno, socket
results = set()
for _ in range(20):
    s = socket.socket()
    s.setblocking(False)
    results.add(s.connect_ex(('10.77.0.1', 9)))
assert results == {errno.EINPROGRESS, errno.EAGAIN}, results
";
    as_root(|| {
        let stage = stage("connections_per_second = 3")?;
        python(&stage, SCRIPT)?;
        ensure!(bill(&stage)?["refused"].as_u64() >= Some(10), "{}", bill(&stage)?);
        Ok(())
    })
}

#[test]
fn a_bill_has_the_bytes_that_were_moved() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let _server = stage.serve_echo(On::Kernel, 7000)?;
        succeed(stage.peer(On::Narrows, &["pingpong", "--count", "100", "10.77.0.1:7000"]))?;
        let bill = bill(&stage)?;
        for name in ["bytes_to_programs", "bytes_from_programs", "cpu_us", "requests"] {
            ensure!(bill[name].as_u64() >= Some(100) || name == "requests", "{name}: {bill}");
        }
        let shown = stage.ask(&["stat", "--by", "user"])?.stdout;
        ensure!(shown.starts_with("user sessions sockets queued cpu-ms "), "{shown}");
        Ok(())
    })
}
