//! `hold`: many simultaneous connections to an echo server.

use super::{report, storm::say_line};
use anyhow::{Context, Result};
use std::{
    io::{Read, stdin},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct Arguments {
    address: SocketAddr,
    #[arg(long, default_value_t = 1000)]
    connections: usize,
}

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Descriptors beside the connections: standard ones and what the program's loader left.
const OTHER_DESCRIPTORS: usize = 64;

/// Prints `holding N` once all are open and each has answered; when standard input ends, sends a line
/// over each again.
pub fn run(arguments: &Arguments) -> Result<()> {
    let wanted = arguments.connections + OTHER_DESCRIPTORS;
    narrows_sys::limits::raise_descriptor_limit(wanted as u64).context("raising RLIMIT_NOFILE")?;
    let started = Instant::now();
    let mut streams = (0..arguments.connections)
        .map(|number| {
            open(arguments.address, number).with_context(|| format!("connection {number}"))
        })
        .collect::<Result<Vec<_>>>()?;
    let seconds = started.elapsed().as_secs_f64();
    super::print_line(&format!("holding {}", streams.len()))?;

    stdin().read_to_end(&mut Vec::new())?;
    for (number, stream) in streams.iter_mut().enumerate() {
        say_line(stream, number).with_context(|| format!("connection {number}, at the end"))?;
    }
    report::print(&report::Connections { connections: streams.len(), seconds })
}

fn open(address: SocketAddr, number: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    say_line(&mut stream, number)?;
    Ok(stream)
}
