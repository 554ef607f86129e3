//! One ring: where its bytes are in the buffer, and how large the buffer should be.
//!
//! Two things say how large. What must fit (a write of known length, bytes placed) makes the
//! buffer grow at once. What might come (a read from a descriptor, of which nobody knows how much
//! it gives) gets `expected` bytes, which doubles each time it was used up and, when the ring runs
//! empty and held much less, is halved: so a stream moves large pieces with few calls and a
//! connection of small messages keeps a small buffer.

use crate::pool::{MIN_BUFFER, Pool, buffer_size};
use std::io::{IoSlice, IoSliceMut};

/// The most that a ring holds: of a buffer of this length every offset is a `u32`, which keeps small
/// what every idle connection has two of.
pub const MAX_LIMIT: usize = 1 << 31;

/// A queue of bytes with a limit. Its buffer belongs to the [`Pool`] that every call is given,
/// which must always be the same one.
#[derive(Debug)]
pub struct ByteRing {
    /// Empty, or a power of two long.
    buffer: Box<[u8]>,
    /// Where the oldest byte is in the buffer.
    head: u32,
    /// Readable bytes.
    len: u32,
    /// The end of the last byte held, readable or placed: `len <= extent <= buffer.len()`.
    extent: u32,
    limit: u32,
    /// How much the next write of unknown length may bring.
    expected: u32,
    /// The greatest extent since the buffer came.
    peak: u32,
}

impl Default for ByteRing {
    /// A ring that holds nothing until it is given a limit.
    fn default() -> Self {
        Self::new(0)
    }
}

