//! `narrows stat`: what the daemon counted, and every drop by name with what it means.

use crate::{
    arguments::{By, Stat},
    report::{self, Align},
};
use anyhow::Result;
use narrows_client::Stack;
use narrows_ipc::message::{BillRow, Statistics};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

pub fn execute(options: &Stat, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    if let Some(By::User) = options.by {
        return bills(options, &stack.bills()?, out);
    }
    let statistics = stack.statistics()?;
    if options.json {
        report::write_json(out, &to_json(&statistics))?;
    } else {
        write_statistics(out, &statistics)?;
    }
    Ok(())
}

pub fn write_statistics(out: &mut dyn Write, statistics: &Statistics) -> io::Result<()> {
    let counters: Vec<_> =
        statistics.counters.iter().map(|(name, value)| [name.clone(), value.to_string()]).collect();
    report::write_table(out, [Align::Left, Align::Right], &counters)?;
    writeln!(out)?;
    write_drops(out, statistics)?;
    writeln!(out, "\nsandbox: {}", statistics.confinement)
}

fn bills(options: &Stat, rows: &[BillRow], out: &mut dyn Write) -> Result<()> {
    if options.json {
        let rows: Vec<_> = rows.iter().map(bill_to_json).collect();
        report::write_json(out, &json!(rows))?;
    } else {
        write_bills(out, rows)?;
    }
    Ok(())
}

fn write_bills(out: &mut dyn Write, rows: &[BillRow]) -> io::Result<()> {
    let header = [
        "user",
        "sessions",
        "sockets",
        "queued",
        "memory",
        "cpu-ms",
        "requests",
        "refused",
        "drops",
        "to-programs",
        "from-programs",
    ];
    let mut table = vec![header.map(str::to_owned)];
    table.extend(rows.iter().map(|row| {
        let time = format!("{:.1}", row.time.as_secs_f64() * 1e3);
        let number = |value: u64| value.to_string();
        [
            row.user.to_string(),
            number(row.sessions),
            number(row.sockets),
            number(row.queued),
            number(row.memory),
            time,
            number(row.requests),
            number(row.refused),
            number(row.drops),
            number(row.bytes_to_programs),
            number(row.bytes_from_programs),
        ]
    }));
    report::write_table(out, [Align::Right; 11], &table)
}

fn bill_to_json(row: &BillRow) -> Value {
    json!({
        "user": row.user,
        "sessions": row.sessions,
        "sockets": row.sockets,
        "queued_bytes": row.queued,
        "memory_bytes": row.memory,
        "cpu_us": u64::try_from(row.time.as_micros()).unwrap_or(u64::MAX),
        "requests": row.requests,
        "refused": row.refused,
        "drops": row.drops,
        "bytes_to_programs": row.bytes_to_programs,
        "bytes_from_programs": row.bytes_from_programs,
    })
}

/// The drops that happened; one line that says so when none did.
pub fn write_drops(out: &mut dyn Write, statistics: &Statistics) -> io::Result<()> {
    let mut rows = vec![["dropped", "count", "meaning"].map(str::to_owned)];
    rows.extend(
        statistics
            .drops
            .iter()
            .filter(|drop| drop.count > 0)
            .map(|drop| [drop.name.clone(), drop.count.to_string(), drop.meaning.clone()]),
    );
    match rows.len() {
        1 => writeln!(out, "nothing dropped"),
        _ => report::write_table(out, [Align::Left, Align::Right, Align::Left], &rows),
    }
}

fn to_json(statistics: &Statistics) -> Value {
    let counters: Map<String, Value> =
        statistics.counters.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let drops: Map<String, Value> = statistics
        .drops
        .iter()
        .map(|drop| (drop.name.clone(), json!({ "count": drop.count, "meaning": drop.meaning })))
        .collect();
    let held = &statistics.confinement;
    json!({
        "counters": counters,
        "drops": drops,
        "sandbox": {
            "user": held.user,
            "capabilities": held.capabilities,
            "no_new_privileges": held.no_new_privileges,
            "system_calls": held.system_calls,
            "landlock": held.landlock,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_ipc::message::{Confinement, DropRow};

    fn some() -> Statistics {
        let drop = |name: &str, meaning: &str, count| DropRow {
            name: name.into(),
            meaning: meaning.into(),
            count,
        };
        Statistics {
            counters: vec![("frames received".into(), 12), ("frames sent".into(), 3400)],
            drops: vec![
                drop("arp-not-for-us", "asks for another machine's address", 7),
                drop("martian", "an address that can't be on a wire", 0),
            ],
            confinement: Confinement {
                user: 65_530,
                capabilities: vec!["net_admin".into(), "net_raw".into()],
                no_new_privileges: true,
                system_calls: Some(61),
                landlock: Some(7),
            },
        }
    }

    #[test]
    fn only_drops_that_happened_are_listed() {
        let mut out = Vec::new();
        write_statistics(&mut out, &some()).unwrap();
        let expected = "\
frames received   12
frames sent     3400

dropped        count meaning
arp-not-for-us     7 asks for another machine's address

sandbox: user 65530, capabilities net_admin net_raw, no new privileges, 61 system calls, landlock \
version 7
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn says_so_when_nothing_was_dropped() {
        let mut out = Vec::new();
        write_drops(&mut out, &Statistics::default()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "nothing dropped\n");
    }

    #[test]
    fn bills_are_a_row_a_user() {
        let row = BillRow {
            user: 1000,
            sessions: 2,
            sockets: 30,
            queued: 4,
            memory: 4096,
            requests: 50,
            refused: 6,
            drops: 9,
            bytes_to_programs: 7,
            bytes_from_programs: 8,
            time: std::time::Duration::from_micros(1250),
        };
        let mut out = Vec::new();
        write_bills(&mut out, &[row]).unwrap();
        let expected = "\
user sessions sockets queued memory cpu-ms requests refused drops to-programs from-programs
1000        2      30      4   4096    1.2       50       6     9           7             8
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(bill_to_json(&row)["cpu_us"], 1250);
    }

    #[test]
    fn json_keeps_names() {
        let json = to_json(&some());
        assert_eq!(json["counters"]["frames sent"], 3400);
        assert_eq!(json["drops"]["arp-not-for-us"]["count"], 7);
        assert_eq!(json["sandbox"]["capabilities"], json!(["net_admin", "net_raw"]));
    }
}
