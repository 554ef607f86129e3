//! The way of a packet that this host sends: interface, next hop, source address and MTU.

use super::zone;
use crate::{
    Shard,
    request::Error,
    table::{
        interface::InterfaceId,
        route::{Answer, HostModel, Path, Query, RouteKind},
        zone::ZoneSet,
    },
};
use core::net::Ipv4Addr;

/// The path to a host as an interface sees it: in its zone.
pub(crate) fn path_from(
    shard: &Shard,
    interface: InterfaceId,
    destination: Ipv4Addr,
) -> Result<Path, Error> {
    let zones = ZoneSet::only(shard.interfaces.zone(interface));
    path_for(shard, &Query { zones, ..Query::to(destination) })
}

/// [`path_for`], of what a program asks for: what it is refused because nothing crosses zones is counted.
pub(crate) fn path_of(shard: &mut Shard, query: &Query) -> Result<Path, Error> {
    let found = path_for(shard, query);
    if found.as_ref().is_err_and(|error| *error == Error::OtherZone) {
        zone::refuse(shard, query);
    }
    found
}

/// Local destinations go by the loopback interface. A source address that is given already decides
/// the interface where the host is strong (RFC 1122 §3.3.4.2): packets leave by the one that owns it,
/// whatever other ways there are. It decides the zone too; without one, all zones are looked at that
/// the principal is admitted to.
pub(crate) fn path_for(shard: &Shard, query: &Query) -> Result<Path, Error> {
    let destination = query.destination;
    let owner = match query.source {
        Some(source) => owner(shard, source)?,
        None => None,
    };
    let query = &Query { zones: zone::open_to(shard, query), ..*query };
    if is_local(shard, destination) {
        return local_path(shard, query);
    }
    if query.output.is_some_and(|output| !query.zones.contains(shard.interfaces.zone(output))) {
        return Err(Error::OtherZone);
    }
    if destination.is_multicast() {
        return group_path(shard, query, owner);
    }
    let [first, ..] = destination.octets();
    // Nowhere (0/8), and reserved addresses.
    let nowhere = first == 0 || first >= 224 && !destination.is_broadcast();
    if nowhere || owner == Some(InterfaceId::LOOPBACK) {
        return Err(Error::NetworkUnreachable);
    }
    if destination.is_broadcast()
        && let Some(interface) = query.output.or(owner)
    {
        return link_path(shard, interface, query);
    }
    let query = Query { held_to: owner.filter(|owner| is_strong(shard, *owner)), ..*query };
    let found = match shard.routes.lookup(&query) {
        Answer::Found(found) => found,
        Answer::Refused(RouteKind::Unreachable) => return Err(Error::HostUnreachable),
        Answer::Refused(RouteKind::Prohibit) => return Err(Error::Prohibited),
        // As Linux: EINVAL.
        Answer::Refused(_) => return Err(Error::InvalidArgument),
        Answer::None => return Err(Error::NetworkUnreachable),
    };
    let Some(hop) = found.hop else { return local_path(shard, &query) };
    zone::check(shard, &query, shard.interfaces.zone(hop.interface))?;
    if destination.is_broadcast() {
        return link_path(shard, hop.interface, &query);
    }
    let next_hop = hop.via.unwrap_or(destination);
    let link = shard.interfaces.get(hop.interface).ok_or(Error::NetworkUnreachable)?;
    if link.is_subnet_number(next_hop) {
        return Err(Error::NetworkUnreachable);
    }
    // Of a private zone's subnet there is nobody but its members, and those are here.
    if shard.zones.is_private(link.zone) && !link.is_broadcast(next_hop) {
        return Err(Error::HostUnreachable);
    }
    let chosen = || zone::source_for(shard, &query, hop.interface, next_hop);
    let source = query.source.or_else(|| match shard.zones.is_private(link.zone) {
        true => None,
        false => found.facts.source,
    });
    let source = source.or_else(chosen);
    let mtu = link.settings.mtu;
    let learned = shard.path_mtus.get((link.zone, destination));
    Ok(Path {
        interface: hop.interface,
        next_hop,
        source: source.ok_or(Error::AddressNotAvailable)?,
        mtu: learned.map_or(mtu, |known| known.min(mtu)),
        broadcast: link.is_broadcast(next_hop),
    })
}

