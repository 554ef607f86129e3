//! Interfaces that stand upon others.

use super::*;
use narrows_stack::table::bond::{ArpMonitor, BondMode, HashPolicy};
use narrows_wire::vlan::{Tag, TagProtocol, VlanId};
use std::time::Duration;

/// `[[interface]]` with a name and a device, and these lines.
fn interface(name: &str, device: &str, rest: &str) -> String {
    format!("[[interface]]\nname = \"{name}\"\ndevice = \"{device}\"\n{rest}\n")
}

const ADDRESS: &str = "address = [\"10.1.0.2/24\"]";

/// Two devices, without addresses.
fn two() -> String {
    interface("a", "packet:eth0", "") + &interface("b", "packet:eth1", "")
}

#[test]
fn a_file_with_everything_in_any_order() {
    let text = [
        interface("v", "vlan", "link = \"bond0\"\nid = 100\nprotocol = \"802.1ad\"\naddress = [\"10.2.0.2/24\"]\nmtu = 1400"),
        interface(
            "bond0",
            "bond",
            "members = [\"a\", \"b\"]\nmode = \"active-backup\"\nxmit_hash_policy = \"layer3+4\"\n\
             primary = \"b\"\nlacp_rate = \"fast\"\narp_interval = 500\n\
             arp_ip_target = [\"10.1.0.1\"]\nmin_links = 2\nupdelay = 200\ndowndelay = 50\n\
             address = [\"10.1.0.2/24\"]",
        ),
        interface("a", "packet:eth0", "mtu = 1480\ngroup = 7"),
        interface("b", "packet:eth1", "promiscuous = true"),
        interface("br0", "bridge", "ports = [\"t\"]\nageing_time = 30\nflood_limit = 0"),
        interface("t", "tap:narrows9", "bind = [\"02:00:00:00:00:01\"]\nfdb = [\"2:0:0:0:0:2\"]"),
    ]
    .concat();
    let parsed = parse(&text).expect("a good file");
    let [v, bond, a, b, bridge, port] = &parsed.interfaces[..] else { panic!("{parsed:?}") };
    let tag = Tag { protocol: TagProtocol::Dot1ad, id: VlanId::new(100).unwrap() };
    assert_eq!(v.link, LinkConfig::Vlan { lower: "bond0".into(), tag });
    let expected = BondConfig {
        mode: BondMode::ActiveBackup,
        hash: HashPolicy::Layer34,
        primary: Some("b".into()),
        lacp_fast: true,
        monitor: Some(ArpMonitor {
            interval: Duration::from_millis(500),
            targets: vec![Ipv4Addr::new(10, 1, 0, 1)],
        }),
        min_links: 2,
        up_delay: Duration::from_millis(200),
        down_delay: Duration::from_millis(50),
    };
    let members = vec!["a".into(), "b".into()];
    assert_eq!(bond.link, LinkConfig::Bond { members, bond: expected });
    assert_eq!((v.options.mtu, a.options.mtu, a.options.group), (Some(1400), Some(1480), 7));
    assert!(b.options.promiscuous && !a.options.promiscuous);
    let LinkConfig::Bridge { ports, settings } = &bridge.link else { panic!("{bridge:?}") };
    assert_eq!((&**ports, settings.ageing), (&["t".to_owned()][..], Duration::from_secs(30)));
    assert_eq!(settings.flood_limit, 0);
    let stations = |last| [MacAddr([2, 0, 0, 0, 0, last])].into();
    assert_eq!((&port.options.bound, &port.options.stations), (&Some(stations(1)), &stations(2)));
    // Each after what it stands upon.
    let names: Vec<_> =
        from_below(&parsed.interfaces).into_iter().map(|at| &*parsed.interfaces[at].name).collect();
    assert_eq!(names, ["a", "b", "t", "bond0", "br0", "v"]);
}

