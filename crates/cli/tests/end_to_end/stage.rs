//! A network with a daemon, and short words to run programs on it.

use anyhow::{Context, Result, bail, ensure};
use narrows_client::Stack;
use narrows_testbed::{Daemon, Network, Output, Process, wait_for_listener};
use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddrV4},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The program under test.
pub const NARROWS: &str = env!("CARGO_BIN_EXE_narrows");

/// No step of these tests takes half as long, on a slow machine either.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where a program runs, and who serves its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Narrows,
    Kernel,
}

impl On {
    pub fn address(self) -> Ipv4Addr {
        match self {
            Self::Narrows => Network::NARROWS_ADDRESS,
            Self::Kernel => Network::KERNEL_ADDRESS,
        }
    }

    pub fn port(self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(), port)
    }
}

pub struct Stage {
    pub daemon: Daemon,
    pub network: Network,
}

impl Stage {
    pub fn new() -> Result<Self> {
        let network = Network::new()?;
        let daemon = Daemon::start(&network, Path::new(NARROWS))?;
        Ok(Self { daemon, network })
    }

    /// With a configuration of the test's own.
    pub fn with(text: &str) -> Result<Self> {
        let network = Network::new()?;
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), text)?;
        Ok(Self { daemon, network })
    }

    /// Runs a Python script, which must succeed. Its arguments: its own address, an echo server's with
    /// the port, and the port.
    pub fn script(
        &self,
        on: On,
        python: &Path,
        name: &str,
        text: &str,
        echo: SocketAddrV4,
    ) -> Result<()> {
        let mut command = self.command(on, python);
        command.args(["-c", text]).arg(on.address().to_string());
        command.args([echo.to_string(), echo.port().to_string()]);
        let output =
            Process::output(&mut command, PATIENCE).with_context(|| format!("{name} on {on:?}"))?;
        ensure!(output.status.success(), "{name} on {on:?}:\n{}{}", output.stdout, output.stderr);
        Ok(())
    }

    /// A session with the daemon.
    pub fn stack(&self) -> Result<Stack> {
        Ok(Stack::connect(Some(&self.daemon.socket()))?)
    }

    /// A directory of the test's own.
    pub fn directory(&self) -> &Path {
        self.daemon.directory()
    }

    pub fn command(&self, on: On, program: impl AsRef<OsStr>) -> Command {
        match on {
            On::Narrows => self.daemon.run(&self.network.narrows, program),
            On::Kernel => self.network.kernel.command(program),
        }
    }

    /// One of the testbed's peers.
    pub fn peer(&self, on: On, words: &[&str]) -> Command {
        let mut command = self.command(on, NARROWS);
        command.arg("peer").args(words);
        command
    }

    /// `narrows WORDS`, to this daemon.
    pub fn ask(&self, words: &[&str]) -> Result<Output> {
        self.daemon.ask(&self.network.narrows, words)
    }

    /// Starts a server and waits until it accepts. What it writes to stderr is in `server.log`.
    pub fn serve(&self, on: On, port: u16, mut command: Command) -> Result<Process> {
        let log = self.directory().join("server.log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let process = Process::spawn(&mut command)?;
        wait_for_listener(&self.network.kernel, on.port(port), PATIENCE)
            .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        Ok(process)
    }

    /// An echo server at `port`.
    pub fn serve_echo(&self, on: On, port: u16) -> Result<Process> {
        let address = on.port(port).to_string();
        self.serve(on, port, self.peer(on, &["echo-server", "--listen", &address]))
    }

    /// Starts a program, waits for a line of its standard output that begins with `word`. Its
    /// standard input is a pipe.
    pub fn start(&self, mut command: Command, word: &str) -> Result<Process> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = Process::spawn(&mut command)?;
        let stdout = process.stdout().context("no standard output")?;
        for line in BufReader::new(stdout).lines() {
            if line?.starts_with(word) {
                return Ok(process);
            }
        }
        bail!("{command:?} ended before it said `{word}`")
    }

    /// Connections of an owner that the daemon lists.
    pub fn owned_sockets(&self) -> Result<usize> {
        Ok(self.stack()?.sockets()?.iter().filter(|row| row.owner.is_some()).count())
    }
}

/// Shown with a test that failed.
impl Drop for Stage {
    fn drop(&mut self) {
        eprintln!("the daemon's log:\n{}", self.daemon.log());
    }
}

/// Runs a program to its end, which has to be a success; what it wrote to stdout.
pub fn succeed(mut command: Command) -> Result<String> {
    let Output { status, stdout, stderr } = Process::output(&mut command, PATIENCE)?;
    ensure!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    Ok(stdout)
}

/// Runs a program to its end, which has to be a failure; what it wrote to stderr.
pub fn fail(mut command: Command) -> Result<String> {
    let Output { status, stdout, stderr } = Process::output(&mut command, PATIENCE)?;
    ensure!(!status.success(), "{command:?} succeeded\n{stdout}{stderr}");
    Ok(stderr)
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition()? {
        ensure!(Instant::now() < deadline, "still not, after {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A program of the distribution; `None` (and a word about it) if it isn't installed.
pub fn installed(program: &str) -> Result<Option<PathBuf>> {
    // Servers are where ordinary users don't look.
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = places.map(|place| place.join(program)).find(|path| path.is_file());
    if found.is_none() {
        ensure!(
            env::var_os("NARROWS_TESTS_REQUIRE_ALL").is_none(),
            "{program} is not installed, and NARROWS_TESTS_REQUIRE_ALL is set"
        );
        eprintln!("{program} is not installed: left out");
    }
    Ok(found)
}

/// A test for each script of that name, run by the function that is named first.
macro_rules! scripts {
    ($run:ident: $($name:ident)*) => {$(
        #[test]
        fn $name() -> anyhow::Result<()> {
            narrows_testbed::as_root(|| {
                $run(
                    stringify!($name),
                    concat!(
                        include_str!("scripts/fails.py"),
                        include_str!(concat!("scripts/", stringify!($name), ".py")),
                    ),
                )
            })
        }
    )*};
}
pub(crate) use scripts;
