//! `dump`, `trace` and `explain`, on real frames.

use crate::stage::{NARROWS, On, Stage, installed, succeed};
use anyhow::{Context, Result, ensure};
use narrows_capture::file::{Packet, Writer};
use narrows_testbed::{Network, Process, as_root};
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
};

/// `narrows WORDS`, which watches; it has begun when this returns.
pub fn watch(stage: &Stage, words: &[&str]) -> Result<std::process::Child> {
    let mut command = stage.daemon.narrows(&stage.network.narrows);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut said = BufReader::new(child.stderr.take().context("piped")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    ensure!(line.contains("ing, Ctrl-C"), "{words:?}: {line}");
    // What it says at its end must have somewhere to go.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    Ok(child)
}

/// What it has written when it ends by itself.
pub fn finish(mut child: std::process::Child) -> Result<String> {
    let mut output = String::new();
    child.stdout.take().context("piped")?.read_to_string(&mut output)?;
    ensure!(child.wait()?.success(), "{output}");
    Ok(output)
}

/// Sends frames from the kernel's end of the wire.
pub fn send(stage: &Stage, frames: &[Vec<u8>]) -> Result<bool> {
    const SCRIPT: &str = "\
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for frame in sys.stdin.read().split():
    s.send(bytes.fromhex(frame))
";
    let Some(python) = installed("python3")? else { return Ok(false) };
    let list = stage.directory().join("frames");
    let hex = |frame: &Vec<u8>| frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    std::fs::write(&list, frames.iter().map(hex).collect::<Vec<_>>().join("\n"))?;
    let mut command = stage.network.kernel.command(python);
    command.args(["-c", SCRIPT, Network::KERNEL_INTERFACE]).stdin(File::open(list)?);
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(true)
}

fn pings(stage: &Stage) -> Result<Process> {
    let mut ping = stage.command(On::Kernel, "ping");
    ping.args(["-i", "0.1", &On::Narrows.address().to_string()]).stdout(Stdio::null());
    Process::spawn(&mut ping)
}

#[test]
fn dump_prints_packets_and_what_was_dropped() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let (own, peer) = (On::Narrows.address(), On::Kernel.address());
        let dump = watch(&stage, &["dump", "-n", "-i", "wire", "-c", "4", "icmp"])?;
        let drops = watch(&stage, &["dump", "-n", "--drops", "-c", "1", "tcp"])?;
        let _ping = pings(&stage)?;
        let said = finish(dump)?;
        ensure!(said.contains(&format!("IP {peer} > {own}: ICMP echo request")), "{said}");
        ensure!(said.contains(&format!("IP {own} > {peer}: ICMP echo reply")), "{said}");
        let refused = stage.peer(On::Kernel, &["pingpong", &On::Narrows.port(9).to_string()]);
        crate::stage::fail(refused)?;
        let said = finish(drops)?;
        ensure!(said.contains(&format!("wire  In  IP {peer}.")), "{said}");
        ensure!(said.contains("Flags [S]") && said.contains("[dropped: tcp-no-socket]"), "{said}");
        Ok(())
    })
}

#[test]
fn dump_writes_what_wireshark_reads() -> Result<()> {
    as_root(|| {
        let Some(tshark) = installed("tshark")? else { return Ok(()) };
        let stage = Stage::new()?;
        let mut dump =
            watch(&stage, &["dump", "-c", "2", "--stage", "receive,transmit", "-w", "-", "icmp"])?;
        let _ping = pings(&stage)?;
        let mut command = Command::new(tshark);
        let fields = ["frame.interface_name", "frame.packet_flags_direction", "frame.comment"];
        command.args(["-n", "-r", "-", "-T", "fields"]);
        command.args(fields.iter().flat_map(|field| ["-e", field]));
        command.stdin(dump.stdout.take().context("piped")?);
        let output = command.output()?;
        let said = String::from_utf8(output.stdout)?;
        ensure!(output.status.success() && dump.wait()?.success(), "{said}");
        let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split('\t').collect()).collect();
        for line in &lines {
            let [name, direction, comment] = line[..] else { anyhow::bail!("{said}") };
            let expected = if comment.contains("receive") { "1" } else { "2" };
            let number = direction.trim_start_matches("0x").trim_start_matches('0');
            ensure!(name == "wire" && number == expected, "{said}");
        }
        ensure!(lines.len() == 2, "{said}");
        Ok(())
    })
}

