//! `narrows-bench`: the same unmodified programs on Narrows and on the kernel, over the same wire,
//! in turns, so that a noisy machine disturbs both alike.
//!
//! [`lab`] makes the wire and puts one stack or the other at its end, [`work`] is what is
//! measured, [`sample`] what is said about the numbers, [`report`] how it is shown.

#![forbid(unsafe_code)]

mod command;
mod fairness;
mod filter;
mod forwarding;
mod lab;
mod local;
mod loss;
mod machine;
mod memory;
mod policy;
mod reassembly;
mod report;
mod routes;
mod sample;
mod work;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lab::{Lab, Side};
use machine::Machine;
use narrows_testbed::Interrupt;
use report::Report;
use sample::{Row, Samples};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use work::{Means, Work};

/// What `--only` calls the daemon with nothing to do.
const IDLE: &str = "idle";
/// And the route tables, which need no wire; the kernel's can't be asked in nanoseconds.
const ROUTES: &str = "routes";
/// Rules of policy need none either; the kernel has nothing like them.
const POLICY: &str = "policy";
/// Nor does reassembly.
const REASSEMBLY: &str = "reassembly";
/// Nor connections that wait.
const MEMORY: &str = "memory";
/// A router between two hosts.
const FORWARDING: &str = "forwarding";
/// The same, with rules of the filter.
const FILTER: &str = "filter";
/// Two programs on one host: every way there is between them.
const LOCAL: &str = "local";
/// Round trips beside floods that another user makes; as root.
const FAIRNESS: &str = "fairness";
/// TCP on bad paths; each cell takes as long as `--seconds`, and ten at least.
const LOSS: &str = "loss";
const LEAST_LOSS_TIME: Duration = Duration::from_secs(10);
/// Long enough for a share of a thousandth to be seen.
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Measures Narrows against the kernel, in turns over one wire
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// How often each is measured on each side
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each bulk transfer takes; whole seconds
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Only work whose name contains this: bulk-1-out, bulk-4-in, round-trip-local,
    /// connections-in, idle …; or one of: routes, reassembly, memory (the engine alone), policy,
    /// forwarding, filter, local, fairness, loss (or loss: and a part of the name of a path: "loss:1 %",
    /// loss:sharing)
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Where the JSON and the picture go [default: target/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The narrows program [default: beside this one]
    #[arg(long, value_name = "PATH")]
    narrows: Option<PathBuf>,
    /// Move the bulk with the testbed's own programs, also where iperf3 is installed
    #[arg(long)]
    no_iperf3: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("narrows-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    match arguments.only.as_deref() {
        Some(ROUTES) => return routes::run(),
        Some(POLICY) => return policy::run(),
        Some(REASSEMBLY) => return reassembly::run(),
        Some(MEMORY) => return memory::run(),
        _ => {}
    }
    narrows_testbed::enter_user_namespace_if_needed()?;
    let interrupt = Interrupt::new().context("can't watch for Ctrl-C")?;
    let own = env::current_exe().context("can't tell where this program is")?;
    let narrows = match &arguments.narrows {
        Some(path) => path.clone(),
        None => own.with_file_name("narrows"),
    };
    ensure!(
        narrows.is_file(),
        "{} is missing; build it with: cargo build --release",
        narrows.display()
    );
    if arguments.only.as_deref() == Some(FORWARDING) {
        let time = Duration::from_secs(arguments.seconds);
        return forwarding::run(&narrows, arguments.rounds, time);
    }
    if arguments.only.as_deref() == Some(FILTER) {
        let time = Duration::from_secs(arguments.seconds);
        return filter::run(&narrows, arguments.rounds, time);
    }
    if arguments.only.as_deref() == Some(LOCAL) {
        let time = Duration::from_secs(arguments.seconds);
        return local::run(narrows, arguments.rounds, time, &interrupt);
    }
    if arguments.only.as_deref() == Some(FAIRNESS) {
        return fairness::run(narrows, arguments.rounds, &interrupt);
    }
    // target/release/narrows-bench → target/bench
    let target = own.ancestors().nth(2).unwrap_or(Path::new("."));
    let out = arguments.out.clone().unwrap_or_else(|| target.join("bench"));
    if let Some(cells) = arguments.only.as_deref().and_then(|only| only.strip_prefix(LOSS)) {
        let time = Duration::from_secs(arguments.seconds).max(LEAST_LOSS_TIME);
        return loss::run(&narrows, time, cells.trim_start_matches(':'), &out, &interrupt);
    }
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only));
    let work: Vec<Work> = work::ALL.into_iter().filter(|work| wanted(&work.name())).collect();
    if work.is_empty() && !wanted(IDLE) {
        let names: Vec<String> = work::ALL.iter().map(|work| work.name()).collect();
        bail!("nothing is called that; there are {}, {IDLE}", names.join(", "));
    }
    let means = Means {
        iperf3: if arguments.no_iperf3 { None } else { find_in_path("iperf3") },
        time: Duration::from_secs(arguments.seconds),
    };
    let lab = Lab::new(narrows)?;
    let rows = measure(&lab, &work, &means, arguments.rounds, &interrupt)?;
    let idle = if wanted(IDLE) { Some(idle(&lab)?) } else { None };
    let report = Report {
        machine: Machine::here(),
        rounds: arguments.rounds,
        seconds: arguments.seconds as f64,
        bulk_program: if means.iperf3.is_some() { "iperf3" } else { "narrows peer" }.to_owned(),
        rows,
        idle,
    };
    print!("{}", report::table::render(&report));
    save(&report, &out)
}

