//! Narrows as a router between hosts of the kernel, and as a host with several gateways.

mod differential;

use crate::stage::{NARROWS, PATIENCE, eventually, installed, succeed};
use anyhow::{Context, Result, ensure};
use narrows_client::{Stack, TcpStream};
use narrows_testbed::{Daemon, Namespace, Process, as_root, join};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket},
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

fn ip(namespace: &Namespace, words: &str) -> Result<String> {
    let mut command = namespace.command("ip");
    command.args(words.split_whitespace());
    succeed(command)
}

/// `narrows WORDS`, to this daemon.
fn narrows(daemon: &Daemon, namespace: &Namespace, words: &str) -> Result<String> {
    let output = daemon.ask(namespace, words.split_whitespace())?;
    ensure!(output.status.success(), "narrows {words}: {output:?}");
    Ok(output.stdout)
}

/// A router with three interfaces, and a host of the kernel's behind each: 10.1.0.1 to 10.3.0.1, with
/// the router at .254.
struct Router {
    daemon: Daemon,
    namespace: Namespace,
    hosts: [Namespace; 3],
}

fn host(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, number as u8 + 1, 0, 1)
}

impl Router {
    /// `mtus`: of the router's ends of the wires. The hosts think of 1500.
    fn new(mtus: [u16; 3]) -> Result<Self> {
        let namespace = Namespace::new()?;
        let hosts = [Namespace::new()?, Namespace::new()?, Namespace::new()?];
        let mut configuration = String::new();
        for (number, (own, mtu)) in hosts.iter().zip(mtus).enumerate() {
            let name = format!("w{number}");
            join((&namespace, &name), (own, "e0"))?;
            ip(&namespace, &format!("link set {name} mtu {mtu}"))?;
            ip(own, &format!("addr add {}/24 dev e0", host(number)))?;
            ip(own, &format!("route add default via 10.{}.0.254", number + 1))?;
            configuration += &format!(
                "[[interface]]\nname = \"{name}\"\ndevice = \"packet:{name}\"\n\
                 address = [\"10.{}.0.254/24\"]\nforward = true\n",
                number + 1
            );
        }
        let daemon = Daemon::start_with(&namespace, Path::new(NARROWS), &configuration)?;
        Ok(Self { daemon, namespace, hosts })
    }

    /// Carries bytes from one host to another over TCP, and checks them.
    fn transfer(&self, from: usize, to: usize, bytes: u64) -> Result<()> {
        let address = SocketAddrV4::new(host(to), 9000).to_string();
        let mut receive = self.hosts[to].command(NARROWS);
        receive.args(["peer", "bulk-receive", "--streams", "1", "--verify", "--listen", &address]);
        let mut receive = Process::spawn(receive.stdin(Stdio::null()).stdout(Stdio::null()))?;
        wait_for_listening(&self.hosts[to], 9000)?;
        let mut send = self.hosts[from].command(NARROWS);
        send.args(["peer", "bulk-send", &address, "--bytes", &bytes.to_string()]);
        succeed(send)?;
        let status = receive.wait(PATIENCE)?;
        ensure!(status.success(), "the receiver: {status}");
        Ok(())
    }

    /// Sends a datagram from one host to another, which sends it back.
    fn echo(&self, from: usize, to: usize, len: usize) -> Result<()> {
        let bind = |number: usize| -> Result<UdpSocket> {
            // A port of its own each time: a process that another test forks at this moment may hold a
            // copy of the last socket for a while.
            let socket = self.hosts[number].run(|| UdpSocket::bind((host(number), 0)))??;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let (client, server) = (bind(from)?, bind(to)?);
        let sent: Vec<u8> = (0..len).map(|index| (index * 7) as u8).collect();
        let mut buffer = vec![0; 65_536];
        client.send_to(&sent, server.local_addr()?)?;
        let (received, peer) = server.recv_from(&mut buffer).context("the way there")?;
        ensure!(buffer.get(..received) == Some(&sent[..]), "{received} of {len} bytes");
        server.send_to(&sent, peer)?;
        let received = client.recv(&mut buffer).context("the way back")?;
        ensure!(buffer.get(..received) == Some(&sent[..]), "{received} of {len} bytes");
        Ok(())
    }
}

/// Waits until somebody listens, without connecting: the receiver takes one connection only.
fn wait_for_listening(namespace: &Namespace, port: u16) -> Result<()> {
    eventually("the receiver listens", || {
        let mut ss = namespace.command("ss");
        ss.args(["-Hltn", &format!("sport = :{port}")]);
        Ok(!succeed(ss)?.is_empty())
    })
}

#[test]
fn packets_pass_between_hosts_of_the_kernel() -> Result<()> {
    as_root(|| {
        let router = Router::new([1500; 3])?;
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            router.transfer(from, to, 20_000_000)?;
            // Whole, and in six fragments.
            for len in [1, 1400, 8000] {
                router.echo(from, to, len)?;
            }
        }
        // The router's address on the far side.
        let mut ping = router.hosts[0].command("ping");
        ping.args(["-c", "1", "-W", "10", "10.3.0.254"]);
        succeed(ping)?;
        let stat = narrows(&router.daemon, &router.namespace, "stat -j")?;
        let stat: serde_json::Value = serde_json::from_str(&stat)?;
        ensure!(stat["counters"]["packets-forwarded"].as_u64() > Some(100), "{stat}");
        Ok(())
    })
}

