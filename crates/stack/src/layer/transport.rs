//! Where a frame has its transport header, whatever is around it.

use narrows_wire::{
    checksum::Sum,
    ethernet::{self, EtherType},
    ipv4::{Packet, Protocol},
    offload::SegmentKind,
    tcp, udp,
    vlan::{TAG_LEN, TagProtocol, Tagged},
};

/// Of IPv6 (RFC 8200 §3): the header's length, and where in it the length of what follows is, the next
/// header and both addresses.
const IPV6_HEADER_LEN: usize = 40;
const IPV6_LENGTH: core::ops::Range<usize> = 4..6;
const IPV6_NEXT_HEADER: usize = 6;
const IPV6_ADDRESSES: core::ops::Range<usize> = 8..40;

/// The transport header of a frame. All places are in bytes from the frame's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport {
    /// Where the IP header begins, and where the transport's does.
    pub network: usize,
    pub start: usize,
    /// Where the packet ends; a frame may be longer.
    pub end: usize,
    /// Of the transport header.
    pub header_len: usize,
    pub protocol: Protocol,
    pub ipv6: bool,
    /// Of a fragment nothing but the checksum field of the first is known to be there.
    fragment: bool,
    /// Addresses and protocol of the pseudo-header.
    addresses: Sum,
}

impl Transport {
    /// Behind all tags, and an IPv6 header without extensions. `None`: it is neither TCP nor UDP, or
    /// not whole.
    pub fn find(bytes: &[u8]) -> Option<Self> {
        let (header, mut payload) = ethernet::Header::parse(bytes).ok()?;
        let (mut ether_type, mut network) = (header.ether_type, ethernet::HEADER_LEN);
        while TagProtocol::of(ether_type).is_some() {
            let tagged = Tagged::parse(payload).ok()?;
            (ether_type, payload) = (tagged.ether_type, tagged.payload);
            network += TAG_LEN;
        }
        match ether_type {
            EtherType::IPV4 => Self::of_ipv4(payload, network),
            EtherType::IPV6 => Self::of_ipv6(payload, network),
            _ => None,
        }
    }

    fn of_ipv4(packet: &[u8], network: usize) -> Option<Self> {
        let Packet { header, header_bytes, payload, .. } = Packet::parse(packet).ok()?;
        let start = network + header_bytes.len();
        Some(Self {
            network,
            start,
            end: start + payload.len(),
            header_len: header_len(header.protocol, payload)?,
            protocol: header.protocol,
            ipv6: false,
            fragment: header.is_fragment(),
            addresses: Sum::pseudo_header(header.source, header.destination, header.protocol.0, 0),
        })
    }

    fn of_ipv6(packet: &[u8], network: usize) -> Option<Self> {
        let protocol = Protocol(*packet.get(IPV6_NEXT_HEADER)?);
        let len = u16::from_be_bytes(*packet.get(IPV6_LENGTH)?.first_chunk()?);
        let payload = packet.get(IPV6_HEADER_LEN..)?.get(..usize::from(len))?;
        let start = network + IPV6_HEADER_LEN;
        // RFC 8200 §8.1: addresses, length, next header.
        let addresses = Sum::of(packet.get(IPV6_ADDRESSES)?).add(Sum::of(&[0, protocol.0]));
        Some(Self {
            network,
            start,
            end: start + payload.len(),
            header_len: header_len(protocol, payload)?,
            protocol,
            ipv6: true,
            fragment: false,
            addresses,
        })
    }

    /// Where from the start of the transport header its checksum is.
    pub fn checksum_offset(&self) -> Option<usize> {
        checksum_offset(self.protocol)
    }

    /// What its pieces are, if it can be cut into several.
    pub fn kind(&self) -> Option<SegmentKind> {
        match (self.protocol, self.ipv6) {
            _ if self.fragment => None,
            (Protocol::TCP, false) => Some(SegmentKind::TcpIpv4),
            (Protocol::TCP, true) => Some(SegmentKind::TcpIpv6),
            (Protocol::UDP, _) => Some(SegmentKind::Udp),
            _ => None,
        }
    }

    /// Of a transport header with its data, of `len` bytes; `None`: too long.
    pub fn pseudo_header(&self, len: usize) -> Option<Sum> {
        Some(self.addresses.add(Sum::of(&u16::try_from(len).ok()?.to_be_bytes())))
    }
}

/// Where a transport header has its checksum.
pub(crate) fn checksum_offset(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::TCP => Some(tcp::CHECKSUM_OFFSET),
        Protocol::UDP => Some(udp::CHECKSUM_OFFSET),
        _ => None,
    }
}

/// The length of a transport header that is whole.
pub(crate) fn header_len(protocol: Protocol, payload: &[u8]) -> Option<usize> {
    let len = match protocol {
        Protocol::TCP => {
            let len = usize::from(payload.get(tcp::LENGTH_OFFSET)? >> 4) * 4;
            (len >= tcp::HEADER_LEN).then_some(len)?
        }
        Protocol::UDP => udp::HEADER_LEN,
        _ => return None,
    };
    (len <= payload.len()).then_some(len)
}
