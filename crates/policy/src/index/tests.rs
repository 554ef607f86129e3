//! The index against looking at every rule.

use super::*;
use crate::rule::Origin;
use proptest::{prelude::*, sample::select};
use std::net::SocketAddr;

const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.0.0.2", "10.1.0.1", "0.0.0.0", "fd00::1"];
const NETWORKS: [&str; 6] =
    ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.2/32", "fd00::/16", "::/0"];
const CGROUPS: [&str; 4] = ["/", "/a", "/a/b", "/ab"];
const NAMES: [&str; 3] = ["x", "y", "z"];

/// What [`Index::find`] says, by looking at every rule.
fn look_at_all(rules: &[Rule], subject: &Subject<'_>, zone: &str, act: &Act<'_>) -> Found {
    let first = |effect: Effect| {
        let applies = |rule: &Rule| {
            rule.effect == effect
                && rule.who.fits(subject, zone)
                && is_about(&rule.permit, effect, act)
        };
        rules.iter().position(applies).and_then(|at| RuleIndex::try_from(at).ok())
    };
    Found { deny: first(Effect::Deny), grant: first(Effect::Grant) }
}

fn is_about(permit: &Permit, effect: Effect, act: &Act<'_>) -> bool {
    let covers = |at: &Endpoint, protocol: Protocol, asked: SocketAddr, binds: bool| {
        let ports = at.ports.0 <= asked.port() && asked.port() <= at.ports.1;
        let addresses = if binds && asked.ip().is_unspecified() {
            effect == Effect::Deny || at.network == Network::new(asked.ip(), 0).unwrap()
        } else {
            at.network.contains(asked.ip())
        };
        at.protocol.is_none_or(|named| named == protocol) && ports && addresses
    };
    let touches = |medium: &Medium, interface: Option<&str>, access: Access| {
        let name = match interface {
            None => effect == Effect::Deny || medium.interface.is_none(),
            Some(name) => medium.interface.as_deref().is_none_or(|named| named == name),
        };
        name && medium.access.is_none_or(|named| named == access)
    };
    match (permit, act) {
        (Permit::Bind(at), Act::Bind { protocol, local }) => covers(at, *protocol, *local, true),
        (Permit::Listen(at), Act::Listen { local }) => covers(at, Protocol::Tcp, *local, true),
        (Permit::Connect(at), Act::Connect { protocol, remote }) => {
            covers(at, *protocol, *remote, false)
        }
        (Permit::Multicast(network), Act::Multicast { group }) => network.contains(*group),
        (Permit::Raw(medium), Act::Raw { interface, access })
        | (Permit::Packet(medium), Act::Packet { interface, access }) => {
            touches(medium, *interface, *access)
        }
        (Permit::Inspect, Act::Inspect) | (Permit::Administer, Act::Administer) => true,
        _ => false,
    }
}

fn network() -> impl Strategy<Value = Network> + Clone {
    select(&NETWORKS[..]).prop_map(|text| {
        let (address, length) = text.split_once('/').unwrap();
        Network::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    })
}

fn permit() -> impl Strategy<Value = Permit> {
    let endpoint = (prop::option::of(select(&Protocol::ALL[..])), network(), 0_u16..4, 0_u16..3);
    let endpoint = endpoint.prop_map(|(protocol, network, first, more)| Endpoint {
        protocol,
        network,
        ports: (first, first + more),
    });
    let name = prop::option::of(select(&NAMES[..]).prop_map(str::to_owned));
    let medium = (prop::option::of(select(&Access::ALL[..])), name);
    let medium = medium.prop_map(|(access, interface)| Medium { access, interface });
    prop_oneof![
        3 => endpoint.clone().prop_map(Permit::Bind),
        2 => endpoint.clone().prop_map(|at| Permit::Listen(Endpoint { protocol: None, ..at })),
        3 => endpoint.prop_map(Permit::Connect),
        1 => network().prop_map(Permit::Multicast),
        1 => medium.clone().prop_map(Permit::Raw),
        2 => medium.prop_map(Permit::Packet),
        1 => Just(Permit::Inspect),
        1 => Just(Permit::Administer),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let text = |from: &'static [&'static str]| {
        prop::option::weighted(0.3, select(from).prop_map(str::to_owned))
    };
    let who = (
        prop::option::weighted(0.4, 0_u32..3),
        prop::option::weighted(0.3, 0_u32..4),
        text(&NAMES),
        text(&CGROUPS),
        text(&NAMES),
    );
    let who = who.prop_map(|(user, group, executable, cgroup, zone)| Who {
        user,
        group,
        executable,
        cgroup,
        zone,
    });
    (select(&[Effect::Deny, Effect::Grant][..]), who, permit())
        .prop_map(|(effect, who, permit)| Rule { effect, who, permit, origin: Origin::Added })
}

fn act() -> impl Strategy<Value = Act<'static>> {
    let at = (select(&ADDRESSES[..]), 0_u16..6)
        .prop_map(|(address, port)| SocketAddr::new(address.parse().unwrap(), port));
    let protocol = select(&Protocol::ALL[..]);
    let access = select(&Access::ALL[..]);
    // One that no rule names, too.
    let interface = prop::option::of(select(&["x", "y", "other"][..]));
    prop_oneof![
        3 => (protocol.clone(), at.clone())
            .prop_map(|(protocol, local)| Act::Bind { protocol, local }),
        2 => at.clone().prop_map(|local| Act::Listen { local }),
        3 => (protocol, at.clone())
            .prop_map(|(protocol, remote)| Act::Connect { protocol, remote }),
        1 => at.prop_map(|at| Act::Multicast { group: at.ip() }),
        1 => (interface.clone(), access.clone())
            .prop_map(|(interface, access)| Act::Raw { interface, access }),
        2 => (interface, access).prop_map(|(interface, access)| Act::Packet { interface, access }),
        1 => Just(Act::Inspect),
        1 => Just(Act::Administer),
    ]
}

proptest! {
    #[test]
    fn finds_what_looking_at_every_rule_finds(
        rules in prop::collection::vec(rule(), 0..60),
        acts in prop::collection::vec(act(), 1..40),
        user in 0_u32..4,
        group in 0_u32..4,
        groups in prop::collection::vec(0_u32..4, 0..3),
        executable in prop::option::of(select(&["x", "y", "other"][..])),
        cgroup in prop::option::of(select(&["/", "/a", "/a/b/c", "/ab", "/other"][..])),
        zone in select(&["x", "y", "other"][..]),
    ) {
        let index = Index::new(rules.iter());
        let subject = Subject { user, group, groups: &groups, executable, cgroup };
        for act in &acts {
            prop_assert_eq!(
                index.find(&subject, zone, act),
                look_at_all(&rules, &subject, zone, act),
                "{} by {:?}", act, subject
            );
        }
        for kind in ActKind::ALL {
            for effect in [Effect::Deny, Effect::Grant] {
                let any = rules.iter().any(|rule| rule.effect == effect && rule.permit.kind() == kind);
                prop_assert_eq!(index.has(kind, effect), any, "{:?} {:?}", effect, kind);
            }
        }
    }
}