#[test]
fn each_error_names_the_line_and_what_to_write() {
    let bond = |rest: &str| two() + &interface("bond0", "bond", &format!("{ADDRESS}\n{rest}"));
    let members = "members = [\"a\", \"b\"]";
    let vlan = |rest: &str| LAN.to_owned() + &interface("v", "vlan", &format!("{ADDRESS}\n{rest}"));
    let bridge =
        |name: &str, port: &str| interface(name, "bridge", &format!("ports = [\"{port}\"]"));
    let cases = [
        // VLANs
        (vlan("id = 5"), "narrows.toml:7: a VLAN needs the interface it is on: write link"),
        (vlan("link = \"lan\""), "narrows.toml:7: a VLAN needs its number: write id = 100"),
        (vlan("link = \"lan\"\nid = 4095"), "narrows.toml:10: id = 4095: write 1 to 4094"),
        (vlan("link = \"lan\"\nid = 0"), "narrows.toml:10: id = 0: write 1 to 4094"),
        (
            vlan("link = \"wan\"\nid = 5"),
            "narrows.toml:9: no interface \"wan\": write one of lan, v",
        ),
        (vlan("link = \"v\"\nid = 5"), "narrows.toml:9: \"v\" would stand upon itself"),
        (
            vlan("link = \"lan\"\nid = 5\nprotocol = \"qinq\""),
            "narrows.toml:11: protocol = \"qinq\": write one of \"802.1Q\", \"802.1ad\"",
        ),
        (
            vlan("link = \"lan\"\nid = 5")
                + &interface("w", "vlan", "link = \"lan\"\nid = 5\naddress = [\"10.3.0.2/24\"]"),
            "narrows.toml:15: VLAN 5 of \"lan\" is interface \"v\" already: write another id",
        ),
        (
            vlan("link = \"lan\"\nid = 5\nmtu = 1501"),
            "narrows.toml:9: mtu 1501 is more than the 1500",
        ),
        // MTU, groups, addresses
        (format!("{LAN}mtu = 67"), "narrows.toml:5: mtu = 67: write 68 to 65535"),
        (format!("{LAN}mtu = 65536"), "narrows.toml:5: mtu = 65536: write 68 to 65535"),
        (
            format!("{LAN}mtu = 9000"),
            "narrows.toml:5: eth1 has an MTU of 1500 in the kernel: write at most 1500, or set it \
             first with `ip link set eth1 mtu 9000`",
        ),
        (format!("{LAN}group = -1"), "narrows.toml:5: group -1: write 0 to"),
        (
            format!("{LAN}mac = \"01:00:5e:00:00:01\""),
            "narrows.toml:5: \"01:00:5e:00:00:01\" is not",
        ),
        (
            format!("{LAN}ports = [\"lan\"]"),
            "narrows.toml:5: ports is for device = \"bridge\": leave",
        ),
        (format!("{LAN}fdb = []"), "narrows.toml:5: fdb is for a port of a bridge: leave it out"),
        (interface("a", "packet:eth0", ""), "narrows.toml:2: an interface needs an address: write"),
        // bonds
        (bond(""), "narrows.toml:11: of what? write members = [\"NAME\", \"NAME\"]"),
        (bond("members = [\"a\", \"a\"]"), "narrows.toml:13: \"a\" is listed twice: leave one out"),
        (bond("members = [\"a\", \"lo\"]"), "narrows.toml:13: no interface \"lo\""),
        (bond(&format!("{members}\nmode = \"6\"")), "narrows.toml:14: mode = \"6\": write one of"),
        (bond(&format!("{members}\nprimary = \"c\"")), "narrows.toml:14: primary \"c\": write one"),
        (
            bond(&format!("{members}\nlacp_rate = \"1\"")),
            "narrows.toml:14: lacp_rate = \"1\": write",
        ),
        (
            bond(&format!("{members}\nmin_links = 17")),
            "narrows.toml:14: min_links = 17: write 0 to 16",
        ),
        (
            bond(&format!("{members}\nupdelay = -1")),
            "narrows.toml:14: updelay = -1: write 0 to 60000",
        ),
        (bond(&format!("{members}\narp_interval = 5")), "narrows.toml:14: whom to ask? write"),
        (
            bond(&format!("{members}\narp_interval = 5\narp_ip_target = [\"10.1.0.1\"]")),
            "narrows.toml:14: arp_interval = 5: write 10 to 60000",
        ),
        (
            bond(&format!("{members}\narp_ip_target = [\"10.1.0.1\"]")),
            "narrows.toml:14: how often? write arp_interval = 1000",
        ),
        (
            LAN.to_owned()
                + &interface("bond0", "bond", &format!("{ADDRESS}\nmembers = [\"lan\"]")),
            "narrows.toml:4: \"lan\" is part of \"bond0\", which has the addresses: leave address out",
        ),
        (
            two()
                + &interface("v", "vlan", "link = \"a\"\nid = 5")
                + &interface("bond0", "bond", &format!("{ADDRESS}\nmembers = [\"v\"]")),
            "narrows.toml:18: \"v\" is vlan:a.5: a bond's members are devices",
        ),
        // masters and loops
        (
            bond(members) + &bridge("br0", "b"),
            "narrows.toml:17: \"b\" is part of \"bond0\" already: write another",
        ),
        (bridge("x", "y") + &bridge("y", "x"), "narrows.toml:4: \"x\" would stand upon itself"),
        (bridge("x", "x"), "narrows.toml:4: \"x\" would stand upon itself"),
    ];
    for (text, expected) in cases {
        match parse(&text) {
            Err(message) if message.starts_with(expected) => {}
            other => panic!("{text}\n{other:?}\nexpected {expected}"),
        }
    }
}
