//! Statements, and what they compare.

use super::{concatenated, one_or_all};
use crate::nft::{
    ast::{
        Data, Holds, Key, Level, Limit, Log, MapSource, Mark, MarkOf, Match, Operator, Ports,
        Queue, Reject, Right, SetChange, Stateful, Statement, Target, Translate, ValueMap, Verdict,
    },
    print::{any_of, byte_unit, interval_name},
    selector::Selector,
    value::{ICMP_CODES, Type, Value as Written},
};
use narrows_stack::filter::state::{Counter, Quota};
use serde_json::{Map, Value, json};

fn selector(selector: &Selector) -> Value {
    let (first, rest) = selector.words.split_once(' ').unwrap_or((selector.words, ""));
    match first {
        "meta" => json!({ "meta": { "key": rest } }),
        "ct" => match rest.split_once(' ') {
            Some((direction @ ("original" | "reply"), key)) => {
                json!({ "ct": { "key": key, "dir": direction } })
            }
            _ => json!({ "ct": { "key": rest } }),
        },
        protocol => json!({ "payload": { "protocol": protocol, "field": rest } }),
    }
}

fn key(key: &Key) -> Value {
    concatenated(key.iter().map(selector).collect())
}

pub(super) fn value(kind: Type, value: &Written) -> Value {
    match value {
        Written::Interface(name) => json!(name),
        Written::Range(0, high) if *high == kind.max() && kind != Type::Mark => json!("*"),
        Written::Range(low, high) if low == high => single(kind, *low),
        Written::Range(..) if kind.is_name() => {
            json!(kind.print(value).trim_matches('"'))
        }
        Written::Range(low, high) => {
            let printed = kind.print(value);
            if let (Type::Ipv4, Some((address, length))) = (kind, printed.split_once('/')) {
                let length: u8 = length.parse().unwrap_or(32);
                return json!({ "prefix": { "addr": address, "len": length } });
            }
            json!({ "range": [single(kind, *low), single(kind, *high)] })
        }
    }
}

/// A name where nft has one, else a number.
fn single(kind: Type, value: u128) -> Value {
    if kind.is_flags() {
        let names: Vec<_> = kind.flags(value).split(" | ").map(Value::from).collect();
        return if value == 0 { json!(0) } else { one_or_all(names) };
    }
    let written = kind.print(&Written::one(value));
    match (kind, u64::try_from(value)) {
        (Type::Ipv4 | Type::Mac | Type::InterfaceName | Type::Zone, _) => {
            json!(written.trim_matches('"'))
        }
        (_, Ok(number)) if written.starts_with(|first: char| first.is_ascii_digit()) => {
            json!(number)
        }
        _ => json!(written),
    }
}

pub(super) fn data(data: &Data, holds: Holds) -> Value {
    match (data, holds) {
        (Data::Verdict(verdict), _) => self::verdict(verdict),
        (Data::Value(one), Holds::Values(kind)) => value(kind, one),
        (Data::Pair(one, other), Holds::Pairs(first, second)) => {
            concatenated(vec![value(first, one), value(second, other)])
        }
        _ => Value::Null,
    }
}

fn verdict(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Accept => json!({ "accept": null }),
        Verdict::Drop => json!({ "drop": null }),
        Verdict::Continue => json!({ "continue": null }),
        Verdict::Return => json!({ "return": null }),
        Verdict::Jump(chain) => json!({ "jump": { "target": chain } }),
        Verdict::Goto(chain) => json!({ "goto": { "target": chain } }),
    }
}

fn comparison(comparison: &Match) -> Value {
    let Match { key, mask, operator, right } = comparison;
    let kind = key.first().map_or(Type::Number(32), |selector| selector.kind);
    let any = any_of(comparison);
    let of_flags = kind.is_flags() && mask.is_none() && matches!(right, Right::Value(_));
    let operator = match operator {
        Operator::Implicit if of_flags => "in",
        Operator::NotEqual if any => "in",
        Operator::Implicit => "==",
        named => Operator::NAMES.iter().find(|(_, own)| own == named).map_or("", |(name, _)| name),
    };
    let left = self::key(key);
    let (left, right) = match (mask, right) {
        (Some(mask), _) if any => (left, single(kind, *mask)),
        (Some(mask), right) => {
            (json!({ "&": [left, single(kind, *mask)] }), self::right(key, kind, right))
        }
        (None, right) => (left, self::right(key, kind, right)),
    };
    json!({ "match": { "op": operator, "left": left, "right": right } })
}

