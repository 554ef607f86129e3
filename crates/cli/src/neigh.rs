//! `narrows neigh`: the neighbor table, printed as `ip neigh` and `ip -j neigh` do.

use crate::{
    arguments::Query,
    report::{self, Mac},
};
use anyhow::Result;
use narrows_client::Stack;
use narrows_ipc::message::NeighborRow;
use serde_json::{Value, json};
use std::io::{self, Write};

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let device = report::device_asked("neigh", &query.words)?;
    let mut neighbors = stack.neighbors()?;
    if let Some(name) = device {
        neighbors.retain(|neighbor| neighbor.interface == name);
        if !stack.links()?.iter().any(|link| link.name == name) {
            return Err(report::no_such_device(name));
        }
    }
    if query.json {
        report::write_json(out, &neighbors.iter().map(to_json).collect())?;
    } else {
        neighbors.iter().try_for_each(|neighbor| write_neighbor(out, neighbor))?;
    }
    Ok(())
}

fn write_neighbor(out: &mut dyn Write, neighbor: &NeighborRow) -> io::Result<()> {
    let NeighborRow { address, interface, mac, state } = neighbor;
    let mac = mac.map(|mac| format!(" lladdr {}", Mac(mac))).unwrap_or_default();
    writeln!(out, "{address} dev {interface}{mac} {state}")
}

fn to_json(neighbor: &NeighborRow) -> Value {
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

    fn rows() -> [NeighborRow; 2] {
        [
            NeighborRow {
                address: [10, 0, 0, 1].into(),
                interface: "lan".into(),
                mac: Some([2, 0xfc, 0, 0, 0, 5]),
                state: "REACHABLE".into(),
            },
            NeighborRow {
                address: [10, 0, 0, 9].into(),
                interface: "lan".into(),
                mac: None,
                state: "FAILED".into(),
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
            ])
        );
    }
}
