//! `narrows addr`: interfaces and their addresses, printed as `ip address` and `ip -j address` do,
//! and changed in its words.

mod change;
mod filter;

use crate::{
    arguments::AddrQuery,
    link::row,
    report::{self, Mac},
    route::names,
    words::Words,
};
use anyhow::Result;
use filter::Filter;
use narrows_client::Stack;
use narrows_ipc::message::{AddressRow, LinkRow};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    net::IpAddr,
};

const COMMANDS: [&str; 7] = ["show", "add", "change", "replace", "delete", "flush", "announce"];

pub fn execute(query: &AddrQuery, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (command, words) = Words::new("addr", &query.words, &COMMANDS)?;
    match command {
        "show" => show(query, words, stack, out),
        "flush" => change::flush(words, stack),
        "announce" => change::announce(words, stack),
        command => change::one(command, words, stack),
    }
}

fn show(query: &AddrQuery, words: Words<'_>, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let filter = Filter::read(words)?;
    let all = stack.links()?;
    let mut links = all.clone();
    if let Some(name) = &filter.device {
        links.retain(|link| link.name == *name);
        if links.is_empty() {
            return Err(report::no_such_device(name));
        }
    }
    for link in &mut links {
        link.addresses.retain(|row| filter.takes(row));
    }
    links.retain(|link| filter.takes_link(link));
    if query.json {
        let rows = links.iter().map(|link| match query.brief {
            true => brief_json(link),
            false => to_json(link, &all),
        });
        report::write_json(out, &rows.collect())?;
    } else if query.brief {
        links.iter().try_for_each(|link| write_brief(out, link))?;
    } else if query.oneline {
        links.iter().try_for_each(|link| write_lines(out, link))?;
    } else {
        links.iter().try_for_each(|link| write_link(out, link, &all))?;
    }
    Ok(())
}

fn scope(row: &AddressRow) -> &'static str {
    match row.address {
        _ if row.scope.is_some() => row.scope.map_or("global", names::scope_name),
        address if address.is_loopback() => "host",
        IpAddr::V4(address) if address.is_link_local() => "link",
        IpAddr::V6(address) if address.is_unicast_link_local() => "link",
        _ => "global",
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "inet" } else { "inet6" }
}

/// In the order in which ip(8) has them.
fn address_flags(row: &AddressRow) -> impl Iterator<Item = &'static str> {
    let AddressRow { secondary, tentative, conflict, .. } = *row;
    let deprecated = row.preferred == Some(0);
    let flags = [
        ("secondary", secondary),
        ("dadfailed", conflict),
        ("tentative", tentative),
        ("deprecated", deprecated),
        ("dynamic", row.valid.is_some()),
    ];
    flags.into_iter().filter(|(_, set)| *set).map(|(flag, _)| flag)
}

/// Loopback's network has a broadcast address by the numbers only.
fn broadcast(row: &AddressRow) -> Option<IpAddr> {
    let AddressRow { address, length, .. } = *row;
    report::broadcast(address, length).filter(|_| !address.is_loopback()).map(IpAddr::V4)
}

/// The address, and whose it is to be reached by it.
fn own(row: &AddressRow) -> String {
    match row.peer {
        Some((peer, length)) => format!("{} peer {peer}/{length}", row.address),
        None => format!("{}/{}", row.address, row.length),
    }
}

fn write_brief(out: &mut dyn Write, link: &LinkRow) -> io::Result<()> {
    let addresses = link.addresses.iter().map(|row| format!("{} ", own(row)));
    row::write_brief(out, link, &addresses.collect::<String>())
}

fn brief_json(link: &LinkRow) -> Value {
    let address = |row: &AddressRow| match row.peer {
        Some((peer, length)) => json!({"local": row.address, "address": peer, "prefixlen": length}),
        None => json!({"local": row.address, "prefixlen": row.length}),
    };
    json!({
        "ifname": link.name,
        "operstate": row::state(link),
        "addr_info": link.addresses.iter().map(address).collect::<Value>(),
    })
}

fn write_link(out: &mut dyn Write, link: &LinkRow, all: &[LinkRow]) -> Result<()> {
    let LinkRow { id, mtu, .. } = link;
    let (kind, everyone) = row::link_type(link);
    let (flags, state) = (row::flags(link, all).join(","), row::state(link));
    let master = row::master(link).map(|master| format!("master {master} ")).unwrap_or_default();
    let (full, group, queue) = (row::name(link), row::group(link), link.state.queue);
    writeln!(
        out,
        "{id}: {full}: <{flags}> mtu {mtu} qdisc noqueue {master}state {state} group {group} \
         qlen {queue}"
    )?;
    writeln!(out, "    link/{kind} {} brd {everyone}", Mac(link.mac))?;
    if !link.device.is_empty() {
        writeln!(out, "    alias {}", link.device)?;
    }
    row::write_zone(out, link)?;
    for row in &link.addresses {
        write!(out, "    ")?;
        write_address(out, link, row)?;
    }
    Ok(())
}

