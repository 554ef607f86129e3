//! BBR over a path in numbers: a pipe of fixed rate and length, with a queue, that delivers each
//! segment in order or loses it.

use super::*;
use crate::{
    tcp::{delivery_rate::DeliveryRate, scoreboard::Departure, seq::Seq},
    time::{Duration, Instant},
};
use std::collections::VecDeque;

const SEGMENT: u32 = 1000;

/// 10 MB/s and 40 ms: the path holds 400,000 octets.
const RATE: u64 = 10_000_000;
const RTT: Duration = Duration::from_millis(40);
const PRODUCT: u32 = 400_000;

struct Path {
    now: Instant,
    bbr: Bbr,
    window: u32,
    in_flight: u32,
    next_departure: Instant,
    busy_until: Instant,
    /// When the acknowledgment comes, and when its segment left; `None`: it is lost then.
    flying: VecDeque<(Instant, Instant, bool)>,
    lost: u32,
    delivered: u64,
    /// Octets that wait at the bottleneck at most, and of how many segments one is lost besides.
    queue: u32,
    one_lost_in: u64,
    sent: u64,
    recovering_until: u64,
}

impl Path {
    fn new(queue: u32, one_lost_in: u64) -> Self {
        Self {
            now: Instant::from_millis(1000),
            bbr: Bbr::new(Instant::from_millis(1000), 10 * SEGMENT, 7),
            window: 10 * SEGMENT,
            in_flight: 0,
            next_departure: Instant::from_millis(1000),
            busy_until: Instant::ZERO,
            flying: VecDeque::new(),
            lost: 0,
            delivered: 0,
            queue,
            one_lost_in,
            sent: 0,
            recovering_until: 0,
        }
    }

    fn send(&mut self) {
        self.bbr.delivery.sent(self.now, SEGMENT, self.in_flight);
        self.in_flight += SEGMENT;
        self.sent += 1;
        let wire = |octets: u64| Duration::from_nanos(octets * 1_000_000_000 / RATE);
        let waiting = self.busy_until.since(self.now);
        let full = waiting > wire(self.queue.into());
        let lost = full || self.sent.is_multiple_of(self.one_lost_in);
        if !full {
            self.busy_until = self.busy_until.max(self.now) + wire(SEGMENT.into());
        }
        let arrives = self.busy_until.max(self.now) + RTT;
        self.flying.push_back((arrives, self.now, lost));
        let pace = u64::from(SEGMENT) * 1_000_000_000 / self.bbr.pacing_rate().max(1);
        self.next_departure = self.next_departure.max(self.now) + Duration::from_nanos(pace);
    }

    fn acknowledge(&mut self, left: Instant, lost: bool) {
        self.in_flight -= SEGMENT;
        if lost {
            self.lost += SEGMENT;
            self.recovering_until = self.sent;
            return;
        }
        self.delivered += u64::from(SEGMENT);
        let latest = Some(Departure { at: left, end: Seq(0) });
        let delivery: &mut DeliveryRate = &mut self.bbr.delivery;
        let mut sample = delivery.acknowledged(self.now, (SEGMENT, self.lost), latest, RTT);
        sample.rtt = Some(self.now.since(left));
        let step = Step {
            now: self.now,
            sample,
            in_flight: self.in_flight,
            segment: SEGMENT,
            limited: self.in_flight + SEGMENT > self.window,
            recovering: self.delivered / u64::from(SEGMENT) < self.recovering_until,
        };
        self.window = self.bbr.acknowledged(self.window, &step);
    }

    /// Goes on for so many milliseconds; octets delivered in them.
    fn run(&mut self, millis: u64) -> u64 {
        let (end, before) = (self.now + Duration::from_millis(millis), self.delivered);
        while self.now < end {
            let may_send = self.in_flight + SEGMENT <= self.window;
            let arrival = self.flying.front().map_or(Instant::NEVER, |flying| flying.0);
            let departure = if may_send { self.next_departure } else { Instant::NEVER };
            self.now = self.now.max(arrival.min(departure));
            if arrival <= departure {
                if let Some((_, left, lost)) = self.flying.pop_front() {
                    self.acknowledge(left, lost);
                }
            } else {
                self.send();
            }
        }
        self.delivered - before
    }
}

