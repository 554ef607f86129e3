use crate::config::Configuration;
use std::path::Path;

const LAN: &str =
    "[[interface]]\nname = \"lan\"\ndevice = \"tap:t0\"\naddress = [\"10.0.0.2/24\"]\n";

fn parse(text: &str) -> Result<Configuration, String> {
    let text = format!("{LAN}{text}");
    Configuration::parse(Path::new("n.toml"), &text, &[]).map_err(|error| error.to_string())
}

#[test]
fn each_text_is_a_rule_with_its_line() {
    let configuration = parse(
        "[[grant]]\nuser = \"root\"\nbind = [\"10.0.0.2:80\",\n  \"udp 10.0.0.2:443\"]\n\
         packet = [\"observe lan\", \"claim lo\"]\n\
         [[deny]]\ngroup = 4\nexecutable = \"/usr/bin/x\"\ncgroup = \"/system.slice\"\n\
         zone = \"public\"\nconnect = [\"10.0.0.0/8:25\"]\nmulticast = [\"*\"]\n\
         [[grant]]\nuser = \"1000\"\nlisten = [\"*:80\"]\nraw = [\"*\"]\n\
         inspect = true\nadminister = true\n",
    );
    let rules = configuration.expect("a configuration").policy;
    let shown: Vec<_> = rules.iter().map(|rule| format!("{} {rule}", rule.origin)).collect();
    let who = "group 4 executable /usr/bin/x cgroup /system.slice zone public";
    assert_eq!(
        shown,
        [
            &format!("n.toml:15 deny {who} connect 10.0.0.0/8:25"),
            &format!("n.toml:16 deny {who} multicast *"),
            "n.toml:7 grant user 0 bind 10.0.0.2:80",
            "n.toml:8 grant user 0 bind udp 10.0.0.2:443",
            "n.toml:9 grant user 0 packet observe lan",
            "n.toml:9 grant user 0 packet claim lo",
            "n.toml:19 grant user 1000 listen *:80",
            "n.toml:20 grant user 1000 raw *",
            "n.toml:21 grant user 1000 inspect",
            "n.toml:22 grant user 1000 administer",
        ]
    );
}

#[test]
fn rules_may_be_about_one_zone() {
    let zone = "[[zone]]\nname = \"lab\"\nadmit = [{ user = 7 }]\n";
    let text = format!("{zone}[[grant]]\nzone = \"lab\"\nuser = 7\npacket = [\"*\"]\n");
    let rules = parse(&text).expect("a configuration").policy;
    assert_eq!(rules[0].to_string(), "grant user 7 zone lab packet *");
    let error = parse(&text.replace("\"lab\"\nuser", "\"lob\"\nuser")).expect_err("no such zone");
    assert!(error.contains("n.toml:9: no zone \"lob\": write one of lab, public"), "{error}");
}

#[test]
fn defaults_are_set_one_by_one() {
    use narrows_policy::{ActKind, Default};
    let text = "[policy]\ndefault = { connect = \"deny\", packet = \"allow\", bind = \"linux\" }\n";
    let defaults = parse(text).expect("a configuration").defaults;
    for kind in ActKind::ALL {
        let expected = match kind {
            ActKind::Connect => Default::Deny,
            ActKind::Packet => Default::Allow,
            _ => Default::Linux,
        };
        assert_eq!(defaults.get(kind), expected, "{kind:?}");
    }
}

#[test]
fn mistakes_are_found_with_their_line() {
    let grant = "[[grant]]\nuser = 33\n";
    for (text, says) in [
        (format!("{grant}bind = [\"10.0.0.2:x\"]\n"), "n.toml:7: bind: \"10.0.0.2:x\" is not"),
        (grant.to_owned(), "n.toml:5: [[grant]] of nothing: write one of bind, listen"),
        (
            format!("{grant}packet = [\"wan\"]\n"),
            "no interface \"wan\": write \"*\" or one of lan, lo",
        ),
        (format!("{grant}inspect = false\n"), "n.toml:7: inspect = false says nothing"),
        (format!("{grant}executable = \"nginx\"\ninspect = true\n"), "write its whole path"),
        (format!("{grant}zone = \"vault\"\ninspect = true\n"), "no zone \"vault\""),
        (format!("{grant}bind = \"10.0.0.2:80\"\n"), "a list as [\"10.0.0.2:80\"]"),
        (format!("{grant}sniff = true\n"), "unknown field `sniff`"),
        ("[[deny]]\nuser = \"no such user\"\n".into(), "n.toml:6: no user \"no such user\""),
        ("[[deny]]\ngroup = \"no such group\"\n".into(), "n.toml:6: no group \"no such group\""),
        ("[[deny]]\nuser = -1\n".into(), "a name as \"www-data\", or a number"),
        (
            "[policy]\ndefault = { bind = \"no\" }\n".into(),
            "n.toml:6: bind = \"no\": write \"linux\"",
        ),
    ] {
        let error = parse(&text).expect_err(&text);
        assert!(error.contains(says), "{text}: {error}");
    }
}
