//! Segments to frames. Small ones that answer something are pushed as datagrams; those of
//! connections are pulled when the device has room, and their payload goes from the send ring to
//! the device without a copy in between.

use super::{conclude, settle};
use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{
        arp, conntrack,
        filter::{self, Departure},
        inspect::{self, Own, Since},
        ipv4_output,
        ipv4_output::Path,
        link::{self, Course, LinkHeader},
        packet, watch,
    },
    request::{Error, SocketId},
    shard::Sink,
    table::{
        demux::Flow,
        egress::Frame,
        socket::{Socket, SocketBody},
    },
    tcp::connection::{IcmpError, Outcome, Outgoing},
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{
    checksum::Sum,
    ethernet::{self, EtherType},
    ipv4::{self, Protocol},
    offload::{PartialChecksum, SegmentKind, Segmentation, TxOffload},
    tcp,
};

/// Bytes one connection may send before the next in line gets its turn.
const QUANTUM: usize = 256 << 10;

/// Segments given to the device in one call, so that what arrives meanwhile gets its turn.
const BUDGET: usize = 64;

/// Link, IPv4 and TCP header, at their longest.
const MAX_HEADERS: usize = LinkHeader::MAX_LEN + ipv4::HEADER_LEN + tcp::MAX_HEADER_LEN;

/// The longest IPv4 packet less its longest headers: what segmentation offload may be given.
const MAX_PAYLOAD: usize = u16::MAX as usize - ipv4::HEADER_LEN - tcp::MAX_HEADER_LEN;

fn header(flow: &Flow, outgoing: &Outgoing) -> tcp::Header {
    tcp::Header {
        source_port: flow.local.port(),
        destination_port: flow.remote.port(),
        sequence: outgoing.sequence,
        acknowledgment: outgoing.acknowledgment,
        flags: outgoing.flags,
        window: outgoing.window,
        urgent: outgoing.urgent,
    }
}

fn addresses(flow: &Flow) -> Option<(Ipv4Addr, Ipv4Addr)> {
    match (flow.local.ip(), flow.remote.ip()) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => Some((local, remote)),
        _ => None,
    }
}

/// A segment without payload, its checksum left out.
pub(super) fn segment(flow: &Flow, outgoing: &Outgoing) -> Vec<u8> {
    let mut bytes = [0; tcp::MAX_HEADER_LEN];
    let len = header(flow, outgoing).emit(&outgoing.options, 0, &mut bytes);
    bytes[..len].to_vec()
}

/// Sends a segment without payload: RST, SYN-ACK, an ACK of TIME-WAIT.
pub(super) fn reply(shard: &mut Shard, now: Instant, flow: Flow, outgoing: &Outgoing) {
    let Some((source, destination)) = addresses(&flow) else { return };
    let mut bytes = segment(&flow, outgoing);
    let sum = Sum::pseudo_header(source, destination, Protocol::TCP.0, bytes.len() as u16);
    let checksum = sum.add(Sum::of(&bytes)).finish();
    bytes[tcp::CHECKSUM_OFFSET..tcp::CHECKSUM_OFFSET + 2].copy_from_slice(&checksum.to_be_bytes());
    shard.counters.tcp_segments_sent += 1;
    shard.counters.tcp_resets_sent += u64::from(outgoing.flags.rst());
    let datagram = ipv4_output::Datagram {
        dont_fragment: true,
        payload: &bytes,
        ..ipv4_output::Datagram::plain(source, destination, Protocol::TCP)
    };
    if let Err(reason) = ipv4_output::output(shard, now, &datagram) {
        shard.drop(reason);
    }
}

/// The headers of a segment, and what the device has to do about it.
struct Headers {
    bytes: [u8; MAX_HEADERS],
    len: usize,
    ip: ipv4::Header,
    offload: TxOffload,
}

/// Whose segments, and by which interface.
#[derive(Clone, Copy)]
struct Sender {
    own: Own,
    /// Where the frame leaves, if that is known.
    device: Option<InterfaceId>,
    mark: u32,
}

