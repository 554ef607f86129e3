//! What other stacks have fallen for, as frames. Each test is named by the attack; what it protects
//! lies in the layers and tables, whose own tests go into the details.

use super::fixture::*;
use crate::{
    Config, Error, Reply, SocketId,
    config::Limits,
    counters::DropReason,
    request::{GroupInterface, Request},
    table::membership::MembershipChange,
    time::Duration,
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::MacAddr,
    arp::{Operation, Packet},
    checksum::Sum,
    ethernet::EtherType,
    icmpv4::{Header as IcmpHeader, Unreachable},
    igmp,
    ipv4::{Header, Protocol},
    tcp::{self, Flags},
    tcp_options::Options,
};
use std::collections::BTreeSet;

mod arp;

const EVIL_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x66]);
const EVIL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);

/// A host that talks with the peer, whose link address it has asked for.
fn talking() -> (Host, SocketId) {
    let mut host = Host::new();
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    talk(&mut host, socket);
    host.receive(&arp_frame(&answer(PEER_MAC)));
    host.sent();
    (host, socket)
}

fn talk(host: &mut Host, socket: SocketId) {
    let to = Some(SocketAddr::new(PEER.into(), 7));
    host.shard.send_to(host.now, socket, to, b"secret").expect("sent");
}

/// "The peer's address is at `mac`", to us.
fn answer(mac: MacAddr) -> Packet {
    Packet {
        operation: Operation::Reply,
        sender_mac: mac,
        sender_ip: PEER,
        target_mac: OWN_MAC,
        target_ip: OWN,
    }
}

/// Where the next datagram to the peer goes, if it goes.
fn next_hop(host: &mut Host, socket: SocketId) -> Option<MacAddr> {
    host.sent();
    talk(host, socket);
    let frames = host.sent();
    frames.iter().find(|frame| !is_arp(frame)).map(|frame| read_packet(frame).0.destination)
}

#[test]
fn fragment_smack_stays_within_its_memory() {
    let mut host = Host::with_peer();
    let limits = Limits::default();
    let mut random = crate::random::Random::new([5; 16]);
    for number in 0..200_000u32 {
        let header = Header {
            source: Ipv4Addr::from(0xc000_0200 + random.below(1 << 16)),
            identification: random.next_u32() as u16,
            fragment_offset: (random.below(8000) * 8) as u16,
            more_fragments: true,
            ..PACKET
        };
        host.receive(&packet_frame(&header, &[0; 8]));
        if number % 1000 == 0 {
            assert!(host.shard.reassembly.bytes() <= limits.reassembly_bytes);
            assert!(host.shard.reassembly.len() <= limits.reassembly_datagrams);
            host.pass(Duration::from_millis(10));
        }
    }
    host.pass(Duration::from_secs(16));
    assert!(host.shard.reassembly.is_empty());
    let drops: u64 = host.drops().iter().map(|(_, count)| count).sum();
    assert_eq!(drops, 200_000, "every fragment is accounted for, once");
}

#[test]
fn fragment_smack_does_not_keep_others_from_being_heard() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (OWN, 7));
    let mut heard = 0;
    for round in 0..200u32 {
        for number in 0..500u32 {
            let header = Header {
                source: Ipv4Addr::from(0xc000_0200 + round * 500 + number),
                identification: number as u16,
                more_fragments: true,
                ..PACKET
            };
            host.receive(&packet_frame(&header, &[0; 1480]));
        }
        // Two fragments that come one after the other.
        let datagram = udp(&PACKET, 5000, 7, &[round as u8; 2000]);
        let header = Header { identification: round as u16, ..PACKET };
        let first = Header { more_fragments: true, ..header };
        let last = Header { fragment_offset: 1480, ..header };
        host.receive(&packet_frame(&first, &datagram[..1480]));
        host.receive(&packet_frame(&last, &datagram[1480..]));
        heard += usize::from(host.shard.receive_from(socket, &mut [0; 2000]).is_ok());
    }
    assert_eq!(heard, 200);
}

