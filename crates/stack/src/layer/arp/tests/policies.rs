//! arp_ignore, arp_announce, arp_filter, arp_accept, proxies.

use super::*;
use crate::table::arp_policy::{ArpAnnounce, ArpIgnore, ArpPolicy};

const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
/// Ours, on the other interface.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

/// A host with a second interface, on which 10.2.0.0/16 is too.
fn host(policy: ArpPolicy) -> Host {
    let mut host = Host::new();
    let other = host.add_interface("eth1", OTHER_MAC, "10.1.0.2/24");
    let via = Some([10, 1, 0, 1].into());
    host.request(add_route("10.2.0.0/16", other, via));
    host.request(Request::SetArpPolicy { interface: ETH, policy });
    forwarding(&mut host, true);
    host
}

fn forwarding(host: &mut Host, forward: bool) {
    host.shard.interfaces.get_mut(ETH).expect("there").settings.routing.forward = forward;
}

/// Who answers when `sender` asks for `target`?
fn answer(host: &mut Host, sender: Ipv4Addr, target: Ipv4Addr) -> Option<MacAddr> {
    host.receive(&arp_frame(&Packet { sender_ip: sender, target_ip: target, ..QUESTION }));
    let frames = host.sent();
    let answers: Vec<_> = frames.iter().map(|frame| read_arp(frame).1).collect();
    assert!(answers.len() <= 1, "{answers:?}");
    answers.first().map(|answer| {
        assert_eq!((answer.operation, answer.sender_ip), (Operation::Reply, target));
        answer.sender_mac
    })
}

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

#[test]
fn arp_ignore_says_for_which_addresses_we_answer() {
    let loopback = Ipv4Addr::LOCALHOST;
    for (arp_ignore, sender, target, answered) in [
        (ArpIgnore::AnyInterface, PEER, OWN, true),
        (ArpIgnore::AnyInterface, PEER, OTHER, true),
        (ArpIgnore::AnyInterface, ELSEWHERE, OTHER, true),
        (ArpIgnore::AnyInterface, PEER, loopback, false),
        (ArpIgnore::AnyInterface, PEER, [10, 0, 0, 9].into(), false),
        (ArpIgnore::OtherInterfaces, PEER, OWN, true),
        (ArpIgnore::OtherInterfaces, ELSEWHERE, OWN, true),
        (ArpIgnore::OtherInterfaces, PEER, OTHER, false),
        (ArpIgnore::OtherSubnets, PEER, OWN, true),
        (ArpIgnore::OtherSubnets, ELSEWHERE, OWN, false),
        (ArpIgnore::OtherSubnets, PEER, OTHER, false),
        (ArpIgnore::All, PEER, OWN, false),
    ] {
        let mut host = host(ArpPolicy { arp_ignore, ..ArpPolicy::default() });
        let by = answered.then_some(OWN_MAC);
        assert_eq!(answer(&mut host, sender, target), by, "{arp_ignore:?} {sender} {target}");
    }
}

#[test]
fn arp_filter_answers_only_where_packets_would_go_back() {
    for (sender, answered) in [
        (PEER, true),
        (ELSEWHERE, true),
        ([10, 2, 0, 7].into(), false),
        ([10, 1, 0, 7].into(), false),
    ] {
        let mut host = host(ArpPolicy { arp_filter: true, ..ArpPolicy::default() });
        assert_eq!(answer(&mut host, sender, OWN), answered.then_some(OWN_MAC), "{sender}");
    }
}

#[test]
fn arp_accept_notes_who_announces_itself() {
    let announcement = arp_frame(&Packet { target_ip: PEER, ..QUESTION });
    for (arp_accept, noted) in [(false, None), (true, Some((NeighborState::Stale, Some(PEER_MAC))))]
    {
        let mut host = host(ArpPolicy { arp_accept, ..ArpPolicy::default() });
        assert_eq!(host.refused(&announcement), DropReason::ArpNotForUs);
        assert_eq!(neighbor(&host, PEER), noted);
        assert_eq!(answer(&mut host, PEER, [10, 0, 0, 9].into()), None);
        assert_eq!(neighbor(&host, PEER), noted, "a question for others is no announcement");
    }
}

