//! What is believed of the path.

use super::{Bbr, State, Step, percent};
use crate::{tcp::delivery_rate::Sample, time::Instant};

/// BBR.LossThresh: more than this part of a flight lost is too much, in percent.
const LOSS_THRESHOLD: u64 = 2;
/// BBR.Beta: what is left of a bound after a round with losses, in percent.
pub(super) const BETA: u64 = 70;
/// Rounds in one of the two halves of the filter of aggregation (BBR.ExtraAckedFilterLen is 10).
const AGGREGATION_ROUNDS: u8 = 5;

/// §5.5.2: rounds as packets make them. One is over when something arrives that left after it
/// began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rounds {
    next: u64,
    /// This acknowledgment begins one.
    pub began: bool,
}

impl Rounds {
    pub fn update(&mut self, sample: &Sample, delivered: u64) {
        self.began = sample.delivered > 0 && sample.prior_delivered >= self.next;
        if self.began {
            self.next = delivered;
        }
    }

    pub fn begin(&mut self, delivered: u64) {
        self.next = delivered;
    }
}

/// §5.5.5: the most of this cycle of probing and the one before, octets a second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MaxBandwidth([u64; 2]);

impl MaxBandwidth {
    pub fn max(&self) -> u64 {
        self.0[0].max(self.0[1])
    }

    pub fn note(&mut self, rate: u64) {
        self.0[1] = self.0[1].max(rate);
    }

    /// A cycle is over; one without a sample tells nothing.
    pub fn advance(&mut self) {
        if self.0[1] != 0 {
            self.0 = [self.0[1], 0];
        }
    }
}

/// §5.5.10.3: what the round under way has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Signals {
    next: u64,
    pub round_began: bool,
    /// Octets, or a mark of ECN, since the round began.
    pub lost: u64,
    pub marked: bool,
    pub bandwidth: u64,
    pub in_flight: u64,
}

impl Signals {
    pub fn note_loss(&mut self, lost: u32, delivered: u64) {
        if self.lost == 0 && !self.marked {
            self.next = delivered;
        }
        self.lost += u64::from(lost);
    }

    /// Was more lost in this round than a path with room may lose?
    fn is_congested(&self) -> bool {
        self.marked || self.lost * 100 > (self.in_flight + self.lost) * LOSS_THRESHOLD
    }

    pub fn forget_losses(&mut self) {
        (self.lost, self.marked) = (0, false);
    }

    pub fn update(&mut self, sample: &Sample, delivered: u64) {
        self.bandwidth = self.bandwidth.max(sample.rate.unwrap_or(0));
        self.in_flight = self.in_flight.max(sample.delivered);
        self.round_began = sample.delivered > 0 && sample.prior_delivered >= self.next;
        if self.round_began {
            self.next = delivered;
        }
    }

    pub fn advance(&mut self, sample: &Sample) {
        if self.round_began {
            self.bandwidth = sample.rate.unwrap_or(0);
            self.in_flight = sample.delivered;
        }
    }

    pub fn reset(&mut self) {
        self.forget_losses();
        (self.bandwidth, self.in_flight) = (0, 0);
    }
}

/// §5.5.10: what is too much. The maximum of the type: nothing is known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Until the next probe: octets a second, and in flight.
    pub bandwidth: u64,
    pub short_term: u32,
    /// In flight, as the last probe showed.
    pub long_term: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bandwidth: u64::MAX, short_term: u32::MAX, long_term: u32::MAX }
    }
}

impl Bounds {
    pub fn forget_short_term(&mut self) {
        (self.bandwidth, self.short_term) = (u64::MAX, u32::MAX);
    }
}

/// §5.5.9: how much more than expected is acknowledged at times, since peers and links hold
/// acknowledgments back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Aggregation {
    since: Instant,
    delivered: u64,
    /// The most of these rounds and of those before.
    extra: [u32; 2],
    rounds: u8,
}

impl Aggregation {
    pub fn new(now: Instant) -> Self {
        Self { since: now, delivered: 0, extra: [0; 2], rounds: 0 }
    }

    pub fn extra(&self) -> u32 {
        self.extra[0].max(self.extra[1])
    }
}

impl Bbr {
    /// §5.5.6
    pub(super) fn update_bandwidth(&mut self, step: &Step) {
        if let Some(rate) = step.sample.rate
            && (!step.sample.app_limited || rate >= self.bandwidth.max())
        {
            self.bandwidth.note(rate);
        }
    }

    /// §5.5.10.3: once a round with losses that are not of our own making.
    pub(super) fn adapt_bounds(&mut self, window: u32) {
        if !self.signals.round_began {
            return;
        }
        if self.signals.is_congested() && !self.state.presses() {
            let bounds = &mut self.bounds;
            if bounds.bandwidth == u64::MAX {
                bounds.bandwidth = self.bandwidth.max();
            }
            if bounds.short_term == u32::MAX {
                bounds.short_term = window;
            }
            bounds.bandwidth = self.signals.bandwidth.max(bounds.bandwidth / 100 * BETA).max(1);
            let in_flight = u32::try_from(self.signals.in_flight).unwrap_or(u32::MAX - 1);
            bounds.short_term = in_flight.max(percent(bounds.short_term, BETA));
        }
        self.signals.forget_losses();
    }

    /// §5.5.9
    pub(super) fn update_aggregation(&mut self, window: u32, step: &Step) {
        if step.sample.newly_delivered == 0 {
            return;
        }
        let all = &mut self.aggregation;
        if self.rounds.began {
            all.rounds = all.rounds.saturating_add(1);
            let long = if self.full.reached { AGGREGATION_ROUNDS } else { 1 };
            if all.rounds >= long {
                (all.rounds, all.extra) = (0, [all.extra[1], 0]);
            }
        }
        let bandwidth = self.bandwidth.max().min(self.bounds.bandwidth);
        let elapsed = step.now.since(all.since).as_nanos();
        let expected = u128::from(bandwidth) * elapsed / 1_000_000_000;
        let mut expected = u64::try_from(expected).unwrap_or(u64::MAX);
        if all.delivered <= expected {
            (all.since, all.delivered, expected) = (step.now, 0, 0);
        }
        all.delivered = all.delivered.saturating_add(step.sample.newly_delivered.into());
        let extra = u32::try_from(all.delivered.saturating_sub(expected)).unwrap_or(u32::MAX);
        all.extra[1] = all.extra[1].max(extra.min(window));
    }

    /// §5.5.10.2: was more lost of this flight than a path with room would lose?
    pub(super) fn is_too_much_lost(&self, sample: &Sample) -> bool {
        sample.lost > 0 && sample.lost * 100 > u64::from(sample.in_flight) * LOSS_THRESHOLD
    }

    /// §5.5.10.2: this much in flight was too much.
    pub(super) fn too_much_in_flight(&mut self, window: u32, step: &Step) {
        self.cycle.samples = false;
        if !step.sample.app_limited {
            let target = percent(self.target(window), BETA);
            self.bounds.long_term = step.sample.in_flight.max(target);
        }
        if self.state == State::Up {
            self.begin_down(step.now);
        }
    }

    /// What is meant to be in flight.
    pub(super) fn target(&self, window: u32) -> u32 {
        self.product(100).unwrap_or(window).min(window)
    }
}
