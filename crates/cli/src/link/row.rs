//! What `ip link` and `ip address` say of an interface alike.

use crate::report::Mac;
use narrows_ipc::{link::LinkKind, message::LinkRow};
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    io::{self, Write},
};

/// Has no station address: the stack's own loopback.
pub fn is_loopback(link: &LinkRow) -> bool {
    link.mac == [0; 6]
}

/// In the order of ip(8). `all`: the interfaces among which its master is.
pub fn flags(link: &LinkRow, all: &[LinkRow]) -> Vec<&'static str> {
    let state = &link.state;
    let in_bond = state.master.as_ref().is_some_and(|master| {
        all.iter().any(|other| other.name == *master && other.state.kind == LinkKind::Bond)
    });
    let loopback = is_loopback(link);
    [
        ("NO-CARRIER", state.up && !state.running),
        ("LOOPBACK", loopback),
        ("BROADCAST", !loopback),
        ("MULTICAST", !loopback),
        ("PROMISC", state.promiscuous),
        ("MASTER", state.kind == LinkKind::Bond),
        ("SLAVE", in_bond),
        ("UP", state.up),
        ("LOWER_UP", state.up && state.running),
    ]
    .into_iter()
    .filter(|(_, set)| *set)
    .map(|(flag, _)| flag)
    .collect()
}

/// RFC 2863's ifOperStatus.
pub fn state(link: &LinkRow) -> &'static str {
    let state = &link.state;
    match &state.kind {
        _ if is_loopback(link) => "UNKNOWN",
        _ if state.up && state.running => "UP",
        LinkKind::Vlan { .. } if state.up => "LOWERLAYERDOWN",
        _ => "DOWN",
    }
}

pub fn link_type(link: &LinkRow) -> (&'static str, Mac) {
    if is_loopback(link) { ("loopback", Mac([0; 6])) } else { ("ether", Mac([0xff; 6])) }
}

/// `NAME`, or `NAME@LOWER` for a VLAN.
pub fn name(link: &LinkRow) -> Cow<'_, str> {
    match &link.state.kind {
        LinkKind::Vlan { lower, .. } => format!("{}@{lower}", link.name).into(),
        _ => (&*link.name).into(),
    }
}

pub fn master(link: &LinkRow) -> Option<&str> {
    link.state.master.as_deref()
}

pub fn group(link: &LinkRow) -> String {
    narrows_ipc::group::name(link.state.group)
}

/// A line an interface, as with ip(8)'s -brief.
pub fn write_brief(out: &mut dyn Write, link: &LinkRow, what: &str) -> io::Result<()> {
    writeln!(out, "{:<16} {:<14} {what}", name(link), state(link))
}

/// A line of its own, where it is not `public`.
pub fn write_zone(out: &mut dyn Write, link: &LinkRow) -> io::Result<()> {
    match &link.state.zone {
        Some(zone) => writeln!(out, "    zone {zone}"),
        None => Ok(()),
    }
}

/// What both reports have in JSON.
pub fn head_json(link: &LinkRow, all: &[LinkRow]) -> Value {
    let (kind, everyone) = link_type(link);
    let mut value = json!({
        "ifindex": link.id,
        "ifname": link.name,
        "flags": flags(link, all),
        "mtu": link.mtu,
        "qdisc": "noqueue",
        "operstate": state(link),
        "group": group(link),
        "txqlen": link.state.queue,
        "link_type": kind,
        "address": Mac(link.mac).to_string(),
        "broadcast": everyone.to_string(),
    });
    if let LinkKind::Vlan { lower, .. } = &link.state.kind {
        value["link"] = json!(lower);
    }
    if let Some(master) = master(link) {
        value["master"] = json!(master);
    }
    if let Some(zone) = &link.state.zone {
        value["zone"] = json!(zone);
    }
    value
}
