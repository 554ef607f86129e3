//! The same capture through tcpdump(1) and here: the same packets for each filter, the same lines. Left out
//! where there is no tcpdump, unless `NARROWS_TESTS_REQUIRE_ALL` is set.

use narrows_capture::{
    file::{Packet, Writer},
    filter::Filter,
    line::{Dump, Options, Printer},
};
use std::{
    io::Write,
    process::{Command, Stdio},
};

const LINK: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&LINK[..], &ether_type.to_be_bytes(), payload].concat()
}

fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u32::from(*byte)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv4 packet; `fragment`: flags and offset as they are in the header.
fn ip(protocol: u8, hosts: [u8; 2], fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = (20 + options.len() + payload.len()) as u16;
    let first = 0x45 + (options.len() / 4) as u8;
    let mut header = vec![first, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 99]);
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0, 10, 0, 0, hosts[0], 10, 0, 1, hosts[1]]);
    header.extend(options);
    let checksum = sum(&[&header]).to_be_bytes();
    header[10..12].copy_from_slice(&checksum);
    let mut payload = payload.to_vec();
    let at = match protocol {
        6 => 16,
        17 => 6,
        _ => return [header, payload].concat(),
    };
    if fragment & 0x1fff == 0 && payload.len() >= at + 2 {
        let pseudo =
            [&header[12..20], &[0, protocol], &(payload.len() as u16).to_be_bytes()].concat();
        let checksum = sum(&[&pseudo, &payload]).to_be_bytes();
        payload[at..at + 2].copy_from_slice(&checksum);
    }
    [header, payload].concat()
}

fn tcp(ports: [u16; 2], numbers: [u32; 2], flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    ports.iter().for_each(|port| segment.extend(port.to_be_bytes()));
    numbers.iter().for_each(|number| segment.extend(number.to_be_bytes()));
    segment.extend([(((20 + options.len()) / 4) << 4) as u8, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    [segment, options.to_vec(), payload.to_vec()].concat()
}

fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    ports.iter().for_each(|port| datagram.extend(port.to_be_bytes()));
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    [&datagram[..], &[0, 0], payload].concat()
}

fn icmp(message: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = [&[message, code, 0, 0], &rest[..], payload].concat();
    let checksum = sum(&[&bytes]).to_be_bytes();
    bytes[2..4].copy_from_slice(&checksum);
    bytes
}

fn arp(operation: u8, target: [u8; 6]) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &[2, 0, 0, 0, 0, 1, 10, 0, 0, 1], &target, &[10, 0, 0, 2]].concat()
}

