//! Congestion control: how much may be in flight. Windows are in bytes.
//!
//! [`Congestion`] holds what every algorithm has (window, slow start threshold, slow start itself)
//! and asks the algorithm two things: how the window grows in congestion avoidance, and to what it
//! falls after a loss. What is lost, and when to retransmit, is decided in `recovery`.

mod cubic;
mod hystart;
mod reno;

use super::seq::Seq;
use crate::time::{Duration, Instant};
use cubic::Cubic;
use hystart::{Growth, HyStart};
use reno::Reno;

/// RFC 6928 §2.
const INITIAL_WINDOW_SEGMENTS: u32 = 10;
const INITIAL_WINDOW_BYTES: u32 = 14_600;
/// A window is never more: sums of two still fit.
const MAX_WINDOW: u32 = 1 << 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// NewReno (RFC 5681, RFC 6582).
    Reno,
    /// CUBIC (RFC 9438).
    Cubic,
}

impl Algorithm {
    /// As Linux names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Reno, Self::Cubic].into_iter().find(|algorithm| algorithm.name() == name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Control {
    Reno(Reno),
    Cubic(Cubic),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Congestion {
    pub window: u32,
    pub threshold: u32,
    control: Control,
    hystart: HyStart,
}

/// What an acknowledgment says to congestion control.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub now: Instant,
    /// `snd_una` and `snd_nxt` after it.
    pub una: Seq,
    pub nxt: Seq,
    pub bytes: u32,
    /// Payload of a full-sized segment.
    pub segment: u32,
    /// Smoothed.
    pub rtt: Duration,
    /// This one's own.
    pub sample: Option<Duration>,
}

/// What a loss undone restores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Before(Box<Congestion>);

