//! A conversation, and what rules may ask of it.

use super::{
    tcp,
    tuple::{Direction, Tuple},
};
use crate::{
    config::ConntrackTimeouts,
    time::{Duration, Instant},
};
use core::net::Ipv4Addr;
use narrows_wire::{ipv4::Protocol, rewrite::End};

bitflags::bitflags! {
    /// As Linux numbers them (`ct status`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Status: u32 {
        const EXPECTED = 1;
        /// There were packets of both directions.
        const SEEN_REPLY = 1 << 1;
        /// Both ends mean it: not given up for another.
        const ASSURED = 1 << 2;
        /// It is in the table.
        const CONFIRMED = 1 << 3;
        /// Its first direction gets another source, or destination.
        const SNAT = 1 << 4;
        const DNAT = 1 << 5;
        /// That has been decided.
        const SNAT_DONE = 1 << 7;
        const DNAT_DONE = 1 << 8;
    }
}

/// What a packet is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// Nobody has answered yet.
    New,
    Established,
    /// An error about it.
    Related,
}

/// As `ct state` numbers them.
pub mod state {
    pub const INVALID: u32 = 1;
    pub const ESTABLISHED: u32 = 2;
    pub const RELATED: u32 = 4;
    pub const NEW: u32 = 8;
    pub const UNTRACKED: u32 = 64;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// What rules may ask of a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Of [`state`].
    pub state: u32,
    pub flow: Option<Facts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub direction: Direction,
    pub status: Status,
    pub tuples: [Tuple; 2],
    pub counts: [Count; 2],
    pub expires_in: Duration,
}

#[derive(Debug)]
pub(super) enum Transport {
    Tcp(Box<tcp::Tracker>),
    /// Whatever else: all that counts is when it was heard last.
    Other,
}

#[derive(Debug)]
pub struct Flow {
    pub(super) tuples: [Tuple; 2],
    pub(super) transport: Transport,
    pub(super) status: Status,
    pub(super) mark: u32,
    pub(super) counts: [Count; 2],
    pub(super) expires: Instant,
    /// Of UDP: when it began.
    pub(super) began: Instant,
    pub(super) serial: u64,
    /// Packets that wait for an inspector.
    pub(super) held: u32,
}

impl Flow {
    pub fn tuple(&self, direction: Direction) -> &Tuple {
        &self.tuples[direction as usize]
    }

    pub fn status(&self) -> Status {
        self.status
    }

    /// No other flow has had it.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    pub fn mark(&self) -> u32 {
        self.mark
    }

    pub(crate) fn set_mark(&mut self, mark: u32) {
        self.mark = mark;
    }

    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// Is any packet of it changed on its way?
    pub fn is_translated(&self) -> bool {
        self.status.intersects(Status::SNAT | Status::DNAT)
    }

    /// What a packet of `direction` has there in the end, if that is to be changed: its destination before
    /// it is routed, its source after.
    pub fn translation(&self, direction: Direction, end: End) -> Option<(Ipv4Addr, u16)> {
        // Answers are changed back where the first direction is changed at its other end.
        let demanded = match (direction, end) {
            (Direction::Original, End::Source) | (Direction::Reply, End::Destination) => {
                Status::SNAT
            }
            _ => Status::DNAT,
        };
        if !self.status.contains(demanded) {
            return None;
        }
        let target = self.tuple(direction.other()).inverse();
        Some(match end {
            End::Source => (target.source, target.source_port),
            End::Destination => (target.destination, target.destination_port),
        })
    }

    pub fn facts(&self, now: Instant, direction: Direction) -> Facts {
        Facts {
            direction,
            status: self.status,
            tuples: self.tuples,
            counts: self.counts,
            expires_in: self.expires.since(now),
        }
    }

    /// How long it may be silent now, TCP apart.
    pub(super) fn patience(&self, now: Instant, timeouts: &ConntrackTimeouts) -> Duration {
        let lasts = now.since(self.began) >= timeouts.udp_becomes_stream;
        match self.tuples[0].protocol {
            Protocol::UDP if self.status.contains(Status::SEEN_REPLY) && lasts => {
                timeouts.udp_stream
            }
            Protocol::UDP => timeouts.udp,
            Protocol::ICMP => timeouts.icmp,
            _ => timeouts.generic,
        }
    }

    pub fn tcp_state(&self) -> Option<tcp::State> {
        match &self.transport {
            Transport::Tcp(tracker) => Some(tracker.state),
            Transport::Other => None,
        }
    }
}
