//! What the kernel noted about the process at the other end of a Unix socket, beyond SO_PEERCRED:
//! options that rustix does not have. All are of the moment at which that process connected.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

/// SO_PEERPIDFD (Linux 6.5), missing from libc.
const SO_PEERPIDFD: libc::c_int = 77;

/// Room for this many groups at the first attempt; few have more.
const USUAL_GROUPS: usize = 64;

/// The kernel's own limit (NGROUPS_MAX).
const MOST_GROUPS: usize = 65_536;

/// The supplementary groups of the process that connected (SO_PEERGROUPS), in ascending order.
pub fn groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups: Vec<u32> = vec![0; USUAL_GROUPS];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice()))
            .map_err(|_| io::Error::from(Errno::INVAL))?;
        // SAFETY: the descriptor is open while it is borrowed, the buffer has `bytes` bytes, and the
        // kernel writes no more than those.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        let count = usize::try_from(bytes).unwrap_or(usize::MAX) / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // It says how much room it wants.
        let fits = groups.len() >= count || count > MOST_GROUPS;
        if error.raw_os_error() != Some(libc::ERANGE) || fits {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

/// A descriptor of the process that connected (SO_PEERPIDFD), whatever has its number now.
/// ENOPROTOOPT where the kernel has no such option; ESRCH, ENODATA or EINVAL when the process ended
/// and was waited for.
pub fn process(socket: &impl AsFd) -> io::Result<OwnedFd> {
    let mut descriptor: libc::c_int = -1;
    let mut bytes = size_of_val(&descriptor) as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed, and the option's value is an int that
    // lives through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut descriptor).cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Has the process that the descriptor (of pidfd_open(2) or [`process`]) stands for ended? Also true
/// of one that nobody has waited for yet.
pub fn has_ended(process: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        match poll(&mut fds, Some(&now)) {
            Err(Errno::INTR) => {}
            // Without an answer, nothing is known of it any more.
            Err(_) => return true,
            Ok(_) => return !fds[0].revents().is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixStream, process::Command};

    #[test]
    fn the_other_end_is_this_process_with_its_groups() {
        let (a, _b) = UnixStream::pair().expect("socketpair");
        let mut own: Vec<_> = rustix::process::getgroups()
            .expect("getgroups")
            .iter()
            .map(|gid| gid.as_raw())
            .collect();
        own.sort_unstable();
        assert_eq!(groups(&a).expect("SO_PEERGROUPS"), own);
        match process(&a) {
            Ok(process) => assert!(!has_ended(&process)),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT)),
        }
    }

    #[test]
    fn a_process_has_ended_when_it_has() {
        let mut child =
            Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let pid = rustix::process::Pid::from_child(&child);
        let flags = rustix::process::PidfdFlags::empty();
        let process = rustix::process::pidfd_open(pid, flags).expect("pidfd_open");
        assert!(!has_ended(&process));
        drop(child.stdin.take());
        child.wait().expect("wait");
        assert!(has_ended(&process));
    }
}
