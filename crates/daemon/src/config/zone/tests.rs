use super::super::tests::parse;
use super::*;

const FILE: &str = r#"
[[interface]]
name = "lan"
device = "packet:eth1"
address = ["10.0.0.2/24"]

[[interface]]
name = "vlan7"
device = "vlan"
link = "lab"
id = 7
address = ["10.7.0.2/24"]

[[interface]]
name = "lab"
device = "tap:narrows7"
address = ["10.1.0.2/24"]
zone = "lab"

[[zone]]
name = "vault"
link = "private"
cut_through = false
members = [
    { user = 1001, address = "10.99.0.2" },
    { group = 7, executable = "/bin/db", address = "10.99.0.9", mac = "02:00:00:00:00:09" },
]

[[zone]]
name = "lab"
admit = [{ user = "root" }, { cgroup = "/lab" }]

[[allow]]
from = "public"
to = "lab"
protocol = "tcp"
ports = "8000-8100"
destination = "10.1.0.0/24"
"#;

#[test]
fn a_private_zone_is_an_interface_with_its_members_addresses() {
    let configuration = parse(FILE).expect("a good file");
    let [vault, lab] = &configuration.zones[..] else { panic!("{:?}", configuration.zones) };
    assert!(vault.private && !vault.cut_through && !lab.private && lab.cut_through);
    assert_eq!(configuration.zone_name(vault.id), "vault");
    assert_eq!(configuration.zone_name(ZoneId::PUBLIC), "public");
    let member = vault.admitted[0].member.expect("a member");
    assert_eq!(member.mac, MacAddr([2, 0, 10, 99, 0, 2]));
    assert_eq!(lab.admitted[0].who, Who { user: Some(0), ..Who::default() });
    let found = configuration.interfaces.iter().find(|interface| interface.name == "vault");
    let interface = found.expect("its interface");
    let addresses: Vec<_> = interface.addresses.iter().map(|own| text_of(*own)).collect();
    assert_eq!(addresses, ["10.99.0.2/24", "10.99.0.9/24"]);
    assert_eq!(interface.zone, vault.id);
    let settings = configuration.zone_settings();
    assert_eq!(settings.private, ZoneSet::only(vault.id));
    let [crossing] = settings.crossings[..] else { panic!("{settings:?}") };
    assert_eq!((crossing.from, crossing.to), (ZoneId::PUBLIC, lab.id));
    assert_eq!((crossing.protocol, crossing.ports), (Some(Protocol::TCP), Some((8000, 8100))));
    // What is stacked is in one zone.
    let zone_of = |name: &str| {
        let mut all = configuration.interfaces.iter();
        all.find(|interface| interface.name == name).map(|interface| interface.zone)
    };
    assert_eq!(zone_of("lan"), Some(ZoneId::PUBLIC));
    assert_eq!((zone_of("vlan7"), zone_of("lab")), (Some(lab.id), Some(lab.id)));
}

#[test]
fn a_vlan_is_in_the_zone_of_its_link_unless_it_says_another() {
    for (link, vlan, expected) in [
        (Some("lab"), None, ["lab", "lab"]),
        (Some("lab"), Some("public"), ["lab", "public"]),
        (None, Some("lab"), ["public", "lab"]),
        (None, None, ["public", "public"]),
    ] {
        let said = |zone: Option<&str>| zone.map(|zone| format!("zone = \"{zone}\"\n"));
        let text = FILE.replace("zone = \"lab\"\n", &said(link).unwrap_or_default());
        let vlan = format!("id = 7\n{}", said(vlan).unwrap_or_default());
        let configuration = parse(&text.replace("id = 7\n", &vlan)).expect("a good file");
        let zone_of = |name: &str| {
            let found = configuration.interfaces.iter().find(|interface| interface.name == name);
            configuration.zone_name(found.expect("there").zone)
        };
        assert_eq!([zone_of("lab"), zone_of("vlan7")], expected);
    }
}

#[test]
fn zones_keep_their_numbers_when_the_file_is_read_again() {
    let old = parse(FILE).expect("a good file");
    let without_vault = {
        let (head, rest) = FILE.split_once("[[zone]]").expect("a zone");
        let (_, lab) = rest.split_once("[[zone]]").expect("another");
        format!("{head}[[zone]]\nname = \"new\"\n[[zone]]{lab}")
    };
    let new = parse(&without_vault).expect("a good file").keep_zones_of(&old).expect("room");
    let id = |configuration: &Configuration, name: &str| {
        configuration.zones.iter().find(|zone| zone.name == name).map(|zone| zone.id)
    };
    assert_eq!(id(&new, "lab"), id(&old, "lab"));
    assert!(!old.zones.iter().any(|zone| Some(zone.id) == id(&new, "new")));
    assert_eq!(new.allows, old.allows);
    let lab = new.interfaces.iter().find(|interface| interface.name == "lab").expect("there");
    assert_eq!(Some(lab.zone), id(&old, "lab"));
}

