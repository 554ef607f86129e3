//! A packet socket.

use crate::{error::Error as ClientError, stack::Stack};
use narrows_ipc::{
    Error, Reply, Request, datagram,
    message::SocketKind,
    packet::{FrameMatch, Header, PacketOption},
    see::Stage,
};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg, sockopt,
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

/// A packet socket (packet(7)) of one interface; closed when dropped. It hears of frames from their link
/// header on, and sends such frames. What else it can do, as others do by options, is [`PacketOption`].
#[derive(Debug)]
pub struct PacketSocket {
    stack: Stack,
    anchor: OwnedFd,
}

impl PacketSocket {
    /// For frames of an Ethernet type, or of every one with 3, that pass the interface of that name.
    /// `PermissionDenied` where policy doesn't let the program have one.
    pub fn open(stack: &Stack, interface: &str, protocol: u16) -> io::Result<Self> {
        let links = stack.links()?;
        let link = links.iter().find(|link| link.name == interface);
        let interface = link.ok_or(Error::NoSuchDevice)?.id;
        // Nothing is heard before it is bound.
        let kind = SocketKind::Packet { cooked: false, protocol: 0 };
        let anchor = stack.with(|session| session.socket(kind))?;
        let socket = Self { stack: stack.clone(), anchor };
        socket.ask(&Request::BindPacket { interface, protocol })?;
        Ok(socket)
    }

    pub fn set(&self, option: PacketOption) -> io::Result<()> {
        self.ask(&Request::SetPacket(option)).map(drop)
    }

    /// Has incoming frames that match to itself from now on, in place of an earlier claim; `None`: no more.
    /// `EBUSY`: somebody else has claimed some of them.
    pub fn claim(&self, frame: Option<FrameMatch>) -> io::Result<()> {
        self.set(PacketOption::Claim(frame))
    }

    /// Hears of frames at these stages of their way from now on, and no more as they pass the interface; none:
    /// as it did. Each frame's header says where it was, and where it ended why: by the number of one of
    /// [`Stack::drop_reasons`], from 1 on.
    pub fn tap(&self, stages: &[Stage]) -> io::Result<()> {
        self.set(PacketOption::Tap(stages.to_vec()))
    }

    /// Frames that its filter took since it was last asked, and those of them that were lost for want of
    /// reading.
    pub fn statistics(&self) -> io::Result<(u32, u32)> {
        match self.ask(&Request::PacketStatistics)? {
            Reply::PacketStatistics { frames, lost } => Ok((frames, lost)),
            _ => Err(Error::BadMessage.into()),
        }
    }

    /// Receives a frame: how many bytes of it there was room for, and what is told of it.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, Header)> {
        let room = buffer.len();
        let mut header = [0; Header::LEN];
        loop {
            let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buffer)];
            let mut control = RecvAncillaryBuffer::default();
            let received = recvmsg(&self.anchor, &mut parts, &mut control, RecvFlags::TRUNC)?;
            let length = received.bytes.checked_sub(Header::LEN).ok_or(Error::NetworkDown)?;
            if let Ok(header) = Header::decode(&header) {
                return Ok((length.min(room), header));
            }
            // Word of an error about what it sent.
            datagram::Header::decode(&header).map_err(|_| Error::BadMessage)?;
            if let Some(error) = self.stack.with(|session| session.take_error(self.as_fd()))? {
                return Err(error.into());
            }
        }
    }

    /// Sends a frame by its interface.
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        let header = Header::default().encode();
        let record = [IoSlice::new(&header), IoSlice::new(frame)];
        let mut control = SendAncillaryBuffer::default();
        let sent = sendmsg(&self.anchor, &record, &mut control, SendFlags::NOSIGNAL)?;
        Ok(sent.saturating_sub(Header::LEN))
    }

    /// How long receiving waits before it fails with `WouldBlock`; `None`: for ever.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        Ok(sockopt::set_socket_timeout(&self.anchor, sockopt::Timeout::Recv, timeout)?)
    }

    fn ask(&self, request: &Request) -> io::Result<Reply> {
        let answer: Result<_, ClientError> =
            self.stack.with(|session| session.exchange(request, Some(self.as_fd())));
        Ok(answer?.0)
    }
}

/// For polling.
impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.anchor.as_fd()
    }
}
