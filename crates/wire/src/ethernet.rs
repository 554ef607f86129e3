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
