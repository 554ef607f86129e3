use super::*;
use crate::{
    Config,
    config::Limits,
    layer::fixture::*,
    request::Error,
    request::{Principal, Request},
    table::neighbor::NeighborState,
};
use core::net::SocketAddr;

const QUESTION: Packet = Packet {
    operation: Operation::Request,
    sender_mac: PEER_MAC,
    sender_ip: PEER,
    target_mac: MacAddr::ZERO,
    target_ip: OWN,
};

const ANSWER: Packet = Packet {
    operation: Operation::Reply,
    sender_mac: PEER_MAC,
    sender_ip: PEER,
    target_mac: OWN_MAC,
    target_ip: OWN,
};

fn neighbor(host: &Host, address: Ipv4Addr) -> Option<(NeighborState, Option<MacAddr>)> {
    host.shard
        .neighbors
        .iter()
        .find(|row| row.address == IpAddr::V4(address))
        .map(|row| (row.state, row.mac))
}

/// A host that has just sent a datagram to the peer, and so asked for its link address.
fn asking() -> (Host, crate::SocketId) {
    let mut host = Host::new();
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    send(&mut host, socket, PEER, 1).expect("sent");
    (host, socket)
}

fn send(host: &mut Host, socket: crate::SocketId, to: Ipv4Addr, byte: u8) -> Result<(), Error> {
    host.shard.send_to(host.now, socket, Some(SocketAddr::new(to.into(), 7)), &[byte])
}

#[test]
fn a_question_for_our_address_is_answered_to_who_asked() {
    let mut host = Host::new();
    host.receive(&arp_frame(&QUESTION));
    let frame = host.sent_one();
    let (link, answer) = read_arp(&frame);
    assert_eq!((link.destination, link.source), (PEER_MAC, OWN_MAC));
    let expected = Packet {
        operation: Operation::Reply,
        sender_mac: OWN_MAC,
        sender_ip: OWN,
        target_mac: PEER_MAC,
        target_ip: PEER,
    };
    assert_eq!(answer, expected);
    // It is about to talk to us: its address is noted, and verified when it is used.
    assert_eq!(neighbor(&host, PEER), Some((NeighborState::Stale, Some(PEER_MAC))));
}

#[test]
fn a_probe_before_taking_an_address_is_answered_and_teaches_nothing() {
    let mut host = Host::new();
    host.receive(&arp_frame(&Packet { sender_ip: Ipv4Addr::UNSPECIFIED, ..QUESTION }));
    let (_, answer) = read_arp(&host.sent_one());
    assert_eq!((answer.sender_ip, answer.target_ip), (OWN, Ipv4Addr::UNSPECIFIED));
    assert!(host.shard.neighbors.is_empty());
}

#[test]
fn questions_for_others_are_not_answered() {
    let mut host = Host::new();
    let other = host.add_interface("eth1", MacAddr([2, 0, 0, 0, 1, 2]), "10.1.0.2/24");
    for target_ip in [
        PEER,
        Ipv4Addr::new(10, 0, 0, 77),
        Ipv4Addr::new(127, 0, 0, 1),
        Ipv4Addr::new(10, 0, 0, 255),
        // Strong host: ours, but another interface's.
        Ipv4Addr::new(10, 1, 0, 2),
    ] {
        let reason = host.refused(&arp_frame(&Packet { target_ip, ..QUESTION }));
        assert_eq!(reason, DropReason::ArpNotForUs, "{target_ip}");
    }
    assert!(host.sent().is_empty() && host.sent_on(other).is_empty());
    assert!(host.shard.neighbors.is_empty(), "and teach nothing");
}

#[test]
fn senders_that_cannot_be_are_not_believed() {
    for (what, packet) in [
        ("our own address", Packet { sender_ip: OWN, ..QUESTION }),
        ("broadcast", Packet { sender_ip: Ipv4Addr::BROADCAST, ..QUESTION }),
        ("the subnet's broadcast", Packet { sender_ip: [10, 0, 0, 255].into(), ..QUESTION }),
        ("a group", Packet { sender_ip: [224, 0, 0, 1].into(), ..QUESTION }),
        ("loopback", Packet { sender_ip: [127, 0, 0, 1].into(), ..QUESTION }),
        ("an answer of nobody", Packet { sender_ip: Ipv4Addr::UNSPECIFIED, ..ANSWER }),
        ("a group's link address", Packet { sender_mac: MacAddr([1, 0, 0, 0, 0, 1]), ..QUESTION }),
        ("everybody's link address", Packet { sender_mac: MacAddr::BROADCAST, ..QUESTION }),
        ("our own link address", Packet { sender_mac: OWN_MAC, ..QUESTION }),
    ] {
        let mut host = Host::new();
        assert_eq!(host.refused(&arp_frame(&packet)), DropReason::Martian, "{what}");
        assert!(host.sent().is_empty() && host.shard.neighbors.is_empty(), "{what}");
    }
}

