//! A connection from SYN-SENT (or the end of a passive handshake) to its end.

use crate::{
    counters::DropReason,
    event::Readiness,
    request::Error,
    tcp::{
        Settings,
        listen::{HalfOpen, Opening},
        time_wait::TimeWait,
    },
    time::{Duration, Instant},
};
use narrows_ring::Pool;
use narrows_wire::{
    tcp::{Flags, Segment},
    tcp_options::Options,
};
use std::io::{IoSlice, IoSliceMut};

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

/// What a report (and TCP_INFO) can show of a connection. Windows in bytes, times as durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub state: State,
    pub algorithm: super::congestion::Algorithm,
    pub congestion_window: u32,
    pub slow_start_threshold: u32,
    pub send_window: u32,
    pub receive_window: u32,
    pub send_mss: u16,
    pub receive_mss: u16,
    pub send_window_scale: u8,
    pub receive_window_scale: u8,
    pub timestamps: bool,
    pub sack: bool,
    pub smoothed_rtt: Duration,
    pub rtt_variance: Duration,
    pub min_rtt: Duration,
    pub retransmission_timeout: Duration,
    pub bytes_in_flight: u32,
    pub bytes_sent: u64,
    pub bytes_acknowledged: u64,
    pub bytes_received: u64,
    pub bytes_retransmitted: u64,
    pub segments_sent: u64,
    pub segments_received: u64,
    pub retransmissions: u64,
    /// Unanswered retransmissions of the oldest byte, and probes.
    pub backoff: u8,
}

#[derive(Debug)]
pub struct Connection {}

impl Connection {
    /// An active open: `poll_segment` gives the SYN.
    pub fn connect(now: Instant, opening: Opening, settings: &Settings) -> Self {
        let _ = (now, opening, settings);
        todo!()
    }

    /// The end of a passive handshake; the caller passes the segment that completed it next.
    pub fn accept(now: Instant, half_open: HalfOpen, settings: &Settings) -> Self {
        let _ = (now, half_open, settings);
        todo!()
    }

    /// RFC 9293 §3.10.7.3 and .4, in their order. Payload goes to its place in the receive ring.
    pub fn segment_arrives(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        segment: &Segment<'_>,
    ) -> Outcome {
        let _ = (now, buffers, segment);
        todo!()
    }

    /// After a change of MTU or an ICMP error whose quoted sequence number was `sequence`.
    pub fn icmp_error(&mut self, now: Instant, sequence: u32, error: IcmpError) -> Fate {
        let _ = (now, sequence, error);
        todo!()
    }

    /// Is there anything that `poll_segment` would give now? Cheap.
    pub fn wants_to_send(&self, now: Instant) -> bool {
        let _ = now;
        todo!()
    }

    /// The next segment, counted as sent; `max_payload` is the longest payload that the device
    /// segments by itself, 0 when it does not: then segments are one MSS at most.
    #[must_use]
    pub fn poll_segment(&mut self, now: Instant, max_payload: usize) -> Option<Outgoing> {
        let _ = (now, max_payload);
        todo!()
    }

    pub fn payload(&self, outgoing: &Outgoing) -> [&[u8]; 2] {
        let _ = outgoing;
        todo!()
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Retransmission, delayed ACK, window probe, keepalive, FIN-WAIT-2 and user timeouts: whatever
    /// is due. May leave something for `poll_segment`.
    pub fn handle_timeout(&mut self, now: Instant, buffers: &mut Pool) -> Outcome {
        let _ = (now, buffers);
        todo!()
    }

    /// What became true since the last call: edges, for `Event`.
    #[must_use]
    pub fn take_readiness(&mut self) -> Readiness {
        todo!()
    }

    /// Offers room in the send ring (at most `max` bytes) to `fill`, which returns how many bytes
    /// it wrote; they will be sent. `Err`: nothing may be sent any more.
    pub fn send_with(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        max: usize,
        fill: impl FnOnce(&mut [IoSliceMut<'_>; 2]) -> usize,
    ) -> Result<usize, Error> {
        let _ = (now, buffers, max, fill);
        todo!()
    }

    /// Room in the send ring; 0 also when nothing may be sent.
    pub fn send_room(&self) -> usize {
        todo!()
    }

    /// Offers received bytes to `drain`, which returns how many it took. `Ok(0)` with no bytes
    /// offered is the end of the stream; `Err(WouldBlock)`: nothing yet; other errors: why not.
    pub fn receive_with(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        max: usize,
        drain: impl FnOnce(&[IoSlice<'_>; 2]) -> usize,
    ) -> Result<usize, Error> {
        let _ = (now, buffers, max, drain);
        todo!()
    }

    /// Readable bytes.
    pub fn receive_queue(&self) -> usize {
        todo!()
    }

    /// Bytes queued and not acknowledged.
    pub fn send_queue(&self) -> usize {
        todo!()
    }

    /// shutdown(SHUT_WR): FIN after what is queued.
    pub fn shutdown_send(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// close(): nobody reads any more. Sends FIN after what is queued, or RST where Linux would
    /// (unread data, zero linger). The connection lives on as an orphan.
    pub fn close(&mut self, now: Instant, buffers: &mut Pool) -> Outcome {
        let _ = (now, buffers);
        todo!()
    }

    /// RST at once, where the state has one to send.
    pub fn abort(&mut self, now: Instant, buffers: &mut Pool) -> Option<Outgoing> {
        let _ = (now, buffers);
        todo!()
    }

    /// Why the connection failed; stays set.
    pub fn error(&self) -> Option<Error> {
        todo!()
    }

    pub fn state(&self) -> State {
        todo!()
    }

    pub fn info(&self, now: Instant) -> Info {
        let _ = now;
        todo!()
    }

    /// Applies changed settings (buffer limits, keepalive, Nagle, congestion control …).
    pub fn set(&mut self, now: Instant, settings: &Settings) {
        let _ = (now, settings);
        todo!()
    }
}

/// The RST that answers a segment for which there is no connection (RFC 9293 §3.10.7.1); `None`
/// if it is itself a RST.
pub fn reset_for(segment: &Segment<'_>) -> Option<Outgoing> {
    let _ = segment;
    todo!()
}
