//! What may pass: chains of rules, each at a hook on a packet's way, in the shape nft(8) gives them.
//!
//! A [`Filter`] is a whole ruleset, compiled: names are numbers, and every comparison is a question whether
//! a number of at most 128 bits is in a set of ranges. It is made outside the engine and swapped whole, so
//! that no packet meets half of it. What changes while packets pass (counters, token buckets, quotas,
//! elements that rules add to sets) is apart from the rules, in [`state`], and outlives a swap for rules that
//! are in both.
//!
//! | file | what is there |
//! |---|---|
//! | `field` | what rules may ask about a packet |
//! | `ranges` | sets of numbers |
//! | `rule` | steps of a rule, verdicts |
//! | `chain` | rules in order, and which of them a packet can meet at all |
//! | `set` | named sets and maps |
//! | `state` | counters, rates, quotas |
//! | `evaluate` | a packet's way through the chains of a hook |
//!
//! As in nft, each base chain of a hook is asked in the order of priorities until one drops the packet;
//! `accept` ends a base chain, not the hook.

pub mod chain;
mod evaluate;
pub mod field;
pub mod ranges;
pub mod rule;
pub mod set;
pub mod state;

pub use evaluate::{Log, Outcome, Part};

use crate::table::{interface::InterfaceId, watch::Decided};
use chain::{BaseChain, Chain};
use set::Set;
use state::State;
use std::collections::HashMap;

/// Where on a packet's way rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// A frame came by an interface; before any protocol.
    Ingress,
    /// A packet came in; before it is decided whose it is.
    Prerouting,
    /// A whole datagram for this host.
    Input,
    /// A packet for another host.
    Forward,
    /// A packet of this host.
    Output,
    /// A packet is about to leave.
    Postrouting,
    /// A frame is about to leave by a device.
    Egress,
    ArpInput,
    ArpOutput,
}

impl Hook {
    pub const COUNT: usize = 9;
}

/// What rules may ask about an interface beside its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// [`field::name`] of its name.
    pub name: u128,
    pub group: u32,
    /// [`field::name`] of its zone's; the loopback is in none.
    pub zone: Option<u128>,
}

/// A ruleset, compiled.
#[derive(Debug, Default)]
pub struct Filter {
    chains: Vec<Chain>,
    /// Per hook, by priority.
    hooks: [Vec<BaseChain>; Hook::COUNT],
    sets: Vec<Set>,
    state: State,
    ports: HashMap<InterfaceId, Port>,
    /// Rules ask for flows, or change them.
    tracks: bool,
    /// Rules give packets to inspectors.
    queues: bool,
    /// Rules ask for the owners of sockets.
    asks_owners: bool,
    /// Nothing is to be counted.
    trial: bool,
    /// What had the last word about the packet last asked about.
    decided: Option<Decided>,
}

/// Why a ruleset was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a chain leads back to itself")]
    Loop,
    #[error("chains jump deeper than {} levels", chain::MAX_DEPTH)]
    TooDeep,
    #[error("a rule names a chain, set or counter that is not there")]
    Dangling,
}

impl Filter {
    /// `chains` and `sets` are named by their place.
    pub fn new(chains: Vec<Chain>, sets: Vec<Set>, state: State) -> Result<Self, Error> {
        chain::check(&chains, &sets, &state)?;
        let tracks = chains.iter().any(Chain::tracks);
        let queues = chains.iter().any(Chain::queues);
        let asks_owners = chains.iter().any(Chain::asks_owners);
        Ok(Self { chains, sets, state, tracks, queues, asks_owners, ..Self::default() })
    }

    /// Has `chain` asked at a hook.
    pub fn hook(&mut self, hook: Hook, base: BaseChain) -> Result<(), Error> {
        self.chains.get(base.chain).ok_or(Error::Dangling)?;
        self.tracks |= base.nat;
        let chains = &mut self.hooks[hook as usize];
        let at = chains.partition_point(|other| other.priority <= base.priority);
        chains.insert(at, base);
        Ok(())
    }

    /// The rule or policy that had the last word about the packet last asked about; `None`: no chain
    /// was for it.
    pub fn decided(&self) -> Option<Decided> {
        self.decided
    }

    /// Is anybody asked at this hook?
    pub fn listens(&self, hook: Hook) -> bool {
        !self.hooks[hook as usize].is_empty()
    }

    /// Do rules want to know of flows, or change them?
    pub fn tracks(&self) -> bool {
        self.tracks
    }

    /// Do rules ask who owns a packet's socket?
    pub fn asks_owners(&self) -> bool {
        self.asks_owners
    }

    /// Do rules give packets to inspectors?
    pub fn queues(&self) -> bool {
        self.queues
    }

    /// Are flows given other ends at this hook?
    pub fn translates(&self, hook: Hook) -> bool {
        self.hooks[hook as usize].iter().any(|base| base.nat)
    }

    /// What interfaces are called, for rules that ask.
    pub fn set_ports(&mut self, ports: HashMap<InterfaceId, Port>) {
        self.ports = ports;
    }

    /// Counters and the like of a ruleset that this one takes the place of, where both have them by the
    /// same name.
    pub fn take_over(&mut self, old: &Self) {
        self.state.take_over(&old.state);
        for set in &mut self.sets {
            if let Some(old) = old.sets.iter().find(|old| old.id() == set.id()) {
                set.take_over(old);
            }
        }
    }

    /// The counter or quota of that name counts from nothing again.
    pub fn reset(&mut self, name: state::Name) {
        self.state.reset(name);
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    pub fn sets(&self) -> &[Set] {
        &self.sets
    }
}

#[cfg(test)]
mod tests;
