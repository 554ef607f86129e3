//! What the receiving side says, and when (RFC 9293 §3.8.6.3, RFC 5681 §4.2, RFC 2018, RFC 2883).

use super::fixture::*;
use crate::{
    counters::DropReason,
    tcp::{Settings, assembler::MAX_RANGES},
};

/// Past the quick acknowledgments of the beginning.
fn steady(peer: narrows_wire::tcp_options::Options) -> (Fixture, u32) {
    let mut fixture = Fixture::established_with(&Settings::default(), peer);
    let mut next = 1;
    // One was that of the handshake.
    for _ in 0..15 {
        fixture.accepts(&segment(next, 1, ACK).text(1000));
        next += 1000;
        assert_eq!(fixture.sent(), [(1, next, ACK, 0)]);
    }
    fixture.read(1 << 20).unwrap();
    (fixture, next)
}

/// SACK blocks of the last segment that left, relative to the peer's initial number.
fn blocks(fixture: &mut Fixture) -> Vec<(u32, u32)> {
    let outgoing = fixture.segments(0).pop().expect("something left");
    let relative = |(l, r): &(u32, u32)| (l.wrapping_sub(IRS), r.wrapping_sub(IRS));
    outgoing.options.sack.as_slice().iter().map(relative).collect()
}

#[test]
fn the_second_full_segment_or_40_milliseconds() {
    let (mut fixture, next) = steady(plain());
    fixture.accepts(&segment(next, 1, ACK).text(1000));
    assert_eq!(fixture.sent(), []);
    fixture.accepts(&segment(next + 1000, 1, ACK).text(1000));
    assert_eq!(fixture.sent(), [(1, next + 2000, ACK, 0)]);
    assert_eq!(fixture.connection.next_timeout(), None);
    fixture.accepts(&segment(next + 2000, 1, ACK).text(1000));
    fixture.advance_ms(30);
    assert_eq!(fixture.next_sent(), (10, vec![(1, next + 3000, ACK, 0)]));
}

#[test]
fn a_coalesced_segment_counts_by_its_bytes() {
    let (mut fixture, next) = steady(plain());
    fixture.accepts(&segment(next, 1, ACK).text(40_000));
    assert_eq!(fixture.sent(), [(1, next + 40_000, ACK, 0)]);
}

#[test]
fn an_answer_carries_the_acknowledgment() {
    let (mut fixture, next) = steady(plain());
    fixture.accepts(&segment(next, 1, PSH_ACK).text(10));
    fixture.write(10).unwrap();
    assert_eq!(fixture.sent(), [(1, next + 10, PSH_ACK, 10)]);
    fixture.accepts(&segment(next + 10, 11, PSH_ACK).text(10));
    fixture.read(10).unwrap();
    assert_eq!(fixture.sent(), [], "an interactive program will answer");
}

#[test]
fn holes_are_reported_at_once_the_latest_first() {
    let (mut fixture, next) = steady(with_sack());
    let at = |offset: u32| segment(next + offset, 1, ACK).text(1000);
    let relative = |offset: u32| (next + offset, next + offset + 1000);
    fixture.accepts(&at(1000));
    assert_eq!(blocks(&mut fixture), [relative(1000)]);
    fixture.accepts(&at(3000));
    assert_eq!(blocks(&mut fixture), [relative(3000), relative(1000)]);
    fixture.accepts(&at(5000));
    fixture.accepts(&at(7000));
    fixture.accepts(&at(9000));
    let expected = [relative(9000), relative(7000), relative(5000), relative(3000)];
    assert_eq!(blocks(&mut fixture), expected);
    fixture.accepts(&at(0));
    let expected = [relative(9000), relative(7000), relative(5000), relative(3000)];
    assert_eq!(blocks(&mut fixture), expected);
    assert_eq!(fixture.read(9999), Ok(2000));
    fixture.accepts(&segment(next + 2000, 1, ACK).text(8000));
    assert_eq!(fixture.sent(), [(1, next + 10_000, ACK, 0)]);
    assert_eq!(fixture.read(99_999), Ok(8000));
    assert_eq!(fixture.pool.in_use(), 0);
}

#[test]
fn a_peer_without_sack_gets_none() {
    let (mut fixture, next) = steady(plain());
    fixture.accepts(&segment(next + 1000, 1, ACK).text(1000));
    assert_eq!(blocks(&mut fixture), []);
}

#[test]
fn duplicates_are_reported_once() {
    let (mut fixture, next) = steady(with_sack());
    fixture.arrive(&segment(next - 1000, 1, ACK).text(1000));
    assert_eq!(blocks(&mut fixture), [(next - 1000, next)]);
    // Partly old: the old part (RFC 2883 §4.1).
    fixture.accepts(&segment(next - 300, 1, ACK).text(1000));
    assert_eq!(blocks(&mut fixture), [(next - 300, next)]);
    // A duplicate of what is out of order, and where it lies (§4.1.2).
    fixture.accepts(&segment(next + 1000, 1, ACK).text(1000));
    fixture.sent();
    fixture.accepts(&segment(next + 1000, 1, ACK).text(500));
    let whole = (next + 1000, next + 2000);
    assert_eq!(blocks(&mut fixture), [(next + 1000, next + 1500), whole]);
    fixture.accepts(&segment(next + 3000, 1, ACK).text(10));
    assert_eq!(blocks(&mut fixture), [(next + 3000, next + 3010), whole]);
}

#[test]
fn holes_are_capped() {
    let (mut fixture, next) = steady(with_sack());
    for i in 0..MAX_RANGES as u32 {
        fixture.accepts(&segment(next + 2 * i + 1, 1, ACK).text(1));
    }
    let refused = fixture.arrive(&segment(next + 5001, 1, ACK).text(1));
    assert_eq!(refused.dropped, Some(DropReason::TcpOutOfOrderLimit));
    fixture.accepts(&segment(next, 1, ACK).text(5000));
    assert_eq!(fixture.read(9999), Ok(5000));
    fixture.accepts(&segment(next + 5001, 1, ACK).text(1));
}

#[test]
fn a_burst_is_acknowledged_once() {
    let (mut fixture, next) = steady(plain());
    for i in 0..10 {
        fixture.accepts(&segment(next + i * 1000, 1, ACK).text(1000));
    }
    assert_eq!(fixture.sent(), [(1, next + 10_000, ACK, 0)]);
}
