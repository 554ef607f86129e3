//! CUBIC (RFC 9438), in integers: bytes and milliseconds.
//!
//! After a loss the window follows W(t) = C·(t − K)³ + W_max: fast back towards where the loss
//! was, slowly around it, then faster and faster. Where Reno would be faster, Reno's window is
//! followed (§4.3).

use super::Acknowledged;
use crate::time::Instant;

/// C = 0.4 segments per second³ (§5), as a fraction of segments per millisecond³: 0.4 / 10⁹.
const C_INVERSE: u64 = 2_500_000_000;
/// β_cubic = 0.7 (§4.6), in tenths.
const BETA_TENTHS: u64 = 7;
/// α_cubic = 3·(1 − β) / (1 + β) (§4.3) = 9/17.
const ALPHA: (u64, u64) = (9, 17);
/// The curve is not followed for longer than this, in milliseconds: its cube still fits.
const LONGEST_EPOCH: i64 = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cubic {
    /// Where the curve is flat: the window before the last loss, less if they became smaller.
    maximum: u32,
    /// The window just before the last loss: where Reno's growth becomes a whole segment again.
    prior: u32,
    epoch: Option<Box<Epoch>>,
}

/// Congestion avoidance since the last loss or idle time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Epoch {
    began: Instant,
    /// K, in milliseconds.
    inflection: i64,
    /// Reno's window.
    estimate: u32,
    /// Remainders of the divisions below, so that small steps add up.
    estimate_credit: u64,
    credit: u64,
}

impl Cubic {
    pub fn acknowledged(&mut self, window: u32, ack: &Acknowledged) -> u32 {
        if self.maximum < window && self.epoch.is_none() {
            self.maximum = window;
        }
        let (maximum, prior) = (self.maximum, self.prior);
        let epoch = self.epoch.get_or_insert_with(|| Box::new(Epoch::new(ack, window, maximum)));
        epoch.follow_reno(window, prior, ack);

        // §4.2: the target is where the curve will be in a round-trip time.
        let ahead = ack.now.since(epoch.began) + ack.rtt;
        let target =
            epoch.curve(i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX), maximum, ack);
        if target < epoch.estimate {
            return epoch.estimate.max(window);
        }
        let target = target.clamp(window, window.saturating_add(window / 2));
        epoch.credit += u64::from(target - window) * u64::from(ack.bytes);
        let step = epoch.credit / u64::from(window.max(1));
        epoch.credit %= u64::from(window.max(1));
        window.saturating_add(u32::try_from(step).unwrap_or(u32::MAX))
    }

    /// §4.6 and §4.7: the threshold after a loss at `window`.
    pub fn reduced(&mut self, window: u32) -> u32 {
        self.epoch = None;
        self.prior = window;
        // Fast convergence: losses come earlier, so another flow wants its share.
        self.maximum =
            if window < self.maximum { tenths(window, 10 + BETA_TENTHS) / 2 } else { window };
        tenths(window, BETA_TENTHS)
    }

    /// RFC 8511 §3.1: 0.85 instead of 0.7.
    pub fn marked(&mut self, window: u32) -> u32 {
        let _ = self.reduced(window);
        window / 20 * 17
    }

    /// §5.8: time without sending is not time on the curve.
    pub fn restart(&mut self) {
        self.epoch = None;
    }
}

impl Epoch {
    fn new(ack: &Acknowledged, window: u32, maximum: u32) -> Self {
        // K = ∛((W_max − cwnd) / C)
        let below = u64::from(maximum.saturating_sub(window));
        let inflection =
            cube_root(u128::from(below) * u128::from(C_INVERSE) / u128::from(ack.segment.max(1)));
        Self {
            began: ack.now,
            inflection: i64::try_from(inflection).unwrap_or(LONGEST_EPOCH).min(LONGEST_EPOCH),
            estimate: window,
            estimate_credit: 0,
            credit: 0,
        }
    }

