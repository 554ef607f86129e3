//! Datagrams waiting in a UDP or ping socket. Invariant: bytes held never exceed the limit.

use crate::{counters::DropReason, table::interface::InterfaceId, time::Instant};
use core::net::SocketAddr;
use std::collections::VecDeque;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    pub from: SocketAddr,
    /// The address it was sent to.
    pub to: SocketAddr,
    /// Where it came in.
    pub interface: InterfaceId,
    /// Time to live and type of service, as they arrived.
    pub ttl: u8,
    pub tos: u8,
    /// Several datagrams in one: the payload bytes of each but the last.
    pub segment_size: Option<u16>,
    pub received: Instant,
    pub payload: Box<[u8]>,
}

/// What a datagram costs beside its payload, so that empty ones are not free: about the size of
/// [`Datagram`] and of its allocation's bookkeeping.
const OVERHEAD: usize = 128;

#[derive(Debug)]
pub struct DatagramQueue {
    datagrams: VecDeque<Datagram>,
    bytes: usize,
    limit: usize,
    lost: u64,
}

impl DatagramQueue {
    /// `limit`: bytes of memory that waiting datagrams may take, their bookkeeping included.
    pub fn new(limit: usize) -> Self {
        Self { datagrams: VecDeque::new(), bytes: 0, limit, lost: 0 }
    }

    /// Changes the limit; datagrams held past a lowered one stay.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Payload bytes of the datagrams waiting.
    pub fn payload_bytes(&self) -> usize {
        self.bytes.saturating_sub(self.datagrams.len().saturating_mul(OVERHEAD))
    }

    /// Datagrams that found no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Datagrams waiting.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Takes a datagram in, if there is room for it, and else counts it as lost.
    pub fn push(&mut self, datagram: Datagram) -> Result<(), DropReason> {
        let bytes = self
            .bytes
            .checked_add(datagram.payload.len())
            .and_then(|bytes| bytes.checked_add(OVERHEAD))
            .filter(|bytes| *bytes <= self.limit);
        let Some(bytes) = bytes else {
            self.lost += 1;
            return Err(DropReason::ReceiveQueueFull);
        };
        self.datagrams.push_back(datagram);
        self.bytes = bytes;
        Ok(())
    }

    /// Takes the oldest datagram.
    pub fn pop(&mut self) -> Option<Datagram> {
        let datagram = self.datagrams.pop_front()?;
        self.bytes = self.bytes.saturating_sub(datagram.payload.len() + OVERHEAD);
        Some(datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "10.0.0.1:1000";
    const TO: &str = "10.0.0.2:2000";

    fn push(queue: &mut DatagramQueue, payload: &[u8]) -> Result<(), DropReason> {
        queue.push(Datagram {
            from: FROM.parse().unwrap(),
            to: TO.parse().unwrap(),
            interface: InterfaceId(1),
            ttl: 64,
            tos: 0,
            segment_size: None,
            received: Instant::ZERO,
            payload: payload.into(),
        })
    }

    #[test]
    fn datagrams_leave_in_order_and_whole() {
        let mut queue = DatagramQueue::new(1000);
        for payload in [&b"one"[..], b"", b"three"] {
            push(&mut queue, payload).expect("room");
        }
        assert_eq!((queue.len(), queue.payload_bytes()), (3, 8));
        for payload in [&b"one"[..], b"", b"three"] {
            let datagram = queue.pop().expect("one waits");
            assert_eq!(datagram.from, FROM.parse().unwrap());
            assert_eq!(datagram.to, TO.parse().unwrap());
            assert_eq!(&*datagram.payload, payload);
        }
        assert_eq!((queue.pop(), queue.bytes), (None, 0));
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_what_it_has() {
        let mut queue = DatagramQueue::new(2 * (OVERHEAD + 10));
        push(&mut queue, &[1; 10]).expect("room");
        assert_eq!(push(&mut queue, &[2; 11]), Err(DropReason::ReceiveQueueFull));
        push(&mut queue, &[3; 10]).expect("room");
        assert_eq!(push(&mut queue, b""), Err(DropReason::ReceiveQueueFull));
        assert_eq!(queue.pop().map(|datagram| datagram.payload[0]), Some(1));
        push(&mut queue, b"").expect("room again");
    }

    #[test]
    fn empty_datagrams_are_not_free() {
        let mut queue = DatagramQueue::new(100 * OVERHEAD);
        let taken = (0..1000).filter(|_| push(&mut queue, b"").is_ok()).count();
        assert_eq!(taken, 100);
    }

    #[test]
    fn a_lowered_limit_holds_for_what_comes() {
        let mut queue = DatagramQueue::new(1000);
        push(&mut queue, &[0; 100]).expect("room");
        queue.set_limit(100);
        assert_eq!(push(&mut queue, b""), Err(DropReason::ReceiveQueueFull));
        assert_eq!(queue.len(), 1);
    }
}
