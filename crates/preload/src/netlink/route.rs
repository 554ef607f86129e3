//! `RTM_NEWROUTE`, `RTM_NEWRULE` and `RTM_NEWNEIGH`: the way packets go.

use super::message::{Message, attributes, byte, number};
use crate::host;
use narrows_client::ipc::{
    message::{LinkRow, NeighborRow, NeighborUsage},
    route::{
        HopRow, RouteAnswer, RouteKind, RouteQuestion, RouteRow, RouteScope, RuleAction, RuleRow,
    },
};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr};

/// `sizeof(struct rtmsg)`: family, lengths of both prefixes, TOS, table, protocol, scope, type, flags.
const RTMSG: usize = 12;
/// `sizeof(struct ndmsg)`.
const NDMSG: usize = 12;
/// From linux/rtnetlink.h, where the C library's headers lag.
const RTA_UID: u16 = 25;
const RTA_IP_PROTO: u16 = 27;
const RTA_SPORT: u16 = 28;
const RTA_DPORT: u16 = 29;
const RTNH_F_DEAD: u8 = 1;
const RTNH_F_ONLINK: u8 = 4;
/// `sizeof(struct rtnexthop)`: length, flags, hops, interface.
const NEXT_HOP: usize = 8;
/// `RTAX_MTU` inside `RTA_METRICS`.
const METRIC_MTU: u16 = 2;
/// `sizeof(struct rta_cacheinfo)`.
const CACHE_INFO: usize = 32;
const NTF_PROXY: u8 = 8;
/// From linux/fib_rules.h.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_IIFNAME: u16 = 3;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_OIFNAME: u16 = 17;
const FRA_UID_RANGE: u16 = 20;
const FIB_RULE_INVERT: u32 = 2;

const INET: u8 = libc::AF_INET as u8;

/// The table that a request for all routes is about, if about one.
pub fn table_asked(body: &[u8]) -> Option<u32> {
    let named = attributes(body, RTMSG).find(|(kind, _)| *kind == libc::RTA_TABLE);
    let table = named.map_or(byte(body, 4).into(), |(_, value)| number(value, 0));
    (table != 0).then_some(table)
}

/// What a request for one route asks.
pub fn question(links: &[LinkRow], body: &[u8]) -> Result<RouteQuestion, Errno> {
    if !matches!(byte(body, 0), 0 | INET) {
        return Err(Errno::OPNOTSUPP);
    }
    let mut question = RouteQuestion::default();
    let interface =
        |value: &[u8]| host::name_of(links, number(value, 0)).map(Some).ok_or(Errno::NODEV);
    let address = |value: &[u8]| {
        let bytes: Option<&[u8; 4]> = value.first_chunk();
        bytes.map(|bytes| Some(IpAddr::from(*bytes))).ok_or(Errno::INVAL)
    };
    let port = |value: &[u8]| u16::from_be_bytes([byte(value, 0), byte(value, 1)]);
    for (kind, value) in attributes(body, RTMSG) {
        match kind {
            libc::RTA_DST => question.destination = address(value)?,
            libc::RTA_SRC => question.source = address(value)?,
            libc::RTA_IIF => question.input = interface(value)?,
            libc::RTA_OIF => question.output = interface(value)?,
            libc::RTA_MARK => question.mark = number(value, 0),
            RTA_UID => question.user = number(value, 0),
            RTA_IP_PROTO => question.transport.0 = byte(value, 0),
            RTA_SPORT => question.transport.1 = port(value),
            RTA_DPORT => question.transport.2 = port(value),
            _ => {}
        }
    }
    question.destination.is_some().then_some(question).ok_or(Errno::INVAL)
}

/// `struct rtmsg`, and the table, whose number may not fit in there.
fn route(table: u32, kind: RouteKind, rest: [u8; 3], flags: u32, length: u8) -> Message {
    let [source_length, protocol, scope] = rest;
    // RT_TABLE_COMPAT says that there is more to the number.
    let short = u8::try_from(table).unwrap_or(252);
    let mut body = [0; RTMSG];
    body[..8].copy_from_slice(&[
        INET,
        length,
        source_length,
        0,
        short,
        protocol,
        scope,
        route_type(kind),
    ]);
    body[8..].copy_from_slice(&flags.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWROUTE, &body);
    message.number(libc::RTA_TABLE, table);
    message
}

