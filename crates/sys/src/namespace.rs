//! Namespaces of the calling thread or process (namespaces(7)).

use rustix::{
    fs::{Mode, OFlags},
    process::{getgid, getuid},
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};
use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

/// Moves the calling thread into a new network namespace.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: the table of descriptors stays shared.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?)
}

/// The lines of `uid_map` and `gid_map` by which the caller is root of a user namespace of its own
/// (user_namespaces(7)).
#[derive(Clone, Debug)]
pub struct RootMap {
    user: String,
    group: String,
}

impl RootMap {
    pub fn of_caller() -> Self {
        Self {
            user: format!("0 {} 1", getuid().as_raw()),
            group: format!("0 {} 1", getgid().as_raw()),
        }
    }

    /// Moves the process into a new user namespace, as its root. Refused once it has threads. Makes
    /// only system calls, so it may run between fork(2) and execve(2).
    pub fn enter_user_namespace(&self) -> io::Result<()> {
        // SAFETY: the table of descriptors stays shared.
        unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }?;
        // Without this the kernel refuses the group's map to a process without privileges.
        write_file(c"/proc/self/setgroups", "deny")?;
        write_file(c"/proc/self/uid_map", &self.user)?;
        write_file(c"/proc/self/gid_map", &self.group)
    }
}

fn write_file(path: &CStr, content: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content.as_bytes())?;
    Ok(())
}

/// Moves the calling thread into that network namespace.
pub fn enter_network(namespace: impl AsFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// The network namespace of the calling thread. It lives as long as the descriptor.
pub fn current_network() -> io::Result<OwnedFd> {
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}
