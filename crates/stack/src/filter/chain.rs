//! Rules in order, and which of them a packet can meet at all.
//!
//! Asking ten thousand rules one by one costs ten thousand comparisons. Rules of such a length are nearly
//! always of one kind: each begins by comparing the same field with a value of its own. A run of them gets an
//! index of that field: for each range of values, the rules that a packet with it can meet, in their order.
//! All others of the run would have said no at their first steps and done nothing, so that it makes no
//! difference that they are not asked.

use super::{
    Error,
    field::{Field, View},
    rule::{ChainId, Mark, Ports, Rule, Step, To, Translate, Verdict},
    set::Set,
    state::State,
};

/// Jumps upon jumps; nft's own limit.
pub const MAX_DEPTH: usize = 16;

/// Fewer rules in a run are asked one by one as quickly.
const SHORTEST_RUN: usize = 8;

/// An index may name each rule so many times on average: rules with wide ranges over one another would
/// make it grow with the square of their number.
const MENTIONS: usize = 16;

/// Of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain {
    pub chain: ChainId,
    pub priority: i32,
    /// Of who comes to the end of it.
    pub accept: bool,
    /// It decides about flows, by their first packets: `type nat`.
    pub nat: bool,
    /// For frames of this interface alone.
    pub device: Option<crate::InterfaceId>,
}

#[derive(Debug, Default)]
pub struct Chain {
    rules: Box<[Rule]>,
    /// Ascending, apart from each other.
    runs: Vec<Run>,
}

/// Rules `start..end`, by a field that all of them compare first.
#[derive(Debug)]
struct Run {
    start: usize,
    end: usize,
    field: Field,
    /// Where each range of values with the same rules begins.
    bounds: Vec<u128>,
    /// Per range, where its rules are in `rules`.
    starts: Vec<u32>,
    rules: Vec<u32>,
}

impl Chain {
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { runs: runs(&rules), rules: rules.into() }
    }

    /// Does a rule ask for the packet's flow, or change it?
    pub(super) fn tracks(&self) -> bool {
        let changes = |step: &Step| match step {
            Step::MapMark { to, .. } => *to == Mark::Flow,
            Step::SetMark { to, from, .. } => *to == Mark::Flow || *from == Mark::Flow,
            Step::Translate(_) => true,
            _ => false,
        };
        self.steps().any(changes) || self.asks(|field| matches!(field, Field::Ct(_)))
    }

    /// Does a rule ask who owns the packet's socket?
    pub(super) fn asks_owners(&self) -> bool {
        self.asks(|field| matches!(field, Field::SocketUser | Field::SocketGroup))
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.rules.iter().flat_map(|rule| &rule.steps)
    }

    /// Does a rule ask for such a field?
    fn asks(&self, such: impl Fn(&Field) -> bool) -> bool {
        let asks_ports = |ports: &Option<Ports>| match ports {
            Some(Ports::Map { key, .. }) => key.iter().any(&such),
            _ => false,
        };
        self.steps().any(|step| match step {
            Step::Translate(Translate { to, ports, .. }) => {
                asks_ports(ports) || matches!(to, To::Map { key, .. } if key.iter().any(&such))
            }
            Step::Match { field, .. } => such(field),
            Step::Compare { field, other, .. } => such(field) || such(other),
            Step::Lookup { key, .. }
            | Step::VerdictMap { key, .. }
            | Step::MapMark { key, .. }
            | Step::Add { key, .. }
            | Step::Delete { key, .. } => key.iter().any(&such),
            _ => false,
        })
    }

    /// Does a rule give packets to inspectors?
    pub(super) fn queues(&self) -> bool {
        self.steps().any(|step| matches!(step, Step::Queue(_)))
    }

    /// How many of its rules are found by an index.
    #[cfg(test)]
    pub(super) fn indexed(&self) -> usize {
        self.runs.iter().map(|run| run.end - run.start).sum()
    }

    /// The first rule from `from` on that this packet can meet.
    pub(super) fn next(&self, from: usize, view: &View<'_>) -> Option<(usize, &Rule)> {
        let mut at = from;
        loop {
            let run = self.runs.partition_point(|run| run.end <= at);
            match self.runs.get(run).filter(|run| run.start <= at) {
                None => return self.rules.get(at).map(|rule| (at, rule)),
                Some(run) => match run.first(at, view) {
                    Some(found) => return self.rules.get(found).map(|rule| (found, rule)),
                    None => at = run.end,
                },
            }
        }
    }
}

impl Run {
    fn first(&self, from: usize, view: &View<'_>) -> Option<usize> {
        let value = view.field(self.field)?;
        let range = self.bounds.partition_point(|bound| *bound <= value).checked_sub(1)?;
        let start = *self.starts.get(range)? as usize;
        let end = *self.starts.get(range + 1)? as usize;
        let rules = self.rules.get(start..end)?;
        let at = rules.partition_point(|rule| (*rule as usize) < from);
        rules.get(at).map(|rule| *rule as usize)
    }

