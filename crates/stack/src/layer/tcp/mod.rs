//! TCP between the tables and the connections: finds whose segment it is, keeps demultiplexer,
//! ports and timers in step with what became of a connection, and puts headers on what it sends.
//!
//! | file | what is there |
//! |---|---|
//! | `input` | a segment's way to its connection, half-open connection, TIME-WAIT or listener |
//! | `accept` | new connections for a listener's queue |
//! | `fast_open` | text in SYNs |
//! | `cookies` | handshakes of which nothing is kept, when there are too many |
//! | `open` | active opens: ports and initial sequence numbers |
//! | `close` | programs letting go, and the ends of connections |
//! | `migrate` | what a listener that is closed leaves to those that share its port |
//! | `output` | segments to frames |

mod accept;
mod close;
mod cookies;
mod fast_open;
mod input;
mod migrate;
mod open;
mod output;
#[cfg(test)]
mod tests;

pub(crate) use close::{abort, close, expel, shutdown_send};
pub(crate) use input::{error_input, input, reject, reject_own};
pub(crate) use open::{connect, connect_with, disconnect, reconnect_error};
pub(crate) use output::{next_packet, transmit};

use crate::{
    Instant, InterfaceId, Shard,
    event::Readiness,
    layer::{ipv4_output::v4, link, route::path_for},
    request::{Error, Principal, SocketId},
    table::{
        demux::{Flow, FlowOwner},
        port::{Binding, Role},
        route::{Path, Query},
        socket::TimeWaitEntry,
        timer::TimerKey,
    },
    tcp::{
        Connection, State,
        connection::{Fate, Outcome},
        listen::HalfOpenTimeout,
        time_wait::TimeWait,
    },
};
use core::net::Ipv4Addr;
use narrows_wire::ipv4::Protocol;
use std::sync::Arc;

/// What is true of a connection now, for a program that has just got it.
pub(crate) fn readiness(connection: &Connection) -> Readiness {
    let finished = matches!(
        connection.state(),
        State::CloseWait | State::LastAck | State::Closing | State::TimeWait
    );
    let mut readiness = Readiness::WRITABLE;
    readiness.set(Readiness::READABLE, connection.receive_queue() > 0);
    readiness.set(Readiness::FINISHED, finished);
    readiness.set(Readiness::FAILED, connection.error().is_some());
    readiness
}

/// After any call of a connection: tells the program what became true, puts the connection in line
/// if it has something to send, and arms its timer.
pub(crate) fn settle(shard: &mut Shard, now: Instant, id: SocketId) {
    let Some(socket) = shard.sockets.get_mut(id) else { return };
    let Some(connection) = socket.connection() else { return };
    let readiness = connection.take_readiness();
    let noted = connection.opens_fast();
    let (wants_to_send, timeout) = (connection.wants_to_send(now), connection.next_timeout());
    if readiness.contains(Readiness::FAILED) {
        let error = connection.error();
        socket.error = error;
    }
    if wants_to_send {
        schedule(shard, id);
    }
    if let Some(at) = timeout {
        shard.timers.arm(TimerKey::Socket(id.slot), at);
    }
    shard.notify(id, readiness);
    if noted {
        fast_open::note(shard, now, id);
    }
}

/// Puts a connection in line at the interface its packets leave by. Without a route that is the
/// loopback's, where it learns of it.
fn schedule(shard: &mut Shard, id: SocketId) {
    let Some(socket) = shard.sockets.get_mut(id) else { return };
    if core::mem::replace(&mut socket.scheduled, true) {
        return;
    }
    let path = path_of(shard, id).ok();
    let flow = shard.sockets.get(id).and_then(|socket| socket.flow());
    let device = match (path, flow) {
        (Some(path), Some(flow)) => link::line(shard, &path, &flow),
        _ => InterfaceId::LOOPBACK,
    };
    shard.egress.schedule(device, id);
}

/// A connection that was taken out of line finds its line anew.
pub(crate) fn reschedule(shard: &mut Shard, id: SocketId) {
    if let Some(socket) = shard.sockets.get_mut(id) {
        socket.scheduled = false;
        schedule(shard, id);
    }
}

/// The way of a connection's segments: kept until something changes that it was made from.
fn path_of(shard: &mut Shard, id: SocketId) -> Result<Path, Error> {
    let generation = shard.routes.generation();
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    if let Some((made, path)) = socket.path
        && made == generation
    {
        return Ok(path);
    }
    let flow = socket.flow().ok_or(Error::NotConnected)?;
    let path = path_for(shard, &query(&flow, socket.principal, socket.ip.mark)?)?;
    if let Some(socket) = shard.sockets.get_mut(id) {
        socket.path = Some((generation, path));
    }
    Ok(path)
}

/// What route tables are asked about the segments of a flow.
fn query(flow: &Flow, principal: Principal, mark: u32) -> Result<Query, Error> {
    Ok(Query {
        source: Some(v4(flow.local.ip())?).filter(|source| !source.is_unspecified()),
        principal,
        mark,
        transport: (Protocol::TCP, flow.local.port(), flow.remote.port()),
        ..Query::to(v4(flow.remote.ip())?)
    })
}

/// The next hop's address became known, or is known not to answer: who waits for it goes on.
pub(crate) fn neighbor_settled(shard: &mut Shard, interface: InterfaceId, next_hop: Ipv4Addr) {
    for id in shard.egress.unpark(interface, next_hop) {
        reschedule(shard, id);
    }
}

