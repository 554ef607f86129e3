//! `narrows policy`: who may do what, rule by rule; rules added and removed; and the answer to whether
//! somebody may.
//!
//! Rules are written on the command line in the words in which they are listed:
//! `grant user www-data bind 10.0.0.2:80`. `--user www-data` means the same as `user www-data`.

pub mod names;
mod subject;

use crate::{arguments::PolicyQuery, report, words::Words};
use anyhow::{Context, Result, anyhow, ensure};
use narrows_client::Stack;
use narrows_ipc::{
    change::Change,
    policy::{PolicyQuestion, PolicyRow},
};
use narrows_policy::{ActKind, Default, Defaults, Effect, Origin, Permit, Rule, Who};
use serde_json::{Value, json};
use std::{io::Write, process::ExitCode};
use subject::Asked;

const COMMANDS: [&str; 4] = ["show", "add", "delete", "check"];

const GRAMMAR: &str = "write [user NAME] [group NAME] [executable PATH] [cgroup PATH] [zone NAME], \
    then bind|listen|connect [tcp|udp|icmp] ADDRESS[/LENGTH][:PORT[-PORT]], multicast GROUP, \
    raw|packet [observe|share|claim|inject|tap|precede|inspect] INTERFACE, inspect or administer";

pub fn execute(query: &PolicyQuery, stack: &Stack, out: &mut dyn Write) -> Result<ExitCode> {
    let (command, mut words) = Words::new("policy", &query.words, &COMMANDS)?;
    match command {
        "add" => {
            let rule = read_rule(&mut words, query)?;
            stack.change(Change::AddPolicy { rule }).context("policy add")?;
        }
        "delete" => {
            let number = query.words.get(1).and_then(|word| word.parse().ok());
            let change = match number {
                Some(id) if query.words.len() == 2 => Change::RemovePolicyById { id },
                _ => Change::RemovePolicy { rule: read_rule(&mut words, query)? },
            };
            stack.change(change).context("policy delete")?;
        }
        "check" => return check(words, query, stack, out),
        _ => {
            ensure!(words.next().is_none(), "`policy show` takes no more words");
            let report = stack.policy()?;
            show(query.json, &report.defaults, &report.rows, out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Succeeds if the answer is yes.
fn check(
    words: Words<'_>,
    query: &PolicyQuery,
    stack: &Stack,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let (asked, act) = read(words, query)?;
    ensure!(
        act.acts().is_some(),
        "`policy check`: ask about one address and port, as 10.0.0.2:80 or *:80"
    );
    let zone = asked.zone().map(str::to_owned);
    let question = PolicyQuestion { subject: asked.subject()?, zone, act };
    let answer = stack.decide(question).context("policy check")?;
    if query.json {
        report::write_json(out, &json!({ "allowed": answer.allowed, "why": answer.why }))?;
    } else {
        writeln!(out, "{}: {}", if answer.allowed { "yes" } else { "no" }, answer.why)?;
    }
    Ok(if answer.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_rule(words: &mut Words<'_>, query: &PolicyQuery) -> Result<Rule> {
    let effect = match words.next() {
        Some("grant") => Effect::Grant,
        Some("deny") => Effect::Deny,
        _ => return Err(words.error("write grant or deny, then whom and what")),
    };
    let (asked, permit) = read(words, query)?;
    Ok(Rule { effect, who: asked.who()?, permit, origin: Origin::Added })
}

/// Who, and the act with what follows it.
fn read<'a>(
    mut words: impl Iterator<Item = &'a str>,
    query: &PolicyQuery,
) -> Result<(Asked, Permit)> {
    let mut asked = Asked::from_options(query);
    while let Some(word) = words.next() {
        if let Some(kind) = ActKind::ALL.into_iter().find(|kind| kind.name() == word) {
            let target: Vec<&str> = words.collect();
            let permit = Permit::parse(kind, &target.join(" "));
            return Ok((asked, permit.map_err(|why| anyhow!("{word}: {why}"))?));
        }
        let value = words.next();
        let value = value.with_context(|| format!("`{word}`: its value is missing; {GRAMMAR}"))?;
        ensure!(asked.set(word, value), "don't know `{word}`; {GRAMMAR}");
    }
    Err(anyhow!("to do what? {GRAMMAR}"))
}

fn show(json: bool, defaults: &Defaults, rows: &[PolicyRow], out: &mut dyn Write) -> Result<()> {
    if json {
        let rules = rows.iter().map(to_json).collect::<Vec<_>>();
        let defaults: serde_json::Map<String, Value> = ActKind::ALL
            .into_iter()
            .map(|kind| (kind.name().to_owned(), json!(defaults.get(kind).name())))
            .collect();
        report::write_json(out, &json!({ "default": defaults, "rules": rules }))?;
        return Ok(());
    }
    for kind in ActKind::ALL {
        let default = defaults.get(kind);
        if default != Default::Linux {
            writeln!(out, "default {} {}", kind.name(), default.name())?;
        }
    }
    for PolicyRow { id, rule } in rows {
        writeln!(out, "{id}: {}, {}", text_of(rule), rule.origin)?;
    }
    Ok(())
}

/// As [`Rule`] is shown, with names for numbers where there are any.
fn text_of(rule: &Rule) -> String {
    let Rule { effect, who, permit, .. } = rule;
    let mut words = vec![effect.name().to_owned()];
    let mut say = |word: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("{word} {value}")));
    };
    say("user", who.user.map(names::of_user));
    say("group", who.group.map(names::of_group));
    say("executable", who.executable.clone());
    say("cgroup", who.cgroup.clone());
    say("zone", who.zone.clone());
    words.push(permit.to_string());
    words.join(" ")
}

fn to_json(row: &PolicyRow) -> Value {
    let PolicyRow { id, rule } = row;
    let Who { user, group, executable, cgroup, zone } = &rule.who;
    let target = rule.permit.to_string();
    let (act, target) = target.split_once(' ').unwrap_or((&target, ""));
    let mut json = json!({
        "id": id,
        "effect": rule.effect.name(),
        "act": act,
        "origin": rule.origin.to_string(),
    });
    for (key, value) in [
        ("target", Some(json!(target)).filter(|_| !target.is_empty())),
        ("user", user.map(|user| json!(user))),
        ("group", group.map(|group| json!(group))),
        ("executable", executable.as_ref().map(|path| json!(path))),
        ("cgroup", cgroup.as_ref().map(|path| json!(path))),
        ("zone", zone.as_ref().map(|zone| json!(zone))),
    ] {
        if let Some(value) = value {
            json[key] = value;
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> impl Iterator<Item = &str> {
        text.split_whitespace()
    }

    fn row(id: u32, text: &str) -> PolicyRow {
        let mut words = words(text);
        let effect = if words.next() == Some("grant") { Effect::Grant } else { Effect::Deny };
        let (asked, permit) = read(words, &PolicyQuery::default()).unwrap();
        let origin = Origin::File { file: "/etc/n.toml".into(), line: id + 10 };
        PolicyRow { id, rule: Rule { effect, who: asked.who().unwrap(), permit, origin } }
    }

    #[test]
    fn rules_are_listed_in_the_words_they_are_written_in() {
        let mut defaults = Defaults::default();
        defaults.set(ActKind::Connect, Default::Deny);
        let rows = [
            row(1, "grant user root bind 10.0.0.2:80"),
            row(2, "deny user 4242424 group 4343434 executable /bin/x connect tcp *:25"),
            row(9, "grant cgroup /a zone vault packet observe lan"),
            row(10, "grant inspect"),
        ];
        let mut out = Vec::new();
        show(false, &defaults, &rows, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
default connect deny
1: grant user root bind 10.0.0.2:80, /etc/n.toml:11
2: deny user 4242424 group 4343434 executable /bin/x connect tcp *:25, /etc/n.toml:12
9: grant cgroup /a zone vault packet observe lan, /etc/n.toml:19
10: grant inspect, /etc/n.toml:20
"
        );
        assert_eq!(
            to_json(&rows[0]),
            json!({
                "id": 1, "effect": "grant", "act": "bind", "target": "10.0.0.2:80", "user": 0,
                "origin": "/etc/n.toml:11"
            })
        );
        assert_eq!(to_json(&rows[3]).get("target"), None);
    }

    #[test]
    fn options_and_words_mean_the_same() {
        let options = PolicyQuery {
            user: Some("7".into()),
            group: vec!["8".into()],
            zone: Some("z".into()),
            ..PolicyQuery::default()
        };
        let by_options = read(words("bind *:80"), &options).unwrap();
        let by_words =
            read(words("user 7 group 8 zone z bind *:80"), &PolicyQuery::default()).unwrap();
        assert_eq!(by_options.0.who().unwrap(), by_words.0.who().unwrap());
        assert_eq!(by_options.1, by_words.1);
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, says) in [
            ("", "to do what? write [user NAME]"),
            ("user root", "to do what?"),
            ("colour red bind *:80", "don't know `colour`"),
            ("user", "`user`: its value is missing"),
            ("user root bind 10.0.0.2:x", "bind: \"10.0.0.2:x\" is not an address"),
            ("group no-such-group inspect", "no group `no-such-group`"),
            ("user no-such-user inspect", "no user `no-such-user`"),
            ("group 1 group 2 inspect", "one group"),
        ] {
            let error = read(words(text), &PolicyQuery::default())
                .and_then(|(asked, _)| asked.who())
                .expect_err(text);
            assert!(error.to_string().contains(says), "{text}: {error}");
        }
    }
}