fn write_address(out: &mut dyn Write, link: &LinkRow, row: &AddressRow) -> io::Result<()> {
    let (family, scope) = (family(row.address), scope(row));
    let own = own(row);
    let brd = broadcast(row).map(|all| format!("brd {all} ")).unwrap_or_default();
    let flags: String = address_flags(row).map(|flag| format!("{flag} ")).collect();
    let label = row.label.as_ref().unwrap_or(&link.name);
    writeln!(out, "{family} {own} {brd}scope {scope} {flags}{label}")?;
    let left = |left: Option<u32>| left.map_or("forever".to_owned(), |left| format!("{left}sec"));
    let (valid, preferred) = (left(row.valid), left(row.preferred));
    writeln!(out, "       valid_lft {valid} preferred_lft {preferred}")
}

/// A line an address.
fn write_lines(out: &mut dyn Write, link: &LinkRow) -> Result<()> {
    link.addresses.iter().try_for_each(|row| {
        report::record(out, true, |out| {
            write!(out, "{}: {}    ", link.id, link.name)?;
            Ok(write_address(out, link, row)?)
        })
    })
}

fn to_json(link: &LinkRow, all: &[LinkRow]) -> Value {
    let addresses: Vec<Value> = link
        .addresses
        .iter()
        .map(|address| {
            let mut row = json!({
                "family": family(address.address),
                "local": address.address,
                "prefixlen": address.length,
                "scope": scope(address),
                "label": address.label.as_ref().unwrap_or(&link.name),
                "valid_life_time": address.valid.unwrap_or(u32::MAX),
                "preferred_life_time": address.preferred.unwrap_or(u32::MAX),
            });
            if let Some((peer, length)) = address.peer {
                row["address"] = json!(peer);
                row["prefixlen"] = json!(length);
            }
            if let Some(all) = broadcast(address) {
                row["broadcast"] = json!(all);
            }
            for flag in address_flags(address) {
                row[flag] = json!(true);
            }
            row
        })
        .collect();
    let mut row = row::head_json(link, all);
    row["addr_info"] = addresses.into();
    if !link.device.is_empty() {
        row["ifalias"] = json!(link.device);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_ipc::{
        link::{LinkKind, LinkState, Traffic},
        route::RouteScope,
    };

    pub(super) fn row(text: &str) -> AddressRow {
        let (address, length) = text.split_once('/').expect("a prefix");
        AddressRow {
            address: address.parse().expect("an address"),
            length: length.parse().expect("a length"),
            secondary: false,
            tentative: false,
            conflict: false,
            label: None,
            scope: None,
            peer: None,
            valid: None,
            preferred: None,
        }
    }

    fn state(kind: LinkKind, up: bool) -> LinkState {
        let (running, promiscuous, group) = (up, false, 0);
        let routing = crate::link::tests::routing();
        let (traffic, zone) = (Traffic::default(), None);
        let arp = Default::default();
        LinkState {
            kind,
            master: None,
            up,
            running,
            promiscuous,
            group,
            queue: 1000,
            zone,
            routing,
            arp,
            traffic,
        }
    }

    fn rows() -> Vec<LinkRow> {
        vec![
            LinkRow {
                id: 1,
                name: "lo".into(),
                device: String::new(),
                mac: [0; 6],
                mtu: 65_536,
                addresses: vec![row("127.0.0.1/8")],
                up: true,
                state: state(LinkKind::Loopback, true),
            },
            LinkRow {
                id: 2,
                name: "lan".into(),
                device: "packet:eth1".into(),
                mac: [2, 0xfc, 0, 0, 0, 1],
                mtu: 1500,
                addresses: vec![
                    row("10.0.0.2/24"),
                    AddressRow { secondary: true, tentative: true, ..row("10.0.0.3/24") },
                    AddressRow { conflict: true, ..row("10.9.0.1/32") },
                    AddressRow { valid: Some(3599), preferred: Some(99), ..row("10.8.0.9/16") },
                    AddressRow {
                        label: Some("lan:1".into()),
                        scope: Some(RouteScope::Link),
                        peer: Some(([10, 7, 0, 2].into(), 32)),
                        preferred: Some(0),
                        ..row("10.7.0.1/32")
                    },
                ],
                up: false,
                state: state(LinkKind::Device("packet:eth1".into()), false),
            },
        ]
    }

    #[test]
    fn reads_as_ip_address() {
        let mut out = Vec::new();
        for row in rows() {
            write_link(&mut out, &row, &[]).unwrap();
        }
        let expected = "\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
2: lan: <BROADCAST,MULTICAST> mtu 1500 qdisc noqueue state DOWN group default qlen 1000
    link/ether 02:fc:00:00:00:01 brd ff:ff:ff:ff:ff:ff
    alias packet:eth1
    inet 10.0.0.2/24 brd 10.0.0.255 scope global lan
       valid_lft forever preferred_lft forever
    inet 10.0.0.3/24 brd 10.0.0.255 scope global secondary tentative lan
       valid_lft forever preferred_lft forever
    inet 10.9.0.1/32 scope global dadfailed lan
       valid_lft forever preferred_lft forever
    inet 10.8.0.9/16 brd 10.8.255.255 scope global dynamic lan
       valid_lft 3599sec preferred_lft 99sec
    inet 10.7.0.1 peer 10.7.0.2/32 scope link deprecated lan:1
       valid_lft forever preferred_lft 0sec
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_line_an_address() {
        let mut out = Vec::new();
        rows().iter().take(2).try_for_each(|row| write_lines(&mut out, row)).unwrap();
        let expected = r"1: lo    inet 127.0.0.1/8 scope host lo\       valid_lft forever preferred_lft forever
2: lan    inet 10.0.0.2/24 brd 10.0.0.255 scope global lan\       valid_lft forever preferred_lft forever
";
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(text.lines().count(), 6);
    }

    #[test]
    fn brief_is_a_line_an_interface() {
        let (rows, mut out) = (rows(), Vec::new());
        rows.iter().try_for_each(|row| write_brief(&mut out, row)).unwrap();
        let expected = "\
lo               UNKNOWN        127.0.0.1/8 \n\
lan              DOWN           10.0.0.2/24 10.0.0.3/24 10.9.0.1/32 10.8.0.9/16 \
10.7.0.1 peer 10.7.0.2/32 \n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let expected = json!({
            "ifname": "lo", "operstate": "UNKNOWN",
            "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}],
        });
        assert_eq!(brief_json(&rows[0]), expected);
    }

    #[test]
    fn json_has_the_keys_of_ip() {
        let rows: Vec<Value> = rows().iter().map(|row| to_json(row, &[])).collect();
        assert_eq!(rows[0]["addr_info"][0].get("broadcast"), None);
        assert_eq!(
            rows[1],
            json!({
                "ifindex": 2, "ifname": "lan", "flags": ["BROADCAST", "MULTICAST"], "mtu": 1500,
                "qdisc": "noqueue", "operstate": "DOWN", "group": "default", "txqlen": 1000,
                "link_type": "ether",
                "address": "02:fc:00:00:00:01", "broadcast": "ff:ff:ff:ff:ff:ff",
                "ifalias": "packet:eth1",
                "addr_info": [
                    {"family": "inet", "local": "10.0.0.2", "prefixlen": 24,
                     "broadcast": "10.0.0.255", "scope": "global", "label": "lan",
                     "valid_life_time": 4294967295u32, "preferred_life_time": 4294967295u32},
                    {"family": "inet", "local": "10.0.0.3", "prefixlen": 24,
                     "broadcast": "10.0.0.255", "scope": "global", "label": "lan",
                     "secondary": true, "tentative": true,
                     "valid_life_time": 4294967295u32, "preferred_life_time": 4294967295u32},
                    {"family": "inet", "local": "10.9.0.1", "prefixlen": 32,
                     "scope": "global", "label": "lan", "dadfailed": true,
                     "valid_life_time": 4294967295u32, "preferred_life_time": 4294967295u32},
                    {"family": "inet", "local": "10.8.0.9", "prefixlen": 16,
                     "broadcast": "10.8.255.255", "scope": "global", "label": "lan",
                     "dynamic": true, "valid_life_time": 3599, "preferred_life_time": 99},
                    {"family": "inet", "local": "10.7.0.1", "address": "10.7.0.2", "prefixlen": 32,
                     "scope": "link", "label": "lan:1", "deprecated": true,
                     "valid_life_time": 4294967295u32, "preferred_life_time": 0},
                ],
            })
        );
    }
}
