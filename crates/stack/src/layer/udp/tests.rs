use super::*;
use crate::{
    Config, Reply,
    config::Limits,
    counters::DropReason,
    event::Readiness,
    layer::fixture::*,
    request::{Envelope, Error, Request, SocketId, SocketOption},
    table::{
        error_queue::{IcmpOrigin, Origin, QueuedError},
        interface::InterfaceId,
        ip_settings::PathMtuDiscovery,
    },
};
use core::net::SocketAddr;
use narrows_wire::{
    checksum::Sum,
    icmpv4::{Header as IcmpHeader, Unreachable},
    ipv4::Header as PacketHeader,
    offload::{
        Capabilities, PartialChecksum, RxChecksum, RxOffload, SegmentKind, Segmentation, TxOffload,
    },
    udp::Header,
};

mod broadcast;
mod connected;
mod errors;
mod multicast;
mod segments;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn addr(host: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(host.into(), port)
}

/// A datagram from the peer's port 5000 to ours.
fn to_port(port: u16, data: &[u8]) -> Vec<u8> {
    packet_frame(&PACKET, &udp(&PACKET, 5000, port, data))
}

fn received(host: &mut Host, socket: SocketId) -> Result<(Vec<u8>, SocketAddr), Error> {
    let mut buffer = [0; 2000];
    let (len, from) = host.shard.receive_from(socket, &mut buffer)?;
    Ok((buffer[..len].to_vec(), from))
}

#[test]
fn datagrams_find_the_most_particular_socket() {
    let mut host = Host::with_peer();
    let wildcard = host.socket(Request::OpenUdp, (ANY, 7));
    let bound = host.socket(Request::OpenUdp, (OWN, 8));
    let connected = host.socket(Request::OpenUdp, (OWN, 9));
    host.request(Request::Connect { socket: connected, remote: addr(PEER, 5000) });
    for (socket, port) in [(wildcard, 7), (bound, 8), (connected, 9)] {
        host.receive(&to_port(port, b"hello"));
        let event = host.shard.poll_event().expect("readable");
        assert_eq!((event.socket, event.readiness), (socket, Readiness::READABLE));
        let expected = (b"hello".to_vec(), addr(PEER, 5000));
        assert_eq!(received(&mut host, socket), Ok(expected), "{port}");
    }
    // Somebody else's datagrams are not for a connected socket.
    let other = packet_frame(&PACKET, &udp(&PACKET, 5001, 9, b"me too"));
    assert_eq!(host.refused(&other), DropReason::UdpNoSocket);
}

#[test]
fn a_port_that_nobody_has_is_unreachable() {
    let mut host = Host::with_peer();
    let frame = to_port(7, &[1; 1000]);
    assert_eq!(host.refused(&frame), DropReason::UdpNoSocket);
    let (header, error, quote) = read_icmp(&host.sent_one());
    assert_eq!((header.source, header.destination), (OWN, PEER));
    let expected = IcmpHeader::DestinationUnreachable { code: Unreachable::PORT, mtu: 0 };
    assert_eq!(error, expected);
    assert_eq!(quote, frame[14..14 + 548], "as much as 576 bytes take");
}

#[test]
fn what_is_no_datagram() {
    let whole = udp(&PACKET, 5000, 7, b"hello");
    let mut host = Host::with_peer();
    host.socket(Request::OpenUdp, (ANY, 7));
    for len in 0..whole.len() {
        let reason = host.refused(&packet_frame(&PACKET, &whole[..len]));
        assert_eq!(reason, DropReason::UdpMalformed, "{len}");
    }
    let mut short = whole.clone();
    short[4..6].copy_from_slice(&7u16.to_be_bytes());
    assert_eq!(host.refused(&packet_frame(&PACKET, &short)), DropReason::UdpMalformed);
    assert!(host.sent().is_empty(), "no error is sent about it");
}

#[test]
fn checksums_are_verified_unless_there_is_none_or_the_device_did() {
    let good = udp(&PACKET, 5000, 7, b"hello");
    let mut bad = good.clone();
    bad[6] ^= 1;
    let mut none = good.clone();
    none[6..8].fill(0);
    let trusted = [RxChecksum::Verified, RxChecksum::Partial];
    for (what, datagram, checksum, accepted) in [
        ("good", &good, RxChecksum::Unverified, true),
        ("bad", &bad, RxChecksum::Unverified, false),
        ("none", &none, RxChecksum::Unverified, true),
        ("verified by the device", &bad, trusted[0], true),
        ("never on a wire", &bad, trusted[1], true),
    ] {
        let mut host = Host::with_peer();
        let socket = host.socket(Request::OpenUdp, (ANY, 7));
        let offload = RxOffload { checksum, segment_size: None };
        let frame = packet_frame(&PACKET, datagram);
        host.shard.receive(host.now, ETH, &frame, offload);
        assert_eq!(received(&mut host, socket).is_ok(), accepted, "{what}");
        assert_eq!(host.dropped(DropReason::UdpChecksum), u64::from(!accepted), "{what}");
    }
}

#[test]
fn what_follows_a_datagram_in_its_packet_is_ignored() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let padded = [&udp(&PACKET, 5000, 7, b"hello")[..], &[0xff; 11]].concat();
    host.receive(&packet_frame(&PACKET, &padded));
    assert_eq!(received(&mut host, socket).map(|(data, _)| data), Ok(b"hello".to_vec()));
}

