//! Who is at the other end of a connection on this host, for either end to ask.
//!
//! It is the principal that made the other socket, or whose listener the other end came to (see
//! [`crate::principal`]): what the kernel says of Unix sockets too, where SO_PEERCRED of a client names
//! who called listen(2). Of a TCP connection it is noted when both ends are known, and kept as long
//! as the anchor: a peer that has closed, or ended, is still the one that was there. Of a UDP socket it
//! is whoever would get what is sent to the peer now.
//!
//! Who has no identity to show (another host, or nobody) is never given that of somebody else.
//!
//! A process number is told only to processes that count as this one does; in another PID namespace it
//! would be somebody else's, so there it is 0, as the kernel says of processes it can't name.

use crate::{cut_through, principal::Principal, worker::Worker, zones};
use narrows_ipc::{Error, message::Peer};
use narrows_stack::{LocalPeer, SocketId};
use std::{os::fd::OwnedFd, rc::Rc};

/// Groups that fit into a reply; the few processes with more are told apart by user alone.
const MOST_GROUPS: usize = 8192;

/// Who has the other end of `socket`.
pub(crate) fn of_peer(worker: &Worker, socket: SocketId) -> Option<Rc<Principal>> {
    if let Some(end) = worker.cuts.other_end(socket) {
        return Some(end.principal.clone());
    }
    if let Some(peer) = worker.anchors.get(socket).and_then(|anchor| anchor.peer.clone()) {
        return Some(peer);
    }
    let holder = match worker.shard.local_peer(socket)? {
        LocalPeer::Socket(socket) => socket,
        LocalPeer::Unaccepted { listener, .. } | LocalPeer::HalfOpen { listener } => listener,
    };
    worker.anchors.get(holder).map(|anchor| anchor.principal.clone())
}

/// `accepted` came to a listener of `owner`: notes for its other end, if that is here, who that is, and
/// says whose it is.
pub(crate) fn introduce(
    worker: &mut Worker,
    accepted: SocketId,
    owner: &Rc<Principal>,
) -> Option<Rc<Principal>> {
    let Some(LocalPeer::Socket(client)) = worker.shard.local_peer(accepted) else { return None };
    // What it was parked for has come another way.
    cut_through::open_parked(worker, client);
    let client = worker.anchors.get_mut(client)?;
    client.peer = Some(owner.clone());
    Some(client.principal.clone())
}

/// Another listener has taken `accepted` over, which is `owner`'s from now on; its other end is told so.
/// Both listeners are of one user, and so on one bill.
pub(crate) fn reassign(worker: &mut Worker, accepted: SocketId, owner: &Rc<Principal>) {
    if let Some(end) = worker.cuts.end_mut(accepted) {
        end.principal = owner.clone();
    }
    if let Some(anchor) = worker.anchors.get_mut(accepted) {
        anchor.principal = owner.clone();
    }
    if let Some(LocalPeer::Socket(client)) = worker.shard.local_peer(accepted)
        && let Some(client) = worker.anchors.get_mut(client)
    {
        client.peer = Some(owner.clone());
    }
}

/// As it is told to `asker`.
pub(crate) fn tell(
    worker: &mut Worker,
    socket: SocketId,
    peer: &Principal,
    asker: &Principal,
) -> Result<Peer, Error> {
    let mut owner = peer.report();
    if !asker.counts_as_here() {
        owner.pid = 0;
    }
    if peer.groups.len() > MOST_GROUPS {
        return Err(Error::NoBufferSpace);
    }
    let remote = worker.info(socket).and_then(|info| info.remote).ok_or(Error::NotConnected)?;
    let zone = zones::name_at(worker, remote.ip());
    Ok(Peer { owner, groups: peer.groups.clone(), zone })
}

/// A descriptor of the peer's process: the same process in every namespace.
pub(crate) fn process(peer: &Principal) -> Result<OwnedFd, Error> {
    peer.process().ok_or(Error::NoSuchEntry)?.try_clone().map_err(|_| Error::NoBufferSpace)
}
