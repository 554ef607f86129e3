//! The first four steps of RFC 9293 §3.10.7.4: what is let in, what is answered, what is dropped.

use super::fixture::*;
use crate::{
    counters::DropReason::{self, *},
    event::Readiness,
    request::Error,
    tcp::{
        Settings, State,
        connection::{Fate, reset_for},
    },
};
use narrows_wire::{tcp::Flags, tcp_options::Options};

/// Our place in the stream, as an acknowledgment tells it.
const HERE: Seen = (1, 1, ACK, 0);
const EDGE: u32 = 1 + WINDOW;
/// Whole segments, so that the SYN offers all of it.
const WINDOW: u32 = 44 * 1460;

fn small_window() -> Fixture {
    let settings = Settings { receive_limit: WINDOW as usize, ..Settings::default() };
    Fixture::established_with(&settings, plain())
}

#[test]
fn rfc_5961_in_established() {
    let challenged = |reason: DropReason| (Some(reason), vec![HERE], State::Established);
    let ignored = |reason: DropReason| (Some(reason), vec![], State::Established);
    let closed = (None, vec![], State::Closed);
    for (segment, expected) in [
        // RST: only the exact number counts.
        (segment(1, 1, RST), closed.clone()),
        (segment(1, 99, RST_ACK), closed),
        (segment(2, 1, RST), challenged(TcpBlindReset)),
        (segment(EDGE, 1, RST), challenged(TcpBlindReset)),
        (segment(EDGE + 1, 1, RST), ignored(TcpOutOfWindow)),
        (segment(0, 1, RST), ignored(TcpOutOfWindow)),
        // SYN: never, wherever it is.
        (segment(1, 1, SYN), challenged(TcpBlindSyn)),
        (segment(0, 1, SYN_ACK), challenged(TcpBlindSyn)),
        (segment(0x4000_0000, 1, SYN), challenged(TcpBlindSyn)),
        // Text and acknowledgments outside the window.
        (segment(EDGE + 1, 1, ACK), challenged(TcpOutOfWindow)),
        (segment(EDGE + 1, 1, ACK).text(5), challenged(TcpOutOfWindow)),
        (segment(0, 1, ACK), challenged(TcpOutOfWindow)),
        (segment(EDGE, 1, ACK), (None, vec![], State::Established)),
        // Acknowledgments of what was never sent, or long ago.
        (segment(1, 2, ACK), challenged(TcpBadAck)),
        (segment(1, 0u32.wrapping_sub(60_000), ACK), challenged(TcpBadAck)),
        (segment(1, 0u32.wrapping_sub(40_000), ACK), (None, vec![], State::Established)),
        // Neither.
        (segment(1, 1, Flags(0)), ignored(TcpNoAck)),
        (segment(1, 1, Flags::FIN), ignored(TcpNoAck)),
    ] {
        let mut fixture = small_window();
        let outcome = fixture.arrive(&segment);
        assert_eq!(outcome.reply, None);
        assert_eq!((outcome.dropped, fixture.sent(), fixture.state()), expected, "{segment:?}");
    }
}

#[test]
fn challenges_are_limited_in_time() {
    let mut fixture = small_window();
    assert_eq!(fixture.arrive(&segment(2, 1, RST)).dropped, Some(TcpBlindReset));
    assert_eq!(fixture.sent(), [HERE]);
    fixture.advance_ms(499);
    assert_eq!(fixture.arrive(&segment(2, 1, RST)).dropped, Some(TcpChallengeAckLimited));
    assert_eq!(fixture.arrive(&segment(5, 1, SYN)).dropped, Some(TcpChallengeAckLimited));
    assert_eq!(fixture.arrive(&segment(0, 1, ACK)).dropped, Some(TcpOutOfWindow));
    assert_eq!(fixture.sent(), []);
    fixture.advance_ms(1);
    assert_eq!(fixture.arrive(&segment(2, 1, RST)).dropped, Some(TcpBlindReset));
    assert_eq!(fixture.sent(), [HERE]);
}

#[test]
fn old_text_is_always_answered() {
    let mut fixture = small_window();
    fixture.accepts(&segment(1, 1, ACK).text(10));
    assert_eq!(fixture.sent(), [(1, 11, ACK, 0)]);
    for _ in 0..3 {
        let outcome = fixture.arrive(&segment(1, 1, ACK).text(9));
        assert_eq!(outcome.dropped, Some(TcpOutOfWindow));
        assert_eq!(fixture.sent(), [(1, 11, ACK, 0)]);
    }
    assert_eq!(fixture.read(100), Ok(10));
}

#[test]
fn a_reset_means_something_else_in_each_state() {
    for (state, error) in [
        (State::SynReceived, Some(Error::ConnectionRefused)),
        (State::Established, Some(Error::ConnectionReset)),
        (State::FinWait1, Some(Error::ConnectionReset)),
        (State::FinWait2, Some(Error::ConnectionReset)),
        (State::CloseWait, Some(Error::BrokenPipe)),
        (State::Closing, Some(Error::ConnectionReset)),
        (State::LastAck, Some(Error::ConnectionReset)),
        (State::TimeWait, None),
    ] {
        let mut fixture = Fixture::in_state(state);
        let next = fixture.connection.rcv.nxt.0.wrapping_sub(IRS);
        let outcome = fixture.arrive(&segment(next, 1, RST));
        assert_eq!((outcome.dropped, outcome.fate), (None, Fate::Closed), "{state:?}");
        assert_eq!(fixture.connection.error(), error, "{state:?}");
        let failed = fixture.connection.take_readiness().contains(Readiness::FAILED);
        assert_eq!(failed, error.is_some());
        assert_eq!((fixture.connection.next_timeout(), fixture.sent()), (None, vec![]));
    }
}