#[test]
fn what_is_no_arp() {
    let mut host = Host::new();
    let frame = arp_frame(&QUESTION);
    for len in 14..frame.len() {
        assert_eq!(host.refused(&frame[..len]), DropReason::ArpMalformed, "{len}");
    }
    for (at, value) in [(15, 6), (17, 6), (18, 8), (19, 16), (21, 9)] {
        let mut frame = frame.clone();
        frame[at] = value;
        assert_eq!(host.refused(&frame), DropReason::ArpMalformed, "{at}");
    }
}

#[test]
fn a_datagram_waits_for_the_answer() {
    let (mut host, _) = asking();
    let frame = host.sent_one();
    let (link, question) = read_arp(&frame);
    assert_eq!(link.destination, MacAddr::BROADCAST);
    assert_eq!((question.operation, question.sender_ip), (Operation::Request, OWN));
    assert_eq!((question.sender_mac, question.target_ip), (OWN_MAC, PEER));
    host.receive(&arp_frame(&ANSWER));
    let frame = host.sent_one();
    let (link, packet) = read_packet(&frame);
    assert_eq!((link.destination, link.source), (PEER_MAC, OWN_MAC));
    assert_eq!(packet.header.destination, PEER);
    assert_eq!(neighbor(&host, PEER), Some((NeighborState::Reachable, Some(PEER_MAC))));
    assert_eq!(host.drops(), []);
}

#[test]
fn what_goes_beyond_the_link_asks_for_the_gateway() {
    let mut host = Host::new();
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    send(&mut host, socket, REMOTE, 1).expect("sent");
    let (_, question) = read_arp(&host.sent_one());
    assert_eq!(question.target_ip, PEER);
}

#[test]
fn three_questions_then_the_host_is_unreachable() {
    let (mut host, socket) = asking();
    let option = crate::request::SocketOption::ReceiveErrors(true);
    host.request(Request::SetOption { socket, option });
    assert_eq!(host.sent().len(), 1);
    host.pass(Duration::from_millis(10_000));
    assert!(host.sent().iter().all(|frame| is_arp(frame)));
    assert_eq!(host.drops(), [(DropReason::NeighborUnresolved, 1)]);
    let mut buffer = [0; 10];
    let received = host.shard.receive_from(socket, &mut buffer);
    assert_eq!(received, Err(Error::HostUnreachable));
}

#[test]
fn questions_come_a_second_apart() {
    let (mut host, socket) = asking();
    let mut asked = vec![host.sent().len()];
    for _ in 0..5 {
        host.pass(Duration::from_millis(1001));
        asked.push(host.sent().len());
    }
    assert_eq!(asked, [1, 1, 1, 0, 0, 0]);
    // A while later it is asked again, and what came in vain meanwhile was refused.
    send(&mut host, socket, PEER, 2).expect("waits");
    assert_eq!(host.sent().len(), 1);
}

#[test]
fn who_did_not_answer_is_not_asked_again_at_once() {
    let (mut host, socket) = asking();
    host.pass(Duration::from_millis(3100));
    // The program hears of it only if it asked for errors.
    assert_eq!(send(&mut host, socket, PEER, 2), Ok(()));
    assert_eq!(host.dropped(DropReason::NeighborUnresolved), 2);
}

#[test]
fn of_too_many_that_wait_the_oldest_go() {
    let config =
        Config { limits: Limits { neighbor_pending: 3, ..Limits::default() }, ..Config::default() };
    let mut host = Host::with(config, [1; 16]);
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    for byte in 0..8 {
        send(&mut host, socket, PEER, byte).expect("waits");
    }
    assert_eq!(host.drops(), [(DropReason::NeighborUnresolved, 5)]);
    assert_eq!(host.sent().len(), 1);
    host.receive(&arp_frame(&ANSWER));
    let left: Vec<u8> = host.sent().iter().map(|frame| frame[frame.len() - 1]).collect();
    assert_eq!(left, [5, 6, 7]);
}

#[test]
fn a_full_table_refuses() {
    let config =
        Config { limits: Limits { neighbors: 4, ..Limits::default() }, ..Config::default() };
    let mut host = Host::with(config, [1; 16]);
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    send(&mut host, socket, [10, 0, 0, 50].into(), 0).expect("waits");
    let refused = send(&mut host, socket, [10, 0, 0, 51].into(), 0);
    assert_eq!(refused, Err(Error::LimitReached));
    assert_eq!(host.drops(), [(DropReason::NeighborTableFull, 1)]);
}

