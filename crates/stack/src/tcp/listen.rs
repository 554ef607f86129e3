//! SYN-RECEIVED of a passive open (RFC 9293 §3.10.7.2 and .4): small, owned by the listener's
//! table, no buffers.

use super::{
    Settings,
    accurate_ecn::{CountersSent, Marks, first_counters, reflect},
    connection::{Outgoing, reset_for, segment_len},
    cookies,
    ecn::{self, Feedback},
    options::{DEFAULT_MSS, Negotiated, Stamps},
    receive::Receiver,
    rtt::{INITIAL_TIMEOUT, MAX_TIMEOUT},
    seq::Seq,
};
use crate::{
    counters::DropReason,
    time::{Duration, Instant},
};
use narrows_wire::{
    ecn::Codepoint,
    fast_open::FastOpen,
    tcp::{Flags, Segment},
};

/// SYN-ACKs sent again before the peer is given up (Linux: tcp_synack_retries).
const RETRIES: u8 = 5;
/// Doublings that reach the longest timeout.
const MAX_BACKOFF: u8 = 7;
/// At most one answer in this time to segments that change nothing.
const REPLY_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub struct HalfOpen {
    pub iss: u32,
    pub irs: u32,
    pub(super) negotiated: Negotiated,
    /// What we offered in the SYN-ACK.
    pub(super) window: u16,
    pub(super) peer_window: u16,
    /// When the first SYN-ACK left.
    pub(super) sent_at: Instant,
    pub(super) retries: u8,
    deadline: Instant,
    replied_at: Option<Instant>,
    /// The peer has acknowledged, and its first text is waited for.
    acknowledged: bool,
    /// How the peer's SYN came (RFC 9768).
    pub(super) mark: Codepoint,
    /// The peer asked for ECN and then did not, as somebody may drop what is marked.
    pub(super) silent: bool,
    /// The SYN-ACK may have an option with counters.
    counts: bool,
}

/// What a listener needs to know to answer a SYN.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// RFC 6528, from the caller's keyed hash of the flow and the clock.
    pub iss: u32,
    /// RFC 7323 §7.1, from the caller's keyed hash.
    pub timestamp_offset: u32,
    /// The largest segment that the route's MTU allows: MTU less 40.
    pub mss: u16,
}

#[derive(Clone, Debug)]
pub enum HalfOpenVerdict {
    /// The handshake is done: make a `Connection` and give it the same segment.
    Established,
    /// A duplicate SYN or an unacceptable segment: answer with this.
    Reply(Outgoing),
    Drop(DropReason),
    /// A valid RST: forget it.
    Reset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HalfOpenTimeout {
    /// Send this SYN-ACK.
    Again(Outgoing),
    Wait,
    GiveUp,
}

impl Outgoing {
    /// A SYN-ACK that has an option for fast open as well: counters of marks give way to it.
    pub fn offer_fast_open(&mut self, option: Option<FastOpen>) {
        self.options.fast_open = option;
        if let Some(counters) = self.options.ecn {
            self.options.fit_counters(&counters, 0);
        }
    }
}

impl HalfOpen {
    /// A SYN came to a listener: the state to keep, and the SYN-ACK to send.
    pub fn new(
        now: Instant,
        syn: &Segment<'_>,
        mark: Codepoint,
        opening: Opening,
        settings: &Settings,
    ) -> (Self, Outgoing) {
        let mut negotiated = Negotiated::offered(&opening, settings);
        negotiated.agree(&syn.options, now);
        negotiated.ecn = ecn::asked(syn.header.flags, negotiated.ecn);
        let half_open = Self {
            iss: opening.iss,
            irs: syn.header.sequence,
            window: Receiver::syn_window(settings, negotiated.receive_payload()),
            negotiated,
            peer_window: syn.header.window,
            sent_at: now,
            retries: 0,
            deadline: now + INITIAL_TIMEOUT,
            replied_at: None,
            acknowledged: false,
            mark,
            silent: false,
            counts: settings.ecn_option != CountersSent::Never,
        };
        let syn_ack = half_open.syn_ack(now);
        (half_open, syn_ack)
    }

