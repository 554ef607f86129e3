//! Packet sockets (packet(7)): copies of frames for programs, and frames that programs send.
//!
//! A frame is shown at each interface that it passes: at the device, at the VLAN, bond or bridge above
//! it. What comes in is shown before anything acts on it, what goes out on its way down. With nobody
//! watching, each place is one branch.
//!
//! A program sees frames as Linux shows them: the outermost tag beside the bytes, several segments as
//! one long frame where a device made one of them. A checksum that the device was to complete is
//! complete in the copy. On the loopback frames have an Ethernet header of zeros.
//!
//! A socket can claim frames that come in by a device ([`table::claim`](crate::table::claim)), which Linux
//! has no way to: they are its alone from the interface on that the claim is about. Whoever is to see them
//! nevertheless is told of them too; groups that share are not, and the stack never hears of them.
//!
//! A socket can be a tap instead ([`tap`]), which hears of frames at stages of their way through the stack.
//!
//! Where this differs from Linux: a socket for one protocol hears of a frame at each interface too, not
//! only at the last one.

mod control;
mod send;
mod tap;

pub(crate) use control::{bind, forget, open, set, statistics};
pub(crate) use send::{reach, send};
pub(super) use tap::tap;

use crate::{
    InterfaceId, Shard,
    bpf::Context,
    counters::DropReason,
    event::Readiness,
    layer::{
        link::{self, Ascent},
        segmentation, watch,
    },
    request::SocketId,
    table::{
        packet_socket::{FrameCopy, PacketSocket, PacketType},
        socket::SocketBody,
        watch::{Role, Stages, Step},
        zone::ZoneId,
    },
};
use narrows_wire::{
    address::MacAddr,
    ethernet::{self, EtherType, HEADER_LEN, Header},
    ipv4::{self, Protocol},
    offload::{
        PartialChecksum, RxChecksum, RxOffload, SegmentKind, Segmentation, TxOffload,
        VNET_HEADER_LEN,
    },
    tcp, udp,
    vlan::{TAG_LEN, TAG_OFFSET, TagProtocol},
};

/// ARPHRD_ETHER and ARPHRD_LOOPBACK.
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;

/// A frame as it passes an interface.
#[derive(Clone, Copy, Debug)]
struct Sight<'a> {
    interface: InterfaceId,
    /// The interface's, or that of the VLAN that the tag leads to.
    zone: ZoneId,
    kind: PacketType,
    header: Header,
    vlan: Option<(u16, u16)>,
    payload: &'a [u8],
    /// Where in the payload a sum begins that has to be completed, and where from there it goes.
    unfinished: Option<(usize, usize)>,
    verified: bool,
    segment_size: Option<u16>,
    /// Where a tap sees it; empty: it passes the interface.
    stage: Stages,
    reason: Option<DropReason>,
}

/// A frame that came in by `interface`, or climbed to it; true: somebody has claimed it, and it goes no
/// further.
#[cold]
pub(crate) fn input(shard: &mut Shard, interface: InterfaceId, frame: &Ascent<'_>) -> bool {
    let Some(station) = shard.interfaces.get(interface) else { return false };
    let destination = frame.header.destination;
    let kind = if destination == station.settings.mac {
        PacketType::Host
    } else if destination.is_broadcast() {
        PacketType::Broadcast
    } else if !destination.is_unicast() {
        PacketType::Multicast
    } else {
        PacketType::OtherHost
    };
    show(shard, interface, kind, frame.header, frame.payload, frame.offload)
}

/// A packet on the loopback, which comes in as soon as it has gone out.
#[cold]
pub(crate) fn loopback(shard: &mut Shard, packet: &[u8], offload: RxOffload) {
    let header =
        Header { destination: MacAddr::ZERO, source: MacAddr::ZERO, ether_type: EtherType::IPV4 };
    for kind in [PacketType::Outgoing, PacketType::Host] {
        let _unclaimed = show(shard, InterfaceId::LOOPBACK, kind, header, packet, offload);
    }
}

