//! Pacing rate and window (§5.6).

use super::{Bbr, State, Step, product};
use crate::time::Duration;

/// BBR.PacingMarginPercent: a little less than the path delivers, so that queues shrink.
const MARGIN: u64 = 99;
/// Before the round trip is known.
const ASSUMED_RTT: Duration = Duration::from_millis(1);
/// BBR.MinPipeCwnd, in segments: less makes a flow stop and go with delayed acknowledgments.
const LEAST_SEGMENTS: u32 = 4;
/// RFC 6928's window, which Startup may have in any case.
const INITIAL_SEGMENTS: u64 = 10;

/// §5.6.2, in percent.
fn pacing_gain(state: State) -> u64 {
    match state {
        State::Startup => 277,
        State::Drain => 35,
        State::Down => 90,
        State::Cruise | State::Refill | State::ProbeRtt => 100,
        State::Up => 125,
    }
}

fn window_gain(state: State) -> u64 {
    match state {
        State::Up => 225,
        State::ProbeRtt => 50,
        _ => 200,
    }
}

pub(super) fn least_window(segment: u32) -> u32 {
    segment.saturating_mul(LEAST_SEGMENTS)
}

/// §5.6.2: octets a second before anything was delivered.
pub(super) fn first_rate(window: u32, rtt: Option<Duration>) -> u64 {
    let nanos = rtt.unwrap_or(ASSUMED_RTT).as_nanos().max(1);
    let rate = u128::from(window) * 1_000_000_000 / nanos;
    u64::try_from(rate).unwrap_or(u64::MAX / 1000) * pacing_gain(State::Startup) / 100
}

impl Bbr {
    /// The first round trip that is measured replaces the assumed one (§5.6.2).
    pub fn begin(&mut self, window: u32, rtt: Option<Duration>) {
        if self.rate_assumed && rtt.is_some() {
            self.rate_assumed = false;
            self.pacing_rate = first_rate(window, rtt);
        }
    }

    pub(super) fn set_pacing_rate(&mut self, segment: u32) {
        self.pace_with(pacing_gain(self.state));
        self.pacing_rate = self.pacing_rate.max(u64::from(segment));
    }

    pub(super) fn pace_with(&mut self, gain: u64) {
        let rate = u128::from(self.bandwidth()) * u128::from(gain * MARGIN) / 10_000;
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        // Until the bandwidth is known, what little was seen must not slow the flow.
        if rate > 0 && (self.full.reached || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// §5.6.3: what leaves as one piece.
    fn quantum(&self, segment: u32) -> u32 {
        const LONGEST: u64 = 65_536;
        let octets = u32::try_from((self.pacing_rate / 1000).min(LONGEST)).unwrap_or(0);
        octets.max(segment.saturating_mul(2))
    }

    /// §5.5.1: what the path holds, without regard to losses of the moment.
    pub(super) fn path(&self, gain: u64) -> Option<u32> {
        let rtt = self.min_rtt.value()?;
        Some(product(self.bandwidth.max(), rtt, gain))
    }

    /// §5.6.4.2: in flight at most, with what is held back on the way.
    fn most_in_flight(&self, segment: u32) -> Option<u32> {
        let held = self.aggregation.extra();
        let octets = self.product(window_gain(self.state))?.saturating_add(held);
        let octets = octets.max(self.quantum(segment).saturating_mul(3));
        let octets = octets.max(least_window(segment));
        let more = if self.state == State::Up { segment.saturating_mul(2) } else { 0 };
        Some(octets.saturating_add(more))
    }

    /// §5.6.4.6
    pub(super) fn next_window(&mut self, window: u32, step: &Step) -> u32 {
        let acknowledged = step.sample.newly_delivered;
        let mut window = window.saturating_sub(step.sample.newly_lost).max(step.segment);
        // A loss that is sent again is in flight again: what arrives gives back what it took.
        let grown = window.saturating_add(acknowledged);
        let few = self.delivery.delivered() < INITIAL_SEGMENTS * u64::from(step.segment);
        match self.most_in_flight(step.segment) {
            Some(most) if self.full.reached => window = grown.min(most),
            Some(most) if window < most || few => window = grown,
            None => window = grown,
            _ => {}
        }
        let least = least_window(step.segment);
        window = window.max(least);
        if self.state == State::ProbeRtt {
            window = window.min(self.short_flight(step.segment));
        }
        window.min(self.cap(step.segment).max(least))
    }

    /// §5.6.4.7
    fn cap(&self, segment: u32) -> u32 {
        let long_term = match self.state {
            State::Down | State::Refill | State::Up => self.bounds.long_term,
            State::Cruise | State::ProbeRtt => self.with_headroom(segment),
            State::Startup | State::Drain => u32::MAX,
        };
        long_term.min(self.bounds.short_term)
    }
}
