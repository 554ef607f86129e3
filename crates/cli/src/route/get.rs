//! `narrows route get`: where a packet would go, printed as `ip route get` does.

use super::{
    change::{destination, named, number},
    names,
};
use crate::{report, words::Words};
use anyhow::{Context, Result, ensure};
use narrows_client::{Error, Stack};
use narrows_ipc::{
    Error as Refusal,
    route::{RouteAnswer, RouteKind, RouteQuestion, table},
};
use serde_json::{Value, json};
use std::io::{self, Write};

pub fn execute(json: bool, words: Words<'_>, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let question = read(words)?;
    let answer = stack.route(question.clone()).map_err(explain).context("route get")?;
    if json {
        report::write_json(out, &[to_json(&question, &answer)].into_iter().collect())?;
    } else {
        write(out, &question, &answer)?;
    }
    Ok(())
}

/// A blackhole is an invalid argument to programs, as on Linux; the operator asked where things go.
fn explain(error: Error) -> Error {
    match error {
        Error::Refused(Refusal::InvalidArgument) => {
            Error::RefusedBecause("nowhere: a blackhole takes what is sent there".into())
        }
        other => other,
    }
}

/// `ADDRESS [from ADDRESS] [iif NAME] [oif NAME] [mark N] [uid N] [ipproto P] [sport N] [dport N]`.
fn read(mut words: Words<'_>) -> Result<RouteQuestion> {
    let mut question = RouteQuestion::default();
    let port = |words: &mut Words<'_>, word: &str| {
        let port = number(words, word)?;
        u16::try_from(port).map_err(|_| words.error(format_args!("{word}: a port is to 65535")))
    };
    while let Some(word) = words.next() {
        match word {
            "from" => {
                let value = words.value(word)?;
                question.source = Some(words.address(value)?);
            }
            "iif" => question.input = Some(words.value(word)?.to_owned()),
            "oif" | "dev" => question.output = Some(words.value(word)?.to_owned()),
            "mark" => question.mark = number(&mut words, word)?,
            "uid" => question.user = number(&mut words, word)?,
            "ipproto" => {
                let parse = |word: &str| match word {
                    "icmp" => Some(1),
                    "tcp" => Some(6),
                    "udp" => Some(17),
                    word => word.parse().ok(),
                };
                question.transport.0 = named(&mut words, word, parse)?;
            }
            "sport" => question.transport.1 = port(&mut words, word)?,
            "dport" => question.transport.2 = port(&mut words, word)?,
            "to" => {
                let value = words.value(word)?;
                question.destination = Some(one(&words, value)?);
            }
            word if question.destination.is_none() => {
                question.destination = Some(one(&words, word)?);
            }
            word => {
                return Err(words.error(format_args!(
                    "don't know `{word}`; write ADDRESS [from ADDRESS] [iif NAME] [oif NAME] \
                     [mark N] [uid N] [ipproto P] [sport N] [dport N]"
                )));
            }
        }
    }
    ensure!(question.destination.is_some(), words.error("where to? write an address"));
    let answerable = question.input.is_none() || question.source.is_some();
    ensure!(answerable, words.error("iif: who sent it? write from ADDRESS"));
    Ok(question)
}

/// One address, with or without a length of 32.
fn one(words: &Words<'_>, word: &str) -> Result<std::net::IpAddr> {
    match destination(words, word)? {
        (address, 32) => Ok(address),
        _ => Err(words.error(format_args!("`{word}`: write one address"))),
    }
}

/// What comes behind `cache`.
fn cache(answer: &RouteAnswer) -> Vec<&'static str> {
    match answer.kind {
        RouteKind::Local => vec!["local"],
        RouteKind::Broadcast => vec!["local", "brd"],
        _ => Vec::new(),
    }
}

