//! UDP (RFC 768): finds the socket, or says that there is none.

use crate::{
    Instant, Shard,
    counters::DropReason,
    layer::Arrival,
    request::{Error, SocketId},
};
use core::net::SocketAddr;

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    let _ = (shard, now, arrival);
    todo!()
}

/// Sends one datagram to `remote`, or to the connected peer.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    socket: SocketId,
    remote: Option<SocketAddr>,
    payload: &[u8],
) -> Result<(), Error> {
    let _ = (shard, now, socket, remote, payload);
    todo!()
}
