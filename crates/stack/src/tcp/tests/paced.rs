//! Pacing, and the algorithms that live on more than losses.

use super::fixture::*;
use crate::{
    tcp::{Settings, congestion::Algorithm},
    time::{Duration, Instant},
};
use narrows_wire::ecn::Codepoint;
use narrows_wire::{tcp::Flags, tcp_options::Options};
use std::sync::Arc;

fn with(congestion: Algorithm, max_pacing_rate: u64) -> Settings {
    Settings { congestion, max_pacing_rate, ..Settings::default() }
}

/// Octets that leave in this many milliseconds, woken at each deadline; the peer says nothing.
fn sent_within(fixture: &mut Fixture, millis: u64) -> usize {
    let end = fixture.now + Duration::from_millis(millis);
    let mut octets: usize = fixture.sent().iter().map(|sent| sent.3).sum();
    while let Some(at) = fixture.connection.next_timeout().filter(|at| *at <= end) {
        assert!(at >= fixture.now, "no deadline lies in the past once it was handled");
        fixture.now = at;
        let _ = fixture.connection.handle_timeout(at, &mut fixture.pool);
        octets += fixture.sent().iter().map(|sent| sent.3).sum::<usize>();
    }
    fixture.now = end;
    octets
}

#[test]
fn a_limit_spreads_what_the_window_allows() {
    let limits = [(u64::MAX, 10_000..=10_000), (100_000, 2_000..=4_000)];
    for (rate, expected) in limits {
        let settings = with(Algorithm::Cubic, rate);
        let mut fixture = Fixture::established_after(100, &settings, modern());
        fixture.write(50_000).unwrap();
        let octets = sent_within(&mut fixture, 20);
        assert!(expected.contains(&octets), "{rate}: {octets}");
    }
}

#[test]
fn a_limit_can_be_set_and_lifted_on_the_way() {
    let mut settings = with(Algorithm::Reno, 50_000);
    let mut fixture = Fixture::established_with(&settings, modern());
    fixture.write(50_000).unwrap();
    assert!(sent_within(&mut fixture, 1) < 3_000);
    assert_eq!(fixture.connection.info(fixture.now).pacing_rate, Some(50_000));
    settings.max_pacing_rate = u64::MAX;
    fixture.connection.set(fixture.now, &Arc::new(settings.clone()));
    let rest: usize = fixture.sent().iter().map(|sent| sent.3).sum();
    assert!(rest > 6_000, "{rest}");
    assert!(fixture.connection.pacing.is_none());
}

#[test]
fn acknowledgments_are_not_paced() {
    let mut fixture = Fixture::established_with(&with(Algorithm::Cubic, 1_000), plain());
    fixture.write(5_000).unwrap();
    fixture.sent();
    // Out of order: that is told at once.
    fixture.accepts(&segment(1001, 1, ACK).text(100));
    assert_eq!(fixture.sent().last().map(|sent| (sent.2, sent.3)), Some((ACK, 0)));
}

#[test]
fn the_first_flight_of_bbr_is_spread_over_a_part_of_the_round_trip() {
    let settings = with(Algorithm::Bbr, u64::MAX);
    let mut fixture = Fixture::established_after(100, &settings, modern());
    fixture.write(50_000).unwrap();
    // 2.77 windows a round trip, and the credit of the beginning.
    let first = sent_within(&mut fixture, 10);
    assert!((2_000..=5_000).contains(&first), "{first}");
    let all = first + sent_within(&mut fixture, 50);
    assert_eq!(all, 10_000);
}

#[test]
fn a_socket_changes_its_algorithm_and_keeps_its_window() {
    let mut settings = with(Algorithm::Cubic, u64::MAX);
    let mut fixture = Fixture::established_with(&settings, modern());
    for algorithm in Algorithm::ALL {
        settings.congestion = algorithm;
        fixture.connection.set(fixture.now, &Arc::new(settings.clone()));
        let info = fixture.connection.info(fixture.now);
        assert_eq!((info.algorithm, info.congestion_window), (algorithm, 10_000));
        assert_eq!(fixture.connection.pacing.is_some(), algorithm == Algorithm::Bbr);
    }
}

const ASKS: Flags = Flags(Flags::SYN.0 | Flags::ECE.0 | Flags::CWR.0);

#[test]
fn dctcp_asks_for_ecn_and_tells_of_each_change_of_marks() {
    let now = Instant::from_millis(10_000);
    let settings = with(Algorithm::Dctcp, u64::MAX);
    let mut connection = crate::tcp::Connection::connect(now, OPENING, &Arc::new(settings));
    let syn = connection.poll_segment(now, 0).unwrap();
    assert_eq!(syn.flags, ASKS);
    let mut fixture = Fixture { now, connection, pool: narrows_ring::Pool::new(0) };
    let mut granted = segment(0, 1, SYN_ACK.with(Flags::ECE));
    granted.options = Options { ..plain() };
    fixture.accepts(&granted);
    fixture.sent();
    let mut told = Vec::new();
    let mut text = |fixture: &mut Fixture, at: u32, mark: Codepoint| {
        let segment = segment(1 + at * 100, 1, ACK).text(100);
        let segment = segment.borrow();
        let outcome = fixture.connection.segment_arrives(now, &mut fixture.pool, &segment, mark);
        let early = outcome.reply.map(|reply| (seen(&reply).1, reply.flags.contains(Flags::ECE)));
        told.push(early);
    };
    let (plain, met) = (Codepoint::Ect0, Codepoint::Ce);
    for (at, mark) in [(0, plain), (1, met), (2, met), (3, plain)] {
        text(&mut fixture, at, mark);
    }
    // What came before a change is acknowledged as it came.
    assert_eq!(told, [None, Some((101, false)), None, Some((301, true))]);
    assert_eq!(fixture.sent(), [(1, 401, ACK, 0)]);
}
