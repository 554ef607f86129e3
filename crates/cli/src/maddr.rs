//! `narrows maddr`: multicast groups by interface, printed as `ip maddress` and `ip -j maddress` do,
//! and joined by their link addresses.

use crate::{
    arguments::Query,
    link::station,
    report::{self, Mac},
    words::Words,
};
use anyhow::{Context, Result};
use narrows_client::Stack;
use narrows_ipc::{change::Change, message::GroupRow};
use serde_json::{Value, json};
use std::io::{self, Write};

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (command, mut words) = Words::new("maddr", &query.words, &["show", "add", "delete"])?;
    if command != "show" {
        return change(command == "add", words, stack);
    }
    let mut device = None;
    while let Some(word) = words.next() {
        match word {
            "dev" => device = Some(words.value(word)?),
            name if device.is_none() => device = Some(name),
            word => {
                return Err(words.error(format_args!("don't know `{word}`; write [dev NAME]")));
            }
        }
    }
    let mut groups = stack.groups()?;
    if let Some(name) = device {
        groups.retain(|row| row.interface == name);
        if groups.is_empty() {
            return Err(report::no_such_device(name));
        }
    }
    if query.json {
        report::write_json(out, &interfaces(&groups).map(to_json).collect())?;
    } else {
        interfaces(&groups).try_for_each(|rows| match query.oneline {
            true => write_lines(out, rows),
            false => Ok(write_interface(out, rows)?),
        })?;
    }
    Ok(())
}

/// `LLADDR dev NAME`: a group of stations, by its link address.
fn change(joined: bool, mut words: Words<'_>, stack: &Stack) -> Result<()> {
    let (mut interface, mut mac) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => interface = Some(words.value(word)?.to_owned()),
            word if mac.is_none() => mac = Some(station(&words, word)?),
            word => {
                return Err(words.error(format_args!("don't know `{word}`; write LLADDR dev NAME")));
            }
        }
    }
    let mac = mac.ok_or_else(|| words.error("which link address?"))?;
    let interface = interface.ok_or_else(|| words.error("where? write dev NAME"))?;
    if mac[0] & 1 == 0 {
        return Err(words.error(format_args!("{} is one station's, not a group's", Mac(mac))));
    }
    let what = format!("maddr {} {}", if joined { "add" } else { "del" }, Mac(mac));
    stack.change(Change::SetMulticast { interface, mac, joined }).with_context(|| what)
}

/// The rows of each interface; they come together.
fn interfaces(groups: &[GroupRow]) -> impl Iterator<Item = &[GroupRow]> {
    groups.chunk_by(|one, other| one.id == other.id)
}

/// With the groups that have it, and whether the operator joined it; the loopback has no link
/// addresses.
fn link_addresses(rows: &[GroupRow]) -> impl Iterator<Item = (Mac, usize, bool)> {
    let mut rows: Vec<_> = rows.iter().filter(|row| row.interface != "lo").collect();
    rows.sort_by_key(|row| row.mac);
    let shared: Vec<_> = rows
        .chunk_by(|one, other| one.mac == other.mac)
        .map(|same| {
            let mac = same.first().map(|row| row.mac).unwrap_or_default();
            (Mac(mac), same.len(), same.iter().any(|row| row.group.is_none()))
        })
        .collect();
    shared.into_iter()
}

/// A line an address.
fn write_lines(out: &mut dyn Write, rows: &[GroupRow]) -> Result<()> {
    let mut text = Vec::new();
    write_interface(&mut text, rows)?;
    let text = String::from_utf8(text)?;
    let mut lines = text.lines();
    let interface = lines.next().unwrap_or_default();
    lines.try_for_each(|line| writeln!(out, "{interface}\\{}", line.trim_start_matches('\t')))?;
    Ok(())
}

fn write_interface(out: &mut dyn Write, rows: &[GroupRow]) -> io::Result<()> {
    let users = |users: usize| if users == 1 { String::new() } else { format!(" users {users}") };
    if let Some(GroupRow { id, interface, .. }) = rows.first() {
        writeln!(out, "{id}:\t{interface}")?;
    }
    for (mac, groups, fixed) in link_addresses(rows) {
        let fixed = if fixed { " static" } else { "" };
        writeln!(out, "\tlink  {mac}{}{fixed}", users(groups))?;
    }
    for row in rows {
        if let Some(group) = row.group {
            writeln!(out, "\tinet  {group}{}", users(row.users as usize))?;
        }
    }
    Ok(())
}

fn to_json(rows: &[GroupRow]) -> Value {
    let with_users = |mut row: Value, users: usize| {
        if users != 1 {
            row["users"] = json!(users);
        }
        row
    };
    let links = link_addresses(rows).map(|(mac, groups, fixed)| {
        let mut row = with_users(json!({ "link": mac.to_string() }), groups);
        if fixed {
            row["static"] = json!(true);
        }
        row
    });
    let groups = rows.iter().filter_map(|row| {
        let row_json = json!({ "family": "inet", "address": row.group? });
        Some(with_users(row_json, row.users as usize))
    });
    let first = rows.first();
    json!({
        "ifindex": first.map(|row| row.id),
        "ifname": first.map(|row| &row.interface),
        "maddr": links.chain(groups).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<GroupRow> {
        let row = |id, interface: &str, group: [u8; 4], users| GroupRow {
            id,
            interface: interface.to_owned(),
            group: Some(group.into()),
            mac: [1, 0, 0x5e, group[1] & 0x7f, group[2], group[3]],
            users,
        };
        vec![
            row(0, "lo", [224, 0, 0, 1], 1),
            row(1, "lan", [239, 1, 2, 3], 2),
            row(1, "lan", [224, 129, 2, 3], 1),
            row(1, "lan", [224, 0, 0, 1], 1),
            GroupRow { group: None, mac: [3, 0, 0, 0, 0, 9], ..row(1, "lan", [0; 4], 1) },
        ]
    }

    #[test]
    fn reads_as_ip_maddress() {
        let mut out = Vec::new();
        interfaces(&rows()).try_for_each(|rows| write_interface(&mut out, rows)).unwrap();
        let expected = "\
0:\tlo
\tinet  224.0.0.1
1:\tlan
\tlink  01:00:5e:00:00:01
\tlink  01:00:5e:01:02:03 users 2
\tlink  03:00:00:00:00:09 static
\tinet  239.1.2.3 users 2
\tinet  224.129.2.3
\tinet  224.0.0.1
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_the_keys_of_ip() {
        let rows = rows();
        let json: Value = interfaces(&rows).map(to_json).collect();
        let expected = json!([
            {"ifindex": 0, "ifname": "lo", "maddr": [{"family": "inet", "address": "224.0.0.1"}]},
            {"ifindex": 1, "ifname": "lan", "maddr": [
                {"link": "01:00:5e:00:00:01"},
                {"link": "01:00:5e:01:02:03", "users": 2},
                {"link": "03:00:00:00:00:09", "static": true},
                {"family": "inet", "address": "239.1.2.3", "users": 2},
                {"family": "inet", "address": "224.129.2.3"},
                {"family": "inet", "address": "224.0.0.1"},
            ]},
        ]);
        assert_eq!(json, expected);
    }
}
