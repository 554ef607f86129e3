//! Echo (RFC 792, RFC 1122 §3.2.2.6): answers to pings, and the pings of programs.
//!
//! A ping socket is Linux's: the program writes and reads whole ICMP messages, but only echo
//! requests and their replies; the identifier is the socket's port.

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    event::Readiness,
    layer::{
        Arrival,
        ipv4_options::{self, Mark},
        ipv4_output::{self, v4},
        route::path_of,
        udp, watch,
    },
    request::{Envelope, Error, Principal, SocketId, SocketKind},
    table::{
        datagram::Datagram,
        demux::Flow,
        route::Query,
        watch::{Role, Step},
    },
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    checksum,
    icmpv4::{self, HEADER_LEN, Header},
    ipv4::{self, Protocol},
};

/// The longest message.
const MAX_MESSAGE: usize = ipv4_output::MAX_PAYLOAD;

/// Answers from the address that was asked, with all that the request says but its type. IPv4 input lets no echo request to a broadcast address
/// come this far.
pub(super) fn request_input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    let destination = arrival.header.source;
    let limit = &mut shard.icmp_limits.echo_replies;
    if !limit.allow(now, &mut shard.random, destination.into()) {
        return Err(DropReason::IcmpRateLimited);
    }
    let message = answer_to(arrival.payload).ok_or(DropReason::IcmpMalformed)?;
    let source = arrival.header.destination;
    let options = echoed_options(shard, now, arrival, source);
    let reply = ipv4_output::Datagram {
        tos: arrival.header.tos,
        options: &options,
        payload: &message,
        ..ipv4_output::Datagram::plain(source, destination, Protocol::ICMP)
    };
    ipv4_output::output(shard, now, &reply)
}

/// The reply: the request with another type.
fn answer_to(request: &[u8]) -> Option<Vec<u8>> {
    let mut reply = request.to_vec();
    let [kind, code, high, low, ..] = reply.as_mut_slice() else { return None };
    let before = u16::from_be_bytes([*kind, *code]);
    *kind = icmpv4::kind::ECHO_REPLY;
    let checksum = u16::from_be_bytes([*high, *low]);
    let checksum = checksum::update(checksum, before, u16::from_be_bytes([*kind, *code]));
    [*high, *low] = checksum.to_be_bytes();
    Some(reply)
}

/// The recorded route and timestamps of a request, gone on with (RFC 1122 §3.2.2.6): we are where the
/// way there ends, and where the way back begins.
fn echoed_options(shard: &Shard, now: Instant, arrival: &Arrival<'_>, own: Ipv4Addr) -> Vec<u8> {
    let mut options = ipv4_options::echoed(arrival.options());
    if !options.is_empty() {
        let mark = Mark { address: own, time: ipv4_options::time_of_day(shard, now) };
        for _ in 0..2 {
            ipv4_options::record(&mut options, mark, |address| address == own);
        }
    }
    options
}

/// An answer to a ping socket, whose local port is the identifier. It gets the whole message.
pub(super) fn reply_input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    identifier: u16,
) -> Result<(), DropReason> {
    let flow = Flow {
        local: SocketAddr::new(arrival.header.destination.into(), identifier),
        remote: SocketAddr::new(arrival.header.source.into(), 0),
    };
    let hears = |id| shard.hears(id, flow.local.ip());
    let id = shard.datagrams.one(SocketKind::Ping, &flow, arrival.interface, hears);
    let id = id.ok_or(DropReason::IcmpUnmatched)?;
    let options = ipv4_options::arrived(shard, now, arrival);
    watch::note(shard, |_| Step::Socket { id: Some(id), role: Role::Datagram });
    let socket = shard.sockets.get_mut(id).ok_or(DropReason::IcmpUnmatched)?;
    shard.counters.place.user = Some(socket.principal.uid);
    let datagram = socket.datagram().ok_or(DropReason::IcmpUnmatched)?;
    datagram.queue.push(Datagram {
        from: flow.remote,
        to: flow.local,
        interface: arrival.interface,
        ttl: arrival.header.ttl,
        tos: arrival.header.tos,
        segment_size: None,
        received: now,
        options,
        payload: arrival.payload.into(),
    })?;
    shard.notify(id, Readiness::READABLE);
    Ok(())
}

