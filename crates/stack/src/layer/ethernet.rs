//! Ethernet: is the frame for this station, and for which protocol?

use crate::{Instant, InterfaceId, Shard, counters::DropReason};
use narrows_wire::offload::RxOffload;

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    frame: &[u8],
    offload: RxOffload,
) -> Result<(), DropReason> {
    let _ = (shard, now, interface, frame, offload);
    todo!()
}
