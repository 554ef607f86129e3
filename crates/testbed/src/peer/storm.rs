//! `storm`: many short connections to an echo server, each with one line there and back.

use super::report;
use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct Arguments {
    address: SocketAddr,
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Connections at a time
    #[arg(long, default_value_t = 64)]
    parallel: usize,
}

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(arguments: &Arguments) -> Result<()> {
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let worker = || -> Vec<anyhow::Error> {
        let mut failures = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= arguments.connections {
                return failures;
            }
            let result = exchange(arguments.address, number);
            failures.extend(result.with_context(|| format!("connection {number}")).err());
        }
    };
    let failures: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.parallel.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    if let Some(first) = failures.first() {
        bail!("{} of {} connections failed; {first:#}", failures.len(), arguments.connections);
    }
    report::print(&report::Connections { connections: arguments.connections, seconds })
}

fn exchange(address: SocketAddr, number: usize) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    say_line(&mut stream, number)
}

/// Sends a line that has `number` in it, and expects it back.
pub fn say_line(stream: &mut TcpStream, number: usize) -> Result<()> {
    let line = format!("line {number} of a storm\n");
    stream.write_all(line.as_bytes())?;
    let mut reply = vec![0; line.len()];
    stream.read_exact(&mut reply)?;
    ensure!(reply == line.as_bytes(), "wrong reply: {}", reply.escape_ascii());
    Ok(())
}
