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
    /// Of IPv4, with this host's mark where they ask for it.
    pub options: Box<[u8]>,
    pub payload: Box<[u8]>,
}

/// What a datagram costs beside its payload, so that empty ones are not free: about the size of
/// [`Datagram`] and of its allocation's bookkeeping.
const OVERHEAD: usize = 128;

/// Frames put together at most: Linux's UDP_GRO_CNT_MAX. And bytes: what one datagram can have.
const MAX_COALESCED: usize = 64;
const MAX_COALESCED_BYTES: usize = 65_507;

/// Could `next` be the end of what has `len` bytes in pieces of `size`, and begins with `first`?
fn continues(first: &Datagram, size: usize, len: usize, next: &Datagram) -> bool {
    let addresses = |datagram: &Datagram| (datagram.from, datagram.to, datagram.interface);
    let fields = |datagram: &Datagram| (datagram.ttl, datagram.tos);
    let pieces_fit = match next.segment_size {
        Some(pieces) => usize::from(pieces) == size,
        None => (1..=size).contains(&next.payload.len()),
    };
    pieces_fit
        && len.is_multiple_of(size)
        && len + next.payload.len() <= MAX_COALESCED_BYTES
        && addresses(first) == addresses(next)
        && fields(first) == fields(next)
        && first.options == next.options
}

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

    /// Bytes of memory that they take, bookkeeping included.
    pub fn bytes(&self) -> usize {
        self.bytes
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

    /// Takes the oldest datagram, and with it those behind it that a device would have put together with
    /// it (UDP_GRO of udp(7)): of the same flow and with the same header, of equal length but for the last.
    pub fn pop_coalesced(&mut self) -> Option<Datagram> {
        let mut first = self.pop()?;
        let size = first.segment_size.map_or(first.payload.len(), usize::from);
        let mut len = first.payload.len();
        let mut count = 0;
        for next in self.datagrams.iter().take(MAX_COALESCED - 1) {
            if !continues(&first, size, len, next) {
                break;
            }
            len += next.payload.len();
            count += 1;
        }
        if count == 0 {
            return Some(first);
        }
        let mut payload = Vec::with_capacity(len);
        payload.extend_from_slice(&first.payload);
        for next in (0..count).map_while(|_| self.pop()) {
            payload.extend_from_slice(&next.payload);
        }
        first.segment_size = u16::try_from(size).ok();
        first.payload = payload.into();
        Some(first)
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
    use crate::time::Duration;

    const FROM: &str = "10.0.0.1:1000";
    const TO: &str = "10.0.0.2:2000";

    fn datagram(payload: &[u8]) -> Datagram {
        Datagram {
            from: FROM.parse().unwrap(),
            to: TO.parse().unwrap(),
            interface: InterfaceId(1),
            ttl: 64,
            tos: 0,
            segment_size: None,
            received: Instant::ZERO,
            options: Box::default(),
            payload: payload.into(),
        }
    }

    fn push(queue: &mut DatagramQueue, payload: &[u8]) -> Result<(), DropReason> {
        queue.push(datagram(payload))
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

    /// Lengths of datagrams that wait, and what they are put together to: bytes, and of each piece.
    #[test]
    fn what_a_device_would_have_put_together() {
        type Taken<'a> = &'a [(usize, Option<u16>)];
        let cases: [(&[usize], Taken<'_>); 9] = [
            (&[100], &[(100, None)]),
            (&[100, 100, 100], &[(300, Some(100))]),
            (&[100, 100, 40, 100], &[(240, Some(100)), (100, None)]),
            (&[100, 101], &[(100, None), (101, None)]),
            (&[40, 100, 100], &[(40, None), (200, Some(100))]),
            (&[100, 0, 0], &[(100, None), (0, None), (0, None)]),
            (&[1; 65], &[(64, Some(1)), (1, None)]),
            (&[30_000; 3], &[(60_000, Some(30_000)), (30_000, None)]),
            (&[32_753, 32_754], &[(32_753, None), (32_754, None)]),
        ];
        for (lens, expected) in cases {
            let mut queue = DatagramQueue::new(1 << 20);
            let data: Vec<u8> = (0..lens.iter().sum()).map(|index: usize| index as u8).collect();
            let mut rest = &data[..];
            for len in lens {
                let (payload, after) = rest.split_at(*len);
                push(&mut queue, payload).expect("room");
                rest = after;
            }
            let taken: Vec<_> = core::iter::from_fn(|| queue.pop_coalesced()).collect();
            let shapes: Vec<_> =
                taken.iter().map(|taken| (taken.payload.len(), taken.segment_size)).collect();
            assert_eq!(shapes, expected, "{lens:?}");
            let joined: Vec<u8> = taken.iter().flat_map(|taken| taken.payload.to_vec()).collect();
            assert_eq!((joined, queue.bytes), (data, 0));
        }
    }

    #[test]
    fn what_differs_stays_apart() {
        let plain = datagram(&[0; 8]);
        let large = Datagram { segment_size: Some(8), payload: [0; 20].into(), ..plain.clone() };
        for (next, together) in [
            (plain.clone(), true),
            (Datagram { received: Instant::ZERO + Duration::from_secs(1), ..plain.clone() }, true),
            (large.clone(), true),
            (Datagram { segment_size: Some(7), ..large.clone() }, false),
            (Datagram { from: TO.parse().unwrap(), ..plain.clone() }, false),
            (Datagram { to: FROM.parse().unwrap(), ..plain.clone() }, false),
            (Datagram { interface: InterfaceId(2), ..plain.clone() }, false),
            (Datagram { ttl: 63, ..plain.clone() }, false),
            (Datagram { tos: 1, ..plain.clone() }, false),
        ] {
            let mut queue = DatagramQueue::new(1000);
            queue.push(plain.clone()).expect("room");
            queue.push(next.clone()).expect("room");
            queue.pop_coalesced().expect("one waits");
            assert_eq!(queue.is_empty(), together, "{next:?}");
        }
        // A short end is the last there is.
        let mut queue = DatagramQueue::new(1000);
        queue.push(large).expect("room");
        queue.push(plain).expect("room");
        assert_eq!(queue.pop_coalesced().map(|taken| taken.payload.len()), Some(20));
    }
}
