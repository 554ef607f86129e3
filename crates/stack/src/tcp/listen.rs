//! SYN-RECEIVED of a passive open: small, owned by the listener's table, no buffers.

use crate::{
    counters::DropReason,
    tcp::{Settings, connection::Outgoing},
    time::Instant,
};
use narrows_wire::tcp::Segment;

#[derive(Clone, Debug)]
pub struct HalfOpen {
    pub iss: u32,
    pub irs: u32,
    // peer's options, timestamp offset, retransmission state: private to this module
}

/// What a listener needs to know to answer a SYN.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// RFC 6528, from the caller's keyed hash of the flow and the clock.
    pub iss: u32,
    /// RFC 7323 §7.1, from the caller's keyed hash.
    pub timestamp_offset: u32,
    /// The largest segment that the route's MTU allows: MTU less 40.
    pub mss: u16,
}

#[derive(Clone, Debug)]
pub enum HalfOpenVerdict {
    /// The handshake is done: make a `Connection` and give it the same segment.
    Established,
    /// A duplicate SYN or an unacceptable segment: answer with this.
    Reply(Outgoing),
    Drop(DropReason),
    /// A valid RST: forget it.
    Reset,
}

impl HalfOpen {
    /// A SYN came to a listener: the state to keep, and the SYN-ACK to send.
    pub fn new(
        now: Instant,
        syn: &Segment<'_>,
        opening: Opening,
        settings: &Settings,
    ) -> (Self, Outgoing) {
        let _ = (now, syn, opening, settings);
        todo!()
    }

    pub fn segment_arrives(&mut self, now: Instant, segment: &Segment<'_>) -> HalfOpenVerdict {
        let _ = (now, segment);
        todo!()
    }

    pub fn next_timeout(&self) -> Instant {
        todo!()
    }

    /// Another SYN-ACK, or `None` when enough were sent (Linux: 5 retries).
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Outgoing> {
        let _ = now;
        todo!()
    }
}
