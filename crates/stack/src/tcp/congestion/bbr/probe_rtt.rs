//! The least round trip (§5.3.4): when none as short was seen for five seconds, half of what
//! the path holds is in flight for a moment, so that queues go away and its length shows.

use super::{Bbr, State, Step};
use crate::time::{Duration, Instant};

/// A least round trip counts for so long (BBR.MinRTTFilterLen),
const FILTER: Duration = Duration::from_secs(10);
/// is looked for again after (BBR.ProbeRTTInterval),
const INTERVAL: Duration = Duration::from_secs(5);
/// and for at least (BBR.ProbeRTTDuration).
const DURATION: Duration = Duration::from_millis(200);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MinRtt {
    /// `MAX`: none was seen.
    value: Duration,
    at: Instant,
    /// The least since the last look.
    candidate: Duration,
    candidate_at: Instant,
    expired: bool,
    /// When this look may end.
    until: Option<Instant>,
    round_done: bool,
}

impl MinRtt {
    pub fn new(now: Instant) -> Self {
        Self {
            value: Duration::MAX,
            at: now,
            candidate: Duration::MAX,
            candidate_at: now,
            expired: false,
            until: None,
            round_done: false,
        }
    }

    pub fn value(&self) -> Option<Duration> {
        (self.value != Duration::MAX).then_some(self.value)
    }
}

impl Bbr {
    pub(super) fn update_min_rtt(&mut self, step: &Step) {
        let min = &mut self.min_rtt;
        min.expired = step.now > min.candidate_at + INTERVAL;
        if let Some(rtt) = step.sample.rtt
            && (rtt < min.candidate || min.expired)
        {
            (min.candidate, min.candidate_at) = (rtt, step.now);
        }
        if min.candidate < min.value || step.now > min.at + FILTER {
            (min.value, min.at) = (min.candidate, min.candidate_at);
        }
    }

    pub(super) fn check_probe_rtt(&mut self, window: u32, step: &Step) -> u32 {
        let mut window = window;
        if self.state != State::ProbeRtt && self.min_rtt.expired && !self.idle_restart {
            self.save_window(window);
            self.state = State::ProbeRtt;
            self.min_rtt.until = None;
            self.cycle.stop();
            self.rounds.begin(self.delivery.delivered());
        }
        if self.state == State::ProbeRtt {
            window = self.look(window, step);
        }
        if step.sample.newly_delivered > 0 {
            self.idle_restart = false;
        }
        window
    }

    fn look(&mut self, window: u32, step: &Step) -> u32 {
        // Less is sent than could be: the bandwidth seen now is none.
        self.delivery.limit(step.in_flight);
        let Some(until) = self.min_rtt.until else {
            if step.in_flight <= self.short_flight(step.segment) {
                self.min_rtt.until = Some(step.now + DURATION);
                self.min_rtt.round_done = false;
                self.rounds.begin(self.delivery.delivered());
            }
            return window;
        };
        self.min_rtt.round_done |= self.rounds.began;
        if !self.min_rtt.round_done || step.now <= until {
            return window;
        }
        self.min_rtt.candidate_at = step.now;
        self.bounds.forget_short_term();
        if self.full.reached {
            self.begin_down(step.now);
            self.begin_cruise();
        } else {
            self.begin_startup();
        }
        self.restored(window)
    }

    /// What is in flight during a look.
    pub(super) fn short_flight(&self, segment: u32) -> u32 {
        const PART: u64 = 50;
        let least = super::control::least_window(segment);
        self.product(PART).unwrap_or(least).max(least)
    }
}
