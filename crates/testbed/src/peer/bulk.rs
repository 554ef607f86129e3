//! `bulk-send` and `bulk-receive`: the pattern over some streams, as fast as it goes.

use super::{Pattern, report};
use anyhow::{Context, Result, bail, ensure};
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct SendArguments {
    address: SocketAddr,
    /// Bytes on each stream
    #[arg(long, required_unless_present = "seconds")]
    bytes: Option<u64>,
    /// Stop after that time
    #[arg(long)]
    seconds: Option<f64>,
    #[arg(long, default_value_t = 1)]
    streams: usize,
}

#[derive(clap::Args)]
pub struct ReceiveArguments {
    #[arg(long)]
    listen: SocketAddr,
    /// Streams to wait for
    #[arg(long, default_value_t = 1)]
    streams: usize,
    /// Compare every byte with the pattern
    #[arg(long)]
    verify: bool,
}

/// Bytes of one call.
const CHUNK: usize = 128 << 10;

/// Sends the same on every stream, then waits until the receiver has closed it.
pub fn send(arguments: &SendArguments) -> Result<()> {
    let streams = (0..arguments.streams)
        .map(|_| TcpStream::connect(arguments.address))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("connecting to {}", arguments.address))?;
    let started = Instant::now();
    let limit = Limit {
        bytes: arguments.bytes.unwrap_or(u64::MAX),
        deadline: arguments.seconds.map(|seconds| started + Duration::from_secs_f64(seconds)),
    };
    let bytes = all(streams, |stream| send_stream(stream, limit))?;
    report::print(&report::Bulk { bytes, seconds: started.elapsed().as_secs_f64() })
}

/// When a stream has been sent enough.
#[derive(Clone, Copy)]
struct Limit {
    bytes: u64,
    deadline: Option<Instant>,
}

fn send_stream(mut stream: TcpStream, limit: Limit) -> Result<u64> {
    let pattern = Pattern::shared();
    let mut sent = 0;
    while sent < limit.bytes && limit.deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let part = pattern.at(sent);
        let length = (limit.bytes - sent).min(CHUNK.min(part.len()) as u64);
        let part = part.get(..length as usize).unwrap_or(part);
        stream.write_all(part).with_context(|| format!("after {sent} bytes"))?;
        sent += part.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    ensure!(stream.read(&mut [0])? == 0, "the receiver sent something");
    Ok(sent)
}

/// Receives streams to their ends.
pub fn receive(arguments: &ReceiveArguments) -> Result<()> {
    let listener = super::listen(arguments.listen)?;
    let streams =
        (0..arguments.streams).map(|_| Ok(listener.accept()?.0)).collect::<Result<Vec<_>>>()?;
    let started = OnceLock::new();
    let bytes = all(streams, |stream| receive_stream(stream, arguments.verify, &started))?;
    let seconds = started.get().map_or(0.0, |started| started.elapsed().as_secs_f64());
    report::print(&report::Bulk { bytes, seconds })
}

fn receive_stream(mut stream: TcpStream, verify: bool, started: &OnceLock<Instant>) -> Result<u64> {
    let pattern = Pattern::shared();
    let mut buffer = vec![0; CHUNK];
    let mut received = 0;
    loop {
        let length = stream.read(&mut buffer).with_context(|| format!("after {received} bytes"))?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return Ok(received);
        };
        started.get_or_init(Instant::now);
        if verify && let Some(index) = pattern.first_difference(received, bytes) {
            bail!("byte {} is not what was sent", received + index as u64);
        }
        received += bytes.len() as u64;
    }
}

/// Does the work on each stream in a thread of its own; the bytes of all of them.
fn all(streams: Vec<TcpStream>, work: impl Fn(TcpStream) -> Result<u64> + Sync) -> Result<u64> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            streams.into_iter().map(|stream| scope.spawn(move || work(stream))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a stream's thread panicked")))
            .sum()
    })
}
