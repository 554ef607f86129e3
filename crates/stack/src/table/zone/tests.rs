use super::*;

const VAULT: ZoneId = ZoneId(1);
const LAB: ZoneId = ZoneId(2);
const APP: Principal = Principal { admission: AdmissionId(1), ..Principal::user(1) };
const DB: Principal = Principal { admission: AdmissionId(2), ..Principal::user(2) };
const TECHNICIAN: Principal = Principal { admission: AdmissionId(3), ..Principal::user(3) };
const STRANGER: Principal = Principal::user(4);

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').expect("a prefix");
    Prefix::new(address.parse().expect("an address"), length.parse().expect("a length"))
        .expect("a valid prefix")
}

/// The vault is private, with two members; the lab is shared, and one is admitted.
fn table(crossings: Vec<Crossing>) -> ZoneTable {
    let mut table = ZoneTable::default();
    assert!(table.is_single());
    table.set(ZoneSettings { private: ZoneSet::only(VAULT), crossings });
    let zones = |zone| ZoneSet::PUBLIC.with(ZoneSet::only(zone));
    for (who, zone, members) in [
        (APP, VAULT, vec![address("10.99.0.2")]),
        (DB, VAULT, vec![address("10.99.0.3")]),
        (TECHNICIAN, LAB, Vec::new()),
    ] {
        table.admit(who.admission, Admission { zones: zones(zone), members });
    }
    assert!(!table.is_single());
    table
}

#[test]
fn sets_hold_every_zone_there_can_be() {
    let last = ZoneId::new(MAX_ZONES - 1).expect("a zone");
    assert_eq!(ZoneId::new(MAX_ZONES), None);
    let set = ZoneSet::only(last).with(ZoneSet::PUBLIC);
    assert_eq!(set.iter().collect::<Vec<_>>(), [ZoneId::PUBLIC, last]);
    assert!(!set.contains(VAULT) && set.without(ZoneSet::PUBLIC).within(set).contains(last));
    assert_eq!(ZoneSet::ALL.iter().count(), MAX_ZONES);
}

#[test]
fn who_may_use_an_address() {
    let table = table(Vec::new());
    for (who, zone, own, covered) in [
        (APP, VAULT, "10.99.0.2", true),
        (APP, VAULT, "10.99.0.3", false),
        (DB, VAULT, "10.99.0.3", true),
        (TECHNICIAN, VAULT, "10.99.0.2", false),
        (STRANGER, VAULT, "10.99.0.2", false),
        (TECHNICIAN, LAB, "10.1.0.1", true),
        (APP, LAB, "10.1.0.1", false),
        (STRANGER, LAB, "10.1.0.1", false),
        (STRANGER, ZoneId::PUBLIC, "10.0.0.2", true),
        (APP, ZoneId::PUBLIC, "10.0.0.2", true),
        (Principal::HOST, VAULT, "10.99.0.2", true),
    ] {
        assert_eq!(table.covers(who, zone, address(own).into()), covered, "{who:?} {own}");
    }
}

#[test]
fn wildcards_meet_where_both_are_admitted() {
    let mut table = table(Vec::new());
    assert!(table.meet(APP, DB), "in public");
    // Without public, as a zone's programs could be confined.
    let alone = |zone, members: &[&str]| Admission {
        zones: ZoneSet::only(zone),
        members: members.iter().map(|member| address(member)).collect(),
    };
    table.admit(APP.admission, alone(VAULT, &["10.99.0.2"]));
    table.admit(DB.admission, alone(VAULT, &["10.99.0.3"]));
    table.admit(TECHNICIAN.admission, alone(LAB, &[]));
    assert!(!table.meet(APP, DB), "each has its own address there");
    assert!(!table.meet(APP, TECHNICIAN));
    assert!(table.meet(APP, Principal { uid: 9, ..APP }), "one member, two users");
    assert!(table.meet(TECHNICIAN, TECHNICIAN));
}

#[test]
fn who_is_not_named_has_public_alone() {
    let mut table = table(Vec::new());
    assert_eq!(table.of(STRANGER), ZoneSet::PUBLIC);
    table.forget(APP.admission);
    assert_eq!(table.of(APP), ZoneSet::PUBLIC);
    assert!(!table.covers(APP, VAULT, address("10.99.0.2").into()));
}

#[test]
fn rules_let_packets_cross_and_answers_come_back() {
    let web = Crossing {
        from: ZoneId::PUBLIC,
        to: LAB,
        protocol: Some(Protocol::TCP),
        ports: Some((80, 81)),
        source: None,
        destination: Some(prefix("10.1.0.0/24")),
    };
    let table = table(vec![web]);
    let there = Crosser {
        source: address("10.0.0.9"),
        destination: address("10.1.0.7"),
        protocol: Protocol::TCP,
        source_port: 40_000,
        destination_port: 80,
        begins: true,
    };
    let back = Crosser { begins: false, ..there.reversed() };
    for (what, from, to, packet, lets) in [
        ("as the rule says", ZoneId::PUBLIC, LAB, there, true),
        ("the last port", ZoneId::PUBLIC, LAB, Crosser { destination_port: 81, ..there }, true),
        ("another port", ZoneId::PUBLIC, LAB, Crosser { destination_port: 82, ..there }, false),
        ("protocol", ZoneId::PUBLIC, LAB, Crosser { protocol: Protocol::UDP, ..there }, false),
        (
            "another host",
            ZoneId::PUBLIC,
            LAB,
            Crosser { destination: address("10.2.0.7"), ..there },
            false,
        ),
        ("another zone", ZoneId::PUBLIC, VAULT, there, false),
        ("the answer", LAB, ZoneId::PUBLIC, back, true),
        ("a SYN the other way", LAB, ZoneId::PUBLIC, Crosser { begins: true, ..back }, false),
        ("answer by no port", LAB, ZoneId::PUBLIC, Crosser { source_port: 82, ..back }, false),
        ("within a zone", LAB, LAB, there, true),
    ] {
        assert_eq!(table.lets_cross(from, to, &packet), lets, "{what}");
    }
    let both = ZoneSet::PUBLIC.with(ZoneSet::only(LAB));
    assert_eq!(table.beyond(ZoneId::PUBLIC), both);
    assert_eq!(table.beyond(LAB), both);
    assert_eq!(table.beyond(VAULT), ZoneSet::only(VAULT));
}

#[test]
fn a_member_has_its_own_address() {
    let table = table(Vec::new());
    let anywhere = |_| true;
    assert_eq!(table.member_address(APP, anywhere), Some(address("10.99.0.2")));
    assert_eq!(table.member_address(APP, |_| false), None);
    assert_eq!(table.member_address(STRANGER, anywhere), None);
}
