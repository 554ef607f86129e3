//! What a listener that is closed leaves to others that share its port (SO_REUSEPORT): connections that no
//! program took, and handshakes under way.
//!
//! As on Linux with `tcp_migrate_req`, which is off there by default: here nobody who connected to a
//! group loses by one member's end what another could take.

use crate::{
    Shard,
    event::Readiness,
    request::SocketId,
    table::{
        demux::Flow,
        port::Binding,
        socket::{Socket, SocketBody},
    },
};
use std::collections::VecDeque;

/// Who takes a flow over from `listener`: of those that share its port with it and that `have_room`, the
/// one that the flow's hash falls on.
fn heir(
    shard: &Shard,
    listener: SocketId,
    flow: &Flow,
    has_room: impl Fn(&Socket) -> bool,
) -> Option<SocketId> {
    let old = shard.sockets.get(listener)?;
    if !old.reuse_port {
        return None;
    }
    shard.demux.member(old.local(), flow, |id| {
        let is_alike = |other: &Socket| {
            other.reuse_port && other.principal.uid == old.principal.uid && has_room(other)
        };
        id != listener
            && shard.sockets.get(id).is_some_and(is_alike)
            && shard.hears(id, flow.local.ip())
    })
}

impl Shard {
    /// Does this listener let others of its user share its port (SO_REUSEPORT)?
    pub fn shares_port(&self, listener: SocketId) -> bool {
        self.sockets.get(listener).is_some_and(|socket| socket.reuse_port)
    }

    /// Who takes an accepted connection over that is left by `listener`.
    pub fn heir(&self, listener: SocketId, accepted: SocketId) -> Option<SocketId> {
        let flow = self.sockets.get(accepted)?.flow()?;
        heir(self, listener, &flow, |_| true)
    }

    /// An accepted connection that no program took is `heir`'s from now on.
    pub fn migrate(&mut self, accepted: SocketId, heir: SocketId) {
        belong_to(self, accepted, heir);
    }
}

/// Those in the accept queue that others have room for are theirs; returns the rest.
pub(super) fn leave_connections(
    shard: &mut Shard,
    listener: SocketId,
    queue: VecDeque<SocketId>,
) -> Vec<SocketId> {
    let has_room = |socket: &Socket| match &socket.body {
        SocketBody::Listener(state) => state.accept_queue.len() < state.backlog,
        _ => false,
    };
    let mut rest = Vec::new();
    for id in queue {
        let flow = shard.sockets.get(id).and_then(Socket::flow);
        match flow.and_then(|flow| heir(shard, listener, &flow, has_room)) {
            Some(heir) => {
                belong_to(shard, id, heir);
                if let Some(state) = shard.sockets.get_mut(heir).and_then(Socket::listener) {
                    state.accept_queue.push_back(id);
                }
                shard.notify(heir, Readiness::ACCEPTABLE);
            }
            None => rest.push(id),
        }
    }
    rest
}

/// The connection and its port are of the principal that its new listener is of.
fn belong_to(shard: &mut Shard, id: SocketId, listener: SocketId) {
    let Some(owner) = shard.sockets.get(listener).map(|socket| socket.principal) else { return };
    let Some(socket) = shard.sockets.get_mut(id) else { return };
    socket.principal = owner;
    if let Some(held) = &mut socket.binding {
        let new = shard.ports.take(Binding { principal: owner, ..**held });
        let old = core::mem::replace(held, new);
        shard.ports.release(&old);
    }
}

/// Handshakes under way end at others that have room for them; returns the rest, by index.
pub(super) fn leave_handshakes(shard: &mut Shard, listener: SocketId) -> Vec<u32> {
    let limit = shard.config.limits.half_open;
    let has_room = |socket: &Socket| match &socket.body {
        SocketBody::Listener(state) => state.half_open < limit,
        _ => false,
    };
    let entries = shard.remnants.half_open.iter();
    let left = entries.filter(|(_, entry)| entry.listener == listener);
    let left: Vec<(usize, Flow)> = left.map(|(index, entry)| (index, entry.flow)).collect();
    let mut rest = Vec::new();
    for (index, flow) in left {
        match heir(shard, listener, &flow, has_room) {
            Some(heir) => {
                if let Some(entry) = shard.remnants.half_open.get_mut(index) {
                    entry.listener = heir;
                }
                if let Some(state) = shard.sockets.get_mut(heir).and_then(Socket::listener) {
                    state.half_open += 1;
                }
            }
            None => rest.push(index as u32),
        }
    }
    rest
}

#[cfg(test)]
mod tests;