fn write(out: &mut dyn Write, question: &RouteQuestion, answer: &RouteAnswer) -> io::Result<()> {
    if answer.kind != RouteKind::Unicast {
        write!(out, "{} ", names::kind_name(answer.kind))?;
    }
    if let Some(destination) = question.destination {
        write!(out, "{destination} ")?;
    }
    if let Some(source) = question.source {
        write!(out, "from {source} ")?;
    }
    if let Some(via) = answer.via {
        write!(out, "via {via} ")?;
    }
    write!(out, "dev {} ", answer.interface)?;
    if answer.table != table::MAIN {
        write!(out, "table {} ", names::table_name(answer.table))?;
    }
    if let Some(source) = answer.source.filter(|_| question.source.is_none()) {
        write!(out, "src {source} ")?;
    }
    match question.mark {
        0 => {}
        mark @ 1..16 => write!(out, "mark {mark} ")?,
        mark => write!(out, "mark {mark:#x} ")?,
    }
    if question.input.is_none() {
        write!(out, "uid {} ", question.user)?;
    }
    write!(out, "\n    cache ")?;
    let flags = cache(answer);
    if !flags.is_empty() {
        write!(out, "<{}> ", flags.join(","))?;
    }
    if let Some(mtu) = answer.mtu {
        write!(out, "mtu {mtu} ")?;
    }
    if let Some(input) = &question.input {
        write!(out, "iif {input} ")?;
    }
    writeln!(out)
}

fn to_json(question: &RouteQuestion, answer: &RouteAnswer) -> Value {
    let mut json = json!({
        "dst": question.destination,
        "dev": answer.interface,
        "flags": [],
        "cache": cache(answer),
    });
    if answer.kind != RouteKind::Unicast {
        json["type"] = json!(names::kind_name(answer.kind));
    }
    if let Some(source) = question.source {
        json["from"] = json!(source);
    }
    if let Some(via) = answer.via {
        json["gateway"] = json!(via);
    }
    if answer.table != table::MAIN {
        json["table"] = json!(names::table_name(answer.table));
    }
    if let Some(source) = answer.source.filter(|_| question.source.is_none()) {
        json["prefsrc"] = json!(source);
    }
    if question.mark != 0 {
        json["mark"] = json!(question.mark);
    }
    if let Some(mtu) = answer.mtu {
        json["metrics"] = json!([{ "mtu": mtu }]);
    }
    match &question.input {
        Some(input) => json["iif"] = json!(input),
        None => json["uid"] = json!(question.user),
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(line: &str) -> Result<RouteQuestion, String> {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (_, words) = Words::new("route", &line, &["get"]).unwrap();
        read(words).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_as_ip_route_get() {
        let by_gateway = RouteAnswer {
            kind: RouteKind::Unicast,
            interface: "v0".into(),
            via: Some([10, 0, 0, 1].into()),
            source: Some([10, 0, 0, 2].into()),
            table: 254,
            mtu: None,
        };
        let local = RouteAnswer {
            kind: RouteKind::Local,
            interface: "lo".into(),
            via: None,
            source: Some([10, 0, 0, 2].into()),
            table: 255,
            mtu: None,
        };
        for (line, answer, expected) in [
            (
                "get 1.1.1.1",
                by_gateway.clone(),
                "1.1.1.1 via 10.0.0.1 dev v0 src 10.0.0.2 uid 0 \n    cache \n",
            ),
            (
                "get 1.1.1.1 from 10.0.0.2 uid 7 mark 0x10",
                RouteAnswer { table: 100, mtu: Some(1280), ..by_gateway.clone() },
                "1.1.1.1 from 10.0.0.2 via 10.0.0.1 dev v0 table 100 mark 0x10 uid 7 \n    \
                 cache mtu 1280 \n",
            ),
            (
                "get 1.1.1.1 from 10.1.0.7 iif v1",
                by_gateway,
                "1.1.1.1 from 10.1.0.7 via 10.0.0.1 dev v0 \n    cache iif v1 \n",
            ),
            (
                "get 10.0.0.2",
                local.clone(),
                "local 10.0.0.2 dev lo table local src 10.0.0.2 uid 0 \n    cache <local> \n",
            ),
            (
                "get to 10.0.0.255",
                RouteAnswer { kind: RouteKind::Broadcast, interface: "v0".into(), ..local },
                "broadcast 10.0.0.255 dev v0 table local src 10.0.0.2 uid 0 \n    \
                 cache <local,brd> \n",
            ),
        ] {
            let mut out = Vec::new();
            write(&mut out, &question(line).unwrap(), &answer).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        for (line, words) in [
            ("get", "`route get`: where to? write an address"),
            ("get 10.0.0.0/24", "`10.0.0.0/24`: write one address"),
            ("get 1.1.1.1 iif v0", "who sent it? write from ADDRESS"),
            ("get 1.1.1.1 sport 70000", "a port is to 65535"),
            ("get 1.1.1.1 fibmatch", "don't know `fibmatch`; write ADDRESS [from"),
        ] {
            let error = question(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
