use super::*;
use crate::random::Random;

const ETH0: InterfaceId = InterfaceId(1);
const ETH1: InterfaceId = InterfaceId(2);

fn tables() -> RouteTables {
    RouteTables::new(100, Random::new([4; 16]).key())
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').expect("a prefix");
    Prefix::new(address.parse().expect("an address"), length.parse().expect("a length"))
        .expect("a valid prefix")
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

/// By the gateway 10.0.0.`last`.
fn route(to: &str, last: u8, metric: u32) -> Route {
    let via = Some(Ipv4Addr::new(10, 0, 0, last));
    let route = Route::unicast(prefix(to), ETH0, via);
    Route { facts: Facts { metric, ..route.facts }, ..route }
}

fn of_kind(to: &str, kind: RouteKind, table: u32) -> Route {
    let route = route(to, 1, 0);
    Route { table: TableId(table), facts: Facts { kind, hops: Vec::new(), ..route.facts }, ..route }
}

fn balanced(to: &str, hops: &[(u8, u16)]) -> Route {
    let hop = |(last, weight): &(u8, u16)| NextHop {
        weight: *weight,
        ..NextHop::new(ETH0, Some(Ipv4Addr::new(10, 0, 0, *last)))
    };
    let route = route(to, 1, 0);
    Route { facts: Facts { hops: hops.iter().map(hop).collect(), ..route.facts }, ..route }
}

fn add(tables: &mut RouteTables, route: Route) {
    tables.add(route, Placement::Alone).expect("added");
}

/// The last octet of the gateway.
fn gateway(tables: &RouteTables, query: &Query) -> Option<u8> {
    match tables.lookup(query) {
        Answer::Found(found) => found.hop?.via.map(|via| via.octets()[3]),
        _ => None,
    }
}

fn to(text: &str) -> Query {
    Query::to(address(text))
}

#[test]
fn the_longest_prefix_wins() {
    let mut tables = tables();
    for (index, net) in
        ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32"].iter().enumerate()
    {
        add(&mut tables, route(net, index as u8, 0));
    }
    for (destination, expected) in
        [("10.1.2.3", 4), ("10.1.2.4", 3), ("10.1.3.1", 2), ("10.2.0.1", 1), ("11.0.0.1", 0)]
    {
        assert_eq!(gateway(&tables, &to(destination)), Some(expected), "{destination}");
    }
    assert_eq!(tables.iter().count(), 5);
}

#[test]
fn an_empty_table_has_no_route() {
    assert_eq!(tables().lookup(&to("10.0.0.1")), Answer::None);
}

/// What ip-route(8)'s verbs do, step by step, as the kernel's tables do it.
#[test]
fn verbs_of_ip_route() {
    use Placement::*;
    let mut tables = tables();
    let net = "192.0.2.0/24";
    let steps = [
        (Change, 1, 0, Err(RouteError::NotFound), &[][..]),
        (Alone, 1, 0, Ok(()), &[1]),
        (Alone, 2, 0, Err(RouteError::Exists), &[1]),
        (Alone, 2, 10, Ok(()), &[1, 2]),
        (Append, 1, 0, Err(RouteError::Exists), &[1, 2]),
        (Append, 3, 0, Ok(()), &[1, 3, 2]),
        (Prepend, 4, 0, Ok(()), &[4, 1, 3, 2]),
        (Replace, 3, 0, Err(RouteError::Exists), &[4, 1, 3, 2]),
        (Replace, 4, 0, Ok(()), &[4, 1, 3, 2]),
        (Replace, 5, 0, Ok(()), &[5, 1, 3, 2]),
        (Change, 6, 10, Ok(()), &[5, 1, 3, 6]),
        (Replace, 7, 5, Ok(()), &[5, 1, 3, 7, 6]),
    ];
    for (placement, last, metric, result, left) in steps {
        let added = tables.add(route(net, last, metric), placement);
        assert_eq!(added, result, "{placement:?} {last}");
        let gateways: Vec<u8> = tables
            .in_table(TableId::MAIN, prefix(net))
            .iter()
            .filter_map(|route| route.facts.hops.first()?.via)
            .map(|via| via.octets()[3])
            .collect();
        assert_eq!(gateways, left, "{placement:?} {last}");
        assert_eq!(tables.len(), left.len());
    }
    let by = |metric| RouteFilter { metric, ..RouteFilter::to(prefix(net), TableId::MAIN) };
    let removed = tables.remove(&by(Some(10))).expect("removed");
    assert_eq!(removed, route(net, 6, 10));
    assert_eq!(tables.remove(&by(Some(10))), Err(RouteError::NotFound));
    for _ in 0..4 {
        tables.remove(&by(None)).expect("removed");
    }
    assert_eq!(tables.remove(&by(None)), Err(RouteError::NotFound));
    assert!(tables.is_empty() && tables.tables.is_empty());
    assert!(tables.shared.is_empty(), "nothing is left behind");
}

#[test]
fn removal_is_of_what_is_said() {
    let mut tables = tables();
    let net = prefix("192.0.2.0/24");
    add(&mut tables, route("192.0.2.0/24", 1, 0));
    let any = RouteFilter::to(net, TableId::MAIN);
    for wrong in [
        RouteFilter { table: TableId(7), ..any.clone() },
        RouteFilter { to: prefix("192.0.2.0/25"), ..any.clone() },
        RouteFilter { kind: Some(RouteKind::Blackhole), ..any.clone() },
        RouteFilter { protocol: Some(RouteProtocol::STATIC), ..any.clone() },
        RouteFilter { scope: Some(Scope::Link), ..any.clone() },
        RouteFilter { metric: Some(1), ..any.clone() },
        RouteFilter { source: Some(address("10.0.0.2")), ..any.clone() },
        RouteFilter { hops: vec![(Some(ETH1), None)], ..any.clone() },
        RouteFilter { hops: vec![(None, Some(address("10.0.0.2")))], ..any.clone() },
        RouteFilter { hops: vec![(None, None), (None, None)], ..any.clone() },
    ] {
        assert_eq!(tables.remove(&wrong), Err(RouteError::NotFound), "{wrong:?}");
    }
    let right = RouteFilter { hops: vec![(Some(ETH0), Some(address("10.0.0.1")))], ..any };
    assert!(tables.remove(&right).is_ok());
}

#[test]
fn kinds_end_a_lookup_but_throw() {
    let mut tables = tables();
    add(&mut tables, of_kind("192.0.2.0/25", RouteKind::Blackhole, 7));
    add(&mut tables, of_kind("192.0.2.128/26", RouteKind::Throw, 7));
    add(&mut tables, of_kind("192.0.2.192/26", RouteKind::Prohibit, 7));
    add(&mut tables, route("0.0.0.0/0", 9, 0));
    let rule =
        Rule { preference: 100, selector: Selector::default(), action: Action::Lookup(TableId(7)) };
    tables.add_rule(rule).expect("added");
    assert_eq!(tables.lookup(&to("192.0.2.1")), Answer::Refused(RouteKind::Blackhole));
    assert_eq!(gateway(&tables, &to("192.0.2.129")), Some(9), "the next table decides");
    assert_eq!(tables.lookup(&to("192.0.2.193")), Answer::Refused(RouteKind::Prohibit));
    let refusal =
        Rule { preference: 50, selector: Selector::default(), action: Action::Unreachable };
    tables.add_rule(refusal).expect("added");
    assert_eq!(tables.lookup(&to("192.0.2.129")), Answer::Refused(RouteKind::Unreachable));
}

#[test]
fn a_lookup_can_be_held_to_an_interface() {
    let mut tables = tables();
    add(&mut tables, Route::unicast(prefix("10.1.0.0/16"), ETH1, None));
    add(&mut tables, route("0.0.0.0/0", 1, 0));
    let query = to("10.1.2.3");
    let by = |query: &Query| match tables.lookup(query) {
        Answer::Found(found) => found.hop.map(|hop| hop.interface),
        _ => None,
    };
    assert_eq!(by(&query), Some(ETH1));
    assert_eq!(by(&Query { held_to: Some(ETH0), ..query }), Some(ETH0), "the next best");
    assert_eq!(by(&Query { output: Some(ETH0), ..query }), Some(ETH0));
    assert_eq!(by(&Query { held_to: Some(InterfaceId(3)), ..query }), None);
}

fn flow(port: u16) -> Query {
    Query { transport: (Protocol::TCP, port, 80), ..to("192.0.2.1") }
}

#[test]
fn flows_are_shared_by_weight_and_stay() {
    let mut tables = tables();
    add(&mut tables, balanced("0.0.0.0/0", &[(1, 3), (2, 1)]));
    let before: Vec<_> = (0..4000).map(|port| gateway(&tables, &flow(port))).collect();
    let first = before.iter().filter(|last| **last == Some(1)).count();
    assert!((2800..3200).contains(&first), "{first} of 4000");
    let again: Vec<_> = (0..4000).map(|port| gateway(&tables, &flow(port))).collect();
    assert_eq!(before, again);
}

#[test]
fn a_dead_gateway_moves_its_own_flows_alone() {
    let mut tables = tables();
    add(&mut tables, balanced("0.0.0.0/0", &[(1, 1), (2, 1), (3, 1)]));
    let before: Vec<_> = (0..3000).map(|port| gateway(&tables, &flow(port))).collect();
    let generation = tables.generation();
    tables.set_alive(ETH0, address("10.0.0.2"), false);
    assert_ne!(tables.generation(), generation);
    for (port, before) in (0..3000).zip(&before) {
        let now = gateway(&tables, &flow(port));
        assert!(now == *before || *before == Some(2), "{before:?} moved to {now:?}");
        assert_ne!(now, Some(2));
    }
    // Routes that come now know of it.
    add(&mut tables, balanced("198.18.0.0/15", &[(2, 1), (3, 1)]));
    let query = Query { destination: address("198.18.0.1"), ..flow(1) };
    assert_eq!(gateway(&tables, &query), Some(3));
    tables.set_alive(ETH0, address("10.0.0.2"), true);
    let returned = (0..3000).filter(|port| gateway(&tables, &flow(*port)) == Some(2)).count();
    assert!((900..1100).contains(&returned), "{returned} of 3000");
    // With all dead the route stays what it was: somebody may answer yet.
    for last in 1..=3 {
        tables.set_alive(ETH0, Ipv4Addr::new(10, 0, 0, last), false);
    }
    assert!(gateway(&tables, &flow(1)).is_some());
}

#[test]
fn a_dead_gateway_gives_way_to_a_worse_metric() {
    let mut tables = tables();
    add(&mut tables, route("0.0.0.0/0", 1, 10));
    add(&mut tables, route("0.0.0.0/0", 2, 20));
    assert_eq!(gateway(&tables, &flow(1)), Some(1));
    tables.set_alive(ETH0, address("10.0.0.1"), false);
    assert_eq!(gateway(&tables, &flow(1)), Some(2));
    tables.set_alive(ETH0, address("10.0.0.1"), true);
    assert_eq!(gateway(&tables, &flow(1)), Some(1));
}

#[test]
fn an_interface_takes_its_routes_and_rules_along() {
    let mut tables = tables();
    add(&mut tables, route("10.1.0.0/16", 1, 0));
    add(&mut tables, Route::unicast(prefix("10.2.0.0/16"), ETH1, None));
    let mut mixed = balanced("10.3.0.0/16", &[(1, 1), (2, 1)]);
    mixed.facts.hops.push(NextHop::new(ETH1, Some(address("10.2.0.9"))));
    add(&mut tables, mixed);
    let selector = Selector { input: Some(ETH0), ..Selector::default() };
    let rule = Rule { preference: 100, selector, action: Action::Lookup(TableId(7)) };
    tables.add_rule(rule).expect("added");
    tables.remove_interface(ETH0);
    let mut left: Vec<_> = tables.iter().map(|route| (route.to, route.facts.hops)).collect();
    left.sort_by_key(|(to, _)| to.address());
    let by_second = |via| vec![NextHop::new(ETH1, via)];
    assert_eq!(
        left,
        [
            (prefix("10.2.0.0/16"), by_second(None)),
            (prefix("10.3.0.0/16"), by_second(Some(address("10.2.0.9")))),
        ]
    );
    assert_eq!(tables.rules().count(), 3);
}

#[test]
fn limits_hold_and_changes_are_noticed() {
    let mut tables = RouteTables::new(3, Random::new([4; 16]).key());
    for last in 1..=3 {
        let generation = tables.generation();
        add(&mut tables, route(&format!("10.{last}.0.0/16"), 1, 0));
        assert_ne!(tables.generation(), generation);
    }
    let full = tables.add(route("10.9.0.0/16", 1, 0), Placement::Alone);
    assert_eq!(full, Err(RouteError::LimitReached));
    assert_eq!(tables.add(route("10.1.0.0/16", 2, 0), Placement::Replace), Ok(()));
    let six = Prefix::new("2001:db8::".parse().unwrap(), 32).unwrap();
    let six = Route { to: six, ..route("0.0.0.0/0", 1, 0) };
    assert_eq!(tables.add(six, Placement::Replace), Err(RouteError::FamilyNotSupported));
    let nowhere = Route { table: TableId(0), ..route("0.0.0.0/0", 1, 0) };
    assert_eq!(tables.add(nowhere, Placement::Replace), Err(RouteError::NoSuchTable));
}

#[test]
fn a_long_table_is_read_in_parts() {
    let mut tables = tables();
    for last in 1..=9_u8 {
        add(&mut tables, route(&format!("10.{last}.0.0/16"), last, 0));
        add(&mut tables, of_kind(&format!("10.{last}.0.0/16"), RouteKind::Prohibit, 7));
    }
    let (mut place, mut seen) = ((TableId(0), 0), Vec::new());
    while let Some((next, route)) = tables.iter_from(place).next() {
        seen.push((route.table, route.to));
        place = next;
    }
    assert_eq!(seen.len(), 18);
    seen.dedup();
    assert_eq!(seen.len(), 18);
}
