//! A connection from SYN-SENT (or the end of a passive handshake) to its end.
//!
//! This file has the state, how it begins and what can be asked of it. What changes it is beside
//! it: `input` (segments), `output` (what to send), `timeout` (time), `program` (calls).

use super::{
    Settings,
    accurate_ecn::Accurate,
    chronograph::Chronograph,
    congestion::Congestion,
    ecn::{Ecn, Feedback},
    fast_open::FastOpen,
    info::{History, Totals},
    listen::{HalfOpen, Opening},
    mtu_probe::Search,
    notices::Notices,
    options::{Negotiated, TIMESTAMPS_LEN, sack_len},
    pacing::Pacing,
    phase::{Phase, Step},
    readiness::Edges,
    receive::Receiver,
    recovery::Recovery,
    rtt::Rtt,
    send::{Gate, Sender},
    seq::Seq,
    time_wait::{TIME_WAIT, TimeWait, TimeWaitTimestamps},
    timers::{Timers, Waiting},
};
use crate::{counters::DropReason, event::Readiness, request::Error, time::Instant};
use narrows_wire::{
    tcp::{Flags, Segment},
    tcp_options::{Options, Timestamps},
};
use std::sync::Arc;

/// The states of RFC 9293 §3.3.2 that a report can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

/// A segment to send. Ports, addresses and checksum are the caller's; the payload, if any, is a
/// range of the send ring: see [`Connection::payload`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: Flags,
    pub window: u16,
    pub urgent: u16,
    pub options: Options,
    /// From the oldest unacknowledged byte.
    pub payload_offset: usize,
    pub payload_len: usize,
    /// Payload bytes of each segment on the wire, when `payload_len` is more than that.
    pub segment_size: u16,
    /// Routers may mark it instead of dropping it: ECT(0) of RFC 3168.
    pub markable: bool,
}

/// What became of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Alive,
    /// Both directions are finished and the program has let go: keep this for 2 MSL.
    TimeWait(TimeWait),
    /// Nothing left. While the program holds the socket the connection stays, in CLOSED, so that
    /// what was received and the error can still be read.
    Closed,
}

/// What a segment did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// To be sent at once, before and apart from what `poll_segment` gives: a RST.
    pub reply: Option<Outgoing>,
    /// Set if the segment was not acceptable.
    pub dropped: Option<DropReason>,
    pub fate: Fate,
}

/// An ICMP error that quotes this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    Unreachable(Error),
    FragmentationNeeded { mtu: u16 },
}

/// Segments that are due whatever the windows say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// The SYN or SYN-ACK.
    pub handshake: bool,
    /// One with an old number, which the peer has to answer: a window or keepalive probe.
    pub probe: bool,
    /// A tail-loss probe.
    pub tail: bool,
}

/// Retransmissions and probes without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub count: u8,
    /// The peer acknowledged something new since that was last asked.
    pub progress: bool,
    /// When what was not answered first left.
    pub since: Instant,
}

#[derive(Debug)]
pub struct Connection {
    pub(super) phase: Phase,
    /// Nobody holds the socket any more.
    pub(super) orphan: bool,
    /// The connection was accepted, not made: its caller waits for no CONNECTED.
    pub(super) passive: bool,
    /// The device took several segments as one the last time.
    pub(super) offload: bool,
    pub(super) due: Due,
    /// Window and keepalive probes since the peer was last heard.
    pub(super) probes: u8,
    pub(super) error: Option<Error>,
    /// What ICMP said; it becomes the error if nothing better happens.
    pub(super) soft_error: Option<Error>,
    pub(super) unanswered: Unanswered,
    pub(super) negotiated: Negotiated,
    pub(super) ecn: Ecn,
    /// Only where both ends count marks.
    pub(super) accurate: Option<Box<Accurate>>,
    /// Only where a SYN carries, or asks to carry, text.
    pub(super) fast_open: Option<Box<FastOpen>>,
    /// Only if the program wants to hear of what it sends.
    pub(super) notices: Option<Box<Notices>>,
    pub(super) snd: Sender,
    pub(super) rcv: Receiver,
    pub(super) recovery: Recovery,
    pub(super) congestion: Congestion,
    /// Few connections are paced.
    pub(super) pacing: Option<Box<Pacing>>,
    pub(super) usage: Usage,
    pub(super) rtt: Rtt,
    pub(super) timers: Timers,
    pub(super) edges: Edges,
    /// The last acceptable segment of the peer.
    pub(super) heard_at: Instant,
    /// No challenge before that (RFC 5961 §7), nor answer to something outside the window.
    pub(super) silent_until: Instant,
    pub(super) totals: Totals,
    /// What few connections have met.
    pub(super) history: Option<Box<History>>,
    pub(super) chronograph: Chronograph,
    /// Only where the longest segments of the path are searched for.
    pub(super) search: Option<Box<Search>>,
    /// Shared with the socket, and with what else was accepted by the same listener.
    pub(super) settings: Arc<Settings>,
}

