//! The way down: which device, which tags.

use crate::{
    InterfaceId, Shard,
    counters::DropReason,
    layer::{
        ipv4_output::Path,
        link::bridge,
        packet,
        segmentation::{self, Pieces},
        watch,
    },
    table::{bond::FlowDigest, bridge::Forwarding, demux::Flow, egress::Frame, link::LinkKind},
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{
    address::MacAddr,
    ethernet::{self, EtherType},
    ipv4::{Packet, Protocol},
    offload::{PartialChecksum, Segmentation, TxOffload},
    vlan::{TAG_LEN, TAG_OFFSET, Tag, TagProtocol, Tagged},
};

/// Tags in one link header: a provider's around a customer's, twice over. Frames with more leave
/// by copies.
const MAX_TAGS: usize = 4;

/// The Ethernet header of a connection's segments, and the tags in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkHeader {
    ethernet: ethernet::Header,
    /// The outermost one last.
    tags: [Option<Tag>; MAX_TAGS],
}

impl LinkHeader {
    /// The longest.
    pub const MAX_LEN: usize = ethernet::HEADER_LEN + MAX_TAGS * TAG_LEN;

    pub fn new(ethernet: ethernet::Header) -> Self {
        Self { ethernet, tags: [None; MAX_TAGS] }
    }

    /// Puts another tag around the others; false: there are too many.
    fn push(&mut self, tag: Tag) -> bool {
        let free = self.tags.iter_mut().find(|place| place.is_none());
        free.is_some_and(|place| {
            *place = Some(tag);
            true
        })
    }

    /// Writes the header, and says how long it is.
    pub fn emit(&self, out: &mut [u8; Self::MAX_LEN]) -> usize {
        let mut bytes = [0; ethernet::HEADER_LEN];
        self.ethernet.emit(&mut bytes);
        let (addresses, ether_type) = bytes.split_at(TAG_OFFSET);
        let tags = self.tags.iter().rev().flatten().flat_map(|tag| tag.emit());
        let whole = addresses.iter().copied().chain(tags).chain(ether_type.iter().copied());
        out.iter_mut().zip(whole).map(|(place, byte)| *place = byte).count()
    }
}

/// How the frames of a flow leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// By this device, with this header.
    Device(InterfaceId, LinkHeader),
    /// By several ports of a bridge: as frames that are copied.
    Copies,
    /// No link is up.
    Down,
}

/// The course of a connection's segments to `destination`, the next hop's link address. `at`: the
/// device that asks for them.
pub(crate) fn course(
    shard: &mut Shard,
    path: &Path,
    flow: &Flow,
    destination: MacAddr,
    at: InterfaceId,
) -> Option<Course> {
    let source = shard.interfaces.get(path.interface)?.settings.mac;
    let ethernet = ethernet::Header { destination, source, ether_type: EtherType::IPV4 };
    let mut header = LinkHeader::new(ethernet);
    let mut interface = path.interface;
    loop {
        let link = shard.links.get_mut(interface)?;
        if !link.up {
            return Some(Course::Down);
        }
        interface = match &mut link.kind {
            LinkKind::Device => return Some(Course::Device(interface, header)),
            LinkKind::Private => return Some(Course::Down),
            LinkKind::Vlan { lower, tag } => {
                if !header.push(*tag) {
                    return Some(Course::Copies);
                }
                *lower
            }
            LinkKind::Bond(bond) => {
                let digest = flow_digest(&ethernet, flow);
                match bond.choose(&digest, Some(at)) {
                    Some(member) => member,
                    None => return Some(Course::Down),
                }
            }
            LinkKind::Bridge(bridge) => match bridge.forwarding(destination) {
                Forwarding::Port(port) => port,
                Forwarding::Flood | Forwarding::Nowhere => return Some(Course::Copies),
            },
        };
    }
}