impl Sender {
    fn new(socket: &Socket, path: &Path, device: Option<InterfaceId>) -> Self {
        let (path, principal) = (*path, socket.principal);
        let own = Own { path, principal, heard_here: false, segment_size: None };
        Self { own, device, mark: socket.ip.mark }
    }
}

impl Headers {
    /// Does the filter let the segment pass? One that it holds back is lost on its way. Its source may be another
    /// then.
    fn may_leave(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        sender: Sender,
        payload_len: usize,
    ) -> Result<(), DropReason> {
        let asked = shard.filter.is_some() || shard.conntrack.is_some();
        let Some(partial) = self.offload.checksum.filter(|_| asked) else { return Ok(()) };
        let start = usize::from(partial.start);
        let Sender { own, device, mark } = sender;
        let link = &self.bytes[..start - ipv4::HEADER_LEN];
        let departure = Departure {
            own,
            mark,
            header: self.ip,
            header_bytes: &self.bytes[start - ipv4::HEADER_LEN..start],
            payload: &self.bytes[start..self.len],
            payload_len: self.len - start + payload_len,
            partial: true,
            frame: device.map(|device| (device, link)),
            since: Since::Beginning,
            tracking: conntrack::Tracking::Off,
        };
        let Some(changed) = filter::output(shard, now, &departure)? else { return Ok(()) };
        // Those that may go elsewhere leave as datagrams.
        if changed.path.is_some() {
            return Err(DropReason::NoRoute);
        }
        let place = self.bytes.get_mut(start - ipv4::HEADER_LEN..self.len);
        if let Some(place) = place.filter(|place| place.len() == changed.bytes.len()) {
            place.copy_from_slice(&changed.bytes);
        }
        Ok(())
    }
}

/// ECT(0) of RFC 3168 §5.
const MARKABLE: u8 = 2;

/// `link`: the Ethernet header and tags, none on the loopback. `ttl` and `tos` are the socket's. The
/// checksum field is left partial.
fn headers(
    link: Option<&LinkHeader>,
    flow: &Flow,
    (ttl, tos): (u8, u8),
    outgoing: &Outgoing,
) -> Option<Headers> {
    let (source, destination) = addresses(flow)?;
    let mut segment = [0; tcp::MAX_HEADER_LEN];
    let tcp_header = header(flow, outgoing);
    let tcp_len = tcp::HEADER_LEN + outgoing.options.emitted_len();
    let len = u16::try_from(tcp_len + outgoing.payload_len).ok()?;
    let sum = Sum::pseudo_header(source, destination, Protocol::TCP.0, len);
    tcp_header.emit(&outgoing.options, sum.fold(), &mut segment);
    let mut packet = [0; ipv4::HEADER_LEN];
    let ip_header = ipv4::Header {
        tos: if outgoing.markable { tos & !3 | MARKABLE } else { tos & !3 },
        identification: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl,
        protocol: Protocol::TCP,
        source,
        destination,
    };
    ip_header.emit(usize::from(len), &mut packet)?;
    let mut frame = [0; LinkHeader::MAX_LEN];
    let link_len = link.map_or(0, |link| link.emit(&mut frame));
    let mut bytes = [0; MAX_HEADERS];
    let start = link_len + ipv4::HEADER_LEN;
    let end = start + tcp_len;
    bytes[..link_len].copy_from_slice(&frame[..link_len]);
    bytes[link_len..start].copy_from_slice(&packet);
    bytes[start..end].copy_from_slice(&segment[..tcp_len]);
    let checksum = PartialChecksum { start: start as u16, offset: tcp::CHECKSUM_OFFSET as u16 };
    let several = outgoing.payload_len > usize::from(outgoing.segment_size);
    let segmentation = several.then_some(Segmentation {
        kind: SegmentKind::TcpIpv4,
        segment_size: outgoing.segment_size,
        header_len: end as u16,
    });
    let offload = TxOffload { checksum: Some(checksum), segmentation };
    Some(Headers { bytes, len: end, ip: ip_header, offload })
}

