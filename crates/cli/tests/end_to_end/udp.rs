//! UDP and ping sockets of programs: by Python scripts that run on the kernel too, which says they
//! are right, and by programs of the distribution, in both directions.

use crate::stage::{On, PATIENCE, Stage, eventually, installed, scripts, succeed};
use anyhow::{Context, Result, ensure};
use narrows_client::UdpSocket;
use narrows_testbed::{Process, as_root};
use std::{io::ErrorKind, net::SocketAddr, path::Path, process::Command};

/// A Python program that sends back whatever it gets, by itself or in its group.
const ECHO: &str = "\
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('0.0.0.0', int(sys.argv[2])))
membership = socket.inet_aton('239.77.7.7') + socket.inet_aton(sys.argv[1])
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
print('ready', flush=True)
while True:
    s.sendto(*s.recvfrom(65536))
";

fn serve_echo(stage: &Stage, on: On, port: u16, python: &Path) -> Result<Process> {
    let mut command = stage.command(on, python);
    command.args(["-c", ECHO, &on.address().to_string(), &port.to_string()]);
    stage.start(command, "ready")
}

fn script(name: &str, text: &str) -> Result<()> {
    let Some(python) = installed("python3")? else { return Ok(()) };
    let stage = Stage::new()?;
    for (client, server) in [(On::Kernel, On::Narrows), (On::Narrows, On::Kernel)] {
        let _server = serve_echo(&stage, server, 7000, &python)?;
        stage.script(client, &python, name, text, server.port(7000))?;
    }
    eventually("no socket is owned", || Ok(stage.owned_sockets()? == 0))
}

scripts! {
    script:
    udp_calls
    udp_names
    udp_options
    udp_errors
    ip_options
    udp_groups
    udp_segments
}

/// Both directions over the wire, and on one host.
const PAIRS: [(On, On); 3] =
    [(On::Narrows, On::Kernel), (On::Kernel, On::Narrows), (On::Narrows, On::Narrows)];

#[test]
fn dnsmasq_answers_dig() -> Result<()> {
    as_root(|| {
        let (Some(dnsmasq), Some(dig)) = (installed("dnsmasq")?, installed("dig")?) else {
            return Ok(());
        };
        let stage = Stage::new()?;
        for (port, (server, client)) in (5300..).zip(PAIRS) {
            let port = port.to_string();
            let mut command = stage.command(server, &dnsmasq);
            command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root"]);
            command.args(["--conf-file=/dev/null", "--pid-file=", "--port", &port]);
            command.args(["--address=/narrows.test/192.0.2.77"]);
            let _server = Process::spawn(&mut command)?;
            let server = format!("@{}", server.address());
            eventually("an answer", || {
                let mut command = stage.command(client, &dig);
                command.args([&server, "-p", &port, "narrows.test", "+short"]);
                command.args(["+tries=1", "+time=2"]);
                let output = Process::output(&mut command, PATIENCE)?;
                Ok(output.stdout == "192.0.2.77\n")
            })?;
        }
        Ok(())
    })
}

#[test]
fn chronyd_asks_chronyd_for_the_time() -> Result<()> {
    as_root(|| {
        let Some(chronyd) = installed("chronyd")? else { return Ok(()) };
        let stage = Stage::new()?;
        for (port, (server, client)) in (11123..).zip(PAIRS) {
            let run = |on: On, role: &str, words: &[&str]| {
                let pidfile = stage.directory().join(format!("{role}-{port}.pid"));
                let mut command = stage.command(on, &chronyd);
                command.args(words).args(["user root", "cmdport 0", "bindcmdaddress /"]);
                command.arg(format!("pidfile {}", pidfile.display()));
                command
            };
            let words = ["-x", "-d", "allow all", "local stratum 5", &format!("port {port}")];
            let _server = Process::spawn(&mut run(server, "server", &words))?;
            let source = format!("server {} port {port} iburst maxsamples 1", server.address());
            // It measures once, sets nothing, and says what it found.
            let output = succeed_with_stderr(run(client, "client", &["-Q", "-t", "30", &source]))?;
            ensure!(output.contains("System clock wrong by"), "{client:?}: {output}");
        }
        Ok(())
    })
}

/// Runs a program to its end, which has to be a success; what it wrote to stderr.
fn succeed_with_stderr(mut command: Command) -> Result<String> {
    let output = Process::output(&mut command, PATIENCE)?;
    ensure!(output.status.success(), "{command:?}: {}\n{}", output.status, output.stderr);
    Ok(output.stderr)
}

#[test]
fn iperf3_sends_datagrams_both_ways() -> Result<()> {
    as_root(|| {
        let Some(iperf3) = installed("iperf3")? else { return Ok(()) };
        let stage = Stage::new()?;
        for (port, (server, client)) in (5201..).zip(PAIRS) {
            let (ip, port) = (server.address().to_string(), port.to_string());
            for (direction, length) in [(&[][..], "1400"), (&["-R"], "1400"), (&[], "20000")] {
                let mut command = stage.command(server, &iperf3);
                command.args(["-s", "-1", "-B", &ip, "-p", &port, "--forceflush"]);
                let _server = stage.start(command, "Server listening")?;
                let mut command = stage.command(client, &iperf3);
                command.args(["-u", "-c", &ip, "-p", &port, "-b", "20M", "-t", "1", "-J"]);
                command.args(["-l", length]).args(direction);
                let output = succeed(command)?;
                let json: serde_json::Value = serde_json::from_str(&output)?;
                let sum = &json["end"]["sum"];
                let (packets, lost) = (sum["packets"].as_f64(), sum["lost_packets"].as_f64());
                let (packets, lost) = packets.zip(lost).with_context(|| output.clone())?;
                ensure!(
                    packets > 0.0 && lost < packets / 2.0,
                    "{client:?} to {server:?} {direction:?}: {lost} of {packets} lost"
                );
            }
        }
        Ok(())
    })
}

