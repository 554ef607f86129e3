//! A TCP connection.

use crate::{
    anchor::{self, Attempt},
    stack::Stack,
};
use narrows_ipc::{
    Error,
    message::{OptionName, Peer, SocketKind, SocketOption, TcpInfo},
};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, sockopt},
};
use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

/// A TCP connection; closed when dropped. Like `std::net::TcpStream`, `&TcpStream` reads and
/// writes too, so that two threads can each have a direction.
#[derive(Debug)]
pub struct TcpStream {
    stack: Stack,
    anchor: OwnedFd,
    peer: SocketAddr,
}

impl TcpStream {
    /// Connects to `remote` and waits until the connection stands.
    pub fn connect(stack: &Stack, remote: SocketAddr) -> io::Result<Self> {
        Self::connect_by(stack, remote, None)
    }

    /// Connects to `remote`; `TimedOut` when that takes longer than `timeout`.
    pub fn connect_timeout(
        stack: &Stack,
        remote: SocketAddr,
        timeout: Duration,
    ) -> io::Result<Self> {
        Self::connect_by(stack, remote, Some(timeout))
    }

    fn connect_by(
        stack: &Stack,
        remote: SocketAddr,
        timeout: Option<Duration>,
    ) -> io::Result<Self> {
        let anchor = stack.with(|session| session.socket(SocketKind::Tcp))?;
        let stream = Self::from_anchor(stack.clone(), anchor, remote);
        stack.with(|session| session.start_connect(stream.as_fd(), remote))?;
        let started = Instant::now();
        loop {
            let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
            match anchor::wait_connected(stream.as_fd(), left) {
                Ok(Attempt::Connected) => return Ok(stream),
                Ok(Attempt::Failed) => {
                    let why = stream.take_error()?;
                    return Err(why.unwrap_or(Error::ConnectionReset.into()));
                }
                Ok(Attempt::Pending) => return Err(Error::TimedOut.into()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    pub(crate) fn from_anchor(stack: Stack, anchor: OwnedFd, peer: SocketAddr) -> Self {
        TcpStream { stack, anchor, peer }
    }

    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The principal at the other end, by the kernel's word, if that is a program of this host:
    /// who made that socket, or whose listener the other end came to. `None` for another host, never
    /// somebody else.
    pub fn peer(&self) -> io::Result<Option<Peer>> {
        let peer = self.stack.with(|session| session.peer(self.as_fd()))?;
        Ok(peer.map(|peer| *peer))
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.stack.with(|session| session.local_address(self.as_fd()))?)
    }

    /// Ends one direction or both: after `Write` the peer reads the end of the stream.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        let how = match how {
            Shutdown::Read => rustix::net::Shutdown::Read,
            Shutdown::Write => rustix::net::Shutdown::Write,
            Shutdown::Both => rustix::net::Shutdown::Both,
        };
        Ok(rustix::net::shutdown(&self.anchor, how)?)
    }

    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.anchor, nonblocking)?)
    }

    /// How long a read waits before it fails with `WouldBlock`; `None`: for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(&self.anchor, sockopt::Timeout::Recv, timeout)?)
    }

    /// How long a write waits before it fails with `WouldBlock`; `None`: for ever.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(&self.anchor, sockopt::Timeout::Send, timeout)?)
    }

    /// Whether small segments leave at once (the opposite of Nagle's algorithm).
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.set_option(SocketOption::NoDelay(nodelay))
    }

    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        Ok(self.stack.with(|session| session.set_option(self.as_fd(), option))?)
    }

    pub fn option(&self, name: OptionName) -> io::Result<SocketOption> {
        Ok(self.stack.with(|session| session.option(self.as_fd(), name))?)
    }

    /// The state of the connection: round-trip times, window, counts.
    pub fn info(&self) -> io::Result<TcpInfo> {
        match self.option(OptionName::TcpInfo)? {
            SocketOption::TcpInfo(info) => Ok(*info),
            _ => Err(crate::Error::UnexpectedAnswer.into()),
        }
    }

    /// The error the connection ended with, given once.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        let error = self.stack.with(|session| session.take_error(self.as_fd()))?;
        Ok(error.map(io::Error::from))
    }

    /// Another handle of the same connection.
    pub fn try_clone(&self) -> io::Result<Self> {
        let anchor = self.anchor.try_clone()?;
        Ok(TcpStream { stack: self.stack.clone(), anchor, peer: self.peer })
    }

    /// A write to a connection that is gone: the first to ask learns why.
    fn write_error(&self, errno: Errno) -> io::Error {
        let why = if errno == Errno::PIPE { self.take_error().ok().flatten() } else { None };
        why.unwrap_or_else(|| errno.into())
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len();
        let (read, _) = rustix::net::recv(&self.anchor, buffer, RecvFlags::empty())?;
        if read == 0 && wanted > 0 && anchor::has_hung_up(self.as_fd()) {
            let ending = self.stack.with(|session| Ok(session.ending(self.as_fd())))?;
            return ending.map_or(Ok(0), |why| Err(why.into()));
        }
        Ok(read)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        rustix::net::send(&self.anchor, buffer, SendFlags::NOSIGNAL)
            .map_err(|errno| self.write_error(errno))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        (&*self).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.anchor.as_fd()
    }
}
