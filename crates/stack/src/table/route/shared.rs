//! What routes have in common, kept once: a million routes lead to a handful of gateways.
//! Invariant: equal facts have one id, as long as a route uses them.

use super::{Facts, NextHop, Query, balance::Buckets};
use crate::{random::Key, table::interface::InterfaceId};
use core::net::Ipv4Addr;
use slab::Slab;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FactsId(u32);

/// Gateways that don't answer.
pub(super) type Dead = BTreeSet<(InterfaceId, Ipv4Addr)>;

#[derive(Clone, Debug)]
struct Shared {
    facts: Facts,
    routes: usize,
    /// Of several next hops.
    buckets: Option<Buckets>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct SharedFacts {
    all: Slab<Shared>,
    ids: BTreeMap<Facts, FactsId>,
}

impl SharedFacts {
    pub fn get(&self, id: FactsId) -> Option<&Facts> {
        self.all.get(id.0 as usize).map(|shared| &shared.facts)
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.ids.is_empty()
    }

    /// One more route uses these.
    pub fn take(&mut self, facts: Facts, dead: &Dead) -> FactsId {
        if let Some(id) = self.ids.get(&facts).copied() {
            if let Some(shared) = self.all.get_mut(id.0 as usize) {
                shared.routes += 1;
            }
            return id;
        }
        let buckets = (facts.hops.len() > 1).then(|| Buckets::new(&weights(&facts.hops, dead)));
        let shared = Shared { facts: facts.clone(), routes: 1, buckets };
        let id = FactsId(self.all.insert(shared) as u32);
        self.ids.insert(facts, id);
        id
    }

    /// One route less uses these; gives them.
    pub fn release(&mut self, id: FactsId) -> Option<Facts> {
        let shared = self.all.get_mut(id.0 as usize)?;
        shared.routes -= 1;
        if shared.routes > 0 {
            return Some(shared.facts.clone());
        }
        let facts = self.all.try_remove(id.0 as usize)?.facts;
        self.ids.remove(&facts);
        Some(facts)
    }

    /// A gateway died or returned.
    pub fn rebalance(&mut self, gateway: (InterfaceId, Ipv4Addr), dead: &Dead) {
        for (_, Shared { facts, buckets, .. }) in &mut self.all {
            let uses = |hop: &NextHop| (hop.interface, hop.via) == (gateway.0, Some(gateway.1));
            if let Some(buckets) = buckets.as_mut().filter(|_| facts.hops.iter().any(uses)) {
                buckets.rebalance(&weights(&facts.hops, dead));
            }
        }
    }

    /// The gateways of routes with several next hops.
    pub fn balanced_gateways(&self) -> impl Iterator<Item = (InterfaceId, Ipv4Addr)> {
        let several = self.all.iter().filter(|(_, shared)| shared.buckets.is_some());
        let hops = several.flat_map(|(_, shared)| &shared.facts.hops);
        hops.filter_map(|hop| Some((hop.interface, hop.via?)))
    }

    /// The next hop of a packet: one that `will_do`.
    pub fn select(
        &self,
        id: FactsId,
        key: &Key,
        query: &Query,
        will_do: impl Fn(&NextHop) -> bool,
    ) -> Option<(&Facts, Option<NextHop>)> {
        let Shared { facts, buckets, .. } = self.all.get(id.0 as usize)?;
        if !facts.kind.has_hops() {
            return Some((facts, None));
        }
        let hop = match buckets {
            None => facts.hops.first().filter(|hop| will_do(hop)),
            Some(buckets) => {
                let at = |index: usize| facts.hops.get(index);
                let index = buckets.select(query.hash(key), |hop| at(hop).is_some_and(&will_do));
                index.and_then(at)
            }
        };
        hop.map(|hop| (facts, Some(*hop)))
    }
}

/// The dead weigh nothing.
fn weights(hops: &[NextHop], dead: &Dead) -> Vec<u16> {
    let weight = |hop: &NextHop| if is_dead(hop, dead) { 0 } else { hop.weight };
    hops.iter().map(weight).collect()
}

pub(super) fn is_dead(hop: &NextHop, dead: &Dead) -> bool {
    hop.via.is_some_and(|via| dead.contains(&(hop.interface, via)))
}