/// A connection from its handshake to its end, and one packet or more of every other kind.
fn packets() -> Vec<Vec<u8>> {
    let syn = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 0, 1, 3, 3, 7];
    let time = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 8];
    let sack = [1, 1, 5, 18, 0, 0, 3, 0xe9, 0, 0, 3, 0xf3, 0, 0, 4, 0, 0, 0, 4, 9];
    let ports = [40_000, 7000];
    let back = [7000, 40_000];
    let there = |segment: Vec<u8>| frame(0x800, &ip(6, [1, 2], 0x4000, &[], &segment));
    let here = |segment: Vec<u8>| {
        let mut frame = frame(0x800, &ip(6, [1, 2], 0, &[], &segment));
        // Swap the addresses: sums stay right.
        let (source, destination) = (frame[26..30].to_vec(), frame[30..34].to_vec());
        frame[26..30].copy_from_slice(&destination);
        frame[30..34].copy_from_slice(&source);
        frame
    };
    let quoted = ip(17, [2, 1], 0, &[], &udp([5, 9], b"")).to_vec();
    let unreachable = |code, mtu: u8| icmp(3, code, [0, 0, 5, mtu], &quoted);
    let of = |protocol, payload: &[u8]| frame(0x800, &ip(protocol, [1, 2], 0, &[], payload));
    let tagged = |kind: u16, tag: u16, inner: &[u8]| {
        [&LINK[..], &kind.to_be_bytes(), &tag.to_be_bytes(), inner].concat()
    };
    let mut broadcast = frame(0x806, &arp(1, [0; 6]));
    broadcast[..6].fill(0xff);
    let mut group = of(2, &icmp(0x16, 0, [239, 0, 0, 7], &[]));
    group[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 7]);
    let ipv6 = |next: u8, payload: &[u8]| {
        let head = [&[0x60, 0, 0, 0, 0, payload.len() as u8, next, 64][..], &[0xfd; 32]].concat();
        frame(0x86dd, &[&head[..], payload].concat())
    };
    let ether = of(17, &udp([40_000, 47001], b"in a tag"))[12..].to_vec();
    let inner = tagged(0x8100, 0x0007, &ether)[12..].to_vec();
    vec![
        there(tcp(ports, [1000, 0], 0x02, &syn, b"")),
        here(tcp(back, [5000, 1001], 0x12, &syn, b"")),
        there(tcp(ports, [1001, 5001], 0x10, &time, b"")),
        there(tcp(ports, [1001, 5001], 0x18, &time, b"hello there")),
        here(tcp(back, [5001, 1001], 0x10, &sack, b"")),
        here(tcp(back, [5001, 1012], 0x11, &[], b"")),
        there(tcp(ports, [1012, 5002], 0x14, &[], b"")),
        there(tcp([9, 10], [4_000_000_000, 77], 0x10, &[], b"middle")),
        there(tcp([9, 10], [4_000_000_006, 77], 0xc0, &[], b"")),
        of(17, &udp([40_000, 47001], b"datagram")),
        of(17, &udp([53, 47002], &[])),
        of(1, &icmp(8, 0, [0, 5, 0, 6], b"ping")),
        of(1, &icmp(0, 0, [0, 5, 0, 6], b"ping")),
        of(1, &unreachable(0, 0)),
        of(1, &unreachable(1, 0)),
        of(1, &unreachable(3, 0)),
        of(1, &unreachable(4, 0xdc)),
        of(1, &unreachable(13, 0)),
        of(1, &icmp(11, 0, [0; 4], &quoted)),
        of(1, &icmp(5, 1, [10, 0, 0, 9], &quoted)),
        of(132, &[0, 9, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
        of(50, &[1; 16]),
        frame(0x800, &ip(17, [1, 2], 0x2000, &[], &udp([40_000, 47001], &[3; 24]))),
        frame(0x800, &ip(17, [1, 2], 0x0004, &[], &[4; 24])),
        frame(0x800, &ip(17, [1, 2], 0, &[1, 1, 1, 0], &udp([40_000, 47001], b"options"))),
        frame(0x800, &ip(17, [9, 9], 0, &[], &udp([40_000, 47001], &[5; 900]))),
        frame(0x806, &arp(2, [2, 0, 0, 0, 0, 2])),
        frame(0x806, &arp(1, [2, 0, 0, 0, 0, 2])),
        broadcast,
        group,
        tagged(0x8100, 0x6007, &ether),
        tagged(0x8100, 0x0008, &ether),
        tagged(0x88a8, 0x0009, &inner),
        ipv6(6, &tcp([40_000, 7000], [1, 2], 0x10, &[], b"")),
        ipv6(17, &udp([53, 53], b"x")),
        frame(0x88cc, &[2; 30]),
    ]
}

fn capture(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes).expect("memory");
    for (at, frame) in packets.iter().enumerate() {
        // The time is the number of the packet.
        let time = at as u64 * 1_000_000_000;
        let packet =
            Packet { time, interface: 0, length: frame.len() as u32, bytes: frame.clone() };
        writer.write(&packet).expect("memory");
    }
    bytes
}

