use super::*;
use crate::tcp::seq::Seq;

const AT: fn(u64) -> Instant = Instant::from_millis;
const MS: fn(u64) -> Duration = Duration::from_millis;

fn left(millis: u64) -> Option<Departure> {
    Some(Departure { at: AT(millis), end: Seq(0) })
}

/// 10,000 octets each 10 ms, acknowledged 100 ms later: a megabyte a second.
fn steady(delivery: &mut DeliveryRate) -> Sample {
    let mut sample = Sample::default();
    for step in 0..40u64 {
        let now = step * 10;
        if now >= 100 {
            sample = delivery.acknowledged(AT(now), (10_000, 0), left(now - 100), MS(100));
        }
        let in_flight = u32::try_from(step.min(9)).unwrap() * 10_000;
        delivery.sent(AT(now), 10_000, in_flight);
    }
    sample
}

#[test]
fn a_steady_flow_is_measured_over_a_round_trip() {
    let sample = steady(&mut DeliveryRate::default());
    assert_eq!(sample.rate, Some(1_000_000));
    assert_eq!((sample.delivered, sample.in_flight, sample.lost), (100_000, 100_000, 0));
    assert!(!sample.app_limited);
}

#[test]
fn squeezed_acknowledgments_do_not_make_the_path_faster() {
    let mut delivery = DeliveryRate::default();
    for step in 0..10 {
        delivery.sent(AT(step * 10), 10_000, u32::try_from(step).unwrap() * 10_000);
    }
    // All come at once, each for itself: the departures took 90 ms.
    for step in 0..10u64 {
        let sample = delivery.acknowledged(AT(200), (10_000, 0), left(step * 10), MS(100));
        assert!(sample.rate.is_none_or(|rate| rate <= 1_000_000), "{step}: {sample:?}");
    }
}

#[test]
fn a_flow_with_nothing_to_send_says_so_until_that_is_delivered() {
    let mut delivery = DeliveryRate::default();
    delivery.sent(AT(0), 1000, 0);
    delivery.limit(1000);
    delivery.sent(AT(1), 1000, 1000);
    let sample = delivery.acknowledged(AT(100), (1000, 0), left(0), MS(100));
    assert!(!sample.app_limited, "it left before");
    let sample = delivery.acknowledged(AT(101), (1000, 0), left(1), MS(100));
    assert!(sample.app_limited && !delivery.is_app_limited());
    delivery.sent(AT(102), 1000, 0);
    let sample = delivery.acknowledged(AT(202), (1000, 0), left(102), MS(100));
    assert!(!sample.app_limited);
}

#[test]
fn losses_are_counted_since_departure() {
    let mut delivery = DeliveryRate::default();
    delivery.sent(AT(0), 5000, 0);
    delivery.sent(AT(1), 5000, 5000);
    // The scoreboard's count wraps, and did not begin with this.
    let before = u32::MAX - 500;
    delivery.acknowledged(AT(49), (0, before), None, MS(50));
    let lost = before.wrapping_add(2000);
    let sample = delivery.acknowledged(AT(50), (1000, lost), left(0), MS(50));
    assert_eq!((sample.lost, sample.newly_lost, sample.in_flight), (2000, 2000, 5000));
    let lost = lost.wrapping_add(1000);
    let sample = delivery.acknowledged(AT(51), (1000, lost), left(1), MS(50));
    assert_eq!((sample.lost, sample.in_flight), (3000, 10_000));
    delivery.sent(AT(52), 1000, 6000);
    let sample = delivery.acknowledged(AT(102), (1000, lost), left(52), MS(50));
    assert_eq!(sample.lost, 0);
}

#[test]
fn what_was_overtaken_gives_no_sample() {
    let mut delivery = DeliveryRate::default();
    delivery.sent(AT(0), 1000, 0);
    delivery.sent(AT(10), 1000, 1000);
    assert!(delivery.acknowledged(AT(60), (1000, 0), left(10), MS(50)).rate.is_some());
    let late = delivery.acknowledged(AT(70), (1000, 0), left(0), MS(50));
    assert_eq!((late.rate, late.newly_delivered), (None, 1000));
}

#[test]
fn a_peer_that_answers_too_soon_gives_no_rate() {
    let mut delivery = DeliveryRate::default();
    delivery.sent(AT(0), 1000, 0);
    assert_eq!(delivery.acknowledged(AT(1), (1000, 0), left(0), MS(50)).rate, None);
    delivery.sent(AT(2), 1000, 0);
    let sample = delivery.acknowledged(AT(2), (1000, 0), left(2), Duration::ZERO);
    assert_eq!(sample.rate, None, "no time at all");
}

#[test]
fn memory_is_bounded_and_given_back() {
    let mut delivery = DeliveryRate::default();
    for step in 0..2 * MAX_SNAPSHOTS as u64 {
        delivery.sent(AT(step), 1000, 1000);
    }
    assert_eq!(delivery.snapshots.len(), MAX_SNAPSHOTS);
    delivery.emptied();
    assert!(delivery.snapshots.capacity() <= KEPT_SNAPSHOTS);
}
