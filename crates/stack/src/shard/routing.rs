//! What the operator asks of addresses and routes.

use super::Shard;
use crate::{
    counters::DropReason,
    layer::route::{Cast, Decision, Inbound, decide, path_for},
    request::{Error, Reply},
    table::{
        interface::{Interface, InterfaceId},
        route::{
            Answer, Facts, MAX_NEXT_HOPS, NextHop, Placement, Query, Route, RouteError,
            RouteFilter, RouteProtocol, Rule, TableId,
        },
    },
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{address::Prefix, ipv4};

/// What [`Shard::route`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The loopback for what is for this host.
    pub interface: InterfaceId,
    pub via: Option<Ipv4Addr>,
    /// The address to send from; `None` of what only passes.
    pub source: Option<Ipv4Addr>,
    pub table: TableId,
    pub broadcast: bool,
    /// What a router told of the path.
    pub mtu: Option<u16>,
}

impl Resolved {
    fn local(interface: InterfaceId) -> Self {
        Self {
            interface,
            via: None,
            source: None,
            table: TableId::LOCAL,
            broadcast: false,
            mtu: None,
        }
    }
}

impl Shard {
    /// The last address of a subnet (`gone`: the address, or its peer) takes the route to it along; of
    /// several the next becomes the one to send from.
    pub(super) fn disconnect_subnet(&mut self, interface: InterfaceId, gone: Prefix) {
        let connected = RouteFilter {
            protocol: Some(RouteProtocol::KERNEL),
            hops: vec![(Some(interface), None)],
            ..RouteFilter::to(gone, TableId::MAIN)
        };
        // The operator may have removed it.
        let _ = self.routes.remove(&connected);
        self.routes.touch();
        let Some(left) = self.interfaces.get(interface) else { return };
        let same = |held: &&Prefix| left.subnet_of(**held) == gone.network();
        if let Some(next) = left.addresses.iter().find(same).copied() {
            // There was a route to the same a moment ago.
            let _ = self.connect_subnet(interface, next);
        }
    }

    /// The route to an address' subnet, if the interface has none yet.
    pub(super) fn connect_subnet(
        &mut self,
        interface: InterfaceId,
        prefix: Prefix,
    ) -> Result<(), Error> {
        self.routes.touch();
        let IpAddr::V4(source) = prefix.address() else { return Err(Error::FamilyNotSupported) };
        let peer = self.interfaces.get(interface).and_then(|found| found.peer_of(prefix));
        // A /32 has no neighbors but its peer.
        if prefix.length() == 32 && peer.is_none() {
            return Ok(());
        }
        let subnet = peer.unwrap_or(prefix).network();
        let same = |route: &Route| {
            let hop = NextHop::new(interface, None);
            route.to == subnet
                && route.facts.protocol == RouteProtocol::KERNEL
                && route.facts.hops == [hop]
        };
        if self.routes.in_table(TableId::MAIN, subnet).iter().any(same) {
            return Ok(());
        }
        let route = Route::unicast(subnet, interface, None);
        let facts = Facts { protocol: RouteProtocol::KERNEL, source: Some(source), ..route.facts };
        Ok(self.routes.add(Route { facts, ..route }, Placement::Append)?)
    }

    /// Adds a route that can work: its gateways are on links, its source is ours.
    pub(crate) fn add_route(&mut self, route: Route, placement: Placement) -> Result<Reply, Error> {
        let facts = &route.facts;
        match (facts.kind.has_hops(), facts.hops.len()) {
            (true, 0) => return Err(RouteError::NoNextHop.into()),
            (true, 1..=MAX_NEXT_HOPS) | (false, 0) => {}
            (true, _) => return Err(RouteError::LimitReached.into()),
            (false, _) => return Err(RouteError::UnexpectedNextHop.into()),
        }
        facts.hops.iter().try_for_each(|hop| self.check_hop(route.table, hop))?;
        if let Some(source) = facts.source
            && self.interfaces.owner(source.into()).is_none()
            && !self.routes.is_local(source)
        {
            return Err(RouteError::SourceNotOwn.into());
        }
        self.routes.add(route, placement)?;
        Ok(Reply::Done)
    }

    fn check_hop(&self, table: TableId, hop: &NextHop) -> Result<(), RouteError> {
        if hop.interface == InterfaceId::LOOPBACK {
            return Err(RouteError::NoSuchInterface);
        }
        let link = self.interfaces.get(hop.interface).ok_or(RouteError::NoSuchInterface)?;
        if !(1..=256).contains(&hop.weight) {
            return Err(RouteError::BadWeight);
        }
        let Some(via) = hop.via else { return Ok(()) };
        if self.interfaces.owner(via.into()).is_some() || self.routes.is_local(via) {
            return Err(RouteError::GatewayIsOwn);
        }
        let [first, ..] = via.octets();
        let one_host = !matches!(first, 0 | 127 | 224..) && !link.is_broadcast(via);
        let reached = || self.routes.link_towards(table, via, Some(hop.interface)).is_some();
        if one_host && (hop.on_link || reached()) {
            Ok(())
        } else {
            Err(RouteError::GatewayNotOnLink)
        }
    }

