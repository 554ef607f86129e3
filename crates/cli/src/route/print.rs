//! Rows of routes, as `ip route` and `ip -j route` print them: what a filter has fixed is left out.

use super::{filter::Filter, names};
use crate::report;
use narrows_ipc::route::{HopRow, RouteKind, RouteRow, RouteScope, protocol, table};
use serde_json::{Value, json};
use std::io::{self, Write};

pub fn write(out: &mut dyn Write, row: &RouteRow, filter: &Filter) -> io::Result<()> {
    if row.kind != RouteKind::Unicast && filter.kind.is_none() {
        write!(out, "{} ", names::kind_name(row.kind))?;
    }
    write!(out, "{} ", report::prefix(row.to.0, row.to.1))?;
    let only = only_hop(row);
    if let Some(via) = only.and_then(|hop| hop.via) {
        write!(out, "via {via} ")?;
    }
    if let Some(name) = only.and_then(|hop| hop.interface.as_ref())
        && filter.device.is_none()
    {
        write!(out, "dev {name} ")?;
    }
    if let Some(table) = shown_table(row, filter) {
        write!(out, "table {table} ")?;
    }
    if row.protocol != protocol::BOOT && filter.protocol.is_none() {
        write!(out, "proto {} ", names::protocol_name(row.protocol))?;
    }
    if row.scope != RouteScope::Global && filter.scope.is_none() {
        write!(out, "scope {} ", names::scope_name(row.scope))?;
    }
    if let Some(source) = row.source {
        write!(out, "src {source} ")?;
    }
    if row.metric != 0 {
        write!(out, "metric {} ", row.metric)?;
    }
    for flag in only.into_iter().flat_map(flags) {
        write!(out, "{flag} ")?;
    }
    for hop in several(row) {
        write!(out, "\n\tnexthop ")?;
        if let Some(via) = hop.via {
            write!(out, "via {via} ")?;
        }
        write!(out, "dev {} weight {} ", hop.interface.as_deref().unwrap_or_default(), hop.weight)?;
        for flag in flags(hop) {
            write!(out, "{flag} ")?;
        }
    }
    writeln!(out)
}

pub fn to_json(row: &RouteRow, filter: &Filter) -> Value {
    let only = only_hop(row);
    let mut json = json!({
        "dst": report::prefix(row.to.0, row.to.1),
        "flags": only.into_iter().flat_map(flags).collect::<Vec<_>>(),
    });
    if row.kind != RouteKind::Unicast && filter.kind.is_none() {
        json["type"] = json!(names::kind_name(row.kind));
    }
    if let Some(via) = only.and_then(|hop| hop.via) {
        json["gateway"] = json!(via);
    }
    if let Some(name) = only.and_then(|hop| hop.interface.as_ref())
        && filter.device.is_none()
    {
        json["dev"] = json!(name);
    }
    if let Some(table) = shown_table(row, filter) {
        json["table"] = json!(table);
    }
    if row.protocol != protocol::BOOT && filter.protocol.is_none() {
        json["protocol"] = json!(names::protocol_name(row.protocol));
    }
    if row.scope != RouteScope::Global && filter.scope.is_none() {
        json["scope"] = json!(names::scope_name(row.scope));
    }
    if let Some(source) = row.source {
        json["prefsrc"] = json!(source);
    }
    if row.metric != 0 {
        json["metric"] = json!(row.metric);
    }
    let hops: Vec<Value> = several(row).iter().map(hop_json).collect();
    if !hops.is_empty() {
        json["nexthops"] = json!(hops);
    }
    json
}

fn hop_json(hop: &HopRow) -> Value {
    let mut json = json!({
        "dev": hop.interface,
        "weight": hop.weight,
        "flags": flags(hop).collect::<Vec<_>>(),
    });
    if let Some(via) = hop.via {
        json["gateway"] = json!(via);
    }
    json
}

/// The table, where it isn't clear.
fn shown_table(row: &RouteRow, filter: &Filter) -> Option<String> {
    (row.table != table::MAIN && filter.table.is_none()).then(|| names::table_name(row.table))
}

fn only_hop(row: &RouteRow) -> Option<&HopRow> {
    row.hops.first().filter(|_| row.hops.len() == 1)
}

fn several(row: &RouteRow) -> &[HopRow] {
    if row.hops.len() > 1 { &row.hops } else { &[] }
}

