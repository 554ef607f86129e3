use super::*;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const LIMIT: usize = 16;
const REACHABLE: Duration = Duration::from_secs(30);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn frame(byte: u8, len: usize) -> Frame {
    Frame::plain(vec![byte; len])
}

fn key(number: u8) -> NeighborKey {
    (InterfaceId(1), IpAddr::from([10, 0, 0, number]))
}

fn learn(
    table: &mut NeighborTable,
    now: Instant,
    number: u8,
    mac: MacAddr,
    claim: Claim,
) -> Learned {
    let learned = table.learn(now, LIMIT, key(number), mac, claim, REACHABLE);
    consistent(table);
    learned
}

fn lookup(table: &mut NeighborTable, now: Instant, number: u8) -> Lookup {
    let lookup = table.lookup(now, LIMIT, key(number), None);
    consistent(table);
    lookup
}

/// A table in which neighbor 1 answered at time 0.
fn reachable() -> NeighborTable {
    let mut table = NeighborTable::default();
    assert_eq!(lookup(&mut table, at(0), 1), Lookup::Ask);
    let learned = learn(&mut table, at(0), 1, A, Claim::Reply);
    assert_eq!(learned, Learned::Resolved(VecDeque::new()));
    table
}

fn pin(
    table: &mut NeighborTable,
    number: u8,
    mac: MacAddr,
) -> Result<VecDeque<PendingDatagram>, SetError> {
    let (setting, mode) = (NeighborSetting::Permanent, NeighborMode::Replace);
    let change = NeighborChange { mac, setting, mode };
    table.set(at(0), LIMIT, key(number), change, REACHABLE)
}

fn state(table: &NeighborTable, number: u8) -> Option<(NeighborState, Option<MacAddr>)> {
    table
        .iter()
        .find(|row| (row.interface, row.address) == key(number))
        .map(|row| (row.state, row.mac))
}

fn consistent(table: &NeighborTable) {
    assert!(table.len() <= LIMIT);
    let deadlines = table.entries.values().filter(|e| e.state.deadline().is_some()).count();
    assert_eq!(deadlines, table.deadlines.len());
    let expendable = table.entries.values().filter(|e| e.state.worth().is_some()).count();
    assert_eq!(expendable, table.shares.expendable());
    let pending: Vec<_> = table
        .entries
        .values()
        .filter_map(|entry| match &entry.state {
            State::Incomplete { pending, .. } => Some(pending),
            _ => None,
        })
        .collect();
    assert_eq!(pending.len(), table.incomplete);
    let bytes: usize = pending.into_iter().flatten().map(bytes_of).sum();
    assert_eq!(bytes, table.pending_bytes);
    assert!(bytes <= PENDING_BYTES);
}

#[test]
fn an_answer_resolves_and_releases_what_waited() {
    let mut table = NeighborTable::default();
    assert_eq!(lookup(&mut table, at(0), 1), Lookup::Ask);
    assert_eq!(lookup(&mut table, at(10), 1), Lookup::Pending);
    assert_eq!(table.hold(key(1), 4, vec![frame(1, 60)]), Ok(0));
    assert_eq!(table.hold(key(1), 4, vec![frame(2, 60), frame(3, 60)]), Ok(0));
    let Learned::Resolved(waited) = learn(&mut table, at(20), 1, A, Claim::Reply) else {
        panic!("not resolved");
    };
    assert_eq!(waited, [vec![frame(1, 60)], vec![frame(2, 60), frame(3, 60)]]);
    assert_eq!(lookup(&mut table, at(30), 1), Lookup::Known(A));
    assert_eq!(table.hold(key(1), 4, vec![]), Err(DropReason::NeighborUnresolved));
}

#[test]
fn three_questions_a_second_apart_then_failed_for_a_second() {
    let mut table = NeighborTable::default();
    assert_eq!(lookup(&mut table, at(0), 1), Lookup::Ask);
    table.hold(key(1), 4, vec![frame(1, 60)]).expect("room");
    for second in [1, 2] {
        assert_eq!(table.next_timeout(), Some(at(second * 1000)));
        assert_eq!(table.expire(at(second * 1000 - 1), LIMIT), None);
        assert_eq!(table.expire(at(second * 1000), LIMIT), Some(Due::Ask(key(1))));
        assert_eq!(table.expire(at(second * 1000), LIMIT), None);
    }
    let waited = VecDeque::from([vec![frame(1, 60)]]);
    assert_eq!(table.expire(at(3000), LIMIT), Some(Due::Failed(key(1), waited)));
    consistent(&table);
    assert_eq!(state(&table, 1), Some((NeighborState::Failed, None)));
    assert_eq!(lookup(&mut table, at(3999), 1), Lookup::Failed);
    assert_eq!(lookup(&mut table, at(4000), 1), Lookup::Ask);
}