/// What tcpdump prints; `None`: it is not there.
fn tcpdump(words: &[&str], capture: &[u8]) -> Option<String> {
    let spawned = Command::new("tcpdump")
        .args(["-n", "-r", "-"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        assert!(std::env::var_os("NARROWS_TESTS_REQUIRE_ALL").is_none(), "no tcpdump");
        return None;
    };
    let mut input = child.stdin.take().expect("piped");
    // It may have ended because of its words, which the status says.
    let _ = input.write_all(capture);
    drop(input);
    let output = child.wait_with_output().expect("its output");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

/// The numbers of the packets that a filter takes.
fn taken(expression: &str, packets: &[Vec<u8>]) -> Vec<usize> {
    let filter = Filter::new(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let takes = |frame: &[u8]| filter.takes(frame);
    let numbered = packets.iter().enumerate().filter(|(_, frame)| takes(frame));
    numbered.map(|(at, _)| at).collect()
}

#[test]
fn filters_take_what_tcpdumps_do() {
    let packets = packets();
    let capture = capture(&packets);
    for expression in [
        "",
        "tcp",
        "udp",
        "icmp",
        "igmp",
        "arp",
        "ip",
        "ip6",
        "sctp or esp",
        "host 10.0.0.1",
        "src host 10.0.0.1",
        "dst 10.0.1.2 and not icmp",
        "src and dst host 10.0.0.1",
        "ip host 10.0.0.9",
        "arp host 10.0.0.2",
        "net 10.0.0.0/24",
        "src net 10.0",
        "net 10.0.1.0 mask 255.255.255.0",
        "port 47001",
        "dst port 7000",
        "tcp src port 7000 or 9",
        "udp port domain",
        "port 53",
        "portrange 7000-47001",
        "tcp dst portrange 10-7000",
        "ether host 02:00:00:00:00:01",
        "ether dst ff:ff:ff:ff:ff:ff",
        "ether src 2:0:0:0:0:1 and arp",
        "broadcast",
        "multicast",
        "ether proto 0x88cc",
        "ether proto \\arp",
        "ip proto \\udp",
        "ip proto 50",
        "proto 17",
        "less 60",
        "greater 100",
        "len > 60 and len <= 100",
        "vlan",
        "vlan 7",
        "vlan 7 and udp",
        "vlan 9 and vlan 7 and port 47001",
        "not vlan and udp",
        "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
        "tcp[13] & 2 != 0",
        "tcp[13] = 0x12 or icmp[icmptype] == icmp-echo",
        "icmp[icmptype] = icmp-unreach and icmp[icmpcode] = 3",
        "ip[6:2] & 0x3fff != 0",
        "ip[0] & 0xf > 5",
        "ether[12:2] = 0x806",
        "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x68656c6c",
        "udp[4:2] - 8 > 20",
        "(ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2) != 0 and tcp",
        "tcp or udp and port 47001",
        "tcp or (udp and port 47001)",
        "not (tcp or udp or arp)",
        "! port 47001 && ! icmp",
        "host 10.0.0.1 and (port 7000 or 47001 or 53)",
    ] {
        let Some(said) = tcpdump(&["-tt", "-q", expression], &capture) else { return };
        let times = said.lines().filter_map(|line| line.split_once('.')?.0.parse().ok());
        let expected: Vec<usize> = times.collect();
        assert_eq!(taken(expression, &packets), expected, "{expression}");
    }
}

/// What is carried by protocols that are not looked into here is cut off tcpdump's lines.
#[test]
fn lines_are_tcpdumps() {
    let packets: Vec<_> = packets()
        .into_iter()
        .filter(|frame| !matches!(&frame[12..14], [0x86, 0xdd] | [0x88, 0xcc]))
        .filter(|frame| frame[12..14] != [8, 0] || ![132, 50].contains(&frame[23]))
        .filter(|frame| frame[12..14] != [8, 0] || frame[34..36] != [0, 53])
        .collect();
    let plain = Options::default();
    for (words, options) in [
        (&["-t"][..], plain),
        (&["-t", "-v"], Options { verbose: true, ..plain }),
        (&["-t", "-S"], Options { absolute: true, ..plain }),
        (&["-t", "-e"], Options { link: true, ..plain }),
        (&["-t", "-q"], Options { quiet: true, ..plain }),
        (&["-t", "-x"], Options { dump: Some(Dump::Hex), ..plain }),
        (&["-t", "-XX"], Options { dump: Some(Dump::HexAscii), dump_link: true, ..plain }),
    ] {
        // What an error quotes is printed there.
        let is_error = |frame: &&Vec<u8>| frame[23] == 1 && ![0, 8].contains(&frame[34]);
        let packets: Vec<_> = match options.verbose {
            true => packets.iter().filter(|frame| !is_error(frame)).cloned().collect(),
            false => packets.clone(),
        };
        let Some(said) = tcpdump(words, &self::capture(&packets)) else { return };
        let mut printer = Printer::new(options);
        let ours: String =
            packets.iter().map(|frame| printer.describe(frame, frame.len()) + "\n").collect();
        let (ours, said): (Vec<_>, Vec<_>) = (ours.lines().collect(), said.lines().collect());
        let differ: Vec<_> =
            ours.iter().zip(&said).filter(|(ours, theirs)| ours != theirs).collect();
        assert!(differ.is_empty(), "{words:?}: {differ:#?}");
        assert_eq!(ours.len(), said.len(), "{words:?}");
    }
}

#[test]
fn any_bytes_have_a_line() {
    for frame in packets() {
        for length in 0..frame.len() {
            let mut printer =
                Printer::new(Options { verbose: true, link: true, ..Options::default() });
            assert!(!printer.describe(&frame[..length], frame.len()).is_empty());
        }
        for at in 0..frame.len().min(80) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = frame.clone();
                changed[at] = value;
                let mut printer = Printer::new(Options { verbose: true, ..Options::default() });
                assert!(!printer.describe(&changed, changed.len()).is_empty());
            }
        }
    }
}
