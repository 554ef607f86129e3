//! A packet to the frames it leaves in.

use super::Transit;
use crate::{
    counters::DropReason,
    layer::{
        ipv4_fragment,
        segmentation::{self, Pieces},
        transport,
    },
    table::egress::Frame,
};
use narrows_wire::{
    address::MacAddr,
    ethernet::{self, EtherType},
    ipv4::Packet,
    offload::PartialChecksum,
};

/// The interface that a packet leaves by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Egress {
    pub mac: MacAddr,
    pub mtu: u16,
}

impl Egress {
    pub fn link_header(&self, destination: MacAddr) -> [u8; ethernet::HEADER_LEN] {
        let header =
            ethernet::Header { destination, source: self.mac, ether_type: EtherType::IPV4 };
        let mut bytes = [0; ethernet::HEADER_LEN];
        header.emit(&mut bytes);
        bytes
    }
}

/// The length of the longest IPv4 packet that is on the wire in the end, if nothing is fragmented.
pub(super) fn longest_piece(transit: &Transit<'_>) -> usize {
    let Packet { header, header_bytes, payload, .. } = &transit.packet;
    let whole = payload.len();
    let piece = transit.offload.segment_size.and_then(|size| {
        Some(transport::header_len(header.protocol, payload)? + usize::from(size))
    });
    header_bytes.len() + piece.map_or(whole, |piece| piece.min(whole))
}

/// The frames of a packet whose header is to be `header`: one with all that is left to do to it, if the
/// link takes it; else fragments, with nothing left to do.
pub(super) fn of(
    transit: &Transit<'_>,
    header: &[u8],
    egress: &Egress,
) -> Result<Vec<Frame>, DropReason> {
    // The destination is filled in when the next hop is known.
    let bytes = [&egress.link_header(MacAddr::ZERO)[..], header, transit.packet.payload].concat();
    let mut frame = segmentation::onward(bytes, transit.offload)?;
    if longest_piece(transit) <= usize::from(egress.mtu) {
        return Ok(vec![frame]);
    }
    let mut frames = Vec::new();
    if let Some(segmentation) = frame.offload.segmentation {
        let pieces =
            Pieces::of(&frame.bytes, segmentation).ok_or(DropReason::OffloadUnsupported)?;
        for piece in pieces {
            frames.extend(fragments(&piece, egress.mtu).ok_or(DropReason::MessageTooLong)?);
        }
        return Ok(frames);
    }
    if let Some(PartialChecksum { start, offset }) = frame.offload.checksum
        && !segmentation::complete(&mut frame.bytes, start.into(), offset.into())
    {
        return Err(DropReason::OffloadUnsupported);
    }
    fragments(&frame.bytes, egress.mtu).ok_or(DropReason::MessageTooLong)
}

/// `None`: it is not to be fragmented.
fn fragments(frame: &[u8], mtu: u16) -> Option<Vec<Frame>> {
    let (link, packet) = frame.split_at_checked(ethernet::HEADER_LEN)?;
    let Packet { header, options, payload, .. } = Packet::parse(packet).ok()?;
    let pieces = ipv4_fragment::pieces(&header, options, payload, mtu)?;
    let frame =
        |(header, piece): ipv4_fragment::Piece<'_>| Frame::plain([link, &header, piece].concat());
    Some(pieces.into_iter().map(frame).collect())
}
