//! What is said of addresses, and of groups of interfaces.

use super::*;
use narrows_ipc::{change::AddressDetails, route::RouteScope};

fn with(address: &str) -> Result<InterfaceConfig, String> {
    let text =
        format!("[[interface]]\nname = \"a\"\ndevice = \"packet:eth0\"\naddress = [{address}]\n");
    parse(&text).map(|mut configuration| configuration.interfaces.remove(0))
}

#[test]
fn an_address_is_described_in_the_words_of_ip_address() {
    let interface = with(
        "\"10.8.0.2/24\", { address = \"10.9.0.2/24\", label = \"a:1\", scope = \"link\", \
         valid_lft = 600, preferred_lft = 60 }, { address = \"10.7.0.2/32\", peer = \"10.6.0.1\" }, \
         { address = \"10.5.0.2/32\", peer = \"10.4.0.1/24\", valid_lft = 9 }",
    )
    .expect("a configuration");
    let prefixes: Vec<_> = interface.addresses.iter().map(|own| text_of(*own)).collect();
    assert_eq!(prefixes, ["10.8.0.2/24", "10.9.0.2/24", "10.7.0.2/32", "10.5.0.2/32"]);
    let expected = [
        AddressDetails {
            label: Some("a:1".into()),
            scope: Some(RouteScope::Link),
            valid: Some(600),
            preferred: Some(60),
            ..AddressDetails::default()
        },
        AddressDetails { peer: Some(([10, 6, 0, 1].into(), 32)), ..AddressDetails::default() },
        AddressDetails {
            peer: Some(([10, 4, 0, 1].into(), 24)),
            valid: Some(9),
            preferred: Some(9),
            ..AddressDetails::default()
        },
    ];
    let described = interface.described.into_iter();
    let (about, details): (Vec<_>, Vec<_>) = described.unzip();
    assert_eq!(about, interface.addresses[1..]);
    assert_eq!(details, expected);
}

#[test]
fn what_cannot_be_said_of_an_address() {
    for (said, expected) in [
        ("label = \"\"", "label = \"\": write 1 to 15 characters"),
        ("label = \"a:0123456789012\"", ""),
        ("label = \"a:01234567890123\"", "label = \"a:01234567890123\": write 1 to 15"),
        ("scope = \"site\"", "scope = \"site\": write \"global\", \"link\" or \"host\""),
        (
            "peer = \"10.6.0.1\"",
            "with a peer the address is a single host's: write \"10.9.0.2/32\"",
        ),
        ("valid_lft = 0", "valid_lft = 0: an address that lasts has some seconds"),
        ("valid_lft = 9, preferred_lft = 10", "preferred_lft = 10 is longer than valid_lft"),
        ("valid_lft = -1", "invalid value: integer `-1`"),
        ("broadcast = \"10.9.0.255\"", "unknown field `broadcast`, expected one of `address`"),
    ] {
        let result = with(&format!("{{ address = \"10.9.0.2/24\", {said} }}"));
        match (result, expected) {
            (Ok(_), "") => {}
            (Ok(_), _) => panic!("{said} was taken"),
            (Err(error), expected) => {
                let expected = format!("narrows.toml:4: {expected}");
                assert!(!expected.is_empty() && error.starts_with(&expected), "{said}: {error}");
            }
        }
    }
}

#[test]
fn networks_of_two_interfaces_do_not_overlap() {
    let second = |address: &str| {
        parse(&format!(
            "{LAN}[[interface]]\nname = \"wan\"\ndevice = \"packet:eth0\"\naddress = [\"{address}\"]\n"
        ))
    };
    for (address, network) in [("10.0.1.2/16", "10.0.0.0/16"), ("10.0.0.130/25", "10.0.0.128/25")] {
        let error = second(address).expect_err(address);
        let expected = format!(
            "narrows.toml:8: {network} overlaps 10.0.0.0/24, the network of interface \"lan\""
        );
        assert!(error.starts_with(&expected), "{error}");
    }
    for address in ["10.0.1.2/24", "10.0.0.130/32"] {
        assert!(second(address).is_ok(), "{address}");
    }
}

#[test]
fn groups_have_numbers_and_the_names_of_iproute2() {
    let rule = |words: &str| {
        let text = format!("{LAN}group = 7\n[[rule]]\npriority = 5\n{words}\ntable = \"main\"\n");
        parse(&text).map(|mut configuration| {
            let rule = configuration.rules.remove(0).selector;
            (configuration.interfaces[0].options.group, rule.input_group, rule.output_group)
        })
    };
    assert_eq!(rule("iifgroup = 7\noifgroup = \"default\""), Ok((7, Some(7), Some(0))));
    for (words, expected) in [
        ("iifgroup = -1", "narrows.toml:8: group -1: write 0 to 4294967295, or a name of"),
        (
            "oifgroup = \"no such\"",
            "narrows.toml:8: no group \"no such\": write a number, or add a",
        ),
    ] {
        let error = rule(words).expect_err(words);
        assert!(error.starts_with(expected), "{error}");
    }
}
