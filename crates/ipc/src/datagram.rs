//! What the anchor of a UDP or ping socket carries: a `SOCK_SEQPACKET` pair, on which each record is
//! a [`Header`] of fixed size and then one datagram's payload, which may be empty.
//!
//! The header, in the machine's byte order but for the port and the addresses:
//!
//! | bytes | |
//! |---|---|
//! | 0 | what the record is: 0 a datagram, 1 word that an error is pending, without payload |
//! | 1 | bytes of the IPv4 header's options |
//! | 2, 3 | time to live, type of service |
//! | 4 – 5 | payload bytes of each datagram but the last, where a record holds several |
//! | 6, 7 | family of the peer's address and of the own one: 0, 4 or 6 |
//! | 8 – 11 | index of the interface; 0: none |
//! | 12 – 13 | the peer's port |
//! | 14 – 15 | [`Attached`]: which of the optional fields count |
//! | 16 – 31 | the peer's address: where it came from, or is to go |
//! | 32 – 47 | the own address: where it was sent to, or is to be sent from |
//! | 48 – 55 | when it arrived: nanoseconds since 1970 |
//! | 56 – 95 | the options, towards a program; zero behind them |
//!
//! Towards a program all fields are filled in, and `Attached` says which of them the program asked
//! to be told (IP_PKTINFO, IP_RECVTTL …). From a program, `Attached` says which it gave.

use crate::codec::Malformed;
use std::net::{IpAddr, SocketAddr};

bitflags::bitflags! {
    /// Optional fields of a header, as control messages carry them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Attached: u16 {
        /// Own address and interface: IP_PKTINFO.
        const PACKET_INFO = 1;
        /// IP_TTL.
        const TTL = 2;
        /// IP_TOS.
        const TOS = 4;
        /// SO_TIMESTAMP.
        const TIMESTAMP = 8;
        /// SO_TIMESTAMPNS.
        const TIMESTAMP_NS = 16;
        /// UDP_GRO, UDP_SEGMENT.
        const SEGMENT_SIZE = 32;
        /// PACKET_AUXDATA, of packet sockets.
        const AUXILIARY = 64;
        /// IP_RECVOPTS: the IPv4 options as they arrived.
        const OPTIONS = 128;
        /// IP_RETOPTS: those that an answer would carry.
        const RETURN_OPTIONS = 256;
    }
}

/// The options of an IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    length: u8,
    bytes: [u8; Self::MOST],
}

impl Options {
    /// What an IPv4 header has room for.
    pub const MOST: usize = 40;

    /// `None`: longer than they can be.
    pub fn new(options: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MOST];
        bytes.get_mut(..options.len())?.copy_from_slice(options);
        Some(Self { length: options.len() as u8, bytes })
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or(&self.bytes)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { length: 0, bytes: [0; Self::MOST] }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    #[default]
    Datagram,
    /// An error is pending, which [`crate::Request::TakeError`] takes; or was, if it has been
    /// taken since.
    Error,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub content: Content,
    pub attached: Attached,
    pub ttl: u8,
    pub tos: u8,
    pub segment_size: u16,
    pub interface: u32,
    /// None from a program: the connected peer.
    pub peer: Option<SocketAddr>,
    pub own: Option<IpAddr>,
    /// Nanoseconds since 1970.
    pub received: u64,
    pub options: Options,
}

