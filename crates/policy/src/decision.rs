//! A policy: its rules and defaults, and what follows from them.

use crate::{
    act::{Act, ActKind, Protocol, Subject},
    index::Index,
    rule::{Effect, Rule},
};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

/// Ports below this are for root and the daemon's own user, as everywhere.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Names a rule for as long as it is there.
pub type RuleId = u32;

/// What holds for a kind of act when no rule says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, core::default::Default, Serialize, Deserialize)]
pub enum Default {
    /// What Linux does.
    #[default]
    Linux,
    /// Everybody may.
    Allow,
    /// Nobody may, root neither.
    Deny,
}

impl Default {
    pub const ALL: [Self; 3] = [Self::Linux, Self::Allow, Self::Deny];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// The default for each kind of act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, core::default::Default, Serialize, Deserialize)]
pub struct Defaults([Default; ActKind::ALL.len()]);

impl Defaults {
    pub fn get(&self, kind: ActKind) -> Default {
        self.0.get(kind as usize).copied().unwrap_or_default()
    }

    pub fn set(&mut self, kind: ActKind, default: Default) {
        if let Some(held) = self.0.get_mut(kind as usize) {
            *held = default;
        }
    }
}

/// Whether somebody may, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// This rule says so.
    Rule(RuleId),
    /// No rule says anything, and everybody may.
    ForEverybody,
    /// No rule says anything, and only root and the daemon's own user may.
    ForPrivileged,
    /// The same, for ports below 1024.
    ReservedPort,
    /// The default for this kind of act was set so.
    Default,
    /// Root and the daemon's own user can't be kept from it.
    Operator,
}

/// As a sentence; a [`Reason::Rule`] is better said with the rule's text.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule(_) => "a rule says so",
            Self::ForEverybody => "no rule denies it, and everybody may",
            Self::ForPrivileged => "no rule grants it, and only root and the daemon's user may",
            Self::ReservedPort => {
                "no rule grants it, and ports below 1024 are for root and the daemon's user"
            }
            Self::Default => "no rule says anything, and [policy] default does",
            Self::Operator => "root and the daemon's user can't be kept from it",
        })
    }
}

/// Rules, defaults, and an index of them.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The user the daemon was started as, who may do what root may.
    owner: u32,
    defaults: Defaults,
    /// By ascending number.
    rules: Vec<(RuleId, Rule)>,
    next_id: RuleId,
    index: Index,
    /// By kind of act.
    unrestricted: [bool; ActKind::ALL.len()],
    generation: u64,
}

impl Policy {
    /// Without rules: what Linux does.
    pub fn new(owner: u32) -> Self {
        let mut policy = Self {
            owner,
            defaults: Defaults::default(),
            rules: Vec::new(),
            next_id: 1,
            index: Index::default(),
            unrestricted: [false; ActKind::ALL.len()],
            generation: 0,
        };
        policy.changed();
        policy
    }

