//! Where received bytes lie that came before their turn: sorted, disjoint ranges of sequence
//! numbers beyond `rcv_nxt`. The bytes themselves are in the receive ring already.

use super::seq::Seq;
use narrows_wire::tcp_options::SackBlocks;

/// Holes remembered per connection. A 4 MiB window at 5 % loss of Ethernet segments has under 150.
/// Past it a segment that would make another range is refused, so hostile one-byte segments can
/// neither grow memory nor make an insertion slow (SegmentSmack, CVE-2018-5390).
pub(super) const MAX_RANGES: usize = 512;

/// How many ranges the peer is told of, the latest first (RFC 2018 §4).
const REPORTED: usize = 4;

/// Empty, it is no larger than a pointer: most connections never miss anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Assembler(Option<Box<Held>>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    ranges: Vec<(Seq, Seq)>,
    /// The first octets of the segments that came last, the latest first.
    latest: [Seq; REPORTED],
}

/// No further range can be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Assembler {
    fn ranges(&self) -> &[(Seq, Seq)] {
        self.0.as_deref().map_or(&[], |held| &held.ranges)
    }

    pub fn is_empty(&self) -> bool {
        self.ranges().is_empty()
    }

    /// Could a segment be taken that touches none of the ranges? One that does is always taken.
    pub fn accepts(&self, start: Seq, end: Seq) -> bool {
        self.ranges().len() < MAX_RANGES
            || self.ranges().get(self.first_reaching(start)).is_some_and(|r| r.0.at_or_before(end))
    }

    /// The first range that ends at `start` or later.
    fn first_reaching(&self, start: Seq) -> usize {
        self.ranges().partition_point(|(_, end)| end.before(start))
    }

    /// Is all of `start..end` here already?
    pub fn contains(&self, start: Seq, end: Seq) -> bool {
        self.ranges()
            .get(self.first_reaching(start))
            .is_some_and(|range| range.0.at_or_before(start) && end.at_or_before(range.1))
    }

    /// Adds `start..end` and merges it with what it touches.
    pub fn insert(&mut self, start: Seq, end: Seq) -> Result<(), Full> {
        if !self.accepts(start, end) {
            return Err(Full);
        }
        let first = self.first_reaching(start);
        let held = self.0.get_or_insert_default();
        let touched = held.ranges.iter().skip(first).take_while(|r| r.0.at_or_before(end)).count();
        match held.ranges.get_mut(first) {
            Some(range) if touched > 0 => {
                range.0 = range.0.min(start);
                range.1 = range.1.max(end);
                let mut merged = *range;
                for absorbed in held.ranges.drain(first + 1..first + touched) {
                    merged.1 = merged.1.max(absorbed.1);
                }
                if let Some(range) = held.ranges.get_mut(first) {
                    *range = merged;
                }
            }
            _ => held.ranges.insert(first, (start, end)),
        }
        held.latest.rotate_right(1);
        held.latest[0] = start;
        Ok(())
    }

    /// The octets before `next` have become readable: forgets them, and returns where the stream
    /// really goes on (later than `next`, if a range begins there or before).
    pub fn advance(&mut self, next: Seq) -> Seq {
        let Some(held) = &mut self.0 else { return next };
        let reached = held.ranges.iter().take_while(|range| range.0.at_or_before(next)).count();
        let mut next = next;
        for (_, end) in held.ranges.drain(..reached) {
            next = next.max(end);
        }
        if held.ranges.is_empty() {
            self.clear();
        }
        next
    }

    /// Forgets everything, and gives the memory back.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Adds up to `room` blocks to a SACK option: first the range with the latest segment, then
    /// those with earlier ones, then others.
    pub fn report(&self, blocks: &mut SackBlocks, room: usize) {
        let Some(held) = &self.0 else { return };
        let mut told = [usize::MAX; REPORTED];
        let latest = held.latest.iter().filter_map(|at| {
            let index = held.ranges.partition_point(|(_, end)| end.at_or_before(*at));
            held.ranges.get(index).filter(|range| range.0.at_or_before(*at)).map(|_| index)
        });
        let mut count = 0;
        for index in latest.chain(0..held.ranges.len().min(2 * REPORTED)) {
            if count >= room.min(REPORTED) {
                return;
            }
            if told.contains(&index) {
                continue;
            }
            if let (Some(range), Some(slot)) = (held.ranges.get(index), told.get_mut(count)) {
                blocks.push(range.0.0, range.1.0);
                *slot = index;
                count += 1;
            }
        }
    }

    /// How many blocks `report` would add at most.
    pub fn len(&self) -> usize {
        self.ranges().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assembler(ranges: &[(u32, u32)]) -> Assembler {
        let mut assembler = Assembler::default();
        for (start, end) in ranges {
            assembler.insert(Seq(*start), Seq(*end)).unwrap();
        }
        assembler
    }

    fn ranges(assembler: &Assembler) -> Vec<(u32, u32)> {
        assembler.ranges().iter().map(|(start, end)| (start.0, end.0)).collect()
    }

    #[test]
    fn ranges_stay_sorted_and_disjoint() {
        for (inserted, expected) in [
            (&[(10, 20), (30, 40)][..], &[(10, 20), (30, 40)][..]),
            (&[(30, 40), (10, 20)], &[(10, 20), (30, 40)]),
            (&[(10, 20), (20, 30)], &[(10, 30)]),
            (&[(20, 30), (10, 20)], &[(10, 30)]),
            (&[(10, 20), (15, 18)], &[(10, 20)]),
            (&[(15, 18), (10, 20)], &[(10, 20)]),
            (&[(10, 20), (30, 40), (50, 60), (15, 55)], &[(10, 60)]),
            (&[(10, 20), (30, 40), (50, 60), (20, 30)], &[(10, 40), (50, 60)]),
            (&[(u32::MAX - 5, 5), (5, 9)], &[(u32::MAX - 5, 9)]),
        ] {
            assert_eq!(ranges(&assembler(inserted)), expected, "{inserted:?}");
        }
    }

    #[test]
    fn advancing_joins_what_follows() {
        for (next, expected, left) in [
            (5, 5, &[(10, 20), (30, 40)][..]),
            (10, 20, &[(30, 40)]),
            (15, 20, &[(30, 40)]),
            (25, 25, &[(30, 40)]),
            (30, 40, &[]),
            (90, 90, &[]),
        ] {
            let mut assembler = assembler(&[(10, 20), (30, 40)]);
            assert_eq!(assembler.advance(Seq(next)), Seq(expected));
            assert_eq!(ranges(&assembler), left);
        }
    }

    #[test]
    fn a_full_assembler_takes_only_what_touches_a_range() {
        let many: Vec<_> = (0..MAX_RANGES as u32).map(|i| (i * 10, i * 10 + 5)).collect();
        let mut full = assembler(&many);
        assert_eq!(full.insert(Seq(7), Seq(9)), Err(Full));
        assert_eq!(full.insert(Seq(100_000), Seq(100_001)), Err(Full));
        assert_eq!(full.insert(Seq(5), Seq(6)), Ok(()));
        assert_eq!(full.insert(Seq(6), Seq(10)), Ok(()));
        assert_eq!(full.len(), MAX_RANGES - 1);
        assert_eq!(full.insert(Seq(100_000), Seq(100_001)), Ok(()));
    }

    #[test]
    fn the_latest_range_is_reported_first() {
        let mut assembler = assembler(&[(10, 20), (30, 40), (50, 60), (70, 80), (90, 95)]);
        assembler.insert(Seq(35), Seq(42)).unwrap();
        let report = |assembler: &Assembler, room| {
            let mut blocks = SackBlocks::default();
            assembler.report(&mut blocks, room);
            blocks.as_slice().to_vec()
        };
        assert_eq!(report(&assembler, 3), [(30, 42), (90, 95), (70, 80)]);
        assert_eq!(report(&assembler, 0), []);
        assembler.advance(Seq(60));
        assert_eq!(report(&assembler, 4), [(90, 95), (70, 80)]);
    }

    #[test]
    fn containment_is_of_the_whole_range() {
        let assembler = assembler(&[(10, 20), (30, 40)]);
        for (start, end, expected) in
            [(10, 20, true), (12, 15, true), (8, 12, false), (18, 32, false), (20, 21, false)]
        {
            assert_eq!(assembler.contains(Seq(start), Seq(end)), expected, "{start}..{end}");
        }
    }
}