    /// The SYN-ACK of a SYN of which nothing is kept; `sequence` gives its number for a segment size.
    pub fn cookie(
        now: Instant,
        syn: &Segment<'_>,
        mark: Codepoint,
        opening: Opening,
        settings: &Settings,
        sequence: impl Fn(u16) -> u32,
    ) -> Outgoing {
        let (mut half_open, _) = Self::new(now, syn, mark, opening, settings);
        half_open.iss = sequence(syn.options.mss.unwrap_or(DEFAULT_MSS));
        if half_open.negotiated.stamps.is_none() {
            half_open.negotiated.forget_options();
        }
        let mut syn_ack = half_open.syn_ack(now);
        if let (Some(stamps), Some(sent)) =
            (half_open.negotiated.stamps, &mut syn_ack.options.timestamps)
        {
            let clock = sent.value.wrapping_sub(stamps.offset);
            sent.value = cookies::stamped(clock, &half_open.negotiated).wrapping_add(stamps.offset);
        }
        syn_ack
    }

    /// What [`HalfOpen::cookie`] did not keep, from the segment that answers it. `None`: the timestamp
    /// that it echoes can't be ours.
    pub fn from_cookie(
        now: Instant,
        answer: &Segment<'_>,
        opening: Opening,
        mss: u16,
        settings: &Settings,
    ) -> Option<Self> {
        let offered = Negotiated::offered(&opening, settings);
        let mut negotiated = match (offered.stamps, answer.options.timestamps) {
            (_, None) => {
                let mut without = offered;
                without.forget_options();
                without
            }
            (None, Some(_)) => return None,
            (Some(stamps), Some(theirs)) => {
                let stamp = theirs.echo.wrapping_sub(stamps.offset);
                let mut agreed = cookies::agreed(stamp, &offered)?;
                agreed.stamps = Some(Stamps { recent: theirs.value, recent_at: now, ..stamps });
                agreed
            }
        };
        negotiated.agree_segment(mss);
        // RFC 9768 §5.1: what the first segment counts tells that the peer counts.
        if negotiated.ecn != Feedback::None
            && settings.ecn.grants() == Feedback::Accurate
            && answer.header.flags.ace() > 1
        {
            negotiated.ecn = Feedback::Accurate;
        }
        Some(Self {
            iss: opening.iss,
            irs: answer.header.sequence.wrapping_sub(1),
            window: Receiver::syn_window(settings, negotiated.receive_payload()),
            negotiated,
            peer_window: answer.header.window,
            sent_at: now,
            retries: 0,
            deadline: now,
            replied_at: None,
            acknowledged: true,
            mark: Codepoint::NotEct,
            silent: false,
            counts: false,
        })
    }

    fn syn_ack(&self, now: Instant) -> Outgoing {
        let flags = Flags::SYN.with(Flags::ACK);
        let mut options = self.negotiated.syn_options(now);
        let flags = match self.negotiated.ecn {
            Feedback::None => flags,
            Feedback::Classic => flags.with(Flags::ECE),
            // Who drops what asks for ECN gets it once more, and then without (RFC 9768 §3.1.4.2).
            Feedback::Accurate if self.retries > 1 => flags,
            Feedback::Accurate => flags.with_ace(reflect(self.mark)),
        };
        // The same for who drops options that it does not know (§3.2.3.2.2).
        if self.negotiated.ecn == Feedback::Accurate && self.counts && self.retries == 0 {
            options.fit_counters(&first_counters(&Marks::default()), 0);
        }
        Outgoing {
            window: self.window,
            options,
            ..Outgoing::bare(Seq(self.iss), Seq(self.irs) + 1, flags)
        }
    }