#[test]
fn an_old_neighbor_is_used_and_then_asked_alone() {
    let (mut host, socket) = asking();
    host.receive(&arp_frame(&ANSWER));
    host.pass(Duration::from_secs(46));
    host.sent();
    assert_eq!(neighbor(&host, PEER), Some((NeighborState::Stale, Some(PEER_MAC))));
    send(&mut host, socket, PEER, 1).expect("sent");
    assert_eq!(read_packet(&host.sent_one()).0.destination, PEER_MAC);
    host.pass(Duration::from_millis(5001));
    let (link, question) = read_arp(&host.sent_one());
    assert_eq!((link.destination, question.target_ip), (PEER_MAC, PEER));
    host.receive(&arp_frame(&ANSWER));
    assert_eq!(neighbor(&host, PEER), Some((NeighborState::Reachable, Some(PEER_MAC))));
    assert_eq!(host.drops(), []);
}

#[test]
fn reachable_times_differ() {
    let mut times = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let mut host = Host::with(Config::default(), [seed; 16]);
        let socket = host.socket(Request::OpenUdp, (OWN, 1000));
        send(&mut host, socket, PEER, 1).expect("waits");
        host.receive(&arp_frame(&ANSWER));
        let until = host.shard.neighbors.next_timeout().expect("it ages");
        let reachable = until.since(host.now).as_secs();
        assert!((15..45).contains(&reachable), "{reachable} s");
        times.insert(reachable);
    }
    assert!(times.len() > 5, "{times:?}");
}

#[test]
fn a_pinned_neighbor_is_used_at_once_and_for_ever() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    host.pass(Duration::from_secs(1000));
    send(&mut host, socket, PEER, 1).expect("sent");
    assert_eq!(read_packet(&host.sent_one()).0.destination, PEER_MAC);
}

#[test]
fn pinning_sends_what_waited() {
    let (mut host, _) = asking();
    host.sent();
    let mut host = host.pinned();
    assert_eq!(read_packet(&host.sent_one()).0.destination, PEER_MAC);
}

#[test]
fn what_cannot_be_pinned() {
    let mut host = Host::new();
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    for (interface, address, mac, error) in [
        (ETH, address("10.0.0.1"), MacAddr::BROADCAST, Error::InvalidArgument),
        (ETH, address("10.0.0.2"), PEER_MAC, Error::InvalidArgument),
        (ETH, address("10.0.0.255"), PEER_MAC, Error::InvalidArgument),
        (ETH, address("224.0.0.1"), PEER_MAC, Error::InvalidArgument),
        (ETH, address("fe80::1"), PEER_MAC, Error::FamilyNotSupported),
        (InterfaceId::LOOPBACK, address("10.0.0.1"), PEER_MAC, Error::InvalidArgument),
        (InterfaceId(7), address("10.0.0.1"), PEER_MAC, Error::NoSuchInterface),
    ] {
        let request = Request::PinNeighbor { interface, address, mac };
        assert_eq!(
            host.shard.request(host.now, Principal::user(1), request),
            Err(error),
            "{address}"
        );
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_refused() {
    let mut host = Host::new();
    for packet in [
        ANSWER,
        Packet { target_ip: PEER, ..ANSWER },
        Packet { target_mac: MacAddr::BROADCAST, ..ANSWER },
    ] {
        assert_eq!(host.refused(&arp_frame(&packet)), DropReason::ArpUnsolicited);
    }
    assert!(host.shard.neighbors.is_empty());
}

#[test]
fn an_announcement_makes_no_entry() {
    let mut host = Host::new();
    let announcement = Packet { target_ip: PEER, ..QUESTION };
    assert_eq!(host.refused(&arp_frame(&announcement)), DropReason::ArpNotForUs);
    assert!(host.shard.neighbors.is_empty());
}

#[test]
fn requesters_from_elsewhere_are_answered_and_not_noted() {
    let mut host = Host::new();
    host.receive(&arp_frame(&Packet { sender_ip: REMOTE, ..QUESTION }));
    assert_eq!(host.sent().len(), 1);
    assert!(host.shard.neighbors.is_empty());
}

/// Both ends ask each other at the same time: the other's question is as good as its answer.
#[test]
fn questions_that_cross_resolve_both() {
    let (mut host, _) = asking();
    host.sent();
    host.receive(&arp_frame(&QUESTION));
    let frames = host.sent();
    assert_eq!(frames.iter().filter(|frame| !is_arp(frame)).count(), 1, "the datagram left");
}

mod announcements;
mod policies;
