//! `narrows ping`: ICMP echo from Narrows' address, in the words of ping(8).

use crate::arguments::Ping;
use anyhow::{Context, Result};
use narrows_client::{Error, Pong, Stack};
use narrows_ipc::Error as Refusal;
use narrows_testbed::Interrupt;
use std::{
    fmt::{self, Write as _},
    io::Write,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    process::ExitCode,
    time::{Duration, Instant},
};

/// IPv4 and ICMP headers, which ping(8) counts too.
const HEADERS: usize = 20 + 8;

pub fn execute(options: &Ping, stack: &Stack, out: &mut dyn Write) -> Result<ExitCode> {
    let destination = resolve(&options.destination)?;
    let interrupt = Interrupt::new().context("can't watch for Ctrl-C")?;
    let (name, size) = (&options.destination, usize::from(options.size));
    writeln!(out, "PING {name} ({destination}) {size}({}) bytes of data.", size + HEADERS)?;

    let began = Instant::now();
    let mut summary = Summary::default();
    // Sequence numbers wrap; nobody waits for the answer to one that was used 65,536 pings ago.
    for sequence in (1..=u16::MAX).cycle() {
        let sent_at = Instant::now();
        summary.sent += 1;
        match stack.ping(destination, sequence, options.size, options.timeout) {
            Ok(Pong { round_trip, ttl }) => {
                summary.round_trips.push(round_trip);
                let (bytes, time) = (size + 8, Milliseconds(round_trip));
                writeln!(
                    out,
                    "{bytes} bytes from {destination}: icmp_seq={sequence} ttl={ttl} time={time} ms"
                )?;
            }
            Err(Error::Refused(Refusal::TimedOut)) => {
                writeln!(out, "no answer yet for icmp_seq={sequence}")?;
            }
            Err(Error::Refused(
                error @ (Refusal::NetworkUnreachable
                | Refusal::HostUnreachable
                | Refusal::NetworkDown),
            )) => writeln!(out, "icmp_seq={sequence} {error}")?,
            Err(error) => return Err(error.into()),
        }
        out.flush()?;
        if options.count == Some(summary.sent) || interrupt.is_raised() {
            break;
        }
        interrupt.sleep(options.interval.saturating_sub(sent_at.elapsed()));
        if interrupt.is_raised() {
            break;
        }
    }
    write!(out, "\n--- {name} ping statistics ---\n{}", summary.describe(began.elapsed()))?;
    Ok(if summary.round_trips.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn resolve(name: &str) -> Result<Ipv4Addr> {
    let addresses =
        (name, 0).to_socket_addrs().with_context(|| format!("can't find an address of {name}"))?;
    let mut v4 = addresses.filter_map(|address| match address {
        SocketAddr::V4(address) => Some(*address.ip()),
        SocketAddr::V6(_) => None,
    });
    v4.next().with_context(|| format!("{name} has no IPv4 address"))
}

#[derive(Debug, Default)]
struct Summary {
    sent: u16,
    round_trips: Vec<Duration>,
}

impl Summary {
    fn describe(&self, elapsed: Duration) -> String {
        let (sent, received) = (self.sent, self.round_trips.len());
        let lost = 100 - (received * 100).checked_div(sent.into()).unwrap_or(100);
        let mut text = format!(
            "{sent} packets transmitted, {received} received, {lost}% packet loss, time {}ms\n",
            elapsed.as_millis()
        );
        if let (Some(min), Some(max)) =
            (self.round_trips.iter().min(), self.round_trips.iter().max())
        {
            let mean = self.round_trips.iter().sum::<Duration>().as_secs_f64() / received as f64;
            let deviation = self
                .round_trips
                .iter()
                .map(|time| (time.as_secs_f64() - mean).powi(2))
                .sum::<f64>()
                .max(0.0)
                / received as f64;
            let (mean, deviation) =
                [mean, deviation.sqrt()].map(Duration::from_secs_f64).map(Milliseconds).into();
            let (min, max) = (Milliseconds(*min), Milliseconds(*max));
            let _ = writeln!(
                text,
                "rtt min/avg/max/mdev = {min:.3}/{mean:.3}/{max:.3}/{deviation:.3} ms"
            );
        }
        text
    }
}

/// Three digits that matter, as ping(8) writes times; or as many decimals as asked for.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0.as_secs_f64() * 1e3;
        let decimals = f.precision().unwrap_or(match value {
            value if value < 1.0 => 3,
            value if value < 10.0 => 2,
            value if value < 100.0 => 1,
            _ => 0,
        });
        write!(f, "{value:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits() {
        for (microseconds, text) in
            [(61, "0.061"), (1_234, "1.23"), (12_345, "12.3"), (123_456, "123")]
        {
            assert_eq!(Milliseconds(Duration::from_micros(microseconds)).to_string(), text);
        }
    }

    #[test]
    fn summary_counts_and_averages() {
        let summary =
            Summary { sent: 3, round_trips: [100, 300].map(Duration::from_micros).to_vec() };
        assert_eq!(
            summary.describe(Duration::from_millis(2004)),
            "3 packets transmitted, 2 received, 34% packet loss, time 2004ms\n\
             rtt min/avg/max/mdev = 0.100/0.200/0.300/0.100 ms\n"
        );
        let nothing = Summary { sent: 2, round_trips: Vec::new() };
        assert_eq!(
            nothing.describe(Duration::from_millis(1000)),
            "2 packets transmitted, 0 received, 100% packet loss, time 1000ms\n"
        );
    }

    #[test]
    fn destinations() {
        assert_eq!(resolve("10.0.0.1").unwrap(), Ipv4Addr::new(10, 0, 0, 1));
        assert!(resolve("::1").unwrap_err().to_string().contains("no IPv4 address"));
    }
}
