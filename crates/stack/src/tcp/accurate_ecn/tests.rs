use super::*;

fn accurate() -> Accurate {
    Accurate::new(Instant::ZERO, Codepoint::NotEct, false)
}

/// Full segments of 1000 octets, acknowledged with `ace` and an option.
fn told(state: &mut Accurate, segments: u32, ace: u8, counters: Option<Counters>) -> u32 {
    let (octets, segment) = (segments * 1000, 1000);
    state.told(&Feedback { ace, counters: counters.as_ref(), octets, segment, sent: 0 })
}

fn counters(ect1: u32, ce: u32, ect0: u32) -> Option<Counters> {
    Some(first_counters(&Marks { packets: 0, ect1, ce, ect0 }))
}

/// RFC 9768 §3.2.1.
#[test]
fn flags_count_packets_from_five() {
    let mut state = accurate();
    for expected in [5, 6, 7, 0, 1, 2, 3, 4, 5] {
        assert_eq!(state.flags(Flags::ACK, true).ace(), expected);
        state.received(Codepoint::Ce, 1, 100);
    }
    assert_eq!(state.received, Marks { packets: 9, ce: 900, ..Marks::default() });
}

#[test]
fn what_looks_like_cwr_is_known_before_it_is_sent() {
    let mut state = accurate();
    let looks = [false, true, true, false, false, true, true, false];
    for (marks, looks) in looks.into_iter().enumerate() {
        assert_eq!(state.looks_reduced(), looks, "{marks} marks");
        state.received(Codepoint::Ce, 1, 0);
    }
}

/// RFC 9768 §3.2.2.1: how a SYN or SYN-ACK came, and what of that says that somebody changed it.
#[test]
fn handshakes_reflect_how_they_came() {
    for (came, ace, mangled) in [
        (Codepoint::NotEct, 0b010, false),
        (Codepoint::Ect1, 0b011, true),
        (Codepoint::Ect0, 0b100, true),
        (Codepoint::Ce, 0b110, true),
    ] {
        assert_eq!((reflect(came), is_mangled(ace)), (ace, mangled));
        let mut state = accurate();
        state.begin_active(came, 0b010, None);
        assert_eq!(state.flags(Flags::ACK, true).ace(), ace, "the acknowledgment says it");
        assert_eq!(
            state.flags(Flags::ACK, false).ace(),
            if ace == 6 { 6 } else { 5 },
            "text counts"
        );
        state.sent(false);
        assert_eq!(state.flags(Flags::ACK, true).ace(), if ace == 6 { 6 } else { 5 });
        let mut passive = accurate();
        passive.begin_passive(ace, true, None);
        assert_eq!(passive.silent, mangled);
    }
    for nothing in [0b001, 0b101, 0b111] {
        assert!(!is_mangled(nothing));
    }
}

/// RFC 9768 §3.2.2.4.
#[test]
fn zero_at_first_is_somebody_who_clears_flags() {
    let mut state = accurate();
    state.begin_passive(0, true, None);
    assert!(state.silent);
    assert_eq!(told(&mut state, 1, 7, None), 0, "nothing is believed");
    let mut state = accurate();
    assert_eq!(told(&mut state, 1, 0, None), 0);
    assert!(state.silent);
    let mut state = accurate();
    assert_eq!((told(&mut state, 1, 5, None), told(&mut state, 3, 0, None)), (0, 3));
    assert!(!state.silent, "it has counted there");
}

#[test]
fn counts_wrap_where_more_than_seven_are_acknowledged() {
    for (segments, ace, expected) in [
        (1, 5, 0),
        (1, 6, 1),
        (7, 4, 7),
        // All eight may have come marked.
        (8, 5, 8),
        (9, 5, 8),
        (9, 6, 9),
        (10, 6, 9),
        (20, 7, 18),
    ] {
        assert_eq!(told(&mut accurate(), segments, ace, None), expected, "{segments} {ace}");
    }
}

