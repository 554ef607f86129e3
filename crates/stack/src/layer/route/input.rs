//! What becomes of a packet that came in.

use super::{transport, zone::crosser};
use crate::{
    counters::DropReason,
    table::{
        interface::{Interface, InterfaceId, InterfaceTable},
        route::{
            Answer, HostModel, NextHop, Query, ReversePath, RouteKind, RouteTables, RoutingSettings,
        },
        zone::{ZoneId, ZoneSet, ZoneTable},
    },
};
use core::net::Ipv4Addr;
use narrows_wire::{
    icmpv4::Unreachable,
    ipv4::{self, Protocol},
};

/// A packet whose header is well formed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inbound<'a> {
    pub interface: InterfaceId,
    pub header: &'a ipv4::Header,
    pub payload: &'a [u8],
    /// Of a packet for a group: does anybody here want to hear it?
    pub joined: bool,
    /// That rules gave it.
    pub mark: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Deliver(Cast),
    Forward(Way),
    Refuse(Refusal),
}

/// To whom a packet for us is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    Unicast,
    Broadcast,
    Multicast,
}

/// Where a packet for another host goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub interface: InterfaceId,
    /// The gateway, or the destination itself on the link.
    pub next_hop: Ipv4Addr,
}

/// A packet that goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: DropReason,
    /// What its sender is told, where an ICMP error is allowed.
    pub answer: Option<Unreachable>,
}

impl Refusal {
    fn silent(reason: DropReason) -> Decision {
        Decision::Refuse(Self { reason, answer: None })
    }

    fn told(reason: DropReason, code: Unreachable) -> Decision {
        Decision::Refuse(Self { reason, answer: Some(code) })
    }
}

/// Is a packet for this host, for another that we send it on to, or for nobody? Addresses that can
/// be on no wire and sources that can't be true are refused before any protocol sees the packet.
pub(crate) fn decide(
    interfaces: &InterfaceTable,
    zones: &ZoneTable,
    routes: &RouteTables,
    packet: &Inbound<'_>,
) -> Decision {
    let Inbound { interface, header, .. } = *packet;
    if interface == InterfaceId::LOOPBACK {
        return own(interfaces, zones, routes, packet);
    }
    let Some(station) = interfaces.get(interface) else {
        return Refusal::silent(DropReason::NotLocal);
    };
    let destination = header.destination;
    if destination.is_multicast() {
        return for_group(interfaces, routes, packet, station);
    }
    let broadcast = station.is_broadcast(destination);
    if !may_be_on_wire(destination, broadcast)
        || !may_be_source(interfaces, interface, header.source)
    {
        return Refusal::silent(DropReason::Martian);
    }
    if !zones.is_single() && is_elsewhere(interfaces, zones, routes, packet, station.zone) {
        return Refusal::silent(DropReason::OtherZone);
    }
    let settings = &station.settings.routing;
    let local = is_local(interfaces, routes, packet, settings);
    if !broadcast && !local && !settings.forward {
        return Refusal::silent(DropReason::NotLocal);
    }
    if !is_believable(routes, packet, station) {
        return Refusal::silent(DropReason::ReversePath);
    }
    match (broadcast, local) {
        (true, _) => Decision::Deliver(Cast::Broadcast),
        (false, true) => Decision::Deliver(Cast::Unicast),
        (false, false) => forward(interfaces, zones, routes, packet),
    }
}

/// Is it for an address of ours in another zone, which nothing lets it go to?
fn is_elsewhere(
    interfaces: &InterfaceTable,
    zones: &ZoneTable,
    routes: &RouteTables,
    packet: &Inbound<'_>,
    from: ZoneId,
) -> bool {
    let destination = packet.header.destination;
    let ours = interfaces.owner(destination.into()).is_some() || routes.is_local(destination);
    let to = interfaces.zone_of(destination.into());
    ours && !zones.lets_cross(from, to, &crosser(packet.header, packet.payload))
}

/// A packet for a group is for us if somebody here has joined it and wants to hear its sender.
fn for_group(
    interfaces: &InterfaceTable,
    routes: &RouteTables,
    packet: &Inbound<'_>,
    station: &Interface,
) -> Decision {
    let Inbound { interface, header, joined, .. } = *packet;
    // Who has no address yet says so to the link (RFC 3376 §4.2.13).
    let nobody = header.source.is_unspecified() && header.protocol == Protocol::IGMP;
    if !nobody && !may_be_source(interfaces, interface, header.source) {
        return Refusal::silent(DropReason::Martian);
    }
    if !joined {
        return Refusal::silent(DropReason::NotJoined);
    }
    if !nobody && !is_believable(routes, packet, station) {
        return Refusal::silent(DropReason::ReversePath);
    }
    Decision::Deliver(Cast::Multicast)
}

/// Can one host have this address and reach us by `interface` with it? Not "this network", the
/// loopback, groups, reserved addresses or broadcasts (RFC 1122 §3.2.1.3, RFC 6890); and not an
/// address of ours: who claims that attacks (LAND) or is misconfigured.
pub(crate) fn may_be_source(
    interfaces: &InterfaceTable,
    interface: InterfaceId,
    source: Ipv4Addr,
) -> bool {
    let [first, ..] = source.octets();
    let one_host = !matches!(first, 0 | 127 | 224..);
    one_host
        && interfaces.owner(source.into()).is_none()
        && interfaces.get(interface).is_some_and(|station| {
            !station.is_broadcast(source) && !station.is_subnet_number(source)
        })
}

