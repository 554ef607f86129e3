//! The beginning of a packet, as an ICMP error quotes it (RFC 792): the IPv4 header and at least 8
//! bytes of what follows, which name the flow.

use crate::{
    Error, icmpv4,
    ipv4::{HEADER_LEN, Header, Layout, Protocol},
};
use zerocopy::FromBytes;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    pub header: Header,
    /// Of the packet that is quoted, not of the quotation.
    pub total_len: u16,
    pub transport: Transport,
}

/// What 8 bytes tell of the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        source_port: u16,
        destination_port: u16,
        sequence: u32,
    },
    Udp {
        source_port: u16,
        destination_port: u16,
    },
    EchoRequest {
        identifier: u16,
        sequence: u16,
    },
    /// Another protocol or message, or a fragment that has no transport header.
    Other,
}

impl Quote {
    /// Refuses a wrong version and header length, and a quotation that is too short. The quoted
    /// checksums are not checked: routers change what they cover, and the error's own covers them.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        let header_len = usize::from(layout.version_and_len & 0x0f) * 4;
        let total_len = layout.total_len.get();
        if layout.version_and_len >> 4 != 4
            || header_len < HEADER_LEN
            || usize::from(total_len) < header_len
        {
            return Err(Error::Malformed);
        }
        let header = Header::from_layout(layout);
        let payload = bytes.get(header_len..).ok_or(Error::Truncated)?;
        let transport = if header.fragment_offset == 0 {
            let (start, _) = payload.split_first_chunk().ok_or(Error::Truncated)?;
            Transport::parse(header.protocol, start)
        } else {
            Transport::Other
        };
        Ok(Self { header, total_len, transport })
    }
}

impl Transport {
    fn parse(protocol: Protocol, start: &[u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = *start;
        let first = u16::from_be_bytes([a, b]);
        let second = u16::from_be_bytes([c, d]);
        match protocol {
            Protocol::TCP => Self::Tcp {
                source_port: first,
                destination_port: second,
                sequence: u32::from_be_bytes([e, f, g, h]),
            },
            Protocol::UDP => Self::Udp { source_port: first, destination_port: second },
            Protocol::ICMP if (a, b) == (icmpv4::kind::ECHO_REQUEST, 0) => Self::EchoRequest {
                identifier: u16::from_be_bytes([e, f]),
                sequence: u16::from_be_bytes([g, h]),
            },
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: [u8; 8] = [0x04, 0xd2, 0x00, 0x50, 0x11, 0x22, 0x33, 0x44];

    fn header(protocol: Protocol) -> Header {
        Header {
            tos: 0,
            identification: 1,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 1,
            protocol,
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
        }
    }

    /// The beginning of a packet of 1,500 bytes.
    fn quotation(header: &Header, start: [u8; 8]) -> Vec<u8> {
        let mut bytes = [0; HEADER_LEN];
        header.emit(1480, &mut bytes).expect("short enough");
        [&bytes[..], &start].concat()
    }

    #[test]
    fn eight_bytes_name_the_flow() {
        let echo = [8, 0, 0xff, 0xff, 0, 7, 0, 9];
        for (protocol, start, transport) in [
            (
                Protocol::TCP,
                START,
                Transport::Tcp { source_port: 1234, destination_port: 80, sequence: 0x1122_3344 },
            ),
            (Protocol::UDP, START, Transport::Udp { source_port: 1234, destination_port: 80 }),
            (Protocol::ICMP, echo, Transport::EchoRequest { identifier: 7, sequence: 9 }),
            (Protocol::ICMP, START, Transport::Other),
            (Protocol(47), START, Transport::Other),
        ] {
            let header = header(protocol);
            let quote = Quote::parse(&quotation(&header, start)).expect("well formed");
            assert_eq!(quote, Quote { header, total_len: 1500, transport });
        }
    }

    #[test]
    fn later_fragments_name_no_flow() {
        let header = Header { fragment_offset: 8, ..header(Protocol::UDP) };
        let quote = Quote::parse(&quotation(&header, START)).expect("well formed");
        assert_eq!(quote.transport, Transport::Other);
    }

    #[test]
    fn routers_may_have_changed_the_header() {
        let mut bytes = quotation(&header(Protocol::UDP), START);
        bytes[8] = 0;
        bytes[10] ^= 0xff;
        assert!(Quote::parse(&bytes).is_ok());
    }

    #[test]
    fn what_is_no_quotation() {
        let whole = quotation(&header(Protocol::UDP), START);
        for len in 0..whole.len() {
            assert_eq!(Quote::parse(&whole[..len]), Err(Error::Truncated), "{len}");
        }
        for (at, value) in [(0, 0x65), (0, 0x44), (3, 19)] {
            let mut bytes = whole.clone();
            bytes[2] = 0;
            bytes[3] = 100;
            bytes[at] = value;
            assert_eq!(Quote::parse(&bytes), Err(Error::Malformed), "{at}");
        }
    }
}
