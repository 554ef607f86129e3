use super::*;
use crate::{
    Config, Error, SocketId,
    layer::fixture::*,
    request::{Request, SocketOption},
    time::Duration,
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::MacAddr,
    checksum::Sum,
    ethernet::EtherType,
    icmpv4::Unreachable,
    ipv4::{Header as PacketHeader, Protocol},
};

const ICMP: PacketHeader = PacketHeader { protocol: Protocol::ICMP, ..PACKET };

fn to_us(header: &Header, payload: &[u8]) -> Vec<u8> {
    packet_frame(&ICMP, &icmp(header, payload))
}

#[test]
fn an_echo_is_answered_from_the_address_that_was_asked() {
    let mut host = Host::with_peer();
    let second = Request::AddAddress { interface: ETH, prefix: prefix("10.0.0.22/24") };
    host.request(second);
    for own in [OWN, Ipv4Addr::new(10, 0, 0, 22)] {
        for source in [PEER, REMOTE] {
            host.receive(&ping(&PacketHeader { source, destination: own, tos: 8, ..PACKET }));
            let frame = host.sent_one();
            assert_eq!(read_packet(&frame).0.destination, PEER_MAC);
            let (header, answer, data) = read_icmp(&frame);
            assert_eq!((header.source, header.destination, header.tos), (own, source, 8));
            assert_eq!(answer, Header::EchoReply { identifier: 5, sequence: 6 });
            assert_eq!(data, b"are you there");
        }
    }
    assert_eq!(host.drops(), []);
}

#[test]
fn an_echo_with_a_code_is_answered_with_it() {
    for code in [1, 3, 255] {
        let mut request = icmp(&Header::EchoRequest { identifier: 5, sequence: 6 }, b"odd");
        request[1] = code;
        let sum = Sum::of(&[&request[..2], &[0; 2], &request[4..]].concat()).finish();
        request[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut host = Host::with_peer();
        host.receive(&packet_frame(&ICMP, &request));
        let frame = host.sent_one();
        let (_, packet) = read_packet(&frame);
        assert_eq!(Sum::of(packet.payload).finish(), 0, "{code}");
        assert_eq!(packet.payload[..2], [0, code]);
        assert_eq!(packet.payload[4..], request[4..]);
        let to_all = PacketHeader { destination: [10, 0, 0, 255].into(), ..ICMP };
        host.refused(&packet_frame(&to_all, &request));
        assert!(host.sent().is_empty(), "{code}");
    }
}

#[test]
fn echoes_of_any_length_come_back_whole() {
    for len in [0, 1, 1472, 1473, 65_507] {
        let mut host = Host::with_peer();
        let data = vec![3; len];
        let request = Header::EchoRequest { identifier: 1, sequence: 1 };
        let header = PacketHeader { protocol: Protocol::ICMP, ..PACKET };
        // As one frame: devices that coalesce hand over more than the MTU.
        host.receive(&packet_frame(&header, &icmp(&request, &data)));
        let mut joined = Vec::new();
        for frame in host.sent() {
            joined.extend_from_slice(read_packet(&frame).1.payload);
        }
        let (answer, echoed) = Header::parse(&joined).expect("a message");
        assert_eq!(answer, Header::EchoReply { identifier: 1, sequence: 1 });
        assert_eq!(echoed, data, "{len}");
    }
}

#[test]
fn what_is_no_message() {
    let whole = icmp(&Header::EchoRequest { identifier: 1, sequence: 1 }, b"hello");
    let mut host = Host::with_peer();
    for len in 0..8 {
        let reason = host.refused(&packet_frame(&ICMP, &whole[..len]));
        assert_eq!(reason, DropReason::IcmpMalformed, "{len}");
    }
    let mut flipped = whole.clone();
    flipped[9] ^= 4;
    let reason = host.refused(&packet_frame(&ICMP, &flipped));
    assert_eq!(reason, DropReason::IcmpChecksum);
    assert!(host.sent().is_empty());
}

#[test]
fn what_is_of_no_use_is_ignored() {
    for (what, kind) in [
        ("source quench", 4),
        ("redirect", 5),
        ("router advertisement", 9),
        ("timestamp", 13),
        ("information", 15),
        ("address mask", 17),
        ("unknown", 200),
    ] {
        let mut host = Host::with_peer();
        let reason = host.refused(&to_us(&Header::Other { kind, code: 0 }, &[0; 28]));
        assert_eq!(reason, DropReason::IcmpIgnored, "{what}");
        assert!(host.sent().is_empty(), "{what}");
    }
}

#[test]
fn echo_replies_are_limited_by_host() {
    let mut host = Host::with_peer();
    let flood = |host: &mut Host, source| {
        let mut answered = 0;
        for _ in 0..10_000 {
            host.receive(&ping(&PacketHeader { source, ..PACKET }));
            answered += host.sent().len();
        }
        answered
    };
    let answered = flood(&mut host, PEER);
    assert!((2500..=5000).contains(&answered), "{answered}");
    let limited = host.dropped(DropReason::IcmpRateLimited);
    assert_eq!(limited, 10_000 - answered as u64);
    assert!(flood(&mut host, REMOTE) >= 2500, "others have their own");
    host.pass(Duration::from_secs(1));
    assert!(flood(&mut host, PEER) >= 2500, "and it comes back");
}

/// A ping socket that has asked the peer.
fn pinging(host: &mut Host) -> (SocketId, Vec<u8>) {
    let socket = host.socket(Request::OpenPing, (Ipv4Addr::UNSPECIFIED, 77));
    let to = Some(SocketAddr::new(PEER.into(), 0));
    host.shard.send_to(host.now, socket, to, &request(9, &[1, 2, 3])).expect("sent");
    (socket, host.sent_one())
}

/// An echo request as a program writes it: identifier and checksum are not its business.
fn request(sequence: u16, data: &[u8]) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    [&[8, 0, 0, 0, 0, 0, high, low], data].concat()
}

