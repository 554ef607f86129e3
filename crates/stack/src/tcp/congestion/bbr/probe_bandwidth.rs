//! ProbeBW (§5.3.3): Down drains what the last probe left, Cruise leaves room for others, Refill
//! fills the path without a queue, Up asks for more until losses or a bandwidth that stays say
//! that there is none.

use super::{Bbr, State, Step, model::Rounds, percent};
use crate::time::{Duration, Instant};

/// A probe is due after two to three seconds…
const WAIT_MILLIS: u64 = 2000;
const WAIT_RANDOM_MILLIS: u64 = 1000;
/// …or sooner, when Reno would have won back a loss: a round for each segment in flight (§5.3.3.5),
/// of no more than this many.
const MOST_RENO_ROUNDS: u32 = 63;
/// BBR.Headroom: left free of what the path was seen to hold, in percent.
const HEADROOM: u64 = 15;
/// Steps of growth double at most so often: more is all that a window can be.
const MOST_DOUBLINGS: u32 = 16;

/// What the acknowledgments that come in now tell about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckPhase {
    /// Nothing of interest.
    Cruising,
    Refilling,
    /// The first of what a probe sent will come,
    Starting,
    /// are coming,
    Feedback,
    /// and the last.
    Stopping,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cycle {
    /// Since Down began.
    began: Instant,
    wait: Duration,
    rounds: u32,
    phase: AckPhase,
    /// Losses are those of a probe, and set the long-term bound.
    pub samples: bool,
    up_rounds: u32,
    up_acknowledged: u32,
    /// Octets acknowledged for each octet that the bound grows.
    up_count: u32,
}

impl Cycle {
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            wait: Duration::ZERO,
            rounds: 0,
            phase: AckPhase::Cruising,
            samples: false,
            up_rounds: 0,
            up_acknowledged: 0,
            up_count: u32::MAX,
        }
    }

    pub fn count_round(&mut self, rounds: &Rounds) {
        self.rounds = self.rounds.saturating_add(u32::from(rounds.began));
    }

    /// What the path does next tells of a probe no more.
    pub fn stop(&mut self) {
        self.phase = AckPhase::Stopping;
    }
}

impl Bbr {
    /// §5.3.3.6 and §5.5.10.1
    pub(super) fn update_cycle(&mut self, window: u32, step: &Step) {
        if !self.full.reached {
            return;
        }
        self.adapt_long_term(window, step);
        match self.state {
            State::Down if self.is_probe_due(window, step) => self.begin_refill(),
            State::Down if self.is_drained(step) => self.state = State::Cruise,
            State::Cruise if self.is_probe_due(window, step) => self.begin_refill(),
            State::Refill if self.rounds.began => self.begin_up(window, step),
            State::Up => self.end_probe(window, step),
            _ => {}
        }
    }

    /// §5.5.10.1
    fn adapt_long_term(&mut self, window: u32, step: &Step) {
        if self.rounds.began {
            match self.cycle.phase {
                AckPhase::Starting => self.cycle.phase = AckPhase::Feedback,
                AckPhase::Stopping => {
                    if self.state.probes_bandwidth() && !step.sample.app_limited {
                        self.bandwidth.advance();
                    }
                    self.cycle.phase = AckPhase::Cruising;
                    self.cycle.samples = false;
                }
                _ => {}
            }
        }
        if self.is_too_much_lost(&step.sample) {
            if self.cycle.samples {
                self.too_much_in_flight(window, step);
            }
            return;
        }
        if self.bounds.long_term == u32::MAX {
            return;
        }
        self.bounds.long_term = self.bounds.long_term.max(step.sample.in_flight);
        if self.state == State::Up {
            self.raise_long_term(window, step);
        }
    }

    /// §5.3.3.4: the bound grows slowly at first, then doubles its steps each round.
    fn raise_long_term(&mut self, window: u32, step: &Step) {
        if !step.limited || window < self.bounds.long_term {
            return;
        }
        let cycle = &mut self.cycle;
        let acknowledged = step.sample.newly_delivered;
        cycle.up_acknowledged = cycle.up_acknowledged.saturating_add(acknowledged);
        let count = cycle.up_count.max(1);
        let growth = cycle.up_acknowledged / count;
        cycle.up_acknowledged %= count;
        // The maximum says that there is no bound.
        self.bounds.long_term = self.bounds.long_term.saturating_add(growth).min(u32::MAX - 1);
        if self.rounds.began {
            self.raise_slope(window, step.segment);
        }
    }

    fn raise_slope(&mut self, window: u32, segment: u32) {
        let growth = segment.max(1).saturating_mul(1 << self.cycle.up_rounds);
        self.cycle.up_rounds = (self.cycle.up_rounds + 1).min(MOST_DOUBLINGS);
        self.cycle.up_count = (window / growth).max(1);
    }

    fn is_probe_due(&self, window: u32, step: &Step) -> bool {
        let waited = step.now.since(self.cycle.began) > self.cycle.wait;
        let reno = (self.target(window) / step.segment.max(1)).min(MOST_RENO_ROUNDS);
        waited || self.cycle.rounds >= reno.max(1)
    }

    /// §5.3.3.6: has the queue of the last probe gone, and is there room for others?
    fn is_drained(&self, step: &Step) -> bool {
        if step.in_flight > self.with_headroom(step.segment) {
            return false;
        }
        self.path(100).is_none_or(|product| step.in_flight <= product)
    }

    /// §5.3.3.6
    fn end_probe(&mut self, window: u32, step: &Step) {
        if step.limited && window >= self.bounds.long_term {
            // The bound is in the way: whether there is more can't be seen.
            self.full.restart(step.sample.rate.unwrap_or(0));
        } else if self.full.now {
            self.begin_down(step.now);
        }
    }

    /// The bound less the room for others.
    pub(super) fn with_headroom(&self, segment: u32) -> u32 {
        let bound = self.bounds.long_term;
        if bound == u32::MAX {
            return bound;
        }
        let room = percent(bound, HEADROOM).max(segment);
        bound.saturating_sub(room).max(super::control::least_window(segment))
    }

    pub(super) fn begin_down(&mut self, now: Instant) {
        self.signals.reset();
        self.cycle.up_count = u32::MAX;
        self.cycle.rounds = u32::try_from(self.random(2)).unwrap_or(0);
        let wait = WAIT_MILLIS + self.random(WAIT_RANDOM_MILLIS);
        self.cycle.wait = Duration::from_millis(wait);
        self.cycle.began = now;
        self.cycle.phase = AckPhase::Stopping;
        self.rounds.begin(self.delivery.delivered());
        self.state = State::Down;
    }

    pub(super) fn begin_cruise(&mut self) {
        self.state = State::Cruise;
    }

    fn begin_refill(&mut self) {
        self.bounds.forget_short_term();
        (self.cycle.up_rounds, self.cycle.up_acknowledged) = (0, 0);
        self.cycle.phase = AckPhase::Refilling;
        self.rounds.begin(self.delivery.delivered());
        self.state = State::Refill;
    }

    fn begin_up(&mut self, window: u32, step: &Step) {
        self.cycle.samples = true;
        self.cycle.phase = AckPhase::Starting;
        self.rounds.begin(self.delivery.delivered());
        self.full.restart(step.sample.rate.unwrap_or(0));
        self.state = State::Up;
        self.raise_slope(window, step.segment);
    }
}
