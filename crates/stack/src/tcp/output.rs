//! What leaves, and when. [`Connection::decide`] says what the next segment is without changing
//! anything, so `wants_to_send` and `poll_segment` can't disagree.

use super::{
    connection::{Connection, Outgoing},
    delayed_ack::Need,
    ecn::{self, Feedback},
    phase::Phase,
    receive::Receiver,
    seq::Seq,
    timers::Waiting,
};
use crate::time::Instant;
use narrows_wire::{tcp::Flags, tcp_options::Options};

/// The next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// SYN or SYN-ACK.
    Handshake,
    /// An old sequence number and no text: the peer answers with its window.
    Probe,
    /// Lost octets.
    Again(Seq, Seq),
    /// The tail, to provoke an acknowledgment.
    TailAgain(Seq, Seq),
    /// So many octets that were never sent, a FIN included.
    New(u32),
    /// One segment of so many octets, which may be too long for the path.
    MtuProbe(u32),
    /// The same as new ones, beyond the congestion window, as a tail-loss probe.
    TailNew(u32),
    Acknowledgment,
}

impl Connection {
    /// Is there anything that `poll_segment` would give now? Cheap. Stale after every call with
    /// `&mut self`.
    pub fn wants_to_send(&self, now: Instant) -> bool {
        self.decide(now).is_some()
    }

    /// The next segment, counted as sent; `max_payload` is the longest payload that the device
    /// segments by itself, 0 when it does not: then segments are one MSS at most. Its payload
    /// ([`Connection::payload`]) is there until the next call with `&mut self`. Makes stale what
    /// `wants_to_send` and `next_timeout` said.
    #[must_use]
    pub fn poll_segment(&mut self, now: Instant, max_payload: usize) -> Option<Outgoing> {
        self.restart_after_idle(now);
        let next = self.decide(now)?;
        self.offload = max_payload >= 2 * self.segment() as usize;
        let outgoing = match next {
            Next::Handshake => self.send_handshake(now),
            Next::Probe => {
                self.due.probe = false;
                let old = self.snd.una - 1;
                self.emit(now, old, old, Flags::ACK)
            }
            Next::Again(start, end) => self.send_again(now, start, end, max_payload),
            Next::TailAgain(start, end) => {
                self.due.tail = false;
                self.count_again(now, start, end);
                self.recovery.probed(Some(start), end, now);
                let outgoing = self.emit(now, start, end, Flags::ACK.with(Flags::PSH));
                self.wait_for_acknowledgment(now, None);
                outgoing
            }
            Next::New(octets) => self.send_new(now, octets, max_payload),
            Next::MtuProbe(octets) => self.send_mtu_probe(now, octets),
            Next::TailNew(octets) => {
                self.due.tail = false;
                let outgoing = self.send_new(now, octets, 0);
                self.recovery.probed(None, self.snd.nxt, now);
                self.wait_for_acknowledgment(now, None);
                outgoing
            }
            Next::Acknowledgment => self.acknowledgment(now),
        };
        self.settle(now);
        Some(outgoing)
    }

    /// The payload of a segment that `poll_segment` just gave.
    pub fn payload(&self, outgoing: &Outgoing) -> [&[u8]; 2] {
        self.snd.ring.peek(outgoing.payload_offset, outgoing.payload_len)
    }

    /// RFC 9293 §3.8: what comes first is what the peer waits for most.
    fn decide(&self, now: Instant) -> Option<Next> {
        if self.due.handshake {
            return Some(Next::Handshake);
        }
        if self.due.probe {
            return Some(Next::Probe);
        }
        if self.may_send()
            && self.is_paced_open(now)
            && let Some(text) = self.decide_text()
        {
            return Some(text);
        }
        (self.rcv.acks.need() == Need::Now).then_some(Next::Acknowledgment)
    }

    /// Is there text that nothing but pacing could hold back?
    pub(super) fn has_text_to_send(&self) -> bool {
        self.phase.may_send() && self.decide_text().is_some()
    }

