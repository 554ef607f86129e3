//! A ruleset to text, as `nft list ruleset` has it: what is printed can be read again.

mod statement;

use super::{
    ast::{
        Base, Chain, Data, Element, Holds, Hook, Object, ObjectKey, ObjectKind, PRIORITIES, Rule,
        Ruleset, Set, Stateful, Statement, Table, TableKey,
    },
    compile::set_number,
    parser::List,
    value::{Type, Value, print_duration},
};
use narrows_stack::{
    Instant,
    filter::{
        Filter,
        set::Listed,
        state::{Counter, Name, Quota},
    },
};
pub(super) use statement::{any_of, byte_unit, interval_name};
use statement::{byte_words, print_limit, print_statement, print_verdict};
use std::{collections::HashMap, fmt::Write, time::Duration};

/// What changes while packets pass.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub counters: HashMap<Name, Counter>,
    pub quotas: HashMap<Name, Quota>,
    pub sets: HashMap<u64, Vec<Listed>>,
    pub now: Instant,
}

impl Live {
    pub(crate) fn of(filter: &Filter, now: Instant) -> Self {
        let sets = filter.sets().iter().map(|set| (set.id(), set.elements(now))).collect();
        let state = filter.state();
        Self { counters: state.counters_by_name(), quotas: state.quotas_by_name(), sets, now }
    }

    /// As it is by now.
    pub(super) fn current(&self, name: Name, written: &Stateful) -> Stateful {
        match *written {
            Stateful::Counter(counter) => {
                Stateful::Counter(self.counters.get(&name).copied().unwrap_or(counter))
            }
            Stateful::Quota { quota, over } => {
                Stateful::Quota { quota: self.quotas.get(&name).copied().unwrap_or(quota), over }
            }
            Stateful::Limit(limit) => Stateful::Limit(limit),
        }
    }

    /// A set's as they are in the engine, where rules may have added some and time has taken others; each
    /// with the whole seconds until it expires, if it does.
    pub(super) fn elements(
        &self,
        table: &TableKey,
        name: &str,
        set: &Set,
    ) -> Vec<(Element, Option<Duration>)> {
        let by_name = set.key.contains(&Type::Interface);
        let Some(listed) = self.sets.get(&set_number(table, name)).filter(|_| !by_name) else {
            return set.elements.iter().map(|written| (written.clone(), None)).collect();
        };
        let one = |listed: &Listed| {
            let key: Vec<_> =
                listed.key.iter().map(|range| Value::Range(*range.start(), *range.end())).collect();
            let written = set.elements.iter().find(|written| written.key == key);
            let data = written.map_or(Data::Nothing, |written| written.data.clone());
            let timeout = written.and_then(|written| written.timeout);
            let left = |at: Instant| Duration::from_secs(at.since(self.now).as_secs());
            (Element { key, data, timeout }, listed.expires.map(left))
        };
        listed.iter().map(one).collect()
    }
}

/// `handles`: with what rules are deleted by.
pub(crate) fn print(ruleset: &Ruleset, list: &List, live: &Live, handles: bool) -> String {
    let mut printer = Printer { text: String::new(), live, handles };
    for (key, table) in ruleset.listed() {
        match list {
            List::Tables(family) if family.is_none_or(|family| family == key.0) => {
                let _ = writeln!(printer.text, "table {} {}", key.0.name(), key.1);
            }
            // One below the other, and no table that has none.
            List::Objects { kind, .. } if list.concerns(key) => printer.objects(key, table, *kind),
            list if list.concerns(key) => printer.table(key, table, |part| list.wants(part)),
            _ => {}
        }
    }
    printer.text
}

/// What a table has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    Object(&'a ObjectKey),
    Set(&'a str),
    Chain(&'a str),
}

struct Printer<'a> {
    text: String,
    live: &'a Live,
    handles: bool,
}