#[test]
fn teardrop_and_its_relatives_are_dropped_whole() {
    // Each: offset, length, more. The second overlaps the first in another way each time.
    for second in [(24, 4, false), (32, 64, true), (0, 48, true), (0, 32, true), (8, 8, true)] {
        let mut host = Host::with_peer();
        let piece = |fragment_offset, len, more_fragments| {
            let header = Header { fragment_offset, more_fragments, ..PACKET };
            packet_frame(&header, &vec![fragment_offset as u8 + 1; len])
        };
        host.receive(&piece(0, 40, true));
        let (offset, len, more) = second;
        host.receive(&piece(offset, len, more));
        host.receive(&piece(40, 8, false));
        assert_eq!(host.drops(), [(DropReason::FragmentOverlap, 3)], "{second:?}");
        host.pass(Duration::from_secs(16));
        assert!(host.sent().is_empty() && host.shard.reassembly.is_empty());
    }
}

#[test]
fn the_ping_of_death_does_not_arrive() {
    let mut host = Host::with_peer();
    let echo = icmp(&IcmpHeader::EchoRequest { identifier: 1, sequence: 1 }, &vec![0; 65_520]);
    for (index, piece) in echo.chunks(1480).enumerate() {
        let header = Header {
            protocol: Protocol::ICMP,
            fragment_offset: (index * 1480) as u16,
            more_fragments: (index + 1) * 1480 < echo.len(),
            ..PACKET
        };
        host.receive(&packet_frame(&header, piece));
    }
    assert_eq!(host.drops(), [(DropReason::FragmentTooBig, 1)]);
    assert!(host.sent().is_empty());
}

#[test]
fn lengths_that_lie_are_not_believed() {
    let whole = packet_frame(&PACKET, &udp(&PACKET, 1, 7, b"hello"));
    for (what, at, value) in [
        ("total length of the packet", 16, [0xff, 0xff]),
        ("length of the datagram", 38, [0xff, 0xff]),
        ("length of the datagram", 38, [0, 0]),
    ] {
        let mut host = Host::with_peer();
        host.socket(Request::OpenUdp, (OWN, 7));
        let mut frame = whole.clone();
        frame[at..at + 2].copy_from_slice(&value);
        // Even with a checksum that fits.
        frame[24..26].fill(0);
        let checksum = Sum::of(&frame[14..34]).finish();
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        let reason = host.refused(&frame);
        let expected = if at == 16 { DropReason::Ipv4Truncated } else { DropReason::UdpMalformed };
        assert_eq!(reason, expected, "{what}");
    }
}

#[test]
fn sad_dns_learns_nothing_from_how_many_errors_come() {
    let mut counts = BTreeSet::new();
    for seed in 0..30 {
        let mut host = Host::with(Config::default(), [seed; 16]).pinned();
        let probe = |source: Ipv4Addr, port| {
            let header = Header { source, ..PACKET };
            packet_frame(&header, &udp(&header, 53, port, b"?"))
        };
        // The attacker speaks for the server, and so uses up the server's errors …
        for port in 2000..3000 {
            host.receive(&probe(REMOTE, port));
        }
        host.sent();
        // … which says nothing about how many it gets itself.
        for port in 2000..2100 {
            host.receive(&probe(EVIL, port));
        }
        let answer = Packet { sender_mac: EVIL_MAC, sender_ip: EVIL, ..answer(EVIL_MAC) };
        host.receive(&arp_frame(&answer));
        let errors = host.sent().iter().filter(|frame| !is_arp(frame)).count();
        counts.insert(errors);
        assert!(errors >= 10, "{errors}");
    }
    assert!(counts.len() > 2, "{counts:?}");
}

#[test]
fn redirects_change_no_route() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    let to = Some(SocketAddr::new(REMOTE.into(), 7));
    host.shard.send_to(host.now, socket, to, b"x").expect("sent");
    let frame = host.sent_one();
    let routes: Vec<_> = host.shard.routes().collect();
    for code in 0..4 {
        let redirect =
            icmp(&IcmpHeader::Redirect { code, gateway: [10, 0, 0, 9].into() }, &frame[14..42]);
        let header = Header { protocol: Protocol::ICMP, ..PACKET };
        assert_eq!(host.refused(&packet_frame(&header, &redirect)), DropReason::IcmpIgnored);
    }
    assert_eq!(host.shard.routes().collect::<Vec<_>>(), routes);
    host.shard.send_to(host.now, socket, to, b"x").expect("sent");
    assert_eq!(read_packet(&host.sent_one()).0.destination, PEER_MAC);
}

