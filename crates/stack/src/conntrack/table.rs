//! All flows. Invariant: a confirmed flow is found by exactly its two tuples, no tuple names two flows, and each
//! source is charged for the flows that it began.

use super::{
    flow::{Count, Flow, Status, Transport},
    tcp,
    tuple::{Direction, Tuple},
    watch::{Change, Watch},
};
use crate::{
    config::ConntrackConfig,
    counters::DropReason,
    random::{Key, Random},
    time::{Duration, Instant},
};
use core::net::Ipv4Addr;
use narrows_wire::ipv4::Protocol;
use slab::Slab;
use std::collections::HashMap;

/// A flow's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowId(pub(crate) u32);

#[derive(Debug)]
pub struct Conntrack {
    pub(super) flows: Slab<Flow>,
    by_tuple: HashMap<Tuple, (FlowId, Direction), Key>,
    /// How many flows an address has begun.
    sources: HashMap<Ipv4Addr, u32, Key>,
    /// Flows whose first packet is on its way: a few, as one packet leads to another.
    pending: Vec<FlowId>,
    /// Where the search for a flow to give up goes on.
    hand: usize,
    serial: u64,
    /// Ranges of addresses are shared out by it.
    pub(super) key: Key,
    pub(super) config: ConntrackConfig,
    watch: Watch,
}

/// A flow as reports show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub serial: u64,
    pub tuples: [Tuple; 2],
    pub state: Option<tcp::State>,
    pub status: Status,
    pub mark: u32,
    pub counts: [Count; 2],
    pub expires: Instant,
}

/// Flows looked at to find one that may be given up: enough that a table full of strangers' first packets never
/// keeps a new one out, and few enough to do for each packet of a flood.
const SEARCH: usize = 64;

impl Conntrack {
    pub fn new(config: ConntrackConfig, random: &mut Random) -> Self {
        Self {
            flows: Slab::new(),
            by_tuple: HashMap::with_hasher(random.key()),
            sources: HashMap::with_hasher(random.key()),
            pending: Vec::new(),
            hand: 0,
            serial: 0,
            key: random.key(),
            config,
            watch: Watch::default(),
        }
    }

    pub fn set_config(&mut self, config: ConntrackConfig) {
        self.config = config;
    }

    pub fn config(&self) -> &ConntrackConfig {
        &self.config
    }

