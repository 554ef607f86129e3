//! Silence: retransmission timeouts, user timeout, keepalive, window probes.

use super::fixture::*;
use crate::{
    request::Error,
    tcp::{Settings, State, connection::Fate},
    time::Duration,
};
use std::sync::Arc;

/// The waits until something leaves, for as long as the connection lives, and its last reply.
fn live(fixture: &mut Fixture) -> (Vec<u64>, Vec<Seen>, Option<Seen>) {
    let (mut waits, mut sent, mut waited) = (Vec::new(), Vec::new(), 0);
    loop {
        let (wait, outcome) = fixture.time_out();
        waited += wait;
        if outcome.fate != Fate::Alive {
            waits.push(waited);
            return (waits, sent, outcome.reply.as_ref().map(seen));
        }
        let segments = fixture.sent();
        if !segments.is_empty() {
            waits.push(core::mem::take(&mut waited));
            sent.extend(segments);
        }
    }
}

#[test]
fn retransmissions_back_off_and_end() {
    let mut fixture = Fixture::established();
    fixture.write(100).unwrap();
    fixture.sent();
    let (waits, sent, reply) = live(&mut fixture);
    let expected: Vec<_> = (0..16).map(|i| (200u64 << i).min(120_000)).collect();
    assert_eq!(waits, expected);
    assert_eq!(sent, vec![(1, 1, PSH_ACK, 100); 15]);
    assert_eq!((reply, fixture.connection.error()), (None, Some(Error::TimedOut)));
    assert_eq!(fixture.pool.in_use(), 0);
}

#[test]
fn an_answer_ends_the_backing_off() {
    let mut fixture = Fixture::established();
    fixture.write(100).unwrap();
    fixture.sent();
    for _ in 0..3 {
        fixture.next_sent();
    }
    assert_eq!(fixture.connection.info(fixture.now).backoff, 3);
    fixture.accepts(&segment(1, 51, ACK));
    let info = fixture.connection.info(fixture.now);
    assert_eq!((info.backoff, info.state), (0, State::Established));
}

#[test]
fn the_user_timeout_ends_it_early() {
    let user_timeout = Some(Duration::from_millis(3100));
    let settings = Settings { user_timeout, ..Settings::default() };
    let mut fixture = Fixture::established_after(1, &settings, plain());
    fixture.advance_ms(100_000);
    fixture.write(100).unwrap();
    fixture.sent();
    let (waits, ..) = live(&mut fixture);
    assert_eq!(waits, [201, 402, 804, 1608, 85]);
    assert_eq!(fixture.connection.error(), Some(Error::TimedOut));
}

fn keep_alive() -> Settings {
    Settings {
        keep_alive: true,
        keep_alive_idle: Duration::from_secs(10),
        keep_alive_interval: Duration::from_secs(3),
        keep_alive_count: 4,
        ..Settings::default()
    }
}

#[test]
fn keepalive_probes_a_silent_peer_and_resets_it() {
    let mut fixture = Fixture::established_with(&keep_alive(), plain());
    let (waits, sent, reply) = live(&mut fixture);
    assert_eq!(waits, [10_000, 3000, 3000, 3000, 3000]);
    assert_eq!(sent, vec![(0, 1, ACK, 0); 4], "with the number before the next");
    assert_eq!(reply, Some((1, 1, RST_ACK, 0)));
    assert_eq!(fixture.connection.error(), Some(Error::TimedOut));
}

#[test]
fn an_answered_probe_begins_anew() {
    let mut fixture = Fixture::established_with(&keep_alive(), plain());
    for _ in 0..20 {
        let (waited, sent) = fixture.next_sent();
        assert_eq!((waited, sent), (10_000, vec![(0, 1, ACK, 0)]));
        fixture.accepts(&segment(1, 1, ACK));
    }
}

