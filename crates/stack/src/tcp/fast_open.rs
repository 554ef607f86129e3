//! Fast open (RFC 7413): text in the SYN, for peers that have shown that they are where they say.
//!
//! A client that has got a cookie before sends it with its first text in the SYN; a server that
//! finds the cookie right gives the text to its program at once, and may answer before the handshake
//! is done. What a SYN carried and the peer did not take is sent again when the SYN-ACK comes, without
//! its counting as a loss. SYNs that are sent again carry neither text nor cookie: something on the
//! way may have dropped them for that (§4.1.3). As Linux, a SYN-ACK without the cookie that was asked
//! for makes the next request use the older form of the option.
//!
//! This is what a connection keeps of it; cookies of servers are in
//! [`table::fast_open`](crate::table::fast_open), our own are made in
//! [`layer`](crate::layer).

use super::{connection::Connection, options::Negotiated, phase::Phase, seq::Seq};
use crate::time::Instant;
use narrows_ring::Pool;
use narrows_wire::{fast_open::FastOpen as CookieOption, tcp::Segment};

/// Left free beside a SYN's text, so that others on the way find room for options of their own:
/// all that a header can have (Linux: MAX_TCP_OPTION_SPACE).
const OPTION_SPACE: u16 = 40;

/// What is known of a server before a SYN leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prospect {
    /// What the SYN says: a cookie, the wish for one, or nothing if none is needed.
    pub option: Option<CookieOption>,
    /// The segment size it told last time.
    pub mss: Option<u16>,
    /// May the SYN carry text?
    pub text: bool,
}

/// What a SYN-ACK taught about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lesson {
    pub mss: u16,
    pub cookie: Option<CookieOption>,
    /// The SYN with text was lost, or dropped for its text.
    pub text_lost: bool,
    /// We asked for a cookie and got none; so was the option of the older form?
    pub refused: Option<bool>,
}

/// Why a client's SYN carried no text, or none that was taken (Linux: tcpi_fastopen_client_fail).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failure {
    #[default]
    None,
    NoCookie,
    TextNotTaken,
    SynLost,
}

/// How a server's early connection ended its handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    Established,
    /// The peer says that it never asked: it may be somebody else's victim.
    Refused,
}

#[derive(Debug)]
pub(super) struct FastOpen {
    side: Side,
    /// The text in the SYN was taken.
    pub taken: bool,
    pub failure: Failure,
}

#[derive(Debug)]
enum Side {
    Client {
        option: Option<CookieOption>,
        /// Octets of text that the SYN may carry.
        room: u16,
        /// The SYN waits for the program's first text.
        deferred: bool,
        /// The program waits to send more once the handshake is done.
        follows: bool,
        lesson: Option<Lesson>,
    },
    Server {
        /// The number of the peer's SYN.
        irs: Seq,
        /// Of the first SYN-ACK.
        option: Option<CookieOption>,
        /// Nobody was told yet how the handshake ended.
        untold: bool,
    },
}

impl FastOpen {
    fn client(prospect: Prospect, negotiated: &Negotiated, deferred: bool) -> Self {
        let mss = negotiated.receive_mss.min(prospect.mss.unwrap_or(u16::MAX));
        let room = if prospect.text { mss.saturating_sub(OPTION_SPACE) } else { 0 };
        let failure = if prospect.text { Failure::None } else { Failure::NoCookie };
        let side =
            Side::Client { option: prospect.option, room, deferred, follows: false, lesson: None };
        Self { side, taken: false, failure }
    }
}

impl Connection {
    /// Before the SYN of an active open leaves: it says and carries what `prospect` allows; if
    /// `deferred`, it waits for text.
    pub fn open_fast(&mut self, prospect: Prospect, deferred: bool) {
        let state = FastOpen::client(prospect, &self.negotiated, deferred);
        self.due.handshake = !deferred;
        self.fast_open = Some(Box::new(state));
    }

    /// Is there anything about fast open to be said of this connection?
    pub fn opens_fast(&self) -> bool {
        self.fast_open.is_some()
    }

    /// Does the SYN wait for the program's first text?
    pub fn is_deferred(&self) -> bool {
        let state = self.fast_open.as_deref().map(|state| &state.side);
        self.phase == Phase::SynSent && matches!(state, Some(Side::Client { deferred: true, .. }))
    }

    /// The most text that the SYN may carry.
    pub fn syn_room(&self) -> usize {
        match self.fast_open.as_deref().map(|state| &state.side) {
            Some(Side::Client { room, .. }) => usize::from(*room),
            _ => 0,
        }
    }

    /// Does the program wait to send more once the handshake is done?
    pub fn more_follows(&mut self, waits: bool) {
        if let Some(Side::Client { follows, .. }) = self.fast_open.as_mut().map(|it| &mut it.side) {
            *follows = waits;
        }
    }