#[test]
fn an_old_address_is_used_and_its_holder_asked_if_nobody_confirms_it() {
    let mut table = reachable();
    assert_eq!(table.next_timeout(), Some(at(30_000)));
    assert_eq!(table.expire(at(30_000), LIMIT), Some(Due::Aged));
    assert_eq!(state(&table, 1), Some((NeighborState::Stale, Some(A))));
    assert_eq!(table.next_timeout(), None, "an unused entry costs no timer");
    assert_eq!(lookup(&mut table, at(40_000), 1), Lookup::Known(A));
    assert_eq!(state(&table, 1), Some((NeighborState::Delay, Some(A))));
    assert_eq!(table.expire(at(44_999), LIMIT), None);
    assert_eq!(table.expire(at(45_000), LIMIT), Some(Due::Probe(key(1), A)));
    assert_eq!(state(&table, 1), Some((NeighborState::Probe, Some(A))));
    assert_eq!(lookup(&mut table, at(45_001), 1), Lookup::Known(A));
    assert_eq!(learn(&mut table, at(45_002), 1, A, Claim::Reply), Learned::Noted);
    assert_eq!(state(&table, 1), Some((NeighborState::Reachable, Some(A))));
}

#[test]
fn a_late_timer_does_not_make_an_old_address_new() {
    let mut table = reachable();
    assert_eq!(lookup(&mut table, at(30_000), 1), Lookup::Known(A));
    assert_eq!(state(&table, 1), Some((NeighborState::Delay, Some(A))));
}

#[test]
fn progress_above_confirms_and_asks_nobody() {
    let mut table = reachable();
    table.confirm(at(14_999), key(1), REACHABLE);
    assert_eq!(table.next_timeout(), Some(at(30_000)), "it was confirmed a moment ago");
    table.confirm(at(20_000), key(1), REACHABLE);
    assert_eq!(table.next_timeout(), Some(at(50_000)));
    table.expire(at(50_000), LIMIT);
    lookup(&mut table, at(60_000), 1);
    table.confirm(at(61_000), key(1), REACHABLE);
    consistent(&table);
    assert_eq!(state(&table, 1), Some((NeighborState::Reachable, Some(A))));
    assert_eq!(table.next_timeout(), Some(at(91_000)));
    // While it is asked too; but there is nothing to confirm of who is not known.
    table.expire(at(91_000), LIMIT);
    lookup(&mut table, at(91_000), 1);
    table.expire(at(96_000), LIMIT);
    table.confirm(at(96_500), key(1), REACHABLE);
    assert_eq!(state(&table, 1), Some((NeighborState::Reachable, Some(A))));
    lookup(&mut table, at(96_500), 2);
    for number in [2, 3] {
        table.confirm(at(96_500), key(number), REACHABLE);
    }
    assert_eq!(state(&table, 2), Some((NeighborState::Incomplete, None)));
    assert_eq!(state(&table, 3), None);
}

#[test]
fn who_does_not_answer_alone_is_asked_for_among_everybody_and_then_failed() {
    let mut table = reachable();
    lookup(&mut table, at(40_000), 1);
    for second in [45, 46, 47] {
        assert_eq!(table.expire(at(second * 1000), LIMIT), Some(Due::Probe(key(1), A)));
    }
    assert_eq!(lookup(&mut table, at(47_999), 1), Lookup::Known(A));
    for second in [48, 49, 50] {
        assert_eq!(table.expire(at(second * 1000), LIMIT), Some(Due::Ask(key(1))));
        consistent(&table);
        assert_eq!(lookup(&mut table, at(second * 1000), 1), Lookup::Pending);
    }
    assert!(matches!(table.expire(at(51_000), LIMIT), Some(Due::Failed(..))));
    assert_eq!(state(&table, 1), Some((NeighborState::Failed, None)));
}

#[test]
fn who_is_silent_is_forgotten_where_too_many_are_asked_for_already() {
    let mut table = reachable();
    lookup(&mut table, at(40_000), 1);
    table.expire(at(45_000), LIMIT);
    for number in 10..14 {
        lookup(&mut table, at(47_500), number);
    }
    for second in [46, 47] {
        table.expire(at(second * 1000), LIMIT);
    }
    assert_eq!(table.expire(at(48_000), LIMIT), Some(Due::Aged));
    consistent(&table);
    assert_eq!(state(&table, 1), None);
}

