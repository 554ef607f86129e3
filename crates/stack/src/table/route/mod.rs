//! Where packets go: several tables of routes, and rules that say in which to look.
//!
//! Invariant: of one prefix and metric a table's routes stand in the order in which they were put,
//! lower metrics first; and everything that can change the answer to a [`Query`] changes
//! [`RouteTables::generation`].
//!
//! | file | what is there |
//! |---|---|
//! | `types` | routes and next hops, in the words of ip-route(8) |
//! | `trie` | the longest prefix |
//! | `shared` | what routes have in common, kept once |
//! | `balance` | which of several next hops a flow takes |
//! | `rule` | rules |
//! | `settings` | how an interface takes part |
//! | `zones` | which routes are whose, by the zone of their interface |
//!
//! A lookup is as Linux's fib_lookup(): each rule that is about the packet names a table; the route
//! of the longest prefix with the lowest metric decides, unless none of its next hops may be used:
//! then the next best does. The addresses of this host are not in a table: the interface table
//! knows them. The local table has what the operator adds to it.
//!
//! Two things differ from Linux on purpose. Several next hops share flows by a keyed hash of
//! addresses, protocol and ports, and by buckets that stay where they are when another hop dies. And a
//! route whose gateways are all dead is passed over if there is another to the same prefix with a higher
//! metric.

mod balance;
mod rule;
mod settings;
mod shared;
mod trie;
mod types;
mod zones;

pub use rule::{Action, Rule, RuleFilter, Selector};
pub use settings::{HostModel, ReversePath, RoutingSettings};
pub use types::{
    Facts, NextHop, Path, Placement, Route, RouteError, RouteFilter, RouteKind, RouteProtocol,
    Scope, TableId,
};

use crate::{
    random::Key,
    request::Principal,
    table::{
        interface::InterfaceId,
        zone::{ZoneId, ZoneSet},
    },
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{address::Prefix, ipv4::Protocol};
use rule::RuleList;
use shared::{Dead, FactsId, SharedFacts, is_dead};
use std::collections::BTreeMap;
use trie::PrefixMap;
use zones::ZoneMap;

/// Tables with routes: Linux has 256 without a list, and nobody writes rules for more.
pub const MAX_TABLES: usize = 256;
/// Rules are asked one after the other: a longer list is a route table in disguise.
pub const MAX_RULES: usize = 4096;
/// Ways of one route: more than a fabric has spines.
pub const MAX_NEXT_HOPS: usize = 64;

/// What is known of a packet that needs a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// `None`: yet to be chosen.
    pub source: Option<Ipv4Addr>,
    pub destination: Ipv4Addr,
    /// Where it came in; `None`: it is this host's own.
    pub input: Option<InterfaceId>,
    /// The interface its socket is bound to: it leaves by no other, and rules may ask for it.
    pub output: Option<InterfaceId>,
    /// It leaves by no other interface, which is no business of rules (the strong host model).
    pub held_to: Option<InterfaceId>,
    pub mark: u32,
    /// Whose socket sends it.
    pub principal: Principal,
    /// It may leave by interfaces of these zones alone.
    pub zones: ZoneSet,
    /// It asks for something new: TCP's first SYN.
    pub begins: bool,
    /// Protocol and both ports, in which flows between the same hosts differ; zeros where they
    /// can't be known: of fragments, and of other protocols.
    pub transport: (Protocol, u16, u16),
}

impl Query {
    /// A packet of this host's to `destination`.
    pub fn to(destination: Ipv4Addr) -> Self {
        Self {
            source: None,
            destination,
            input: None,
            output: None,
            held_to: None,
            mark: 0,
            principal: Principal::HOST,
            zones: ZoneSet::ALL,
            begins: false,
            transport: (Protocol(0), 0, 0),
        }
    }

    fn hash(&self, key: &Key) -> u64 {
        let (protocol, source_port, destination_port) = self.transport;
        let source = self.source.map_or(0, Ipv4Addr::to_bits);
        let addresses = (source, self.destination.to_bits());
        key.hash(&(addresses, protocol.0, source_port, destination_port))
    }

    fn may_use(&self, hop: &NextHop, zones: &ZoneMap) -> bool {
        let agrees = |asked: Option<InterfaceId>| asked.is_none_or(|asked| asked == hop.interface);
        agrees(self.output)
            && agrees(self.held_to)
            && (self.zones == ZoneSet::ALL || self.zones.contains(zones.of(hop.interface)))
    }
}

/// What the tables say to a [`Query`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    Found(Found<'a>),
    /// A route or a rule says no: [`RouteKind::Blackhole`], `Unreachable` or `Prohibit`.
    Refused(RouteKind),
    None,
}

