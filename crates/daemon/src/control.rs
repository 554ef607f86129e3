//! What the operator asks: reports, ping, and the daemon's end.

use crate::quota::Usage;
use crate::{
    anchor::datagram::interface_number, change, cut_through, flows, identity, inspecting, options,
    ping::Echo, principal::Principal, route, rule, sandbox, session::Outcome, worker::Worker,
    zones,
};
use mio::Token;
use narrows_ipc::{
    Answer, Error, Reply, Request,
    codec::{self, MAX_PACKET},
    conntrack::FlowFilter,
    message::{
        AddressRow, BillRow, DropRow, GroupRow, LinkRow, NeighborRow, NeighborUsage, Page,
        SocketRow, Statistics,
    },
};
use narrows_policy::Protocol;
use narrows_stack::{
    Instant, InterfaceId, SocketId,
    counters::Counters,
    counters::DropReason,
    request::{SocketInfo, SocketKind},
    table::{
        conflict::Unusable, interface::Interface, membership::ALL_SYSTEMS, neighbor::NeighborState,
    },
};
use narrows_wire::address::{MacAddr, Prefix};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

mod links;
pub(crate) mod losses;
mod policy;
mod who_has;

/// Bytes of rows in one reply: a packet, with room for what is around them.
pub(crate) const PAGE: usize = MAX_PACKET - 64;

pub(crate) fn answer(worker: &mut Worker, token: Token, request: Request) -> Outcome {
    if tells_of_others(&request)
        && let Err(error) = may_inspect(worker, token)
    {
        return Outcome::Answer(Err(error));
    }
    Outcome::Answer(match request {
        Request::Sockets { after } => {
            if after == 0 {
                cut_through::look_before_report(worker);
            }
            Ok(sockets(worker, after))
        }
        Request::Statistics => Ok(Reply::Statistics(statistics(worker))),
        Request::Bills { after } => Ok(Reply::Bills(page(bills(worker).into_iter(), after))),
        Request::Losses { after } => {
            Ok(Reply::Losses(page(losses::report(worker).into_iter(), after)))
        }
        Request::Links { after } => Ok(Reply::Links(page(links(worker), after))),
        Request::Bonds { after } => Ok(Reply::Bonds(page(links::bonds(worker), after))),
        Request::Ports { after } => Ok(Reply::Ports(page(links::ports(worker), after))),
        Request::Fdb { after } => Ok(Reply::Fdb(page(links::stations(worker), after))),
        Request::Routes { table, after } => Ok(route::report(worker, table, after)),
        Request::Rules { after } => Ok(Reply::Rules(page(rule::report(worker), after))),
        Request::Route(question) => route::answer(worker, &question).map(Reply::Route),
        Request::Groups { after } => Ok(Reply::Groups(page(groups(worker), after))),
        Request::WhoHas { frame, after } => {
            who_has::takers(worker, &frame).map(|rows| Reply::Takers(page(rows.into_iter(), after)))
        }
        Request::DropReasons => {
            let names = DropReason::ALL.iter().map(|reason| reason.describe().0.to_owned());
            Ok(Reply::Names(names.collect()))
        }
        Request::Flows { after } => match flows::check(worker) {
            Ok(()) => Ok(Reply::Flows(page(flows::report(worker), after))),
            Err(refusal) => Ok(refusal),
        },
        Request::Inspectors { after } => {
            Ok(Reply::Inspectors(page(inspecting::report(worker).into_iter(), after)))
        }
        Request::FlowNews { after } => flows::news(worker, after),
        Request::FlushFlows(filter) => flush_flows(worker, token, &filter),
        Request::Zones { after } => Ok(Reply::Zones(page(zones::report(worker), after))),
        Request::Neighbors { after } => Ok(Reply::Neighbors(page(neighbors(worker), after))),
        Request::Policy { after } => Ok(policy::report(&worker.authority.policy, after)),
        Request::Forbidden { after } => {
            let declared = worker.source.configuration.forbidden.iter().cloned();
            Ok(Reply::Forbidden(page(declared, after)))
        }
        Request::Decide(question) => policy::decide(worker, token, &question),
        Request::Ping { destination, sequence, payload_len, timeout } => {
            let echo = Echo { destination, sequence, payload_len, timeout };
            match ping(worker, token, echo) {
                Ok(()) => return Outcome::Pending,
                Err(error) => Err(error),
            }
        }
        Request::Kill { local, remote } => kill(worker, token, local, remote),
        Request::Change(change) => in_force(worker, |worker| change::apply(worker, token, change)),
        Request::Reload => in_force(worker, |worker| reload(worker, token)),
        Request::Stop => stop(worker, token),
        _ => Err(Error::BadMessage),
    })
}

