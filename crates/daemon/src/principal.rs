//! Who asks: the kernel's word about the process that opened a session, taken when it was accepted
//! and never asked for again.
//!
//! | what | from | of when |
//! |---|---|---|
//! | uid, gid, pid | SO_PEERCRED | the program connected |
//! | supplementary groups | SO_PEERGROUPS | the program connected |
//! | the process itself | SO_PEERPIDFD, a pidfd | the program connected |
//! | executable | `/proc/PID/exe` | the session was accepted |
//! | control group | `/proc/PID/cgroup` | the session was accepted |
//!
//! A process number says nothing once its process has ended, because another gets it. What is read
//! by number counts only if the pidfd says afterwards that the process was still there; so a report
//! never names another process. Before Linux 6.5 there is no SO_PEERPIDFD: a pidfd is opened by
//! number, which is fine for reports, but [`Principal::executable`] and [`Principal::cgroup`] then
//! say nothing, and no rule that asks for them applies.
//!
//! The control group is the path in the unified hierarchy (version 2, the line `0::PATH`), as seen
//! from the daemon's cgroup namespace. Where only version 1 is mounted it is the path in systemd's
//! named hierarchy, and nothing where that isn't either. The executable is the path of the file the
//! process runs. Whoever may run a file may also run it with code of his own inside (LD_PRELOAD,
//! ptrace(2)), so it tells the programs of one user apart, not one user from another.
//!
//! # Whose socket it is
//!
//! A socket belongs to the principal whose session made it, and an accepted connection to the one
//! whose listener it came to: through fork, exec and SCM_RIGHTS, as long as it lives. That is who is
//! billed, reported, and told to the other end. What a *new act* on it needs (bind, connect, listen,
//! an option that asks for a privilege) is decided about the caller, who asks for it: a descriptor
//! that was passed on gives its holder the socket as it is, not the rights of who made it. Linux
//! does the same: capabilities are of the process that calls, and a socket's uid of who made it.
//!
//! A session's own descriptor, passed to another process, still speaks for who opened it, as any
//! open file does. The shim opens another after a fork, after an exec, and when the program has
//! become another user.

use crate::{
    keeper::{Keeper, ProcessFacts},
    quota::BillId,
};
use narrows_ipc::{Endpoint, listener::Credentials, message::Owner};
use narrows_stack::{request::Principal as EnginePrincipal, table::zone::AdmissionId};
use narrows_sys::peer;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::{
    cell::{Cell, OnceCell},
    io,
    os::fd::OwnedFd,
};

/// One process, as it was when it opened its session.
#[derive(Debug)]
pub(crate) struct Principal {
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary, in ascending order.
    pub groups: Vec<u32>,
    /// Empty when unknown.
    executable: String,
    /// Empty when unknown.
    cgroup: String,
    /// `None`: it had ended when the session was accepted.
    process: Option<OwnedFd>,
    /// To zones, as the configuration has it now.
    pub admission: Cell<AdmissionId>,
    /// The one zone that the session wants to be in, of those.
    pub zone: OnceCell<String>,
    counts_as_here: bool,
    /// Where what it uses is noted.
    pub bill: BillId,
    /// The pidfd is the kernel's word, not a guess from a number.
    proven: bool,
}

impl Principal {
    /// The main group, then the others.
    pub(crate) fn all_groups(&self) -> Vec<u32> {
        std::iter::once(self.gid).chain(self.groups.iter().copied()).collect()
    }

    /// Who connected the other end of a session's socket.
    pub(crate) fn of_peer(endpoint: &Endpoint, keeper: &Keeper) -> io::Result<Self> {
        let credentials = Credentials::of_peer(endpoint)?;
        let groups = peer::groups(endpoint)?;
        let (process, proven) = match peer::process(endpoint) {
            Ok(process) => (Some(process), true),
            Err(error) if error.raw_os_error() == Some(NO_SUCH_OPTION) => {
                (by_number(credentials.pid), false)
            }
            Err(error) if is_shortage(&error) => return Err(error),
            Err(_) => (None, true),
        };
        let facts = keeper.process(credentials.pid);
        Ok(Self::new(credentials, groups, process, proven, facts))
    }

