//! `narrows audit`: who can do what in each zone, and by which rule, from the running daemon's policy,
//! zones and interfaces, or from a configuration file; and whether somebody can what the configuration
//! forbids, which is a failure.
//!
//! The principals are those that rules and zones name, each as somebody of whom no more is known, root,
//! and anybody else. A user has the groups that he logs in with.

use crate::{arguments::Audit, policy::names, report};
use anyhow::{Context, Result, ensure};
use narrows_client::{OpenError, Stack};
use narrows_daemon::audit::Audited;
use narrows_ipc::{link::LinkKind, message::LinkRow, zone::ZoneRow};
use narrows_policy::{
    Policy, Who,
    audit::{Ability, Admitted, Breach, Carrier, Finding, Forbid, Model, Profile, Zone},
};
use serde_json::{Value, json};
use std::{io::Write, process::ExitCode};

pub fn execute(
    options: &Audit,
    ask: impl FnOnce() -> Result<Stack, OpenError>,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let Audited { model, forbidden, unaddressed } = match &options.config {
        Some(file) => narrows_daemon::audit::read(file)?,
        None => of_daemon(&ask()?)?,
    };
    for interface in unaddressed {
        eprintln!(
            "narrows: {interface} finds its own address: who can bind, reach and receive there only a \
             running daemon's audit says"
        );
    }
    if let [user, ability, zone] = &options.can[..] {
        let found = can(&model, user, ability, zone)?;
        if options.json {
            report::write_json(out, &json!({ "can": found.can, "why": found.why }))?;
        } else {
            writeln!(out, "{}: {}", if found.can { "yes" } else { "no" }, found.why)?;
        }
        return Ok(if found.can { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let rows = if options.quiet { Vec::new() } else { rows(&model) };
    let breaches: Vec<(&Forbid, Breach)> = forbidden
        .iter()
        .flat_map(|forbid| {
            model
                .breaches(forbid, &names::groups_of)
                .into_iter()
                .map(move |breach| (forbid, breach))
        })
        .collect();
    if options.json {
        let rows = rows.iter().map(Row::to_json);
        let breaches = breaches.iter().map(|(forbid, breach)| breach_to_json(forbid, breach));
        report::write_json(out, &rows.chain(breaches).collect())?;
    } else {
        write(&rows, out)?;
        for (forbid, breach) in &breaches {
            let Breach { who, ability, zone, why } = breach;
            let (who, ability) = (name_of(who), ability.name());
            writeln!(
                out,
                "{}: forbidden, but {who} can {ability} in {zone}: {why}",
                forbid.origin
            )?;
        }
    }
    Ok(if breaches.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn of_daemon(stack: &Stack) -> Result<Audited> {
    let report = stack.policy()?;
    let mut policy = Policy::new(report.owner);
    policy.set_defaults(report.defaults);
    policy.add(report.rows.into_iter().map(|row| row.rule));
    let model = Model { policy, zones: zones(&stack.zones()?, &stack.links()?) };
    Ok(Audited { model, forbidden: stack.forbidden()?, unaddressed: Vec::new() })
}

/// Somebody who can do something.
struct Row<'a> {
    zone: &'a str,
    ability: Ability,
    who: String,
    why: String,
}

impl Row<'_> {
    fn to_json(&self) -> Value {
        let Self { zone, ability, who, why } = self;
        json!({ "zone": zone, "ability": ability.name(), "who": who, "why": why })
    }
}

/// A row, with the declaration that it is against.
fn breach_to_json(forbid: &Forbid, breach: &Breach) -> Value {
    let Breach { who, ability, zone, why } = breach;
    let row = Row { zone, ability: *ability, who: name_of(who), why: why.clone() };
    let mut json = row.to_json();
    json["forbidden"] = json!(forbid.origin.to_string());
    json
}

/// As the audit sees zones.
fn zones(rows: &[ZoneRow], links: &[LinkRow]) -> Vec<Zone> {
    let zone = |row: &ZoneRow| {
        let interfaces = row.interfaces.iter();
        let addresses = interfaces.filter_map(|name| links.iter().find(|link| link.name == *name));
        let leads_here = |from: &&ZoneRow| from.crossings.iter().any(|to| to.to == row.name);
        Zone {
            name: row.name.clone(),
            private: row.private,
            admitted: row
                .admitted
                .iter()
                .map(|held| Admitted {
                    who: Who {
                        user: held.user,
                        group: held.group,
                        executable: held.executable.clone(),
                        cgroup: held.cgroup.clone(),
                        zone: None,
                    },
                    address: held.address.map(Into::into),
                })
                .collect(),
            addresses: addresses
                .flat_map(|link| link.addresses.iter().map(|row| row.address))
                .collect(),
            interfaces: row.interfaces.clone(),
            carriers: carriers(row, rows, links),
            reachable_from: rows.iter().filter(leads_here).map(|from| from.name.clone()).collect(),
        }
    };
    rows.iter().map(zone).collect()
}

/// What the interfaces of a zone stand upon that is in another.
fn carriers(row: &ZoneRow, rows: &[ZoneRow], links: &[LinkRow]) -> Vec<Carrier> {
    let below = |name: &str| -> Vec<&str> {
        let stands = |link: &&LinkRow| link.state.master.as_deref() == Some(name);
        let members = links.iter().filter(stands).map(|link| link.name.as_str());
        let link = links.iter().find(|link| link.name == name);
        let lower = link.and_then(|link| match &link.state.kind {
            LinkKind::Vlan { lower, .. } => Some(lower.as_str()),
            _ => None,
        });
        lower.into_iter().chain(members).collect()
    };
    let zone_of = |name: &str| {
        let holds = |row: &&ZoneRow| row.interfaces.iter().any(|held| held == name);
        rows.iter().find(holds).map(|row| row.name.as_str())
    };
    Carrier::of(&row.name, row.interfaces.iter().map(String::as_str), below, zone_of)
}

fn rows(model: &Model) -> Vec<Row<'_>> {
    let mut named = model.named();
    named.extend([Who { user: Some(0), ..Who::default() }, Who::default()]);
    let mut rows = Vec::new();
    for zone in &model.zones {
        for ability in Ability::ALL {
            for who in &named {
                let who = Profile::from(who);
                let found = model.ask(&who, ability, &zone.name, &names::groups_of);
                let Some(Finding { can: true, why }) = found else { continue };
                rows.push(Row { zone: &zone.name, ability, who: name_of(&who), why });
            }
        }
    }
    rows
}

fn write(rows: &[Row<'_>], out: &mut dyn Write) -> Result<()> {
    let mut zone = None;
    for row in rows {
        if zone.replace(row.zone) != Some(row.zone) {
            writeln!(out, "zone {}", row.zone)?;
        }
        writeln!(out, "    {} can {}: {}", row.who, row.ability.name(), row.why)?;
    }
    Ok(())
}

fn name_of(who: &Profile) -> String {
    let user = who.user.map(|user| format!("user {}", names::of_user(user)));
    let groups = who.groups.iter().map(|group| format!("group {}", names::of_group(*group)));
    let executable = who.executable.as_ref().map(|path| format!("executable {path}"));
    let cgroup = who.cgroup.as_ref().map(|path| format!("cgroup {path}"));
    let words: Vec<_> = user.into_iter().chain(groups).chain(executable).chain(cgroup).collect();
    if words.is_empty() { "anybody".into() } else { words.join(" ") }
}

fn can(model: &Model, user: &str, ability: &str, zone: &str) -> Result<Finding> {
    let abilities = Ability::ALL.map(Ability::name);
    let ability = Ability::named(ability)
        .with_context(|| format!("`{ability}`: write one of {}", abilities.join(", ")))?;
    let who = Profile { user: Some(names::user(user)?), ..Profile::default() };
    let found = model.ask(&who, ability, zone, &names::groups_of);
    ensure!(found.is_some(), "zone \"{zone}\" does not exist: `narrows zone` shows those that do");
    found.context("no zone")
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_policy::{ActKind, Effect, Origin, Permit, Rule};

    fn model() -> Model {
        let mut policy = Policy::new(0);
        let permit = Permit::parse(ActKind::Packet, "observe vault").unwrap();
        let origin = Origin::File { file: "/n.toml".into(), line: 9 };
        let who = Who { user: Some(424_242), ..Who::default() };
        policy.add([Rule { effect: Effect::Grant, who: who.clone(), permit, origin }]);
        let zone = |name: &str, admitted| Zone {
            name: name.into(),
            private: name != "public",
            admitted,
            addresses: vec!["10.99.0.2".parse().unwrap()],
            interfaces: vec![name.into()],
            carriers: Vec::new(),
            reachable_from: Vec::new(),
        };
        let member = Admitted { who, address: "10.99.0.2".parse().ok() };
        Model { policy, zones: vec![zone("public", Vec::new()), zone("vault", vec![member])] }
    }

    #[test]
    fn who_can_is_listed_with_the_path() {
        let model = model();
        let mut out = Vec::new();
        write(&rows(&model), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (_, vault) = text.split_once("zone vault\n").unwrap();
        let free = "no rule denies it, and everybody may";
        assert_eq!(
            vault,
            format!(
                "    user 424242 can bind: zone vault admits user 424242; bind tcp 10.99.0.2:0: {free}\n    \
                 user 424242 can reach: zone vault admits user 424242; connect tcp 10.99.0.2:1: {free}\n    \
                 user 424242 can receive: zone vault admits user 424242; bind tcp 10.99.0.2:0: {free}\n    \
                 user 424242 can observe: zone vault admits user 424242; packet observe vault: \
                 /n.toml:9: grant user 424242 packet observe vault\n"
            )
        );
    }

    #[test]
    fn one_question_has_one_answer() {
        let model = model();
        for (user, ability, zone, expected) in [
            ("424242", "observe", "vault", true),
            ("424242", "inject", "vault", false),
            ("0", "observe", "vault", false),
            ("0", "observe", "public", true),
            ("7", "bind", "public", true),
        ] {
            let found = can(&model, user, ability, zone).unwrap();
            assert_eq!(found.can, expected, "{user} {ability} {zone}: {}", found.why);
        }
        for (ability, zone, says) in
            [("sniff", "vault", "write one of bind"), ("bind", "x", "zone \"x\" does not exist")]
        {
            let error = can(&model, "0", ability, zone).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
