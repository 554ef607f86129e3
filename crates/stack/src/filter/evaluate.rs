//! A packet's way through the chains of a hook.

use super::{
    Filter, Hook,
    chain::{BaseChain, MAX_DEPTH},
    field::{Field, View},
    rule::{
        ChainId, Choice, MAX_KEY, Mark, Place, Ports, Queue, Reject, Rule, Step, To, Translate,
        Verdict,
    },
    set::Data,
};
use crate::{Instant, table::watch::Decided};

/// What became of a packet at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accept,
    Drop,
    Reject(Reject),
    /// Accepted, and its flow gets another end.
    Translate(Choice),
    /// Whoever inspects decides; if the packet goes on, `next` is the chain to ask.
    Queue {
        queue: Queue,
        next: usize,
    },
}

/// Which chains of a hook: those before and after a packet's flow is found, and its ends are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All but those that decide about flows.
    Whole,
    BeforeTracking,
    BeforeTranslation,
    Translation,
    AfterTranslation,
}

/// Linux's NF_IP_PRI_CONNTRACK, _NAT_DST and _NAT_SRC.
const TRACKING: i32 = -200;
const DESTINATION: i32 = -100;
const SOURCE: i32 = 100;

impl Part {
    fn has(self, hook: Hook, base: &BaseChain) -> bool {
        let translation = match hook {
            Hook::Prerouting | Hook::Output => DESTINATION,
            _ => SOURCE,
        };
        let at = base.priority;
        let its_place = match self {
            Self::Whole | Self::Translation => true,
            Self::BeforeTracking => at < TRACKING,
            Self::BeforeTranslation => (TRACKING..=translation).contains(&at),
            Self::AfterTranslation => at > translation,
        };
        its_place && base.nat == (self == Self::Translation)
    }
}

/// A rule that a packet met wants it written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Which `log` statement, as the ruleset numbers them.
    pub statement: u32,
}

/// What a rule led to.
enum Led {
    Next,
    Verdict(Verdict),
    Reject(Reject),
    Translate(Choice),
    Queue(Queue),
}

impl Filter {
    /// What would become of a packet at a hook, if nothing were counted and no rate used up.
    pub fn would(&mut self, now: Instant, hook: Hook, view: &mut View<'_>) -> Outcome {
        self.trial = true;
        let outcome = self.evaluate(now, hook, (Part::Whole, 0), view, |_| ());
        self.trial = false;
        outcome
    }

    /// Asks the chains of a hook about a packet, from `first` on, and leaves its mark in `view`.
    pub fn evaluate(
        &mut self,
        now: Instant,
        hook: Hook,
        (part, first): (Part, usize),
        view: &mut View<'_>,
        mut log: impl FnMut(Log),
    ) -> Outcome {
        let device = match hook {
            Hook::Egress => view.output,
            _ => view.input,
        };
        self.decided = None;
        for at in first.. {
            let Some(base) = self.hooks[hook as usize].get(at).copied() else { break };
            if base.device.is_some() && base.device != device || !part.has(hook, &base) {
                continue;
            }
            match self.ask(now, base, view, &mut log) {
                Outcome::Accept => {}
                Outcome::Queue { queue, .. } => return Outcome::Queue { queue, next: at + 1 },
                refused => return refused,
            }
        }
        Outcome::Accept
    }

