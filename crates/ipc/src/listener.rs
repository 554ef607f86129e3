//! The daemon's side of the control socket: its file, and the sessions that come in.

use crate::transport::Endpoint;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use rustix::{
    fs::Mode,
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
    process::Gid,
};
use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

/// Sessions that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Who is at the other end, as the kernel noted when the session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// 0 when the process is of a PID namespace that this one can't see.
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Credentials {
    /// The credentials of the process that connected (or made) the other end of `socket`.
    pub fn of_peer(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(socket, PeerCredentials)?;
        Ok(Credentials {
            pid: u32::try_from(credentials.pid()).unwrap_or(0),
            uid: credentials.uid(),
            gid: credentials.gid(),
        })
    }
}

/// The control socket, non-blocking. Its file goes away with it.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    file: SocketFile,
}

/// A control socket's file, known by more than its path: a successor's is left alone.
#[derive(Clone, Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// The file that is at `path` now.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }

    /// Removes it, if it is still the same. If it can't be removed, the next daemon finds it stale.
    pub fn remove(&self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Listener {
    /// Listens at `path`, making its directory (mode 755) when it is missing. `mode` says who
    /// may open sessions. A file that a dead daemon left is replaced; with a daemon alive at
    /// `path` this fails with `AddrInUse`.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        Self::bind_for(path, mode, None)
    }

    /// The same, for `mode`'s middle digit to be about `group`; `None`: about the group that new
    /// files get.
    pub fn bind_for(path: &Path, mode: u32, group: Option<u32>) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty())
        {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
            check_owner(directory)?;
        }
        let socket = unbound(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        match rustix::net::bind(&socket, &address) {
            Err(Errno::ADDRINUSE) if is_stale(&address)? => {
                std::fs::remove_file(path)?;
                rustix::net::bind(&socket, &address)?;
            }
            other => other?,
        }
        // Made before anything else can fail, so that it goes with the value.
        let listener = Listener { socket, file: SocketFile::at(path)? };
        if let Some(group) = group {
            rustix::fs::chown(path, None, Some(Gid::from_raw(group)))?;
        }
        rustix::fs::chmod(path, Mode::from_raw_mode(mode))?;
        rustix::net::listen(&listener.socket, BACKLOG)?;
        Ok(listener)
    }

    /// The next session, non-blocking, or `None` when no more wait.
    pub fn accept(&self) -> io::Result<Option<Endpoint>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        loop {
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(socket) => return Ok(Some(Endpoint::new(socket))),
                Err(Errno::AGAIN) => return Ok(None),
                // The program gave up waiting, or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.file.remove();
    }
}

fn unbound(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// Whether nobody listens at an address whose file exists.
fn is_stale(address: &SocketAddrUnix) -> io::Result<bool> {
    let probe = unbound(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    match rustix::net::connect(&probe, address) {
        Err(Errno::CONNREFUSED) => Ok(true),
        // Connected, or its queue is full: somebody is there.
        Ok(()) | Err(Errno::AGAIN) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// In a directory of another user (somebody may have made `/tmp/narrows-UID` first), that user
/// could put a socket of his own in our socket's place.
fn check_owner(directory: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(directory)?;
    let uid = rustix::process::geteuid().as_raw();
    let sticky = metadata.mode() & 0o1000 != 0;
    if metadata.uid() == uid || metadata.uid() == 0 || sticky {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{} belongs to another user", directory.display()),
    ))
}

#[cfg(test)]
mod tests;