fn flags(hop: &HopRow) -> impl Iterator<Item = &'static str> + use<> {
    let dead = hop.dead.then_some("dead");
    dead.into_iter().chain(hop.on_link.then_some("onlink"))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::words::Words;

    fn hop(via: Option<[u8; 4]>, interface: &str) -> HopRow {
        HopRow {
            interface: Some(interface.into()),
            via: via.map(Into::into),
            weight: 1,
            on_link: false,
            dead: false,
        }
    }

    /// As the kernel listed them, once.
    pub fn rows() -> Vec<RouteRow> {
        let gateway = Some([10, 0, 0, 1]);
        let base = RouteRow {
            to: ([0, 0, 0, 0].into(), 0),
            table: 254,
            kind: RouteKind::Unicast,
            protocol: 3,
            scope: RouteScope::Global,
            metric: 0,
            source: None,
            hops: vec![hop(gateway, "v0")],
        };
        let source = Some([10, 0, 0, 2].into());
        vec![
            RouteRow { metric: 5, ..base.clone() },
            RouteRow {
                to: ([10, 0, 0, 0].into(), 24),
                protocol: 2,
                scope: RouteScope::Link,
                source,
                hops: vec![hop(None, "v0")],
                ..base.clone()
            },
            RouteRow {
                to: ([192, 0, 2, 0].into(), 24),
                hops: vec![
                    HopRow { weight: 2, ..hop(gateway, "v0") },
                    HopRow { dead: true, ..hop(Some([10, 1, 0, 9]), "v1") },
                ],
                ..base.clone()
            },
            RouteRow {
                to: ([198, 18, 0, 0].into(), 15),
                kind: RouteKind::Blackhole,
                hops: Vec::new(),
                ..base.clone()
            },
            RouteRow {
                to: ([203, 0, 113, 7].into(), 32),
                protocol: 4,
                hops: vec![HopRow { on_link: true, ..hop(Some([9, 9, 9, 9]), "v0") }],
                ..base.clone()
            },
            RouteRow {
                table: 100,
                source,
                hops: vec![hop(Some([10, 1, 0, 1]), "v1")],
                ..base.clone()
            },
            RouteRow {
                to: ([10, 0, 0, 255].into(), 32),
                table: 255,
                kind: RouteKind::Broadcast,
                protocol: 2,
                scope: RouteScope::Link,
                source,
                hops: vec![hop(None, "v0")],
                ..base
            },
        ]
    }

    fn filter(line: &str) -> Filter {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (_, words) = Words::new("route", &line, &["show"]).unwrap();
        Filter::read(words).unwrap()
    }

    #[test]
    fn reads_as_ip_route() {
        let mut out = Vec::new();
        let all = filter("show table all");
        rows().iter().try_for_each(|row| write(&mut out, row, &all)).unwrap();
        let expected = "default via 10.0.0.1 dev v0 metric 5 \n\
            10.0.0.0/24 dev v0 proto kernel scope link src 10.0.0.2 \n\
            192.0.2.0/24 \n\
            \tnexthop via 10.0.0.1 dev v0 weight 2 \n\
            \tnexthop via 10.1.0.9 dev v1 weight 1 dead \n\
            blackhole 198.18.0.0/15 \n\
            203.0.113.7 via 9.9.9.9 dev v0 proto static onlink \n\
            default via 10.1.0.1 dev v1 table 100 src 10.0.0.2 \n\
            broadcast 10.0.0.255 dev v0 table local proto kernel scope link src 10.0.0.2 \n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_a_filter_says_is_not_said_again() {
        let rows = rows();
        for (line, row, expected) in [
            ("show dev v0", 0, "default via 10.0.0.1 metric 5 \n"),
            ("show proto static", 4, "203.0.113.7 via 9.9.9.9 dev v0 onlink \n"),
            ("show table 100", 5, "default via 10.1.0.1 dev v1 src 10.0.0.2 \n"),
            ("show type blackhole", 3, "198.18.0.0/15 \n"),
            ("show scope link", 1, "10.0.0.0/24 dev v0 proto kernel src 10.0.0.2 \n"),
        ] {
            let mut out = Vec::new();
            write(&mut out, &rows[row], &filter(line)).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{line}");
        }
    }

    #[test]
    fn json_has_the_keys_of_ip() {
        let all = filter("show table all");
        let json: Value = rows().iter().map(|row| to_json(row, &all)).collect();
        let expected = json!([
            {"dst": "default", "gateway": "10.0.0.1", "dev": "v0", "metric": 5, "flags": []},
            {"dst": "10.0.0.0/24", "dev": "v0", "protocol": "kernel", "scope": "link",
             "prefsrc": "10.0.0.2", "flags": []},
            {"dst": "192.0.2.0/24", "flags": [], "nexthops": [
                {"gateway": "10.0.0.1", "dev": "v0", "weight": 2, "flags": []},
                {"gateway": "10.1.0.9", "dev": "v1", "weight": 1, "flags": ["dead"]}]},
            {"type": "blackhole", "dst": "198.18.0.0/15", "flags": []},
            {"dst": "203.0.113.7", "gateway": "9.9.9.9", "dev": "v0", "protocol": "static",
             "flags": ["onlink"]},
            {"dst": "default", "gateway": "10.1.0.1", "dev": "v1", "table": "100",
             "prefsrc": "10.0.0.2", "flags": []},
            {"type": "broadcast", "dst": "10.0.0.255", "dev": "v0", "table": "local",
             "protocol": "kernel", "scope": "link", "prefsrc": "10.0.0.2", "flags": []},
        ]);
        assert_eq!(json, expected);
    }
}
