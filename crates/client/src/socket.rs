//! The calls on sockets, each as one request about an anchor.

use crate::{anchor, error::Error, session::Session};
use narrows_ipc::{
    Reply, Request,
    datagram::{Attached, Header},
    message::{
        GroupInterface, MembershipChange, OptionName, Peer, QueuedError, SocketKind, SocketOption,
    },
};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{BorrowedFd, OwnedFd},
};

impl Session {
    /// A new socket: its anchor, blocking and close-on-exec.
    pub fn socket(&mut self, kind: SocketKind) -> Result<OwnedFd, Error> {
        match self.exchange(&Request::Socket { kind }, None)? {
            (Reply::Done, Some(anchor)) => Ok(anchor),
            (Reply::Done, None) => Err(Error::TooManyOpenFiles),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    pub fn bind(&mut self, anchor: BorrowedFd<'_>, local: SocketAddr) -> Result<(), Error> {
        self.done(&Request::Bind { local }, anchor)
    }

    /// Begins to connect; [`crate::anchor::wait_connected`] waits for the end of it. A UDP or ping
    /// socket is connected at once.
    pub fn start_connect(
        &mut self,
        anchor: BorrowedFd<'_>,
        remote: SocketAddr,
    ) -> Result<(), Error> {
        self.done(&Request::Connect { remote }, anchor)
    }

    /// A UDP or ping socket has no peer any more.
    pub fn disconnect(&mut self, anchor: BorrowedFd<'_>) -> Result<(), Error> {
        self.done(&Request::Disconnect, anchor)
    }

    /// What a UDP socket wants to hear of a multicast group.
    pub fn membership(
        &mut self,
        anchor: BorrowedFd<'_>,
        group: Ipv4Addr,
        interface: GroupInterface,
        change: MembershipChange,
    ) -> Result<(), Error> {
        self.done(&Request::Membership { group, interface, change }, anchor)
    }

    /// Whether a datagram of `length` bytes could be sent as `header` says: the longest that could.
    pub fn reach(
        &mut self,
        anchor: BorrowedFd<'_>,
        header: &Header,
        length: usize,
    ) -> Result<usize, Error> {
        let info = header.attached.contains(Attached::PACKET_INFO);
        let segmented = header.attached.contains(Attached::SEGMENT_SIZE);
        let request = Request::Reach {
            remote: header.peer,
            source: header.own.filter(|_| info),
            interface: if info { header.interface } else { 0 },
            length: u32::try_from(length).unwrap_or(u32::MAX),
            segment_size: segmented.then_some(header.segment_size),
        };
        match self.ask(&request, Some(anchor))? {
            Reply::Reachable { longest } => Ok(usize::try_from(longest).unwrap_or(usize::MAX)),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// The oldest entry of a UDP or ping socket's error queue.
    pub fn take_queued_error(
        &mut self,
        anchor: BorrowedFd<'_>,
    ) -> Result<Option<Box<QueuedError>>, Error> {
        match self.ask(&Request::TakeQueuedError, Some(anchor))? {
            Reply::QueuedError(queued) => Ok(queued),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// From now on [`crate::anchor::accept`] gives connections.
    pub fn listen(&mut self, anchor: BorrowedFd<'_>, backlog: u32) -> Result<(), Error> {
        self.done(&Request::Listen { backlog }, anchor)?;
        anchor::mark_listening(anchor)
            .map_err(|errno| Error::SessionEnded(io::Error::from(errno).into()))
    }

    pub fn local_address(&mut self, anchor: BorrowedFd<'_>) -> Result<SocketAddr, Error> {
        self.address(&Request::LocalAddress, anchor)
    }

    pub fn peer_address(&mut self, anchor: BorrowedFd<'_>) -> Result<SocketAddr, Error> {
        self.address(&Request::PeerAddress, anchor)
    }

    /// Who is at the other end; `None`: another host, or nobody.
    pub fn peer(&mut self, anchor: BorrowedFd<'_>) -> Result<Option<Box<Peer>>, Error> {
        match self.ask(&Request::Peer, Some(anchor))? {
            Reply::Peer(peer) => Ok(peer),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// A pidfd of the process at the other end, close-on-exec; refused as `NoSuchEntry` where
    /// [`Session::peer`] gives nobody, and for a process that has been waited for.
    pub fn peer_process(&mut self, anchor: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
        match self.exchange(&Request::PeerProcess, Some(anchor))? {
            (Reply::Done, Some(process)) => Ok(process),
            (Reply::Done, None) => Err(Error::TooManyOpenFiles),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    pub fn set_option(
        &mut self,
        anchor: BorrowedFd<'_>,
        option: SocketOption,
    ) -> Result<(), Error> {
        self.done(&Request::SetOption(option), anchor)
    }

    /// As [`Session::set_option`], without waiting for an answer. For options that every socket
    /// takes with every value; on one that has ended they have no effect.
    pub fn post_option(
        &mut self,
        anchor: BorrowedFd<'_>,
        option: SocketOption,
    ) -> Result<(), Error> {
        self.post(&Request::SetOption(option), anchor)
    }

    pub fn option(
        &mut self,
        anchor: BorrowedFd<'_>,
        name: OptionName,
    ) -> Result<SocketOption, Error> {
        match self.ask(&Request::GetOption(name), Some(anchor))? {
            Reply::Option(option) => Ok(option),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// What became of a socket that hung up; the error is given once.
    pub fn take_error(
        &mut self,
        anchor: BorrowedFd<'_>,
    ) -> Result<Option<narrows_ipc::Error>, Error> {
        match self.ask(&Request::TakeError, Some(anchor))? {
            Reply::Failure(failure) => Ok(failure),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    /// What a read of nothing from an anchor that has hung up stands for: `None` for the end of
    /// the stream. A reset, or a daemon that died, must never look like a finished transfer.
    pub fn ending(&mut self, anchor: BorrowedFd<'_>) -> Option<narrows_ipc::Error> {
        match self.take_error(anchor) {
            Ok(failure) => failure,
            // Ended in order and forgotten since.
            Err(Error::Refused(narrows_ipc::Error::NotASocket)) => None,
            Err(_) => Some(narrows_ipc::Error::ConnectionReset),
        }
    }

    fn done(&mut self, request: &Request, anchor: BorrowedFd<'_>) -> Result<(), Error> {
        match self.ask(request, Some(anchor))? {
            Reply::Done => Ok(()),
            _ => Err(Error::UnexpectedAnswer),
        }
    }

    fn address(&mut self, request: &Request, anchor: BorrowedFd<'_>) -> Result<SocketAddr, Error> {
        match self.ask(request, Some(anchor))? {
            Reply::Address(address) => Ok(address),
            _ => Err(Error::UnexpectedAnswer),
        }
    }
}