impl Printer<'_> {
    fn table(&mut self, key: &TableKey, table: &Table, wanted: impl Fn(Part<'_>) -> bool) {
        let handle = self.handle(table.handle);
        let _ = writeln!(self.text, "table {} {} {{{handle}", key.0.name(), key.1);
        let mut first = true;
        if table.dormant {
            self.text.push_str("\tflags dormant\n");
            first = false;
        }
        for key in table.object_order.iter().filter(|key| wanted(Part::Object(key))) {
            if let Some(object) = table.objects.get(key) {
                self.gap(&mut first);
                self.object(key, object);
            }
        }
        for name in table.set_order.iter().filter(|name| wanted(Part::Set(name))) {
            if let Some(set) = table.sets.get(name) {
                self.gap(&mut first);
                self.set(key, name, set);
            }
        }
        for name in table.chain_order.iter().filter(|name| wanted(Part::Chain(name))) {
            if let Some(chain) = table.chains.get(name) {
                self.gap(&mut first);
                self.chain(name, chain);
            }
        }
        self.text.push_str("}\n");
    }

    fn objects(&mut self, key: &TableKey, table: &Table, kind: ObjectKind) {
        let mut of_kind = table.object_order.iter().filter(|key| key.0 == kind).peekable();
        if of_kind.peek().is_none() {
            return;
        }
        let _ = writeln!(self.text, "table {} {} {{", key.0.name(), key.1);
        for key in of_kind {
            if let Some(object) = table.objects.get(key) {
                self.object(key, object);
            }
        }
        self.text.push_str("}\n");
    }

    fn gap(&mut self, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.text.push('\n');
        }
    }

    /// What something is deleted by, where that is wanted.
    fn handle(&self, handle: u64) -> String {
        if self.handles { format!(" # handle {handle}") } else { String::new() }
    }

    fn object(&mut self, (kind, name): &ObjectKey, object: &Object) {
        let handle = self.handle(object.handle);
        let words = match self.live.current((object.handle, 0), &object.state) {
            Stateful::Counter(counter) => counter_words(counter),
            Stateful::Quota { quota, over } => quota_words(quota, over),
            Stateful::Limit(limit) => print_limit(&limit),
        };
        let kind = kind.name();
        let _ = writeln!(self.text, "\t{kind} {name} {{{handle}\n\t\t{words}\n\t}}");
    }

    fn chain(&mut self, name: &str, chain: &Chain) {
        let handle = self.handle(chain.handle);
        let _ = writeln!(self.text, "\tchain {name} {{{handle}");
        if let Some(base) = &chain.base {
            let Base { nat, hook, devices, priority, accept } = base;
            let kind = if *nat { "nat" } else { "filter" };
            let device = match devices.as_slice() {
                [] => String::new(),
                [one] => format!(" device \"{one}\""),
                several => format!(" devices = {{ {} }}", several.join(", ")),
            };
            let policy = if *accept { "accept" } else { "drop" };
            let _ = writeln!(
                self.text,
                "\t\ttype {kind} hook {}{device} priority {}; policy {policy};",
                hook.name(),
                print_priority(*hook, *priority),
            );
        }
        for rule in &chain.rules {
            self.text.push_str("\t\t");
            let words = self.rule(rule);
            self.text.push_str(&words);
            self.text += &self.handle(rule.handle);
            self.text.push('\n');
        }
        self.text.push_str("\t}\n");
    }

    fn rule(&self, rule: &Rule) -> String {
        let mut nth = 0;
        let mut words: Vec<String> = Vec::new();
        for statement in &rule.statements {
            words.push(match statement {
                Statement::Stateful(written) => {
                    let name = (rule.handle, nth);
                    nth += 1;
                    match self.live.current(name, written) {
                        Stateful::Counter(counter) => format!("counter {}", counter_words(counter)),
                        Stateful::Quota { quota, over } => {
                            format!("quota {}", quota_words(quota, over))
                        }
                        Stateful::Limit(limit) => format!("limit {}", print_limit(&limit)),
                    }
                }
                other => print_statement(other),
            });
        }
        if let Some(comment) = &rule.comment {
            words.push(format!("comment \"{comment}\""));
        }
        words.join(" ")
    }

    fn set(&mut self, table: &TableKey, name: &str, set: &Set) {
        let kind = if set.holds == Holds::Nothing { "set" } else { "map" };
        let handle = self.handle(set.handle);
        let _ = writeln!(self.text, "\t{kind} {name} {{{handle}");
        let types: Vec<_> = set.key.iter().map(|kind| kind.name().unwrap_or("integer")).collect();
        let holds = match set.holds {
            Holds::Nothing => String::new(),
            Holds::Verdicts => " : verdict".to_owned(),
            Holds::Values(kind) => format!(" : {}", kind.name().unwrap_or("integer")),
            Holds::Pairs(one, other) => {
                let name = |kind: Type| kind.name().unwrap_or("integer");
                format!(" : {} . {}", name(one), name(other))
            }
        };
        let _ = writeln!(self.text, "\t\ttype {}{holds}", types.join(" . "));
        if let Some(size) = set.size {
            let _ = writeln!(self.text, "\t\tsize {size}");
        }
        let names = [
            (set.constant, "constant"),
            (set.intervals, "interval"),
            (set.dynamic, "dynamic"),
            (set.timeouts, "timeout"),
        ];
        let names: Vec<_> = names.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
        if !names.is_empty() {
            let _ = writeln!(self.text, "\t\tflags {}", names.join(","));
        }
        if let Some(timeout) = set.timeout {
            let _ = writeln!(self.text, "\t\ttimeout {}", print_duration(timeout));
        }
        if set.auto_merge {
            self.text.push_str("\t\tauto-merge\n");
        }
        let elements = self.live.elements(table, name, set);
        let elements: Vec<_> =
            elements.iter().map(|(each, left)| element_words(set, each, *left)).collect();
        if !elements.is_empty() {
            let separator = ",\n\t\t\t     ";
            let lines = elements.chunks(elements_in_line(&set.key)).map(|line| line.join(", "));
            let lines: Vec<_> = lines.collect();
            let _ = writeln!(self.text, "\t\telements = {{ {} }}", lines.join(separator));
        }
        self.text.push_str("\t}\n");
    }
}

