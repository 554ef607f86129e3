//! Pacing: what the windows allow leaves spread over the round trip, not in one burst, where the
//! congestion control asks for it (BBR) or the program sets a limit (SO_MAX_PACING_RATE). Others
//! send at once, as Linux without the fq discipline does.
//!
//! The deadline is an ordinary one of the connection, so it waits in the engine's wheel, whose tick
//! is about a millisecond. What a late tick has missed is made up for, up to [`CREDIT`]; so the rate
//! is kept, in bursts of about a tick.

use super::connection::Connection;
use crate::time::{Duration, Instant};

/// How much of a pause is made up for: two ticks of the wheel. More would be a burst, which
/// is what pacing is against.
const CREDIT: Duration = Duration::from_millis(2);
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
    /// Something waits for nothing else.
    held: bool,
}

impl Pacing {
    pub fn new(now: Instant, rate: u64) -> Self {
        Self { rate: rate.max(1), next: now, held: false }
    }

    pub fn rate(&self) -> u64 {
        self.rate
    }

    pub fn set_rate(&mut self, rate: u64) {
        self.rate = rate.max(1);
    }

    pub fn is_open(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// When what is held back may leave.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.then_some(self.next)
    }

    pub fn sent(&mut self, now: Instant, octets: u32) {
        let nanos = u64::from(octets).saturating_mul(1_000_000_000) / self.rate;
        let wait = Duration::from_nanos(nanos).min(LONGEST_WAIT);
        self.next = self.next.max(now - CREDIT) + wait;
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
        pacing.set_rate(rate);
        pacing.held = waits && !pacing.is_open(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Instant = Instant::from_millis;

    /// Sends segments of 1000 octets whenever it may, woken each millisecond; octets in a second.
    fn sent_in_a_second(rate: u64) -> u64 {
        let mut pacing = Pacing::new(AT(0), rate);
        let mut sent = 0;
        for millis in 0..1000 {
            while pacing.is_open(AT(millis)) {
                pacing.sent(AT(millis), 1000);
                sent += 1000;
            }
        }
        sent
    }

    #[test]
    fn the_rate_is_kept_at_every_speed() {
        for rate in [10_000u64, 125_000, 12_500_000, 1_250_000_000] {
            let sent = sent_in_a_second(rate);
            // The credit at the beginning, and the segment at the end.
            let slack = rate / 500 + 2000;
            assert!(sent.abs_diff(rate) <= slack, "{rate}: {sent}");
        }
    }

    #[test]
    fn a_pause_is_made_up_for_a_little() {
        let mut pacing = Pacing::new(AT(0), 1_000_000);
        let mut burst = 0;
        while pacing.is_open(AT(5000)) {
            pacing.sent(AT(5000), 1000);
            burst += 1;
        }
        assert_eq!(burst, 3, "two milliseconds' worth, and one");
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
