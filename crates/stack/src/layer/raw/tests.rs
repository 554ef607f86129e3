use crate::{
    Reply, Request, SocketId,
    bpf::Instruction,
    counters::DropReason,
    layer::fixture::*,
    request::{Envelope, Error, GroupInterface, PacketOption, Principal, RawOption, SocketOption},
    table::{
        datagram::Datagram,
        error_queue::{IcmpOrigin, Origin},
        ip_settings::PathMtuDiscovery,
        membership::MembershipChange,
        raw::EVERY_PROTOCOL,
    },
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::MacAddr,
    checksum::Sum,
    ethernet::EtherType,
    icmpv4::{self, Unreachable},
    ipv4::{self, Packet, Protocol},
};

const OSPF: Protocol = Protocol(89);

fn open(host: &mut Host, protocol: Protocol) -> SocketId {
    match host.request(Request::OpenRaw { protocol, interfaces: None }) {
        Reply::Socket(socket) => socket,
        other => panic!("{other:?}"),
    }
}

fn heard(host: &mut Host, socket: SocketId) -> Vec<Datagram> {
    std::iter::from_fn(|| host.shard.receive_datagram(socket).ok()).collect()
}

fn set(host: &mut Host, socket: SocketId, option: RawOption) {
    host.request(Request::SetRaw { socket, option });
}

fn at(address: Ipv4Addr) -> Option<SocketAddr> {
    Some(SocketAddr::new(address.into(), 0))
}

fn send(host: &mut Host, socket: SocketId, to: Ipv4Addr, bytes: &[u8]) -> Result<(), Error> {
    host.shard.send_to(host.now, socket, at(to), bytes)
}

/// A packet from the peer, of a protocol of which it carries something well formed.
fn from_peer(protocol: Protocol) -> Vec<u8> {
    let header = ipv4::Header { protocol, ..PACKET };
    match protocol {
        Protocol::ICMP => ping(&header),
        Protocol::UDP => packet_frame(&header, &udp(&header, 9, 53, b"question")),
        _ => packet_frame(&header, b"something"),
    }
}

#[test]
fn each_socket_of_the_protocol_gets_a_copy_and_the_stack_goes_on() {
    let mut host = Host::with_peer();
    let sockets = [Protocol::ICMP, Protocol::ICMP, Protocol::UDP].map(|one| open(&mut host, one));
    let frame = from_peer(Protocol::ICMP);
    host.receive(&frame);
    assert!(matches!(read_icmp(&host.sent_one()).1, icmpv4::Header::EchoReply { .. }));
    let told = sockets.map(|socket| heard(&mut host, socket));
    assert_eq!(told.each_ref().map(Vec::len), [1, 1, 0]);
    let [copy] = told[0].as_slice() else { panic!("not one") };
    assert_eq!(&*copy.payload, &frame[14..], "from the IPv4 header on");
    assert_eq!((copy.from, copy.ttl, copy.interface), (at(PEER).expect("one"), 64, ETH));
    assert_eq!(host.drops(), []);
}

#[test]
fn a_protocol_that_nobody_speaks_is_refused_unless_a_raw_socket_took_it() {
    let mut host = Host::with_peer();
    assert_eq!(host.refused(&from_peer(OSPF)), DropReason::UnknownProtocol);
    assert_eq!(host.sent().len(), 1, "protocol unreachable");
    let socket = open(&mut host, OSPF);
    let before = host.drops();
    host.receive(&from_peer(OSPF));
    assert_eq!((heard(&mut host, socket).len(), host.sent().len()), (1, 0));
    assert_eq!(host.drops(), before);
    // One that is for somebody else does not count as taken.
    host.request(Request::Connect { socket, remote: at(REMOTE).expect("one") });
    assert!(heard(&mut host, socket).is_empty());
    assert_eq!(host.refused(&from_peer(OSPF)), DropReason::UnknownProtocol);
}