/// What everybody does, or may do. Interfaces, addresses and routes every program needs to know.
fn tells_of_others(request: &Request) -> bool {
    match request {
        Request::Sockets { .. }
        | Request::Statistics
        | Request::Losses { .. }
        | Request::Fdb { .. }
        | Request::Neighbors { .. }
        | Request::Groups { .. }
        | Request::WhoHas { .. }
        | Request::Flows { .. }
        | Request::Inspectors { .. }
        | Request::FlowNews { .. }
        | Request::Policy { .. }
        | Request::Forbidden { .. } => true,
        Request::Decide(question) => question.subject.is_some(),
        _ => false,
    }
}

fn may_inspect(worker: &mut Worker, token: Token) -> Result<(), Error> {
    let session = worker.sessions.get_mut(token).ok_or(Error::BadMessage)?;
    worker.authority.inspect(&session.principal)
}

fn ping(worker: &mut Worker, token: Token, echo: Echo) -> Result<(), Error> {
    let session = worker.sessions.get_mut(token).ok_or(Error::BadMessage)?;
    let remote = SocketAddr::new(echo.destination.into(), 0);
    worker.authority.connect(&worker.shard, &session.principal, Protocol::Icmp, remote)?;
    let principal = session.principal.of_engine();
    worker.pings.send(&mut worker.shard, &worker.clock, token, principal, echo)
}

/// Makes a change; whom it puts out is out before the administrator reads that it is made.
fn in_force(worker: &mut Worker, change: impl FnOnce(&mut Worker) -> Answer) -> Answer {
    let answer = change(worker);
    worker.note_events();
    answer
}

fn reload(worker: &mut Worker, token: Token) -> Answer {
    let session = worker.sessions.get_mut(token).ok_or(Error::BadMessage)?;
    worker.authority.administer(&session.principal)?;
    let pid = session.principal.pid;
    Ok(match crate::reload::reload(worker) {
        Ok(changes) => {
            tracing::info!(pid, changes = changes.join("; "), "reloaded");
            Reply::Reloaded(changes)
        }
        Err(error) => {
            tracing::warn!(pid, "not reloaded: {error:#}");
            Reply::Refused(format!("{error:#}"))
        }
    })
}

fn kill(worker: &mut Worker, token: Token, local: SocketAddr, remote: SocketAddr) -> Answer {
    let session = worker.sessions.get_mut(token).ok_or(Error::BadMessage)?;
    worker.authority.administer(&session.principal)?;
    let pid = session.principal.pid;
    cut_through::kill(worker, local, remote)?;
    tracing::info!(pid, %local, %remote, "asked to end a connection");
    Ok(Reply::Done)
}

fn flush_flows(worker: &mut Worker, token: Token, filter: &FlowFilter) -> Answer {
    let session = worker.sessions.get_mut(token).ok_or(Error::BadMessage)?;
    worker.authority.administer(&session.principal)?;
    tracing::info!(pid = session.principal.pid, "asked to forget flows");
    flows::flush(worker, filter)
}

fn stop(worker: &mut Worker, token: Token) -> Answer {
    let session = worker.sessions.get_mut(token).ok_or(Error::BadMessage)?;
    worker.authority.administer(&session.principal)?;
    tracing::info!(pid = session.principal.pid, "asked to stop");
    worker.stopping = true;
    Ok(Reply::Done)
}

/// As many as fit into one reply, after so many.
fn page<T: serde::Serialize>(all: impl Iterator<Item = T>, after: u32) -> Page<T> {
    let mut rest = all.skip(usize::try_from(after).unwrap_or(usize::MAX)).peekable();
    let (mut rows, mut left) = (Vec::new(), PAGE);
    while let Some(row) = rest.peek() {
        let Some(fewer) = left.checked_sub(codec::encoded_len(row)) else { break };
        left = fewer;
        rows.extend(rest.next());
    }
    Page { rows, more: rest.peek().is_some() }
}

/// Rows are numbered by their place in the engine's report.
fn sockets(worker: &Worker, after: u64) -> Reply {
    let now = worker.clock.now();
    let skip = usize::try_from(after).unwrap_or(usize::MAX);
    let numbered = (after.saturating_add(1)..).zip(worker.shard.sockets(now).skip(skip));
    let Page { rows, more } = page(numbered.map(|(id, info)| socket_row(worker, id, &info)), 0);
    Reply::Sockets { rows, more }
}

