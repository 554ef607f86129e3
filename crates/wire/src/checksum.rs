//! The Internet checksum (RFC 1071).
//!
//! The sum is kept in the machine's byte order and swapped once, when folded: one's-complement
//! addition does not care in which order the two bytes of its words stand (RFC 1071 §2 (B)).

use core::net::Ipv4Addr;

/// A running one's-complement sum. Parts may be added in any order, but each part but the last
/// must have an even length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum over `bytes`: u32 lanes added into u64, which compilers vectorise.
    pub fn of(bytes: &[u8]) -> Self {
        let (lanes, tail) = bytes.as_chunks::<4>();
        // A u64 holds 2³² lanes, 16 GiB, before it wraps.
        let sum = lanes
            .iter()
            .fold(0u64, |sum, lane| sum.wrapping_add(u64::from(u32::from_ne_bytes(*lane))));
        let mut last = [0; 4];
        last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
        Self(sum).add(Self(u64::from(u32::from_ne_bytes(last))))
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
        Self(lanes.iter().map(|lane| u64::from(u32::from_ne_bytes(*lane))).sum())
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
