//! Additive increase, multiplicative decrease (RFC 5681).

use super::Acknowledged;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reno {
    /// Acknowledged since the window last grew.
    counted: u32,
}

impl Reno {
    /// One segment more for each window acknowledged (RFC 5681 §3.1, counted as in RFC 3465 §2.1).
    pub fn acknowledged(&mut self, window: u32, ack: &Acknowledged) -> u32 {
        self.counted = self.counted.saturating_add(ack.bytes);
        if self.counted < window {
            return window;
        }
        self.counted -= window;
        window.saturating_add(ack.segment)
    }

    /// RFC 5681 §3.1 equation 4.
    pub fn reduced(&mut self, window: u32) -> u32 {
        self.counted = 0;
        window / 2
    }

    /// RFC 8511 §3.1: four fifths.
    pub fn marked(&mut self, window: u32) -> u32 {
        self.counted = 0;
        window / 5 * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        tcp::seq::Seq,
        time::{Duration, Instant},
    };

    #[test]
    fn the_window_grows_by_a_segment_a_round_trip() {
        let mut reno = Reno::default();
        let mut window = 10_000;
        let ack = Acknowledged {
            now: Instant::ZERO,
            una: Seq(0),
            nxt: Seq(0),
            bytes: 1000,
            segment: 1000,
            rtt: Duration::ZERO,
            sample: None,
        };
        for round in 1..=5 {
            for _ in 0..window / 1000 {
                window = reno.acknowledged(window, &ack);
            }
            assert_eq!(window, 10_000 + round * 1000);
        }
        assert_eq!(reno.reduced(window), 7_500);
    }
}
