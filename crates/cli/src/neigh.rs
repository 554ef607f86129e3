//! `narrows neigh`: the neighbor table, printed as `ip neigh` and `ip -j neigh` do, and changed in
//! its words.

mod change;
mod filter;

use crate::{
    arguments::NeighQuery,
    report::{self, Mac},
    words::Words,
};
use anyhow::Result;
use filter::Filter;
use narrows_client::Stack;
use narrows_ipc::message::{NeighborRow, NeighborUsage};
use serde_json::{Value, json};
use std::io::{self, Write};

const COMMANDS: [&str; 7] = ["show", "add", "change", "replace", "delete", "flush", "get"];

pub fn execute(query: &NeighQuery, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (command, words) = Words::new("neigh", &query.words, &COMMANDS)?;
    match command {
        "show" | "get" => show(command, query, words, stack, out),
        "flush" => change::flush(words, stack),
        command => change::one(command, words, stack),
    }
}

fn show(
    command: &str,
    query: &NeighQuery,
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
    let statistics = query.statistics;
    if query.json {
        let rows = neighbors.iter().map(|neighbor| to_json(neighbor, statistics));
        report::write_json(out, &rows.collect())?;
    } else {
        neighbors.iter().try_for_each(|neighbor| write_neighbor(out, neighbor, statistics))?;
    }
    Ok(())
}

fn write_neighbor(out: &mut dyn Write, neighbor: &NeighborRow, statistics: bool) -> io::Result<()> {
    let NeighborRow { address, interface, mac, state, proxy, usage } = neighbor;
    if *proxy {
        return writeln!(out, "{address} dev {interface} proxy");
    }
    let mac = mac.map(|mac| format!(" lladdr {}", Mac(mac))).unwrap_or_default();
    write!(out, "{address} dev {interface}{mac}")?;
    if statistics {
        let NeighborUsage { used, confirmed, updated, probes } = usage;
        write!(out, " used {used}/{confirmed}/{updated} probes {probes}")?;
    }
    writeln!(out, " {state}")
}

fn to_json(neighbor: &NeighborRow, statistics: bool) -> Value {
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
    if statistics {
        let NeighborUsage { used, confirmed, updated, probes } = neighbor.usage;
        row["used"] = json!(used);
        row["confirmed"] = json!(confirmed);
        row["updated"] = json!(updated);
        row["probes"] = json!(probes);
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
                usage: NeighborUsage { used: 1, confirmed: 20, updated: 300, probes: 0 },
            },
            NeighborRow {
                address: [10, 0, 0, 9].into(),
                interface: "lan".into(),
                mac: None,
                state: "FAILED".into(),
                proxy: false,
                usage: NeighborUsage { used: 4, confirmed: 7, updated: 4, probes: 3 },
            },
            NeighborRow {
                address: [10, 2, 0, 7].into(),
                interface: "lan".into(),
                mac: None,
                state: String::new(),
                proxy: true,
                usage: NeighborUsage::default(),
            },
        ]
    }

    #[test]
    fn reads_as_ip_neigh() {
        let print = |statistics| {
            let mut out = Vec::new();
            rows().iter().try_for_each(|row| write_neighbor(&mut out, row, statistics)).unwrap();
            String::from_utf8(out).unwrap()
        };
        let expected = "\
10.0.0.1 dev lan lladdr 02:fc:00:00:00:05 REACHABLE
10.0.0.9 dev lan FAILED
10.2.0.7 dev lan proxy
";
        assert_eq!(print(false), expected);
        let expected = "\
10.0.0.1 dev lan lladdr 02:fc:00:00:00:05 used 1/20/300 probes 0 REACHABLE
10.0.0.9 dev lan used 4/7/4 probes 3 FAILED
10.2.0.7 dev lan proxy
";
        assert_eq!(print(true), expected);
    }

    #[test]
    fn json_has_the_keys_of_ip() {
        let json: Value = rows().iter().map(|row| to_json(row, false)).collect();
        assert_eq!(
            json,
            json!([
                {"dst": "10.0.0.1", "dev": "lan", "lladdr": "02:fc:00:00:00:05",
                 "state": ["REACHABLE"]},
                {"dst": "10.0.0.9", "dev": "lan", "state": ["FAILED"]},
                {"dst": "10.2.0.7", "dev": "lan", "proxy": null},
            ])
        );
        assert_eq!(
            to_json(&rows()[1], true),
            json!({"dst": "10.0.0.9", "dev": "lan", "used": 4, "confirmed": 7, "updated": 4,
                   "probes": 3, "state": ["FAILED"]})
        );
    }
}