    fn ask(
        &mut self,
        now: Instant,
        base: BaseChain,
        view: &mut View<'_>,
        log: &mut impl FnMut(Log),
    ) -> Outcome {
        let policy = if base.accept { Outcome::Accept } else { Outcome::Drop };
        let mut back: [(ChainId, usize); MAX_DEPTH] = [(0, 0); MAX_DEPTH];
        let mut depth: usize = 0;
        let (mut chain, mut from) = (base.chain, 0);
        loop {
            let step = match self.next(now, chain, &mut from, view, log) {
                Some(step) => step,
                None => Led::Verdict(Verdict::Return),
            };
            self.decided = Some(Decided { chain, rule: from.checked_sub(1) });
            match step {
                Led::Next | Led::Verdict(Verdict::Continue) => {}
                Led::Reject(how) => return Outcome::Reject(how),
                Led::Translate(choice) => return Outcome::Translate(choice),
                Led::Queue(queue) => return Outcome::Queue { queue, next: 0 },
                Led::Verdict(Verdict::Accept) => return Outcome::Accept,
                Led::Verdict(Verdict::Drop) => return Outcome::Drop,
                Led::Verdict(Verdict::Return) => {
                    let Some(above) = depth.checked_sub(1) else {
                        self.decided = Some(Decided { chain: base.chain, rule: None });
                        return policy;
                    };
                    depth = above;
                    (chain, from) = back[depth];
                }
                Led::Verdict(Verdict::Jump(to)) => {
                    // Rulesets that go deeper were refused.
                    let Some(place) = back.get_mut(depth) else { return Outcome::Drop };
                    *place = (chain, from);
                    depth += 1;
                    (chain, from) = (to, 0);
                }
                Led::Verdict(Verdict::Goto(to)) => (chain, from) = (to, 0),
            }
        }
    }

    /// Asks the next rule of a chain from `from` on; `None`: there is no other.
    fn next(
        &mut self,
        now: Instant,
        chain: ChainId,
        from: &mut usize,
        view: &mut View<'_>,
        log: &mut impl FnMut(Log),
    ) -> Option<Led> {
        let Self { chains, sets, state, ports, trial, .. } = self;
        let (at, rule) = chains.get(chain)?.next(*from, view)?;
        *from = at + 1;
        let mut asking = Asking { now, sets, state, ports, trial: *trial };
        Some(asking.rule(rule, view, log))
    }
}

/// What a rule may ask and change.
struct Asking<'a> {
    now: Instant,
    sets: &'a mut Vec<super::Set>,
    state: &'a mut super::State,
    ports: &'a std::collections::HashMap<crate::InterfaceId, super::Port>,
    trial: bool,
}

