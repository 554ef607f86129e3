//! What is decided, and why.

use super::*;
use crate::{Access, GrammarError, Origin, Permit, Who};

const DAEMON: u32 = 500;

fn subject(user: u32) -> Subject<'static> {
    Subject { user, group: user, groups: &[27], executable: Some("/bin/x"), cgroup: Some("/a/b") }
}

fn rule(effect: Effect, who: Who, kind: ActKind, text: &str) -> Rule {
    let permit = Permit::parse(kind, text).unwrap_or_else(|why: GrammarError| panic!("{why}"));
    Rule { effect, who, permit, origin: Origin::Added }
}

fn user(user: u32) -> Who {
    Who { user: Some(user), ..Who::default() }
}

fn bind(text: &str) -> Act<'static> {
    Act::Bind { protocol: Protocol::Tcp, local: text.parse().unwrap() }
}

fn connect(text: &str) -> Act<'static> {
    Act::Connect { protocol: Protocol::Tcp, remote: text.parse().unwrap() }
}

fn policy(rules: Vec<Rule>) -> Policy {
    let mut policy = Policy::new(DAEMON);
    policy.add(rules);
    policy
}

#[test]
fn without_rules_it_is_as_linux_has_it() {
    use Reason::{ForEverybody, ForPrivileged, Operator, ReservedPort};
    let policy = Policy::new(DAEMON);
    let packet = Act::Packet { interface: Some("lan"), access: Access::Observe };
    let raw = Act::Raw { interface: None, access: Access::Inject };
    for (act, ordinary, reason) in [
        (bind("10.0.0.2:80"), false, ReservedPort),
        (bind("10.0.0.2:1023"), false, ReservedPort),
        (bind("10.0.0.2:1024"), true, ForEverybody),
        (bind("0.0.0.0:0"), true, ForEverybody),
        (connect("10.0.0.9:80"), true, ForEverybody),
        (Act::Listen { local: "10.0.0.2:80".parse().unwrap() }, true, ForEverybody),
        (Act::Multicast { group: [239, 1, 2, 3].into() }, true, ForEverybody),
        (Act::Inspect, true, ForEverybody),
        (packet, false, ForPrivileged),
        (raw, false, ForPrivileged),
        (Act::Administer, false, ForPrivileged),
    ] {
        let decision = policy.decide(&subject(1000), "public", &act);
        assert_eq!(decision, Decision { allowed: ordinary, reason }, "{act}");
        for privileged in [0, DAEMON] {
            let decision = policy.decide(&subject(privileged), "public", &act);
            assert!(decision.allowed, "{act} by {privileged}");
            let operator = matches!(act, Act::Inspect | Act::Administer);
            assert_eq!(decision.reason, if operator { Operator } else { reason }, "{act}");
        }
    }
}

#[test]
fn denials_go_before_grants_whatever_their_order() {
    let grant = rule(Effect::Grant, user(33), ActKind::Bind, "10.0.0.0/24:80");
    let deny = rule(Effect::Deny, Who::default(), ActKind::Bind, "10.0.0.3:80");
    for rules in [vec![grant.clone(), deny.clone()], vec![deny, grant]] {
        let policy = policy(rules);
        for (who, local, allowed) in [
            (33, "10.0.0.2:80", true),
            (33, "10.0.0.3:80", false),
            (33, "10.0.0.2:81", false),
            (33, "[::ffff:10.0.0.2]:80", true),
            (34, "10.0.0.2:80", false),
            (0, "10.0.0.3:80", false),
            (0, "10.0.0.2:80", true),
            // All addresses, one of them denied.
            (0, "0.0.0.0:80", false),
            (0, "0.0.0.0:81", true),
        ] {
            let decision = policy.decide(&subject(who), "public", &bind(local));
            assert_eq!(decision.allowed, allowed, "{local} by {who}");
        }
    }
}

#[test]
fn the_wildcard_is_granted_by_a_grant_of_every_address_alone() {
    let half = rule(Effect::Grant, user(33), ActKind::Bind, "0.0.0.0/1:80");
    assert!(
        !policy(vec![half.clone()]).decide(&subject(33), "public", &bind("0.0.0.0:80")).allowed
    );
    let every = rule(Effect::Grant, user(33), ActKind::Bind, "*:80");
    let policy = policy(vec![half, every]);
    let decision = policy.decide(&subject(33), "public", &bind("0.0.0.0:80"));
    assert_eq!(decision, Decision { allowed: true, reason: Reason::Rule(2) });
}