    /// §4.3: W_est grows by α segments for each window acknowledged, by one from `prior` on.
    fn follow_reno(&mut self, window: u32, prior: u32, ack: &Acknowledged) {
        let (numerator, denominator) = if self.estimate < prior { ALPHA } else { (1, 1) };
        self.estimate_credit += u64::from(ack.bytes) * u64::from(ack.segment) * numerator;
        let divisor = u64::from(window.max(1)) * denominator;
        let step = u32::try_from(self.estimate_credit / divisor).unwrap_or(u32::MAX);
        self.estimate = self.estimate.saturating_add(step);
        self.estimate_credit %= divisor;
    }

    /// W_cubic at `millis` after the beginning.
    fn curve(&self, millis: i64, maximum: u32, ack: &Acknowledged) -> u32 {
        let distance = i128::from(millis.min(2 * LONGEST_EPOCH) - self.inflection);
        let above =
            distance * distance * distance * i128::from(ack.segment) / i128::from(C_INVERSE);
        u32::try_from((i128::from(maximum) + above).max(0)).unwrap_or(u32::MAX)
    }
}

fn tenths(window: u32, count: u64) -> u32 {
    u32::try_from(u64::from(window) * count / 10).unwrap_or(u32::MAX)
}

/// The largest integer whose cube is not above `value`.
fn cube_root(value: u128) -> u64 {
    let mut root = 0u64;
    for bit in (0..42).rev() {
        let candidate = root | 1 << bit;
        if u128::from(candidate).pow(3) <= value {
            root = candidate;
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{tcp::seq::Seq, time::Duration};

    const SEGMENT: u32 = 1000;

    fn ack_at(millis: u64, bytes: u32) -> Acknowledged {
        Acknowledged {
            now: Instant::from_millis(millis),
            una: Seq(0),
            nxt: Seq(0),
            bytes,
            segment: SEGMENT,
            rtt: Duration::from_millis(100),
            sample: None,
        }
    }

    /// One window acknowledged each 100 ms.
    fn run(cubic: &mut Cubic, mut window: u32, millis: core::ops::Range<u64>) -> u32 {
        for now in millis.step_by(100) {
            for _ in 0..window / SEGMENT {
                window = cubic.acknowledged(window, &ack_at(now, SEGMENT));
            }
        }
        window
    }

    #[test]
    fn cube_roots_are_exact() {
        for (value, root) in [(0, 0), (1, 1), (7, 1), (8, 2), (26, 2), (27, 3), (1 << 120, 1 << 40)]
        {
            assert_eq!(cube_root(value), root, "{value}");
        }
    }

    #[test]
    fn the_window_is_back_where_the_loss_was_after_k() {
        let mut cubic = Cubic::default();
        let loss = 1_000 * SEGMENT;
        let window = cubic.reduced(loss);
        assert_eq!(window, 700 * SEGMENT);
        // K = ∛(300 / 0.4) = 9.08 s
        let at_k = run(&mut cubic, window, 0..9_100);
        assert!(at_k.abs_diff(loss) < loss / 100, "{at_k}");
        let early = run(&mut cubic.clone(), at_k, 9_100..11_000) - at_k;
        let later = run(&mut cubic, at_k, 9_100..13_000) - at_k;
        assert!(later > 4 * early, "convex beyond K: {early} {later}");
    }

    #[test]
    fn small_windows_grow_at_least_as_fast_as_reno_would() {
        let mut cubic = Cubic::default();
        let window = cubic.reduced(10 * SEGMENT);
        let grown = run(&mut cubic, window, 0..1_000);
        assert!(grown >= window + 5 * SEGMENT, "α is 0.53 segments a round trip: {grown}");
    }

    #[test]
    fn a_second_loss_below_the_first_makes_room_for_others() {
        let mut cubic = Cubic::default();
        assert_eq!(cubic.reduced(1_000 * SEGMENT), 700 * SEGMENT);
        assert_eq!(cubic.maximum, 1_000 * SEGMENT);
        assert_eq!(cubic.reduced(900 * SEGMENT), 630 * SEGMENT);
        assert_eq!(cubic.maximum, 765 * SEGMENT);
    }

    #[test]
    fn no_step_is_more_than_half_the_window_a_round_trip() {
        let mut cubic = Cubic::default();
        let window = cubic.acknowledged(10_000, &ack_at(0, 1000));
        let grown = run(&mut cubic, window, 3_600_000..3_600_100);
        assert!(grown <= window + window / 2 + SEGMENT, "{grown}");
    }
}