/// Was the congestion window used? Only then may it grow (RFC 7661; as Linux's tcp_cwnd_validate).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub limited: bool,
    /// The most that was in flight in this round trip, which ends when `until` is acknowledged.
    pub peak: u32,
    pub until: Seq,
}

impl Connection {
    /// An active open: `poll_segment` gives the SYN.
    pub fn connect(now: Instant, opening: Opening, settings: &Arc<Settings>) -> Self {
        let negotiated = Negotiated::offered(&opening, settings);
        let mut connection = Self::new(now, Phase::SynSent, Seq(opening.iss), negotiated, settings);
        connection.due.handshake = true;
        connection
    }

    /// The end of a passive handshake; the caller passes the segment that completed it next.
    pub fn accept(now: Instant, half_open: HalfOpen, settings: &Arc<Settings>) -> Self {
        let iss = Seq(half_open.iss);
        let scale = half_open.negotiated.receive_scale;
        let mut connection =
            Self::new(now, Phase::SynReceived, iss, half_open.negotiated, settings);
        connection.passive = true;
        if connection.negotiated.ecn == Feedback::Accurate {
            connection.accurate =
                Some(Box::new(Accurate::new(now, half_open.mark, half_open.silent)));
        }
        connection.snd.nxt = iss + 1;
        connection.snd.open_window(Seq(half_open.irs), u32::from(half_open.peer_window));
        connection.rcv.begin(Seq(half_open.irs), half_open.window, scale);
        connection.unanswered.since = half_open.sent_at;
        if half_open.retries > 0 {
            connection.rtt.syn_was_lost();
            connection.unanswered.count = half_open.retries;
        }
        connection
    }

    fn new(
        now: Instant,
        phase: Phase,
        iss: Seq,
        negotiated: Negotiated,
        settings: &Arc<Settings>,
    ) -> Self {
        Self {
            phase,
            orphan: false,
            passive: false,
            offload: false,
            due: Due::default(),
            probes: 0,
            error: None,
            soft_error: None,
            unanswered: Unanswered { count: 0, progress: false, since: now },
            congestion: Congestion::new(
                now,
                settings.congestion,
                u32::from(negotiated.max_payload()),
                iss.0,
            ),
            pacing: None,
            negotiated,
            ecn: Ecn::default(),
            accurate: None,
            fast_open: None,
            notices: None,
            snd: Sender::new(now, iss, settings),
            rcv: Receiver::new(now, settings),
            recovery: Recovery::new(iss),
            usage: Usage { limited: false, peak: 0, until: iss },
            rtt: Rtt::default(),
            timers: Timers::new(now),
            edges: Edges::default(),
            heard_at: now,
            silent_until: Instant::ZERO,
            totals: Totals::default(),
            history: None,
            chronograph: Chronograph::default(),
            search: None,
            settings: Arc::clone(settings),
        }
    }

    /// Payload of a full-sized segment, in a flow where nothing is out of order.
    pub(super) fn segment(&self) -> u32 {
        let payload = self.negotiated.max_payload().saturating_sub(self.extra_len(0));
        self.snd.segment(u32::from(payload))
    }

    /// Octets of options beside the timestamps in the next segment, if it has so many SACK blocks.
    fn extra_len(&self, blocks: usize) -> u16 {
        let counters = self.accurate.as_ref().and_then(|it| it.counters(self.settings.ecn_option));
        let Some((counters, needed)) = counters else { return sack_len(blocks) };
        let timestamps = self.negotiated.stamps.map(|_| Timestamps::default());
        let mut options = Options { timestamps, ..Options::default() };
        (0..blocks).for_each(|_| options.sack.push(0, 0));
        options.fit_counters(&counters, needed);
        let others = if timestamps.is_some() { TIMESTAMPS_LEN } else { 0 };
        // At most the 40 octets of all options.
        (options.emitted_len() as u16).saturating_sub(others)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.recovery.in_flight(self.snd.outstanding(), self.segment())
    }

