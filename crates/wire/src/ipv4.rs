//! IPv4 packets (RFC 791).

use crate::{Error, checksum::Sum};
use core::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

pub const HEADER_LEN: usize = 20;
pub const MAX_HEADER_LEN: usize = 60;

/// The flags that share a field with the fragment offset (RFC 791 §3.1).
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

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

/// The fixed header's bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    version_and_len: u8,
    tos: u8,
    total_len: U16,
    identification: U16,
    fragment: U16,
    ttl: u8,
    protocol: u8,
    checksum: U16,
    source: [u8; 4],
    destination: [u8; 4],
}

impl<'a> Packet<'a> {
    /// Refuses a wrong version, header length, total length or checksum.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        let header_len = usize::from(layout.version_and_len & 0x0f) * 4;
        let total_len = usize::from(layout.total_len.get());
        if layout.version_and_len >> 4 != 4 || header_len < HEADER_LEN || total_len < header_len {
            return Err(Error::Malformed);
        }
        let packet = bytes.get(..total_len).ok_or(Error::Truncated)?;
        let (header_bytes, payload) =
            packet.split_at_checked(header_len).ok_or(Error::Truncated)?;
        if Sum::of(header_bytes).finish() != 0 {
            return Err(Error::Checksum);
        }
        let options = header_bytes.get(HEADER_LEN..).unwrap_or(&[]);
        Ok(Self { header: Header::from_layout(layout), header_bytes, options, payload })
    }
}

impl Header {
    fn from_layout(layout: &Layout) -> Self {
        let fragment = layout.fragment.get();
        Self {
            tos: layout.tos,
            identification: layout.identification.get(),
            dont_fragment: fragment & DONT_FRAGMENT != 0,
            more_fragments: fragment & MORE_FRAGMENTS != 0,
            fragment_offset: (fragment & FRAGMENT_OFFSET) << 3,
            ttl: layout.ttl,
            protocol: Protocol(layout.protocol),
            source: layout.source.into(),
            destination: layout.destination.into(),
        }
    }

    /// Is this a fragment of a larger datagram?
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset != 0
    }

    /// Writes a header without options, checksum included, for `payload_len` bytes.
    ///
    /// Segmentation offload may pass more than fits the link; the total length is then what the
    /// device expects: the whole. `None`, and nothing written, when it exceeds 65,535.
    pub fn emit(&self, payload_len: usize, out: &mut [u8; HEADER_LEN]) -> Option<()> {
        let total_len = u16::try_from(payload_len.checked_add(HEADER_LEN)?).ok()?;
        let flag = |set: bool, bit: u16| if set { bit } else { 0 };
        let fragment = self.fragment_offset >> 3
            | flag(self.dont_fragment, DONT_FRAGMENT)
            | flag(self.more_fragments, MORE_FRAGMENTS);
        let mut layout = Layout {
            version_and_len: 0x45,
            tos: self.tos,
            total_len: total_len.into(),
            identification: self.identification.into(),
            fragment: fragment.into(),
            ttl: self.ttl,
            protocol: self.protocol.0,
            checksum: 0.into(),
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        layout.checksum = Sum::of(layout.as_bytes()).finish().into();
        *out = zerocopy::transmute!(layout);
        Some(())
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
    let mut rest = bytes;
    core::iter::from_fn(move || {
        loop {
            let (&kind, after_kind) = rest.split_first()?;
            match kind {
                0 => return None,
                1 => rest = after_kind,
                _ => {
                    let option = split_option(kind, after_kind);
                    rest = option.map_or(&[], |(_, after)| after);
                    return Some(option.map(|(option, _)| option));
                }
            }
        }
    })
}

/// The option whose kind was read, and what follows it.
fn split_option(kind: u8, after_kind: &[u8]) -> Result<(RawOption<'_>, &[u8]), Error> {
    let (&len, rest) = after_kind.split_first().ok_or(Error::Truncated)?;
    let data_len = usize::from(len).checked_sub(2).ok_or(Error::Malformed)?;
    let (data, after) = rest.split_at_checked(data_len).ok_or(Error::Truncated)?;
    Ok((RawOption { kind, data }, after))
}
