use super::*;
use crate::config::Configuration;
use std::net::Ipv4Addr;

const ZONES: &str = r#"
[[interface]]
name = "lan"
device = "tap:narrows7"
address = ["10.0.0.2/24"]

[[zone]]
name = "vault"
link = "private"
members = [
    { user = 1001, executable = "/bin/app", address = "10.99.0.2" },
    { user = 1001, address = "10.99.0.3" },
    { group = 7, address = "10.99.0.4" },
]

[[zone]]
name = "lab"
admit = [{ cgroup = "/lab.slice" }]
"#;

fn zones() -> Vec<ZoneConfig> {
    let configuration = Configuration::parse("narrows.toml".as_ref(), ZONES, &[]);
    configuration.expect("a good file").zones
}

fn identity(uid: u32, gid: u32) -> Identity {
    Identity { uid, gid, groups: vec![gid], executable: None, cgroup: None, only: None }
}

fn member(last: u8) -> Vec<Ipv4Addr> {
    vec![[10, 99, 0, last].into()]
}

#[test]
fn one_is_admitted_as_the_first_member_that_fits() {
    let zones = zones();
    let executable = |path: &str| Identity { executable: Some(path.into()), ..identity(1001, 1) };
    let cgroup = |path: &str| Identity { cgroup: Some(path.into()), ..identity(5, 5) };
    for (who, names, members) in [
        (identity(1001, 1), vec!["vault"], member(3)),
        (executable("/bin/app"), vec!["vault"], member(2)),
        (executable("/bin/app2"), vec!["vault"], member(3)),
        (identity(1002, 7), vec!["vault"], member(4)),
        (Identity { groups: vec![3, 7], ..identity(1002, 3) }, vec!["vault"], member(4)),
        (identity(0, 0), vec![], vec![]),
        (cgroup("/lab.slice"), vec!["lab"], vec![]),
        (cgroup("/lab.slice/run-1"), vec!["lab"], vec![]),
        (cgroup("/lab.slices"), vec![], vec![]),
    ] {
        let admission = who.admission(&zones);
        assert_eq!(admission.members, members, "{who:?}");
        let admitted = zones.iter().filter(|zone| admission.zones.contains(zone.id));
        assert_eq!(admitted.map(|zone| &*zone.name).collect::<Vec<_>>(), names, "{who:?}");
        assert!(admission.zones.contains(ZoneId::PUBLIC));
    }
}

#[test]
fn numbers_are_of_identities_and_come_back() {
    let zones = zones();
    let mut asked = Vec::new();
    let mut admissions = Admissions::default();
    let mut of = |admissions: &mut Admissions, who| {
        admissions.of(who, &zones, &mut |request| asked.push(request))
    };
    let app = of(&mut admissions, identity(1001, 1));
    assert_eq!(of(&mut admissions, identity(1001, 1)), app);
    assert_ne!(of(&mut admissions, identity(1002, 7)), app);
    assert_eq!(of(&mut admissions, identity(66, 66)), AdmissionId::NOBODY);
    assert_eq!((asked.len(), admissions.ids.len()), (2, 2));
    let mut said = Vec::new();
    admissions.sweep(&[app].into(), &mut |request| said.push(request));
    assert!(matches!(said[..], [Request::Admit { admission: None, .. }]), "{said:?}");
    // Nobody is in a zone that is gone.
    let mut said = Vec::new();
    admissions.renew(&[], &mut |request| said.push(request));
    let nothing = Some(Admission::default());
    assert_eq!(said, [Request::Admit { id: app, admission: nothing }]);
}

#[test]
fn who_wants_one_zone_is_in_no_other() {
    let zones = zones();
    let only = |uid, name: &str| Identity { only: Some(name.into()), ..identity(uid, 1) };
    let vault = zones.iter().find(|zone| zone.name == "vault").expect("there").id;
    for (who, expected, members) in [
        (only(1001, "vault"), ZoneSet::only(vault), member(3)),
        (only(1001, PUBLIC), ZoneSet::PUBLIC, vec![]),
        // Put out of it later.
        (only(5, "vault"), ZoneSet::NONE, vec![]),
        (only(1001, "gone"), ZoneSet::NONE, vec![]),
    ] {
        let Admission { zones, members: found } = who.admission(&zones);
        assert_eq!((zones, found), (expected, members), "{who:?}");
    }
}
