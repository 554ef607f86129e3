//! Where a datagram goes, its header, and its cutting into several.

use super::sum;
use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    event::Readiness,
    layer::{
        conntrack::Tracking,
        filter::{self, Departure},
        icmpv4,
        inspect::{Own, Since},
        ipv4_options,
        ipv4_output::{self, Datagram, error_of, v4},
        route::{Path, path_of},
    },
    request::{Envelope, Error, Principal, SocketId, SocketKind},
    table::{
        error_queue::{Origin, QueuedError},
        ip_settings::IpSettings,
        route::Query,
    },
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    checksum::Sum,
    ipv4::{self, Protocol},
    udp::{HEADER_LEN, Header},
};

/// The most one datagram carries.
const MAX_PAYLOAD: usize = ipv4_output::MAX_PAYLOAD - HEADER_LEN;

/// Datagrams that one call may send by segmentation: Linux's UDP_MAX_SEGMENTS.
const MAX_SEGMENTS: usize = 128;

/// Where a datagram of a socket would go.
struct Way {
    source: Ipv4Addr,
    source_port: u16,
    destination: Ipv4Addr,
    destination_port: u16,
    path: Path,
    output: Option<InterfaceId>,
    principal: Principal,
    settings: IpSettings,
    /// SO_NO_CHECK.
    no_checksum: bool,
    /// Of the socket; 0: datagrams go out as they are.
    segment_size: u16,
    /// Of IPv4.
    options: Box<[u8]>,
}

impl Way {
    /// The longest payload that goes out in one datagram.
    fn longest(&self) -> usize {
        let most = MAX_PAYLOAD - (self.header_len() - ipv4::HEADER_LEN);
        if self.settings.path_mtu.refuses() { self.room().min(most) } else { most }
    }

    fn header_len(&self) -> usize {
        ipv4_options::header_len(&self.options)
    }

    /// What a packet has room for.
    fn room(&self) -> usize {
        usize::from(self.path.mtu).saturating_sub(self.header_len() + HEADER_LEN)
    }

    /// The size of the pieces in which so many bytes go out, if not as one datagram. Refuses what can't,
    /// as Linux does.
    fn segments(&self, envelope: &Envelope, len: usize) -> Result<Option<u16>, Error> {
        let size = envelope.segment_size.unwrap_or(self.segment_size);
        if size == 0 || len <= usize::from(size) {
            return Ok(None);
        }
        if len > MAX_PAYLOAD || usize::from(size) > self.room() {
            return Err(Error::MessageTooLong);
        }
        // Who cuts makes the checksums of the pieces.
        if len > usize::from(size) * MAX_SEGMENTS || self.no_checksum {
            return Err(Error::InvalidArgument);
        }
        Ok(Some(size))
    }
}

/// Sends what `envelope` says, or the socket: one datagram, or several of equal size, which stay one frame
/// until a device wants them apart.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    socket: SocketId,
    envelope: &Envelope,
    payload: &[u8],
) -> Result<(), Error> {
    let way = way(shard, socket, envelope)?;
    let segments = way.segments(envelope, payload.len())?;
    send(shard, now, socket, &way, envelope, payload, segments)
}

/// Whether a datagram of `len` bytes could be sent: the longest that could. As sending one, it
/// gives the socket a port.
pub(crate) fn reach(
    shard: &mut Shard,
    now: Instant,
    socket: SocketId,
    envelope: &Envelope,
    len: usize,
) -> Result<usize, Error> {
    let way = way(shard, socket, envelope)?;
    let segments = way.segments(envelope, len)?;
    if len > way.longest() && segments.is_none() {
        too_long(shard, socket, &way);
        return Err(Error::MessageTooLong);
    }
    if shard.filter.is_some() && !may_leave(shard, now, &way, envelope, len) {
        return Err(Error::Filtered);
    }
    Ok(segments.map_or(way.longest(), |size| (usize::from(size) * MAX_SEGMENTS).min(MAX_PAYLOAD)))
}

