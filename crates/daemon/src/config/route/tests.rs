use super::*;
use crate::config::tests::parse;
use narrows_stack::table::route::{HostModel, ReversePath, RoutingSettings};

const INTERFACES: &str = r#"
[[interface]]
name = "lan"
device = "packet:eth0"
address = ["10.0.0.2/24"]
forward = true
host_model = "weak"
reverse_path = "loose"
redirects = true

[[interface]]
name = "wan"
device = "packet:eth1"
address = ["10.1.0.2/24"]
"#;

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').expect("a prefix");
    Prefix::new(address.parse().unwrap(), length.parse().unwrap()).expect("a valid prefix")
}

fn with(text: &str) -> Result<Configuration, String> {
    parse(&format!("{INTERFACES}{text}"))
}

fn hop(via: Option<[u8; 4]>, interface: usize) -> HopConfig {
    HopConfig { via: via.map(Ipv4Addr::from), interface, weight: 1, on_link: false }
}

#[test]
fn interfaces_say_how_they_route() {
    let configuration = with("").unwrap();
    let expected = RoutingSettings {
        forward: true,
        host_model: HostModel::Weak,
        reverse_path: ReversePath::Loose,
        redirects: true,
    };
    assert_eq!(configuration.interfaces[0].routing, expected);
    assert_eq!(configuration.interfaces[1].routing, RoutingSettings::default());
}

#[test]
fn routes_and_rules_are_read_whole() {
    let configuration = with(
        r#"
[[route]]
to = "10.9.0.0/24"
interface = "wan"
[[route]]
to = "default"
via = "10.9.0.1"
metric = 7
source = "10.0.0.2"
[[route]]
to = "default"
table = 100
nexthops = [{ via = "10.0.0.1", weight = 3 }, { via = "10.1.0.1", interface = "wan" }]
[[route]]
to = "198.18.0.0/15"
type = "blackhole"
table = "main"
[[route]]
to = "203.0.113.0/24"
via = "9.9.9.9"
interface = "lan"
onlink = true
[[rule]]
priority = 100
not = true
from = "10.0.0.0/8"
iif = "lan"
fwmark = "0x10/0xf0"
uidrange = "1000-1999"
table = 100
[[rule]]
priority = 50
goto = 200
[[rule]]
priority = 60
to = "192.0.2.0/24"
action = "prohibit"
"#,
    )
    .unwrap();
    let base = RouteConfig {
        to: prefix("0.0.0.0/0"),
        table: TableId::MAIN,
        kind: RouteKind::Unicast,
        metric: 0,
        source: None,
        hops: Vec::new(),
    };
    let hops =
        vec![HopConfig { weight: 3, ..hop(Some([10, 0, 0, 1]), 0) }, hop(Some([10, 1, 0, 1]), 1)];
    let beyond = HopConfig { on_link: true, ..hop(Some([9, 9, 9, 9]), 0) };
    let expected = [
        RouteConfig { to: prefix("10.9.0.0/24"), hops: vec![hop(None, 1)], ..base.clone() },
        RouteConfig {
            metric: 7,
            source: Some([10, 0, 0, 2].into()),
            hops: vec![hop(Some([10, 9, 0, 1]), 1)],
            ..base.clone()
        },
        RouteConfig { table: TableId(100), hops, ..base.clone() },
        RouteConfig { to: prefix("198.18.0.0/15"), kind: RouteKind::Blackhole, ..base.clone() },
        RouteConfig { to: prefix("203.0.113.0/24"), hops: vec![beyond], ..base },
    ];
    assert_eq!(configuration.routes, expected);
    let rule = |preference, selector, action| RuleConfig {
        preference,
        selector,
        input: None,
        output: None,
        action,
    };
    let chosen = Selector {
        invert: true,
        from: Some(prefix("10.0.0.0/8")),
        mark: Some((0x10, 0xf0)),
        users: Some(1000..=1999),
        ..Selector::default()
    };
    let net = Selector { to: Some(prefix("192.0.2.0/24")), ..Selector::default() };
    let expected = [
        RuleConfig { input: Some(0), ..rule(100, chosen, Action::Lookup(TableId(100))) },
        rule(50, Selector::default(), Action::Goto(200)),
        rule(60, net, Action::Prohibit),
    ];
    assert_eq!(configuration.rules, expected);
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    for (text, message) in [
        (
            "[[route]]\nto = \"default\"\nvia = \"192.0.2.1\"",
            "no interface reaches the gateway 192.0.2.1",
        ),
        // By a route with a gateway: it might lead back here.
        (
            "[[route]]\nto = \"10.9.0.0/24\"\nvia = \"10.0.0.1\"\n[[route]]\nto = \"default\"\nvia = \"10.9.0.1\"",
            "no interface reaches the gateway 10.9.0.1",
        ),
        (
            "[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"\ninterface = \"wan\"",
            "no interface reaches",
        ),
        ("[[route]]\nto = \"default\"\nvia = \"10.1.0.2\"", "10.1.0.2 is our own address"),
        (
            "[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"\ntable = \"mian\"",
            "no table \"mian\": write",
        ),
        ("[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"\ntable = 0", "no table 0: write"),
        (
            "[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"\ntype = \"prohibit\"",
            "leads nowhere: leave via",
        ),
        ("[[route]]\nto = \"default\"\ntype = \"nat\"", "type = \"nat\": write \"unicast\""),
        (
            "[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"\nsource = \"10.0.0.9\"",
            "is not one of our addresses",
        ),
        ("[[route]]\nto = \"default\"\nnexthops = []", "nexthops is empty: write"),
        (
            "[[route]]\nto = \"default\"\nnexthops = [{ via = \"10.0.0.1\", weight = 257 }]",
            "weight = 257: write 1 to 256",
        ),
        (
            "[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"\nnexthops = [{ via = \"10.0.0.1\" }]",
            "write nexthops alone",
        ),
        ("[[route]]\nto = \"default\"\nvia = \"9.9.9.9\"\nonlink = true", "onlink: on which link?"),
        (
            "[[rule]]\npriority = 5\ntable = 100",
            "table 100 has no routes, so the rule leads nowhere",
        ),
        ("[[rule]]\npriority = 5\ngoto = 5", "goto 5 leads back, and round for ever"),
        ("[[rule]]\npriority = 0\ntable = \"main\"", "priority 0 is the local table's"),
        ("[[rule]]\npriority = 5", "what then? write one of table, goto and action"),
        ("[[rule]]\npriority = 5\ntable = \"main\"\ngoto = 9", "what then? write one of"),
        ("[[rule]]\npriority = 5\naction = \"drop\"", "action = \"drop\": write \"blackhole\""),
        ("[[rule]]\npriority = 5\ntable = \"main\"\nfwmark = \"x\"", "\"x\" is not a mark"),
        ("[[rule]]\npriority = 5\ntable = \"main\"\nuidrange = \"9-1\"", "\"9-1\" are no users"),
        ("[[rule]]\npriority = 5\ntable = \"main\"\niif = \"dmz\"", "no interface \"dmz\""),
        (
            "[[interface]]\nname = \"x\"\ndevice = \"tap:x\"\nhost_model = \"none\"",
            "host_model = \"none\": write",
        ),
        (
            "[[interface]]\nname = \"x\"\ndevice = \"tap:x\"\nreverse_path = \"on\"",
            "reverse_path = \"on\": write",
        ),
    ] {
        let error = with(text).unwrap_err();
        assert!(error.contains(message), "{text}: {error}");
    }
}