#[test]
fn the_operator_sets_entries() {
    let change = |setting, mode| NeighborChange { mac: B, setting, mode };
    let mut table = reachable();
    let set = |table: &mut NeighborTable, number, change| {
        let set = table.set(at(1000), LIMIT, key(number), change, REACHABLE);
        consistent(table);
        set.map(|waiting| waiting.len())
    };
    let permanent = |mode| change(NeighborSetting::Permanent, mode);
    assert_eq!(set(&mut table, 1, permanent(NeighborMode::Create)), Err(SetError::Exists));
    assert_eq!(set(&mut table, 2, permanent(NeighborMode::Change)), Err(SetError::Missing));
    for (setting, shown) in [
        (NeighborSetting::Permanent, NeighborState::Permanent),
        (NeighborSetting::NoArp, NeighborState::NoArp),
        (NeighborSetting::Reachable, NeighborState::Reachable),
        (NeighborSetting::Stale, NeighborState::Stale),
        (NeighborSetting::Delay, NeighborState::Delay),
        (NeighborSetting::Probe, NeighborState::Probe),
    ] {
        for mode in [NeighborMode::Change, NeighborMode::Replace] {
            assert_eq!(set(&mut table, 1, change(setting, mode)), Ok(0));
            assert_eq!(state(&table, 1), Some((shown, Some(B))));
        }
    }
    assert_eq!(table.expire(at(1000), LIMIT), Some(Due::Probe(key(1), B)), "asked at once");
    assert_eq!(table.remove(key(1)), Some(VecDeque::new()));
    assert_eq!(table.remove(key(1)), None);
    lookup(&mut table, at(1000), 3);
    table.hold(key(3), 4, vec![frame(1, 60)]).expect("room");
    assert_eq!(set(&mut table, 3, permanent(NeighborMode::Replace)), Ok(1), "what waited");
}

/// `noarp` entries are fixed as permanent ones are, but may go.
#[test]
fn an_entry_without_arp_may_be_let_go_and_not_changed() {
    let mut table = NeighborTable::default();
    let change =
        NeighborChange { mac: A, setting: NeighborSetting::NoArp, mode: NeighborMode::Create };
    for number in 0..LIMIT as u8 {
        table.set(at(u64::from(number)), LIMIT, key(number), change, REACHABLE).expect("room");
    }
    assert_eq!(learn(&mut table, at(5000), 3, B, Claim::Reply), Learned::Ignored);
    assert_eq!(lookup(&mut table, at(99_999), 3), Lookup::Known(A));
    assert_eq!(lookup(&mut table, at(99_999), 99), Lookup::Ask);
    assert_eq!(state(&table, 0), None);
}

#[test]
fn what_nobody_asked_for_makes_no_entry() {
    let mut table = NeighborTable::default();
    for claim in [Claim::Reply, Claim::Announcement] {
        assert_eq!(learn(&mut table, at(0), 1, A, claim), Learned::Ignored);
        assert!(table.is_empty());
    }
}

#[test]
fn a_requester_is_noted_as_stale_while_there_is_room() {
    let mut table = NeighborTable::default();
    for number in 0..100 {
        let room = table.len() < LIMIT;
        let learned = learn(&mut table, at(0), number, A, Claim::RequestForUs);
        assert_eq!(learned, if room { Learned::Noted } else { Learned::Ignored });
    }
    assert_eq!(state(&table, 1), Some((NeighborState::Stale, Some(A))));
    assert_eq!(lookup(&mut table, at(1), 1), Lookup::Known(A));
    assert_eq!(state(&table, 1), Some((NeighborState::Delay, Some(A))), "verified when used");
}

#[test]
fn a_claim_does_not_move_traffic_from_a_holder_that_answers() {
    for claim in [Claim::Reply, Claim::RequestForUs, Claim::Announcement] {
        let mut table = reachable();
        assert_eq!(learn(&mut table, at(5000), 1, B, claim), Learned::Contested(A));
        assert_eq!(lookup(&mut table, at(5001), 1), Lookup::Known(A));
        // The false one can't answer a question that was put to the other.
        assert_eq!(learn(&mut table, at(5002), 1, B, Claim::Reply), Learned::Ignored);
        assert_eq!(learn(&mut table, at(5003), 1, A, Claim::Reply), Learned::Noted);
        assert_eq!(state(&table, 1), Some((NeighborState::Reachable, Some(A))));
        // Nor can it make us ask all the time.
        assert_eq!(learn(&mut table, at(6002), 1, B, claim), Learned::Ignored);
        assert_eq!(learn(&mut table, at(6003), 1, B, claim), Learned::Contested(A));
    }
}