#[test]
fn forged_errors_about_flows_that_are_not_ours_do_nothing() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    host.request(Request::Connect { socket, remote: SocketAddr::new(PEER.into(), 7) });
    for port in (1..=65_535).filter(|port| *port != 1000) {
        let quoted = Header { source: OWN, destination: PEER, ..PACKET };
        let quote = packet(&quoted, &udp(&quoted, port, 7, b""));
        let error = IcmpHeader::DestinationUnreachable { code: Unreachable::PORT, mtu: 0 };
        let header = Header { protocol: Protocol::ICMP, ..PACKET };
        host.receive(&packet_frame(&header, &icmp(&error, &quote)));
    }
    assert_eq!(host.drops(), [(DropReason::IcmpUnmatched, 65_534)]);
    assert_eq!(host.shard.receive_from(socket, &mut []), Err(Error::WouldBlock));
}

/// A segment from the peer's port 5000 to ours, 80.
pub(crate) fn segment(flags: u8, sequence: u32, acknowledgment: u32) -> Vec<u8> {
    segment_with(5000, flags, (sequence, acknowledgment), b"")
}

/// The same, from another port and with text.
pub(crate) fn segment_with(
    source_port: u16,
    flags: u8,
    (sequence, acknowledgment): (u32, u32),
    text: &[u8],
) -> Vec<u8> {
    let header = Header { protocol: Protocol::TCP, ..PACKET };
    let segment = tcp::Header {
        source_port,
        destination_port: 80,
        sequence,
        acknowledgment,
        flags: Flags(flags.into()),
        window: 65_535,
        urgent: 0,
    };
    let options = Options { mss: Some(1460).filter(|_| flags & 2 != 0), ..Options::default() };
    let mut bytes = [0; tcp::MAX_HEADER_LEN];
    let len = segment.emit(&options, 0, &mut bytes);
    let whole = [&bytes[..len], text].concat();
    let sum = Sum::pseudo_header(PEER, OWN, 6, whole.len() as u16).add(Sum::of(&whole));
    segment.emit(&options, sum.finish(), &mut bytes);
    packet_frame(&header, &[&bytes[..len], text].concat())
}