/// Where a ping goes, and from where.
struct Way {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    identifier: u16,
    mtu: usize,
    output: Option<InterfaceId>,
    principal: Principal,
    mark: u32,
    options: Box<[u8]>,
}

impl Way {
    fn header_len(&self) -> usize {
        ipv4_options::header_len(&self.options)
    }

    /// The longest message, in however many fragments.
    fn most(&self) -> usize {
        MAX_MESSAGE - (self.header_len() - ipv4::HEADER_LEN)
    }
}

/// Sends an echo request from a ping socket; the remote port is not used.
pub(crate) fn send_echo(
    shard: &mut Shard,
    now: Instant,
    id: SocketId,
    envelope: &Envelope,
    request: &[u8],
) -> Result<(), Error> {
    let (header, data) = request.split_first_chunk::<HEADER_LEN>().ok_or(Error::InvalidArgument)?;
    let [icmpv4::kind::ECHO_REQUEST, 0, _, _, _, _, high, low] = *header else {
        return Err(Error::InvalidArgument);
    };
    let sequence = u16::from_be_bytes([high, low]);
    let way = way(shard, id, envelope, request.len())?;
    let message = message(&Header::EchoRequest { identifier: way.identifier, sequence }, data);
    let settings = &shard.sockets.get(id).ok_or(Error::NoSuchSocket)?.ip;
    let fits = way.header_len() + message.len() <= way.mtu;
    let options = ipv4_options::begun(shard, now, &way.options, way.source);
    let request = ipv4_output::Datagram {
        ttl: envelope.ttl.unwrap_or(settings.ttl),
        tos: envelope.tos.unwrap_or(settings.tos),
        dont_fragment: fits && settings.path_mtu.forbids_fragments(),
        options: &options,
        payload: &message,
        principal: way.principal,
        mark: way.mark,
        output: way.output,
        ..ipv4_output::Datagram::plain(way.source, way.destination, Protocol::ICMP)
    };
    let result = ipv4_output::output(shard, now, &request);
    udp::conclude(shard, result, id, SocketAddr::new(way.destination.into(), 0), &message)
}

/// Whether a message of `len` bytes could be sent; see [`udp::reach`].
pub(crate) fn reach(
    shard: &mut Shard,
    id: SocketId,
    envelope: &Envelope,
    len: usize,
) -> Result<usize, Error> {
    let way = way(shard, id, envelope, len)?;
    let refuses = shard.sockets.get(id).is_some_and(|socket| socket.ip.path_mtu.refuses());
    Ok(if refuses { way.mtu.saturating_sub(way.header_len()) } else { way.most() })
}

fn way(shard: &mut Shard, id: SocketId, envelope: &Envelope, len: usize) -> Result<Way, Error> {
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    if socket.kind() != SocketKind::Ping {
        return Err(Error::InvalidState);
    }
    let (remote, settings) = (envelope.remote.or(socket.remote()), socket.ip.clone());
    let (principal, mark) = (socket.principal, settings.mark);
    let destination = match v4(remote.ok_or(Error::NoDestination)?.ip())? {
        Ipv4Addr::UNSPECIFIED => Ipv4Addr::LOCALHOST,
        destination => destination,
    };
    let bound = udp::bound_address(shard, id, envelope)?;
    let output = envelope.interface.or(settings.device);
    let query = Query { source: bound, output, principal, mark, ..Query::to(destination) };
    let path = path_of(shard, &query)?;
    let datagram = shard.sockets.get_mut(id).and_then(|socket| socket.datagram());
    let datagram = datagram.ok_or(Error::InvalidState)?;
    datagram.last_interface = Some(path.interface);
    let options = datagram.options.clone();
    if path.broadcast && !settings.broadcast {
        return Err(Error::BroadcastDenied);
    }
    let way = Way {
        source: bound.unwrap_or(path.source),
        destination,
        identifier: 0,
        mtu: path.mtu.into(),
        output,
        principal,
        mark,
        options,
    };
    let refused = settings.path_mtu.refuses() && way.header_len() + len > way.mtu;
    if refused || len > way.most() {
        return Err(Error::MessageTooLong);
    }
    Ok(Way { identifier: udp::take_port(shard, id)?.port(), ..way })
}

/// A whole message.
pub(super) fn message(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0; HEADER_LEN];
    header.emit(payload, &mut bytes);
    [&bytes[..], payload].concat()
}
