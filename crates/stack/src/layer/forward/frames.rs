//! A packet to the frames it leaves in.

use super::{Transit, segment};
use crate::{layer::ipv4_fragment, table::egress::Frame};
use narrows_wire::{
    address::MacAddr,
    checksum::Sum,
    ethernet::{self, EtherType},
    ipv4::{Packet, Protocol},
    offload::{Capabilities, PartialChecksum, RxChecksum, SegmentKind, Segmentation, TxOffload},
    tcp, udp,
};

/// The interface that a packet leaves by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Egress {
    pub mac: MacAddr,
    pub mtu: u16,
    pub capabilities: Capabilities,
}

impl Egress {
    /// A link header whose destination is filled in when the next hop is known.
    fn link_header(&self) -> [u8; ethernet::HEADER_LEN] {
        let header = ethernet::Header {
            destination: MacAddr::ZERO,
            source: self.mac,
            ether_type: EtherType::IPV4,
        };
        let mut bytes = [0; ethernet::HEADER_LEN];
        header.emit(&mut bytes);
        bytes
    }
}

/// The length of the longest IPv4 packet that is on the wire in the end, if nothing is fragmented.
pub(super) fn longest_piece(transit: &Transit<'_>) -> usize {
    let Packet { header, header_bytes, payload, .. } = &transit.packet;
    let whole = payload.len();
    let piece = match transit.offload.segment_size {
        Some(size) => {
            segment::header_len(header, payload).map(|headers| headers + usize::from(size))
        }
        None => None,
    };
    header_bytes.len() + piece.map_or(whole, |piece| piece.min(whole))
}

/// The frames of a packet whose header is to be `header`. `None`: it can't be cut up as it has to be.
pub(super) fn of(transit: &Transit<'_>, header: &[u8], egress: &Egress) -> Option<Vec<Frame>> {
    let Packet { header: parsed, payload, .. } = &transit.packet;
    let Some(offload) = whole(transit, header, egress) else {
        // The device can't take it as it is: it leaves in pieces with nothing left to do.
        let pieces = match transit.offload.segment_size {
            Some(size) => segment::cut(parsed, header, payload, size)?,
            None => vec![completed(transit, header)],
        };
        let link = egress.link_header();
        let mut frames = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            let Packet { header, options, payload, .. } = Packet::parse(piece).ok()?;
            let fragments = ipv4_fragment::pieces(&header, options, payload, egress.mtu)?;
            let frame = |(header, piece): (Vec<u8>, &[u8])| {
                Frame::plain([&link[..], &header, piece].concat())
            };
            frames.extend(fragments.into_iter().map(frame));
        }
        return Some(frames);
    };
    let bytes = [&egress.link_header()[..], header, payload].concat();
    Some(vec![Frame { bytes, offload }])
}

/// What the device is asked to do with the packet in one piece; `None`: it is not able to.
fn whole(transit: &Transit<'_>, header: &[u8], egress: &Egress) -> Option<TxOffload> {
    let Packet { header: parsed, payload, .. } = &transit.packet;
    let Egress { mtu, capabilities, .. } = *egress;
    let len = header.len() + payload.len();
    let start = ethernet::HEADER_LEN + header.len();
    let partial = || {
        let offset = checksum_offset(parsed.protocol)?;
        let start = u16::try_from(start).ok()?;
        capabilities
            .tx_checksum
            .then_some(PartialChecksum { start, offset: u16::try_from(offset).ok()? })
    };
    let checksum = match transit.offload.checksum {
        RxChecksum::Partial => Some(partial()?),
        RxChecksum::Unverified | RxChecksum::Verified => None,
    };
    let Some(segment_size) = transit.offload.segment_size else {
        return (len <= usize::from(mtu)).then_some(TxOffload { checksum, segmentation: None });
    };
    let max = capabilities.tx_segmentation? as usize;
    // Devices want the checksum left to them where they cut.
    let tcp = parsed.protocol == Protocol::TCP && checksum.is_some();
    if !tcp || len > max || longest_piece(transit) > usize::from(mtu) {
        return None;
    }
    let header_len = u16::try_from(start + segment::header_len(parsed, payload)?).ok()?;
    Some(TxOffload {
        checksum,
        segmentation: Some(Segmentation { kind: SegmentKind::TcpIpv4, segment_size, header_len }),
    })
}

/// Where a transport header has its checksum.
fn checksum_offset(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::TCP => Some(tcp::CHECKSUM_OFFSET),
        Protocol::UDP => Some(udp::CHECKSUM_OFFSET),
        _ => None,
    }
}

/// Header and payload, with the transport checksum whole.
fn completed(transit: &Transit<'_>, header: &[u8]) -> Vec<u8> {
    let payload = transit.packet.payload;
    let mut packet = [header, payload].concat();
    let offset = checksum_offset(transit.packet.header.protocol);
    if let (RxChecksum::Partial, Some(offset)) = (transit.offload.checksum, offset) {
        // The field holds the pseudo-header's sum.
        let checksum = Sum::of(payload).finish().to_be_bytes();
        let field = header.len() + offset;
        if let Some(field) = packet.get_mut(field..field + 2) {
            field.copy_from_slice(&checksum);
        }
    }
    packet
}