#[test]
fn a_router_is_seen_and_says_what_it_can_not_do() -> Result<()> {
    as_root(|| {
        let router = Router::new([1500; 3])?;
        for words in ["prohibit 198.51.100.0/24", "unreachable 203.0.113.0/24"] {
            narrows(&router.daemon, &router.namespace, &format!("route add {words}"))?;
        }
        for (destination, answer) in [
            ("192.0.2.1", "Destination Net Unreachable"),
            ("198.51.100.1", "Packet filtered"),
            ("203.0.113.1", "Destination Host Unreachable"),
            ("10.2.0.99", "Destination Host Unreachable"),
        ] {
            let mut ping = router.hosts[0].command("ping");
            ping.args(["-c", "1", "-W", "10", destination]);
            let output = Process::output(&mut ping, PATIENCE)?;
            let said = format!("From 10.1.0.254 icmp_seq=1 {answer}");
            ensure!(output.stdout.contains(&said), "{destination}: {output:?}");
        }
        let Some(traceroute) = installed("traceroute")? else { return Ok(()) };
        for method in ["--udp", "--icmp", "--tcp"] {
            let mut trace = router.hosts[0].command(&traceroute);
            trace.args(["-n", method, "10.2.0.1"]);
            let hops = succeed(trace)?;
            let hops: Vec<_> =
                hops.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
            ensure!(hops == ["10.1.0.254", "10.2.0.1"], "{method}: {hops:?}");
        }
        Ok(())
    })
}

#[test]
fn a_narrow_link_in_the_middle_is_found() -> Result<()> {
    as_root(|| {
        let router = Router::new([1500, 1280, 1500])?;
        router.transfer(0, 1, 20_000_000)?;
        let route = ip(&router.hosts[0], "route get 10.2.0.1")?;
        ensure!(route.contains("mtu 1280"), "{route}");
        // What was sent in pieces is sent on in smaller ones.
        let socket = router.hosts[2].run(|| UdpSocket::bind((host(2), 7007)))??;
        let server = router.hosts[1].run(|| UdpSocket::bind((host(1), 7007)))??;
        server.set_read_timeout(Some(PATIENCE))?;
        let sent: Vec<u8> = (0..8000).map(|index| (index * 7) as u8).collect();
        socket.send_to(&sent, (host(1), 7007))?;
        let mut buffer = vec![0; 65_536];
        let received = server.recv(&mut buffer)?;
        ensure!(buffer.get(..received) == Some(&sent[..]), "{received} bytes");
        Ok(())
    })
}

/// Two gateways on one link, both with 10.99.0.1, so that who answers says which way a flow took.
struct Gateways {
    daemon: Daemon,
    narrows: Namespace,
    _switch: Namespace,
    gateways: [Namespace; 2],
}

const ANYCAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 7000);