fn show(
    shard: &mut Shard,
    interface: InterfaceId,
    kind: PacketType,
    header: Header,
    payload: &[u8],
    offload: RxOffload,
) -> bool {
    let zone = zone_of(shard, interface, header, payload);
    let (header, vlan, payload) = untagged(header, payload);
    let unfinished = (offload.checksum == RxChecksum::Partial)
        .then(|| transport_sum(header.ether_type, payload))
        .flatten();
    let verified = offload.checksum != RxChecksum::Unverified;
    let segment_size = offload.segment_size;
    let sight = Sight {
        interface,
        zone,
        kind,
        header,
        vlan,
        payload,
        unfinished,
        verified,
        segment_size,
        stage: Stages::empty(),
        reason: None,
    };
    let holder = holder(shard, &sight);
    deliver(shard, &sight, holder);
    if holder.is_some() {
        watch::note(shard, |_| Step::Socket { id: holder, role: Role::Holder });
    }
    holder.is_some()
}

/// Who has claimed an incoming frame, and may have it.
fn holder(shard: &Shard, sight: &Sight<'_>) -> Option<SocketId> {
    if shard.packets.claims.is_empty() {
        return None;
    }
    let ether_type = sight.header.ether_type.0;
    let holder = shard.packets.claims.holder(sight.interface, ether_type, sight.payload)?;
    let hears = |socket: &PacketSocket| socket.hears(sight.interface, ether_type, sight.kind);
    (packet_socket(shard, holder).is_some_and(hears) && may_see(shard, holder, sight))
        .then_some(holder)
}

/// A frame on its way out by `interface`.
#[cold]
pub(crate) fn output(shard: &mut Shard, interface: InterfaceId, frame: &[u8], offload: TxOffload) {
    let Ok((header, payload)) = Header::parse(frame) else { return };
    let zone = zone_of(shard, interface, header, payload);
    let (header, vlan, payload) = untagged(header, payload);
    let before = frame.len() - payload.len();
    let unfinished = offload.checksum.and_then(|PartialChecksum { start, offset }| {
        Some((usize::from(start).checked_sub(before)?, usize::from(offset)))
    });
    let sight = Sight {
        interface,
        zone,
        kind: PacketType::Outgoing,
        header,
        vlan,
        payload,
        unfinished,
        verified: unfinished.is_some(),
        segment_size: offload.segmentation.map(|segmentation| segmentation.segment_size),
        stage: Stages::empty(),
        reason: None,
    };
    deliver(shard, &sight, None);
}

/// A connection's segment, which goes by `device` on behalf of `interface`, perhaps another one.
#[cold]
pub(crate) fn segment(
    shard: &mut Shard,
    interface: InterfaceId,
    device: InterfaceId,
    frame: &[u8],
    offload: TxOffload,
) {
    if interface != device {
        let (untagged, offload) = above(frame, offload);
        output(shard, interface, &untagged, offload);
    }
    output(shard, device, frame, offload);
}

/// The frame as it was at the interface above, where it had no tags yet.
pub(crate) fn above(frame: &[u8], offload: TxOffload) -> (Vec<u8>, TxOffload) {
    let untagged = without_tags(frame);
    let moved = (frame.len() - untagged.len()) as u16;
    let checksum = offload.checksum.and_then(|PartialChecksum { start, offset }| {
        Some(PartialChecksum { start: start.checked_sub(moved)?, offset })
    });
    (untagged, TxOffload { checksum, ..offload })
}

/// The frame as it was before it got its tags.
fn without_tags(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    while let Ok((header, rest)) = Header::parse(&bytes)
        && TagProtocol::of(header.ether_type).is_some()
        && rest.len() >= TAG_LEN
    {
        bytes.drain(TAG_OFFSET..TAG_OFFSET + TAG_LEN);
    }
    bytes
}

/// Takes the outermost tag off.
fn untagged(header: Header, payload: &[u8]) -> (Header, Option<(u16, u16)>, &[u8]) {
    if TagProtocol::of(header.ether_type).is_some()
        && let Some(([a, b, c, d], rest)) = payload.split_first_chunk::<TAG_LEN>()
    {
        let vlan = (header.ether_type.0, u16::from_be_bytes([*a, *b]));
        let ether_type = EtherType(u16::from_be_bytes([*c, *d]));
        return (Header { ether_type, ..header }, Some(vlan), rest);
    }
    (header, None, payload)
}

/// Where the sum of an IPv4 packet's transport begins, and where it goes.
pub(crate) fn transport_sum(ether_type: EtherType, packet: &[u8]) -> Option<(usize, usize)> {
    if ether_type != EtherType::IPV4 {
        return None;
    }
    let (start, protocol) = transport(packet)?;
    match protocol {
        Protocol::TCP => Some((start, tcp::CHECKSUM_OFFSET)),
        Protocol::UDP => Some((start, udp::CHECKSUM_OFFSET)),
        _ => None,
    }
}

