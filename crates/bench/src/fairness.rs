//! One-byte round trips of one user beside each kind of flood that another makes: what it costs the
//! first, on Narrows and, for comparison, on the kernel.
//!
//! The bound that is stated is Narrows' own: a good session waits for no more than what one turn of the
//! daemon takes, and what flooders leave it of two CPUs is the kernel's scheduler to say. So it is a
//! time that holds on a busy machine, not a factor.

use crate::{
    lab::{Bench, End, Lab, Side},
    sample::{Samples, Unit},
};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{
    Interrupt, Process,
    peer::report::{self, RoundTrips},
};
use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, SocketAddrV4},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Stdio,
};

/// The 99th percentile of round trips beside any flood is less, in microseconds: a turn of the
/// daemon moves at most a mebibyte and asks 256 anchors, and a program or the daemon waits for its CPU
/// for two of the kernel's time slices at most.
const BOUND: f64 = 10_000.0;

/// Enough for a 99th percentile over the rounds, few enough that a run is short where each trip takes
/// milliseconds.
const TRIPS: &str = "400";
const WARM_UP: &str = "20";

/// Who floods. The round trips are root's.
const FLOODER: &str = "4242";

/// The discard service's, where nobody listens.
const CLOSED_PORT: u16 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    None,
    Bulk,
    Connects,
    Control,
    /// To a port that nobody has, so that there are errors as well.
    Datagrams,
    /// By a packet socket.
    Frames,
    /// Datagrams as above, but from the wire.
    Wire,
}

const FLOODS: [(Flood, &str); 7] = [
    (Flood::None, "alone"),
    (Flood::Bulk, "bulk data"),
    (Flood::Connects, "connects"),
    (Flood::Control, "control messages"),
    (Flood::Datagrams, "datagrams, refused"),
    (Flood::Frames, "raw frames"),
    (Flood::Wire, "datagrams from the wire"),
];

const SIDES: [(Side, &str); 2] = [(Side::Narrows, "Narrows"), (Side::Kernel, "kernel")];

/// Prints medians of the percentiles, how many times as long as alone the 99th is, and whether the bound
/// held.
pub fn run(narrows: PathBuf, rounds: u32, interrupt: &Interrupt) -> Result<()> {
    let lab = Lab::new(narrows.clone())?;
    let mut samples =
        vec![[[Samples::default(), Samples::default()], Default::default()]; FLOODS.len()];
    for _ in 0..rounds {
        for (side, (which, _)) in SIDES.into_iter().enumerate() {
            let mut bench = set_up(&lab, which)?;
            if let Some(daemon) = bench.daemon() {
                // Another user's programs reach its socket.
                let open = fs::Permissions::from_mode(0o755);
                fs::set_permissions(daemon.directory(), open)?;
            }
            for (row, (flood, name)) in FLOODS.into_iter().enumerate() {
                ensure!(!interrupt.is_raised(), "interrupted");
                let trips = beside(&bench, &narrows, flood).with_context(|| name)?;
                samples[row][side][0].push(trips.p50);
                samples[row][side][1].push(trips.p99);
            }
        }
    }
    print(&samples, rounds)
}

/// The flooder may send raw frames; the kernel lets him by his capability.
fn set_up(lab: &Lab, side: Side) -> Result<Bench<'_>> {
    let grant = format!("[[grant]]\nuser = {FLOODER}\npacket = [\"wire\"]\n");
    lab.set_up_with(side, &grant)
}

type Row = [[Samples; 2]; 2];

fn print(samples: &[Row], rounds: u32) -> Result<()> {
    println!("round trips beside a flood, µs, medians of {rounds} rounds (the most)");
    println!(
        "{:26}{:>22}{:>22}{:>9}{:>8}{:>22}{:>22}{:>9}",
        "", "Narrows p50", "p99", "× alone", "bound", "kernel p50", "p99", "× alone"
    );
    let Some(alone) = samples.first() else { return Ok(()) };
    for ((_, name), row) in FLOODS.iter().zip(samples) {
        print!("{name:26}");
        for (side, (cells, [_, quiet])) in row.iter().zip(alone).enumerate() {
            for cell in cells {
                let format = |value| Unit::Microseconds.format(value);
                let (median, most) = (format(cell.median()), format(cell.spread().1));
                print!("{:>22}", format!("{median} ({most})"));
            }
            let [_, p99] = cells;
            print!("{:>9.1}", p99.median() / quiet.median());
            if side == 0 {
                print!("{:>8}", if p99.median() < BOUND { "held" } else { "BROKEN" });
            }
        }
        println!();
    }
    let worst = samples.iter().map(|[[_, p99], _]| p99.median()).fold(0.0, f64::max);
    let held = worst < BOUND;
    println!(
        "bound: p99 under {BOUND:.0} µs beside every flood: {} ({worst:.0} µs at worst)",
        if held { "held" } else { "NOT held" }
    );
    ensure!(held, "the bound did not hold");
    Ok(())
}

/// Round trips while somebody floods.
fn beside(bench: &Bench<'_>, narrows: &PathBuf, flood: Flood) -> Result<RoundTrips> {
    let serve = || {
        let address = bench.address(End::There);
        let mut server = bench.peer(End::There, "echo-server");
        server.args(["--listen", &address.to_string()]);
        bench.serve(address, server, "listening")
    };
    let (server, flooded) = (serve()?, serve()?);
    let of = |end| SocketAddrV4::new(*bench.address(end).ip(), CLOSED_PORT);
    let flooding = match flood {
        Flood::None => None,
        Flood::Bulk => Some((End::Here, "bulk", flooded.address)),
        Flood::Connects => Some((End::Here, "connects", flooded.address)),
        Flood::Control => Some((End::Here, "control", flooded.address)),
        Flood::Datagrams => Some((End::Here, "datagrams", of(End::There))),
        Flood::Frames => Some((End::Here, "frames", of(End::There))),
        Flood::Wire => Some((End::There, "datagrams", of(End::Here))),
    };
    let flooder =
        flooding.map(|(end, kind, to)| begin(bench, narrows, end, kind, to.into())).transpose()?;
    let mut client = bench.peer(End::Here, "pingpong");
    client.args(["--count", TRIPS, "--warm-up", WARM_UP, &server.address.to_string()]);
    let trips = report::read(&bench.measure(client)?)?;
    drop(flooder);
    Ok(trips)
}

/// A flood, by somebody else than who is measured; it ends on drop.
fn begin(
    bench: &Bench<'_>,
    narrows: &PathBuf,
    end: End,
    kind: &str,
    to: SocketAddr,
) -> Result<Process> {
    let mut command = bench.command(end, "setpriv");
    command.args(["--reuid", FLOODER, "--regid", FLOODER, "--clear-groups"]);
    command.args(["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]).arg(narrows);
    command.args(["peer", "flood", kind, &to.to_string()]);
    command.args(["--interface", &bench.interface_number()?.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut process = Process::spawn(&mut command)?;
    let mut line = String::new();
    BufReader::new(process.stdout().context("no standard output")?).read_line(&mut line)?;
    ensure!(
        line.starts_with("flooding"),
        "no flood of {kind} begins: run as root, with setpriv(1)"
    );
    Ok(process)
}
