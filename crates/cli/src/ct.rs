//! `narrows ct`: tracked flows, as conntrack(8) shows them.

use crate::{arguments::Ct, report};
use anyhow::{Context, Result, bail};
use narrows_client::Stack;
use narrows_ipc::conntrack::{FlowChange, FlowFilter, FlowNews, FlowRow, TupleRow};
use serde_json::{Map, Value, json};
use std::{io::Write, thread, time::Duration};

/// Between two questions of who watches: soon enough for a person.
const PAUSE: Duration = Duration::from_millis(200);

const PROTOCOLS: [(&str, u8); 4] = [("icmp", 1), ("tcp", 6), ("udp", 17), ("gre", 47)];

/// Bits of a flow's status.
const SEEN_REPLY: u32 = 1 << 1;
const ASSURED: u32 = 1 << 2;
const STATUS: [(&str, u32); 5] = [
    ("seen-reply", SEEN_REPLY),
    ("assured", ASSURED),
    ("confirmed", 1 << 3),
    ("snat", 1 << 4),
    ("dnat", 1 << 5),
];

pub fn execute(arguments: &Ct, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let filter = filter(arguments)?;
    match arguments.command.as_str() {
        "list" | "show" => {
            let rows: Vec<_> = stack.flows()?.into_iter().filter(|row| filter.fits(row)).collect();
            if arguments.json {
                report::write_json(out, &rows.iter().map(to_json).collect())?;
            } else {
                rows.iter().try_for_each(|row| {
                    writeln!(out, "{}", line(row, arguments.statistics, true))
                })?;
            }
        }
        "count" => {
            writeln!(out, "{}", stack.flows()?.iter().filter(|row| filter.fits(row)).count())?
        }
        "flush" => {
            let count = stack.flush_flows(&filter)?;
            writeln!(out, "{count} flow entries have been deleted.")?;
        }
        "watch" => return watch(arguments, &filter, stack, out),
        other => bail!("`ct {other}`: write one of list, count, flush, watch"),
    }
    Ok(())
}

fn filter(arguments: &Ct) -> Result<FlowFilter> {
    let protocol = match &arguments.protocol {
        None => None,
        Some(name) => {
            let known = PROTOCOLS.iter().find(|(own, _)| own == name).map(|(_, number)| *number);
            let number = known.or_else(|| name.parse().ok());
            Some(number.with_context(|| format!("`-p {name}`: write tcp, udp, icmp or a number"))?)
        }
    };
    let mark = match &arguments.mark {
        None => None,
        Some(word) => {
            let number = match word.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16).ok(),
                None => word.parse().ok(),
            };
            Some(number.with_context(|| format!("`-m {word}`: write a number such as 1 or 0x10"))?)
        }
    };
    Ok(FlowFilter {
        protocol,
        source: arguments.source,
        destination: arguments.destination,
        source_port: arguments.source_port,
        destination_port: arguments.destination_port,
        state: arguments.state.as_ref().map(|state| state.to_uppercase()),
        mark,
    })
}

/// What happens from now on.
fn watch(arguments: &Ct, filter: &FlowFilter, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let mut after = None;
    loop {
        let FlowNews { changes, next, lost } = stack.flow_news(after)?;
        if lost > 0 {
            eprintln!("narrows: {lost} changes came faster than they could be shown");
        }
        for (change, row) in changes.iter().filter(|(_, row)| filter.fits(row)) {
            let (tag, lives) = match change {
                FlowChange::New => ("[NEW]", true),
                FlowChange::Update => ("[UPDATE]", true),
                FlowChange::Destroy => ("[DESTROY]", false),
            };
            if arguments.json {
                let mut object = to_json(row);
                let name = tag.trim_matches(['[', ']']).to_lowercase();
                object.as_object_mut().map(|map| map.insert("event".into(), json!(name)));
                writeln!(out, "{object}")?;
            } else {
                writeln!(out, "{tag:>9} {}", line(row, arguments.statistics, lives))?;
            }
        }
        out.flush()?;
        after = Some(next);
        if changes.is_empty() {
            thread::sleep(PAUSE);
        }
    }
}

/// `lives`: with what time and state it has.
fn line(row: &FlowRow, statistics: bool, lives: bool) -> String {
    let name = PROTOCOLS.iter().find(|(_, number)| *number == row.protocol);
    let name = name.map_or("unknown", |(name, _)| name);
    let mut words = vec![format!("{name:<8} {}", row.protocol)];
    if lives {
        words.push(row.timeout.to_string());
        words.extend(row.state.clone());
    }
    let [original, reply] = &row.tuples;
    let [first, second] = row.counts;
    words.push(tuple(row.protocol, original));
    words.extend(statistics.then(|| format!("packets={} bytes={}", first.0, first.1)));
    if row.status & SEEN_REPLY == 0 {
        words.push("[UNREPLIED]".into());
    }
    words.push(tuple(row.protocol, reply));
    words.extend(statistics.then(|| format!("packets={} bytes={}", second.0, second.1)));
    if row.status & ASSURED != 0 {
        words.push("[ASSURED]".into());
    }
    if lives {
        words.push(format!("mark={} use=1", row.mark));
    }
    words.join(" ")
}

