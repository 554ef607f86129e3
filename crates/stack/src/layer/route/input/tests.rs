use super::*;
use crate::{
    layer::fixture::{ETH, Host, PACKET, PEER, prefix},
    request::Request,
    table::route::{
        Action, Facts, NextHop, Placement, Route, RouteProtocol, Rule, Scope, Selector, TableId,
    },
};
use narrows_wire::{
    address::MacAddr,
    ipv4::{Header, Protocol},
};

/// eth0 has 10.0.0.2/24 and the default route, eth1 10.1.0.2/24.
fn router(routing: RoutingSettings) -> (Host, InterfaceId) {
    let mut host = Host::with_peer();
    let second = host.add_interface("eth1", MacAddr([2, 0, 0, 0, 1, 2]), "10.1.0.2/24");
    for interface in [ETH, second] {
        host.request(Request::SetRouting { interface, routing });
    }
    (host, second)
}

const FORWARDING: RoutingSettings = RoutingSettings {
    forward: true,
    host_model: HostModel::Strong,
    reverse_path: ReversePath::Strict,
    redirects: false,
};

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn decision(host: &Host, interface: InterfaceId, source: &str, destination: &str) -> Decision {
    let header = Header { source: address(source), destination: address(destination), ..PACKET };
    let packet = Inbound { interface, header: &header, payload: &[0; 8], joined: false, mark: 0 };
    decide(&host.shard.interfaces, &host.shard.zones, &host.shard.routes, &packet)
}

fn refused(reason: DropReason) -> Decision {
    Refusal::silent(reason)
}

fn forward_to(interface: InterfaceId, next_hop: Ipv4Addr) -> Decision {
    Decision::Forward(Way { interface, next_hop })
}

fn route(to: &str, kind: RouteKind, table: TableId) -> Request {
    let facts = Facts {
        kind,
        protocol: RouteProtocol::BOOT,
        scope: Scope::Global,
        metric: 0,
        source: None,
        hops: Vec::new(),
    };
    let route = Route { to: prefix(to), table, facts };
    Request::AddRoute { route, placement: Placement::Alone }
}

#[test]
fn a_host_forwards_nothing() {
    let (host, second) = router(RoutingSettings::default());
    for (interface, source, destination) in
        [(ETH, "10.0.0.1", "10.1.0.7"), (second, "10.1.0.7", "192.0.2.9")]
    {
        let decision = decision(&host, interface, source, destination);
        assert_eq!(decision, refused(DropReason::NotLocal), "{destination}");
    }
}

#[test]
fn a_router_sends_on_what_has_a_route() {
    let (host, second) = router(FORWARDING);
    for (interface, source, destination, expected) in [
        (ETH, "10.0.0.1", "10.1.0.7", forward_to(second, address("10.1.0.7"))),
        (second, "10.1.0.7", "192.0.2.9", forward_to(ETH, PEER)),
        (second, "10.1.0.7", "10.0.0.9", forward_to(ETH, address("10.0.0.9"))),
        (ETH, "10.0.0.7", "192.0.2.9", forward_to(ETH, PEER)),
        // Its own, whichever interface has them.
        (second, "10.1.0.7", "10.1.0.2", Decision::Deliver(Cast::Unicast)),
        (second, "10.1.0.7", "10.0.0.2", Decision::Deliver(Cast::Unicast)),
        (second, "10.1.0.7", "10.1.0.255", Decision::Deliver(Cast::Broadcast)),
        (second, "10.1.0.7", "255.255.255.255", Decision::Deliver(Cast::Broadcast)),
        // Another link's broadcasts, link-local addresses, groups.
        (second, "10.1.0.7", "10.0.0.255", refused(DropReason::NoRoute)),
        (second, "10.1.0.7", "10.0.0.0", refused(DropReason::NoRoute)),
        (second, "10.1.0.7", "169.254.1.1", refused(DropReason::NotLocal)),
        (ETH, "169.254.1.1", "10.1.0.7", refused(DropReason::NotLocal)),
        (second, "10.1.0.7", "224.0.0.5", refused(DropReason::NotJoined)),
        // What is on no wire.
        (second, "10.1.0.7", "127.0.0.1", refused(DropReason::Martian)),
        (second, "10.1.0.7", "0.0.0.1", refused(DropReason::Martian)),
        (second, "10.1.0.7", "240.0.0.1", refused(DropReason::Martian)),
        (second, "127.0.0.1", "192.0.2.9", refused(DropReason::Martian)),
        (second, "10.1.0.255", "192.0.2.9", refused(DropReason::Martian)),
        (second, "224.0.0.1", "192.0.2.9", refused(DropReason::Martian)),
        (second, "10.0.0.2", "192.0.2.9", refused(DropReason::Martian)),
    ] {
        let decision = decision(&host, interface, source, destination);
        assert_eq!(decision, expected, "{source} to {destination}");
    }
}

#[test]
fn a_strong_host_has_its_addresses_where_they_are() {
    for (host_model, expected) in [
        (HostModel::Strong, refused(DropReason::NotLocal)),
        (HostModel::Weak, Decision::Deliver(Cast::Unicast)),
    ] {
        let (host, second) = router(RoutingSettings { host_model, ..RoutingSettings::default() });
        assert_eq!(decision(&host, second, "10.1.0.7", "10.0.0.2"), expected, "{host_model:?}");
        let loopback = decision(&host, second, "10.1.0.7", "127.0.0.1");
        assert_eq!(loopback, refused(DropReason::Martian));
    }
}

