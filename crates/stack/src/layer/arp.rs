//! ARP (RFC 826): who has an address on the link.

use crate::{Instant, InterfaceId, Shard, counters::DropReason};
use core::net::Ipv4Addr;
use narrows_wire::address::MacAddr;

/// What is known of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    Known(MacAddr),
    /// Asked; `layer::tcp::neighbor_resolved` and the queued packets follow when it answers.
    Pending,
    /// Asked in vain a moment ago.
    Failed,
}

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &[u8],
) -> Result<(), DropReason> {
    let _ = (shard, now, interface, packet);
    todo!()
}

/// The next hop's link address; begins to ask for it if it isn't known.
pub(crate) fn resolve(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    next_hop: Ipv4Addr,
) -> Resolution {
    let _ = (shard, now, interface, next_hop);
    todo!()
}

/// Sets an entry that no ARP changes.
pub(crate) fn pin(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    address: core::net::IpAddr,
    mac: MacAddr,
) -> Result<(), crate::request::Error> {
    let _ = (shard, now, interface, address, mac);
    todo!()
}

/// Retries, ages and gives up what is due; arms the timer again.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    let _ = (shard, now);
    todo!()
}