#[test]
fn programs_ping_and_get_what_comes_back() {
    let mut host = Host::with_peer();
    let (socket, frame) = pinging(&mut host);
    let (header, request, data) = read_icmp(&frame);
    assert_eq!((header.source, header.destination), (OWN, PEER));
    assert_eq!(request, Header::EchoRequest { identifier: 77, sequence: 9 });
    host.receive(&to_us(&Header::EchoReply { identifier: 77, sequence: 9 }, &data));
    assert!(host.shard.poll_event().is_some());
    let mut buffer = [0; 16];
    let received = host.shard.receive_from(socket, &mut buffer);
    assert_eq!(received, Ok((11, SocketAddr::new(PEER.into(), 0))));
    assert_eq!(buffer[..11], icmp(&Header::EchoReply { identifier: 77, sequence: 9 }, &data));
    assert_eq!(host.drops(), []);
}

#[test]
fn answers_to_nobody_are_not_kept() {
    let mut host = Host::with_peer();
    let reply = to_us(&Header::EchoReply { identifier: 77, sequence: 1 }, b"x");
    assert_eq!(host.refused(&reply), DropReason::IcmpUnmatched);
    let (socket, _) = pinging(&mut host);
    let other = to_us(&Header::EchoReply { identifier: 78, sequence: 9 }, b"x");
    assert_eq!(host.refused(&other), DropReason::IcmpUnmatched);
    let received = host.shard.receive_from(socket, &mut [0; 16]);
    assert_eq!(received, Err(Error::WouldBlock));
}

#[test]
fn a_ping_socket_that_is_not_read_fills_up() {
    let mut host = Host::with_peer();
    pinging(&mut host);
    let reply = to_us(&Header::EchoReply { identifier: 77, sequence: 9 }, &[0; 1400]);
    for _ in 0..1000 {
        host.receive(&reply);
    }
    assert!(host.dropped(DropReason::ReceiveQueueFull) > 800);
}

