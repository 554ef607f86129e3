//! ICMP for IPv4 (RFC 792, RFC 1191).

use crate::{Error, checksum::Sum};
use core::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

pub const HEADER_LEN: usize = 8;

/// Message types (RFC 792).
pub mod kind {
    pub const ECHO_REPLY: u8 = 0;
    pub const DESTINATION_UNREACHABLE: u8 = 3;
    pub const REDIRECT: u8 = 5;
    pub const ECHO_REQUEST: u8 = 8;
    pub const TIME_EXCEEDED: u8 = 11;
    pub const PARAMETER_PROBLEM: u8 = 12;
    pub const TIMESTAMP_REQUEST: u8 = 13;
    pub const TIMESTAMP_REPLY: u8 = 14;
}

/// Codes of "destination unreachable".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unreachable(pub u8);

impl Unreachable {
    pub const NETWORK: Self = Self(0);
    pub const HOST: Self = Self(1);
    pub const PROTOCOL: Self = Self(2);
    pub const PORT: Self = Self(3);
    pub const FRAGMENTATION_NEEDED: Self = Self(4);
    pub const ADMINISTRATIVELY_PROHIBITED: Self = Self(13);
}

/// A message's header; what follows it (echo data, or the quoted datagram) is the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    EchoRequest {
        identifier: u16,
        sequence: u16,
    },
    EchoReply {
        identifier: u16,
        sequence: u16,
    },
    /// `mtu` is set for FRAGMENTATION_NEEDED alone, and 0 from old routers.
    DestinationUnreachable {
        code: Unreachable,
        mtu: u16,
    },
    /// Code 0: TTL exceeded in transit; 1: reassembly time exceeded.
    TimeExceeded {
        code: u8,
    },
    ParameterProblem {
        pointer: u8,
    },
    /// Code 0: for a network; 1: for a host. There is a better gateway.
    Redirect {
        code: u8,
        gateway: Ipv4Addr,
    },
    /// Three times of day follow: originate, receive and transmit.
    TimestampRequest {
        identifier: u16,
        sequence: u16,
    },
    TimestampReply {
        identifier: u16,
        sequence: u16,
    },
    /// Anything else, as it came.
    Other {
        kind: u8,
        code: u8,
    },
}

/// The header's bytes. What `rest` means depends on the type.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    kind: u8,
    code: u8,
    checksum: U16,
    rest: [U16; 2],
}

/// Does a message that may be cut short begin as a question or its answer, and not as an error?
pub fn begins_as_query(bytes: &[u8]) -> bool {
    use kind::{ECHO_REPLY, ECHO_REQUEST, TIMESTAMP_REPLY, TIMESTAMP_REQUEST};
    matches!(bytes, [ECHO_REQUEST | ECHO_REPLY | TIMESTAMP_REQUEST | TIMESTAMP_REPLY, 0, ..])
}

