//! When to acknowledge (RFC 9293 §3.8.6.3, RFC 5681 §4.2), with Linux's refinements: at once while
//! a flow begins, so that the peer's window grows; later when the program is likely to answer, so
//! that the answer carries it.

use crate::time::{Duration, Instant};

/// The longest delay, and Linux's usual one.
pub(super) const MAX_DELAY: Duration = Duration::from_millis(40);
/// Acknowledgments sent at once at the beginning, and after a pause.
const QUICK_ACKS: u8 = 16;
/// A pause that makes a flow begin anew.
const PAUSE: Duration = Duration::from_secs(1);
/// A segment of less does not lower the estimate of a full one.
const MIN_SEGMENT: u32 = 536;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Need {
    #[default]
    Nothing,
    /// Within [`MAX_DELAY`].
    Soon,
    Now,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acks {
    need: Need,
    quick: u8,
    /// The program answers what it receives.
    interactive: bool,
    /// Text came, or ours was ready before the handshake was done: from then on it shows whether the
    /// program answers.
    talks: bool,
    /// The peer pushed what is not acknowledged.
    pushed: bool,
    /// Payload of the peer's full-sized segments, as far as seen.
    segment: u32,
    received_at: Instant,
}

impl Acks {
    pub fn new(now: Instant) -> Self {
        Self {
            need: Need::Nothing,
            quick: QUICK_ACKS,
            interactive: false,
            talks: false,
            pushed: false,
            segment: MIN_SEGMENT,
            received_at: now,
        }
    }

    /// The handshake is done, and the peer waits to hear it.
    /// Is text `ready` to leave at once, with the acknowledgment?
    pub fn begin(&mut self, now: Instant, ready: bool) {
        self.talks = ready;
        self.received_at = now;
        self.need = if ready { Need::Soon } else { Need::Now };
    }

    /// When text last came.
    pub fn received_at(&self) -> Instant {
        self.received_at
    }

    pub fn need(&self) -> Need {
        self.need
    }

    pub fn now(&mut self) {
        self.need = Need::Now;
    }

    /// Something was lost or came twice: the peer is feeling its way, and waits for every word.
    pub fn disturbed(&mut self) {
        self.need = Need::Now;
        self.quick = QUICK_ACKS;
    }

    /// So many bytes came out of order: as those in order, they show how long segments are.
    pub fn overtaken(&mut self, len: u32, mss: u32) {
        self.segment = self.segment.max(len.min(mss));
    }

    /// `len` bytes came in order; `unacknowledged` have, that the peer was not told of; `mss` is
    /// the most that one segment holds (several may have come as one).
    pub fn received(
        &mut self,
        now: Instant,
        len: u32,
        unacknowledged: u32,
        mss: u32,
        pushed: bool,
    ) {
        if now.since(self.received_at) > PAUSE {
            self.quick = QUICK_ACKS;
        }
        self.received_at = now;
        self.talks = true;
        self.pushed |= pushed;
        self.segment = self.segment.max(len.min(mss));
        let quick = self.quick > 0 && !self.interactive;
        if quick || unacknowledged > self.segment {
            self.need = Need::Now;
        } else if self.need == Need::Nothing {
            self.need = Need::Soon;
        }
    }

    /// An acknowledgment left, with or without text.
    pub fn sent(&mut self) {
        if self.need != Need::Nothing {
            self.quick = self.quick.saturating_sub(1);
        }
        self.need = Need::Nothing;
        self.pushed = false;
    }

    /// Text left: soon after some came, that is an answer.
    pub fn answered(&mut self, now: Instant) {
        if self.talks && now.since(self.received_at) < MAX_DELAY {
            self.interactive = true;
        }
    }

    /// The program took all there was. If the peer pushed it, it may be waiting for us.
    pub fn drained(&mut self) {
        if self.need == Need::Soon && self.pushed && !self.interactive {
            self.need = Need::Now;
        }
    }

    /// TCP_QUICKACK: at once from now on for a while; or as if the program answered what it gets.
    pub fn set_quick(&mut self, on: bool) {
        self.interactive = !on;
        self.quick = if on { QUICK_ACKS } else { 0 };
        if on && self.need == Need::Soon {
            self.need = Need::Now;
        }
    }

    /// Payload of the peer's full-sized segments, as far as seen.
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// How long an acknowledgment waits for text to go with.
    pub fn delay(&self) -> Duration {
        if self.is_quick() { Duration::ZERO } else { MAX_DELAY }
    }

    /// Are acknowledgments sent at once?
    pub fn is_quick(&self) -> bool {
        self.quick > 0 && !self.interactive
    }

    /// The delay is over, and the program did not answer.
    pub fn expired(&mut self) {
        if self.need == Need::Soon {
            self.interactive = false;
            self.need = Need::Now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Instant = Instant::from_millis;

    fn steady() -> Acks {
        Acks { quick: 0, segment: 1448, ..Acks::new(AT(0)) }
    }

    #[test]
    fn the_second_full_segment_is_acknowledged_at_once() {
        for (lens, need) in [
            (&[1448][..], Need::Soon),
            (&[1448, 1448], Need::Now),
            (&[100, 100], Need::Soon),
            (&[65_160], Need::Now),
            (&[1448, 1], Need::Now),
        ] {
            let mut acks = steady();
            let mut unacknowledged = 0;
            for len in lens {
                unacknowledged += len;
                acks.received(AT(1), *len, unacknowledged, 1448, false);
            }
            assert_eq!(acks.need(), need, "{lens:?}");
        }
    }

    #[test]
    fn a_flow_begins_with_quick_acknowledgments_and_again_after_a_pause() {
        let mut acks = Acks::new(AT(0));
        for i in 0..u64::from(QUICK_ACKS) {
            acks.received(AT(i), 10, 10, 1448, false);
            assert_eq!(acks.need(), Need::Now);
            acks.sent();
        }
        acks.received(AT(20), 10, 10, 1448, false);
        assert_eq!(acks.need(), Need::Soon);
        acks.sent();
        acks.received(AT(2000), 10, 10, 1448, false);
        assert_eq!(acks.need(), Need::Now);
    }

    #[test]
    fn a_program_that_answers_makes_acknowledgments_wait_for_the_answer() {
        let mut acks = Acks::new(AT(0));
        acks.received(AT(0), 10, 10, 1448, true);
        acks.answered(AT(1));
        acks.sent();
        acks.received(AT(2), 10, 10, 1448, true);
        acks.drained();
        assert_eq!(acks.need(), Need::Soon);
        acks.expired();
        assert_eq!((acks.need(), acks.interactive), (Need::Now, false));
    }

    #[test]
    fn pushed_text_is_acknowledged_once_it_is_read() {
        for (pushed, need) in [(true, Need::Now), (false, Need::Soon)] {
            let mut acks = steady();
            acks.received(AT(1), 10, 10, 1448, pushed);
            acks.drained();
            assert_eq!(acks.need(), need);
        }
    }
}
