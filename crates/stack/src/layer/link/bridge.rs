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
    offload::{PartialChecksum, RxChecksum, RxOffload, SegmentKind, Segmentation, TxOffload},
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

/// What is left to do to a frame. `None`: it is neither TCP nor UDP, or not whole.
fn request(bytes: &mut [u8], received: RxOffload) -> Option<TxOffload> {
    let Transport { start, protocol, ipv6, pseudo_header } = Transport::find(bytes)?;
    let (offset, kind) = match (protocol, ipv6) {
        (Protocol::TCP, false) => (tcp::CHECKSUM_OFFSET, SegmentKind::TcpIpv4),
        (Protocol::TCP, true) => (tcp::CHECKSUM_OFFSET, SegmentKind::TcpIpv6),
        (Protocol::UDP, _) => (udp::CHECKSUM_OFFSET, SegmentKind::Udp),
        _ => return None,
    };
    let checksum =
        PartialChecksum { start: u16::try_from(start).ok()?, offset: u16::try_from(offset).ok()? };
    let Some(segment_size) = received.segment_size else {
        return Some(TxOffload { checksum: Some(checksum), segmentation: None });
    };
    let transport = bytes.get_mut(start..)?;
    let header_len = match protocol {
        Protocol::TCP => usize::from(transport.get(TCP_DATA_OFFSET)? >> 4) * 4,
        _ => udp::HEADER_LEN,
    };
    // A sum that was right for the whole is none for the pieces: they start from the pseudo-header's.
    let field = transport.get_mut(offset..)?.first_chunk_mut()?;
    *field = pseudo_header.fold().to_be_bytes();
    let header_len = u16::try_from(start + header_len).ok()?;
    let segmentation = Some(Segmentation { kind, segment_size, header_len });
    Some(TxOffload { checksum: Some(checksum), segmentation })
}

/// Where TCP's header has its own length.
const TCP_DATA_OFFSET: usize = 12;

/// Of IPv6 (RFC 8200 §3): the header's length, and where in it the next header is and both addresses.
const IPV6_HEADER_LEN: usize = 40;
const IPV6_NEXT_HEADER: usize = 6;
const IPV6_ADDRESSES: core::ops::Range<usize> = 8..40;

/// A frame's transport header.
struct Transport {
    /// In bytes from the start of the frame.
    start: usize,
    protocol: Protocol,
    ipv6: bool,
    pseudo_header: Sum,
}

impl Transport {
    /// Behind all tags, and an IPv6 header without extensions.
    fn find(bytes: &[u8]) -> Option<Self> {
        let (header, mut payload) = ethernet::Header::parse(bytes).ok()?;
        let (mut ether_type, mut network) = (header.ether_type, ethernet::HEADER_LEN);
        while TagProtocol::of(ether_type).is_some() {
            let tagged = Tagged::parse(payload).ok()?;
            (ether_type, payload) = (tagged.ether_type, tagged.payload);
            network += TAG_LEN;
        }
        match ether_type {
            EtherType::IPV4 => {
                let packet = Packet::parse(payload).ok()?;
                let ipv4::Header { source, destination, protocol, .. } = packet.header;
                let len = u16::try_from(packet.payload.len()).ok()?;
                let pseudo_header = Sum::pseudo_header(source, destination, protocol.0, len);
                let start = network + packet.header_bytes.len();
                Some(Self { start, protocol, ipv6: false, pseudo_header })
            }
            EtherType::IPV6 => {
                let protocol = Protocol(*payload.get(IPV6_NEXT_HEADER)?);
                let len = u16::try_from(payload.len().checked_sub(IPV6_HEADER_LEN)?).ok()?;
                let [high, low] = len.to_be_bytes();
                // RFC 8200 §8.1: addresses, length, next header.
                let pseudo_header =
                    Sum::of(payload.get(IPV6_ADDRESSES)?).add(Sum::of(&[high, low, 0, protocol.0]));
                let start = network + IPV6_HEADER_LEN;
                Some(Self { start, protocol, ipv6: true, pseudo_header })
            }
            _ => None,
        }
    }
}
