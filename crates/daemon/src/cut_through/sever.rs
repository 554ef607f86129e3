//! Ending a connection from here: for the operator (`ss --kill`), or because the engine's end of it
//! failed.

use super::{
    end,
    table::{Cut, End},
    watch::Side,
};
use crate::{epitaph::Epitaph, keeper::PairEnd, worker::Worker};
use narrows_ipc::Error;
use narrows_stack::{Readiness, SocketId, request::Request};
use std::{io, net::SocketAddr};

/// Ends the TCP connection between these addresses, as seen from one of its ends. That end's program is
/// told ECONNABORTED, the peer gets a reset. `NoSuchEntry`: there is none that a socket has;
/// `PermissionDenied`: it is cut through, and the daemon may not trace the programs that have it.
pub(crate) fn kill(
    worker: &mut Worker,
    local: SocketAddr,
    remote: SocketAddr,
) -> Result<(), Error> {
    let socket = worker.shard.tcp_socket(local, remote).ok_or(Error::NoSuchEntry)?;
    super::refresh(worker, socket);
    if worker.cuts.token_of(socket).is_some() {
        return sever(worker, socket, Error::ConnectionAborted).map_err(|error| {
            tracing::warn!(%local, %remote, %error, "can't end a connection that is cut through");
            Error::PermissionDenied
        });
    }
    worker.break_off(socket, Error::ConnectionAborted);
    Ok(())
}

/// The engine tells something of an end.
pub(crate) fn engine_says(worker: &mut Worker, socket: SocketId, readiness: Readiness) {
    // What the programs did comes first: then it isn't news.
    if !readiness.contains(Readiness::FAILED) {
        return;
    }
    super::refresh(worker, socket);
    if worker.cuts.end(socket).is_some()
        && let Err(error) = sever(worker, socket, Error::ConnectionReset)
    {
        tracing::warn!(%error, "can't end a connection that is cut through");
    }
}

/// Shuts the pair down. `why` is what the program at `socket` is told; the other one: a reset.
fn sever(worker: &mut Worker, socket: SocketId, why: Error) -> io::Result<()> {
    let Some(token) = worker.cuts.token_of(socket) else { return Ok(()) };
    let Some(cut) = worker.cuts.get_mut(token) else { return Ok(()) };
    let pair = Side::BOTH.map(|side| {
        let End { inode, cookie, principal, .. } = cut.ends.get(side);
        PairEnd { inode: *inode, cookie: *cookie, process: principal.pid }
    });
    worker.keeper.shut_down(pair)?;
    let Some(Cut { ends, .. }) = end::remove(worker, token) else { return Ok(()) };
    for end in Side::BOTH.map(|side| ends.get(side)) {
        let (request, error) = match end.socket == socket {
            true => (Request::Abort { socket: end.socket }, why),
            false => (Request::Close { socket: end.socket }, Error::ConnectionReset),
        };
        worker.request_quietly(request);
        worker.epitaphs.insert(end.cookie, Epitaph { error: Some(error), local: end.local });
    }
    Ok(())
}
