//! What a run consists of; running it, and reporting its failure.

use crate::{
    app::{Calls, Scripts},
    draw,
    invariant::Broken,
    link::LinkSettings,
    trace::Trace,
    world::World,
};
use core::fmt::Write;
use narrows_stack::{
    Config, Error, Instant, counters::Counters, request::SocketOption, time::Duration,
};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

/// Names a seed to run alone, with all its frames written down.
pub const SEED_VARIABLE: &str = "NARROWS_SIM_SEED";

/// Everything about a run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub seed: u64,
    /// When the clock starts.
    pub start: Instant,
    /// A host each: the engine's configuration, and the wire it sends on.
    pub hosts: Vec<(Config, LinkSettings)>,
    pub connections: Vec<Connection>,
    pub incidents: Vec<(Duration, Incident)>,
    /// Of 10,000 frames, how many are followed by a hostile one.
    pub hostile: u32,
    /// By when all programs must be done.
    pub deadline: Duration,
}

/// A client and a server, and what they do.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Numbers of hosts; they may be the same.
    pub client: usize,
    pub server: usize,
    /// When the client calls.
    pub at: Duration,
    pub scripts: Scripts,
    pub calls: Calls,
    pub options: Vec<SocketOption>,
    pub ends: Ends,
}

/// How a connection may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Both scripts are done.
    Clean,
    /// Either side may see the other break off.
    Broken,
    /// The client fails with this; the server may fail as well.
    Fails(Error),
}

/// What happens to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// Nothing gets out of this host, or again.
    Silent { host: usize, silent: bool },
}

/// A run that went well.
#[derive(Clone, Debug)]
pub struct Report {
    /// From the start until all programs were done, and until nothing was left of them.
    pub programs_done: Duration,
    pub ended: Duration,
    /// Of all programs: bytes sent and received.
    pub bytes: u64,
    /// Bytes that the server of each connection received.
    pub received: Vec<u64>,
    /// Of each client that sent something: its first sequence number.
    pub client_iss: Vec<u32>,
    /// Of each host.
    pub counters: Vec<Counters>,
}

impl Connection {
    /// From host 0 to host 1, at the start.
    pub fn new(scripts: Scripts) -> Self {
        Self {
            client: 0,
            server: 1,
            at: Duration::ZERO,
            scripts,
            calls: Calls::default(),
            options: Vec::new(),
            ends: Ends::Clean,
        }
    }
}

impl Scenario {
    /// Two hosts with a faultless wire between them, and nothing going on.
    pub fn new(name: &str, seed: u64) -> Self {
        Self {
            name: name.to_owned(),
            seed,
            start: Instant::from_millis(1_000),
            hosts: vec![(Config::default(), LinkSettings::default()); 2],
            connections: Vec::new(),
            incidents: Vec::new(),
            hostile: 0,
            deadline: Duration::from_secs(3600),
        }
    }

    /// Both directions of the wire.
    #[must_use]
    pub fn link(mut self, settings: LinkSettings) -> Self {
        self.hosts.iter_mut().for_each(|(_, link)| *link = settings.clone());
        self
    }

    /// Changes the configuration of all hosts.
    #[must_use]
    pub fn config(mut self, change: impl Fn(&mut Config)) -> Self {
        self.hosts.iter_mut().for_each(|(config, _)| change(config));
        self
    }

    #[must_use]
    pub fn connection(mut self, connection: Connection) -> Self {
        self.connections.push(connection);
        self
    }

    /// Runs, and panics with all that is needed to look into it if anything was wrong.
    pub fn run(&self) -> Report {
        self.try_run().unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Runs; `Err` says what was wrong, how to repeat it, and where its frames are.
    pub fn try_run(&self) -> Result<Report, String> {
        let broken = match self.attempt(None) {
            Ok(report) => return Ok(report),
            Err(broken) => broken,
        };
        let mut message = format!("{}, seed {}: {broken}\n", self.name, self.seed);
        // The report is for a person; a String takes all that is written.
        let _ = match self.attempt_with_trace() {
            Ok((path, Err(again))) => {
                let same = if again == broken { "" } else { " (which failed otherwise!)" };
                writeln!(message, "  frames of a second run{same}: {}", path.display())
            }
            Ok((_, Ok(_))) => writeln!(message, "  a second run went well: not deterministic!"),
            Err(error) => writeln!(message, "  no trace: {error}"),
        };
        let _ = writeln!(message, "  to repeat a drawn one: {SEED_VARIABLE}={}", self.seed);
        Err(message)
    }

    fn attempt(&self, trace: Option<Trace>) -> Result<Report, Broken> {
        let run = || World::new(self, trace)?.run(self);
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(panic_message(&*panic)))
    }

    /// Runs with every frame written to `target/narrows-sim/NAME-SEED.pcap`.
    pub fn attempt_with_trace(&self) -> std::io::Result<(PathBuf, Result<Report, Broken>)> {
        let path = trace_folder().join(format!("{}-{}.pcap", self.name, self.seed));
        let trace = Trace::create(&path)?;
        Ok((path, self.attempt(Some(trace))))
    }
}

/// Runs the scenario that `seed` draws.
pub fn run_seed(seed: u64) -> Result<Report, String> {
    draw::scenario(seed).try_run()
}

fn panic_message(panic: &(dyn Any + Send)) -> Broken {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Broken(format!("panic: {}", text.unwrap_or_default()))
}

/// Beside what was built: the program is in `target/PROFILE/deps`.
fn trace_folder() -> PathBuf {
    let program = std::env::current_exe().ok();
    let target = program.as_deref().and_then(|program| program.ancestors().nth(3));
    target.map_or_else(std::env::temp_dir, |target| target.to_owned()).join("narrows-sim")
}
