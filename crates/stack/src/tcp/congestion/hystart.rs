//! HyStart++ (RFC 9406): leaves slow start when round trips become longer, before the queue that
//! grows on the path overflows and half a window is lost.

use super::Acknowledged;
use crate::{tcp::seq::Seq, time::Duration};

/// How much longer a round trip has to be, at least and at most (§4.3), in microseconds.
const MIN_RISE: u32 = 4_000;
const MAX_RISE: u32 = 16_000;
/// …or by this part of the round before.
const RISE_PART: u32 = 8;
/// A round with fewer samples says nothing.
const MIN_SAMPLES: u8 = 8;
/// While it is unclear whether to leave, the window grows by this part of what is acknowledged…
const GROWTH_DIVISOR: u32 = 4;
/// …for so many rounds.
const CONSERVATIVE_ROUNDS: u8 = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HyStart {
    /// The round ends when this is acknowledged.
    round_end: Option<Seq>,
    samples: u8,
    /// The least round-trip times of this round and the one before, in microseconds: every connection
    /// has these. The maximum: none.
    current: u32,
    last: u32,
    conservative: Option<Conservative>,
}

/// Conservative slow start: the rise may be noise.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Conservative {
    baseline: u32,
    rounds: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// By so many bytes.
    By(u32),
    /// Slow start is over.
    Leave,
}

impl Default for HyStart {
    fn default() -> Self {
        Self { round_end: None, samples: 0, current: u32::MAX, last: u32::MAX, conservative: None }
    }
}

impl HyStart {
    /// §4.2 and §4.3, for an acknowledgment in slow start.
    pub fn acknowledged(&mut self, ack: &Acknowledged) -> Growth {
        if self.round_end.is_none_or(|end| ack.una.at_or_after(end)) {
            self.last = core::mem::replace(&mut self.current, u32::MAX);
            self.samples = 0;
            self.round_end = Some(ack.nxt);
            if let Some(conservative) = &mut self.conservative {
                conservative.rounds += 1;
                if conservative.rounds >= CONSERVATIVE_ROUNDS {
                    return Growth::Leave;
                }
            }
        }
        if let Some(sample) = ack.sample {
            self.current = self.current.min(micros(sample));
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples >= MIN_SAMPLES && self.last != u32::MAX {
            self.judge();
        }
        match self.conservative {
            None => Growth::By(ack.bytes),
            Some(_) => Growth::By(ack.bytes / GROWTH_DIVISOR),
        }
    }

    fn judge(&mut self) {
        match &self.conservative {
            None => {
                let rise = (self.last / RISE_PART).clamp(MIN_RISE, MAX_RISE);
                if self.current >= self.last.saturating_add(rise) {
                    self.conservative = Some(Conservative { baseline: self.current, rounds: 0 });
                }
            }
            // It was noise.
            Some(conservative) if self.current < conservative.baseline => self.conservative = None,
            Some(_) => {}
        }
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;

    /// One round of ten acknowledgments after the other, with these round-trip times; what each
    /// round made the window grow by, up to the end of slow start.
    fn rounds(millis: &[u64]) -> (Vec<u32>, bool) {
        let mut hystart = HyStart::default();
        let mut growth = Vec::new();
        let mut una = 0;
        for millis in millis {
            growth.push(0);
            for _ in 0..10 {
                una += 1000;
                let ack = Acknowledged {
                    now: Instant::ZERO,
                    una: Seq(una),
                    nxt: Seq(una + 10_000),
                    bytes: 1000,
                    segment: 1000,
                    rtt: Duration::from_millis(*millis),
                    sample: Some(Duration::from_millis(*millis)),
                };
                match hystart.acknowledged(&ack) {
                    Growth::By(bytes) => *growth.last_mut().unwrap() += bytes,
                    Growth::Leave => return (growth, true),
                }
            }
        }
        (growth, false)
    }

    #[test]
    fn steady_round_trips_do_not_slow_it() {
        assert_eq!(rounds(&[20, 21, 20, 22, 23]), (vec![10_000; 5], false));
    }

    #[test]
    fn longer_round_trips_end_it_after_some_caution() {
        let (growth, left) = rounds(&[20, 20, 24, 28, 32, 36, 40, 44, 48]);
        assert!(left);
        assert_eq!(growth[..2], [10_000, 10_000]);
        assert!(growth[3..].iter().all(|growth| *growth <= 2500), "{growth:?}");
    }

    #[test]
    fn noise_is_forgiven() {
        let (growth, left) = rounds(&[20, 20, 30, 20, 20, 20]);
        assert!(!left);
        assert_eq!(growth.last(), Some(&10_000));
    }

    #[test]
    fn short_paths_need_a_rise_that_is_more_than_jitter() {
        assert_eq!(rounds(&[0, 1, 2, 3, 3, 3]), (vec![10_000; 6], false));
    }
}