    /// Where a packet would go, and what would be sent from. With `input` set: one that came in there.
    pub fn route(&self, query: &Query) -> Result<Resolved, Error> {
        match query.input {
            Some(interface) => self.route_in(interface, query),
            None => self.route_out(query),
        }
    }

    fn route_out(&self, query: &Query) -> Result<Resolved, Error> {
        let destination = query.destination;
        let directed =
            |link: &Interface| !destination.is_broadcast() && link.is_broadcast(destination);
        let mut links = self.interfaces.iter();
        if let Some((interface, _)) = links.find(|(_, link)| directed(link)) {
            let source = self.interfaces.source_for(interface, destination);
            return Ok(Resolved { broadcast: true, source, ..Resolved::local(interface) });
        }
        let path = path_for(self, query)?;
        if path.interface == InterfaceId::LOOPBACK {
            return Ok(Resolved { source: Some(path.source), ..Resolved::local(path.interface) });
        }
        let (table, via) = self.table_and_via(query);
        Ok(Resolved {
            interface: path.interface,
            via: Some(path.next_hop).filter(|hop| *hop != destination || via == Some(*hop)),
            source: Some(path.source),
            table,
            broadcast: false,
            mtu: self.path_mtus.get((self.interfaces.zone(path.interface), destination)),
        })
    }

    /// Of the route that a packet takes.
    fn table_and_via(&self, query: &Query) -> (TableId, Option<Ipv4Addr>) {
        match self.routes.lookup(query) {
            Answer::Found(found) => (found.table, found.hop.and_then(|hop| hop.via)),
            Answer::Refused(_) | Answer::None => (TableId::MAIN, None),
        }
    }

    fn route_in(&self, interface: InterfaceId, query: &Query) -> Result<Resolved, Error> {
        let Query { source, destination, transport: (protocol, from, to), .. } = *query;
        let source = source.ok_or(Error::InvalidArgument)?;
        let header = ipv4::Header {
            tos: 0,
            identification: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol,
            source,
            destination,
        };
        let [a, b] = from.to_be_bytes();
        let [c, d] = to.to_be_bytes();
        let packet = Inbound {
            interface,
            header: &header,
            payload: &[a, b, c, d],
            joined: false,
            mark: query.mark,
        };
        match decide(&self.interfaces, &self.zones, &self.routes, &packet) {
            Decision::Deliver(cast) => {
                let broadcast = cast == Cast::Broadcast;
                Ok(Resolved { broadcast, ..Resolved::local(InterfaceId::LOOPBACK) })
            }
            Decision::Forward(way) => {
                let (table, via) = self.table_and_via(query);
                Ok(Resolved {
                    interface: way.interface,
                    via,
                    source: None,
                    table,
                    broadcast: false,
                    mtu: None,
                })
            }
            Decision::Refuse(refusal) => Err(match refusal.reason {
                DropReason::ReversePath => Error::SourceNotBelieved,
                DropReason::NotLocal | DropReason::RouteUnreachable => Error::HostUnreachable,
                DropReason::NoRoute => Error::NetworkUnreachable,
                DropReason::RouteProhibited => Error::Prohibited,
                DropReason::OtherZone => Error::OtherZone,
                _ => Error::InvalidArgument,
            }),
        }
    }

    /// Does a gateway answer, as far as is known?
    pub fn gateway_is_alive(&self, interface: InterfaceId, gateway: Ipv4Addr) -> bool {
        self.routes.is_alive(interface, gateway)
    }

    /// The interface by which a route of `table` that names none reaches its gateway.
    pub fn interface_towards(&self, table: TableId, gateway: Ipv4Addr) -> Option<InterfaceId> {
        self.routes.link_towards(table, gateway, None)
    }

    pub(super) fn add_rule(&mut self, rule: Rule) -> Result<Reply, Error> {
        let interfaces = [rule.selector.input, rule.selector.output];
        if interfaces.into_iter().flatten().any(|id| self.interfaces.get(id).is_none()) {
            return Err(RouteError::NoSuchInterface.into());
        }
        let preference = match rule.preference {
            0 => self.routes.free_preference(),
            preference => preference,
        };
        self.routes.add_rule(Rule { preference, ..rule })?;
        Ok(Reply::Done)
    }
}
