//! Loss, found and repaired (RFC 6298, RFC 6582, RFC 6675, RFC 8985).

use super::fixture::*;
use crate::{
    request::Error,
    tcp::{Settings, connection::Fate, connection::IcmpError, info::Repair},
};
use narrows_wire::tcp_options::Options;

/// Ten full segments are in flight, for 100 ms.
fn flight(peer: Options) -> Fixture {
    let mut fixture = Fixture::established_after(100, &Settings::default(), peer);
    fixture.write(1).unwrap();
    fixture.sent();
    fixture.advance_ms(100);
    fixture.accepts(&segment(1, 2, ACK).stamped(1000, 0));
    fixture.write(20_000).unwrap();
    assert_eq!(fixture.sent_up_to(65_536), [(2, 1, PSH_ACK, 5000), (5002, 1, PSH_ACK, 5000)]);
    fixture.advance_ms(100);
    fixture
}

fn ack(number: u32) -> super::pipe::OwnedSegment {
    segment(1, number, ACK)
}

fn window(fixture: &Fixture) -> u32 {
    fixture.connection.congestion.window
}

#[test]
fn three_sacked_segments_beyond_a_hole() {
    let mut fixture = flight(with_sack());
    fixture.accepts(&ack(2).sack(&[(1002, 2002)]));
    assert_eq!(fixture.sent(), [(10_002, 1, ACK, 1000)], "limited transmit");
    fixture.accepts(&ack(2).sack(&[(1002, 3002)]));
    assert_eq!(fixture.sent(), [(11_002, 1, ACK, 1000)]);
    fixture.accepts(&ack(2).sack(&[(1002, 4002)]));
    assert_eq!(fixture.sent(), [(2, 1, ACK, 1000)], "the hole");
    // CUBIC: seven tenths, by proportional rate reduction.
    assert_eq!(fixture.connection.congestion.threshold, 7000);
    for i in 0..6 {
        fixture.accepts(&ack(2).sack(&[(1002, 5002 + i * 1000)]));
    }
    let sent = fixture.sent();
    assert!(sent.len() <= 4 && sent.iter().all(|segment| segment.0 >= 12_002), "{sent:?}");
    fixture.accepts(&ack(12_002));
    assert_eq!(window(&fixture), 7000);
    assert_eq!(fixture.connection.info(fixture.now).retransmissions, 1);
}

#[test]
fn several_holes_are_filled_without_a_timeout() {
    let mut fixture = flight(with_sack());
    // 1st, 3rd and 5th are lost.
    fixture.accepts(&ack(2).sack(&[(5002, 10_002), (3002, 4002), (1002, 2002)]));
    let mut again = fixture.sent();
    for number in [1002, 3002] {
        fixture.advance_ms(10);
        let number = if number == 1002 { 2002 } else { 4002 };
        fixture.accepts(&ack(number).sack(&[(5002, 10_002)]));
        again.extend(fixture.sent());
    }
    let starts: Vec<_> = again.iter().map(|segment| segment.0).filter(|at| *at < 10_002).collect();
    assert_eq!(starts, [2, 2002, 4002]);
}

#[test]
fn a_lost_retransmission_is_found_by_time() {
    let mut fixture = flight(with_sack());
    fixture.accepts(&ack(2).sack(&[(1002, 5002)]));
    assert_eq!(fixture.sent()[0], (2, 1, ACK, 1000));
    fixture.advance_ms(10);
    // More arrives that was sent after the first retransmission…
    fixture.accepts(&ack(2).sack(&[(1002, 10_002)]));
    let sent = fixture.sent();
    assert!(!sent.is_empty() && sent.iter().all(|segment| segment.0 >= 10_002));
    fixture.advance_ms(100);
    // …a round trip later: so that one is lost, too.
    fixture.accepts(&ack(2).sack(&[(1002, 11_002)]));
    assert_eq!(fixture.sent()[0], (2, 1, ACK, 1000));
}

#[test]
fn new_reno_repairs_a_hole_a_round_trip() {
    let mut fixture = flight(plain());
    for _ in 0..2 {
        fixture.accepts(&ack(2));
    }
    assert_eq!(fixture.sent().len(), 2, "limited transmit");
    fixture.accepts(&ack(2));
    assert_eq!(fixture.sent(), [(2, 1, ACK, 1000)]);
    // A partial acknowledgment shows the next hole.
    fixture.accepts(&ack(3002));
    assert_eq!(fixture.sent()[0], (3002, 1, ACK, 1000));
    fixture.accepts(&ack(12_002));
    assert_eq!(window(&fixture), 7000);
    assert!(fixture.connection.recovery.is_open());
}

