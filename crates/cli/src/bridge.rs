//! `narrows bridge`: the ports of bridges and the stations behind them, in the words and with the
//! output of bridge(8). Bridges are made and changed with `narrows link`.

use crate::{
    arguments::Query,
    report::{self, Mac},
    words::Words,
};
use anyhow::{Context, Result, bail};
use narrows_client::Stack;
use narrows_ipc::{
    change::Change,
    link::{FdbRow, LinkCommand, LinkSetting, PortRow},
};
use serde_json::{Value, json};
use std::io::{self, Write};

/// What `bridge link` shows of spanning trees, which there are none of: Linux's defaults.
const PRIORITY: u8 = 32;
const COST: u8 = 2;

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    match query.words.split_first().map(|(object, rest)| (object.as_str(), rest)) {
        Some(("fdb", rest)) => fdb(query.json, rest, stack, out),
        Some(("link", rest)) => link(query.json, rest, stack, out),
        Some((other, _)) => bail!("`bridge {other}`: write one of fdb, link"),
        None => link(query.json, &[], stack, out),
    }
}

fn fdb(json: bool, words: &[String], stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (command, mut words) =
        Words::new("bridge fdb", words, &["show", "add", "append", "delete"])?;
    let (mut mac, mut port, mut bridge) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" | "brport" => port = Some(words.value(word)?.to_owned()),
            "br" => bridge = Some(words.value(word)?.to_owned()),
            // What every entry here is.
            "master" | "static" | "permanent" | "local" => {}
            word if command != "show" && mac.is_none() => {
                mac = Some(crate::link::station(&words, word)?);
            }
            word => return Err(words.error(format_args!("don't know `{word}`"))),
        }
    }
    if command == "show" {
        let mut rows = stack.bridge_stations()?;
        rows.retain(|row| port.as_ref().is_none_or(|name| row.port == *name));
        rows.retain(|row| bridge.as_ref().is_none_or(|name| row.bridge == *name));
        if json {
            report::write_json(out, &rows.iter().map(station_json).collect())?;
        } else {
            rows.iter().try_for_each(|row| write_station(out, row))?;
        }
        return Ok(());
    }
    let mac = mac.ok_or_else(|| words.error("which station? write its MAC address"))?;
    let port = port.ok_or_else(|| words.error("behind which port? write `dev NAME`"))?;
    let what = format!("bridge fdb {command} {} dev {port}", Mac(mac));
    let command = LinkCommand::Station { port, mac, known: command != "delete" };
    stack.change(Change::Link(command)).context(what)
}

fn link(json: bool, words: &[String], stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (command, mut words) = Words::new("bridge link", words, &["show", "set"])?;
    let (mut port, mut bound) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => port = Some(words.value(word)?.to_owned()),
            "bind" if command == "set" => {
                let list = words.value(word)?;
                bound = Some(match list {
                    "any" => None,
                    list => Some(
                        list.split(',')
                            .map(|mac| crate::link::station(&words, mac))
                            .collect::<Result<_>>()?,
                    ),
                });
            }
            word => return Err(words.error(format_args!("don't know `{word}`"))),
        }
    }
    if command == "set" {
        let name = port.ok_or_else(|| words.error("which port? write `dev NAME`"))?;
        let bound = bound.ok_or_else(|| words.error("what? write `bind MAC,MAC` or `bind any`"))?;
        let what = format!("bridge link set dev {name}");
        let command = LinkCommand::Set { name, settings: vec![LinkSetting::Bind(bound)] };
        return stack.change(Change::Link(command)).context(what);
    }
    let mut rows = stack.bridge_ports()?;
    rows.retain(|row| port.as_ref().is_none_or(|name| row.name == *name));
    if json {
        report::write_json(out, &rows.iter().map(port_json).collect())?;
    } else {
        rows.iter().try_for_each(|row| write_port(out, row))?;
    }
    Ok(())
}