/// A connection with 20,000 bytes on their way to the peer, and what of them was sent so far.
pub(super) fn sending() -> (Host, SocketId, Vec<Vec<u8>>) {
    let mut host = Host::with_peer();
    let Reply::Socket(listener) = host.request(Request::OpenTcp) else { panic!("no socket") };
    let local = SocketAddr::new(OWN.into(), 80);
    host.request(Request::Bind { socket: listener, local });
    host.request(Request::Listen { socket: listener, backlog: 1 });
    host.receive(&segment(0x02, 1000, 0));
    let syn_ack = host.sent_one();
    let syn_ack = tcp::Segment::parse(read_packet(&syn_ack).1.payload).expect("a segment");
    host.receive(&segment(0x10, 1001, syn_ack.header.sequence.wrapping_add(1)));
    let accepted = host.request(Request::Accept { socket: listener });
    let Reply::Accepted { socket, .. } = accepted else { panic!("{accepted:?}") };
    let fill = |room: &mut [std::io::IoSliceMut<'_>; 2]| room[0].len().min(20_000);
    host.shard.send_with(host.now, socket, 20_000, fill).expect("there is room");
    let frames = host.sent();
    assert!(frames.len() > 2, "several segments");
    (host, socket, frames)
}

pub(super) fn send_mss(host: &mut Host, socket: SocketId) -> u16 {
    let info = host.request(Request::Info { socket });
    let Reply::Info(info) = info else { panic!("{info:?}") };
    info.tcp.expect("a connection").send_mss
}

/// "The next hop takes but `mtu` bytes", about a packet of ours with another sequence number.
pub(super) fn too_big(mtu: u16, about: &[u8], sequence_offset: u32) -> Vec<u8> {
    let mut quote = about[14..42].to_vec();
    let sequence = u32::from_be_bytes([quote[24], quote[25], quote[26], quote[27]]);
    quote[24..28].copy_from_slice(&sequence.wrapping_add(sequence_offset).to_be_bytes());
    let code = Unreachable::FRAGMENTATION_NEEDED;
    let error = icmp(&IcmpHeader::DestinationUnreachable { code, mtu }, &quote);
    packet_frame(&Header { protocol: Protocol::ICMP, source: REMOTE, ..PACKET }, &error)
}

#[test]
fn forged_fragmentation_needed_has_a_floor_and_must_match() {
    let (mut host, socket, frames) = sending();
    assert_eq!(send_mss(&mut host, socket), 1460);
    // Numbers that are not in flight: before, after, far away.
    for offset in [u32::MAX - 100_000, 100_000, 1 << 31] {
        host.receive(&too_big(600, &frames[0], offset));
        assert_eq!(send_mss(&mut host, socket), 1460, "{offset}");
    }
    host.receive(&too_big(1400, &frames[0], 0));
    assert_eq!(send_mss(&mut host, socket), 1360);
    // Nothing makes it grow, nor shrink beyond the floor.
    host.receive(&too_big(9000, &frames[0], 0));
    assert_eq!(send_mss(&mut host, socket), 1360);
    for mtu in [68, 1, 0] {
        host.receive(&too_big(mtu, &frames[0], 0));
        assert_eq!(send_mss(&mut host, socket), 552 - 40, "{mtu}");
    }
}

#[test]
fn forged_unreachables_end_no_established_connection() {
    let (mut host, socket, frames) = sending();
    for code in 0..16 {
        let code = Unreachable(code);
        let error =
            icmp(&IcmpHeader::DestinationUnreachable { code, mtu: 1400 }, &frames[0][14..42]);
        let header = Header { protocol: Protocol::ICMP, source: REMOTE, ..PACKET };
        host.receive(&packet_frame(&header, &error));
    }
    let info = host.request(Request::Info { socket });
    let Reply::Info(info) = info else { panic!("{info:?}") };
    assert_eq!(info.state, crate::tcp::State::Established);
}

/// CVE-2019-14899: somebody on one link feels for flows of another interface's address.
#[test]
fn off_path_vpn_inference_gets_no_answer() {
    let mut host = Host::with_peer();
    let vpn = host.add_interface("vpn0", MacAddr([2, 0, 0, 0, 1, 2]), "10.1.0.2/24");
    let vpn_address = Ipv4Addr::new(10, 1, 0, 2);
    let socket = host.socket(Request::OpenUdp, (vpn_address, 7));
    for (source, destination) in [
        (PEER, vpn_address),
        (Ipv4Addr::new(10, 1, 0, 1), vpn_address),
        (Ipv4Addr::new(10, 1, 0, 1), OWN),
    ] {
        let header = Header { source, destination, ..PACKET };
        host.receive(&ping(&header));
        host.receive(&packet_frame(&header, &udp(&header, 5, 7, b"are you there")));
        host.receive(&packet_frame(&header, &udp(&header, 5, 8, b"and you")));
        for flags in [0x02, 0x10, 0x12, 0x04] {
            let mut segment = [0; 20];
            segment[12..14].copy_from_slice(&[0x50, flags]);
            let header = Header { protocol: Protocol::TCP, ..header };
            host.receive(&packet_frame(&header, &segment));
        }
        let question = Packet {
            operation: Operation::Request,
            sender_mac: EVIL_MAC,
            sender_ip: EVIL,
            target_mac: MacAddr::ZERO,
            target_ip: vpn_address,
        };
        host.receive(&arp_frame(&question));
    }
    assert!(host.sent().is_empty() && host.sent_on(vpn).is_empty());
    assert_eq!(host.shard.receive_from(socket, &mut []), Err(Error::WouldBlock));
    let mut reasons: Vec<_> = host.drops().into_iter().map(|(reason, _)| reason).collect();
    reasons.sort();
    assert_eq!(reasons, [DropReason::ArpNotForUs, DropReason::ReversePath, DropReason::NotLocal]);
}

#[test]
fn land_and_its_relatives_get_no_answer() {
    let mut host = Host::with_peer();
    host.socket(Request::OpenUdp, (OWN, 7));
    let flags = [0x02, 0x10, 0x12];
    for source in [OWN, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, [224, 0, 0, 1].into()] {
        let header = Header { source, ..PACKET };
        host.receive(&ping(&header));
        host.receive(&packet_frame(&header, &udp(&header, 7, 7, b"chargen")));
        for flags in flags {
            let mut segment = [0; 20];
            segment[..4].copy_from_slice(&[0, 80, 0, 80]);
            segment[12..14].copy_from_slice(&[0x50, flags]);
            let header = Header { protocol: Protocol::TCP, ..header };
            host.receive(&packet_frame(&header, &segment));
        }
    }
    assert_eq!(host.drops(), [(DropReason::Martian, 20)]);
    assert!(host.sent().is_empty());
}

#[test]
fn smurfs_get_no_answer() {
    let mut host = Host::with_peer();
    for destination in [Ipv4Addr::BROADCAST, [10, 0, 0, 255].into(), [10, 0, 0, 0].into()] {
        for link in [MacAddr::BROADCAST, OWN_MAC] {
            let header = Header { source: REMOTE, destination, ..PACKET };
            let mut echo = ping(&header);
            echo[..6].copy_from_slice(&link.0);
            host.receive(&echo);
            let nobody = packet(&header, &udp(&header, 7, 19, b"?"));
            host.receive(&frame(link, EtherType::IPV4, &nobody));
        }
    }
    assert!(host.sent().is_empty());
}

/// CVE-2020-36516 and the idle scan: what identifications others get says nothing.
#[test]
fn the_idle_scan_finds_no_counter() {
    let mut host = Host::with_peer();
    let mut next = |source| {
        host.receive(&ping(&Header { source, ..PACKET }));
        read_packet(&host.sent_one()).1.header.identification
    };
    let mut last = next(PEER);
    let mut step_after = |others: usize| {
        for _ in 0..others {
            next(REMOTE);
        }
        let identification = next(PEER);
        let step = identification.wrapping_sub(last);
        last = identification;
        step
    };
    // One's own steps are random, and the same however much others got meanwhile.
    for others in [0, 1, 20] {
        let steps: BTreeSet<_> = (0..100).map(|_| step_after(others)).collect();
        assert_eq!(steps, (1..=8).collect(), "after {others} packets to others");
    }
}

#[test]
fn a_program_that_does_not_read_costs_its_own_memory_alone() {
    let mut host = Host::with_peer();
    let lazy = host.socket(Request::OpenUdp, (OWN, 7));
    let other = host.socket(Request::OpenUdp, (OWN, 8));
    for _ in 0..10_000 {
        host.receive(&packet_frame(&PACKET, &udp(&PACKET, 5, 7, &[0; 1000])));
    }
    host.receive(&packet_frame(&PACKET, &udp(&PACKET, 5, 8, b"hello")));
    assert!(host.shard.receive_from(other, &mut [0; 10]).is_ok());
    let mut held = 0;
    while let Ok((len, _)) = host.shard.receive_from(lazy, &mut []) {
        held += len;
    }
    assert!(held <= Limits::default().datagram_bytes, "{held}");
}

/// CVE-2012-0207, URGENT/11: response times of zero, source lists that lie, floods of queries.
#[test]
fn hostile_igmp_neither_stops_the_host_nor_makes_it_talk() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (Ipv4Addr::UNSPECIFIED, 7));
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let interface = GroupInterface::Interface(ETH);
    let change = MembershipChange::Join;
    host.request(Request::Membership { socket, group, interface, change });
    host.pass(Duration::from_secs(5));
    host.sent();
    let mut answers = 0;
    for number in 0..30_000u32 {
        let [a, b, c, d] = number.to_be_bytes();
        let about = if number % 2 == 0 { Ipv4Addr::UNSPECIFIED } else { group };
        let sources = if number % 3 == 0 { &[10, b, c, d][..] } else { &[] };
        let count = if number % 5 == 0 { 0xff } else { sources.len() as u8 / 4 };
        let fixed = [0x11, 0, 0, 0];
        let mut query = [&fixed[..], &about.octets(), &[2, 125, a, count], sources].concat();
        igmp::complete(&mut query);
        let destination = if about.is_unspecified() { igmp::ALL_SYSTEMS } else { group };
        let header = Header { ttl: 1, protocol: Protocol::IGMP, destination, ..PACKET };
        host.receive(&packet_frame(&header, &query));
        host.pass(Duration::from_millis(1));
        answers += host.sent().len();
    }
    // Thirty seconds of a thousand queries each; one timer for all, one for the group.
    assert!((30..1500).contains(&answers), "{answers} answers");
    assert!(host.shard.timers.len() <= 2);
}
