//! Any bytes in any order: no panic, no growth, nothing sent that others can't read; and the same
//! again for the same seed.
//!
//! Bytes without any sense come from proptest. Frames that nearly make sense come from here: whole
//! ones of every kind that the layers know, with a few bytes changed and, often, the checksums made
//! right again, so that they get as far as the change allows.

use super::fixture::*;
use crate::{
    Config, Event, Instant, SocketId,
    config::Limits,
    counters::DropReason,
    random::Random,
    request::{GroupInterface, Request},
    table::membership::MembershipChange,
    time::Duration,
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::MacAddr,
    arp,
    checksum::Sum,
    ethernet::EtherType,
    icmpv4::{Header as IcmpHeader, Unreachable},
    igmp,
    ipv4::{HEADER_LEN, Header, Protocol},
    offload::{RxChecksum, RxOffload},
    tcp::{self, Flags},
    tcp_options::{Options, Timestamps},
};
use proptest::{collection::vec, prelude::*};

/// The program joins and leaves it.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 7);

const LINK: usize = narrows_wire::ethernet::HEADER_LEN;

/// Small, so that a short storm reaches each of them.
fn limits() -> Limits {
    Limits {
        half_open: 16,
        time_wait: 16,
        neighbors: 32,
        neighbor_pending: 4,
        reassembly_bytes: 64 << 10,
        reassembly_bytes_per_source: 32 << 10,
        reassembly_datagrams: 16,
        reassembly_fragments: 8,
        reassembly_timeout: Duration::from_secs(2),
        egress_queue: 64,
        loopback_queue: 64,
        datagram_bytes: 4096,
        ..Limits::default()
    }
}

/// A host on which something listens at every kind of socket.
struct Target {
    host: Host,
    sockets: [SocketId; 4],
}

impl Target {
    fn new(seed: u8) -> Self {
        let config = Config { limits: limits(), ..Config::default() };
        let mut host = Host::with(config, [seed; 16]);
        let any = Ipv4Addr::UNSPECIFIED;
        let bound = host.socket(Request::OpenUdp, (any, 7));
        let connected = host.socket(Request::OpenUdp, (OWN, 9));
        host.request(Request::Connect {
            socket: connected,
            remote: SocketAddr::new(PEER.into(), 5000),
        });
        let ping = host.socket(Request::OpenPing, (any, 77));
        let listener = host.socket(Request::OpenTcp, (any, 80));
        host.request(Request::Listen { socket: listener, backlog: 4 });
        Self { host, sockets: [bound, connected, ping, listener] }
    }

    /// What the program and the device do now and then.
    fn act(&mut self, random: &mut Random) {
        let [bound, connected, ping, listener] = self.sockets;
        let host = &mut self.host;
        let to = Some(SocketAddr::new(address(random).into(), 7));
        let _ = match random.below(10) {
            0 => host.shard.send_to(host.now, bound, to, &vec![1; random.below(4000) as usize]),
            1 => host.shard.send_to(host.now, connected, None, b"hello"),
            2 => host.shard.send_to(host.now, ping, to, &[0, 1, 2]),
            3 => host.shard.receive_from(bound, &mut [0; 64]).map(|_| ()),
            4 => host.shard.receive_from(ping, &mut [0; 64]).map(|_| ()),
            5 => host
                .shard
                .request(host.now, Default::default(), Request::Accept { socket: listener })
                .map(|_| ()),
            6 | 7 => {
                let source = address(random);
                let changes = [
                    MembershipChange::Join,
                    MembershipChange::JoinSource(source),
                    MembershipChange::Block(source),
                    MembershipChange::Leave,
                ];
                let change = pick(random, &changes).clone();
                let interface = GroupInterface::Any;
                let request =
                    Request::Membership { socket: bound, group: GROUP, interface, change };
                host.shard.request(host.now, Default::default(), request).map(|_| ())
            }
            _ => {
                host.pass(Duration::from_millis(random.below(1500).into()));
                Ok(())
            }
        };
    }

    fn check(&self) {
        let (shard, limits) = (&self.host.shard, limits());
        assert!(shard.reassembly.bytes() <= limits.reassembly_bytes);
        assert!(shard.reassembly.len() <= limits.reassembly_datagrams);
        assert!(shard.neighbors.len() <= limits.neighbors);
        assert!(shard.remnants.half_open.len() <= limits.half_open);
        // The listener's accept queue of 5, and what has been accepted stays bounded by the test.
        assert!(shard.timers.len() <= 3 + shard.sockets.len() + 2 * limits.half_open);
    }
}