#[test]
fn startup_finds_the_bandwidth_and_drains_its_queue() {
    let mut path = Path::new(10 * PRODUCT, u64::MAX);
    path.run(1000);
    assert!(path.bbr.full.reached && path.bbr.state.probes_bandwidth(), "{:?}", path.bbr.state);
    let bandwidth = path.bbr.bandwidth();
    assert!(bandwidth.abs_diff(RATE) < RATE / 50, "{bandwidth}");
    assert_eq!(path.bbr.min_rtt.value().unwrap().as_millis(), 40);
    assert!(path.in_flight < PRODUCT / 4 * 6, "{}", path.in_flight);
}

#[test]
fn the_path_is_filled_and_the_queue_stays_short() {
    let mut path = Path::new(10 * PRODUCT, u64::MAX);
    path.run(2000);
    let delivered = path.run(10_000);
    assert!(delivered > RATE * 10 / 100 * 95, "{delivered}");
    assert_eq!(path.lost, 0);
}

#[test]
fn losses_that_are_not_congestion_cost_little() {
    for (one_in, percent) in [(1000, 95), (100, 90)] {
        let mut path = Path::new(10 * PRODUCT, one_in);
        path.run(2000);
        let delivered = path.run(10_000);
        assert!(delivered > RATE * 10 / 100 * percent, "1 in {one_in}: {delivered}");
    }
}

#[test]
fn a_short_queue_sets_the_long_term_bound() {
    let mut path = Path::new(PRODUCT / 10, u64::MAX);
    path.run(3000);
    let (delivered, lost) = (path.delivered, path.lost);
    path.run(10_000);
    assert_ne!(path.bbr.bounds.long_term, u32::MAX);
    let delivered = path.delivered - delivered;
    assert!(delivered > RATE * 10 / 100 * 80, "{delivered}");
    let lost = path.lost - lost;
    assert!(u64::from(lost) < delivered / 25, "{lost} of {delivered}");
}

#[test]
fn it_looks_for_a_shorter_round_trip_now_and_then() {
    let mut path = Path::new(10 * PRODUCT, u64::MAX);
    let mut seen = 0;
    let mut before = path.bbr.state;
    for _ in 0..3000 {
        path.run(10);
        if path.bbr.state == State::ProbeRtt && before != State::ProbeRtt {
            seen += 1;
        }
        before = path.bbr.state;
    }
    // Drained queues show the least round trip by themselves, so that few looks are needed.
    assert!(seen <= 6, "{seen}");
    assert_eq!(path.bbr.min_rtt.value().unwrap().as_millis(), 40);
}

#[test]
fn all_phases_of_probing_are_gone_through() {
    let mut path = Path::new(10 * PRODUCT, u64::MAX);
    let mut seen = Vec::new();
    for _ in 0..5000 {
        path.run(2);
        if seen.last() != Some(&path.bbr.state) {
            seen.push(path.bbr.state);
        }
    }
    let cycle = [State::Down, State::Cruise, State::Refill, State::Up];
    assert!(seen.starts_with(&[State::Startup, State::Drain]), "{seen:?}");
    assert!(seen.windows(4).any(|part| part == cycle), "{seen:?}");
}

#[test]
fn a_timeout_empties_the_window_and_gives_it_back() {
    let mut path = Path::new(10 * PRODUCT, u64::MAX);
    path.run(2000);
    let before = path.window;
    path.window = path.bbr.timed_out(before, 0, SEGMENT);
    assert_eq!(path.window, SEGMENT);
    assert_eq!(path.bbr.recovered(path.window), before);
    assert_eq!(path.bbr.recovered(SEGMENT), SEGMENT, "once");
}
