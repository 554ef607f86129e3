//! Where the demo plays: a network, a daemon, files to serve, and the programs that run.

use super::report::Report;
use crate::run::program;
use anyhow::{Context, Result, bail, ensure};
use narrows_client::Stack;
use narrows_testbed::{
    Daemon, Interrupt, Network, Process,
    peer::{
        Pattern,
        report::{self as peer_report, Connections, Fetch},
    },
    wait_for_listener,
};
use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What is fetched: the size, and the name it is served by.
pub const FILE_SIZE: u64 = 256 << 20;
const FILE: &str = "file";

/// The short connections, and how many of them at a time.
pub const SHORT_CONNECTIONS: usize = 1000;
pub const AT_A_TIME: usize = 64;

/// A transfer takes a second or two; one that takes so long has stalled.
const PATIENCE: Duration = Duration::from_secs(60);
/// Python may take a while to start on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How often a wait looks whether it was interrupted.
const GLANCE: Duration = Duration::from_millis(20);

/// Where a program runs, and who serves its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the daemon's end of the wire, its sockets served by Narrows.
    Narrows,
    /// At the other end, on the kernel.
    Kernel,
    /// At the daemon's end of the wire, on the kernel; once the daemon has ended.
    KernelAtNarrowsEnd,
}

impl Place {
    pub fn address(self) -> Ipv4Addr {
        match self {
            Self::Narrows => Network::NARROWS_ADDRESS,
            Self::Kernel => Network::KERNEL_ADDRESS,
            Self::KernelAtNarrowsEnd => Network::KERNEL_ADDRESS_AT_NARROWS,
        }
    }
}

pub struct Scene<'a> {
    // In the order in which they have to go.
    servers: Vec<Process>,
    daemon: Option<Daemon>,
    pub network: Network,
    files: TempDir,
    interrupt: &'a Interrupt,
    narrows: PathBuf,
    python: Option<PathBuf>,
    /// Of [`FILE`].
    sha256: String,
    log: String,
    next_port: u16,
}

impl<'a> Scene<'a> {
    pub fn new(interrupt: &'a Interrupt, report: &mut Report<'_>) -> Result<Self> {
        let narrows = env::current_exe().context("can't tell where narrows itself is")?;
        let python = program::find(OsStr::new("python3"), env::var_os("PATH").as_deref())
            .ok()
            .filter(|path| program::check(path).is_ok());
        let network = Network::new()?;
        let files = tempfile::Builder::new().prefix("narrows-demo-").tempdir()?;
        let sha256 = write_file(&files)?;
        let daemon = Daemon::start(&network, &narrows)?;
        report.line(&format!(
            "Two network namespaces joined by a veth pair: Narrows is {}, the kernel {}.",
            Place::Narrows.address(),
            Place::Kernel.address()
        ))?;
        Ok(Self {
            servers: Vec::new(),
            daemon: Some(daemon),
            network,
            files,
            interrupt,
            narrows,
            python,
            sha256,
            log: String::new(),
            next_port: 8000,
        })
    }

    /// The daemon's log, also after its end.
    pub fn log(&self) -> String {
        self.daemon.as_ref().map_or_else(|| self.log.clone(), Daemon::log)
    }

    fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("the daemon has ended already")
    }

    /// A session with the daemon.
    pub fn stack(&self) -> Result<Stack> {
        Ok(Stack::connect(Some(&self.daemon()?.socket()))?)
    }

    /// Ends the daemon, and leaves its end of the wire to the kernel.
    pub fn leave_to_the_kernel(&mut self) -> Result<()> {
        self.servers.clear();
        if let Some(daemon) = self.daemon.take() {
            self.log = daemon.log();
            self.log = daemon.stop()?;
        }
        self.network.address_narrows_end()
    }

    /// What a server of files is here.
    pub fn file_server(&self) -> &'static str {
        if self.python.is_some() { "python3 -m http.server" } else { "a std::net web server" }
    }

    /// Starts a web server; what to fetch from it.
    pub fn serve_files(&mut self, place: Place) -> Result<String> {
        let address = self.next_address(place);
        let (ip, port) = (address.ip().to_string(), address.port().to_string());
        let mut command = match self.python.clone() {
            Some(python) => {
                let mut command = self.command(place, &python)?;
                command.args(["-m", "http.server", "--bind", &ip, "--directory"]);
                command.arg(self.files.path()).arg(port);
                command
            }
            None => {
                let mut command = self.peer(place, "http-server")?;
                command.arg(self.files.path()).arg("--listen").arg(address.to_string());
                command
            }
        };
        self.start_server(place, address, &mut command)?;
        Ok(format!("http://{address}/{FILE}"))
    }

    /// Starts an echo server.
    pub fn serve_echo(&mut self, place: Place) -> Result<SocketAddrV4> {
        let address = self.next_address(place);
        let mut command = self.peer(place, "echo-server")?;
        command.arg("--listen").arg(address.to_string());
        self.start_server(place, address, &mut command)?;
        Ok(address)
    }

    /// Fetches the file and checks it. `progress` is told how much has come.
    pub fn fetch(&self, place: Place, url: &str, progress: impl Fn(u64)) -> Result<Fetch> {
        let mut command = self.peer(place, "http-client")?;
        command.args([url, "--sha256", "--progress"]);
        let report = self.follow(&mut command, |line| {
            if let Ok(bytes) = line.parse() {
                progress(bytes);
            }
        })?;
        let fetch: Fetch = peer_report::read(&report)?;
        ensure!(fetch.bytes == FILE_SIZE, "{} bytes came, of {FILE_SIZE}", fetch.bytes);
        ensure!(
            fetch.sha256.as_ref() == Some(&self.sha256),
            "the bytes that came are not those that were sent (SHA-256)"
        );
        Ok(fetch)
    }

    /// Many short connections to an echo server.
    pub fn storm(&self, place: Place, server: SocketAddrV4) -> Result<Connections> {
        let mut command = self.peer(place, "storm")?;
        command.arg(server.to_string());
        command.arg("--connections").arg(SHORT_CONNECTIONS.to_string());
        command.arg("--parallel").arg(AT_A_TIME.to_string());
        let report = self.follow(&mut command, |_| {})?;
        let connections: Connections = peer_report::read(&report)?;
        ensure!(
            connections.connections == SHORT_CONNECTIONS,
            "{} connections were made, of {SHORT_CONNECTIONS}",
            connections.connections
        );
        Ok(connections)
    }

    /// A connection that stays open as long as what is returned.
    pub fn hold(&self, place: Place, server: SocketAddrV4) -> Result<Process> {
        let mut command = self.peer(place, "hold")?;
        command.arg(server.to_string()).args(["--connections", "1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Process::spawn(&mut command)?;
        let stdout = process.stdout().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.starts_with("holding"), "no connection to {server}");
        Ok(process)
    }

    fn next_address(&mut self, place: Place) -> SocketAddrV4 {
        let port = self.next_port;
        self.next_port += 1;
        SocketAddrV4::new(place.address(), port)
    }

    fn command(&self, place: Place, program: impl AsRef<OsStr>) -> Result<Command> {
        Ok(match place {
            Place::Narrows => self.daemon()?.run(&self.network.narrows, program),
            Place::Kernel => self.network.kernel.command(program),
            Place::KernelAtNarrowsEnd => self.network.narrows.command(program),
        })
    }

    fn peer(&self, place: Place, name: &str) -> Result<Command> {
        let mut command = self.command(place, &self.narrows)?;
        command.args(["peer", name]);
        Ok(command)
    }

    fn start_server(
        &mut self,
        place: Place,
        address: SocketAddrV4,
        command: &mut Command,
    ) -> Result<()> {
        let errors = self.files.path().join("server-errors");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);
        let server = Process::spawn(command)?;
        let from = match place {
            Place::Narrows | Place::Kernel => &self.network.kernel,
            Place::KernelAtNarrowsEnd => &self.network.narrows,
        };
        wait_for_listener(from, address, START_LIMIT)
            .with_context(|| fs::read_to_string(&errors).unwrap_or_default().trim().to_owned())
            .context("the server did not start")?;
        self.servers.push(server);
        Ok(())
    }

    /// Runs a program to its end and passes its lines on; returns the last one.
    fn follow(&self, command: &mut Command, on_line: impl Fn(&str)) -> Result<String> {
        let errors = self.files.path().join("errors");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&errors)?);
        let mut process = Process::spawn(command)?;
        let stdout = process.stdout().context("no standard output")?;
        let (sender, lines) = mpsc::channel();
        // Ends with the program, whose output it reads.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        loop {
            match lines.recv_timeout(GLANCE) {
                Ok(line) => {
                    on_line(&line);
                    last = line;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            ensure!(!self.interrupt.is_raised(), "interrupted");
            ensure!(Instant::now() < deadline, "no end after {PATIENCE:?}; got as far as {last}");
        }
        let status = process.wait(GLANCE)?;
        if !status.success() {
            bail!("{status}: {}", fs::read_to_string(&errors).unwrap_or_default().trim());
        }
        Ok(last)
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupt.is_raised()
    }
}

/// Writes [`FILE`]; its SHA-256.
fn write_file(files: &TempDir) -> Result<String> {
    let pattern = Pattern::shared();
    let path = files.path().join(FILE);
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(&path)?);
        let mut written = 0;
        while written < FILE_SIZE {
            let part = pattern.at(written);
            let length = part.len().min((FILE_SIZE - written) as usize);
            file.write_all(&part[..length])?;
            written += length as u64;
        }
        file.flush()
    };
    write().with_context(|| format!("can't write {FILE_SIZE} bytes to {}", path.display()))?;
    Ok(pattern.sha256(FILE_SIZE))
}