impl Header {
    /// Bytes before each payload.
    pub const LEN: usize = 96;

    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (peer_family, peer) = address_bytes(self.peer.map(|peer| peer.ip()));
        let (own_family, own) = address_bytes(self.own);
        bytes[0] = match self.content {
            Content::Datagram => 0,
            Content::Error => 1,
        };
        bytes[1..4].copy_from_slice(&[self.options.length, self.ttl, self.tos]);
        bytes[4..6].copy_from_slice(&self.segment_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&[peer_family, own_family]);
        bytes[8..12].copy_from_slice(&self.interface.to_ne_bytes());
        bytes[12..14].copy_from_slice(&self.peer.map_or(0, |peer| peer.port()).to_be_bytes());
        bytes[14..16].copy_from_slice(&self.attached.bits().to_ne_bytes());
        bytes[16..32].copy_from_slice(&peer);
        bytes[32..48].copy_from_slice(&own);
        bytes[48..56].copy_from_slice(&self.received.to_ne_bytes());
        bytes[56..].copy_from_slice(&self.options.bytes);
        bytes
    }

    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, Malformed> {
        let [content, options_length, ttl, tos, s0, s1, peer_family, own_family, rest @ ..] =
            *bytes;
        let (interface, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let (port, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let (attached, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let (peer, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let (own, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let (received, rest) = rest.split_first_chunk().ok_or(Malformed)?;
        let (options, padding) = rest.split_at_checked(options_length.into()).ok_or(Malformed)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Malformed);
        }
        let peer = address(peer_family, peer)?;
        Ok(Self {
            content: match content {
                0 => Content::Datagram,
                1 => Content::Error,
                _ => return Err(Malformed),
            },
            attached: Attached::from_bits(u16::from_ne_bytes(*attached)).ok_or(Malformed)?,
            ttl,
            tos,
            segment_size: u16::from_ne_bytes([s0, s1]),
            interface: u32::from_ne_bytes(*interface),
            peer: peer.map(|peer| SocketAddr::new(peer, u16::from_be_bytes(*port))),
            own: address(own_family, own)?,
            received: u64::from_ne_bytes(*received),
            options: Options::new(options).ok_or(Malformed)?,
        })
    }
}

fn address_bytes(address: Option<IpAddr>) -> (u8, [u8; 16]) {
    let mut bytes = [0; 16];
    match address {
        None => (0, bytes),
        Some(IpAddr::V4(address)) => {
            bytes[..4].copy_from_slice(&address.octets());
            (4, bytes)
        }
        Some(IpAddr::V6(address)) => (6, address.octets()),
    }
}

fn address(family: u8, bytes: &[u8; 16]) -> Result<Option<IpAddr>, Malformed> {
    let [a, b, c, d, ..] = *bytes;
    match family {
        0 => Ok(None),
        4 => Ok(Some(IpAddr::from([a, b, c, d]))),
        6 => Ok(Some(IpAddr::from(*bytes))),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_trip() {
        let full = Header {
            content: Content::Datagram,
            attached: Attached::all(),
            ttl: 63,
            tos: 0xb8,
            segment_size: 1472,
            interface: 0x0102_0304,
            peer: Some("10.77.0.1:65535".parse().unwrap()),
            own: Some("10.77.0.2".parse().unwrap()),
            received: u64::MAX,
            options: Options::new(&[7; Options::MOST]).unwrap(),
        };
        let v6 = Header {
            peer: Some("[2001:db8::1]:53".parse().unwrap()),
            own: Some("2001:db8::2".parse().unwrap()),
            ..full
        };
        let error = Header { content: Content::Error, ..Header::default() };
        for header in [full, v6, error, Header::default()] {
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let good = Header::default().encode();
        for (at, value) in [(0, 2), (1, 41), (6, 1), (7, 5), (15, 0x80), (56, 1), (95, 1)] {
            let mut bytes = good;
            bytes[at] = value;
            assert_eq!(Header::decode(&bytes), Err(Malformed), "byte {at}");
        }
    }

    /// The layout is a promise between programs and daemons of one version.
    #[test]
    fn fields_are_where_the_table_says() {
        let header = Header {
            attached: Attached::TTL,
            ttl: 7,
            interface: 2,
            peer: Some("10.77.0.1:258".parse().unwrap()),
            ..Header::default()
        };
        let bytes = header.encode();
        assert_eq!(bytes[..3], [0, 0, 7]);
        assert_eq!(bytes[6..8], [4, 0]);
        assert_eq!(bytes[8..12], 2u32.to_ne_bytes());
        assert_eq!(bytes[12..14], [1, 2]);
        assert_eq!(bytes[14..16], 2u16.to_ne_bytes());
        assert_eq!(bytes[16..20], [10, 77, 0, 1]);
        assert_eq!(bytes[20..], [0; 76]);
    }
}