/// Does the filter let out a datagram of `len` bytes?
fn may_leave(shard: &mut Shard, now: Instant, way: &Way, envelope: &Envelope, len: usize) -> bool {
    let Ok(udp) = datagram(way, &[], false) else { return true };
    let header = ipv4::Header {
        tos: envelope.tos.unwrap_or(way.settings.tos),
        identification: 0,
        dont_fragment: way.settings.path_mtu.forbids_fragments(),
        more_fragments: false,
        fragment_offset: 0,
        ttl: envelope.ttl.unwrap_or(way.settings.ttl),
        protocol: Protocol::UDP,
        source: way.source,
        destination: way.destination,
    };
    let departure = Departure {
        own: Own {
            path: way.path,
            principal: way.principal,
            heard_here: false,
            segment_size: None,
        },
        mark: way.settings.mark,
        header,
        header_bytes: &[0; ipv4::HEADER_LEN],
        payload: &udp,
        payload_len: HEADER_LEN + len,
        partial: false,
        frame: None,
        since: Since::Beginning,
        tracking: Tracking::Off,
    };
    filter::lets_out(shard, now, &departure)
}

fn way(shard: &mut Shard, id: SocketId, envelope: &Envelope) -> Result<Way, Error> {
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    if socket.kind() != SocketKind::Udp {
        return Err(Error::InvalidState);
    }
    // As Linux does, before anything else is looked at.
    let local = take_port(shard, id)?;
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    let remote = match envelope.remote {
        Some(remote) if remote.port() == 0 => return Err(Error::InvalidArgument),
        Some(remote) => remote,
        None => socket.remote().ok_or(Error::NoDestination)?,
    };
    // As on Linux, "any" is this host.
    let destination = match v4(remote.ip())? {
        Ipv4Addr::UNSPECIFIED => Ipv4Addr::LOCALHOST,
        destination => destination,
    };
    let settings = socket.ip.clone();
    let bound = bound_address(shard, id, envelope)?;
    let output = output_interface(&settings, envelope, destination);
    let principal = socket.principal;
    let query = Query {
        source: bound,
        output,
        principal,
        mark: settings.mark,
        transport: (Protocol::UDP, local.port(), remote.port()),
        ..Query::to(destination)
    };
    let path = path_of(shard, &query)?;
    if path.broadcast && !settings.broadcast {
        return Err(Error::BroadcastDenied);
    }
    let datagram = shard.sockets.get_mut(id).and_then(|socket| socket.datagram());
    let datagram = datagram.ok_or(Error::InvalidState)?;
    datagram.last_interface = Some(path.interface);
    Ok(Way {
        source: bound.unwrap_or(path.source),
        source_port: local.port(),
        destination,
        destination_port: remote.port(),
        path,
        output,
        principal,
        settings,
        no_checksum: datagram.no_checksum,
        segment_size: datagram.segment_size,
        options: datagram.options.clone(),
    })
}

/// The address that a datagram is to be sent from, if anybody has said: the program with this
/// datagram, or the socket.
pub(crate) fn bound_address(
    shard: &Shard,
    id: SocketId,
    envelope: &Envelope,
) -> Result<Option<Ipv4Addr>, Error> {
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    let who = socket.principal;
    let is_own =
        |address: &Ipv4Addr| is_own(shard, *address) && shard.covers(who, (*address).into());
    if let Some(IpAddr::V4(source)) = envelope.source.filter(|source| !source.is_unspecified()) {
        return Some(source).filter(is_own).map(Some).ok_or(Error::NetworkUnreachable);
    }
    // Who is bound to a broadcast address or a group receives there, and sends from an own one.
    Ok(ipv4_output::bound(socket.local()).filter(is_own))
}

/// The interface that a datagram has to leave by, if anybody has said.
pub(crate) fn output_interface(
    settings: &IpSettings,
    envelope: &Envelope,
    destination: Ipv4Addr,
) -> Option<InterfaceId> {
    let of_groups = settings.multicast_interface.filter(|_| destination.is_multicast());
    envelope.interface.or(settings.device).or(of_groups)
}

/// Is it an address of this host?
pub(crate) fn is_own(shard: &Shard, address: Ipv4Addr) -> bool {
    shard.interfaces.owner(address.into()).is_some() || shard.routes.is_local(address)
}

/// The address of a datagram socket, which gets a port if it has none.
pub(crate) fn take_port(shard: &mut Shard, id: SocketId) -> Result<SocketAddr, Error> {
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    if socket.binding.is_none() {
        shard.bind(id, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))?;
    }
    shard.sockets.get(id).map(|socket| socket.local()).ok_or(Error::NoSuchSocket)
}