/// All rounds: in each, every work on both sides, the other side first than in the last round.
fn measure(
    lab: &Lab,
    work: &[Work],
    means: &Means,
    rounds: u32,
    interrupt: &Interrupt,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Vec<Row>> = work
        .iter()
        .map(|work| work.rows().into_iter().map(|(name, unit)| Row::new(name, unit)).collect())
        .collect();
    let bar = ProgressBar::new(u64::from(rounds) * work.len() as u64 * 2).with_style(
        ProgressStyle::with_template("[{bar:30}] {pos}/{len} {msg}")?.progress_chars("=> "),
    );
    for round in 0..rounds {
        let sides = match round % 2 {
            0 => [Side::Narrows, Side::Kernel],
            _ => [Side::Kernel, Side::Narrows],
        };
        for (work, rows) in work.iter().zip(&mut rows) {
            for side in sides {
                ensure!(!interrupt.is_raised(), "interrupted");
                let name = work.name();
                bar.set_message(format!("round {} of {rounds}: {name}, {side:?}", round + 1));
                let values = lab
                    .set_up(side)
                    .and_then(|bench| work.measure(&bench, means))
                    .with_context(|| format!("{name}, {side:?}, round {}", round + 1))?;
                for (row, value) in rows.iter_mut().zip(values) {
                    samples(row, side).push(value);
                }
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    Ok(rows.into_iter().flatten().collect())
}

fn samples(row: &mut Row, side: Side) -> &mut Samples {
    match side {
        Side::Narrows => &mut row.narrows,
        Side::Kernel => &mut row.kernel,
    }
}

fn idle(lab: &Lab) -> Result<f64> {
    let mut bench = lab.set_up(Side::Narrows)?;
    let daemon = bench.daemon().context("no daemon")?;
    work::cpu_share(daemon.process(), IDLE_TIME).context("measuring an idle daemon")
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|place| place.join(name))
        .find(|path| path.is_file())
}

fn save(report: &Report, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let json = directory.join("bench.json");
    let picture = directory.join("bench.svg");
    fs::write(&json, serde_json::to_string_pretty(&report.to_json()?)?)?;
    fs::write(&picture, report::svg::render(report))?;
    println!("\n{}\n{}", json.display(), picture.display());
    Ok(())
}