impl ByteRing {
    /// An empty ring that may hold up to `limit` bytes, [`MAX_LIMIT`] at most.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: Box::default(),
            head: 0,
            len: 0,
            extent: 0,
            limit: limit.min(MAX_LIMIT) as u32,
            expected: MIN_BUFFER as u32,
            peak: 0,
        }
    }

    /// The most bytes that it may hold.
    pub fn limit(&self) -> usize {
        self.limit as usize
    }

    /// Raises or lowers the limit; bytes held past a lowered limit stay.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.min(MAX_LIMIT) as u32;
    }

    /// Bytes of the buffer that it has at the moment.
    pub fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Readable bytes.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Is nothing readable? Bytes may have been placed all the same.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit: the limit less the readable ones.
    pub fn free(&self) -> usize {
        self.limit.saturating_sub(self.len) as usize
    }

    /// Offers free space (at most `max` bytes, as two slices since a ring wraps) to `fill`, which
    /// returns how many bytes it wrote from the start; they become readable.
    /// A count larger than offered is taken as all of it. `fill` isn't called if there is no room.
    pub fn write_with(
        &mut self,
        pool: &mut Pool,
        max: usize,
        fill: impl FnOnce(&mut [IoSliceMut<'_>; 2]) -> usize,
    ) -> usize {
        let most = max.min(self.free());
        let room = self.buffer.len().saturating_sub(self.len());
        let offered = most.min(room.max(self.expected as usize));
        if offered == 0 {
            return 0;
        }
        self.reserve(pool, self.len() + offered);
        let [first, second] = self.space(self.len(), offered);
        let written = fill(&mut [IoSliceMut::new(first), IoSliceMut::new(second)]).min(offered);
        self.advance(written);
        if written == offered && offered < most {
            self.expected = self.expected.saturating_mul(2);
        }
        self.release_if_empty(pool);
        written
    }

    /// Copies in what fits and returns how much that was.
    pub fn write(&mut self, pool: &mut Pool, bytes: &[u8]) -> usize {
        let written = self.place(pool, 0, bytes);
        self.commit(written);
        written
    }

    /// Readable bytes from `offset`, at most `len`, as two slices; shorter where fewer are held.
    pub fn peek(&self, offset: usize, len: usize) -> [&[u8]; 2] {
        let len = len.min(self.len().saturating_sub(offset));
        if len == 0 {
            return [&[], &[]];
        }
        let start = self.index(offset);
        let (wrapped, straight) = self.buffer.split_at(start);
        let first = len.min(straight.len());
        [&straight[..first], &wrapped[..len - first]]
    }

    /// Offers the readable bytes (at most `max`) to `drain`, which returns how many it took; they
    /// are consumed. `drain` isn't called if there are none.
    pub fn read_with(
        &mut self,
        pool: &mut Pool,
        max: usize,
        drain: impl FnOnce(&[IoSlice<'_>; 2]) -> usize,
    ) -> usize {
        let offered = max.min(self.len());
        if offered == 0 {
            return 0;
        }
        let taken = drain(&self.peek(0, offered).map(IoSlice::new)).min(offered);
        self.consume(pool, taken);
        taken
    }

    /// Forgets the oldest `count` bytes (all readable ones, if there are fewer).
    pub fn consume(&mut self, pool: &mut Pool, count: usize) {
        let count = count.min(self.len());
        self.head = self.index(count) as u32;
        self.len -= count as u32;
        self.extent -= count as u32;
        self.release_if_empty(pool);
    }

    /// Places `bytes` at `position` past the readable ones (0 is right after them) without making
    /// them readable; what lies past the limit is left out. Returns how many bytes were placed.
    pub fn place(&mut self, pool: &mut Pool, position: usize, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.free().saturating_sub(position));
        if count == 0 {
            return 0;
        }
        let offset = self.len() + position;
        self.reserve(pool, offset + count);
        let [first, second] = self.space(offset, count);
        let (straight, wrapped) = bytes[..count].split_at(first.len());
        first.copy_from_slice(straight);
        second.copy_from_slice(wrapped);
        self.extend(offset + count);
        count
    }

    /// Makes the next `count` placed bytes readable (as many as there are, if fewer).
    pub fn commit(&mut self, count: usize) {
        self.len = self.len().saturating_add(count).min(self.extent as usize) as u32;
    }

    /// Gives the buffer back, whatever it holds: for a connection that ends.
    pub fn release(&mut self, pool: &mut Pool) {
        self.len = 0;
        self.extent = 0;
        self.release_if_empty(pool);
    }

    /// Where the byte at `offset` from the oldest is in the buffer.
    fn index(&self, offset: usize) -> usize {
        (self.head as usize + offset) & self.buffer.len().wrapping_sub(1)
    }

    /// The part of the buffer from `offset`, which wraps; it must have been reserved.
    fn space(&mut self, offset: usize, len: usize) -> [&mut [u8]; 2] {
        let start = self.index(offset);
        let (wrapped, straight) = self.buffer.split_at_mut(start);
        let first = len.min(straight.len());
        [&mut straight[..first], &mut wrapped[..len - first]]
    }

    /// `count` bytes were written right after the readable ones.
    fn advance(&mut self, count: usize) {
        self.len += count as u32;
        self.extend(self.len());
    }

    fn extend(&mut self, end: usize) {
        self.extent = self.extent.max(end as u32);
        self.peak = self.peak.max(self.extent);
    }

    /// Makes the buffer at least `size` long, keeping all that is held.
    fn reserve(&mut self, pool: &mut Pool, size: usize) {
        if size <= self.buffer.len() {
            return;
        }
        let expected = self.expected.min(self.limit) as usize;
        let mut larger = pool.take(size.max(expected));
        let (head, extent) = (self.head as usize, self.extent as usize);
        let straight = extent.min(self.buffer.len() - head);
        let wrapped = extent - straight;
        larger[..straight].copy_from_slice(&self.buffer[head..head + straight]);
        larger[straight..extent].copy_from_slice(&self.buffer[..wrapped]);
        self.head = 0;
        let smaller = std::mem::replace(&mut self.buffer, larger);
        if !smaller.is_empty() {
            pool.give_back(smaller);
        }
    }

    fn release_if_empty(&mut self, pool: &mut Pool) {
        if self.extent > 0 || self.buffer.is_empty() {
            return;
        }
        pool.give_back(std::mem::take(&mut self.buffer));
        self.head = 0;
        match std::mem::take(&mut self.peak) {
            0 => {}
            peak if peak < self.expected / 4 => {
                self.expected = (self.expected / 2).max(MIN_BUFFER as u32);
            }
            peak => self.expected = self.expected.max(buffer_size(peak as usize) as u32),
        }
    }
}

#[cfg(test)]
mod tests;
