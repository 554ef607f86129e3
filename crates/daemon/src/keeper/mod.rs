//! The keeper: a small process that keeps the rights which the daemon has given up, and does for it
//! the five things that need them.
//!
//! | the daemon asks | the keeper |
//! |---|---|
//! | what does that process run, and in which control group? | reads `/proc/PID`, which Landlock keeps from whoever is confined by it, and other users' processes from everybody without CAP_SYS_PTRACE |
//! | the configuration | opens that one file, named at the start, and hands it over |
//! | `/dev/net/tun` | opens it: on many machines it is root's alone |
//! | end that connection, which two programs have between them | takes a copy of an end from one of them, and shuts it down, if the daemon made it |
//! | nothing any more: it has ended | removes the control socket's file, if it is still the daemon's |
//!
//! It is the daemon's program, started anew, so it shares no memory with what programs and the wire
//! talk to; it reads nothing but the daemon's questions, and has a filter of its own for system
//! calls. A daemon taken over can learn from it what runs on the machine, and what its own
//! configuration says.
//!
//! Without the sandbox there is no keeper, and the daemon does all that itself.

mod facts;
mod process;
mod seize;

pub(crate) use facts::ProcessFacts;
pub use process::run;
pub(crate) use seize::PairEnd;

use crate::{config::DaemonConfig, principal::Principal};
use anyhow::{Context, Result, bail};
use narrows_ipc::{Endpoint, TransportError};
use narrows_sys::tun;
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
};

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    /// By number.
    Process(u32),
    Configuration,
    /// Shut this pair down.
    ShutDown([PairEnd; 2]),
    /// `/dev/net/tun`, for a TAP to be made from.
    Tun,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    /// The first one, unasked: the keeper is there, or why not.
    Ready(Result<(), String>),
    Process(ProcessFacts),
    /// Done, with what was opened if something was; or its errno.
    Opened(Result<(), i32>),
}

/// The daemon's side of it.
#[derive(Debug)]
pub(crate) enum Keeper {
    /// There is none: the daemon has its rights still.
    Absent,
    There(Box<RefCell<There>>),
}

#[derive(Debug)]
pub(crate) struct There {
    /// `None` once it is to end.
    endpoint: Option<Endpoint>,
    process: Child,
    /// It has not answered: said once.
    silent: bool,
}

impl Keeper {
    /// Starts it, if there is to be one, when the control socket is at `socket` already.
    pub(crate) fn start(
        config: &DaemonConfig,
        program: Option<&Path>,
        socket: &Path,
        configuration: Option<&Path>,
    ) -> Result<Self> {
        let Some(program) = program.filter(|_| config.sandbox) else { return Ok(Self::Absent) };
        let (endpoint, theirs) = Endpoint::pair()?;
        let mut command = Command::new(program);
        command.arg("--socket").arg(socket).arg("keeper");
        if let Some(file) = configuration {
            command.arg("--config").arg(file);
        }
        // A group of its own: Ctrl-C is for the daemon, whose end the keeper has to see.
        command.process_group(0).env_clear().stdout(Stdio::null());
        let process = command.stdin(Stdio::from(theirs.into_socket())).spawn();
        let process = process.with_context(|| format!("starting {}", program.display()))?;
        let endpoint = Some(endpoint);
        let mut there = There { endpoint, process, silent: false };
        match there.receive()? {
            (Answer::Ready(Ok(())), _) => Ok(Self::There(Box::new(RefCell::new(there)))),
            (Answer::Ready(Err(error)), _) => bail!("{error}"),
            _ => bail!("it said something else than that it is there"),
        }
    }

    /// What runs as process `pid`, as far as it can be known.
    pub(crate) fn process(&self, pid: u32) -> ProcessFacts {
        let there = match self {
            Self::Absent => return ProcessFacts::read(pid),
            Self::There(there) => &mut *there.borrow_mut(),
        };
        match there.ask(&Question::Process(pid)) {
            Ok((Answer::Process(facts), _)) => facts,
            Ok(_) => ProcessFacts::default(),
            Err(error) => {
                if !std::mem::replace(&mut there.silent, true) {
                    tracing::error!(%error, "the keeper is gone: programs are known by user alone");
                }
                ProcessFacts::default()
            }
        }
    }

    /// The configuration file's text; `path` is the one named at the start.
    pub(crate) fn configuration(&self, path: &Path) -> io::Result<String> {
        let there = match self {
            Self::Absent => return std::fs::read_to_string(path),
            Self::There(there) => &mut *there.borrow_mut(),
        };
        let mut text = String::new();
        File::from(there.open(&Question::Configuration)?).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Could a connection that this one has with another program be ended? See [`Keeper::shut_down`].
    pub(crate) fn can_take_from(&self, principal: &Principal) -> bool {
        match self {
            Self::Absent => principal.process().is_none_or(seize::is_permitted),
            Self::There(_) => true,
        }
    }

    /// Shuts down a pair that the daemon made and has no end of any more.
    pub(crate) fn shut_down(&self, ends: [PairEnd; 2]) -> io::Result<()> {
        match self {
            Self::Absent => seize::shut_down(std::process::id(), ends),
            Self::There(there) => {
                let asked = there.borrow_mut().ask(&Question::ShutDown(ends));
                match asked.map_err(io::Error::other)? {
                    (Answer::Opened(Ok(())), _) => Ok(()),
                    (Answer::Opened(Err(errno)), _) => Err(io::Error::from_raw_os_error(errno)),
                    _ => Err(io::Error::other("the keeper answered something else")),
                }
            }
        }
    }

    /// A descriptor of `/dev/net/tun`.
    pub(crate) fn tun(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Absent => tun::open_node(),
            Self::There(there) => there.borrow_mut().open(&Question::Tun),
        }
    }
}

impl There {
    fn ask(&mut self, question: &Question) -> Result<(Answer, Option<OwnedFd>), TransportError> {
        self.endpoint.as_mut().ok_or(TransportError::Closed)?.send(question, None)?;
        self.receive()
    }

    fn open(&mut self, question: &Question) -> io::Result<OwnedFd> {
        match self.ask(question).map_err(io::Error::other)? {
            (Answer::Opened(Ok(())), Some(opened)) => Ok(opened),
            (Answer::Opened(Err(errno)), _) => Err(io::Error::from_raw_os_error(errno)),
            _ => Err(io::Error::other("the keeper answered something else")),
        }
    }

    fn receive(&mut self) -> Result<(Answer, Option<OwnedFd>), TransportError> {
        let endpoint = self.endpoint.as_mut().ok_or(TransportError::Closed)?;
        endpoint.recv()?.ok_or(TransportError::Closed)
    }
}

impl Drop for There {
    /// When this returns the control socket's file is gone.
    fn drop(&mut self) {
        self.endpoint = None;
        if let Err(error) = self.process.wait() {
            tracing::warn!(%error, "waiting for the keeper");
        }
    }
}
