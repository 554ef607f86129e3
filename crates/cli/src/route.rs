//! `narrows route`: routes, printed as `ip route` and `ip -j route` do, and changed in its words.
//!
//! | file | what is there |
//! |---|---|
//! | `names` | tables, protocols, scopes, kinds |
//! | `change` | `add`, `replace`, `delete` … |
//! | `filter` | which routes `show` and `flush` are about |
//! | `print` | rows |
//! | `get` | where a packet would go |

mod change;
mod filter;
mod get;
pub mod names;
mod print;

use crate::{arguments::Query, report, words::Words};
use anyhow::{Context, Result, ensure};
use filter::Filter;
use narrows_client::Stack;
use narrows_ipc::{
    change::Change,
    route::{RouteMatch, RouteRow},
};
use std::{cmp::Reverse, io::Write};

const COMMANDS: [&str; 9] =
    ["show", "add", "append", "change", "delete", "flush", "get", "prepend", "replace"];

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (command, words) = Words::new("route", &query.words, &COMMANDS)?;
    match command {
        "show" => show(query, words, stack, out),
        "get" => get::execute(query.json, words, stack, out),
        "flush" => flush(words, stack),
        "delete" => change::delete(words, stack),
        command => change::add(command, words, stack),
    }
}

/// In the order in which ip(8) prints them.
fn rows(filter: &Filter, stack: &Stack) -> Result<Vec<RouteRow>> {
    if let Some(name) = &filter.device
        && !stack.links()?.iter().any(|link| link.name == *name)
    {
        return Err(report::no_such_device(name));
    }
    let mut rows = stack.routes(filter.table)?;
    rows.retain(|row| filter.takes(row));
    rows.sort_by_key(|row| (table_order(row.table), row.to.0, Reverse(row.to.1), row.metric));
    Ok(rows)
}

/// The local table is the last.
fn table_order(table: u32) -> (bool, u32) {
    (table == narrows_ipc::route::table::LOCAL, table)
}

fn show(query: &Query, words: Words<'_>, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let filter = Filter::read(words)?;
    let rows = rows(&filter, stack)?;
    if query.json {
        report::write_json(out, &rows.iter().map(|row| print::to_json(row, &filter)).collect())?;
    } else {
        rows.iter().try_for_each(|row| {
            report::record(out, query.oneline, |out| Ok(print::write(out, row, &filter)?))
        })?;
    }
    Ok(())
}

/// Removes every route that the filter takes; it has to say which. What addresses imply stays.
fn flush(words: Words<'_>, stack: &Stack) -> Result<()> {
    let error = words.error("which? write `route flush table NUMBER`, `dev NAME` or a prefix");
    let filter = Filter::read(words)?;
    ensure!(!filter.is_empty(), error);
    for row in rows(&filter, stack)? {
        if row.protocol == narrows_ipc::route::protocol::KERNEL {
            continue;
        }
        let to = report::prefix(row.to.0, row.to.1);
        let route = RouteMatch {
            to: row.to,
            table: row.table,
            kind: Some(row.kind),
            protocol: Some(row.protocol),
            scope: Some(row.scope),
            metric: Some(row.metric),
            source: row.source,
            hops: row.hops.into_iter().map(|hop| (hop.interface, hop.via)).collect(),
        };
        stack.change(Change::RemoveRoute { route }).with_context(|| format!("route flush {to}"))?;
    }
    Ok(())
}