/// Where a connection waits for its turn: at the device it leaves by, as far as that is known. Who
/// has no device (yet) waits at the loopback, where it asks for its next hop, has its segments copied,
/// or learns that there is no way.
pub(crate) fn line(shard: &mut Shard, path: &Path, flow: &Flow) -> InterfaceId {
    let device = shard.links.get(path.interface).is_some_and(|link| link.is_device() && link.up);
    if device {
        return path.interface;
    }
    let known = shard.neighbors.address_of((path.interface, path.next_hop.into()));
    let Some(mac) = known else { return InterfaceId::LOOPBACK };
    match course(shard, path, flow, mac, InterfaceId::LOOPBACK) {
        Some(Course::Device(device, _)) => device,
        Some(Course::Copies | Course::Down) | None => InterfaceId::LOOPBACK,
    }
}

/// Sends a whole frame by an interface.
pub(crate) fn output(
    shard: &mut Shard,
    interface: InterfaceId,
    frame: Frame,
) -> Result<(), DropReason> {
    if shard.watchers.is_none() {
        return descend(shard, interface, frame);
    }
    let copy = frame.clone();
    let result = descend(shard, interface, frame);
    if let Err(reason) = result {
        watch::lost(shard, interface, &copy.bytes, copy.offload, reason);
    }
    result
}

fn descend(
    shard: &mut Shard,
    mut interface: InterfaceId,
    mut frame: Frame,
) -> Result<(), DropReason> {
    loop {
        let link = shard.links.get_mut(interface).ok_or(DropReason::LinkDown)?;
        if !link.up {
            return Err(DropReason::LinkDown);
        }
        if link.is_device() {
            return leave(shard, interface, frame);
        }
        link.traffic.sent(1, frame.bytes.len() as u64);
        if shard.packets.is_watching() {
            packet::output(shard, interface, &frame.bytes, frame.offload);
        }
        if shard.watchers.is_some() {
            watch::output(shard, interface, &frame.bytes, frame.offload, false);
        }
        let link = shard.links.get_mut(interface).ok_or(DropReason::LinkDown)?;
        interface = match &mut link.kind {
            // Above, all of them.
            LinkKind::Device => return Err(DropReason::LinkDown),
            // Who is there has heard it in this host.
            LinkKind::Private => return Ok(()),
            LinkKind::Vlan { lower, tag } => {
                let (lower, tag) = (*lower, *tag);
                insert(&mut frame, tag)?;
                lower
            }
            LinkKind::Bond(bond) => {
                let digest = frame_digest(&frame.bytes);
                bond.choose(&digest, None).ok_or(DropReason::LinkDown)?
            }
            LinkKind::Bridge(bridge) => {
                let to = frame.bytes.first_chunk().copied().map(MacAddr);
                match bridge.forwarding(to.ok_or(DropReason::EthernetTruncated)?) {
                    Forwarding::Port(port) => port,
                    Forwarding::Flood | Forwarding::Nowhere => {
                        bridge::flood(shard, interface, None, &frame);
                        return Ok(());
                    }
                }
            }
        };
    }
}

/// Counts what a connection sent by a device at that, and at what its path led through on the way.
pub(crate) fn count_sent(
    shard: &mut Shard,
    path: &Path,
    device: InterfaceId,
    packets: u64,
    bytes: u64,
) {
    let mut at = path.interface;
    while let Some(link) = shard.links.get_mut(at) {
        link.traffic.sent(packets, bytes);
        at = match link.kind {
            LinkKind::Device | LinkKind::Private => return,
            LinkKind::Vlan { lower, .. } => lower,
            LinkKind::Bond(_) | LinkKind::Bridge(_) => device,
        };
    }
}

