//! Tracked flows: reports of them, and forgetting them.

use crate::{control::PAGE, worker::Worker};
use narrows_ipc::{
    Answer, Error, Reply,
    codec::encoded_len,
    conntrack::{FlowChange, FlowFilter, FlowNews, FlowRow, TupleRow},
};
use narrows_stack::{
    Instant,
    conntrack::{Listed, Status, TcpState, Tuple, flow::Count, watch::Change},
};
use narrows_wire::ipv4::Protocol;
use std::time::Duration;

const OFF: &str = "flows are not tracked: a rule that asks for ct, a chain of type nat, or enabled = true in [conntrack] has them tracked";

/// Changes looked at for one reply; as many of them as fit are in it.
const CHANGES: usize = 1024;

pub(crate) fn report(worker: &Worker) -> impl Iterator<Item = FlowRow> {
    let now = worker.clock.now();
    let flows = worker.shard.conntrack().into_iter().flat_map(|table| table.list());
    flows.map(move |flow| row(&flow, now))
}

/// Why there are none at all.
pub(crate) fn check(worker: &Worker) -> Result<(), Reply> {
    match worker.shard.conntrack() {
        Some(_) => Ok(()),
        None => Err(Reply::Refused(OFF.to_owned())),
    }
}

fn row(flow: &Listed, now: Instant) -> FlowRow {
    let [first, _] = &flow.tuples;
    let tuple = |tuple: &Tuple| TupleRow {
        source: tuple.source,
        destination: tuple.destination,
        source_port: tuple.source_port,
        destination_port: tuple.destination_port,
        kind: tuple.kind,
    };
    FlowRow {
        id: flow.serial,
        protocol: first.protocol.0,
        tuples: flow.tuples.each_ref().map(tuple),
        state: flow.state.map(|state| state.name().to_owned()),
        status: flow.status.bits(),
        mark: flow.mark,
        counts: flow.counts.map(|count| (count.packets, count.bytes)),
        timeout: flow.expires.since(now).as_secs(),
    }
}

/// The flow that a report's row is about.
pub(crate) fn listed(row: &FlowRow, now: Instant) -> Listed {
    let tuple = |tuple: &TupleRow| Tuple {
        protocol: Protocol(row.protocol),
        source: tuple.source,
        destination: tuple.destination,
        source_port: tuple.source_port,
        destination_port: tuple.destination_port,
        kind: tuple.kind,
    };
    let named = |name: &String| TcpState::ALL.into_iter().find(|state| state.name() == name);
    Listed {
        serial: row.id,
        tuples: row.tuples.each_ref().map(tuple),
        state: row.state.as_ref().and_then(named),
        status: Status::from_bits_truncate(row.status),
        mark: row.mark,
        counts: row.counts.map(|(packets, bytes)| Count { packets, bytes }),
        expires: now + Duration::from_secs(row.timeout),
    }
}

/// Forgets the flows that fit; how many there were.
pub(crate) fn flush(worker: &mut Worker, filter: &FlowFilter) -> Answer {
    let now = worker.clock.now();
    let Some(table) = worker.shard.conntrack_mut() else {
        return Ok(Reply::Refused(OFF.to_owned()));
    };
    let fits = |listed: &Listed| filter.fits(&row(listed, now));
    let doomed: Vec<_> = table.list().filter(fits).map(|flow| flow.serial).collect();
    let doomed: std::collections::HashSet<_> = doomed.into_iter().collect();
    let count = table.flush(|flow| doomed.contains(&flow.serial()));
    u32::try_from(count).map(Reply::Count).map_err(|_| Error::BadMessage)
}

pub(crate) fn news(worker: &mut Worker, after: Option<u64>) -> Answer {
    let now = worker.clock.now();
    let Some(table) = worker.shard.conntrack_mut() else {
        return Ok(Reply::Refused(OFF.to_owned()));
    };
    let news = table.watch().since(now, after, CHANGES);
    let first = news.next - news.changes.len() as u64;
    let (mut changes, mut left) = (Vec::new(), PAGE);
    for (change, flow) in &news.changes {
        let change = match change {
            Change::New => FlowChange::New,
            Change::Update => FlowChange::Update,
            Change::Destroy => FlowChange::Destroy,
        };
        let entry = (change, row(flow, now));
        let Some(less) = left.checked_sub(encoded_len(&entry)) else { break };
        left = less;
        changes.push(entry);
    }
    let next = first + changes.len() as u64;
    Ok(Reply::FlowNews(FlowNews { changes, next, lost: news.lost }))
}
