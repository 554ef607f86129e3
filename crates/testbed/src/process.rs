//! Programs that are gone when their [`Process`] is.

use crate::Namespace;
use anyhow::{Context, Result, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};
use std::{
    io::{ErrorKind, Read},
    net::{SocketAddrV4, TcpStream},
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A running program with a process group of its own. The group is killed when the program is found
/// to have ended, and on drop.
pub struct Process {
    child: Child,
    /// The child's process, and by [`CommandExt::process_group`] its group.
    id: Pid,
    /// Readable once the child has ended.
    ended: OwnedFd,
    name: String,
    /// Set once it is reaped.
    status: Option<ExitStatus>,
}

/// What a program said until it ended.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    /// Starts the program. A command from [`Namespace::command`] is killed when the thread that
    /// calls this ends.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.process_group(0).spawn().with_context(|| format!("starting {name}"))?;
        let id = Pid::from_child(&child);
        let ended = pidfd_open(id, PidfdFlags::empty())
            .with_context(|| format!("watching {name} (process {id})"))?;
        Ok(Self { child, id, ended, name, status: None })
    }

    /// Runs a program to its end, at most for `limit`, and collects what it writes.
    pub fn output(command: &mut Command, limit: Duration) -> Result<Output> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Self::spawn(command)?;
        let (stdout, stderr) = (process.stdout(), process.stderr());
        thread::scope(|scope| {
            let stdout = scope.spawn(|| read_text(stdout));
            let stderr = scope.spawn(|| read_text(stderr));
            // On every way out the group is dead before the readers are joined, so they end.
            let status = process.wait(limit);
            drop(process);
            let text = |reader: thread::ScopedJoinHandle<'_, String>| {
                reader.join().unwrap_or_else(|_| "(unreadable)".into())
            };
            let (stdout, stderr) = (text(stdout), text(stderr));
            let status = status.with_context(|| format!("it wrote: {stdout}{stderr}"))?;
            Ok(Output { status, stdout, stderr })
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The end of the pipe asked for in the command; it can be taken once, as the next two.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// `None` while it runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ends_within(Duration::ZERO)? { self.reap().map(Some) } else { Ok(None) }
    }

    /// Waits for its end; an error when it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if !self.ends_within(limit)? {
            bail!("{} (process {}) still runs after {limit:?}", self.name, self.id);
        }
        self.reap()
    }

    /// Sends SIGTERM to the group, and SIGKILL if the program still runs after `grace`.
    pub fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ends_within(grace)?;
        self.reap()
    }

    /// Sends SIGKILL to the group and reaps the program.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.reap()
    }

    /// Sends a signal to the program and those it started; none once the program was reaped.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.status.is_some() {
            return Ok(());
        }
        kill_process_group(self.id, signal)
            .with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    /// Kills the group, then reaps the program: in this order, because the group's number is free
    /// for others once the program is reaped.
    fn reap(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        self.signal(Signal::KILL)?;
        let status = self.child.wait().with_context(|| format!("waiting for {}", self.name))?;
        self.status = Some(status);
        Ok(status)
    }

    fn ends_within(&self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut descriptors = [PollFd::new(&self.ended, PollFlags::IN)];
            match poll(&mut descriptors, Some(&Timespec::try_from(left)?)) {
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for a process"),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing can be done about a failure here.
        let _ = self.reap();
    }
}

fn read_text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What was read before an error is kept.
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until something accepts TCP connections at `address`, seen from the kernel of `namespace`.
/// (It accepts one more than the caller makes: the one this tries with, closed at once.)
pub fn wait_for_listener(
    namespace: &Namespace,
    address: SocketAddrV4,
    limit: Duration,
) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    let deadline = Instant::now() + limit;
    namespace.run(|| {
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
            match TcpStream::connect_timeout(&address.into(), left) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("nothing listens at {address}"));
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(_) => thread::sleep(PAUSE),
            }
        }
    })?
}
