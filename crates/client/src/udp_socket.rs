//! A UDP socket.

use crate::stack::Stack;
use narrows_ipc::{
    Error,
    datagram::{Content, Header},
    message::{
        GroupInterface, MembershipChange, OptionName, Peer, QueuedError, SocketKind, SocketOption,
    },
};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg, sockopt,
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A UDP socket; closed when dropped. Its methods are those of `std::net::UdpSocket`, and
/// [`UdpSocket::set_option`] has the rest.
#[derive(Debug)]
pub struct UdpSocket {
    stack: Stack,
    anchor: OwnedFd,
    /// Whom was sent to last (`None`: the peer), and the longest payload that goes there: the
    /// daemon need not be asked about what it has just said.
    reached: Mutex<Option<(Option<SocketAddr>, usize)>>,
}

/// A datagram: how long it was, and what came with it.
struct Received {
    length: usize,
    header: Header,
}

impl UdpSocket {
    /// A socket at `local`; port 0 means any free one.
    pub fn bind(stack: &Stack, local: SocketAddr) -> io::Result<Self> {
        let socket = Self::open(stack, SocketKind::Udp)?;
        stack.with(|session| session.bind(socket.as_fd(), local))?;
        Ok(socket)
    }

    /// A socket of a kind whose records are those of datagrams.
    pub(crate) fn open(stack: &Stack, kind: SocketKind) -> io::Result<Self> {
        let anchor = stack.with(|session| session.socket(kind))?;
        Ok(UdpSocket { stack: stack.clone(), anchor, reached: Mutex::default() })
    }

    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The principal that would get what is sent to the connected peer, if that is a program of this
    /// host.
    pub fn peer(&self) -> io::Result<Option<Peer>> {
        let peer = self.stack.with(|session| session.peer(self.as_fd()))?;
        Ok(peer.map(|peer| *peer))
    }

    /// Sends a datagram. What can't be sent there is refused: `NetworkUnreachable`,
    /// `PermissionDenied` for a broadcast that was not asked for, `EMSGSIZE` for too much.
    pub fn send_to(&self, payload: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.send_where(payload, Some(to))
    }

    /// Sends a datagram to the peer. An error about an earlier one is told first.
    pub fn send(&self, payload: &[u8]) -> io::Result<usize> {
        if let Some(error) = self.pending_error()? {
            return Err(error);
        }
        self.send_where(payload, None)
    }

    fn send_where(&self, payload: &[u8], to: Option<SocketAddr>) -> io::Result<usize> {
        let header = Header { peer: to, ..Header::default() };
        self.reach(&header, payload.len())?;
        let header = header.encode();
        let record = [IoSlice::new(&header), IoSlice::new(payload)];
        let mut control = SendAncillaryBuffer::default();
        let sent = sendmsg(&self.anchor, &record, &mut control, SendFlags::NOSIGNAL)?;
        Ok(sent.saturating_sub(Header::LEN))
    }

    /// Makes sure that the datagram may go there.
    fn reach(&self, header: &Header, length: usize) -> io::Result<()> {
        let known = *self.reached();
        if !known.is_some_and(|(to, longest)| to == header.peer && length <= longest) {
            let longest = self.stack.with(|session| session.reach(self.as_fd(), header, length))?;
            *self.reached() = Some((header.peer, longest));
        }
        Ok(())
    }

