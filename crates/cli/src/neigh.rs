//! `narrows neigh`: the neighbor table, printed as `ip neigh` and `ip -j neigh` do, and changed in
//! its words.

mod change;
mod filter;

use crate::{
    arguments::Query,
    report::{self, Mac},
    words::Words,
};
use anyhow::Result;
use filter::Filter;
use narrows_client::Stack;
use narrows_ipc::message::NeighborRow;
use serde_json::{Value, json};
use std::io::{self, Write};

const COMMANDS: [&str; 7] = ["show", "add", "change", "replace", "delete", "flush", "get"];

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (command, words) = Words::new("neigh", &query.words, &COMMANDS)?;
    match command {
        "show" | "get" => show(command, query.json, words, stack, out),
        "flush" => change::flush(words, stack),
        command => change::one(command, words, stack),
    }
}

fn show(
    command: &str,
    json: bool,
    words: Words<'_>,
    stack: &Stack,
    out: &mut dyn Write,
) -> Result<()> {
    let missing = words.error("which? write neigh get ADDRESS dev NAME");
    let filter = Filter::read(words)?;
    if let Some(name) = &filter.device
        && !stack.links()?.iter().any(|link| link.name == *name)
    {
        return Err(report::no_such_device(name));
    }
    let mut neighbors = stack.neighbors()?;
    neighbors.retain(|row| filter.takes(row));
    if command == "get" {
        anyhow::ensure!(filter.is_one(), missing);
        anyhow::ensure!(!neighbors.is_empty(), "neigh get: no neighbor entry found");
    }
    if json {
        report::write_json(out, &neighbors.iter().map(to_json).collect())?;
    } else {
        neighbors.iter().try_for_each(|neighbor| write_neighbor(out, neighbor))?;
    }
    Ok(())
}

fn write_neighbor(out: &mut dyn Write, neighbor: &NeighborRow) -> io::Result<()> {
    let NeighborRow { address, interface, mac, state, proxy } = neighbor;
    if *proxy {
        return writeln!(out, "{address} dev {interface} proxy");
    }
    let mac = mac.map(|mac| format!(" lladdr {}", Mac(mac))).unwrap_or_default();
    writeln!(out, "{address} dev {interface}{mac} {state}")
}

fn to_json(neighbor: &NeighborRow) -> Value {
    if neighbor.proxy {
        return json!({ "dst": neighbor.address, "dev": neighbor.interface, "proxy": null });
    }
    let mut row = json!({
        "dst": neighbor.address,
        "dev": neighbor.interface,
        "state": [neighbor.state],
    });
    if let Some(mac) = neighbor.mac {
        row["lladdr"] = json!(Mac(mac).to_string());
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn rows() -> [NeighborRow; 3] {
        [
            NeighborRow {
                address: [10, 0, 0, 1].into(),
                interface: "lan".into(),
                mac: Some([2, 0xfc, 0, 0, 0, 5]),
                state: "REACHABLE".into(),
                proxy: false,
            },
            NeighborRow {
                address: [10, 0, 0, 9].into(),
                interface: "lan".into(),
                mac: None,
                state: "FAILED".into(),
                proxy: false,
            },
            NeighborRow {
                address: [10, 2, 0, 7].into(),
                interface: "lan".into(),
                mac: None,
                state: String::new(),
                proxy: true,
            },
        ]
    }

    #[test]
    fn reads_as_ip_neigh() {
        let mut out = Vec::new();
        rows().iter().try_for_each(|row| write_neighbor(&mut out, row)).unwrap();
        let expected = "\
10.0.0.1 dev lan lladdr 02:fc:00:00:00:05 REACHABLE
10.0.0.9 dev lan FAILED
10.2.0.7 dev lan proxy
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_the_keys_of_ip() {
        let json: Value = rows().iter().map(to_json).collect();
        assert_eq!(
            json,
            json!([
                {"dst": "10.0.0.1", "dev": "lan", "lladdr": "02:fc:00:00:00:05",
                 "state": ["REACHABLE"]},
                {"dst": "10.0.0.9", "dev": "lan", "state": ["FAILED"]},
                {"dst": "10.2.0.7", "dev": "lan", "proxy": null},
            ])
        );
    }
}