/// The limited broadcast goes to all hosts of one link: that of the socket's interface or address, or
/// the one that the default route leads to, whatever its gateway.
fn link_path(shard: &Shard, interface: InterfaceId, query: &Query) -> Result<Path, Error> {
    let link = shard.interfaces.get(interface).ok_or(Error::NetworkUnreachable)?;
    zone::check(shard, query, link.zone)?;
    let chosen = || zone::source_for(shard, query, interface, query.destination);
    Ok(Path {
        interface,
        next_hop: query.destination,
        source: query.source.or_else(chosen).ok_or(Error::AddressNotAvailable)?,
        mtu: link.settings.mtu,
        broadcast: true,
    })
}

/// To a group: by the interface that the socket is bound to, or that has the source address, or that
/// the route leads by. No gateway stands between.
fn group_path(shard: &Shard, query: &Query, owner: Option<InterfaceId>) -> Result<Path, Error> {
    let group = query.destination;
    let by_route = || match shard.routes.lookup(query) {
        Answer::Found(found) => found.hop.map(|hop| hop.interface),
        Answer::Refused(_) | Answer::None => None,
    };
    let interface = query.output.or(owner).or_else(by_route).ok_or(Error::NetworkUnreachable)?;
    let link = shard.interfaces.get(interface).ok_or(Error::NetworkUnreachable)?;
    zone::check(shard, query, link.zone)?;
    let source = query.source.or_else(|| zone::source_for(shard, query, interface, group));
    Ok(Path {
        interface,
        next_hop: group,
        source: source.ok_or(Error::AddressNotAvailable)?,
        mtu: link.settings.mtu,
        broadcast: false,
    })
}

/// The interface that has a source address; `None`: it is this host's by a local route.
fn owner(shard: &Shard, source: Ipv4Addr) -> Result<Option<InterfaceId>, Error> {
    match shard.interfaces.owner(source.into()) {
        Some(owner) => Ok(Some(owner)),
        None if shard.routes.is_local(source) => Ok(None),
        None => Err(Error::AddressNotAvailable),
    }
}

fn is_local(shard: &Shard, address: Ipv4Addr) -> bool {
    shard.interfaces.owner(address.into()).is_some() || shard.routes.is_local(address)
}

/// A router answers for all its addresses on all its links, so its own packets go out by any.
fn is_strong(shard: &Shard, interface: InterfaceId) -> bool {
    let settings = shard.interfaces.get(interface).map(|found| &found.settings.routing);
    settings.is_some_and(|routing| routing.host_model == HostModel::Strong && !routing.forward)
}

/// As on Linux, an own address is reached from itself, and all of 127.0.0.0/8 from 127.0.0.1; a member
/// of a private zone, from another member's.
fn local_path(shard: &Shard, query: &Query) -> Result<Path, Error> {
    let destination = query.destination;
    let loopback = shard.interfaces.get(InterfaceId::LOOPBACK).ok_or(Error::NetworkUnreachable)?;
    let owner = shard.interfaces.owner(destination.into()).unwrap_or(InterfaceId::LOOPBACK);
    let zone = shard.interfaces.zone(owner);
    zone::check(shard, query, zone)?;
    let source = match shard.zones.is_private(zone) {
        true => query.source.or_else(|| zone::source_for(shard, query, owner, destination)),
        false if destination.is_loopback() => Some(Ipv4Addr::LOCALHOST),
        false => Some(destination),
    };
    let source = source.ok_or(Error::OtherZone)?;
    Ok(Path {
        interface: InterfaceId::LOOPBACK,
        next_hop: destination,
        source,
        mtu: loopback.settings.mtu,
        broadcast: false,
    })
}

#[cfg(test)]
mod tests;
