//! What the daemon gives up once everything is open, so that whoever takes it over has little.
//!
//! | given up | what is kept, and for what |
//! |---|---|
//! | being root | a user that nobody else is (`[daemon] user`) |
//! | capabilities | CAP_NET_ADMIN and CAP_NET_RAW: devices that are made at run time, and the kernel kept off our addresses |
//! | new privileges | none: no program it could start would have more rights |
//! | system calls | those of the table in [`calls`]; some end the daemon at once |
//! | files, TCP of the kernel's, signals | reading `/etc` as an ordinary user, for the names of users (Landlock, where the kernel has it) |
//!
//! What needs more is done by the keeper, a small process of its own: see [`crate::keeper`].
//!
//! All of it holds for the thread that enters, and those it starts. The daemon is one thread and the
//! one that closes descriptors, which enters too. In a user namespace that has no other user than
//! its root the daemon stays that one, and gives up the rest.
//!
//! Memory isn't shared with programs: their sockets are pairs of the kernel's, so there is none to
//! be sealed.

mod calls;
mod identity;
mod paths;

pub(crate) use calls::{Calls, KEEPER as KEEPER_CALLS};
pub(crate) use identity::keep_only;

use crate::config::DaemonConfig;
use anyhow::{Context, Result};
use narrows_ipc::message::Confinement;
use rustix::thread::{
    CapabilitySet, SecureComputingMode, capabilities, no_new_privs, secure_computing_mode,
};

/// For devices: packet sockets, TAPs, nftables, and buffers beyond the kernel's limit.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_RAW);

/// The sandbox, ready to be entered by each thread of the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    config: DaemonConfig,
    calls: Calls,
}

impl Sandbox {
    pub(crate) fn new(config: DaemonConfig) -> Result<Self> {
        Ok(Self { config, calls: Calls::compile(calls::LOOP)? })
    }

    /// Confines the calling thread for good, and returns the version of Landlock that holds.
    pub(crate) fn enter(&self) -> Result<Option<u32>> {
        // What is allowed is opened while that is still permitted.
        let paths = paths::rules().context("Landlock")?;
        identity::become_user(&self.config, KEPT)?;
        let landlock = paths.restrict().context("Landlock")?;
        self.calls.enforce()?;
        Ok(landlock)
    }
}

/// What holds for the calling thread, by the kernel's word, but for Landlock, of which it has none.
pub(crate) fn report(landlock: Option<u32>) -> Confinement {
    let held = capabilities(None).map(|sets| sets.permitted).unwrap_or(CapabilitySet::empty());
    let filtered = matches!(secure_computing_mode(), Ok(SecureComputingMode::Filter));
    Confinement {
        user: rustix::process::geteuid().as_raw(),
        capabilities: identity::capability_names(held),
        no_new_privileges: no_new_privs().unwrap_or(false),
        system_calls: filtered.then_some(calls::LOOP.len() as u32),
        landlock,
    }
}

/// The names of the system calls that the daemon and its keeper make once they are confined, and
/// whether each is made in every run that does a bit of everything.
pub fn system_calls() -> [Vec<(&'static str, bool)>; 2] {
    [calls::LOOP, calls::KEEPER]
        .map(|table| table.iter().map(|call| (call.name, call.usual)).collect())
}