#[test]
fn what_came_before_a_reset_can_be_read() {
    let mut fixture = Fixture::established();
    fixture.accepts(&segment(1, 1, ACK).text(10));
    fixture.arrive(&segment(11, 1, RST));
    assert_eq!(fixture.read(4), Ok(4));
    assert_eq!(fixture.read(100), Ok(6));
    assert_eq!(fixture.read(100), Err(Error::ConnectionReset));
    assert_eq!(fixture.write(1), Err(Error::ConnectionReset));
    assert_eq!(fixture.pool.in_use(), 0);
}

#[test]
fn paws() {
    for (value, sequence, len, flags, dropped) in [
        (1000, 1, 5, ACK, None),
        (1001, 1, 5, ACK, None),
        (999, 1, 5, ACK, Some(TcpPaws)),
        (999, 1, 0, ACK, Some(TcpPaws)),
        (1000u32.wrapping_sub(1 << 30), 1, 5, ACK, Some(TcpPaws)),
        (999, 1, 0, RST, None),
    ] {
        let mut fixture = Fixture::established_with(&Settings::default(), modern());
        let outcome = fixture.arrive(&segment(sequence, 1, flags).text(len).stamped(value, 0));
        assert_eq!(outcome.dropped, dropped, "{value} {flags:?}");
        let answers = if dropped.is_some() { vec![HERE] } else { fixture.sent() };
        if dropped.is_some() {
            assert_eq!(fixture.sent(), answers);
        }
    }
}

#[test]
fn an_old_timestamp_counts_again_after_weeks() {
    let mut fixture = Fixture::established_with(&Settings::default(), modern());
    fixture.advance(crate::time::Duration::from_secs(24 * 24 * 3600));
    fixture.accepts(&segment(1, 1, ACK).text(5).stamped(10, 0));
    assert_eq!(fixture.connection.negotiated.stamps.unwrap().recent, 10);
}

#[test]
fn the_echo_is_of_the_segment_that_is_acknowledged() {
    let echo = |fixture: &mut Fixture| {
        let segments = fixture.segments(0);
        segments.last().unwrap().options.timestamps.unwrap().echo
    };
    let mut fixture = Fixture::established_with(&Settings::default(), modern());
    // RFC 7323 §4.3 (B): a hole keeps the earlier timestamp.
    fixture.accepts(&segment(1, 1, ACK).text(10).stamped(1001, 0));
    assert_eq!(echo(&mut fixture), 1001);
    fixture.accepts(&segment(21, 1, ACK).text(10).stamped(1003, 0));
    assert_eq!(echo(&mut fixture), 1001);
    fixture.accepts(&segment(11, 1, ACK).text(10).stamped(1004, 0));
    assert_eq!(echo(&mut fixture), 1004);
}

#[test]
fn segments_that_straddle_the_window_are_cut() {
    let mut fixture = small_window();
    fixture.accepts(&segment(1, 1, ACK).text(1000));
    fixture.accepts(&segment(501, 1, ACK).text(1000));
    assert_eq!(fixture.read(9999), Ok(1500));
    fixture.sent();
    let edge = fixture.connection.rcv.accepted_edge(0).0.wrapping_sub(IRS);
    fixture.accepts(&segment(edge - 10, 1, FIN_ACK).text(1000));
    assert_eq!(fixture.connection.rcv.assembler.len(), 1);
    assert_eq!(fixture.connection.rcv.fin, None, "the FIN lay outside");
}

#[test]
fn urgent_text_stays_in_line() {
    let mut fixture = Fixture::established();
    let mut urgent = segment(1, 1, Flags(ACK.0 | Flags::URG.0)).text(10);
    for pointer in [0, 5, 65_535] {
        urgent.header.urgent = pointer;
        fixture.arrive(&urgent);
    }
    assert_eq!(fixture.read(100), Ok(10));
}

#[test]
fn what_answers_a_segment_for_nobody() {
    for (segment, reply) in [
        (segment(5, 7, ACK), Some((7, 0, RST, 0))),
        (segment(5, 7, ACK).text(10), Some((7, 0, RST, 0))),
        (segment(5, 7, SYN_ACK), Some((7, 0, RST, 0))),
        (segment(5, 0, SYN), Some((0u32.wrapping_sub(ISS), 6, RST_ACK, 0))),
        (segment(5, 0, Flags::FIN).text(10), Some((0u32.wrapping_sub(ISS), 16, RST_ACK, 0))),
        (segment(5, 7, RST), None),
        (segment(5, 7, RST_ACK), None),
    ] {
        assert_eq!(reset_for(&segment.borrow()).as_ref().map(seen), reply, "{segment:?}");
    }
}

#[test]
fn a_closed_connection_answers_like_nobody() {
    let mut fixture = Fixture::in_state(State::Closed);
    let outcome = fixture.arrive(&segment(1, 7, ACK).text(10));
    assert_eq!(outcome.reply.as_ref().map(seen), Some((7, 0, RST, 0)));
    assert_eq!((outcome.dropped, outcome.fate), (Some(TcpNoSocket), Fate::Closed));
}

#[test]
fn options_of_text_are_as_agreed() {
    for (peer, timestamps) in [(plain(), false), (modern(), true)] {
        let mut fixture = Fixture::established_with(&Settings::default(), peer);
        fixture.write(1).unwrap();
        let outgoing = fixture.segments(0).remove(0);
        assert_eq!(outgoing.options.timestamps.is_some(), timestamps);
        let rest = Options { timestamps: None, ..outgoing.options };
        assert_eq!(rest, Options::default());
    }
}
