use super::*;
use crate::config::tests::parse;
use narrows_stack::table::zone::ZoneId;

const FILE: &str = r#"
[[interface]]
name = "lan"
device = "packet:eth1"
address = ["10.0.0.2/24"]

[[zone]]
name = "vault"
link = "private"
members = [{ user = 1001, address = "10.99.0.2/26" }]

[[zone]]
name = "lab"
admit = [{ user = 7 }]
"#;

fn file() -> Configuration {
    parse(FILE).expect("a good file")
}

fn who(user: u32) -> AdmittedRow {
    AdmittedRow { user: Some(user), ..AdmittedRow::default() }
}

fn member(user: u32, address: &str) -> AdmittedRow {
    AdmittedRow { address: address.parse().ok(), ..who(user) }
}

fn admit(zone: &str, who: AdmittedRow, length: Option<u8>) -> ZoneCommand {
    ZoneCommand::Admit { zone: zone.into(), who, length }
}

fn expel(zone: &str, who: AdmittedRow) -> ZoneCommand {
    ZoneCommand::Expel { zone: zone.into(), who }
}

fn add(name: &str, private: bool) -> ZoneCommand {
    ZoneCommand::Add { name: name.into(), private, cut_through: true }
}

fn crossing(to: &str, ports: Option<(u16, u16)>) -> CrossingRow {
    let protocol = ports.map(|_| 6);
    CrossingRow { to: to.into(), protocol, ports, source: None, destination: None }
}

fn allow(from: &str, to: &str) -> ZoneCommand {
    ZoneCommand::Allow { from: from.into(), crossing: crossing(to, None) }
}

fn done(configuration: &Configuration, commands: &[ZoneCommand]) -> Configuration {
    commands.iter().fold(configuration.clone(), |configuration, command| {
        configuration.with(command, &[]).unwrap_or_else(|why| panic!("{command}: {why}"))
    })
}

fn addresses(configuration: &Configuration, interface: &str) -> Vec<String> {
    let mut all = configuration.interfaces.iter();
    let found = all.find(|held| held.name == interface);
    found.map(|held| held.addresses.iter().map(|own| text_of(*own)).collect()).unwrap_or_default()
}

#[test]
fn members_come_and_go_with_their_addresses() {
    let new = done(
        &file(),
        &[
            admit("vault", member(1002, "10.99.0.3"), None),
            add("attic", true),
            admit("attic", member(8, "10.98.0.2"), Some(28)),
            admit("attic", member(9, "10.98.0.3"), None),
            admit("lab", who(8), None),
        ],
    );
    assert_eq!(addresses(&new, "vault"), ["10.99.0.2/26", "10.99.0.3/26"]);
    assert_eq!(addresses(&new, "attic"), ["10.98.0.2/28", "10.98.0.3/28"]);
    let undone = done(
        &new,
        &[
            expel("vault", member(1002, "10.99.0.3")),
            expel("lab", who(8)),
            expel("attic", who(8)),
            expel("attic", who(9)),
            ZoneCommand::Remove { name: "attic".into() },
        ],
    );
    assert_eq!(undone, file());
}

