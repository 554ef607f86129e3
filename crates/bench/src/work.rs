//! What is measured: each kind of work, done by the same unmodified programs on either stack.

use crate::{
    lab::{Bench, End},
    sample::Unit,
};
use anyhow::{Context, Result};
use narrows_testbed::{
    Process,
    peer::report::{self, Bulk, Connections, RoundTrips},
};
use std::{fs, path::PathBuf, thread, time::Duration};

/// Short connections of one round, and how many at a time.
const CONNECTIONS: usize = 2000;
const AT_A_TIME: usize = 16;

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From this end over the wire.
    Out,
    /// Over the wire to this end.
    In,
    /// From this end to itself.
    Local,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    Bulk {
        streams: u8,
        way: Way,
    },
    /// One byte there and back, the client here.
    RoundTrips {
        way: Way,
    },
    /// Short connections, each with a line there and back.
    Connections {
        way: Way,
    },
}

/// Everything, in the table's order.
pub const ALL: [Work; 11] = [
    Work::Bulk { streams: 1, way: Way::Out },
    Work::Bulk { streams: 1, way: Way::In },
    Work::Bulk { streams: 4, way: Way::Out },
    Work::Bulk { streams: 4, way: Way::In },
    Work::Bulk { streams: 1, way: Way::Local },
    Work::Bulk { streams: 4, way: Way::Local },
    Work::RoundTrips { way: Way::Out },
    Work::RoundTrips { way: Way::Local },
    Work::Connections { way: Way::Out },
    Work::Connections { way: Way::In },
    Work::Connections { way: Way::Local },
];

/// The programs, and for how long.
pub struct Means {
    /// Else the testbed's peers move the bulk.
    pub iperf3: Option<PathBuf>,
    pub time: Duration,
}

impl Work {
    /// What `--only` is compared with.
    pub fn name(self) -> String {
        let way = |way| match way {
            Way::Out => "out",
            Way::In => "in",
            Way::Local => "local",
        };
        match self {
            Self::Bulk { streams, way: to } => format!("bulk-{streams}-{}", way(to)),
            Self::RoundTrips { way: to } => format!("round-trip-{}", way(to)),
            Self::Connections { way: to } => format!("connections-{}", way(to)),
        }
    }

    /// The rows of the table that it fills, in the order of what [`Work::measure`] returns.
    pub fn rows(self) -> Vec<(String, Unit)> {
        let over = |way| if way == Way::Local { "local" } else { "wire" };
        match self {
            Self::Bulk { streams, way } => {
                let way = match way {
                    Way::Out => "sent",
                    Way::In => "received",
                    Way::Local => "local",
                };
                let plural = if streams == 1 { "" } else { "s" };
                vec![(format!("bulk, {streams} stream{plural}, {way}"), Unit::GigabitsPerSecond)]
            }
            Self::RoundTrips { way } => ["p50", "p99"]
                .map(|part| {
                    (format!("1-byte round trip, {}, {part}", over(way)), Unit::Microseconds)
                })
                .to_vec(),
            Self::Connections { way } => {
                let way = match way {
                    Way::Out => "made",
                    Way::In => "taken",
                    Way::Local => "local",
                };
                vec![(format!("connections, {way}"), Unit::PerSecond)]
            }
        }
    }

    /// Does it once.
    pub fn measure(self, bench: &Bench<'_>, means: &Means) -> Result<Vec<f64>> {
        match self {
            Self::Bulk { streams, way } => match &means.iperf3 {
                Some(iperf3) => iperf3_bulk(bench, iperf3.clone(), streams, way, means.time),
                None => peer_bulk(bench, streams, way, means.time),
            }
            .map(|rate| vec![rate]),
            Self::RoundTrips { way } => round_trips(bench, way),
            Self::Connections { way } => connections(bench, way).map(|rate| vec![rate]),
        }
    }
}

/// Where the server is, for a client here.
fn far_end(way: Way) -> End {
    if way == Way::Local { End::Here } else { End::There }
}