/// A route that leads somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    pub to: Prefix,
    pub table: TableId,
    pub facts: &'a Facts,
    /// `None`: to this host itself.
    pub hop: Option<NextHop>,
}

/// The routes of one prefix, in the order in which they are tried.
#[derive(Clone, Debug)]
enum Routes {
    One(FactsId),
    Several(Box<[FactsId]>),
}

impl Routes {
    fn as_slice(&self) -> &[FactsId] {
        match self {
            Self::One(id) => core::slice::from_ref(id),
            Self::Several(ids) => ids,
        }
    }

    /// `None` of no routes.
    fn from(ids: Vec<FactsId>) -> Option<Self> {
        match ids.as_slice() {
            [] => None,
            [id] => Some(Self::One(*id)),
            _ => Some(Self::Several(ids.into())),
        }
    }
}

type Table = PrefixMap<Routes>;

#[derive(Clone, Debug)]
pub struct RouteTables {
    tables: BTreeMap<TableId, Table>,
    rules: RuleList,
    shared: SharedFacts,
    dead: Dead,
    zones: ZoneMap,
    routes: usize,
    limit: usize,
    /// Of the hash that deals flows out to next hops.
    key: Key,
    generation: u64,
}

impl RouteTables {
    /// At most `limit` routes in all tables together.
    pub fn new(limit: usize, key: Key) -> Self {
        Self {
            tables: BTreeMap::new(),
            rules: RuleList::default(),
            shared: SharedFacts::default(),
            dead: Dead::new(),
            zones: ZoneMap::default(),
            routes: 0,
            limit,
            key,
            generation: 0,
        }
    }

    /// Whoever keeps an answer looks again when this has changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Something beside routes changed that answers are made of.
    pub(crate) fn touch(&mut self) {
        self.generation += 1;
    }

    /// The routes by an interface are in its zone.
    pub(crate) fn set_zone(&mut self, interface: InterfaceId, zone: ZoneId) {
        self.zones.set(interface, zone);
        self.generation += 1;
    }

    pub fn len(&self) -> usize {
        self.routes
    }

    pub fn is_empty(&self) -> bool {
        self.routes == 0
    }

    /// Memory that prefixes and nodes take.
    pub fn bytes(&self) -> usize {
        self.tables.values().map(PrefixMap::bytes).sum()
    }

    /// Adds a route whose next hops the caller has checked; host bits of its prefix don't count.
    pub fn add(&mut self, route: Route, placement: Placement) -> Result<(), RouteError> {
        let key = key_of(route.to)?;
        if route.table.0 == 0 {
            return Err(RouteError::NoSuchTable);
        }
        let table = self.tables.get(&route.table);
        let held = table.and_then(|table| table.get(key)).map_or(&[][..], Routes::as_slice);
        let metric = |id: &FactsId| self.shared.get(*id).map_or(0, |facts| facts.metric);
        let start = held.partition_point(|id| metric(id) < route.facts.metric);
        let end = held.partition_point(|id| metric(id) <= route.facts.metric);
        let rivals = held.get(start..end).unwrap_or_default();
        let identical = rivals.iter().position(|id| self.shared.get(*id) == Some(&route.facts));
        let (index, replaced) = match placement {
            Placement::Alone if !rivals.is_empty() => return Err(RouteError::Exists),
            Placement::Append | Placement::Prepend if identical.is_some() => {
                return Err(RouteError::Exists);
            }
            Placement::Replace | Placement::Change if identical == Some(0) => return Ok(()),
            Placement::Replace | Placement::Change if identical.is_some() => {
                return Err(RouteError::Exists);
            }
            Placement::Change if rivals.is_empty() => return Err(RouteError::NotFound),
            Placement::Replace | Placement::Change => (start, rivals.first().copied()),
            Placement::Alone | Placement::Prepend => (start, None),
            Placement::Append => (end, None),
        };
        let new_table = table.is_none() && self.tables.len() >= MAX_TABLES;
        if replaced.is_none() && self.routes >= self.limit || new_table {
            return Err(RouteError::LimitReached);
        }
        let mut ids = held.to_vec();
        let id = self.shared.take(route.facts, &self.dead);
        match replaced.and_then(|replaced| Some((replaced, ids.get_mut(index)?))) {
            Some((replaced, slot)) => {
                *slot = id;
                self.shared.release(replaced);
            }
            None => {
                ids.insert(index, id);
                self.routes += 1;
            }
        }
        self.put(route.table, key, ids);
        Ok(())
    }

