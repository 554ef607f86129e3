//! `[quota]`.

use super::*;

#[test]
fn users_have_what_the_default_says_and_they_do_not() {
    let text = format!(
        "{LAN}[quota]\nsockets = 100\nsessions = 9\n[[quota.user]]\nname = 1000\nsockets = 7\n"
    );
    let quotas = parse(&text).expect("a configuration").quotas;
    let base = QuotaConfig::default();
    assert_eq!(quotas.of(5), QuotaConfig { sockets: 100, sessions: 9, ..base });
    assert_eq!(quotas.of(1000), QuotaConfig { sockets: 7, sessions: 9, ..base });
}

#[test]
fn refusals_say_what_to_write() {
    for (text, expected) in [
        ("[quota]\nsockets = -1", "narrows.toml:6: -1: write 0 or more"),
        ("[quota]\nfiles = 1", "narrows.toml:6: unknown field `files`"),
        ("[[quota.user]]\nsockets = 1", "narrows.toml:5: missing field `name`"),
        ("[[quota.user]]\nname = \"no such user\"", "narrows.toml:6: no user \"no such user\""),
        (
            "[[quota.user]]\nname = 7\n[[quota.user]]\nname = 7",
            "narrows.toml:8: a second quota of this user: leave one out",
        ),
    ] {
        let error = parse(&format!("{LAN}{text}\n")).expect_err(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}