    fn decide_text(&self) -> Option<Next> {
        let gate = self.gate();
        let new = if self.recovery.prefers_new() { self.snd.sendable(&gate) } else { 0 };
        if new > 0 {
            return Some(Next::New(new));
        }
        if let Some((start, end)) = self.recovery.board.first_lost() {
            let octets = end.since(start);
            let room = gate.congestion_window.saturating_sub(gate.in_flight);
            if room >= octets {
                return Some(Next::Again(start, end));
            }
            let whole = room - room % gate.segment;
            if whole > 0 || gate.in_flight == 0 {
                return Some(Next::Again(start, end.min(start + whole.max(gate.segment))));
            }
        } else if let Some(next) = self.decide_tail(gate.segment) {
            return Some(next);
        } else if let Some(octets) = self.probe_due(&gate) {
            return Some(Next::MtuProbe(octets));
        } else {
            let octets = self.snd.sendable(&gate);
            if octets > 0 {
                return Some(Next::New(octets));
            }
        }
        None
    }

    /// RFC 8985 §7.3: new data if there is any, else the last that was sent.
    fn decide_tail(&self, segment: u32) -> Option<Next> {
        if !self.due.tail {
            return None;
        }
        let unsent = self.snd.unsent().min(self.snd.window_room()).min(segment);
        if unsent > 0 {
            return Some(Next::TailNew(unsent));
        }
        let (start, end) = self.recovery.board.tail(segment)?;
        Some(Next::TailAgain(start, end))
    }

    /// A whole number of segments that one call may give, at least one. As Linux, no more than half of
    /// the congestion window and of the largest window of the peer, so that acknowledgments come
    /// while the rest is on its way.
    fn burst(&self, max_payload: usize, segment: u32) -> u32 {
        let most = u32::try_from(max_payload).unwrap_or(u32::MAX).min(u32::from(u16::MAX));
        let most = most.min(self.congestion.window / 2).min(self.snd.max_wnd / 2);
        let most = match &self.pacing {
            Some(pacing) => most.min(pacing.quantum(segment)),
            None => most,
        };
        (most - most % segment).max(segment)
    }

    fn send_handshake(&mut self, now: Instant) -> Outgoing {
        self.due.handshake = false;
        let (cookie, octets) = self.syn_extras();
        let end = self.snd.iss + 1 + octets;
        if self.snd.nxt.before(end) {
            self.snd.nxt = end;
        }
        if octets > 0 {
            self.totals.text_segments_sent = self.totals.text_segments_sent.wrapping_add(1);
            self.recovery.board.send(self.snd.iss + 1, end, now);
            self.totals.bytes_sent += u64::from(octets);
        }
        if self.unanswered.count == 0 {
            self.unanswered.since = now;
        }
        self.timers.wait(Waiting::Timeout, now + self.rtt.timeout(self.unanswered.count));
        self.totals.segments_sent = self.totals.segments_sent.wrapping_add(1);
        let mut options = self.negotiated.syn_options(now);
        let flags = ecn::ask(Flags::SYN, self.asks_for_ecn());
        let mut outgoing = Outgoing::bare(self.snd.iss, Seq(0), flags);
        if self.phase == Phase::SynReceived {
            outgoing.flags = self.mark_syn_ack(Flags::SYN.with(Flags::ACK));
            outgoing.acknowledgment = self.rcv.nxt.0;
            self.told();
        } else if let Some(timestamps) = &mut options.timestamps {
            timestamps.echo = 0;
        }
        outgoing.window = Receiver::syn_window(&self.settings, self.negotiated.receive_mss);
        if self.is_early() {
            outgoing.window = self.rcv.promise(&self.settings);
        }
        options.fast_open = cookie;
        let payload_len = octets as usize;
        let segment_size = u16::try_from(octets).unwrap_or(u16::MAX);
        Outgoing { options, payload_len, segment_size, ..outgoing }
    }

    /// The most that our SYN asks for, or asked for. A network that drops what asks for ECN is asked without at the
    /// second try (RFC 3168 §6.1.1.1), or at the third: few do (RFC 9768 §3.1.4.1).
    pub(super) fn asks_for_ecn(&self) -> Feedback {
        let needed = if self.congestion.needs_marks() { Feedback::Classic } else { Feedback::None };
        let asks = self.settings.ecn.asks().max(needed);
        let tries = if asks == Feedback::Accurate { 2 } else { 1 };
        if self.unanswered.count < tries { asks } else { Feedback::None }
    }

