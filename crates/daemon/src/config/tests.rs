use super::*;
use narrows_stack::{
    config::SynCookies,
    table::{
        arp_policy::{ArpAnnounce, ArpIgnore, ArpPolicy, ConflictDetection},
        route::{RouteKind, TableId},
    },
    tcp::{accurate_ecn::CountersSent, ecn::EcnMode, mtu_probe::MtuProbing},
};
use narrows_wire::address::MacAddr;

mod addresses;
mod daemon;
mod links;
mod quota;

fn links() -> Vec<Link> {
    let link = |index, name: &str, addresses: &[(Ipv4Addr, u8)]| Link {
        index,
        name: name.into(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
        mtu: 1500,
        gso_max_size: 65_536,
        up: true,
        carrier: true,
        addresses: addresses.to_vec(),
    };
    vec![
        link(1, "lo", &[(Ipv4Addr::LOCALHOST, 8)]),
        link(2, "eth0", &[(Ipv4Addr::new(192, 0, 2, 7), 24)]),
        link(3, "eth1", &[]),
    ]
}

pub(super) fn parse(text: &str) -> Result<Configuration, String> {
    Configuration::parse(Path::new("narrows.toml"), text, &links()).map_err(|e| e.to_string())
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = split_prefix(text).expect("a prefix");
    Prefix::new(address.into(), length.expect("a length")).expect("a length that fits")
}

fn plain_route(to: &str, via: Option<Ipv4Addr>, interface: usize) -> RouteConfig {
    RouteConfig {
        to: prefix(to),
        table: TableId::MAIN,
        kind: RouteKind::Unicast,
        metric: 0,
        source: None,
        hops: vec![route::HopConfig { via, interface, weight: 1, on_link: false }],
    }
}

const LAN: &str =
    "[[interface]]\nname = \"lan\"\ndevice = \"packet:eth1\"\naddress = [\"10.0.0.2/24\"]\n";

#[test]
fn a_whole_file() {
    let text = r#"
        # comment
        [[interface]]
        name = "lan"
        device = "packet:eth1"
        address = ["10.0.0.2/24", "10.0.0.3/24"]
        zone = "public"
        conflict_detection = "probe"
        arp_ignore = 0
        arp_announce = 1
        arp_filter = true
        arp_accept = 1
        proxy_arp = true

        [[interface]]
        name = "host"
        device = "tap:narrows7"
        address = ["10.112.0.2/31"]
        kernel = "10.112.0.3/31"

        [[route]]
        to = "default"
        via = "10.0.0.1"

        [[route]]
        to = "10.9.0.0/16"
        interface = "host"

        [[neighbor]]
        address = "10.0.0.1"
        lladdr = "02:00:00:00:00:0f"
        interface = "lan"
    "#;
    let expected = Configuration {
        filter: None,
        interfaces: vec![
            InterfaceConfig {
                name: "lan".into(),
                link: LinkConfig::Device(DeviceSpec::Packet("eth1".into())),
                options: LinkOptions::default(),
                addresses: vec![prefix("10.0.0.2/24"), prefix("10.0.0.3/24")],
                described: Vec::new(),
                source: AddressSource::Static,
                kernel: None,
                arp: ArpPolicy {
                    arp_ignore: ArpIgnore::AnyInterface,
                    arp_announce: ArpAnnounce::SameSubnet,
                    arp_filter: true,
                    arp_accept: true,
                    proxy_arp: true,
                    conflict_detection: ConflictDetection::Probe,
                },
                routing: RoutingSettings::default(),
                zone: ZoneId::PUBLIC,
            },
            InterfaceConfig {
                name: "host".into(),
                link: LinkConfig::Device(DeviceSpec::Tap("narrows7".into())),
                options: LinkOptions::default(),
                addresses: vec![prefix("10.112.0.2/31")],
                described: Vec::new(),
                source: AddressSource::Static,
                kernel: Some((Ipv4Addr::new(10, 112, 0, 3), 31)),
                arp: arp::DEFAULT,
                routing: RoutingSettings::default(),
                zone: ZoneId::PUBLIC,
            },
        ],
        routes: vec![
            plain_route("0.0.0.0/0", Some(Ipv4Addr::new(10, 0, 0, 1)), 0),
            plain_route("10.9.0.0/16", None, 1),
        ],
        rules: Vec::new(),
        defaults: Defaults::default(),
        policy: Vec::new(),
        forbidden: Vec::new(),
        local: local::LocalConfig::default(),
        icmp_timestamps: false,
        daemon: DaemonConfig::default(),
        dhcp: DhcpConfig::default(),
        quotas: Quotas::default(),
        tcp: TcpDefaults::default(),
        conntrack: ConntrackConfig::default(),
        neighbors: vec![NeighborConfig {
            address: Ipv4Addr::new(10, 0, 0, 1),
            mac: MacAddr([2, 0, 0, 0, 0, 15]),
            interface: 0,
        }],
        zones: Vec::new(),
        allows: Vec::new(),
    };
    assert_eq!(parse(text), Ok(expected));
}

#[test]
fn an_interface_may_find_its_own_address() {
    for (word, source) in [("dhcp", AddressSource::Dhcp), ("link-local", AddressSource::LinkLocal)]
    {
        let configuration = parse(&LAN.replace("[\"10.0.0.2/24\"]", &format!("\"{word}\"")));
        let interface = configuration.expect("a good file").interfaces.remove(0);
        assert_eq!((interface.source, interface.addresses.len()), (source, 0));
    }
}

#[test]
fn each_error_names_the_line_and_what_to_write() {
    let second = |device: &str, address: &str| {
        format!(
            "{LAN}[[interface]]\nname = \"b\"\ndevice = \"{device}\"\naddress = [\"{address}\"]"
        )
    };
    let address = |text: &str| LAN.replace("10.0.0.2/24", text);
    let route = |text: &str| format!("{LAN}[[route]]\n{text}");
    let neighbor = |address: &str, lladdr: &str| {
        format!(
            "{LAN}[[neighbor]]\naddress = \"{address}\"\nlladdr = \"{lladdr}\"\ninterface = \"lan\"\n"
        )
    };
    let mac = "02:00:00:00:00:01";
    let cases = [
        (&*format!("{LAN}arp_ignore = 3"), "narrows.toml:5: arp_ignore = 3: write 0, 1, 2 or 8"),
        (&format!("{LAN}arp_announce = -1"), "narrows.toml:5: arp_announce = -1: write 0, 1 or 2"),
        (&format!("{LAN}arp_filter = 2"), "narrows.toml:5: arp_filter = 2: write true or false"),
        (&format!("{LAN}proxy_arp = \"yes\""), "narrows.toml:5: "),
        (
            &format!("{LAN}conflict_detection = \"on\""),
            "narrows.toml:5: conflict_detection = \"on\": write \"announce\", \"probe\" or \"off\"",
        ),
        (&neighbor("10.0.0", mac), "narrows.toml:6: \"10.0.0\" is not an IPv4 address: write"),
        (&neighbor("10.0.0.2", mac), "narrows.toml:6: 10.0.0.2 is our own address: write"),
        (
            &neighbor("10.0.0.1", "ff:ff:ff:ff:ff:ff"),
            "narrows.toml:7: \"ff:ff:ff:ff:ff:ff\" is not",
        ),
        (&neighbor("10.0.0.1", "02:00:00:00:00"), "narrows.toml:7: \"02:00:00:00:00\" is not the"),
        (
            &neighbor("10.0.0.1", mac).replace("interface = \"lan\"\n", "interface = \"wan\"\n"),
            "narrows.toml:8: no interface \"wan\"",
        ),
        (
            &(neighbor("10.0.0.1", mac) + &neighbor("10.0.0.1", mac)[LAN.len()..]),
            "narrows.toml:10: a second neighbor 10.0.0.1: leave one out",
        ),
        ("", "narrows.toml:1: no interface: write [[interface]]"),
        ("[[interface]\n", "narrows.toml:1: "),
        (&LAN.replace("address", "adress"), "narrows.toml:4: unknown field `adress`, expected"),
        ("speed = 3", "narrows.toml:1: unknown field `speed`, expected"),
        (&LAN.replace("device = \"packet:eth1\"\n", ""), "narrows.toml:1: missing field `device`"),
        (&LAN.replace("\"lan\"", "7"), "narrows.toml:2: invalid type: integer `7`"),
        (&LAN.replace("lan", "my lan"), "narrows.toml:2: \"my lan\" is not an interface name"),
        (&LAN.replace("lan", "lo"), "narrows.toml:2: \"lo\" is the loopback interface"),
        (&LAN.replace("packet:eth1", "eth1"), "narrows.toml:3: unknown device \"eth1\": write"),
        (&LAN.replace("eth1", "eth9"), "narrows.toml:3: no device eth9: write packet: and one of"),
        (&format!("{LAN}zone = \"vault\""), "narrows.toml:5: no zone \"vault\": write"),
        (&format!("{LAN}kernel = \"10.0.0.9/24\""), "narrows.toml:5: kernel is for tap devices"),
        (
            &LAN.replace("[\"10.0.0.2/24\"]", "\"10.0.0.2/24\""),
            "narrows.toml:4: address = \"10.0.0.2/24\": write [\"10.0.0.2/24\"], \"dhcp\" or",
        ),
        (
            &LAN.replace("[\"10.0.0.2/24\"]", "7"),
            "narrows.toml:4: invalid type: integer `7`, expected",
        ),
        (&address("10.0.0.2"), "narrows.toml:4: no prefix length: write \"10.0.0.2/24\""),
        (&address("10.0.0.256/24"), "narrows.toml:4: \"10.0.0.256/24\" is not an IPv4 address"),
        (&address("fe80::1/64"), "narrows.toml:4: \"fe80::1/64\" is not an IPv4 address"),
        (&address("10.0.0.2/33"), "narrows.toml:4: prefix length 33: write 1 to 32"),
        (&address("10.0.0.2/0"), "narrows.toml:4: prefix length 0: write 1 to 32"),
        (&address("10.0.0.0/24"), "narrows.toml:4: 10.0.0.0 is the network's own: write"),
        (&address("10.0.0.255/24"), "narrows.toml:4: 10.0.0.255 is the network's broadcast"),
        (&address("224.0.0.1/24"), "narrows.toml:4: 224.0.0.1 is multicast: write"),
        (&address("127.0.0.2/8"), "narrows.toml:4: 127.0.0.2 is loopback"),
        (&address("0.1.2.3/8"), "narrows.toml:4: 0.1.2.3 can't be a host's"),
        (&address("255.255.255.255/32"), "narrows.toml:4: 255.255.255.255 can't be a host's"),
        (&address("192.0.2.7/24"), "narrows.toml:4: 192.0.2.7 is the kernel's own address on eth0"),
        (&LAN.replace("[\"10.0.0.2/24\"]", "[]"), "narrows.toml:4: an interface needs an address"),
        (
            &LAN.replace("]\n", ", \"10.0.0.2/24\"]\n")
                .replace("[[interface], \"10.0.0.2/24\"]", "[[interface]]"),
            "narrows.toml:4: 10.0.0.2 is the address of interface \"lan\" already",
        ),
        (&format!("{LAN}{LAN}"), "narrows.toml:6: a second interface \"lan\": write another name"),
        (&second("packet:eth1", "10.1.0.2/24"), "narrows.toml:7: device eth1 is interface \"lan\""),
        (&second("packet:eth0", "10.0.0.2/8"), "narrows.toml:8: 10.0.0.2 is the address of"),
        (&second("packet:eth0", "10.0.0.9/24"), "narrows.toml:8: 10.0.0.0/24 is the network of"),
        (&route("via = \"10.0.0.1\""), "narrows.toml:5: missing field `to`"),
        (&route("to = \"default\""), "narrows.toml:5: where to? write via"),
        (
            &route("to = \"10.2.0.1/16\"\nvia = \"10.0.0.1\""),
            "narrows.toml:6: 10.2.0.1/16 has host bits set: write \"10.2.0.0/16\"",
        ),
        (
            &route("to = \"all\"\nvia = \"10.0.0.1\""),
            "narrows.toml:6: \"all\" is not a destination",
        ),
        (&route("to = \"default\"\nvia = \"x\""), "narrows.toml:7: \"x\" is not an IPv4 address"),
        (
            &route("to = \"default\"\nvia = \"10.1.0.1\""),
            "narrows.toml:7: no interface reaches the gateway 10.1.0.1: write one inside 10.0.0.0/24",
        ),
        (
            &route("to = \"default\"\nvia = \"10.0.0.2\""),
            "narrows.toml:7: 10.0.0.2 is our own address",
        ),
        (
            &route("to = \"default\"\nvia = \"10.0.0.255\""),
            "narrows.toml:7: 10.0.0.255 is everybody on 10.0.0.0/24: write the gateway's address",
        ),
        (
            &route("to = \"default\"\ninterface = \"wan\""),
            "narrows.toml:7: no interface \"wan\": write one of lan",
        ),
        (
            &route(
                "to = \"default\"\nvia = \"10.0.0.1\"\n[[route]]\nto = \"default\"\nvia = \"10.0.0.9\"",
            ),
            "narrows.toml:9: a second route to 0.0.0.0/0",
        ),
    ];
    for (text, expected) in cases {
        let error = parse(text).expect_err(text);
        assert!(error.starts_with(expected), "{text}\n got: {error}\nwant: {expected}");
    }
}

#[test]
fn without_a_file_the_kernel_is_on_the_same_network() {
    let configuration = Configuration::without_file();
    let interface = &configuration.interfaces[0];
    let (kernel, length) = interface.kernel.expect("an address for the kernel");
    assert_eq!(length, interface.addresses[0].length());
    assert!(interface.addresses[0].contains(IpAddr::V4(kernel)));
}

#[test]
fn the_congestion_control_of_new_sockets_is_known_by_name() {
    let with = |tcp: &str| {
        let text = format!(
            "[[interface]]\nname = \"lan\"\ndevice = \"tap:t0\"\naddress = [\"10.0.0.2/24\"]\n\n{tcp}"
        );
        parse(&text).map(|configuration| configuration.tcp.congestion.name())
    };
    assert_eq!(with(""), Ok("cubic"));
    for name in ["reno", "cubic", "bbr", "dctcp"] {
        assert_eq!(with(&format!("[tcp]\ncongestion = \"{name}\"\n")), Ok(name));
    }
    let error = with("[tcp]\ncongestion = \"vegas\"\n").unwrap_err().to_string();
    let expected = ":7: no congestion control \"vegas\": write one of reno, cubic, bbr, dctcp";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn the_ports_that_programs_are_given_are_a_range() {
    let with = |range: &str| {
        let text = format!(
            "[[interface]]\nname = \"lan\"\ndevice = \"tap:t0\"\naddress = [\"10.0.0.2/24\"]\n\n[local]\n{range}\n"
        );
        parse(&text).map(|configuration| configuration.local.ip_local_port_range)
    };
    for (range, expected) in [
        ("", (32_768, 60_999)),
        ("ip_local_port_range = [1024, 65535]", (1024, 65_535)),
        ("ip_local_port_range = [7, 7]", (7, 7)),
    ] {
        assert_eq!(with(range), Ok(local::PortRange(expected.0, expected.1)), "{range}");
    }
    for range in ["[0, 9]", "[9, 8]", "[1, 65536]", "[-1, 8]"] {
        let error = with(&format!("ip_local_port_range = {range}")).unwrap_err().to_string();
        let expected = format!("ip_local_port_range = {range}: write the first port and the last");
        assert!(error.contains(":7") && error.contains(&expected), "{error}");
    }
}

#[test]
fn settings_of_tcp_are_numbered_as_on_linux() {
    let with = |line: &str| {
        let text = format!(
            "[[interface]]\nname = \"lan\"\ndevice = \"tap:t0\"\naddress = [\"10.0.0.2/24\"]\n\n[tcp]\n{line}\n"
        );
        parse(&text).map(|configuration| configuration.tcp)
    };
    let default = TcpDefaults::default();
    for (line, expected) in [
        ("", default),
        ("syncookies = 0", TcpDefaults { syn_cookies: SynCookies::Never, ..default }),
        ("syncookies = 1", TcpDefaults { syn_cookies: SynCookies::WhenFull, ..default }),
        ("syncookies = 2", TcpDefaults { syn_cookies: SynCookies::Always, ..default }),
        ("ecn = 0", TcpDefaults { ecn: EcnMode::Off, ..default }),
        ("ecn = 1", TcpDefaults { ecn: EcnMode::Active, ..default }),
        ("ecn = 2", TcpDefaults { ecn: EcnMode::Passive, ..default }),
        ("ecn = 3", TcpDefaults { ecn: EcnMode::Accurate, ..default }),
        ("ecn = 4", TcpDefaults { ecn: EcnMode::AccuratePassiveClassicActive, ..default }),
        ("ecn = 5", TcpDefaults { ecn: EcnMode::AccuratePassive, ..default }),
        ("ecn_option = 1", TcpDefaults { ecn_option: CountersSent::Sparse, ..default }),
        ("mtu_probing = 0", TcpDefaults { mtu_probing: MtuProbing::Never, ..default }),
        ("mtu_probing = 1", TcpDefaults { mtu_probing: MtuProbing::BlackHole, ..default }),
        ("mtu_probing = 2", TcpDefaults { mtu_probing: MtuProbing::Always, ..default }),
    ] {
        assert_eq!(with(line), Ok(expected), "{line}");
    }
    for key in ["syncookies", "ecn", "ecn_option", "mtu_probing"] {
        let error = with(&format!("{key} = 9")).unwrap_err().to_string();
        let expected = format!(":7: no {key} = 9: write one of 0 (none), 1 (");
        assert!(error.contains(&expected), "{error}");
    }
}
