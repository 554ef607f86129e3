//! SYN cookies: handshakes of which a listener keeps nothing (RFC 4987 §3.6).
//!
//! When a listener has as many handshakes under way as it may have, what it would have to remember of
//! one goes into the SYN-ACK: its sequence number is a keyed hash of the flow, the peer's number, a slot
//! of a minute and one of four segment sizes; and if the peer has timestamps, the last six bits of ours
//! say what else was agreed on: window scale, SACK and ECN, as Linux has them there. Who
//! acknowledges that within two slots had the SYN-ACK, and gets a connection. Without timestamps such a
//! connection has no options; a lost SYN-ACK is not sent again, but for a SYN that is.
//!
//! A forger has to guess 22 of the 24 bits of the second hash, each time he tries, for one of two slots; and
//! only while a listener has been full within the last two minutes. The key is made at the start.

use super::{ecn::Feedback, options::Negotiated, seq::Seq};
use crate::{
    random::Key,
    time::{Duration, Instant},
};
use core::hash::Hash;

/// Linux's, for IPv4: what is most common among those that a peer may have told.
const SEGMENT_SIZES: [u16; 4] = [536, 1300, 1440, 1460];
/// Linux's: a handshake may take so long, and then one more slot.
const SLOT: Duration = Duration::from_secs(60);
/// Slots in which a cookie is good.
const SLOTS: u32 = 2;
/// Of the second hash, below the slot's number.
const HASH_BITS: u32 = 24;
const HASH: u32 = (1 << HASH_BITS) - 1;

/// Of a timestamp, below its clock.
const OPTION_BITS: u32 = 6;
const OPTIONS: u32 = (1 << OPTION_BITS) - 1;
const SCALE: u32 = 0xf;
/// A peer that does not scale windows; real scales end at 14.
const NO_SCALE: u32 = 0xf;
const SACK: u32 = 1 << 4;
const ECN: u32 = 1 << 5;

/// How long after a cookie was sent its answer may come.
pub const VALIDITY: Duration = Duration::from_secs(SLOT.as_secs() * SLOTS as u64);

/// Makes and knows cookies.
#[derive(Clone, Copy, Debug)]
pub struct Cookies {
    pub first: Key,
    pub second: Key,
}

impl Cookies {
    /// The sequence number of a SYN-ACK, and the segment size that it stands for.
    pub fn sequence(&self, now: Instant, flow: &impl Hash, irs: u32, mss: u16) -> u32 {
        let index = SEGMENT_SIZES.iter().rposition(|size| *size <= mss).unwrap_or(0);
        let slot = slot(now);
        self.blind(flow, irs)
            .wrapping_add(slot << HASH_BITS)
            .wrapping_add(self.hash(flow, slot).wrapping_add(index as u32) & HASH)
    }

    /// The segment size for which `sequence` was made, if it was, and not too long ago.
    pub fn check(&self, now: Instant, flow: &impl Hash, irs: u32, sequence: u32) -> Option<u16> {
        let cookie = sequence.wrapping_sub(self.blind(flow, irs));
        let slot = slot(now);
        let age = slot.wrapping_sub(cookie >> HASH_BITS) & (u32::MAX >> HASH_BITS);
        if age >= SLOTS {
            return None;
        }
        let index = cookie.wrapping_sub(self.hash(flow, slot.wrapping_sub(age))) & HASH;
        SEGMENT_SIZES.get(usize::try_from(index).ok()?).copied()
    }

    /// Hides the slot, and ties the cookie to the peer's own number.
    fn blind(&self, flow: &impl Hash, irs: u32) -> u32 {
        (self.first.hash(flow) as u32).wrapping_add(irs)
    }

    fn hash(&self, flow: &impl Hash, slot: u32) -> u32 {
        self.second.hash(&(flow, slot)) as u32
    }
}

fn slot(now: Instant) -> u32 {
    (now.as_nanos() / SLOT.as_nanos() as u64) as u32
}

