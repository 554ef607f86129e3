//! The data calls on anchors of datagrams: each puts a header before what the program sends and
//! takes it off what it receives, and gives the errors that Linux would.
//!
//! Readiness, waiting and timeouts are the kernel's, on the anchor. Where this differs from a UDP
//! socket of the kernel: a pending error makes the anchor readable to epoll and select, where it would
//! be in error (poll says so); a datagram to a socket of the same host arrives a moment after it was
//! sent, not before; and MSG_MORE does not hold datagrams back.

use crate::{
    control_message::{self, Messages},
    kernel,
    known::Kind,
    netlink, packet, reached, real,
    session::with,
    sockaddr::{self, Name},
    stamp,
};
use libc::{c_int, iovec, msghdr};
use narrows_client::ipc::{
    datagram::{Content, Header},
    packet::Header as FrameHeader,
};
use rustix::io::Errno;
use std::{
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

/// The longest that can be sent: a packet with its header, of a raw socket.
const LONGEST: usize = 65_535;

/// What came with a datagram.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes of the payload, whether or not there was room for them.
    pub length: usize,
    pub peer: Name,
    pub control: Messages,
    /// `MSG_TRUNC`, `MSG_ERRQUEUE`.
    pub flags: c_int,
}

/// A descriptor that carries records, and the kernel's name for it.
#[derive(Clone, Copy, Debug)]
pub struct Anchor<'a> {
    pub fd: BorrowedFd<'a>,
    pub kind: Kind,
    pub cookie: u64,
}

/// Sends one datagram. `None` for `peer` is the connected one.
///
/// # Safety
///
/// `slices` point to bytes that can be read.
pub unsafe fn send(
    anchor: Anchor<'_>,
    peer: Option<&[u8]>,
    control: &[u8],
    slices: &[iovec],
    flags: c_int,
) -> Result<usize, Errno> {
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    if anchor.kind == Kind::Netlink {
        // SAFETY: the caller's promise.
        let bytes = unsafe { gathered(slices) }?;
        return netlink::send(anchor.fd, &bytes).map(|()| bytes.len());
    }
    if anchor.kind == Kind::Packets {
        let header = peer.map_or_else(|| Ok(Default::default()), packet::destination)?;
        let length = total(slices).ok_or(Errno::MSGSIZE)?;
        packet::may_send(anchor.fd, anchor.cookie, &header, length)?;
        // SAFETY: the caller's promise.
        return unsafe { send_record(anchor.fd, header.encode(), slices, flags) };
    }
    let mut header = Header::default();
    if let Some(address) = peer {
        header.peer = Some(sockaddr::parse_destination(address)?.into());
    }
    control_message::read(control, &mut header)?;
    let length = total(slices).filter(|length| *length <= LONGEST).ok_or(Errno::MSGSIZE)?;
    // An error about an earlier datagram is told first.
    if peer.is_none()
        && let Some(errno) = pending_error(anchor.fd)?
    {
        return Err(errno);
    }
    if !reached::knows(anchor.cookie, &header, length) {
        let longest = with(|session| session.reach(anchor.fd, &header, length))?;
        reached::remember(anchor.cookie, &header, longest);
    }
    // SAFETY: the caller's promise.
    unsafe { send_record(anchor.fd, header.encode(), slices, flags) }
}

/// Sends one record.
///
/// # Safety
///
/// `slices` point to bytes that can be read.
unsafe fn send_record(
    fd: BorrowedFd<'_>,
    mut header: [u8; Header::LEN],
    slices: &[iovec],
    flags: c_int,
) -> Result<usize, Errno> {
    let flags = flags & libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the header is a local, and the caller's slices can be read.
    let sent = unsafe {
        with_header(&mut header, slices, |message| real::sendmsg(fd.as_raw_fd(), message, flags))
    }?;
    match usize::try_from(sent) {
        Ok(sent) => Ok(sent.saturating_sub(Header::LEN)),
        Err(_) => Err(failure(fd)),
    }
}