impl Congestion {
    pub fn new(algorithm: Algorithm, segment: u32) -> Self {
        Self {
            window: initial_window(segment),
            threshold: MAX_WINDOW,
            control: control(algorithm),
            hystart: HyStart::default(),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.control {
            Control::Reno(_) => Algorithm::Reno,
            Control::Cubic(_) => Algorithm::Cubic,
        }
    }

    /// Changes the algorithm and keeps the window.
    pub fn set_algorithm(&mut self, algorithm: Algorithm) {
        if algorithm != self.algorithm() {
            self.control = control(algorithm);
        }
    }

    /// The segment size became known. After a lost SYN the window begins at one segment
    /// (RFC 5681 §3.1).
    pub fn begin(&mut self, segment: u32, syn_was_lost: bool) {
        self.window = if syn_was_lost { segment } else { initial_window(segment) };
    }

    pub fn in_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// New data was acknowledged while the window was what limited the flight.
    pub fn acknowledged(&mut self, ack: Acknowledged) {
        let mut ack = ack;
        if self.in_slow_start() {
            // Only the first slow start goes into the unknown; later ones have a threshold.
            if self.threshold == MAX_WINDOW {
                match self.hystart.acknowledged(&ack) {
                    Growth::By(bytes) => ack.bytes = bytes,
                    Growth::Leave => self.threshold = self.window,
                }
            }
            // RFC 5681 §3.1 with appropriate byte counting as Linux has it: all that was
            // acknowledged counts, since one acknowledgment may stand for 64 KiB.
            let step = ack.bytes.min(self.threshold - self.window);
            self.window = (self.window + step).min(MAX_WINDOW);
            ack.bytes -= step;
            if ack.bytes == 0 {
                return;
            }
        }
        let window = match &mut self.control {
            Control::Reno(reno) => reno.acknowledged(self.window, &ack),
            Control::Cubic(cubic) => cubic.acknowledged(self.window, &ack),
        };
        self.window = window.clamp(ack.segment, MAX_WINDOW);
    }

    /// A loss was found: sets the threshold. The window follows it as recovery goes on.
    #[must_use]
    pub fn reduce(&mut self, segment: u32) -> Before {
        let before = Before(Box::new(self.clone()));
        let target = match &mut self.control {
            Control::Reno(reno) => reno.reduced(self.window),
            Control::Cubic(cubic) => cubic.reduced(self.window),
        };
        self.threshold = target.max(2 * segment);
        before
    }

    /// A router marked something: less than after a loss (RFC 8511), and at once.
    pub fn mark(&mut self, segment: u32) {
        let target = match &mut self.control {
            Control::Reno(reno) => reno.marked(self.window),
            Control::Cubic(cubic) => cubic.marked(self.window),
        };
        self.threshold = target.max(2 * segment);
        self.window = self.window.min(self.threshold);
    }

    /// The loss was none. Windows that grew since stay.
    pub fn undo(&mut self, before: Before) {
        let window = self.window;
        *self = *before.0;
        self.window = self.window.max(window);
    }

    /// Nothing was sent for `idle`: what was known of the path fades (RFC 5681 §4.1, as Linux
    /// does it: halved for each timeout that passed, not below the initial window).
    pub fn restart(&mut self, idle: Duration, timeout: Duration, segment: u32) {
        let floor = initial_window(segment).min(self.window);
        self.threshold = self.threshold.max(self.window / 4 * 3);
        let mut idle = idle;
        while idle > timeout && self.window > floor {
            self.window = (self.window / 2).max(floor);
            idle -= timeout;
        }
        if let Control::Cubic(cubic) = &mut self.control {
            cubic.restart();
        }
    }
}

fn control(algorithm: Algorithm) -> Control {
    match algorithm {
        Algorithm::Reno => Control::Reno(Reno::default()),
        Algorithm::Cubic => Control::Cubic(Cubic::default()),
    }
}

fn initial_window(segment: u32) -> u32 {
    (INITIAL_WINDOW_SEGMENTS * segment).min(INITIAL_WINDOW_BYTES.max(2 * segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u32 = 1448;

    fn ack(bytes: u32) -> Acknowledged {
        Acknowledged {
            now: Instant::ZERO,
            una: Seq(0),
            nxt: Seq(0),
            bytes,
            segment: SEGMENT,
            rtt: Duration::from_millis(1),
            sample: None,
        }
    }

    #[test]
    fn slow_start_doubles_a_window_in_a_round_trip() {
        for algorithm in [Algorithm::Reno, Algorithm::Cubic] {
            let mut congestion = Congestion::new(algorithm, SEGMENT);
            assert_eq!(congestion.window, 10 * SEGMENT);
            congestion.acknowledged(ack(10 * SEGMENT));
            assert_eq!(congestion.window, 20 * SEGMENT);
        }
    }

    #[test]
    fn the_initial_window_is_that_of_rfc_6928() {
        for (segment, window) in [(536, 5360), (1460, 14_600), (8960, 17_920), (65_495, 130_990)] {
            assert_eq!(initial_window(segment), window);
        }
    }

    #[test]
    fn a_loss_sets_the_threshold_and_can_be_undone() {
        for (algorithm, fraction) in [(Algorithm::Reno, 500), (Algorithm::Cubic, 700)] {
            let mut congestion = Congestion::new(algorithm, SEGMENT);
            congestion.window = 100 * SEGMENT;
            let untouched = congestion.clone();
            let before = congestion.reduce(SEGMENT);
            assert_eq!(congestion.threshold, 100 * SEGMENT / 10 * fraction / 100);
            congestion.window = congestion.threshold;
            congestion.undo(before);
            assert_eq!(congestion, untouched);
        }
    }

    #[test]
    fn the_threshold_has_a_floor_of_two_segments() {
        let mut congestion = Congestion::new(Algorithm::Cubic, SEGMENT);
        congestion.window = SEGMENT;
        let _ = congestion.reduce(SEGMENT);
        assert_eq!(congestion.threshold, 2 * SEGMENT);
    }

    #[test]
    fn idleness_halves_the_window_down_to_the_initial_one() {
        let second = Duration::from_secs(1);
        for (idle, window) in [(0, 160), (2, 80), (3, 40), (60, 10)] {
            let mut congestion = Congestion::new(Algorithm::Cubic, SEGMENT);
            congestion.window = 160 * SEGMENT;
            congestion.restart(Duration::from_secs(idle), second, SEGMENT);
            assert_eq!(congestion.window, window * SEGMENT, "{idle} s");
        }
    }

    #[test]
    fn names_are_those_of_linux() {
        for algorithm in [Algorithm::Reno, Algorithm::Cubic] {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        assert_eq!(Algorithm::from_name("bbr"), None);
    }
}