#[test]
fn what_the_file_could_not_say_is_refused() {
    let site = done(&file(), &[allow("public", "lab")]);
    for (command, says) in [
        (add("public", false), "always there"),
        (add("lab", false), "a second zone \"lab\""),
        (add("lan", true), "a second interface \"lan\""),
        (add("no name", false), "is no name"),
        (ZoneCommand::Remove { name: "attic".into() }, "no zone \"attic\""),
        (ZoneCommand::Remove { name: "public".into() }, "always there"),
        (admit("public", who(1), None), "admits all"),
        (admit("vault", who(1), None), "no address: write"),
        (admit("vault", AdmittedRow::default(), None), "who is it?"),
        (admit("vault", member(1, "10.99.0.2"), None), "is the address of interface \"vault\""),
        (admit("vault", member(1, "10.99.0.63"), None), "broadcast"),
        (admit("vault", member(1, "10.97.0.2"), None), "the members' network is 10.99.0.0/26"),
        (admit("vault", member(1, "10.99.0.3"), Some(24)), "the members' network is 10.99.0.0/26"),
        (admit("vault", member(1001, "10.99.0.3"), None), "admitted already"),
        (admit("lab", member(1, "10.1.0.3"), None), "addresses are for members"),
        (admit("lab", who(1), Some(24)), "a prefix length is for members"),
        (admit("lab", who(7), None), "admitted already"),
        (expel("lab", who(1)), "nobody like that"),
        (expel("lab", AdmittedRow::default()), "who is it?"),
        (allow("public", "lab"), "allowed already"),
        (allow("public", "vault"), "nothing gets into or out of the private zone"),
        (allow("lab", "lab"), "needs no rule"),
        (allow("lab", "attic"), "no zone \"attic\""),
        (
            ZoneCommand::Forbid { from: "lab".into(), crossing: crossing("public", None) },
            "no rule says that",
        ),
        (
            ZoneCommand::Allow {
                from: "lab".into(),
                crossing: CrossingRow { protocol: None, ..crossing("public", Some((1, 2))) },
            },
            "ports are TCP's and UDP's",
        ),
        (
            ZoneCommand::Move { interface: "lan".into(), zone: "vault".into() },
            "is a private zone, without devices",
        ),
    ] {
        let why = site.with(&command, &[]).expect_err("refused");
        assert!(why.contains(says), "{command}: {why}");
    }
    let attic = done(&site, &[add("attic", true)]);
    let taken = admit("attic", member(1, "10.0.0.9"), None);
    let why = attic.with(&taken, &[]).expect_err("refused");
    assert!(why.contains("is the network of interface \"lan\" already"), "{why}");
}

#[test]
fn a_zone_takes_its_rules_along() {
    let new = done(
        &file(),
        &[
            allow("public", "lab"),
            allow("lab", "public"),
            ZoneCommand::Remove { name: "lab".into() },
        ],
    );
    assert_eq!(new.allows, []);
    assert_eq!(new.zones.len(), 1);
    // Its number is free again.
    let again = done(&new, &[add("other", false)]);
    let other = again.zones.iter().find(|zone| zone.name == "other").expect("there");
    assert_eq!(Some(other.id), ZoneId::new(2));
}

#[test]
fn what_was_added_outlives_a_reading_of_the_file() {
    let changed = done(
        &file(),
        &[
            add("attic", true),
            admit("attic", member(8, "10.98.0.2"), None),
            admit("vault", member(1002, "10.99.0.3"), None),
            admit("lab", who(9), None),
            allow("public", "lab"),
            expel("lab", who(7)),
        ],
    );
    let read = |text: &str| {
        let mut new = parse(text).expect("a good file").keep_zones_of(&changed).expect("room");
        new.keep_added_zones_of(&changed).map(|()| new)
    };
    let new = read(FILE).expect("no conflict");
    for interface in ["attic", "vault"] {
        assert_eq!(addresses(&new, interface), addresses(&changed, interface));
    }
    let lab = new.zones.iter().find(|zone| zone.name == "lab").expect("there");
    let users: Vec<_> = lab.admitted.iter().map(|held| held.who.user).collect();
    assert_eq!(users, [Some(7), Some(9)], "what the file says is back");
    assert_eq!(new.allows, changed.allows);
    // Without the zone: neither who was admitted there, nor what was allowed.
    let (without, _) = FILE.split_once("[[zone]]\nname = \"lab\"").expect("it is there");
    let new = read(without).expect("no conflict");
    assert_eq!(new.allows, []);
    assert!(new.zones.iter().all(|zone| zone.name != "lab"));
    for (old, text, says) in [
        ("10.0.0.2/24", "10.99.0.3/32", "10.99.0.3 is that of a member of \"vault\""),
        ("name = \"lan\"", "name = \"attic\"", "zone \"attic\", made at run time, has the name"),
    ] {
        let why = read(&FILE.replace(old, text)).expect_err("in the way");
        assert!(why.contains(says), "{why}");
    }
}
