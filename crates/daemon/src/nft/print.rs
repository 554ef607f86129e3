//! A ruleset to text, as `nft list ruleset` has it: what is printed can be read again.

use super::{
    ast::{
        Base, Chain, Data, Element, Family, Holds, Hook, Key, MapSource, Mark, MarkOf, Match,
        Operator, PRIORITIES, Queue, Reject, Right, Rule, Ruleset, Set, SetChange, Statement,
        TableKey, Target, Translate, ValueMap, Verdict,
    },
    compile::set_number,
    parser::{BURST, List},
    selector,
    value::{ICMP_CODES, Type, Value, print_duration},
};
use narrows_stack::{
    Instant,
    filter::{
        Filter,
        set::Listed,
        state::{Counter, Name, Quota},
    },
};
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
}

/// `handles`: with what rules are deleted by.
pub(crate) fn print(ruleset: &Ruleset, list: &List, live: &Live, handles: bool) -> String {
    let mut printer = Printer { text: String::new(), live, handles };
    let of = |wanted: &Option<Family>, family: Family| wanted.is_none_or(|wanted| wanted == family);
    for (key, table) in &ruleset.tables {
        match list {
            List::Tables(family) if of(family, key.0) => {
                let _ = writeln!(printer.text, "table {} {}", key.0.name(), key.1);
            }
            List::Ruleset(family) if of(family, key.0) => printer.table(key, table, |_, _| true),
            List::Table(wanted) if wanted == key => printer.table(key, table, |_, _| true),
            List::Chain(wanted, chain) if wanted == key => {
                printer.table(key, table, |is_chain, name| is_chain && name == chain);
            }
            List::Set(wanted, set) if wanted == key => {
                printer.table(key, table, |is_chain, name| !is_chain && name == set);
            }
            _ => {}
        }
    }
    printer.text
}

struct Printer<'a> {
    text: String,
    live: &'a Live,
    handles: bool,
}

