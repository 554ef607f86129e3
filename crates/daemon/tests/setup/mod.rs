//! A network and a daemon on one end of it, for the tests.

use anyhow::{Context, Result, bail, ensure};
use narrows_client::{
    Stack,
    ipc::{Answer, Endpoint, Reply, Request},
};
use narrows_daemon::Options;
use narrows_testbed::Network;
use std::{
    fs,
    net::{SocketAddr, SocketAddrV4},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Nothing here takes that long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where the tests' servers on Narrows are.
#[allow(dead_code, reason = "not every test needs a server")]
pub const NARROWS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Network::NARROWS_ADDRESS, 8000));

/// Two namespaces, and where the daemon's files are.
pub struct Setup {
    pub network: Network,
    directory: PathBuf,
}

impl Setup {
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("narrows-wire-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let setup = Self { network: Network::new()?, directory };
        fs::write(setup.config(), config(&format!("packet:{}", Network::NARROWS_INTERFACE)))?;
        Ok(setup)
    }

    pub fn config(&self) -> PathBuf {
        self.directory.join("narrows.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("narrows.sock")
    }

    /// Runs a daemon in this thread, in Narrows' namespace.
    pub fn run(&self) -> Result<()> {
        let options = Options { config: Some(self.config()), socket: self.socket(), keeper: None };
        self.network.narrows.run(|| narrows_daemon::run(options))?
    }

    pub fn stack(&self) -> Result<Stack> {
        let start = Instant::now();
        loop {
            match Stack::connect(Some(&self.socket())) {
                Ok(stack) => return Ok(stack),
                Err(error) if start.elapsed() > PATIENCE => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    pub fn ask(&self, request: &Request) -> Result<Reply> {
        let mut endpoint = Endpoint::connect(&self.socket())?;
        endpoint.send(request, None)?;
        let (answer, _) = endpoint.recv::<Answer>()?.context("an answer")?;
        Ok(answer?)
    }

    pub fn counter(&self, name: &str) -> Result<u64> {
        let Reply::Statistics(statistics) = self.ask(&Request::Statistics)? else {
            bail!("not statistics");
        };
        let found = statistics.counters.iter().find(|(counter, _)| counter == name);
        Ok(found.with_context(|| format!("no counter {name}"))?.1)
    }

    pub fn until(&self, what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !done()? {
            ensure!(start.elapsed() < PATIENCE, "never came: {what}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        // Best effort, at the end of a test.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub fn config(device: &str) -> String {
    let address = Network::NARROWS_ADDRESS;
    format!("[[interface]]\nname = \"lan\"\ndevice = \"{device}\"\naddress = [\"{address}/24\"]\n")
}

/// Ends the daemon also when the test fails.
pub struct Stop<'a>(pub &'a Setup);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        // It may have been stopped already.
        let _ = self.0.ask(&Request::Stop);
    }
}

/// A daemon, what `test` does with it, and what must be true after every test.
pub fn with_daemon(test: impl FnOnce(&Setup, &Stack) -> Result<()>) -> Result<()> {
    let setup = Setup::new()?;
    thread::scope(|scope| {
        let daemon = scope.spawn(|| setup.run());
        let result = setup.stack().and_then(|stack| {
            let stop = Stop(&setup);
            test(&setup, &stack)?;
            setup.until("every anchor to go", || Ok(setup.counter("daemon-anchors")? == 0))?;
            drop(stop);
            Ok(())
        });
        let Ok(ended) = daemon.join() else { bail!("the daemon panicked") };
        result?;
        ended?;
        ensure!(!setup.socket().exists(), "the socket's file is left");
        Ok(())
    })
}
