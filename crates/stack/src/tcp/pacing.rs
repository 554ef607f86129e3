//! Pacing: what the windows allow leaves spread over the round trip, not in one burst, where the
//! congestion control asks for it (BBR) or the program sets a limit (SO_MAX_PACING_RATE). Others
//! send at once, as Linux without the fq discipline does.
//!
//! The deadline is an ordinary one of the connection, so it waits in the engine's wheel, whose tick
//! is about a millisecond. What a late wake-up has missed is made up for, up to [`LATENESS`]: the rate
//! is kept on a busy machine too, in bursts. A flow that had nothing to send has missed nothing: it begins
//! with at most [`CREDIT`].

use super::connection::Connection;
use crate::time::{Duration, Instant};

/// How much of a pause without anything to send is made up for: two ticks of the wheel. More would be a
/// burst, which is what pacing is against.
const CREDIT: Duration = Duration::from_millis(2);
/// How much of a wake-up that came too late is made up for: three turns of a busy processor (EEVDF: 3 ms).
/// A flow that is paced by a model of the path (BBR) takes what it achieves for what the path can carry:
/// whatever is lost here is lost for good.
const LATENESS: Duration = Duration::from_millis(10);
/// A segment that the device cuts up takes no longer than this (Linux: tcp_tso_autosize).
const QUANTUM: Duration = Duration::from_millis(1);
/// Below this many octets a second (1.2 Mbit/s) single segments leave, from there on two at least.
const SINGLE_SEGMENT_RATE: u64 = 150_000;
/// The most that one deadline is away, whatever rate was asked for: a connection that is
/// told to be slow still is alive.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// No limit: what `Settings::max_pacing_rate` is by default.
pub const UNLIMITED: u64 = u64::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pacing {
    /// Octets a second.
    rate: u64,
    /// Nothing leaves before.
    next: Instant,
    /// There is something to send that the windows allow.
    waits: bool,
    /// It waits for nothing but `next`.
    held: bool,
}

impl Pacing {
    pub fn new(now: Instant, rate: u64) -> Self {
        Self { rate: rate.max(1), next: now, waits: false, held: false }
    }

    pub fn rate(&self) -> u64 {
        self.rate
    }

    pub fn is_open(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// `waits`: there is something that nothing but pacing could hold back.
    pub fn update(&mut self, now: Instant, rate: u64, waits: bool) {
        self.rate = rate.max(1);
        if waits && !self.waits {
            self.next = self.next.max(now - CREDIT);
        }
        self.waits = waits;
        self.held = waits && !self.is_open(now);
    }

    /// When what is held back may leave.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.then_some(self.next)
    }

    pub fn sent(&mut self, now: Instant, octets: u32) {
        let nanos = u64::from(octets).saturating_mul(1_000_000_000) / self.rate;
        let wait = Duration::from_nanos(nanos).min(LONGEST_WAIT);
        self.next = self.next.max(now - LATENESS) + wait;
    }

    /// Octets that may leave as one.
    pub fn quantum(&self, segment: u32) -> u32 {
        let least = if self.rate < SINGLE_SEGMENT_RATE { segment } else { segment * 2 };
        let nanos = QUANTUM.as_nanos();
        let octets = u128::from(self.rate) * nanos / 1_000_000_000;
        u32::try_from(octets).unwrap_or(u32::MAX).max(least)
    }
}

impl Connection {
    /// May text leave now, as far as pacing goes?
    pub(super) fn is_paced_open(&self, now: Instant) -> bool {
        self.pacing.as_ref().is_none_or(|pacing| pacing.is_open(now))
    }

    /// `octets` are about to leave: the rate of sending, and of what will be delivered, begin there.
    pub(super) fn note_departure(&mut self, now: Instant, octets: u32) {
        let in_flight = self.in_flight();
        if let Some(model) = self.congestion.model() {
            model.delivery.sent(now, octets, in_flight);
        }
        if let Some(pacing) = &mut self.pacing {
            pacing.sent(now, octets);
        }
    }

    /// The program hands over more: did the flow wait for that? (§3.4 of the draft on delivery rates:
    /// nothing queued, nothing to repair, nothing held back by pacing or the window.)
    pub(super) fn note_idleness(&mut self, now: Instant) {
        let in_flight = self.in_flight();
        let idle = self.snd.unsent() < self.segment()
            && self.recovery.board.lost() == 0
            && in_flight < self.congestion.window
            && self.is_paced_open(now);
        if let Some(model) = self.congestion.model()
            && idle
        {
            model.delivery.limit(in_flight);
        }
    }

    /// After anything that may have changed the rate, or what is there to send.
    pub(super) fn repace(&mut self, now: Instant) {
        let model = self.congestion.model_rate();
        let limit = self.settings.max_pacing_rate;
        if model.is_none() && limit == UNLIMITED {
            self.pacing = None;
            return;
        }
        let rate = model.unwrap_or_else(|| self.congestion.window_rate(self.rtt.smoothed()));
        let rate = rate.min(limit);
        let waits = self.has_text_to_send();
        let pacing = self.pacing.get_or_insert_with(|| Box::new(Pacing::new(now, rate)));
        pacing.update(now, rate, waits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Instant = Instant::from_millis;

    /// Sends segments of 1000 octets while it may; how many.
    fn burst(pacing: &mut Pacing, now: Instant) -> u64 {
        let mut sent = 0;
        pacing.update(now, pacing.rate, true);
        while pacing.is_open(now) {
            pacing.sent(now, 1000);
            sent += 1;
            pacing.update(now, pacing.rate, true);
        }
        sent
    }

    #[test]
    fn the_rate_is_kept_at_every_speed_also_by_who_wakes_late() {
        for rate in [10_000u64, 125_000, 12_500_000, 1_250_000_000] {
            for late in [1, 4, 9] {
                let mut pacing = Pacing::new(AT(0), rate);
                let wakes = (0..1000).step_by(late).map(AT);
                let sent: u64 = wakes.map(|now| 1000 * burst(&mut pacing, now)).sum();
                // The segments of the beginning and the end, and what comes after the last waking.
                let slack = rate / 100 + 2000;
                assert!(sent.abs_diff(rate) <= slack, "{rate}, {late} ms: {sent}");
            }
        }
    }

    #[test]
    fn a_pause_is_made_up_for_a_little() {
        let mut pacing = Pacing::new(AT(0), 1_000_000);
        assert_eq!(burst(&mut pacing, AT(5000)), 3, "two milliseconds' worth, and one");
        pacing.update(AT(5001), 1_000_000, false);
        assert_eq!(burst(&mut pacing, AT(6000)), 3, "again, after it had nothing to send");
    }

    #[test]
    fn no_wait_is_without_end() {
        let mut pacing = Pacing::new(AT(0), 0);
        pacing.sent(AT(10), 65_000);
        assert!(pacing.is_open(AT(1010)));
    }

    #[test]
    fn segments_are_a_millisecond_long_and_not_less_than_two() {
        for (rate, expected) in [(1_000, 1000), (150_000, 2000), (50_000_000, 50_000)] {
            assert_eq!(Pacing::new(AT(0), rate).quantum(1000), expected, "{rate}");
        }
    }
}
