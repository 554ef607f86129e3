//! IPv4 packets (RFC 791).

use crate::Error;
use core::net::Ipv4Addr;

pub const HEADER_LEN: usize = 20;
pub const MAX_HEADER_LEN: usize = 60;

/// Protocol numbers, as IANA assigns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    pub const ICMP: Self = Self(1);
    pub const TCP: Self = Self(6);
    pub const UDP: Self = Self(17);
}

/// The fixed header, without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub tos: u8,
    pub identification: u16,
    pub dont_fragment: bool,
    pub more_fragments: bool,
    /// In bytes, a multiple of 8.
    pub fragment_offset: u16,
    pub ttl: u8,
    pub protocol: Protocol,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
}

/// A packet whose header was checked: version, lengths, checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub header: Header,
    /// Header bytes as they came, options included: what an ICMP error quotes.
    pub header_bytes: &'a [u8],
    pub options: &'a [u8],
    /// Trimmed to the total length: link-layer padding is gone.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Refuses a wrong version, header length, total length or checksum.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let _ = bytes;
        todo!()
    }
}

impl Header {
    /// Is this a fragment of a larger datagram?
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Writes a header without options, checksum included, for `payload_len` bytes.
    ///
    /// Segmentation offload may pass more than fits a datagram's length field; the total length
    /// is then what the device expects: the whole.  `None` when it exceeds 65,535.
    pub fn emit(&self, payload_len: usize, out: &mut [u8; HEADER_LEN]) -> Option<()> {
        let _ = (payload_len, out);
        todo!()
    }
}

/// One IPv4 option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOption<'a> {
    pub kind: u8,
    /// Without kind and length.
    pub data: &'a [u8],
}

impl RawOption<'_> {
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
}

/// The options in turn, end-of-list and no-operation left out; ends after the first error.
pub fn options(bytes: &[u8]) -> impl Iterator<Item = Result<RawOption<'_>, Error>> {
    let _ = bytes;
    core::iter::empty()
}