#[test]
fn programs_ping_themselves() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenPing, (Ipv4Addr::UNSPECIFIED, 77));
    for own in [Ipv4Addr::LOCALHOST, OWN] {
        let to = SocketAddr::new(own.into(), 0);
        host.shard.send_to(host.now, socket, Some(to), &request(1, b"")).expect("sent");
        assert!(host.sent().is_empty(), "nothing leaves");
        assert_eq!(host.shard.receive_from(socket, &mut [0; 16]), Ok((8, to)));
    }
}

#[test]
fn a_ping_that_cannot_be_sent_says_why() {
    let mut host = Host::with_peer();
    let (socket, _) = pinging(&mut host);
    let mut send = |to: &str, data: &[u8]| {
        let to = format!("{to}:0").parse().expect("an address");
        host.shard.send_to(host.now, socket, Some(to), data)
    };
    let empty = request(1, b"");
    let reply = [0; 8];
    assert_eq!(send("255.255.255.255", &empty), Err(Error::BroadcastDenied));
    assert_eq!(send("240.0.0.1", &empty), Err(Error::NetworkUnreachable));
    assert_eq!(send("[::1]", &empty), Err(Error::FamilyNotSupported));
    assert_eq!(send("10.0.0.1", &empty[..7]), Err(Error::InvalidArgument));
    assert_eq!(send("10.0.0.1", &reply), Err(Error::InvalidArgument));
    assert_eq!(send("10.0.0.1", &request(1, &vec![0; 65_508])), Err(Error::MessageTooLong));
    assert_eq!(send("10.0.0.1", &request(1, &vec![0; 65_507])), Ok(()));
}

#[test]
fn errors_about_a_ping_reach_its_program() {
    for (error, told) in [
        (Header::DestinationUnreachable { code: Unreachable::HOST, mtu: 0 }, true),
        (Header::DestinationUnreachable { code: Unreachable::NETWORK, mtu: 0 }, true),
        (Header::TimeExceeded { code: 0 }, true),
        (Header::ParameterProblem { pointer: 0 }, true),
        (
            Header::DestinationUnreachable { code: Unreachable::FRAGMENTATION_NEEDED, mtu: 600 },
            true,
        ),
        (Header::DestinationUnreachable { code: Unreachable(77), mtu: 0 }, false),
    ] {
        let mut host = Host::with_peer();
        let (socket, frame) = pinging(&mut host);
        let option = SocketOption::ReceiveErrors(true);
        host.request(Request::SetOption { socket, option });
        host.receive(&to_us(&error, &frame[14..42]));
        let received = host.shard.receive_from(socket, &mut [0; 16]);
        assert_eq!(received == Err(Error::WouldBlock), !told, "{error:?}: {received:?}");
        assert_eq!(host.dropped(DropReason::IcmpIgnored), u64::from(!told), "{error:?}");
    }
}

#[test]
fn errors_that_quote_nothing_of_ours_are_ignored() {
    let mut host = Host::with_peer();
    let (socket, frame) = pinging(&mut host);
    let error = Header::DestinationUnreachable { code: Unreachable::PORT, mtu: 0 };
    let quote = &frame[14..42];
    let changed = |at: usize, value: u8| {
        let mut quote = quote.to_vec();
        quote[at] = value;
        quote
    };
    for (what, quote, reason) in [
        ("another identifier", changed(25, 99), DropReason::IcmpUnmatched),
        ("a reply", changed(20, 0), DropReason::IcmpUnmatched),
        ("another sender", changed(15, 3), DropReason::IcmpUnmatched),
        ("another protocol", changed(9, 50), DropReason::IcmpUnmatched),
        ("a later fragment", changed(7, 1), DropReason::IcmpUnmatched),
        ("no such connection", changed(9, 6), DropReason::IcmpUnmatched),
        ("no such datagram socket", changed(9, 17), DropReason::IcmpUnmatched),
        ("a short quotation", quote[..27].to_vec(), DropReason::IcmpMalformed),
        ("IPv6", changed(0, 0x65), DropReason::IcmpMalformed),
        ("nothing", Vec::new(), DropReason::IcmpMalformed),
    ] {
        assert_eq!(host.refused(&to_us(&error, &quote)), reason, "{what}");
    }
    let received = host.shard.receive_from(socket, &mut [0; 16]);
    assert_eq!(received, Err(Error::WouldBlock));
}