#[test]
fn what_a_socket_is_bound_connected_and_held_to_is_all_it_hears_of() {
    let other = Ipv4Addr::new(10, 0, 0, 5);
    for (what, bound, connected, device, hears) in [
        ("nothing", None, None, None, true),
        ("bound here", Some(OWN), None, None, true),
        ("bound elsewhere", Some(other), None, None, false),
        ("connected to the sender", None, Some(PEER), None, true),
        ("connected to another", None, Some(REMOTE), None, false),
        ("held to the interface", None, None, Some(0), true),
        ("held to another", None, None, Some(1), false),
    ] {
        let mut host = Host::with_peer();
        let lan = host.add_interface("eth1", MacAddr([2, 0, 0, 0, 0, 5]), "10.5.0.5/24");
        host.request(Request::AddAddress { interface: ETH, prefix: prefix("10.0.0.5/24") });
        let socket = open(&mut host, Protocol::UDP);
        if let Some(address) = bound {
            let local = SocketAddr::new(address.into(), 0);
            host.request(Request::Bind { socket, local });
        }
        if let Some(remote) = connected.and_then(at) {
            host.request(Request::Connect { socket, remote });
        }
        if let Some(index) = device {
            let option = SocketOption::Device(Some([ETH, lan][index]));
            host.request(Request::SetOption { socket, option });
        }
        host.receive(&from_peer(Protocol::UDP));
        assert_eq!(heard(&mut host, socket).len(), usize::from(hears), "{what}");
    }
}

#[test]
fn filters_of_types_and_of_bytes_keep_out_what_they_name() {
    let mut host = Host::with_peer();
    let [types, nothing, header, plain] = [(); 4].map(|()| open(&mut host, Protocol::ICMP));
    set(&mut host, types, RawOption::IcmpFilter(1 << icmpv4::kind::ECHO_REQUEST));
    let returns = |operand| Instruction { code: 6, jump_true: 0, jump_false: 0, operand };
    for (socket, taken) in [(nothing, 0), (header, 20)] {
        let option = PacketOption::Filter(Some(vec![returns(taken)]));
        host.request(Request::SetPacket { socket, option });
    }
    let refused = Request::SetPacket { socket: plain, option: PacketOption::Filter(Some(vec![])) };
    let who = Principal::user(1);
    assert_eq!(host.shard.request(host.now, who, refused), Err(Error::InvalidArgument));
    host.receive(&from_peer(Protocol::ICMP));
    let lengths = [types, nothing, header, plain]
        .map(|socket| heard(&mut host, socket).first().map(|copy| copy.payload.len()));
    assert_eq!(lengths, [None, None, Some(20), Some(20 + 8 + 13)]);
    let of_udp = open(&mut host, Protocol::UDP);
    let option = RawOption::IcmpFilter(1);
    let request = Request::SetRaw { socket: of_udp, option };
    assert_eq!(host.shard.request(host.now, who, request), Err(Error::NotSupported));
}

#[test]
fn fragments_are_shown_as_the_packet_they_are_of() {
    let mut host = Host::with_peer();
    let socket = open(&mut host, OSPF);
    let whole: Vec<u8> = (0..40).collect();
    let first = ipv4::Header { protocol: OSPF, more_fragments: true, ..PACKET };
    host.receive(&packet_frame(&first, &whole[..16]));
    assert!(heard(&mut host, socket).is_empty());
    let last = ipv4::Header { more_fragments: false, fragment_offset: 16, ..first };
    host.receive(&packet_frame(&last, &whole[16..]));
    let copies = heard(&mut host, socket);
    let packet = Packet::parse(&copies[0].payload).expect("a packet with a right sum");
    assert_eq!((packet.payload, packet.header.is_fragment()), (&whole[..], false));
}

#[test]
fn a_slow_reader_loses_its_own_copies_and_they_are_counted() {
    let mut host = Host::with_peer();
    let [slow, quick] = [(); 2].map(|()| open(&mut host, OSPF));
    let option = SocketOption::ReceiveBuffer(2048);
    host.request(Request::SetOption { socket: slow, option });
    for _ in 0..100 {
        host.receive(&from_peer(OSPF));
        assert_eq!(heard(&mut host, quick).len(), 1);
    }
    let kept = heard(&mut host, slow).len();
    assert!((1..100).contains(&kept), "{kept}");
    let Reply::Info(info) = host.request(Request::Info { socket: slow }) else { panic!("no info") };
    assert_eq!(info.lost, 100 - kept as u64);
    assert_eq!(host.drops(), [(DropReason::ReceiveQueueFull, 100 - kept as u64)]);
}

#[test]
fn what_is_for_a_group_is_for_those_who_joined_it() {
    let group = Ipv4Addr::new(224, 0, 0, 5);
    let mut host = Host::with_peer();
    let [joined, other] = [(); 2].map(|()| open(&mut host, OSPF));
    let option = SocketOption::MulticastAll(false);
    host.request(Request::SetOption { socket: other, option });
    let (interface, change) = (GroupInterface::Interface(ETH), MembershipChange::Join);
    host.request(Request::Membership { socket: joined, group, interface, change });
    let header = ipv4::Header { protocol: OSPF, destination: group, ttl: 1, ..PACKET };
    let hello = packet(&header, b"hello there");
    host.receive(&frame(MacAddr::of_group(group), EtherType::IPV4, &hello));
    assert_eq!((heard(&mut host, joined).len(), heard(&mut host, other).len()), (1, 0));
}