    /// Removes the first route that the filter names, and gives it.
    pub fn remove(&mut self, filter: &RouteFilter) -> Result<Route, RouteError> {
        let key = key_of(filter.to)?;
        let table = self.tables.get(&filter.table).ok_or(RouteError::NotFound)?;
        let mut ids = table.get(key).ok_or(RouteError::NotFound)?.as_slice().to_vec();
        let named = |id: &FactsId| self.shared.get(*id).is_some_and(|facts| filter.matches(facts));
        let index = ids.iter().position(named).ok_or(RouteError::NotFound)?;
        let facts = self.shared.release(ids.remove(index)).ok_or(RouteError::NotFound)?;
        self.routes -= 1;
        self.put(filter.table, key, ids);
        Ok(Route { to: filter.to.network(), table: filter.table, facts })
    }

    /// An interface goes, and the next hops by it; with the last one a route, with its interface a
    /// rule.
    pub fn remove_interface(&mut self, interface: InterfaceId) {
        let by_it = |hop: &NextHop| hop.interface == interface;
        let routes: Vec<_> =
            self.iter().filter(|route| route.facts.hops.iter().any(by_it)).collect();
        for Route { to, table, facts } in routes {
            let hops = facts.hops.iter().map(|hop| (Some(hop.interface), hop.via)).collect();
            let metric = Some(facts.metric);
            let filter = RouteFilter { hops, metric, ..RouteFilter::to(to, table) };
            let removed = self.remove(&filter);
            let left: Vec<_> = facts.hops.iter().filter(|hop| !by_it(hop)).copied().collect();
            if removed.is_ok() && !left.is_empty() {
                let facts = Facts { hops: left, ..facts };
                // Room was just made for it.
                let _ = self.add(Route { to, table, facts }, Placement::Append);
            }
        }
        self.rules.remove_interface(interface);
        self.generation += 1;
    }

    /// What there is of this prefix now.
    fn put(&mut self, table: TableId, key: trie::Key, ids: Vec<FactsId>) {
        self.generation += 1;
        match Routes::from(ids) {
            Some(routes) => drop(self.tables.entry(table).or_default().insert(key, routes)),
            None => {
                let Some(held) = self.tables.get_mut(&table) else { return };
                held.remove(key);
                if held.is_empty() {
                    self.tables.remove(&table);
                }
            }
        }
    }