/// RFC 1122 §3.2.2, one rule after the other. All of these but the first have no answer.
#[test]
fn errors_are_sent_only_where_they_are_allowed() {
    let unknown = PacketHeader { protocol: Protocol(200), ..PACKET };
    let broken = Header::DestinationUnreachable { code: Unreachable::HOST, mtu: 0 };
    let about_error = icmp(&broken, &[0; 28]);
    let to_all = |header: &PacketHeader, link: MacAddr| {
        frame(link, EtherType::IPV4, &packet(header, &[0; 64]))
    };
    let subnet_broadcast = Ipv4Addr::new(10, 0, 0, 255);
    for (what, frame, answered) in [
        ("one host to us", packet_frame(&unknown, &[0; 64]), true),
        ("an ICMP error", packet_frame(&ICMP, &about_error), false),
        (
            "a broadcast",
            to_all(
                &PacketHeader { destination: Ipv4Addr::BROADCAST, ..PACKET },
                MacAddr::BROADCAST,
            ),
            false,
        ),
        (
            "the subnet's broadcast to our link address",
            to_all(&PacketHeader { destination: subnet_broadcast, ..PACKET }, OWN_MAC),
            false,
        ),
        ("a link broadcast", to_all(&unknown, MacAddr::BROADCAST), false),
        (
            "a group",
            to_all(
                &PacketHeader { destination: [224, 0, 0, 5].into(), ..unknown },
                MacAddr([1, 0, 0x5e, 0, 0, 5]),
            ),
            false,
        ),
        (
            "from everybody",
            packet_frame(&PacketHeader { source: Ipv4Addr::BROADCAST, ..unknown }, &[0; 64]),
            false,
        ),
        (
            "from nobody",
            packet_frame(&PacketHeader { source: [0; 4].into(), ..unknown }, &[0; 64]),
            false,
        ),
        (
            "from a group",
            packet_frame(&PacketHeader { source: [224, 0, 0, 1].into(), ..unknown }, &[0; 64]),
            false,
        ),
        (
            "from the loopback",
            packet_frame(&PacketHeader { source: Ipv4Addr::LOCALHOST, ..unknown }, &[0; 64]),
            false,
        ),
        (
            "from class E",
            packet_frame(&PacketHeader { source: [250, 0, 0, 1].into(), ..unknown }, &[0; 64]),
            false,
        ),
        (
            "a fragment other than the first",
            packet_frame(
                &PacketHeader { fragment_offset: 64, more_fragments: true, ..unknown },
                &[0; 64],
            ),
            false,
        ),
    ] {
        let mut host = Host::with_peer();
        host.receive(&frame);
        host.pass(Duration::from_secs(30));
        assert_eq!(host.sent().len(), usize::from(answered), "{what}");
    }
}

#[test]
fn an_error_about_an_unfinished_error_is_not_sent() {
    let mut host = Host::with_peer();
    let error = icmp(&Header::TimeExceeded { code: 0 }, &[0; 64]);
    let header = PacketHeader { more_fragments: true, ..ICMP };
    host.receive(&packet_frame(&header, &error));
    host.pass(Duration::from_secs(16));
    assert_eq!(host.drops(), [(DropReason::ReassemblyTimeout, 1)]);
    assert!(host.sent().is_empty());
}

#[test]
fn errors_are_limited_by_host_and_not_to_a_known_number() {
    let mut counts = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut host = Host::with(Default::default(), [seed; 16]).pinned();
        for _ in 0..100 {
            host.receive(&packet_frame(&PACKET, &udp(&PACKET, 5, 6, b"nobody")));
        }
        let sent = host.sent().len();
        assert!((10..=20).contains(&sent), "{sent}");
        assert_eq!(host.dropped(DropReason::IcmpRateLimited), 100 - sent as u64);
        assert_eq!(host.dropped(DropReason::UdpNoSocket), 100);
        counts.insert(sent);
        // Another host has its own.
        let header = PacketHeader { source: REMOTE, ..PACKET };
        host.receive(&packet_frame(&header, &udp(&header, 5, 6, b"nobody")));
        assert_eq!(host.sent().len(), 1);
    }
    assert!(counts.len() > 2, "{counts:?}");
}