    /// The flags of a SYN-ACK that a connection sends itself.
    fn mark_syn_ack(&self, flags: Flags) -> Flags {
        match (&self.accurate, self.negotiated.ecn) {
            (Some(accurate), _) if self.unanswered.count < 2 => accurate.mark_syn_ack(flags),
            (None, Feedback::Classic) => flags.with(Flags::ECE),
            _ => flags,
        }
    }

    fn send_new(&mut self, now: Instant, octets: u32, max_payload: usize) -> Outgoing {
        let segment = self.gate().segment;
        let start = self.snd.nxt;
        let fin = start + octets == self.snd.end() + 1;
        let burst = self.burst(if self.looks_reduced() { 0 } else { max_payload }, segment);
        // A FIN rides along with the last text.
        let octets = if octets - u32::from(fin) > burst { burst } else { octets };
        self.send_whole(now, octets, segment)
    }

    /// Will the next segment have CWR? Then it is one alone: whoever cuts up several keeps that flag for the first.
    fn looks_reduced(&self) -> bool {
        self.ecn.reduced || self.accurate.as_ref().is_some_and(|it| it.looks_reduced())
    }

    /// So many octets leave for the first time, at once; `segment` is the payload of a full one.
    pub(super) fn send_whole(&mut self, now: Instant, octets: u32, segment: u32) -> Outgoing {
        let start = self.snd.nxt;
        let end = start + octets;
        let reduced = core::mem::take(&mut self.ecn.reduced);
        let flags = self.text_flags(start, end, segment);
        let flags = if reduced { flags.with(Flags::CWR) } else { flags };
        let idle = self.snd.outstanding() == 0;
        if idle {
            self.unanswered.since = now;
        }
        self.note_departure(now, octets);
        self.snd.sent(now, end, segment);
        self.recovery.board.send(start, end, now);
        self.recovery.sent(octets);
        self.totals.bytes_sent += u64::from(octets);
        // Before the handshake is done only its own timer counts.
        let handshake = self.phase.is_handshake();
        if !handshake && self.recovery.is_open() && self.timers.waiting() != Waiting::Reordering {
            if idle {
                self.timers.started = now;
            }
            self.wait_for_acknowledgment(now, None);
        }
        self.note_usage();
        self.rcv.acks.answered(now);
        self.tell_departure(now);
        if self.settings.unsent_low != u32::MAX {
            self.note_room();
        }
        let outgoing = self.emit(now, start, end, flags);
        let classic = self.negotiated.ecn == Feedback::Classic && outgoing.payload_len > 0;
        Outgoing { markable: outgoing.markable || classic, ..outgoing }
    }

    /// PSH where the queue ends; and on several segments in one, as Linux has it, so that a receiver
    /// that joins segments does not wait for more.
    fn text_flags(&self, start: Seq, end: Seq, segment: u32) -> Flags {
        let (_, text) = self.snd.text(start, end);
        let queue_ends = end.at_or_after(self.snd.end()) && !self.snd.unpushed;
        let last = text > 0 && (queue_ends || self.snd.record_after(end - 1) == Some(end));
        let several = text > segment as usize && !self.snd.unpushed;
        let push = last || several;
        if push { Flags::ACK.with(Flags::PSH) } else { Flags::ACK }
    }

    fn send_again(&mut self, now: Instant, start: Seq, end: Seq, max_payload: usize) -> Outgoing {
        let segment = self.gate().segment;
        let max_payload = if self.looks_reduced() { 0 } else { max_payload };
        let end = end.min(start + self.burst(max_payload, segment));
        let end = self.snd.record_after(start).map_or(end, |record| end.min(record));
        let stamp = self.negotiated.stamps.map(|stamps| stamps.now(now));
        self.count_again(now, start, end);
        self.recovery.retransmitted(start, end, now, stamp);
        self.emit(now, start, end, self.text_flags(start, end, segment))
    }

    fn count_again(&mut self, now: Instant, start: Seq, end: Seq) {
        let octets = end.since(start);
        self.note_departure(now, octets);
        self.totals.bytes_sent += u64::from(octets);
        self.totals.bytes_retransmitted += u64::from(octets);
        let segments = octets.div_ceil(self.segment());
        self.totals.retransmissions = self.totals.retransmissions.wrapping_add(segments);
    }