/// RFC 9768 §A.2.1.
#[test]
fn counters_say_whether_counts_wrapped() {
    for (marked, expected) in [(0, 0), (8000, 8), (16_000, 16)] {
        let mut state = accurate();
        told(&mut state, 1, 5, counters(0, 0, 1000));
        let option = counters(0, marked, 21_000 - marked);
        // The first mark may be that of what came before: then it isn't clear.
        told(&mut state, 1, 5, counters(0, 0, 2000));
        let news = told(&mut state, 20, 5, option);
        assert_eq!(news, if marked == 0 { 0 } else { expected.max(16) }, "{marked}");
    }
}

#[test]
fn options_without_counters_are_estimated_and_mended() {
    let mut state = accurate();
    told(&mut state, 1, 5, counters(0, 0, 1000));
    assert_eq!(state.delivered.ect0, 1000);
    told(&mut state, 2, 5, None);
    assert_eq!(state.delivered.ect0, 3000, "as the last were");
    told(&mut state, 2, 6, counters(0, 1000, 4000));
    assert_eq!((state.delivered.ect0, state.delivered.ce), (4000, 1000));
    // An old one that was overtaken.
    told(&mut state, 0, 6, counters(0, 1000, 3000));
    assert_eq!(state.delivered.ect0, 3000);
    // 24 bits are sent.
    let mut state = accurate();
    for octets in [(1 << 23) - 1, (1 << 24) - 2, (1 << 24) + 5] {
        told(&mut state, 1, 5, counters(0, 0, octets));
    }
    assert_eq!(state.delivered.ect0, (1 << 24) + 5);
}

#[test]
fn counters_are_sent_to_who_sends_them() {
    let mut state = accurate();
    assert_eq!(state.counters(CountersSent::Always), None);
    state.begin_active(Codepoint::NotEct, 0b010, counters(0, 0, 0).as_ref());
    assert!(state.counters(CountersSent::Never).is_none());
    for _ in 0..2 {
        assert!(state.counters(CountersSent::Sparse).is_some());
        state.sent(true);
    }
    assert!(state.counters(CountersSent::Sparse).is_none(), "no news");
    assert!(state.counters(CountersSent::Always).is_some());
    let mut cleared = accurate();
    let zeroes = Counters::new(Some(0), Some(0), Some(0));
    cleared.begin_active(Codepoint::NotEct, 0b010, Some(&zeroes));
    assert!(cleared.counters(CountersSent::Always).is_none());
    let mut late = accurate();
    late.told(&Feedback { ace: 5, counters: None, octets: 1, segment: 1, sent: TOO_LATE });
    told(&mut late, 1, 5, counters(0, 0, 1));
    assert!(late.counters(CountersSent::Always).is_none());
}

/// RFC 9768 §3.2.3.3: changes, marks, wraps, and some times a round trip.
#[test]
fn sparse_options_are_for_news() {
    let mut state = accurate();
    state.begin_active(Codepoint::NotEct, 0b010, Some(&Counters::default()));
    (0..2).for_each(|_| state.sent(true));
    let due = |state: &Accurate| state.counters(CountersSent::Sparse).map(|(_, needed)| needed);
    assert!(state.received(Codepoint::Ect0, 1, 1000), "another mark than before");
    assert_eq!(due(&state), Some(3));
    (0..2).for_each(|_| state.sent(true));
    assert!(!state.received(Codepoint::Ect0, 1, 1000));
    assert_eq!(due(&state), None);
    state.received(Codepoint::Ect0, 3000, TOLD_EACH);
    assert_eq!(due(&state), Some(3));
    state.sent(true);
    assert!(state.received(Codepoint::Ce, 1, 1000));
    (0..2).for_each(|_| state.sent(true));
    assert!(!state.received(Codepoint::Ce, 5, 1000), "fewer than the flags can tell");
    assert!(state.received(Codepoint::Ce, 1, 1000));
    (0..3).for_each(|_| state.sent(true));
    let rtt = Duration::from_millis(30);
    state.note_time(Instant::from_millis(100), rtt);
    assert!(due(&state).is_some());
    state.sent(true);
    state.note_time(Instant::from_millis(109), rtt);
    assert!(due(&state).is_none());
    state.note_time(Instant::from_millis(110), rtt);
    assert!(due(&state).is_some());
}