#[test]
fn window_updates_and_text_are_no_duplicates() {
    let mut fixture = flight(plain());
    for i in 0..5 {
        let next = 1 + 10 * u32::from(i);
        fixture.accepts(&segment(next, 2, ACK).window(51_000 + i * 100));
        fixture.accepts(&segment(next, 2, ACK).text(10).window(51_000 + i * 100));
    }
    assert!(fixture.connection.recovery.is_open());
}

#[test]
fn a_timeout_begins_slow_start_over() {
    let mut fixture = flight(plain());
    let (_, sent) = fixture.next_sent();
    assert_eq!(sent, [(2, 1, ACK, 1000)]);
    assert_eq!((window(&fixture), fixture.connection.congestion.threshold), (1000, 7000));
    fixture.advance_ms(100);
    fixture.accepts(&ack(1002));
    assert_eq!(fixture.sent(), [(10_002, 1, ACK, 1000), (11_002, 1, ACK, 1000)], "RFC 5682");
    fixture.accepts(&ack(1002));
    assert_eq!(fixture.sent(), [(1002, 1, ACK, 1000)], "the loss was real");
    // A second timeout for the same flight does not halve the threshold again.
    fixture.next_sent();
    assert_eq!(fixture.connection.congestion.threshold, 7000);
    // The peer had everything but the first.
    fixture.accepts(&ack(12_002));
    assert!(fixture.connection.recovery.is_open());
    assert!(fixture.sent().iter().all(|segment| segment.0 >= 12_002));
}

/// The timeout comes, and the oldest segment is sent again.
fn timed_out(peer: Options) -> Fixture {
    let mut fixture = flight(peer);
    let before = fixture.connection.info(fixture.now).retransmissions;
    while fixture.connection.info(fixture.now).retransmissions == before
        || fixture.connection.recovery.repair() != Repair::Timeout
    {
        let next = fixture.connection.next_timeout().expect("a timer runs");
        fixture.now = fixture.now.max(next);
        fixture.connection.handle_timeout(fixture.now, &mut fixture.pool);
        fixture.sent();
    }
    fixture
}

/// RFC 5682: the flight was late, not lost.
#[test]
fn a_needless_timeout_is_found_without_timestamps() {
    for peer in [plain(), with_sack()] {
        let mut fixture = timed_out(peer);
        let all = fixture.connection.snd.nxt.0.wrapping_sub(ISS);
        fixture.accepts(&ack(1002));
        let sent = fixture.sent();
        assert!(!sent.is_empty() && sent.iter().all(|segment| segment.0 >= all), "{sent:?}");
        fixture.accepts(&ack(2002));
        assert_eq!(fixture.connection.recovery.repair(), Repair::Open);
        assert!(window(&fixture) >= 10_000, "{}", window(&fixture));
        let sent = fixture.sent();
        assert!(sent.iter().all(|segment| segment.0 >= all), "{sent:?}");
    }
}

#[test]
fn a_timeout_with_a_real_loss_repairs_it() {
    let mut fixture = timed_out(plain());
    fixture.accepts(&ack(1002));
    let new = fixture.sent();
    assert_eq!(new.len(), 2, "two new segments: {new:?}");
    // Those arrive, and what is before them does not.
    fixture.accepts(&ack(1002));
    let again = fixture.sent();
    assert!(again.iter().any(|segment| segment.0 == 1002), "{again:?}");
    assert_eq!(fixture.connection.recovery.repair(), Repair::Timeout);
}

#[test]
fn a_lost_tail_is_probed_before_the_timeout() {
    let mut fixture = Fixture::established_after(20, &Settings::default(), with_sack());
    fixture.write(1).unwrap();
    fixture.sent();
    fixture.advance_ms(20);
    fixture.accepts(&ack(2));
    fixture.write(3000).unwrap();
    assert_eq!(fixture.sent_up_to(65_536), [(2, 1, PSH_ACK, 3000)]);
    let (waited, sent) = fixture.next_sent();
    assert!(waited < 100, "{waited}");
    assert_eq!(sent, [(2002, 1, PSH_ACK, 1000)]);
    // The first of three was lost, too: the probe's report shows it.
    fixture.advance_ms(20);
    fixture.accepts(&ack(2).sack(&[(1002, 3002)]));
    let sent = match fixture.sent() {
        sent if sent.is_empty() => fixture.next_sent().1,
        sent => sent,
    };
    assert_eq!(sent, [(2, 1, ACK, 1000)]);
    // Only one probe for a flight: then it is the timeout's turn.
    let (waited, _) = fixture.next_sent();
    assert!(waited > 150, "{waited}");
}

