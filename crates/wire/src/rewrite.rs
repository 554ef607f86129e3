//! Giving a packet another end in place: its address and port, and the checksums over them (RFC 3022 §4.1), which
//! change by what changed (RFC 1624).

use crate::{
    checksum::{Sum, update},
    icmpv4,
    ipv4::{HEADER_LEN, Protocol},
    tcp, udp,
};
use core::net::Ipv4Addr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    Source,
    Destination,
}

impl End {
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// What a transport's checksum field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The checksum.
    Whole,
    /// The pseudo-header's folded sum, for a device to complete.
    Partial,
}

const PROTOCOL: usize = 9;
const IP_CHECKSUM: usize = 10;
const ICMP_CHECKSUM: usize = 2;
const ICMP_IDENTIFIER: usize = 4;

/// Changes `address`, and `port` where the packet has one; of an ICMP query that is the identifier, whichever
/// end it is. A packet may be cut short after 8 bytes of its transport, as ICMP errors quote it. `None`: it is
/// too short to be a packet, and was left as it was.
pub fn end(
    packet: &mut [u8],
    end: End,
    address: Ipv4Addr,
    port: Option<u16>,
    field: Field,
) -> Option<()> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    if header_len < HEADER_LEN || packet.len() < header_len {
        return None;
    }
    let protocol = Protocol(*packet.get(PROTOCOL)?);
    let is_first = [packet.get(6)? & 0x1f, *packet.get(7)?] == [0, 0];
    let (address_at, port_at) = match end {
        End::Source => (12, 0),
        End::Destination => (16, 2),
    };
    let (header, transport) = packet.split_at_mut_checked(header_len)?;
    let transport = if is_first { transport } else { &mut [] };
    let (checksum_at, port_at) = match protocol {
        Protocol::TCP => (tcp::CHECKSUM_OFFSET, port_at),
        Protocol::UDP => (udp::CHECKSUM_OFFSET, port_at),
        Protocol::ICMP => (ICMP_CHECKSUM, ICMP_IDENTIFIER),
        // Others have no port, and no checksum that covers addresses.
        _ => (usize::MAX, usize::MAX),
    };
    // A message of ICMP is always sent with its checksum.
    let field = if protocol == Protocol::ICMP { Field::Whole } else { field };
    let [a, b, c, d] = address.octets();
    for (at, new) in [(address_at, [a, b]), (address_at + 2, [c, d])] {
        let new = u16::from_be_bytes(new);
        let old = replace(header, at, new)?;
        renew(header, IP_CHECKSUM, old, new, Field::Whole, false);
        if protocol != Protocol::ICMP {
            renew(transport, checksum_at, old, new, field, protocol == Protocol::UDP);
        }
    }
    let has_port = protocol != Protocol::ICMP || icmpv4::begins_as_query(transport);
    if let Some(port) = port.filter(|_| has_port)
        && let Some(old) = replace(transport, port_at, port)
        // The pseudo-header has no ports.
        && field == Field::Whole
    {
        renew(transport, checksum_at, old, port, field, protocol == Protocol::UDP);
    }
    Some(())
}

