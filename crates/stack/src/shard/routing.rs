//! What the operator asks of addresses and routes.

use super::Shard;
use crate::{
    request::{Error, Reply},
    table::{
        interface::InterfaceId,
        route::{
            Facts, MAX_NEXT_HOPS, NextHop, Placement, Route, RouteError, RouteFilter,
            RouteProtocol, Rule, TableId,
        },
    },
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::address::Prefix;

impl Shard {
    /// The last address of a subnet takes the route to it along; of several the next becomes the one
    /// to send from.
    pub(super) fn disconnect_subnet(&mut self, interface: InterfaceId, gone: Prefix) {
        let connected = RouteFilter {
            protocol: Some(RouteProtocol::KERNEL),
            hops: vec![(Some(interface), None)],
            ..RouteFilter::to(gone, TableId::MAIN)
        };
        // The operator may have removed it.
        let _ = self.routes.remove(&connected);
        self.routes.touch();
        let left = self.interfaces.get(interface);
        let mut left = left.iter().flat_map(|interface| &interface.addresses);
        if let Some(next) = left.find(|held| held.network() == gone.network()).copied() {
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
        // A /32 has no neighbors.
        if prefix.length() == 32 {
            return Ok(());
        }
        let subnet = prefix.network();
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
    pub(super) fn add_route(&mut self, route: Route, placement: Placement) -> Result<Reply, Error> {
        let facts = &route.facts;
        match (facts.kind.has_hops(), facts.hops.len()) {
            (true, 0) => return Err(RouteError::NoNextHop.into()),
            (true, 1..=MAX_NEXT_HOPS) | (false, 0) => {}
            (true, _) => return Err(RouteError::LimitReached.into()),
            (false, _) => return Err(RouteError::UnexpectedNextHop.into()),
        }
        facts.hops.iter().try_for_each(|hop| self.check_hop(hop))?;
        if let Some(source) = facts.source
            && self.interfaces.owner(source.into()).is_none()
            && !self.routes.is_local(source)
        {
            return Err(RouteError::SourceNotOwn.into());
        }
        self.routes.add(route, placement)?;
        Ok(Reply::Done)
    }

    fn check_hop(&self, hop: &NextHop) -> Result<(), RouteError> {
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
        let reached = hop.on_link || self.routes.on_link(hop.interface, via);
        if one_host && reached { Ok(()) } else { Err(RouteError::GatewayNotOnLink) }
    }

    /// The interface by which a gateway can be reached: for routes that name none.
    pub fn interface_towards(&self, gateway: Ipv4Addr) -> Option<InterfaceId> {
        self.routes.link_towards(gateway)
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
