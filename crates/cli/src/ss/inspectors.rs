//! `narrows ss --inspectors`: who decides about packets, and what he said.

use crate::{
    arguments::Ss,
    report::{self, Align},
};
use anyhow::Result;
use narrows_client::Stack;
use narrows_ipc::inspect::InspectorRow;
use serde_json::{Value, json};
use std::io::{self, Write};

pub fn execute(options: &Ss, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let rows = stack.inspectors()?;
    if options.json {
        report::write_json(out, &rows.iter().map(to_json).collect())?;
    } else {
        write_rows(out, options, &rows)?;
    }
    Ok(())
}

fn write_rows(out: &mut dyn Write, options: &Ss, rows: &[InspectorRow]) -> io::Result<()> {
    const HEADER: [&str; 10] = [
        "Id", "Source", "Dev", "Without", "Waiting", "Accepted", "Dropped", "Late", "Full",
        "Process",
    ];
    let mut table: Vec<[String; 10]> = Vec::with_capacity(rows.len() + 1);
    if !options.no_header {
        table.push(HEADER.map(str::to_owned));
    }
    table.extend(rows.iter().map(|row| {
        let dev = if row.interface.is_empty() { "*" } else { &row.interface };
        [
            row.id.to_string(),
            row.source.clone(),
            dev.to_owned(),
            if row.open { "accept" } else { "drop" }.to_owned(),
            row.waiting.to_string(),
            row.accepted.to_string(),
            row.dropped.to_string(),
            row.late.to_string(),
            row.full.to_string(),
            format!("users:({})", super::process(&row.owner)),
        ]
    }));
    use Align::{Left, Right};
    report::write_table(
        out,
        [Right, Left, Left, Left, Right, Right, Right, Right, Right, Left],
        &table,
    )
}

fn to_json(row: &InspectorRow) -> Value {
    json!({
        "id": row.id,
        "source": row.source,
        "dev": row.interface,
        "filtered": row.filtered,
        "without": if row.open { "accept" } else { "drop" },
        "deadline_ms": row.patience,
        "room": row.room,
        "waiting": row.waiting,
        "waiting_bytes": row.bytes,
        "given": row.given,
        "accepted": row.accepted,
        "dropped": row.dropped,
        "marked": row.marked,
        "rewritten": row.rewritten,
        "full": row.full,
        "late": row.late,
        "stale": row.stale,
        "lies": row.lies,
        "pid": row.owner.pid,
        "user": row.owner.uid,
        "executable": row.owner.executable,
    })
}
