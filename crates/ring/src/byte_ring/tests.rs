use super::*;
use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeMap, VecDeque};

/// What a ring should hold, the simple way.
#[derive(Default)]
struct Model {
    readable: VecDeque<u8>,
    /// By position past the readable bytes.
    placed: BTreeMap<usize, u8>,
    limit: usize,
}

impl Model {
    fn free(&self) -> usize {
        self.limit.saturating_sub(self.readable.len())
    }

    fn place(&mut self, position: usize, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.free().saturating_sub(position));
        self.placed.extend((position..).zip(bytes[..count].iter().copied()));
        count
    }

    /// The placed bytes right after the readable ones, without a hole.
    fn contiguous(&self) -> usize {
        self.placed.keys().enumerate().take_while(|(index, position)| index == *position).count()
    }

    fn commit(&mut self, count: usize) {
        let placed = std::mem::take(&mut self.placed);
        for (position, byte) in placed {
            match position.checked_sub(count) {
                Some(rest) => drop(self.placed.insert(rest, byte)),
                None => self.readable.push_back(byte),
            }
        }
    }

    fn held(&self) -> usize {
        self.readable.len() + self.placed.keys().last().map_or(0, |last| last + 1)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    /// A read of unknown length: the most it may take, and what it has.
    WriteWith(usize, Vec<u8>),
    Place(usize, Vec<u8>),
    Commit(usize),
    Consume(usize),
    ReadWith(usize, usize),
    Peek(usize, usize),
    SetLimit(usize),
    Release,
}

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    (0..most, any::<u8>())
        .prop_map(|(len, first)| (0..len).map(|n| first.wrapping_add((n % 251) as u8)).collect())
}

fn step() -> impl Strategy<Value = Step> {
    const MOST: usize = 20_000;
    prop_oneof![
        4 => bytes(MOST).prop_map(Step::Write),
        4 => (0..MOST * 2, bytes(MOST)).prop_map(|(max, has)| Step::WriteWith(max, has)),
        4 => (0..MOST, bytes(MOST / 4)).prop_map(|(position, bytes)| Step::Place(position, bytes)),
        4 => (0..MOST).prop_map(Step::Commit),
        4 => (0..MOST).prop_map(Step::Consume),
        4 => (0..MOST, 0..MOST).prop_map(|(max, take)| Step::ReadWith(max, take)),
        2 => (0..MOST, 0..MOST).prop_map(|(offset, len)| Step::Peek(offset, len)),
        1 => (0..MOST * 4).prop_map(Step::SetLimit),
        1 => Just(Step::Release),
    ]
}

fn apply(ring: &mut ByteRing, pool: &mut Pool, model: &mut Model, step: Step) {
    match step {
        Step::Write(bytes) => {
            // A sender's ring: nothing is placed in it.
            if model.placed.is_empty() {
                let count = bytes.len().min(model.free());
                assert_eq!(ring.write(pool, &bytes), count);
                model.readable.extend(&bytes[..count]);
            }
        }
        Step::WriteWith(max, has) => {
            if !model.placed.is_empty() {
                return;
            }
            let mut offered = 0;
            let written = ring.write_with(pool, max, |room| {
                offered = room[0].len() + room[1].len();
                let mut rest = &has[..];
                room.iter_mut().map(|part| io_read(&mut rest, part)).sum()
            });
            assert!(offered <= max.min(model.free()));
            assert_eq!(offered == 0, max.min(model.free()) == 0);
            assert_eq!(written, has.len().min(offered));
            model.readable.extend(&has[..written]);
        }
        Step::Place(position, bytes) => {
            assert_eq!(ring.place(pool, position, &bytes), model.place(position, &bytes));
        }
        Step::Commit(count) => {
            let count = count.min(model.contiguous());
            ring.commit(count);
            model.commit(count);
        }
        Step::Consume(count) => {
            ring.consume(pool, count);
            model.readable.drain(..count.min(model.readable.len()));
        }
        Step::ReadWith(max, take) => {
            let mut seen = Vec::new();
            let taken = ring.read_with(pool, max, |parts| {
                parts.iter().for_each(|part| seen.extend_from_slice(part));
                take
            });
            assert_eq!(seen.len(), max.min(model.readable.len()));
            assert_eq!(taken, take.min(seen.len()));
            assert!(seen.iter().eq(model.readable.iter().take(seen.len())));
            model.readable.drain(..taken);
        }
        Step::Peek(offset, len) => {
            let seen = ring.peek(offset, len).concat();
            let expected = model.readable.iter().skip(offset).take(len);
            assert!(seen.iter().eq(expected));
        }
        Step::SetLimit(limit) => {
            ring.set_limit(limit);
            model.limit = limit;
        }
        Step::Release => {
            ring.release(pool);
            *model = Model { limit: model.limit, ..Model::default() };
        }
    }
}

fn io_read(from: &mut &[u8], into: &mut [u8]) -> usize {
    let count = from.len().min(into.len());
    into[..count].copy_from_slice(&from[..count]);
    *from = &from[count..];
    count
}

