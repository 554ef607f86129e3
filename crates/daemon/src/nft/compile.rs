//! A ruleset to the engine's rules: names to numbers, values to ranges.

use super::{
    ast::{
        self, Base, Data, Element, Family, Holds, Key, MapSource, Mark, MarkOf, Match, Operator,
        Right, Ruleset, SetChange, Stateful, Statement, TableKey, Verdict,
    },
    selector::Selector,
    value::{Type, Value},
};
use narrows_stack::{
    Instant, InterfaceId,
    filter::{
        Filter, Hook,
        chain::{BaseChain, Chain},
        field::Field,
        ranges::Ranges,
        rule::{
            ChainId, MAX_KEY, Mark as EngineMark, Queue, Reject, Rule, SetId, Step,
            Verdict as EngineVerdict,
        },
        set::{Data as EngineData, Set},
        state::{Name, Rate, State},
    },
    random::Random,
};
use narrows_wire::icmpv4::Unreachable;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Elements of a set that says nothing of its size: what rules add to one is bounded by this.
const SET_SIZE: usize = 65_536;
/// Elements of a set that only the operator fills: a gigabyte of them is no ruleset.
const STATIC_SET_SIZE: usize = 1 << 22;

mod translate;

/// What the rules need to know of the host.
pub(crate) struct Names<'a> {
    pub interface: &'a dyn Fn(&str) -> Option<InterfaceId>,
}

#[derive(Debug)]
pub(crate) struct Compiled {
    pub filter: Filter,
    /// Of each `log` statement.
    pub logs: Vec<ast::Log>,
}

/// By which the engine, and listings, know a set again.
pub(super) fn set_number(table: &TableKey, set: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (table.0.name(), &table.1, set).hash(&mut hasher);
    hasher.finish()
}

/// `None`: there is nothing that a packet could meet.
pub(crate) fn compile(
    ruleset: &Ruleset,
    names: &Names<'_>,
    now: Instant,
    random: &mut Random,
) -> Result<Option<Compiled>, String> {
    let mut compiler = Compiler {
        names,
        now,
        random,
        chains: HashMap::new(),
        named: HashMap::new(),
        sets: Vec::new(),
        state: State::default(),
        objects: HashMap::new(),
        logs: Vec::new(),
    };
    let live = || ruleset.tables.iter().filter(|(_, table)| !table.dormant);
    for (at, (key, chain)) in live()
        .flat_map(|(key, table)| table.chains.keys().map(move |chain| (key, chain)))
        .enumerate()
    {
        compiler.chains.insert((key.clone(), chain.clone()), at);
    }
    for (key, table) in live() {
        for (name, set) in &table.sets {
            compiler
                .set(key, name, set)
                .map_err(|why| format!("set {name} of {}: {why}", key.1))?;
        }
    }
    let mut chains = Vec::new();
    let mut bases = Vec::new();
    for (key, table) in live() {
        for (name, chain) in &table.chains {
            let at = chains.len();
            let within = |why: String| format!("chain {name} of {}: {why}", key.1);
            chains.push(Chain::new(compiler.rules(key, table, chain).map_err(within)?));
            if let Some(base) = &chain.base {
                bases.extend(compiler.bases(key.0, base, at).map_err(within)?);
            }
        }
    }
    if bases.is_empty() {
        return Ok(None);
    }
    let Compiler { sets, state, logs, .. } = compiler;
    let mut filter = Filter::new(chains, sets, state).map_err(|error| error.to_string())?;
    for (hook, base) in bases {
        filter.hook(hook, base).map_err(|error| error.to_string())?;
    }
    Ok(Some(Compiled { filter, logs }))
}

struct Compiler<'a> {
    names: &'a Names<'a>,
    now: Instant,
    random: &'a mut Random,
    chains: HashMap<(TableKey, String), ChainId>,
    named: HashMap<(TableKey, String), SetId>,
    sets: Vec<Set>,
    state: State,
    /// By their handles, what a rule does that names one.
    objects: HashMap<u64, Step>,
    logs: Vec<ast::Log>,
}

/// Where a rule is, for what it names and what it counts.
struct Place<'a> {
    key: &'a TableKey,
    table: &'a ast::Table,
    /// Of the rule's chain.
    base: Option<&'a Base>,
    handle: u64,
    /// How many counters, rates and quotas came before in this rule.
    nth: u32,
}

