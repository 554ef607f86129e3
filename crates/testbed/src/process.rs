//! (being written)

use crate::Namespace;
use anyhow::Result;
use std::{
    net::SocketAddrV4,
    process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus},
    time::Duration,
};

/// A running program with a process group of its own; the group is killed and reaped on drop.
pub struct Process {}

/// What a program said until it ended.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Process {
    pub fn spawn(_command: &mut Command) -> Result<Self> {
        todo!()
    }

    /// Runs a program to its end, at most for `limit`, and collects what it writes.
    pub fn output(_command: &mut Command, _limit: Duration) -> Result<Output> {
        todo!()
    }

    pub fn id(&self) -> u32 {
        todo!()
    }

    /// The ends of the pipes asked for in the command; each can be taken once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        todo!()
    }
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        todo!()
    }
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        todo!()
    }

    /// `None` while it runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        todo!()
    }

    /// Waits for its end; an error when it still runs after `limit`.
    pub fn wait(&mut self, _limit: Duration) -> Result<ExitStatus> {
        todo!()
    }

    /// Sends SIGTERM to the group, and SIGKILL if the program still runs after `grace`.
    pub fn terminate(&mut self, _grace: Duration) -> Result<ExitStatus> {
        todo!()
    }

    /// Sends SIGKILL to the group and reaps the program.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        todo!()
    }
}

/// Waits until something accepts TCP connections at `address`, seen from the kernel of `namespace`.
pub fn wait_for_listener(
    _namespace: &Namespace,
    _address: SocketAddrV4,
    _limit: Duration,
) -> Result<()> {
    todo!()
}
