//! Datagrams waiting in a UDP or ping socket. Invariant: bytes held never exceed the limit.

use core::net::SocketAddr;
use std::collections::VecDeque;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub from: SocketAddr,
    /// The address it was sent to.
    pub to: SocketAddr,
    pub payload: Box<[u8]>,
}

#[derive(Debug)]
pub struct DatagramQueue {
    datagrams: VecDeque<Datagram>,
    bytes: usize,
    limit: usize,
}

impl DatagramQueue {
    pub fn new(limit: usize) -> Self {
        Self { datagrams: VecDeque::new(), bytes: 0, limit }
    }
}
