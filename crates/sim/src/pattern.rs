//! Bytes that tell their place in a stream: a table of noise with a length that is prime, so that
//! bytes that are moved by a segment, a window or a power of two do not match.

use std::{io::IoSlice, sync::OnceLock};

const LEN: usize = 65_521;

fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        // Xorshift: any noise will do.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let noise = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        });
        noise.take(LEN).collect()
    })
}

/// One stream's bytes: position 0 is somewhere else in the table for each stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(u64);

impl Pattern {
    pub fn new(stream: u64) -> Self {
        Self(stream.wrapping_mul(7919) % LEN as u64)
    }

    /// Writes the bytes from `position` on.
    pub fn fill(self, mut position: u64, mut out: &mut [u8]) {
        while !out.is_empty() {
            let from = self.from(position);
            let (now, rest) = out.split_at_mut(from.len().min(out.len()));
            now.copy_from_slice(&from[..now.len()]);
            position += now.len() as u64;
            out = rest;
        }
    }

    /// The position of the first byte that is wrong, if one is.
    pub fn check(self, position: u64, parts: &[IoSlice<'_>]) -> Result<(), u64> {
        let mut position = position;
        for part in parts {
            let mut part = &part[..];
            while !part.is_empty() {
                let expected = self.from(position);
                let (now, rest) = part.split_at(expected.len().min(part.len()));
                if let Some(wrong) = now.iter().zip(expected).position(|(is, must)| is != must) {
                    return Err(position + wrong as u64);
                }
                position += now.len() as u64;
                part = rest;
            }
        }
        Ok(())
    }

    fn from(self, position: u64) -> &'static [u8] {
        &table()[((self.0 + position) % LEN as u64) as usize..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_right_at_its_place_alone() {
        let pattern = Pattern::new(3);
        let mut bytes = vec![0; 200_000];
        pattern.fill(1000, &mut bytes);
        let parts = bytes.split_at(70_000);
        let check =
            |position| pattern.check(position, &[IoSlice::new(parts.0), IoSlice::new(parts.1)]);
        assert_eq!(check(1000), Ok(()));
        for wrong in [999, 1001, 1000 + 1448, 1000 + 65_536] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
        let mut damaged = bytes.clone();
        damaged[150_000] ^= 1;
        assert_eq!(pattern.check(1000, &[IoSlice::new(&damaged)]), Err(151_000));
        assert!(Pattern::new(4).check(1000, &[IoSlice::new(&bytes)]).is_err());
    }
}
