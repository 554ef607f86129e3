//! `[quota]`.

use super::*;

#[test]
fn users_have_what_the_default_says_and_they_do_not() {
    let text = format!(
        "{LAN}[quota]\nsockets = 100\nsessions = 9\n[[quota.user]]\nname = 1000\nsockets = 7\n"
    );
    let quotas = parse(&text).expect("a configuration").quotas;
    let base = QuotaConfig::default();
    assert_eq!(quotas.of(5, &[]), QuotaConfig { sockets: 100, sessions: 9, ..base });
    assert_eq!(quotas.of(1000, &[]), QuotaConfig { sockets: 7, sessions: 9, ..base });
}

#[test]
fn who_has_no_quota_of_his_own_has_that_of_his_first_group_in_the_file() {
    let text = format!(
        "{LAN}[quota]\nall_buffer_bytes = 1000000\nbacklog = 3\n\
         [[quota.group]]\nname = 50\nhalf_open = 1\nbuffer_bytes = 2\n\
         [[quota.group]]\nname = 51\nframes_per_second = 5\n\
         [[quota.user]]\nname = 7\nbacklog = 9\n"
    );
    let quotas = parse(&text).expect("a configuration").quotas;
    let base = QuotaConfig { backlog: 3, ..QuotaConfig::default() };
    let first = QuotaConfig { half_open: 1, buffer_bytes: 2, ..base };
    assert_eq!(quotas.of(8, &[51, 50]), first);
    assert_eq!(quotas.of(8, &[51]), QuotaConfig { frames_per_second: 5, ..base });
    assert_eq!(quotas.of(7, &[50, 51]), QuotaConfig { backlog: 9, ..base });
    assert_eq!(quotas.of(8, &[52]), base);
    assert_eq!(quotas.all_buffer_bytes, Some(1_000_000));
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
        (
            "[[quota.group]]\nname = 7\n[[quota.group]]\nname = \"7\"",
            "narrows.toml:8: a second quota of this group: leave one out",
        ),
        ("[quota]\nall_buffer_bytes = -5", "narrows.toml:6: -5: write 0 or more"),
    ] {
        let error = parse(&format!("{LAN}{text}\n")).expect_err(text);
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}
