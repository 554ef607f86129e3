//! A hash for tables whose keys are the operator's: nobody else puts any in, so it need not withstand
//! anybody, and can be quick.

use core::hash::{BuildHasherDefault, Hasher};
use std::collections::HashMap;

pub(crate) type Table<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// Multiplies and turns, a word at a time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mix(u64);

/// Odd, with its bits well spread: 2⁶⁴ divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Mix {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        for byte in rest {
            self.mix(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_isize(&mut self, value: isize) {
        self.mix(value as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    /// The table looks at the highest and at the lowest bits.
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::hash::{BuildHasher, BuildHasherDefault};
    use std::collections::HashSet;

    #[test]
    fn keys_that_follow_each_other_don_t_collide() {
        let build = BuildHasherDefault::<Mix>::default();
        let hashes: HashSet<u64> =
            (0..10_000_u32).map(|n| build.hash_one((Some(n), None::<u32>, 3_u8))).collect();
        assert_eq!(hashes.len(), 10_000);
        let low: HashSet<u64> = hashes.iter().map(|hash| hash & 0x3fff).collect();
        let high: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(low.len() > 6_000 && high.len() == 128, "{} {}", low.len(), high.len());
    }
}
