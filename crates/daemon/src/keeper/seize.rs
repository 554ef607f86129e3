//! Ending a connection whose two ends only programs have: a copy of one is taken from any process that
//! has it open (pidfd_getfd(2)) and shut down. That asks for the right to trace the process
//! (ptrace(2)): CAP_SYS_PTRACE gives it.

use narrows_ipc::Endpoint;
use rustix::{
    io::Errno,
    net::{Shutdown, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

/// A number that no descriptor has.
const NO_DESCRIPTOR: i32 = i32::MAX;

/// One end of a pair that the daemon made.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct PairEnd {
    /// In the kernel's file system of sockets.
    pub inode: u64,
    /// SO_COOKIE.
    pub cookie: u64,
    /// The process that is likely to have it.
    pub process: u32,
}

/// May this process take a copy of what that one has? Of one that has ended nobody says no.
pub(super) fn is_permitted(process: &OwnedFd) -> bool {
    let taken = pidfd_getfd(process, NO_DESCRIPTOR, PidfdGetfdFlags::empty());
    !matches!(taken, Err(Errno::PERM | Errno::NOSYS))
}

/// Shuts both directions of a pair down, if process `maker` made it. `NotFound`: no process that may be
/// looked into has either of its ends.
pub(super) fn shut_down(maker: u32, ends: [PairEnd; 2]) -> io::Result<()> {
    let taken = ends.iter().find_map(|end| take(maker, end, end.process));
    let taken = taken.or_else(|| {
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let mut all = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        all.find_map(|process| ends.iter().find_map(|end| take(maker, end, process)))
    });
    let taken = taken.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    Ok(rustix::net::shutdown(&taken, Shutdown::Both)?)
}

fn take(maker: u32, end: &PairEnd, process: u32) -> Option<Endpoint> {
    let name = format!("socket:[{}]", end.inode);
    let entries = fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    let is_it = |path: &Path| fs::read_link(path).is_ok_and(|target| target == Path::new(&name));
    let number = entries.flatten().find(|entry| is_it(&entry.path()))?;
    let number = number.file_name().to_str()?.parse().ok()?;
    let pid = Pid::from_raw(i32::try_from(process).ok()?)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let taken = pidfd_getfd(process.as_fd(), number, PidfdGetfdFlags::empty()).ok()?;
    // The number may have changed hands since it was looked at. And nobody is helped to the sockets
    // of others by the numbers of theirs.
    let is_the_one = sockopt::socket_cookie(&taken) == Ok(end.cookie);
    let taken = Endpoint::new(taken);
    let made = narrows_ipc::Credentials::of_peer(&taken).is_ok_and(|made| made.pid == maker);
    (is_the_one && made).then_some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

    #[test]
    fn a_pair_is_found_by_inode_and_cookie_and_shut_down() {
        let (unix, stream) = (AddressFamily::UNIX, SocketType::STREAM);
        let (one, other) = socketpair(unix, stream, SocketFlags::CLOEXEC, None).expect("a pair");
        let own = std::process::id();
        let of = |end: &OwnedFd| PairEnd {
            inode: rustix::fs::fstat(end).expect("fstat").st_ino,
            cookie: sockopt::socket_cookie(end).expect("a cookie"),
            process: own,
        };
        let ends = [of(&one), of(&other)];
        let swapped = [
            PairEnd { cookie: ends[1].cookie, ..ends[0] },
            PairEnd { cookie: ends[0].cookie, ..ends[1] },
        ];
        assert!(shut_down(own, swapped).is_err(), "another socket has the cookie");
        assert!(shut_down(own + 1, ends).is_err(), "another process made it");
        let mut byte = [0; 1];
        let read = || recv(&one, &mut [0; 1], RecvFlags::DONTWAIT).map(|(count, _)| count);
        assert_eq!(read(), Err(Errno::AGAIN));
        shut_down(own, ends).expect("a copy");
        assert_eq!(recv(&other, &mut byte, RecvFlags::DONTWAIT).map(|(count, _)| count), Ok(0));
        assert_eq!(read(), Ok(0));
        drop((one, other));
        assert!(shut_down(own, ends).is_err(), "nobody has it");
    }
}
