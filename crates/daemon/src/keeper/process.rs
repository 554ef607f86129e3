//! The keeper's own process: its conversation with the daemon, which is its standard input.

use super::{Answer, ProcessFacts, Question, seize};
use crate::sandbox::{Calls, KEEPER_CALLS, keep_only};
use anyhow::{Context, Result};
use narrows_ipc::{
    Endpoint, TransportError,
    listener::{Credentials, SocketFile},
};
use narrows_sys::tun;
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    thread::CapabilitySet,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

/// To see what other users' processes run, and to open and remove what the daemon's starter could.
const KEPT: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_OVERRIDE);

/// For errors that are not the kernel's.
const EIO: i32 = Errno::IO.raw_os_error();

/// Runs the keeper of a daemon that listens at `socket` and reads `configuration`, until the daemon
/// has ended. Its standard input is the daemon's socket.
pub fn run(socket: &Path, configuration: Option<&Path>) -> Result<()> {
    let mut endpoint = Endpoint::new(io::stdin().as_fd().try_clone_to_owned()?);
    let prepared = prepare(socket);
    let ready = prepared.as_ref().map(drop).map_err(|error| format!("{error:#}"));
    endpoint.send(&Answer::Ready(ready), None)?;
    let file = prepared?;
    let result = converse(&mut endpoint, configuration);
    file.remove();
    match result {
        Err(TransportError::Closed) => Ok(()),
        other => Ok(other?),
    }
}

fn prepare(socket: &Path) -> Result<SocketFile> {
    let file = SocketFile::at(socket).with_context(|| socket.display().to_string())?;
    // The daemon gets these signals too, and its end is what counts.
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    keep_only(KEPT)?;
    Calls::compile(KEEPER_CALLS)?.enforce()?;
    Ok(file)
}

fn converse(endpoint: &mut Endpoint, configuration: Option<&Path>) -> Result<(), TransportError> {
    while let Some((question, _)) = endpoint.recv()? {
        match question {
            Question::Process(pid) => {
                endpoint.send(&Answer::Process(ProcessFacts::read(pid)), None)?;
            }
            Question::Configuration => hand_over(endpoint, open(configuration))?,
            Question::ShutDown(ends) => {
                let daemon = Credentials::of_peer(endpoint).map(|daemon| daemon.pid);
                let done = daemon.and_then(|daemon| seize::shut_down(daemon, ends));
                endpoint.send(&Answer::Opened(done.map_err(|error| errno(&error))), None)?;
            }
            Question::Tun => hand_over(endpoint, tun::open_node())?,
        }
    }
    Ok(())
}

fn hand_over(endpoint: &mut Endpoint, opened: io::Result<OwnedFd>) -> Result<(), TransportError> {
    let answer = opened.as_ref().map(drop).map_err(errno);
    endpoint.send(&Answer::Opened(answer), opened.as_ref().ok().map(AsFd::as_fd))
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(EIO)
}

fn open(configuration: Option<&Path>) -> io::Result<OwnedFd> {
    let path = configuration.ok_or(Errno::NOENT)?;
    // A pipe in the file's place must not keep us waiting.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