/// After a call that may end the connection.
fn conclude(shard: &mut Shard, now: Instant, id: SocketId, flow: Flow, outcome: Outcome) {
    if let Some(reply) = &outcome.reply {
        output::reply(shard, now, flow, reply);
    }
    settle(shard, now, id);
    match outcome.fate {
        Fate::Alive => {}
        Fate::TimeWait(state) => {
            let binding = remove(shard, id, flow);
            enter_time_wait(shard, now, flow, binding, state);
        }
        Fate::Closed => {
            let orphan = shard.sockets.get(id).is_none_or(|socket| socket.orphan);
            if orphan {
                if let Some(binding) = remove(shard, id, flow) {
                    shard.ports.release(&binding);
                }
            } else {
                shard.demux.remove_flow(&flow, FlowOwner::Connection(id));
                shard.timers.cancel(TimerKey::Socket(id.slot));
            }
        }
    }
}

/// Takes a connection's socket out of every table; its port is the caller's to release.
fn remove(shard: &mut Shard, id: SocketId, flow: Flow) -> Option<Arc<Binding>> {
    shard.demux.remove_flow(&flow, FlowOwner::Connection(id));
    shard.timers.cancel(TimerKey::Socket(id.slot));
    shard.sockets.remove(id).and_then(|socket| socket.binding)
}

fn enter_time_wait(
    shard: &mut Shard,
    now: Instant,
    flow: Flow,
    binding: Option<Arc<Binding>>,
    state: TimeWait,
) {
    if shard.remnants.time_wait.len() >= shard.config.limits.time_wait {
        while let Some((index, flow)) = shard.remnants.time_wait_order.pop_front() {
            if time_wait_is(shard, index, flow) {
                leave_time_wait(shard, index);
                break;
            }
        }
    }
    let binding = binding.map(|held| match held.role {
        Role::Ephemeral => held,
        _ => {
            shard.ports.release(&held);
            shard.ports.take(Binding { role: Role::TimeWait, ..*held })
        }
    });
    let expires = now + shard.config.limits.time_wait_duration;
    let entry = TimeWaitEntry { flow, binding, since: now, expires, state };
    let index = shard.remnants.time_wait.insert(entry) as u32;
    shard.remnants.time_wait_order.push_back((index, flow));
    shard.demux.insert_flow(flow, FlowOwner::TimeWait(index));
    shard.timers.arm(TimerKey::TimeWait(index), expires);
}

fn time_wait_is(shard: &Shard, index: u32, flow: Flow) -> bool {
    shard.remnants.time_wait.get(index as usize).is_some_and(|entry| entry.flow == flow)
}

/// Ends a TIME-WAIT and releases its port.
fn leave_time_wait(shard: &mut Shard, index: u32) -> Option<TimeWait> {
    let entry = shard.remnants.time_wait.try_remove(index as usize)?;
    shard.timers.cancel(TimerKey::TimeWait(index));
    shard.demux.remove_flow(&entry.flow, FlowOwner::TimeWait(index));
    if let Some(binding) = entry.binding {
        shard.ports.release(&binding);
    }
    // The order keeps names of entries that ended early; drop those that lead it.
    while let Some((index, flow)) = shard.remnants.time_wait_order.front().copied() {
        if time_wait_is(shard, index, flow) {
            break;
        }
        shard.remnants.time_wait_order.pop_front();
    }
    Some(entry.state)
}

pub(crate) fn end_time_wait(shard: &mut Shard) {
    let all: Vec<usize> = shard.remnants.time_wait.iter().map(|(index, _)| index).collect();
    for index in all {
        leave_time_wait(shard, index as u32);
    }
}

pub(crate) fn time_wait_timeout(shard: &mut Shard, now: Instant, index: u32) {
    let Some(entry) = shard.remnants.time_wait.get(index as usize) else { return };
    if entry.expires > now {
        shard.timers.arm(TimerKey::TimeWait(index), entry.expires);
    } else {
        leave_time_wait(shard, index);
    }
}

/// Forgets a half-open connection.
fn remove_half_open(shard: &mut Shard, index: u32) -> Option<crate::tcp::listen::HalfOpen> {
    let entry = shard.remnants.half_open.try_remove(index as usize)?;
    shard.remnants.half_open_shares.ended(entry.user);
    shard.timers.cancel(TimerKey::HalfOpen(index));
    shard.demux.remove_flow(&entry.flow, FlowOwner::HalfOpen(index));
    if let Some(listener) = shard.sockets.get_mut(entry.listener).and_then(|s| s.listener()) {
        listener.half_open = listener.half_open.saturating_sub(1);
    }
    Some(entry.state)
}

pub(crate) fn half_open_timeout(shard: &mut Shard, now: Instant, index: u32) {
    let Some(entry) = shard.remnants.half_open.get_mut(index as usize) else { return };
    if entry.state.next_timeout() > now {
        shard.timers.arm(TimerKey::HalfOpen(index), entry.state.next_timeout());
        return;
    }
    let flow = entry.flow;
    let patience =
        shard.sockets.get(entry.listener).map_or(0, |socket| socket.settings.defer_accept);
    let verdict = entry.state.handle_timeout(now, patience);
    if verdict == HalfOpenTimeout::GiveUp {
        remove_half_open(shard, index);
        return;
    }
    shard.timers.arm(TimerKey::HalfOpen(index), entry.state.next_timeout());
    if let HalfOpenTimeout::Again(again) = verdict {
        shard.counters.tcp_retransmissions += 1;
        output::reply(shard, now, flow, &again);
    }
}

pub(crate) fn connection_timeout(shard: &mut Shard, now: Instant, slot: u32) {
    let Some(id) = shard.sockets.in_slot(slot) else { return };
    let Some(socket) = shard.sockets.get_mut(id) else { return };
    let Some(flow) = socket.flow() else { return };
    let Some(connection) = socket.connection() else { return };
    let outcome = connection.handle_timeout(now, &mut shard.buffers);
    conclude(shard, now, id, flow, outcome);
}
