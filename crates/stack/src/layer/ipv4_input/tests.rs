use super::*;
use crate::{
    Config,
    config::Limits,
    layer::fixture::*,
    request::{GroupInterface, Request, SocketKind},
    table::membership::MembershipChange,
    time::Duration,
};
use core::net::SocketAddr;
use narrows_wire::{
    address::MacAddr,
    checksum::Sum,
    ethernet::EtherType,
    icmpv4::Header as IcmpHeader,
    ipv4::{HEADER_LEN, Header},
};

/// A packet with options, whose length must be a multiple of 4.
fn with_options(header: &Header, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = packet(header, &[options, payload].concat());
    bytes[0] = 0x40 | ((HEADER_LEN + options.len()) / 4) as u8;
    bytes[10..12].fill(0);
    let checksum = Sum::of(&bytes[..HEADER_LEN + options.len()]).finish();
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame(OWN_MAC, EtherType::IPV4, &bytes)
}

fn echo() -> Vec<u8> {
    icmp(&IcmpHeader::EchoRequest { identifier: 1, sequence: 2 }, &[9; 64])
}

const ECHO: Header = Header { protocol: Protocol::ICMP, ..PACKET };

#[test]
fn what_is_no_packet() {
    let whole = ping(&PACKET);
    let changed = |at: usize, value: u8| {
        let mut frame = whole.clone();
        frame[14 + at] = value;
        frame
    };
    for (what, frame, reason) in [
        ("no header", whole[..14 + 19].to_vec(), DropReason::Ipv4Truncated),
        ("cut", whole[..whole.len() - 1].to_vec(), DropReason::Ipv4Truncated),
        ("version 6", changed(0, 0x65), DropReason::Ipv4Malformed),
        ("header too short", changed(0, 0x44), DropReason::Ipv4Malformed),
        ("length too short", changed(3, 19), DropReason::Ipv4Malformed),
        ("a flipped bit", changed(8, 63), DropReason::Ipv4Checksum),
    ] {
        let mut host = Host::with_peer();
        assert_eq!(host.refused(&frame), reason, "{what}");
        assert!(host.sent().is_empty(), "{what}");
    }
}

#[test]
fn padding_of_short_frames_is_no_part_of_the_packet() {
    let mut host = Host::with_peer();
    let padded = [&ping(&PACKET)[..], &[0xff; 30]].concat();
    host.receive(&padded);
    assert_eq!(read_icmp(&host.sent_one()).2, b"are you there");
}

#[test]
fn options_are_read_and_source_routes_refused() {
    let strict = [137, 7, 4, 10, 0, 0, 9, 0];
    let loose = [1, 131, 7, 4, 10, 0, 0, 9];
    let record_route = [7, 7, 4, 0, 0, 0, 0, 0];
    for (what, options, reason) in [
        ("strict source route", &strict[..], Some(DropReason::Ipv4SourceRoute)),
        ("loose source route", &loose, Some(DropReason::Ipv4SourceRoute)),
        ("length 0", &[7, 0, 0, 0], Some(DropReason::Ipv4Malformed)),
        ("length 1", &[7, 1, 0, 0], Some(DropReason::Ipv4Malformed)),
        ("past the end", &[7, 5, 0, 0], Some(DropReason::Ipv4Malformed)),
        ("no length", &[1, 1, 1, 7], Some(DropReason::Ipv4Malformed)),
        ("record route", &record_route, None),
        ("router alert", &[148, 4, 0, 0], None),
        ("nothing but padding", &[1, 1, 1, 0], None),
        ("what follows the end is not read", &[0, 131, 0, 0], None),
    ] {
        let mut host = Host::with_peer();
        host.receive(&with_options(&ECHO, options, &echo()));
        let expected: Vec<_> = reason.map(|reason| (reason, 1)).into_iter().collect();
        assert_eq!(host.drops(), expected, "{what}");
        let answers: Vec<_> = host.sent().iter().map(|frame| read_icmp(frame).1).collect();
        let expected = match reason {
            None => &[IcmpHeader::EchoReply { identifier: 1, sequence: 2 }][..],
            Some(DropReason::Ipv4Malformed) => {
                let at = if what == "no length" { 23 } else { 20 };
                &[IcmpHeader::ParameterProblem { pointer: at }]
            }
            Some(_) => &[],
        };
        assert_eq!(answers, expected, "{what}");
    }
}

