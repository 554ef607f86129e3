//! Windows, silly ones avoided on both sides, and small segments (RFC 9293 §3.8.6, RFC 896).

use super::fixture::*;
use crate::{
    event::Readiness,
    tcp::{Settings, connection::Fate},
};
use std::sync::Arc;

fn sender(settings: Settings) -> Fixture {
    Fixture::established_with(&settings, plain())
}

#[test]
fn nagle_cork_and_no_delay() {
    let nagle = Settings::default();
    let no_delay = Settings { no_delay: true, ..nagle.clone() };
    let cork = Settings { cork: true, ..nagle.clone() };
    let both = Settings { no_delay: true, cork: true, ..nagle.clone() };
    for (settings, expected) in [
        (nagle, vec![(1, 1, PSH_ACK, 10)]),
        (no_delay, vec![(1, 1, PSH_ACK, 10), (11, 1, PSH_ACK, 10)]),
        (cork, vec![]),
        (both, vec![]),
    ] {
        let mut fixture = sender(settings);
        fixture.write(10).unwrap();
        let mut sent = fixture.sent();
        fixture.write(10).unwrap();
        sent.extend(fixture.sent());
        assert_eq!(sent, expected);
    }
}

#[test]
fn nagle_lets_full_segments_go_and_the_rest_follow_the_acknowledgment() {
    let mut fixture = sender(Settings::default());
    fixture.write(10).unwrap();
    assert_eq!(fixture.sent(), [(1, 1, PSH_ACK, 10)]);
    fixture.write(1500).unwrap();
    assert_eq!(fixture.sent(), [(11, 1, ACK, 1000)]);
    fixture.accepts(&segment(1, 11, ACK));
    assert_eq!(fixture.sent(), [(1011, 1, PSH_ACK, 500)], "the small one is acknowledged");
}

#[test]
fn uncorking_sends_the_rest_at_once() {
    let mut fixture = sender(Settings { cork: true, ..Settings::default() });
    fixture.write(1010).unwrap();
    assert_eq!(fixture.sent(), [(1, 1, ACK, 1000)]);
    fixture.connection.set(fixture.now, &Arc::default());
    assert_eq!(fixture.sent(), [(1001, 1, PSH_ACK, 10)]);
}

#[test]
fn a_cork_holds_for_200_milliseconds() {
    let mut fixture = sender(Settings { cork: true, ..Settings::default() });
    fixture.write(10).unwrap();
    assert_eq!(fixture.sent(), []);
    assert_eq!(fixture.next_sent(), (200, vec![(1, 1, PSH_ACK, 10)]));
}

#[test]
fn a_shutdown_pulls_the_cork() {
    let mut fixture = sender(Settings { cork: true, ..Settings::default() });
    fixture.write(10).unwrap();
    fixture.connection.shutdown_send(fixture.now);
    assert_eq!(fixture.sent(), [(1, 1, FIN_PSH_ACK, 10)]);
}

#[test]
fn a_window_smaller_than_a_segment_is_not_used_until_it_has_lasted() {
    let mut fixture = sender(Settings::default());
    fixture.accepts(&segment(1, 1, ACK).window(300));
    fixture.write(2000).unwrap();
    assert_eq!(fixture.sent(), []);
    assert_eq!(fixture.next_sent(), (200, vec![(1, 1, ACK, 300)]));
    fixture.accepts(&segment(1, 301, ACK).window(1200));
    assert_eq!(fixture.sent(), [(301, 1, ACK, 1000)]);
}

#[test]
fn what_fits_a_small_window_whole_is_sent() {
    let mut fixture = sender(Settings::default());
    fixture.accepts(&segment(1, 1, ACK).window(300));
    fixture.write(200).unwrap();
    assert_eq!(fixture.sent(), [(1, 1, PSH_ACK, 200)]);
}

#[test]
fn a_peer_with_a_small_buffer_gets_halves_of_it() {
    let mut fixture = Fixture::syn_sent(&Settings::default());
    let mut syn_ack = segment(0, 1, SYN_ACK).window(900);
    syn_ack.options = plain();
    fixture.accepts(&syn_ack);
    fixture.write(2000).unwrap();
    assert_eq!(fixture.sent(), [(1, 1, ACK, 450), (451, 1, ACK, 450)]);
}

#[test]
fn old_segments_do_not_set_the_window() {
    let mut fixture = sender(Settings::default());
    fixture.accepts(&segment(1, 1, ACK).text(10).window(2000));
    assert_eq!(fixture.connection.snd.wnd, 2000);
    fixture.sent();
    fixture.write(500).unwrap();
    fixture.sent();
    fixture.accepts(&segment(11, 501, ACK).window(1500));
    assert_eq!(fixture.connection.snd.wnd, 1500);
    fixture.accepts(&segment(11, 1, ACK).window(9000));
    assert_eq!(fixture.connection.snd.wnd, 1500, "acknowledges less");
    fixture.accepts(&segment(11, 501, ACK).window(1600));
    assert_eq!(fixture.connection.snd.wnd, 1600, "the same again, with more room");
    fixture.accepts(&segment(11, 501, ACK).window(700));
    assert_eq!(fixture.connection.snd.wnd, 1600, "the same again, with less, was sent earlier");
}