/// Addresses that mean something here, and some that don't.
fn address(random: &mut Random) -> Ipv4Addr {
    match random.below(12) {
        0 => OWN,
        1 => REMOTE,
        2 => Ipv4Addr::LOCALHOST,
        3 => Ipv4Addr::BROADCAST,
        4 => Ipv4Addr::new(10, 0, 0, 255),
        5 => Ipv4Addr::new(10, 0, 0, random.below(256) as u8),
        6 => Ipv4Addr::from(random.next_u32()),
        _ => PEER,
    }
}

fn header(random: &mut Random, protocol: Protocol) -> Header {
    let source = address(random);
    let destination = if random.below(10) == 0 { address(random) } else { OWN };
    Header { source, destination, protocol, identification: random.below(4) as u16, ..PACKET }
}

fn udp_packet(random: &mut Random) -> Vec<u8> {
    let header = header(random, Protocol::UDP);
    let port = *pick(random, &[7, 9, 1234]);
    let data = vec![random.next_u32() as u8; random.below(300) as usize];
    packet_frame(&header, &udp(&header, 5000, port, &data))
}

fn tcp_packet(random: &mut Random) -> Vec<u8> {
    let header = header(random, Protocol::TCP);
    let flags = *pick(random, &[0x02, 0x10, 0x18, 0x11, 0x04, 0x14, 0x12]);
    let segment = tcp::Header {
        source_port: 5000 + random.below(4) as u16,
        destination_port: *pick(random, &[80, 81]),
        sequence: random.below(4),
        acknowledgment: random.below(4),
        flags: Flags(flags),
        window: random.next_u32() as u16,
        urgent: 0,
    };
    let timestamps = Timestamps { value: random.next_u32(), echo: 0 };
    let options = Options {
        mss: Some(random.next_u32() as u16),
        window_scale: Some(random.below(20) as u8),
        sack_permitted: true,
        timestamps: Some(timestamps).filter(|_| random.below(2) == 0),
        ..Options::default()
    };
    let mut bytes = [0; tcp::MAX_HEADER_LEN];
    let len = segment.emit(&options, 0, &mut bytes);
    let data = vec![2; random.below(100) as usize];
    packet_frame(&header, &[&bytes[..len], &data].concat())
}

fn icmp_packet(random: &mut Random) -> Vec<u8> {
    let header = header(random, Protocol::ICMP);
    let quoted = Header { source: OWN, destination: PEER, ..PACKET };
    let protocol = *pick(random, &[Protocol::UDP, Protocol::TCP, Protocol::ICMP]);
    let quote = packet(&Header { protocol, ..quoted }, &udp(&quoted, 9, 5000, &[0; 20]));
    let (message, payload) = match random.below(6) {
        0 => (IcmpHeader::EchoRequest { identifier: 1, sequence: 2 }, &[5; 40][..]),
        1 => (IcmpHeader::EchoReply { identifier: 77, sequence: 2 }, &[5; 40][..]),
        2 => (IcmpHeader::TimeExceeded { code: 0 }, &quote[..]),
        3 => (IcmpHeader::Other { kind: 5, code: 1 }, &quote[..]),
        _ => {
            let code = Unreachable(random.below(16) as u8);
            (IcmpHeader::DestinationUnreachable { code, mtu: random.next_u32() as u16 }, &quote[..])
        }
    };
    packet_frame(&header, &icmp(&message, payload))
}

fn fragment(random: &mut Random) -> Vec<u8> {
    let header = Header {
        more_fragments: random.below(4) != 0,
        fragment_offset: *pick(random, &[0, 64, 128, 192, 256, 65_408]),
        ..header(random, Protocol::UDP)
    };
    packet_frame(&header, &vec![7; (1 + random.below(3)) as usize * 64])
}

fn igmp_packet(random: &mut Random) -> Vec<u8> {
    let destination = *pick(random, &[igmp::ALL_SYSTEMS, GROUP, OWN]);
    let header = Header { ttl: 1, destination, ..header(random, Protocol::IGMP) };
    let any = address(random);
    let group = *pick(random, &[Ipv4Addr::UNSPECIFIED, GROUP, any]);
    let kind = *pick(random, &[0x11, 0x11, 0x11, 0x12, 0x16, 0x17, 0x22]);
    let code = *pick(random, &[0, 1, 100, 255]);
    let sources = random.below(4) as u8;
    let rest = match random.below(3) {
        0 => Vec::new(),
        _ => [&[2, 125, 0, sources][..], &vec![10; usize::from(sources) * 4]].concat(),
    };
    let mut message = [&[kind, code, 0, 0][..], &group.octets(), &rest].concat();
    igmp::complete(&mut message);
    packet_frame(&header, &message)
}

