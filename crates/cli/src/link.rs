//! `narrows link`: interfaces and what they stand upon, printed as `ip link` and `ip -j link` do, and
//! made and changed in its words.

mod change;
mod filter;
pub mod row;
mod traffic;

pub use change::station;

use crate::{
    arguments::LinkQuery,
    report::{self, Mac},
    words::Words,
};
use anyhow::Result;
use filter::Filter;
use narrows_client::Stack;
use narrows_ipc::{
    link::{ArpState, LinkKind, RoutingState},
    message::LinkRow,
};
use serde_json::{Value, json};
use std::io::{self, Write};

const COMMANDS: [&str; 4] = ["show", "add", "set", "delete"];

pub fn execute(query: &LinkQuery, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (command, words) = Words::new("link", &query.words, &COMMANDS)?;
    match command {
        "add" => change::add(words, stack),
        "set" => change::set(words, stack),
        "delete" => change::delete(words, stack),
        _ => show(query, words, stack, out),
    }
}

fn show(query: &LinkQuery, words: Words<'_>, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let filter = Filter::read(words)?;
    let all = stack.links()?;
    if let Some(name) = &filter.device
        && !all.iter().any(|link| link.name == *name)
    {
        return Err(report::no_such_device(name));
    }
    let shown: Vec<_> = all.iter().filter(|link| filter.takes(link)).collect();
    if query.json {
        let rows = shown.iter().map(|link| {
            if query.brief {
                return brief_json(link, &all);
            }
            let mut value = to_json(link, &all, query.details);
            if query.statistics {
                value["stats64"] = traffic::to_json(&link.state.traffic);
            }
            value
        });
        report::write_json(out, &rows.collect())?;
    } else if query.brief {
        shown.iter().try_for_each(|link| write_brief(out, link, &all))?;
    } else {
        for link in &shown {
            report::record(out, query.oneline, |out| {
                write_link(out, link, &all, query.details)?;
                if query.statistics {
                    traffic::write(out, &link.state.traffic)?;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn write_brief(out: &mut dyn Write, link: &LinkRow, all: &[LinkRow]) -> io::Result<()> {
    let flags = row::flags(link, all).join(",");
    row::write_brief(out, link, &format!("{} <{flags}> ", Mac(link.mac)))
}

fn brief_json(link: &LinkRow, all: &[LinkRow]) -> Value {
    let mut value = json!({
        "ifname": link.name,
        "operstate": row::state(link),
        "address": Mac(link.mac).to_string(),
        "flags": row::flags(link, all),
    });
    if let LinkKind::Vlan { lower, .. } = &link.state.kind {
        value["link"] = json!(lower);
    }
    value
}

fn write_link(out: &mut dyn Write, link: &LinkRow, all: &[LinkRow], details: bool) -> Result<()> {
    let (kind, everyone) = row::link_type(link);
    let flags = row::flags(link, all).join(",");
    let master = row::master(link).map(|master| format!("master {master} ")).unwrap_or_default();
    let (id, name, mtu) = (link.id, row::name(link), link.mtu);
    let (state, group, queue) = (row::state(link), row::group(link), link.state.queue);
    writeln!(
        out,
        "{id}: {name}: <{flags}> mtu {mtu} qdisc noqueue {master}state {state} mode DEFAULT group \
         {group} qlen {queue}"
    )?;
    let promiscuity = if details {
        format!(" promiscuity {}", u8::from(link.state.promiscuous))
    } else {
        "".into()
    };
    writeln!(out, "    link/{kind} {} brd {everyone}{promiscuity}", Mac(link.mac))?;
    if details {
        match &link.state.kind {
            LinkKind::Vlan { protocol, id, .. } => {
                writeln!(out, "    vlan protocol {protocol} id {id} <REORDER_HDR>")?;
            }
            LinkKind::Bond => writeln!(out, "    bond")?,
            LinkKind::Bridge => writeln!(out, "    bridge")?,
            LinkKind::Private => writeln!(out, "    private")?,
            LinkKind::Loopback | LinkKind::Device(_) => {}
        }
        if !row::is_loopback(link) {
            let RoutingState { forward, host_model, reverse_path, redirects } = &link.state.routing;
            let word = |on: bool| if on { "on" } else { "off" };
            let (forward, redirects) = (word(*forward), word(*redirects));
            writeln!(
                out,
                "    forward {forward} host_model {host_model} reverse_path {reverse_path} \
                 redirects {redirects}"
            )?;
            let ArpState { ignore, announce, filter, accept, proxy, conflict_detection } =
                &link.state.arp;
            let (filter, accept, proxy) = (word(*filter), word(*accept), word(*proxy));
            writeln!(
                out,
                "    arp_ignore {ignore} arp_announce {announce} arp_filter {filter} \
                 arp_accept {accept} proxy_arp {proxy} conflict_detection {conflict_detection}"
            )?;
        }
    }
    if let LinkKind::Device(device) = &link.state.kind {
        writeln!(out, "    alias {device}")?;
    }
    row::write_zone(out, link)?;
    Ok(())
}

fn to_json(link: &LinkRow, all: &[LinkRow], details: bool) -> Value {
    let mut value = row::head_json(link, all);
    value["linkmode"] = json!("DEFAULT");
    if let LinkKind::Device(device) = &link.state.kind {
        value["ifalias"] = json!(device);
    }
    if !details {
        return value;
    }
    if !row::is_loopback(link) {
        let RoutingState { forward, host_model, reverse_path, redirects } = &link.state.routing;
        value["routing"] = json!({
            "forward": forward,
            "host_model": host_model,
            "reverse_path": reverse_path,
            "redirects": redirects,
        });
        let ArpState { ignore, announce, filter, accept, proxy, conflict_detection } =
            &link.state.arp;
        value["arp"] = json!({
            "arp_ignore": ignore,
            "arp_announce": announce,
            "arp_filter": filter,
            "arp_accept": accept,
            "proxy_arp": proxy,
            "conflict_detection": conflict_detection,
        });
    }
    value["promiscuity"] = json!(u8::from(link.state.promiscuous));
    let info = match &link.state.kind {
        LinkKind::Vlan { protocol, id, .. } => Some(json!({
            "info_kind": "vlan",
            "info_data": {"protocol": protocol, "id": id, "flags": ["REORDER_HDR"]},
        })),
        LinkKind::Bond => Some(json!({"info_kind": "bond"})),
        LinkKind::Bridge => Some(json!({"info_kind": "bridge"})),
        LinkKind::Private => Some(json!({"info_kind": "private"})),
        LinkKind::Loopback | LinkKind::Device(_) => None,
    };
    if let Some(info) = info {
        value["linkinfo"] = info;
    }
    value
}

#[cfg(test)]
pub(crate) mod tests;