#[test]
fn the_header_is_ours_unless_the_program_brings_its_own() {
    let mut host = Host::with_peer();
    let socket = open(&mut host, OSPF);
    for option in [SocketOption::TimeToLive(7), SocketOption::TypeOfService(0x10)] {
        host.request(Request::SetOption { socket, option });
    }
    send(&mut host, socket, PEER, b"hello there").expect("sent");
    let sent = host.sent_one();
    let (link, packet) = read_packet(&sent);
    let header = packet.header;
    assert_eq!((link.destination, packet.payload), (PEER_MAC, &b"hello there"[..]));
    assert_eq!((header.source, header.destination, header.protocol), (OWN, PEER, OSPF));
    assert_eq!((header.ttl, header.tos), (7, 0x10));

    set(&mut host, socket, RawOption::HeaderIncluded(true));
    let spoofed = Ipv4Addr::new(10, 0, 0, 66);
    let mut own = self::packet(
        &ipv4::Header { source: spoofed, destination: REMOTE, protocol: OSPF, ..PACKET },
        b"datagram",
    );
    own[2..4].fill(0xff);
    own[10..12].fill(0xff);
    send(&mut host, socket, PEER, &own).expect("sent");
    let sent = host.sent_one();
    let (link, packet) = read_packet(&sent);
    assert_eq!(link.destination, PEER_MAC, "it goes where the call says");
    let header = packet.header;
    assert_eq!((header.source, header.destination), (spoofed, REMOTE));
    assert_eq!((packet.payload, header.identification), (&b"datagram"[..], 99));

    own[4..6].fill(0);
    own[12..16].fill(0);
    send(&mut host, socket, PEER, &own).expect("sent");
    let sent = host.sent_one();
    let header = read_packet(&sent).1.header;
    assert_eq!(header.source, OWN);
    assert_ne!(header.identification, 0);
}

#[test]
fn headers_that_are_none_are_refused() {
    let mut host = Host::with_peer();
    let socket = open(&mut host, EVERY_PROTOCOL);
    let good = packet(&PACKET, &udp(&PACKET, 1, 2, b"x"));
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    for (what, bytes, expected) in [
        ("as it should be", good.clone(), Ok(())),
        ("version 6", with(0, 0x65), Err(Error::InvalidArgument)),
        ("a header of 16 bytes", with(0, 0x44), Err(Error::InvalidArgument)),
        ("a header longer than all", with(0, 0x48), Err(Error::InvalidArgument)),
        ("cut", good[..19].to_vec(), Err(Error::InvalidArgument)),
        ("nothing", Vec::new(), Err(Error::InvalidArgument)),
        ("longer than the MTU", [&good[..], &[0; 1500]].concat(), Err(Error::MessageTooLong)),
    ] {
        assert_eq!(send(&mut host, socket, PEER, &bytes), expected, "{what}");
    }
}

#[test]
fn long_packets_are_cut_unless_that_is_forbidden() {
    let mut host = Host::with_peer();
    let socket = open(&mut host, OSPF);
    send(&mut host, socket, PEER, &[7; 3000]).expect("sent");
    assert_eq!(host.sent().len(), 3);
    let option = SocketOption::PathMtu(PathMtuDiscovery::Do);
    host.request(Request::SetOption { socket, option });
    assert_eq!(send(&mut host, socket, PEER, &[7; 1481]), Err(Error::MessageTooLong));
    assert_eq!(send(&mut host, socket, PEER, &[7; 1480]), Ok(()));
    assert!(read_packet(&host.sent_one()).1.header.dont_fragment);
}

