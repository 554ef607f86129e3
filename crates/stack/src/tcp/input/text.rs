//! The seventh and eighth steps: text and FIN (RFC 9293 §3.10.7.4).

use super::{Checked, Stop};
use crate::{
    counters::DropReason,
    event::Readiness,
    tcp::{
        connection::{Connection, reset_for},
        delayed_ack::{MAX_DELAY, Need},
        phase::{Phase, Step},
        receive::Placed,
        seq::Seq,
        time_wait::TIME_WAIT,
    },
    time::Instant,
};
use narrows_ring::Pool;
use narrows_wire::tcp::{Flags, Segment};

impl Connection {
    pub(super) fn receive_text(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        segment: &Segment<'_>,
    ) -> Checked {
        let header = &segment.header;
        let start = Seq(header.sequence) + u32::from(header.flags.syn());
        let end = start + segment.payload.len() as u32;
        if self.orphan && self.phase.may_receive() && end.after(self.rcv.nxt) {
            // As Linux: nobody will ever read this, and the peer should know (RFC 2525 §2.17).
            self.finish(None);
            return Err(Stop::Reset(DropReason::TcpDataAfterClose, reset_for(segment)));
        }
        if segment.payload.is_empty() {
            return Ok(());
        }
        if !self.phase.may_receive() || self.rcv.fin.is_some_and(|fin| end.after(fin)) {
            self.rcv.acks.now();
            return Ok(());
        }
        let (at, text) = self.fit(start, segment.payload);
        if text.is_empty() {
            // No room, or nothing new: the peer should know where we are.
            self.rcv.acks.now();
            return Ok(());
        }
        let holes = !self.rcv.assembler.is_empty();
        match self.rcv.place(buffers, at, text) {
            Placed::InOrder(0) => self.rcv.acks.now(),
            Placed::InOrder(readable) => {
                self.totals.bytes_received += u64::from(readable);
                self.edges.raise(Readiness::READABLE);
                self.acknowledge_text(now, readable, header.flags, holes);
            }
            // RFC 5681 §4.2: at once, so that the peer finds the hole.
            Placed::OutOfOrder => {
                self.rcv.acks.overtaken(text.len() as u32, self.receive_segment());
                self.history().out_of_order += 1;
                self.rcv.acks.disturbed();
            }
            Placed::Refused => {
                self.rcv.acks.now();
                return Err(Stop::Drop(DropReason::TcpOutOfOrderLimit));
            }
        }
        Ok(())
    }

    /// What of the text is neither old nor outside the window, and where that begins.
    fn fit<'a>(&mut self, start: Seq, payload: &'a [u8]) -> (Seq, &'a [u8]) {
        let old = self.rcv.nxt.since(start) as usize;
        if old > 0 {
            let end = start + payload.len() as u32;
            self.rcv.report_duplicate(start, end.min(self.rcv.nxt));
            self.rcv.acks.disturbed();
        }
        let text = payload.get(old..).unwrap_or(&[]);
        let at = start.max(self.rcv.nxt);
        let edge = self.rcv.accepted_edge(self.negotiated.receive_scale);
        let room = edge.since(at) as usize;
        (at, text.get(..room).unwrap_or(text))
    }

    fn acknowledge_text(&mut self, now: Instant, readable: u32, flags: Flags, holes: bool) {
        if holes {
            self.rcv.acks.disturbed();
        }
        let unacknowledged = self.rcv.nxt.since(self.rcv.told);
        let mss = self.receive_segment();
        let pushed = flags.contains(Flags::PSH);
        self.rcv.acks.received(now, readable, unacknowledged, mss, pushed);
        if self.rcv.acks.need() == Need::Soon && self.timers.delayed_ack == Instant::NEVER {
            self.timers.delayed_ack = now + MAX_DELAY;
        }
    }

    /// Eighth: the FIN counts once all before it is here.
    pub(super) fn receive_fin(&mut self, now: Instant, segment: &Segment<'_>) {
        let header = &segment.header;
        if header.flags.fin() {
            let text = u32::from(header.flags.syn()) + segment.payload.len() as u32;
            let fin = Seq(header.sequence) + text;
            if self.rcv.fin == Some(fin) && fin.before(self.rcv.nxt) {
                // It came again: our acknowledgment was lost.
                self.rcv.acks.now();
                if self.phase == Phase::TimeWait {
                    self.timers.lifetime = now + TIME_WAIT;
                }
            }
            if self.rcv.fin.is_some_and(|known| known != fin) {
                self.answer_stray(now, segment);
            }
            let edge = self.rcv.accepted_edge(self.negotiated.receive_scale).max(self.rcv.nxt);
            if self.rcv.fin.is_none() && fin.at_or_after(self.rcv.nxt) && fin.at_or_before(edge) {
                self.rcv.fin = Some(fin);
                self.rcv.acks.now();
            }
        }
        if self.rcv.fin == Some(self.rcv.nxt) && self.phase.may_receive() {
            self.rcv.nxt += 1;
            self.rcv.acks.now();
            self.edges.raise(Readiness::READABLE | Readiness::FINISHED);
            self.step(now, Step::FinReceived);
        }
    }
}