#[test]
fn addresses_that_cannot_be_on_a_wire() {
    let sources = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        // Of our subnet: its broadcast, its number, and ourselves (LAND).
        "10.0.0.255",
        "10.0.0.0",
        "10.0.0.2",
        // Our address on another interface.
        "10.1.0.2",
    ];
    let destinations = ["0.0.0.0", "0.1.2.3", "127.0.0.1", "127.9.9.9", "240.0.0.1", "254.1.2.3"];
    let mut host = Host::with_peer();
    host.add_interface("eth1", MacAddr([2, 0, 0, 0, 1, 2]), "10.1.0.2/24");
    let udp_socket = host.socket(Request::OpenUdp, ([0, 0, 0, 0].into(), 7));
    for protocol in [Protocol::ICMP, Protocol::UDP, Protocol::TCP, Protocol(99)] {
        for source in sources {
            let header = Header { source: source.parse().unwrap(), protocol, ..PACKET };
            let reason = host.refused(&packet_frame(&header, &echo()));
            assert_eq!(reason, DropReason::Martian, "from {source}");
        }
        for destination in destinations {
            let header = Header { destination: destination.parse().unwrap(), protocol, ..PACKET };
            let reason = host.refused(&packet_frame(&header, &echo()));
            assert_eq!(reason, DropReason::Martian, "to {destination}");
        }
    }
    assert!(host.sent().is_empty(), "and nobody hears of it");
    assert!(host.shard.receive_from(udp_socket, &mut []).is_err());
}

#[test]
fn packets_for_others_are_not_ours() {
    let mut host = Host::with_peer();
    host.add_interface("eth1", MacAddr([2, 0, 0, 0, 1, 2]), "10.1.0.2/24");
    for destination in [
        "10.0.0.3",
        "192.0.2.9",
        "10.0.0.0",
        "10.9.255.255",
        // Strong host: ours, but another interface's.
        "10.1.0.2",
        "10.1.0.255",
    ] {
        let reason =
            host.refused(&ping(&Header { destination: destination.parse().unwrap(), ..PACKET }));
        assert_eq!(reason, DropReason::NotLocal, "{destination}");
    }
    assert!(host.sent().is_empty());
}

#[test]
fn groups_are_heard_by_members_alone() {
    let group = Ipv4Addr::new(239, 1, 1, 1);
    let header = Header { destination: group, ..PACKET };
    let datagram = packet(&header, &udp(&header, 5000, 7, b"hello"));
    let on_link = |mac| frame(mac, EtherType::IPV4, &datagram);
    let mut host = Host::with_peer();
    let mac = MacAddr::of_group(group);
    assert_eq!(host.refused(&on_link(mac)), DropReason::NotForThisStation);
    assert_eq!(host.refused(&on_link(OWN_MAC)), DropReason::NotJoined);
    // Another group of the same link address is let in by that, and no further.
    let socket = host.socket(Request::OpenUdp, (Ipv4Addr::UNSPECIFIED, 9));
    let join = |group: [u8; 4], change| Request::Membership {
        socket,
        group: group.into(),
        interface: GroupInterface::Interface(ETH),
        change,
    };
    host.request(join([224, 1, 1, 1], MembershipChange::Join));
    assert_eq!(host.refused(&on_link(mac)), DropReason::NotJoined);
    // Of the sources of the group, those that somebody wants.
    let other = Ipv4Addr::new(10, 0, 0, 9);
    host.request(join(group.octets(), MembershipChange::JoinSource(other)));
    assert_eq!(host.refused(&on_link(mac)), DropReason::NotJoined);
    host.request(join(group.octets(), MembershipChange::JoinSource(PEER)));
    assert_eq!(host.refused(&on_link(mac)), DropReason::UdpNoSocket);
    // On a group's link address only packets for groups are right.
    let unicast = frame(mac, EtherType::IPV4, &packet(&PACKET, &udp(&PACKET, 5000, 9, b"hello")));
    assert_eq!(host.refused(&unicast), DropReason::Martian);
    // Nobody is answered.
    host.sent();
    let header = Header { protocol: Protocol::ICMP, ..header };
    let echo = icmp(&IcmpHeader::EchoRequest { identifier: 5, sequence: 6 }, b"anybody?");
    let ping = frame(mac, EtherType::IPV4, &packet(&header, &echo));
    assert_eq!(host.refused(&ping), DropReason::IcmpIgnored);
    assert!(host.sent().is_empty());
}

#[test]
fn only_udp_is_broadcast() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, ([0, 0, 0, 0].into(), 7));
    for destination in [Ipv4Addr::BROADCAST, Ipv4Addr::new(10, 0, 0, 255)] {
        for link in [OWN_MAC, MacAddr::BROADCAST] {
            let header = Header { destination, ..PACKET };
            let to_all = |protocol, payload: &[u8]| {
                let packet = packet(&Header { protocol, ..header }, payload);
                frame(link, EtherType::IPV4, &packet)
            };
            let reason = host.refused(&to_all(Protocol::ICMP, &echo()));
            assert_eq!(reason, DropReason::IcmpIgnored);
            assert_eq!(host.refused(&to_all(Protocol::TCP, &[0; 20])), DropReason::Martian);
            assert_eq!(host.refused(&to_all(Protocol(99), &[0; 20])), DropReason::Martian);
            let reason = host.refused(&to_all(Protocol::UDP, &udp(&header, 5, 8, b"nobody")));
            assert_eq!(reason, DropReason::UdpNoSocket);
            host.receive(&to_all(Protocol::UDP, &udp(&header, 5, 7, b"hello")));
            let mut buffer = [0; 16];
            let received = host.shard.receive_from(socket, &mut buffer);
            assert_eq!(received, Ok((5, SocketAddr::new(PEER.into(), 5))));
        }
    }
    assert!(host.sent().is_empty(), "no error is sent about a broadcast");
}

