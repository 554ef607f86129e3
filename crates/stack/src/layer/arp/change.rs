//! What the operator changes of the neighbor table.

use super::{arm, may_be_source, reachable_time, resolved, settle_connections};
use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    request::Error,
    table::neighbor::{NeighborChange, SetError},
};
use core::net::IpAddr;

/// Proxied addresses of one interface: a list that somebody writes by hand.
const MAX_PROXIED: usize = 1024;

/// Sets an entry; what waited for its link address is sent.
pub(crate) fn set(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    address: IpAddr,
    change: NeighborChange,
) -> Result<(), Error> {
    let IpAddr::V4(next_hop) = address else { return Err(Error::FamilyNotSupported) };
    if !change.mac.is_unicast()
        || interface == InterfaceId::LOOPBACK
        || !may_be_source(shard, interface, next_hop)
    {
        return Err(Error::InvalidArgument);
    }
    let limit = shard.config.limits.neighbors;
    let reachable = reachable_time(shard);
    let key = (interface, address);
    let set = shard.neighbors.set(now, limit, key, change, reachable);
    let waiting = set.map_err(|error| match error {
        SetError::Exists => Error::AlreadyExists,
        SetError::Missing => Error::NoSuchEntry,
        SetError::Full => Error::LimitReached,
    })?;
    resolved(shard, key, change.mac, waiting);
    arm(shard);
    Ok(())
}

/// Forgets an entry; what waited for its link address is dropped.
pub(crate) fn remove(
    shard: &mut Shard,
    interface: InterfaceId,
    address: IpAddr,
) -> Result<(), Error> {
    let key = (interface, address);
    for _ in shard.neighbors.remove(key).ok_or(Error::NoSuchEntry)? {
        shard.drop(DropReason::NeighborUnresolved);
    }
    settle_connections(shard, key);
    arm(shard);
    Ok(())
}

/// From now on (or no longer) the interface answers for `address`, if another interface leads there.
pub(crate) fn set_proxied(
    shard: &mut Shard,
    interface: InterfaceId,
    address: IpAddr,
    proxied: bool,
) -> Result<(), Error> {
    let IpAddr::V4(target) = address else { return Err(Error::FamilyNotSupported) };
    if interface == InterfaceId::LOOPBACK || !may_be_source(shard, interface, target) {
        return Err(Error::InvalidArgument);
    }
    let station = shard.interfaces.get_mut(interface).ok_or(Error::NoSuchInterface)?;
    match proxied {
        true if station.proxied.contains(&target) => Ok(()),
        true if station.proxied.len() >= MAX_PROXIED => Err(Error::LimitReached),
        true => {
            station.proxied.insert(target);
            Ok(())
        }
        false => station.proxied.remove(&target).then_some(()).ok_or(Error::NoSuchEntry),
    }
}
