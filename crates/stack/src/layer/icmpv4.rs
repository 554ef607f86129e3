//! ICMP (RFC 792): echo, errors received and errors sent.

use crate::request::SocketId;
use crate::{Instant, InterfaceId, Shard, counters::DropReason, layer::Arrival, request::Error};
use core::net::{IpAddr, SocketAddr};
use narrows_wire::icmpv4::Unreachable;

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    let _ = (shard, now, arrival);
    todo!()
}

/// Tells the sender of `arrival` that it can't be delivered, where RFC 1122 §3.2.2 allows it.
pub(crate) fn unreachable(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    code: Unreachable,
) {
    let _ = (shard, now, arrival, code);
    todo!()
}

/// Sends an echo request from a ping socket: `remote`'s port is not used.
pub(crate) fn send_echo(
    shard: &mut Shard,
    now: Instant,
    socket: SocketId,
    remote: IpAddr,
    sequence: u16,
    payload: &[u8],
) -> Result<(), Error> {
    let _ = (shard, now, socket, remote, sequence, payload);
    todo!()
}

#[allow(unused)]
fn unused(_: InterfaceId, _: SocketAddr) {}