fn agrees(ring: &ByteRing, pool: &Pool, model: &Model) {
    assert_eq!(ring.limit(), model.limit);
    assert_eq!(ring.len(), model.readable.len());
    assert_eq!(ring.is_empty(), model.readable.is_empty());
    assert_eq!(ring.free(), model.free());
    assert!(ring.extent as usize >= model.held());
    assert!(ring.extent as usize <= ring.buffer.len());
    assert_eq!(pool.in_use(), ring.buffer.len());
    if model.held() == 0 {
        assert_eq!(pool.in_use(), 0, "an empty ring keeps a buffer");
    }
    assert!(ring.peek(0, usize::MAX).concat().iter().eq(&model.readable));
}

proptest! {
    #[test]
    fn behaves_like_a_queue(limit in 0usize..60_000, steps in vec(step(), 0..60)) {
        let mut pool = Pool::new(1 << 20);
        let mut ring = ByteRing::new(limit);
        let mut model = Model { limit, ..Model::default() };
        for step in steps {
            apply(&mut ring, &mut pool, &mut model, step);
            agrees(&ring, &pool, &model);
        }
        ring.release(&mut pool);
        prop_assert_eq!(pool.in_use(), 0);
        prop_assert!(pool.free_bytes() <= 1 << 20);
    }
}

/// Reads `bytes` once, and returns how many bytes of room were offered.
fn offered(ring: &mut ByteRing, pool: &mut Pool, max: usize, bytes: usize) -> usize {
    let mut offered = 0;
    ring.write_with(pool, max, |room| {
        offered = room.iter().map(|part| part.len()).sum();
        bytes
    });
    offered
}

#[test]
fn room_grows_with_a_stream_and_shrinks_with_messages() {
    let mut pool = Pool::new(1 << 20);
    let mut ring = ByteRing::new(1 << 20);
    const READ: usize = 256 << 10;

    let mut rooms = Vec::new();
    for _ in 0..8 {
        rooms.push(offered(&mut ring, &mut pool, READ, READ) >> 10);
        ring.consume(&mut pool, READ);
    }
    assert_eq!(rooms, [4, 8, 16, 32, 64, 128, 256, 256]);

    let mut buffers = Vec::new();
    for _ in 0..8 {
        offered(&mut ring, &mut pool, READ, 1);
        buffers.push(pool.in_use() >> 10);
        ring.consume(&mut pool, 1);
    }
    assert_eq!(buffers, [256, 128, 64, 32, 16, 8, 4, 4]);
}

#[test]
fn a_read_that_gives_nothing_costs_nothing() {
    let mut pool = Pool::new(1 << 20);
    let mut ring = ByteRing::new(1 << 20);
    assert_eq!(offered(&mut ring, &mut pool, 1000, 0), 1000);
    assert_eq!(pool.in_use(), 0);
    assert_eq!(offered(&mut ring, &mut pool, 0, 0), 0);
}

#[test]
fn counts_larger_than_offered_are_all_of_it() {
    let mut pool = Pool::new(1 << 20);
    let mut ring = ByteRing::new(100);
    assert_eq!(ring.write_with(&mut pool, 60, |_| usize::MAX), 60);
    assert_eq!(ring.write_with(&mut pool, 60, |_| usize::MAX), 40);
    assert_eq!(ring.read_with(&mut pool, 10, |_| usize::MAX), 10);
    ring.consume(&mut pool, usize::MAX);
    assert_eq!((ring.len(), pool.in_use()), (0, 0));
    ring.commit(usize::MAX);
    assert_eq!(ring.len(), 0);
}

#[test]
fn placed_bytes_keep_the_buffer_and_survive_growth() {
    let mut pool = Pool::new(1 << 20);
    let mut ring = ByteRing::new(1 << 20);
    ring.write(&mut pool, &[1; 3000]);
    assert_eq!(ring.place(&mut pool, 500, &[3; 400]), 400);
    ring.consume(&mut pool, 3000);
    assert_eq!((ring.len(), pool.in_use()), (0, 4096));

    // The buffer wraps now, and then grows.
    assert_eq!(ring.place(&mut pool, 900, &[4; 5000]), 5000);
    assert_eq!(pool.in_use(), 8192);
    assert_eq!(ring.place(&mut pool, 0, &[2; 500]), 500);
    ring.commit(5900);
    let expected = [vec![2; 500], vec![3; 400], vec![4; 5000]].concat();
    assert_eq!(ring.peek(0, usize::MAX).concat(), expected);
    ring.consume(&mut pool, 5900);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn nothing_is_placed_past_the_limit() {
    let mut pool = Pool::new(1 << 20);
    let mut ring = ByteRing::new(1000);
    ring.write(&mut pool, &[1; 300]);
    for (position, len, placed) in
        [(0, 800, 700), (600, 200, 100), (700, 1, 0), (usize::MAX, 5, 0), (0, 0, 0)]
    {
        assert_eq!(ring.place(&mut pool, position, &vec![2; len]), placed);
    }
    ring.set_limit(200);
    assert_eq!((ring.len(), ring.free()), (300, 0));
    assert_eq!(ring.place(&mut pool, 0, &[1]), 0);
}