fn socket_row(worker: &Worker, id: u64, info: &SocketInfo) -> SocketRow {
    let owner = info.id.and_then(|socket| owner(worker, socket));
    let peer = info.id.and_then(|socket| identity::of_peer(worker, socket));
    let protocol = match info.kind {
        SocketKind::Tcp => "tcp",
        SocketKind::Udp => "udp",
        SocketKind::Ping => "icmp",
        SocketKind::Packet => "p_raw",
        SocketKind::Raw => "raw",
    };
    SocketRow {
        id,
        protocol: protocol.into(),
        local: info.local,
        remote: info.remote,
        state: options::tcp_state(info.state),
        receive_queue: info.receive_queue as u64,
        send_queue: info.send_queue as u64,
        lost: info.lost,
        owner: owner.map(|principal| principal.report()),
        cut_through: info.id.is_some_and(|socket| worker.cuts.end(socket).is_some()),
        peer: peer.map(|peer| peer.report()),
        tcp: info.tcp.as_ref().map(|_| Box::new(options::tcp_info(info))),
    }
}

/// Every user's bill, with what the engine knows of him.
fn bills(worker: &Worker) -> Vec<BillRow> {
    let mut usage = HashMap::<u32, Usage>::new();
    for info in worker.shard.sockets(worker.clock.now()) {
        let anchor = info.id.and_then(|socket| worker.anchors.get(socket));
        if let Some(anchor) = anchor {
            usage.entry(anchor.principal.uid).or_default().queued +=
                (info.receive_queue + info.send_queue) as u64;
        }
    }
    for (user, holding) in worker.shard.holdings() {
        usage.entry(user).or_default().memory = holding.bytes as u64;
    }
    for (_, place, count) in worker.shard.counters().drops_by_place() {
        if let Some(user) = place.user {
            usage.entry(user).or_default().drops += count;
        }
    }
    worker.bills.rows(|user| usage.get(&user).copied().unwrap_or_default())
}

/// Which principal's program has the socket.
pub(crate) fn owner(worker: &Worker, socket: SocketId) -> Option<&Principal> {
    let anchor = worker.anchors.get(socket).map(|anchor| &*anchor.principal);
    anchor.or_else(|| worker.cuts.end(socket).map(|end| &*end.principal))
}

fn statistics(worker: &mut Worker) -> Statistics {
    let lost = device_drops(worker);
    let counters = worker.shard.counters();
    let mut rows: Vec<_> = engine_rows(counters).into();
    rows.push(("buffered-bytes", worker.shard.buffered_bytes() as u64));
    rows.push(("daemon-sessions", worker.sessions.len() as u64));
    rows.push(("daemon-anchors", worker.anchors.len() as u64));
    rows.push(("daemon-cut-through", worker.cuts.len() as u64));
    rows.extend(inspecting::totals(worker));
    rows.extend(worker.metrics.rows());
    let drops = counters.drops().map(|(reason, count)| {
        let (name, meaning) = reason.describe();
        DropRow { name: name.into(), meaning: meaning.into(), count }
    });
    Statistics {
        counters: rows.into_iter().map(|(name, value)| (name.into(), value)).collect(),
        drops: drops.chain(lost).chain(worker.authority.refused()).collect(),
        confinement: sandbox::report(worker.landlock),
    }
}

/// What devices lost before the engine saw it, or after.
fn device_drops(worker: &mut Worker) -> Vec<DropRow> {
    let rows = worker.attachments.iter_mut().flat_map(|each| each.device.statistics().describe());
    let mut total = Vec::<DropRow>::new();
    for (name, meaning, count) in rows.filter(|(_, _, count)| *count > 0) {
        match total.iter_mut().find(|row| row.name == name) {
            Some(row) => row.count += count,
            None => total.push(DropRow { name: name.into(), meaning: meaning.into(), count }),
        }
    }
    total
}

