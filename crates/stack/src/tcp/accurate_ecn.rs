//! More accurate ECN feedback (RFC 9768): the receiver does not only say that something was marked, as in
//! RFC 3168, but how many packets were, modulo eight, in three flags of each segment (ACE); and in an option
//! how many octets came with each of the IP header's four values. So the sender learns of each mark, as DCTCP
//! and others of its kind need.
//!
//! The flags of SYNs say who can do it, and then how the SYN arrived, for somebody may have changed its mark
//! on the way (§3.1, §3.2.2.1). After that they count, from 5 (§3.2.1), so that zeroes give away who clears
//! them. Segments of all kinds may be marked, acknowledgments as well (§3.2.2.5), and nobody says CWR.
//!
//! As Linux: options have the order of kind 174; SYNs are not marked; each segment has an option if the peer was seen
//! to send one ([`CountersSent::Always`]), and SACK gives way to what has news. Unlike Linux, where options are
//! sparse the beacon (§3.2.3.3) is looked at when something arrives, not at each departure, so that what a segment
//! takes does not depend on the time.

use crate::time::{Duration, Instant};
use narrows_wire::{
    ecn::{Codepoint, Counters},
    tcp::Flags,
};

/// What the ACE field begins to count with (§3.2.1).
const FIRST_ACE: u32 = 5;
const ACE_MASK: u32 = 7;
/// Counters of octets begin with this, but for that of CE (§3.2.1): all zeroes are somebody's who clears options.
const FIRST_OCTETS: u32 = 1;
const OCTETS_MASK: u32 = (1 << 24) - 1;
/// A counter is told at least once in so many octets, well before it is ambiguous (§3.2.3.3).
const TOLD_EACH: u32 = 1 << 22;
/// Marks of so many packets are told at once, before the ACE field is ambiguous (§3.2.2.5.1).
const MOST_UNTOLD: u32 = 6;
/// Options a round trip where they are sparse (Linux: tcp_ecn_option_beacon).
const BEACONS: u32 = 3;
/// A peer that sent no option until so many octets were sent can't begin: they may have wrapped.
const TOO_LATE: u64 = (1 << 23) - 1;

/// When the option is sent (Linux: tcp_ecn_option).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountersSent {
    Never,
    /// Where there is news, and some times a round trip.
    Sparse,
    Always,
}

/// What the ACE field of a SYN-ACK, or of the segment that answers it, says of how the segment before it came
/// (§3.2.2.1).
pub(super) fn reflect(came: Codepoint) -> u8 {
    match came {
        Codepoint::NotEct => 0b010,
        Codepoint::Ect1 => 0b011,
        Codepoint::Ect0 => 0b100,
        Codepoint::Ce => 0b110,
    }
}

/// Does the field say that a segment which left unmarked came otherwise? What says nothing does not.
pub(super) fn is_mangled(ace: u8) -> bool {
    matches!(ace, 0b011 | 0b100 | 0b110)
}

/// Of packets and octets, by mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Packets that met congestion.
    pub packets: u32,
    pub ect1: u32,
    pub ce: u32,
    pub ect0: u32,
}

impl Marks {
    fn octets(&mut self, mark: Codepoint) -> Option<&mut u32> {
        match mark {
            Codepoint::NotEct => None,
            Codepoint::Ect1 => Some(&mut self.ect1),
            Codepoint::Ce => Some(&mut self.ce),
            Codepoint::Ect0 => Some(&mut self.ect0),
        }
    }
}

/// How far the peer's options can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Empty,
    Counters,
    /// Somebody changes them, or they began too late.
    Broken,
}

/// What an acknowledgment says of what it acknowledges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Feedback<'a> {
    pub ace: u8,
    pub counters: Option<&'a Counters>,
    /// What is newly known to have arrived.
    pub octets: u32,
    pub segment: u32,
    /// Sent so far.
    pub sent: u64,
}

/// What is under way in a connection that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accurate {
    /// What came, and what the peer says that it got.
    pub received: Marks,
    pub delivered: Marks,
    /// Marked packets that the peer was not told of.
    untold: u32,
    /// The mark of what came last.
    last: Codepoint,
    /// The mark of the octets that the peer acknowledged last, as far as that is clear.
    estimate: Codepoint,
    seen: Seen,
    /// So many segments must have an option, with as many counters.
    demanded: u8,
    needed: u8,
    beacon_at: Instant,
    /// The next acknowledgment says how the peer's SYN-ACK came, and does not count.
    reflects: Option<Codepoint>,
    /// Somebody on the way changes marks or flags: nothing is marked any more. What comes is still told.
    pub silent: bool,
    /// The peer's counts can't be believed.
    deaf: bool,
    /// Text was acknowledged: zero as a count may be right from now on.
    proven: bool,
}