fn right(key: &Key, kind: Type, right: &Right) -> Value {
    let values = |values: &Vec<Written>| {
        let parts = key.iter().zip(values).map(|(selector, part)| value(selector.kind, part));
        concatenated(parts.collect())
    };
    match right {
        Right::Set(name) => json!(format!("@{name}")),
        Right::Value(one) => value(kind, one),
        Right::Values(all) => json!({ "set": all.iter().map(values).collect::<Vec<_>>() }),
    }
}

pub(super) fn statement(statement: &Statement) -> Value {
    match statement {
        Statement::Match(found) => comparison(found),
        Statement::VerdictMap { key: of, map } => {
            let data = match map {
                MapSource::Named(name) => json!(format!("@{name}")),
                MapSource::Inline(elements) => {
                    let element = |(values, to): &(Vec<Written>, Verdict)| {
                        let parts = of
                            .iter()
                            .zip(values)
                            .map(|(selector, part)| value(selector.kind, part));
                        json!([concatenated(parts.collect()), verdict(to)])
                    };
                    json!({ "set": elements.iter().map(element).collect::<Vec<_>>() })
                }
            };
            json!({ "vmap": { "key": key(of), "data": data } })
        }
        Statement::Verdict(found) => verdict(found),
        Statement::Object(kind, name) => json!({ kind.name(): name }),
        Statement::Log(log) => self::log(log),
        Statement::SetMark { to, mark } => {
            json!({ "mangle": { "key": mark_of(*to), "value": marked(mark) } })
        }
        Statement::Untrack => json!({ "notrack": null }),
        Statement::Translate(found) => translate(found),
        Statement::SetChange { change, set, key: of, timeout } => {
            let change = match change {
                SetChange::Add => "add",
                SetChange::Update => "update",
                SetChange::Delete => "delete",
            };
            let element = match timeout {
                Some(timeout) => {
                    json!({ "elem": { "val": key(of), "timeout": timeout.as_secs() } })
                }
                None => key(of),
            };
            json!({ "set": { "op": change, "elem": element, "set": format!("@{set}") } })
        }
        Statement::Reject(Reject::TcpReset) => json!({ "reject": { "type": "tcp reset" } }),
        Statement::Reject(Reject::Icmp(code)) => {
            let named = ICMP_CODES.iter().find(|(_, own)| *own == u128::from(*code));
            let code = named.map_or_else(|| json!(code), |(name, _)| json!(name));
            json!({ "reject": { "type": "icmp", "expr": code } })
        }
        Statement::Queue(found) => queue(found),
        // These have a count that is known elsewhere.
        Statement::Stateful(_) => Value::Null,
    }
}

pub(super) fn stateful(state: &Stateful) -> Value {
    match state {
        Stateful::Counter(_) => json!({ "counter": object_words(state) }),
        Stateful::Limit(_) => json!({ "limit": object_words(state) }),
        // In bytes as an object, in its largest unit in a rule.
        Stateful::Quota { quota: Quota { bytes, used }, over } => {
            let mut object = Map::new();
            let (bytes, unit) = byte_unit(*bytes);
            object.insert("val".into(), json!(bytes));
            object.insert("val_unit".into(), json!(unit));
            if *used > 0 {
                let (used, unit) = byte_unit(*used);
                object.insert("used".into(), json!(used));
                object.insert("used_unit".into(), json!(unit));
            }
            if *over {
                object.insert("inv".into(), json!(true));
            }
            json!({ "quota": object })
        }
    }
}

pub(super) fn object_words(state: &Stateful) -> Map<String, Value> {
    let mut object = Map::new();
    match *state {
        Stateful::Counter(Counter { packets, bytes }) => {
            object.insert("packets".into(), json!(packets));
            object.insert("bytes".into(), json!(bytes));
        }
        Stateful::Quota { quota: Quota { bytes, used }, over } => {
            object.insert("bytes".into(), json!(bytes));
            object.insert("used".into(), json!(used));
            object.insert("inv".into(), json!(over));
        }
        Stateful::Limit(Limit { amount, interval, burst, of_bytes, over }) => {
            if of_bytes {
                let (rate, unit) = byte_unit(amount);
                object.insert("rate".into(), json!(rate));
                object.insert("rate_unit".into(), json!(unit));
                let (burst, unit) = byte_unit(burst);
                object.insert("burst".into(), json!(burst));
                object.insert("burst_unit".into(), json!(unit));
            } else {
                object.insert("rate".into(), json!(amount));
                object.insert("burst".into(), json!(burst));
            }
            object.insert("per".into(), json!(interval_name(interval)));
            if over {
                object.insert("inv".into(), json!(true));
            }
        }
    }
    object
}

