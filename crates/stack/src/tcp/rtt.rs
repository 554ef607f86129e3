//! Round-trip time and the retransmission timeout (RFC 6298).

use crate::time::{Duration, Instant};

/// Before the first sample (RFC 6298 §2.1).
pub(super) const INITIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Before the first sample, when the SYN was lost (RFC 6298 §5.7).
const TIMEOUT_AFTER_LOST_SYN: Duration = Duration::from_secs(3);
/// Linux's floor: peers delay acknowledgments by up to 40 ms, and by 200 ms here and there.
pub(super) const MIN_TIMEOUT: Duration = Duration::from_millis(200);
/// Linux's ceiling, reached by backing off.
pub(super) const MAX_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a minimum counts: routes change.
const MINIMUM_WINDOW: Duration = Duration::from_secs(300);

/// All in nanoseconds; 0 means that no sample was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rtt {
    smoothed: u64,
    variance: u64,
    minimum: u64,
    minimum_at: Instant,
    syn_lost: bool,
}

impl Rtt {
    /// The SYN, or the SYN-ACK, had to be sent again.
    pub fn syn_was_lost(&mut self) {
        self.syn_lost = true;
    }

    pub fn is_sampled(&self) -> bool {
        self.smoothed != 0
    }

    /// RFC 6298 §2.2 and §2.3.
    pub fn sample(&mut self, now: Instant, rtt: Duration) {
        let rtt = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX / 8).clamp(1, u64::MAX / 8);
        if self.smoothed == 0 {
            (self.smoothed, self.variance) = (rtt, rtt / 2);
        } else {
            let error = self.smoothed.abs_diff(rtt);
            self.variance = self.variance - self.variance / 4 + error / 4;
            self.smoothed = (self.smoothed - self.smoothed / 8 + rtt / 8).max(1);
        }
        let expired = now.since(self.minimum_at) > MINIMUM_WINDOW;
        if self.minimum == 0 || rtt <= self.minimum || expired {
            (self.minimum, self.minimum_at) = (rtt, now);
        }
    }

    pub fn smoothed(&self) -> Duration {
        Duration::from_nanos(self.smoothed)
    }

    pub fn variance(&self) -> Duration {
        Duration::from_nanos(self.variance)
    }

    /// The least of the last minutes.
    pub fn minimum(&self) -> Duration {
        Duration::from_nanos(self.minimum)
    }

    /// The timeout after `backoff` retransmissions without an answer (RFC 6298 §2.4, §5.5). As in
    /// Linux the floor is under the variance, so that a peer which delays is not taken for lost.
    pub fn timeout(&self, backoff: u8) -> Duration {
        let base = if self.smoothed != 0 {
            self.smoothed() + Duration::from_nanos(self.variance.saturating_mul(4)).max(MIN_TIMEOUT)
        } else if self.syn_lost {
            TIMEOUT_AFTER_LOST_SYN
        } else {
            INITIAL_TIMEOUT
        };
        let factor = 1u32.checked_shl(u32::from(backoff)).unwrap_or(u32::MAX);
        base.saturating_mul(factor).min(MAX_TIMEOUT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn samples_move_the_timeout_as_rfc_6298_says() {
        let mut rtt = Rtt::default();
        assert_eq!(rtt.timeout(0), INITIAL_TIMEOUT);
        rtt.sample(Instant::ZERO, MS(100));
        assert_eq!((rtt.smoothed(), rtt.variance()), (MS(100), MS(50)));
        assert_eq!(rtt.timeout(0), MS(300));
        rtt.sample(Instant::ZERO, MS(180));
        assert_eq!((rtt.smoothed(), rtt.variance()), (MS(110), Duration::from_micros(57_500)));
        assert_eq!(rtt.timeout(0), MS(340));
        assert_eq!(rtt.minimum(), MS(100));
    }

    #[test]
    fn the_timeout_has_a_floor_and_doubles_up_to_a_ceiling() {
        let mut rtt = Rtt::default();
        for _ in 0..100 {
            rtt.sample(Instant::ZERO, Duration::from_micros(50));
        }
        let floor = Duration::from_micros(200_050);
        assert!(rtt.timeout(0).abs_diff(floor) < Duration::from_micros(1));
        for backoff in 0..9 {
            assert_eq!(rtt.timeout(backoff + 1), rtt.timeout(backoff) * 2);
        }
        for backoff in [10, 31, 32, 200, 255] {
            assert_eq!(rtt.timeout(backoff), MAX_TIMEOUT);
        }
    }

    #[test]
    fn a_lost_syn_makes_the_first_timeout_longer() {
        let mut rtt = Rtt::default();
        rtt.syn_was_lost();
        assert_eq!(rtt.timeout(0), TIMEOUT_AFTER_LOST_SYN);
    }

    #[test]
    fn an_old_minimum_is_forgotten() {
        let mut rtt = Rtt::default();
        rtt.sample(Instant::ZERO, MS(1));
        rtt.sample(Instant::from_millis(200_000), MS(5));
        assert_eq!(rtt.minimum(), MS(1));
        rtt.sample(Instant::from_millis(300_001), MS(5));
        assert_eq!(rtt.minimum(), MS(5));
    }
}
