//! TIME-WAIT: what is left of a connection that this end closed first (RFC 9293 §3.6.1).

use super::{
    connection::{Outgoing, segment_len},
    options::stamp,
    seq::Seq,
};
use crate::{
    counters::DropReason,
    time::{Duration, Instant},
};
use narrows_wire::{
    tcp::{Flags, Segment},
    tcp_options::{Options, Timestamps},
};

/// 2 MSL, as Linux has it.
pub(super) const TIME_WAIT: Duration = Duration::from_secs(60);

/// Small enough to keep a hundred thousand: what it takes to answer a retransmitted FIN, and to
/// tell a new SYN from an old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeWait {
    pub snd_nxt: u32,
    pub rcv_nxt: u32,
    /// The window to advertise, scaled as on the wire.
    pub window: u16,
    /// The peer's last timestamp, and the offset of ours.
    pub timestamps: Option<TimeWaitTimestamps>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeWaitTimestamps {
    pub recent: u32,
    pub offset: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeWaitVerdict {
    /// Answer with this ACK; restart the 2 MSL timer if told so.
    Acknowledge {
        reply: Outgoing,
        restart: bool,
    },
    /// A SYN that may open the connection anew (RFC 6191, RFC 1122 §4.2.2.13).
    Reopen,
    Drop(DropReason),
    /// RST: over (RFC 1337 protects against those not exactly at rcv_nxt).
    Expire,
}

impl TimeWait {
    /// RFC 9293 §3.10.7.4 for TIME-WAIT.
    pub fn segment_arrives(&self, now: Instant, segment: &Segment<'_>) -> TimeWaitVerdict {
        let flags = segment.header.flags;
        let start = Seq(segment.header.sequence);
        let next = Seq(self.rcv_nxt);
        let age = self.timestamps.as_ref().zip(segment.options.timestamps);
        let old = age.as_ref().is_some_and(|(t, theirs)| Seq(theirs.value).before(Seq(t.recent)));
        let newer = age.is_some_and(|(t, theirs)| Seq(theirs.value).after(Seq(t.recent)));
        if flags.rst() {
            return match start == next {
                true => TimeWaitVerdict::Expire,
                false => TimeWaitVerdict::Drop(DropReason::TcpBlindReset),
            };
        }
        if flags.syn() && !flags.ack() && !old && (start.after(next) || newer) {
            return TimeWaitVerdict::Reopen;
        }
        if segment_len(segment) == 0 {
            // Two ends in TIME-WAIT must not answer each other's acknowledgments.
            return TimeWaitVerdict::Drop(DropReason::TcpOutOfWindow);
        }
        let fin_again = flags.fin() && start + segment_len(segment) == next && !old;
        TimeWaitVerdict::Acknowledge { reply: self.acknowledgment(now), restart: fin_again }
    }

    fn acknowledgment(&self, now: Instant) -> Outgoing {
        let timestamps = self.timestamps.as_ref().map(|timestamps| Timestamps {
            value: stamp(now, timestamps.offset),
            echo: timestamps.recent,
        });
        Outgoing {
            window: self.window,
            options: Options { timestamps, ..Options::default() },
            ..Outgoing::bare(Seq(self.snd_nxt), Seq(self.rcv_nxt), Flags::ACK)
        }
    }
}
