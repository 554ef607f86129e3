use super::*;

fn bills(quota: QuotaConfig) -> Bills {
    let mut bills = Bills::default();
    bills.set_quotas(Quotas { default: quota, ..Quotas::default() });
    bills
}

#[test]
fn each_user_has_his_own_sessions_and_sockets() {
    let mut bills = bills(QuotaConfig { sessions: 2, sockets: 1, ..QuotaConfig::default() });
    let first = bills.open_session(7, Vec::new()).expect("a session");
    assert_eq!(bills.open_session(7, Vec::new()), Ok(first));
    assert_eq!(bills.open_session(7, Vec::new()), Err(Error::NetworkDown));
    let other = bills.open_session(8, Vec::new()).expect("another user's");
    bills.close_session(first);
    assert_eq!(bills.open_session(7, Vec::new()), Ok(first));

    assert_eq!(bills.allow_socket(first), Ok(()));
    bills.socket_made(first);
    assert_eq!(bills.allow_socket(first), Err(Error::NoBufferSpace));
    assert_eq!(bills.allow_socket(other), Ok(()));
    bills.socket_gone(first);
    assert_eq!(bills.allow_socket(first), Ok(()));

    let refused: Vec<_> =
        bills.rows(|_| Usage::default()).iter().map(|row| (row.user, row.refused)).collect();
    assert_eq!(refused, [(7, 2), (8, 0)]);
}

#[test]
fn nobody_takes_the_last_descriptor() {
    let mut bills = bills(QuotaConfig::default());
    bills.set_descriptors(100);
    let greedy = bills.open_session(7, Vec::new()).expect("a session");
    while bills.allow_socket(greedy).is_ok() {
        bills.socket_made(greedy);
    }
    assert_eq!(bills.open_session(7, Vec::new()), Err(Error::NetworkDown));
    let other = bills.open_session(8, Vec::new()).expect("another user's");
    assert!(bills.has_room(other) && !bills.has_room(greedy));
    for _ in 0..20 {
        bills.socket_gone(greedy);
    }
    assert_eq!(bills.allow_socket(greedy), Ok(()));
}

#[test]
fn connections_are_counted_by_the_second() {
    let mut bills = bills(QuotaConfig { connections_per_second: 3, ..QuotaConfig::default() });
    let id = bills.open_session(7, Vec::new()).expect("a session");
    let at = |millis| Instant::ZERO + Duration::from_millis(millis);
    for (millis, expected) in
        [(0, true), (1, true), (999, true), (999, false), (1000, true), (1500, true), (1999, true)]
    {
        assert_eq!(bills.allow_connection(id, at(millis)).is_ok(), expected, "{millis}");
    }
    assert_eq!(bills.allow_connection(id, at(1999)), Err(Error::WouldBlock));
}

#[test]
fn another_quota_holds_at_once() {
    let mut bills = bills(QuotaConfig::default());
    let id = bills.open_session(7, Vec::new()).expect("a session");
    bills.socket_made(id);
    let users = [(7, QuotaConfig { sockets: 1, ..QuotaConfig::default() })].into();
    bills.set_quotas(Quotas { users, ..Quotas::default() });
    assert_eq!(bills.allow_socket(id), Err(Error::NoBufferSpace));
    let other = bills.open_session(8, Vec::new()).expect("a session");
    assert_eq!(bills.allow_socket(other), Ok(()));
}

#[test]
fn a_bill_says_what_was_used() {
    let mut bills = bills(QuotaConfig::default());
    let id = bills.open_session(7, Vec::new()).expect("a session");
    bills.socket_made(id);
    bills.note_requests(id, 3, Duration::from_micros(2));
    bills.note_bytes(id, 10, 20, Duration::from_micros(5));
    let usage = Usage { queued: 99, memory: 4096, drops: 3 };
    let expected = BillRow {
        user: 7,
        sessions: 1,
        sockets: 1,
        requests: 3,
        refused: 0,
        bytes_to_programs: 10,
        bytes_from_programs: 20,
        queued: 99,
        memory: 4096,
        drops: 3,
        time: Duration::from_micros(7),
    };
    assert_eq!(bills.rows(|_| usage), [expected]);
}

#[test]
fn who_comes_after_the_last_bill_shares_the_first() {
    let mut bills = bills(QuotaConfig::default());
    let first = bills.open_session(0, Vec::new()).expect("a session");
    for user in 1..MOST_BILLS as u32 {
        bills.open_session(user, Vec::new()).expect("a session");
    }
    assert_eq!(bills.open_session(MOST_BILLS as u32, Vec::new()), Ok(first));
    assert_eq!(bills.rows(|_| Usage::default()).len(), MOST_BILLS);
}

#[test]
fn a_session_brings_the_quota_of_its_groups() {
    let mut bills = Bills::default();
    let of_group = QuotaConfig { backlog: 5, ..QuotaConfig::default() };
    bills.set_quotas(Quotas { groups: vec![(50, of_group)], ..Quotas::default() });
    let alice = bills.open_session(7, vec![7]).expect("a session");
    assert_eq!(bills.backlog(alice, 100), 100);
    assert_eq!(bills.open_session(7, vec![7, 50]), Ok(alice));
    assert_eq!([3, 100].map(|asked| bills.backlog(alice, asked)), [3, 5]);
    bills.set_quotas(Quotas::default());
    assert_eq!(bills.backlog(alice, 100), 100);
    bills.set_quotas(Quotas { groups: vec![(50, of_group)], ..Quotas::default() });
    assert_eq!(bills.backlog(alice, 100), 5, "his groups are known");
}

#[test]
fn frames_beyond_a_second_are_taken_off_the_next() {
    let mut bills = bills(QuotaConfig { frames_per_second: 10, ..QuotaConfig::default() });
    let id = bills.open_session(7, Vec::new()).expect("a session");
    let at = |millis| Instant::ZERO + Duration::from_millis(millis);
    // At a time: how many are left, and how many are sent then.
    for (millis, left, sent) in
        [(0, 10, 4), (500, 6, 6), (999, 0, 8), (1000, 2, 2), (1999, 0, 0), (2000, 10, 0)]
    {
        assert_eq!(bills.frames_left(id, at(millis)), left, "{millis}");
        bills.note_frames(id, sent);
    }
    let until = bills.hold_frames(id, at(2100));
    assert_eq!((until, bills.rows(|_| Usage::default())[0].refused), (at(3000), 1));
}

#[test]
fn who_is_squeezed_gets_no_new_sockets() {
    let mut bills = bills(QuotaConfig::default());
    let [alice, bob] = [7, 8].map(|user| bills.open_session(user, Vec::new()).expect("a session"));
    assert_eq!(bills.squeeze(&[7].into()), [(7, true)]);
    assert_eq!(bills.squeeze(&[7].into()), []);
    assert_eq!(bills.allow_socket(alice), Err(Error::NoBufferSpace));
    assert_eq!(bills.allow_socket(bob), Ok(()));
    assert_eq!(bills.squeeze(&[].into()), [(7, false)]);
    assert_eq!(bills.allow_socket(alice), Ok(()));
}