fn route_type(kind: RouteKind) -> u8 {
    match kind {
        RouteKind::Unicast => libc::RTN_UNICAST,
        RouteKind::Local => libc::RTN_LOCAL,
        RouteKind::Broadcast => libc::RTN_BROADCAST,
        RouteKind::Blackhole => libc::RTN_BLACKHOLE,
        RouteKind::Unreachable => libc::RTN_UNREACHABLE,
        RouteKind::Prohibit => libc::RTN_PROHIBIT,
        RouteKind::Throw => libc::RTN_THROW,
    }
}

/// What a dump of routes has of each.
pub fn row(row: &RouteRow, links: &[LinkRow]) -> Option<Message> {
    let (IpAddr::V4(to), length) = row.to else { return None };
    let scope = match row.scope {
        RouteScope::Global => libc::RT_SCOPE_UNIVERSE,
        RouteScope::Link => libc::RT_SCOPE_LINK,
        RouteScope::Host => libc::RT_SCOPE_HOST,
    };
    let only = match &*row.hops {
        [only] => Some(only),
        _ => None,
    };
    let flags = only.map_or(0, hop_flags);
    let mut message = route(row.table, row.kind, [0, row.protocol, scope], flags.into(), length);
    if length > 0 {
        message.attribute(libc::RTA_DST, &to.octets());
    }
    if row.metric > 0 {
        message.number(libc::RTA_PRIORITY, row.metric);
    }
    if let Some(source) = row.source {
        address(&mut message, libc::RTA_PREFSRC, source);
    }
    match only {
        Some(hop) => {
            if let Some(via) = hop.via {
                address(&mut message, libc::RTA_GATEWAY, via);
            }
            message.number(libc::RTA_OIF, interface(hop, links));
        }
        None if row.hops.is_empty() => {}
        None => message.nested(libc::RTA_MULTIPATH, |all| {
            row.hops.iter().for_each(|each| next_hop(all, each, links));
        }),
    }
    Some(message)
}

fn interface(hop: &HopRow, links: &[LinkRow]) -> u32 {
    hop.interface.as_ref().map_or(0, |name| host::index_of(links, name))
}

fn hop_flags(hop: &HopRow) -> u8 {
    let dead = if hop.dead { RTNH_F_DEAD } else { 0 };
    dead | if hop.on_link { RTNH_F_ONLINK } else { 0 }
}

/// `struct rtnexthop` with a gateway behind it.
fn next_hop(message: &mut Message, hop: &HopRow, links: &[LinkRow]) {
    let gateway = match hop.via {
        Some(IpAddr::V4(via)) => {
            let [l0, l1] = 8_u16.to_ne_bytes();
            let [k0, k1] = libc::RTA_GATEWAY.to_ne_bytes();
            [&[l0, l1, k0, k1][..], &via.octets()].concat()
        }
        _ => Vec::new(),
    };
    let len = u16::try_from(NEXT_HOP + gateway.len()).unwrap_or(u16::MAX);
    let [l0, l1] = len.to_ne_bytes();
    let weight = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    message.raw(&[l0, l1, hop_flags(hop), weight]);
    message.raw(&interface(hop, links).to_ne_bytes());
    message.raw(&gateway);
}

fn address(message: &mut Message, kind: u16, address: IpAddr) {
    if let IpAddr::V4(address) = address {
        message.attribute(kind, &address.octets());
    }
}

/// What a request for one route is answered with.
pub fn answer(question: &RouteQuestion, answer: &RouteAnswer, links: &[LinkRow]) -> Message {
    let source_length = if question.source.is_some() { 32 } else { 0 };
    let rest = [source_length, 0, libc::RT_SCOPE_UNIVERSE];
    let mut message = route(answer.table, answer.kind, rest, libc::RTM_F_CLONED, 32);
    let destination = question.destination.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    address(&mut message, libc::RTA_DST, destination);
    if let Some(source) = question.source {
        address(&mut message, libc::RTA_SRC, source);
    }
    if let Some(via) = answer.via {
        address(&mut message, libc::RTA_GATEWAY, via);
    }
    message.number(libc::RTA_OIF, host::index_of(links, &answer.interface));
    if let Some(source) = answer.source.filter(|_| question.source.is_none()) {
        address(&mut message, libc::RTA_PREFSRC, source);
    }
    if let Some(input) = &question.input {
        message.number(libc::RTA_IIF, host::index_of(links, input));
    }
    if question.mark != 0 {
        message.number(libc::RTA_MARK, question.mark);
    }
    message.number(RTA_UID, question.user);
    if let Some(mtu) = answer.mtu {
        message.nested(libc::RTA_METRICS, |metrics| metrics.number(METRIC_MTU, mtu.into()));
    }
    message.attribute(libc::RTA_CACHEINFO, &[0; CACHE_INFO]);
    message
}

