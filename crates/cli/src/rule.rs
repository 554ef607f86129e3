//! `narrows rule`: which tables are looked up for what, printed as `ip rule` and `ip -j rule` do, and
//! changed in its words. `iifgroup` and `oifgroup`, which ip-rule(8) has not, are nft(8)'s.

use crate::{arguments::Query, report, route::names, words::Words};
use anyhow::{Context, Result, ensure};
use narrows_client::Stack;
use narrows_ipc::{
    change::Change,
    group,
    route::{RuleAction, RuleRow, RuleSelector},
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    net::IpAddr,
};

const COMMANDS: [&str; 4] = ["show", "add", "delete", "flush"];

const GRAMMAR: &str = "write [not] [from PREFIX] [to PREFIX] [iif NAME] [oif NAME] \
    [iifgroup GROUP] [oifgroup GROUP] [fwmark N[/MASK]] [uidrange FIRST-LAST] [priority N] lookup TABLE|goto N|blackhole|\
    unreachable|prohibit";

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (command, words) = Words::new("rule", &query.words, &COMMANDS)?;
    let missing = words.error(format_args!("what then? {GRAMMAR}"));
    let mut asked = read(words)?;
    match command {
        "add" => {
            // As ip(8): a rule that says nothing else looks in the main table.
            let says_something = asked.selector != RuleSelector::default();
            let main =
                says_something.then_some(RuleAction::Lookup(names::table("main").unwrap_or(0)));
            asked.action = asked.action.or(main);
            ensure!(asked.action.is_some(), missing);
            stack.change(Change::AddRule { rule: asked }).context("rule add")
        }
        "delete" => {
            let nothing =
                RuleRow { preference: None, selector: RuleSelector::default(), action: None };
            ensure!(asked != nothing, missing);
            stack.change(Change::RemoveRule { rule: asked }).context("rule delete")
        }
        "flush" => flush(stack),
        _ => show(query.json, stack, out),
    }
}

/// Every rule but the one that looks up the local table, as ip(8) does.
fn flush(stack: &Stack) -> Result<()> {
    for rule in stack.rules()?.into_iter().filter(|rule| rule.preference != Some(0)) {
        stack.change(Change::RemoveRule { rule }).context("rule flush")?;
    }
    Ok(())
}

fn show(json: bool, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let rules = stack.rules()?;
    let resolved = |target: u32| rules.iter().any(|rule| rule.preference == Some(target));
    if json {
        let rows = rules.iter().map(|rule| to_json(rule, resolved));
        report::write_json(out, &rows.collect())?;
    } else {
        rules.iter().try_for_each(|rule| write(out, rule, resolved))?;
    }
    Ok(())
}

fn read(mut words: Words<'_>) -> Result<RuleRow> {
    let mut rule = RuleRow { preference: None, selector: RuleSelector::default(), action: None };
    let selector = &mut rule.selector;
    while let Some(word) = words.next() {
        match word {
            "not" => selector.not = true,
            "from" => selector.from = prefix(&mut words, word)?,
            "to" => selector.to = prefix(&mut words, word)?,
            "iif" | "dev" => selector.input = Some(words.value(word)?.to_owned()),
            "oif" => selector.output = Some(words.value(word)?.to_owned()),
            "iifgroup" => selector.input_group = Some(group(&mut words, word)?),
            "oifgroup" => selector.output_group = Some(group(&mut words, word)?),
            "fwmark" => selector.mark = Some(mark(&mut words, word)?),
            "uidrange" => selector.users = Some(users(&mut words, word)?),
            "priority" | "preference" | "order" | "pref" | "prio" => {
                rule.preference = Some(number(&mut words, word)?);
            }
            "lookup" | "table" => {
                let value = words.value(word)?;
                let table = names::table(value).ok_or_else(|| {
                    words.error(format_args!(
                        "{word} `{value}`: write main, local, default or a number from 1 on"
                    ))
                })?;
                rule.action = Some(RuleAction::Lookup(table));
            }
            "goto" => rule.action = Some(RuleAction::Goto(number(&mut words, word)?)),
            "blackhole" => rule.action = Some(RuleAction::Blackhole),
            "unreachable" => rule.action = Some(RuleAction::Unreachable),
            "prohibit" => rule.action = Some(RuleAction::Prohibit),
            word => return Err(words.error(format_args!("don't know `{word}`; {GRAMMAR}"))),
        }
    }
    Ok(rule)
}