fn receiver(limit: usize) -> Fixture {
    let max_segment = Some(1000);
    let settings = Settings { receive_limit: limit, max_segment, ..Settings::default() };
    Fixture::established_with(&settings, plain())
}

/// The window in the last segment that left.
fn window(fixture: &mut Fixture) -> u16 {
    fixture.segments(0).last().expect("something left").window
}

#[test]
fn the_window_shrinks_as_the_buffer_fills_and_its_edge_never_moves_back() {
    let mut fixture = receiver(10_000);
    let mut next = 1;
    while next < 10_001 {
        fixture.accepts(&segment(next, 1, ACK).text(1000));
        next += 1000;
        assert_eq!(u32::from(window(&mut fixture)), 10_001 - next);
    }
    // One octet more than there is room for.
    fixture.accepts(&segment(next, 1, ACK).text(1));
    assert_eq!(fixture.sent(), [(1, 10_001, ACK, 0)]);
    assert_eq!(fixture.connection.receive_queue(), 10_000);
}

#[test]
fn the_window_opens_by_steps_that_are_worth_it() {
    let mut fixture = receiver(10_000);
    for i in 0..10 {
        fixture.accepts(&segment(1 + i * 1000, 1, ACK).text(1000));
        fixture.sent();
    }
    assert_eq!((fixture.read(999), fixture.sent()), (Ok(999), vec![]));
    assert_eq!(fixture.read(1), Ok(1));
    assert_eq!(window(&mut fixture), 1000, "the least step is a segment");
    assert_eq!((fixture.read(999), fixture.sent()), (Ok(999), vec![]));
    assert_eq!(fixture.read(1), Ok(1));
    assert_eq!(window(&mut fixture), 2000, "doubled");
    assert_eq!(fixture.read(4000), Ok(4000));
    assert_eq!(window(&mut fixture), 6000);
    assert_eq!((fixture.read(9999), fixture.sent()), (Ok(4000), vec![]), "more than half");
}

#[test]
fn scaled_windows_are_rounded_up_and_what_they_promise_is_kept() {
    let settings = Settings { receive_limit: 1 << 20, ..Settings::default() };
    let mut fixture = Fixture::established_with(&settings, modern());
    let granule = 1u32 << fixture.connection.negotiated.receive_scale;
    assert_eq!(granule, 32);
    fixture.connection.rcv.read(1 << 20);
    let mut next = 1;
    let mut edge = 0;
    for len in [1, 7, 1000, 31, 33].into_iter().cycle().take(5000) {
        let text = segment(next, 1, ACK).text(len).stamped(1000, 0);
        fixture.arrive(&text);
        let outgoing = fixture.segments(0).pop();
        next = fixture.connection.rcv.nxt.0.wrapping_sub(IRS);
        let Some(outgoing) = outgoing else { continue };
        let told = next + u32::from(outgoing.window) * granule;
        assert!(told + granule > edge, "retracted by less than a granule");
        edge = edge.max(told);
        assert!(edge <= fixture.connection.rcv.accepted_edge(5).0.wrapping_sub(IRS) + 1);
    }
    assert_eq!(fixture.connection.info(fixture.now).receive_window, 0);
    assert!(fixture.connection.receive_queue() >= 1 << 20);
    assert!(fixture.connection.receive_queue() < (1 << 20) + granule as usize);
}

#[test]
fn the_window_grows_with_what_the_program_takes() {
    let settings = Settings { receive_limit: 1 << 20, ..Settings::default() };
    let mut fixture = Fixture::established_with(&settings, modern());
    let (mut next, mut windows) = (1, Vec::new());
    for _ in 0..20 {
        for _ in 0..20 {
            fixture.accepts(&segment(next, 1, ACK).text(1000).stamped(1000, 0));
            next += 1000;
        }
        fixture.read(1 << 20).unwrap();
        fixture.sent();
        windows.push(fixture.connection.info(fixture.now).receive_window);
    }
    // Twice what was read.
    assert!(windows[0] <= 65_535 && windows.is_sorted(), "{windows:?}");
    assert!((600_000..=800_000).contains(&windows[19]), "{windows:?}");
}

