//! One end of a session: packets of at most [`MAX_PACKET`] bytes with at most one descriptor.
//!
//! A packet is sent whole or not at all. A descriptor arrives close-on-exec; more than one in a
//! packet are all closed and reported as lost.

use crate::{
    codec::{self, MAX_PACKET, Malformed, TooLong},
    message::{Hello, VERSION, Welcome},
};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
        SocketType, recvmsg, sendmsg,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// The kernel's SCM_MAX_FD: descriptors that one packet can carry.
const MAX_DESCRIPTORS: usize = 253;

/// Why a packet was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("the other side closed the session")]
    Closed,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The table of open files is full, or the packet carried more than it may. The packet is
    /// gone; the session is still in step.
    #[error("a descriptor was lost on the way: too many open files")]
    DescriptorLost,
    /// A non-blocking endpoint whose peer does not read.
    #[error("the other side does not read its packets")]
    Full,
    #[error("the daemon speaks version {daemon} of the protocol, this program version {VERSION}")]
    VersionMismatch { daemon: u32 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for TransportError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => TransportError::Closed,
            Errno::AGAIN => TransportError::Full,
            other => TransportError::Io(other.into()),
        }
    }
}

/// One end of a session.
#[derive(Debug)]
pub struct Endpoint {
    socket: OwnedFd,
    /// Packets are written and read here, so that sending and receiving allocate nothing.
    buffer: Box<[u8]>,
    /// Bytes of the packet that came last.
    received: usize,
}

impl Endpoint {
    /// Wraps a connected `SOCK_SEQPACKET` socket; it stays blocking or not as it is.
    pub fn new(socket: OwnedFd) -> Self {
        Endpoint { socket, buffer: vec![0; MAX_PACKET].into_boxed_slice(), received: 0 }
    }

    /// Two ends joined, blocking.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Endpoint::new(a), Endpoint::new(b)))
    }

    /// Opens a session with the daemon that listens at `path`: connects, says hello and checks
    /// that both speak the same version. The endpoint blocks.
    pub fn connect(path: &Path) -> Result<Self, TransportError> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(io::Error::from)?;
        let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
        rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))
            .map_err(io::Error::from)?;
        let mut endpoint = Endpoint::new(socket);
        endpoint.send(&Hello { version: VERSION }, None)?;
        match endpoint.recv()? {
            Some((Welcome::Ready, _)) => Ok(endpoint),
            Some((Welcome::VersionMismatch { daemon }, _)) => {
                Err(TransportError::VersionMismatch { daemon })
            }
            None => Err(TransportError::Closed),
        }
    }

    /// Sends one message, and with it the anchor it is about.
    pub fn send<T: Serialize>(
        &mut self,
        message: &T,
        anchor: Option<BorrowedFd<'_>>,
    ) -> Result<(), TransportError> {
        let packet = [IoSlice::new(codec::encode(message, &mut self.buffer)?)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(anchor) = &anchor {
            let pushed =
                control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(anchor)));
            debug_assert!(pushed, "the space is for one descriptor");
        }
        rustix::io::retry_on_intr(|| {
            sendmsg(&self.socket, &packet, &mut control, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// Receives one message and the anchor that came with it. `None`: the endpoint is
    /// non-blocking and nothing waits.
    ///
    /// After [`TransportError::Malformed`] or [`TransportError::DescriptorLost`] the next packet
    /// can still be received; after any other error the session is over.
    pub fn recv<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<(T, Option<OwnedFd>)>, TransportError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        self.recv_into(&mut RecvAncillaryBuffer::new(&mut space), &mut drop)
    }

    /// Like [`Endpoint::recv`], for packets of somebody who is not trusted: the descriptors that
    /// come with a packet that is refused are given to `stray` instead of being closed here, since
    /// closing another's descriptor can take as long as he likes.
    pub fn recv_untrusted<T: DeserializeOwned>(
        &mut self,
        mut stray: impl FnMut(OwnedFd),
    ) -> Result<Option<(T, Option<OwnedFd>)>, TransportError> {
        // As many as a packet can carry: the kernel closes those for which there is no room.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        self.recv_into(&mut RecvAncillaryBuffer::new(&mut space), &mut stray)
    }

    fn recv_into<T: DeserializeOwned>(
        &mut self,
        control: &mut RecvAncillaryBuffer<'_>,
        stray: &mut dyn FnMut(OwnedFd),
    ) -> Result<Option<(T, Option<OwnedFd>)>, TransportError> {
        let received = rustix::io::retry_on_intr(|| {
            let mut packet = [IoSliceMut::new(&mut self.buffer)];
            recvmsg(&self.socket, &mut packet, control, RecvFlags::CMSG_CLOEXEC)
        });
        let received = match received {
            Ok(received) => received,
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        self.received = received.bytes;
        let mut anchor = None;
        let mut lost = received.flags.contains(ReturnFlags::CTRUNC);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(arrived) = message {
                for descriptor in arrived {
                    if let Some(earlier) = anchor.replace(descriptor) {
                        lost = true;
                        stray(earlier);
                    }
                }
            }
        }
        match self.message(received.bytes, received.flags, lost) {
            Ok(message) => Ok(Some((message, anchor))),
            Err(error) => {
                anchor.into_iter().for_each(stray);
                Err(error)
            }
        }
    }

    /// What the packet that came says.
    fn message<T: DeserializeOwned>(
        &self,
        bytes: usize,
        flags: ReturnFlags,
        lost: bool,
    ) -> Result<T, TransportError> {
        // No message is empty, so an empty packet is the end, or as good as the end.
        if bytes == 0 {
            return Err(TransportError::Closed);
        }
        if lost {
            return Err(TransportError::DescriptorLost);
        }
        let packet = self.buffer.get(..bytes).ok_or(Malformed)?;
        if flags.contains(ReturnFlags::TRUNC) {
            return Err(Malformed.into());
        }
        Ok(codec::decode(packet)?)
    }

    /// The packet that was just [`TransportError::Malformed`], as far as there was room for it.
    pub fn refused(&self) -> &[u8] {
        self.buffer.get(..self.received).unwrap_or_default()
    }

    /// The socket itself, and an end to the endpoint.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
