//! What a user may take of the daemon, and what his bill says.

use crate::stage::{NARROWS, On, PATIENCE, Stage, eventually, succeed};
use anyhow::{Result, ensure};
use narrows_testbed::{Daemon, Network, Process, as_root};
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
        ensure!(shown.starts_with("user sessions sockets queued memory cpu-ms "), "{shown}");
        Ok(())
    })
}

#[test]
fn frames_beyond_the_quota_wait_for_the_next_second() -> Result<()> {
    const SCRIPT: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setblocking(False)
sent = 0
try:
    while sent < 100000:
        s.sendto(b'x' * 1000, ('10.77.0.1', 9))
        sent += 1
except BlockingIOError:
    pass
assert sent < 100000, sent
";
    as_root(|| {
        let stage = stage("frames_per_second = 20")?;
        python(&stage, SCRIPT)?;
        let counted = stage.ask(&["stat", "-j"])?.stdout;
        let counted: Value = serde_json::from_str(&counted)?;
        ensure!(bill(&stage)?["refused"].as_u64() >= Some(1), "{}", bill(&stage)?);
        let log = stage.daemon.log();
        ensure!(log.contains("no more than 20 frames in a second"), "{log}");
        // What the socket held when its program ended went out, and no more of it at once.
        ensure!(counted["counters"]["frames-sent"].as_u64() < Some(2000), "{counted}");
        Ok(())
    })
}

#[test]
fn a_group_s_quota_is_each_member_s() -> Result<()> {
    const SCRIPT: &str = "
import errno, os, socket
os.setgroups([4750]); os.setgid(4700); os.setuid(4700)
listener = socket.socket()
listener.bind(('10.77.0.2', 0))
listener.listen(100)
held = []
try:
    while len(held) < 10: held.append(socket.socket())
except OSError as error:
    assert error.errno == errno.ENOBUFS, error
assert len(held) == 3, len(held)
";
    as_root(|| {
        let network = Network::new()?;
        let text = format!("{WIRE}[[quota.group]]\nname = 4750\nsockets = 4\nbacklog = 2\n");
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &text)?;
        let stage = Stage { daemon, network };
        python(&stage, SCRIPT)?;
        python(&stage, "import socket\nheld = [socket.socket() for _ in range(10)]")
    })
}

#[test]
fn half_open_connections_beyond_the_quota_are_dropped_and_counted() -> Result<()> {
    const LISTENER: &str = "
import socket, sys
s = socket.socket(); s.bind(('10.77.0.2', 8000)); s.listen(100)
print('listening', flush=True)
sys.stdin.read()
";
    as_root(|| {
        let stage = stage("half_open = 3\n[tcp]\nsyncookies = 0")?;
        let mut command = stage.command(On::Narrows, "python3");
        command.args(["-c", LISTENER]);
        let _listener = stage.start(command, "listening")?;
        // From an address that nobody has, so that no handshake is ever done.
        let mut flood = stage.command(On::Kernel, "hping3");
        let options = "-S -p 8000 -a 10.77.0.99 -c 50 -i u2000 10.77.0.2";
        flood.args(options.split(' '));
        // It is unhappy without answers.
        let _ended = Process::output(&mut flood, PATIENCE)?;
        let counted = stage.ask(&["stat", "-j"])?.stdout;
        let counted: Value = serde_json::from_str(&counted)?;
        ensure!(counted["drops"]["syn-share-full"]["count"] == 47, "{}", counted["drops"]);
        let log = stage.daemon.log();
        ensure!(log.matches("no more half-open connections").count() == 1, "{log}");
        Ok(())
    })
}

/// A program that reads nothing of what comes in many connections pays with its windows, and a good
/// neighbor's transfer is whole.
#[test]
fn who_holds_most_memory_pays_when_it_is_short() -> Result<()> {
    const HOARD: &str = "
import os, socket, sys
os.setuid(4700)
s = socket.socket(); s.bind(('10.77.0.2', 8000)); s.listen(200)
print('listening', flush=True)
held = [s.accept()[0] for _ in range(64)]
sys.stdin.read()
";
    const SEND: &str = "
import socket, sys, time
held = []
for _ in range(64):
    s = socket.create_connection(('10.77.0.2', 8000))
    s.setblocking(False)
    held.append(s)
print('sending', flush=True)
while True:
    for s in held:
        try: s.send(b'x' * 65536)
        except (BlockingIOError, ConnectionError): pass
    time.sleep(0.02)
";
    as_root(|| {
        let stage = stage("all_buffer_bytes = 2000000")?;
        let mut hoard = stage.command(On::Narrows, "python3");
        hoard.args(["-c", HOARD]);
        let _hoard = stage.start(hoard, "listening")?;
        let mut send = stage.command(On::Kernel, "python3");
        send.args(["-c", SEND]);
        let _send = stage.start(send, "sending")?;
        for said in ["they grow no more user=4700", "his largest connection is reset"] {
            eventually(said, || Ok(stage.daemon.log().contains(said)))?;
        }
        eventually("what he holds fits", || {
            let bills = stage.ask(&["stat", "--by", "user", "-j"])?.stdout;
            let bills: Value = serde_json::from_str(&bills)?;
            let his = bills.as_array().into_iter().flatten().find(|bill| bill["user"] == 4700);
            Ok(his.and_then(|bill| bill["memory_bytes"].as_u64()) <= Some(2_000_000))
        })?;
        let _server = stage.serve_echo(On::Kernel, 7000)?;
        succeed(stage.peer(On::Narrows, &["pingpong", "--count", "50", "10.77.0.1:7000"]))?;
        Ok(())
    })
}

#[test]
fn a_bill_has_what_was_dropped_for_want_of_reading() -> Result<()> {
    const RECEIVER: &str = "
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.77.0.2', 9000))
print('bound', flush=True)
sys.stdin.read()
";
    const SENDER: &str = "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(3000): s.sendto(b'x' * 1400, ('10.77.0.2', 9000))
";
    as_root(|| {
        let stage = Stage::new()?;
        let mut receiver = stage.command(On::Narrows, "python3");
        receiver.args(["-c", RECEIVER]);
        let _receiver = stage.start(receiver, "bound")?;
        let mut sender = stage.command(On::Kernel, "python3");
        sender.args(["-c", SENDER]);
        succeed(sender)?;
        let bill = bill(&stage)?;
        ensure!(bill["drops"].as_u64() >= Some(1), "{bill}");
        ensure!(bill["memory_bytes"].as_u64() >= Some(100_000), "{bill}");
        Ok(())
    })
}
