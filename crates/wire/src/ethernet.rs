//! Ethernet II frames.

use crate::{Error, address::MacAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

pub const HEADER_LEN: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    pub const IPV4: Self = Self(0x0800);
    pub const ARP: Self = Self(0x0806);
    pub const IPV6: Self = Self(0x86dd);
    /// A customer VLAN's tag follows (802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// A provider VLAN's tag follows (802.1ad).
    pub const SERVICE_VLAN: Self = Self(0x88a8);
    /// Slow protocols, link aggregation among them (802.3 Annex 57A).
    pub const SLOW: Self = Self(0x8809);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub destination: MacAddr,
    pub source: MacAddr,
    pub ether_type: EtherType,
}

/// The header's bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    destination: [u8; 6],
    source: [u8; 6],
    ether_type: U16,
}

impl Header {
    /// The header and what follows it (padding included).
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (layout, rest) = Layout::ref_from_prefix(frame).map_err(|_| Error::Truncated)?;
        let header = Self {
            destination: MacAddr(layout.destination),
            source: MacAddr(layout.source),
            ether_type: EtherType(layout.ether_type.get()),
        };
        Ok((header, rest))
    }

    pub fn emit(&self, out: &mut [u8; HEADER_LEN]) {
        *out = zerocopy::transmute!(Layout {
            destination: self.destination.0,
            source: self.source.0,
            ether_type: self.ether_type.0.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn header_and_rest() {
        let frame: Vec<u8> = (0..20).collect();
        let (header, rest) = Header::parse(&frame).unwrap();
        assert_eq!(header.destination, MacAddr([0, 1, 2, 3, 4, 5]));
        assert_eq!(header.source, MacAddr([6, 7, 8, 9, 10, 11]));
        assert_eq!(header.ether_type, EtherType(0x0c0d));
        assert_eq!(rest, [14, 15, 16, 17, 18, 19]);
        assert_eq!(Header::parse(&frame[..13]), Err(Error::Truncated));
        assert_eq!(Header::parse(&frame[..14]).unwrap().1, []);
    }
}