fn arp_packet(random: &mut Random) -> Vec<u8> {
    let operation = *pick(random, &[arp::Operation::Request, arp::Operation::Reply]);
    arp_frame(&arp::Packet {
        operation,
        sender_mac: MacAddr([2, 0, 0, 0, 0, random.below(4) as u8]),
        sender_ip: address(random),
        target_mac: OWN_MAC,
        target_ip: address(random),
    })
}

fn pick<'a, T>(random: &mut Random, choices: &'a [T]) -> &'a T {
    &choices[random.below(choices.len() as u32) as usize]
}

/// A frame that nearly makes sense.
fn nearly_valid(random: &mut Random) -> Vec<u8> {
    let makers = [udp_packet, tcp_packet, icmp_packet, igmp_packet, fragment, arp_packet];
    let make = *pick(random, &makers);
    let mut frame = make(random);
    for _ in 0..random.below(4) {
        let at = random.below(frame.len().min(80) as u32) as usize;
        frame[at] = match random.below(3) {
            0 => random.next_u32() as u8,
            1 => frame[at] ^ (1 << random.below(8)),
            _ => *pick(random, &[0, 1, 0x7f, 0x80, 0xff]),
        };
    }
    match random.below(12) {
        0 => frame.truncate(random.below(frame.len() as u32 + 1) as usize),
        1 => frame.extend_from_slice(&[0xee; 60]),
        _ => {}
    }
    if random.below(4) != 0 {
        if let Some(destination) = frame.first_chunk_mut() {
            *destination = OWN_MAC.0;
        }
        mend(&mut frame);
    }
    frame
}

/// Makes the checksums of what may be an IPv4 packet right.
fn mend(frame: &mut [u8]) {
    if frame.get(12..14) != Some(&EtherType::IPV4.0.to_be_bytes())
        || frame.len() < LINK + HEADER_LEN
    {
        return;
    }
    let packet = &mut frame[LINK..];
    let header_len = usize::from(packet[0] & 0xf) * 4;
    if header_len < HEADER_LEN || header_len > packet.len() {
        return;
    }
    put(&mut packet[..header_len], 10, Sum::default());
    let len = usize::from(u16::from_be_bytes([packet[2], packet[3]])).min(packet.len());
    if len <= header_len {
        return;
    }
    let addresses: [u8; 8] = core::array::from_fn(|index| packet[12 + index]);
    let [a, b, c, d, e, f, g, h] = addresses;
    let protocol = packet[9];
    let transport = &mut packet[header_len..len];
    let pseudo_header = Sum::pseudo_header(
        [a, b, c, d].into(),
        [e, f, g, h].into(),
        protocol,
        transport.len() as u16,
    );
    match Protocol(protocol) {
        Protocol::ICMP | Protocol::IGMP => put(transport, 2, Sum::default()),
        Protocol::UDP => put(transport, 6, pseudo_header),
        Protocol::TCP => put(transport, 16, pseudo_header),
        _ => {}
    }
}

/// Puts the checksum over `bytes` into its field.
fn put(bytes: &mut [u8], at: usize, initial: Sum) {
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.fill(0);
        let checksum = initial.add(Sum::of(bytes)).finish();
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Everything that came out.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    frames: Vec<Vec<u8>>,
    events: Vec<Event>,
    drops: Vec<(DropReason, u64)>,
    deadlines: Vec<Option<Instant>>,
}

fn storm(seed: u8, frames: u32) -> Outcome {
    let mut random = Random::new([seed; 16]);
    let mut target = Target::new(seed);
    let mut outcome = Outcome::default();
    for number in 0..frames {
        let frame = nearly_valid(&mut random);
        let checksum = *pick(
            &mut random,
            &[RxChecksum::Unverified, RxChecksum::Unverified, RxChecksum::Partial],
        );
        let segment_size =
            Some(random.next_u32() as u16).filter(|_| checksum != RxChecksum::Unverified);
        let host = &mut target.host;
        host.shard.receive(host.now, ETH, &frame, RxOffload { checksum, segment_size });
        if random.below(8) == 0 {
            target.act(&mut random);
        }
        if number % 16 == 0 {
            target.check();
            outcome.deadlines.push(target.host.shard.next_timeout());
            outcome.frames.extend(target.host.sent());
            outcome.events.extend(core::iter::from_fn(|| target.host.shard.poll_event()));
        }
    }
    outcome.drops = target.host.drops();
    outcome
}

