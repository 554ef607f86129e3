//! Deciding about packets.

use narrows_ipc::inspect::{Answer, Attach, Attached, MAX_PACKET, Mistake, PacketHeader};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect,
        recv, send, socket_with,
    },
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};

/// Decides about packets as long as it lives.
///
/// ```no_run
/// use narrows_client::{Inspector, ipc::inspect::{Answer, Attach, Hook, Source, Verdict}};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let wish = Attach {
///     source: Source::Hook(Hook::Input),
///     interface: 0,
///     filter: Vec::new(),
///     snap: 0,
///     open: false,
///     patience: 2_000,
///     room: 256,
/// };
/// let mut inspector = Inspector::attach(None, &wish)?;
/// while let Some((header, bytes)) = inspector.next(Duration::from_secs(60))? {
///     let verdict = if bytes.len() > 1000 { Verdict::Drop } else { Verdict::Accept };
///     let answer = Answer { packet: header.packet, verdict, mark: None, bytes: None };
///     inspector.answer(&answer)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Inspector {
    socket: OwnedFd,
    number: u32,
    buffer: Box<[u8]>,
}

impl Inspector {
    /// Begins to decide, at the daemon that listens at `path`, or where [`narrows_ipc::socket_path`] says.
    ///
    /// Errors are those of connecting, and the daemon's: `EPERM` where policy does not let the caller inspect,
    /// `ENODEV` without such an interface, `EINVAL` for a wish that can't be so, `ENOBUFS` where as many inspect
    /// as can.
    pub fn attach(path: Option<&Path>, wish: &Attach) -> io::Result<Self> {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = socket_with(kind.0, kind.1, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &SocketAddrUnix::new(&*narrows_ipc::socket_path(path))?)?;
        send(&socket, &wish.encode(), SendFlags::NOSIGNAL)?;
        let mut buffer = vec![0; MAX_PACKET].into_boxed_slice();
        let count = recv(&socket, &mut buffer[..], RecvFlags::empty())?.0;
        let attached = buffer.get(..count).ok_or(Mistake::Malformed).and_then(Attached::decode);
        match attached.map_err(mistake)?.result {
            Ok(number) => Ok(Self { socket, number, buffer }),
            Err(errno) => Err(io::Error::from_raw_os_error(errno.into())),
        }
    }

    /// Its number in reports.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The next packet, from its IPv4 header on; `None`: none came in that time, or a signal did. `UnexpectedEof`:
    /// the daemon has sent it away, or has ended.
    pub fn next(&mut self, patience: Duration) -> io::Result<Option<(PacketHeader, &[u8])>> {
        let mut events = [PollFd::new(&self.socket, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match poll(&mut events, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(None),
            other => other?,
        };
        match recv(&self.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((count, _)) => {
                let record = self.buffer.get(..count).unwrap_or_default();
                PacketHeader::decode(record).map(Some).map_err(mistake)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Says what becomes of a packet. Nothing is answered to that: an answer that makes no sense is ignored.
    pub fn answer(&self, answer: &Answer<'_>) -> io::Result<()> {
        let record = answer.encode();
        rustix::io::retry_on_intr(|| send(&self.socket, &record, SendFlags::NOSIGNAL))?;
        Ok(())
    }
}

/// To be waited at: readable when there is a packet.
impl AsFd for Inspector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn mistake(mistake: Mistake) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, mistake)
}
