//! Closing: RFC 9293 §3.6, §3.10.4, §3.10.5, and what Linux does when a program goes away.

use super::fixture::*;
use crate::{
    counters::DropReason::*,
    event::Readiness,
    request::Error,
    tcp::{Settings, State, connection::Fate, time_wait::TimeWait},
    time::Duration,
};
use narrows_wire::tcp::Flags;

fn fin_wait_2_orphan() -> Fixture {
    let mut fixture = Fixture::established();
    assert_eq!(fixture.close().fate, Fate::Alive);
    assert_eq!(fixture.sent(), [(1, 1, FIN_ACK, 0)]);
    fixture.accepts(&segment(1, 2, ACK));
    assert_eq!(fixture.state(), State::FinWait2);
    fixture
}

fn time_wait(snd_nxt: u32, rcv_nxt: u32) -> Fate {
    Fate::TimeWait(TimeWait {
        snd_nxt: ISS.wrapping_add(snd_nxt),
        rcv_nxt: IRS.wrapping_add(rcv_nxt),
        // Less the FIN: a window moves on by larger steps.
        window: 65_534,
        timestamps: None,
    })
}

#[test]
fn the_active_closer_waits() {
    let mut fixture = fin_wait_2_orphan();
    let outcome = fixture.arrive(&segment(1, 2, FIN_ACK));
    assert_eq!(outcome.reply.as_ref().map(seen), Some((2, 2, ACK, 0)), "nobody polls any more");
    assert_eq!(outcome.fate, time_wait(2, 2));
    assert_eq!((fixture.connection.next_timeout(), fixture.sent()), (None, vec![]));
}

#[test]
fn simultaneous_close() {
    let mut fixture = Fixture::in_state(State::Closing);
    assert_eq!(fixture.close().fate, Fate::Alive);
    assert_eq!(fixture.arrive(&segment(2, 2, ACK)).fate, time_wait(2, 2));
}

#[test]
fn the_passive_closer_is_done_with_the_last_acknowledgment() {
    let mut fixture = Fixture::in_state(State::CloseWait);
    assert_eq!(fixture.close().fate, Fate::Alive);
    assert_eq!(fixture.sent(), [(1, 2, FIN_ACK, 0)]);
    assert_eq!(fixture.state(), State::LastAck);
    assert_eq!(fixture.arrive(&segment(2, 2, ACK)).fate, Fate::Closed);
}

#[test]
fn a_fin_and_the_acknowledgment_of_ours_in_one_segment() {
    let mut fixture = Fixture::established();
    fixture.close();
    fixture.sent();
    assert_eq!(fixture.arrive(&segment(1, 2, FIN_ACK)).fate, time_wait(2, 2));
}

#[test]
fn half_closed_both_ways() {
    let mut fixture = Fixture::in_state(State::FinWait2);
    assert_eq!(fixture.write(1), Err(Error::BrokenPipe));
    assert_eq!(fixture.connection.send_room(), 0);
    fixture.accepts(&segment(1, 2, ACK).text(500));
    assert_eq!(fixture.read(1000), Ok(500));
    fixture.advance(Duration::from_secs(7200));
    fixture.accepts(&segment(501, 2, FIN_ACK).text(10));
    assert_eq!(fixture.sent(), [(2, 512, ACK, 0)]);
    assert_eq!(fixture.state(), State::TimeWait);
    assert_eq!((fixture.read(100), fixture.read(100)), (Ok(10), Ok(0)));

    let mut fixture = Fixture::in_state(State::CloseWait);
    assert_eq!(fixture.read(1), Ok(0));
    assert_eq!(fixture.write(10), Ok(10));
    assert_eq!(fixture.sent(), [(1, 2, PSH_ACK, 10)]);
    fixture.accepts(&segment(2, 11, ACK));
    assert_eq!(fixture.connection.send_queue(), 0);
}