#[test]
fn a_byte_at_the_end_of_the_window_costs_little_at_first() {
    let mut fixture = Fixture::established_with(&Settings::default(), modern());
    let window = fixture.connection.info(fixture.now).receive_window;
    fixture.accepts(&segment(window, 1, ACK).text(1).stamped(1000, 0));
    assert!(fixture.pool.in_use() <= 128 << 10, "{}", fixture.pool.in_use());
}

#[test]
fn a_smaller_buffer_takes_nothing_back_that_was_offered() {
    let mut fixture = receiver(50_000);
    let settings = Settings { receive_limit: 2000, ..Settings::default() };
    fixture.connection.set(fixture.now, &Arc::new(settings.clone()));
    let edge = fixture.connection.rcv.accepted_edge(0);
    fixture.accepts(&segment(1, 1, ACK).text(1000));
    assert_eq!(window(&mut fixture), 49_000);
    assert_eq!(fixture.connection.rcv.accepted_edge(0), edge);
}

#[test]
fn writable_rises_once_a_third_is_free() {
    let settings = Settings { send_limit: 9000, ..Settings::default() };
    let mut fixture = sender(settings);
    assert_eq!(fixture.write(20_000), Ok(9000));
    assert_eq!((fixture.write(1), fixture.connection.send_room()), (Ok(0), 0));
    assert_eq!(fixture.sent().len(), 9);
    for (ack, readiness) in [
        (1001, Readiness::empty()),
        (2001, Readiness::empty()),
        (3001, Readiness::WRITABLE),
        (4001, Readiness::empty()),
    ] {
        fixture.accepts(&segment(1, ack, ACK));
        assert_eq!(fixture.connection.take_readiness(), readiness, "{ack}");
    }
}

#[test]
fn a_larger_limit_makes_room() {
    let mut settings = Settings {
        send_limit: 5000,
        receive_limit: 5000,
        max_segment: Some(1000),
        ..Settings::default()
    };
    let mut fixture = sender(settings.clone());
    fixture.write(9000).unwrap();
    fixture.sent();
    for i in 0..5 {
        fixture.accepts(&segment(1 + 1000 * i, 1, ACK).text(1000));
    }
    assert_eq!(window(&mut fixture), 0);
    let _ = fixture.connection.take_readiness();
    (settings.send_limit, settings.receive_limit) = (10_000, 10_000);
    fixture.connection.set(fixture.now, &Arc::new(settings.clone()));
    assert_eq!(fixture.connection.take_readiness(), Readiness::WRITABLE);
    assert_eq!(window(&mut fixture), 5000);
}

#[test]
fn readable_rises_with_text_in_order_only() {
    let mut fixture = receiver(50_000);
    fixture.accepts(&segment(11, 1, ACK).text(10));
    assert_eq!(fixture.connection.take_readiness(), Readiness::empty());
    fixture.accepts(&segment(1, 1, ACK).text(10));
    assert_eq!(fixture.connection.take_readiness(), Readiness::READABLE);
    assert_eq!(fixture.connection.receive_queue(), 20);
    fixture.accepts(&segment(1, 1, ACK));
    assert_eq!(fixture.connection.take_readiness(), Readiness::empty());
}

#[test]
fn offloaded_bursts_are_whole_segments_while_more_waits() {
    let mut fixture = sender(Settings::default());
    fixture.write(9_300).unwrap();
    assert_eq!(
        fixture.sent_up_to(4_500),
        [(1, 1, PSH_ACK, 4000), (4001, 1, PSH_ACK, 4000), (8001, 1, PSH_ACK, 1300)]
    );
    let mut fixture = sender(Settings::default());
    fixture.write(100_000).unwrap();
    assert_eq!(
        fixture.sent_up_to(65_536),
        [(1, 1, PSH_ACK, 5000), (5001, 1, PSH_ACK, 5000)],
        "the initial window, by halves"
    );
    let mut fixture = sender(Settings::default());
    fixture.write(2_500).unwrap();
    fixture.connection.shutdown_send(fixture.now);
    assert_eq!(fixture.sent_up_to(65_536), [(1, 1, FIN_PSH_ACK, 2500)]);
    assert_eq!(fixture.arrive(&segment(1, 2502, ACK)).fate, Fate::Alive);
}

#[test]
fn a_burst_waits_to_be_worth_it() {
    let mut fixture = sender(Settings::default());
    fixture.connection.congestion.window = 40_000;
    fixture.connection.congestion.threshold = 1000;
    fixture.write(100_000).unwrap();
    assert_eq!(fixture.sent_up_to(65_536), [(1, 1, PSH_ACK, 20_000), (20_001, 1, PSH_ACK, 20_000)]);
    fixture.accepts(&segment(1, 8001, ACK));
    assert_eq!(fixture.sent_up_to(65_536), []);
    fixture.accepts(&segment(1, 10_001, ACK));
    assert_eq!(fixture.sent_up_to(65_536), [(40_001, 1, PSH_ACK, 10_000)]);
}