    pub(super) fn text_is_ready(&self) -> bool {
        matches!(
            self.fast_open.as_deref().map(|state| &state.side),
            Some(Side::Client { follows: true, .. })
        )
    }

    /// The program has given what it had: the SYN waits no longer.
    pub(super) fn release_syn(&mut self) {
        if let Some(Side::Client { deferred, .. }) = self.fast_open.as_mut().map(|it| &mut it.side)
            && core::mem::take(deferred)
        {
            self.due.handshake = true;
        }
    }

    /// The option and the octets of text of the SYN that leaves now. Only the first has any.
    pub(super) fn syn_extras(&self) -> (Option<CookieOption>, u32) {
        let first = self.unanswered.count == 0;
        match self.fast_open.as_deref().map(|state| &state.side) {
            Some(Side::Server { option, .. }) if first => (*option, 0),
            Some(Side::Client { option, room, .. }) if first && self.phase == Phase::SynSent => {
                (*option, (self.snd.ring.len() as u32).min(u32::from(*room)))
            }
            _ => (None, 0),
        }
    }

    /// A SYN-ACK came that acknowledges our SYN and perhaps the text in it.
    pub(super) fn fast_open_answered(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        segment: &Segment<'_>,
        retried: bool,
    ) {
        let Some(state) = self.fast_open.as_deref_mut() else { return };
        let Side::Client { option, lesson, .. } = &mut state.side else { return };
        let carried = self.snd.nxt.since(self.snd.una);
        let asked = option.is_some();
        let cookie = segment.options.fast_open.filter(|it| asked && !it.cookie.is_empty());
        let refused = option.filter(|_| cookie.is_none() && carried == 0 && !retried);
        *lesson = Some(Lesson {
            mss: segment.options.mss.unwrap_or(super::options::DEFAULT_MSS),
            cookie,
            text_lost: asked && retried && cookie.is_none() && carried > 0,
            refused: refused.map(|option| option.experimental),
        });
        if carried == 0 {
            return;
        }
        let ack = Seq(segment.header.acknowledgment);
        if ack.after(self.snd.una) {
            let bytes = self.snd.acknowledged(ack);
            self.snd.ring.consume(buffers, bytes);
            self.totals.bytes_acknowledged += bytes as u64;
            self.recovery.board.acknowledge(ack, &mut Default::default());
            self.note_room();
            self.tell_arrival(now);
        }
        let taken = self.snd.una == self.snd.nxt;
        if let Some(state) = self.fast_open.as_deref_mut() {
            state.taken = taken;
            state.failure = match (taken, retried) {
                (true, _) => Failure::None,
                (false, true) => Failure::SynLost,
                (false, false) => Failure::TextNotTaken,
            };
        }
        if !taken {
            self.recovery.too_long(now, self.snd.nxt);
        }
    }

    /// For the cache of cookies, once.
    pub fn take_lesson(&mut self) -> Option<Lesson> {
        match self.fast_open.as_deref_mut().map(|state| &mut state.side) {
            Some(Side::Client { lesson, .. }) => lesson.take(),
            _ => None,
        }
    }

    /// A listener found the SYN's cookie right: its text is the program's already, and a SYN-ACK is
    /// due, with this option.
    pub fn accept_early(
        &mut self,
        buffers: &mut Pool,
        syn: &Segment<'_>,
        option: Option<CookieOption>,
    ) {
        let irs = Seq(syn.header.sequence);
        self.fast_open = Some(Box::new(FastOpen {
            side: Side::Server { irs, option, untold: true },
            taken: true,
            failure: Failure::None,
        }));
        let placed = self.rcv.place(buffers, irs + 1, syn.payload);
        if let super::receive::Placed::InOrder(octets) = placed {
            self.totals.bytes_received += u64::from(octets);
        }
        self.rcv.promise(&self.settings);
        self.due.handshake = true;
    }

    /// Is this a server's connection whose handshake is not done?
    pub(super) fn is_early(&self) -> bool {
        self.phase == Phase::SynReceived && self.passive
    }

    /// The peer's SYN came again: the SYN-ACK was lost.
    pub(super) fn is_syn_again(&self, segment: &Segment<'_>) -> bool {
        let flags = segment.header.flags;
        let irs = match self.fast_open.as_deref().map(|state| &state.side) {
            Some(Side::Server { irs, .. }) => *irs,
            _ => return false,
        };
        self.is_early() && flags.syn() && !flags.ack() && Seq(segment.header.sequence) == irs
    }

    /// How an early connection's handshake ended, once it has; told once.
    pub fn take_completion(&mut self) -> Option<Completion> {
        let phase = self.phase;
        let untold = match self.fast_open.as_deref_mut().map(|state| &mut state.side) {
            Some(Side::Server { untold, .. }) if phase != Phase::SynReceived => untold,
            _ => return None,
        };
        core::mem::take(untold).then_some(match phase {
            Phase::Closed => Completion::Refused,
            _ => Completion::Established,
        })
    }
}