fn log(log: &Log) -> Value {
    let mut object = Map::new();
    if !log.prefix.is_empty() {
        object.insert("prefix".into(), json!(log.prefix));
    }
    if let Some(group) = log.group {
        object.insert("group".into(), json!(group));
    }
    if log.level != Level::default() {
        object.insert("level".into(), json!(log.level.name()));
    }
    let object = if object.is_empty() { Value::Null } else { Value::Object(object) };
    json!({ "log": object })
}

fn queue(queue: &Queue) -> Value {
    let Queue { first, last, bypass, fanout } = *queue;
    let num = if first == last { json!(first) } else { json!({ "range": [first, last] }) };
    let flags = [(bypass, "bypass"), (fanout, "fanout")];
    let flags: Vec<_> = flags.iter().filter(|(set, _)| *set).map(|(_, name)| json!(name)).collect();
    let mut object = Map::new();
    object.insert("num".into(), num);
    if !flags.is_empty() {
        object.insert("flags".into(), one_or_all(flags));
    }
    json!({ "queue": object })
}

fn mark_of(mark: MarkOf) -> Value {
    match mark {
        MarkOf::Packet => json!({ "meta": { "key": "mark" } }),
        MarkOf::Flow => json!({ "ct": { "key": "mark" } }),
    }
}

fn marked(mark: &Mark) -> Value {
    let (from, and, xor) = match mark {
        Mark::Map { key: of, map } => {
            return json!({ "map": { "key": key(of), "data": format!("@{map}") } });
        }
        Mark::Bits { from, and, xor } => (*from, *and, *xor),
    };
    if and == 0 {
        return json!(xor);
    }
    let (set, turned) = (xor & !and, xor & and);
    let mut value = mark_of(from);
    for (symbol, bits, nothing) in [("&", and | set, u32::MAX), ("^", turned, 0), ("|", set, 0)] {
        if bits != nothing {
            value = json!({ symbol: [value, bits] });
        }
    }
    value
}

fn map_data(of: &Key, map: &ValueMap, holds: Holds) -> Value {
    let elements = match map {
        ValueMap::Named(name) => return json!(format!("@{name}")),
        ValueMap::Inline(elements) => elements,
    };
    let element = |(values, to): &(Vec<Written>, Data)| {
        let parts = of.iter().zip(values).map(|(selector, part)| value(selector.kind, part));
        json!([concatenated(parts.collect()), data(to, holds)])
    };
    json!({ "set": elements.iter().map(element).collect::<Vec<_>>() })
}

fn translate(translate: &Translate) -> Value {
    let mut object = Map::new();
    match &translate.to {
        Target::Own => {}
        Target::Addresses(first, last) if first == last => {
            object.insert("addr".into(), json!(first));
        }
        Target::Addresses(first, last) => {
            object.insert("addr".into(), json!({ "range": [first, last] }));
        }
        Target::Map { key: of, map, port } => {
            if *port || translate.family && matches!(map, ValueMap::Named(_)) {
                object.insert("family".into(), json!("ip"));
            }
            let holds = match port {
                true => Holds::Pairs(Type::Ipv4, Type::Port),
                false => Holds::Values(Type::Ipv4),
            };
            let data = map_data(of, map, holds);
            object.insert("addr".into(), json!({ "map": { "key": key(of), "data": data } }));
        }
    }
    let ports = translate.ports.as_ref().map(|ports| match ports {
        Ports::Range(low, high) if low == high => json!(low),
        Ports::Range(low, high) => json!({ "range": [low, high] }),
        Ports::Map { key: of, map } => {
            let data = map_data(of, map, Holds::Values(Type::Port));
            json!({ "map": { "key": key(of), "data": data } })
        }
    });
    if let Some(ports) = ports {
        object.insert("port".into(), ports);
    }
    let flags = [
        (translate.random, "random"),
        (translate.fully_random, "fully-random"),
        (translate.persistent, "persistent"),
    ];
    let flags = flags.iter().filter(|(set, _)| *set).map(|(_, name)| json!(name)).collect();
    if flags != Vec::<Value>::new() {
        object.insert("flags".into(), one_or_all(flags));
    }
    let object = if object.is_empty() { Value::Null } else { Value::Object(object) };
    json!({ translate.kind.name(): object })
}