#[test]
fn a_unicast_packet_in_a_broadcast_frame_is_a_mistake() {
    let mut host = Host::with_peer();
    let mut frame = ping(&PACKET);
    frame[..6].copy_from_slice(&MacAddr::BROADCAST.0);
    assert_eq!(host.refused(&frame), DropReason::Martian);
}

#[test]
fn a_source_is_believed_where_its_answer_would_go() {
    let mut host = Host::with_peer();
    let second = host.add_interface("eth1", MacAddr([2, 0, 0, 0, 1, 2]), "10.1.0.2/24");
    let mut on_second = |source: [u8; 4]| {
        let before = host.drops();
        let header = Header { source: source.into(), destination: [10, 1, 0, 2].into(), ..PACKET };
        let mut frame = ping(&header);
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 1, 2]);
        host.receive_on(second, &frame);
        host.drops() == before
    };
    assert!(on_second([10, 1, 0, 7]), "of its own subnet");
    assert!(!on_second([10, 0, 0, 7]), "of the other's subnet");
    assert!(!on_second(REMOTE.octets()), "beyond the other's gateway");
    // The first interface has the default route.
    host.receive(&ping(&Header { source: REMOTE, ..PACKET }));
    assert_eq!(host.sent().len(), 1);
}

#[test]
fn without_a_route_back_nobody_is_believed() {
    let mut host = Host::with_peer();
    host.request(remove_route("0.0.0.0/0"));
    let reason = host.refused(&ping(&Header { source: REMOTE, ..PACKET }));
    assert_eq!(reason, DropReason::ReversePath);
}

#[test]
fn protocols_that_nobody_speaks_are_unreachable() {
    let mut host = Host::with_peer();
    let header = Header { protocol: Protocol(132), ..PACKET };
    assert_eq!(host.refused(&packet_frame(&header, &[0; 40])), DropReason::UnknownProtocol);
    let (_, error, _) = read_icmp(&host.sent_one());
    let expected = IcmpHeader::DestinationUnreachable { code: Unreachable::PROTOCOL, mtu: 0 };
    assert_eq!(error, expected);
}

/// IP in IP is off (Ripple20, CVE-2020-11896).
#[test]
fn tunnels_are_unknown_protocols() {
    for protocol in [4, 41, 47] {
        let mut host = Host::with_peer();
        let inner = packet(&ECHO, &echo());
        let header = Header { protocol: Protocol(protocol), ..PACKET };
        assert_eq!(host.refused(&packet_frame(&header, &inner)), DropReason::UnknownProtocol);
        host.sent();
    }
}

/// The fragments of an echo request of 3,000 bytes.
fn fragments() -> Vec<Vec<u8>> {
    let message = icmp(&IcmpHeader::EchoRequest { identifier: 1, sequence: 2 }, &[7; 3000]);
    let last = message.len() / 1480;
    message
        .chunks(1480)
        .enumerate()
        .map(|(index, piece)| {
            let header = Header {
                more_fragments: index < last,
                fragment_offset: (index * 1480) as u16,
                ..ECHO
            };
            packet_frame(&header, piece)
        })
        .collect()
}

#[test]
fn fragments_are_answered_as_one() {
    let mut host = Host::with_peer();
    for fragment in fragments().iter().rev() {
        assert!(host.sent().is_empty());
        host.receive(fragment);
    }
    let frames = host.sent();
    assert_eq!(frames.len(), 3, "the answer is as long");
    assert_eq!(host.drops(), []);
    assert!(host.shard.reassembly.is_empty());
}

#[test]
fn overlapping_fragments_are_counted_every_one() {
    let mut host = Host::with_peer();
    let fragments = fragments();
    let overlap =
        packet_frame(&Header { more_fragments: true, fragment_offset: 8, ..ECHO }, &[0; 16]);
    for fragment in [&fragments[0], &fragments[1], &overlap, &fragments[2]] {
        host.receive(fragment);
    }
    assert_eq!(host.drops(), [(DropReason::FragmentOverlap, 4)]);
    host.pass(Duration::from_secs(16));
    assert!(host.sent().is_empty(), "and nobody hears of it");
}

