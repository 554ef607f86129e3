//! From a client's anchor to a pair that two programs share.

use super::{
    end,
    table::{Cut, End},
    watch::{Side, Sides, Watch},
};
use crate::{
    anchor::{Parked, State},
    pair,
    worker::Worker,
};
use mio::{Interest, unix::SourceFd};
use narrows_stack::{LocalPeer, SocketId, table::zone::ZoneId};
use narrows_wire::address::Prefix;
use rustix::net::sockopt;
use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

/// Others looked at whenever one is joined: so many that they end as fast as they begin.
const LOOKS: usize = 2;

/// The handshake of `client` is done. Parks its anchor if the other end is, or is about to be, in the
/// queue of a listener here. Is it?
pub(crate) fn park(worker: &mut Worker, client: SocketId) -> bool {
    if !is_allowed(worker, client) {
        return false;
    }
    let listener = match worker.shard.local_peer(client) {
        Some(LocalPeer::Unaccepted { listener, .. } | LocalPeer::HalfOpen { listener }) => listener,
        Some(LocalPeer::Socket(_)) | None => return false,
    };
    let (Some(server), Some(anchor)) = (worker.anchors.get(listener), worker.anchors.get(client))
    else {
        return false;
    };
    let principals = [&*server.principal, &*anchor.principal];
    if !principals.into_iter().any(|principal| worker.keeper.can_take_from(principal)) {
        return false;
    }
    // While the daemon has it, it can be watched, and nothing else can be set on it later.
    let Some(program_end) = worker.handshakes.take(client) else { return false };
    pair::widen(&program_end);
    let watch = Watch::new().and_then(|mut watch| {
        watch.add(Side::Client, &program_end)?;
        pair::refuse_descriptors(&program_end)?;
        Ok((watch, rustix::fs::fstat(&program_end)?.st_ino))
    });
    match watch {
        Ok((watch, inode)) => worker.anchors.get_mut(client).is_some_and(|anchor| {
            anchor.state = State::Parked(Box::new(Parked { watch, inode }));
            true
        }),
        Err(error) => {
            tracing::debug!(%error, "a connection is not cut through");
            false
        }
    }
}

/// As the configuration has it now, for the whole host and for the zones of both ends.
fn is_allowed(worker: &mut Worker, client: SocketId) -> bool {
    let configuration = &worker.source.configuration;
    let zones = configuration.zones.iter().filter(|zone| !zone.cut_through);
    let forbidding: Vec<ZoneId> = zones.map(|zone| zone.id).collect();
    if !configuration.local.cut_through || forbidding.is_empty() {
        return configuration.local.cut_through;
    }
    let Some(info) = worker.info(client) else { return false };
    let ends = [Some(info.local.ip()), info.remote.map(|remote| remote.ip())];
    let is_end = |prefix: &Prefix| ends.contains(&Some(prefix.address()));
    !worker.shard.interfaces().any(|(_, interface)| {
        forbidding.contains(&interface.zone) && interface.addresses.iter().any(is_end)
    })
}

/// The bytes of a parked anchor go through the engine after all.
pub(crate) fn open_parked(worker: &mut Worker, client: SocketId) {
    let Some(anchor) = worker.anchors.get_mut(client) else { return };
    if matches!(anchor.state, State::Parked(_)) {
        anchor.open();
        worker.queue(client);
    }
}

/// The listener's program gets `accepted`, which the engine has at `local`: gives the descriptor that it
/// is sent, if the other end is a parked anchor.
pub(crate) fn join(
    worker: &mut Worker,
    listener: SocketId,
    accepted: SocketId,
    local: SocketAddr,
) -> Option<OwnedFd> {
    let Some(LocalPeer::Socket(client)) = worker.shard.local_peer(accepted) else { return None };
    match try_join(worker, listener, client, accepted, local) {
        Ok(end) => {
            worker.metrics.cut_through += u64::from(end.is_some());
            end::look_at_some(worker, LOOKS);
            end
        }
        Err(error) => {
            tracing::debug!(%error, "a connection is not cut through");
            open_parked(worker, client);
            None
        }
    }
}

/// What can fail comes first, and changes nothing.
fn try_join(
    worker: &mut Worker,
    listener: SocketId,
    client: SocketId,
    accepted: SocketId,
    local: SocketAddr,
) -> io::Result<Option<OwnedFd>> {
    let Some(principal) = worker.anchors.get(listener).map(|anchor| anchor.principal.clone())
    else {
        return Ok(None);
    };
    let Some(anchor) = worker.anchors.get_mut(client) else { return Ok(None) };
    let cookie = sockopt::socket_cookie(anchor.end())?;
    let inode = rustix::fs::fstat(anchor.end())?.st_ino;
    let Some(watch) = anchor.watch_own_end()? else { return Ok(None) };
    let token = worker.cuts.next_token();
    let raw = watch.as_fd().as_raw_fd();
    worker.registry.register(&mut SourceFd(&raw), token, Interest::READABLE)?;

    let Some(anchor) = worker.anchors.remove(client) else { return Ok(None) };
    let Some((end, parked, client)) = anchor.separate(&worker.registry) else { return Ok(None) };
    worker.bills.socket_made(principal.bill);
    let server = End { socket: accepted, cookie, inode, principal, local, ..client.clone() };
    worker.cuts.insert(Cut { token, watch: parked.watch, ends: Sides { client, server } });
    end::arm(worker);
    Ok(Some(end))
}