/// RFC 6890: "this network", the loopback and reserved addresses never are.
fn may_be_on_wire(destination: Ipv4Addr, broadcast: bool) -> bool {
    let [first, ..] = destination.octets();
    !matches!(first, 0 | 127) && (first < 240 || broadcast)
}

/// A packet of our own: both ends are ours, or it is our copy of what we sent to several.
fn own(
    interfaces: &InterfaceTable,
    zones: &ZoneTable,
    routes: &RouteTables,
    packet: &Inbound<'_>,
) -> Decision {
    let header = packet.header;
    let lets_cross = || {
        let zone = |address: Ipv4Addr| interfaces.zone_of(address.into());
        let (from, to) = (zone(header.source), zone(header.destination));
        from == to || zones.lets_cross(from, to, &crosser(header, packet.payload))
    };
    let ours =
        |address: Ipv4Addr| interfaces.owner(address.into()).is_some() || routes.is_local(address);
    match (ours(header.source), ours(header.destination)) {
        (true, true) if !zones.is_single() && !lets_cross() => {
            Refusal::silent(DropReason::OtherZone)
        }
        (true, true) => Decision::Deliver(Cast::Unicast),
        (true, false) if packet.joined => Decision::Deliver(Cast::Multicast),
        (true, false) => {
            let station = interfaces.owner(header.source.into()).and_then(|id| interfaces.get(id));
            if station.is_some_and(|station| station.is_broadcast(header.destination)) {
                return Decision::Deliver(Cast::Broadcast);
            }
            Refusal::silent(DropReason::NotLocal)
        }
        (false, _) => Refusal::silent(DropReason::Martian),
    }
}

/// Is the destination ours, as seen from where the packet came in (RFC 1122 §3.3.4.2)?
fn is_local(
    interfaces: &InterfaceTable,
    routes: &RouteTables,
    packet: &Inbound<'_>,
    settings: &RoutingSettings,
) -> bool {
    let destination = packet.header.destination;
    match interfaces.owner(destination.into()) {
        Some(owner) if owner == packet.interface => true,
        Some(InterfaceId::LOOPBACK) => false,
        Some(_) => settings.host_model == HostModel::Weak || settings.forward,
        None => routes.is_local(destination),
    }
}

/// Would an answer take a way that fits (RFC 3704)? Hosts on the link are believed: there are two
/// ways to them if two interfaces are in one subnet.
fn is_believable(routes: &RouteTables, packet: &Inbound<'_>, station: &Interface) -> bool {
    let source = packet.header.source;
    let mode = station.settings.routing.reverse_path;
    if mode == ReversePath::Off || station.on_link(source) {
        return true;
    }
    let own = Some(packet.header.destination).filter(|own| !own.is_multicast());
    let zones = ZoneSet::only(station.zone);
    let back = Query { source: own, zones, ..Query::to(source) };
    match routes.lookup(&back) {
        Answer::Found(found) if found.facts.kind == RouteKind::Unicast => {
            let by_this = |hop: &NextHop| hop.interface == packet.interface;
            mode == ReversePath::Loose || found.facts.hops.iter().any(by_this)
        }
        _ => false,
    }
}

/// RFC 1812 §5.2: where to, for another host.
fn forward(
    interfaces: &InterfaceTable,
    zones: &ZoneTable,
    routes: &RouteTables,
    packet: &Inbound<'_>,
) -> Decision {
    let Inbound { interface, header, payload, mark, .. } = *packet;
    // RFC 3927 §7: link-local addresses mean something else on every link.
    let destination = header.destination;
    let from = interfaces.zone(interface);
    if destination.is_link_local() || header.source.is_link_local() {
        return Refusal::silent(DropReason::NotLocal);
    }
    let query = Query {
        source: Some(header.source),
        input: Some(interface),
        mark,
        transport: transport(header, payload),
        zones: match zones.is_single() {
            true => ZoneSet::ALL,
            false => zones.beyond(from),
        },
        ..Query::to(destination)
    };
    match routes.lookup(&query) {
        Answer::Found(found) => match found.hop {
            Some(hop) => {
                let next_hop = hop.via.unwrap_or(destination);
                let link = interfaces.get(hop.interface);
                let to = interfaces.zone(hop.interface);
                if from != to && !zones.lets_cross(from, to, &crosser(header, payload)) {
                    return Refusal::silent(DropReason::OtherZone);
                }
                // RFC 1812 §5.3.5.2: directed broadcasts are not forwarded.
                let leads_on = |link: &Interface| {
                    !link.is_broadcast(next_hop) && !link.is_subnet_number(next_hop)
                };
                match link.is_some_and(leads_on) {
                    true => Decision::Forward(Way { interface: hop.interface, next_hop }),
                    false => Refusal::silent(DropReason::NoRoute),
                }
            }
            None => Decision::Deliver(Cast::Unicast),
        },
        Answer::Refused(RouteKind::Unreachable) => {
            Refusal::told(DropReason::RouteUnreachable, Unreachable::HOST)
        }
        Answer::Refused(RouteKind::Prohibit) => {
            let code = Unreachable::ADMINISTRATIVELY_PROHIBITED;
            Refusal::told(DropReason::RouteProhibited, code)
        }
        Answer::Refused(_) => Refusal::silent(DropReason::RouteBlackhole),
        Answer::None => Refusal::told(DropReason::NoRoute, Unreachable::NETWORK),
    }
}

#[cfg(test)]
mod tests;