/// Where the transport begins in an IPv4 packet, and which it is.
fn transport(packet: &[u8]) -> Option<(usize, Protocol)> {
    let start = usize::from(packet.first()? & 0xf) * 4;
    let protocol = Protocol(*packet.get(ipv4::PROTOCOL_OFFSET)?);
    (start >= ipv4::HEADER_LEN).then_some((start, protocol))
}

/// To everybody who hears of it; of what is claimed, to its holder and to who may see such.
fn deliver(shard: &mut Shard, sight: &Sight<'_>, holder: Option<SocketId>) {
    let sender = shard.packets.sender;
    for index in 0..shard.packets.members.len() {
        let Some(id) = shard.packets.members.get(index).copied() else { break };
        let hears = |one: &PacketSocket| match holder {
            _ if !one.tap.is_empty() => false,
            None => one.fanout.is_none(),
            Some(holder) => id == holder || one.fanout.is_none() && one.sees_claimed,
        };
        if Some(id) != sender && packet_socket(shard, id).is_some_and(hears) {
            give(shard, id, sight);
        }
    }
    if holder.is_some() {
        return;
    }
    let groups: Vec<u16> = shard.packets.fanouts.ids().collect();
    for group in groups {
        share(shard, group, sight);
    }
}

/// To one of a group.
fn share(shard: &mut Shard, group: u16, sight: &Sight<'_>) {
    let Some(any) = shard.packets.fanouts.any_member(group) else { return };
    let (protocol, kind) = (sight.header.ether_type.0, sight.kind);
    let hears = packet_socket(shard, any)
        .is_some_and(|socket| socket.hears(sight.interface, protocol, kind));
    if !hears {
        return;
    }
    let hash = shard.secrets.sequence.hash(&("fanout", flow_of(sight)));
    let random = shard.random.next_u32();
    let sockets = &shard.sockets;
    let has_room = |id: SocketId| match sockets.get(id).map(|socket| &socket.body) {
        Some(SocketBody::Packet(socket)) => socket.queue.has_room(sight.payload.len() + HEADER_LEN),
        _ => false,
    };
    let chosen = shard.packets.fanouts.choose(group, hash, random, has_room);
    if let Some(chosen) = chosen.filter(|chosen| Some(*chosen) != shard.packets.sender) {
        give(shard, chosen, sight);
    }
}

/// What a flow's frames have in common, whichever way they go.
fn flow_of(sight: &Sight<'_>) -> (u32, u32, u32) {
    let packet = sight.payload;
    let found = || {
        let (start, protocol) = transport(packet)?;
        let word = |at: usize| packet.get(at..)?.first_chunk().copied().map(u32::from_be_bytes);
        let (source, destination) = (word(12)?, word(16)?);
        let ports = match protocol {
            Protocol::TCP | Protocol::UDP => word(start)?,
            _ => 0,
        };
        Some((source ^ destination, ports ^ ports.rotate_left(16), protocol.0.into()))
    };
    match sight.header.ether_type {
        EtherType::IPV4 => found().unwrap_or_default(),
        other => (0, 0, other.0.into()),
    }
}

fn packet_socket(shard: &Shard, id: SocketId) -> Option<&PacketSocket> {
    match shard.sockets.get(id).map(|socket| &socket.body) {
        Some(SocketBody::Packet(socket)) => Some(socket),
        _ => None,
    }
}

fn zone_of(shard: &Shard, interface: InterfaceId, header: Header, payload: &[u8]) -> ZoneId {
    match shard.zones.is_single() {
        true => ZoneId::PUBLIC,
        false => link::zone_of(shard, interface, header.ether_type, payload),
    }
}

/// Is the socket's principal admitted to where the frame is? On the loopback, where all zones meet, to
/// both of its ends.
fn may_see(shard: &Shard, id: SocketId, sight: &Sight<'_>) -> bool {
    if shard.zones.is_single() {
        return true;
    }
    let Some(who) = shard.sockets.get(id).map(|socket| socket.principal) else { return false };
    if sight.interface != InterfaceId::LOOPBACK {
        return shard.admits(who, sight.interface) && shard.zones.of(who).contains(sight.zone);
    }
    ipv4::Packet::parse(sight.payload).is_ok_and(|packet| {
        let ipv4::Header { source, destination, .. } = packet.header;
        shard.covers(who, source.into()) && shard.covers(who, destination.into())
    })
}