fn tuple(protocol: u8, tuple: &TupleRow) -> String {
    let addresses = format!("src={} dst={}", tuple.source, tuple.destination);
    match protocol {
        1 => format!("{addresses} type={} code=0 id={}", tuple.kind, tuple.source_port),
        6 | 17 => {
            format!("{addresses} sport={} dport={}", tuple.source_port, tuple.destination_port)
        }
        _ => addresses,
    }
}

fn to_json(row: &FlowRow) -> Value {
    let name = PROTOCOLS.iter().find(|(_, number)| *number == row.protocol);
    let status: Vec<_> =
        STATUS.iter().filter(|(_, bit)| row.status & bit != 0).map(|(name, _)| *name).collect();
    let [original, reply] = &row.tuples;
    let [first, second] = row.counts;
    let direction = |tuple: &TupleRow, (packets, bytes): (u64, u64)| {
        let mut map = Map::new();
        map.insert("src".into(), json!(tuple.source));
        map.insert("dst".into(), json!(tuple.destination));
        match row.protocol {
            1 => {
                map.insert("type".into(), json!(tuple.kind));
                map.insert("id".into(), json!(tuple.source_port));
            }
            6 | 17 => {
                map.insert("sport".into(), json!(tuple.source_port));
                map.insert("dport".into(), json!(tuple.destination_port));
            }
            _ => {}
        }
        map.insert("packets".into(), json!(packets));
        map.insert("bytes".into(), json!(bytes));
        Value::Object(map)
    };
    let mut object = json!({
        "id": row.id,
        "protocol": name.map_or("unknown", |(name, _)| name),
        "protonum": row.protocol,
        "timeout": row.timeout,
        "original": direction(original, first),
        "reply": direction(reply, second),
        "status": status,
        "mark": row.mark,
    });
    if let (Some(state), Some(map)) = (&row.state, object.as_object_mut()) {
        map.insert("state".into(), json!(state));
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(protocol: u8, state: Option<&str>, status: u32) -> FlowRow {
        let tuple = |source: [u8; 4], destination: [u8; 4], ports: (u16, u16), kind| TupleRow {
            source: source.into(),
            destination: destination.into(),
            source_port: ports.0,
            destination_port: ports.1,
            kind,
        };
        let port = if protocol == 1 { 7 } else { 80 };
        FlowRow {
            id: 1,
            protocol,
            tuples: [
                tuple([10, 0, 0, 1], [192, 0, 2, 9], (7, port), 8),
                tuple([192, 0, 2, 9], [10, 0, 0, 254], (port, 7), 0),
            ],
            state: state.map(str::to_owned),
            status,
            mark: 3,
            counts: [(1, 60), (2, 99)],
            timeout: 29,
        }
    }

    /// As conntrack(8) writes them.
    #[test]
    fn lines() {
        let cases = [
            (
                row(6, Some("ESTABLISHED"), 0xe),
                false,
                true,
                "tcp      6 29 ESTABLISHED src=10.0.0.1 dst=192.0.2.9 sport=7 dport=80 src=192.0.2.9 dst=10.0.0.254 sport=80 dport=7 [ASSURED] mark=3 use=1",
            ),
            (
                row(17, None, 8),
                true,
                true,
                "udp      17 29 src=10.0.0.1 dst=192.0.2.9 sport=7 dport=80 packets=1 bytes=60 [UNREPLIED] src=192.0.2.9 dst=10.0.0.254 sport=80 dport=7 packets=2 bytes=99 mark=3 use=1",
            ),
            (
                row(1, None, 0xa),
                false,
                true,
                "icmp     1 29 src=10.0.0.1 dst=192.0.2.9 type=8 code=0 id=7 src=192.0.2.9 dst=10.0.0.254 type=0 code=0 id=7 mark=3 use=1",
            ),
            (
                row(6, Some("CLOSE"), 0xa),
                false,
                false,
                "tcp      6 src=10.0.0.1 dst=192.0.2.9 sport=7 dport=80 src=192.0.2.9 dst=10.0.0.254 sport=80 dport=7",
            ),
        ];
        for (row, statistics, lives, expected) in cases {
            assert_eq!(line(&row, statistics, lives), expected);
        }
    }

    #[test]
    fn a_filter_looks_at_the_first_direction() {
        let fits = |filter: FlowFilter| filter.fits(&row(6, Some("CLOSE"), 0));
        assert!(fits(FlowFilter::default()));
        assert!(fits(FlowFilter {
            destination_port: Some(80),
            protocol: Some(6),
            ..Default::default()
        }));
        assert!(!fits(FlowFilter { source_port: Some(80), ..Default::default() }));
        assert!(!fits(FlowFilter { state: Some("ESTABLISHED".into()), ..Default::default() }));
        assert!(!fits(FlowFilter { mark: Some(4), ..Default::default() }));
    }
}