    /// What limits sending now. A segment that carries SACK blocks takes less.
    pub(super) fn gate(&self) -> Gate {
        let payload = self.negotiated.max_payload();
        let payload = payload.saturating_sub(self.extra_len(self.rcv.blocks(&self.negotiated)));
        Gate {
            congestion_window: self.congestion.window,
            in_flight: self.in_flight(),
            segment: self.snd.segment(u32::from(payload)),
            no_delay: self.settings.no_delay,
            cork: self.settings.cork,
            defer: self.offload && self.recovery.is_quiet(),
            deferred_part: self.settings.deferred_part,
        }
    }

    /// Moves to the next phase and does what entering it asks for.
    pub(super) fn step(&mut self, now: Instant, step: Step) {
        let phase = self.phase.after(step);
        if phase == self.phase {
            return;
        }
        self.phase = phase;
        match phase {
            Phase::Established => {
                self.begin_search(now);
                self.start_keep_alive(now);
                if self.snd.shut {
                    self.step(now, Step::Shutdown);
                }
            }
            Phase::FinWait2 if self.orphan => {
                self.timers.lifetime = now + self.settings.fin_wait_2;
            }
            Phase::TimeWait => {
                self.timers.stop();
                self.timers.lifetime = now + TIME_WAIT;
            }
            Phase::Closed => self.timers.stop(),
            _ => {}
        }
    }

    pub(super) fn start_keep_alive(&mut self, now: Instant) {
        if self.settings.keep_alive && self.phase.may_probe() {
            self.timers.lifetime = now + self.settings.keep_alive_idle;
        }
    }

    /// The end, with or without an error. What was received can still be read.
    pub(super) fn finish(&mut self, error: Option<Error>) {
        self.phase = Phase::Closed;
        self.timers.stop();
        self.due = Due::default();
        if error.is_some() {
            self.error = self.error.or(error);
            self.edges.raise(Readiness::FAILED);
        }
    }

