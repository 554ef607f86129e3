//! What the program that holds the socket can do: send, receive, shut down, close, abort
//! (RFC 9293 §3.10.2 to §3.10.5).

use super::{
    connection::{Connection, Fate, Outcome, Outgoing},
    delayed_ack::Need,
    phase::{Phase, Step},
};
use crate::{
    request::{Error, SendFlags},
    time::{Duration, Instant},
};
use narrows_ring::Pool;
use std::io::{IoSlice, IoSliceMut};

impl Connection {
    /// Offers room in the send ring (at most `max` bytes) to `fill`, which returns how many bytes
    /// it wrote; they will be sent. `Ok(0)` without room: `Readiness::WRITABLE` follows. `Err`:
    /// nothing may be sent any more. Makes stale what `wants_to_send` and `next_timeout` said.
    pub fn send_with(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        max: usize,
        flags: SendFlags,
        fill: impl FnOnce(&mut [IoSliceMut<'_>; 2]) -> usize,
    ) -> Result<usize, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        if !self.may_queue() {
            return Err(Error::BrokenPipe);
        }
        if self.congestion.has_model() {
            self.note_idleness(now);
        }
        // A SYN that waits takes so much, and the rest has to wait for its answer.
        let max = if self.is_deferred() { max.min(self.syn_room()) } else { max };
        let written = match self.room() {
            0 => 0,
            _ => self.snd.ring.write_with(buffers, max, fill),
        };
        self.release_syn();
        if written > 0 {
            self.snd.called(flags);
        }
        self.edges.wrote(self.room());
        self.settle(now);
        Ok(written)
    }

    fn may_queue(&self) -> bool {
        let open = matches!(
            self.phase,
            Phase::SynSent | Phase::SynReceived | Phase::Established | Phase::CloseWait
        );
        open && !self.snd.shut
    }

    /// Room in the send ring; 0 also when nothing may be sent.
    pub fn send_room(&self) -> usize {
        if self.may_queue() { self.room() } else { 0 }
    }

    /// Room in the send ring, unless too much in it may not leave yet.
    fn room(&self) -> usize {
        let low = self.settings.unsent_low;
        let bounded = low != u32::MAX && !self.phase.is_handshake();
        if bounded && self.snd.unsent().saturating_sub(self.snd.sendable(&self.gate())) >= low {
            return 0;
        }
        self.snd.ring.free()
    }

    /// There may be room again: tells the program that waits for some.
    pub(super) fn note_room(&mut self) {
        // As Linux: half of what may be unsent must be gone.
        let low = self.settings.unsent_low;
        if low == u32::MAX || self.snd.unsent().saturating_mul(2) < low {
            self.edges.freed(&self.snd.ring);
        }
    }

    /// Offers received bytes to `drain`, which returns how many it took. `Ok(0)` with no bytes
    /// offered is the end of the stream; `Err(WouldBlock)`: nothing yet; other errors: why not.
    /// May leave a window update for `poll_segment`.
    pub fn receive_with(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        max: usize,
        drain: impl FnOnce(&[IoSlice<'_>; 2]) -> usize,
    ) -> Result<usize, Error> {
        let _ = now;
        if self.rcv.ring.is_empty() {
            let finished = self.rcv.fin.is_some_and(|fin| self.rcv.nxt.after(fin));
            return match (finished, self.error, self.phase) {
                (true, ..) => Ok(0),
                (_, Some(error), _) => Err(error),
                (_, None, Phase::Closed) => Err(Error::NotConnected),
                _ => Err(Error::WouldBlock),
            };
        }
        let taken = self.rcv.ring.read_with(buffers, max, drain);
        self.rcv.read(taken);
        if self.rcv.ring.is_empty() && self.phase.may_receive() {
            self.rcv.acks.drained();
        }
        self.update_window();
        Ok(taken)
    }

    /// There may be more room: tells the peer if that is worth it.
    pub(super) fn update_window(&mut self) {
        let scale = self.negotiated.receive_scale;
        if self.phase.may_receive() && self.rcv.is_update_due(scale, self.receive_segment()) {
            self.rcv.acks.now();
        }
    }

    /// Bytes of memory in its rings.
    pub fn memory(&self) -> usize {
        self.rcv.ring.capacity() + self.snd.ring.capacity()
    }

    /// Memory is short: forgets what came out of order.
    pub fn prune(&mut self, buffers: &mut Pool) {
        if self.phase.may_receive() {
            self.rcv.prune(buffers);
        }
    }

    /// Readable bytes.
    pub fn receive_queue(&self) -> usize {
        self.rcv.ring.len()
    }

    /// Bytes queued and not acknowledged.
    pub fn send_queue(&self) -> usize {
        self.snd.ring.len()
    }

    /// shutdown(SHUT_WR): FIN after what is queued. Makes stale what `wants_to_send` and
    /// `next_timeout` said.
    pub fn shutdown_send(&mut self, now: Instant) {
        if self.may_queue() {
            self.snd.shut = true;
            // During the handshake it waits for the end of that.
            self.step(now, Step::Shutdown);
            self.settle(now);
        }
    }

    /// close(): nobody reads any more. Sends FIN after what is queued, or RST where Linux would
    /// (unread data, zero linger). The connection lives on as an orphan.
    pub fn close(&mut self, now: Instant, buffers: &mut Pool) -> Outcome {
        self.orphan = true;
        let unread = !self.rcv.ring.is_empty();
        self.rcv.release(buffers);
        let linger_zero = self.settings.linger == Some(Duration::ZERO);
        let mut reply = None;
        if self.phase == Phase::SynSent {
            self.finish(None);
        } else if unread || linger_zero || self.waits_in_vain() {
            // RFC 2525 §2.17: what the peer sent is lost, and it should know.
            reply = self.abort(now, buffers);
        } else {
            self.shutdown_send(now);
            if self.phase == Phase::FinWait2 {
                self.timers.lifetime = now + self.settings.fin_wait_2;
            }
            if self.phase == Phase::TimeWait && self.rcv.acks.need() != Need::Nothing {
                // The peer's FIN came a moment ago, and nobody will poll for its acknowledgment.
                reply = Some(self.acknowledgment(now));
            }
        }
        let fate = self.fate();
        if fate != Fate::Alive {
            self.snd.ring.release(buffers);
        }
        Outcome { reply, dropped: None, fate }
    }

    /// The program does not want an orphan to wait for the peer's FIN.
    fn waits_in_vain(&self) -> bool {
        self.phase == Phase::FinWait2 && self.settings.fin_wait_2.is_zero()
    }

    /// RST at once, where the state has one to send; then the connection is in CLOSED, and holds
    /// no buffer.
    pub fn abort(&mut self, now: Instant, buffers: &mut Pool) -> Option<Outgoing> {
        let reset = self.phase.needs_reset().then(|| self.reset(now));
        if self.phase != Phase::Closed {
            self.finish(None);
        }
        self.snd.ring.release(buffers);
        self.rcv.release(buffers);
        reset
    }
}