/// `None`: all.
fn prefix(words: &mut Words<'_>, keyword: &str) -> Result<Option<(IpAddr, u8)>> {
    match words.value(keyword)? {
        "all" | "any" | "default" => Ok(None),
        value => words.prefix(value).map(Some),
    }
}

fn number(words: &mut Words<'_>, keyword: &str) -> Result<u32> {
    let value = words.value(keyword)?;
    parse(value).ok_or_else(|| words.error(format_args!("{keyword} `{value}`: write a number")))
}

fn parse(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn group(words: &mut Words<'_>, keyword: &str) -> Result<u32> {
    let value = words.value(keyword)?;
    group::number(value).ok_or_else(|| {
        words.error(format_args!(
            "{keyword} `{value}`: write a number, or a name of /etc/iproute2/group"
        ))
    })
}

fn mark(words: &mut Words<'_>, keyword: &str) -> Result<(u32, u32)> {
    let text = words.value(keyword)?;
    let parsed = match text.split_once('/') {
        Some((value, mask)) => parse(value).zip(parse(mask)),
        None => parse(text).map(|value| (value, u32::MAX)),
    };
    parsed
        .ok_or_else(|| words.error(format_args!("{keyword} `{text}`: write as 0x10 or 0x10/0xf0")))
}

fn users(words: &mut Words<'_>, keyword: &str) -> Result<(u32, u32)> {
    let text = words.value(keyword)?;
    let parsed = text.split_once('-').and_then(|(first, last)| parse(first).zip(parse(last)));
    let parsed = parsed.filter(|(first, last)| first <= last);
    parsed.ok_or_else(|| words.error(format_args!("{keyword} `{text}`: write as 1000-1999")))
}

fn write(out: &mut dyn Write, rule: &RuleRow, resolved: impl Fn(u32) -> bool) -> io::Result<()> {
    let RuleRow { preference, selector, action } = rule;
    write!(out, "{}:\t", preference.unwrap_or(0))?;
    if selector.not {
        write!(out, "not ")?;
    }
    let from = selector.from.map_or("all".to_owned(), |(net, length)| text_of(net, length));
    write!(out, "from {from} ")?;
    if let Some((net, length)) = selector.to {
        write!(out, "to {} ", text_of(net, length))?;
    }
    match selector.mark {
        Some((value, u32::MAX)) => write!(out, "fwmark {value:#x} ")?,
        Some((value, mask)) => write!(out, "fwmark {value:#x}/{mask:#x} ")?,
        None => {}
    }
    if let Some(name) = &selector.input {
        write!(out, "iif {name} ")?;
    }
    if let Some(name) = &selector.output {
        write!(out, "oif {name} ")?;
    }
    if let Some(group) = selector.input_group {
        write!(out, "iifgroup {} ", group::name(group))?;
    }
    if let Some(group) = selector.output_group {
        write!(out, "oifgroup {} ", group::name(group))?;
    }
    if let Some((first, last)) = selector.users {
        write!(out, "uidrange {first}-{last} ")?;
    }
    match action {
        Some(RuleAction::Lookup(table)) => writeln!(out, "lookup {}", names::table_name(*table)),
        Some(RuleAction::Goto(target)) if resolved(*target) => writeln!(out, "goto {target}"),
        Some(RuleAction::Goto(target)) => writeln!(out, "goto {target} [unresolved]"),
        Some(RuleAction::Blackhole) => writeln!(out, "blackhole"),
        Some(RuleAction::Unreachable) => writeln!(out, "unreachable"),
        Some(RuleAction::Prohibit) => writeln!(out, "prohibit"),
        None => writeln!(out),
    }
}

/// The length of one address is not said; of all it is: `ip rule` does not call them default.
fn text_of(address: IpAddr, length: u8) -> String {
    if length == 32 { address.to_string() } else { format!("{address}/{length}") }
}

fn to_json(rule: &RuleRow, resolved: impl Fn(u32) -> bool) -> Value {
    let RuleRow { preference, selector, action } = rule;
    let mut json = json!({ "priority": preference, "src": "all" });
    let mut put = |key: &str, net: (IpAddr, u8)| {
        json[key] = json!(net.0);
        if net.1 < 32 {
            json[format!("{key}len")] = json!(net.1);
        }
    };
    if let Some(net) = selector.from {
        put("src", net);
    }
    if let Some(net) = selector.to {
        put("dst", net);
    }
    if selector.not {
        json["not"] = Value::Null;
    }
    if let Some((value, mask)) = selector.mark {
        json["fwmark"] = json!(format!("{value:#x}"));
        if mask != u32::MAX {
            json["fwmask"] = json!(format!("{mask:#x}"));
        }
    }
    if let Some(name) = &selector.input {
        json["iif"] = json!(name);
    }
    if let Some(name) = &selector.output {
        json["oif"] = json!(name);
    }
    if let Some(group) = selector.input_group {
        json["iifgroup"] = json!(group::name(group));
    }
    if let Some(group) = selector.output_group {
        json["oifgroup"] = json!(group::name(group));
    }
    if let Some((first, last)) = selector.users {
        (json["uid_start"], json["uid_end"]) = (json!(first), json!(last));
    }
    match action {
        Some(RuleAction::Lookup(table)) => json["table"] = json!(names::table_name(*table)),
        Some(RuleAction::Goto(target)) => {
            json["goto"] = json!(target);
            if !resolved(*target) {
                json["unresolved"] = Value::Null;
            }
        }
        Some(RuleAction::Blackhole) => json["action"] = json!("blackhole"),
        Some(RuleAction::Unreachable) => json["action"] = json!("unreachable"),
        Some(RuleAction::Prohibit) => json["action"] = json!("prohibit"),
        None => {}
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<RuleRow, String> {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (_, words) = Words::new("rule", &line, &COMMANDS).unwrap();
        read(words).map_err(|error| error.to_string())
    }

    /// Line, and what `ip rule` and `ip -j rule` made of it on Linux.
    #[test]
    fn reads_as_ip_rule() {
        for (line, text, json) in [
            (
                "add from 10.1.0.2 lookup 100 prio 32765",
                "32765:\tfrom 10.1.0.2 lookup 100\n",
                json!({"priority": 32765, "src": "10.1.0.2", "table": "100"}),
            ),
            (
                "add fwmark 0x1/0xff to 1.2.3.0/24 iif v0 uidrange 0-10 lookup 100 prio 77",
                "77:\tfrom all to 1.2.3.0/24 fwmark 0x1/0xff iif v0 uidrange 0-10 lookup 100\n",
                json!({"priority": 77, "src": "all", "dst": "1.2.3.0", "dstlen": 24,
                       "fwmark": "0x1", "fwmask": "0xff", "iif": "v0", "uid_start": 0,
                       "uid_end": 10, "table": "100"}),
            ),
            (
                "add goto 30000 prio 99 not from 1.1.1.1 oif v1",
                "99:\tnot from 1.1.1.1 oif v1 goto 30000 [unresolved]\n",
                json!({"priority": 99, "not": null, "src": "1.1.1.1", "oif": "v1",
                       "goto": 30000, "unresolved": null}),
            ),
            // Not Linux's.
            (
                "add iifgroup 7 oifgroup default lookup 100 prio 98",
                "98:\tfrom all iifgroup 7 oifgroup default lookup 100\n",
                json!({"priority": 98, "src": "all", "iifgroup": "7", "oifgroup": "default",
                       "table": "100"}),
            ),
            (
                "add prio 200 blackhole",
                "200:\tfrom all blackhole\n",
                json!({"priority": 200, "src": "all", "action": "blackhole"}),
            ),
        ] {
            let rule = asked(line).unwrap();
            let mut out = Vec::new();
            write(&mut out, &rule, |_| false).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), text, "{line}");
            assert_eq!(to_json(&rule, |_| false), json, "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        for (line, words) in [
            ("add from", "`rule add from`: its value is missing"),
            ("add from 10.0.0.0/40", "`10.0.0.0/40` is not an IPv4 address"),
            ("add lookup mian", "lookup `mian`: write main, local, default or a number"),
            ("add fwmark x", "fwmark `x`: write as 0x10 or 0x10/0xf0"),
            ("add uidrange 9-1", "uidrange `9-1`: write as 1000-1999"),
            ("add tos 0x10", "don't know `tos`; write [not] [from PREFIX]"),
        ] {
            let error = asked(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