impl Asking<'_> {
    fn rule(&mut self, rule: &Rule, view: &mut View<'_>, log: &mut impl FnMut(Log)) -> Led {
        for step in &rule.steps {
            let goes_on = match step {
                Step::Match { field, mask, ranges, negate } => self
                    .field(*field, view)
                    .is_some_and(|value| ranges.contains(value & mask) != *negate),
                Step::Compare { field, other, equal } => {
                    match (self.field(*field, view), self.field(*other, view)) {
                        (Some(one), Some(other)) => (one == other) == *equal,
                        _ => false,
                    }
                }
                Step::Lookup { key, set, negate } => match self.look_up(key, *set, view) {
                    Found::NoSuchField => false,
                    Found::Nothing => *negate,
                    Found::Data(_) => !negate,
                },
                Step::VerdictMap { key, map } => match self.look_up(key, *map, view) {
                    Found::Data(Data::Verdict(verdict)) => return Led::Verdict(verdict),
                    _ => true,
                },
                Step::Verdict(verdict) => return Led::Verdict(*verdict),
                Step::Reject(how) => return Led::Reject(*how),
                Step::Queue(queue) => return Led::Queue(*queue),
                Step::Translate(how) => match self.choice(how, view) {
                    Some(choice) => return Led::Translate(choice),
                    None => false,
                },
                Step::Log(statement) => {
                    log(Log { statement: *statement });
                    true
                }
                step => self.change(step, view),
            };
            if !goes_on {
                return Led::Next;
            }
        }
        Led::Next
    }

    /// A step that changes something; does the rule go on?
    fn change(&mut self, step: &Step, view: &mut View<'_>) -> bool {
        let bytes = view.len();
        let sets = matches!(step, Step::SetMark { .. } | Step::MapMark { .. } | Step::Untrack);
        if self.trial && !sets {
            return match step {
                Step::Limit { over, .. } => !over,
                Step::Quota { quota, over } => self.state.quota_left(*quota) != *over,
                _ => true,
            };
        }
        match step {
            Step::Counter(id) => self.state.count(*id, bytes),
            Step::Limit { limit, over } => {
                return self.state.within_rate(*limit, self.now, bytes) != *over;
            }
            Step::Quota { quota, over } => return self.state.within_quota(*quota, bytes) != *over,
            Step::Untrack => view.untrack = true,
            Step::SetMark { to, from, and, xor } => {
                let value = match from {
                    Mark::Packet => view.mark,
                    Mark::Flow => view.connection_mark,
                };
                set_mark(view, *to, value & and ^ xor);
            }
            Step::MapMark { to, key, map } => {
                let Found::Data(Data::Number(mark)) = self.look_up(key, *map, view) else {
                    return false;
                };
                set_mark(view, *to, mark as u32);
            }
            Step::Add { key, set, timeout, refresh } => {
                let now = self.now;
                let mut values = [0; MAX_KEY];
                let Some(key) = self.key(key, view, &mut values) else { return false };
                let set = self.sets.get_mut(*set);
                return set.is_some_and(|set| set.add(now, key, *timeout, *refresh));
            }
            Step::Delete { key, set } => {
                let mut values = [0; MAX_KEY];
                let Some(key) = self.key(key, view, &mut values) else { return false };
                if let Some(set) = self.sets.get_mut(*set) {
                    set.delete(key);
                }
            }
            _ => {}
        }
        true
    }

    fn field(&self, field: Field, view: &View<'_>) -> Option<u128> {
        let port = |interface: Option<crate::InterfaceId>| self.ports.get(&interface?);
        match field {
            Field::InputName => port(view.input).map(|port| port.name),
            Field::OutputName => port(view.output).map(|port| port.name),
            Field::InputGroup => port(view.input).map(|port| port.group.into()),
            Field::OutputGroup => port(view.output).map(|port| port.group.into()),
            Field::InputZone => port(view.input).and_then(|port| port.zone),
            Field::OutputZone => port(view.output).and_then(|port| port.zone),
            field => view.field(field),
        }
    }

    fn key<'v>(
        &self,
        key: &[Field],
        view: &View<'_>,
        values: &'v mut [u128; MAX_KEY],
    ) -> Option<&'v [u128]> {
        let places = values.get_mut(..key.len())?;
        for (place, field) in places.iter_mut().zip(key) {
            *place = self.field(*field, view)?;
        }
        Some(places)
    }

    fn choice(&self, how: &Translate, view: &View<'_>) -> Option<Choice> {
        let Translate { end, ref to, ref ports, random, persistent } = *how;
        let ports = match ports {
            None => None,
            Some(Ports::Range(low, high)) => Some((*low, *high)),
            Some(Ports::Map { key, map }) => match self.look_up(key, *map, view) {
                // Port 0 of a map by name is nobody's.
                Found::Data(Data::Number(port @ 1..)) => Some((port as u16, port as u16)),
                _ => return None,
            },
        };
        let choice = |place, ports| Choice { end, place, ports, random, persistent };
        Some(match to {
            To::Place(place) => choice(*place, ports),
            To::Map { key, map, port } => {
                let Found::Data(Data::Number(value)) = self.look_up(key, *map, view) else {
                    return None;
                };
                let (address, ports) = match port {
                    true => ((value >> 16) as u32, Some((value as u16, value as u16))),
                    false => (value as u32, ports),
                };
                choice(Place::Range(address.into(), address.into()), ports)
            }
        })
    }

    fn look_up(&self, key: &[Field], set: usize, view: &View<'_>) -> Found {
        let mut values = [0; MAX_KEY];
        let Some(key) = self.key(key, view, &mut values) else { return Found::NoSuchField };
        let set = self.sets.get(set);
        set.and_then(|set| set.get(self.now, key)).map_or(Found::Nothing, Found::Data)
    }
}

/// The mark of a flow is nobody's where there is no flow.
fn set_mark(view: &mut View<'_>, which: Mark, value: u32) {
    match which {
        Mark::Packet => view.mark = value,
        Mark::Flow => view.connection_mark = value,
    }
}

enum Found {
    /// The packet lacks one of the fields.
    NoSuchField,
    Nothing,
    Data(Data),
}
