//! A connection that a listener's program never took, given to another listener of its port.
//!
//! Those in the engine's queue go there by themselves. Of the others, whose records were sent or held,
//! the daemon keeps the program's end, with all the bytes that are in it, if the listener lets others share
//! its port. From then on the connection is of the principal whose listener it is, for both
//! ends.

use crate::{
    anchor::{Held, RECORDS_IN_FLIGHT, State},
    identity,
    worker::Worker,
};
use narrows_stack::SocketId;

/// Gives it to who shares the port with `listener`, if there is room; else it is reset.
pub(super) fn leave(worker: &mut Worker, listener: SocketId, held: Held) {
    let socket = held.socket;
    let heir = worker.shard.heir(listener, socket);
    let Some(anchor) = heir.and_then(|heir| worker.anchors.get_mut(heir)) else {
        return worker.abort(socket);
    };
    let (heir, owner) = (anchor.socket, anchor.principal.clone());
    let State::Listening(backlog) = &mut anchor.state else { return worker.abort(socket) };
    if backlog.held.len() >= RECORDS_IN_FLIGHT {
        return worker.abort(socket);
    }
    backlog.held.push_back(held);
    worker.shard.migrate(socket, heir);
    identity::reassign(worker, socket, &owner);
    worker.queue(heir);
}