#[test]
fn fragments_past_the_end_of_the_world() {
    let mut host = Host::with_peer();
    let header = Header { fragment_offset: 65_528, ..ECHO };
    assert_eq!(host.refused(&packet_frame(&header, &[0; 1000])), DropReason::FragmentTooBig);
    let header = Header { more_fragments: true, ..ECHO };
    assert_eq!(host.refused(&packet_frame(&header, &[0; 9])), DropReason::Ipv4Malformed);
}

#[test]
fn too_many_fragments_are_counted() {
    let config = Config {
        limits: Limits { reassembly_datagrams: 4, reassembly_fragments: 2, ..Limits::default() },
        ..Config::default()
    };
    let mut host = Host::with(config, [1; 16]);
    let piece = |identification, fragment_offset| {
        let header = Header { identification, fragment_offset, more_fragments: true, ..ECHO };
        packet_frame(&header, &[0; 8])
    };
    for fragment_offset in [0, 16, 32] {
        host.receive(&piece(1, fragment_offset));
    }
    assert_eq!(host.drops(), [(DropReason::FragmentLimit, 1)]);
    // The source's share is one datagram: the next one costs the first, with its two pieces.
    host.receive(&piece(2, 0));
    assert_eq!(host.drops(), [(DropReason::FragmentLimit, 3)]);
}

#[test]
fn when_time_runs_out_the_sender_of_the_first_fragment_is_told() {
    for (held, told) in [(vec![0], true), (vec![0, 1], true), (vec![1, 2], false)] {
        let mut host = Host::with_peer();
        for index in &held {
            host.receive(&fragments()[*index]);
        }
        host.pass(Duration::from_secs(14));
        assert!(host.sent().is_empty());
        host.pass(Duration::from_secs(2));
        let expected = [(DropReason::ReassemblyTimeout, held.len() as u64)];
        assert_eq!(host.drops(), expected);
        let frames = host.sent();
        assert_eq!(frames.len(), usize::from(told), "{held:?}");
        if let Some(frame) = frames.first() {
            let (header, error, quote) = read_icmp(frame);
            assert_eq!((header.source, header.destination), (OWN, PEER));
            assert_eq!(error, IcmpHeader::TimeExceeded { code: 1 });
            assert_eq!(quote, fragments()[0][14..14 + 548]);
        }
        assert!(host.shard.reassembly.is_empty());
    }
}

#[test]
fn nobody_is_told_about_a_broadcast_that_was_not_whole() {
    let mut host = Host::with_peer();
    let header = Header { destination: Ipv4Addr::BROADCAST, more_fragments: true, ..PACKET };
    host.receive(&packet_frame(&header, &[0; 64]));
    host.pass(Duration::from_secs(16));
    assert_eq!(host.drops(), [(DropReason::ReassemblyTimeout, 1)]);
    assert!(host.sent().is_empty());
}

#[test]
fn the_loopback_carries_only_what_is_ours() {
    let mut host = Host::with_peer();
    let mut input = |source: [u8; 4], destination: [u8; 4]| {
        let header = Header { source: source.into(), destination: destination.into(), ..ECHO };
        let packet = packet(&header, &echo());
        let offload = RxOffload { checksum: RxChecksum::Partial, segment_size: None };
        input(&mut host.shard, host.now, InterfaceId::LOOPBACK, &packet, offload)
    };
    let (own, lo) = (OWN.octets(), [127, 0, 0, 1]);
    for (source, destination) in [(own, own), (lo, lo), (lo, [127, 9, 9, 9]), (own, lo), (lo, own)]
    {
        assert_eq!(input(source, destination), Ok(()));
    }
    assert_eq!(input(own, PEER.octets()), Err(DropReason::NotLocal));
    assert_eq!(input(PEER.octets(), own), Err(DropReason::Martian));
    assert_eq!(input([0; 4], own), Err(DropReason::Martian));
}

#[test]
fn long_datagrams_cross_the_loopback_whole() {
    let mut host = Host::with_peer();
    let receiver = host.socket(Request::OpenUdp, ([127, 0, 0, 1].into(), 7));
    let sender = host.socket(Request::OpenUdp, ([127, 0, 0, 1].into(), 8));
    let to = SocketAddr::new([127, 0, 0, 1].into(), 7);
    let data = vec![3; 65_507];
    host.shard.send_to(host.now, sender, Some(to), &data).expect("sent");
    assert!(host.sent().is_empty(), "nothing leaves");
    let mut buffer = vec![0; 65_535];
    let (len, from) = host.shard.receive_from(receiver, &mut buffer).expect("received");
    assert_eq!((&buffer[..len], from.port()), (&data[..], 8));
    assert_eq!(host.drops(), []);
    let kind = host.shard.sockets.get(receiver).map(|socket| socket.kind());
    assert_eq!(kind, Some(SocketKind::Udp));
}