    /// RFC 9293 §3.10.7.4 for SYN-RECEIVED, in its order. `patience`: after so many times the SYN-ACK
    /// is due again, the handshake is done without text (Linux: TCP_DEFER_ACCEPT).
    pub fn segment_arrives(
        &mut self,
        now: Instant,
        segment: &Segment<'_>,
        patience: u8,
    ) -> HalfOpenVerdict {
        let header = &segment.header;
        let next = Seq(self.irs) + 1;
        let start = Seq(header.sequence);
        // Our SYN-ACK was lost: the peer's SYN comes again.
        if header.flags.syn() && !header.flags.ack() && start + 1 == next {
            self.silent |= header.flags.ace() == 0;
            return self.reply(now, DropReason::TcpOutOfWindow, self.syn_ack(now));
        }
        let old = self
            .negotiated
            .stamps
            .zip(segment.options.timestamps)
            .is_some_and(|(stamps, theirs)| stamps.is_old(theirs.value, now));
        if old && !header.flags.rst() {
            return self.reply(now, DropReason::TcpPaws, self.challenge(now));
        }
        let end = start + segment_len(segment);
        let edge = next + u32::from(self.window);
        // What has no length may stand at the edge, so that zero windows can be probed; a RST may not.
        let beyond = if header.flags.rst() { start.at_or_after(edge) } else { start.after(edge) };
        if end.before(next) || beyond {
            return match header.flags.rst() {
                true => HalfOpenVerdict::Drop(DropReason::TcpOutOfWindow),
                false => self.reply(now, DropReason::TcpOutOfWindow, self.challenge(now)),
            };
        }
        if header.flags.rst() {
            return match start == next {
                true => HalfOpenVerdict::Reset,
                false => self.reply(now, DropReason::TcpBlindReset, self.challenge(now)),
            };
        }
        if header.flags.syn() {
            return self.reply(now, DropReason::TcpBlindSyn, self.challenge(now));
        }
        if !header.flags.ack() {
            return HalfOpenVerdict::Drop(DropReason::TcpNoAck);
        }
        if Seq(header.acknowledgment) != Seq(self.iss) + 1 {
            return match reset_for(segment) {
                Some(reset) => HalfOpenVerdict::Reply(reset),
                None => HalfOpenVerdict::Drop(DropReason::TcpBadAck),
            };
        }
        if self.retries < patience && segment_len(segment) == 0 {
            self.acknowledged = true;
            return HalfOpenVerdict::Drop(DropReason::TcpDeferred);
        }
        HalfOpenVerdict::Established
    }

    /// Where we are, for a peer that sent something else (RFC 5961).
    fn challenge(&self, now: Instant) -> Outgoing {
        let mut options = self.negotiated.syn_options(now);
        (options.mss, options.window_scale, options.sack_permitted) = (None, None, false);
        Outgoing {
            window: self.window >> self.negotiated.receive_scale,
            options,
            ..Outgoing::bare(Seq(self.iss) + 1, Seq(self.irs) + 1, Flags::ACK)
        }
    }

    fn reply(&mut self, now: Instant, reason: DropReason, reply: Outgoing) -> HalfOpenVerdict {
        if self.replied_at.is_some_and(|at| now.since(at) < REPLY_INTERVAL) {
            return HalfOpenVerdict::Drop(reason);
        }
        self.replied_at = Some(now);
        HalfOpenVerdict::Reply(reply)
    }

    pub fn next_timeout(&self) -> Instant {
        self.deadline
    }

    /// What to do when the SYN-ACK was not answered, or (as Linux) when the text that should follow its
    /// answer did not come: near the end of the `patience` for that the peer is asked once more.
    pub fn handle_timeout(&mut self, now: Instant, patience: u8) -> HalfOpenTimeout {
        let waits = self.acknowledged && self.retries < patience;
        if self.retries >= RETRIES && !waits {
            return HalfOpenTimeout::GiveUp;
        }
        let asks = !self.acknowledged || self.retries + 1 >= patience;
        self.retries = self.retries.saturating_add(1);
        let timeout = INITIAL_TIMEOUT * (1 << self.retries.min(MAX_BACKOFF));
        self.deadline = now + timeout.min(MAX_TIMEOUT);
        if asks { HalfOpenTimeout::Again(self.syn_ack(now)) } else { HalfOpenTimeout::Wait }
    }
}