/// Frames from the kernel's end that a host answers, drops or forwards, most of them hostile.
fn hostile(own: &str, peer: &str) -> Result<Vec<Vec<u8>>> {
    let mac = |text: &str| -> Result<Vec<u8>> {
        text.split(':').map(|part| Ok(u8::from_str_radix(part, 16)?)).collect()
    };
    let link = |kind: u16| -> Result<Vec<u8>> {
        Ok([mac(own)?, mac(peer)?, kind.to_be_bytes().to_vec()].concat())
    };
    let packet = |protocol: u8, fragment: u16, source: [u8; 4], ttl: u8, payload: &[u8]| {
        let length = 20 + payload.len() as u16;
        let mut header = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 9]].concat();
        header.extend(fragment.to_be_bytes());
        header.extend([ttl, protocol, 0, 0]);
        header.extend(source);
        header.extend(On::Narrows.address().octets());
        let words = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [header, payload.to_vec()].concat()
    };
    let kernel = On::Kernel.address().octets();
    let datagram = [0x10, 0, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4];
    let segment = [&[0x10, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2][..], &[0; 6]].concat();
    let mut wrong = packet(17, 0, kernel, 64, &datagram);
    wrong[10] ^= 1;
    let mut lying = packet(17, 0, kernel, 64, &datagram);
    lying[3] = 200;
    let packets = vec![
        packet(17, 0, kernel, 64, &datagram),
        packet(17, 0, On::Narrows.address().octets(), 64, &datagram),
        packet(17, 0, [127, 0, 0, 1], 64, &datagram),
        packet(17, 0, [203, 0, 113, 5], 64, &datagram),
        packet(17, 0x2000, kernel, 64, &[7; 16]),
        packet(17, 0x2001, kernel, 64, &[7; 16]),
        packet(99, 0, kernel, 64, &[7; 16]),
        packet(6, 0, kernel, 64, &segment),
        packet(6, 0, kernel, 64, &segment[..9]),
        packet(1, 0, kernel, 64, &[8, 0, 0, 0, 1, 2, 3, 4]),
        // One that is answered, its checksum right.
        packet(1, 0, kernel, 64, &[8, 0, 0xf3, 0xf9, 1, 2, 3, 4]),
        packet(2, 0, kernel, 1, &[0x11; 8]),
        wrong,
        lying,
        vec![0x45; 6],
    ];
    let mut frames = Vec::new();
    for packet in packets {
        frames.push([link(0x800)?, packet].concat());
    }
    frames.push([link(0x88b5)?, vec![1; 50]].concat());
    frames.push([link(0x806)?, vec![1; 28]].concat());
    frames.push([link(0x8100)?, vec![0, 9, 8, 0], vec![0; 40]].concat());
    let mut other = [link(0x800)?, vec![0x45; 40]].concat();
    other[5] ^= 0x55;
    frames.push(other);
    Ok(frames)
}

/// The MAC of an interface, as sysfs has it there.
pub fn mac(stage: &Stage, on: On) -> Result<String> {
    let (namespace, name) = match on {
        On::Narrows => (&stage.network.narrows, Network::NARROWS_INTERFACE),
        On::Kernel => (&stage.network.kernel, Network::KERNEL_INTERFACE),
    };
    let mut command = namespace.command("ip");
    command.args(["-j", "link", "show", "dev", name]);
    let links: Value = serde_json::from_str(&succeed(command)?)?;
    Ok(links[0]["address"].as_str().context("an address")?.to_owned())
}

pub fn verdicts(lines: &str) -> Result<Vec<(String, String)>> {
    let verdict = |line: &str| {
        let way: Value = serde_json::from_str(line)?;
        Ok((way["verdict"].to_string(), way["reason"].to_string()))
    };
    lines.lines().map(verdict).collect()
}

#[test]
fn the_live_run_agrees_with_the_explanation() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let (own, peer) = (mac(&stage, On::Narrows)?, mac(&stage, On::Kernel)?);
        let frames = hostile(&own, &peer)?;
        let count = frames.len().to_string();
        // What Narrows makes is left out by its sender, and what the kernel says by itself by its kind.
        let filter = format!("ether src {peer} and not ip6 and not (arp and arp[6:2] < 3)");
        let trace = watch(&stage, &["trace", "-j", "-c", &count, &filter])?;
        if !send(&stage, &frames)? {
            return Ok(());
        }
        let live = verdicts(&finish(trace)?)?;

        let path = stage.directory().join("hostile.pcap");
        let mut writer = Writer::new(File::create(&path)?)?;
        for bytes in &frames {
            let length = bytes.len() as u32;
            let bytes = bytes.clone();
            writer.write(&Packet { time: 0, interface: 0, length, bytes })?;
        }
        writer.flush()?;
        let mut explain = Command::new(NARROWS);
        explain.arg("explain").arg(&path).arg("-j").arg("--config");
        explain.arg(stage.directory().join("narrows.toml"));
        let explained = verdicts(&succeed(explain)?)?;
        ensure!(live == explained, "live {live:#?}\nexplained {explained:#?}");
        ensure!(explained.iter().any(|(verdict, _)| verdict.contains("taken")), "{explained:?}");

        let mut explain = Command::new(NARROWS);
        explain.arg("explain").arg(&path).args(["--frame", "1"]);
        let said = succeed(explain)?;
        let one = said.contains("frame 1 ") && said.contains("udp-no-socket: no program has");
        ensure!(one && !said.contains("frame 2"), "{said}");
        Ok(())
    })
}

#[test]
fn trace_shows_the_rule_and_the_answer() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        for rule in [
            "add table inet t",
            "add chain inet t c { type filter hook input priority 0; policy accept; }",
            "add rule inet t c tcp dport 9 reject with tcp reset",
        ] {
            let output = stage.ask(&["nft", rule])?;
            ensure!(output.status.success(), "{output:?}");
        }
        let trace = watch(&stage, &["trace", "-c", "1", "tcp dst port 9"])?;
        let refused = stage.peer(On::Kernel, &["pingpong", &On::Narrows.port(9).to_string()]);
        crate::stage::fail(refused)?;
        let said = finish(trace)?;
        for part in [
            "route    for this host",
            "filter   input: reject with tcp reset, by rule",
            "of inet t c: tcp dport 9 reject with tcp reset",
            "sent     dev wire: IP 10.77.0.2.9 > 10.77.0.1.",
            "└▶ dropped  filter-rejected:",
        ] {
            ensure!(said.contains(part), "{part} is not in\n{said}");
        }
        Ok(())
    })
}
