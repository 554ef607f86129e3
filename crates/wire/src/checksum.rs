//! The Internet checksum (RFC 1071).

use core::net::Ipv4Addr;

/// A running one's-complement sum. Parts may be added in any order, but each part but the last
/// must have an even length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum over `bytes`: u32 lanes added into u64, which compilers vectorise.
    pub fn of(bytes: &[u8]) -> Self {
        let _ = bytes;
        todo!()
    }

    /// The IPv4 pseudo-header of TCP and UDP (RFC 9293 §3.1).
    pub fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, length: u16) -> Self {
        let _ = (source, destination, protocol, length);
        todo!()
    }

    #[must_use]
    pub fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The folded sum, not complemented: what a partial checksum field carries.
    pub fn fold(self) -> u16 {
        todo!()
    }

    /// The checksum field's value: the folded sum's complement.
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}
