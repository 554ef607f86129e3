//! Fast open at a listener (RFC 7413 §4.1.2, §4.2): cookies, and connections that begin with their
//! SYN.
//!
//! A cookie is the keyed hash of both addresses ([`FastOpenKey::cookie`](crate::config::FastOpenKey)).
//! One with the key before the last is still good, and answered with
//! a new one. Nothing is kept for those who ask. What a right cookie costs is bounded by the
//! listener's `fast_open_backlog`: connections whose handshake is not done, and for a minute those
//! whose peer says that it never asked (§5.1: they may be reflections).

use super::{accept, input, settle};
use crate::{
    Instant, Shard,
    config::FastOpenMode,
    counters::DropReason,
    request::SocketId,
    table::{demux::Flow, fast_open::Pair},
    tcp::{Connection, fast_open::Prospect, listen::HalfOpen},
};
use narrows_wire::{fast_open::FastOpen, tcp::Segment};

/// What a SYN gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// A handshake like any other; the SYN-ACK says this.
    Handshake(Option<FastOpen>),
    /// A connection at once; the SYN-ACK says this.
    Early(Option<FastOpen>),
}

/// Decides about a SYN for which the listener has room.
pub(super) fn grant(
    shard: &mut Shard,
    now: Instant,
    listener: SocketId,
    flow: &Flow,
    syn: &Segment<'_>,
) -> Grant {
    let mode = shard.config.fast_open.mode;
    let asked = syn.options.fast_open;
    let text = !syn.payload.is_empty();
    let nothing = Grant::Handshake(None);
    if !mode.contains(FastOpenMode::SERVER) || !(text || asked.is_some()) {
        return nothing;
    }
    let keys = shard.fast_open_keys();
    let Some(socket) = shard.sockets.get_mut(listener) else { return nothing };
    let always = mode.contains(FastOpenMode::EVERY_LISTENER);
    let free = socket.settings.fast_open_without_cookie
        || mode.contains(FastOpenMode::SERVER_WITHOUT_COOKIE);
    let limit = socket.settings.fast_open_backlog as usize;
    let Some(state) = socket.listener() else { return nothing };
    let limit = if always && limit == 0 { state.backlog } else { limit };
    if !state.early.has_room(now, limit) {
        return nothing;
    }
    if free {
        return if text { Grant::Early(None) } else { nothing };
    }
    let Some(asked) = asked else { return nothing };
    let made =
        keys.each_ref().map(|key| key.map(|key| key.cookie(flow.remote.ip(), flow.local.ip())));
    let answer = made[0].map(|cookie| FastOpen { cookie, ..asked });
    if !asked.cookie.is_empty() && made[0] == Some(asked.cookie) {
        Grant::Early(None)
    } else if !asked.cookie.is_empty() && made[1] == Some(asked.cookie) {
        Grant::Early(answer)
    } else {
        Grant::Handshake(answer)
    }
}

/// A connection that is accepted with its SYN, whose text it already has.
pub(super) fn establish(
    shard: &mut Shard,
    now: Instant,
    listener: SocketId,
    flow: Flow,
    (half_open, option): (HalfOpen, Option<FastOpen>),
    syn: &Segment<'_>,
) -> Result<(), DropReason> {
    let socket = shard.sockets.get(listener).ok_or(DropReason::TcpNoSocket)?;
    let mut connection = Connection::accept(now, half_open, &socket.settings);
    connection.accept_early(&mut shard.buffers, syn, option);
    let id = accept::enqueue(shard, listener, flow, connection)?;
    if let Some(state) = shard.sockets.get_mut(listener).and_then(|socket| socket.listener()) {
        state.early.began();
    }
    settle(shard, now, id);
    Ok(())
}

/// After any call of a connection: what it has learned of its server, or how the handshake of an early
/// one ended.
pub(super) fn note(shard: &mut Shard, now: Instant, id: SocketId) {
    let Some(socket) = shard.sockets.get_mut(id) else { return };
    let Some(flow) = socket.flow() else { return };
    let Some(connection) = socket.connection() else { return };
    let (lesson, completion) = (connection.take_lesson(), connection.take_completion());
    if let Some(lesson) = lesson {
        shard.cookies.learn((flow.local.ip(), flow.remote.ip()), &lesson);
    }
    if let Some(completion) = completion
        && let Some(listener) = input::listener(shard, &flow)
        && let Some(state) = shard.sockets.get_mut(listener).and_then(|socket| socket.listener())
    {
        state.early.ended(now, completion);
    }
}

/// What the SYN of a program that may open fast says and carries.
pub(super) fn prospect(shard: &Shard, id: SocketId, server: Pair) -> Prospect {
    let socket = shard.sockets.get(id);
    let free = shard.config.fast_open.mode.contains(FastOpenMode::CLIENT_WITHOUT_COOKIE)
        || socket.is_some_and(|socket| socket.settings.fast_open_without_cookie);
    shard.cookies.prospect(server, free)
}
