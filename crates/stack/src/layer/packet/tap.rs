//! Taps: packet sockets that hear of frames at stages of their way through the stack, behind the filter for
//! one, rather than as they pass interfaces.
//!
//! A tap is told at which stage it was, and at the end of a frame's way why it ended. What somebody has
//! claimed comes to no stage, so taps don't hear of it. While there are taps, each stage is watched as for
//! those who watch ([`layer::watch`](crate::layer::watch)).

use super::{Sight, control::packet, give, untagged};
use crate::{
    Shard,
    counters::DropReason,
    layer::watch::Frame,
    request::{Error, Reply, SocketId},
    table::watch::Stages,
};
use narrows_wire::ethernet::Header;

/// A frame is at one stage of its way; with `reason` it ends there.
#[cold]
pub(in crate::layer) fn tap(
    shard: &mut Shard,
    stage: Stages,
    frame: &Frame<'_>,
    reason: Option<DropReason>,
) {
    let count = shard.watchers.as_ref().map_or(0, |watchers| watchers.taps.len());
    if count == 0 {
        return;
    }
    let parsed = match frame.header {
        [] => Header::parse(frame.payload),
        header => Header::parse(header).map(|(header, _)| (header, frame.payload)),
    };
    // Shorter than an Ethernet header, there is nothing that a packet socket could be told.
    let Ok((header, payload)) = parsed else { return };
    let zone = super::zone_of(shard, frame.interface, header, payload);
    let whole = frame.header.len() + frame.payload.len();
    let (header, vlan, payload) = untagged(header, payload);
    let before = whole - payload.len();
    let unfinished =
        frame.unfinished.and_then(|(start, offset)| Some((start.checked_sub(before)?, offset)));
    let sight = Sight {
        interface: frame.interface,
        zone,
        kind: frame.kind,
        header,
        vlan,
        payload,
        unfinished,
        verified: frame.verified,
        segment_size: frame.segment_size,
        stage,
        reason,
    };
    for at in 0..count {
        let found = shard.watchers.as_ref().and_then(|watchers| watchers.taps.get(at).copied());
        let Some(id) = found else { break };
        let wants = super::packet_socket(shard, id).is_some_and(|one| one.tap.contains(stage));
        if wants && Some(id) != shard.packets.sender {
            give(shard, id, &sight);
        }
    }
}

/// Where the socket hears of frames from now on.
pub(super) fn set(shard: &mut Shard, id: SocketId, stages: Stages) -> Result<Reply, Error> {
    let socket = packet(shard, id)?;
    let shares = socket.fanout.is_some();
    let claims = shard.packets.claims.iter().any(|(holder, _)| holder == id);
    if !stages.is_empty() && (shares || claims || stages.contains(Stages::RECEIVE)) {
        return Err(Error::InvalidArgument);
    }
    packet(shard, id)?.tap = stages;
    forget(shard, id);
    if !stages.is_empty() {
        shard.watchers.get_or_insert_default().taps.push(id);
    }
    shard.interfaces.touch();
    Ok(Reply::Done)
}

/// The socket is no tap any more.
pub(super) fn forget(shard: &mut Shard, id: SocketId) {
    let Some(watchers) = &mut shard.watchers else { return };
    watchers.taps.retain(|tap| *tap != id);
    if watchers.is_empty() {
        shard.watchers = None;
    }
}
