//! `narrows zone`: zones, their interfaces, and who is admitted, shown and changed. The Linux tools know no
//! such thing; the grammar is theirs.

use crate::{
    arguments::ZoneQuery,
    report::{self, Mac},
};
use anyhow::{Context, Result, bail};
use narrows_client::Stack;
use narrows_ipc::{
    change::Change,
    zone::{AdmittedRow, CrossingRow, ZoneRow},
};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

mod change;

pub fn execute(query: &ZoneQuery, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let reports = ["show", "list", "lst", "ls"];
    let is_report = |word: &&String| reports.iter().any(|report| report.starts_with(word.as_str()));
    let asked = match query.words.first() {
        // `zone s` may be `show` or `set`, and nothing changes by a letter.
        Some(word) if is_report(&word) => query.words.get(1..).unwrap_or_default(),
        Some(_) => {
            let command = change::read(&query.words)?;
            let words = format!("zone {command}");
            return stack.change(Change::Zone(command)).context(words);
        }
        None => &[],
    };
    let named = match asked {
        [] => None,
        [name] => Some(name),
        [_, word, ..] => bail!("`zone show`: don't know `{word}`; write [NAME]"),
    };
    let mut zones = stack.zones()?;
    if let Some(name) = named {
        zones.retain(|row| row.name == *name);
        if zones.is_empty() {
            bail!("zone \"{name}\" does not exist: `narrows zone` shows those that do");
        }
    }
    if query.json {
        report::write_json(out, &zones.iter().map(to_json).collect())?;
    } else {
        zones.iter().try_for_each(|row| write_zone(out, row, query.statistics))?;
    }
    Ok(())
}

fn write_zone(out: &mut dyn Write, row: &ZoneRow, statistics: bool) -> io::Result<()> {
    let kind = if row.private { " private" } else { "" };
    let cut_through = if row.cut_through { "" } else { " cut_through off" };
    writeln!(out, "{}:{kind} dev {}{cut_through}", row.name, row.interfaces.join(","))?;
    if row.name == PUBLIC {
        writeln!(out, "    admit everybody")?;
    }
    for admitted in &row.admitted {
        writeln!(out, "    admit{admitted}")?;
    }
    for crossing in &row.crossings {
        writeln!(out, "    allow{crossing}")?;
    }
    for (to, count) in row.refused.iter().filter(|_| statistics) {
        writeln!(out, "    refused to {to} {count}")?;
    }
    Ok(())
}

/// Admits all.
const PUBLIC: &str = "public";

fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".into(),
        6 => "tcp".into(),
        17 => "udp".into(),
        number => number.to_string(),
    }
}

fn to_json(row: &ZoneRow) -> Value {
    json!({
        "zone": row.name,
        "private": row.private,
        "cut_through": row.cut_through,
        "interfaces": row.interfaces,
        "admit": row.admitted.iter().map(admitted_json).collect::<Vec<_>>(),
        "refused": row.refused.iter().map(|(to, count)| json!({ "to": to, "count": count }))
            .collect::<Vec<_>>(),
        "allow": row.crossings.iter().map(crossing_json).collect::<Vec<_>>(),
    })
}

/// What is not said is left out.
fn object(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let said = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(said.collect::<Map<_, _>>())
}

fn admitted_json(row: &AdmittedRow) -> Value {
    object([
        ("user", row.user.map(|user| json!(user))),
        ("group", row.group.map(|group| json!(group))),
        ("executable", row.executable.as_ref().map(|path| json!(path))),
        ("cgroup", row.cgroup.as_ref().map(|path| json!(path))),
        ("address", row.address.map(|address| json!(address))),
        ("lladdr", row.mac.map(|mac| json!(Mac(mac).to_string()))),
    ])
}

fn crossing_json(row: &CrossingRow) -> Value {
    object([
        ("to", Some(json!(row.to))),
        ("protocol", row.protocol.map(|number| json!(protocol(number)))),
        ("dport", row.ports.map(|(low, high)| json!([low, high]))),
        ("saddr", row.source.as_ref().map(|network| json!(network))),
        ("daddr", row.destination.as_ref().map(|network| json!(network))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [ZoneRow; 2] {
        let admitted = AdmittedRow {
            user: Some(1001),
            group: None,
            executable: Some("/usr/bin/redis-server".into()),
            cgroup: None,
            address: Some([10, 99, 0, 2].into()),
            mac: Some([2, 0, 10, 99, 0, 2]),
        };
        let crossing = CrossingRow {
            to: "lab".into(),
            protocol: Some(6),
            ports: Some((80, 80)),
            source: None,
            destination: Some("10.1.0.0/24".into()),
        };
        let zone = |name: &str, private, cut_through, interface: &str| ZoneRow {
            name: name.into(),
            private,
            cut_through,
            interfaces: vec![interface.into()],
            admitted: Vec::new(),
            crossings: Vec::new(),
            refused: vec![("lab".into(), 7)],
        };
        [
            ZoneRow { crossings: vec![crossing], ..zone("public", false, true, "lo") },
            ZoneRow { admitted: vec![admitted], ..zone("vault", true, false, "vault") },
        ]
    }

    #[test]
    fn reads_as_other_reports_do() {
        let mut out = Vec::new();
        let [public, vault] = rows();
        write_zone(&mut out, &public, true).expect("memory takes all");
        write_zone(&mut out, &vault, false).expect("memory takes all");
        let expected = "\
public: dev lo
    admit everybody
    allow to lab protocol tcp dport 80 daddr 10.1.0.0/24
    refused to lab 7
vault: private dev vault cut_through off
    admit user 1001 executable /usr/bin/redis-server at 10.99.0.2 lladdr 02:00:0a:63:00:02
";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
        assert_eq!(
            to_json(&rows()[1])["admit"],
            json!([{
                "user": 1001,
                "executable": "/usr/bin/redis-server",
                "address": "10.99.0.2",
                "lladdr": "02:00:0a:63:00:02",
            }])
        );
    }
}
