//! `narrows drops`: what went no further, why, where, whose it was, and what to do about it.

use crate::{arguments::Drops, report};
use anyhow::{Context, Result};
use narrows_client::Stack;
use narrows_ipc::see::LossRow;
use narrows_testbed::Interrupt;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{self, Write},
};

pub fn execute(options: &Drops, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let mut before = stack.losses()?;
    let Some(interval) = options.watch else {
        return Ok(print(out, &before, options.json)?);
    };
    let interrupt = Interrupt::new().context("can't watch for Ctrl-C")?;
    while !interrupt.is_raised() {
        interrupt.sleep(interval);
        let now = stack.losses()?;
        let fresh = since(&before, &now);
        if !fresh.is_empty() {
            print(out, &fresh, options.json)?;
            out.flush()?;
        }
        before = now;
    }
    Ok(())
}

fn print(out: &mut dyn Write, rows: &[LossRow], json: bool) -> io::Result<()> {
    if json {
        let rows: Vec<_> = rows.iter().map(to_json).collect();
        return report::write_json(out, &json!(rows));
    }
    write_rows(out, rows)
}

/// What came since.
fn since(before: &[LossRow], now: &[LossRow]) -> Vec<LossRow> {
    let key =
        |row: &LossRow| (row.reason.clone(), row.interface.clone(), row.user, row.crossing.clone());
    let counts: HashMap<_, _> = before.iter().map(|row| (key(row), row.count)).collect();
    let fresh = |row: &LossRow| {
        let count = row.count - counts.get(&key(row)).copied().unwrap_or(0).min(row.count);
        (count > 0).then(|| LossRow { count, ..row.clone() })
    };
    now.iter().filter_map(fresh).collect()
}

/// Each reason once, the most frequent first; below it where that was.
fn write_rows(out: &mut dyn Write, rows: &[LossRow]) -> io::Result<()> {
    let mut reasons: Vec<(&str, u64)> = Vec::new();
    for row in rows {
        match reasons.iter_mut().find(|(reason, _)| *reason == row.reason) {
            Some((_, total)) => *total += row.count,
            None => reasons.push((&row.reason, row.count)),
        }
    }
    if reasons.is_empty() {
        return writeln!(out, "nothing dropped");
    }
    reasons.sort_by_key(|(_, total)| core::cmp::Reverse(*total));
    for (reason, total) in reasons {
        let mut places: Vec<_> = rows.iter().filter(|row| row.reason == reason).collect();
        places.sort_by_key(|row| core::cmp::Reverse(row.count));
        let Some(first) = places.first() else { continue };
        writeln!(out, "{reason} {total}: {}", first.meaning)?;
        writeln!(out, "    to do: {}", first.remedy)?;
        for row in &places {
            writeln!(out, "    {}", place(row))?;
        }
    }
    Ok(())
}

fn place(row: &LossRow) -> String {
    let interface = if row.interface.is_empty() { "-" } else { &row.interface };
    let user = row.user.map(|user| format!(" user {user}")).unwrap_or_default();
    let crossing = row.crossing.as_ref().map(|(from, to)| format!(" from zone {from} to {to}"));
    format!("{} dev {interface}{user}{}", row.count, crossing.unwrap_or_default())
}

fn to_json(row: &LossRow) -> Value {
    let interface = Some(&row.interface).filter(|name| !name.is_empty());
    json!({
        "reason": row.reason,
        "count": row.count,
        "dev": interface,
        "user": row.user,
        "from": row.crossing.as_ref().map(|(from, _)| from),
        "to": row.crossing.as_ref().map(|(_, to)| to),
        "meaning": row.meaning,
        "remedy": row.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(reason: &str, interface: &str, user: Option<u32>, count: u64) -> LossRow {
        LossRow {
            reason: reason.into(),
            meaning: "what it means".into(),
            remedy: "what to do".into(),
            interface: interface.into(),
            user,
            crossing: None,
            count,
        }
    }

    #[test]
    fn the_most_frequent_reason_is_first_with_its_places() {
        let rows = [
            row("martian", "lan", None, 3),
            row("udp-no-socket", "lan", None, 2),
            row("udp-no-socket", "lo", Some(1000), 5),
            row("no-route", "", Some(0), 1),
        ];
        let mut out = Vec::new();
        write_rows(&mut out, &rows).unwrap();
        let expected = "\
udp-no-socket 7: what it means
    to do: what to do
    5 dev lo user 1000
    2 dev lan
martian 3: what it means
    to do: what to do
    3 dev lan
no-route 1: what it means
    to do: what to do
    1 dev - user 0
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn watching_shows_what_came_since() {
        let before = [row("martian", "lan", None, 3), row("no-route", "", Some(0), 1)];
        let now = [
            row("martian", "lan", None, 5),
            row("no-route", "", Some(0), 1),
            row("x", "", None, 2),
        ];
        assert_eq!(since(&before, &now), [row("martian", "lan", None, 2), row("x", "", None, 2)]);
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let mut out = Vec::new();
        write_rows(&mut out, &[]).unwrap();
        assert_eq!(out, b"nothing dropped\n");
    }

    #[test]
    fn json_leaves_out_what_is_not_known() {
        assert_eq!(to_json(&row("x", "", None, 2))["dev"], Value::Null);
        assert_eq!(to_json(&row("x", "lan", Some(7), 2))["user"], 7);
    }
}
