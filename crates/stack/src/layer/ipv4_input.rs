//! IPv4's receive side: header, options, martians, is it ours, reassembly, and to the transport.

use crate::{Instant, InterfaceId, Shard, counters::DropReason};
use narrows_wire::offload::RxOffload;

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &[u8],
    offload: RxOffload,
) -> Result<(), DropReason> {
    let _ = (shard, now, interface, packet, offload);
    todo!()
}

/// Gives up datagrams whose fragments did not come; arms the timer again.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    let _ = (shard, now);
    todo!()
}
