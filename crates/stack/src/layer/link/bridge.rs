//! Bridges: what goes on to other ports is copied, with what its device must still do to it.

use super::{Ascent, copy, output, state::arm};
use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    table::{bridge::Forwarding, egress::Frame},
};
use narrows_wire::{
    checksum::Sum,
    ethernet::{self, EtherType},
    ipv4::{self, Packet, Protocol},
    offload::{PartialChecksum, RxChecksum, RxOffload, Segmentation, TxOffload},
    tcp, udp,
    vlan::{TAG_LEN, TagProtocol, Tagged},
};

/// A frame that came in by a port: does it go on to the bridge itself?
pub(super) fn input(
    shard: &mut Shard,
    now: Instant,
    bridge: InterfaceId,
    port: InterfaceId,
    frame: &Ascent<'_>,
) -> Result<bool, DropReason> {
    let station = shard.interfaces.get(bridge).ok_or(DropReason::LinkDown)?;
    let own = station.settings.mac;
    let state = shard.links.bridge_mut(bridge).ok_or(DropReason::LinkDown)?;
    let ethernet::Header { source, destination, .. } = frame.header;
    let verdict = state.receive(now, port, source, destination, own);
    arm(shard);
    match verdict? {
        Forwarding::Nowhere => {}
        Forwarding::Port(to) => {
            let onward = onward(copy(frame), frame.offload)?;
            output(shard, to, onward)?;
        }
        Forwarding::Flood => {
            let onward = onward(copy(frame), frame.offload)?;
            flood(shard, bridge, Some(port), &onward);
        }
    }
    Ok(destination == own || destination.is_multicast())
}

/// Sends a frame by every port but the one it came by.
pub(super) fn flood(
    shard: &mut Shard,
    bridge: InterfaceId,
    came_by: Option<InterfaceId>,
    frame: &Frame,
) {
    let Some(state) = shard.links.get(bridge).and_then(|link| link.bridge()) else { return };
    let open = |port: &InterfaceId| Some(*port) != came_by && !state.is_closed(*port);
    let ports: Vec<_> = state.ports().filter(open).collect();
    for port in ports {
        // A port without a wire is no loss.
        if !shard.links.is_running(port) {
            continue;
        }
        if let Err(reason) = output(shard, port, frame.clone()) {
            shard.drop(reason);
        }
    }
}

/// A received frame as one to send: what its sender left to devices is left to ours.
fn onward(mut bytes: Vec<u8>, received: RxOffload) -> Result<Frame, DropReason> {
    let whole = received.checksum != RxChecksum::Partial && received.segment_size.is_none();
    let offload = if whole {
        TxOffload::default()
    } else {
        request(&mut bytes, received).ok_or(DropReason::OffloadUnsupported)?
    };
    Ok(Frame { bytes, offload })
}

/// What is left to do to a frame. `None`: it is neither TCP nor UDP over IPv4, or not whole.
fn request(bytes: &mut [u8], received: RxOffload) -> Option<TxOffload> {
    let network = network_offset(bytes)?;
    let packet = Packet::parse(bytes.get(network..)?).ok()?;
    let transport = network + packet.header_bytes.len();
    let offset = match packet.header.protocol {
        Protocol::TCP => tcp::CHECKSUM_OFFSET,
        Protocol::UDP => udp::CHECKSUM_OFFSET,
        _ => return None,
    };
    let start = u16::try_from(transport).ok()?;
    let checksum = Some(PartialChecksum { start, offset: u16::try_from(offset).ok()? });
    let Some(segment_size) = received.segment_size else {
        return Some(TxOffload { checksum, segmentation: None });
    };
    if packet.header.protocol != Protocol::TCP {
        return None;
    }
    let header_len = usize::from(packet.payload.get(12)? >> 4) * 4;
    let ipv4::Header { source, destination, .. } = packet.header;
    let len = u16::try_from(packet.payload.len()).ok()?;
    // A sum that was right for the whole is none for the pieces: they start from the pseudo-header's.
    let partial = Sum::pseudo_header(source, destination, Protocol::TCP.0, len).fold();
    let field = bytes.get_mut(transport + offset..)?.first_chunk_mut()?;
    *field = partial.to_be_bytes();
    let header_len = u16::try_from(transport + header_len).ok()?;
    Some(TxOffload { checksum, segmentation: Some(Segmentation { segment_size, header_len }) })
}

/// Where the IPv4 header begins, behind all tags.
fn network_offset(bytes: &[u8]) -> Option<usize> {
    let (header, mut payload) = ethernet::Header::parse(bytes).ok()?;
    let (mut ether_type, mut offset) = (header.ether_type, ethernet::HEADER_LEN);
    while TagProtocol::of(ether_type).is_some() {
        let tagged = Tagged::parse(payload).ok()?;
        (ether_type, payload) = (tagged.ether_type, tagged.payload);
        offset += TAG_LEN;
    }
    (ether_type == EtherType::IPV4).then_some(offset)
}