    fn reached(&self) -> std::sync::MutexGuard<'_, Option<(Option<SocketAddr>, usize)>> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Receives a datagram: how many bytes of it there was room for, and its sender. The rest of
    /// a longer one is lost.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let room = buffer.len();
        let received = self.receive(buffer, RecvFlags::empty())?;
        let from = received.header.peer.ok_or(Error::BadMessage)?;
        Ok((received.length.min(room), from))
    }

    /// As [`UdpSocket::recv_from`], without the sender: of a connected socket it is the peer.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buffer).map(|(count, _)| count)
    }

    /// As [`UdpSocket::recv_from`], and leaves the datagram.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let room = buffer.len();
        let received = self.receive(buffer, RecvFlags::PEEK)?;
        let from = received.header.peer.ok_or(Error::BadMessage)?;
        Ok((received.length.min(room), from))
    }

    fn receive(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
        let mut asked = false;
        loop {
            let received = self.receive_record(buffer, flags)?;
            if received.header.content == Content::Datagram {
                return Ok(received);
            }
            if flags.contains(RecvFlags::PEEK) {
                self.receive_record(&mut [], RecvFlags::DONTWAIT)?;
            }
            // A word that comes again tells of the error queue, which reading leaves as it is.
            if !std::mem::replace(&mut asked, true)
                && let Some(error) = self.take_error()?
            {
                return Err(error);
            }
        }
    }

    fn receive_record(&self, buffer: &mut [u8], flags: RecvFlags) -> io::Result<Received> {
        let mut header = [0; Header::LEN];
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
        let mut control = RecvAncillaryBuffer::default();
        let received = recvmsg(&self.anchor, &mut parts, &mut control, flags | RecvFlags::TRUNC)?;
        let length = received.bytes.checked_sub(Header::LEN).ok_or(Error::NetworkDown)?;
        let header = Header::decode(&header).map_err(|_| Error::BadMessage)?;
        Ok(Received { length, header })
    }

    /// An error that the daemon has given word of.
    fn pending_error(&self) -> io::Result<Option<io::Error>> {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match self.receive_record(&mut [], flags) {
            Ok(received) if received.header.content == Content::Error => {
                self.receive_record(&mut [], RecvFlags::DONTWAIT)?;
                self.take_error()
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// From now on datagrams come from `peer` alone, and [`UdpSocket::send`] goes there. An error
    /// about one of them is told by the next call.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        *self.reached() = None;
        Ok(self.stack.with(|session| session.start_connect(self.as_fd(), peer))?)
    }

    /// Undoes [`UdpSocket::connect`].
    pub fn disconnect(&self) -> io::Result<()> {
        *self.reached() = None;
        Ok(self.stack.with(|session| session.disconnect(self.as_fd()))?)
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.stack.with(|session| session.local_address(self.as_fd()))?)
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.stack.with(|session| session.peer_address(self.as_fd()))?)
    }

    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(&self.anchor, nonblocking)?)
    }

    /// How long receiving waits before it fails with `WouldBlock`; `None`: for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(&self.anchor, sockopt::Timeout::Recv, timeout)?)
    }

    /// How long sending waits for room before it fails with `WouldBlock`; `None`: for ever.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(&self.anchor, sockopt::Timeout::Send, timeout)?)
    }

    /// Whether datagrams may go to broadcast addresses.
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.set_option(SocketOption::Broadcast(on))
    }

    pub fn set_ttl(&self, ttl: u8) -> io::Result<()> {
        self.set_option(SocketOption::TimeToLive(ttl))
    }

    pub fn set_multicast_ttl_v4(&self, ttl: u8) -> io::Result<()> {
        self.set_option(SocketOption::MulticastTtl(ttl))
    }

    /// Whether this host hears what it sends to groups that it joined.
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.set_option(SocketOption::MulticastLoop(on))
    }

    /// Joins a group on the interface that has the address; on the one that the route to the group
    /// leads by if that is unspecified.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.change_membership(group, interface, MembershipChange::Join)
    }

    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.change_membership(group, interface, MembershipChange::Leave)
    }

    /// Any other change of a membership: of sources, of the whole filter.
    pub fn change_membership(
        &self,
        group: Ipv4Addr,
        interface: Ipv4Addr,
        change: MembershipChange,
    ) -> io::Result<()> {
        let interface = match interface {
            Ipv4Addr::UNSPECIFIED => GroupInterface::Any,
            address => GroupInterface::Address(address),
        };
        Ok(self.stack.with(|session| session.membership(self.as_fd(), group, interface, change))?)
    }

    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        *self.reached() = None;
        Ok(self.stack.with(|session| session.set_option(self.as_fd(), option))?)
    }

    pub fn option(&self, name: OptionName) -> io::Result<SocketOption> {
        Ok(self.stack.with(|session| session.option(self.as_fd(), name))?)
    }

    /// The pending error, given once.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        *self.reached() = None;
        let error = self.stack.with(|session| session.take_error(self.as_fd()))?;
        Ok(error.map(io::Error::from))
    }

    /// What became of a datagram, the oldest first; kept only after
    /// [`SocketOption::ReceiveErrors`].
    pub fn take_queued_error(&self) -> io::Result<Option<QueuedError>> {
        let queued = self.stack.with(|session| session.take_queued_error(self.as_fd()))?;
        Ok(queued.map(|queued| *queued))
    }

    /// Another handle of the same socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        let anchor = self.anchor.try_clone()?;
        Ok(UdpSocket { stack: self.stack.clone(), anchor, reached: Mutex::default() })
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.anchor.as_fd()
    }
}
