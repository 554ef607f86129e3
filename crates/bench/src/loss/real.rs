//! Linux, and Narrows' daemon, in real time over the [`Wire`](super::wire::Wire).

use super::{
    cells::{self, Cell},
    jain,
    wire::Wire,
};
use crate::command::ip;
use anyhow::{Context, Result, ensure};
use narrows_sim::LinkSettings;
use narrows_stack::tcp::congestion::Algorithm;
use narrows_testbed::{Daemon, Namespace, Process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const INTERFACE: &str = "w0";
const PATIENCE: Duration = Duration::from_secs(60);
/// iperf3 says that it listens before it does.
const SETTLE: Duration = Duration::from_millis(300);

const CONFIGURATION: &str = "\
[[interface]]
name = \"wire\"
device = \"packet:w0\"
address = [\"10.3.0.3/24\"]
";

pub struct Lab {
    ends: [Namespace; 2],
    narrows: PathBuf,
    time: Duration,
}

impl Lab {
    pub fn new(narrows: &Path, time: Duration) -> Result<Self> {
        let ends = [Namespace::new()?, Namespace::new()?];
        for end in &ends {
            // Its chatter would be lost instead of what is to be.
            end.run(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")).map(drop)?;
        }
        Ok(Self { ends, narrows: narrows.to_owned(), time })
    }

    /// Does this kernel have the algorithm?
    pub fn has(&self, algorithm: Algorithm) -> Result<bool> {
        const LIST: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
        let names = fs::read_to_string(LIST).context(LIST)?;
        Ok(names.split_whitespace().any(|name| name == algorithm.name()))
    }

    /// Mbit/s of payload of a stream between two kernels.
    pub fn linux(&self, cell: &Cell, algorithm: Algorithm) -> Result<f64> {
        let _wire = self.wire(cell.links())?;
        let shares = self.bulk(self.ends[0].command("iperf3"), algorithm, 1)?;
        Ok(shares.iter().sum())
    }

    /// The same, from Narrows to a kernel.
    pub fn daemon(&self, cell: &Cell, algorithm: Algorithm) -> Result<f64> {
        let _wire = self.wire(cell.links())?;
        let daemon = Daemon::start_with(&self.ends[0], &self.narrows, CONFIGURATION)?;
        let shares = self.bulk(daemon.run(&self.ends[0], "iperf3"), algorithm, 1)?;
        daemon.stop()?;
        Ok(shares.iter().sum())
    }

    /// Jain's index of so many streams between two kernels, and what they get together.
    pub fn sharing(&self, algorithm: Algorithm, flows: usize) -> Result<(f64, f64)> {
        let _wire = self.wire(cells::shared())?;
        let shares = self.bulk(self.ends[0].command("iperf3"), algorithm, flows)?;
        Ok((jain(&shares), shares.iter().sum()))
    }

    fn wire(&self, settings: [LinkSettings; 2]) -> Result<Wire> {
        let [one, other] = &self.ends;
        let wire = Wire::new([one, other], INTERFACE, settings)?;
        for (number, end) in self.ends.iter().enumerate() {
            ip(end, &format!("addr add 10.3.0.{}/24 dev {INTERFACE}", number + 1))?;
            ip(end, &format!("link set {INTERFACE} up"))?;
        }
        Ok(wire)
    }

    /// Mbit/s of each stream, as the receiver counts them. `client`: iperf3, on some stack.
    fn bulk(&self, client: Command, algorithm: Algorithm, streams: usize) -> Result<Vec<f64>> {
        let mut server = self.ends[1].command("iperf3");
        server.args(["--server", "--one-off", "--bind", "10.3.0.2"]);
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Process::spawn(&mut server).context("iperf3 is needed")?;
        thread::sleep(SETTLE);
        let mut client = client;
        client.args(["--client", "10.3.0.2", "--json", "--congestion", algorithm.name()]);
        client.args(["--time", &self.time.as_secs().to_string()]);
        client.args(["--parallel", &streams.to_string()]);
        let output = Process::output(&mut client, PATIENCE + self.time)?;
        ensure!(output.status.success(), "iperf3: {}{}", output.stdout, output.stderr);
        // A server whose last word is lost is ended on drop.
        let _ended = server.terminate(Duration::from_secs(1));
        let report: serde_json::Value = serde_json::from_str(&output.stdout)?;
        let streams = report["end"]["streams"].as_array().context("iperf3 without streams")?;
        let rate = |stream: &serde_json::Value| {
            stream["receiver"]["bits_per_second"].as_f64().map(|bits| bits / 1e6)
        };
        streams.iter().map(|stream| rate(stream).context("iperf3 without a rate")).collect()
    }
}