impl Compiler<'_> {
    fn bases(
        &self,
        family: Family,
        base: &Base,
        chain: ChainId,
    ) -> Result<Vec<(Hook, BaseChain)>, String> {
        let hook = match (family, base.hook) {
            (Family::Arp, ast::Hook::Output) => Hook::ArpOutput,
            (Family::Arp, _) => Hook::ArpInput,
            (_, ast::Hook::Ingress) => Hook::Ingress,
            (_, ast::Hook::Prerouting) => Hook::Prerouting,
            (_, ast::Hook::Input) => Hook::Input,
            (_, ast::Hook::Forward) => Hook::Forward,
            (_, ast::Hook::Output) => Hook::Output,
            (_, ast::Hook::Postrouting) => Hook::Postrouting,
            (_, ast::Hook::Egress) => Hook::Egress,
        };
        let Base { priority, accept, nat, .. } = *base;
        let on = |device| (hook, BaseChain { chain, priority, accept, nat, device });
        if base.devices.is_empty() {
            return Ok(vec![on(None)]);
        }
        let device = |name: &String| self.interface(name).map(|device| on(Some(device)));
        base.devices.iter().map(device).collect()
    }

    fn interface(&self, name: &str) -> Result<InterfaceId, String> {
        (self.names.interface)(name).ok_or_else(|| format!("there is no interface {name}"))
    }

    fn set(&mut self, key: &TableKey, name: &str, set: &ast::Set) -> Result<(), String> {
        let size = match set.size {
            Some(size) => size as usize,
            None if set.dynamic => SET_SIZE,
            None => STATIC_SET_SIZE,
        };
        let mut compiled = Set::new(set_number(key, name), size, self.random.key());
        for Element { key: values, data, timeout } in &set.elements {
            let data = match data {
                Data::Nothing => EngineData::Nothing,
                Data::Verdict(verdict) => EngineData::Verdict(self.verdict(key, verdict)?),
                Data::Value(value) => EngineData::Number(self.single(value)?),
                Data::Pair(address, port) => {
                    EngineData::Number(self.single(address)? << 16 | self.single(port)?)
                }
            };
            let expires = timeout.or(set.timeout).map(|timeout| self.now + timeout);
            let ranges = self.ranges(values)?;
            match compiled.insert(&ranges, data, expires) {
                Err(narrows_stack::filter::set::Refused::Overlaps) if set.auto_merge => {}
                result => result.map_err(|why| {
                    let kinds = set.key.iter().zip(values);
                    let words: Vec<_> = kinds.map(|(kind, value)| kind.print(value)).collect();
                    format!("{}: {why}", words.join(" . "))
                })?,
            }
        }
        self.named.insert((key.clone(), name.to_owned()), self.sets.len());
        self.sets.push(compiled);
        Ok(())
    }

    fn ranges(&self, values: &[Value]) -> Result<Vec<core::ops::RangeInclusive<u128>>, String> {
        let range = |value| self.range(value).map(|(low, high)| low..=high);
        values.iter().map(range).collect()
    }

    fn range(&self, value: &Value) -> Result<(u128, u128), String> {
        match value {
            Value::Range(low, high) => Ok((*low, *high)),
            Value::Interface(name) => {
                self.interface(name).map(|id| (u128::from(id.0), u128::from(id.0)))
            }
        }
    }

    /// What a map has for a key.
    fn single(&self, value: &Value) -> Result<u128, String> {
        match self.range(value)? {
            (low, high) if low == high => Ok(low),
            _ => Err("a map has one value for a key, not a range".to_owned()),
        }
    }

    fn rules(
        &mut self,
        key: &TableKey,
        table: &ast::Table,
        chain: &ast::Chain,
    ) -> Result<Vec<Rule>, String> {
        let mut rules = Vec::with_capacity(chain.rules.len());
        for rule in &chain.rules {
            let base = chain.base.as_ref();
            let mut place = Place { key, table, base, handle: rule.handle, nth: 0 };
            let mut steps = Vec::with_capacity(rule.statements.len());
            for statement in &rule.statements {
                let step = self.step(&mut place, statement);
                steps.push(
                    step.map_err(|why| {
                        format!("the rule \"{}\": {why}", super::print::rule(rule))
                    })?,
                );
            }
            rules.push(Rule { steps: steps.into() });
        }
        Ok(rules)
    }

    fn step(&mut self, place: &mut Place<'_>, statement: &Statement) -> Result<Step, String> {
        let name = (place.handle, place.nth);
        Ok(match statement {
            Statement::Match(comparison) => self.comparison(place, comparison)?,
            Statement::VerdictMap { key, map } => {
                let map = match map {
                    MapSource::Named(map) => self.named(place, map, key, Holds::Verdicts)?,
                    MapSource::Inline(elements) => self.verdicts(place, elements)?,
                };
                Step::VerdictMap { key: fields(key)?, map }
            }
            Statement::Verdict(verdict) => Step::Verdict(self.verdict(place.key, verdict)?),
            Statement::Stateful(state) => {
                place.nth += 1;
                self.stateful(name, state)
            }
            Statement::Object(kind, name) => {
                let object = place.table.objects.get(&(*kind, name.clone()));
                let missing = || format!("there is no {} {name} in this table", kind.name());
                let object = object.ok_or_else(missing)?;
                match self.objects.get(&object.handle) {
                    Some(step) => step.clone(),
                    None => {
                        let step = self.stateful((object.handle, 0), &object.state);
                        self.objects.insert(object.handle, step.clone());
                        step
                    }
                }
            }
            Statement::Log(log) => {
                self.logs.push(log.clone());
                Step::Log(self.logs.len() as u32 - 1)
            }
            Statement::SetMark { to, mark: Mark::Bits { from, and, xor } } => {
                let (and, xor) = (*and, *xor);
                Step::SetMark { to: mark_of(*to), from: mark_of(*from), and, xor }
            }
            Statement::SetMark { to, mark: Mark::Map { key, map } } => {
                let map = self.named(place, map, key, Holds::Values(Type::Mark))?;
                Step::MapMark { to: mark_of(*to), key: fields(key)?, map }
            }
            Statement::Untrack => Step::Untrack,
            Statement::Translate(translate) => Step::Translate(self.translate(place, translate)?),
            Statement::SetChange { change, set, key, timeout } => {
                let declared = place.table.sets.get(set);
                let timeout = timeout.or(declared.and_then(|set| set.timeout));
                let set = self.named(place, set, key, Holds::Nothing)?;
                let key = fields(key)?;
                match change {
                    SetChange::Add => Step::Add { key, set, timeout, refresh: false },
                    SetChange::Update => Step::Add { key, set, timeout, refresh: true },
                    SetChange::Delete => Step::Delete { key, set },
                }
            }
            Statement::Queue(_) if matches!(place.key.0, Family::Arp | Family::Netdev) => {
                return Err(
                    "frames can't be queued, only packets: use a table of ip or inet".into()
                );
            }
            Statement::Queue(ast::Queue { first, last, bypass, .. }) => {
                Step::Queue(Queue { first: *first, last: *last, bypass: *bypass })
            }
            Statement::Reject(ast::Reject::TcpReset) => Step::Reject(Reject::TcpReset),
            Statement::Reject(ast::Reject::Icmp(code)) => {
                Step::Reject(Reject::Icmp(Unreachable(*code)))
            }
        })
    }

    fn stateful(&mut self, name: Name, state: &Stateful) -> Step {
        match *state {
            Stateful::Counter(counter) => Step::Counter(self.state.add_counter(name, counter)),
            Stateful::Limit(ast::Limit { amount, interval, burst, of_bytes, over }) => {
                let rate = Rate { amount, interval, burst, of_bytes };
                Step::Limit { limit: self.state.add_limit(name, rate), over }
            }
            Stateful::Quota { quota, over } => {
                Step::Quota { quota: self.state.add_quota(name, quota), over }
            }
        }
    }

    fn comparison(&mut self, place: &Place<'_>, comparison: &Match) -> Result<Step, String> {
        let Match { key, mask, operator, right } = comparison;
        let negate = *operator == Operator::NotEqual;
        let equals = matches!(operator, Operator::Implicit | Operator::Equal | Operator::Not);
        if !negate && !equals {
            return self.inequality(key, *mask, *operator, right);
        }
        match (key.as_slice(), right) {
            (_, Right::Set(set)) => {
                if mask.is_some() {
                    return Err("a mask can't be looked up in a set".to_owned());
                }
                let set = self.named(place, set, key, Holds::Nothing)?;
                Ok(Step::Lookup { key: fields(key)?, set, negate })
            }
            ([Selector { field, kind, .. }], Right::Value(value))
                if kind.is_flags()
                    && mask.is_none()
                    && matches!(operator, Operator::Implicit | Operator::Not) =>
            {
                // Any of these flags, or none.
                let (bits, _) = self.range(value)?;
                let negate = *operator == Operator::Implicit;
                Ok(Step::Match { field: *field, mask: bits, ranges: Ranges::one(0), negate })
            }
            _ if *operator == Operator::Not => {
                Err("\"!\" is for flags alone: write \"!=\"".to_owned())
            }
            ([Selector { field, .. }], Right::Value(value)) => {
                let (low, high) = self.range(value)?;
                let ranges = Ranges::new([low..=high]);
                Ok(Step::Match { field: *field, mask: mask.unwrap_or(u128::MAX), ranges, negate })
            }
            ([Selector { field, .. }], Right::Values(values)) => {
                let all: Vec<_> = values.iter().flatten().cloned().collect();
                let ranges = Ranges::new(self.ranges(&all)?);
                Ok(Step::Match { field: *field, mask: mask.unwrap_or(u128::MAX), ranges, negate })
            }
            (_, Right::Values(values)) => {
                let mut set = Set::new(0, values.len(), self.random.key());
                for element in values {
                    let ranges = self.ranges(element)?;
                    set.insert(&ranges, EngineData::Nothing, None)
                        .map_err(|why| why.to_string())?;
                }
                self.sets.push(set);
                Ok(Step::Lookup { key: fields(key)?, set: self.sets.len() - 1, negate })
            }
            (_, Right::Value(_)) => Err("several things are compared with one".to_owned()),
        }
    }

    fn inequality(
        &self,
        key: &Key,
        mask: Option<u128>,
        operator: Operator,
        right: &Right,
    ) -> Result<Step, String> {
        let ([Selector { field, kind, .. }], Right::Value(value)) = (key.as_slice(), right) else {
            return Err("only one value can be less or more than another".to_owned());
        };
        let (low, high) = self.range(value)?;
        if low != high {
            return Err("a range is neither less nor more than a value".to_owned());
        }
        let range = match operator {
            Operator::Less => low.checked_sub(1).map(|most| 0..=most),
            Operator::AtMost => Some(0..=low),
            Operator::Greater => low.checked_add(1).map(|least| least..=kind.max()),
            _ => Some(low..=kind.max()),
        };
        let mask = mask.unwrap_or(u128::MAX);
        Ok(Step::Match { field: *field, mask, ranges: Ranges::new(range), negate: false })
    }

    /// The set of that name, if it has what is wanted of it.
    fn named(
        &self,
        place: &Place<'_>,
        name: &str,
        key: &Key,
        holds: Holds,
    ) -> Result<SetId, String> {
        let declared = place.table.sets.get(name);
        let declared = declared.ok_or_else(|| format!("there is no set {name} in this table"))?;
        if declared.holds != holds {
            return Err(format!("{name} does not have for its keys what is wanted here"));
        }
        let kinds: Vec<_> = key.iter().map(|selector| selector.kind).collect();
        if kinds != declared.key {
            return Err(format!("{name} is a set of something else"));
        }
        let found = self.named.get(&(place.key.clone(), name.to_owned()));
        found.copied().ok_or_else(|| format!("there is no set {name} in this table"))
    }

    fn verdicts(
        &mut self,
        place: &Place<'_>,
        elements: &[(Vec<Value>, Verdict)],
    ) -> Result<SetId, String> {
        let mut map = Set::new(0, elements.len(), self.random.key());
        for (key, verdict) in elements {
            let ranges = self.ranges(key)?;
            let data = EngineData::Verdict(self.verdict(place.key, verdict)?);
            map.insert(&ranges, data, None).map_err(|why| why.to_string())?;
        }
        self.sets.push(map);
        Ok(self.sets.len() - 1)
    }

    fn verdict(&self, table: &TableKey, verdict: &Verdict) -> Result<EngineVerdict, String> {
        let chain = |name: &String| {
            let found = self.chains.get(&(table.clone(), name.clone()));
            found.copied().ok_or_else(|| format!("there is no chain {name} in this table"))
        };
        Ok(match verdict {
            Verdict::Accept => EngineVerdict::Accept,
            Verdict::Drop => EngineVerdict::Drop,
            Verdict::Continue => EngineVerdict::Continue,
            Verdict::Return => EngineVerdict::Return,
            Verdict::Jump(name) => EngineVerdict::Jump(chain(name)?),
            Verdict::Goto(name) => EngineVerdict::Goto(chain(name)?),
        })
    }
}

fn mark_of(mark: MarkOf) -> EngineMark {
    match mark {
        MarkOf::Packet => EngineMark::Packet,
        MarkOf::Flow => EngineMark::Flow,
    }
}

fn fields(key: &Key) -> Result<Box<[Field]>, String> {
    if key.len() > MAX_KEY {
        return Err(format!("more than {MAX_KEY} things at once"));
    }
    Ok(key.iter().map(|selector| selector.field).collect())
}