    /// The routes of all tables, in no order, from a place on: each with the place after it.
    pub fn iter_from(
        &self,
        from: (TableId, usize),
    ) -> impl Iterator<Item = ((TableId, usize), Route)> {
        self.tables.range(from.0..).flat_map(move |(table, routes)| {
            let start = if *table == from.0 { from.1 } else { 0 };
            routes.iter_from(start).flat_map(move |(next, key, ids)| {
                ids.as_slice().iter().filter_map(move |id| {
                    let to = prefix_of(key)?;
                    let facts = self.shared.get(*id)?.clone();
                    Some(((*table, next), Route { to, table: *table, facts }))
                })
            })
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = Route> {
        self.iter_from((TableId(0), 0)).map(|(_, route)| route)
    }

    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The preference of a rule that names none.
    pub fn free_preference(&self) -> u32 {
        self.rules.free_preference()
    }

    pub fn add_rule(&mut self, rule: Rule) -> Result<(), RouteError> {
        if self.rules.len() >= MAX_RULES {
            return Err(RouteError::LimitReached);
        }
        self.rules.add(rule)?;
        self.generation += 1;
        Ok(())
    }

    pub fn remove_rule(&mut self, filter: &RuleFilter) -> Result<Rule, RouteError> {
        let removed = self.rules.remove(filter)?;
        self.generation += 1;
        Ok(removed)
    }

    /// Rules may be about groups of interfaces.
    pub(crate) fn set_group(&mut self, interface: InterfaceId, group: u32) {
        self.rules.set_group(interface, group);
        self.generation += 1;
    }

    /// The way of a packet.
    pub fn lookup(&self, query: &Query) -> Answer<'_> {
        for action in self.rules.about(query) {
            if let Some(kind) = action.refusal() {
                return Answer::Refused(kind);
            }
            let Action::Lookup(table) = action else { continue };
            let Some(found) = self.lookup_in(table, query, Scope::Global) else { continue };
            match found.facts.kind {
                RouteKind::Unicast | RouteKind::Local => return Answer::Found(found),
                RouteKind::Throw => {}
                kind => return Answer::Refused(kind),
            }
        }
        Answer::None
    }

    /// Among routes that lead no further than `scope`.
    fn lookup_in(&self, id: TableId, query: &Query, scope: Scope) -> Option<Found<'_>> {
        let table = self.tables.get(&id)?;
        let any = |hop: &NextHop| query.may_use(hop, &self.zones);
        let closer = |hop: &NextHop| any(hop) && self.zones.of(hop.interface) != ZoneId::PUBLIC;
        let alive = |hop: &NextHop| any(hop) && !is_dead(hop, &self.dead);
        let alive_closer = |hop: &NextHop| closer(hop) && alive(hop);
        table.lookup(query.destination, |key, routes| {
            let first = |will_do: &dyn Fn(&NextHop) -> bool| {
                let select = |id: &FactsId| self.shared.select(*id, &self.key, query, will_do);
                let near = |(facts, _): &(&Facts, _)| facts.scope >= scope;
                routes.as_slice().iter().filter_map(select).find(near)
            };
            // Of one prefix in several zones, that of the smaller circle.
            let closer = || first(&closer).filter(|(_, hop)| hop.is_some());
            let found = match (self.dead.is_empty(), self.zones.is_single()) {
                (true, true) => first(&any),
                (true, false) => closer().or_else(|| first(&any)),
                (false, true) => first(&alive).or_else(|| first(&any)),
                (false, false) => first(&alive_closer)
                    .filter(|(_, hop)| hop.is_some())
                    .or_else(|| first(&alive))
                    .or_else(closer)
                    .or_else(|| first(&any)),
            };
            let (facts, hop) = found?;
            Some(Found { to: prefix_of(key)?, table: id, facts, hop })
        })
    }

    /// Is a local route around `address`? It is as good as an address of this host.
    pub fn is_local(&self, address: Ipv4Addr) -> bool {
        // Looked up by the permanent first rule.
        let found = self.lookup_in(TableId::LOCAL, &Query::to(address), Scope::Global);
        found.is_some_and(|found| found.facts.kind == RouteKind::Local)
    }

    /// The interface on whose link a gateway is, as far as routes know; `by`: it must be that one.
    /// Looked up first in the `table` of the route that is to have it. A route with a gateway of its
    /// own does not count, so no route leads back to itself.
    pub fn link_towards(
        &self,
        table: TableId,
        gateway: Ipv4Addr,
        by: Option<InterfaceId>,
    ) -> Option<InterfaceId> {
        let query = Query { output: by, ..Query::to(gateway) };
        let link = |found: Found<'_>| found.hop.map(|hop| hop.interface);
        if table != TableId::MAIN
            && let Some(found) = self.lookup_in(table, &query, Scope::Link).and_then(link)
        {
            return Some(found);
        }
        for action in self.rules.about(&query) {
            let Action::Lookup(table) = action else { return None };
            match self.lookup_in(table, &query, Scope::Link) {
                None => {}
                Some(found) if found.facts.kind == RouteKind::Throw => {}
                Some(found) => return link(found),
            }
        }
        None
    }

    /// The routes of one table to exactly this prefix, in the order in which they are tried.
    pub fn in_table(&self, table: TableId, to: Prefix) -> Vec<Route> {
        let routes = key_of(to).ok().and_then(|key| self.tables.get(&table)?.get(key));
        let ids = routes.map_or(&[][..], Routes::as_slice);
        let facts = ids.iter().filter_map(|id| self.shared.get(*id).cloned());
        facts.map(|facts| Route { to: to.network(), table, facts }).collect()
    }

    /// A gateway stopped or began to answer.
    pub fn set_alive(&mut self, interface: InterfaceId, gateway: Ipv4Addr, alive: bool) {
        let hop = (interface, gateway);
        let changed = if alive { self.dead.remove(&hop) } else { self.dead.insert(hop) };
        if changed {
            self.shared.rebalance(hop, &self.dead);
            self.generation += 1;
        }
    }

    pub fn is_alive(&self, interface: InterfaceId, gateway: Ipv4Addr) -> bool {
        !self.dead.contains(&(interface, gateway))
    }

    pub fn dead_gateways(&self) -> Dead {
        self.dead.clone()
    }

    /// Is there a route with several next hops?
    pub fn balances(&self) -> bool {
        self.shared.balanced_gateways().next().is_some()
    }

    /// Gateways among which flows are shared, each once: whether they live has to be known.
    pub fn balanced_gateways(&self) -> Dead {
        self.shared.balanced_gateways().collect()
    }
}

fn key_of(prefix: Prefix) -> Result<trie::Key, RouteError> {
    match prefix.address() {
        IpAddr::V4(address) => Ok(trie::Key::new(address, prefix.length())),
        IpAddr::V6(_) => Err(RouteError::FamilyNotSupported),
    }
}

fn prefix_of(key: trie::Key) -> Option<Prefix> {
    Prefix::new(key.address().into(), key.length())
}

#[cfg(test)]
mod tests;