impl Accurate {
    /// `came`: the mark of the peer's SYN.
    pub fn new(now: Instant, came: Codepoint, silent: bool) -> Self {
        Self {
            received: Marks::default(),
            delivered: Marks::default(),
            untold: 0,
            last: came,
            estimate: Codepoint::NotEct,
            seen: Seen::Nothing,
            demanded: 0,
            needed: 0,
            beacon_at: now,
            reflects: None,
            silent,
            deaf: false,
            proven: false,
        }
    }

    /// The peer's SYN-ACK came with `mark`, and said `ace` of our SYN.
    pub fn begin_active(&mut self, mark: Codepoint, ace: u8, counters: Option<&Counters>) {
        self.reflects = Some(mark);
        self.silent |= is_mangled(ace);
        if mark == Codepoint::Ce && !is_mangled(ace) {
            self.received.packets = 1;
            self.untold = 1;
        }
        if let Some(counters) = counters {
            self.see(counters);
            self.demanded = 2;
        }
    }

    /// The flags of our SYN-ACK: how the peer's SYN came.
    pub fn mark_syn_ack(&self, flags: Flags) -> Flags {
        flags.with_ace(reflect(self.last))
    }

    /// The segment that ends the handshake says `ace` of our SYN-ACK (§3.2.2.1, §3.2.2.4), or counts already if it
    /// has text.
    pub fn begin_passive(&mut self, ace: u8, pure: bool, counters: Option<&Counters>) {
        self.demanded = self.demanded.max(1);
        if let Some(counters) = counters {
            self.see(counters);
        }
        if ace == 0 {
            (self.silent, self.deaf) = (true, true);
            self.seen = Seen::Broken;
        } else if pure {
            self.silent |= is_mangled(ace);
        }
    }

    /// A segment came, or several as one. Says whether the peer should hear of that at once.
    pub fn received(&mut self, mark: Codepoint, segments: u32, octets: u32) -> bool {
        if mark == Codepoint::Ce {
            self.received.packets = self.received.packets.wrapping_add(segments);
            self.untold = self.untold.saturating_add(segments);
        }
        if let Some(count) = self.received.octets(mark).filter(|_| octets > 0) {
            let before = *count;
            *count = before.wrapping_add(octets);
            let told_again = before / TOLD_EACH != *count / TOLD_EACH;
            self.demanded = self.demanded.max(u8::from(told_again));
            self.needed = self.needed.max(match mark {
                Codepoint::NotEct => 0,
                Codepoint::Ect1 => 1,
                Codepoint::Ce => 2,
                Codepoint::Ect0 => 3,
            });
        }
        let changed = mark != self.last;
        self.last = mark;
        if changed || mark == Codepoint::Ce {
            // The first has two counters that grow, and does not say which is which now (§3.2.3.3).
            self.demanded = 2;
        }
        changed || self.untold >= MOST_UNTOLD
    }

    /// Some time has passed: where options are sparse, is one due?
    pub fn note_time(&mut self, now: Instant, rtt: Duration) {
        if now >= self.beacon_at {
            self.beacon_at = now + rtt / BEACONS;
            self.demanded = self.demanded.max(1);
        }
    }

    /// The flags of a segment that leaves; `pure`: without text.
    pub fn flags(&self, flags: Flags, pure: bool) -> Flags {
        match self.reflects.filter(|_| pure) {
            Some(mark) => flags.with_ace(reflect(mark)),
            None => {
                flags.with_ace((self.received.packets.wrapping_add(FIRST_ACE) & ACE_MASK) as u8)
            }
        }
    }

    /// Do the flags look like CWR? Devices that cut segments keep that for the first alone.
    pub fn looks_reduced(&self) -> bool {
        self.flags(Flags::default(), false).contains(Flags::CWR)
    }

    /// The peer's SYN-ACK came again: what answers it says with which mark.
    pub fn reflect_again(&mut self, mark: Codepoint) {
        self.reflects = Some(mark);
    }

    /// The counters that the next segment should have, and how many of them it must not leave out.
    pub fn counters(&self, sent: CountersSent) -> Option<(Counters, usize)> {
        let seen = matches!(self.seen, Seen::Empty | Seen::Counters);
        let due = match sent {
            CountersSent::Never => false,
            CountersSent::Sparse => self.demanded > 0,
            CountersSent::Always => true,
        };
        (seen && due).then(|| (first_counters(&self.received), usize::from(self.needed)))
    }

