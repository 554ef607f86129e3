//! Buffers of powers of two, kept by size. The buffer returned last is handed out first: its
//! pages are the ones most likely still in the cache. Buffers that nobody needed between two calls
//! of [`Pool::trim`] go back to the allocator.

/// The smallest buffer: one page.
pub const MIN_BUFFER: usize = 4096;

/// Free buffers by size, so that a ring's growth and release cost no allocation or page fault.
#[derive(Debug, Default)]
pub struct Pool {
    /// The buffers of `MIN_BUFFER << index` bytes.
    free: Vec<Class>,
    free_bytes: usize,
    limit: usize,
    in_use: usize,
}

#[derive(Debug, Default)]
struct Class {
    buffers: Vec<Box<[u8]>>,
    /// The fewest that were free since the last trim: so many were not needed.
    fewest: usize,
}

impl Pool {
    /// `limit`: bytes of free buffers kept; past it they go back to the allocator.
    pub fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Bytes in buffers that rings hold at the moment.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Bytes in free buffers, never more than the limit.
    pub fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// A buffer of at least `size` bytes: the next power of two. It holds zeros, or what an
    /// earlier ring left in it.
    pub(crate) fn take(&mut self, size: usize) -> Box<[u8]> {
        let size = buffer_size(size);
        let kept = self.free.get_mut(class(size)).and_then(Class::pop);
        self.free_bytes -= kept.as_ref().map_or(0, |buffer| buffer.len());
        self.in_use += size;
        kept.unwrap_or_else(|| vec![0; size].into_boxed_slice())
    }

    /// Takes back a buffer that [`Pool::take`] gave.
    pub(crate) fn give_back(&mut self, buffer: Box<[u8]>) {
        let size = buffer.len();
        self.in_use -= size;
        if self.free_bytes + size > self.limit {
            return;
        }
        let class = class(size);
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Class::default);
        }
        self.free[class].buffers.push(buffer);
        self.free_bytes += size;
    }

    /// Gives back to the allocator what was free all the time since the last trim.
    pub fn trim(&mut self) {
        for (index, class) in self.free.iter_mut().enumerate() {
            // The oldest are at the bottom, and the coldest.
            class.buffers.drain(..class.fewest);
            self.free_bytes -= class.fewest * (MIN_BUFFER << index);
            class.fewest = class.buffers.len();
        }
    }
}

impl Class {
    fn pop(&mut self) -> Option<Box<[u8]>> {
        let buffer = self.buffers.pop();
        self.fewest = self.fewest.min(self.buffers.len());
        buffer
    }
}

/// The size of the buffer that holds `size` bytes.
pub(crate) fn buffer_size(size: usize) -> usize {
    size.next_power_of_two().max(MIN_BUFFER)
}

fn class(buffer_size: usize) -> usize {
    (buffer_size / MIN_BUFFER).trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two() {
        let mut pool = Pool::new(0);
        for (asked, given) in [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (100_000, 131_072)]
        {
            assert_eq!(pool.take(asked).len(), given, "{asked}");
        }
    }

    #[test]
    fn the_last_buffer_returned_is_the_first_taken() {
        let mut pool = Pool::new(1 << 20);
        let [mut first, mut second] = [pool.take(4096), pool.take(4096)];
        (first[0], second[0]) = (1, 2);
        pool.give_back(first);
        pool.give_back(second);
        assert_eq!([pool.take(100)[0], pool.take(100)[0], pool.take(100)[0]], [2, 1, 0]);
    }

    #[test]
    fn what_was_not_needed_for_a_while_goes_back() {
        let mut pool = Pool::new(1 << 20);
        for size in [4096, 4096, 4096, 8192] {
            let buffers = [pool.take(size), pool.take(size)];
            buffers.into_iter().for_each(|buffer| pool.give_back(buffer));
        }
        pool.trim();
        assert_eq!(pool.free_bytes(), 2 * 4096 + 2 * 8192, "used since the beginning");
        let one = pool.take(4096);
        pool.give_back(one);
        pool.trim();
        assert_eq!(pool.free_bytes(), 4096, "one of four was used");
        pool.trim();
        assert_eq!((pool.free_bytes(), pool.in_use()), (0, 0));
    }

    #[test]
    fn free_bytes_stay_within_the_limit() {
        let mut pool = Pool::new(20_000);
        let buffers = [4096, 16_384, 4096, 8192].map(|size| pool.take(size));
        assert_eq!((pool.in_use(), pool.free_bytes()), (32_768, 0));
        let mut kept = Vec::new();
        for buffer in buffers {
            pool.give_back(buffer);
            kept.push(pool.free_bytes());
        }
        assert_eq!(kept, [4096, 4096, 8192, 16_384]);
        assert_eq!(pool.in_use(), 0);
        pool.take(8192);
        assert_eq!((pool.in_use(), pool.free_bytes()), (8192, 8192));
    }
}