    /// Arms or stops the timer of the sending side after anything that could matter to it.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.phase.is_handshake() {
            return;
        }
        self.note_holding(now);
        if !self.phase.may_send() {
            self.timers.stop_waiting();
        } else if self.snd.outstanding() > 0 {
            if matches!(
                self.timers.waiting(),
                Waiting::Nothing | Waiting::Persist | Waiting::Device
            ) {
                self.timers.started = now;
                self.wait_for_acknowledgment(now, None);
            }
        } else if self.snd.unsent() > 0 && self.snd.sendable(&self.gate()) == 0 {
            if self.timers.waiting() != Waiting::Persist && !self.due.probe {
                let timeout = now + self.rtt.timeout(self.unanswered.count);
                self.timers.wait(Waiting::Persist, timeout);
            }
        } else if self.snd.unsent() > 0 && self.patience_ends() != Instant::NEVER {
            if self.timers.waiting() != Waiting::Device {
                self.unanswered.since = now;
                self.timers.wait(Waiting::Device, now + self.rtt.timeout(0));
            }
        } else {
            self.timers.stop_waiting();
        }
        self.repace(now);
    }

    /// Something is outstanding: waits for what comes first of the reordering deadline, the
    /// tail-loss probe and the timeout.
    pub(super) fn wait_for_acknowledgment(&mut self, now: Instant, reordering: Option<Instant>) {
        let timeout = self.timers.started + self.rtt.timeout(self.unanswered.count);
        let timeout = timeout.min(self.patience_ends());
        if let Some(deadline) = reordering.filter(|deadline| *deadline < timeout) {
            self.timers.wait(Waiting::Reordering, deadline);
            return;
        }
        let probe = match self.negotiated.sack && self.unanswered.count == 0 {
            true => self.recovery.probe_timeout(&self.rtt, self.snd.outstanding(), self.segment()),
            false => None,
        };
        match probe.map(|wait| now + wait).filter(|deadline| *deadline < timeout) {
            Some(deadline) => self.timers.wait(Waiting::TailProbe, deadline),
            None => self.timers.wait(Waiting::Timeout, timeout),
        }
    }

    /// What is left to say to whoever called: read once at the end of each call.
    pub(super) fn fate(&mut self) -> Fate {
        match self.phase {
            Phase::Closed => Fate::Closed,
            Phase::TimeWait if self.orphan => {
                let time_wait = self.time_wait();
                self.finish(None);
                Fate::TimeWait(time_wait)
            }
            _ => Fate::Alive,
        }
    }

    fn time_wait(&mut self) -> TimeWait {
        TimeWait {
            snd_nxt: self.snd.nxt.0,
            rcv_nxt: self.rcv.nxt.0,
            window: self.rcv.offer(self.negotiated.receive_scale, self.segment()),
            timestamps: self
                .negotiated
                .stamps
                .map(|stamps| TimeWaitTimestamps { recent: stamps.recent, offset: stamps.offset }),
        }
    }

    /// Deadlines only; `handle_timeout` may come early, or late. Stale after every other call
    /// with `&mut self`.
    pub fn next_timeout(&self) -> Option<Instant> {
        let paced = self.pacing.as_ref().and_then(|pacing| pacing.deadline());
        [self.timers.earliest(), paced].into_iter().flatten().min()
    }

    /// Did the peer acknowledge something new since the last call? Then what is sent to it arrives
    /// (RFC 4861 §7.3.1).
    pub fn take_progress(&mut self) -> bool {
        core::mem::take(&mut self.unanswered.progress)
    }

    /// What became true since the last call: edges, for `Event`. Stale after every other call
    /// with `&mut self`.
    #[must_use]
    pub fn take_readiness(&mut self) -> Readiness {
        self.edges.take()
    }

    /// Why the connection failed; stays set.
    pub fn error(&self) -> Option<Error> {
        self.error
    }

    /// Was it accepted, not made?
    pub fn is_passive(&self) -> bool {
        self.passive
    }

    pub fn state(&self) -> State {
        // As Linux has it, a program that has let go of an early connection waits for its FIN to be
        // acknowledged.
        if self.is_early() && self.snd.shut { State::FinWait1 } else { self.phase.state() }
    }

    /// May text, or the FIN after it, be sent? Early connections answer before their handshake is
    /// done (RFC 7413 §4.2).
    pub(super) fn may_send(&self) -> bool {
        self.phase.may_send() || self.is_early()
    }

    /// Segments sent again so far; the number wraps.
    pub fn retransmissions(&self) -> u32 {
        self.totals.retransmissions
    }

    /// Lets everything that is queued leave, as far as the windows allow: neither Nagle's algorithm
    /// nor a cork holds it back. As Linux, when a program sets TCP_NODELAY, and each time.
    pub fn push(&mut self, now: Instant) {
        self.snd.forced = self.snd.unsent() > 0;
        self.snd.more = false;
        self.settle(now);
    }

    /// TCP_QUICKACK.
    pub fn set_quick_acks(&mut self, on: bool) {
        self.rcv.acks.set_quick(on);
    }

    /// Applies changed settings (buffer limits, keepalive, Nagle, congestion control …). May let
    /// `poll_segment` give something that it held back.
    pub fn set(&mut self, now: Instant, settings: &Arc<Settings>) {
        let keep_alive = (self.settings.keep_alive, self.settings.keep_alive_idle);
        self.settings = Arc::clone(settings);
        self.snd.set_limits(settings);
        self.rcv.clamp = settings.window_clamp;
        self.rcv.set_limit(settings.receive_limit, self.negotiated.receive_scale);
        self.congestion.set_algorithm(now, settings.congestion, self.snd.iss.0);
        if let Some(max_segment) = settings.max_segment {
            self.negotiated.limit_segment(max_segment);
        }
        if keep_alive != (settings.keep_alive, settings.keep_alive_idle) && self.phase.may_probe() {
            self.timers.lifetime = Instant::NEVER;
            self.start_keep_alive(now);
        }
        self.note_room();
        self.update_window();
        self.settle(now);
    }
}

/// The RST that answers a segment for which there is no connection (RFC 9293 §3.10.7.1); `None`
/// if it is itself a RST.
pub fn reset_for(segment: &Segment<'_>) -> Option<Outgoing> {
    let header = &segment.header;
    if header.flags.rst() {
        return None;
    }
    if header.flags.ack() {
        return Some(Outgoing::bare(Seq(header.acknowledgment), Seq(0), Flags::RST));
    }
    let next = Seq(header.sequence) + segment_len(segment);
    Some(Outgoing::bare(Seq(0), next, Flags::RST.with(Flags::ACK)))
}

/// Sequence numbers that a segment occupies.
pub(super) fn segment_len(segment: &Segment<'_>) -> u32 {
    let flags = segment.header.flags;
    // A segment came in an IP packet.
    segment.payload.len() as u32 + u32::from(flags.syn()) + u32::from(flags.fin())
}

impl Outgoing {
    /// A segment with neither text nor options nor a window.
    pub(super) fn bare(sequence: Seq, acknowledgment: Seq, flags: Flags) -> Self {
        Self {
            sequence: sequence.0,
            acknowledgment: acknowledgment.0,
            flags,
            window: 0,
            urgent: 0,
            options: Options::default(),
            payload_offset: 0,
            payload_len: 0,
            segment_size: 0,
            markable: false,
        }
    }
}
