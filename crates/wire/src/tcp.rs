//! TCP segments (RFC 9293 §3.1).

use crate::{
    Error,
    tcp_options::{self, Options},
};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    network_endian::{U16, U32},
};

pub const HEADER_LEN: usize = 20;
pub const MAX_HEADER_LEN: usize = 60;

/// Where the checksum field begins in the header.
pub const CHECKSUM_OFFSET: usize = 16;
/// Where the header's length is, in words, in the upper half of a byte.
pub const LENGTH_OFFSET: usize = 12;

/// The flags' bits beside the header's length.
const FLAGS: u16 = 0x1ff;

/// The control bits, nine with that of RFC 9768 §2.2.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Flags(pub u16);

impl Flags {
    pub const FIN: Self = Self(0x01);
    pub const SYN: Self = Self(0x02);
    pub const RST: Self = Self(0x04);
    pub const PSH: Self = Self(0x08);
    pub const ACK: Self = Self(0x10);
    pub const URG: Self = Self(0x20);
    pub const ECE: Self = Self(0x40);
    pub const CWR: Self = Self(0x80);
    pub const AE: Self = Self(0x100);
    /// What the three for congestion can say together.
    pub const ACE: Self = Self::AE.with(Self::CWR).with(Self::ECE);

    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The three for congestion as a number (RFC 9768 §3.2).
    pub const fn ace(self) -> u8 {
        (self.0 >> 6) as u8 & 7
    }

    /// The three for congestion say `number`, of three bits.
    #[must_use]
    pub const fn with_ace(self, number: u8) -> Self {
        Self(self.without(Self::ACE).0 | ((number & 7) as u16) << 6)
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
        write!(f, "{:#05x}", self.0)
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

/// The fixed header's bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    source_port: U16,
    destination_port: U16,
    sequence: U32,
    acknowledgment: U32,
    /// The header's length in words of 32 bits in the upper four bits, three that are reserved, and the flags.
    control: U16,
    window: U16,
    checksum: U16,
    urgent: U16,
}

/// A header of the greatest length.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Buffer {
    fixed: Layout,
    options: [u8; tcp_options::MAX_LEN],
}

impl<'a> Segment<'a> {
    /// Does not check the checksum: that needs the pseudo-header, and offload may have done it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        let control = layout.control.get();
        let header_len = usize::from(control >> 12) * 4;
        if header_len < HEADER_LEN {
            return Err(Error::Malformed);
        }
        let (header, payload) = bytes.split_at_checked(header_len).ok_or(Error::Truncated)?;
        let options = Options::parse(header.get(HEADER_LEN..).unwrap_or(&[]))?;
        let header = Header {
            source_port: layout.source_port.get(),
            destination_port: layout.destination_port.get(),
            sequence: layout.sequence.get(),
            acknowledgment: layout.acknowledgment.get(),
            flags: Flags(control & FLAGS),
            window: layout.window.get(),
            urgent: layout.urgent.get(),
        };
        Ok(Self { header, options, payload })
    }
}

impl Header {
    /// Writes header and options with a checksum field of `checksum`, and returns their length
    /// (a multiple of 4). Where the field is: [`CHECKSUM_OFFSET`].
    pub fn emit(&self, options: &Options, checksum: u16, out: &mut [u8; MAX_HEADER_LEN]) -> usize {
        let buffer: &mut Buffer = zerocopy::transmute_mut!(out);
        let header_len = HEADER_LEN + options.emit(&mut buffer.options);
        buffer.fixed = Layout {
            source_port: self.source_port.into(),
            destination_port: self.destination_port.into(),
            sequence: self.sequence.into(),
            acknowledgment: self.acknowledgment.into(),
            control: ((header_len as u16 / 4) << 12 | self.flags.0 & FLAGS).into(),
            window: self.window.into(),
            checksum: checksum.into(),
            urgent: self.urgent.into(),
        };
        header_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn lengths() {
        let cases = [
            (20, 5, Ok(0)),
            (25, 5, Ok(5)),
            (24, 6, Ok(0)),
            (60, 15, Ok(0)),
            (19, 5, Err(Error::Truncated)),
            (20, 0, Err(Error::Malformed)),
            (20, 4, Err(Error::Malformed)),
            (20, 6, Err(Error::Truncated)),
            (59, 15, Err(Error::Truncated)),
        ];
        for (len, words, expected) in cases {
            let mut bytes = [0; 60];
            bytes[12] = words << 4;
            let found = Segment::parse(&bytes[..len]).map(|segment| segment.payload.len());
            assert_eq!(found, expected, "{words} words in {len} bytes");
        }
    }

    #[test]
    fn nine_bits_are_flags_and_three_of_them_a_number() {
        let mut bytes = [0; MAX_HEADER_LEN];
        for flags in 0..=0x1ff {
            let header = Header { flags: Flags(flags), ..Header::default() };
            let len = header.emit(&Options::default(), 0, &mut bytes);
            assert_eq!(Segment::parse(&bytes[..len]).unwrap().header, header);
            let again = Flags(flags).without(Flags::ACE).with_ace(Flags(flags).ace());
            assert_eq!(again, Flags(flags));
        }
        bytes[12] |= 0x0e;
        assert_eq!(Segment::parse(&bytes).unwrap().header.flags, Flags(0x1ff), "reserved bits");
    }

    #[test]
    fn a_bad_option_spoils_the_segment() {
        let mut bytes = [0; 24];
        bytes[12] = 6 << 4;
        bytes[20] = 2;
        assert_eq!(Segment::parse(&bytes), Err(Error::Malformed));
    }
}
