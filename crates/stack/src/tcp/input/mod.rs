//! A segment arrives (RFC 9293 §3.10.7.4): one helper for each step, in the RFC's order.

mod acknowledgment;
mod syn_sent;
mod text;

use super::{
    connection::{Connection, Fate, Outcome, Outgoing, reset_for, segment_len},
    delayed_ack::Need,
    ecn::Feedback,
    phase::Phase,
    seq::Seq,
};
use crate::{counters::DropReason, request::Error, time::Duration, time::Instant};
use narrows_ring::Pool;
use narrows_wire::{
    ecn::Codepoint,
    tcp::{Flags, Segment},
};

/// At most one challenge, or answer to a segment without text from outside the window, in this
/// time (Linux: tcp_invalid_ratelimit). The limit is the connection's own, so nothing can be
/// learned about other connections from it (CVE-2016-5696).
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);

/// Why the steps end before the last one.
enum Stop {
    /// The segment did what it should.
    Done,
    Drop(DropReason),
    /// Dropped, and answered with this.
    Reset(DropReason, Option<Outgoing>),
}

type Checked = Result<(), Stop>;

impl Connection {
    /// RFC 9293 §3.10.7.3 and .4, in their order. Payload goes to its place in the receive ring.
    /// Makes stale what `wants_to_send`, `next_timeout` and `take_readiness` said.
    /// `mark`: of its packet (RFC 3168).
    pub fn segment_arrives(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        segment: &Segment<'_>,
        mark: Codepoint,
    ) -> Outcome {
        // Several that came as one count as many, as far as that can be told.
        let segments = (segment.payload.len() as u32).div_ceil(self.rcv.acks.segment().max(1));
        let totals = &mut self.totals;
        totals.segments_received = totals.segments_received.wrapping_add(segments.max(1));
        totals.text_segments_received = totals.text_segments_received.wrapping_add(segments);
        let mut early = None;
        let steps = match self.phase {
            Phase::Closed => Err(Stop::Reset(DropReason::TcpNoSocket, reset_for(segment))),
            Phase::SynSent => self.syn_sent(now, buffers, segment, mark),
            _ => self.synchronized(now, buffers, segment, mark, &mut early),
        };
        let (mut reply, dropped) = match steps {
            Ok(()) | Err(Stop::Done) => (early, None),
            Err(Stop::Drop(reason)) => (None, Some(reason)),
            Err(Stop::Reset(reason, reply)) => (reply, Some(reason)),
        };
        if self.phase == Phase::TimeWait && self.orphan {
            // Nobody will poll for it.
            reply = Some(self.acknowledgment(now));
        }
        self.settle(now);
        let fate = self.fate();
        if fate != Fate::Alive {
            self.snd.ring.release(buffers);
        }
        Outcome { reply, dropped, fate }
    }

    fn synchronized(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        segment: &Segment<'_>,
        mark: Codepoint,
        early: &mut Option<Outgoing>,
    ) -> Checked {
        if self.is_syn_again(segment) {
            self.due.handshake |= self.may_challenge(now);
            return Err(Stop::Drop(DropReason::TcpOutOfWindow));
        }
        self.reflect_syn_ack_again(segment, mark);
        self.check_timestamp(now, segment)?;
        self.check_sequence(now, segment)?;
        self.check_reset(now, segment)?;
        self.check_syn(now, segment)?;
        self.count_mark(segment, mark);
        self.check_acknowledgment(now, buffers, segment)?;
        *early = self.notice_mark(now, segment, mark == Codepoint::Ce);
        // Sixth, URG: urgent text stays where it is in the stream, as RFC 6093 recommends.
        if segment.header.flags.contains(Flags::URG) {
            self.rcv.note_urgent(Seq(segment.header.sequence), segment.header.urgent);
        }
        self.receive_text(now, buffers, segment)?;
        self.receive_fin(now, segment);
        Ok(())
    }

    /// RFC 3168 §6.1.3: marks count on text alone. Gives an acknowledgment of what came before, if
    /// that must be told apart (RFC 8257 §3.2).
    fn notice_mark(
        &mut self,
        now: Instant,
        segment: &Segment<'_>,
        marked: bool,
    ) -> Option<Outgoing> {
        if self.negotiated.ecn != Feedback::Classic || segment.payload.is_empty() {
            return None;
        }
        if !self.congestion.needs_marks() {
            if self.ecn.received(segment.header.flags, marked) {
                self.rcv.acks.now();
            }
            return None;
        }
        if marked == self.ecn.is_echoing() {
            return None;
        }
        let waits = self.rcv.acks.need() != Need::Nothing;
        let before = waits.then(|| self.acknowledgment(now));
        self.ecn.received_each(marked);
        self.rcv.acks.now();
        before
    }

    /// RFC 9768 §3.2.1: marks count on all segments.
    fn count_mark(&mut self, segment: &Segment<'_>, mark: Codepoint) {
        let Some(accurate) = &mut self.accurate else { return };
        let octets = segment.payload.len() as u32;
        let segments = octets.div_ceil(self.rcv.acks.segment().max(1)).max(1);
        if accurate.received(mark, segments, octets) && octets > 0 {
            self.rcv.acks.now();
        }
    }

