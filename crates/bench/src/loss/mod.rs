//! How TCP fares on bad paths: 100 Mbit/s and 40 ms there and back, with losses, reordering and queues
//! of different lengths, for each congestion control; and how flows share such a path.
//!
//! Narrows runs in virtual time. Linux runs in real time, between two namespaces joined by a wire in
//! user space, which treats frames by the same code and seeds as the virtual one ([`wire`]). Some
//! cells run a second time with Narrows' daemon on that wire: they say whether virtual time
//! tells the truth.

mod cells;
mod plot;
mod real;
mod table;
mod virtual_time;
mod wire;

use crate::machine::Machine;
use anyhow::{Context, Result};
use cells::{ALGORITHMS, CELLS, Cell, FLOWS};
use narrows_stack::tcp::congestion::Algorithm;
use narrows_testbed::Interrupt;
use real::Lab;
use std::{fs, path::Path, time::Duration};

/// As the issue of a path's goodput is usually put; virtual seconds cost little.
const VIRTUAL_TIME: Duration = Duration::from_secs(60);
/// Cells that Narrows' daemon runs in real time as well.
const CHECKED: [&str; 3] = ["no loss", "1 % random loss", "3 % reordering"];

/// What one cell gave, in Mbit/s of payload.
pub(super) struct Row {
    pub cell: &'static str,
    pub algorithm: Algorithm,
    pub narrows: f64,
    /// `None`: this kernel does not have the algorithm.
    pub linux: Option<f64>,
    pub daemon: Option<f64>,
}

/// Jain's index of so many flows, 1 when all get the same; and what they got together.
pub(super) struct Sharing {
    pub flows: usize,
    pub algorithm: Algorithm,
    pub narrows: (f64, f64),
    pub linux: Option<(f64, f64)>,
}

pub(super) struct Results {
    pub machine: Machine,
    pub seconds: u64,
    pub rows: Vec<Row>,
    pub sharing: Vec<Sharing>,
}

/// Prints the table, and writes it with the picture into `out`. Only of paths whose name contains
/// `wanted`, of which one is "sharing".
pub fn run(
    narrows: &Path,
    time: Duration,
    wanted: &str,
    out: &Path,
    interrupt: &Interrupt,
) -> Result<()> {
    let lab = Lab::new(narrows, time)?;
    let mut results = Results {
        machine: Machine::here(),
        seconds: time.as_secs(),
        rows: Vec::new(),
        sharing: Vec::new(),
    };
    for cell in CELLS.iter().filter(|cell| cell.name.contains(wanted)) {
        for algorithm in ALGORITHMS {
            anyhow::ensure!(!interrupt.is_raised(), "interrupted");
            let row = measure(&lab, cell, algorithm)?;
            eprintln!("{}", table::line(&row));
            results.rows.push(row);
        }
    }
    for flows in FLOWS.into_iter().filter(|_| "sharing".contains(wanted)) {
        for algorithm in ALGORITHMS {
            anyhow::ensure!(!interrupt.is_raised(), "interrupted");
            let narrows = virtual_time::sharing(algorithm, flows, VIRTUAL_TIME)?;
            let linux = match lab.has(algorithm)? {
                true => Some(lab.sharing(algorithm, flows)?),
                false => None,
            };
            let sharing = Sharing { flows, algorithm, narrows, linux };
            eprintln!("{}", table::sharing_line(&sharing));
            results.sharing.push(sharing);
        }
    }
    let text = table::render(&results);
    print!("{text}");
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    fs::write(out.join("loss.md"), text)?;
    fs::write(out.join("loss.svg"), plot::render(&results))?;
    println!("\n{}\n{}", out.join("loss.md").display(), out.join("loss.svg").display());
    Ok(())
}

fn measure(lab: &Lab, cell: &Cell, algorithm: Algorithm) -> Result<Row> {
    let narrows = virtual_time::goodput(cell, algorithm, VIRTUAL_TIME)?;
    let linux = match lab.has(algorithm)? {
        true => Some(lab.linux(cell, algorithm).with_context(|| cell.name)?),
        false => None,
    };
    let daemon = match CHECKED.contains(&cell.name) {
        true => Some(lab.daemon(cell, algorithm).with_context(|| cell.name)?),
        false => None,
    };
    Ok(Row { cell: cell.name, algorithm, narrows, linux, daemon })
}

/// Jain's index of fairness.
pub(super) fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_are_fair_and_one_that_takes_all_is_not() {
        assert!((jain(&[2.0, 2.0, 2.0, 2.0]) - 1.0).abs() < 1e-9);
        assert!((jain(&[8.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn the_cells_that_the_daemon_checks_are_there() {
        for name in CHECKED {
            assert!(CELLS.iter().any(|cell| cell.name == name), "{name}");
        }
    }
}
