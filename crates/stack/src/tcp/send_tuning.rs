//! How much a program may queue: what keeps the path full, and no more than that.
//!
//! A buffer must hold what is in flight and what follows it. Linux lets it grow with the congestion
//! window, which on a path without loss grows until the buffer is as large as it may be; every
//! byte then makes a round through memory instead of staying in the cache. We measure what the path
//! delivers in one *minimum* round trip and allow four times that: one in flight, one that takes its
//! place, and as much again while a loss is repaired. Where the buffer itself is what limits the
//! flow, that makes it grow each round trip, so that it finds the path's capacity as slow start does.

use crate::time::{Duration, Instant};

/// Times what is delivered in one minimum round trip.
const SHARE: u64 = 4;
/// Less is too short to measure a rate: one batch of acknowledgments more or less would show.
const MIN_SPAN: Duration = Duration::from_millis(1);

/// The measurement under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SendTuning {
    since: Instant,
    acknowledged: u32,
    /// What the last measurement gave, in KiB a second: enough to tell, in half the room.
    rate: u32,
}

impl SendTuning {
    /// Octets a second that the path delivered, rounded down to a KiB; `None`: not measured yet.
    pub fn rate(&self) -> Option<u64> {
        (self.rate > 0).then_some(u64::from(self.rate) << 10)
    }

    /// `bytes` more were acknowledged on a path with this minimum round trip. At the end of a
    /// measurement: how many bytes the buffer should take.
    pub fn acknowledged(&mut self, now: Instant, bytes: usize, min_rtt: Duration) -> Option<usize> {
        self.acknowledged =
            self.acknowledged.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let span = now.since(self.since);
        if span < min_rtt.max(MIN_SPAN) {
            return None;
        }
        let delivered = core::mem::take(&mut self.acknowledged);
        self.since = now;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let rate = (u128::from(delivered) * 1_000_000_000 / u128::from(nanos(span).max(1))) >> 10;
        self.rate = u32::try_from(rate).unwrap_or(u32::MAX);
        let product = u128::from(delivered) * u128::from(SHARE) * u128::from(nanos(min_rtt));
        usize::try_from(product / u128::from(nanos(span).max(1))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_buffer_is_four_times_what_a_round_trip_delivers() {
        let mut tuning = SendTuning::default();
        // 10 MB/s over 40 ms.
        for millis in 1..40 {
            let limit = tuning.acknowledged(Instant::from_millis(millis), 10_000, MS(40));
            assert_eq!(limit, None, "{millis}");
        }
        let limit = tuning.acknowledged(Instant::from_millis(40), 10_000, MS(40));
        assert_eq!(limit, Some(4 * 400_000));
        let limit = tuning.acknowledged(Instant::from_millis(120), 400_000, MS(40));
        assert_eq!(limit, Some(4 * 200_000), "over two round trips");
    }

    #[test]
    fn a_burst_on_a_short_path_counts_for_little() {
        let mut tuning = SendTuning::default();
        let round_trip = Duration::from_micros(50);
        assert_eq!(tuning.acknowledged(Instant::from_millis(0), 1 << 20, round_trip), None);
        let limit = tuning.acknowledged(Instant::from_millis(1), 0, round_trip);
        assert_eq!(limit, Some(4 * (1 << 20) / 20));
    }

    #[test]
    fn a_pause_makes_the_rate_small() {
        let mut tuning = SendTuning::default();
        let limit = tuning.acknowledged(Instant::from_millis(60_000), 1000, MS(10));
        assert_eq!(limit, Some(0));
    }
}