/// A copy for one socket, if its filter takes it.
fn give(shard: &mut Shard, id: SocketId, sight: &Sight<'_>) {
    if !may_see(shard, id, sight) {
        return;
    }
    let protocol = sight.header.ether_type.0;
    let random = shard.random.next_u32();
    let seen = shard.packets.clock;
    let Some(SocketBody::Packet(socket)) = shard.sockets.get_mut(id).map(|found| &mut found.body)
    else {
        return;
    };
    if !socket.hears(sight.interface, protocol, sight.kind) {
        return;
    }
    let mut link = [0; HEADER_LEN];
    sight.header.emit(&mut link);
    let header: &[u8] = if socket.cooked { &[] } else { &link };
    let length = header.len() + sight.payload.len();
    let taken = match &socket.filter {
        None => length,
        Some(filter) => {
            let context = context(sight, header.len(), random);
            filter.run([header, sight.payload], &context) as usize
        }
    };
    if taken == 0 {
        return;
    }
    let mut bytes = [header, sight.payload].concat();
    if let Some((start, offset)) = sight.unfinished {
        segmentation::complete(&mut bytes, header.len() + start, offset);
    }
    bytes.truncate(taken);
    if socket.vnet_header {
        bytes.splice(..0, vnet_header(sight, header.len()));
    }
    let told = socket.queue.push(FrameCopy {
        interface: sight.interface,
        kind: sight.kind,
        protocol,
        source: sight.header.source,
        vlan: sight.vlan,
        network: header.len() as u16,
        length: u32::try_from(length).unwrap_or(u32::MAX),
        segment_size: sight.segment_size,
        verified: sight.verified,
        seen,
        stage: sight.stage,
        reason: sight.reason,
        bytes: bytes.into(),
    });
    if told {
        shard.notify(id, Readiness::READABLE);
    }
}

/// What a device would say of the copy: which is complete, but may be several segments.
fn vnet_header(sight: &Sight<'_>, network: usize) -> [u8; VNET_HEADER_LEN] {
    let transport = transport(sight.payload).filter(|_| sight.header.ether_type == EtherType::IPV4);
    let kind = match transport {
        Some((_, Protocol::TCP)) => Some(SegmentKind::TcpIpv4),
        Some((_, Protocol::UDP)) => Some(SegmentKind::Udp),
        _ => None,
    };
    let segmentation = kind.zip(sight.segment_size).map(|(kind, segment_size)| Segmentation {
        kind,
        segment_size,
        header_len: (network + payload_offset(sight)) as u16,
    });
    TxOffload { checksum: None, segmentation }.to_vnet()
}

/// Where the payload of the transport begins behind the link header; 0 where there is no transport.
fn payload_offset(sight: &Sight<'_>) -> usize {
    match sight.header.ether_type {
        EtherType::IPV4 => payload_start(sight.payload),
        _ => 0,
    }
}

/// Where in an IPv4 packet the payload of its transport begins; 0 where there is no transport.
pub(crate) fn payload_start(packet: &[u8]) -> usize {
    match transport(packet) {
        Some((start, Protocol::TCP)) => {
            let words = packet.get(start + tcp::LENGTH_OFFSET).map_or(0, |byte| byte >> 4);
            start + usize::from(words) * 4
        }
        Some((start, Protocol::UDP)) => start + udp::HEADER_LEN,
        Some((start, _)) => start,
        None => 0,
    }
}

fn context(sight: &Sight<'_>, network: usize, random: u32) -> Context {
    Context {
        protocol: sight.header.ether_type.0,
        packet_type: sight.kind as u8,
        interface: sight.interface.number(),
        hardware: hardware(sight.interface),
        vlan: sight.vlan,
        network,
        payload_offset: u32::try_from(network + payload_offset(sight)).unwrap_or(u32::MAX),
        random,
    }
}

/// The kind of link, as Linux numbers them.
pub(crate) fn hardware(interface: InterfaceId) -> u16 {
    if interface == InterfaceId::LOOPBACK { LOOPBACK } else { ETHERNET }
}

/// Completes the sum of an IPv4 packet's transport, whose field holds the pseudo-header's.
pub(crate) fn complete_packet(packet: &mut [u8]) {
    if let Some((start, offset)) = transport_sum(EtherType::IPV4, packet) {
        segmentation::complete(packet, start, offset);
    }
}

/// The longest header before a packet: with a tag.
const LONGEST_HEADER: usize = ethernet::HEADER_LEN + TAG_LEN;

#[cfg(test)]
mod tests;
