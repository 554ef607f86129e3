//! Bytes that anyone can make and check by position, as fast as memory is read.

use sha2::{Digest, Sha256};
use std::sync::OnceLock;

/// Bytes that look random and repeat after [`Pattern::PERIOD`]. The period is a prime, so that a segment,
/// page or buffer that is lost, doubled or moved never leaves the bytes as they were.
pub struct Pattern {
    bytes: Vec<u8>,
}

impl Pattern {
    pub const PERIOD: usize = 1_048_573;

    /// The one pattern there is, made on first use.
    pub fn shared() -> &'static Self {
        static PATTERN: OnceLock<Pattern> = OnceLock::new();
        PATTERN.get_or_init(Self::new)
    }

    fn new() -> Self {
        let words = (0..Self::PERIOD.div_ceil(8) as u64).map(|index| mix(index).to_le_bytes());
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(Self::PERIOD);
        Self { bytes }
    }

    /// Bytes of the pattern from `offset` on: as many as there are before it repeats, at least one.
    pub fn at(&self, offset: u64) -> &[u8] {
        let start = offset % Self::PERIOD as u64;
        self.bytes.get(start as usize..).unwrap_or_default()
    }

    /// The offset in `bytes` of the first that is not the pattern's, if `bytes` begin at `offset`.
    pub fn first_difference(&self, offset: u64, bytes: &[u8]) -> Option<usize> {
        let mut checked = 0;
        while let Some(rest) = bytes.get(checked..).filter(|rest| !rest.is_empty()) {
            let expected = self.at(offset + checked as u64);
            let length = expected.len().min(rest.len());
            let (rest, expected) = (rest.get(..length)?, expected.get(..length)?);
            if rest != expected {
                let same = rest.iter().zip(expected).take_while(|(left, right)| left == right);
                return Some(checked + same.count());
            }
            checked += length;
        }
        None
    }

    /// The SHA-256 of the first `length` bytes, in hexadecimal digits.
    pub fn sha256(&self, length: u64) -> String {
        let mut digest = Sha256::new();
        let mut done = 0;
        while done < length {
            let part = self.at(done);
            let part = part.get(..(length - done).min(part.len() as u64) as usize).unwrap_or(part);
            digest.update(part);
            done += part.len() as u64;
        }
        hexadecimal(digest)
    }
}

pub(super) fn hexadecimal(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SplitMix64's output function of a counter (Steele, Lea, Flood 2014).
fn mix(counter: u64) -> u64 {
    let mut word = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(offset: u64, length: usize) -> Vec<u8> {
        let pattern = Pattern::shared();
        (0..length as u64).map(|index| pattern.at(offset + index)[0]).collect()
    }

    #[test]
    fn is_found_right_at_every_offset() {
        let period = Pattern::PERIOD as u64;
        for offset in [0, 1, period - 1, period, 7 * period + 3] {
            assert_eq!(Pattern::shared().first_difference(offset, &stretch(offset, 100)), None);
        }
    }

    #[test]
    fn the_first_wrong_byte_is_found() {
        let offset = Pattern::PERIOD as u64 - 10;
        for wrong in [0, 9, 10, 63] {
            let mut bytes = stretch(offset, 64);
            bytes[wrong] ^= 1;
            assert_eq!(Pattern::shared().first_difference(offset, &bytes), Some(wrong));
        }
    }

    #[test]
    fn shifted_bytes_are_wrong() {
        for shift in [1, 1448, 4096, 65536, 1 << 20] {
            assert!(
                Pattern::shared().first_difference(0, &stretch(shift, 64)).is_some(),
                "{shift}"
            );
        }
    }

    #[test]
    fn the_digest_is_of_the_bytes() {
        let length = Pattern::PERIOD + 5;
        let digest = Sha256::new().chain_update(stretch(0, length));
        assert_eq!(Pattern::shared().sha256(length as u64), hexadecimal(digest));
    }
}
