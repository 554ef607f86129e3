//! What rules cost: packets of a full wire's size through a router with none, ten and ten thousand rules that
//! each drop another host's packets, none of them these; Narrows and the kernel in turns, from one file.
//!
//! The hosts cut their segments themselves, so that each packet of the stream passes the router as one; the
//! acknowledgements come back past the same rules and are not counted.

use crate::{
    command,
    forwarding::Lab,
    sample::{Row, Unit},
};
use anyhow::{Result, ensure};
use std::{fmt::Write, path::Path, time::Duration};

const SIZES: [u32; 3] = [0, 10, 10_000];
/// Bytes of a stream in a packet: an MTU of 1,500 less the headers, with timestamps.
const PAYLOAD: f64 = 1_448.0;

/// Prints a line for each number of rules.
pub fn run(narrows: &Path, rounds: u32, time: Duration) -> Result<()> {
    let lab = Lab::new()?;
    for host in &lab.hosts {
        command::run(host, "ethtool", ["-K", "e0", "tso", "off", "gso", "off", "gro", "off"])?;
    }
    println!("packets a second through a router, medians of {rounds} rounds (spread)");
    println!("{:>7} {:>34} {:>34} {:>7}", "rules", "Narrows", "kernel", "ratio");
    for size in SIZES {
        let mut row = Row::new("packets", Unit::PerSecond);
        for _ in 0..rounds {
            let daemon = lab.daemon(narrows)?;
            let file = daemon.directory().join("rules.nft");
            std::fs::write(&file, rules(size))?;
            let loaded =
                daemon.ask(&lab.router, ["nft".as_ref(), "-f".as_ref(), file.as_os_str()])?;
            ensure!(loaded.status.success(), "{}", loaded.stderr);
            row.narrows.push(packets(lab.bulk(narrows, 254, time)?));
            command::run(&lab.router, "nft", ["-f".as_ref(), file.as_os_str()])?;
            daemon.stop()?;
            row.kernel.push(packets(lab.bulk(narrows, 253, time)?));
            command::run(&lab.router, "nft", ["flush", "ruleset"])?;
        }
        let say = |samples: &crate::sample::Samples| {
            let ((low, high), median) = (samples.spread(), samples.median());
            format!("{median:.0} ({low:.0}–{high:.0}), {:.0} ns each", 1e9 / median)
        };
        let (own, other) = (say(&row.narrows), say(&row.kernel));
        println!("{size:>7} {own:>34} {other:>34} {:>7.2}", row.ratio());
    }
    Ok(())
}

/// A second's packets of so many gigabits.
fn packets(gigabits: f64) -> f64 {
    gigabits * 1e9 / 8.0 / PAYLOAD
}

fn rules(size: u32) -> String {
    let mut text = String::from(
        "table ip bench {\n\tchain forward {\n\t\ttype filter hook forward priority 0; policy accept;\n",
    );
    for host in 0..size {
        let [.., high, low] = host.to_be_bytes();
        let _ = writeln!(text, "\t\tip saddr 10.200.{high}.{low} drop");
    }
    text + "\t}\n}\n"
}