/// Sends segments of the connections in line at `interface`.
pub(crate) fn transmit(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    sink: &mut impl Sink,
) {
    let mut budget = BUDGET;
    for _ in 0..shard.egress.connections(interface) {
        if budget == 0 || !sink.has_room() {
            return;
        }
        if let Some(id) = shard.egress.next_connection(interface) {
            transmit_connection(shard, now, interface, id, sink, &mut budget);
        }
    }
}

fn transmit_connection(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    id: SocketId,
    sink: &mut impl Sink,
    budget: &mut usize,
) {
    let Some((flow, next)) = next_step(shard, now, interface, id) else { return };
    let (path, link) = match next {
        Next::Send { path, link } => (path, link),
        Next::Copies { path, link } => return send_copies(shard, now, id, flow, &path, &link),
        Next::Apart => return send_apart(shard, now, id, flow),
        Next::Discard(reason) => return discard(shard, now, id, flow, reason),
    };
    let Some(settings) = shard.interfaces.get(path.interface).map(|found| &found.settings) else {
        return;
    };
    let capabilities = settings.capabilities;
    let max_payload = capabilities.tx_segmentation.map_or(0, |max| {
        (max as usize).saturating_sub(ipv4::HEADER_LEN + tcp::MAX_HEADER_LEN).min(MAX_PAYLOAD)
    });
    let (mut sent, mut frames, mut bytes) = (0, 0, 0);
    while sent < QUANTUM && *budget > 0 && sink.has_room() {
        let Some(socket) = shard.sockets.get_mut(id) else { return };
        let service = (socket.ip.ttl, socket.ip.tos);
        let sender = Sender::new(socket, &path, Some(interface));
        let SocketBody::Connection(connection) = &mut socket.body else { return };
        let retransmissions = connection.retransmissions();
        let Some(outgoing) = connection.poll_segment(now, max_payload) else { break };
        let again = connection.retransmissions().wrapping_sub(retransmissions);
        shard.counters.tcp_retransmissions += u64::from(again);
        let Some(mut headers) = headers(Some(&link), &flow, service, &outgoing) else { break };
        if let Err(reason) = headers.may_leave(shard, now, sender, outgoing.payload_len) {
            shard.drop(reason);
            *budget -= 1;
            continue;
        }
        let Some(connection) = shard.sockets.connection(id) else { return };
        let payload = connection.payload(&outgoing);
        let frame_len = headers.len + outgoing.payload_len;
        let is_seen = shard.packets.is_watching() || shard.watchers.is_some();
        let seen = is_seen.then(|| {
            let [first, second] = payload;
            [&headers.bytes[..headers.len], first, second].concat()
        });
        shard.counters.tcp_segments_sent += 1;
        if capabilities.tx_checksum {
            sink.send(headers.offload, &headers.bytes[..headers.len], payload);
        } else {
            // In one piece, so that the sum runs over it once.
            shard.scratch.clear();
            shard.scratch.extend_from_slice(payload[0]);
            shard.scratch.extend_from_slice(payload[1]);
            complete_checksum(&mut headers, &shard.scratch);
            let offload = TxOffload { checksum: None, ..headers.offload };
            sink.send(offload, &headers.bytes[..headers.len], [&shard.scratch, &[]]);
        }
        if let Some(seen) = seen {
            packet::segment(shard, path.interface, interface, &seen, headers.offload);
            if shard.watchers.is_some() {
                watch::segment(shard, path.interface, interface, &seen, headers.offload);
            }
        }
        shard.count_sent(frame_len);
        frames += 1;
        bytes += frame_len as u64;
        sent += outgoing.payload_len.max(1);
        *budget -= 1;
    }
    link::count_sent(shard, &path, interface, frames, bytes);
    settle(shard, now, id);
}