#[test]
fn a_probe_that_repaired_a_loss_slows_down() {
    for (answers, reduced) in
        [(vec![ack(3002).sack(&[(2002, 3002)])], false), (vec![ack(3002), ack(4002)], true)]
    {
        let mut fixture = Fixture::established_after(20, &Settings::default(), with_sack());
        fixture.write(1).unwrap();
        fixture.sent();
        fixture.advance_ms(20);
        fixture.accepts(&ack(2));
        fixture.write(3000).unwrap();
        fixture.sent_up_to(65_536);
        fixture.next_sent();
        fixture.write(1000).unwrap();
        fixture.sent();
        for answer in &answers {
            fixture.accepts(answer);
        }
        assert_eq!(fixture.connection.congestion.threshold < 1 << 29, reduced);
    }
}

#[test]
fn a_needless_retransmission_gives_the_window_back() {
    let before = 10_000;
    // By D-SACK, by the echoed timestamp, or not at all.
    for (answer, given_back) in [
        (ack(10_002).stamped(1000, 10_400).sack(&[(2, 1002)]), true),
        (ack(10_002).stamped(1000, 10_250), true),
        (ack(10_002).stamped(1000, 10_300), false),
    ] {
        let mut fixture = flight(modern());
        assert_eq!(window(&fixture), before);
        fixture.accepts(&ack(2).stamped(1000, 10_200).sack(&[(1002, 8002)]));
        let again = fixture.sent();
        assert_eq!(again[0].0, 2);
        fixture.advance_ms(100);
        let retransmitted: u32 = again.iter().filter(|s| s.0 < 10_002).map(|s| s.3 as u32).sum();
        let mut answer = answer;
        if let Some((left, _)) = answer.options.sack.as_slice().first() {
            let left = *left;
            answer.options.sack = Default::default();
            answer.options.sack.push(left, left.wrapping_add(retransmitted));
        }
        fixture.accepts(&answer);
        assert_eq!(window(&fixture) >= before, given_back, "{answer:?}");
    }
}

#[test]
fn blocks_that_make_no_sense_change_nothing() {
    for blocks in [
        &[(20_002, 21_002)][..],
        &[(5002, 4002)],
        &[(5002, 5002)],
        &[(10_002, 90_000)],
        &[(0x8000_0000, 0x8000_1000)],
        &[(2, 2)],
    ] {
        let mut fixture = flight(with_sack());
        for _ in 0..4 {
            fixture.accepts(&ack(2).sack(blocks));
        }
        assert_eq!(fixture.connection.recovery.board.sacked(), 0, "{blocks:?}");
        assert_eq!(fixture.sent(), []);
    }
}

#[test]
fn a_path_that_takes_less_gets_smaller_segments_again() {
    let mut fixture = flight(plain());
    let needed = |mtu| IcmpError::FragmentationNeeded { mtu };
    for (sequence, mtu, mss) in
        [(1, 600, 1000), (20_002, 600, 1000), (2, 1500, 1000), (2, 600, 560), (2, 68, 512)]
    {
        let fate = fixture.icmp_error(ISS.wrapping_add(sequence), needed(mtu));
        let info = fixture.connection.info(fixture.now);
        assert_eq!((fate, info.send_mss), (Fate::Alive, mss), "{sequence} {mtu}");
    }
    let sent = fixture.sent();
    assert_eq!(sent[0], (2, 1, ACK, 512));
    assert_eq!(window(&fixture), 10_000, "no congestion");
    let error = IcmpError::Unreachable(Error::HostUnreachable);
    assert_eq!(fixture.icmp_error(ISS, error), Fate::Alive);
}

#[test]
fn after_an_idle_time_the_window_begins_again() {
    let mut fixture = flight(plain());
    fixture.accepts(&ack(10_002));
    fixture.sent_up_to(65_536);
    fixture.accepts(&ack(20_002));
    assert!(window(&fixture) >= 20_000);
    fixture.advance_ms(60_000);
    fixture.write(40_000).unwrap();
    assert_eq!(
        fixture.sent_up_to(65_536),
        [(20_002, 1, PSH_ACK, 5000), (25_002, 1, PSH_ACK, 5000)]
    );
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    let mut fixture = Fixture::established();
    let mut next = 1;
    for _ in 0..100 {
        fixture.write(1000).unwrap();
        fixture.sent();
        next += 1000;
        fixture.accepts(&ack(next));
    }
    assert_eq!(window(&fixture), 10_000);
}
