use super::*;
use narrows_device::link::Link;
use narrows_wire::address::MacAddr;
use std::path::Path;

fn configuration(text: &str) -> Configuration {
    let link = |index, name: &str| Link {
        index,
        name: name.into(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
        mtu: 1500,
        gso_max_size: 65_536,
        up: true,
        carrier: true,
        addresses: Vec::new(),
    };
    let links = [link(1, "eth0"), link(2, "eth1"), link(3, "eth2")];
    Configuration::parse(Path::new("narrows.toml"), text, &links).expect("a good file")
}

const LAN: &str = "[[interface]]\nname = \"lan\"\ndevice = \"packet:eth0\"\n";
const ADDRESS: &str = "address = [\"10.0.0.2/24\"]\n";

fn steps(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (configuration(old), configuration(new));
    let difference = Difference::between(&old, &new, |_| true);
    difference.steps().into_iter().map(|step| step.says).collect()
}

/// A device without an address, and something that has it as a member.
fn with_master(name: &str, device: &str, rest: &str) -> String {
    let interface = |name: &str, device: &str, rest: &str| {
        format!("[[interface]]\nname = \"{name}\"\ndevice = \"{device}\"\n{rest}\n")
    };
    interface("a", "packet:eth0", "")
        + &interface("b", "packet:eth1", "")
        + &interface("c", "packet:eth2", "address = [\"10.2.0.2/24\"]")
        + &interface(name, device, rest)
}

#[test]
fn nothing_is_done_where_nothing_differs() {
    let lan = format!("{LAN}{ADDRESS}");
    let route = "[[route]]\nto = \"default\"\nvia = \"10.0.0.1\"\n";
    assert_eq!(steps(&lan, &format!("# a comment\n{lan}")), [""; 0]);
    assert_eq!(steps(&format!("{lan}{route}"), &format!("{lan}{route}")), [""; 0]);
}

#[test]
fn each_kind_of_thing_comes_and_goes() {
    let lan = format!("{LAN}{ADDRESS}");
    let v = "[[interface]]\nname = \"v\"\ndevice = \"vlan\"\nlink = \"lan\"\nid = 5\n\
             address = [\"10.5.0.2/24\"]\n";
    let forwarding = format!("{lan}forward = true\n");
    let rule = "[[route]]\nto = \"default\"\ntable = 7\nnexthops = [{ via = \"10.0.0.1\" }, \
                { via = \"10.0.0.9\" }]\n[[rule]]\npriority = 5\niif = \"lan\"\ntable = 7\n";
    let cases: [(String, String, &[&str]); 15] = [
        (lan.clone(), format!("{lan}[icmp]\ntimestamp = true\n"), &["icmp: timestamp on"]),
        (
            lan.clone(),
            format!("{lan}[local]\nip_local_port_range = [40000, 40999]\n"),
            &["ports: programs are given 40000 to 40999"],
        ),
        (lan.clone(), forwarding, &["lan: forwarding and host model"]),
        (
            lan.clone(),
            format!("{lan}{rule}"),
            &[
                "route to 0.0.0.0/0 in table 7 via 10.0.0.1 dev lan via 10.0.0.9 dev lan added",
                "rule 5 lookup 7 added",
            ],
        ),
        (
            format!("{lan}{rule}"),
            format!("{lan}{}", rule.replace("priority = 5", "priority = 6")),
            &["rule 5 lookup 7 removed", "rule 6 lookup 7 added"],
        ),
        (
            lan.clone(),
            format!("{LAN}address = [\"10.0.0.2/24\", \"10.0.0.3/24\"]"),
            &["lan: address 10.0.0.3/24 added"],
        ),
        (
            lan.clone(),
            format!("{LAN}address = [\"10.1.0.2/24\"]"),
            &["lan: address 10.0.0.2/24 removed", "lan: address 10.1.0.2/24 added"],
        ),
        (
            lan.clone(),
            format!("{lan}mtu = 1400\ngroup = 3\npromiscuous = true"),
            &["lan: mtu 1400", "lan: group 3", "lan: promisc on"],
        ),
        (lan.clone(), format!("{lan}{v}"), &["interface v on vlan:lan.5 added"]),
        (format!("{lan}{v}"), lan.clone(), &["interface v removed"]),
        (
            lan.clone(),
            format!("{lan}[[route]]\nto = \"10.9.0.0/16\"\nvia = \"10.0.0.1\""),
            &["route to 10.9.0.0/16 via 10.0.0.1 dev lan added"],
        ),
        (
            format!(
                "{lan}[[neighbor]]\naddress = \"10.0.0.9\"\nlladdr = \"02:00:00:00:00:09\"\ninterface = \"lan\""
            ),
            lan.clone(),
            &["neighbor 10.0.0.9 on lan removed"],
        ),
        (
            format!("{lan}mtu = 1400"),
            lan.clone(),
            &["interface lan removed", "interface lan on packet:eth0 added"],
        ),
        (lan.clone(), format!("{lan}arp_ignore = 0"), &["lan: ARP policy"]),
        (
            lan.clone(),
            format!("{LAN}address = \"dhcp\"\n"),
            &["lan: address 10.0.0.2/24 removed", "lan: source of its address"],
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(steps(&old, &new), expected, "{old}\n→\n{new}");
    }
}

#[test]
fn what_stands_upon_a_remade_interface_is_remade_with_it() {
    let v = "[[interface]]\nname = \"v\"\ndevice = \"vlan\"\nlink = \"lan\"\nid = 5\n\
             address = [\"10.5.0.2/24\"]\n[[route]]\nto = \"10.6.0.0/16\"\nvia = \"10.5.0.1\"\n";
    let old = format!("{LAN}{ADDRESS}{v}");
    let new = old.replace("eth0", "eth1");
    assert_eq!(
        steps(&old, &new),
        [
            "interface v removed",
            "interface lan removed",
            "interface lan on packet:eth1 added",
            "interface v on vlan:lan.5 added",
            "route to 10.6.0.0/16 via 10.5.0.1 dev v added",
        ]
    );
}

#[test]
fn bonds_and_bridges_change_their_members_and_settings_in_place() {
    let address = "address = [\"10.1.0.2/24\"]\n";
    let bond = |rest: &str| with_master("bond0", "bond", &format!("{address}{rest}"));
    let members = "members = [\"a\", \"b\"]\n";
    let active = format!("{members}mode = \"active-backup\"");
    assert_eq!(steps(&bond(members), &bond(&active)), ["bond0: settings of the bond"]);
    let bridge = |ports: &str, rest: &str| {
        with_master("br0", "bridge", &format!("{address}ports = [{ports}]\n{rest}")).replacen(
            "eth1\"\n",
            "eth1\"\naddress = []\n",
            1,
        )
    };
    let both = bridge("\"a\", \"b\"", "");
    assert_eq!(
        steps(&both, &bridge("\"a\", \"b\"", "ageing_time = 9")),
        ["br0: settings of the bridge"]
    );
    let bound = both.replacen("eth0\"\n", "eth0\"\nbind = [\"02:00:00:00:00:05\"]\n", 1);
    assert_eq!(steps(&both, &bound), ["a: bind 02:00:00:00:00:05"]);
    // A port whose device is another leaves, is made anew, and joins again.
    let mut moved = both.replace("packet:eth0", "tap:narrows9");
    assert_eq!(
        steps(&both, &moved),
        [
            "a taken out of br0",
            "interface a removed",
            "interface a on tap:narrows9 added",
            "a put into br0",
        ]
    );
    moved = both.replace("\"a\", \"b\"", "\"b\"").replacen(
        "eth0\"\n",
        "eth0\"\naddress = [\"10.7.0.2/24\"]\n",
        1,
    );
    assert_eq!(steps(&both, &moved), ["a taken out of br0", "a: address 10.7.0.2/24 added"]);
}

#[test]
fn what_went_at_run_time_comes_back_if_the_file_names_it() {
    let v = "[[interface]]\nname = \"v\"\ndevice = \"vlan\"\nlink = \"lan\"\nid = 5\n\
             address = [\"10.5.0.2/24\"]\n[[route]]\nto = \"10.6.0.0/16\"\nvia = \"10.5.0.1\"\n";
    let (without, with) = (format!("{LAN}{ADDRESS}"), format!("{LAN}{ADDRESS}{v}"));
    let steps = |new: &str| -> Vec<String> {
        let (old, new) = (configuration(&with), configuration(new));
        let difference = Difference::between(&old, &new, |name| name != "v");
        difference.steps().into_iter().map(|step| step.says).collect()
    };
    assert_eq!(
        steps(&with),
        ["interface v on vlan:lan.5 added", "route to 10.6.0.0/16 via 10.5.0.1 dev v added"]
    );
    assert_eq!(steps(&without), [""; 0]);
}
