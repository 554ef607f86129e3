//! `explain` beside the live run: sets of frames made here, most of them hostile, are sent to a daemon that
//! traces them, and explained from a file. Both must come to the same end of every one.

use crate::{
    seeing::{finish, mac, send, verdicts, watch},
    stage::{NARROWS, On, Stage, installed, succeed},
};
use anyhow::{Result, ensure};
use narrows_capture::file::{Direction, Packet, PcapngWriter, Writer};
use narrows_testbed::as_root;
use std::{fs::File, path::Path, process::Command};

/// A host on the wire that is not there, so that nobody answers what it is sent.
const ABSENT: [u8; 4] = [10, 77, 0, 99];
const OPEN: u16 = 7012;

/// An IPv4 packet; `fragment`: flags and offset as they are sent.
fn packet(protocol: u8, (id, fragment): (u16, u16), source: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = 20 + payload.len() as u16;
    let mut header = [&[0x45, 0][..], &length.to_be_bytes(), &id.to_be_bytes()].concat();
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(source);
    header.extend(On::Narrows.address().octets());
    let sum = folded(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header, payload.to_vec()].concat()
}

fn folded(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default()));
    let mut sum: u32 = words.sum();
    while sum >> 16 > 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !sum as u16
}

/// A segment with its checksum, or a wrong one.
fn segment(port: u16, flags: u8, offset: u8, right: bool) -> Vec<u8> {
    let mut bytes = [&[0x30, 0x39][..], &port.to_be_bytes(), &[0, 0, 1, 0, 0, 0, 2, 0]].concat();
    bytes.extend([offset << 4, flags, 0x20, 0, 0, 0, 0, 0]);
    let pseudo = [&ABSENT[..], &On::Narrows.address().octets(), &[0, 6, 0, 20]].concat();
    let sum = folded(&[pseudo, bytes.clone()].concat());
    let sum = if right { sum } else { sum ^ 1 };
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    packet(6, (1, 0), ABSENT, &bytes)
}

/// Overlaps, holes, floods of beginnings, ends beyond 65,535 bytes, and some that become whole.
fn fragments() -> Vec<Vec<u8>> {
    const MORE: u16 = 0x2000;
    let datagram = [&[0x10, 0, 0, 9, 0, 40, 0, 0][..], &[1; 32]].concat();
    let mut all = Vec::new();
    for (id, parts) in [
        (10, vec![(0, 16, true), (16, 24, false)]),
        (11, vec![(16, 24, false), (0, 16, true)]),
        (12, vec![(0, 24, true), (16, 24, false)]),
        (13, vec![(0, 16, true), (0, 16, true), (16, 24, false)]),
        (14, vec![(0, 16, true), (8, 16, true), (16, 24, false)]),
        (15, vec![(0, 16, false), (16, 24, false)]),
        (16, vec![(8, 8, false), (0, 8, true), (8, 8, true)]),
    ] {
        for (from, length, more) in parts {
            let field = (from as u16 / 8) | if more { MORE } else { 0 };
            let bytes = datagram.get(from..from + length).unwrap_or_default();
            all.push(packet(17, (id, field), ABSENT, bytes));
        }
    }
    all.push(packet(17, (17, 0x1fff), ABSENT, &[1; 32]));
    all.push(packet(17, (18, MORE), ABSENT, &[1; 9]));
    all.push(packet(17, (19, MORE), ABSENT, &[]));
    all.extend((100..120).map(|id| packet(6, (id, MORE), ABSENT, &[7; 8])));
    all
}

/// Every mixture of flags, to a port where somebody listens and to one where nobody does.
fn segments() -> Vec<Vec<u8>> {
    let flags = [0_u8, 1, 2, 3, 4, 0x10, 0x11, 0x12, 0x14, 0x18, 0x20, 0x29, 0x3f, 0xff];
    let all = flags.into_iter().flat_map(|flags| [OPEN, 9].map(|port| (port, flags)));
    let mut all: Vec<_> = all.map(|(port, flags)| segment(port, flags, 5, true)).collect();
    all.extend([0, 4, 6, 15].map(|offset| segment(OPEN, 2, offset, true)));
    all.push(segment(OPEN, 2, 5, false));
    all
}

/// Good packets with bytes changed and cut off anywhere, by a generator with a seed.
fn changed() -> Vec<Vec<u8>> {
    let datagram = [0x10, 0, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4];
    let good = [
        packet(17, (1, 0), ABSENT, &datagram),
        segment(9, 0x10, 5, true),
        packet(1, (1, 0), ABSENT, &[8, 0, 0xf3, 0xf9, 1, 2, 3, 4]),
    ];
    let mut state = 0x9e37_79b9_u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut all = Vec::new();
    for round in 0..120 {
        let mut packet = good[round % good.len()].clone();
        for _ in 0..=next(3) {
            let at = next(packet.len());
            packet[at] = next(256) as u8;
        }
        if next(4) == 0 {
            packet.truncate(next(packet.len()));
        }
        all.push(packet);
    }
    all
}