#[test]
fn defaults_hold_for_root_too_except_where_he_could_not_take_them_back() {
    let mut policy = policy(vec![rule(Effect::Grant, user(5), ActKind::Connect, "10.0.0.0/8")]);
    let mut defaults = Defaults::default();
    for kind in ActKind::ALL {
        defaults.set(kind, Default::Deny);
    }
    policy.set_defaults(defaults);
    for (who, act, allowed) in [
        (5, connect("10.1.2.3:5432"), true),
        (5, connect("11.1.2.3:5432"), false),
        (0, connect("10.1.2.3:5432"), false),
        (5, bind("10.0.0.2:8080"), false),
        (5, Act::Inspect, false),
        (0, Act::Inspect, true),
        (DAEMON, Act::Administer, true),
    ] {
        assert_eq!(policy.decide(&subject(who), "public", &act).allowed, allowed, "{act} by {who}");
    }
    defaults.set(ActKind::Packet, Default::Allow);
    policy.set_defaults(defaults);
    let act = Act::Packet { interface: None, access: Access::Observe };
    let decision = policy.decide(&subject(5), "public", &act);
    assert_eq!(decision, Decision { allowed: true, reason: Reason::Default });
}

#[test]
fn a_denial_of_this_host_is_not_evaded_by_its_other_name() {
    let policy = policy(vec![rule(Effect::Deny, user(5), ActKind::Connect, "127.0.0.0/8")]);
    for (remote, allowed) in [
        ("127.0.0.1:80", false),
        ("0.0.0.0:80", false),
        ("[::ffff:127.0.0.1]:80", false),
        ("10.0.0.1:80", true),
    ] {
        assert_eq!(
            policy.decide(&subject(5), "public", &connect(remote)).allowed,
            allowed,
            "{remote}"
        );
    }
}

#[test]
fn nothing_locks_the_operator_out() {
    let policy = policy(vec![
        rule(Effect::Deny, Who::default(), ActKind::Administer, ""),
        rule(Effect::Deny, user(0), ActKind::Inspect, ""),
    ]);
    assert!(policy.decide(&subject(0), "public", &Act::Administer).allowed);
    assert!(policy.decide(&subject(0), "public", &Act::Inspect).allowed);
    assert!(policy.decide(&subject(7), "public", &Act::Inspect).allowed);
    assert!(!policy.decide(&subject(7), "public", &Act::Administer).allowed);
}

#[test]
fn rules_come_and_go() {
    let mut policy = policy(Vec::new());
    let grant = rule(Effect::Grant, user(33), ActKind::Bind, "10.0.0.2:80");
    let before = policy.generation();
    let twice = [grant.clone(), Rule { origin: Origin::Added, ..grant.clone() }];
    assert_eq!(policy.add(twice), [1]);
    assert_eq!(policy.add([grant.clone()]), []);
    assert!(policy.decide(&subject(33), "public", &bind("10.0.0.2:80")).allowed);
    assert_ne!(policy.generation(), before);
    assert_eq!(policy.remove(|_, held| held.says_the_same(&grant)), 1);
    assert!(!policy.decide(&subject(33), "public", &bind("10.0.0.2:80")).allowed);
    assert_eq!(policy.add([grant]), [2], "numbers are not used again");
}

#[test]
fn what_nothing_restricts_need_not_be_asked() {
    let mut policy = policy(vec![rule(Effect::Grant, user(33), ActKind::Connect, "*")]);
    assert!(policy.is_unrestricted(ActKind::Connect));
    assert!(!policy.is_unrestricted(ActKind::Packet));
    policy.add([rule(Effect::Deny, user(9), ActKind::Connect, "*")]);
    assert!(!policy.is_unrestricted(ActKind::Connect));
    policy.remove(|id, _| id == 2);
    assert!(policy.is_unrestricted(ActKind::Connect));
    let mut defaults = Defaults::default();
    defaults.set(ActKind::Connect, Default::Deny);
    policy.set_defaults(defaults);
    assert!(!policy.is_unrestricted(ActKind::Connect));
}

#[test]
fn a_file_that_changed_replaces_its_own_rules_alone() {
    let at = |line, port| Rule {
        origin: Origin::File { file: "f".into(), line },
        ..rule(Effect::Grant, user(33), ActKind::Bind, &format!("*:{port}"))
    };
    let old = [at(1, 80), at(2, 443), at(3, 25)];
    let mut policy = policy(old.to_vec());
    // One by the operator, one that he took back.
    policy.add([rule(Effect::Grant, user(34), ActKind::Bind, "*:53")]);
    policy.remove(|id, _| id == 3);
    let (went, came) = policy.replace(&old, &[at(7, 443), at(8, 25), at(9, 22)]);
    let texts = |rules: Vec<Rule>| -> Vec<String> { rules.iter().map(Rule::to_string).collect() };
    assert_eq!(texts(went), ["grant user 33 bind *:80"]);
    assert_eq!(texts(came), ["grant user 33 bind *:22"]);
    let held: Vec<_> = policy.rules().map(|(_, rule)| format!("{} {rule}", rule.origin)).collect();
    assert_eq!(
        held,
        [
            "f:7 grant user 33 bind *:443",
            "added at run time grant user 34 bind *:53",
            "f:9 grant user 33 bind *:22"
        ]
    );
}
