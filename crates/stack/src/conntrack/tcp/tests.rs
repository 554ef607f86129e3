use super::*;
use Direction::{Original, Reply};

const TIMEOUTS: fn() -> ConntrackTimeouts = ConntrackTimeouts::default;

fn segment(flags: &str, sequence: u32, acknowledgment: u32, data_len: u32) -> Observed {
    let mut bits = Flags::default();
    for letter in flags.chars() {
        bits = bits.with(match letter {
            'S' => Flags::SYN,
            'F' => Flags::FIN,
            'R' => Flags::RST,
            'A' => Flags::ACK,
            other => panic!("no flag {other}"),
        });
    }
    let header =
        Header { flags: bits, sequence, acknowledgment, window: 1000, ..Header::default() };
    Observed { header, options: Options::default(), data_len }
}

/// By whom, control bits, sequence number, acknowledgment, octets of data; the state after, `None` if it is invalid.
type Expected = (Direction, &'static str, u32, u32, u32, Option<State>);

/// Segments and the states they lead to; `None`: invalid.
fn run(steps: &[Expected]) -> Tracker {
    let (_, flags, sequence, ack, len, _) = steps[0];
    let mut tracker = Tracker::new(&segment(flags, sequence, ack, len)).expect("it may begin");
    for (at, (direction, flags, sequence, ack, len, expected)) in steps.iter().enumerate() {
        let verdict =
            tracker.segment(*direction, &segment(flags, *sequence, *ack, *len), &TIMEOUTS());
        match expected {
            Some(state) => {
                assert_ne!(verdict, Verdict::Invalid, "step {at}");
                assert_eq!(tracker.state, *state, "step {at}");
            }
            None => assert_eq!(verdict, Verdict::Invalid, "step {at}"),
        }
    }
    tracker
}

const HANDSHAKE: [Expected; 3] = [
    (Original, "S", 100, 0, 0, Some(State::SynSent)),
    (Reply, "SA", 500, 101, 0, Some(State::SynRecv)),
    (Original, "A", 101, 501, 0, Some(State::Established)),
];

fn after_handshake(more: &[Expected]) -> Tracker {
    run(&[&HANDSHAKE, more].concat())
}

#[test]
fn a_connection_lives_and_ends() {
    after_handshake(&[
        (Original, "A", 101, 501, 300, Some(State::Established)),
        (Reply, "A", 501, 401, 900, Some(State::Established)),
        (Original, "FA", 401, 1401, 0, Some(State::FinWait)),
        (Reply, "A", 1401, 402, 0, Some(State::CloseWait)),
        (Reply, "FA", 1401, 402, 0, Some(State::LastAck)),
        (Original, "A", 402, 1402, 0, Some(State::TimeWait)),
        // Another on the same ports.
        (Original, "S", 9000, 0, 0, Some(State::TimeWait)),
    ]);
}

#[test]
fn what_no_window_has_room_for_is_invalid() {
    after_handshake(&[
        // Behind the end of the window; before its beginning; an acknowledgment of nothing.
        (Original, "A", 101 + 1001, 501, 10, None),
        (Original, "A", 101_u32.wrapping_sub(3000), 501, 10, None),
        (Reply, "A", 501, 102, 10, None),
        (Reply, "A", 501, 101, 1000, Some(State::Established)),
    ]);
}

#[test]
fn blind_resets_end_nothing() {
    after_handshake(&[
        (Reply, "A", 501, 101, 10, Some(State::Established)),
        (Original, "A", 101, 511, 0, Some(State::Established)),
        (Reply, "R", 505, 0, 0, None),
        (Reply, "R", 100_000, 0, 0, None),
        (Reply, "R", 511, 0, 0, Some(State::Close)),
    ]);
    run(&[
        (Original, "S", 100, 0, 0, Some(State::SynSent)),
        (Reply, "RA", 0, 99, 0, None),
        (Reply, "RA", 0, 101, 0, Some(State::Close)),
    ]);
}

#[test]
fn what_begins_no_connection() {
    for flags in ["SA", "R", "RA", "F", "FA", ""] {
        assert!(Tracker::new(&segment(flags, 1, 1, 0)).is_none(), "{flags}");
    }
}

/// Of one that was there before, nobody knows the windows.
#[test]
fn a_connection_is_picked_up_in_its_middle() {
    let tracker = run(&[
        (Original, "A", 5000, 7000, 100, Some(State::Established)),
        (Reply, "A", 7000, 5100, 50_000, Some(State::Established)),
        (Original, "A", 5100, 57_000, 40_000, Some(State::Established)),
        (Reply, "FA", 57_000, 45_100, 0, Some(State::FinWait)),
    ]);
    assert!(tracker.ends.iter().all(|end| end.liberal));
}

#[test]
fn a_syn_that_is_answered_makes_it_another_connection() {
    let tracker = after_handshake(&[
        (Original, "S", 70_000, 0, 0, Some(State::Established)),
        (Reply, "SA", 90_000, 70_001, 0, Some(State::SynRecv)),
        (Original, "A", 70_001, 90_001, 0, Some(State::Established)),
        (Original, "A", 101, 501, 10, None),
    ]);
    assert!(tracker.doubtful.is_none());
}

#[test]
fn both_may_begin_at_once() {
    run(&[
        (Original, "S", 100, 0, 0, Some(State::SynSent)),
        (Reply, "S", 500, 0, 0, Some(State::SynSent2)),
        (Original, "SA", 100, 501, 0, Some(State::SynRecv)),
        (Reply, "SA", 500, 101, 0, Some(State::SynRecv)),
    ]);
}

#[test]
fn who_repeats_himself_is_not_waited_for() {
    let mut tracker = after_handshake(&[(Original, "A", 101, 501, 10, Some(State::Established))]);
    let again = segment("A", 101, 501, 10);
    let mut patience = Vec::new();
    for _ in 0..4 {
        match tracker.segment(Original, &again, &TIMEOUTS()) {
            Verdict::Belongs { patience: time, .. } => patience.push(time),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(patience.last(), Some(&TIMEOUTS().tcp_retransmitting));
    // Acknowledged, it is as ever.
    let answer = segment("A", 501, 111, 0);
    let verdict = tracker.segment(Reply, &answer, &TIMEOUTS());
    assert_eq!(verdict, Verdict::Belongs { patience: TIMEOUTS().tcp_established, assured: true });
}
