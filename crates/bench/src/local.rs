//! Two programs on one host: cut through, through the engine, over the kernel's loopback TCP, and over
//! the kernel's Unix sockets, in turns.
//!
//! The first three are the same unmodified programs. The Unix sockets' are two threads of this one,
//! which do the same: what is left when there is no protocol.

use crate::{
    lab::{Lab, Side},
    sample::{Samples, Unit},
    work::{Means, Way, Work},
};
use anyhow::{Context, Result, ensure};
use narrows_testbed::Interrupt;
use std::{
    io::{Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

const WORK: [Work; 3] = [
    Work::Bulk { streams: 1, way: Way::Local },
    Work::RoundTrips { way: Way::Local },
    Work::Connections { way: Way::Local },
];

/// Who carries the bytes.
#[derive(Clone, Copy, Debug)]
enum Carrier {
    CutThrough,
    Engine,
    Loopback,
    Unix,
}

const COLUMNS: [(Carrier, &str); 4] = [
    (Carrier::CutThrough, "cut through"),
    (Carrier::Engine, "engine"),
    (Carrier::Loopback, "loopback"),
    (Carrier::Unix, "Unix"),
];

/// As the peers of the testbed do.
const CHUNK: usize = 128 << 10;
const ROUND_TRIPS: usize = 10_000;
const CONNECTIONS: usize = 2000;

/// Prints the medians side by side.
pub fn run(narrows: PathBuf, rounds: u32, time: Duration, interrupt: &Interrupt) -> Result<()> {
    let lab = Lab::new(narrows)?;
    // Not iperf3, which does more than move bytes.
    let means = Means { iperf3: None, time };
    let rows: Vec<(String, Unit)> = WORK.iter().flat_map(|work| work.rows()).collect();
    let mut samples = vec![<[Samples; COLUMNS.len()]>::default(); rows.len()];
    for _ in 0..rounds {
        for (column, (carrier, _)) in COLUMNS.iter().enumerate() {
            ensure!(!interrupt.is_raised(), "interrupted");
            for (row, value) in round(&lab, *carrier, &means)?.into_iter().enumerate() {
                samples[row][column].push(value);
            }
        }
    }
    println!("medians of {rounds} rounds (least–most)");
    print!("{:28}", "");
    COLUMNS.iter().for_each(|(_, name)| print!("{name:>24}"));
    println!("{:>12}", "cut/loopback");
    for ((name, unit), samples) in rows.iter().zip(&samples) {
        print!("{:28}", format!("{name}, {}", unit.symbol()));
        for samples in samples {
            let (low, high) = samples.spread();
            let spread = format!("({}–{})", unit.format(low), unit.format(high));
            print!("{:>24}", format!("{} {spread}", unit.format(samples.median())));
        }
        let [cut, _, loopback, _] = samples;
        println!("{:>12.2}", cut.median() / loopback.median());
    }
    Ok(())
}

/// All work once.
fn round(lab: &Lab, carrier: Carrier, means: &Means) -> Result<Vec<f64>> {
    let bench = match carrier {
        Carrier::CutThrough => lab.set_up(Side::Narrows)?,
        Carrier::Engine => lab.set_up_without_cut_through()?,
        Carrier::Loopback => lab.set_up(Side::Kernel)?,
        Carrier::Unix => return unix(means.time),
    };
    let values: Result<Vec<Vec<f64>>> =
        WORK.iter().map(|work| work.measure(&bench, means)).collect();
    Ok(values?.concat())
}

fn unix(time: Duration) -> Result<Vec<f64>> {
    let [p50, p99] = unix_round_trips()?;
    Ok(vec![unix_bulk(time)?, p50, p99, unix_connections()?])
}

/// Gigabits a second.
fn unix_bulk(time: Duration) -> Result<f64> {
    let (mut sender, mut receiver) = UnixStream::pair()?;
    let sending = thread::spawn(move || -> Result<()> {
        let chunk = vec![7; CHUNK];
        let start = Instant::now();
        while start.elapsed() < time {
            sender.write_all(&chunk)?;
        }
        Ok(())
    });
    let mut buffer = vec![0; CHUNK];
    let (start, mut bytes) = (Instant::now(), 0);
    loop {
        match receiver.read(&mut buffer)? {
            0 => break,
            count => bytes += count,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    join(sending)?;
    Ok(bytes as f64 * 8.0 / 1e9 / seconds)
}

/// Microseconds: the median and the 99th percentile.
fn unix_round_trips() -> Result<[f64; 2]> {
    let (mut client, mut server) = UnixStream::pair()?;
    let echoing = thread::spawn(move || echo(&mut server));
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut byte = [7];
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        client.write_all(&byte)?;
        client.read_exact(&mut byte)?;
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    drop(client);
    join(echoing)?;
    times.sort_unstable_by(f64::total_cmp);
    let part = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    Ok([part(50), part(99)])
}

/// Short connections a second, each with a line there and back.
fn unix_connections() -> Result<f64> {
    let name = format!("narrows-bench-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name)?;
    let listener = UnixListener::bind_addr(&address)?;
    let serving = thread::spawn(move || -> Result<()> {
        for _ in 0..CONNECTIONS {
            echo(&mut listener.accept()?.0)?;
        }
        Ok(())
    });
    let start = Instant::now();
    for _ in 0..CONNECTIONS {
        let mut client = UnixStream::connect_addr(&address)?;
        client.write_all(b"a line\n")?;
        client.read_exact(&mut [0; 7])?;
    }
    let seconds = start.elapsed().as_secs_f64();
    join(serving)?;
    Ok(CONNECTIONS as f64 / seconds)
}

fn echo(stream: &mut UnixStream) -> Result<()> {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(buffer.get(..count).context("more than there is room")?)?,
        }
    }
}

fn join(thread: thread::JoinHandle<Result<()>>) -> Result<()> {
    thread.join().map_err(|_| anyhow::anyhow!("the other thread panicked"))?
}
