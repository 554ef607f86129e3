//! Programs letting go of their sockets.

use super::{conclude, migrate, remove, remove_half_open, settle};
use crate::{
    Instant, Shard,
    event::Readiness,
    layer::{raw, udp},
    request::{Error, Reply, SocketId, SocketKind},
    table::socket::SocketBody,
    tcp::connection::{Fate, Outcome},
};

/// shutdown(SHUT_WR).
pub(crate) fn shutdown_send(shard: &mut Shard, now: Instant, id: SocketId) -> Result<Reply, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    socket.connection().ok_or(Error::NotConnected)?.shutdown_send(now);
    settle(shard, now, id);
    Ok(Reply::Done)
}

/// close(2) of the last descriptor: the socket's name is gone; a connection goes on as an orphan
/// until the protocol is done.
pub(crate) fn close(shard: &mut Shard, now: Instant, id: SocketId) -> Result<Reply, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    if socket.orphan {
        return Err(Error::NoSuchSocket);
    }
    let flow = socket.flow();
    match (&mut socket.body, flow) {
        (SocketBody::Connection(connection), Some(flow)) => {
            let outcome = connection.close(now, &mut shard.buffers);
            socket.orphan = true;
            conclude(shard, now, id, flow, outcome);
        }
        (SocketBody::Listener(_), _) => close_listener(shard, now, id),
        _ => forget(shard, id),
    }
    Ok(Reply::Done)
}

/// RST where there is a peer to tell; the socket is gone.
pub(crate) fn abort(shard: &mut Shard, now: Instant, id: SocketId) -> Result<Reply, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    let flow = socket.flow();
    match (&mut socket.body, flow) {
        (SocketBody::Connection(connection), Some(flow)) => {
            let reply = connection.abort(now, &mut shard.buffers);
            socket.orphan = true;
            let outcome = Outcome { reply, dropped: None, fate: Fate::Closed };
            conclude(shard, now, id, flow, outcome);
            Ok(Reply::Done)
        }
        _ => close(shard, now, id),
    }
}

/// The socket's owner may not be where it is any more: it hears nothing from now on, a peer is told by
/// a reset, and the program finds the error.
pub(crate) fn expel(shard: &mut Shard, now: Instant, id: SocketId) {
    let Some(socket) = shard.sockets.get(id) else { return };
    if socket.orphan || socket.unaccepted {
        let _gone = abort(shard, now, id);
        return;
    }
    let (kind, place, local, flow) =
        (socket.kind(), udp::place(socket), socket.local(), socket.flow());
    let Some(socket) = shard.sockets.get_mut(id) else { return };
    match (&mut socket.body, flow, place) {
        (SocketBody::Connection(connection), Some(flow), _) => {
            let reply = connection.abort(now, &mut shard.buffers);
            let outcome = Outcome { reply, dropped: None, fate: Fate::Closed };
            conclude(shard, now, id, flow, outcome);
        }
        (SocketBody::Listener(_), ..) => shard.demux.remove_listener(local, id),
        (SocketBody::Datagram(_), _, Some(place)) => shard.datagrams.remove(kind, place, id),
        (SocketBody::Datagram(_), ..) => raw::forget(shard, id),
        _ => {}
    }
    if let Some(socket) = shard.sockets.get_mut(id) {
        socket.error = Some(Error::OtherZone);
    }
    shard.notify(id, Readiness::FAILED);
}

/// Connections that nobody accepted and handshakes under way go to others that share the port; what they
/// have no room for is reset, or forgotten.
fn close_listener(shard: &mut Shard, now: Instant, id: SocketId) {
    if let Some(local) = shard.sockets.get(id).map(|socket| socket.local()) {
        shard.demux.remove_listener(local, id);
    }
    let waiting = shard.sockets.get_mut(id).and_then(|socket| socket.listener());
    let waiting = waiting.map(|listener| core::mem::take(&mut listener.accept_queue));
    for connection in migrate::leave_connections(shard, id, waiting.unwrap_or_default()) {
        // One that is gone already needs nothing.
        let _gone = abort(shard, now, connection);
    }
    for index in migrate::leave_handshakes(shard, id) {
        remove_half_open(shard, index);
    }
    forget(shard, id);
}

/// Takes a socket that is no connection out of every table.
fn forget(shard: &mut Shard, id: SocketId) {
    let Some(socket) = shard.sockets.get(id) else { return };
    let (kind, flow, binding) = (socket.kind(), socket.flow(), socket.binding.clone());
    if let Some(place) = udp::place(socket).filter(|_| kind != SocketKind::Tcp) {
        shard.datagrams.remove(kind, place, id);
    }
    if let Some(binding) = binding {
        shard.ports.release(&binding);
    }
    match flow {
        Some(flow) => drop(remove(shard, id, flow)),
        None => drop(shard.sockets.remove(id)),
    }
}