#[test]
fn proxies_answer_for_hosts_behind_another_interface() {
    let behind = Ipv4Addr::new(10, 2, 0, 7);
    for (proxy_arp, target, answered) in [
        (true, behind, true),
        (true, [10, 1, 0, 7].into(), true),
        (true, [10, 0, 0, 9].into(), false),
        (true, ELSEWHERE, false),
        (false, behind, false),
    ] {
        let mut host = host(ArpPolicy { proxy_arp, ..ArpPolicy::default() });
        let by = answered.then_some(OWN_MAC);
        assert_eq!(answer(&mut host, PEER, target), by, "{proxy_arp} {target}");
        // Without forwarding it would be a trap.
        forwarding(&mut host, false);
        assert_eq!(answer(&mut host, PEER, target), None, "{target}");
        forwarding(&mut host, true);
        // Who probes would take it for a conflict.
        assert_eq!(answer(&mut host, Ipv4Addr::UNSPECIFIED, target), None, "{target}");
    }
}

#[test]
fn single_hosts_are_proxied() {
    let behind = Ipv4Addr::new(10, 2, 0, 7);
    let mut host = host(ArpPolicy::default());
    let set = |proxied| Request::SetProxied { interface: ETH, address: behind.into(), proxied };
    assert_eq!(
        host.shard.request(host.now, Principal::user(1), set(false)),
        Err(Error::NoSuchEntry)
    );
    host.request(set(true));
    assert_eq!(answer(&mut host, PEER, behind), Some(OWN_MAC));
    assert_eq!(answer(&mut host, PEER, [10, 2, 0, 8].into()), None);
    host.request(set(false));
    assert_eq!(answer(&mut host, PEER, behind), None);
}

#[test]
fn arp_announce_says_in_whose_name_we_ask() {
    let second = Ipv4Addr::new(10, 0, 0, 3);
    let far = Ipv4Addr::new(172, 16, 0, 1);
    for (arp_announce, source, asked_by) in [
        (ArpAnnounce::Any, OWN, OWN),
        (ArpAnnounce::Any, second, second),
        (ArpAnnounce::Any, far, far),
        (ArpAnnounce::SameSubnet, second, second),
        (ArpAnnounce::SameSubnet, far, OWN),
        (ArpAnnounce::Best, second, OWN),
        (ArpAnnounce::Best, far, OWN),
    ] {
        let mut host = host(ArpPolicy { arp_announce, ..ArpPolicy::default() });
        for text in ["10.0.0.3/24", "172.16.0.1/12"] {
            host.request(Request::AddAddress { interface: ETH, prefix: prefix(text) });
        }
        let socket = host.socket(Request::OpenUdp, (source, 1000));
        send(&mut host, socket, PEER, 1).expect("waits");
        for time in [0, 1001, 1001] {
            host.pass(Duration::from_millis(time));
            let (_, question) = read_arp(&host.sent_one());
            assert_eq!(question.sender_ip, asked_by, "{arp_announce:?} {source}, again too");
        }
    }
}

#[test]
fn neighbors_are_set_and_removed() {
    use crate::table::neighbor::{NeighborChange, NeighborMode, NeighborSetting};
    let (mut host, socket) = asking();
    host.sent();
    let change = NeighborChange {
        mac: PEER_MAC,
        setting: NeighborSetting::Probe,
        mode: NeighborMode::Change,
    };
    host.request(Request::SetNeighbor { interface: ETH, address: PEER.into(), change });
    assert_eq!(read_packet(&host.sent_one()).0.destination, PEER_MAC, "what waited leaves");
    host.pass(Duration::from_millis(2));
    assert_eq!(read_arp(&host.sent_one()).0.destination, PEER_MAC, "and it is asked at once");
    let remove = Request::RemoveNeighbor { interface: ETH, address: PEER.into() };
    host.request(remove.clone());
    assert!(host.shard.neighbors.is_empty());
    assert_eq!(
        host.shard.request(host.now, Principal::user(1), remove.clone()),
        Err(Error::NoSuchEntry)
    );
    send(&mut host, socket, PEER, 1).expect("waits");
    host.request(remove);
    assert_eq!(host.drops(), [(DropReason::NeighborUnresolved, 1)], "what waited is dropped");
}
