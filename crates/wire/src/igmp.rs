//! IGMP of all versions: RFC 1112 (1), RFC 2236 (2), RFC 3376 (3), as a host sees it.

use crate::{Error, checksum::Sum};
use core::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

/// Every message's fixed part; all there is before version 3.
pub const HEADER_LEN: usize = 8;
/// The fixed part of a query of version 3, before its sources.
pub const QUERY_V3_LEN: usize = 12;
/// A group record's fixed part, before its sources.
pub const RECORD_LEN: usize = 8;

/// RFC 3376 §4.2.14: where reports of version 3 go.
pub const ALL_V3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
pub const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// By how it is asked, a router says which version it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    V1,
    V2,
    V3,
}

/// A router's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    pub version: Version,
    /// Within how many tenths of a second to answer. Zero is allowed, and means at once.
    pub max_response: u16,
    /// Unspecified: about every group.
    pub group: Ipv4Addr,
    /// The querier's robustness variable; 0 says nothing.
    pub robustness: u8,
    /// If not empty, only these senders are asked about. Four bytes each.
    sources: &'a [u8],
}

impl Query<'_> {
    pub fn sources(&self) -> impl Iterator<Item = Ipv4Addr> {
        let (sources, _) = self.sources.as_chunks::<4>();
        sources.iter().map(|octets| Ipv4Addr::from(*octets))
    }
}

/// A message, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    Query(Query<'a>),
    /// Another host's, of version 1 or 2.
    Report {
        group: Ipv4Addr,
    },
    /// For routers: leaves, reports of version 3, and kinds nobody here knows.
    Other,
}

/// The fixed part's bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    kind: u8,
    code: u8,
    checksum: U16,
    group: [u8; 4],
}

const QUERY: u8 = 0x11;
const REPORT_V1: u8 = 0x12;
const REPORT_V2: u8 = 0x16;
const LEAVE: u8 = 0x17;
const REPORT_V3: u8 = 0x22;

/// A version 1 query's code is zero; it means ten seconds (RFC 2236 §4).
const V1_MAX_RESPONSE: u16 = 100;

impl<'a> Message<'a> {
    /// The checksum is over all of `bytes`, what follows the message included (RFC 3376 §4.1.2).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (layout, rest) = Layout::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        if Sum::of(bytes).finish() != 0 {
            return Err(Error::Checksum);
        }
        let group = Ipv4Addr::from(layout.group);
        match layout.kind {
            QUERY => Query::parse(layout.code, group, rest).map(Self::Query),
            REPORT_V1 | REPORT_V2 => Ok(Self::Report { group }),
            _ => Ok(Self::Other),
        }
    }
}

impl<'a> Query<'a> {
    /// RFC 3376 §7.1: the version follows from length and code.
    fn parse(code: u8, group: Ipv4Addr, rest: &'a [u8]) -> Result<Self, Error> {
        if !group.is_unspecified() && !group.is_multicast() {
            return Err(Error::Malformed);
        }
        let old = |version, max_response| Self {
            version,
            max_response,
            group,
            robustness: 0,
            sources: &[],
        };
        match (rest, code) {
            ([], 0) => Ok(old(Version::V1, V1_MAX_RESPONSE)),
            ([], code) => Ok(old(Version::V2, code.into())),
            ([flags, _interval, high, low, rest @ ..], code) => {
                let count = usize::from(u16::from_be_bytes([*high, *low]));
                let sources = rest.get(..count * 4).ok_or(Error::Truncated)?;
                if group.is_unspecified() && count > 0 {
                    return Err(Error::Malformed);
                }
                Ok(Self {
                    version: Version::V3,
                    max_response: decode(code),
                    group,
                    robustness: flags & 7,
                    sources,
                })
            }
            _ => Err(Error::Malformed),
        }
    }
}

/// RFC 3376 §4.1.1: from 128 on a floating-point number.
fn decode(code: u8) -> u16 {
    if code < 128 {
        return code.into();
    }
    let (exponent, mantissa) = (code >> 4 & 7, u16::from(code & 0xf));
    (mantissa | 0x10) << (exponent + 3)
}

/// What a group record of a version 3 report says (RFC 3376 §4.2.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    IsInclude = 1,
    IsExclude = 2,
    ToInclude = 3,
    ToExclude = 4,
    Allow = 5,
    Block = 6,
}

/// The fixed part of a group record; `sources` addresses follow it.
pub fn record(kind: RecordKind, group: Ipv4Addr, sources: u16) -> [u8; RECORD_LEN] {
    let [high, low] = sources.to_be_bytes();
    let [a, b, c, d] = group.octets();
    [kind as u8, 0, high, low, a, b, c, d]
}

/// The fixed part of a version 3 report, its checksum zero; `records` group records follow it.
pub fn report_v3(records: u16) -> [u8; HEADER_LEN] {
    let [high, low] = records.to_be_bytes();
    [REPORT_V3, 0, 0, 0, 0, 0, high, low]
}

