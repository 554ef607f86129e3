//! A daemon on Narrows' end of a [`Network`], and programs on it.

use crate::{Namespace, Network, Output, Process};
use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A daemon answers long before; on a loaded machine it may take a while to be scheduled.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Commands that ask the daemon something.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// From the request to end until the end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// A running `narrows up`, with its configuration, socket and log in a directory of its own. All
/// of it goes on drop.
pub struct Daemon {
    process: Process,
    files: Files,
}

/// What outlives the process, so that a log can be read after it.
struct Files {
    directory: TempDir,
    narrows: PathBuf,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Daemon {
    /// Starts the program `narrows` as a daemon that owns Narrows' end of the wire.
    pub fn start(network: &Network, narrows: &Path) -> Result<Self> {
        let configuration = format!(
            "[[interface]]\nname = \"wire\"\ndevice = \"packet:{}\"\naddress = [\"{}/{}\"]\n",
            Network::NARROWS_INTERFACE,
            Network::NARROWS_ADDRESS,
            Network::PREFIX_LENGTH
        );
        Self::start_with(&network.narrows, narrows, &configuration)
    }

    /// Starts it in `namespace` with a configuration of the caller's.
    pub fn start_with(namespace: &Namespace, narrows: &Path, configuration: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("narrows-").tempdir()?;
        let files = Files { directory, narrows: narrows.to_owned() };
        fs::write(files.path("narrows.toml"), configuration)?;
        let log = File::create(files.path("log"))?;
        let mut command = namespace.command(narrows);
        command
            .arg("--socket")
            .arg(files.path("socket"))
            .arg("up")
            .arg("--config")
            .arg(files.path("narrows.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = Process::spawn(&mut command)
            .with_context(|| format!("starting {} up", narrows.display()))?;
        let mut daemon = Self { process, files };
        daemon.wait_until_it_answers(namespace)?;
        Ok(daemon)
    }

    fn wait_until_it_answers(&mut self, namespace: &Namespace) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("the daemon ended ({status}):\n{}", self.log());
            }
            let is_there = self.socket().exists();
            if is_there && self.ask(namespace, ["addr"])?.status.success() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the daemon does not answer after {START_LIMIT:?}:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The daemon's process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.files.path("socket")
    }

    /// A directory for the caller's files; it goes with the daemon.
    pub fn directory(&self) -> &Path {
        self.files.directory.path()
    }

    /// What the daemon has logged so far.
    pub fn log(&self) -> String {
        self.files.log()
    }

    /// `narrows --socket … WORDS`, in `namespace`.
    pub fn narrows(&self, namespace: &Namespace) -> Command {
        let mut command = namespace.command(&self.files.narrows);
        command.arg("--socket").arg(self.socket());
        command
    }

    /// Asks the daemon something: `ask(["ss", "-a"])`.
    pub fn ask<S: AsRef<OsStr>>(
        &self,
        namespace: &Namespace,
        words: impl IntoIterator<Item = S>,
    ) -> Result<Output> {
        Process::output(self.narrows(namespace).args(words), ASK_LIMIT)
    }

    /// `narrows run -- PROGRAM`; the program's arguments are the caller's to add.
    pub fn run(&self, namespace: &Namespace, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.narrows(namespace);
        command.args(["run", "--"]).arg(program);
        command
    }

    /// Ends it as SIGTERM does, and returns its log. An error if it had to be killed or failed.
    pub fn stop(mut self) -> Result<String> {
        let status = self.process.terminate(STOP_LIMIT)?;
        if !status.success() {
            bail!("the daemon ended with {status}:\n{}", self.log());
        }
        Ok(self.log())
    }
}