    /// A segment left, with counters or without.
    pub fn sent(&mut self, with_counters: bool) {
        self.untold = 0;
        self.reflects = None;
        if with_counters {
            self.needed = 0;
            self.demanded = self.demanded.saturating_sub(1);
        }
    }

    /// An acknowledgment came that has news: how many more packets came marked, as far as the counts can tell.
    /// Where more than seven were acknowledged they are taken to have wrapped, unless the option
    /// says otherwise (§3.2.2.5, §A.2).
    pub fn told(&mut self, feedback: &Feedback<'_>) -> u32 {
        let ce = self.delivered.ce;
        let believed = self.learn(feedback);
        if feedback.octets > 0 && !self.proven {
            self.proven = true;
            // §3.2.2.4
            if feedback.ace == 0 {
                (self.silent, self.deaf) = (true, true);
                self.seen = Seen::Broken;
            }
        }
        if self.deaf {
            return 0;
        }
        let counted = u32::from(feedback.ace).wrapping_sub(FIRST_ACE);
        let least = counted.wrapping_sub(self.delivered.packets) & ACE_MASK;
        let packets = feedback.octets.div_ceil(feedback.segment.max(1));
        let news = if packets <= ACE_MASK {
            least
        } else {
            let most = packets - ((packets - least) & ACE_MASK);
            let octets = self.delivered.ce.wrapping_sub(ce);
            let segments = |count: u32| count.saturating_mul(feedback.segment);
            if believed && (octets == 0 || octets <= segments(least) || octets < segments(most) / 2)
            {
                least
            } else {
                most
            }
        };
        self.delivered.packets = self.delivered.packets.wrapping_add(news);
        news
    }

    /// What the option says, or would if it was there. Says whether how many octets came marked is known
    /// since the last time.
    fn learn(&mut self, feedback: &Feedback<'_>) -> bool {
        if self.seen == Seen::Broken {
            return false;
        }
        let estimate = self.estimate;
        let Some(counters) = feedback.counters else {
            if self.seen == Seen::Nothing && feedback.sent >= TOO_LATE {
                self.seen = Seen::Broken;
            }
            return match self.delivered.octets(estimate) {
                Some(count) if self.seen != Seen::Nothing => {
                    *count = count.wrapping_add(feedback.octets);
                    true
                }
                _ => false,
            };
        };
        if self.seen != Seen::Counters {
            self.see(counters);
        }
        let mut clear = estimate != Codepoint::NotEct;
        let (mut ambiguous, mut changed) = (false, false);
        for (mark, told, first) in [
            (Codepoint::Ect1, counters.ect1(), FIRST_OCTETS),
            (Codepoint::Ce, counters.ce(), 0),
            (Codepoint::Ect0, counters.ect0(), FIRST_OCTETS),
        ] {
            let Some((told, count)) = told.zip(self.delivered.octets(mark)) else { continue };
            let grown = told.wrapping_sub(first).wrapping_sub(*count) & OCTETS_MASK;
            // More than half of the range is less: an older acknowledgment (§3.2.3).
            let back = grown > OCTETS_MASK / 2;
            *count = count.wrapping_add(if back { grown | !OCTETS_MASK } else { grown });
            if grown == 0 {
                continue;
            }
            ambiguous |= back;
            if mark != estimate {
                ambiguous |= changed;
                if !changed {
                    self.estimate = mark;
                }
                changed = true;
            }
        }
        if ambiguous {
            self.estimate = Codepoint::NotEct;
            clear = false;
        }
        clear
    }

    /// The first options, of a SYN-ACK or of what answers it: zeroes come from somebody who clears them (§3.2.3.2.4).
    fn see(&mut self, counters: &Counters) {
        let empty = counters.is_empty();
        let cleared = counters.ect1() == Some(0) || counters.ect0() == Some(0);
        self.seen = match (empty, cleared) {
            (true, _) => Seen::Empty,
            (false, true) => Seen::Broken,
            (false, false) => Seen::Counters,
        };
    }
}

/// As the option has them, of what was received.
pub(super) fn first_counters(received: &Marks) -> Counters {
    let field = |count: u32, first: u32| Some(count.wrapping_add(first) & OCTETS_MASK);
    Counters::new(
        field(received.ect1, FIRST_OCTETS),
        field(received.ce, 0),
        field(received.ect0, FIRST_OCTETS),
    )
}

#[cfg(test)]
mod tests;