#[test]
fn a_fin_follows_what_is_queued() {
    let mut fixture = Fixture::established();
    fixture.write(2500).unwrap();
    fixture.connection.shutdown_send(fixture.now);
    assert_eq!(
        fixture.sent(),
        [(1, 1, ACK, 1000), (1001, 1, ACK, 1000), (2001, 1, FIN_PSH_ACK, 500)]
    );
    fixture.accepts(&segment(1, 2501, ACK));
    assert_eq!(fixture.state(), State::FinWait1);
    fixture.accepts(&segment(1, 2502, ACK));
    assert_eq!(fixture.state(), State::FinWait2);
}

#[test]
fn a_fin_that_comes_early_waits_for_the_text_before_it() {
    let mut fixture = Fixture::established();
    fixture.accepts(&segment(11, 1, FIN_ACK).text(10));
    assert_eq!(fixture.sent(), [(1, 1, ACK, 0)]);
    assert_eq!((fixture.state(), fixture.read(1)), (State::Established, Err(Error::WouldBlock)));
    // Text beyond the end is a lie.
    fixture.accepts(&segment(21, 1, ACK).text(10));
    fixture.sent();
    fixture.accepts(&segment(1, 1, ACK).text(10));
    assert_eq!(fixture.sent(), [(1, 22, ACK, 0)]);
    let readiness = fixture.connection.take_readiness();
    assert_eq!(readiness, Readiness::READABLE | Readiness::FINISHED);
    assert_eq!((fixture.read(100), fixture.read(100)), (Ok(20), Ok(0)));
    assert_eq!(fixture.state(), State::CloseWait);
}

#[test]
fn a_fin_that_comes_again_is_acknowledged_again() {
    for (state, next) in
        [(State::CloseWait, 2), (State::LastAck, 2), (State::Closing, 2), (State::TimeWait, 2)]
    {
        let mut fixture = Fixture::in_state(state);
        fixture.arrive(&segment(1, 1, FIN_ACK));
        let sent = fixture.sent();
        let last = sent.last().unwrap();
        assert_eq!((last.1, last.2, last.3), (next, ACK, 0), "{state:?}");
        assert_eq!(fixture.state(), state);
    }
}

#[test]
fn a_lost_fin_is_sent_again() {
    let mut fixture = Fixture::established();
    fixture.close();
    fixture.sent();
    let (_, sent) = fixture.next_sent();
    assert_eq!(sent, [(1, 1, FIN_ACK, 0)]);
}

#[test]
fn closing_with_unread_text_resets() {
    let mut fixture = Fixture::established();
    fixture.accepts(&segment(1, 1, ACK).text(10));
    let outcome = fixture.close();
    assert_eq!(outcome.reply.as_ref().map(seen), Some((1, 11, RST_ACK, 0)));
    assert_eq!((outcome.fate, fixture.pool.in_use()), (Fate::Closed, 0));
}

#[test]
fn zero_linger_resets() {
    for (linger, reset) in [(None, false), (Some(0), true), (Some(5), false)] {
        let linger = linger.map(Duration::from_secs);
        let settings = Settings { linger, ..Settings::default() };
        let mut fixture = Fixture::established_with(&settings, plain());
        fixture.write(10).unwrap();
        let outcome = fixture.close();
        let expected = (reset.then_some((1, 1, RST_ACK, 0)), reset);
        assert_eq!((outcome.reply.as_ref().map(seen), outcome.fate == Fate::Closed), expected);
        assert_eq!(fixture.pool.in_use() == 0, reset);
    }
}

#[test]
fn text_after_close_resets() {
    for state in [State::FinWait1, State::FinWait2] {
        let mut fixture = Fixture::in_state(state);
        assert_eq!(fixture.close().fate, Fate::Alive);
        fixture.accepts(&segment(1, 1, ACK));
        let outcome = fixture.arrive(&segment(1, 2, ACK).text(5));
        // RFC 9293 §3.5.2: with the number that the peer acknowledged, and no acknowledgment.
        assert_eq!(outcome.reply.as_ref().map(seen), Some((2, 0, Flags::RST, 0)), "{state:?}");
        assert_eq!((outcome.dropped, outcome.fate), (Some(TcpDataAfterClose), Fate::Closed));
    }
}