#[test]
fn frames_that_nearly_make_sense_do_no_harm() {
    let mut reasons = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let outcome = storm(seed, 2000);
        assert!(!outcome.frames.is_empty());
        for frame in outcome.frames.iter().filter(|frame| !is_arp(frame)) {
            let (link, packet) = read_packet(frame);
            let header = packet.header;
            assert_eq!(header.source, OWN);
            if header.destination.is_multicast() {
                // What the program sends, and reports of what it joined.
                let asks = header.protocol == Protocol::ICMP && packet.payload.first() == Some(&8);
                let sent = matches!(header.protocol, Protocol::UDP | Protocol::IGMP);
                assert!(asks || sent, "{header:?}");
                assert_eq!(link.destination, MacAddr::of_group(header.destination));
                continue;
            }
            assert!(link.destination.is_unicast(), "an answer to everybody");
            let [first, ..] = header.destination.octets();
            assert!(!matches!(first, 0 | 127 | 224..), "sent to {}", header.destination);
        }
        reasons.extend(outcome.drops.into_iter().map(|(reason, _)| reason));
    }
    // The storm reaches everything that it is meant to test.
    for reason in [
        DropReason::NotForThisStation,
        DropReason::UnknownEtherType,
        DropReason::ArpMalformed,
        DropReason::ArpUnsolicited,
        DropReason::ArpNotForUs,
        DropReason::Ipv4Truncated,
        DropReason::Ipv4Malformed,
        DropReason::Ipv4Checksum,
        DropReason::Martian,
        DropReason::NotLocal,
        DropReason::UnknownProtocol,
        DropReason::FragmentOverlap,
        DropReason::FragmentTooBig,
        DropReason::FragmentLimit,
        DropReason::ReassemblyTimeout,
        DropReason::NotJoined,
        DropReason::IgmpMalformed,
        DropReason::IgmpChecksum,
        DropReason::IgmpIgnored,
        DropReason::IcmpMalformed,
        DropReason::IcmpChecksum,
        DropReason::IcmpIgnored,
        DropReason::IcmpUnmatched,
        DropReason::UdpMalformed,
        DropReason::UdpChecksum,
        DropReason::UdpNoSocket,
        DropReason::ReceiveQueueFull,
        DropReason::TcpMalformed,
        DropReason::TcpChecksum,
        DropReason::TcpNoSocket,
        DropReason::NeighborUnresolved,
    ] {
        assert!(reasons.contains(&reason), "no {reason:?}");
    }
}

#[test]
fn the_same_seed_and_frames_give_the_same_again() {
    for seed in 0..4 {
        assert_eq!(storm(seed, 2000), storm(seed, 2000));
    }
    assert_ne!(storm(0, 2000).frames, storm(1, 2000).frames);
}

proptest! {
    #[test]
    fn bytes_without_sense_do_no_harm(
        frames in vec((vec(any::<u8>(), 0..200), any::<bool>(), 0u8..4), 1..50),
    ) {
        let mut target = Target::new(1);
        for (mut bytes, to_us, kind) in frames {
            if to_us && bytes.len() >= LINK {
                bytes[..6].copy_from_slice(&OWN_MAC.0);
                let ether_type = if kind == 0 { EtherType::ARP } else { EtherType::IPV4 };
                bytes[12..14].copy_from_slice(&ether_type.0.to_be_bytes());
            }
            if kind == 2 && bytes.len() > LINK + HEADER_LEN {
                bytes[LINK] = 0x45;
                bytes[LINK + 2..LINK + 4].copy_from_slice(&[0, 40]);
                bytes[LINK + 12..LINK + 16].copy_from_slice(&PEER.octets());
                bytes[LINK + 16..LINK + 20].copy_from_slice(&OWN.octets());
                mend(&mut bytes);
            }
            target.host.receive(&bytes);
            target.host.sent();
            target.check();
        }
        target.host.pass(Duration::from_secs(60));
        target.host.sent();
    }
}