#[test]
fn an_address_that_really_moved_is_asked_for_after_a_second() {
    let mut table = reachable();
    assert_eq!(learn(&mut table, at(5000), 1, B, Claim::Announcement), Learned::Contested(A));
    assert_eq!(table.expire(at(6000), LIMIT), Some(Due::Ask(key(1))));
    assert_eq!(lookup(&mut table, at(6001), 1), Lookup::Pending);
    assert!(matches!(learn(&mut table, at(6002), 1, B, Claim::Reply), Learned::Resolved(_)));
    assert_eq!(lookup(&mut table, at(6003), 1), Lookup::Known(B));
}

#[test]
fn existing_entries_without_an_address_take_any() {
    for claim in [Claim::RequestForUs, Claim::Announcement] {
        let mut table = NeighborTable::default();
        lookup(&mut table, at(0), 1);
        table.hold(key(1), 4, vec![frame(1, 60)]).expect("room");
        let Learned::Resolved(waited) = learn(&mut table, at(1), 1, A, claim) else {
            panic!("not resolved");
        };
        assert_eq!(waited.len(), 1);
        assert_eq!(state(&table, 1), Some((NeighborState::Stale, Some(A))));
    }
}

#[test]
fn a_host_that_comes_back_ends_the_failure() {
    let mut table = NeighborTable::default();
    lookup(&mut table, at(0), 1);
    for second in 1..=3 {
        table.expire(at(second * 1000), LIMIT);
    }
    assert_eq!(learn(&mut table, at(3100), 1, A, Claim::Announcement), Learned::Noted);
    assert_eq!(lookup(&mut table, at(3200), 1), Lookup::Known(A));
}

#[test]
fn a_pinned_entry_never_changes() {
    let mut table = NeighborTable::default();
    lookup(&mut table, at(0), 1);
    table.hold(key(1), 4, vec![frame(1, 60)]).expect("room");
    assert_eq!(pin(&mut table, 1, A).expect("room").len(), 1);
    for claim in [Claim::Reply, Claim::RequestForUs, Claim::Announcement] {
        assert_eq!(learn(&mut table, at(5000), 1, B, claim), Learned::Ignored);
    }
    for number in 2..100 {
        lookup(&mut table, at(6000), number);
        learn(&mut table, at(6000), number, B, Claim::Reply);
    }
    assert_eq!(lookup(&mut table, at(999_999), 1), Lookup::Known(A));
    assert_eq!(state(&table, 1), Some((NeighborState::Permanent, Some(A))));
}

#[test]
fn a_table_of_pins_is_full() {
    let mut table = NeighborTable::default();
    for number in 0..LIMIT as u8 {
        pin(&mut table, number, A).expect("room");
    }
    assert_eq!(pin(&mut table, 99, A), Err(SetError::Full));
    assert_eq!(lookup(&mut table, at(0), 99), Lookup::Full);
    pin(&mut table, 3, B).expect("its place is there");
}

#[test]
fn the_oldest_unconfirmed_goes_first() {
    let mut table = NeighborTable::default();
    // Neighbor 0 is confirmed and oldest; 1 to 15 only said so, one after the other.
    lookup(&mut table, at(0), 0);
    learn(&mut table, at(0), 0, A, Claim::Reply);
    for number in 1..16 {
        learn(&mut table, at(u64::from(number)), number, A, Claim::RequestForUs);
    }
    for (newcomer, gone) in [(100, 1), (101, 2), (102, 3)] {
        assert_eq!(lookup(&mut table, at(1000), newcomer), Lookup::Ask);
        learn(&mut table, at(1000), newcomer, B, Claim::Reply);
        assert_eq!(state(&table, gone), None);
        assert_eq!(state(&table, 0), Some((NeighborState::Reachable, Some(A))));
    }
    // When all are confirmed, the oldest of them goes.
    for newcomer in 103..116 {
        lookup(&mut table, at(2000), newcomer);
        learn(&mut table, at(2000), newcomer, B, Claim::Reply);
    }
    assert_eq!(state(&table, 0), None);
    assert_eq!(table.len(), LIMIT);
}

