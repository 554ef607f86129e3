//! A raw IP socket.

use crate::{stack::Stack, udp_socket::UdpSocket};
use narrows_ipc::{
    Error, Reply, Request,
    message::{OptionName, SocketKind, SocketOption},
    packet::{Instruction, PacketOption},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

/// A raw IP socket (raw(7)); closed when dropped. It hears of the packets of one protocol that are for this
/// host, each with its IPv4 header, and sends such packets.
#[derive(Debug)]
pub struct RawSocket(UdpSocket);

impl RawSocket {
    /// A socket for a protocol; with 255 it sends packets of every protocol, with headers of its own.
    /// `PermissionDenied` where policy doesn't let the program have one.
    pub fn open(stack: &Stack, protocol: u8) -> io::Result<Self> {
        UdpSocket::open(stack, SocketKind::Raw { protocol }).map(Self)
    }

    /// Sends what follows the IPv4 header, or with [`SocketOption::HeaderIncluded`] a whole packet, to `to`.
    pub fn send_to(&self, packet: &[u8], to: IpAddr) -> io::Result<usize> {
        self.0.send_to(packet, SocketAddr::new(to, 0))
    }

    /// Receives a packet from its IPv4 header on: how many bytes of it there was room for, and its sender.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, IpAddr)> {
        self.0.recv_from(buffer).map(|(count, from)| (count, from.ip()))
    }

    /// Hears from now on of what is for that address alone, and sends from it.
    pub fn bind(&self, local: IpAddr) -> io::Result<()> {
        let stack = self.0.stack();
        Ok(stack.with(|session| session.bind(self.as_fd(), SocketAddr::new(local, 0)))?)
    }

    /// Which packets it wants, by a classic BPF program that sees them from the IPv4 header on; `None`: all.
    pub fn set_filter(&self, program: Option<Vec<Instruction>>) -> io::Result<()> {
        let request = Request::SetPacket(PacketOption::Filter(program));
        let stack = self.0.stack();
        match stack.with(|session| session.exchange(&request, Some(self.as_fd())))? {
            (Reply::Done, _) => Ok(()),
            _ => Err(Error::BadMessage.into()),
        }
    }

    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.0.set_option(option)
    }

    pub fn option(&self, name: OptionName) -> io::Result<SocketOption> {
        self.0.option(name)
    }

    /// How long receiving waits before it fails with `WouldBlock`; `None`: for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.0.set_read_timeout(timeout)
    }
}

/// For polling.
impl AsFd for RawSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
