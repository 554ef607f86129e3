//! The testbed by itself: kernel to kernel over its wire, as root or not.

use anyhow::{Context, Result, ensure};
use narrows_testbed::{
    Namespace, Network, Process, as_root,
    peer::{Pattern, report},
    ping, wait_for_listener,
};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddrV4},
    process::{Command, Stdio},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(20);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Network::KERNEL_ADDRESS, 7000);

fn peer(namespace: &Namespace, arguments: &str) -> Command {
    let mut command = namespace.command(env!("CARGO_BIN_EXE_narrows-peer"));
    command.args(arguments.split_whitespace());
    command
}

/// Starts a server and waits until it says that it listens.
fn serve(namespace: &Namespace, arguments: &str) -> Result<Process> {
    let mut server = Process::spawn(peer(namespace, arguments).stdout(Stdio::piped()))?;
    let mut line = String::new();
    BufReader::new(server.stdout().context("stdout")?).read_line(&mut line)?;
    ensure!(line == format!("listening {SERVER}\n"), "the server said {line:?}");
    Ok(server)
}

fn run(namespace: &Namespace, arguments: &str) -> Result<String> {
    let output = Process::output(&mut peer(namespace, arguments), PATIENCE)?;
    ensure!(output.status.success(), "{arguments}: {}", output.stderr);
    Ok(output.stdout)
}

fn network() -> Result<Network> {
    let network = Network::new()?;
    network.address_narrows_end()?;
    Ok(network)
}

#[test]
fn both_ends_answer_pings() -> Result<()> {
    as_root(|| {
        let network = network()?;
        ensure!(ping(&network.narrows, Network::KERNEL_ADDRESS, 3)?.len() == 3);
        ensure!(ping(&network.kernel, Network::KERNEL_ADDRESS_AT_NARROWS, 2)?.len() == 2);
        ensure!(ping(&network.kernel, Ipv4Addr::LOCALHOST, 1)?.len() == 1);
        Ok(())
    })
}

#[test]
fn nobody_answers_for_narrows() -> Result<()> {
    as_root(|| {
        let network = network()?;
        let error = ping(&network.kernel, Network::NARROWS_ADDRESS, 1).expect_err("no daemon");
        let message = format!("{error:#}");
        ensure!(message.contains("10.77.0.2"), "{message}");
        Ok(())
    })
}

#[test]
fn http_carries_every_byte() -> Result<()> {
    as_root(|| {
        let network = network()?;
        let _server = serve(&network.kernel, &format!("http-server --size 5 --listen {SERVER}"))?;
        for (path, size) in [("3000001", 3_000_001), ("", 5), ("0", 0)] {
            let url = format!("http-client http://{SERVER}/{path} --sha256 --progress");
            let fetch: report::Fetch = report::read(&run(&network.narrows, &url)?)?;
            ensure!(fetch.bytes == size);
            ensure!(fetch.sha256 == Some(Pattern::shared().sha256(size)));
        }
        Ok(())
    })
}

#[test]
fn http_serves_files_of_one_folder_only() -> Result<()> {
    as_root(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        let network = network()?;
        let _server = serve(&network.kernel, &format!("http-server {folder} --listen {SERVER}"))?;
        let url = format!("http-client http://{SERVER}/lib.rs");
        let fetch: report::Fetch = report::read(&run(&network.narrows, &url)?)?;
        ensure!(fetch.bytes == fs::metadata(format!("{folder}/lib.rs"))?.len());
        for path in ["../Cargo.toml", "/etc/passwd", "nothing", "", "peer"] {
            let url = format!("http-client http://{SERVER}/{path}");
            let error = run(&network.narrows, &url).expect_err(path);
            ensure!(error.to_string().contains("404"), "{path}: {error}");
        }
        Ok(())
    })
}

#[test]
fn an_echo_server_stands_a_storm_and_a_crowd() -> Result<()> {
    as_root(|| {
        let network = network()?;
        let _server = serve(&network.kernel, &format!("echo-server --listen {SERVER}"))?;
        let storm = run(&network.narrows, &format!("storm {SERVER} --connections 300"))?;
        ensure!(report::read::<report::Connections>(&storm)?.connections == 300);
        let times = run(&network.narrows, &format!("pingpong {SERVER} --count 100"))?;
        let times: report::RoundTrips = report::read(&times)?;
        ensure!(times.count == 100 && times.p50 <= times.p99 && times.p99 <= times.max);
        let crowd = run(&network.narrows, &format!("hold {SERVER} --connections 200"))?;
        ensure!(crowd.starts_with("holding 200\n"), "{crowd}");
        ensure!(report::read::<report::Connections>(&crowd)?.connections == 200);
        Ok(())
    })
}

#[test]
fn bulk_streams_are_counted_and_compared() -> Result<()> {
    as_root(|| {
        let network = network()?;
        let receive = format!("bulk-receive --listen {SERVER} --streams 3 --verify");
        let mut receiver = Process::spawn(peer(&network.kernel, &receive).stdout(Stdio::piped()))?;
        let mut lines = BufReader::new(receiver.stdout().context("stdout")?).lines();
        lines.next().context("listening")??;
        let send = format!("bulk-send {SERVER} --bytes 2000000 --streams 3");
        let sent: report::Bulk = report::read(&run(&network.narrows, &send)?)?;
        let received: report::Bulk = report::read(&lines.next().context("report")??)?;
        ensure!((sent.bytes, received.bytes) == (6_000_000, 6_000_000));
        ensure!(receiver.wait(PATIENCE)?.success());
        Ok(())
    })
}

#[test]
fn listeners_are_waited_for() -> Result<()> {
    as_root(|| {
        let network = network()?;
        let short = Duration::from_millis(50);
        ensure!(wait_for_listener(&network.narrows, SERVER, short).is_err());
        let mut server =
            Process::spawn(&mut peer(&network.kernel, &format!("echo-server --listen {SERVER}")))?;
        wait_for_listener(&network.narrows, SERVER, PATIENCE)?;
        ensure!(server.try_wait()?.is_none());
        ensure!(!server.terminate(PATIENCE)?.success());
        ensure!(server.try_wait()?.is_some());
        ensure!(wait_for_listener(&network.narrows, SERVER, short).is_err());
        Ok(())
    })
}

#[test]
fn a_group_goes_with_its_program() -> Result<()> {
    as_root(|| {
        let namespace = Namespace::new()?;
        let mut shell = namespace.command("sh");
        let script = "sleep 60 & echo $!; wait";
        let mut shell = Process::spawn(shell.args(["-c", script]).stdout(Stdio::piped()))?;
        let mut lines = BufReader::new(shell.stdout().context("stdout")?).lines();
        let sleeper: u32 = lines.next().context("a process number")??.parse()?;
        ensure!(fs::exists(format!("/proc/{sleeper}"))?);
        drop(shell);
        ensure!(lines.next().is_none(), "the pipe's last writer is gone");
        Ok(())
    })
}

#[test]
fn a_program_that_hangs_is_given_up() -> Result<()> {
    as_root(|| {
        let namespace = Namespace::new()?;
        let mut command = namespace.command("sh");
        command.args(["-c", "echo begun; sleep 60"]);
        let error = Process::output(&mut command, Duration::from_millis(200)).expect_err("hangs");
        let message = format!("{error:#}");
        ensure!(message.contains("still runs") && message.contains("begun"), "{message}");
        Ok(())
    })
}
