//! What the two ends agreed on in their SYNs, and the options of every segment after them.

use super::{Settings, ecn::Feedback, listen::Opening, seq::Seq};
use crate::time::{Duration, Instant};
use narrows_wire::tcp_options::{Options, Timestamps};

/// What a peer that sends no MSS option takes (RFC 9293 §3.7.1). It is a floor as well: any IPv4
/// host takes packets of 576 bytes, and smaller segments only serve to burn processors
/// (CVE-2019-11479).
pub(super) const DEFAULT_MSS: u16 = 536;
/// The least that a program may ask for with TCP_MAXSEG, as in Linux.
const MIN_MAX_SEGMENT: u16 = 88;
/// RFC 7323 §2.3.
pub(super) const MAX_WINDOW_SCALE: u8 = 14;
/// A timestamp this old says nothing about new ones (RFC 7323 §5.5).
const TIMESTAMP_VALIDITY: Duration = Duration::from_secs(24 * 24 * 3600);
/// Of IPv4 and TCP without options.
const HEADERS: u16 = 40;
/// Octets of the timestamps option, padded.
pub(super) const TIMESTAMPS_LEN: u16 = 12;

/// RFC 7323 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps {
    /// Added to the clock in milliseconds (§7.1).
    pub offset: u32,
    /// TS.Recent.
    pub recent: u32,
    pub recent_at: Instant,
}

impl Stamps {
    pub fn now(&self, now: Instant) -> u32 {
        stamp(now, self.offset)
    }

    /// RFC 7323 §5.3 R1.
    pub fn is_old(&self, value: u32, now: Instant) -> bool {
        Seq(value).before(Seq(self.recent)) && now.since(self.recent_at) < TIMESTAMP_VALIDITY
    }

    /// RFC 7323 §4.3: the caller has checked that the segment is the next to be acknowledged.
    pub fn update(&mut self, value: u32, now: Instant) {
        if !self.is_old(value, now) {
            (self.recent, self.recent_at) = (value, now);
        }
    }

    pub fn option(&self, now: Instant) -> Timestamps {
        Timestamps { value: self.now(now), echo: self.recent }
    }
}

