//! Attacks by ARP, and on the table of neighbors.

use super::*;
use crate::table::neighbor::NeighborState;
use core::net::IpAddr;

#[test]
fn arp_poisoning_moves_no_traffic_while_the_holder_answers() {
    let request = Packet { operation: Operation::Request, ..answer(EVIL_MAC) };
    for (what, lie) in [
        ("an answer", answer(EVIL_MAC)),
        ("an answer to everybody", Packet { target_mac: MacAddr::BROADCAST, ..answer(EVIL_MAC) }),
        ("an announcement", Packet { target_ip: PEER, ..request }),
        ("an announcement as an answer", Packet { target_ip: PEER, ..answer(EVIL_MAC) }),
        ("a question for us", request),
        ("a question for another", Packet { target_ip: EVIL, ..request }),
    ] {
        let (mut host, socket) = talking();
        host.pass(Duration::from_secs(5));
        for round in 0..200 {
            host.receive(&arp_frame(&lie));
            host.pass(Duration::from_millis(100));
            // The holder hears a question and answers.
            let asked = host.sent().iter().any(|frame| {
                let (link, question) = read_arp(frame);
                question.operation == Operation::Request && link.destination == PEER_MAC
            });
            if asked {
                host.receive(&arp_frame(&answer(PEER_MAC)));
            }
            assert_eq!(next_hop(&mut host, socket), Some(PEER_MAC), "{what}, round {round}");
        }
    }
}

#[test]
fn arp_poisoning_does_nothing_to_a_pinned_neighbor() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    for _ in 0..100 {
        host.receive(&arp_frame(&answer(EVIL_MAC)));
        host.pass(Duration::from_secs(1));
        assert_eq!(next_hop(&mut host, socket), Some(PEER_MAC));
    }
    assert_eq!(host.dropped(DropReason::ArpUnsolicited), 100);
}

#[test]
fn a_storm_of_arp_makes_no_entries_and_no_traffic() {
    let (mut host, socket) = talking();
    for number in 0..100_000u32 {
        let sender_ip = Ipv4Addr::from(0x0a00_0100 + number);
        let sender_mac =
            MacAddr([2, 1, 0, (number >> 16) as u8, (number >> 8) as u8, number as u8]);
        let lie = Packet { sender_mac, sender_ip, ..answer(EVIL_MAC) };
        host.receive(&arp_frame(&lie));
        let announcement = Packet { operation: Operation::Request, target_ip: sender_ip, ..lie };
        host.receive(&arp_frame(&announcement));
    }
    assert_eq!(host.shard.neighbors.len(), 1);
    assert!(host.sent().is_empty());
    assert_eq!(next_hop(&mut host, socket), Some(PEER_MAC));
}

#[test]
fn a_storm_of_requesters_fills_the_table_and_displaces_nobody() {
    let config =
        Config { limits: Limits { neighbors: 64, ..Limits::default() }, ..Config::default() };
    let mut host = Host::with(config, [3; 16]);
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    talk(&mut host, socket);
    host.receive(&arp_frame(&answer(PEER_MAC)));
    for number in 3..=254 {
        let question = Packet {
            operation: Operation::Request,
            sender_ip: [10, 0, 0, number].into(),
            ..answer(EVIL_MAC)
        };
        host.receive(&arp_frame(&question));
    }
    assert_eq!(host.shard.neighbors.len(), 64);
    assert_eq!(next_hop(&mut host, socket), Some(PEER_MAC));
    // Those that we talk to take the places of those that only asked.
    let to = Some(SocketAddr::new([10, 0, 0, 200].into(), 7));
    host.shard.send_to(host.now, socket, to, b"x").expect("there is room");
    assert_eq!(host.shard.neighbors.len(), 64);
    assert_eq!(next_hop(&mut host, socket), Some(PEER_MAC));
}

#[test]
fn neighbor_exhaustion_by_a_scan_leaves_the_others_alone() {
    let (mut host, socket) = talking();
    host.request(Request::AddAddress { interface: ETH, prefix: prefix("10.8.0.1/16") });
    let mut questions = 0;
    for number in 2..20_000u32 {
        let to = Some(SocketAddr::new(Ipv4Addr::from(0x0a08_0000 + number).into(), 7));
        let payload = vec![0; 1400];
        let _ = host.shard.send_to(host.now, socket, to, &payload);
        questions += host.sent().len();
        if number % 1000 == 0 {
            assert_eq!(next_hop(&mut host, socket), Some(PEER_MAC));
        }
    }
    assert!(questions <= 256, "{questions} questions to everybody at once");
    let incomplete =
        host.shard.neighbors.iter().filter(|row| row.state == NeighborState::Incomplete).count();
    assert!(incomplete <= 256, "{incomplete}");
    assert!(host.dropped(DropReason::NeighborTableFull) > 15_000);
    host.pass(Duration::from_secs(10));
    let left = host.shard.neighbors.iter().count();
    assert_eq!(left, 1, "the peer alone");
}

#[test]
fn an_answer_for_another_address_of_ours_is_not_solicited() {
    let mut host = Host::new();
    let socket = host.socket(Request::OpenUdp, (OWN, 1000));
    talk(&mut host, socket);
    for lie in [
        Packet { target_ip: EVIL, ..answer(EVIL_MAC) },
        Packet { target_mac: EVIL_MAC, ..answer(EVIL_MAC) },
    ] {
        host.receive(&arp_frame(&lie));
    }
    let row = host.shard.neighbors.iter().find(|row| row.address == IpAddr::V4(PEER));
    // Of an announcement it is not yet known who holds the address: it is asked for when used.
    assert_eq!(row.map(|row| row.state), Some(NeighborState::Stale));
}
