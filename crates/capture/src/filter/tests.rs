use super::*;

#[test]
fn long_expressions_jump_far() {
    let ports: Vec<_> = (1..150).map(|port| format!("tcp port {port}")).collect();
    assert!(compile(&ports.join(" or ")).unwrap().len() > 1000);
    Filter::new(&ports.join(" or ")).unwrap();
    let ports: Vec<_> = (1..2000).map(|port| format!("tcp port {port}")).collect();
    assert!(compile(&ports.join(" or ")).is_err());
}

#[test]
fn mistakes_name_the_word() {
    for (text, near) in [
        ("host", "end"),
        ("host example.com", "example.com"),
        ("port 70000", "70000"),
        ("net 10.0.0.1/8", "10.0.0.1/8"),
        ("net 10.0.0.0/33", "10.0.0.0/33"),
        ("tcp port 80 udp", "udp"),
        ("(tcp", "end"),
        ("tcp)", ")"),
        ("and tcp", "and"),
        ("arp port 5", "5"),
        ("icmp[icmptype]", "end"),
        ("ip[0:3] = 1", "3"),
        ("ip[0] / 0 = 1", "="),
        ("dns[0] = 1", "dns"),
        ("vlan 5000", "5000"),
        ("less x", "x"),
        ("ip broadcast", "broadcast"),
        ("ether", "end"),
        ("", ""),
    ] {
        match Filter::new(text) {
            Ok(_) => assert!(text.is_empty(), "{text}"),
            Err(error) => assert_eq!(error.near, near, "{text}: {error}"),
        }
    }
}

#[test]
fn no_expression_is_too_deep_to_be_refused() {
    for part in ["(", "not ", "ip[", "vlan and ", "1+(", "tcp or "] {
        let text = part.repeat(1500);
        // Whatever it is, it ends.
        let _ = Filter::new(&format!("{text} tcp"));
    }
}