    /// In the order in which they were added, which means nothing.
    pub fn rules(&self) -> impl Iterator<Item = (RuleId, &Rule)> {
        self.rules.iter().map(|(id, rule)| (*id, rule))
    }

    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        let at = self.rules.binary_search_by_key(&id, |(held, _)| *held).ok()?;
        self.rules.get(at).map(|(_, rule)| rule)
    }

    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// Another number after every change: what was decided before may be decided otherwise now.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn set_defaults(&mut self, defaults: Defaults) {
        self.defaults = defaults;
        self.changed();
    }

    /// Adds rules; those that say what another says are left out. The numbers of the new ones.
    pub fn add(&mut self, rules: impl IntoIterator<Item = Rule>) -> Vec<RuleId> {
        let mut added = Vec::new();
        let mut held: HashSet<_> = self.rules.iter().map(|(_, rule)| essence(rule)).collect();
        for rule in rules {
            if held.insert(essence(&rule)) {
                added.push(self.next_id);
                self.rules.push((self.next_id, rule));
                self.next_id = self.next_id.saturating_add(1);
            }
        }
        self.changed();
        added
    }

    /// Removes those for which `which` is true; how many those were.
    pub fn remove(&mut self, which: impl Fn(RuleId, &Rule) -> bool) -> usize {
        let before = self.rules.len();
        self.rules.retain(|(id, rule)| !which(*id, rule));
        self.changed();
        before - self.rules.len()
    }

    /// Goes from the rules of a file as they were to those as they are; rules from elsewhere stay. Which
    /// rules went and which came.
    pub fn replace(&mut self, old: &[Rule], new: &[Rule]) -> (Vec<Rule>, Vec<Rule>) {
        let stays: HashMap<_, _> = new.iter().map(|rule| (essence(rule), rule)).collect();
        let was: HashSet<_> = old.iter().map(essence).collect();
        let mut went = Vec::new();
        self.rules.retain_mut(|(_, rule)| {
            let essence = essence(rule);
            match stays.get(&essence) {
                // It may be on another line now.
                Some(written) => rule.origin = written.origin.clone(),
                None if was.contains(&essence) => went.push(rule.clone()),
                None => return true,
            }
            stays.contains_key(&essence)
        });
        let fresh = new.iter().filter(|rule| !was.contains(&essence(rule)));
        let came = self.add(fresh.cloned());
        let came = came.into_iter().filter_map(|id| self.rule(id).cloned()).collect();
        (went, came)
    }

    fn changed(&mut self) {
        self.index = Index::new(self.rules.iter().map(|(_, rule)| rule));
        self.unrestricted = ActKind::ALL.map(|kind| self.restricts_nobody(kind));
        self.generation = self.generation.wrapping_add(1);
    }

    fn restricts_nobody(&self, kind: ActKind) -> bool {
        let open = match self.defaults.get(kind) {
            Default::Allow => true,
            Default::Deny => false,
            Default::Linux => {
                matches!(kind, ActKind::Listen | ActKind::Connect | ActKind::Multicast)
            }
        };
        open && !self.index.has(kind, Effect::Deny)
    }

    /// May `subject` do `act`, as far as it happens in `zone`?
    pub fn decide(&self, subject: &Subject<'_>, zone: &str, act: &Act<'_>) -> Decision {
        let act = &canonical(*act);
        let found = self.index.find(subject, zone, act);
        let by_rule = |index: u32| {
            let rule = self.rules.get(usize::try_from(index).unwrap_or(usize::MAX));
            Reason::Rule(rule.map_or(0, |(id, _)| *id))
        };
        let kind = act.kind();
        if self.is_privileged(subject) && matches!(kind, ActKind::Inspect | ActKind::Administer) {
            return Decision { allowed: true, reason: Reason::Operator };
        }
        match (found.deny, found.grant) {
            (Some(rule), _) => Decision { allowed: false, reason: by_rule(rule) },
            (None, Some(rule)) => Decision { allowed: true, reason: by_rule(rule) },
            (None, None) => self.by_default(subject, act),
        }
    }

    fn by_default(&self, subject: &Subject<'_>, act: &Act<'_>) -> Decision {
        match self.defaults.get(act.kind()) {
            Default::Allow => Decision { allowed: true, reason: Reason::Default },
            Default::Deny => Decision { allowed: false, reason: Reason::Default },
            Default::Linux => {
                let reason = as_linux(act);
                let allowed = reason == Reason::ForEverybody || self.is_privileged(subject);
                Decision { allowed, reason }
            }
        }
    }

    /// Can nothing keep anybody from acts of this kind? Then they need not be asked about one by one.
    pub fn is_unrestricted(&self, kind: ActKind) -> bool {
        self.unrestricted.get(kind as usize).copied().unwrap_or(false)
    }

    fn is_privileged(&self, subject: &Subject<'_>) -> bool {
        subject.user == 0 || subject.user == self.owner
    }
}

fn essence(rule: &Rule) -> (Effect, crate::Who, crate::Permit) {
    (rule.effect, rule.who.clone(), rule.permit.clone())
}

/// For whom Linux lets it be.
fn as_linux(act: &Act<'_>) -> Reason {
    match act {
        Act::Bind { protocol: Protocol::Tcp | Protocol::Udp, local }
            if (1..FIRST_UNPRIVILEGED_PORT).contains(&local.port()) =>
        {
            Reason::ReservedPort
        }
        Act::Bind { .. }
        | Act::Listen { .. }
        | Act::Connect { .. }
        | Act::Multicast { .. }
        | Act::Inspect => Reason::ForEverybody,
        Act::Raw { .. } | Act::Packet { .. } | Act::Administer => Reason::ForPrivileged,
    }
}

/// One way to say it: IPv4 addresses as such, and this host by its own name.
fn canonical(act: Act<'_>) -> Act<'_> {
    let plain = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port());
    match act {
        Act::Bind { protocol, local } => Act::Bind { protocol, local: plain(local) },
        Act::Listen { local } => Act::Listen { local: plain(local) },
        Act::Connect { protocol, remote } => {
            let mut remote = plain(remote);
            // Linux sends to this host what is for nowhere.
            if remote.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
                remote.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            Act::Connect { protocol, remote }
        }
        Act::Multicast { group } => Act::Multicast { group: group.to_canonical() },
        other => other,
    }
}

#[cfg(test)]
mod tests;
