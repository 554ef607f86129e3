//! What happens when nothing happens: RFC 6298 §5, RFC 9293 §3.8.3 to §3.8.6.

use super::{
    connection::{Connection, Fate, IcmpError, Outcome, Outgoing},
    phase::Phase,
    timers::{Waiting, take_due},
};
use crate::{
    request::Error,
    time::{Duration, Instant},
};
use narrows_ring::Pool;

/// Of the SYN-ACK of an early connection (Linux: tcp_synack_retries).
const SYN_ACK_RETRIES: u8 = 5;
/// Of anything else (Linux: tcp_retries2): about a quarter of an hour at least.
const RETRIES: u8 = 15;
/// When nobody holds the socket any more (Linux: tcp_orphan_retries). It bounds as well how long a
/// peer that keeps its window shut can keep an orphan's bytes (Sockstress).
const ORPHAN_RETRIES: u8 = 8;
/// How often a device that takes nothing is looked after (Linux: TCP_RESOURCE_PROBE_INTERVAL).
const DEVICE_INTERVAL: Duration = Duration::from_millis(500);
/// Headers of IPv4 and TCP without options.
const HEADERS: u16 = 40;
/// The least path MTU that is believed (Linux: min_pmtu).
const MIN_MTU: u16 = 552;

impl Connection {
    /// Retransmission, delayed ACK, window probe, keepalive, FIN-WAIT-2 and user timeouts: whatever
    /// is due. May leave something for `poll_segment`. Makes stale what `wants_to_send`,
    /// `next_timeout` and `take_readiness` said.
    pub fn handle_timeout(&mut self, now: Instant, buffers: &mut Pool) -> Outcome {
        if take_due(&mut self.timers.delayed_ack, now) {
            self.rcv.acks.expired();
        }
        let mut reply = None;
        match self.timers.expired(now) {
            Waiting::Nothing => {}
            Waiting::Timeout => self.retransmission_timeout(now),
            Waiting::TailProbe => self.tail_probe_timeout(now),
            Waiting::Reordering => self.reordering_timeout(now),
            Waiting::Device => self.device_timeout(now),
            Waiting::Persist => reply = self.persist_timeout(now),
        }
        if take_due(&mut self.timers.lifetime, now) {
            reply = reply.or(self.lifetime_timeout(now));
        }
        self.settle(now);
        let fate = self.fate();
        if fate != Fate::Alive {
            self.snd.ring.release(buffers);
        }
        Outcome { reply, dropped: None, fate }
    }

    /// The peer is silent for good.
    fn give_up(&mut self) {
        self.finish(Some(self.soft_error.unwrap_or(Error::TimedOut)));
    }

    /// RFC 5482: when the program's patience runs out.
    pub(super) fn patience_ends(&self) -> Instant {
        match self.settings.user_timeout.filter(|timeout| !timeout.is_zero()) {
            Some(patience) => self.unanswered.since + patience,
            None => Instant::NEVER,
        }
    }

    fn user_timed_out(&self, now: Instant) -> bool {
        now >= self.patience_ends()
    }

    fn retransmission_timeout(&mut self, now: Instant) {
        let retries = match self.phase {
            _ if self.is_early() => SYN_ACK_RETRIES,
            phase if phase.is_handshake() => self.settings.syn_retries,
            _ if self.orphan => ORPHAN_RETRIES,
            _ => RETRIES,
        };
        if self.unanswered.count >= retries || self.user_timed_out(now) {
            return self.give_up();
        }
        self.unanswered.count += 1;
        self.note_timeout(now);
        if self.phase.is_handshake() {
            self.due.handshake = true;
            self.totals.retransmissions = self.totals.retransmissions.wrapping_add(1);
            return;
        }
        self.suspect_black_hole(now);
        let space = (self.snd.una, self.snd.nxt);
        let segment = self.segment();
        self.recovery.timed_out(now, space, segment, &mut self.congestion, &self.rtt);
        self.due.tail = false;
        self.timers.started = now;
        self.wait_for_acknowledgment(now, None);
    }

    fn tail_probe_timeout(&mut self, now: Instant) {
        self.due.tail = self.recovery.is_open();
        // The timeout begins anew with the probe; it must not depend on its being sent.
        self.timers.started = now;
        self.timers.wait(Waiting::Timeout, now + self.rtt.timeout(self.unanswered.count));
    }

    fn reordering_timeout(&mut self, now: Instant) {
        let space = (self.snd.una, self.snd.nxt);
        let segment = self.segment();
        let deadline =
            self.recovery.reordering_expired(now, space, segment, &mut self.congestion, &self.rtt);
        self.wait_for_acknowledgment(now, deadline);
    }