    fn new(
        credentials: Credentials,
        groups: Vec<u32>,
        process: Option<OwnedFd>,
        proven: bool,
        facts: ProcessFacts,
    ) -> Self {
        let Credentials { pid, uid, gid } = credentials;
        let mut principal = Self {
            pid,
            uid,
            gid,
            groups,
            executable: facts.executable,
            cgroup: facts.cgroup,
            counts_as_here: facts.counts_as_here,
            admission: Cell::default(),
            zone: OnceCell::new(),
            process,
            bill: BillId::default(),
            proven,
        };
        // They may be of another process, that has its number now.
        if principal.has_ended() {
            principal.executable.clear();
            principal.cgroup.clear();
            principal.counts_as_here = false;
        }
        principal
    }

    /// Whom the engine sees: its sockets are told apart by user, as the kernel's are, and by what zones
    /// he is admitted to.
    pub(crate) fn of_engine(&self) -> EnginePrincipal {
        EnginePrincipal { uid: self.uid, gid: self.gid, admission: self.admission.get() }
    }

    /// The file that the process ran; `None` when that isn't certain.
    pub(crate) fn executable(&self) -> Option<&str> {
        certain(&self.executable, self.proven)
    }

    /// The control group that the process was in; `None` when that isn't certain.
    pub(crate) fn cgroup(&self) -> Option<&str> {
        certain(&self.cgroup, self.proven)
    }

    /// Does a process number mean the same to it as to the daemon?
    pub(crate) fn counts_as_here(&self) -> bool {
        self.counts_as_here && !self.has_ended()
    }

    /// The process itself, whatever has its number now.
    pub(crate) fn process(&self) -> Option<&OwnedFd> {
        self.process.as_ref()
    }

    /// Is the process gone? Its sockets may live on, in others.
    pub(crate) fn has_ended(&self) -> bool {
        self.process.as_ref().is_none_or(peer::has_ended)
    }

    /// As reports have it.
    pub(crate) fn report(&self) -> Owner {
        Owner {
            pid: self.pid,
            uid: self.uid,
            gid: self.gid,
            executable: self.executable.clone(),
            cgroup: self.cgroup.clone(),
            ended: self.has_ended(),
        }
    }
}

/// ENOPROTOOPT.
const NO_SUCH_OPTION: i32 = rustix::io::Errno::NOPROTOOPT.raw_os_error();

fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

fn certain(text: &str, proven: bool) -> Option<&str> {
    Some(text).filter(|text| proven && !text.is_empty())
}

fn by_number(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

#[cfg(test)]
impl Principal {
    /// One that is made up.
    pub(crate) fn fake(uid: u32, groups: &[u32], executable: &str, cgroup: &str) -> Self {
        let mut groups = groups.to_vec();
        groups.sort_unstable();
        Self {
            pid: 1,
            uid,
            gid: uid,
            groups,
            executable: executable.into(),
            cgroup: cgroup.into(),
            counts_as_here: true,
            admission: Cell::default(),
            zone: OnceCell::new(),
            process: None,
            bill: BillId::default(),
            proven: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_knows_itself() {
        let own = std::process::id();
        let credentials = Credentials { pid: own, uid: 5, gid: 6 };
        let principal =
            Principal::new(credentials, vec![7, 9], by_number(own), true, ProcessFacts::read(own));
        let executable = std::env::current_exe().expect("an executable");
        assert_eq!(principal.executable(), executable.to_str());
        assert!(principal.cgroup().is_none_or(|path| path.starts_with('/')));
        assert!(!principal.report().ended);
    }

    #[test]
    fn who_has_ended_is_not_taken_for_who_has_his_number() {
        let own = std::process::id();
        let credentials = Credentials { pid: own, uid: 5, gid: 6 };
        let facts = ProcessFacts::read(own);
        let principal = Principal::new(credentials, Vec::new(), None, true, facts);
        let Owner { executable, cgroup, ended, .. } = principal.report();
        assert_eq!((executable.as_str(), cgroup.as_str(), ended), ("", "", true));
    }

    #[test]
    fn what_was_found_by_number_is_for_reports_alone() {
        let own = std::process::id();
        let credentials = Credentials { pid: own, uid: 5, gid: 6 };
        let principal =
            Principal::new(credentials, Vec::new(), by_number(own), false, ProcessFacts::read(own));
        assert!(!principal.report().executable.is_empty());
        assert_eq!((principal.executable(), principal.cgroup()), (None, None));
    }
}
