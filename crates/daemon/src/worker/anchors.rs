//! Anchors' turns: bytes and datagrams between programs and the engine, so much of each user's as is fair,
//! and what waits because a device is behind or its user has sent as many frames as he may.

use super::Worker;
use crate::{
    accept,
    anchor::{CHUNK, Ending, Next, Room, State, datagram},
    quota::BillId,
};
use narrows_stack::{Instant, SocketId};

/// Bytes pumped between anchors and rings in one turn, each way, before devices get theirs.
const TURN_BYTES: usize = 4 * CHUNK;

/// Anchors and listeners served in one turn.
const TURN_ANCHORS: usize = 256;

/// What goes out before a program's request takes effect, in bytes as above: more datagrams than an anchor
/// holds, and no more than that of one that is filled again meanwhile.
const AT_ONCE: usize = 16 * CHUNK;

/// What looking at an anchor costs its user of his share, in bytes whose moving takes as long.
const ANCHOR_COST: usize = 8 << 10;

impl Worker {
    pub(super) fn serve_anchors(&mut self) {
        let mut budget = TURN_BYTES;
        let mut start = self.clock.now();
        for _ in 0..self.ready_anchors.len().min(TURN_ANCHORS) {
            if budget == 0 {
                break;
            }
            let Some((bill, socket)) = self.ready_anchors.pop() else { break };
            let Some(anchor) = self.anchors.get_mut(socket) else { continue };
            anchor.queued = false;
            let before = (self.metrics.bytes_to_programs, self.metrics.bytes_from_programs);
            let (again, work) = if matches!(anchor.state, State::Listening(_)) {
                (accept::serve(self, socket), 0)
            } else {
                self.pump(socket, CHUNK)
            };
            budget = budget.saturating_sub(work);
            let to = self.metrics.bytes_to_programs - before.0;
            let from = self.metrics.bytes_from_programs - before.1;
            let end = self.clock.now();
            self.bills.note_bytes(bill, to, from, end.since(start));
            start = end;
            self.ready_anchors.charge(bill, work.saturating_add(ANCHOR_COST));
            let Some(anchor) = self.anchors.get_mut(socket) else { continue };
            if let Err(error) = anchor.watch(&self.registry) {
                tracing::warn!(%error, "can't watch an anchor");
            }
            if again {
                self.queue(socket);
            }
        }
    }

    /// Moves what there is, as far as is fair; whether there is more, and how much work it was.
    fn pump(&mut self, socket: SocketId, bytes: usize) -> (bool, usize) {
        let Some(anchor) = self.anchors.get_mut(socket) else { return (false, 0) };
        let now = self.clock.now();
        let bill = anchor.principal.bill;
        let before = self.bills.frames_left(bill, now);
        let mut frames = before;
        let room = Room { bytes, frames: &mut frames };
        let pumped = anchor.pump(&mut self.shard, now, &mut self.authority, room, &mut self.record);
        self.bills.note_frames(bill, before - frames);
        self.metrics.bytes_to_programs += pumped.to_program as u64;
        self.metrics.bytes_from_programs += pumped.from_program as u64;
        let again = match pumped.next {
            Next::Wait => false,
            Next::Again => true,
            Next::Congested => {
                if let Some(datagrams) = anchor.datagrams()
                    && !std::mem::replace(&mut datagrams.congested, true)
                {
                    self.congested.push(socket);
                }
                false
            }
            Next::Rationed => {
                self.ration(bill, socket, now);
                false
            }
            Next::End(Ending::Closed) => {
                self.close(socket);
                false
            }
            Next::End(Ending::Reset) => {
                self.abort(socket);
                false
            }
            Next::End(Ending::Failed) => {
                self.fail(socket);
                false
            }
        };
        (again, pumped.work())
    }

    /// What a program has sent so far by the anchor of a UDP or ping socket goes out before what it
    /// asks for next takes effect.
    pub(crate) fn flush_datagrams(&mut self, socket: SocketId) {
        let Some(anchor) = self.anchors.get_mut(socket) else { return };
        if anchor.is_datagrams() {
            anchor.look_again();
            self.pump_at_once(socket);
        }
    }

    pub(super) fn pump_at_once(&mut self, socket: SocketId) {
        if self.pump(socket, AT_ONCE).0 {
            self.queue(socket);
        }
    }

    /// What the program writes next stays where it is until its user may send more.
    fn ration(&mut self, bill: BillId, socket: SocketId, now: Instant) {
        if self.rationed.contains(&socket) {
            return;
        }
        let until = self.bills.hold_frames(bill, now);
        self.ration_at = Some(self.ration_at.map_or(until, |at| at.min(until)));
        self.rationed.push(socket);
    }

    pub(super) fn renew_rations(&mut self, now: Instant) {
        if self.ration_at.is_none_or(|at| now < at) {
            return;
        }
        self.ration_at = None;
        // Those whose second is not over come back by themselves.
        for socket in std::mem::take(&mut self.rationed) {
            self.queue(socket);
        }
    }

    /// Anchors whose device has caught up go on.
    pub(super) fn resume_congested(&mut self) {
        for socket in std::mem::take(&mut self.congested) {
            let Some(anchor) = self.anchors.get_mut(socket) else { continue };
            if self.shard.backlog(socket) >= datagram::BACKLOG {
                self.congested.push(socket);
                continue;
            }
            if let Some(datagrams) = anchor.datagrams() {
                datagrams.congested = false;
            }
            self.queue(socket);
        }
    }
}