#[test]
fn what_can_not_be_is_refused_with_its_line() {
    let zone = |text: &str| format!("{}\n[[zone]]\n{text}", FILE.trim_end());
    let last = FILE.trim_end().lines().count() + 1;
    let vault = "name = \"v2\"\nlink = \"private\"\n";
    for (text, line, message) in [
        (zone("name = \"public\""), 1, "\"public\" is always there and admits all: write"),
        (zone("name = \"lab\""), 1, "a second zone \"lab\": leave one out"),
        (
            zone(
                "name = \"lan\"\nlink = \"private\"\nmembers = [{ user = 1, address = \"10.98.0.2\" }]",
            ),
            1,
            "a second interface \"lan\"",
        ),
        (zone("name = \"x\"\nlink = \"wire\""), 2, "link = \"wire\": write link = \"private\""),
        (zone(vault), 0, "nobody in private zone \"v2\": write members"),
        (zone(&format!("{vault}members = [{{ user = 1 }}]")), 3, "no address: write address"),
        (
            zone(&format!("{vault}members = [{{ address = \"10.98.0.2\" }}]")),
            3,
            "who is it? write user",
        ),
        (
            zone(&format!("{vault}members = [{{ user = 1, address = \"10.99.0.2\" }}]")),
            3,
            "10.99.0.2 is the address of interface \"vault\" already",
        ),
        (
            zone(&format!("{vault}members = [{{ user = 1, address = \"10.98.0.255\" }}]")),
            3,
            "10.98.0.255 is the network's broadcast",
        ),
        (
            zone(&format!("{vault}admit = [{{ user = 1 }}]")),
            0,
            "who is in zone \"v2\": write members",
        ),
        (zone("name = \"x\"\nmembers = []"), 0, "who is in zone \"x\": write admit"),
        (
            zone("name = \"x\"\nadmit = [{ user = \"no-such-user\" }]"),
            2,
            "no user \"no-such-user\"",
        ),
        (
            zone("name = \"x\"\nadmit = [{ user = 1, address = \"10.98.0.2\" }]"),
            2,
            "addresses are for members",
        ),
        (
            zone("name = \"x\"\nadmit = [{ executable = \"sh\" }]"),
            2,
            "executable = \"sh\": write its whole path",
        ),
        (
            zone("name = \"x\"\n[[allow]]\nfrom = \"x\"\nto = \"x\""),
            4,
            "what stays in a zone needs no rule",
        ),
        (
            zone("name = \"x\"\n[[allow]]\nfrom = \"x\"\nto = \"vault\""),
            4,
            "nothing gets into or out of the private zone",
        ),
        (
            zone("name = \"x\"\n[[allow]]\nfrom = \"x\"\nto = \"lab\"\nports = \"80\""),
            5,
            "ports are TCP's and UDP's",
        ),
        (
            zone("name = \"x\"\n[[allow]]\nfrom = \"y\"\nto = \"lab\""),
            3,
            "no zone \"y\": write [[zone]]",
        ),
        (
            zone("name = \"x\"\n[[allow]]\nfrom = \"x\"\nto = \"lab\"\nsource = \"10.0.0.1/8\""),
            5,
            "\"10.0.0.1/8\": write 10.0.0.0/8",
        ),
        (
            FILE.replace("zone = \"lab\"", "zone = \"vault\""),
            18,
            "\"vault\" is a private zone, without devices",
        ),
        (
            FILE.replace("address = [\"10.1.0.2/24\"]\n", "").replace(
                "device = \"vlan\"\nlink = \"lab\"\nid = 7",
                "device = \"bridge\"\nports = [\"lab\"]\nzone = \"public\"",
            ),
            11,
            "\"vlan7\" and \"lab\" are stacked",
        ),
        (
            FILE.replace("device = \"packet:eth1\"", "device = \"private\""),
            4,
            "a private interface comes with its zone",
        ),
    ] {
        let error = parse(&text).expect_err(message).to_string();
        let line = if text.starts_with(FILE.trim_end()) { last + line } else { line };
        assert!(
            error.starts_with(&format!("narrows.toml:{line}: {message}")),
            "{error}\nfor line {line}: {message}"
        );
    }
}