#[test]
fn a_socket_that_is_not_read_fills_up() {
    let config = Config {
        limits: Limits { datagram_bytes: 4096, ..Limits::default() },
        ..Config::default()
    };
    let mut host = Host::with(config, [1; 16]);
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    for _ in 0..100 {
        host.receive(&to_port(7, &[0; 1000]));
    }
    let dropped = host.dropped(DropReason::ReceiveQueueFull);
    let mut taken = 0;
    while received(&mut host, socket).is_ok() {
        taken += 1;
    }
    assert_eq!((taken, dropped), (3, 97));
    assert!(host.sent().is_empty());
}

#[test]
fn a_program_chooses_how_much_may_wait() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let mut taken = |bytes| {
        let option = SocketOption::ReceiveBuffer(bytes);
        host.request(Request::SetOption { socket, option });
        for _ in 0..1000 {
            host.receive(&to_port(7, &[0; 1000]));
        }
        core::iter::from_fn(|| received(&mut host, socket).ok()).count()
    };
    assert_eq!((taken(8 << 10), taken(64 << 10)), (14, 116));
}

#[test]
fn datagrams_leave_with_a_checksum_that_others_accept() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    // The last two make a sum of zero, which is sent as all ones.
    let to = addr(PEER, 5000);
    for len in [0, 1, 2, 3, 100, 1472] {
        let data: Vec<u8> = (0..len).map(|index| index as u8).collect();
        host.shard.send_to(host.now, socket, Some(to), &data).expect("sent");
        let frame = host.sent_one();
        let packet = etherparse::PacketHeaders::from_ethernet_slice(&frame).expect("a packet");
        let Some(etherparse::TransportHeader::Udp(header)) = packet.transport else {
            panic!("no datagram")
        };
        assert_eq!((header.source_port, header.destination_port), (7, 5000));
        let Some(etherparse::NetHeaders::Ipv4(ip, _)) = packet.net else { panic!("no IPv4") };
        let expected = header.calc_checksum_ipv4(&ip, &data).expect("short enough");
        assert_eq!(header.checksum, expected, "{len}");
        assert_eq!((ip.source, ip.destination), (OWN.octets(), PEER.octets()));
    }
}

#[test]
fn a_sum_of_zero_is_sent_as_all_ones() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let mut checksum_of = |data: [u8; 2]| {
        host.shard.send_to(host.now, socket, Some(addr(PEER, 5000)), &data).expect("sent");
        let frame = host.sent_one();
        Header::parse(read_packet(&frame).1.payload).expect("a datagram").0.checksum
    };
    let needed = checksum_of([0, 0]);
    assert_ne!(needed, u16::MAX);
    assert_eq!(checksum_of(needed.to_be_bytes()), u16::MAX);
}

#[test]
fn a_socket_without_a_port_gets_one() {
    let mut host = Host::with_peer();
    let Reply::Socket(socket) = host.request(Request::OpenUdp) else { panic!() };
    host.shard.send_to(host.now, socket, Some(addr(PEER, 5000)), b"hello").expect("sent");
    let frame = host.sent_one();
    let (header, _) = Header::parse(read_packet(&frame).1.payload).expect("a datagram");
    assert!((32_768..=60_999).contains(&header.source_port));
    let answer = udp(&PACKET, 5000, header.source_port, b"hi");
    host.receive(&packet_frame(&PACKET, &answer));
    assert_eq!(received(&mut host, socket), Ok((b"hi".to_vec(), addr(PEER, 5000))));
}

#[test]
fn what_cannot_be_sent_says_why() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let local = host.socket(Request::OpenUdp, ([127, 0, 0, 1].into(), 8));
    let ping = host.socket(Request::OpenPing, (ANY, 7));
    let Reply::Socket(tcp) = host.request(Request::OpenTcp) else { panic!() };
    let v6 = "[2001:db8::1]:7".parse().unwrap();
    let long = vec![0; 65_508];
    for (what, socket, remote, data, error) in [
        ("no peer", socket, None, &b""[..], Error::NoDestination),
        ("no port", socket, Some(addr(PEER, 0)), b"", Error::InvalidArgument),
        ("IPv6", socket, Some(v6), b"", Error::FamilyNotSupported),
        ("long", socket, Some(addr(PEER, 7)), &long, Error::MessageTooLong),
        ("broadcast", socket, Some(addr(Ipv4Addr::BROADCAST, 7)), b"", Error::BroadcastDenied),
        ("from the loopback", local, Some(addr(PEER, 7)), b"", Error::NetworkUnreachable),
        ("TCP", tcp, Some(addr(PEER, 7)), b"", Error::InvalidState),
    ] {
        let result = host.shard.send_to(host.now, socket, remote, data);
        assert_eq!(result, Err(error), "{what}");
    }
    let envelope = Envelope { remote: Some(addr(PEER, 7)), ..Envelope::default() };
    let result = output(&mut host.shard, host.now, ping, &envelope, b"");
    assert_eq!(result, Err(Error::InvalidState));
    assert!(host.sent().is_empty());
}

#[test]
fn a_full_queue_is_told_and_counted() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let to = Some(addr(PEER, 7));
    let sent = (0..5000).take_while(|_| host.shard.send_to(host.now, socket, to, b"x").is_ok());
    assert_eq!(sent.count(), host.shard.config.limits.egress_queue);
    assert_eq!(host.drops(), [(DropReason::EgressQueueFull, 1)]);
    let result = host.shard.send_to(host.now, socket, to, b"x");
    assert_eq!(result, Err(Error::LimitReached));
}
