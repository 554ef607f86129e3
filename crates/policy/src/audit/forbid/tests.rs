use super::super::{Admitted, Zone};
use super::*;
use crate::{Permit, Policy, Rule};

const ALICE: u32 = 1000;
const STAFF: u32 = 50;

/// Alice is in group staff; of nobody else anything is known.
fn logins(user: u32) -> Option<(u32, Vec<u32>)> {
    (user == ALICE).then(|| (ALICE, vec![ALICE, STAFF]))
}

/// `user 1000 group 50 executable /x cgroup /y`.
fn who(words: &str) -> Who {
    let mut who = Who::default();
    let words: Vec<&str> = words.split_whitespace().collect();
    for pair in words.chunks(2) {
        let value = pair[1];
        match pair[0] {
            "user" => who.user = value.parse().ok(),
            "group" => who.group = value.parse().ok(),
            "executable" => who.executable = Some(value.into()),
            "cgroup" => who.cgroup = Some(value.into()),
            other => panic!("{other}"),
        }
    }
    who
}

/// Zone vault admits those of `admitted`, and rules are `grant WHO: KIND: TARGET`.
fn model(admitted: &[&str], rules: &[(Effect, &str, ActKind, &str)]) -> Model {
    let mut policy = Policy::new(0);
    policy.add(rules.iter().map(|(effect, words, kind, target)| Rule {
        effect: *effect,
        who: who(words),
        permit: Permit::parse(*kind, target).expect("grammar"),
        origin: Origin::File { file: "n.toml".into(), line: 7 },
    }));
    let zone = |name: &str, admitted: &[&str]| Zone {
        name: name.into(),
        private: false,
        admitted: admitted
            .iter()
            .map(|words| Admitted { who: who(words), address: None })
            .collect(),
        addresses: vec!["10.0.0.2".parse().expect("an address")],
        interfaces: vec![name.into()],
        carriers: Vec::new(),
        reachable_from: Vec::new(),
    };
    Model { policy, zones: vec![zone("public", &[]), zone("vault", admitted)] }
}

fn forbid(words: &str, ability: Ability) -> Forbid {
    Forbid {
        who: who(words),
        except: Vec::new(),
        can: vec![ability],
        zone: Some("vault".into()),
        origin: Origin::Added,
    }
}

fn profile(words: &[&str]) -> Profile {
    let nobody = Profile::default();
    words.iter().fold(nobody, |profile, words| profile.and(&who(words)).expect("somebody"))
}

#[test]
fn what_rules_and_zones_give_together_is_found() {
    use Ability::{Bind, Observe, Receive};
    let grant = |words, kind, target| (Effect::Grant, words, kind, target);
    let observe = |words| grant(words, ActKind::Packet, "observe vault");
    let (alice, bob) = ("user 1000", "user 1001");
    let nobody: Vec<Profile> = Vec::new();
    for (name, admitted, rules, forbidden, ability, expected) in [
        (
            "granted by name",
            vec![alice],
            vec![observe(alice)],
            alice,
            Observe,
            vec![profile(&[alice])],
        ),
        ("another has it", vec![bob], vec![observe(bob)], alice, Observe, nobody.clone()),
        ("not admitted", vec![bob], vec![observe(alice)], alice, Observe, nobody.clone()),
        (
            "by a group of hers",
            vec!["group 50"],
            vec![observe("group 50")],
            alice,
            Observe,
            vec![profile(&[alice])],
        ),
        (
            "by a group that isn't",
            vec![alice],
            vec![observe("group 51")],
            alice,
            Observe,
            nobody.clone(),
        ),
        (
            "of a user of whom nothing is known",
            vec![bob],
            vec![observe("group 51")],
            bob,
            Observe,
            vec![profile(&[bob, "group 51"])],
        ),
        (
            "who has both groups",
            vec!["group 50"],
            vec![observe("group 51")],
            "group 51",
            Observe,
            vec![profile(&["group 50", "group 51"])],
        ),
        (
            "by a program in a control group",
            vec!["cgroup /a"],
            vec![observe("executable /bin/x")],
            alice,
            Observe,
            vec![profile(&[alice, "cgroup /a", "executable /bin/x"])],
        ),
        (
            "two programs at once",
            vec!["executable /bin/y"],
            vec![observe("executable /bin/x")],
            "",
            Observe,
            vec![profile(&["user 0", "executable /bin/y"])],
        ),
        (
            "a control group in another",
            vec!["cgroup /a"],
            vec![observe("cgroup /a/b")],
            alice,
            Observe,
            vec![profile(&[alice, "cgroup /a/b"])],
        ),
        (
            "control groups apart",
            vec!["cgroup /a"],
            vec![observe("cgroup /b")],
            alice,
            Observe,
            nobody.clone(),
        ),
        (
            "root, in what admits root",
            vec!["user 0"],
            vec![],
            "",
            Observe,
            vec![profile(&["user 0"])],
        ),
        (
            "everybody who is admitted",
            vec![alice, bob],
            vec![],
            "",
            Bind,
            vec![profile(&[alice]), profile(&[bob])],
        ),
        (
            "a denial keeps from it",
            vec![alice],
            vec![(Effect::Deny, "group 50", ActKind::Bind, "*")],
            "",
            Bind,
            nobody.clone(),
        ),
        (
            "a denial of another",
            vec![alice],
            vec![(Effect::Deny, bob, ActKind::Bind, "*")],
            "",
            Receive,
            vec![profile(&[alice])],
        ),
    ] {
        let model = model(&admitted, &rules);
        let breaches = model.breaches(&forbid(forbidden, ability), &logins);
        let found: Vec<_> = breaches.into_iter().map(|breach| breach.who).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn binding_by_one_rule_and_listening_by_another_is_receiving() {
    let mut model = model(
        &["user 1001"],
        &[
            (Effect::Grant, "executable /bin/x", ActKind::Bind, "tcp *"),
            (Effect::Grant, "cgroup /a", ActKind::Listen, "*"),
        ],
    );
    let mut defaults = *model.policy.defaults();
    for kind in [ActKind::Bind, ActKind::Listen] {
        defaults.set(kind, crate::Default::Deny);
    }
    model.policy.set_defaults(defaults);
    let found = model.breaches(&forbid("", Ability::Receive), &logins);
    let whole = profile(&["user 1001", "executable /bin/x", "cgroup /a"]);
    assert_eq!(found.iter().map(|breach| &breach.who).collect::<Vec<_>>(), [&whole]);
}

#[test]
fn a_breach_names_the_path_and_exceptions_are_none() {
    let rule = (Effect::Grant, "group 51", ActKind::Packet, "inject vault");
    let model = model(&["user 1001", "user 1000"], &[rule]);
    let mut declared = forbid("", Ability::Inject);
    declared.can.push(Ability::Bind);
    declared.except = vec![who("user 1001")];
    declared.zone = None;
    let breaches = model.breaches(&declared, &logins);
    let in_vault: Vec<_> = breaches.iter().filter(|breach| breach.zone == "vault").collect();
    assert_eq!(in_vault.len(), 1, "{breaches:?}");
    assert_eq!(in_vault[0].who, profile(&["user 1000"]), "{breaches:?}");
    let why =
        "zone vault admits user 1000; bind tcp 10.0.0.2:0: no rule denies it, and everybody may";
    assert_eq!((in_vault[0].ability, &*in_vault[0].why), (Ability::Bind, why));
    let abilities: BTreeSet<_> = breaches.iter().map(|breach| breach.ability).collect();
    assert_eq!(abilities, [Ability::Bind, Ability::Inject].into(), "root injects in public");
}