    /// RFC 9293 §3.8.6.1: the window may have opened without our hearing of it; or it is open, but
    /// less than politeness asks for, and that has been so for long enough.
    fn persist_timeout(&mut self, now: Instant) -> Option<Outgoing> {
        if self.snd.window_room() > 0 {
            self.snd.forced = true;
            return None;
        }
        if self.unanswered.count == 0 {
            self.unanswered.since = now;
        }
        let orphan_over = self.orphan && self.unanswered.count >= ORPHAN_RETRIES;
        if self.probes >= RETRIES || orphan_over || self.user_timed_out(now) {
            let reset = self.phase.needs_reset().then(|| self.reset(now));
            self.give_up();
            return reset;
        }
        self.unanswered.count = self.unanswered.count.saturating_add(1);
        self.probes = self.probes.saturating_add(1);
        self.due.probe = true;
        None
    }

    /// RFC 5482: the program's patience may end before anything has left.
    fn device_timeout(&mut self, now: Instant) {
        if self.user_timed_out(now) {
            return self.give_up();
        }
        self.probes = self.probes.saturating_add(1);
        self.timers.wait(Waiting::Device, now + DEVICE_INTERVAL);
    }

    /// Keepalive, or the end of FIN-WAIT-2 or TIME-WAIT.
    fn lifetime_timeout(&mut self, now: Instant) -> Option<Outgoing> {
        match self.phase {
            Phase::TimeWait => self.finish(None),
            Phase::FinWait2 if self.orphan => self.finish(None),
            phase if phase.may_probe() => return self.keep_alive_timeout(now),
            _ => {}
        }
        None
    }

    /// RFC 9293 §3.8.4, with Linux's three settings.
    fn keep_alive_timeout(&mut self, now: Instant) -> Option<Outgoing> {
        let settings = &self.settings;
        if !settings.keep_alive {
            return None;
        }
        let busy = self.snd.outstanding() > 0 || self.snd.unsent() > 0;
        let idle = now.since(self.heard_at);
        if busy || idle < settings.keep_alive_idle {
            // What is outstanding is watched by its own timer.
            let since = if busy { now } else { self.heard_at };
            self.timers.lifetime = since + settings.keep_alive_idle;
            return None;
        }
        let patience = settings.user_timeout.filter(|timeout| !timeout.is_zero());
        let over = match patience {
            Some(patience) => idle >= patience && self.probes > 0,
            None => self.probes >= settings.keep_alive_count,
        };
        if over {
            let reset = self.reset(now);
            self.give_up();
            return Some(reset);
        }
        self.timers.lifetime = now + settings.keep_alive_interval;
        self.probes = self.probes.saturating_add(1);
        self.due.probe = true;
        None
    }

    /// After a change of MTU or an ICMP error whose quoted sequence number was `sequence`: one
    /// that is not outstanding is ignored (RFC 5927 §4). Makes stale what `wants_to_send`,
    /// `next_timeout` and `take_readiness` said.
    pub fn icmp_error(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        sequence: u32,
        error: IcmpError,
    ) -> Fate {
        if self.is_outstanding(sequence) && self.phase != Phase::Closed {
            match error {
                // RFC 1122 §4.2.3.9: a hint, unless the connection is only just being tried.
                IcmpError::Unreachable(error) if self.phase.is_handshake() => {
                    self.finish(Some(error));
                }
                IcmpError::Unreachable(error) => self.soft_error = Some(error),
                IcmpError::FragmentationNeeded { mtu } => self.shorten(now, mtu),
            }
        }
        let fate = self.fate();
        if fate != Fate::Alive {
            self.snd.ring.release(buffers);
        }
        fate
    }

    /// Was this number sent, and not acknowledged yet?
    pub fn is_outstanding(&self, sequence: u32) -> bool {
        let sequence = super::seq::Seq(sequence);
        sequence.at_or_after(self.snd.una) && sequence.before(self.snd.nxt)
    }

    /// Segments are as long as their path lets them be: shorter when an interface's MTU was lowered, longer
    /// when what a router said of the path is over (RFC 1191 §6.3). What is in flight has left whole, and
    /// is not taken for lost. As Linux's tcp_sync_mss; like there it is asked when something is about to be
    /// sent.
    pub fn fit_path(&mut self, mtu: u16) {
        if self.phase.is_handshake() {
            return;
        }
        let mtu = self.probed(mtu);
        if !self.negotiated.fit(mtu.saturating_sub(HEADERS)) {
            return;
        }
        // A window of less than a segment would wait for an acknowledgment that nothing brings.
        self.congestion.window = self.congestion.window.max(self.segment());
    }

    /// RFC 1191 §6.4 and §6.5.
    fn shorten(&mut self, now: Instant, mtu: u16) {
        let mss = mtu.max(MIN_MTU) - HEADERS;
        if mss >= self.negotiated.send_mss {
            return;
        }
        self.negotiated.send_mss = mss;
        if self.phase.may_send() {
            self.recovery.too_long(now, self.snd.nxt);
            self.settle(now);
        }
    }
}