fn engine_rows(counters: &Counters) -> [(&'static str, u64); 15] {
    [
        ("frames-received", counters.frames_received),
        ("frames-merged", counters.frames_merged),
        ("frames-sent", counters.frames_sent),
        ("bytes-received", counters.bytes_received),
        ("bytes-sent", counters.bytes_sent),
        ("packets-forwarded", counters.packets_forwarded),
        ("tcp-segments-received", counters.tcp_segments_received),
        ("tcp-segments-sent", counters.tcp_segments_sent),
        ("tcp-retransmissions", counters.tcp_retransmissions),
        ("tcp-connections-opened", counters.tcp_connections_opened),
        ("tcp-connections-accepted", counters.tcp_connections_accepted),
        ("tcp-resets-sent", counters.tcp_resets_sent),
        ("tcp-syn-cookies-sent", counters.tcp_syn_cookies_sent),
        ("tcp-syn-cookies-answered", counters.tcp_syn_cookies_answered),
        ("tcp-syn-cookies-refused", counters.tcp_syn_cookies_refused),
    ]
}

fn links(worker: &Worker) -> impl Iterator<Item = LinkRow> {
    worker.shard.interfaces().map(|(id, interface)| {
        let attachment = worker.attachments.iter().find(|attachment| attachment.interface == id);
        let settings = &interface.settings;
        LinkRow {
            id: interface_number(id),
            name: settings.name.clone(),
            device: links::describe(worker, id),
            mac: settings.mac.0,
            mtu: settings.mtu.into(),
            addresses: addresses(worker, id, interface),
            up: attachment.is_none_or(|attachment| attachment.is_up())
                && worker.shard.links().is_running(id),
            state: links::state(worker, id),
        }
    })
}

fn addresses(worker: &Worker, id: InterfaceId, interface: &Interface) -> Vec<AddressRow> {
    let now = worker.clock.now();
    let left = |until: Instant| u32::try_from(until.since(now).as_secs()).unwrap_or(u32::MAX);
    let row = |prefix: Prefix| {
        let facts = match prefix.address() {
            IpAddr::V4(address) => interface.facts.get(&address),
            IpAddr::V6(_) => None,
        };
        let lease = worker.shard.lease(id).filter(|lease| lease.prefix == prefix);
        let leased = lease.map(|lease| left(lease.expires));
        AddressRow {
            address: prefix.address(),
            length: prefix.length(),
            secondary: false,
            tentative: false,
            conflict: false,
            label: facts.and_then(|facts| facts.label.clone()),
            scope: facts.and_then(|facts| facts.scope).map(route::scope_row),
            peer: facts.and_then(|facts| facts.peer).map(|peer| (peer.address(), peer.length())),
            valid: facts.and_then(|facts| facts.valid_until).map(left).or(leased),
            preferred: facts.and_then(|facts| facts.preferred_until).map(left).or(leased),
        }
    };
    let usable = interface
        .addresses
        .iter()
        .map(|prefix| AddressRow { secondary: interface.is_secondary(*prefix), ..row(*prefix) });
    let unusable = worker.shard.unusable_addresses(id).map(|(prefix, why)| AddressRow {
        tentative: why == Unusable::Tentative,
        conflict: why == Unusable::Conflict,
        ..row(prefix)
    });
    usable.chain(unusable).collect()
}

fn neighbors(worker: &Worker) -> impl Iterator<Item = NeighborRow> {
    let now = worker.clock.now();
    let age = move |then| now.since(then).as_secs();
    let entries = worker.shard.neighbors().map(move |neighbor| NeighborRow {
        address: neighbor.address,
        interface: interface_name(worker, neighbor.interface),
        mac: neighbor.mac.map(|mac| mac.0),
        state: match neighbor.state {
            NeighborState::Incomplete => "INCOMPLETE",
            NeighborState::Reachable => "REACHABLE",
            NeighborState::Stale => "STALE",
            NeighborState::Failed => "FAILED",
            NeighborState::Delay => "DELAY",
            NeighborState::Probe => "PROBE",
            NeighborState::Permanent => "PERMANENT",
            NeighborState::NoArp => "NOARP",
        }
        .into(),
        proxy: false,
        usage: NeighborUsage {
            used: age(neighbor.used),
            confirmed: age(neighbor.confirmed),
            updated: age(neighbor.updated),
            probes: neighbor.probes,
        },
    });
    let proxies = worker.shard.interfaces().flat_map(|(_, interface)| {
        interface.proxied.iter().map(|address| NeighborRow {
            address: (*address).into(),
            interface: interface.settings.name.clone(),
            mac: None,
            state: String::new(),
            proxy: true,
            usage: NeighborUsage::default(),
        })
    });
    entries.chain(proxies)
}

/// Every interface is in the group of all systems without having been asked.
fn groups(worker: &Worker) -> impl Iterator<Item = GroupRow> {
    worker.shard.interfaces().flat_map(move |(id, interface)| {
        let row = move |group, users| GroupRow {
            id: interface_number(id),
            interface: interface.settings.name.clone(),
            group: Some(IpAddr::V4(group)),
            mac: MacAddr::of_group(group).0,
            users,
        };
        let joined = worker.shard.groups(id).filter(|(group, ..)| *group != ALL_SYSTEMS);
        let joined = joined
            .map(move |(group, users, _)| row(group, u32::try_from(users).unwrap_or(u32::MAX)));
        let stations = interface.multicast.iter().map(move |mac| GroupRow {
            group: None,
            mac: mac.0,
            ..row(ALL_SYSTEMS, 1)
        });
        joined.chain([row(ALL_SYSTEMS, 1)]).chain(stations)
    })
}

pub(crate) fn interface_name(worker: &Worker, id: InterfaceId) -> String {
    let found = worker.shard.interfaces().find(|(other, _)| *other == id);
    found.map(|(_, interface)| interface.settings.name.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
