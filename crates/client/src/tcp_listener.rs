//! A TCP socket that listens.

use crate::{
    anchor::{self, Accepted},
    stack::Stack,
    tcp_stream::TcpStream,
};
use narrows_ipc::{
    Error,
    message::{SocketKind, SocketOption},
};
use rustix::{io::Errno, net::RecvFlags};
use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Connections that may wait to be accepted, as Linux's `somaxconn`.
const BACKLOG: u32 = 4096;

/// A listening TCP socket; closed when dropped.
#[derive(Debug)]
pub struct TcpListener {
    stack: Stack,
    anchor: OwnedFd,
}

impl TcpListener {
    /// Listens at `local`; port 0 means any free one. As with `std::net::TcpListener`, an
    /// address whose old connections are still in TIME-WAIT may be used.
    pub fn bind(stack: &Stack, local: SocketAddr) -> io::Result<Self> {
        let anchor = stack.with(|session| session.socket(SocketKind::Tcp))?;
        stack.with(|session| {
            session.set_option(anchor.as_fd(), SocketOption::ReuseAddress(true))?;
            session.bind(anchor.as_fd(), local)?;
            session.listen(anchor.as_fd(), BACKLOG)
        })?;
        Ok(TcpListener { stack: stack.clone(), anchor })
    }

    /// Waits for a connection; `WouldBlock` when none is there and the listener does not block.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            match anchor::accept(self.as_fd(), RecvFlags::CMSG_CLOEXEC) {
                Ok(Accepted::Connection { anchor, record }) => {
                    let stream = TcpStream::from_anchor(self.stack.clone(), anchor, record.peer);
                    return Ok((stream, record.peer));
                }
                Ok(Accepted::End) => return Err(Error::InvalidArgument.into()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Every connection that comes, without end.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.stack.with(|session| session.local_address(self.as_fd()))?)
    }

    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.anchor, nonblocking)?)
    }

    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        Ok(self.stack.with(|session| session.set_option(self.as_fd(), option))?)
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.anchor.as_fd()
    }
}

/// What [`TcpListener::incoming`] gives.
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}
