//! IPv4 packets (RFC 791).

use crate::{
    Error,
    checksum::{Sum, update},
};
use core::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

pub const HEADER_LEN: usize = 20;
pub const MAX_HEADER_LEN: usize = 60;
/// Where the protocol's number is.
pub const PROTOCOL_OFFSET: usize = 9;

/// The flags that share a field with the fragment offset (RFC 791 §3.1).
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Where the header has its checksum.
const CHECKSUM: core::ops::Range<usize> = 10..12;

/// Protocol numbers, as IANA assigns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    pub const ICMP: Self = Self(1);
    pub const IGMP: Self = Self(2);
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
pub(crate) struct Layout {
    pub(crate) version_and_len: u8,
    tos: u8,
    pub(crate) total_len: U16,
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
    pub(crate) fn from_layout(layout: &Layout) -> Self {
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
        let mut layout = self.layout(HEADER_LEN, payload_len)?;
        layout.checksum = Sum::of(layout.as_bytes()).finish().into();
        *out = zerocopy::transmute!(layout);
        Some(())
    }

    /// The same with `options`, padded to a multiple of four bytes with ends of list. `None` also if
    /// they are longer than 40 bytes.
    pub fn with_options(&self, options: &[u8], payload_len: usize) -> Option<Vec<u8>> {
        let header_len = HEADER_LEN + options.len().next_multiple_of(4);
        let layout = self.layout(header_len, payload_len)?;
        let mut bytes = [layout.as_bytes(), options].concat();
        bytes.resize(header_len, 0);
        let checksum = Sum::of(&bytes).finish().to_be_bytes();
        bytes.get_mut(CHECKSUM)?.copy_from_slice(&checksum);
        Some(bytes)
    }

    /// The fixed part of a header of that length, its checksum 0.
    fn layout(&self, header_len: usize, payload_len: usize) -> Option<Layout> {
        let total_len = u16::try_from(payload_len.checked_add(header_len)?).ok()?;
        let words = u8::try_from(header_len / 4).ok().filter(|words| *words <= 0x0f)?;
        let flag = |set: bool, bit: u16| if set { bit } else { 0 };
        let fragment = self.fragment_offset >> 3
            | flag(self.dont_fragment, DONT_FRAGMENT)
            | flag(self.more_fragments, MORE_FRAGMENTS);
        Some(Layout {
            version_and_len: 0x40 | words,
            tos: self.tos,
            total_len: total_len.into(),
            identification: self.identification.into(),
            fragment: fragment.into(),
            ttl: self.ttl,
            protocol: self.protocol.0,
            checksum: 0.into(),
            source: self.source.octets(),
            destination: self.destination.octets(),
        })
    }
}

/// A header on its way through a router: one hop less to go (RFC 1812 §5.3.1), the checksum changed
/// along (RFC 1624). Nothing changes if it is cut short or has no hop to go.
pub fn decrement_ttl(header: &mut [u8]) {
    let Ok((layout, _)) = Layout::mut_from_prefix(header) else { return };
    let word = |ttl: u8| u16::from_be_bytes([ttl, layout.protocol]);
    let Some(ttl) = layout.ttl.checked_sub(1) else { return };
    let checksum = update(layout.checksum.get(), word(layout.ttl), word(ttl));
    layout.ttl = ttl;
    layout.checksum = checksum.into();
}

/// RFC 2113: every router on the way should look at the packet.
pub const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];

/// One IPv4 option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOption<'a> {
    pub kind: u8,
    /// Without kind and length.
    pub data: &'a [u8],
}

impl RawOption<'_> {
    pub const RECORD_ROUTE: u8 = 7;
    pub const TIMESTAMP: u8 = 68;
    pub const LOOSE_SOURCE_ROUTE: u8 = 131;
    pub const STRICT_SOURCE_ROUTE: u8 = 137;
    pub const ROUTER_ALERT: u8 = 148;

    /// Is it a route or timestamps, to which each host on the way adds? A reply goes on with them (RFC 1122
    /// §3.2.2.6).
    pub fn is_recorded(&self) -> bool {
        matches!(self.kind, Self::RECORD_ROUTE | Self::TIMESTAMP)
    }

    /// Is the option in every fragment, or in the first alone (RFC 791 §3.1)?
    pub fn is_copied(&self) -> bool {
        self.kind & 0x80 != 0
    }
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

/// Those of the options that are wanted, as they are, up to the first error.
pub fn selected<'a>(options: &'a [u8], wanted: impl Fn(&RawOption<'a>) -> bool) -> Vec<u8> {
    let mut selected = Vec::new();
    for option in self::options(options).map_while(Result::ok).filter(wanted) {
        // Lengths were bytes when they were parsed.
        selected.extend([option.kind, (option.data.len() + 2) as u8]);
        selected.extend_from_slice(option.data);
    }
    selected
}