/// Receives one datagram, or with `MSG_ERRQUEUE` an error.
///
/// # Safety
///
/// `slices` point to bytes that can be written.
pub unsafe fn receive(
    anchor: Anchor<'_>,
    slices: &[iovec],
    flags: c_int,
) -> Result<Received, Errno> {
    if anchor.kind == Kind::Netlink {
        // SAFETY: the caller's promise.
        return unsafe { receive_plain(anchor.fd, slices, flags) };
    }
    if flags & libc::MSG_ERRQUEUE != 0 {
        // SAFETY: the caller's promise.
        return unsafe { receive_error(anchor.fd, slices) };
    }
    if flags & libc::MSG_OOB != 0 {
        return Err(Errno::OPNOTSUPP);
    }
    // The kernel then says how long a record is that it had to cut.
    let flags = flags & (libc::MSG_DONTWAIT | libc::MSG_PEEK) | libc::MSG_TRUNC;
    let mut asked = false;
    loop {
        let mut bytes = [0; Header::LEN];
        // SAFETY: the header is a local, and the caller's slices can be written.
        let count = unsafe {
            with_header(&mut bytes, slices, |message| {
                real::recvmsg(anchor.fd.as_raw_fd(), message, flags)
            })
        }?;
        let length = match usize::try_from(count) {
            Err(_) => return Err(failure(anchor.fd)),
            // No record is empty: the program shut the socket down, or the daemon has gone.
            Ok(0) => return gone(anchor.fd).map_or_else(|| Ok(Received::default()), Err),
            Ok(count) => count.saturating_sub(Header::LEN),
        };
        let cut = total(slices).is_some_and(|room| room < length);
        let flags_told = if cut { libc::MSG_TRUNC } else { 0 };
        if let (Kind::Packets, Ok(header)) = (anchor.kind, FrameHeader::decode(&bytes)) {
            stamp::remember(anchor.cookie, header.seen);
            return Ok(Received {
                length,
                peer: Name::new(&packet::encode(&header)),
                control: packet::messages(&header, length),
                flags: flags_told,
            });
        }
        let header = Header::decode(&bytes).map_err(|_| Errno::BADMSG)?;
        if header.content == Content::Error {
            if flags & libc::MSG_PEEK != 0 {
                drop_word(anchor.fd);
            }
            // A word that comes again tells of the error queue, which reading leaves as it is.
            if !std::mem::replace(&mut asked, true)
                && let Some(errno) = take_error(anchor.fd)?
            {
                return Err(errno);
            }
            continue;
        }
        reached::remember_sender(anchor.cookie, &header);
        stamp::remember(anchor.cookie, header.received);
        return Ok(Received {
            length,
            peer: header.peer.map(Name::from).unwrap_or_default(),
            control: Messages::of_datagram(&header),
            flags: flags_told,
        });
    }
}

/// Receives one of netlink's datagrams, which has no header.
///
/// # Safety
///
/// `slices` point to bytes that can be written.
unsafe fn receive_plain(
    fd: BorrowedFd<'_>,
    slices: &[iovec],
    flags: c_int,
) -> Result<Received, Errno> {
    // SAFETY: a message without address, slices and control data is valid.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut();
    message.msg_iovlen = slices.len();
    // SAFETY: the caller's slices can be written.
    let count = unsafe { real::recvmsg(fd.as_raw_fd(), &raw mut message, flags | libc::MSG_TRUNC) };
    let length = usize::try_from(count).map_err(|_| Errno::from_raw_os_error(kernel::errno()))?;
    Ok(Received {
        length,
        peer: Name::new(&netlink::address(0)),
        control: Messages::default(),
        flags: message.msg_flags & libc::MSG_TRUNC,
    })
}