#[test]
fn sources_are_checked_as_the_interface_says() {
    let no = refused(DropReason::ReversePath);
    let yes = forward_to(ETH, PEER);
    // 172.16/12 is behind eth0's gateway, 198.51.100.0/24 blackholed.
    for (reverse_path, by_other, by_none) in
        [(ReversePath::Strict, no, no), (ReversePath::Loose, yes, no), (ReversePath::Off, yes, yes)]
    {
        let (mut host, second) = router(RoutingSettings { reverse_path, ..FORWARDING });
        host.request(route("198.51.100.0/24", RouteKind::Blackhole, TableId::MAIN));
        let on_second = |source| decision(&host, second, source, "192.0.2.9");
        assert_eq!(on_second("172.16.0.1"), by_other, "{reverse_path:?}");
        assert_eq!(on_second("198.51.100.1"), by_none, "{reverse_path:?}");
        assert_eq!(on_second("10.1.0.9"), yes, "on the link");
    }
}

#[test]
fn routes_that_refuse_say_how() {
    let (mut host, second) = router(FORWARDING);
    for (to, kind, reason, answer) in [
        ("198.18.0.0/24", RouteKind::Blackhole, DropReason::RouteBlackhole, None),
        (
            "198.18.1.0/24",
            RouteKind::Unreachable,
            DropReason::RouteUnreachable,
            Some(Unreachable::HOST),
        ),
        (
            "198.18.2.0/24",
            RouteKind::Prohibit,
            DropReason::RouteProhibited,
            Some(Unreachable::ADMINISTRATIVELY_PROHIBITED),
        ),
    ] {
        host.request(route(to, kind, TableId::MAIN));
        let network = to.split_once(".0/").expect("a network").0;
        let decision = decision(&host, second, "10.1.0.7", &format!("{network}.7"));
        assert_eq!(decision, Decision::Refuse(Refusal { reason, answer }), "{kind:?}");
    }
    host.request(crate::layer::fixture::remove_route("0.0.0.0/0"));
    let expected = Refusal { reason: DropReason::NoRoute, answer: Some(Unreachable::NETWORK) };
    let decision = decision(&host, second, "10.1.0.7", "192.0.2.9");
    assert_eq!(decision, Decision::Refuse(expected));
}

#[test]
fn a_local_route_makes_a_network_ours() {
    let (mut host, second) = router(RoutingSettings::default());
    host.request(route("198.18.0.0/15", RouteKind::Local, TableId::LOCAL));
    let decision = decision(&host, second, "10.1.0.7", "198.19.4.4");
    assert_eq!(decision, Decision::Deliver(Cast::Unicast));
}

#[test]
fn rules_ask_where_a_packet_came_in() {
    let (mut host, second) = router(FORWARDING);
    let special = Route {
        table: TableId(7),
        ..Route::unicast(prefix("0.0.0.0/0"), second, Some(address("10.1.0.9")))
    };
    host.request(Request::AddRoute { route: special, placement: Placement::Alone });
    let selector = Selector { input: Some(second), ..Selector::default() };
    let rule = Rule { preference: 100, selector, action: Action::Lookup(TableId(7)) };
    host.request(Request::AddRule { rule });
    let by_rule = decision(&host, second, "10.1.0.7", "192.0.2.9");
    assert_eq!(by_rule, forward_to(second, address("10.1.0.9")));
    assert_eq!(decision(&host, ETH, "10.0.0.1", "192.0.2.9"), forward_to(ETH, PEER));
}

#[test]
fn fragments_take_the_way_of_their_datagram() {
    let (mut host, second) = router(FORWARDING);
    let hops: Vec<_> =
        (10..18).map(|last| NextHop::new(ETH, Some(Ipv4Addr::new(10, 0, 0, last)))).collect();
    let single = Route::unicast(prefix("203.0.113.0/24"), ETH, Some(PEER));
    let route = Route { facts: Facts { hops, ..single.facts }, ..single };
    host.request(Request::AddRoute { route, placement: Placement::Alone });
    let way = |port: u16, fragment_offset, more_fragments| {
        let header = Header {
            source: address("10.1.0.7"),
            destination: address("203.0.113.9"),
            protocol: Protocol::UDP,
            fragment_offset,
            more_fragments,
            ..PACKET
        };
        let payload = [&port.to_be_bytes()[..], &[0, 53, 0, 0, 0, 0]].concat();
        let packet = Inbound {
            interface: second,
            header: &header,
            payload: &payload,
            joined: false,
            mark: 0,
        };
        decide(&host.shard.interfaces, &host.shard.zones, &host.shard.routes, &packet)
    };
    let mut ways: Vec<_> = (1000..1100).map(|port| way(port, 0, false)).collect();
    ways.dedup();
    assert!(ways.len() > 50, "flows are shared: {}", ways.len());
    for port in 1000..1100 {
        assert_eq!(way(port, 0, true), way(0, 1480, false), "{port}");
    }
}
