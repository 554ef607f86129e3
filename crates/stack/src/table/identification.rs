//! Identifications of packets that may be fragmented (RFC 6864 §4.1: unique for a source, destination
//! and protocol, for as long as a datagram lives). Invariant: memory is fixed, and nobody can tell from
//! the identifications he sees how many packets were sent to others (the idle scan, CVE-2020-36516).
//!
//! A keyed hash of source, destination and protocol picks a counter of many, and an offset to it. A
//! counter goes on by a random step, so that who shares it with others learns nothing from its pace; a
//! number comes back after a few thousand packets at the earliest, which a random one does after 300.

use crate::random::{Key, Random};
use core::net::Ipv4Addr;

/// Counters: as many as Linux has at least.
const COUNTERS: usize = 2048;
/// A step is from 1 to this.
const MAX_STEP: u32 = 8;

#[derive(Debug)]
pub struct Identifications {
    key: Key,
    counters: Box<[u16]>,
}

impl Identifications {
    pub fn new(random: &mut Random) -> Self {
        let counters = (0..COUNTERS).map(|_| random.next_u32() as u16).collect();
        Self { key: random.key(), counters }
    }

    /// The first of `count` numbers in a row, for the pieces of one frame.
    pub fn next(
        &mut self,
        random: &mut Random,
        (source, destination, protocol): (Ipv4Addr, Ipv4Addr, u8),
        count: u16,
    ) -> u16 {
        let hash = self.key.hash(&(source, destination, protocol));
        let [.., high, low] = hash.to_be_bytes();
        let offset = u16::from_be_bytes([high, low]);
        let index = (hash >> 16) as usize % COUNTERS;
        let step = 1 + random.below(MAX_STEP) as u16;
        match self.counters.get_mut(index) {
            Some(counter) => {
                let first = counter.wrapping_add(step);
                *counter = first.wrapping_add(count.saturating_sub(1));
                first.wrapping_add(offset)
            }
            None => offset,
        }
    }
}

/// The identification of one of the pieces of a frame that has `first`: the next ones, unless it is zero
/// where nobody will ask for one (RFC 6864 §4.1).
pub(crate) fn of_piece(first: u16, dont_fragment: bool, index: usize) -> u16 {
    if dont_fragment && first == 0 { 0 } else { first.wrapping_add(index as u16) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn draw(
        count: usize,
        mut of: impl FnMut(&mut Identifications, &mut Random) -> u16,
    ) -> Vec<u16> {
        let mut random = Random::new([9; 16]);
        let mut all = Identifications::new(&mut random);
        (0..count).map(|_| of(&mut all, &mut random)).collect()
    }

    #[test]
    fn a_number_comes_back_late() {
        let peer = Ipv4Addr::new(10, 0, 0, 1);
        let drawn = draw(5000, |all, random| all.next(random, (OWN, peer, 17), 1));
        let different: BTreeSet<_> = drawn.iter().collect();
        assert_eq!(different.len(), 5000);
    }

    #[test]
    fn numbers_in_a_row_are_one_frames_alone() {
        let peer = Ipv4Addr::new(10, 0, 0, 1);
        let drawn = draw(100, |all, random| all.next(random, (OWN, peer, 17), 44));
        let all: BTreeSet<_> =
            drawn.iter().flat_map(|first| (0..44).map(|index| first.wrapping_add(index))).collect();
        assert_eq!(all.len(), 4400);
    }

    #[test]
    fn a_step_says_nothing_of_others() {
        let peer = Ipv4Addr::new(10, 0, 0, 1);
        let drawn = draw(1000, |all, random| all.next(random, (OWN, peer, 17), 1));
        let steps: BTreeSet<_> = drawn.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
        assert_eq!(steps, (1..=8).collect());
    }

    #[test]
    fn who_sees_one_flow_knows_nothing_of_another() {
        // First numbers of a thousand destinations: all over the range.
        let mut host = 0;
        let drawn = draw(1000, |all, random| {
            host += 1;
            all.next(random, (OWN, Ipv4Addr::from_bits(0x0a00_0000 + host), 17), 1)
        });
        let different: BTreeSet<_> = drawn.iter().collect();
        assert!(different.len() > 980, "{}", different.len());
        let quarters: Vec<_> =
            (0..4).map(|q| drawn.iter().filter(|id| **id >> 14 == q).count()).collect();
        assert!(quarters.iter().all(|count| (200..300).contains(count)), "{quarters:?}");
    }
}
