//! Traffic between sockets of this shard: what one sends is what another receives, as whole IPv4
//! packets without a link header or a computed checksum, up to 64 KiB each.

use crate::{Instant, InterfaceId, Shard, counters::Place, layer};
use narrows_wire::offload::{RxChecksum, RxOffload, TxOffload};

/// Packets carried in one run, so that other work gets its turn.
const BUDGET: usize = 64;

/// Carries waiting packets; true: more are waiting.
pub(crate) fn run(shard: &mut Shard, now: Instant) -> bool {
    for _ in 0..BUDGET {
        if let Some(frame) = shard.egress.pop(InterfaceId::LOOPBACK) {
            deliver(shard, now, &frame.bytes, frame.offload);
            continue;
        }
        let mut packet = core::mem::take(&mut shard.scratch);
        let offload = layer::tcp::next_packet(shard, now, &mut packet);
        if let Some(offload) = offload {
            deliver(shard, now, &packet, offload);
        }
        shard.scratch = packet;
        if offload.is_none() {
            break;
        }
    }
    !shard.egress.is_empty(InterfaceId::LOOPBACK)
}

fn deliver(shard: &mut Shard, now: Instant, packet: &[u8], offload: TxOffload) {
    shard.counters.place = Place::at(InterfaceId::LOOPBACK);
    shard.count_sent(packet.len());
    if let Some(link) = shard.links.get_mut(InterfaceId::LOOPBACK) {
        link.traffic.sent(1, packet.len() as u64);
        link.traffic.received(packet.len(), false);
    }
    shard.counters.frames_received += 1;
    shard.counters.bytes_received += packet.len() as u64;
    let received = RxOffload {
        checksum: RxChecksum::Partial,
        segment_size: offload.segmentation.map(|segmentation| segmentation.segment_size),
    };
    if shard.packets.is_watching() {
        layer::packet::loopback(shard, packet, received);
    }
    if shard.watchers.is_some() {
        layer::watch::depart(shard, InterfaceId::LOOPBACK, packet, received);
    }
    let result = layer::ipv4_input::input(shard, now, InterfaceId::LOOPBACK, packet, received);
    let result = layer::inspect::taken(result);
    if shard.watchers.is_some() {
        layer::watch::arrive(shard, InterfaceId::LOOPBACK, packet, received, result);
    }
    if let Err(reason) = result {
        shard.counters.drop(reason);
    }
}
