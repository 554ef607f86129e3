//! TCP segments (RFC 9293 §3.1).

use crate::{Error, tcp_options::Options};

pub const HEADER_LEN: usize = 20;
pub const MAX_HEADER_LEN: usize = 60;

/// The control bits.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(pub u8);

impl Flags {
    pub const FIN: Self = Self(0x01);
    pub const SYN: Self = Self(0x02);
    pub const RST: Self = Self(0x04);
    pub const PSH: Self = Self(0x08);
    pub const ACK: Self = Self(0x10);
    pub const URG: Self = Self(0x20);
    pub const ECE: Self = Self(0x40);
    pub const CWR: Self = Self(0x80);

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn syn(self) -> bool {
        self.contains(Self::SYN)
    }
    pub const fn ack(self) -> bool {
        self.contains(Self::ACK)
    }
    pub const fn rst(self) -> bool {
        self.contains(Self::RST)
    }
    pub const fn fin(self) -> bool {
        self.contains(Self::FIN)
    }
}

impl core::fmt::Debug for Flags {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    pub source_port: u16,
    pub destination_port: u16,
    pub sequence: u32,
    pub acknowledgment: u32,
    pub flags: Flags,
    /// As on the wire: not scaled.
    pub window: u16,
    pub urgent: u16,
}

/// A segment as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    pub header: Header,
    pub options: Options,
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Does not check the checksum: that needs the pseudo-header, and offload may have done it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let _ = bytes;
        todo!()
    }
}

impl Header {
    /// Writes header and options with a checksum field of `checksum`, and returns their length
    /// (a multiple of 4). Offsets of the field: [`CHECKSUM_OFFSET`].
    pub fn emit(&self, options: &Options, checksum: u16, out: &mut [u8; MAX_HEADER_LEN]) -> usize {
        let _ = (options, checksum, out);
        todo!()
    }
}

/// Where the checksum field begins in the header.
pub const CHECKSUM_OFFSET: usize = 16;
