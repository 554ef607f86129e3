//! BBR version 3 (draft-ietf-ccwg-bbr): sends at the rate that the path was seen to deliver, with
//! about as much in flight as the path itself holds. A loss is not taken for congestion by
//! itself; more than 2 % of a flight is.
//!
//! | file | what is there |
//! |---|---|
//! | `mod` | the state, and the order of what an acknowledgment does (§5.2.3) |
//! | `model` | what is believed of the path: bandwidth, round trip, what is too much (§5.5) |
//! | `startup` | finding the bandwidth, and draining the queue that this made (§5.3.1, §5.3.2) |
//! | `probe_bandwidth` | asking now and then for more (§5.3.3) |
//! | `probe_rtt` | emptying the path now and then, to see how short it is (§5.3.4) |
//! | `control` | pacing rate and window (§5.6) |
//!
//! Differences from the draft: losses are judged once for each acknowledgment, by the sample of
//! the latest segment that arrived, as the draft's authors do in their own code as well, not also
//! once for each lost segment. The short-term bounds follow rounds that lost more than those 2 %, not
//! every round with a loss: the draft's rule takes a percent of the rate at each of them, the pacing
//! margin, so that one loss in a thousand segments costs a fifth of a path that nobody else
//! uses. A mark of ECN counts as too much (the draft has none of ECN).

mod control;
mod model;
mod probe_bandwidth;
mod probe_rtt;
mod startup;

use crate::{
    tcp::delivery_rate::{DeliveryRate, Sample},
    time::{Duration, Instant},
};
use model::{Aggregation, Bounds, MaxBandwidth, Rounds, Signals};
use probe_bandwidth::Cycle;
use probe_rtt::MinRtt;
use startup::FullBandwidth;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    /// §5.3.3: the four phases in their order.
    Down,
    Cruise,
    Refill,
    Up,
    ProbeRtt,
}

impl State {
    fn probes_bandwidth(self) -> bool {
        matches!(self, Self::Down | Self::Cruise | Self::Refill | Self::Up)
    }

    /// Losses now are of our own making, and tell how much is too much.
    fn presses(self) -> bool {
        matches!(self, Self::Startup | Self::Refill | Self::Up)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tcp) struct Bbr {
    pub delivery: DeliveryRate,
    state: State,
    /// Octets a second.
    pacing_rate: u64,
    /// No round trip has been measured that the rate could come from.
    rate_assumed: bool,
    rounds: Rounds,
    bandwidth: MaxBandwidth,
    signals: Signals,
    bounds: Bounds,
    aggregation: Aggregation,
    full: FullBandwidth,
    cycle: Cycle,
    min_rtt: MinRtt,
    /// The window before something made it smaller for a while.
    prior_window: u32,
    idle_restart: bool,
    /// For the waits between probes, so that flows don't probe together.
    noise: u32,
}

/// An acknowledgment, and the connection as it is after it.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Step {
    pub now: Instant,
    pub sample: Sample,
    pub in_flight: u32,
    /// Payload of a full-sized segment.
    pub segment: u32,
    /// Was the window what limited the flight?
    pub limited: bool,
    /// Is a loss being repaired?
    pub recovering: bool,
}

impl Bbr {
    /// `seed` is any number that others can't know.
    pub fn new(now: Instant, window: u32, seed: u32) -> Self {
        Self {
            delivery: DeliveryRate::default(),
            state: State::Startup,
            pacing_rate: control::first_rate(window, None),
            rate_assumed: true,
            rounds: Rounds::default(),
            bandwidth: MaxBandwidth::default(),
            signals: Signals::default(),
            bounds: Bounds::default(),
            aggregation: Aggregation::new(now),
            full: FullBandwidth::default(),
            cycle: Cycle::new(now),
            min_rtt: MinRtt::new(now),
            prior_window: 0,
            idle_restart: false,
            noise: seed | 1,
        }
    }

    pub fn pacing_rate(&self) -> u64 {
        self.pacing_rate
    }

    /// §5.2.3: the window after an acknowledgment.
    pub fn acknowledged(&mut self, window: u32, step: &Step) -> u32 {
        self.rounds.update(&step.sample, self.delivery.delivered());
        self.cycle.count_round(&self.rounds);
        self.note_loss(step.sample.newly_lost);
        self.signals.update(&step.sample, self.delivery.delivered());
        self.update_bandwidth(step);
        self.adapt_bounds(window);
        self.update_aggregation(window, step);
        self.check_full_bandwidth(step);
        self.check_startup_done(step);
        self.check_drain(step);
        self.update_cycle(window, step);
        self.update_min_rtt(step);
        self.begin(window, self.min_rtt.value());
        let window = self.check_probe_rtt(window, step);
        self.signals.advance(&step.sample);
        self.set_pacing_rate(step.segment);
        self.next_window(window, step)
    }

    /// §5.4.1: sending begins again after a pause.
    pub fn restart(&mut self, now: Instant) {
        if !self.delivery.is_app_limited() {
            return;
        }
        self.idle_restart = true;
        self.aggregation = Aggregation::new(now);
        if self.state.probes_bandwidth() {
            self.pace_with(100);
        }
    }

    /// §5.6.4.4: a timeout. What was in flight is gone, as far as is known.
    pub fn timed_out(&mut self, window: u32, in_flight: u32, segment: u32) -> u32 {
        self.save_window(window);
        in_flight.saturating_add(segment)
    }

    /// Losses are repaired, or were none.
    pub fn recovered(&mut self, window: u32) -> u32 {
        if self.state == State::ProbeRtt { window } else { self.restored(window) }
    }

    /// A router marked something.
    pub fn marked(&mut self) {
        self.signals.note_loss(0, self.delivery.delivered());
        self.signals.marked = true;
    }

    /// Losses were none: what was concluded from them is forgotten.
    pub fn undo(&mut self) {
        self.bounds.forget_short_term();
        self.signals.forget_losses();
    }

    fn note_loss(&mut self, lost: u32) {
        if lost > 0 {
            self.signals.note_loss(lost, self.delivery.delivered());
            self.full.count_loss();
        }
    }

    /// The window is about to be made smaller for a while.
    fn save_window(&mut self, window: u32) {
        self.prior_window = self.prior_window.max(window);
    }

    fn restored(&mut self, window: u32) -> u32 {
        window.max(core::mem::take(&mut self.prior_window))
    }

    /// Below `bound`. Flows must not agree, and an observer gains nothing by foreseeing: a few
    /// shifts will do (Marsaglia's xorshift).
    fn random(&mut self, bound: u64) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 17;
        self.noise ^= self.noise << 5;
        (u64::from(self.noise) * bound) >> 32
    }

    /// §5.5.1: octets that the path holds, times `gain` in percent; `None` before it is known.
    fn product(&self, gain: u64) -> Option<u32> {
        let rtt = self.min_rtt.value()?;
        Some(product(self.bandwidth(), rtt, gain))
    }

    /// Octets a second, as far as is prudent.
    pub fn bandwidth(&self) -> u64 {
        self.bandwidth.max().min(self.bounds.bandwidth)
    }
}

/// What `rate` delivers in `rtt`, times `gain` in percent.
fn product(rate: u64, rtt: Duration, gain: u64) -> u32 {
    let octets = u128::from(rate) * rtt.as_nanos() / 1_000_000_000 * u128::from(gain) / 100;
    u32::try_from(octets).unwrap_or(u32::MAX)
}

fn percent(value: u32, part: u64) -> u32 {
    u32::try_from(u64::from(value) * part / 100).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