impl Header {
    /// Checks the checksum over the whole message.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (layout, payload) = Layout::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        if Sum::of(bytes).finish() != 0 {
            return Err(Error::Checksum);
        }
        let [first, second] = layout.rest.map(U16::get);
        let header = match (layout.kind, layout.code) {
            (kind::ECHO_REQUEST, 0) => Self::EchoRequest { identifier: first, sequence: second },
            (kind::ECHO_REPLY, 0) => Self::EchoReply { identifier: first, sequence: second },
            (kind::DESTINATION_UNREACHABLE, code) => {
                let code = Unreachable(code);
                // RFC 1191 §4: the next hop's MTU is the low half.
                let mtu = if code == Unreachable::FRAGMENTATION_NEEDED { second } else { 0 };
                Self::DestinationUnreachable { code, mtu }
            }
            (kind::TIME_EXCEEDED, code) => Self::TimeExceeded { code },
            (kind::PARAMETER_PROBLEM, 0) => {
                Self::ParameterProblem { pointer: first.to_be_bytes()[0] }
            }
            (kind::REDIRECT, code) => {
                let gateway = u32::from(first) << 16 | u32::from(second);
                Self::Redirect { code, gateway: Ipv4Addr::from_bits(gateway) }
            }
            (kind::TIMESTAMP_REQUEST, 0) => {
                Self::TimestampRequest { identifier: first, sequence: second }
            }
            (kind::TIMESTAMP_REPLY, 0) => {
                Self::TimestampReply { identifier: first, sequence: second }
            }
            (kind, code) => Self::Other { kind, code },
        };
        Ok((header, payload))
    }

    /// Writes the header with the checksum over it and `payload`.
    pub fn emit(&self, payload: &[u8], out: &mut [u8; HEADER_LEN]) {
        let (kind, code, rest) = match *self {
            Self::EchoRequest { identifier, sequence } => {
                (kind::ECHO_REQUEST, 0, [identifier, sequence])
            }
            Self::EchoReply { identifier, sequence } => {
                (kind::ECHO_REPLY, 0, [identifier, sequence])
            }
            Self::DestinationUnreachable { code, mtu } => {
                (kind::DESTINATION_UNREACHABLE, code.0, [0, mtu])
            }
            Self::TimeExceeded { code } => (kind::TIME_EXCEEDED, code, [0, 0]),
            Self::ParameterProblem { pointer } => {
                (kind::PARAMETER_PROBLEM, 0, [u16::from_be_bytes([pointer, 0]), 0])
            }
            Self::Redirect { code, gateway } => {
                let [a, b, c, d] = gateway.octets();
                (kind::REDIRECT, code, [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
            }
            Self::TimestampRequest { identifier, sequence } => {
                (kind::TIMESTAMP_REQUEST, 0, [identifier, sequence])
            }
            Self::TimestampReply { identifier, sequence } => {
                (kind::TIMESTAMP_REPLY, 0, [identifier, sequence])
            }
            Self::Other { kind, code } => (kind, code, [0, 0]),
        };
        let mut layout = Layout { kind, code, checksum: 0.into(), rest: rest.map(U16::new) };
        layout.checksum = Sum::of(layout.as_bytes()).add(Sum::of(payload)).finish().into();
        *out = zerocopy::transmute!(layout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn message(kind: u8, code: u8, rest: [u8; 4]) -> Vec<u8> {
        let mut bytes = [&[kind, code, 0, 0][..], &rest, b"payload"].concat();
        let checksum = Sum::of(&bytes).finish().to_be_bytes();
        bytes[2..4].copy_from_slice(&checksum);
        bytes
    }

    #[test]
    fn kinds() {
        use Header::*;
        let unreachable = |code, mtu| DestinationUnreachable { code: Unreachable(code), mtu };
        let cases = [
            (8, 0, EchoRequest { identifier: 0x0102, sequence: 0x0304 }, true),
            (0, 0, EchoReply { identifier: 0x0102, sequence: 0x0304 }, true),
            (8, 1, Other { kind: 8, code: 1 }, false),
            (3, 3, unreachable(3, 0), false),
            (3, 4, unreachable(4, 0x0304), false),
            (3, 250, unreachable(250, 0), false),
            (4, 0, Other { kind: 4, code: 0 }, false),
            (5, 1, Redirect { code: 1, gateway: [1, 2, 3, 4].into() }, false),
            (11, 0, TimeExceeded { code: 0 }, false),
            (11, 1, TimeExceeded { code: 1 }, false),
            (12, 0, ParameterProblem { pointer: 1 }, false),
            (12, 1, Other { kind: 12, code: 1 }, false),
            (13, 0, TimestampRequest { identifier: 0x0102, sequence: 0x0304 }, true),
            (14, 0, TimestampReply { identifier: 0x0102, sequence: 0x0304 }, true),
            (13, 1, Other { kind: 13, code: 1 }, false),
            (17, 0, Other { kind: 17, code: 0 }, false),
        ];
        for (kind, code, expected, echo) in cases {
            let bytes = message(kind, code, [1, 2, 3, 4]);
            assert_eq!(Header::parse(&bytes), Ok((expected, &b"payload"[..])));
            assert_eq!(begins_as_query(&bytes[..2]), echo, "{expected:?}");
        }
    }

    #[test]
    fn damage_is_refused() {
        let bytes = message(8, 0, [0; 4]);
        assert_eq!(Header::parse(&bytes[..7]), Err(Error::Truncated));
        assert_eq!(Header::parse(&bytes[..14]), Err(Error::Checksum));
    }
}
