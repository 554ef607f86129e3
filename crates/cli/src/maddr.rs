//! `narrows maddr`: multicast groups by interface, printed as `ip maddress` and `ip -j maddress` do.

use crate::{
    arguments::Query,
    report::{self, Mac},
    words::Words,
};
use anyhow::Result;
use narrows_client::Stack;
use narrows_ipc::message::GroupRow;
use serde_json::{Value, json};
use std::io::{self, Write};

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (_, mut words) = Words::new("maddr", &query.words, &["show"])?;
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
        interfaces(&groups).try_for_each(|rows| write_interface(out, rows))?;
    }
    Ok(())
}

/// The rows of each interface; they come together.
fn interfaces(groups: &[GroupRow]) -> impl Iterator<Item = &[GroupRow]> {
    groups.chunk_by(|one, other| one.id == other.id)
}

/// The loopback has no link addresses.
fn link_addresses(rows: &[GroupRow]) -> impl Iterator<Item = (Mac, usize)> {
    let mut rows: Vec<_> = rows.iter().filter(|row| row.interface != "lo").collect();
    rows.sort_by_key(|row| row.mac);
    let shared: Vec<_> = rows
        .chunk_by(|one, other| one.mac == other.mac)
        .map(|same| (Mac(same[0].mac), same.len()))
        .collect();
    shared.into_iter()
}

fn write_interface(out: &mut dyn Write, rows: &[GroupRow]) -> io::Result<()> {
    let users = |users: usize| if users == 1 { String::new() } else { format!(" users {users}") };
    if let Some(GroupRow { id, interface, .. }) = rows.first() {
        writeln!(out, "{id}:\t{interface}")?;
    }
    for (mac, groups) in link_addresses(rows) {
        writeln!(out, "\tlink  {mac}{}", users(groups))?;
    }
    for row in rows {
        writeln!(out, "\tinet  {}{}", row.group, users(row.users as usize))?;
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
    let links = link_addresses(rows)
        .map(|(mac, groups)| with_users(json!({ "link": mac.to_string() }), groups));
    let groups = rows.iter().map(|row| {
        with_users(json!({ "family": "inet", "address": row.group }), row.users as usize)
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
            group: group.into(),
            mac: [1, 0, 0x5e, group[1] & 0x7f, group[2], group[3]],
            users,
        };
        vec![
            row(0, "lo", [224, 0, 0, 1], 1),
            row(1, "lan", [239, 1, 2, 3], 2),
            row(1, "lan", [224, 129, 2, 3], 1),
            row(1, "lan", [224, 0, 0, 1], 1),
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
                {"family": "inet", "address": "239.1.2.3", "users": 2},
                {"family": "inet", "address": "224.129.2.3"},
                {"family": "inet", "address": "224.0.0.1"},
            ]},
        ]);
        assert_eq!(json, expected);
    }
}