/// By a device, as it is or with what the device can't do done already.
fn leave(shard: &mut Shard, device: InterfaceId, frame: Frame) -> Result<(), DropReason> {
    let TxOffload { checksum, segmentation } = frame.offload;
    if checksum.is_none() && segmentation.is_none() {
        return push(shard, device, frame);
    }
    let station = shard.interfaces.get(device).ok_or(DropReason::LinkDown)?;
    let packet_len = frame.bytes.len().saturating_sub(ethernet::HEADER_LEN);
    if station.settings.capabilities.cover(&frame.offload, packet_len) {
        return push(shard, device, frame);
    }
    let mut bytes = frame.bytes;
    if let Some(segmentation) = segmentation {
        let mut pieces = Pieces::of(&bytes, segmentation).ok_or(DropReason::OffloadUnsupported)?;
        return pieces.try_for_each(|piece| push(shard, device, Frame::plain(piece)));
    }
    if let Some(PartialChecksum { start, offset }) = checksum
        && !segmentation::complete(&mut bytes, start.into(), offset.into())
    {
        return Err(DropReason::OffloadUnsupported);
    }
    push(shard, device, Frame::plain(bytes))
}

/// Into the queue of a device, in sight of packet sockets.
fn push(shard: &mut Shard, device: InterfaceId, frame: Frame) -> Result<(), DropReason> {
    if shard.packets.is_watching() {
        packet::output(shard, device, &frame.bytes, frame.offload);
    }
    if shard.watchers.is_some() {
        watch::output(shard, device, &frame.bytes, frame.offload, true);
    }
    let result = shard.egress.push(device, frame);
    if result.is_err()
        && let Some(link) = shard.links.get_mut(device)
    {
        link.traffic.tx_dropped += 1;
    }
    result
}

/// Puts a tag around a frame.
fn insert(frame: &mut Frame, tag: Tag) -> Result<(), DropReason> {
    if frame.bytes.len() < ethernet::HEADER_LEN {
        return Err(DropReason::EthernetTruncated);
    }
    frame.bytes.splice(TAG_OFFSET..TAG_OFFSET, tag.emit());
    let moved = |offset: u16| offset.checked_add(TAG_LEN as u16).ok_or(DropReason::MessageTooLong);
    if let Some(PartialChecksum { start, .. }) = &mut frame.offload.checksum {
        *start = moved(*start)?;
    }
    if let Some(Segmentation { header_len, .. }) = &mut frame.offload.segmentation {
        *header_len = moved(*header_len)?;
    }
    Ok(())
}

/// Of a connection: the same as of each of its frames.
fn flow_digest(header: &ethernet::Header, flow: &Flow) -> FlowDigest {
    let addresses = match (flow.local.ip(), flow.remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => xor(local, remote),
        _ => 0,
    };
    FlowDigest {
        layer2: layer2(header),
        layer3: addresses,
        layer4: ports(flow.local.port(), flow.remote.port()),
    }
}

fn frame_digest(bytes: &[u8]) -> FlowDigest {
    let Ok((mut header, mut payload)) = ethernet::Header::parse(bytes) else {
        return FlowDigest::default();
    };
    while TagProtocol::of(header.ether_type).is_some() {
        let Ok(tagged) = Tagged::parse(payload) else { break };
        (header.ether_type, payload) = (tagged.ether_type, tagged.payload);
    }
    let mut digest = FlowDigest { layer2: layer2(&header), layer3: 0, layer4: 0 };
    let packet = match header.ether_type {
        EtherType::IPV4 => Packet::parse(payload).ok(),
        _ => None,
    };
    let Some(packet) = packet else { return digest };
    digest.layer3 = xor(packet.header.source, packet.header.destination);
    // A later fragment has no ports, so that the first must not have any either.
    let has_ports = matches!(packet.header.protocol, Protocol::TCP | Protocol::UDP);
    if let (true, false, Some([a, b, c, d])) =
        (has_ports, packet.header.is_fragment(), packet.payload.first_chunk())
    {
        digest.layer4 = ports(u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
    }
    digest
}

fn layer2(header: &ethernet::Header) -> u32 {
    let [.., source] = header.source.0;
    let [.., destination] = header.destination.0;
    u32::from(source ^ destination) ^ u32::from(header.ether_type.0)
}

fn xor(source: Ipv4Addr, destination: Ipv4Addr) -> u32 {
    source.to_bits() ^ destination.to_bits()
}

fn ports(source: u16, destination: u16) -> u32 {
    u32::from(source) << 16 | u32::from(destination)
}