/// `explain`'s words before the file's name, and where to find the daemon.
fn explain(stage: &Stage, file: &Path) -> Command {
    let mut explain = stage.daemon.narrows(&stage.network.narrows);
    explain.arg("explain").arg(file).args(["--live", "--config"]);
    explain.arg(stage.directory().join("narrows.toml"));
    explain
}

#[test]
fn the_live_run_and_the_explanation_come_to_the_same_ends() -> Result<()> {
    as_root(|| {
        for (name, packets) in
            [("fragments", fragments()), ("segments", segments()), ("changed", changed())]
        {
            let stage = Stage::new()?;
            let _server = stage.serve_echo(On::Narrows, OPEN)?;
            let (own, peer) = (mac(&stage, On::Narrows)?, mac(&stage, On::Kernel)?);
            let link: Vec<u8> = [&own, &peer]
                .iter()
                .flat_map(|text| text.split(':'))
                .map(|part| u8::from_str_radix(part, 16))
                .collect::<Result<_, _>>()?;
            let frames: Vec<_> =
                packets.iter().map(|packet| [&link[..], &[8, 0], packet].concat()).collect();
            let path = stage.directory().join("capture.pcap");
            let mut writer = Writer::new(File::create(&path)?)?;
            for bytes in &frames {
                let (length, bytes) = (bytes.len() as u32, bytes.clone());
                writer.write(&Packet { time: 0, interface: 0, length, bytes })?;
            }
            writer.flush()?;
            let mut command = explain(&stage, &path);
            command.arg("-j");
            let explained = verdicts(&succeed(command)?)?;
            ensure!(explained.len() == frames.len(), "{name}: every frame has an end");

            let count = frames.len().to_string();
            let trace =
                watch(&stage, &["trace", "-j", "-c", &count, &format!("ether src {peer} and ip")])?;
            if !send(&stage, &frames)? {
                return Ok(());
            }
            let live = verdicts(&finish(trace)?)?;
            for (number, (live, explained)) in (1..).zip(live.iter().zip(&explained)) {
                ensure!(
                    live == explained,
                    "{name} {number}: live {live:?}, explained {explained:?}"
                );
            }
            ensure!(live.len() == explained.len(), "{name}");
        }
        Ok(())
    })
}

/// The daemon's tracked flows and neighbors decide too, and each frame comes by its own interface.
#[test]
fn what_the_running_daemon_knows_is_taken_over() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        for rule in [
            "add table ip t",
            "add chain ip t c { type filter hook input priority 0; policy drop; }",
            "add rule ip t c ct state established accept",
        ] {
            let output = stage.ask(&["nft", rule])?;
            ensure!(output.status.success(), "{output:?}");
        }
        let (own, peer) = (mac(&stage, On::Narrows)?, mac(&stage, On::Kernel)?);
        // A program that has asked something and waits for the answer.
        const ASK: &str = "import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
            s.bind((sys.argv[1],7013)); s.sendto(b'?',(sys.argv[2],7014)); print('asked',flush=True); sys.stdin.read()";
        let mut asks = stage.command(On::Narrows, &python);
        asks.args([
            "-c",
            ASK,
            &On::Narrows.address().to_string(),
            &On::Kernel.address().to_string(),
        ]);
        let _asks = stage.start(asks, "asked")?;
        let ports = [7014_u16, 7013].map(u16::to_be_bytes).concat();
        let answer = [&ports[..], &[0, 9, 0, 0], b"!"].concat();
        let frame = |payload: &[u8]| -> Result<Vec<u8>> {
            let link: Vec<u8> = [&own, &peer]
                .iter()
                .flat_map(|text| text.split(':'))
                .map(|part| u8::from_str_radix(part, 16))
                .collect::<Result<_, _>>()?;
            let packet = packet(17, (1, 0), On::Kernel.address().octets(), payload);
            Ok([&link[..], &[8, 0], &packet].concat())
        };
        let path = stage.directory().join("capture.pcapng");
        let mut writer = PcapngWriter::new(File::create(&path)?)?;
        let (other, wire) = (writer.interface("other0")?, writer.interface("wire")?);
        let mut stranger = answer.clone();
        stranger[1] ^= 1;
        for (interface, payload) in [(wire, &answer), (other, &stranger)] {
            let bytes = frame(payload)?;
            let packet = Packet { time: 0, interface, length: bytes.len() as u32, bytes };
            writer.write(&packet, Direction::Unicast, &[], 0)?;
        }
        writer.flush()?;
        let mut command = explain(&stage, &path);
        command.arg("-j");
        let live = verdicts(&succeed(command)?)?;
        let text = |(verdict, reason): &(String, String)| format!("{verdict} {reason}");
        ensure!(text(&live[0]) == "\"taken\" null", "{live:?}");
        ensure!(text(&live[1]) == "\"dropped\" \"filtered\"", "{live:?}");
        // Without the daemon there is neither rule nor program.
        let mut alone = Command::new(NARROWS);
        alone.arg("explain").arg(&path).arg("-j");
        let alone = verdicts(&succeed(alone)?)?;
        ensure!(text(&alone[0]) == "\"dropped\" \"udp-no-socket\"", "{alone:?}");
        Ok(())
    })
}
