//! What names one direction of a flow.

use core::net::Ipv4Addr;
use narrows_wire::{
    ipv4::{Header, Protocol},
    quote::{Quote, Transport},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// That of the first packet.
    Original,
    Reply,
}

impl Direction {
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// The ends of a packet. Queries of ICMP have their identifier for both ports; protocols without ports have
/// zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    pub protocol: Protocol,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub source_port: u16,
    pub destination_port: u16,
    /// ICMP's type.
    pub kind: u8,
}

/// Queries of ICMP and their answers (RFC 792, RFC 950).
const QUERIES: [(u8, u8); 4] = [(8, 0), (13, 14), (15, 16), (17, 18)];

impl Tuple {
    /// Of a whole packet, whose transport header begins `payload`. `None`: it is of no flow by itself, as an
    /// error of ICMP, or too short.
    pub fn of(header: &Header, payload: &[u8]) -> Option<Self> {
        let plain = Self::without_ports(header);
        match header.protocol {
            Protocol::TCP | Protocol::UDP => {
                let [a, b, c, d] = *payload.first_chunk()?;
                let source_port = u16::from_be_bytes([a, b]);
                Some(Self { source_port, destination_port: u16::from_be_bytes([c, d]), ..plain })
            }
            Protocol::ICMP => {
                let [kind, _, _, _, high, low, _, _] = *payload.first_chunk()?;
                QUERIES.iter().find(|(query, answer)| kind == *query || kind == *answer)?;
                Some(plain.with_identifier(u16::from_be_bytes([high, low]), kind))
            }
            _ => Some(plain),
        }
    }

    /// Of the packet that an ICMP error quotes, as it was sent.
    pub fn of_quote(quote: &Quote) -> Option<Self> {
        let plain = Self::without_ports(&quote.header);
        match quote.transport {
            Transport::Tcp { source_port, destination_port, .. }
            | Transport::Udp { source_port, destination_port } => {
                Some(Self { source_port, destination_port, ..plain })
            }
            Transport::EchoRequest { identifier, .. } => {
                Some(plain.with_identifier(identifier, QUERIES[0].0))
            }
            Transport::Other if quote.header.protocol == Protocol::ICMP => None,
            Transport::Other => (quote.header.fragment_offset == 0).then_some(plain),
        }
    }

    fn without_ports(header: &Header) -> Self {
        Self {
            protocol: header.protocol,
            source: header.source,
            destination: header.destination,
            source_port: 0,
            destination_port: 0,
            kind: 0,
        }
    }

    fn with_identifier(self, identifier: u16, kind: u8) -> Self {
        Self { source_port: identifier, destination_port: identifier, kind, ..self }
    }

    /// Can this begin a flow? An answer to nothing can't.
    pub fn may_begin(&self) -> bool {
        self.protocol != Protocol::ICMP || QUERIES.iter().any(|(query, _)| *query == self.kind)
    }

    /// What answers look like.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let kind = QUERIES.iter().find_map(|(query, answer)| match self.kind {
            kind if kind == *query => Some(*answer),
            kind if kind == *answer => Some(*query),
            _ => None,
        });
        Self {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            kind: match self.protocol {
                Protocol::ICMP => kind.unwrap_or(self.kind),
                _ => 0,
            },
        }
    }

    #[must_use]
    pub fn with_source(self, address: Ipv4Addr, port: u16) -> Self {
        let changed = Self { source: address, source_port: port, ..self };
        match self.protocol {
            // One identifier for both.
            Protocol::ICMP => Self { destination_port: port, ..changed },
            _ => changed,
        }
    }

    /// Of ICMP the identifier stays: it is the source's.
    #[must_use]
    pub fn with_destination(self, address: Ipv4Addr, port: u16) -> Self {
        let changed = Self { destination: address, ..self };
        match self.protocol {
            Protocol::ICMP => changed,
            _ => Self { destination_port: port, ..changed },
        }
    }

    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP)
    }
}