/// Our clock for timestamps: milliseconds, from a start that nobody can guess.
pub(super) fn stamp(now: Instant, offset: u32) -> u32 {
    // Only the low bits go on the wire.
    (now.as_millis() as u32).wrapping_add(offset)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Negotiated {
    /// The largest segment to send, options included: the least of the peer's, the route's and the
    /// program's.
    pub send_mss: u16,
    /// The same without the route's, which may become longer again (Linux: mss_clamp).
    pub agreed_mss: u16,
    /// What we told the peer.
    pub receive_mss: u16,
    /// Both send the window scale option.
    pub scaling: bool,
    pub send_scale: u8,
    pub receive_scale: u8,
    pub sack: bool,
    pub stamps: Option<Stamps>,
    /// Marks instead of losses (RFC 3168), and how they are told.
    pub ecn: Feedback,
}

impl Negotiated {
    /// Before the peer's SYN: what ours will offer.
    pub fn offered(opening: &Opening, settings: &Settings) -> Self {
        let agreed_mss = settings.max_segment.map_or(u16::MAX, |m| m.max(MIN_MAX_SEGMENT));
        let mss = opening.mss.min(agreed_mss);
        Self {
            send_mss: mss,
            agreed_mss,
            receive_mss: mss,
            scaling: settings.window_scaling,
            send_scale: 0,
            receive_scale: match settings.window_scaling {
                true => window_scale(settings.receive_limit),
                false => 0,
            },
            sack: settings.sack,
            stamps: settings.timestamps.then_some(Stamps {
                offset: opening.timestamp_offset,
                recent: 0,
                recent_at: Instant::ZERO,
            }),
            ecn: settings.ecn.grants(),
        }
    }

    /// The peer's SYN came: what both want is in use.
    pub fn agree(&mut self, syn: &Options, now: Instant) {
        self.agree_segment(syn.mss.unwrap_or(DEFAULT_MSS));
        match syn.window_scale {
            Some(scale) if self.scaling => self.send_scale = scale.min(MAX_WINDOW_SCALE),
            _ => (self.scaling, self.send_scale, self.receive_scale) = (false, 0, 0),
        }
        self.sack &= syn.sack_permitted;
        self.stamps = self.stamps.zip(syn.timestamps).map(|(stamps, theirs)| Stamps {
            recent: theirs.value,
            recent_at: now,
            ..stamps
        });
    }

    /// The largest segment that the peer says it takes.
    pub fn agree_segment(&mut self, mss: u16) {
        self.agreed_mss = self.agreed_mss.min(mss.max(DEFAULT_MSS));
        self.send_mss = self.send_mss.min(self.agreed_mss);
    }

    /// Nothing but a segment size is agreed on.
    pub fn forget_options(&mut self) {
        (self.scaling, self.send_scale, self.receive_scale) = (false, 0, 0);
        (self.sack, self.stamps, self.ecn) = (false, None, Feedback::None);
    }

    /// The program wants smaller segments.
    pub fn limit_segment(&mut self, max_segment: u16) {
        self.agreed_mss = self.agreed_mss.min(max_segment.max(MIN_MAX_SEGMENT));
        self.send_mss = self.send_mss.min(self.agreed_mss);
    }

    /// The path takes segments of `mss` octets now. Says whether that changes ours.
    pub fn fit(&mut self, mss: u16) -> bool {
        let mss = mss.min(self.agreed_mss);
        core::mem::replace(&mut self.send_mss, mss) != mss
    }

    /// Of a SYN, or a SYN-ACK after `agree`: only what was offered is accepted.
    pub fn syn_options(&self, now: Instant) -> Options {
        Options {
            mss: Some(self.receive_mss),
            window_scale: self.scaling.then_some(self.receive_scale),
            sack_permitted: self.sack,
            timestamps: self.stamps.map(|stamps| stamps.option(now)),
            ..Options::default()
        }
    }

    /// The most payload a segment takes beside its timestamps.
    pub fn max_payload(&self) -> u16 {
        let timestamps = if self.stamps.is_some() { TIMESTAMPS_LEN } else { 0 };
        self.send_mss.saturating_sub(timestamps)
    }

    /// The most payload that the peer's segments have beside timestamps.
    pub fn receive_payload(&self) -> u16 {
        let timestamps = if self.stamps.is_some() { TIMESTAMPS_LEN } else { 0 };
        self.receive_mss.saturating_sub(timestamps)
    }

    /// Octets of a packet with a full-sized segment.
    pub fn path_mtu(&self) -> u16 {
        self.send_mss.saturating_add(HEADERS)
    }

    /// How many SACK blocks fit beside the timestamps (RFC 2018 §3).
    pub fn sack_room(&self) -> usize {
        match (self.sack, self.stamps) {
            (false, _) => 0,
            (true, Some(_)) => 3,
            (true, None) => 4,
        }
    }
}

/// Octets that `blocks` SACK blocks take in a header, padded.
pub(super) fn sack_len(blocks: usize) -> u16 {
    if blocks == 0 { 0 } else { 4 + 8 * u16::try_from(blocks.min(4)).unwrap_or(4) }
}

/// The least shift that lets the window field say `limit` (RFC 7323 §2.3).
fn window_scale(limit: usize) -> u8 {
    (0..MAX_WINDOW_SCALE)
        .find(|scale| limit >> scale <= usize::from(u16::MAX))
        .unwrap_or(MAX_WINDOW_SCALE)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// By default, before the peer has said anything.
    pub fn offered() -> Negotiated {
        Negotiated::offered(&OPENING, &Settings::default())
    }

    const OPENING: Opening = Opening { iss: 0, timestamp_offset: 7, mss: 1460 };

    #[test]
    fn a_window_scale_is_the_least_that_suffices() {
        for (limit, scale) in [
            (0, 0),
            (65_535, 0),
            (65_536, 1),
            (4 << 20, 7),
            (6 << 20, 7),
            (1 << 30, 14),
            (usize::MAX, 14),
        ] {
            assert_eq!(window_scale(limit), scale, "{limit}");
        }
    }

    #[test]
    fn segment_sizes_have_a_floor_and_ceilings() {
        for (peer, program, expected) in [
            (None, None, 536),
            (Some(0), None, 536),
            (Some(1400), None, 1400),
            (Some(65_535), None, 1460),
            (Some(1460), Some(1000), 1000),
            (Some(1460), Some(10), 88),
        ] {
            let settings = Settings { max_segment: program, ..Settings::default() };
            let mut negotiated = Negotiated::offered(&OPENING, &settings);
            negotiated.agree(&Options { mss: peer, ..Options::default() }, Instant::ZERO);
            assert_eq!(negotiated.send_mss, expected, "{peer:?} {program:?}");
        }
    }

    #[test]
    fn only_what_both_offer_is_used() {
        let mut negotiated = Negotiated::offered(&OPENING, &Settings::default());
        assert_eq!(negotiated.receive_scale, 7);
        negotiated.agree(&Options::default(), Instant::ZERO);
        assert_eq!(
            negotiated,
            Negotiated {
                send_mss: 536,
                agreed_mss: 536,
                receive_mss: 1460,
                scaling: false,
                send_scale: 0,
                receive_scale: 0,
                sack: false,
                stamps: None,
                ecn: Feedback::Classic,
            }
        );
        let mut negotiated = Negotiated::offered(&OPENING, &Settings::default());
        let syn = Options {
            mss: Some(1460),
            window_scale: Some(200),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 99, echo: 0 }),
            ..Options::default()
        };
        negotiated.agree(&syn, Instant::from_millis(5));
        assert_eq!((negotiated.send_scale, negotiated.sack_room()), (14, 3));
        assert_eq!(negotiated.max_payload(), 1448);
        let option = negotiated.stamps.unwrap().option(Instant::from_millis(1000));
        assert_eq!(option, Timestamps { value: 1007, echo: 99 });
    }

    #[test]
    fn timestamps_age() {
        let stamps = Stamps { offset: 0, recent: 100, recent_at: Instant::ZERO };
        let soon = Instant::from_millis(1);
        let late = Instant::ZERO + TIMESTAMP_VALIDITY;
        for (value, at, old) in [
            (99, soon, true),
            (100, soon, false),
            (101, soon, false),
            (100 + (1 << 31) - 1, soon, false),
            (100u32.wrapping_sub(1 << 30), soon, true),
            (99, late, false),
        ] {
            assert_eq!(stamps.is_old(value, at), old, "{value} at {at:?}");
        }
    }
}