/// The latest time not after `clock`, in milliseconds, whose last bits say what was agreed on.
pub(super) fn stamped(clock: u32, negotiated: &Negotiated) -> u32 {
    let scale = if negotiated.scaling { u32::from(negotiated.send_scale) } else { NO_SCALE };
    let sack = if negotiated.sack { SACK } else { 0 };
    let ecn = if negotiated.ecn == Feedback::None { 0 } else { ECN };
    let stamp = clock & !OPTIONS | scale | sack | ecn;
    if Seq(stamp).after(Seq(clock)) { stamp.wrapping_sub(1 << OPTION_BITS) } else { stamp }
}

/// What a timestamp that came back says was agreed on; `None`: more than we offer now.
pub(super) fn agreed(stamp: u32, offered: &Negotiated) -> Option<Negotiated> {
    let scale = stamp & SCALE;
    let scaling = scale != NO_SCALE;
    let (sack, ecn) = (stamp & SACK != 0, stamp & ECN != 0);
    if scaling && !offered.scaling || sack && !offered.sack {
        return None;
    }
    Some(Negotiated {
        scaling,
        send_scale: if scaling { scale as u8 } else { 0 },
        receive_scale: if scaling { offered.receive_scale } else { 0 },
        sack,
        // Which of the two says the segment that brings it.
        ecn: if ecn { offered.ecn.min(Feedback::Classic) } else { Feedback::None },
        ..offered.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn cookies() -> Cookies {
        let mut random = Random::new([3; 16]);
        Cookies { first: random.key(), second: random.key() }
    }

    #[test]
    fn a_cookie_is_good_for_its_flow_number_and_time() {
        let cookies = cookies();
        let at = Instant::from_millis(59_999);
        let made = cookies.sequence(at, &7, 1000, 1460);
        let late = |seconds| at + Duration::from_secs(seconds);
        for (now, flow, irs, sequence, size) in [
            (at, 7, 1000, made, Some(1460)),
            (late(60), 7, 1000, made, Some(1460)),
            (late(61), 7, 1000, made, None),
            (at, 8, 1000, made, None),
            (at, 7, 1004, made, None),
            (at, 7, 1000, made.wrapping_add(1), None),
            (at, 7, 1000, made.wrapping_sub(1 << HASH_BITS), None),
        ] {
            assert_eq!(cookies.check(now, &flow, irs, sequence), size, "{now:?} {flow} {irs}");
        }
    }

    #[test]
    fn segment_sizes_are_the_next_smaller_known() {
        let cookies = cookies();
        for (told, kept) in
            [(0, 536), (536, 536), (1299, 536), (1300, 1300), (1459, 1440), (9000, 1460)]
        {
            let made = cookies.sequence(Instant::ZERO, &1, 2, told);
            assert_eq!(cookies.check(Instant::ZERO, &1, 2, made), Some(kept), "{told}");
        }
    }

    /// Three of four guesses of the lowest bits are sizes too; the rest of 2^24 is not.
    #[test]
    fn guesses_are_rarely_right() {
        let cookies = cookies();
        let right = (0..1_u32 << 16)
            .filter(|guess| {
                let sequence = guess.wrapping_mul(0x9e37_79b1);
                cookies.check(Instant::ZERO, &1, 2, sequence).is_some()
            })
            .count();
        assert!(right <= 1, "{right} of 65,536");
    }

    #[test]
    fn timestamps_carry_options_and_never_run_ahead() {
        let offered = super::super::options::tests::offered();
        for clock in [0, 1, 63, 64, 1_000_003, u32::MAX] {
            for (scaling, send_scale, sack, ecn) in [
                (true, 0, true, true),
                (true, 14, true, false),
                (false, 0, false, true),
                (false, 0, true, false),
            ] {
                let ecn = if ecn { Feedback::Classic } else { Feedback::None };
                let receive_scale = if scaling { offered.receive_scale } else { 0 };
                let negotiated =
                    Negotiated { scaling, send_scale, receive_scale, sack, ecn, ..offered.clone() };
                let stamp = stamped(clock, &negotiated);
                assert!(Seq(stamp).at_or_before(Seq(clock)), "{clock}");
                assert!(clock.wrapping_sub(stamp) < 1 << OPTION_BITS, "{clock}");
                assert_eq!(agreed(stamp, &offered), Some(negotiated), "{clock}");
            }
        }
        let poor = Negotiated { sack: false, ..offered.clone() };
        assert_eq!(agreed(SACK, &poor), None);
    }
}
