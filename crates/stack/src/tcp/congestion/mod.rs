//! Congestion control: how much may be in flight. Windows are in bytes.
//!
//! [`Congestion`] holds what every algorithm has (window, slow start threshold, slow start itself)
//! and asks the algorithm two things: how the window grows in congestion avoidance, and to what it
//! falls after a loss. What is lost, and when to retransmit, is decided in `recovery`.
//!
//! BBR is of another kind: it sets the window, and the rate of sending, from a model of the path at
//! each acknowledgment ([`Congestion::model`]); losses and slow start are its own.

mod bbr;
mod cubic;
mod dctcp;
mod hystart;
mod reno;

pub(super) use bbr::{Bbr, Step};

use super::seq::Seq;
use crate::time::{Duration, Instant};
use cubic::Cubic;
use dctcp::Dctcp;
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
    /// BBR version 3 (draft-ietf-ccwg-bbr).
    Bbr,
    /// Data Center TCP (RFC 8257).
    Dctcp,
}

impl Algorithm {
    pub const ALL: [Self; 4] = [Self::Reno, Self::Cubic, Self::Bbr, Self::Dctcp];

    /// As Linux names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reno => "reno",
            Self::Cubic => "cubic",
            Self::Bbr => "bbr",
            Self::Dctcp => "dctcp",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Control {
    Reno(Reno),
    Cubic(Cubic),
    Dctcp(Dctcp),
    /// Few connections have it, and it is large.
    Bbr(Box<Bbr>),
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

/// What a loss undone restores; `None` where the algorithm took no step that could be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Before(Option<Box<Congestion>>);

impl Congestion {
    /// `seed` is any number that others can't know.
    pub fn new(now: Instant, algorithm: Algorithm, segment: u32, seed: u32) -> Self {
        let window = initial_window(segment);
        Self {
            window,
            threshold: MAX_WINDOW,
            control: control(now, algorithm, window, seed),
            hystart: HyStart::default(),
        }
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.control {
            Control::Reno(_) => Algorithm::Reno,
            Control::Cubic(_) => Algorithm::Cubic,
            Control::Dctcp(_) => Algorithm::Dctcp,
            Control::Bbr(_) => Algorithm::Bbr,
        }
    }

    /// Changes the algorithm and keeps the window.
    pub fn set_algorithm(&mut self, now: Instant, algorithm: Algorithm, seed: u32) {
        if algorithm != self.algorithm() {
            self.control = control(now, algorithm, self.window, seed);
        }
    }

    /// The segment size became known. After a lost SYN the window begins at one segment
    /// (RFC 5681 §3.1). `rtt`: what the handshake took, if that is clear.
    pub fn begin(&mut self, segment: u32, syn_was_lost: bool, rtt: Option<Duration>) {
        self.window = if syn_was_lost { segment } else { initial_window(segment) };
        if let Control::Bbr(bbr) = &mut self.control {
            bbr.begin(self.window, rtt);
        }
    }

    pub fn in_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// `None`: there was no loss yet, nor anything else that would have set it.
    pub fn threshold(&self) -> Option<u32> {
        (self.threshold != MAX_WINDOW).then_some(self.threshold)
    }

    /// Does it live on marks, and expect the peer to tell of each (RFC 8257)?
    pub fn needs_marks(&self) -> bool {
        matches!(self.control, Control::Dctcp(_))
    }

    /// The algorithm that sets window and rate from a model of the path.
    pub fn model(&mut self) -> Option<&mut Bbr> {
        match &mut self.control {
            Control::Bbr(bbr) => Some(bbr),
            _ => None,
        }
    }

    pub fn has_model(&self) -> bool {
        matches!(self.control, Control::Bbr(_))
    }

    /// Octets a second that the model wants to leave.
    pub fn model_rate(&self) -> Option<u64> {
        match &self.control {
            Control::Bbr(bbr) => Some(bbr.pacing_rate()),
            _ => None,
        }
    }

    /// Octets a second that the path is believed to deliver.
    pub fn model_bandwidth(&self) -> Option<u64> {
        match &self.control {
            Control::Bbr(bbr) => Some(bbr.bandwidth()),
            _ => None,
        }
    }

    /// Octets a second that let a window leave well within a round trip, as Linux has it
    /// (tcp_pacing_ss_ratio, tcp_pacing_ca_ratio).
    pub fn window_rate(&self, rtt: Duration) -> u64 {
        let percent = if self.window < self.threshold / 2 { 200 } else { 120 };
        let octets = u128::from(self.window) * percent / 100;
        match rtt.as_nanos() {
            0 => u64::MAX,
            nanos => u64::try_from(octets * 1_000_000_000 / nanos).unwrap_or(u64::MAX),
        }
    }

    /// What an acknowledgment says to an algorithm with a model.
    pub fn step(&mut self, step: &Step) {
        if let Control::Bbr(bbr) = &mut self.control {
            self.window = bbr.acknowledged(self.window, step).clamp(step.segment, MAX_WINDOW);
        }
    }

    /// New data was acknowledged while the window was what limited the flight.
    pub fn acknowledged(&mut self, ack: Acknowledged) {
        let mut ack = ack;
        if self.has_model() {
            return;
        }
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
            Control::Dctcp(dctcp) => dctcp.acknowledged(self.window, &ack),
            Control::Bbr(_) => return,
        };
        self.window = window.clamp(ack.segment, MAX_WINDOW);
    }

    /// Octets up to `una` were acknowledged; so many of them came marked.
    pub fn count_marks(&mut self, octets: u32, marked: u32, una: Seq, nxt: Seq) {
        if let Control::Dctcp(dctcp) = &mut self.control {
            dctcp.count(octets, marked, una, nxt);
        }
    }

    /// A loss was found: sets the threshold. The window follows it as recovery goes on.
    #[must_use]
    pub fn reduce(&mut self, segment: u32) -> Before {
        if self.has_model() {
            return Before(None);
        }
        let before = Before(Some(Box::new(self.clone())));
        let target = match &mut self.control {
            Control::Reno(reno) => reno.reduced(self.window),
            Control::Cubic(cubic) => cubic.reduced(self.window),
            Control::Dctcp(dctcp) => dctcp.reduced(self.window),
            Control::Bbr(_) => return before,
        };
        self.threshold = target.max(2 * segment);
        before
    }

    /// The window for this moment of a repair.
    pub fn repairing(&mut self, window: u32) {
        if !self.has_model() {
            self.window = window;
        }
    }

    /// What was lost is repaired; `reduced`: at a rate that led the flight down to the threshold.
    pub fn repaired(&mut self, reduced: bool) {
        match &mut self.control {
            Control::Bbr(bbr) => self.window = bbr.recovered(self.window),
            _ if reduced => self.window = self.threshold,
            _ => {}
        }
    }

    /// A timeout: `in_flight` is all that still may arrive.
    pub fn timed_out(&mut self, in_flight: u32, segment: u32) {
        self.window = match &mut self.control {
            Control::Bbr(bbr) => bbr.timed_out(self.window, in_flight, segment),
            _ => in_flight.saturating_add(segment),
        };
    }

    /// A router marked something: less than after a loss (RFC 8511), and at once.
    pub fn mark(&mut self, segment: u32) {
        let target = match &mut self.control {
            Control::Reno(reno) => reno.marked(self.window),
            Control::Cubic(cubic) => cubic.marked(self.window),
            Control::Dctcp(dctcp) => dctcp.marked(self.window),
            Control::Bbr(bbr) => return bbr.marked(),
        };
        self.threshold = target.max(2 * segment);
        self.window = self.window.min(self.threshold);
    }

    /// The loss was none. Windows that grew since stay.
    pub fn undo(&mut self, before: Before) {
        let window = self.window;
        if let Control::Bbr(bbr) = &mut self.control {
            bbr.undo();
            self.window = bbr.recovered(window);
        } else if let Some(before) = before.0 {
            *self = *before;
            self.window = self.window.max(window);
        }
    }

    /// Nothing was sent for `idle`: what was known of the path fades (RFC 5681 §4.1, as Linux
    /// does it: halved for each timeout that passed, not below the initial window).
    pub fn restart(&mut self, now: Instant, idle: Duration, timeout: Duration, segment: u32) {
        if let Control::Bbr(bbr) = &mut self.control {
            // Its rate is that of the path: it leads to no burst.
            return bbr.restart(now);
        }
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

fn control(now: Instant, algorithm: Algorithm, window: u32, seed: u32) -> Control {
    match algorithm {
        Algorithm::Reno => Control::Reno(Reno::default()),
        Algorithm::Cubic => Control::Cubic(Cubic::default()),
        Algorithm::Dctcp => Control::Dctcp(Dctcp::default()),
        Algorithm::Bbr => Control::Bbr(Box::new(Bbr::new(now, window, seed))),
    }
}

fn initial_window(segment: u32) -> u32 {
    (INITIAL_WINDOW_SEGMENTS * segment).min(INITIAL_WINDOW_BYTES.max(2 * segment))
}

#[cfg(test)]
mod tests;
