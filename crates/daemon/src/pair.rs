//! The socket pairs behind anchors.

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, sockopt},
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

/// A pair whose ends are not in use yet.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Ours; used with MSG_DONTWAIT, since O_NONBLOCK would be one call more.
    pub end: OwnedFd,
    /// The program's: blocking, as socket(2) makes them.
    pub program_end: OwnedFd,
    /// SO_COOKIE of the program's end: the kernel gives each to one socket, ever.
    pub cookie: u64,
}

/// Makes pairs of streams, and keeps one that was made and not needed.
#[derive(Debug)]
pub(crate) struct Pairs {
    spare: Option<Pair>,
    filler: Vec<u8>,
}

impl Pairs {
    pub(crate) fn new() -> io::Result<Self> {
        let pair = make(SocketType::STREAM)?;
        // A Unix socket is writable while at most a quarter of its send buffer is in use.
        let buffer = sockopt::socket_send_buffer_size(&pair.program_end)?;
        Ok(Self { spare: Some(pair), filler: vec![0; buffer / 4] })
    }

    pub(crate) fn take(&mut self) -> io::Result<Pair> {
        match self.spare.take() {
            Some(pair) => Ok(pair),
            None => make(SocketType::STREAM),
        }
    }

    pub(crate) fn put_back(&mut self, pair: Pair) {
        self.spare = Some(pair);
    }

    /// As many bytes, written into one end, as make it unwritable.
    pub(crate) fn filler(&self) -> &[u8] {
        &self.filler
    }
}

/// Bytes that may wait in one direction of a connection's pair. With less, reader and writer wake
/// each other for every few segments, and waking is what costs most.
const STREAM_BUFFER: usize = 1 << 20;

/// Makes room for a stream written into `end`: all that is wanted where that is permitted, else as
/// much as anybody may have.
pub(crate) fn widen(end: &OwnedFd) {
    if sockopt::set_socket_send_buffer_size_force(end, STREAM_BUFFER).is_err()
        && let Err(error) = sockopt::set_socket_send_buffer_size(end, STREAM_BUFFER)
    {
        tracing::debug!(%error, "an anchor keeps its small buffer");
    }
}

/// A pair that carries records.
pub(crate) fn of_records() -> io::Result<Pair> {
    make(SocketType::SEQPACKET)
}

fn make(kind: SocketType) -> io::Result<Pair> {
    let (end, program_end) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    // A descriptor sent to us over an anchor would be closed in our next read of it, and closing
    // some (a kernel TCP socket that lingers) takes as long as its owner likes.
    refuse_descriptors(&end)?;
    let cookie = sockopt::socket_cookie(&program_end)?;
    Ok(Pair { end, program_end, cookie })
}

/// No descriptor can be sent to `end`, where the kernel can refuse them; nor, of a listener, to who
/// connects to it.
pub(crate) fn refuse_descriptors(end: &impl AsFd) -> io::Result<()> {
    unless_old(narrows_sys::socket::refuse_descriptors(end))
}

/// They can, again.
pub(crate) fn accept_descriptors(end: &impl AsFd) -> io::Result<()> {
    unless_old(narrows_sys::socket::accept_descriptors(end))
}

/// Linux before 6.16 can't refuse them.
fn unless_old(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(Errno::NOPROTOOPT.raw_os_error()) => Ok(()),
        other => other,
    }
}

/// Is it a lack of descriptors or memory, which passes when something is closed?
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    let shortages =
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::TOOMANYREFS, Errno::NOSPC];
    shortages.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        event::{PollFd, PollFlags, poll},
        net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    };
    use std::{io::IoSlice, mem::MaybeUninit};

    fn is_writable(end: &OwnedFd) -> bool {
        let mut fds = [PollFd::new(end, PollFlags::OUT)];
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&timeout)).expect("poll") == 1
    }

    #[test]
    fn filler_takes_writability_away_and_reading_it_gives_it_back() {
        let mut pairs = Pairs::new().expect("a pair");
        let pair = pairs.take().expect("a pair");
        assert!(is_writable(&pair.program_end));
        let sent = rustix::net::send(&pair.program_end, pairs.filler(), SendFlags::DONTWAIT);
        assert_eq!(sent, Ok(pairs.filler().len()));
        assert!(!is_writable(&pair.program_end));
        let mut room = vec![0; pairs.filler().len()];
        assert_eq!(rustix::io::read(&pair.end, &mut room), Ok(room.len()));
        assert!(is_writable(&pair.program_end));
    }

    #[test]
    fn cookies_name_the_programs_end_in_every_copy() {
        let mut pairs = Pairs::new().expect("a pair");
        let (one, two) = (pairs.take().expect("a pair"), pairs.take().expect("a pair"));
        assert_ne!(one.cookie, two.cookie);
        let copy = rustix::io::dup(&one.program_end).expect("dup");
        assert_eq!(sockopt::socket_cookie(&copy), Ok(one.cookie));
        assert_ne!(sockopt::socket_cookie(&one.end), Ok(one.cookie));
    }

    #[test]
    fn our_end_refuses_descriptors_where_the_kernel_can() {
        let pair = make(SocketType::STREAM).expect("a pair");
        let sent = [pair.program_end.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&sent)));
        let bytes = [IoSlice::new(b"x")];
        let result = sendmsg(&pair.program_end, &bytes, &mut control, SendFlags::DONTWAIT);
        let other = make(SocketType::STREAM).expect("a pair");
        match narrows_sys::socket::refuse_descriptors(&other.end) {
            Ok(()) => assert_eq!(result, Err(Errno::PERM)),
            Err(_) => assert_eq!(result, Ok(1)),
        }
    }
}