/// The option whose kind was read, and what follows it.
fn split_option(kind: u8, after_kind: &[u8]) -> Result<(RawOption<'_>, &[u8]), Error> {
    let (&len, rest) = after_kind.split_first().ok_or(Error::Truncated)?;
    let data_len = usize::from(len).checked_sub(2).ok_or(Error::Malformed)?;
    let (data, after) = rest.split_at_checked(data_len).ok_or(Error::Truncated)?;
    Ok((RawOption { kind, data }, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    fn packet(edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let header = Header {
            tos: 0,
            identification: 7,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: Protocol::UDP,
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
        };
        let mut bytes = [0; HEADER_LEN];
        header.emit(8, &mut bytes).unwrap();
        let mut packet = [&bytes[..], &[0; 8]].concat();
        edit(&mut packet);
        packet
    }

    #[test]
    fn lies_are_refused() {
        let set = |at: usize, value: u8| packet(|bytes| bytes[at] = value);
        let cases = [
            ("nothing", Vec::new(), Error::Truncated),
            ("19 bytes", packet(|bytes| bytes.truncate(19)), Error::Truncated),
            ("version 6", set(0, 0x65), Error::Malformed),
            ("header of 16 bytes", set(0, 0x44), Error::Malformed),
            ("header longer than the packet", set(0, 0x4f), Error::Malformed),
            ("total length below the header's", set(3, 19), Error::Malformed),
            ("total length past the end", set(3, 29), Error::Truncated),
            ("payload cut", packet(|bytes| bytes.truncate(27)), Error::Truncated),
            ("checksum", set(10, 0xee), Error::Checksum),
        ];
        for (name, bytes, error) in cases {
            assert_eq!(Packet::parse(&bytes), Err(error), "{name}");
        }
        assert!(Packet::parse(&packet(|_| {})).is_ok());
    }

    #[test]
    fn padding_is_no_payload() {
        let padded = packet(|bytes| bytes.extend([0xee; 18]));
        assert_eq!(Packet::parse(&padded).unwrap().payload, [0; 8]);
    }

    #[test]
    fn too_long_a_packet_is_not_written() {
        let header = Packet::parse(&packet(|_| {})).unwrap().header;
        let mut out = [0; HEADER_LEN];
        assert_eq!(header.emit(65_535 - HEADER_LEN, &mut out), Some(()));
        for payload_len in [65_536 - HEADER_LEN, usize::MAX] {
            let before = out;
            assert_eq!(header.emit(payload_len, &mut out), None);
            assert_eq!(out, before);
        }
    }

    #[test]
    fn headers_with_options() {
        let header = Packet::parse(&packet(|_| {})).unwrap().header;
        for (options, len) in
            [(&[][..], 20), (&[148, 4, 0, 0], 24), (&[7, 3, 4], 24), (&[1; 40], 60)]
        {
            let bytes = header.with_options(options, 4).unwrap();
            assert_eq!(bytes.len(), len);
            let whole = [&bytes[..], &[9; 4]].concat();
            let parsed = Packet::parse(&whole).unwrap();
            assert_eq!((parsed.header, parsed.payload), (header, &[9; 4][..]));
            assert!(parsed.options.starts_with(options));
        }
        assert_eq!(header.with_options(&[1; 41], 0), None);
        assert_eq!(header.with_options(&[1; 4], 65_535 - 23), None);
    }

    #[test]
    fn a_router_takes_one_hop_and_keeps_the_checksum_right() {
        let mut bytes = packet(|_| {});
        for ttl in (0..64).rev() {
            decrement_ttl(&mut bytes);
            assert_eq!(Packet::parse(&bytes).unwrap().header.ttl, ttl);
        }
        let at_zero = bytes.clone();
        decrement_ttl(&mut bytes);
        assert_eq!(bytes, at_zero);
        decrement_ttl(&mut bytes[..19]);
        assert_eq!(bytes, at_zero);
    }

    #[test]
    fn options_in_turn() {
        type Parsed<'a> = Vec<Result<(u8, &'a [u8]), Error>>;
        let cases: &[(&[u8], Parsed<'_>)] = &[
            (&[], vec![]),
            (&[1, 1, 0, 0], vec![]),
            (&[148, 4, 0, 0], vec![Ok((148, &[0, 0]))]),
            (&[1, 131, 3, 4, 7, 2, 0], vec![Ok((131, &[4])), Ok((7, &[]))]),
            (&[0, 131, 3, 4], vec![]),
            (&[131, 0, 7, 2], vec![Err(Error::Malformed)]),
            (&[131, 1, 7, 2], vec![Err(Error::Malformed)]),
            (&[7, 2, 131, 4, 0], vec![Ok((7, &[])), Err(Error::Truncated)]),
            (&[131], vec![Err(Error::Truncated)]),
        ];
        for (bytes, expected) in cases {
            let found: Parsed<'_> = options(bytes)
                .map(|option| option.map(|option| (option.kind, option.data)))
                .collect();
            assert_eq!(&found, expected, "{bytes:?}");
        }
    }
}