fn send(
    shard: &mut Shard,
    now: Instant,
    socket: SocketId,
    way: &Way,
    envelope: &Envelope,
    payload: &[u8],
    segment_size: Option<u16>,
) -> Result<(), Error> {
    if segment_size.is_none() && payload.len() > way.longest() {
        too_long(shard, socket, way);
        return Err(Error::MessageTooLong);
    }
    let datagram = datagram(way, payload, segment_size.is_some())?;
    let fits =
        segment_size.is_some() || way.header_len() + datagram.len() <= usize::from(way.path.mtu);
    let options = ipv4_options::begun(shard, now, &way.options, way.source);
    let datagram = Datagram {
        ttl: envelope.ttl.unwrap_or(match way.destination.is_multicast() {
            true => way.settings.multicast_ttl,
            false => way.settings.ttl,
        }),
        tos: envelope.tos.unwrap_or(way.settings.tos),
        dont_fragment: fits && way.settings.path_mtu.forbids_fragments(),
        principal: way.principal,
        mark: way.settings.mark,
        output: way.output,
        heard_here: way.settings.multicast_loop,
        segment_size,
        options: &options,
        payload: &datagram,
        ..Datagram::plain(way.source, way.destination, Protocol::UDP)
    };
    let result = ipv4_output::output(shard, now, &datagram);
    conclude(
        shard,
        result,
        socket,
        SocketAddr::new(way.destination.into(), way.destination_port),
        payload,
    )
}

/// What a program is told at once of how sending went. That a next hop does not answer is no news
/// for it, as on Linux, where it hears of that as of an error by ICMP.
pub(crate) fn conclude(
    shard: &mut Shard,
    result: Result<(), DropReason>,
    id: SocketId,
    destination: SocketAddr,
    payload: &[u8],
) -> Result<(), Error> {
    let Err(reason) = result else { return Ok(()) };
    if reason == DropReason::Parked {
        return Ok(());
    }
    shard.drop(reason);
    if reason != DropReason::NeighborUnresolved {
        return Err(error_of(reason));
    }
    icmpv4::no_neighbor(shard, id, destination, payload);
    Ok(())
}

/// A datagram longer than its path takes: who wants to know of errors finds it in the queue.
fn too_long(shard: &mut Shard, id: SocketId, way: &Way) {
    let limit = shard.config.limits.queued_errors;
    let Some(socket) = shard.sockets.get_mut(id) else { return };
    let wanted = socket.ip.receive_errors;
    if let Some(datagram) = socket.datagram().filter(|_| wanted) {
        let error = QueuedError {
            error: Error::MessageTooLong,
            origin: Origin::Local,
            destination: SocketAddr::new(way.destination.into(), 0),
            mtu: way.path.mtu.into(),
            payload: Box::default(),
        };
        datagram.errors.push(error, limit);
        shard.notify(id, Readiness::READABLE);
    }
}

/// Header and data, checksum included; the pseudo-header's part of it, if that is to be `partial`.
fn datagram(way: &Way, payload: &[u8], partial: bool) -> Result<Vec<u8>, Error> {
    let len = u16::try_from(payload.len()).map_err(|_| Error::MessageTooLong)?;
    let emit = |checksum| {
        let mut bytes = [0; HEADER_LEN];
        let (source_port, destination_port) = (way.source_port, way.destination_port);
        Header { source_port, destination_port, checksum }.emit(len, &mut bytes);
        bytes
    };
    let mut datagram = [&emit(0)[..], payload].concat();
    if way.no_checksum {
        return Ok(datagram);
    }
    let checksum = if partial {
        let len = u16::try_from(datagram.len()).map_err(|_| Error::MessageTooLong)?;
        Sum::pseudo_header(way.source, way.destination, Protocol::UDP.0, len).fold()
    } else {
        let sum = sum(way.source, way.destination, &datagram).map_err(|_| Error::MessageTooLong)?;
        // RFC 768: a sum of zero is sent as all ones; zero says that there is none.
        match sum.finish() {
            0 => u16::MAX,
            checksum => checksum,
        }
    };
    if let Some(header) = datagram.first_chunk_mut() {
        *header = emit(checksum);
    }
    Ok(datagram)
}