#[test]
fn ping_uses_a_ping_socket() -> Result<()> {
    as_root(|| {
        let Some(ping) = installed("ping")? else { return Ok(()) };
        let stage = Stage::new()?;
        for target in [On::Kernel, On::Narrows] {
            let mut command = stage.command(On::Narrows, &ping);
            let target = target.address().to_string();
            // Fragments both ways.
            command.args(["-n", "-c", "3", "-i", "0.2", "-s", "4000", "-W", "10", &target]);
            let output = succeed(command)?;
            ensure!(
                output.contains("3 received") && output.contains("4008 bytes from"),
                "{output}"
            );
        }
        let mut command = stage.command(On::Narrows, &ping);
        command.args(["-n", "-c", "2", "-i", "0.2", "-W", "10", "10.77.0.99"]);
        let output = Process::output(&mut command, PATIENCE)?;
        ensure!(output.stdout.contains("Destination Host Unreachable"), "{}", output.stdout);
        Ok(())
    })
}

#[test]
fn traceroute_is_answered() -> Result<()> {
    as_root(|| {
        let Some(traceroute) = installed("traceroute")? else { return Ok(()) };
        let stage = Stage::new()?;
        let target = On::Kernel.address().to_string();
        let mut command = stage.command(On::Narrows, &traceroute);
        command.args(["-n", "-q", "1", "-m", "3", "-w", "20", &target]);
        let output = succeed(command)?;
        let hops: Vec<&str> = output.lines().skip(1).collect();
        ensure!(hops.len() == 1 && hops[0].contains(&target), "{output}");
        Ok(())
    })
}

#[test]
fn rust_programs_have_udp_sockets() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let _server = serve_echo(&stage, On::Kernel, 7000, &python)?;
        let echo = SocketAddr::from(On::Kernel.port(7000));
        let socket = UdpSocket::bind(&stage.stack()?, On::Narrows.port(0).into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = [0; 9000];
        for length in [0, 1, 1472, 8000] {
            let data: Vec<u8> = (0..length).map(|index| index as u8).collect();
            ensure!(socket.send_to(&data, echo)? == length);
            ensure!(socket.peek_from(&mut buffer[..10])? == (length.min(10), echo));
            ensure!(socket.recv_from(&mut buffer)? == (length, echo));
            ensure!(buffer[..length] == data, "{length} bytes differ");
        }
        socket.connect(echo)?;
        ensure!(socket.peer_addr()? == echo && socket.local_addr()?.ip() == On::Narrows.address());
        ensure!(socket.send(b"hello")? == 5 && socket.recv(&mut buffer)? == 5);
        // Errors at once, and from the network.
        let refusal = |to: &str| socket.send_to(b"x", to.parse().expect("an address")).err();
        let kind = |error: Option<std::io::Error>| error.map(|error| error.kind());
        ensure!(kind(refusal("192.0.2.1:9")) == Some(ErrorKind::NetworkUnreachable));
        ensure!(kind(refusal("10.77.0.255:9")) == Some(ErrorKind::PermissionDenied));
        socket.set_broadcast(true)?;
        ensure!(refusal("10.77.0.255:9").is_none());
        socket.connect(On::Kernel.port(9).into())?;
        socket.send(b"refused")?;
        let told = socket.recv(&mut buffer).err();
        ensure!(kind(told) == Some(ErrorKind::ConnectionRefused));
        socket.disconnect()?;
        socket.set_nonblocking(true)?;
        ensure!(kind(socket.recv(&mut buffer).err()) == Some(ErrorKind::WouldBlock));
        Ok(())
    })
}

#[test]
fn ss_shows_udp_sockets_as_ss_does() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let _server = serve_echo(&stage, On::Narrows, 7000, &python)?;
        let connected = "\
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], 7001))
print('ready', flush=True)
sys.stdin.read()
";
        let mut command = stage.command(On::Narrows, &python);
        command.args(["-c", connected, &On::Kernel.address().to_string()]);
        let _client = stage.start(command, "ready")?;
        for (words, rows) in [
            (["ss", "-uanH"], vec![("UNCONN", "0.0.0.0:7000"), ("ESTAB", "10.77.0.1:7001")]),
            (["ss", "-unH"], vec![("ESTAB", "10.77.0.1:7001")]),
            (["ss", "-ulnH"], vec![("UNCONN", "0.0.0.0:7000")]),
            (["ss", "-tanH"], vec![]),
        ] {
            let output = stage.ask(&words)?;
            let lines: Vec<&str> = output.stdout.lines().collect();
            ensure!(lines.len() == rows.len(), "{words:?}:\n{}", output.stdout);
            for (state, address) in rows {
                let shown = |line: &str| line.starts_with(state) && line.contains(address);
                ensure!(lines.iter().any(|line| shown(line)), "{words:?}:\n{}", output.stdout);
            }
        }
        Ok(())
    })
}
