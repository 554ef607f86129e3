//! SYN-SENT (RFC 9293 §3.10.7.3).

use super::{Checked, Stop};
use crate::{
    counters::DropReason,
    event::Readiness,
    request::Error,
    tcp::{
        accurate_ecn::Accurate,
        connection::{Connection, reset_for},
        delayed_ack::MAX_DELAY,
        ecn::{self, Feedback},
        phase::Step,
        receive::Receiver,
        seq::Seq,
    },
    time::Instant,
};
use narrows_ring::Pool;
use narrows_wire::{ecn::Codepoint, tcp::Segment};

impl Connection {
    pub(super) fn syn_sent(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        segment: &Segment<'_>,
        mark: Codepoint,
    ) -> Checked {
        let header = &segment.header;
        let ack = Seq(header.acknowledgment);
        // First: does it acknowledge our SYN, or something else?
        if header.flags.ack() && (ack.at_or_before(self.snd.iss) || ack.after(self.snd.nxt)) {
            return Err(Stop::Reset(DropReason::TcpBadAck, reset_for(segment)));
        }
        if header.flags.ack() && !self.echo_is_ours(now, segment) {
            return Err(Stop::Reset(DropReason::TcpPaws, reset_for(segment)));
        }
        // Second: RST. Without an acknowledgment anybody could have sent it.
        if header.flags.rst() {
            if !header.flags.ack() {
                return Err(Stop::Drop(DropReason::TcpBlindReset));
            }
            self.finish(Some(Error::ConnectionRefused));
            return Err(Stop::Done);
        }
        // Fourth: SYN.
        if !header.flags.syn() {
            return Err(Stop::Drop(DropReason::TcpOutOfWindow));
        }
        self.negotiated.agree(&segment.options, now);
        self.agree_on_ecn(now, segment, mark);
        let scale = self.negotiated.receive_scale;
        let window = Receiver::syn_window(&self.settings, self.negotiated.receive_mss);
        self.rcv.begin(Seq(header.sequence), window, scale);
        self.snd.open_window(Seq(header.sequence), u32::from(header.window));
        self.heard(now);
        if !header.flags.ack() {
            // Simultaneous open: our SYN goes again, with an acknowledgment.
            self.step(now, Step::SynReceived);
            self.due.handshake = true;
            return Ok(());
        }
        let ready = self.text_is_ready();
        self.rcv.acks.begin(now, ready);
        if ready {
            self.timers.delayed_ack = now + MAX_DELAY;
        }
        let retried = self.unanswered.count > 0;
        self.syn_acknowledged(now);
        self.fast_open_answered(now, buffers, segment, retried);
        self.receive_text(now, buffers, segment)?;
        self.receive_fin(now, segment);
        Ok(())
    }

    /// RFC 9768 §3.1.1, and §3.1.6 for SYNs that meet.
    fn agree_on_ecn(&mut self, now: Instant, segment: &Segment<'_>, mark: Codepoint) {
        let flags = segment.header.flags;
        // Our first SYN asked for the accurate form, whatever the last did (§3.1.4.1).
        let wanted = self.settings.ecn.asks();
        let asks = self.asks_for_ecn();
        let silent = wanted == Feedback::Accurate && asks == Feedback::None;
        let asked = if silent { wanted } else { asks };
        self.negotiated.ecn = match flags.ack() {
            true => ecn::granted(flags, asked),
            false => ecn::asked(flags, asked),
        };
        if silent && self.negotiated.ecn == Feedback::Classic {
            self.negotiated.ecn = Feedback::None;
        }
        if self.negotiated.ecn == Feedback::Accurate {
            let mut accurate = Accurate::new(now, mark, silent);
            if flags.ack() {
                accurate.begin_active(mark, flags.ace(), segment.options.ecn.as_ref());
            }
            self.accurate = Some(Box::new(accurate));
        }
    }

    /// As Linux: a SYN-ACK that echoes none of our timestamps is no answer to our SYN.
    fn echo_is_ours(&self, now: Instant, segment: &Segment<'_>) -> bool {
        match (self.negotiated.stamps, segment.options.timestamps) {
            (Some(stamps), Some(theirs)) if theirs.echo != 0 => {
                let first = Seq(stamps.now(self.unanswered.since));
                let echo = Seq(theirs.echo);
                echo.at_or_after(first) && echo.at_or_before(Seq(stamps.now(now)))
            }
            _ => true,
        }
    }

    /// Our SYN is acknowledged and the peer's is known.
    pub(super) fn syn_acknowledged(&mut self, now: Instant) {
        let ack = self.snd.iss + 1;
        let retried = self.unanswered.count > 0;
        if retried {
            self.rtt.syn_was_lost();
        } else {
            self.rtt.sample(now, now.since(self.unanswered.since));
        }
        self.unanswered.count = 0;
        self.due.handshake = false;
        self.totals.delivered += 1;
        self.snd.acknowledged(ack);
        self.timers.stop_waiting();
        let rtt = self.rtt.is_sampled().then(|| self.rtt.smoothed());
        self.congestion.begin(self.segment(), retried, rtt);
        self.usage.until = ack;
        self.step(now, Step::SynAcknowledged);
        if !self.passive {
            self.edges.raise(Readiness::CONNECTED);
        }
    }
}
