//! `[daemon]`, and `[dhcp]`.

use super::*;

#[test]
fn what_the_daemon_gives_up_and_who_reaches_it() {
    let plain = parse(LAN).expect("a configuration").daemon;
    assert!(plain.sandbox && !plain.user_is_wanted && plain.user.user != 0);
    assert_eq!((plain.socket_mode, plain.socket_group), (0o666, None));
    let text = format!(
        "{LAN}[daemon]\nuser = 4711\nsandbox = false\nnice = 5\nsocket_mode = \"0660\"\nsocket_group = \"root\"\n"
    );
    let expected = DaemonConfig {
        user: Account { user: 4711, group: 4711 },
        user_is_wanted: true,
        sandbox: false,
        nice: 5,
        nice_is_wanted: true,
        socket_mode: 0o660,
        socket_group: Some(0),
    };
    assert_eq!(parse(&text).expect("a configuration").daemon, expected);
}

#[test]
fn what_becomes_of_leases() {
    assert_eq!(parse(LAN).expect("a configuration").dhcp, DhcpConfig::default());
    let text = format!("{LAN}[dhcp]\nlease_file = \"/var/lib/narrows/leases\"\nrelease = false\n");
    let expected =
        DhcpConfig { lease_file: Some("/var/lib/narrows/leases".into()), release: false };
    assert_eq!(parse(&text).expect("a configuration").dhcp, expected);
    let error = parse(&format!("{LAN}[dhcp]\nlease_file = \"leases\"\n")).expect_err("no place");
    assert!(
        error.starts_with("narrows.toml:6: lease_file = \"leases\": write the whole path"),
        "{error}"
    );
}

#[test]
fn refusals_say_what_to_write() {
    for (line, expected) in [
        ("user = \"nobody at all\"", "no user \"nobody at all\": write one of this machine's"),
        ("user = \"root\"", "the daemon gives up being root: write another user"),
        ("user = 0", "the daemon gives up being root: write another user"),
        ("user = -1", "-1 is nobody's: write a number from 0 to"),
        ("user = 4294967295", "4294967295 is nobody's: write a number from 0 to"),
        ("socket_group = \"no such\"", "no group \"no such\": write one of this machine's"),
        ("socket_mode = \"rw\"", "socket_mode = \"rw\": write three octal digits"),
        ("socket_mode = \"1777\"", "socket_mode = \"1777\": write three octal digits"),
        ("nice = -21", "nice = -21: write a number from -20 (before"),
        ("nice = 20", "nice = 20: write a number from -20 (before"),
        ("socket_mode = 660", "invalid type: integer `660`"),
        ("capabilities = []", "unknown field `capabilities`"),
    ] {
        let error = parse(&format!("{LAN}[daemon]\n{line}\n")).expect_err(line);
        assert!(error.starts_with(&format!("narrows.toml:6: {expected}")), "{line}: {error}");
    }
}
