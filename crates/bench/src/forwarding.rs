//! How fast packets pass a router: two hosts of the kernel on two wires, and between them Narrows or the
//! kernel, in turns, on the same two interfaces.

use crate::{
    command::ip,
    sample::{Row, Unit},
};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{
    Daemon, Namespace, Process, join,
    peer::report::{self, Bulk},
};
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    process::Stdio,
    time::Duration,
};

const PORT: u16 = 5201;
const PATIENCE: Duration = Duration::from_secs(30);

/// Narrows at .254 of both networks, the router's kernel at .253.
const CONFIGURATION: &str = "\
[[interface]]
name = \"w0\"
device = \"packet:w0\"
address = [\"10.1.0.254/24\"]
forward = true

[[interface]]
name = \"w1\"
device = \"packet:w1\"
address = [\"10.2.0.254/24\"]
forward = true
";

pub struct Lab {
    pub router: Namespace,
    pub hosts: [Namespace; 2],
}

/// Prints the rates and their ratio.
pub fn run(narrows: &Path, rounds: u32, time: Duration) -> Result<()> {
    let lab = Lab::new()?;
    let mut row = Row::new("bulk through a router, 1 stream", Unit::GigabitsPerSecond);
    for _ in 0..rounds {
        let daemon = lab.daemon(narrows)?;
        row.narrows.push(lab.bulk(narrows, 254, time)?);
        daemon.stop()?;
        row.kernel.push(lab.bulk(narrows, 253, time)?);
    }
    let say = |name: &str, samples: &crate::sample::Samples| {
        let (low, high) = samples.spread();
        println!("{name:>8} {:8.2} ({low:.2}–{high:.2}) Gbit/s", samples.median());
    };
    println!("{}, medians of {rounds} rounds", row.name);
    say("Narrows", &row.narrows);
    say("kernel", &row.kernel);
    println!("{:>8} {:8.2}", "ratio", row.ratio());
    Ok(())
}

impl Lab {
    pub fn new() -> Result<Self> {
        let router = Namespace::new()?;
        let hosts = [Namespace::new()?, Namespace::new()?];
        for (number, host) in hosts.iter().enumerate() {
            let name = format!("w{number}");
            join((&router, &name), (host, "e0"))?;
            ip(&router, &format!("addr add 10.{}.0.253/24 dev {name}", number + 1))?;
            ip(host, &format!("addr add 10.{}.0.1/24 dev e0", number + 1))?;
        }
        router
            .run(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?
            .context("letting the kernel forward")?;
        Ok(Self { router, hosts })
    }

    /// Narrows as the router.
    pub fn daemon(&self, narrows: &Path) -> Result<Daemon> {
        Daemon::start_with(&self.router, narrows, CONFIGURATION)
    }

    /// Gigabits a second from host to host by the router's address that ends in `gateway`.
    pub fn bulk(&self, narrows: &Path, gateway: u8, time: Duration) -> Result<f64> {
        for (number, host) in self.hosts.iter().enumerate() {
            ip(host, &format!("route replace default via 10.{}.0.{gateway}", number + 1))?;
        }
        let address = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 1), PORT);
        let mut receiver = self.hosts[1].command(narrows);
        receiver.args(["peer", "bulk-receive", "--streams", "1", "--listen", &address.to_string()]);
        let mut receiver = Process::spawn(receiver.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let mut said = BufReader::new(receiver.stdout().context("the receiver's words")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        ensure!(line.starts_with("listening"), "the receiver: {line}");
        let mut sender = self.hosts[0].command(narrows);
        sender.args(["peer", "bulk-send", &address.to_string(), "--streams", "1"]);
        sender.args(["--seconds", &time.as_secs_f64().to_string()]);
        let sent = Process::output(&mut sender, PATIENCE + time)?;
        ensure!(sent.status.success(), "the sender: {}{}", sent.stdout, sent.stderr);
        let mut text = String::new();
        said.read_to_string(&mut text)?;
        receiver.wait(PATIENCE)?;
        let last = text.lines().last().context("the receiver said nothing")?;
        let bulk: Bulk = report::read(last)?;
        Ok(bulk.bytes as f64 * 8.0 / 1e9 / bulk.seconds)
    }
}