impl Printer<'_> {
    fn table(
        &mut self,
        key: &TableKey,
        table: &super::ast::Table,
        wanted: impl Fn(bool, &str) -> bool,
    ) {
        let _ = writeln!(self.text, "table {} {} {{", key.0.name(), key.1);
        let mut first = true;
        if table.dormant {
            self.text.push_str("\tflags dormant\n");
            first = false;
        }
        for name in table.set_order.iter().filter(|name| wanted(false, name)) {
            if let Some(set) = table.sets.get(name) {
                self.gap(&mut first);
                self.set(key, name, set);
            }
        }
        for name in table.chain_order.iter().filter(|name| wanted(true, name)) {
            if let Some(chain) = table.chains.get(name) {
                self.gap(&mut first);
                self.chain(name, chain);
            }
        }
        self.text.push_str("}\n");
    }

    fn gap(&mut self, first: &mut bool) {
        if !std::mem::replace(first, false) {
            self.text.push('\n');
        }
    }

    fn chain(&mut self, name: &str, chain: &Chain) {
        let _ = writeln!(self.text, "\tchain {name} {{");
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
            if self.handles {
                let _ = write!(self.text, " # handle {}", rule.handle);
            }
            self.text.push('\n');
        }
        self.text.push_str("\t}\n");
    }

    fn rule(&self, rule: &Rule) -> String {
        let mut nth = 0;
        let mut words: Vec<String> = Vec::new();
        for statement in &rule.statements {
            let name = (rule.handle, nth);
            words.push(match statement {
                Statement::Counter { packets, bytes } => {
                    nth += 1;
                    let counter = Counter { packets: *packets, bytes: *bytes };
                    let counter = self.live.counters.get(&name).copied().unwrap_or(counter);
                    format!("counter packets {} bytes {}", counter.packets, counter.bytes)
                }
                Statement::Quota { bytes, used, over } => {
                    nth += 1;
                    let used = self.live.quotas.get(&name).map_or(*used, |quota| quota.used);
                    let used = if used > 0 {
                        format!(" used {}", byte_words(used))
                    } else {
                        String::new()
                    };
                    let over = if *over { "over " } else { "" };
                    format!("quota {over}{}{used}", byte_words(*bytes))
                }
                Statement::Limit { .. } => {
                    nth += 1;
                    print_statement(statement)
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
        let _ = writeln!(self.text, "\t{kind} {name} {{");
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
        let elements = self.elements(table, name, set);
        if !elements.is_empty() {
            let separator = ",\n\t\t\t     ";
            let lines = elements.chunks(elements_in_line(&set.key)).map(|line| line.join(", "));
            let lines: Vec<_> = lines.collect();
            let _ = writeln!(self.text, "\t\telements = {{ {} }}", lines.join(separator));
        }
        self.text.push_str("\t}\n");
    }

    /// As they are in the engine, where rules may have added some and time has taken others.
    fn elements(&self, table: &TableKey, name: &str, set: &Set) -> Vec<String> {
        let by_name = set.key.contains(&Type::Interface);
        match self.live.sets.get(&set_number(table, name)).filter(|_| !by_name) {
            Some(listed) => listed.iter().map(|element| self.listed(set, element)).collect(),
            None => set.elements.iter().map(|element| element_words(set, element)).collect(),
        }
    }

    fn listed(&self, set: &Set, listed: &Listed) -> String {
        let key: Vec<_> =
            listed.key.iter().map(|range| Value::Range(*range.start(), *range.end())).collect();
        let written = set.elements.iter().find(|element| element.key == key);
        let data = written.map_or(Data::Nothing, |element| element.data.clone());
        let timeout = written.and_then(|element| element.timeout);
        let mut text = element_words(set, &Element { key, data: Data::Nothing, timeout });
        if let Some(at) = listed.expires {
            // Seconds, as the rest of the listing.
            let left = Duration::from_secs(at.since(self.live.now).as_secs());
            let _ = write!(text, " expires {}", print_duration(left));
        }
        text + &data_words(set, &data)
    }
}

/// As many as nft puts side by side.
fn elements_in_line(key: &[Type]) -> usize {
    match key {
        [Type::Ipv4 | Type::Mac | Type::Ethernet] => 2,
        [Type::Interface | Type::InterfaceName | Type::Group | Type::User | Type::Mark]
        | [_, _, ..] => 1,
        _ => 5,
    }
}

fn element_words(set: &Set, element: &Element) -> String {
    let parts: Vec<_> =
        set.key.iter().zip(&element.key).map(|(kind, value)| kind.print(value)).collect();
    let timeout = element.timeout.map(|timeout| format!(" timeout {}", print_duration(timeout)));
    format!(
        "{}{}{}",
        parts.join(" . "),
        timeout.unwrap_or_default(),
        data_words(set, &element.data)
    )
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

fn print_key(key: &Key) -> String {
    key.iter().map(selector::words).collect::<Vec<_>>().join(" . ")
}

fn print_statement(statement: &Statement) -> String {
    match statement {
        Statement::Match(comparison) => print_match(comparison),
        Statement::VerdictMap { key, map: MapSource::Named(map) } => {
            format!("{} vmap @{map}", print_key(key))
        }
        Statement::VerdictMap { key, map: MapSource::Inline(elements) } => {
            let element = |(values, verdict): &(Vec<Value>, Verdict)| {
                format!("{} : {}", print_values(key, values), print_verdict(verdict))
            };
            let elements: Vec<_> = elements.iter().map(element).collect();
            format!("{} vmap {{ {} }}", print_key(key), elements.join(", "))
        }
        Statement::Verdict(verdict) => print_verdict(verdict),
        Statement::Limit { amount, interval, burst, of_bytes, over } => {
            let over = if *over { "over " } else { "" };
            let interval = match interval.as_secs() {
                1 => "second",
                60 => "minute",
                3_600 => "hour",
                86_400 => "day",
                _ => "week",
            };
            match of_bytes {
                false if *burst == BURST => format!("limit rate {over}{amount}/{interval}"),
                false => format!("limit rate {over}{amount}/{interval} burst {burst} packets"),
                true if *burst == 0 => {
                    format!("limit rate {over}{}/{interval}", byte_words(*amount))
                }
                true => format!(
                    "limit rate {over}{}/{interval} burst {}",
                    byte_words(*amount),
                    byte_words(*burst)
                ),
            }
        }
        Statement::Log { prefix } if prefix.is_empty() => "log".to_owned(),
        Statement::Log { prefix } => format!("log prefix \"{prefix}\""),
        Statement::SetMark { to, mark: Mark::Map { key, map } } => {
            format!("{} set {} map @{map}", mark_name(*to), print_key(key))
        }
        Statement::SetMark { to, mark: Mark::Bits { from, and, xor } } => {
            format!("{} set {}", mark_name(*to), print_mark(mark_name(*from), *and, *xor))
        }
        Statement::Untrack => "notrack".to_owned(),
        Statement::Translate(translate) => print_translate(translate),
        Statement::SetChange { change, set, key, timeout } => {
            let change = match change {
                SetChange::Add => "add",
                SetChange::Update => "update",
                SetChange::Delete => "delete",
            };
            let timeout = timeout.map(|timeout| format!(" timeout {}", print_duration(timeout)));
            format!("{change} @{set} {{ {}{} }}", print_key(key), timeout.unwrap_or_default())
        }
        Statement::Reject(Reject::TcpReset) => "reject with tcp reset".to_owned(),
        Statement::Reject(Reject::Icmp(code)) => {
            let named = ICMP_CODES.iter().find(|(_, own)| *own == u128::from(*code));
            match named {
                Some((name, _)) => format!("reject with icmp {name}"),
                None => format!("reject with icmp {code}"),
            }
        }
        Statement::Queue(queue) => print_queue(queue),
        // These have a count that is known elsewhere.
        Statement::Counter { .. } | Statement::Quota { .. } => String::new(),
    }
}

fn print_queue(queue: &Queue) -> String {
    let named = [("bypass", queue.bypass), ("fanout", queue.fanout)];
    let flags: Vec<_> = named.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let flags = match flags.is_empty() {
        true => String::new(),
        false => format!(" flags {}", flags.join(",")),
    };
    match (queue.first, queue.last) {
        (first, last) if first == last => format!("queue{flags} to {first}"),
        (first, last) => format!("queue{flags} to {first}-{last}"),
    }
}

fn mark_name(mark: MarkOf) -> &'static str {
    match mark {
        MarkOf::Packet => "meta mark",
        MarkOf::Flow => "ct mark",
    }
}

/// As nft takes bits apart: those that are kept, those that are turned, those that are set.
fn print_mark(from: &str, and: u32, xor: u32) -> String {
    if and == 0 {
        return format!("0x{xor:08x}");
    }
    let (set, turned) = (xor & !and, xor & and);
    let mut text = from.to_owned();
    let kept = and | set;
    for (symbol, bits, nothing) in [("&", kept, u32::MAX), ("^", turned, 0), ("|", set, 0)] {
        if bits != nothing {
            let _ = write!(text, " {symbol} 0x{bits:08x}");
        }
    }
    text
}

fn print_translate(translate: &Translate) -> String {
    let mut text = translate.kind.name().to_owned();
    let port = |port: bool| if port { " ip" } else { "" };
    match &translate.to {
        Target::Own if translate.ports.is_some() => text.push_str(" to "),
        Target::Own => {}
        Target::Addresses(first, last) if first == last => {
            let _ = write!(text, " to {first}");
        }
        Target::Addresses(first, last) => {
            let _ = write!(text, " to {first}-{last}");
        }
        Target::Map { key, map: ValueMap::Named(name), port: with } => {
            let ip = port(*with || translate.family);
            let _ = write!(text, "{ip} to {} map @{name}", print_key(key));
        }
        Target::Map { key, map: ValueMap::Inline(elements), port: with } => {
            let element = |(values, data): &(Vec<Value>, Data)| {
                let data = match data {
                    Data::Pair(address, port) => {
                        format!("{} . {}", Type::Ipv4.print(address), Type::Port.print(port))
                    }
                    Data::Value(address) => Type::Ipv4.print(address),
                    Data::Nothing | Data::Verdict(_) => String::new(),
                };
                format!("{} : {data}", print_values(key, values))
            };
            let elements: Vec<_> = elements.iter().map(element).collect();
            let (key, elements) = (print_key(key), elements.join(", "));
            let _ = write!(text, "{} to {key} map {{ {elements} }}", port(*with));
        }
    }
    match translate.ports {
        Some((low, high)) if low == high => {
            let _ = write!(text, ":{low}");
        }
        Some((low, high)) => {
            let _ = write!(text, ":{low}-{high}");
        }
        None => {}
    }
    let flags = [
        (translate.random, "random"),
        (translate.fully_random, "fully-random"),
        (translate.persistent, "persistent"),
    ];
    let flags: Vec<_> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect();
    if !flags.is_empty() {
        let _ = write!(text, " {}", flags.join(","));
    }
    text
}

fn print_match(comparison: &Match) -> String {
    let Match { key, mask, operator, right } = comparison;
    let left = print_key(key);
    let kind = key.first().map_or(Type::Number(32), |selector| selector.kind);
    let operator = match (operator, mask) {
        // nft writes it out where it would mean another thing without.
        (Operator::Implicit, Some(_)) => "== ",
        (Operator::Implicit, None) => "",
        (Operator::Equal, None) if !kind.is_flags() => "",
        (Operator::NotEqual, Some(_)) if any_of(comparison) => "",
        (operator, _) => {
            let named = Operator::NAMES.iter().find(|(_, own)| own == operator);
            &format!("{} ", named.map_or("", |(symbol, _)| symbol))
        }
    };
    let right = match right {
        Right::Set(set) => format!("@{set}"),
        Right::Values(all) => {
            let all: Vec<_> = all.iter().map(|values| print_values(key, values)).collect();
            format!("{{ {} }}", all.join(", "))
        }
        Right::Value(Value::Range(bits, _))
            if kind.is_flags()
                && mask.is_none()
                && matches!(comparison.operator, Operator::Implicit | Operator::Not) =>
        {
            kind.flags(*bits).replace(" | ", ",")
        }
        Right::Value(value) => kind.print(value),
    };
    match (mask, &comparison.right) {
        (Some(mask), _) if any_of(comparison) => {
            format!("{left} {}", kind.flags(*mask).replace(" | ", ","))
        }
        // Flags that are set, of those that count.
        (Some(mask), Right::Value(Value::Range(bits, _)))
            if kind == Type::TcpFlags && *bits != 0 =>
        {
            let comma = |bits| kind.flags(bits).replace(" | ", ",");
            let not = if comparison.operator == Operator::NotEqual { "!= " } else { "" };
            format!("{left} {not}{} / {}", comma(*bits), comma(*mask))
        }
        (None, _) => format!("{left} {operator}{right}"),
        (Some(mask), _) => {
            let mask = match kind {
                kind if kind.is_flags() && mask.count_ones() > 1 => {
                    format!("({})", kind.flags(*mask))
                }
                kind => kind.print(&Value::one(*mask)),
            };
            format!("{left} & {mask} {operator}{right}")
        }
    }
}

/// `ct state & (new | related) != 0`, which nft writes as any of them.
fn any_of(comparison: &Match) -> bool {
    let kind = comparison.key.first().map(|selector| selector.kind);
    matches!(kind, Some(Type::CtState | Type::CtStatus))
        && comparison.operator == Operator::NotEqual
        && comparison.right == Right::Value(Value::one(0))
}

fn print_values(key: &Key, values: &[Value]) -> String {
    let parts = key.iter().zip(values).map(|(selector, value)| selector.kind.print(value));
    parts.collect::<Vec<_>>().join(" . ")
}

fn print_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
    }
}

/// In the largest unit that it is a whole number of.
fn byte_words(bytes: u64) -> String {
    match bytes {
        bytes if bytes > 0 && bytes % (1 << 20) == 0 => format!("{} mbytes", bytes >> 20),
        bytes if bytes > 0 && bytes % (1 << 10) == 0 => format!("{} kbytes", bytes >> 10),
        bytes => format!("{bytes} bytes"),
    }
}