#[test]
fn errors_are_told_to_who_asked_or_is_connected() {
    for (wants, connected, queued) in [
        (false, false, None),
        (false, true, Some(0)),
        (true, false, Some(1)),
        (true, true, Some(1)),
    ] {
        let mut host = Host::with_peer();
        let socket = open(&mut host, OSPF);
        if connected {
            host.request(Request::Connect { socket, remote: at(REMOTE).expect("one") });
        }
        host.request(Request::SetOption { socket, option: SocketOption::ReceiveErrors(wants) });
        send(&mut host, socket, REMOTE, b"hello there").expect("sent");
        let sent = host.sent_one();
        let error = icmpv4::Header::DestinationUnreachable { code: Unreachable::PROTOCOL, mtu: 0 };
        let header = ipv4::Header { protocol: Protocol::ICMP, ..PACKET };
        host.receive(&packet_frame(&header, &icmp(&error, &sent[14..])));
        let info = host.shard.pending_error(socket);
        assert_eq!(info.is_some(), queued.is_some(), "{wants} {connected}");
        assert_eq!(host.shard.has_queued_errors(socket), queued == Some(1));
        if queued == Some(1) {
            let Reply::QueuedError(Some(told)) = host.request(Request::TakeQueuedError { socket })
            else {
                panic!("nothing queued")
            };
            assert_eq!(
                (told.error, &*told.payload),
                (Error::ProtocolUnavailable, &b"hello there"[..])
            );
            assert!(matches!(told.origin, Origin::Icmp(IcmpOrigin { kind: 3, code: 2, .. })));
        }
    }
}

#[test]
fn a_reset_answers_a_handshake_that_a_raw_socket_began() {
    let mut host = Host::with_peer();
    let socket = open(&mut host, Protocol::TCP);
    let mut syn_ack =
        vec![0, 80, 0x30, 0x39, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 0xff, 0xff, 0, 0, 0, 0];
    let sum = Sum::pseudo_header(PEER, OWN, 6, 20).add(Sum::of(&syn_ack)).finish();
    syn_ack[16..18].copy_from_slice(&sum.to_be_bytes());
    let header = ipv4::Header { protocol: Protocol::TCP, ..PACKET };
    host.receive(&packet_frame(&header, &syn_ack));
    assert_eq!(heard(&mut host, socket).len(), 1);
    let sent = host.sent_one();
    assert_eq!(read_packet(&sent).1.payload[13] & 0x04, 0x04, "RST");
}

#[test]
fn what_is_gone_hears_nothing_and_there_is_a_limit() {
    let mut host = Host::with_peer();
    let socket = open(&mut host, OSPF);
    host.request(Request::Close { socket });
    assert_eq!(host.refused(&from_peer(OSPF)), DropReason::UnknownProtocol);
    assert_eq!(host.shard.receive_datagram(socket), Err(Error::NoSuchSocket));
    let who = Principal::user(1);
    let open = || Request::OpenRaw { protocol: OSPF, interfaces: None };
    let opened = (0..1000).take_while(|_| host.shard.request(host.now, who, open()).is_ok());
    assert_eq!(opened.count(), 256);
}

#[test]
fn a_socket_hears_only_where_its_owner_may_look() {
    let mut host = Host::with_peer();
    let lan = host.add_interface("eth1", MacAddr([2, 0, 0, 0, 0, 5]), "10.5.0.5/24");
    let [here, there] = [ETH, lan].map(|interface| {
        let interfaces = Some([interface].into());
        let Reply::Socket(socket) = host.request(Request::OpenRaw { protocol: OSPF, interfaces })
        else {
            panic!("no socket")
        };
        socket
    });
    host.receive(&from_peer(OSPF));
    assert_eq!((heard(&mut host, here).len(), heard(&mut host, there).len()), (1, 0));
}

#[test]
fn names_are_those_of_linux() {
    let mut host = Host::with_peer();
    let socket = open(&mut host, OSPF);
    let local = |host: &mut Host| match host.request(Request::Info { socket }) {
        Reply::Info(info) => (info.local, info.remote),
        other => panic!("{other:?}"),
    };
    assert_eq!(local(&mut host).0, "0.0.0.0:89".parse().expect("an address"));
    let remote = SocketAddr::new(PEER.into(), 7);
    host.request(Request::Connect { socket, remote });
    assert_eq!(local(&mut host), (SocketAddr::new(OWN.into(), 89), Some(remote)));
    let bind = Request::Bind { socket, local: SocketAddr::new(OWN.into(), 0) };
    let who = Principal::user(1);
    assert_eq!(host.shard.request(host.now, who, bind), Err(Error::InvalidArgument));
    host.request(Request::Disconnect { socket });
    assert_eq!(local(&mut host), ("0.0.0.0:89".parse().expect("an address"), None));
    let longest = host.request(Request::Reach {
        socket,
        envelope: Envelope { remote: at(PEER), ..Envelope::default() },
        len: 10,
    });
    assert_eq!(longest, Reply::Reachable { longest: 65_515 });
}
