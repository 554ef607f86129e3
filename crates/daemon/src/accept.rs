//! From a listener's accept queue to the program: each connection gets an anchor, whose program's
//! end travels over the listener's with a record of who connected.
//!
//! Up to 64 records wait in the listener's pair. A connection that finds no room is held until
//! there is some, and the rest stays in the engine's queue, where it counts against the backlog.
//!
//! Of a listener that is closed nothing is lost that another could take: see [`migrate`].

use crate::{
    anchor::{Held, RECORDS_IN_FLIGHT, Sent, State},
    cut_through, identity, pair,
    worker::Worker,
};
use narrows_ipc::AcceptRecord;
use narrows_stack::{
    SocketId,
    request::{Error, Principal, Reply, Request},
};
use std::io;

mod migrate;
#[cfg(test)]
mod tests;

/// Connections handed over for one listener before others get their turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Hands over what waits; true: more is waiting, and there is room for it.
pub(crate) fn serve(worker: &mut Worker, listener: SocketId) -> bool {
    for _ in 0..ACCEPTS_PER_TURN {
        let Some(anchor) = worker.anchors.get_mut(listener) else { return false };
        anchor.note_taken();
        if anchor.has_hung_up() {
            close(worker, listener);
            return false;
        }
        if !anchor.is_writable() {
            return false;
        }
        let State::Listening(backlog) = &mut anchor.state else { return false };
        let held = match backlog.held.pop_front() {
            Some(held) => held,
            None => match next(worker, listener) {
                Some(held) => held,
                None => return false,
            },
        };
        if !send(worker, listener, held) {
            return false;
        }
    }
    true
}

/// The next connection of the engine's queue, with an anchor.
fn next(worker: &mut Worker, listener: SocketId) -> Option<Held> {
    let bill = worker.anchors.get(listener)?.principal.bill;
    if !worker.bills.has_room(bill) {
        // As if descriptors were short: the connection waits where it counts against the backlog.
        worker.starve(listener);
        return None;
    }
    let pair = match worker.pairs.take() {
        Ok(pair) => pair,
        Err(error) => {
            // The connection stays in the engine's queue meanwhile.
            worker.refuse_anchor(&error);
            worker.starve(listener);
            return None;
        }
    };
    let now = worker.clock.now();
    let request = Request::Accept { socket: listener };
    match worker.shard.request(now, Principal::default(), request) {
        Ok(Reply::Accepted { socket, local, remote }) => {
            let principal = worker.anchors.get(listener)?.principal.clone();
            let record = AcceptRecord { peer: remote, local };
            if let Some(program_end) = cut_through::join(worker, listener, socket, local) {
                worker.pairs.put_back(pair);
                return Some(Held { socket, record, program_end });
            }
            let peer = identity::introduce(worker, socket, &principal);
            let added = worker.add_anchor(socket, principal, pair, |anchor| {
                anchor.local = local;
                anchor.peer = peer;
                anchor.open();
            });
            match added {
                Ok(program_end) => {
                    pair::widen(&program_end);
                    Some(Held { socket, record, program_end })
                }
                Err(error) => {
                    worker.request_quietly(Request::Abort { socket });
                    worker.refuse_anchor(&error);
                    None
                }
            }
        }
        Ok(_) => None,
        Err(error) => {
            if error != Error::WouldBlock {
                tracing::debug!(%error, "accept");
            }
            worker.pairs.put_back(pair);
            None
        }
    }
}

/// False when it had to be held.
fn send(worker: &mut Worker, listener: SocketId, held: Held) -> bool {
    let Some(anchor) = worker.anchors.get_mut(listener) else { return false };
    let result = anchor.hand_over(&held);
    let State::Listening(backlog) = &mut anchor.state else { return false };
    match result {
        Ok(()) => {
            if backlog.sent.len() >= RECORDS_IN_FLIGHT {
                backlog.sent.pop_front();
            }
            let socket = held.socket;
            let kept = worker.shard.shares_port(listener).then_some(held);
            backlog.sent.push_back(Sent { socket, kept });
            worker.queue(socket);
            true
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            backlog.held.push_front(held);
            false
        }
        Err(error) if pair::is_shortage(&error) => {
            backlog.held.push_front(held);
            worker.starve(listener);
            false
        }
        // The program shut the listener down for reading, or let go of it; its hang-up follows.
        Err(error) => {
            tracing::debug!(%error, "an accepted connection can't be handed over");
            worker.abort(held.socket);
            true
        }
    }
}

/// The program let go of a listener. Connections that it never took go to listeners that share its port;
/// else they are reset, as a kernel does: those in the engine's queue, those held, and those whose
/// records were still in the pair.
fn close(worker: &mut Worker, listener: SocketId) {
    let Some(anchor) = worker.anchors.get_mut(listener) else { return };
    anchor.note_taken();
    let State::Listening(backlog) = &mut anchor.state else { return };
    let backlog = std::mem::take(backlog);
    for Sent { socket, kept } in backlog.sent {
        match kept {
            Some(held) => migrate::leave(worker, listener, held),
            None => worker.abort(socket),
        }
    }
    for held in backlog.held {
        migrate::leave(worker, listener, held);
    }
    worker.close(listener);
}