/// Computes the checksum of a whole ICMP message anew.
pub fn renew_icmp(message: &mut [u8]) -> Option<()> {
    message.get_mut(ICMP_CHECKSUM..ICMP_CHECKSUM + 2)?.fill(0);
    let checksum = Sum::of(message).finish();
    replace(message, ICMP_CHECKSUM, checksum).map(|_| ())
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

/// Writes a word; returns what was there.
fn replace(bytes: &mut [u8], at: usize, new: u16) -> Option<u16> {
    let word = bytes.get_mut(at..)?.first_chunk_mut::<2>()?;
    let old = u16::from_be_bytes(*word);
    *word = new.to_be_bytes();
    Some(old)
}

/// `may_lack`: zero says that there is no checksum (RFC 768). A quotation may end before the field.
fn renew(bytes: &mut [u8], at: usize, old: u16, new: u16, field: Field, may_lack: bool) {
    let Some(value) = word(bytes, at) else { return };
    let value = match field {
        Field::Partial => !update(!value, old, new),
        Field::Whole if may_lack && value == 0 => 0,
        Field::Whole => match update(value, old, new) {
            0 if may_lack => u16::MAX,
            checksum => checksum,
        },
    };
    replace(bytes, at, value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::{Header, Packet};

    const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const THERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 254);

    fn header(protocol: Protocol) -> Header {
        Header {
            tos: 0,
            identification: 1,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 9,
            protocol,
            source: HERE,
            destination: THERE,
        }
    }

    fn checksum_at(protocol: Protocol) -> usize {
        match protocol {
            Protocol::TCP => 16,
            Protocol::UDP => 6,
            _ => 2,
        }
    }

    /// With the checksum computed from nothing.
    fn packet(header: &Header, mut transport: Vec<u8>, field: Field) -> Vec<u8> {
        let at = checksum_at(header.protocol);
        transport[at..at + 2].fill(0);
        let len = transport.len() as u16;
        let pseudo = match header.protocol {
            Protocol::ICMP => Sum::default(),
            protocol => Sum::pseudo_header(header.source, header.destination, protocol.0, len),
        };
        let value = match field {
            Field::Whole => pseudo.add(Sum::of(&transport)).finish(),
            Field::Partial => pseudo.fold(),
        };
        transport[at..at + 2].copy_from_slice(&value.to_be_bytes());
        let mut bytes = [0; HEADER_LEN];
        header.emit(transport.len(), &mut bytes).expect("short enough");
        [&bytes[..], &transport].concat()
    }

    fn transport(ports: (u16, u16)) -> Vec<u8> {
        let [a, b] = ports.0.to_be_bytes();
        let [c, d] = ports.1.to_be_bytes();
        let mut bytes = vec![a, b, c, d];
        bytes.extend((4..41).map(|n: u8| n.wrapping_mul(91)));
        bytes
    }

    #[test]
    fn the_same_as_written_anew() {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            for field in [Field::Whole, Field::Partial] {
                let mut bytes = packet(&header(protocol), transport((1000, 80)), field);
                end(&mut bytes, End::Source, OTHER, Some(40_000), field).expect("a packet");
                let source = Header { source: OTHER, ..header(protocol) };
                let expected = packet(&source, transport((40_000, 80)), field);
                assert_eq!(bytes, expected, "{protocol:?} {field:?}");
                end(&mut bytes, End::Destination, HERE, Some(8080), field).expect("a packet");
                let both = Header { destination: HERE, ..source };
                assert_eq!(bytes, packet(&both, transport((40_000, 8080)), field));
                Packet::parse(&bytes).expect("a right header");
            }
        }
    }

    #[test]
    fn a_query_has_one_identifier_for_both_ends() {
        let query = |id: u8| vec![8, 0, 0, 0, 0, id, 0, 1, 2, 3, 4];
        for which in [End::Source, End::Destination] {
            let mut bytes = packet(&header(Protocol::ICMP), query(5), Field::Whole);
            end(&mut bytes, which, OTHER, Some(77), Field::Whole).expect("a packet");
            let changed = match which {
                End::Source => Header { source: OTHER, ..header(Protocol::ICMP) },
                End::Destination => Header { destination: OTHER, ..header(Protocol::ICMP) },
            };
            assert_eq!(bytes, packet(&changed, query(77), Field::Whole));
        }
        // An error has none: those bytes are its own.
        let error = vec![3, 4, 0, 0, 0, 0, 5, 0xdc, 0x45];
        let mut bytes = packet(&header(Protocol::ICMP), error.clone(), Field::Whole);
        end(&mut bytes, End::Source, OTHER, Some(77), Field::Whole).expect("a packet");
        assert_eq!(bytes[24..], packet(&header(Protocol::ICMP), error, Field::Whole)[24..]);
    }

    #[test]
    fn no_checksum_stays_none() {
        let mut bytes = packet(&header(Protocol::UDP), transport((7, 9)), Field::Whole);
        bytes[26..28].fill(0);
        end(&mut bytes, End::Source, OTHER, Some(8), Field::Whole).expect("a packet");
        assert_eq!(bytes[26..28], [0, 0]);
    }

    #[test]
    fn what_is_cut_short_or_a_later_fragment() {
        let whole = packet(&header(Protocol::TCP), transport((1000, 80)), Field::Whole);
        for len in 0..whole.len() {
            let mut bytes = whole[..len].to_vec();
            let done = end(&mut bytes, End::Source, OTHER, Some(2), Field::Whole);
            assert_eq!(done.is_some(), len >= HEADER_LEN, "{len}");
            if len >= 22 {
                assert_eq!(bytes[20..22], [0, 2]);
            }
        }
        let mut bytes = whole.clone();
        bytes[7] = 1;
        end(&mut bytes, End::Source, OTHER, Some(2), Field::Whole).expect("a packet");
        assert_eq!(bytes[20..], whole[20..]);
    }
}
