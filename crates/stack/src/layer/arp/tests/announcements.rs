//! Probes, announcements, conflicts.

use super::*;
use crate::{
    event::{ConflictOutcome, Notice},
    table::{
        arp_policy::{ArpPolicy, ConflictDetection},
        conflict::Unusable,
        route::{Answer, Query},
    },
};

const NEW: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

fn policy(host: &mut Host, policy: ArpPolicy) {
    host.request(Request::SetArpPolicy { interface: ETH, policy });
}

/// A host that is given an address of another subnet.
fn given_an_address(conflict_detection: ConflictDetection) -> Host {
    let mut host = Host::new();
    policy(&mut host, ArpPolicy { conflict_detection, ..ArpPolicy::default() });
    host.request(Request::AddAddress { interface: ETH, prefix: prefix("10.1.0.2/16") });
    host
}

fn has(host: &Host) -> bool {
    host.shard.interfaces.owner(NEW.into()).is_some()
}

fn routed(host: &Host) -> bool {
    let query = Query::to([10, 1, 9, 9].into());
    matches!(host.shard.routes.lookup(&query), Answer::Found(found) if found.to.length() == 16)
}

/// Sender and target of each ARP request that leaves in that time.
fn said(host: &mut Host, time: Duration) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    host.pass(time);
    let frames = host.sent();
    let packets = frames.iter().map(|frame| {
        let (link, packet) = read_arp(frame);
        assert!(link.destination.is_broadcast());
        assert_eq!((packet.operation, packet.sender_mac), (Operation::Request, OWN_MAC));
        (packet.sender_ip, packet.target_ip)
    });
    packets.collect()
}

/// Another station says that it has the address.
fn claim() -> Vec<u8> {
    arp_frame(&Packet { sender_ip: NEW, target_ip: NEW, ..QUESTION })
}

#[test]
fn an_address_is_announced_twice_and_usable_at_once() {
    let mut host = given_an_address(ConflictDetection::Announce);
    assert!(has(&host) && routed(&host));
    assert_eq!(said(&mut host, Duration::from_millis(1)), [(NEW, NEW)]);
    assert_eq!(said(&mut host, Duration::from_secs(60)), [(NEW, NEW)]);
}

#[test]
fn nothing_is_said_where_that_is_off() {
    let mut host = given_an_address(ConflictDetection::Off);
    assert!(has(&host));
    assert_eq!(said(&mut host, Duration::from_secs(60)), []);
    assert_eq!(host.refused(&claim()), DropReason::Martian);
}

#[test]
fn an_address_is_probed_for_before_it_is_used() {
    let mut host = given_an_address(ConflictDetection::Probe);
    let unspecified = Ipv4Addr::UNSPECIFIED;
    let question =
        arp_frame(&Packet { sender_ip: [10, 1, 0, 9].into(), target_ip: NEW, ..QUESTION });
    assert!(!has(&host) && !routed(&host));
    assert_eq!(host.refused(&question), DropReason::ArpNotForUs);
    let tentative: Vec<_> = host.shard.unusable_addresses(ETH).collect();
    assert_eq!(tentative, [(prefix("10.1.0.2/16"), Unusable::Tentative)]);
    let expected =
        [(unspecified, NEW), (unspecified, NEW), (unspecified, NEW), (NEW, NEW), (NEW, NEW)];
    assert_eq!(said(&mut host, Duration::from_secs(60)), expected);
    assert!(has(&host) && routed(&host));
    assert_eq!(host.shard.unusable_addresses(ETH).count(), 0);
    assert_eq!(host.shard.poll_notice(), None);
}

#[test]
fn an_address_that_somebody_has_is_not_taken() {
    let answer = arp_frame(&Packet { sender_ip: NEW, target_ip: Ipv4Addr::UNSPECIFIED, ..ANSWER });
    let probe = Packet { sender_ip: Ipv4Addr::UNSPECIFIED, target_ip: NEW, ..QUESTION };
    for other in [claim(), answer, arp_frame(&probe)] {
        let mut host = given_an_address(ConflictDetection::Probe);
        assert_eq!(host.refused(&other), DropReason::ArpConflict);
        let notice = Notice::AddressConflict {
            interface: ETH,
            address: NEW,
            by: PEER_MAC,
            outcome: ConflictOutcome::GivenUp,
        };
        assert_eq!(host.shard.poll_notice(), Some(notice));
        assert_eq!(said(&mut host, Duration::from_secs(60)), []);
        assert!(!has(&host) && !routed(&host));
        let again = Request::AddAddress { interface: ETH, prefix: prefix("10.1.0.2/16") };
        let refused = host.shard.request(host.now, Principal::user(1), again.clone());
        assert_eq!(refused, Err(Error::AddressInUse));
        host.request(Request::RemoveAddress { interface: ETH, prefix: prefix("10.1.0.2/16") });
        host.request(again);
        assert_eq!(
            host.shard.unusable_addresses(ETH).next().map(|row| row.1),
            Some(Unusable::Tentative)
        );
    }
}

#[test]
fn an_address_in_use_is_defended_and_given_up_at_the_second_conflict() {
    let mut host = given_an_address(ConflictDetection::Probe);
    said(&mut host, Duration::from_secs(60));
    assert_eq!(host.refused(&claim()), DropReason::ArpConflict);
    assert_eq!(said(&mut host, Duration::from_secs(1)), [(NEW, NEW)]);
    assert!(has(&host));
    assert_eq!(host.refused(&claim()), DropReason::ArpConflict);
    assert_eq!(said(&mut host, Duration::from_secs(60)), []);
    assert!(!has(&host) && !routed(&host));
    let outcomes: Vec<_> = core::iter::from_fn(|| host.shard.poll_notice())
        .filter_map(|notice| match notice {
            Notice::AddressConflict { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect();
    assert_eq!(outcomes, [ConflictOutcome::Defended, ConflictOutcome::GivenUp]);
}

#[test]
fn forged_conflicts_do_not_take_away_an_address_that_was_only_announced() {
    let mut host = given_an_address(ConflictDetection::Announce);
    said(&mut host, Duration::from_secs(60));
    for _ in 0..1000 {
        assert_eq!(host.refused(&claim()), DropReason::ArpConflict);
    }
    assert_eq!(said(&mut host, Duration::from_secs(1)), [(NEW, NEW)], "nor cause a storm");
    assert!(has(&host) && host.shard.neighbors.is_empty());
}

#[test]
fn a_removed_address_is_neither_announced_nor_defended() {
    for detection in [ConflictDetection::Announce, ConflictDetection::Probe] {
        let mut host = given_an_address(detection);
        host.sent();
        host.request(Request::RemoveAddress { interface: ETH, prefix: prefix("10.1.0.2/16") });
        assert_eq!(said(&mut host, Duration::from_secs(60)), []);
        assert!(!has(&host) && !routed(&host));
        assert_ne!(host.refused(&claim()), DropReason::ArpConflict);
    }
}

#[test]
fn after_a_failover_every_address_is_announced() {
    let mut host = given_an_address(ConflictDetection::Off);
    host.request(Request::AnnounceAddresses { interface: ETH });
    assert_eq!(said(&mut host, Duration::from_secs(60)), [(OWN, OWN), (NEW, NEW)]);
}
