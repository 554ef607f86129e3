//! TIME-WAIT: what is left of a connection that this end closed first (RFC 9293 §3.6.1).

use crate::{counters::DropReason, tcp::connection::Outgoing, time::Instant};
use narrows_wire::tcp::Segment;

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
    pub fn segment_arrives(&self, now: Instant, segment: &Segment<'_>) -> TimeWaitVerdict {
        let _ = (now, segment);
        todo!()
    }
}