    /// A segment with the text of `start..end`, and the FIN if that is in there.
    fn emit(&mut self, now: Instant, start: Seq, end: Seq, flags: Flags) -> Outgoing {
        let segment = self.gate().segment;
        let (payload_offset, payload_len) =
            if start == end { (0, 0) } else { self.snd.text(start, end) };
        let fin = self.snd.shut && start != end && end == self.snd.end() + 1;
        let flags = if fin { flags.with(Flags::FIN) } else { flags };
        let flags = match self.negotiated.ecn {
            Feedback::Classic => self.ecn.echoed(flags),
            _ => flags,
        };
        let timestamps = self.negotiated.stamps.map(|stamps| stamps.option(now));
        let mut options =
            Options { timestamps, sack: self.rcv.sack(&self.negotiated), ..Options::default() };
        let (flags, markable) = self.tell_marks(flags, payload_len == 0, &mut options);
        let window = self.rcv.offer(self.negotiated.receive_scale, self.receive_segment());
        self.told();
        let segments = (payload_len as u32).div_ceil(segment).max(1);
        self.totals.segments_sent = self.totals.segments_sent.wrapping_add(segments);
        if payload_len > 0 {
            self.totals.text_segments_sent = self.totals.text_segments_sent.wrapping_add(segments);
        }
        Outgoing {
            sequence: start.0,
            acknowledgment: self.rcv.nxt.0,
            flags,
            window,
            urgent: 0,
            options,
            payload_offset,
            payload_len,
            segment_size: u16::try_from(segment).unwrap_or(u16::MAX),
            markable,
        }
    }

    /// What a segment says of marks where both ends count them, and whether it may be marked itself.
    fn tell_marks(&mut self, flags: Flags, pure: bool, options: &mut Options) -> (Flags, bool) {
        let Some(accurate) = &mut self.accurate else { return (flags, false) };
        if let Some((counters, needed)) = accurate.counters(self.settings.ecn_option) {
            options.fit_counters(&counters, needed);
        }
        let flags = accurate.flags(flags, pure);
        accurate.sent(options.ecn.is_some());
        (flags, !accurate.silent)
    }

    /// The peer is being told of everything up to `rcv_nxt`.
    fn told(&mut self) {
        self.rcv.told = self.rcv.nxt;
        self.rcv.acks.sent();
        self.timers.delayed_ack = Instant::NEVER;
    }

    /// The most that the peer puts in a segment.
    pub(super) fn receive_segment(&self) -> u32 {
        u32::from(self.negotiated.receive_mss)
    }

    /// An acknowledgment as an [`Outcome`](super::connection::Outcome)'s reply, for a connection
    /// that is going away.
    pub(super) fn acknowledgment(&mut self, now: Instant) -> Outgoing {
        self.emit(now, self.snd.nxt, self.snd.nxt, Flags::ACK)
    }

    /// RFC 9293 §3.10.5: a RST that the peer will accept.
    pub(super) fn reset(&mut self, now: Instant) -> Outgoing {
        self.totals.segments_sent = self.totals.segments_sent.wrapping_add(1);
        let flags = Flags::RST.with(Flags::ACK);
        // As Linux, with the window; and RFC 7323 §3.2 asks for timestamps.
        let window = self.rcv.offer(self.negotiated.receive_scale, self.receive_segment());
        let timestamps = self.negotiated.stamps.map(|stamps| stamps.option(now));
        let options = Options { timestamps, ..Options::default() };
        let flags = self.accurate.as_ref().map_or(flags, |it| it.flags(flags, false));
        Outgoing { window, options, ..Outgoing::bare(self.snd.nxt, self.rcv.nxt, flags) }
    }

    fn restart_after_idle(&mut self, now: Instant) {
        if self.snd.outstanding() > 0 || self.snd.unsent() == 0 || self.totals.bytes_sent == 0 {
            return;
        }
        let idle = now.since(self.snd.sent_at);
        let timeout = self.rtt.timeout(0);
        if idle > timeout {
            self.congestion.restart(now, idle, timeout, self.segment());
            self.snd.sent_at = now;
        }
    }

    /// Records whether the congestion window limits sending.
    fn note_usage(&mut self) {
        let gate = self.gate();
        let limited = self.snd.limited_by(&gate);
        let usage = &mut self.usage;
        if limited
            || self.snd.una.at_or_after(usage.until)
            || (!usage.limited && gate.in_flight > usage.peak)
        {
            usage.limited = limited;
            usage.peak = gate.in_flight;
            usage.until = self.snd.nxt;
        }
    }
}