/// What a dump of neighbors has of this one, if it is about such.
pub fn neighbor(row: &NeighborRow, body: &[u8], links: &[LinkRow]) -> Option<Message> {
    let IpAddr::V4(own) = row.address else { return None };
    let index = host::index_of(links, &row.interface);
    let asked = number(body, 4);
    let wants_proxies = byte(body, 10) & NTF_PROXY != 0;
    if row.proxy != wants_proxies || asked != 0 && asked != index {
        return None;
    }
    // NUD_…, of linux/neighbour.h.
    let state: u16 = match &*row.state {
        "INCOMPLETE" => 0x01,
        "REACHABLE" => 0x02,
        "STALE" => 0x04,
        "DELAY" => 0x08,
        "PROBE" => 0x10,
        "FAILED" => 0x20,
        "NOARP" => 0x40,
        "PERMANENT" => 0x80,
        _ => 0,
    };
    let mut ndmsg = [0; NDMSG];
    ndmsg[0] = INET;
    ndmsg[4..8].copy_from_slice(&index.to_ne_bytes());
    ndmsg[8..10].copy_from_slice(&state.to_ne_bytes());
    ndmsg[10..].copy_from_slice(&[if row.proxy { NTF_PROXY } else { 0 }, libc::RTN_UNICAST]);
    let mut message = Message::new(libc::RTM_NEWNEIGH, &ndmsg);
    message.attribute(libc::NDA_DST, &own.octets());
    if let Some(mac) = row.mac {
        message.attribute(libc::NDA_LLADDR, &mac);
    }
    if !row.proxy {
        // struct nda_cacheinfo: three ages in hundredths of seconds, and no references.
        let NeighborUsage { used, confirmed, updated, probes } = row.usage;
        let hundredths =
            |seconds: u64| u32::try_from(seconds.saturating_mul(100)).unwrap_or(u32::MAX);
        let ages = [confirmed, used, updated].map(hundredths);
        let fields = [ages[0], ages[1], ages[2], 0].map(u32::to_ne_bytes);
        message.attribute(libc::NDA_CACHEINFO, fields.as_flattened());
        message.number(libc::NDA_PROBES, probes.into());
    }
    Some(message)
}

/// What a dump of rules has of each.
pub fn rule(row: &RuleRow) -> Option<Message> {
    let selector = &row.selector;
    let v4 = |network: Option<(IpAddr, u8)>| match network {
        Some((IpAddr::V4(address), length)) => Some((address, length)),
        _ => None,
    };
    let (from, to) = (v4(selector.from), v4(selector.to));
    // FR_ACT_…, of linux/fib_rules.h.
    let (action, table, target) = match row.action? {
        RuleAction::Lookup(table) => (1, table, None),
        RuleAction::Goto(preference) => (2, 0, Some(preference)),
        RuleAction::Blackhole => (6, 0, None),
        RuleAction::Unreachable => (7, 0, None),
        RuleAction::Prohibit => (8, 0, None),
    };
    let flags = if selector.not { FIB_RULE_INVERT } else { 0 };
    let length = |network: Option<(Ipv4Addr, u8)>| network.map_or(0, |(_, length)| length);
    let short = u8::try_from(table).unwrap_or(252);
    let mut body = [0; RTMSG];
    body[..8].copy_from_slice(&[INET, length(to), length(from), 0, short, 0, 0, action]);
    body[8..].copy_from_slice(&flags.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWRULE, &body);
    message.number(FRA_TABLE, table);
    message.number(FRA_PRIORITY, row.preference.unwrap_or(0));
    for (kind, network) in [(FRA_DST, to), (FRA_SRC, from)] {
        if let Some((network, _)) = network {
            message.attribute(kind, &network.octets());
        }
    }
    for (kind, name) in [(FRA_IIFNAME, &selector.input), (FRA_OIFNAME, &selector.output)] {
        if let Some(name) = name {
            message.text(kind, name);
        }
    }
    if let Some((value, mask)) = selector.mark {
        message.number(FRA_FWMARK, value);
        message.number(FRA_FWMASK, mask);
    }
    if let Some((first, last)) = selector.users {
        message.attribute(FRA_UID_RANGE, &[first, last].map(u32::to_ne_bytes).concat());
    }
    if let Some(target) = target {
        message.number(FRA_GOTO, target);
    }
    Some(message)
}