    /// RFC 9768 §3.2.2.1: who repeats the SYN-ACK did not get what answered it, so that is said again. Only the exact
    /// numbers count: what a forger says must not look like a count of marks.
    fn reflect_syn_ack_again(&mut self, segment: &Segment<'_>, mark: Codepoint) {
        let header = &segment.header;
        if header.flags.contains(Flags::SYN.with(Flags::ACK))
            && Seq(header.sequence) + 1 == self.rcv.nxt
            && Seq(header.acknowledgment) == self.snd.iss + 1
            && let Some(accurate) = &mut self.accurate
        {
            accurate.reflect_again(mark);
        }
    }

    /// RFC 7323 §5.3 R1: is this from an earlier lap of the sequence space?
    fn check_timestamp(&mut self, now: Instant, segment: &Segment<'_>) -> Checked {
        let (Some(stamps), Some(theirs)) = (self.negotiated.stamps, segment.options.timestamps)
        else {
            return Ok(());
        };
        if segment.header.flags.rst() || !stamps.is_old(theirs.value, now) {
            return Ok(());
        }
        self.answer_stray(now, segment);
        Err(Stop::Drop(DropReason::TcpPaws))
    }

    /// First: does any of it lie in the window?
    fn check_sequence(&mut self, now: Instant, segment: &Segment<'_>) -> Checked {
        let start = Seq(segment.header.sequence);
        let end = start + segment_len(segment);
        let edge = self.rcv.accepted_edge(self.negotiated.receive_scale).max(self.rcv.nxt);
        if end.at_or_after(self.rcv.told) && start.at_or_before(edge) {
            return Ok(());
        }
        if segment.header.flags.rst() {
            return Err(Stop::Drop(DropReason::TcpOutOfWindow));
        }
        if self.is_syn_ack_again(segment) {
            return Ok(());
        }
        if segment.header.flags.syn() {
            return Err(self.challenge(now, DropReason::TcpBlindSyn));
        }
        if start.before(self.rcv.nxt) && end.after(start) {
            self.rcv.report_duplicate(start, end.min(self.rcv.nxt));
        }
        self.answer_stray(now, segment);
        Err(Stop::Drop(DropReason::TcpOutOfWindow))
    }

    /// Second: RFC 5961 §3.2. Only a RST with the exact number is believed.
    fn check_reset(&mut self, now: Instant, segment: &Segment<'_>) -> Checked {
        if !segment.header.flags.rst() {
            return Ok(());
        }
        let exact = Seq(segment.header.sequence) == self.rcv.nxt;
        if !exact && !self.settings.reset_in_window {
            return Err(self.challenge(now, DropReason::TcpBlindReset));
        }
        let error = match self.phase {
            Phase::SynReceived if !self.passive => Some(Error::ConnectionRefused),
            Phase::CloseWait => Some(Error::BrokenPipe),
            Phase::TimeWait => None,
            _ => Some(Error::ConnectionReset),
        };
        self.finish(error);
        Err(Stop::Done)
    }

    /// Fourth: RFC 5961 §4.2. A SYN here is a peer that began anew, or an attack.
    fn check_syn(&mut self, now: Instant, segment: &Segment<'_>) -> Checked {
        if !segment.header.flags.syn() || self.is_syn_ack_again(segment) {
            return Ok(());
        }
        if self.settings.reset_on_syn {
            let reset = reset_for(segment);
            self.finish(Some(Error::ConnectionReset));
            return Err(Stop::Reset(DropReason::TcpBlindSyn, reset));
        }
        Err(self.challenge(now, DropReason::TcpBlindSyn))
    }

    /// In a simultaneous open, the peer's SYN-ACK repeats the SYN and acknowledges ours.
    fn is_syn_ack_again(&self, segment: &Segment<'_>) -> bool {
        let header = &segment.header;
        self.phase == Phase::SynReceived
            && !self.passive
            && header.flags.syn()
            && header.flags.ack()
            && Seq(header.sequence) + 1 == self.rcv.nxt
            && Seq(header.acknowledgment) == self.snd.nxt
    }

    /// RFC 5961 §7: answers with an ACK that an honest peer can act upon, but not too often.
    fn challenge(&mut self, now: Instant, reason: DropReason) -> Stop {
        if self.may_challenge(now) {
            self.rcv.acks.now();
            Stop::Drop(reason)
        } else {
            Stop::Drop(DropReason::TcpChallengeAckLimited)
        }
    }

    /// Answers what can't be used, so that the peer learns where we are. Only what has text is
    /// answered every time: two ends can't answer each other's answers for ever.
    fn answer_stray(&mut self, now: Instant, segment: &Segment<'_>) {
        let text = !segment.payload.is_empty() && !segment.header.flags.syn();
        if text || self.may_challenge(now) {
            self.rcv.acks.now();
        }
    }

    fn may_challenge(&mut self, now: Instant) -> bool {
        let due = now >= self.silent_until;
        if due {
            self.silent_until = now + CHALLENGE_INTERVAL;
        }
        due
    }

    /// The peer is there.
    fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.probes = 0;
    }
}