#[test]
fn closing_in_each_state() {
    for (state, reply, fate, sent) in [
        (State::SynSent, None, Fate::Closed, vec![]),
        (State::Established, None, Fate::Alive, vec![(1, 1, FIN_ACK, 0)]),
        (State::FinWait1, None, Fate::Alive, vec![]),
        (State::FinWait2, None, Fate::Alive, vec![]),
        (State::CloseWait, None, Fate::Alive, vec![(1, 2, FIN_ACK, 0)]),
        (State::Closing, None, Fate::Alive, vec![]),
        (State::LastAck, None, Fate::Alive, vec![]),
        (State::TimeWait, None, time_wait(2, 2), vec![]),
        (State::Closed, None, Fate::Closed, vec![]),
    ] {
        let mut fixture = Fixture::in_state(state);
        let outcome = fixture.close();
        assert_eq!((outcome.reply, outcome.fate), (reply, fate), "{state:?}");
        assert_eq!(fixture.sent(), sent, "{state:?}");
    }
}

#[test]
fn aborting_in_each_state() {
    let reset = |acknowledgment| Some((1, acknowledgment, RST_ACK, 0));
    for (state, reply) in [
        (State::SynSent, None),
        (State::SynReceived, reset(1)),
        (State::Established, reset(1)),
        (State::FinWait1, Some((2, 1, RST_ACK, 0))),
        (State::FinWait2, Some((2, 1, RST_ACK, 0))),
        (State::CloseWait, reset(2)),
        (State::Closing, None),
        (State::LastAck, None),
        (State::TimeWait, None),
        (State::Closed, None),
    ] {
        let mut fixture = Fixture::in_state(state);
        let outgoing = fixture.connection.abort(fixture.now, &mut fixture.pool);
        assert_eq!(outgoing.as_ref().map(seen), reply, "{state:?}");
        assert_eq!((fixture.state(), fixture.sent()), (State::Closed, vec![]));
    }
}

#[test]
fn closing_during_a_simultaneous_open_ends_it_in_order() {
    let mut fixture = Fixture::in_state(State::SynReceived);
    assert_eq!(fixture.close().fate, Fate::Alive);
    fixture.accepts(&segment(1, 1, ACK));
    assert_eq!((fixture.state(), fixture.sent()), (State::FinWait1, vec![(1, 1, FIN_ACK, 0)]));
}

#[test]
fn an_orphan_does_not_wait_for_ever() {
    let mut fixture = fin_wait_2_orphan();
    let (waited, outcome) = fixture.time_out();
    assert_eq!((waited, outcome.reply, outcome.fate), (60_000, None, Fate::Closed));
}

#[test]
fn time_wait_with_a_program_still_there() {
    let mut fixture = Fixture::in_state(State::TimeWait);
    assert_eq!(fixture.read(1), Ok(0));
    fixture.advance_ms(30_000);
    fixture.accepts(&segment(1, 2, FIN_ACK));
    assert_eq!(fixture.sent(), [(2, 2, ACK, 0)]);
    let (waited, outcome) = fixture.time_out();
    assert_eq!((waited, outcome.fate), (60_000, Fate::Closed));
    assert_eq!((fixture.connection.error(), fixture.read(1)), (None, Ok(0)));
}

#[test]
fn an_orphan_gives_up_sooner() {
    let mut fixture = Fixture::established();
    fixture.write(10).unwrap();
    fixture.sent();
    fixture.close();
    fixture.sent();
    let mut times = 0;
    let fate = loop {
        let outcome = fixture.time_out().1;
        times += fixture.sent().len();
        if outcome.fate != Fate::Alive {
            break outcome.fate;
        }
    };
    assert_eq!((fate, times), (Fate::Closed, 8));
    assert_eq!(fixture.pool.in_use(), 0);
}