#[test]
fn keepalive_respects_the_user_timeout() {
    let user_timeout = Some(Duration::from_secs(12));
    let settings = Settings { user_timeout, ..keep_alive() };
    let mut fixture = Fixture::established_with(&settings, plain());
    assert_eq!(live(&mut fixture).0, [10_000, 3000]);
}

#[test]
fn keepalive_can_be_switched() {
    let mut fixture = Fixture::established();
    assert_eq!(fixture.connection.next_timeout(), None);
    fixture.connection.set(fixture.now, &Arc::new(keep_alive()));
    assert_eq!(fixture.next_sent().0, 10_000);
    fixture.connection.set(fixture.now, &Arc::default());
    assert_eq!(fixture.connection.next_timeout(), None);
}

#[test]
fn a_shut_window_is_probed_for_as_long_as_the_peer_answers() {
    let mut fixture = Fixture::established();
    fixture.accepts(&segment(1, 1, ACK).window(0));
    fixture.write(3000).unwrap();
    assert_eq!(fixture.sent(), []);
    for i in 0..40 {
        let (waited, sent) = fixture.next_sent();
        assert_eq!(waited, (200u64 << i.min(20)).min(120_000), "probe {i}");
        assert_eq!(sent, [(0, 1, ACK, 0)]);
        fixture.accepts(&segment(1, 1, ACK).window(0));
        assert_eq!(fixture.sent(), []);
    }
    fixture.accepts(&segment(1, 1, ACK).window(2500));
    assert_eq!(fixture.sent(), [(1, 1, ACK, 1000), (1001, 1, ACK, 1000)]);
    assert_eq!(fixture.connection.info(fixture.now).backoff, 0);
}

#[test]
fn a_shut_window_and_silence_end_it() {
    let mut fixture = Fixture::established();
    fixture.accepts(&segment(1, 1, ACK).window(0));
    fixture.write(3000).unwrap();
    let (waits, sent, reply) = live(&mut fixture);
    assert_eq!((waits.len(), sent.len(), reply), (16, 15, Some((1, 1, RST_ACK, 0))));
    assert_eq!(fixture.connection.error(), Some(Error::TimedOut));
}

#[test]
fn an_orphan_at_a_shut_window_ends_even_if_answered() {
    let mut fixture = Fixture::established();
    fixture.accepts(&segment(1, 1, ACK).window(0));
    fixture.write(3000).unwrap();
    fixture.close();
    let mut probes = 0;
    while fixture.time_out().1.fate == Fate::Alive {
        probes += fixture.sent().len();
        fixture.accepts(&segment(1, 1, ACK).window(0));
    }
    assert_eq!((probes, fixture.pool.in_use()), (8, 0));
}

#[test]
fn a_window_that_shuts_behind_the_flight_is_probed_after_it() {
    let mut fixture = Fixture::established();
    fixture.accepts(&segment(1, 1, ACK).window(1000));
    fixture.write(3000).unwrap();
    assert_eq!(fixture.sent(), [(1, 1, ACK, 1000)]);
    fixture.accepts(&segment(1, 1001, ACK).window(0));
    assert_eq!(fixture.next_sent(), (200, vec![(1000, 1, ACK, 0)]));
}

#[test]
fn an_early_or_late_timer_does_no_harm() {
    let mut fixture = Fixture::established();
    fixture.write(100).unwrap();
    fixture.sent();
    let deadline = fixture.connection.next_timeout();
    fixture.advance_ms(10);
    let outcome = fixture.connection.handle_timeout(fixture.now, &mut fixture.pool);
    assert_eq!((outcome.fate, fixture.sent()), (Fate::Alive, vec![]));
    assert_eq!(fixture.connection.next_timeout(), deadline);
    fixture.advance_ms(10_000);
    let _ = fixture.connection.handle_timeout(fixture.now, &mut fixture.pool);
    assert_eq!(fixture.sent(), [(1, 1, PSH_ACK, 100)]);
}