/// Gigabits a second by iperf3, as its receiver counts them; CUBIC on whatever stack sends.
fn iperf3_bulk(
    bench: &Bench<'_>,
    iperf3: PathBuf,
    streams: u8,
    way: Way,
    time: Duration,
) -> Result<f64> {
    let end = far_end(way);
    let address = bench.address(end);
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    let mut server = bench.command(end, &iperf3);
    server.args(["-s", "-1", "--forceflush", "-B", &ip, "-p", &port]);
    let server = bench.serve(address, server, "Server listening")?;
    let mut client = bench.command(End::Here, &iperf3);
    client.args(["-c", &ip, "-p", &port, "-J", "-C", "cubic"]);
    client.args(["-t", &time.as_secs().max(1).to_string(), "-P", &streams.to_string()]);
    if way == Way::In {
        client.arg("-R");
    }
    let output = bench.measure(client)?;
    drop(server);
    let json: serde_json::Value = serde_json::from_str(&output).context("iperf3's JSON")?;
    let bits = json["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.with_context(|| format!("no rate in iperf3's JSON: {output}"))? / 1e9)
}

/// The same by the testbed's peers.
fn peer_bulk(bench: &Bench<'_>, streams: u8, way: Way, time: Duration) -> Result<f64> {
    let (receiver_end, sender_end) = match way {
        Way::Out => (End::There, End::Here),
        Way::In => (End::Here, End::There),
        Way::Local => (End::Here, End::Here),
    };
    let address = bench.address(receiver_end);
    let streams = streams.to_string();
    let mut receiver = bench.peer(receiver_end, "bulk-receive");
    receiver.args(["--listen", &address.to_string(), "--streams", &streams]);
    let receiver = bench.serve(address, receiver, "listening")?;
    let mut sender = bench.peer(sender_end, "bulk-send");
    sender.args([&address.to_string(), "--streams", &streams]);
    sender.args(["--seconds", &time.as_secs_f64().to_string()]);
    bench.measure(sender)?;
    let bulk: Bulk = report::read(&receiver.last_line()?)?;
    Ok(bulk.bytes as f64 * 8.0 / 1e9 / bulk.seconds)
}

fn round_trips(bench: &Bench<'_>, way: Way) -> Result<Vec<f64>> {
    let address = bench.address(far_end(way));
    let mut server = bench.peer(far_end(way), "echo-server");
    server.args(["--listen", &address.to_string()]);
    let server = bench.serve(address, server, "listening")?;
    let mut client = bench.peer(End::Here, "pingpong");
    client.arg(server.address.to_string());
    let trips: RoundTrips = report::read(&bench.measure(client)?)?;
    Ok(vec![trips.p50, trips.p99])
}

fn connections(bench: &Bench<'_>, way: Way) -> Result<f64> {
    let (server_end, client_end) = match way {
        Way::Out => (End::There, End::Here),
        Way::In => (End::Here, End::There),
        Way::Local => (End::Here, End::Here),
    };
    let address = bench.address(server_end);
    let mut server = bench.peer(server_end, "echo-server");
    server.args(["--listen", &address.to_string()]);
    let server = bench.serve(address, server, "listening")?;
    let mut client = bench.peer(client_end, "storm");
    client.arg(server.address.to_string());
    client.args(["--connections", &CONNECTIONS.to_string()]);
    client.args(["--parallel", &AT_A_TIME.to_string()]);
    let storm: Connections = report::read(&bench.measure(client)?)?;
    Ok(storm.connections as f64 / storm.seconds)
}

/// The part of one core that a process takes over some time.
pub fn cpu_share(process: &Process, time: Duration) -> Result<f64> {
    let before = cpu_nanoseconds(process.id())?;
    thread::sleep(time);
    let spent = cpu_nanoseconds(process.id())?.saturating_sub(before);
    Ok(spent as f64 / time.as_nanos() as f64)
}

/// All threads together, as the scheduler counts it (proc(5), `schedstat`).
fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
        sum += first.context("schedstat has another form than expected")?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_rows_tell_work_apart() {
        let names: HashSet<String> = ALL.iter().map(|work| work.name()).collect();
        assert_eq!(names.len(), ALL.len());
        let rows: Vec<_> = ALL.iter().flat_map(|work| work.rows()).map(|(name, _)| name).collect();
        assert_eq!(rows.iter().collect::<HashSet<_>>().len(), rows.len(), "{rows:?}");
    }
}