#[test]
fn a_connected_ping_socket_gets_its_peers_answers_alone() {
    let mut host = Host::with_peer();
    let (socket, _) = pinging(&mut host);
    // Whatever port a program names, ICMP has none.
    host.request(Request::Connect { socket, remote: SocketAddr::new(PEER.into(), 1025) });
    let reply = icmp(&Header::EchoReply { identifier: 77, sequence: 9 }, b"x");
    let header = PacketHeader { source: REMOTE, ..ICMP };
    assert_eq!(host.refused(&packet_frame(&header, &reply)), DropReason::IcmpUnmatched);
    host.receive(&packet_frame(&ICMP, &reply));
    let received = host.shard.receive_from(socket, &mut [0; 16]);
    assert_eq!(received, Ok((9, SocketAddr::new(PEER.into(), 0))));
}

/// The time of day in a timestamp, and whether it says that it is none (RFC 792).
fn read_time(bytes: &[u8]) -> (u32, bool) {
    let time = u32::from_be_bytes(bytes.try_into().expect("four bytes"));
    (time & !(1 << 31), time & 1 << 31 != 0)
}

#[test]
fn the_time_of_day_is_told_where_that_is_wanted() {
    let request = Header::TimestampRequest { identifier: 9, sequence: 3 };
    let times = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut host = Host::with_peer();
    assert_eq!(host.refused(&to_us(&request, &times)), DropReason::IcmpIgnored, "the default");

    // One second before the second midnight of 1970, when the engine's clock began.
    let time_of_day = Some(Duration::from_secs(2 * 86_400 - 1));
    for (known, expected) in [(time_of_day, Some(0)), (None, None)] {
        let config = Config { icmp_timestamps: true, time_of_day: known, ..Config::default() };
        let mut host = Host::with(config, [7; 16]).pinned();
        host.receive(&to_us(&request, &times));
        let (header, reply, told) = read_icmp(&host.sent_one());
        assert_eq!((header.source, header.destination), (OWN, PEER));
        assert_eq!(reply, Header::TimestampReply { identifier: 9, sequence: 3 });
        assert_eq!(told[..4], times[..4], "the originate timestamp comes back");
        assert_eq!((told.len(), &told[4..8]), (12, &told[8..12]), "received and sent at once");
        let (time, of_no_day) = read_time(&told[4..8]);
        assert!(time < 86_400_000 && of_no_day == known.is_none(), "{time}");
        // The clock of the tests is at one second.
        assert!(expected.is_none_or(|expected| time == expected), "{time}");

        for len in [0, 11] {
            assert_eq!(host.refused(&to_us(&request, &times[..len])), DropReason::IcmpMalformed);
            host =
                Host::with(Config { icmp_timestamps: true, ..Config::default() }, [7; 16]).pinned();
        }
        let mut answered = 0;
        for _ in 0..10_000 {
            host.receive(&to_us(&request, &times));
            answered += host.sent().len();
        }
        assert!((1..=5000).contains(&answered), "limited as echo replies are: {answered}");
    }
}

#[test]
fn nobody_is_asked_what_time_it_is_for_a_broadcast() {
    let config = Config { icmp_timestamps: true, ..Config::default() };
    let mut host = Host::with(config, [7; 16]).pinned();
    let header = PacketHeader { destination: Ipv4Addr::new(10, 0, 0, 255), ..ICMP };
    let request = icmp(&Header::TimestampRequest { identifier: 9, sequence: 3 }, &[0; 12]);
    host.receive(&frame(MacAddr::BROADCAST, EtherType::IPV4, &packet(&header, &request)));
    assert!(host.sent().is_empty());
}
