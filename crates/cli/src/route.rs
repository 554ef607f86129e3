//! `narrows route`: the route table, printed as `ip route` and `ip -j route` do.

use crate::{arguments::Query, report};
use anyhow::Result;
use narrows_client::Stack;
use narrows_ipc::message::RouteRow;
use serde_json::{Value, json};
use std::io::{self, Write};

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let device = report::device_asked("route", &query.words)?;
    let mut routes = stack.routes()?;
    if let Some(name) = device {
        routes.retain(|route| route.interface == name);
        if !stack.links()?.iter().any(|link| link.name == name) {
            return Err(report::no_such_device(name));
        }
    }
    if query.json {
        report::write_json(out, &routes.iter().map(to_json).collect())?;
    } else {
        routes.iter().try_for_each(|route| write_route(out, route))?;
    }
    Ok(())
}

fn write_route(out: &mut dyn Write, route: &RouteRow) -> io::Result<()> {
    write!(out, "{}", report::prefix(route.to.0, route.to.1))?;
    if let Some(gateway) = route.via {
        write!(out, " via {gateway}")?;
    }
    write!(out, " dev {}", route.interface)?;
    if route.via.is_none() {
        write!(out, " scope link")?;
    }
    if let Some(source) = route.source {
        write!(out, " src {source}")?;
    }
    writeln!(out)
}

fn to_json(route: &RouteRow) -> Value {
    let mut row = json!({
        "dst": report::prefix(route.to.0, route.to.1),
        "dev": route.interface,
        "flags": [],
    });
    match route.via {
        Some(gateway) => row["gateway"] = json!(gateway),
        None => row["scope"] = json!("link"),
    }
    if let Some(source) = route.source {
        row["prefsrc"] = json!(source);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [RouteRow; 3] {
        [
            RouteRow {
                to: ([0, 0, 0, 0].into(), 0),
                via: Some([10, 0, 0, 1].into()),
                interface: "lan".into(),
                source: None,
            },
            RouteRow {
                to: ([10, 0, 0, 0].into(), 24),
                via: None,
                interface: "lan".into(),
                source: Some([10, 0, 0, 2].into()),
            },
            RouteRow {
                to: ([10, 7, 0, 9].into(), 32),
                via: Some([10, 0, 0, 3].into()),
                interface: "lan".into(),
                source: Some([10, 0, 0, 2].into()),
            },
        ]
    }

    #[test]
    fn reads_as_ip_route() {
        let mut out = Vec::new();
        rows().iter().try_for_each(|row| write_route(&mut out, row)).unwrap();
        let expected = "\
default via 10.0.0.1 dev lan
10.0.0.0/24 dev lan scope link src 10.0.0.2
10.7.0.9 via 10.0.0.3 dev lan src 10.0.0.2
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_the_keys_of_ip() {
        let json: Value = rows().iter().map(to_json).collect();
        assert_eq!(
            json,
            json!([
                {"dst": "default", "gateway": "10.0.0.1", "dev": "lan", "flags": []},
                {"dst": "10.0.0.0/24", "dev": "lan", "scope": "link", "prefsrc": "10.0.0.2",
                 "flags": []},
                {"dst": "10.7.0.9", "gateway": "10.0.0.3", "dev": "lan", "prefsrc": "10.0.0.2",
                 "flags": []},
            ])
        );
    }
}