#[test]
fn unanswered_questions_take_a_share_of_the_table() {
    let mut table = reachable();
    for number in 10..14 {
        assert_eq!(lookup(&mut table, at(0), number), Lookup::Ask);
    }
    for number in 14..50 {
        assert_eq!(lookup(&mut table, at(0), number), Lookup::Full);
    }
    assert_eq!(lookup(&mut table, at(0), 1), Lookup::Known(A), "who answered stays");
    assert!(matches!(learn(&mut table, at(1), 10, A, Claim::Reply), Learned::Resolved(_)));
    assert_eq!(lookup(&mut table, at(2), 14), Lookup::Ask);
}

#[test]
fn what_waits_is_bounded_by_entry_and_in_all() {
    let mut table = NeighborTable::default();
    lookup(&mut table, at(0), 1);
    for number in 0..10u8 {
        let dropped = table.hold(key(1), 4, vec![frame(number, 60)]);
        assert_eq!(dropped, Ok(usize::from(number >= 4)));
    }
    let Learned::Resolved(waited) = learn(&mut table, at(1), 1, A, Claim::Reply) else {
        panic!("not resolved");
    };
    assert_eq!(waited.iter().map(|d| d[0].bytes[0]).collect::<Vec<_>>(), [6, 7, 8, 9]);

    lookup(&mut table, at(2), 2);
    let held = (0..1000).filter(|_| table.hold(key(2), 1000, vec![frame(0, 65_000)]).is_ok());
    assert_eq!(held.count(), PENDING_BYTES / 65_000);
    consistent(&table);
    assert_eq!(table.hold(key(2), 0, vec![]), Err(DropReason::NeighborUnresolved));
}

#[test]
fn questions_to_everybody_are_limited() {
    let mut table = NeighborTable::default();
    assert_eq!((0..10_000).filter(|_| table.may_ask(at(0))).count(), 256);
    assert!(!table.may_ask(at(3)) && table.may_ask(at(4)));
}

const SCANNER: Payer = Some(66);
const VICTIM: Payer = Some(7);

/// `payer` uses a neighbor, which answers.
fn talk(table: &mut NeighborTable, now: Instant, number: u8, payer: Payer) -> Lookup {
    let lookup = table.lookup(now, LIMIT, key(number), payer);
    if lookup == Lookup::Ask {
        table.learn(now, LIMIT, key(number), A, Claim::Reply, REACHABLE);
    }
    consistent(table);
    lookup
}

#[test]
fn who_has_most_entries_pays_for_new_ones() {
    let mut table = NeighborTable::default();
    // The victim's are the oldest, and would be the first to go.
    for number in 0..4 {
        assert_eq!(talk(&mut table, at(number.into()), number, VICTIM), Lookup::Ask);
    }
    for number in 100..200 {
        assert_eq!(talk(&mut table, at(number.into()), number, SCANNER), Lookup::Ask);
    }
    assert_eq!(table.shares.entries_of(VICTIM), 4);
    assert_eq!(table.shares.entries_of(SCANNER), LIMIT - 4);
    // New ones of the victim's push out the scanner's, until both have as many.
    for number in 10..30 {
        assert_eq!(talk(&mut table, at(1000 + u64::from(number)), number, VICTIM), Lookup::Ask);
    }
    assert_eq!(table.shares.entries_of(SCANNER), LIMIT / 2 - 1);
}

#[test]
fn a_neighbor_that_two_use_is_on_neithers_account() {
    let mut table = NeighborTable::default();
    talk(&mut table, at(0), 1, SCANNER);
    assert_eq!(talk(&mut table, at(1), 1, VICTIM), Lookup::Known(A));
    assert_eq!((table.shares.entries_of(SCANNER), table.shares.entries_of(None)), (0, 1));
    for number in 100..200 {
        talk(&mut table, at(number.into()), number, SCANNER);
    }
    assert_eq!(talk(&mut table, at(300), 1, VICTIM), Lookup::Known(A));
}

#[test]
fn a_scan_leaves_room_for_others_questions() {
    let mut table = NeighborTable::default();
    let mut ask = |payer, numbers: core::ops::Range<u8>| {
        let asked =
            numbers.filter(|number| table.lookup(at(0), LIMIT, key(*number), payer) == Lookup::Ask);
        asked.count()
    };
    // Of four questions that may be open.
    assert_eq!(ask(SCANNER, 100..200), 2);
    assert_eq!(ask(VICTIM, 0..100), 1);
    // What the host itself has to know takes the rest.
    assert_eq!(ask(None, 200..255), 1);
    consistent(&table);
}
