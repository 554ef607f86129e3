//! A connection that a listener takes: a socket of its own, in the accept queue.

use crate::{
    Shard,
    counters::DropReason,
    event::Readiness,
    request::SocketId,
    table::{
        demux::{Flow, FlowOwner},
        port::{Binding, Role},
        socket::{Socket, SocketBody},
    },
    tcp::Connection,
};

/// The caller has found room in the queue.
pub(super) fn enqueue(
    shard: &mut Shard,
    listener: SocketId,
    flow: Flow,
    connection: Connection,
) -> Result<SocketId, DropReason> {
    let socket = shard.sockets.get(listener).ok_or(DropReason::TcpNoSocket)?;
    let body = SocketBody::Connection(Box::new(connection));
    let mut accepted = Socket::new(socket.principal, flow.local, socket.settings.clone(), body);
    // The port stays taken as long as a connection on it lives, shared with its listener's kind.
    let binding = socket.binding.as_deref();
    let binding = binding.map(|held| Binding { local: flow.local, role: Role::Bound, ..*held });
    accepted.set_remote(Some(flow.remote));
    accepted.ip = socket.ip.clone();
    accepted.unaccepted = true;
    let limit = shard.config.limits.sockets;
    let id = shard.sockets.insert(accepted, limit).ok_or(DropReason::AcceptQueueFull)?;
    if let Some(binding) = binding {
        let binding = shard.ports.take(binding);
        if let Some(accepted) = shard.sockets.get_mut(id) {
            accepted.binding = Some(binding);
        }
    }
    shard.demux.insert_flow(flow, FlowOwner::Connection(id));
    if let Some(state) = shard.sockets.get_mut(listener).and_then(|socket| socket.listener()) {
        state.accept_queue.push_back(id);
    }
    shard.notify(listener, Readiness::ACCEPTABLE);
    Ok(id)
}