impl Gateways {
    fn new() -> Result<Self> {
        let (narrows, switch) = (Namespace::new()?, Namespace::new()?);
        let gateways = [Namespace::new()?, Namespace::new()?];
        ip(&switch, "link add sw type bridge")?;
        ip(&switch, "link set sw up")?;
        join((&narrows, "nw0"), (&switch, "n"))?;
        ip(&switch, "link set dev n master sw")?;
        for (number, gateway) in gateways.iter().enumerate() {
            let port = format!("g{number}");
            join((gateway, "e0"), (&switch, &port))?;
            ip(&switch, &format!("link set dev {port} master sw"))?;
            ip(gateway, &format!("addr add 10.77.0.1{number}/24 dev e0"))?;
            ip(gateway, "addr add 10.99.0.1/32 dev lo")?;
        }
        let configuration = "[[interface]]\nname = \"lan\"\ndevice = \"packet:nw0\"\n\
            address = [\"10.77.0.2/24\"]\n[[route]]\nto = \"default\"\n\
            nexthops = [{ via = \"10.77.0.10\" }, { via = \"10.77.0.11\", weight = 1 }]\n";
        let daemon = Daemon::start_with(&narrows, Path::new(NARROWS), configuration)?;
        Ok(Self { daemon, narrows, _switch: switch, gateways })
    }
}

/// Answers one byte to each that comes, until told to stop.
fn serve(listener: &TcpListener, served: &AtomicUsize, stop: &AtomicUsize) -> Result<()> {
    listener.set_nonblocking(true)?;
    let mut held = Vec::new();
    while stop.load(Ordering::Relaxed) == 0 {
        match listener.accept() {
            Ok((mut stream, _)) => {
                served.fetch_add(1, Ordering::Relaxed);
                stream.write_all(b"x")?;
                held.push(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[test]
fn flows_are_shared_by_gateways_and_survive_one_of_them() -> Result<()> {
    as_root(|| {
        let network = Gateways::new()?;
        let mut listeners = Vec::new();
        for gateway in &network.gateways {
            listeners.push(gateway.run(|| TcpListener::bind(ANYCAST))??);
        }
        let served = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let stop = AtomicUsize::new(0);
        thread::scope(|scope| {
            for (listener, served) in listeners.iter().zip(&served) {
                scope.spawn(|| serve(listener, served, &stop));
            }
            let result = use_gateways(&network, &served);
            stop.store(1, Ordering::Relaxed);
            result
        })
    })
}

fn use_gateways(network: &Gateways, served: &[AtomicUsize; 2]) -> Result<()> {
    let stack = Stack::connect(Some(&network.daemon.socket()))?;
    let connect = || -> Result<TcpStream> {
        let mut stream = TcpStream::connect(&stack, ANYCAST.into())?;
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        Ok(stream)
    };
    let counts = || [0, 1].map(|gateway: usize| served[gateway].load(Ordering::Relaxed));
    let held = (0..60).map(|_| connect()).collect::<Result<Vec<_>>>()?;
    let [first, second] = counts();
    ensure!(first + second == 60 && first.min(second) > 12, "{first} and {second}");
    drop(held);

    ip(&network.gateways[0], "link set e0 down")?;
    eventually("the gateway is known to be dead", || {
        let routes = narrows(&network.daemon, &network.narrows, "route show default")?;
        Ok(routes.contains("via 10.77.0.10 dev lan weight 1 dead"))
    })?;
    let held = (0..40).map(|_| connect()).collect::<Result<Vec<_>>>()?;
    ensure!(counts() == [first, second + 40], "{:?}", counts());
    drop(held);

    ip(&network.gateways[0], "link set e0 up")?;
    eventually("the gateway is known to be back", || {
        let routes = narrows(&network.daemon, &network.narrows, "route show default")?;
        Ok(!routes.contains("dead"))
    })?;
    let _held = (0..60).map(|_| connect()).collect::<Result<Vec<_>>>()?;
    ensure!(counts()[0] > first + 12, "{:?}", counts());
    Ok(())
}

#[test]
fn a_rule_is_about_a_group_of_interfaces() -> Result<()> {
    as_root(|| {
        let router = Router::new([1500; 3])?;
        let passes = |from: usize| {
            let times = narrows_testbed::ping(&router.hosts[from], host(2), 1);
            times.is_ok_and(|times| times.len() == 1)
        };
        let ask = |words: &str| narrows(&router.daemon, &router.namespace, words);
        ask("rule add iifgroup 7 prohibit prio 100")?;
        ensure!(ask("rule show")?.contains("100:\tfrom all iifgroup 7 prohibit\n"));
        ensure!(passes(0) && passes(1));
        ask("link set w0 group 7")?;
        ensure!(!passes(0) && passes(1));
        ask("rule del iifgroup 7")?;
        ensure!(passes(0) && passes(1));
        Ok(())
    })
}
