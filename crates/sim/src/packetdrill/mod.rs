//! Runs scripts in packetdrill's language against a real [`Shard`](narrows_stack::Shard) in virtual
//! time.
//!
//! A script says what a program calls, what the network sends to the stack, and what the stack must
//! send and return, each with its time. Here the program's calls become requests to the engine, the
//! network is a queue, and time jumps from one thing that happens to the next: ten minutes of a
//! script take milliseconds, and every run is the same.
//!
//! | file | what is there |
//! |---|---|
//! | `lexer`, `parser`, `script` | text to [`script::Script`] |
//! | `runner` | the timeline: does one event after the other, and checks times |
//! | `machine` | the stack under test, its clock and its wire |
//! | `calls`, `options`, `transfer` | system calls as requests to the engine |
//! | `message`, `control` | messages of sendmsg() and recvmsg(), the error queue |
//! | `poll`, `epoll`, `files` | what is ready; pipes and files |
//! | `flow`, `packets`, `tcp_options` | packets, with the script's sequence numbers and the real ones |
//! | `settings` | what shell commands set and ask |
//! | `code`, `variables` | the pieces of Python |
//!
//! Both dialects are understood, Google's and FreeBSD's. Where scripts written for Linux would need
//! more than the engine has (IPv6, error queues), a run says which feature is missing.

mod calls;
mod code;
mod control;
mod epoll;
mod fault;
mod files;
mod flow;
mod lexer;
mod machine;
mod message;
mod options;
mod packets;
mod parser;
mod poll;
mod runner;
mod script;
mod settings;
mod tcp_options;
mod transfer;
mod variables;

pub use fault::{Fault, Kind};

use narrows_stack::time::Duration;
use std::path::PathBuf;

/// How to run scripts.
#[derive(Clone, Debug)]
pub struct Options {
    /// How far from its time an event may be; a script's own `--tolerance_usecs` goes before it.
    pub tolerance: Duration,
    /// Names for which `#ifdef` holds.
    pub defined: Vec<String>,
    /// Where to write a capture of what is on the wire.
    pub capture: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { tolerance: Duration::from_millis(4), defined: Vec::new(), capture: None }
    }
}

/// Runs the script in `text`. The error says what went wrong, where, and what had happened so far.
pub fn run(text: &str, options: &Options) -> Result<(), Failure> {
    let parsed = parser::parse(text, &options.defined);
    let script = parsed.map_err(|fault| Failure { fault, exchange: Vec::new() })?;
    runner::run(&script, options)
}

/// Why a script did not pass, and the packets and calls up to there, a line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub fault: Fault,
    pub exchange: Vec<String>,
}
