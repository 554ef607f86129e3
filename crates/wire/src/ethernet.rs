//! Ethernet II frames.

use crate::{Error, address::MacAddr};

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

impl Header {
    /// The header and what follows it (padding included).
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), Error> {
        let _ = frame;
        todo!()
    }

    pub fn emit(&self, out: &mut [u8; HEADER_LEN]) {
        let _ = out;
        todo!()
    }
}
