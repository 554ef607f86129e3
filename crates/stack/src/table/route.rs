//! Where packets go: longest prefix match. Invariant: one route per prefix.

use crate::table::interface::InterfaceId;
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::address::Prefix;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub to: Prefix,
    pub interface: InterfaceId,
    /// The gateway; `None` when the destination is on the link.
    pub via: Option<Ipv4Addr>,
}

#[derive(Clone, Debug, Default)]
pub struct RouteTable {}

impl RouteTable {
    /// Replaces the route of the same prefix.
    pub fn add(&mut self, route: Route) {
        let _ = route;
        todo!()
    }

    pub fn remove(&mut self, to: Prefix) -> Option<Route> {
        let _ = to;
        todo!()
    }

    pub fn lookup(&self, destination: IpAddr) -> Option<&Route> {
        let _ = destination;
        todo!()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        core::iter::empty()
    }
}
