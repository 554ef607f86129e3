//! `narrows zone`: zones, their interfaces, and who is admitted. The Linux tools know no such thing.

use crate::{
    arguments::Query,
    report::{self, Mac},
    words::Words,
};
use anyhow::{Result, bail};
use narrows_client::Stack;
use narrows_ipc::zone::{AdmittedRow, CrossingRow, ZoneRow};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (_, mut words) = Words::new("zone", &query.words, &["show"])?;
    let mut named = None;
    while let Some(word) = words.next() {
        if named.replace(word).is_some() {
            return Err(words.error(format_args!("don't know `{word}`; write [NAME]")));
        }
    }
    let mut zones = stack.zones()?;
    if let Some(name) = named {
        zones.retain(|row| row.name == name);
        if zones.is_empty() {
            bail!("zone \"{name}\" does not exist: `narrows zone` shows those that do");
        }
    }
    if query.json {
        report::write_json(out, &zones.iter().map(to_json).collect())?;
    } else {
        zones.iter().try_for_each(|row| write_zone(out, row))?;
    }
    Ok(())
}

fn write_zone(out: &mut dyn Write, row: &ZoneRow) -> io::Result<()> {
    let kind = if row.private { " private" } else { "" };
    let cut_through = if row.cut_through { "" } else { " cut_through off" };
    writeln!(out, "{}:{kind} dev {}{cut_through}", row.name, row.interfaces.join(","))?;
    if row.name == PUBLIC {
        writeln!(out, "    admit everybody")?;
    }
    for admitted in &row.admitted {
        writeln!(out, "    admit{}", who(admitted))?;
    }
    for crossing in &row.crossings {
        writeln!(out, "    allow{}", words_of(crossing))?;
    }
    Ok(())
}

/// Admits all.
const PUBLIC: &str = "public";

fn who(row: &AdmittedRow) -> String {
    let parts = [
        row.user.map(|user| format!(" user {user}")),
        row.group.map(|group| format!(" group {group}")),
        row.executable.as_ref().map(|path| format!(" executable {path}")),
        row.cgroup.as_ref().map(|path| format!(" cgroup {path}")),
        row.address.map(|address| format!(" at {address}")),
        row.mac.map(|mac| format!(" lladdr {}", Mac(mac))),
    ];
    parts.into_iter().flatten().collect()
}

fn words_of(row: &CrossingRow) -> String {
    let ports = |(low, high): (u16, u16)| match low == high {
        true => format!(" dport {low}"),
        false => format!(" dport {low}-{high}"),
    };
    let parts = [
        Some(format!(" to {}", row.to)),
        row.protocol.map(|number| format!(" protocol {}", protocol(number))),
        row.ports.map(ports),
        row.source.as_ref().map(|network| format!(" saddr {network}")),
        row.destination.as_ref().map(|network| format!(" daddr {network}")),
    ];
    parts.into_iter().flatten().collect()
}

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
        };
        [
            ZoneRow { crossings: vec![crossing], ..zone("public", false, true, "lo") },
            ZoneRow { admitted: vec![admitted], ..zone("vault", true, false, "vault") },
        ]
    }

    #[test]
    fn reads_as_other_reports_do() {
        let mut out = Vec::new();
        rows().iter().try_for_each(|row| write_zone(&mut out, row)).expect("memory takes all");
        let expected = "\
public: dev lo
    admit everybody
    allow to lab protocol tcp dport 80 daddr 10.1.0.0/24
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