    /// `None`: it would be too large.
    fn new(rules: &[Rule], start: usize, end: usize, field: Field) -> Option<Self> {
        let mut edges = Vec::new();
        for (at, rule) in rules.get(start..end)?.iter().enumerate() {
            let at = u32::try_from(start + at).ok()?;
            for (low, high) in demanded(rule, field)?.iter() {
                edges.push((low, true, at));
                if let Some(after) = high.checked_add(1) {
                    edges.push((after, false, at));
                }
            }
        }
        edges.sort_unstable();
        let most = (end - start).saturating_mul(MENTIONS);
        let mut run =
            Self { start, end, field, bounds: vec![0], starts: vec![0], rules: Vec::new() };
        let mut open = std::collections::BTreeSet::new();
        let mut edges = edges.into_iter().peekable();
        while let Some((value, ..)) = edges.peek().copied() {
            if value != 0 {
                run.bounds.push(value);
                run.rules.extend(&open);
                run.starts.push(u32::try_from(run.rules.len()).ok()?);
            }
            while let Some((_, opens, rule)) = edges.next_if(|edge| edge.0 == value) {
                if opens {
                    open.insert(rule)
                } else {
                    open.remove(&rule)
                };
            }
            if run.rules.len() > most {
                return None;
            }
        }
        run.rules.extend(&open);
        run.starts.push(u32::try_from(run.rules.len()).ok()?);
        (run.rules.len() <= most).then_some(run)
    }
}

/// What a rule demands of a field before it does anything.
fn demanded(rule: &Rule, wanted: Field) -> Option<&super::ranges::Ranges> {
    leading(rule).find(|(field, _)| *field == wanted).map(|(_, ranges)| ranges)
}

/// The fields a rule compares before it does anything, as far as they can be indexed.
fn leading(rule: &Rule) -> impl Iterator<Item = (Field, &super::ranges::Ranges)> {
    let compares = |step: &&Step| {
        matches!(step, Step::Match { .. } | Step::Compare { .. } | Step::Lookup { .. })
    };
    rule.steps.iter().take_while(compares).filter_map(|step| match step {
        Step::Match { field, mask, ranges, negate: false }
            if *mask == u128::MAX && field.is_fixed() =>
        {
            Some((*field, ranges))
        }
        _ => None,
    })
}

fn runs(rules: &[Rule]) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut at = 0;
    while let Some(rule) = rules.get(at) {
        let candidates = leading(rule).map(|(field, _)| {
            let shares = |rule: &&Rule| demanded(rule, field).is_some();
            (rules.iter().skip(at).take_while(shares).count(), field)
        });
        let candidates: Vec<_> = candidates.collect();
        let longest = candidates.iter().map(|(len, _)| *len).max().unwrap_or(0);
        // Of two fields, the one that tells the rules apart.
        let best = candidates
            .into_iter()
            .filter(|(len, _)| *len == longest && *len >= SHORTEST_RUN)
            .filter_map(|(len, field)| Run::new(rules, at, at + len, field))
            .min_by_key(|run| run.rules.len() / run.bounds.len());
        match best {
            Some(run) => {
                at = run.end;
                runs.push(run);
            }
            // None of these rules begins a run that is worth it.
            None => at += longest.saturating_sub(SHORTEST_RUN).max(1),
        }
    }
    runs
}

/// Are all names those of something, and does every jump end?
pub(super) fn check(chains: &[Chain], sets: &[Set], state: &State) -> Result<(), Error> {
    let mut leads = Vec::with_capacity(chains.len());
    for chain in chains {
        let mut targets = Vec::new();
        for step in chain.rules.iter().flat_map(|rule| &rule.steps) {
            if !names_something(step, sets.len(), state) {
                return Err(Error::Dangling);
            }
            match step {
                Step::Verdict(verdict) => targets.extend(target(*verdict)),
                Step::VerdictMap { map, .. } => {
                    targets.extend(
                        sets.get(*map).into_iter().flat_map(Set::verdicts).filter_map(target),
                    );
                }
                _ => {}
            }
        }
        leads.push(targets);
    }
    check_jumps(&leads)
}

fn names_something(step: &Step, sets: usize, state: &State) -> bool {
    match step {
        Step::Lookup { set, .. }
        | Step::VerdictMap { map: set, .. }
        | Step::MapMark { map: set, .. }
        | Step::Add { set, .. }
        | Step::Delete { set, .. } => *set < sets,
        Step::Translate(Translate { to, ports, .. }) => {
            let place = match to {
                To::Map { map, .. } => Some(*map),
                To::Place(_) => None,
            };
            let port = match ports {
                Some(Ports::Map { map, .. }) => Some(*map),
                _ => None,
            };
            [place, port].into_iter().flatten().all(|map| map < sets)
        }
        Step::Counter(id) => *id < state.counters(),
        Step::Limit { limit, .. } => *limit < state.limits(),
        Step::Quota { quota, .. } => *quota < state.quotas(),
        _ => true,
    }
}

fn target(verdict: Verdict) -> Option<ChainId> {
    match verdict {
        Verdict::Jump(to) | Verdict::Goto(to) => Some(to),
        _ => None,
    }
}

/// Does a chain lead to itself, or too deep? `leads`: for each chain, to which others.
fn check_jumps(leads: &[Vec<ChainId>]) -> Result<(), Error> {
    // The longest way from each chain; 0: not visited yet.
    let mut depths = vec![0usize; leads.len()];
    let mut path = vec![false; leads.len()];
    for chain in 0..leads.len() {
        depth(leads, chain, &mut depths, &mut path)?;
    }
    Ok(())
}

fn depth(
    leads: &[Vec<ChainId>],
    chain: ChainId,
    depths: &mut [usize],
    path: &mut [bool],
) -> Result<usize, Error> {
    let (Some(known), Some(on_path)) = (depths.get(chain), path.get_mut(chain)) else {
        return Err(Error::Dangling);
    };
    if *on_path {
        return Err(Error::Loop);
    }
    if *known > 0 {
        return Ok(*known);
    }
    *on_path = true;
    let mut deepest = 0;
    for next in leads.get(chain).ok_or(Error::Dangling)? {
        deepest = deepest.max(depth(leads, *next, depths, path)?);
        // Also what bounds this recursion.
        if deepest > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
    }
    path[chain] = false;
    depths[chain] = deepest + 1;
    Ok(deepest + 1)
}
