//! The Internet checksum (RFC 1071).
//!
//! The sum is kept in the machine's byte order and swapped once, when folded: one's-complement
//! addition does not care in which order the two bytes of its words stand (RFC 1071 §2 (B)).

use core::net::Ipv4Addr;

/// Bytes summed at a time: enough lanes to keep vector units busy without spilling.
const BLOCK: usize = 32;

/// A running one's-complement sum. Parts may be added in any order, but each part but the last
/// must have an even length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum over `bytes`: u32 lanes added into u64, which compilers vectorise.
    pub fn of(bytes: &[u8]) -> Self {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        let mut sums = [0u64; BLOCK / 4];
        for block in blocks {
            let (lanes, _) = block.as_chunks::<4>();
            for (sum, lane) in sums.iter_mut().zip(lanes) {
                *sum = sum.wrapping_add(lane_value(lane));
            }
        }
        let (lanes, tail) = rest.as_chunks::<4>();
        let mut last = [0; 4];
        last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        let rest = lanes.iter().chain([&last]).map(lane_value);
        // A u64 holds 2³² lanes, 16 GiB, before it wraps.
        Self(sums.into_iter().chain(rest).fold(0, u64::wrapping_add))
    }

    /// The IPv4 pseudo-header of TCP and UDP (RFC 9293 §3.1).
    pub fn pseudo_header(
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: u8,
        length: u16,
    ) -> Self {
        let [high, low] = length.to_be_bytes();
        let lanes = [source.octets(), destination.octets(), [0, protocol, high, low]];
        Self(lanes.iter().map(lane_value).sum())
    }

    /// The sum over both parts.
    #[must_use]
    pub const fn add(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        // End-around carry; after a carry the sum is less than its maximum.
        Self(sum + carry as u64)
    }

    /// The folded sum, not complemented: what a partial checksum field carries.
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        // Each round adds the upper bits to the lower 16; at most 0x3fffc, 0x10002, 0xffff are left.
        for _ in 0..3 {
            sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32 & 0xffff) + (sum >> 48);
        }
        u16::from_be(sum as u16)
    }

    /// The checksum field's value: the folded sum's complement.
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}

/// The checksum of a header one of whose words changed from `old` to `new` (RFC 1624 §3, equation 3).
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let once = (sum & 0xffff) + (sum >> 16);
    !((once & 0xffff) + (once >> 16)) as u16
}

fn lane_value(lane: &[u8; 4]) -> u64 {
    u32::from_ne_bytes(*lane).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn example_of_rfc_1071() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
        assert_eq!(sum.finish(), !0xddf2);
    }

    #[test]
    fn a_changed_word_changes_the_checksum() {
        // RFC 1624 §4: where RFC 1141 gives the wrong zero.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
        for (old, new) in [(0x4006, 0x3f06), (0x0106, 0x0006), (0, 0xffff), (0xffff, 0), (7, 7)] {
            let header =
                |word: u16| [&[0x45, 0, 0, 99][..], &word.to_be_bytes(), &[10, 0]].concat();
            let before = Sum::of(&header(old)).finish();
            assert_eq!(update(before, old, new), Sum::of(&header(new)).finish(), "{old} {new}");
        }
    }

    #[test]
    fn extremes() {
        assert_eq!(Sum::default().fold(), 0);
        assert_eq!(Sum::of(&[0; 1500]).finish(), 0xffff);
        assert_eq!(Sum::of(&[0xff; 65536]).fold(), 0xffff);
        assert_eq!(Sum(u64::MAX).fold(), 0xffff);
        assert_eq!(Sum(u64::MAX).add(Sum(1)), Sum(1));
        assert_eq!(Sum(u64::MAX).add(Sum(u64::MAX)), Sum(u64::MAX));
    }

    #[test]
    fn an_odd_tail_is_padded_with_zero() {
        for len in 0..32 {
            let bytes: Vec<u8> = (0..len).map(|n: u8| n.wrapping_mul(37) ^ 0x5a).collect();
            let mut padded = bytes.clone();
            padded.resize(bytes.len().next_multiple_of(2), 0);
            assert_eq!(Sum::of(&bytes).fold(), Sum::of(&padded).fold());
        }
    }
}
