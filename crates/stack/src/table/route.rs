//! Where packets go: longest prefix match. Invariant: one route per prefix.
//!
//! Routes are grouped by prefix length, longest first; a lookup masks the destination to each
//! length in use and looks it up exactly. Tables have few distinct lengths, so that is a handful
//! of probes however many routes there are, and at most one per possible length.

use crate::table::interface::InterfaceId;
use core::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr},
};
use narrows_wire::address::Prefix;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub to: Prefix,
    pub interface: InterfaceId,
    /// The gateway; `None` when the destination is on the link.
    pub via: Option<Ipv4Addr>,
}

#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    by_length: BTreeMap<Reverse<u8>, BTreeMap<IpAddr, Route>>,
}

impl RouteTable {
    /// Replaces the route of the same prefix; host bits of the prefix don't count.
    pub fn add(&mut self, route: Route) {
        let to = route.to.network();
        self.by_length
            .entry(Reverse(to.length()))
            .or_default()
            .insert(to.address(), Route { to, ..route });
    }

    pub fn remove(&mut self, to: Prefix) -> Option<Route> {
        let to = to.network();
        let routes = self.by_length.get_mut(&Reverse(to.length()))?;
        let removed = routes.remove(&to.address());
        if routes.is_empty() {
            self.by_length.remove(&Reverse(to.length()));
        }
        removed
    }

    /// All routes by an interface that goes.
    pub fn remove_interface(&mut self, interface: InterfaceId) {
        for routes in self.by_length.values_mut() {
            routes.retain(|_, route| route.interface != interface);
        }
        self.by_length.retain(|_, routes| !routes.is_empty());
    }

    /// The route of the longest prefix that contains `destination`.
    pub fn lookup(&self, destination: IpAddr) -> Option<&Route> {
        self.matches(destination).next()
    }

    /// The same among the routes of one interface.
    pub fn lookup_on(&self, interface: InterfaceId, destination: IpAddr) -> Option<&Route> {
        self.matches(destination).find(|route| route.interface == interface)
    }

    /// Longest prefixes first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.by_length.values().flat_map(BTreeMap::values)
    }

    /// The routes whose prefix contains `destination`, longest first.
    fn matches(&self, destination: IpAddr) -> impl Iterator<Item = &Route> {
        self.by_length.iter().filter_map(move |(Reverse(length), routes)| {
            routes.get(&Prefix::new(destination, *length)?.network().address())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').expect("a prefix");
        Prefix::new(address.parse().expect("an address"), length.parse().expect("a length"))
            .expect("a valid prefix")
    }

    fn route(to: &str, interface: u16, via: Option<&str>) -> Route {
        Route {
            to: prefix(to),
            interface: InterfaceId(interface),
            via: via.map(|address| address.parse().expect("an address")),
        }
    }

    fn table() -> RouteTable {
        let mut table = RouteTable::default();
        for entry in [
            route("0.0.0.0/0", 1, Some("10.0.0.1")),
            route("10.0.0.0/8", 2, None),
            route("10.1.0.0/16", 3, None),
            route("10.1.2.0/24", 4, None),
            route("10.1.2.3/32", 5, None),
            route("2001:db8::/32", 6, None),
        ] {
            table.add(entry);
        }
        table
    }

    #[test]
    fn the_longest_prefix_wins() {
        let table = table();
        for (destination, interface) in [
            ("10.1.2.3", Some(5)),
            ("10.1.2.4", Some(4)),
            ("10.1.3.1", Some(3)),
            ("10.2.0.1", Some(2)),
            ("11.0.0.1", Some(1)),
            ("2001:db8::1", Some(6)),
            ("2001:db9::1", None),
        ] {
            let found = table.lookup(destination.parse().unwrap()).map(|route| route.interface.0);
            assert_eq!(found, interface, "{destination}");
        }
    }

    #[test]
    fn a_lookup_can_be_held_to_one_interface() {
        let table = table();
        let destination = "10.1.2.3".parse().unwrap();
        for interface in 1..=5 {
            let found = table.lookup_on(InterfaceId(interface), destination);
            assert_eq!(found.map(|route| route.interface.0), Some(interface));
        }
        assert_eq!(table.lookup_on(InterfaceId(6), destination), None);
    }

    #[test]
    fn one_route_per_prefix() {
        let mut table = table();
        // Host bits of a prefix are no part of it.
        table.add(route("10.1.2.99/24", 9, None));
        assert_eq!(table.iter().count(), 6);
        let found = table.lookup("10.1.2.4".parse().unwrap()).copied();
        assert_eq!(found, Some(route("10.1.2.0/24", 9, None)));
        assert_eq!(table.remove(prefix("10.1.2.1/24")), found);
        assert_eq!(table.remove(prefix("10.1.2.1/24")), None);
        assert_eq!(table.lookup("10.1.2.4".parse().unwrap()).map(|r| r.interface.0), Some(3));
    }

    #[test]
    fn routes_are_listed_longest_first() {
        let lengths: Vec<u8> = table().iter().map(|route| route.to.length()).collect();
        assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
    }

    #[test]
    fn an_empty_table_has_no_route() {
        assert_eq!(RouteTable::default().lookup("10.0.0.1".parse().unwrap()), None);
    }
}
