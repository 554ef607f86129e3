//! Startup: more each round until the path delivers no more of it. Drain: the queue that this made
//! goes away (§5.3.1, §5.3.2).

use super::{Bbr, State, Step};

/// The bandwidth counts as found when it grew by less than a quarter…
const GROWTH: u64 = 125;
/// …in so many rounds,
const FULL_ROUNDS: u8 = 3;
/// or when a round has lost too much, at so many acknowledgments (BBR.StartupFullLossCnt).
const LOSS_EVENTS: u8 = 6;

/// Has the path's bandwidth been found?
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FullBandwidth {
    /// Once.
    pub reached: bool,
    /// In this probe.
    pub now: bool,
    best: u64,
    rounds: u8,
    loss_events: u8,
}

impl FullBandwidth {
    /// A probe begins, or goes on from here.
    pub fn restart(&mut self, best: u64) {
        (self.now, self.best, self.rounds) = (false, best, 0);
    }

    pub fn count_loss(&mut self) {
        self.loss_events = self.loss_events.saturating_add(1);
    }
}

impl Bbr {
    /// §5.3.1.2
    pub(super) fn check_full_bandwidth(&mut self, step: &Step) {
        if self.full.now || step.sample.app_limited {
            return;
        }
        let rate = step.sample.rate.unwrap_or(0);
        if u128::from(rate) * 100 >= u128::from(self.full.best) * u128::from(GROWTH) && rate > 0 {
            return self.full.restart(rate);
        }
        if !self.rounds.began {
            return;
        }
        self.full.rounds = self.full.rounds.saturating_add(1);
        self.full.now = self.full.rounds >= FULL_ROUNDS;
        self.full.reached |= self.full.now;
    }

    /// §5.3.1.3
    fn check_loss(&mut self, step: &Step) {
        if self.full.reached || !self.signals.round_began {
            return;
        }
        let events = core::mem::take(&mut self.full.loss_events);
        if step.recovering && events >= LOSS_EVENTS && self.is_too_much_lost(&step.sample) {
            self.full.reached = true;
            let seen = u32::try_from(self.signals.in_flight).unwrap_or(u32::MAX);
            self.bounds.long_term = self.product(100).unwrap_or(0).max(seen);
        }
    }

    pub(super) fn check_startup_done(&mut self, step: &Step) {
        self.check_loss(step);
        if self.state == State::Startup && self.full.reached {
            self.state = State::Drain;
            self.bounds.forget_short_term();
        }
    }

    /// §5.3.2
    pub(super) fn check_drain(&mut self, step: &Step) {
        let drained = self.product(100).is_none_or(|product| step.in_flight <= product);
        if self.state == State::Drain && drained {
            self.begin_down(step.now);
        }
    }

    pub(super) fn begin_startup(&mut self) {
        self.state = State::Startup;
    }
}
