//! Active opens: the local address and port, the initial sequence number, the SYN; and the way back.

use super::{fast_open, leave_time_wait, output, query, settle};
use crate::{
    Instant, Shard,
    config::FastOpenMode,
    layer::route::{Path, path_of},
    request::{Error, Patience, Reply, SocketId, SocketKind},
    shard::meet,
    table::{
        demux::{Demux, Flow, FlowOwner},
        port::{Binding, Role, flow_from},
        route::Query,
        socket::{Remnants, SocketBody},
        timer::TimerKey,
    },
    tcp::{Connection, State, fast_open::Prospect, listen::Opening},
    time::Duration,
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::io::IoSliceMut;

/// Both headers, without options.
const HEADERS: u16 = 40;

/// How far past the last number of an old connection a new one on the same flow begins.
const SEQUENCE_GAP: u32 = 65_537;

/// How long a TIME-WAIT must have lasted before connect(2) may use its flow again: long enough
/// for the peer's timestamp to have moved on (RFC 6191).
const TIME_WAIT_REUSE_AFTER: Duration = Duration::from_secs(1);

/// What a new connection on `flow` starts from: numbers nobody else can predict, which for one
/// flow still grow with time (RFC 6528 §3, RFC 7323 §7.1).
pub(super) fn opening(shard: &Shard, now: Instant, flow: &Flow, path: &Path) -> Opening {
    let ticks_of_4_microseconds = (now.as_nanos() / 4_000) as u32;
    Opening {
        iss: ticks_of_4_microseconds.wrapping_add(shard.secrets.sequence.hash(flow) as u32),
        timestamp_offset: shard.secrets.timestamp.hash(flow) as u32,
        mss: path.mtu.saturating_sub(HEADERS),
    }
}

/// An initial sequence number past all that an old connection used.
pub(super) fn sequence_after(snd_nxt: u32) -> u32 {
    snd_nxt.wrapping_add(SEQUENCE_GAP)
}

/// connect(2) on a socket that has a connection.
pub(crate) fn reconnect_error(connection: &Connection) -> Error {
    match connection.state() {
        State::SynSent | State::SynReceived => Error::AlreadyInProgress,
        State::Closed => connection.error().unwrap_or(Error::AlreadyConnected),
        _ => Error::AlreadyConnected,
    }
}

/// connect(2): begins a handshake on a closed socket; or waits with it for text, where the program
/// wants that and the SYN may carry it.
pub(crate) fn connect(
    shard: &mut Shard,
    now: Instant,
    id: SocketId,
    remote: SocketAddr,
) -> Result<Reply, Error> {
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    let fast = socket.settings.fast_open_connect
        && shard.config.fast_open.mode.contains(FastOpenMode::CLIENT);
    let prospect = begin(shard, now, id, remote, fast)?;
    Ok(if prospect.is_some_and(|prospect| prospect.text) { Reply::Deferred } else { Reply::Done })
}

/// sendto(2) with MSG_FASTOPEN: a handshake whose SYN carries text, if it may. Returns how many bytes
/// of it that are.
pub(crate) fn connect_with(
    shard: &mut Shard,
    now: Instant,
    id: SocketId,
    remote: SocketAddr,
    (max, patience): (usize, Patience),
    fill: impl FnOnce(&mut [IoSliceMut<'_>; 2]) -> usize,
) -> Result<usize, Error> {
    if !shard.config.fast_open.mode.contains(FastOpenMode::CLIENT) {
        return Err(Error::NotSupported);
    }
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    match &socket.body {
        SocketBody::Closed => {
            let prospect = begin(shard, now, id, remote, true)?;
            if !prospect.is_some_and(|prospect| prospect.text) {
                return Ok(0);
            }
        }
        SocketBody::Connection(connection) => match connection.state() {
            State::SynSent if connection.is_deferred() => {}
            State::SynSent | State::SynReceived => return Err(Error::AlreadyInProgress),
            _ => {}
        },
        _ => return Err(Error::InvalidState),
    }
    let sent = shard.send_with(now, id, max, fill)?;
    let waits = sent < max && patience == Patience::Waits;
    if let Some(connection) = shard.sockets.get_mut(id).and_then(|socket| socket.connection()) {
        connection.more_follows(waits);
    }
    Ok(sent)
}

/// connect(2) to no address: the connection is reset, and the socket as before it had one. A port
/// that came with the connection goes with it.
pub(crate) fn disconnect(shard: &mut Shard, now: Instant, id: SocketId) -> Result<Reply, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    let flow = socket.flow();
    let SocketBody::Connection(connection) = &mut socket.body else { return Ok(Reply::Done) };
    let passive = connection.is_passive();
    let reset = connection.abort(now, &mut shard.buffers);
    socket.body = SocketBody::Closed;
    socket.set_remote(None);
    (socket.error, socket.path) = (None, None);
    let given = |held: &Binding| passive || held.role == Role::Ephemeral;
    if let Some(binding) = socket.binding.take_if(|held| given(held)) {
        socket.set_local(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        shard.ports.release(&binding);
    }
    if let Some(flow) = flow {
        shard.demux.remove_flow(&flow, FlowOwner::Connection(id));
        shard.timers.cancel(TimerKey::Socket(id.slot));
        if let Some(reset) = reset {
            output::reply(shard, now, flow, &reset);
        }
    }
    Ok(Reply::Done)
}

/// Gives a closed socket its flow, and a connection on it; if it may open fast, says what is known of the
/// server.
fn begin(
    shard: &mut Shard,
    now: Instant,
    id: SocketId,
    remote: SocketAddr,
    fast: bool,
) -> Result<Option<Prospect>, Error> {
    let IpAddr::V4(destination) = remote.ip() else { return Err(Error::FamilyNotSupported) };
    if remote.port() == 0 || destination.is_broadcast() || destination.is_multicast() {
        return Err(Error::NetworkUnreachable);
    }
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    let flow = Flow { local: socket.local(), remote };
    let query = query(&flow, socket.principal, socket.ip.mark)?;
    let mut query = Query { begins: true, ..query };
    if socket.local().port() == 0 {
        // The port follows from the address, and that from the way: of several ways, any.
        query.transport.1 = shard.random.next_u32() as u16;
    }
    let path = path_of(shard, &query)?;
    if path.broadcast {
        return Err(Error::NetworkUnreachable);
    }
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    let source = match socket.local().ip() {
        any if any.is_unspecified() => path.source.into(),
        bound => bound,
    };
    let prospect = fast.then(|| fast_open::prospect(shard, id, (source, remote.ip())));
    let flow = match socket.binding.as_deref() {
        Some(binding) => {
            let flow = flow_from(source, binding.local.port(), remote);
            if !usable(&shard.demux, &shard.remnants, now, &flow) {
                return Err(Error::AddressNotAvailable);
            }
            flow
        }
        None => {
            let binding = Binding {
                kind: SocketKind::Tcp,
                local: SocketAddr::new(source, 0),
                principal: socket.principal,
                reuse_address: socket.reuse_address,
                reuse_port: socket.reuse_port,
                role: Role::Ephemeral,
            };
            let (demux, remnants) = (&shard.demux, &shard.remnants);
            let free = |port| usable(demux, remnants, now, &flow_from(source, port, remote));
            let (zones, interfaces) = (&shard.zones, &shard.interfaces);
            let meet = |one: &Binding, other: &Binding| meet(zones, interfaces, one, other);
            let port = shard.ports.choose_for(binding, remote, meet, free);
            let local = SocketAddr::new(source, port.ok_or(Error::AddressNotAvailable)?);
            let binding = Binding { local, ..binding };
            let binding = shard.ports.take(binding);
            if let Some(socket) = shard.sockets.get_mut(id) {
                socket.binding = Some(binding);
            }
            Flow { local, remote }
        }
    };
    let mut opening = opening(shard, now, &flow, &path);
    if let Some(FlowOwner::TimeWait(index)) = shard.demux.flow(&flow)
        && let Some(old) = leave_time_wait(shard, index)
    {
        opening.iss = sequence_after(old.snd_nxt);
    }
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    socket.set_local(flow.local);
    socket.set_remote(Some(flow.remote));
    let mut connection = Connection::connect(now, opening, &socket.settings);
    if let Some(prospect) = prospect {
        connection.open_fast(prospect, prospect.text);
    }
    socket.body = SocketBody::Connection(Box::new(connection));
    shard.demux.insert_flow(flow, FlowOwner::Connection(id));
    shard.counters.tcp_connections_opened += 1;
    settle(shard, now, id);
    Ok(prospect)
}

/// Can a new connection have this flow? Nobody has it, or a TIME-WAIT that timestamps make safe
/// to end (RFC 6191 §2; Linux: tcp_tw_reuse).
fn usable(demux: &Demux, remnants: &Remnants, now: Instant, flow: &Flow) -> bool {
    match demux.flow(flow) {
        None => true,
        Some(FlowOwner::TimeWait(index)) => {
            remnants.time_wait.get(index as usize).is_some_and(|entry| {
                entry.state.timestamps.is_some() && now >= entry.since + TIME_WAIT_REUSE_AFTER
            })
        }
        Some(_) => false,
    }
}
