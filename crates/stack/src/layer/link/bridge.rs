//! Bridges: what goes on to other ports is copied, with what its device must still do to it.

use super::{Ascent, copy, output, state::arm};
use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::segmentation::onward,
    table::{bridge::Forwarding, egress::Frame},
};
use narrows_wire::ethernet;

/// A frame that came in by a port: does it go on to the bridge itself?
pub(super) fn input(
    shard: &mut Shard,
    now: Instant,
    bridge: InterfaceId,
    port: InterfaceId,
    frame: &Ascent<'_>,
) -> Result<bool, DropReason> {
    let station = shard.interfaces.get(bridge).ok_or(DropReason::LinkDown)?;
    let own = station.settings.mac;
    let state = shard.links.bridge_mut(bridge).ok_or(DropReason::LinkDown)?;
    let ethernet::Header { source, destination, .. } = frame.header;
    let verdict = state.receive(now, port, source, destination, own);
    arm(shard);
    match verdict? {
        Forwarding::Nowhere => {}
        Forwarding::Port(to) => {
            let onward = onward(copy(frame), frame.offload)?;
            output(shard, to, onward)?;
        }
        Forwarding::Flood => {
            let onward = onward(copy(frame), frame.offload)?;
            flood(shard, bridge, Some(port), &onward);
        }
    }
    Ok(destination == own || destination.is_multicast())
}

/// Sends a frame by every port but the one it came by.
pub(super) fn flood(
    shard: &mut Shard,
    bridge: InterfaceId,
    came_by: Option<InterfaceId>,
    frame: &Frame,
) {
    let Some(state) = shard.links.get(bridge).and_then(|link| link.bridge()) else { return };
    let open = |port: &InterfaceId| Some(*port) != came_by && !state.is_closed(*port);
    let ports: Vec<_> = state.ports().filter(open).collect();
    for port in ports {
        // A port without a wire is no loss.
        if !shard.links.is_running(port) {
            continue;
        }
        if let Err(reason) = output(shard, port, frame.clone()) {
            shard.drop(reason);
        }
    }
}
