//! Statements, and what they compare.

use crate::nft::{
    ast::{
        Data, Key, Level, Limit, Log, MapSource, Mark, MarkOf, Match, Operator, Ports, Queue,
        Reject, Right, SetChange, Statement, Target, Translate, ValueMap, Verdict,
    },
    parser::BURST,
    selector,
    value::{ICMP_CODES, Type, Value, print_duration},
};
use std::{fmt::Write, time::Duration};

fn print_key(key: &Key) -> String {
    key.iter().map(selector::words).collect::<Vec<_>>().join(" . ")
}

pub(super) fn print_statement(statement: &Statement) -> String {
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
        Statement::Object(kind, name) => format!("{} name \"{name}\"", kind.name()),
        Statement::Log(log) => print_log(log),
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
        Statement::Stateful(_) => String::new(),
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
            let (ip, elements) = (port(*with), print_elements(key, elements, Type::Ipv4));
            let _ = write!(text, "{ip} to {} map {elements}", print_key(key));
        }
    }
    match &translate.ports {
        Some(Ports::Range(low, high)) if low == high => {
            let _ = write!(text, ":{low}");
        }
        Some(Ports::Range(low, high)) => {
            let _ = write!(text, ":{low}-{high}");
        }
        Some(Ports::Map { key, map: ValueMap::Named(name) }) => {
            let _ = write!(text, ":{} map @{name}", print_key(key));
        }
        Some(Ports::Map { key, map: ValueMap::Inline(elements) }) => {
            let elements = print_elements(key, elements, Type::Port);
            let _ = write!(text, ":{} map {elements}", print_key(key));
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

/// Of a map without a name, to single values of a type, or to addresses with ports.
fn print_elements(key: &Key, elements: &[(Vec<Value>, Data)], kind: Type) -> String {
    let element = |(values, data): &(Vec<Value>, Data)| {
        let data = match data {
            Data::Pair(address, port) => {
                format!("{} . {}", Type::Ipv4.print(address), Type::Port.print(port))
            }
            Data::Value(one) => kind.print(one),
            Data::Nothing | Data::Verdict(_) => String::new(),
        };
        format!("{} : {data}", print_values(key, values))
    };
    let elements: Vec<_> = elements.iter().map(element).collect();
    format!("{{ {} }}", elements.join(", "))
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
pub(in crate::nft) fn any_of(comparison: &Match) -> bool {
    let kind = comparison.key.first().map(|selector| selector.kind);
    matches!(kind, Some(Type::CtState | Type::CtStatus))
        && comparison.operator == Operator::NotEqual
        && comparison.right == Right::Value(Value::one(0))
}

fn print_values(key: &Key, values: &[Value]) -> String {
    let parts = key.iter().zip(values).map(|(selector, value)| selector.kind.print(value));
    parts.collect::<Vec<_>>().join(" . ")
}

pub(super) fn print_verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(chain) => format!("jump {chain}"),
        Verdict::Goto(chain) => format!("goto {chain}"),
    }
}

pub(super) fn print_limit(limit: &Limit) -> String {
    let Limit { amount, interval, burst, of_bytes, over } = *limit;
    let over = if over { "over " } else { "" };
    let interval = interval_name(interval);
    match of_bytes {
        false if burst == BURST => format!("rate {over}{amount}/{interval}"),
        false => format!("rate {over}{amount}/{interval} burst {burst} packets"),
        true if burst == 0 => format!("rate {over}{}/{interval}", byte_words(amount)),
        true => {
            format!("rate {over}{}/{interval} burst {}", byte_words(amount), byte_words(burst))
        }
    }
}

pub(in crate::nft) fn interval_name(interval: Duration) -> &'static str {
    match interval.as_secs() {
        1 => "second",
        60 => "minute",
        3_600 => "hour",
        86_400 => "day",
        _ => "week",
    }
}

fn print_log(log: &Log) -> String {
    let mut words = vec!["log".to_owned()];
    if !log.prefix.is_empty() {
        words.push(format!("prefix \"{}\"", log.prefix));
    }
    if let Some(group) = log.group {
        words.push(format!("group {group}"));
    }
    // What is not said is the same, so that nft leaves it out.
    if log.level != Level::default() {
        words.push(format!("level {}", log.level.name()));
    }
    words.join(" ")
}

/// In the largest unit that it is a whole number of.
pub(in crate::nft) fn byte_unit(bytes: u64) -> (u64, &'static str) {
    match bytes {
        bytes if bytes > 0 && bytes % (1 << 20) == 0 => (bytes >> 20, "mbytes"),
        bytes if bytes > 0 && bytes % (1 << 10) == 0 => (bytes >> 10, "kbytes"),
        bytes => (bytes, "bytes"),
    }
}

pub(super) fn byte_words(bytes: u64) -> String {
    let (amount, unit) = byte_unit(bytes);
    format!("{amount} {unit}")
}
