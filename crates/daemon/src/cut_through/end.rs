//! What programs do with their ends, told to the engine.
//!
//! The set of a connection's ends wakes the daemon when one of them shuts down or closes. Should both
//! close at once it tells nothing any more (see [`super::watch`]); so connections are also looked at in
//! turns: some every second, two for each that begins, and those that hold a port that can't be had.

use super::{
    table::Cut,
    watch::{Seen, Side, Sides},
};
use crate::{epitaph::Epitaph, worker::Worker};
use mio::Token;
use narrows_ipc::Error;
use narrows_stack::{Instant, SocketId, request::Request};
use std::time::Duration;

/// How often some are looked at: a port that nobody told of is free that much later.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many then: at some 5 µs each, about a thousandth of a core.
const LOOKS: usize = 256;

/// How many before a report: some milliseconds.
const REPORT_LOOKS: usize = 1024;

/// Runs of the loopback, in which the ends that went say so to each other. What takes more is told that
/// there is no port, and may try again.
const FAREWELLS: usize = 256;

/// The set of a connection's ends has something to tell.
pub(crate) fn look(worker: &mut Worker, token: Token) {
    let Some(cut) = worker.cuts.get_mut(token) else { return };
    let found = cut.watch.open_ends().and_then(|open| Ok((open, cut.watch.seen()?)));
    match found {
        Ok((open, seen)) => follow(worker, token, open, seen),
        Err(error) => tracing::warn!(%error, "can't look at a connection that is cut through"),
    }
}

/// The same, of the connection that `socket` is an end of.
pub(crate) fn refresh(worker: &mut Worker, socket: SocketId) {
    if let Some(token) = worker.cuts.token_of(socket) {
        look(worker, token);
    }
}

/// Looks at the next ones in the round.
pub(super) fn look_at_some(worker: &mut Worker, count: usize) {
    for _ in 0..count.min(worker.cuts.len()) {
        let Some(token) = worker.cuts.next_in_round() else { return };
        look(worker, token);
    }
}

/// There are some: the next look will be in time.
pub(super) fn arm(worker: &mut Worker) {
    if worker.cuts.next_look.is_none() {
        worker.cuts.next_look = Some(worker.clock.now() + INTERVAL);
    }
}

/// Looks at some when it is time to.
pub(crate) fn sweep(worker: &mut Worker, now: Instant) {
    if worker.cuts.next_look.is_none_or(|at| at > now) {
        return;
    }
    look_at_some(worker, LOOKS);
    worker.cuts.next_look = (worker.cuts.len() > 0).then(|| now + INTERVAL);
}

/// Looks at as many as may be looked at for one report, so that it says what is.
pub(crate) fn look_before_report(worker: &mut Worker) {
    look_at_some(worker, REPORT_LOOKS);
}

/// Somebody can't get `port`, which may be free (0: any): looks at connections that hold it, as many as
/// for a report, since anybody may ask for a port again and again.
pub(crate) fn sweep_port(worker: &mut Worker, port: u16) {
    for token in worker.cuts.with_port(port, REPORT_LOOKS) {
        look(worker, token);
    }
    let now = worker.clock.now();
    for _ in 0..FAREWELLS {
        if !worker.shard.loop_back(now) {
            break;
        }
    }
}

/// Brings the engine to where the programs are.
fn follow(worker: &mut Worker, token: Token, open: Sides<bool>, seen: Sides<Seen>) {
    for side in Side::BOTH {
        let Some(cut) = worker.cuts.get_mut(token) else { return };
        let other_saw = *seen.get(side.other());
        let end = cut.ends.get_mut(side);
        let socket = end.socket;
        if !open.get(side) && !end.closed {
            end.closed = true;
            let other_is_open = *open.get(side.other());
            close(worker, token, side, other_saw.reset, other_is_open);
        } else if other_saw.ended && !end.shut && !end.closed {
            end.shut = true;
            worker.request_quietly(Request::ShutdownSend { socket });
        } else if other_saw.reset {
            break_off(worker, token, side);
        }
    }
    let over = |cut: &Cut| cut.ends.client.closed && cut.ends.server.closed;
    if worker.cuts.get_mut(token).is_some_and(|cut| over(cut)) {
        remove(worker, token);
    }
}

/// The listener that `socket` came to was closed before a program took it: the other end is reset.
pub(crate) fn abort(worker: &mut Worker, socket: SocketId) {
    if let (Some(token), Some(side)) = (worker.cuts.token_of(socket), worker.cuts.side_of(socket)) {
        break_off(worker, token, side);
    }
}

/// No program has the end at `side` any more.
fn close(worker: &mut Worker, token: Token, side: Side, unread: bool, other_is_open: bool) {
    let Some(cut) = worker.cuts.get_mut(token) else { return };
    let end = cut.ends.get(side);
    let (socket, shut) = (end.socket, end.shut);
    // With SO_LINGER 0 the engine's connection is reset by closing it.
    let reset = unread || !shut && resets_at_close(worker, socket);
    if reset && other_is_open {
        break_off(worker, token, side);
    } else {
        worker.request_quietly(Request::Close { socket });
    }
}

/// Takes it out of the table. Both ends were on their users' bills until now.
pub(super) fn remove(worker: &mut Worker, token: Token) -> Option<Cut> {
    let cut = worker.cuts.remove(token)?;
    for side in Side::BOTH {
        worker.bills.socket_gone(cut.ends.get(side).principal.bill);
    }
    worker.descriptor_freed();
    Some(cut)
}

/// The connection was reset by the program at `side`. The other one learns it when it asks.
fn break_off(worker: &mut Worker, token: Token, side: Side) {
    let Some(Cut { ends, .. }) = remove(worker, token) else { return };
    let other = ends.get(side.other());
    worker.request_quietly(Request::Abort { socket: ends.get(side).socket });
    worker.request_quietly(Request::Close { socket: other.socket });
    let epitaph = Epitaph { error: Some(Error::ConnectionReset), local: other.local };
    worker.epitaphs.insert(other.cookie, epitaph);
}

fn resets_at_close(worker: &mut Worker, socket: SocketId) -> bool {
    let settings = worker.info(socket).and_then(|info| info.settings);
    settings.is_some_and(|settings| settings.linger == Some(Duration::ZERO))
}
