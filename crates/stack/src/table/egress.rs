//! What waits to leave. Invariant: a connection is in at most one queue, and no queue is longer
//! than its limit.
//!
//! Small things (ARP, ICMP, UDP, RST, SYN-ACK) wait as whole frames. TCP data does not: a
//! connection with something to send waits as its name, and its segments are made when the device
//! has room.

use crate::{
    config::Limits, counters::DropReason, request::SocketId, table::interface::InterfaceId,
};
use core::net::Ipv4Addr;
use narrows_wire::offload::TxOffload;
use std::collections::{HashMap, VecDeque};

/// A whole frame; on the loopback interface a whole IPv4 packet, without a link header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub bytes: Vec<u8>,
    pub offload: TxOffload,
}

impl Frame {
    /// One with which the device has nothing to do but to send it.
    pub fn plain(bytes: Vec<u8>) -> Self {
        Self { bytes, offload: TxOffload::default() }
    }
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    bytes: usize,
    connections: VecDeque<SocketId>,
}

#[derive(Debug)]
pub struct Egress {
    queues: Vec<Queue>,
    limit: usize,
    limit_bytes: usize,
    loopback_limit: usize,
    /// Connections whose next hop is being resolved.
    parked: HashMap<(InterfaceId, Ipv4Addr), Vec<SocketId>, crate::random::Key>,
}

impl Egress {
    pub fn new(limits: &Limits, key: crate::random::Key) -> Self {
        Self {
            queues: Vec::new(),
            limit: limits.egress_queue,
            limit_bytes: limits.egress_bytes,
            loopback_limit: limits.loopback_queue,
            parked: HashMap::with_hasher(key),
        }
    }

    fn queue(&mut self, interface: InterfaceId) -> &mut Queue {
        let index = usize::from(interface.0);
        if self.queues.len() <= index {
            self.queues.resize_with(index + 1, Queue::default);
        }
        &mut self.queues[index]
    }

    pub fn push(&mut self, interface: InterfaceId, frame: Frame) -> Result<(), DropReason> {
        let (limit, full) = match interface {
            InterfaceId::LOOPBACK => (self.loopback_limit, DropReason::LoopbackQueueFull),
            _ => (self.limit, DropReason::EgressQueueFull),
        };
        let limit_bytes = self.limit_bytes;
        let queue = self.queue(interface);
        if queue.frames.len() >= limit || queue.bytes >= limit_bytes {
            return Err(full);
        }
        queue.bytes += frame.bytes.len();
        queue.frames.push_back(frame);
        Ok(())
    }

    pub fn pop(&mut self, interface: InterfaceId) -> Option<Frame> {
        let queue = self.queue(interface);
        let frame = queue.frames.pop_front()?;
        queue.bytes -= frame.bytes.len();
        Some(frame)
    }

    /// Puts a connection in line; the caller keeps it from being in line twice.
    pub fn schedule(&mut self, interface: InterfaceId, connection: SocketId) {
        self.queue(interface).connections.push_back(connection);
    }

    pub fn next_connection(&mut self, interface: InterfaceId) -> Option<SocketId> {
        self.queue(interface).connections.pop_front()
    }

    /// How many connections are in line.
    pub fn connections(&self, interface: InterfaceId) -> usize {
        self.queues.get(usize::from(interface.0)).map_or(0, |queue| queue.connections.len())
    }

    /// How many frames wait.
    pub fn frames(&self, interface: InterfaceId) -> usize {
        self.queues.get(usize::from(interface.0)).map_or(0, |queue| queue.frames.len())
    }

    pub fn is_empty(&self, interface: InterfaceId) -> bool {
        self.queues
            .get(usize::from(interface.0))
            .is_none_or(|queue| queue.frames.is_empty() && queue.connections.is_empty())
    }

    /// All that waits for an interface, which then has nothing waiting.
    pub fn take(&mut self, interface: InterfaceId) -> (VecDeque<Frame>, VecDeque<SocketId>) {
        let Queue { frames, connections, .. } = core::mem::take(self.queue(interface));
        (frames, connections)
    }

    /// Takes a connection out of line until its next hop is resolved.
    pub fn park(&mut self, interface: InterfaceId, next_hop: Ipv4Addr, connection: SocketId) {
        self.parked.entry((interface, next_hop)).or_default().push(connection);
    }

    /// Connections that wait for any next hop of an interface.
    pub fn unpark_all(&mut self, interface: InterfaceId) -> Vec<SocketId> {
        let waiting = self.parked.extract_if(|(at, _), _| *at == interface);
        let mut connections: Vec<_> = waiting.flat_map(|(_, waiting)| waiting).collect();
        // The map's order is a secret, and what the engine does must not depend on one.
        connections.sort_unstable();
        connections
    }

    pub fn unpark(&mut self, interface: InterfaceId, next_hop: Ipv4Addr) -> Vec<SocketId> {
        self.parked.remove(&(interface, next_hop)).unwrap_or_default()
    }
}