/// The bytes of the slices in one piece.
///
/// # Safety
///
/// `slices` point to bytes that can be read.
unsafe fn gathered(slices: &[iovec]) -> Result<Vec<u8>, Errno> {
    total(slices).filter(|length| *length <= LONGEST).ok_or(Errno::MSGSIZE)?;
    let mut bytes = Vec::new();
    for slice in slices.iter().filter(|slice| slice.iov_len > 0) {
        // SAFETY: the caller's promise.
        let part =
            unsafe { std::slice::from_raw_parts(slice.iov_base.cast::<u8>(), slice.iov_len) };
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// The oldest entry of the error queue.
///
/// # Safety
///
/// `slices` point to bytes that can be written.
unsafe fn receive_error(fd: BorrowedFd<'_>, slices: &[iovec]) -> Result<Received, Errno> {
    reached::forget_all();
    let queued = with(|session| session.take_queued_error(fd))?;
    // There is another one where there is another entry.
    drop_any_word(fd);
    let queued = queued.ok_or(Errno::AGAIN)?;
    let mut rest = &queued.payload[..];
    for slice in slices {
        let (part, left) = rest.split_at(rest.len().min(slice.iov_len));
        // SAFETY: the slice has room for as much.
        unsafe { ptr::copy_nonoverlapping(part.as_ptr(), slice.iov_base.cast(), part.len()) };
        rest = left;
    }
    let cut = if rest.is_empty() { 0 } else { libc::MSG_TRUNC };
    Ok(Received {
        length: queued.payload.len(),
        peer: queued.destination.into(),
        control: Messages::of_error(&queued),
        flags: libc::MSG_ERRQUEUE | cut,
    })
}

/// How many bytes the next datagram has; 0 if there is none: `FIONREAD`.
pub fn waiting(fd: BorrowedFd<'_>) -> usize {
    peek(fd).map_or(0, |(_, length)| length)
}

/// `SO_ERROR`: told once.
pub fn take_error(fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
    reached::forget_all();
    let error = with(|session| session.take_error(fd))?;
    Ok(error.map(|error| Errno::from_raw_os_error(error.errno())))
}

/// The pending error, if there is word of one; taken.
pub fn pending_error(fd: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
    if !word_waits(fd) {
        return Ok(None);
    }
    drop_word(fd);
    take_error(fd)
}

/// Whether what comes next is word of an error.
pub fn word_waits(fd: BorrowedFd<'_>) -> bool {
    peek(fd).is_some_and(|(header, _)| header.content == Content::Error)
}

/// The next record's header and the length of its payload, left where they are.
fn peek(fd: BorrowedFd<'_>) -> Option<(Header, usize)> {
    let mut bytes = [0; Header::LEN];
    let count = kernel::receive(fd, &mut bytes, libc::MSG_PEEK | libc::MSG_TRUNC)?;
    Some((Header::decode(&bytes).ok()?, count.checked_sub(Header::LEN)?))
}

/// Takes word of an error out if that is what comes next.
pub fn drop_any_word(fd: BorrowedFd<'_>) {
    if word_waits(fd) {
        drop_word(fd);
    }
}

/// Takes a word of an error out. Should another thread have been faster, a datagram is lost, as
/// datagrams may be.
fn drop_word(fd: BorrowedFd<'_>) {
    kernel::receive(fd, &mut [0; Header::LEN], 0);
}

/// What a failed call on the anchor is for the program.
#[cold]
fn failure(fd: BorrowedFd<'_>) -> Errno {
    match Errno::from_raw_os_error(kernel::errno()) {
        errno @ (Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => gone(fd).unwrap_or(errno),
        errno => errno,
    }
}

/// Why an anchor is at its end, unless the program shut it down itself.
#[cold]
fn gone(fd: BorrowedFd<'_>) -> Option<Errno> {
    match with(|session| session.take_error(fd)) {
        Err(Errno::NOTSOCK | Errno::NETDOWN) => Some(Errno::NETDOWN),
        _ => None,
    }
}

/// The bytes that slices are for; `None` if that is no number.
fn total(slices: &[iovec]) -> Option<usize> {
    slices.iter().try_fold(0_usize, |sum, slice| sum.checked_add(slice.iov_len))
}

/// Slices that fit on the stack of any thread, also one with a signal's small stack.
const FEW: usize = 16;
/// The kernel's UIO_MAXIOV.
const MANY: usize = 1024;

/// Calls with a message of the header and the slices. Nothing that would have to be dropped is
/// held meanwhile: the call may not come back.
///
/// # Safety
///
/// `slices` are as the call asks for.
unsafe fn with_header(
    header: &mut [u8; Header::LEN],
    slices: &[iovec],
    call: impl FnOnce(*mut msghdr) -> isize,
) -> Result<isize, Errno> {
    match slices.len() {
        0..FEW => Ok(gather::<FEW>(header, slices, call)),
        FEW..MANY => Ok(gather::<MANY>(header, slices, call)),
        // One more than the kernel takes.
        _ => Err(Errno::MSGSIZE),
    }
}

fn gather<const N: usize>(
    header: &mut [u8; Header::LEN],
    slices: &[iovec],
    call: impl FnOnce(*mut msghdr) -> isize,
) -> isize {
    let mut all = [const { MaybeUninit::<iovec>::uninit() }; N];
    let first = iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() };
    let mut count = 0;
    for (place, slice) in all.iter_mut().zip([&first].into_iter().chain(slices)) {
        place.write(*slice);
        count += 1;
    }
    // SAFETY: a message without address, slices and control data is valid.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = all.as_mut_ptr().cast();
    message.msg_iovlen = count;
    call(&raw mut message)
}