fn counter_words(counter: Counter) -> String {
    format!("packets {} bytes {}", counter.packets, counter.bytes)
}

fn quota_words(Quota { bytes, used }: Quota, over: bool) -> String {
    let used = if used > 0 { format!(" used {}", byte_words(used)) } else { String::new() };
    let over = if over { "over " } else { "" };
    format!("{over}{}{used}", byte_words(bytes))
}

/// As many as nft puts side by side.
fn elements_in_line(key: &[Type]) -> usize {
    match key {
        [Type::Ipv4 | Type::Mac | Type::Ethernet] => 2,
        [Type::Interface | Type::InterfaceName | Type::Zone | Type::Group]
        | [Type::User | Type::UserGroup | Type::Mark]
        | [_, _, ..] => 1,
        _ => 5,
    }
}

/// `left`: until it expires.
fn element_words(set: &Set, element: &Element, left: Option<Duration>) -> String {
    let parts: Vec<_> =
        set.key.iter().zip(&element.key).map(|(kind, value)| kind.print(value)).collect();
    let time = |word, time: Option<Duration>| {
        time.map(|time| format!(" {word} {}", print_duration(time))).unwrap_or_default()
    };
    let (timeout, expires) = (time("timeout", element.timeout), time("expires", left));
    format!("{}{timeout}{expires}{}", parts.join(" . "), data_words(set, &element.data))
}

fn data_words(set: &Set, data: &Data) -> String {
    match (data, set.holds) {
        (Data::Verdict(verdict), _) => format!(" : {}", print_verdict(verdict)),
        (Data::Value(value), Holds::Values(kind)) => format!(" : {}", kind.print(value)),
        (Data::Pair(first, second), Holds::Pairs(one, other)) => {
            format!(" : {} . {}", one.print(first), other.print(second))
        }
        _ => String::new(),
    }
}

/// A rule as it was written, without what was counted since.
pub(super) fn rule(rule: &Rule) -> String {
    Printer { text: String::new(), live: &Live::default(), handles: false }.rule(rule)
}

fn print_priority(hook: Hook, priority: i32) -> String {
    // As nft: by name if it is within ten of one.
    let belongs = |name: &str| match name {
        "dstnat" => hook == Hook::Prerouting,
        "srcnat" => hook == Hook::Postrouting,
        _ => true,
    };
    let near =
        PRIORITIES.iter().find(|(name, value)| belongs(name) && priority.abs_diff(*value) <= 10);
    match near.map(|(name, value)| (name, priority - value)) {
        Some((name, 0)) => (*name).to_owned(),
        Some((name, more @ 1..)) => format!("{name} + {more}"),
        Some((name, less)) => format!("{name} - {}", -less),
        None => priority.to_string(),
    }
}