/// Turns the partial checksum into the whole one.
fn complete_checksum(headers: &mut Headers, payload: &[u8]) {
    let Some(partial) = headers.offload.checksum else { return };
    let start = usize::from(partial.start);
    let field = start + usize::from(partial.offset);
    let checksum = Sum::of(&headers.bytes[start..headers.len]).add(Sum::of(payload)).finish();
    headers.bytes[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

enum Next {
    Send {
        path: Path,
        link: LinkHeader,
    },
    /// By several devices at once.
    Copies {
        path: Path,
        link: LinkHeader,
    },
    /// One by one: rules may give it another destination, or take it out.
    Apart,
    Discard(DropReason),
}

/// Where the segments of a connection that is in line go. `None`: it waits, or is in another line.
fn next_step(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    id: SocketId,
) -> Option<(Flow, Next)> {
    let socket = shard.sockets.get_mut(id)?;
    socket.scheduled = false;
    shard.counters.place.user = Some(socket.principal.uid);
    let flow = socket.flow()?;
    let (local, _) = addresses(&flow)?;
    let path = match super::path_of(shard, id) {
        Ok(path) => path,
        Err(_) => return Some((flow, Next::Discard(DropReason::NoRoute))),
    };
    shard.sockets.get_mut(id)?.connection()?.fit_path(path.mtu);
    let source = shard.interfaces.get(path.interface)?.settings.mac;
    if conntrack::may_reroute(shard, &flow) || inspect::takes_own(shard) {
        return Some((flow, Next::Apart));
    }
    let header =
        |destination| ethernet::Header { destination, source, ether_type: EtherType::IPV4 };
    if path.interface == InterfaceId::LOOPBACK {
        if interface != InterfaceId::LOOPBACK {
            super::schedule(shard, id);
            return None;
        }
        return Some((flow, Next::Send { path, link: LinkHeader::new(header(source)) }));
    }
    if shard.sockets.get_mut(id)?.connection().is_some_and(|c| c.take_progress()) {
        arp::confirm(shard, now, path.interface, path.next_hop);
    }
    let resolution = arp::resolve(shard, now, path.interface, path.next_hop, local);
    let destination = match resolution {
        arp::Resolution::Known(destination) => destination,
        arp::Resolution::Pending => {
            shard.sockets.get_mut(id)?.scheduled = true;
            shard.egress.park(path.interface, path.next_hop, id);
            return None;
        }
        arp::Resolution::Failed => {
            return Some((flow, Next::Discard(DropReason::NeighborUnresolved)));
        }
    };
    match link::course(shard, &path, &flow, destination, interface) {
        Some(Course::Device(device, link)) if device == interface => {
            Some((flow, Next::Send { path, link }))
        }
        Some(Course::Device(..)) => {
            super::schedule(shard, id);
            None
        }
        Some(Course::Copies) => {
            Some((flow, Next::Copies { path, link: LinkHeader::new(header(destination)) }))
        }
        Some(Course::Down) | None => Some((flow, Next::Discard(DropReason::LinkDown))),
    }
}

/// Sends a connection's segments as frames that are copied on the way: until the next hop has been
/// heard behind one port of a bridge.
fn send_copies(
    shard: &mut Shard,
    now: Instant,
    id: SocketId,
    flow: Flow,
    path: &Path,
    link: &LinkHeader,
) {
    for _ in 0..BUDGET {
        let Some(socket) = shard.sockets.get_mut(id) else { return };
        let service = (socket.ip.ttl, socket.ip.tos);
        let sender = Sender::new(socket, path, None);
        let SocketBody::Connection(connection) = &mut socket.body else { return };
        let Some(outgoing) = connection.poll_segment(now, 0) else { break };
        let Some(mut headers) = headers(Some(link), &flow, service, &outgoing) else { break };
        if let Err(reason) = headers.may_leave(shard, now, sender, outgoing.payload_len) {
            shard.drop(reason);
            continue;
        }
        let Some(connection) = shard.sockets.connection(id) else { return };
        let payload = connection.payload(&outgoing).concat();
        complete_checksum(&mut headers, &payload);
        let bytes = [&headers.bytes[..headers.len], &payload].concat();
        shard.counters.tcp_segments_sent += 1;
        let frame = Frame { bytes, offload: TxOffload::default() };
        if let Err(reason) = link::output(shard, path.interface, frame) {
            shard.drop(reason);
        }
    }
    settle(shard, now, id);
}

/// Sends a connection's segments as datagrams, which are routed after rules have been asked.
fn send_apart(shard: &mut Shard, now: Instant, id: SocketId, flow: Flow) {
    for _ in 0..BUDGET {
        let Some(socket) = shard.sockets.get_mut(id) else { return };
        let service = (socket.ip.ttl, socket.ip.tos);
        let (principal, mark, output) = (socket.principal, socket.ip.mark, socket.ip.device);
        let SocketBody::Connection(connection) = &mut socket.body else { return };
        let Some(outgoing) = connection.poll_segment(now, 0) else { break };
        let payload = connection.payload(&outgoing).concat();
        let Some(mut headers) = headers(None, &flow, service, &outgoing) else { break };
        complete_checksum(&mut headers, &payload);
        let segment = headers.bytes.get(ipv4::HEADER_LEN..headers.len).unwrap_or_default();
        shard.counters.tcp_segments_sent += 1;
        let ipv4::Header { source, destination, tos, ttl, .. } = headers.ip;
        let datagram = ipv4_output::Datagram {
            tos,
            ttl,
            dont_fragment: true,
            principal,
            mark,
            output,
            payload: &[segment, &payload].concat(),
            ..ipv4_output::Datagram::plain(source, destination, Protocol::TCP)
        };
        if let Err(reason) = ipv4_output::output(shard, now, &datagram) {
            shard.drop(reason);
        }
    }
    settle(shard, now, id);
}

/// What has nowhere to go is sent into the void, so that the retransmission timer paces the next
/// try; a handshake learns at once that it is in vain.
fn discard(shard: &mut Shard, now: Instant, id: SocketId, flow: Flow, reason: DropReason) {
    let error = match reason {
        DropReason::NoRoute => Error::NetworkUnreachable,
        _ => Error::HostUnreachable,
    };
    for _ in 0..BUDGET {
        let Some(socket) = shard.sockets.get_mut(id) else { return };
        let Some(connection) = socket.connection() else { return };
        let Some(outgoing) = connection.poll_segment(now, 0) else { break };
        let error = IcmpError::Unreachable(error);
        let fate = connection.icmp_error(now, &mut shard.buffers, outgoing.sequence, error);
        shard.drop(reason);
        conclude(shard, now, id, flow, Outcome { reply: None, dropped: None, fate });
    }
    settle(shard, now, id);
}

/// The next IPv4 packet of the connections in line at the loopback, put together in `packet`.
pub(crate) fn next_packet(
    shard: &mut Shard,
    now: Instant,
    packet: &mut Vec<u8>,
) -> Option<TxOffload> {
    for _ in 0..shard.egress.connections(InterfaceId::LOOPBACK) {
        let id = shard.egress.next_connection(InterfaceId::LOOPBACK)?;
        let (flow, next) = match next_step(shard, now, InterfaceId::LOOPBACK, id) {
            Some(step) => step,
            None => continue,
        };
        let path = match next {
            Next::Send { path, .. } => path,
            Next::Apart => {
                send_apart(shard, now, id, flow);
                continue;
            }
            Next::Copies { path, link } => {
                send_copies(shard, now, id, flow, &path, &link);
                continue;
            }
            Next::Discard(reason) => {
                discard(shard, now, id, flow, reason);
                continue;
            }
        };
        let socket = shard.sockets.get_mut(id)?;
        let service = (socket.ip.ttl, socket.ip.tos);
        let sender = Sender::new(socket, &path, None);
        let SocketBody::Connection(connection) = &mut socket.body else { continue };
        let Some(outgoing) = connection.poll_segment(now, MAX_PAYLOAD) else { continue };
        let mut headers = headers(None, &flow, service, &outgoing)?;
        if let Err(reason) = headers.may_leave(shard, now, sender, outgoing.payload_len) {
            shard.drop(reason);
            settle(shard, now, id);
            continue;
        }
        let connection = shard.sockets.connection(id)?;
        packet.clear();
        packet.extend_from_slice(&headers.bytes[..headers.len]);
        for part in connection.payload(&outgoing) {
            packet.extend_from_slice(part);
        }
        shard.counters.tcp_segments_sent += 1;
        settle(shard, now, id);
        return Some(headers.offload);
    }
    None
}
