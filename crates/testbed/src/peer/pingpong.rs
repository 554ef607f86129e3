//! `pingpong`: the time of one byte to an echo server and back.

use super::report;
use anyhow::{Result, ensure};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

#[derive(clap::Args)]
pub struct Arguments {
    address: SocketAddr,
    /// Round trips to measure
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Round trips before these
    #[arg(long, default_value_t = 500)]
    warm_up: usize,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.count > 0, "--count 0 measures nothing");
    let mut stream = TcpStream::connect(arguments.address)?;
    stream.set_nodelay(true)?;
    for number in 0..arguments.warm_up {
        round_trip(&mut stream, number)?;
    }
    let times: Result<Vec<Duration>> =
        (0..arguments.count).map(|number| round_trip(&mut stream, number)).collect();
    let mut times = times?;
    times.sort_unstable();
    report::print(&report::RoundTrips {
        count: times.len(),
        p50: quantile(&times, 0.5),
        p99: quantile(&times, 0.99),
        max: quantile(&times, 1.0),
    })
}

fn round_trip(stream: &mut TcpStream, number: usize) -> Result<Duration> {
    let request = [number as u8];
    let mut reply = [0];
    let sent = Instant::now();
    stream.write_all(&request)?;
    stream.read_exact(&mut reply)?;
    let time = sent.elapsed();
    ensure!(reply == request, "wrong reply to byte {number}");
    Ok(time)
}

/// Of times in order, in microseconds.
fn quantile(times: &[Duration], part: f64) -> f64 {
    let index = (times.len().saturating_sub(1) as f64 * part).round() as usize;
    times.get(index).map_or(0.0, |time| time.as_nanos() as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_times_measured() {
        let times: Vec<_> = (1..=100).map(Duration::from_micros).collect();
        let cases = [(0.0, 1.0), (0.5, 51.0), (0.99, 99.0), (1.0, 100.0)];
        for (part, expected) in cases {
            assert_eq!(quantile(&times, part), expected, "{part}");
        }
        assert_eq!(quantile(&times[..1], 0.5), 1.0);
    }
}
