//! A ruleset as `nft -j list` has it: libnftables-json(5), its schema of version 1.

mod statement;

use super::{
    apply::Listing,
    ast::{
        Base, Chain, Data, Element, Holds, ObjectKey, Rule, Ruleset, Set, Stateful, Statement,
        Table, TableKey,
    },
    parser::List,
    print::{Live, Part},
    value::Type,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(super) fn print(ruleset: &Ruleset, lists: &[Listing], live: &Live) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut printer = Printer { objects: Vec::new(), live };
    printer.objects.push(json!({
        "metainfo": { "version": version, "release_name": "Narrows", "json_schema_version": 1 }
    }));
    for Listing { list, .. } in lists {
        for (key, table) in ruleset.listed().into_iter().filter(|(key, _)| list.concerns(key)) {
            if matches!(list, List::Tables(_) | List::Ruleset(_) | List::Table(_)) {
                printer.table(key, table);
            }
            printer.contents(key, table, |part| list.wants(part));
        }
    }
    let mut text = json!({ "nftables": printer.objects }).to_string();
    text.push('\n');
    text
}

struct Printer<'a> {
    objects: Vec<Value>,
    live: &'a Live,
}

impl Printer<'_> {
    fn table(&mut self, key: &TableKey, table: &Table) {
        self.objects.push(json!({
            "table": { "family": key.0.name(), "name": key.1, "handle": table.handle }
        }));
    }

    fn contents(&mut self, key: &TableKey, table: &Table, wanted: impl Fn(Part<'_>) -> bool) {
        for name in table.object_order.iter().filter(|name| wanted(Part::Object(name))) {
            if let Some(found) = table.objects.get(name) {
                let state = self.live.current((found.handle, 0), &found.state);
                self.objects.push(object(key, name, found.handle, &state));
            }
        }
        for name in table.set_order.iter().filter(|name| wanted(Part::Set(name))) {
            if let Some(found) = table.sets.get(name) {
                let elements = self.live.elements(key, name, found);
                let elements = elements.iter().map(|(each, left)| element(found, each, *left));
                self.objects.push(set(key, name, found, elements.collect()));
            }
        }
        let chains = || {
            let names = table.chain_order.iter().filter(|name| wanted(Part::Chain(name)));
            names.filter_map(|name| table.chains.get(name).map(|chain| (name, chain)))
        };
        self.objects.extend(chains().map(|(name, found)| chain(key, name, found)));
        for (name, chain) in chains() {
            for rule in &chain.rules {
                let rule = self.rule(key, name, rule);
                self.objects.push(rule);
            }
        }
    }

    fn rule(&self, key: &TableKey, chain: &str, rule: &Rule) -> Value {
        let mut nth = 0;
        let mut expressions = Vec::new();
        for written in &rule.statements {
            expressions.push(match written {
                Statement::Stateful(state) => {
                    let name = (rule.handle, nth);
                    nth += 1;
                    statement::stateful(&self.live.current(name, state))
                }
                other => statement::statement(other),
            });
        }
        let mut object = json!({
            "family": key.0.name(), "table": key.1, "chain": chain, "handle": rule.handle,
        });
        if let (Some(comment), Some(map)) = (&rule.comment, object.as_object_mut()) {
            map.insert("comment".into(), json!(comment));
        }
        if let Some(map) = object.as_object_mut() {
            map.insert("expr".into(), Value::Array(expressions));
        }
        json!({ "rule": object })
    }
}

fn object(key: &TableKey, (kind, name): &ObjectKey, handle: u64, state: &Stateful) -> Value {
    let mut object = Map::new();
    object.insert("family".into(), json!(key.0.name()));
    object.insert("name".into(), json!(name));
    object.insert("table".into(), json!(key.1));
    object.insert("handle".into(), json!(handle));
    object.extend(statement::object_words(state));
    json!({ kind.name(): object })
}

fn chain(key: &TableKey, name: &str, chain: &Chain) -> Value {
    let mut object =
        json!({ "family": key.0.name(), "table": key.1, "name": name, "handle": chain.handle });
    if let (Some(base), Some(map)) = (&chain.base, object.as_object_mut()) {
        let Base { nat, hook, devices, priority, accept } = base;
        map.insert("type".into(), json!(if *nat { "nat" } else { "filter" }));
        map.insert("hook".into(), json!(hook.name()));
        map.insert("prio".into(), json!(priority));
        match devices.as_slice() {
            [] => None,
            [one] => map.insert("dev".into(), json!(one)),
            several => map.insert("dev".into(), json!(several)),
        };
        map.insert("policy".into(), json!(if *accept { "accept" } else { "drop" }));
    }
    json!({ "chain": object })
}

fn set(key: &TableKey, name: &str, set: &Set, elements: Vec<Value>) -> Value {
    let types: Vec<_> = set.key.iter().map(|kind| kind.name().unwrap_or("integer")).collect();
    let mut object =
        json!({ "family": key.0.name(), "name": name, "table": key.1, "handle": set.handle });
    let Some(map) = object.as_object_mut() else { return object };
    map.insert("type".into(), one_or_all(types.into_iter().map(Value::from).collect()));
    let type_name = |kind: Type| kind.name().unwrap_or("integer");
    match set.holds {
        Holds::Nothing => None,
        Holds::Verdicts => map.insert("map".into(), json!("verdict")),
        Holds::Values(kind) => map.insert("map".into(), json!(type_name(kind))),
        Holds::Pairs(one, other) => {
            map.insert("map".into(), json!(format!("{} . {}", type_name(one), type_name(other))))
        }
    };
    if let Some(size) = set.size {
        map.insert("size".into(), json!(size));
    }
    // nft has no word here for those that rules change.
    let flags =
        [(set.constant, "constant"), (set.intervals, "interval"), (set.timeouts, "timeout")];
    let flags: Vec<_> = flags.iter().filter(|(has, _)| *has).map(|(_, name)| *name).collect();
    if !flags.is_empty() {
        map.insert("flags".into(), json!(flags));
    }
    if !elements.is_empty() {
        map.insert("elem".into(), Value::Array(elements));
    }
    if let Some(timeout) = set.timeout {
        map.insert("timeout".into(), json!(timeout.as_secs()));
    }
    if set.auto_merge {
        map.insert("auto-merge".into(), json!(true));
    }
    let kind = if set.holds == Holds::Nothing { "set" } else { "map" };
    json!({ kind: object })
}

/// `left`: until it expires.
fn element(set: &Set, element: &Element, left: Option<Duration>) -> Value {
    let parts = set.key.iter().zip(&element.key).map(|(kind, part)| statement::value(*kind, part));
    let mut key = concatenated(parts.collect());
    if element.timeout.is_some() || left.is_some() {
        let mut object = Map::new();
        object.insert("val".into(), key);
        if let Some(timeout) = element.timeout {
            object.insert("timeout".into(), json!(timeout.as_secs()));
        }
        if let Some(left) = left {
            object.insert("expires".into(), json!(left.as_secs()));
        }
        key = json!({ "elem": object });
    }
    match (&element.data, set.holds) {
        (Data::Nothing, _) => key,
        (data, holds) => json!([key, statement::data(data, holds)]),
    }
}

fn one_or_all(mut all: Vec<Value>) -> Value {
    if all.len() == 1 { all.remove(0) } else { Value::Array(all) }
}

fn concatenated(mut parts: Vec<Value>) -> Value {
    if parts.len() == 1 { parts.remove(0) } else { json!({ "concat": parts }) }
}
