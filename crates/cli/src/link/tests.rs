use super::*;
use narrows_ipc::link::{LinkState, Traffic};

fn state(kind: LinkKind) -> LinkState {
    LinkState {
        kind,
        master: None,
        up: true,
        running: true,
        promiscuous: false,
        group: 0,
        queue: 1000,
        zone: None,
        routing: routing(),
        arp: ArpState {
            ignore: 1,
            announce: 2,
            conflict_detection: "probe".into(),
            ..ArpState::default()
        },
        traffic: Traffic::default(),
    }
}

pub(crate) fn routing() -> RoutingState {
    RoutingState {
        forward: false,
        host_model: "strong".into(),
        reverse_path: "strict".into(),
        redirects: false,
    }
}

fn row(id: u32, name: &str, state: LinkState) -> LinkRow {
    LinkRow {
        id,
        name: name.into(),
        device: String::new(),
        mac: if id == 0 { [0; 6] } else { [2, 0, 0, 0, 0, 1] },
        mtu: if id == 0 { 65_535 } else { 1500 },
        addresses: Vec::new(),
        up: true,
        state,
    }
}

fn rows() -> Vec<LinkRow> {
    let device = |name: &str| LinkKind::Device(format!("packet:{name}"));
    let member =
        LinkState { master: Some("bond0".into()), running: false, ..state(device("eth1")) };
    let vlan = LinkKind::Vlan { lower: "bond0".into(), protocol: "802.1Q".into(), id: 7 };
    vec![
        row(0, "lo", state(LinkKind::Loopback)),
        row(1, "a", member),
        row(2, "bond0", LinkState { group: 5, ..state(LinkKind::Bond) }),
        row(3, "v", LinkState { promiscuous: true, running: false, ..state(vlan) }),
        row(4, "b", LinkState { up: false, running: false, ..state(device("eth2")) }),
    ]
}

#[test]
fn reads_as_ip_link() {
    let (rows, mut out) = (rows(), Vec::new());
    for link in &rows {
        write_link(&mut out, link, &rows, link.name == "v").unwrap();
    }
    let expected = "\
0: lo: <LOOPBACK,UP,LOWER_UP> mtu 65535 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
1: a: <NO-CARRIER,BROADCAST,MULTICAST,SLAVE,UP> mtu 1500 qdisc noqueue master bond0 state DOWN \
mode DEFAULT group default qlen 1000
    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff
    alias packet:eth1
2: bond0: <BROADCAST,MULTICAST,MASTER,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT \
group 5 qlen 1000
    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff
3: v@bond0: <NO-CARRIER,BROADCAST,MULTICAST,PROMISC,UP> mtu 1500 qdisc noqueue state \
LOWERLAYERDOWN mode DEFAULT group default qlen 1000
    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff promiscuity 1
    vlan protocol 802.1Q id 7 <REORDER_HDR>
    forward off host_model strong reverse_path strict redirects off
    arp_ignore 1 arp_announce 2 arp_filter off arp_accept off proxy_arp off conflict_detection probe
4: b: <BROADCAST,MULTICAST> mtu 1500 qdisc noqueue state DOWN mode DEFAULT group default qlen 1000
    link/ether 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff
    alias packet:eth2
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn json_has_the_keys_of_ip() {
    let rows = rows();
    assert_eq!(
        to_json(&rows[3], &rows, true),
        json!({
            "ifindex": 3, "link": "bond0", "ifname": "v",
            "flags": ["NO-CARRIER", "BROADCAST", "MULTICAST", "PROMISC", "UP"],
            "mtu": 1500, "qdisc": "noqueue", "operstate": "LOWERLAYERDOWN", "linkmode": "DEFAULT",
            "group": "default", "txqlen": 1000, "link_type": "ether", "address": "02:00:00:00:00:01",
            "broadcast": "ff:ff:ff:ff:ff:ff", "promiscuity": 1,
            "routing": {"forward": false, "host_model": "strong", "reverse_path": "strict",
                        "redirects": false},
            "arp": {"arp_ignore": 1, "arp_announce": 2, "arp_filter": false, "arp_accept": false,
                    "proxy_arp": false, "conflict_detection": "probe"},
            "linkinfo": {"info_kind": "vlan",
                         "info_data": {"protocol": "802.1Q", "id": 7, "flags": ["REORDER_HDR"]}},
        })
    );
    assert_eq!(to_json(&rows[1], &rows, false)["master"], json!("bond0"));
}

#[test]
fn brief_is_a_line_an_interface() {
    let (rows, mut out) = (rows(), Vec::new());
    rows.iter().skip(1).take(3).try_for_each(|row| write_brief(&mut out, row, &rows)).unwrap();
    let expected = "\
a                DOWN           02:00:00:00:00:01 <NO-CARRIER,BROADCAST,MULTICAST,SLAVE,UP> \n\
bond0            UP             02:00:00:00:00:01 <BROADCAST,MULTICAST,MASTER,UP,LOWER_UP> \n\
v@bond0          LOWERLAYERDOWN 02:00:00:00:00:01 <NO-CARRIER,BROADCAST,MULTICAST,PROMISC,UP> \n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(brief_json(&rows[3], &rows)["link"], json!("bond0"));
}

#[test]
fn filters_choose() {
    let rows = rows();
    for (line, expected) in [
        ("", &["lo", "a", "bond0", "v", "b"][..]),
        ("dev a", &["a"]),
        ("v", &["v"]),
        ("up", &["lo", "a", "bond0", "v"]),
        ("group 5", &["bond0"]),
        ("master bond0", &["a"]),
        ("type vlan", &["v"]),
        ("type packet", &["a", "b"]),
    ] {
        let line: Vec<String> =
            ["show"].into_iter().chain(line.split_whitespace()).map(str::to_owned).collect();
        let (_, words) = Words::new("link", &line, &COMMANDS).unwrap();
        let filter = Filter::read(words).unwrap();
        let names: Vec<_> =
            rows.iter().filter(|link| filter.takes(link)).map(|link| &*link.name).collect();
        assert_eq!(names, expected, "{line:?}");
    }
}