/// A whole report of version 1 or 2.
pub fn report(version: Version, group: Ipv4Addr) -> [u8; HEADER_LEN] {
    old_message(if version == Version::V1 { REPORT_V1 } else { REPORT_V2 }, group)
}

/// A whole message of version 2 that says that the last member here is gone.
pub fn leave(group: Ipv4Addr) -> [u8; HEADER_LEN] {
    old_message(LEAVE, group)
}

fn old_message(kind: u8, group: Ipv4Addr) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = group.octets();
    let mut bytes = [kind, 0, 0, 0, a, b, c, d];
    complete(&mut bytes);
    bytes
}

/// Writes the checksum of a message whose checksum field is zero.
pub fn complete(message: &mut [u8]) {
    let checksum = Sum::of(message).finish().to_be_bytes();
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&checksum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

    fn message(kind: u8, code: u8, group: Ipv4Addr, rest: &[u8]) -> Vec<u8> {
        let mut bytes = [&[kind, code, 0, 0][..], &group.octets(), rest].concat();
        complete(&mut bytes);
        bytes
    }

    fn query(code: u8, group: Ipv4Addr, rest: &[u8]) -> Result<(Version, u16, u8, usize), Error> {
        match Message::parse(&message(QUERY, code, group, rest))? {
            Message::Query(query) => {
                assert_eq!(query.group, group);
                Ok((query.version, query.max_response, query.robustness, query.sources().count()))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_version_of_a_query_follows_from_length_and_code() {
        let any = Ipv4Addr::UNSPECIFIED;
        for (code, group, rest, expected) in [
            (0, any, &[][..], Ok((Version::V1, 100, 0, 0))),
            (100, any, &[], Ok((Version::V2, 100, 0, 0))),
            (10, GROUP, &[], Ok((Version::V2, 10, 0, 0))),
            (0, any, &[2, 125, 0, 0], Ok((Version::V3, 0, 2, 0))),
            (127, any, &[0xf8 | 3, 125, 0, 0], Ok((Version::V3, 127, 3, 0))),
            (128, GROUP, &[2, 125, 0, 0], Ok((Version::V3, 128, 2, 0))),
            (255, GROUP, &[2, 125, 0, 0], Ok((Version::V3, 31744, 2, 0))),
            (10, GROUP, &[2, 125, 0, 1, 10, 0, 0, 1], Ok((Version::V3, 10, 2, 1))),
            // What follows the sources is skipped.
            (10, GROUP, &[2, 125, 0, 1, 10, 0, 0, 1, 9, 9], Ok((Version::V3, 10, 2, 1))),
            (10, GROUP, &[2, 125, 0, 2, 10, 0, 0, 1], Err(Error::Truncated)),
            (10, GROUP, &[2, 125, 0xff, 0xff], Err(Error::Truncated)),
            (10, any, &[2, 125, 0, 1, 10, 0, 0, 1], Err(Error::Malformed)),
            (10, any, &[2], Err(Error::Malformed)),
            (10, any, &[2, 125, 0], Err(Error::Malformed)),
            (10, Ipv4Addr::new(10, 0, 0, 1), &[], Err(Error::Malformed)),
        ] {
            assert_eq!(query(code, group, rest), expected, "{code} {group} {rest:?}");
        }
    }

    #[test]
    fn other_messages() {
        for kind in [REPORT_V1, REPORT_V2] {
            let report = message(kind, 0, GROUP, &[]);
            assert_eq!(Message::parse(&report), Ok(Message::Report { group: GROUP }));
        }
        for kind in [LEAVE, REPORT_V3, 0, 0xff] {
            assert_eq!(Message::parse(&message(kind, 7, GROUP, &[])), Ok(Message::Other));
        }
        let mut bytes = message(QUERY, 0, GROUP, &[]);
        assert_eq!(Message::parse(&bytes[..7]), Err(Error::Truncated));
        bytes[1] ^= 1;
        assert_eq!(Message::parse(&bytes), Err(Error::Checksum));
    }

    #[test]
    fn what_is_written_reads_back() {
        for version in [Version::V1, Version::V2] {
            let report = report(version, GROUP);
            assert_eq!(Message::parse(&report), Ok(Message::Report { group: GROUP }));
        }
        assert_eq!(Message::parse(&leave(GROUP)), Ok(Message::Other));
        let source = [10, 0, 0, 1];
        let mut report =
            [&report_v3(1)[..], &record(RecordKind::Allow, GROUP, 1), &source].concat();
        complete(&mut report);
        assert_eq!(Sum::of(&report).finish(), 0);
        assert_eq!(report[8..], [5, 0, 0, 1, 239, 1, 2, 3, 10, 0, 0, 1]);
    }
}