fn write_station(out: &mut dyn Write, row: &FdbRow) -> io::Result<()> {
    let FdbRow { mac, port, bridge, age } = row;
    let kept = if age.is_none() { " static" } else { "" };
    writeln!(out, "{} dev {port} master {bridge}{kept}", Mac(*mac))
}

fn station_json(row: &FdbRow) -> Value {
    let mut value = json!({
        "mac": Mac(row.mac).to_string(),
        "ifname": row.port,
        "flags": [],
        "master": row.bridge,
        "state": if row.age.is_none() { "static" } else { "" },
    });
    if let Some(age) = row.age {
        value["updated"] = json!(age.as_secs());
    }
    value
}

fn flags(row: &PortRow) -> Vec<&'static str> {
    let flags = [
        ("NO-CARRIER", row.up && !row.running),
        ("BROADCAST", true),
        ("MULTICAST", true),
        ("UP", row.up),
        ("LOWER_UP", row.up && row.running),
    ];
    flags.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag).collect()
}

/// 802.1D's port states, as far as there are any.
fn state(row: &PortRow) -> &'static str {
    match row {
        PortRow { running: false, .. } => "disabled",
        PortRow { closed: true, .. } => "blocking",
        _ => "forwarding",
    }
}

fn bound(row: &PortRow) -> Option<Vec<String>> {
    row.bound.as_ref().map(|bound| bound.iter().map(|mac| Mac(*mac).to_string()).collect())
}

fn write_port(out: &mut dyn Write, row: &PortRow) -> io::Result<()> {
    let PortRow { id, name, bridge, mtu, .. } = row;
    let (flags, state) = (flags(row).join(","), state(row));
    let bind = bound(row).map(|list| format!(" bind {}", list.join(","))).unwrap_or_default();
    writeln!(
        out,
        "{id}: {name}: <{flags}> mtu {mtu} master {bridge} state {state} priority {PRIORITY} cost \
         {COST}{bind}"
    )
}

fn port_json(row: &PortRow) -> Value {
    let mut value = json!({
        "ifindex": row.id,
        "ifname": row.name,
        "flags": flags(row),
        "mtu": row.mtu,
        "master": row.bridge,
        "state": state(row),
        "priority": PRIORITY,
        "cost": COST,
    });
    if let Some(list) = bound(row) {
        value["bind"] = json!(list);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn stations_read_as_in_bridge_fdb() {
        let learned = FdbRow {
            mac: [2, 0, 0, 0, 0, 1],
            port: "p1".into(),
            bridge: "br0".into(),
            age: Some(Duration::from_secs(5)),
        };
        let rows = [FdbRow { age: None, ..learned.clone() }, learned];
        let mut out = Vec::new();
        rows.iter().try_for_each(|row| write_station(&mut out, row)).unwrap();
        let expected = "\
02:00:00:00:00:01 dev p1 master br0 static
02:00:00:00:00:01 dev p1 master br0
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(
            station_json(&rows[1]),
            json!({"mac": "02:00:00:00:00:01", "ifname": "p1", "flags": [], "master": "br0",
                   "state": "", "updated": 5})
        );
    }

    #[test]
    fn ports_read_as_in_bridge_link() {
        let open = PortRow {
            id: 3,
            name: "p1".into(),
            bridge: "br0".into(),
            mtu: 1500,
            up: true,
            running: true,
            closed: false,
            bound: None,
        };
        let bound = Some(vec![[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]]);
        let rows = [
            PortRow { closed: true, bound, ..open.clone() },
            PortRow { running: false, ..open.clone() },
            open,
        ];
        let mut out = Vec::new();
        rows.iter().try_for_each(|row| write_port(&mut out, row)).unwrap();
        let expected = "\
3: p1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master br0 state blocking priority 32 cost 2 \
bind 02:00:00:00:00:01,02:00:00:00:00:02
3: p1: <NO-CARRIER,BROADCAST,MULTICAST,UP> mtu 1500 master br0 state disabled priority 32 cost 2
3: p1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 master br0 state forwarding priority 32 cost 2
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(port_json(&rows[2])["state"], json!("forwarding"));
    }
}
