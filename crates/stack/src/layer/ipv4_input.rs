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
