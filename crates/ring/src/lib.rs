//! Byte rings between a program and a connection.
//!
//! A ring is a limit (how much it may hold) and, while it holds anything, a buffer borrowed from
//! a [`Pool`]. The buffer grows by doubling and goes back to the pool as soon as the ring is
//! empty, so an idle connection holds no memory and busy ones reuse the same warm pages.
//!
//! Positions are counted from the oldest byte held. Bytes `0..len` are contiguous and readable;
//! a receiver may also place bytes past `len` (out-of-order data) and let them become readable
//! later with [`ByteRing::commit`].

#![forbid(unsafe_code)]

use std::io::{IoSlice, IoSliceMut};

/// Free buffers by size, so that a ring's growth and release cost no allocation or page fault.
#[derive(Debug, Default)]
pub struct Pool {}

impl Pool {
    /// `limit`: bytes of free buffers kept; past it they go back to the allocator.
    pub fn new(limit: usize) -> Self {
        let _ = limit;
        Self {}
    }

    /// Bytes in buffers that rings hold at the moment.
    pub fn in_use(&self) -> usize {
        todo!()
    }
}

#[derive(Debug, Default)]
pub struct ByteRing {}

impl ByteRing {
    /// An empty ring that may hold up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        let _ = limit;
        todo!()
    }

    pub fn limit(&self) -> usize {
        todo!()
    }

    /// Raises or lowers the limit; bytes held past a lowered limit stay.
    pub fn set_limit(&mut self, limit: usize) {
        let _ = limit;
        todo!()
    }

    /// Readable bytes.
    pub fn len(&self) -> usize {
        todo!()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that still fit: the limit less the readable ones.
    pub fn free(&self) -> usize {
        todo!()
    }

    /// Offers free space (at most `max` bytes, as two slices since a ring wraps) to `fill`, which
    /// returns how many bytes it wrote from the start; they become readable.
    /// A count larger than offered is taken as all of it.
    pub fn write_with(
        &mut self,
        pool: &mut Pool,
        max: usize,
        fill: impl FnOnce(&mut [IoSliceMut<'_>; 2]) -> usize,
    ) -> usize {
        let _ = (pool, max, fill);
        todo!()
    }

    /// Copies in what fits and returns how much that was.
    pub fn write(&mut self, pool: &mut Pool, bytes: &[u8]) -> usize {
        let _ = (pool, bytes);
        todo!()
    }

    /// Readable bytes from `offset`, at most `len`, as two slices; shorter where fewer are held.
    pub fn peek(&self, offset: usize, len: usize) -> [&[u8]; 2] {
        let _ = (offset, len);
        todo!()
    }

    /// Offers the readable bytes to `drain`, which returns how many it took; they are consumed.
    pub fn read_with(
        &mut self,
        pool: &mut Pool,
        max: usize,
        drain: impl FnOnce(&[IoSlice<'_>; 2]) -> usize,
    ) -> usize {
        let _ = (pool, max, drain);
        todo!()
    }

    /// Forgets the oldest `count` bytes (all, if there are fewer).
    pub fn consume(&mut self, pool: &mut Pool, count: usize) {
        let _ = (pool, count);
        todo!()
    }

    /// Places `bytes` at `position` past the readable ones (0 is right after them) without making
    /// them readable; what lies past the limit is left out. Returns how many bytes were placed.
    pub fn place(&mut self, pool: &mut Pool, position: usize, bytes: &[u8]) -> usize {
        let _ = (pool, position, bytes);
        todo!()
    }

    /// Makes the next `count` placed bytes readable.
    pub fn commit(&mut self, count: usize) {
        let _ = count;
        todo!()
    }

    /// Gives the buffer back, whatever it holds: for a connection that ends.
    pub fn release(&mut self, pool: &mut Pool) {
        let _ = pool;
        todo!()
    }
}
