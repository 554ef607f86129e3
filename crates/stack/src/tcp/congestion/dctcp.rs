//! Data Center TCP (RFC 8257): routers mark early, and the window falls by as much as the marked
//! part of it tells, instead of by a fixed part.
//!
//! It is for networks whose queues mark at a few packets, and where all flows have it: beside others
//! it takes more than its share. Losses are reacted to as Reno does (§3.5). What the receiving side
//! does is in `ecn`.

use super::{Acknowledged, Reno};
use crate::tcp::seq::Seq;

/// α = 1.
const WHOLE: u32 = 1024;
/// g = 1/16 (§4.2).
const GAIN_SHIFT: u32 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dctcp {
    reno: Reno,
    /// The estimate of how much is marked, in 1/1024.
    alpha: u32,
    /// Octets acknowledged in this window, and of them marked.
    acknowledged: u32,
    marked: u32,
    window_end: Option<Seq>,
}

impl Default for Dctcp {
    /// §4.2: the first mark halves the window, before anything is known.
    fn default() -> Self {
        Self { reno: Reno::default(), alpha: WHOLE, acknowledged: 0, marked: 0, window_end: None }
    }
}

impl Dctcp {
    /// §3.3: an acknowledgment, of a peer that tells for each whether what it got was marked.
    pub fn count(&mut self, octets: u32, marked: u32, una: Seq, nxt: Seq) {
        self.acknowledged = self.acknowledged.saturating_add(octets);
        self.marked = self.marked.saturating_add(marked.min(octets));
        if self.window_end.is_none_or(|end| una.at_or_after(end)) {
            if self.window_end.is_some() {
                self.estimate();
            }
            (self.acknowledged, self.marked, self.window_end) = (0, 0, Some(nxt));
        }
    }

    /// α = (1 − g)·α + g·F. What is left of α without marks goes away in the end.
    fn estimate(&mut self) {
        let share = u64::from(self.marked) * u64::from(WHOLE) / u64::from(self.acknowledged.max(1));
        let share = u32::try_from(share).unwrap_or(WHOLE).min(WHOLE);
        let fades = (self.alpha >> GAIN_SHIFT).max(self.alpha.min(1));
        self.alpha = (self.alpha - fades + (share >> GAIN_SHIFT)).min(WHOLE);
    }

    pub fn acknowledged(&mut self, window: u32, ack: &Acknowledged) -> u32 {
        self.reno.acknowledged(window, ack)
    }

    pub fn reduced(&mut self, window: u32) -> u32 {
        self.reno.reduced(window)
    }

    /// cwnd · (1 − α / 2) (§3.3).
    pub fn marked(&mut self, window: u32) -> u32 {
        let cut = u64::from(window) * u64::from(self.alpha) / u64::from(2 * WHOLE);
        window.saturating_sub(u32::try_from(cut).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of ten segments of which `marked` are; the estimate after so many.
    fn alpha_after(windows: u32, marked: u32) -> u32 {
        let mut dctcp = Dctcp::default();
        for window in 0..windows {
            for segment in 0..10 {
                let una = Seq((window * 10 + segment + 1) * 1000);
                dctcp.count(1000, if segment < marked { 1000 } else { 0 }, una, una + 10_000);
            }
        }
        dctcp.alpha
    }

    #[test]
    fn the_estimate_follows_the_part_that_is_marked() {
        assert_eq!(alpha_after(1, 0), WHOLE, "nothing is known yet");
        assert!(alpha_after(200, 0) == 0);
        assert!(alpha_after(200, 5).abs_diff(WHOLE / 2) < WHOLE / 20, "{}", alpha_after(200, 5));
        assert!(alpha_after(200, 10) > WHOLE / 20 * 19);
    }

    #[test]
    fn the_window_falls_by_half_the_estimate() {
        let mut dctcp = Dctcp::default();
        for (alpha, window) in [(WHOLE, 50_000), (WHOLE / 2, 75_000), (0, 100_000)] {
            dctcp.alpha = alpha;
            assert_eq!(dctcp.marked(100_000), window);
        }
        assert_eq!(dctcp.reduced(100_000), 50_000);
    }
}