    /// Flows in the table, and those whose first packet is on its way.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub fn get(&self, id: FlowId) -> Option<&Flow> {
        self.flows.get(id.0 as usize)
    }

    pub(crate) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.flows.get_mut(id.0 as usize)
    }

    /// The flow that packets of this tuple are of, and in which direction they go; also one whose first packet
    /// is on its way.
    pub fn find(&self, tuple: &Tuple) -> Option<(FlowId, Direction)> {
        if let Some(found) = self.by_tuple.get(tuple) {
            return Some(*found);
        }
        let directions = [Direction::Original, Direction::Reply];
        self.pending.iter().find_map(|id| {
            let flow = self.get(*id)?;
            directions
                .into_iter()
                .find(|direction| flow.tuple(*direction) == tuple)
                .map(|direction| (*id, direction))
        })
    }

    /// Would packets of this tuple be taken for those of another flow than `own`?
    pub(super) fn is_taken(&self, tuple: &Tuple, own: FlowId) -> bool {
        self.find(tuple).is_some_and(|(id, _)| id != own)
    }

    /// A flow that this packet begins. It is not in the table before it is confirmed.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        tuple: Tuple,
        segment: Option<&tcp::Observed>,
    ) -> Result<FlowId, Refusal> {
        if !tuple.may_begin() {
            return Err(Refusal::Invalid);
        }
        let transport = match segment {
            Some(segment) => {
                let tracker = tcp::Tracker::new(segment).ok_or(Refusal::Invalid)?;
                Transport::Tcp(Box::new(tracker))
            }
            None => Transport::Other,
        };
        let of_source = self.sources.get(&tuple.source).copied().unwrap_or(0);
        if of_source as usize >= self.config.flows_per_source {
            return Err(Refusal::Drop(DropReason::ConntrackSourceLimit));
        }
        if self.flows.len() >= self.config.flows && !self.give_up_one() {
            return Err(Refusal::Drop(DropReason::ConntrackFull));
        }
        self.serial += 1;
        let mut flow = Flow {
            tuples: [tuple, tuple.inverse()],
            transport,
            status: Status::empty(),
            mark: 0,
            counts: [Count::default(); 2],
            expires: now,
            began: now,
            serial: self.serial,
            held: 0,
        };
        flow.expires = now + flow.patience(now, &self.config.timeouts);
        let id = FlowId(u32::try_from(self.flows.insert(flow)).unwrap_or(u32::MAX));
        *self.sources.entry(tuple.source).or_default() += 1;
        self.pending.push(id);
        Ok(id)
    }

    /// Takes in a flow that another table lists, as far as that says it. False: there is no room, or one like it.
    pub fn adopt(&mut self, now: Instant, listed: &Listed) -> bool {
        let [original, reply] = listed.tuples;
        let full = self.flows.len() >= self.config.flows;
        if full || self.by_tuple.contains_key(&original) || self.by_tuple.contains_key(&reply) {
            return false;
        }
        self.serial += 1;
        let transport = match listed.state {
            Some(state) => Transport::Tcp(Box::new(tcp::Tracker::adopted(state))),
            None => Transport::Other,
        };
        let id = self.flows.insert(Flow {
            tuples: listed.tuples,
            transport,
            status: listed.status | Status::CONFIRMED,
            mark: listed.mark,
            counts: listed.counts,
            expires: listed.expires,
            began: now,
            serial: self.serial,
            held: 0,
        });
        let id = FlowId(u32::try_from(id).unwrap_or(u32::MAX));
        *self.sources.entry(original.source).or_default() += 1;
        self.by_tuple.insert(reply, (id, Direction::Reply));
        self.by_tuple.insert(original, (id, Direction::Original));
        true
    }

    /// A packet of a flow, `length` bytes long.
    pub(crate) fn update(
        &mut self,
        now: Instant,
        id: FlowId,
        direction: Direction,
        segment: Option<&tcp::Observed>,
        length: usize,
    ) -> Heard {
        let timeouts = &self.config.timeouts;
        let Some(flow) = self.flows.get_mut(id.0 as usize) else { return Heard::Invalid };
        let before = (flow.tcp_state(), flow.status);
        let mut patience = None;
        if let (Transport::Tcp(tracker), Some(segment)) = (&mut flow.transport, segment) {
            let answered = flow.status.contains(Status::SEEN_REPLY);
            match tracker.segment(direction, segment, timeouts) {
                tcp::Verdict::Belongs { patience: silent, assured } => {
                    // Nobody is there: such a flow is over as it begins.
                    let refused =
                        direction == Direction::Reply && !answered && segment.header.flags.rst();
                    patience = Some(if refused { Duration::ZERO } else { silent });
                    flow.status.set(
                        Status::ASSURED,
                        flow.status.contains(Status::ASSURED) || answered && assured,
                    );
                }
                tcp::Verdict::Passes => patience = Some(flow.expires.since(now)),
                tcp::Verdict::Invalid => return Heard::Invalid,
                tcp::Verdict::Anew => return Heard::Anew,
            }
        }
        if direction == Direction::Reply {
            flow.status |= Status::SEEN_REPLY;
        }
        let count = &mut flow.counts[direction as usize];
        count.packets = count.packets.wrapping_add(1);
        count.bytes = count.bytes.wrapping_add(length as u64);
        let patience = patience.unwrap_or_else(|| flow.patience(now, timeouts));
        if patience == timeouts.udp_stream && flow.tuples[0].protocol == Protocol::UDP {
            flow.status |= Status::ASSURED;
        }
        let expires = now + patience;
        let sooner = expires < flow.expires;
        flow.expires = expires;
        if before != (flow.tcp_state(), flow.status) && flow.status.contains(Status::CONFIRMED) {
            self.tell(Change::Update, id);
        }
        if sooner { Heard::Sooner(expires) } else { Heard::Later }
    }

    /// Puts the flow into the table: its first packet passes.
    pub(crate) fn confirm(&mut self, id: FlowId) -> Result<(), DropReason> {
        let Some(at) = self.pending.iter().position(|pending| *pending == id) else {
            return Ok(());
        };
        let Some(flow) = self.flows.get_mut(id.0 as usize) else { return Ok(()) };
        let [original, reply] = flow.tuples;
        if self.by_tuple.contains_key(&original) || self.by_tuple.contains_key(&reply) {
            return Err(DropReason::ConntrackClash);
        }
        flow.status |= Status::CONFIRMED;
        self.pending.swap_remove(at);
        self.by_tuple.insert(reply, (id, Direction::Reply));
        // Who talks to himself has one tuple for both.
        self.by_tuple.insert(original, (id, Direction::Original));
        self.tell(Change::New, id);
        Ok(())
    }

    /// The first packet is done with: a flow that was not confirmed is forgotten.
    pub(crate) fn settle(&mut self, id: FlowId) {
        if self.pending.contains(&id) && self.get(id).is_some_and(|flow| flow.held == 0) {
            self.remove(id);
        }
    }

    /// One of its packets waits, or no longer: meanwhile the flow is not forgotten for not being confirmed.
    pub(crate) fn hold(&mut self, id: FlowId, on: bool) {
        if let Some(flow) = self.get_mut(id) {
            flow.held = if on { flow.held.saturating_add(1) } else { flow.held.saturating_sub(1) };
        }
    }

    /// How many flows wait for their first packet.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn remove(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get(id.0 as usize) else { return };
        let tuples = flow.tuples;
        if flow.status.contains(Status::CONFIRMED) {
            self.tell(Change::Destroy, id);
            for tuple in &tuples {
                self.by_tuple.remove(tuple);
            }
        }
        self.pending.retain(|pending| *pending != id);
        self.flows.remove(id.0 as usize);
        let source = tuples[0].source;
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }

    /// A flow's time may be over; else when to ask again.
    pub(crate) fn expire(&mut self, now: Instant, id: FlowId) -> Option<Instant> {
        let expires = self.get(id)?.expires;
        if expires > now {
            return Some(expires);
        }
        self.remove(id);
        None
    }

    /// Gives up a flow that is not assured; false: none was found.
    fn give_up_one(&mut self) -> bool {
        let places = self.flows.capacity().max(1);
        for _ in 0..SEARCH.min(places) {
            self.hand = (self.hand + 1) % places;
            let may_go = |flow: &Flow| {
                flow.status.contains(Status::CONFIRMED) && !flow.status.contains(Status::ASSURED)
            };
            if self.flows.get(self.hand).is_some_and(may_go) {
                self.remove(FlowId(self.hand as u32));
                return true;
            }
        }
        false
    }

    /// Forgets the flows that `which` says; how many.
    pub fn flush(&mut self, mut which: impl FnMut(&Flow) -> bool) -> usize {
        let doomed: Vec<_> = self
            .flows
            .iter()
            .filter(|(_, flow)| flow.status.contains(Status::CONFIRMED) && which(flow))
            .map(|(at, _)| FlowId(at as u32))
            .collect();
        for id in &doomed {
            self.remove(*id);
        }
        doomed.len()
    }

    fn listed(flow: &Flow) -> Listed {
        Listed {
            serial: flow.serial,
            tuples: flow.tuples,
            state: flow.tcp_state(),
            status: flow.status,
            mark: flow.mark,
            counts: flow.counts,
            expires: flow.expires,
        }
    }

    /// The confirmed flows.
    pub fn list(&self) -> impl Iterator<Item = Listed> {
        let confirmed = |(_, flow): &(usize, &Flow)| flow.status.contains(Status::CONFIRMED);
        self.flows.iter().filter(confirmed).map(|(_, flow)| Self::listed(flow))
    }

    /// Who watches is told.
    pub(super) fn tell(&mut self, change: Change, id: FlowId) {
        if self.watch.is_on()
            && let Some(flow) = self.flows.get(id.0 as usize)
        {
            self.watch.push(change, Self::listed(flow));
        }
    }

    pub fn watch(&mut self) -> &mut Watch {
        &mut self.watch
    }

    /// Changes what answers look like: the flow is translated.
    pub(super) fn set_reply(&mut self, id: FlowId, reply: Tuple) {
        if let Some(flow) = self.flows.get_mut(id.0 as usize)
            && !flow.status.contains(Status::CONFIRMED)
        {
            flow.tuples[1] = reply;
        }
    }

    #[cfg(test)]
    pub(crate) fn assert_consistent(&self) {
        let confirmed =
            self.flows.iter().filter(|(_, flow)| flow.status.contains(Status::CONFIRMED));
        let mut names = 0;
        for (at, flow) in confirmed {
            let [original, reply] = flow.tuples;
            let found = |tuple| self.by_tuple.get(tuple).map(|(id, _)| id.0 as usize);
            assert_eq!((found(&original), found(&reply)), (Some(at), Some(at)));
            names += if original == reply { 1 } else { 2 };
        }
        assert_eq!(names, self.by_tuple.len());
        assert_eq!(self.sources.values().sum::<u32>() as usize, self.flows.len());
        assert!(self.flows.len() <= self.config.flows);
        assert!(self.sources.values().all(|count| *count as usize <= self.config.flows_per_source));
    }
}

/// What a packet did to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It may be silent for longer than before.
    Later,
    Sooner(Instant),
    Invalid,
    /// It begins another in its place.
    Anew,
}

/// Why a packet begins no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It can't begin one.
    Invalid,
    Drop(DropReason),
}
