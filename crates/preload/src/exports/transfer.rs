//! The data calls. On a stream's anchor and on any other descriptor they are the kernel's; on an
//! anchor of datagrams each record has a header.

use super::{anchor, datagram, input};
use crate::{
    control, kernel,
    known::{self, Kind},
    packet::ring,
    real, stamp, transfer,
};
use libc::{
    c_int, c_long, c_uint, c_ulong, c_void, iovec, mmsghdr, msghdr, nfds_t, off_t, pollfd,
    sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec,
};
use rustix::io::Errno;
use std::{os::fd::AsRawFd, ptr, slice};

/// Looks at the result of a call that reads into `room` bytes.
#[inline]
fn after_read(fd: c_int, read: ssize_t, room: size_t) -> ssize_t {
    if read < 0 || read == 0 && room > 0 { transfer::after_failed_read(fd, read) } else { read }
}

/// Looks at the result of a call that writes and may have raised SIGPIPE.
#[inline]
fn after_write(fd: c_int, written: ssize_t) -> ssize_t {
    if written < 0 && kernel::errno() == libc::EPIPE {
        transfer::broken_pipe(fd);
    }
    written
}

/// Looks at the result of a call that sends and was kept from raising SIGPIPE.
#[inline]
fn after_send(fd: c_int, sent: ssize_t, flags: c_int) -> ssize_t {
    if sent < 0
        && kernel::errno() == libc::EPIPE
        && transfer::broken_pipe(fd)
        && flags & libc::MSG_NOSIGNAL == 0
    {
        kernel::raise_broken_pipe();
        kernel::set_errno(libc::EPIPE);
    }
    sent
}

/// MSG_FASTOPEN: connects to where the bytes go, which then may leave with the SYN. Other sockets than
/// TCP's are left to themselves.
///
/// # Safety
///
/// `address` must be null or have `len` bytes.
unsafe fn connect_fast(
    fd: c_int,
    flags: c_int,
    address: *const sockaddr,
    len: socklen_t,
) -> Result<(), Errno> {
    match anchor(fd) {
        Some(anchor) if !address.is_null() => {
            // SAFETY: the caller's promise.
            let address = unsafe { input(address.cast(), len) }?;
            control::connect_fast(anchor, address, flags & libc::MSG_DONTWAIT != 0)
        }
        _ => Ok(()),
    }
}

/// The room in a list of slices, as far as it matters: whether there is any.
///
/// # Safety
///
/// `slices` must be null or point to `count` slices.
unsafe fn room(slices: *const iovec, count: size_t) -> size_t {
    if slices.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    let slices = unsafe { slice::from_raw_parts(slices, count) };
    slices.iter().map(|slice| slice.iov_len).find(|len| *len > 0).unwrap_or(0)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn read(fd: c_int, buffer: *mut c_void, len: size_t) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::read(anchor, buffer, len) };
    }
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::read(fd, buffer, len) };
    after_read(fd, read, len)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn readv(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::read_vector(anchor, slices, count) };
    }
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::readv(fd, slices, count) };
    // SAFETY: the kernel has read that many slices, or there are none.
    let room = || unsafe { room(slices, size_t::try_from(count).unwrap_or(0)) };
    after_read(fd, read, if read == 0 { room() } else { 0 })
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn recv(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe {
            datagram::receive_from(anchor, buffer, len, flags, ptr::null_mut(), ptr::null_mut())
        };
    }
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::recv(fd, buffer, len, flags) };
    after_read(fd, read, len)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_len: *mut socklen_t,
) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::receive_from(anchor, buffer, len, flags, address, address_len) };
    }
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::recvfrom(fd, buffer, len, flags, address, address_len) };
    after_read(fd, read, len)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::receive_message(anchor, message, flags) };
    }
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::recvmsg(fd, message, flags) };
    // SAFETY: the kernel has filled the message in.
    if read >= 0 && unsafe { !(*message).msg_control.is_null() && (*message).msg_controllen > 0 } {
        // Descriptors may have come with it.
        known::expect_records();
    }
    // SAFETY: the kernel has read the message's header and its slices.
    let room = || unsafe { room((*message).msg_iov, (*message).msg_iovlen as size_t) };
    after_read(fd, read, if read == 0 { room() } else { 0 })
}

/// What the compiler makes of `read` when it knows the buffer's size; so with the next two.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn __read_chk(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    room: size_t,
) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd).filter(|_| len <= room) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::read(anchor, buffer, len) };
    }
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::__read_chk(fd, buffer, len, room) };
    after_read(fd, read, len)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn __recv_chk(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd).filter(|_| len <= room) {
        // SAFETY: the program's arguments, as they came.
        return unsafe {
            datagram::receive_from(anchor, buffer, len, flags, ptr::null_mut(), ptr::null_mut())
        };
    }
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::__recv_chk(fd, buffer, len, room, flags) };
    after_read(fd, read, len)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    len: size_t,
    room: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_len: *mut socklen_t,
) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd).filter(|_| len <= room) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::receive_from(anchor, buffer, len, flags, address, address_len) };
    }
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::__recvfrom_chk(fd, buffer, len, room, flags, address, address_len) };
    after_read(fd, read, len)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn write(fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::send_to(anchor, buffer, len, 0, ptr::null(), 0) };
    }
    // SAFETY: the program's arguments, as they came.
    let written = unsafe { real::write(fd, buffer, len) };
    after_write(fd, written)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn writev(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::write_vector(anchor, slices, count) };
    }
    // SAFETY: the program's arguments, as they came.
    let written = unsafe { real::writev(fd, slices, count) };
    after_write(fd, written)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn send(
    fd: c_int,
    buffer: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::send_to(anchor, buffer, len, flags, ptr::null(), 0) };
    }
    // SAFETY: the program's arguments, as they came, but for the flag.
    let sent = unsafe { real::send(fd, buffer, len, flags | libc::MSG_NOSIGNAL) };
    after_send(fd, sent, flags)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn sendto(
    fd: c_int,
    buffer: *const c_void,
    len: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_len: socklen_t,
) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::send_to(anchor, buffer, len, flags, address, address_len) };
    }
    if flags & libc::MSG_FASTOPEN != 0 {
        // SAFETY: the address, as it came.
        if let Err(errno) = unsafe { connect_fast(fd, flags, address, address_len) } {
            return kernel::fail(errno) as ssize_t;
        }
    }
    let flags = flags & !libc::MSG_FASTOPEN;
    // Linux ignores the address that is given on a TCP socket.
    let (address, address_len) = if !address.is_null() && anchor(fd).is_some() {
        (ptr::null(), 0)
    } else {
        (address, address_len)
    };
    let quiet = flags | libc::MSG_NOSIGNAL;
    // SAFETY: the program's arguments, as they came, but for the address and the flag.
    let sent = unsafe { real::sendto(fd, buffer, len, quiet, address, address_len) };
    after_send(fd, sent, flags)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn sendmsg(
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    if let Some(anchor) = datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { datagram::send_message(anchor, message, flags) };
    }
    if flags & libc::MSG_FASTOPEN != 0 && !message.is_null() {
        // SAFETY: there is a message, and its address as it came.
        let connected = unsafe {
            let address = (*message).msg_name.cast_const().cast();
            connect_fast(fd, flags, address, (*message).msg_namelen)
        };
        if let Err(errno) = connected {
            return kernel::fail(errno) as ssize_t;
        }
    }
    let flags = flags & !libc::MSG_FASTOPEN;
    let quiet = flags | libc::MSG_NOSIGNAL;
    // SAFETY: sendmsg(2) asks for a message, which may have an address.
    let addressed = !message.is_null() && unsafe { !(*message).msg_name.is_null() };
    let sent = if addressed && anchor(fd).is_some() {
        // SAFETY: there is a message. Its copy is without the address, which Linux ignores on a
        // TCP socket.
        unsafe {
            let mut unaddressed = *message;
            unaddressed.msg_name = ptr::null_mut();
            unaddressed.msg_namelen = 0;
            real::sendmsg(fd, &raw const unaddressed, quiet)
        }
    } else {
        // SAFETY: the program's arguments, as they came, but for the flag.
        unsafe { real::sendmsg(fd, message, quiet) }
    };
    after_send(fd, sent, flags)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn sendmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    match datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        Some(anchor) => unsafe { datagram::send_messages(anchor, messages, count, flags) },
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::sendmmsg(fd, messages, count, flags) },
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn recvmmsg(
    fd: c_int,
    messages: *mut mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut timespec,
) -> c_int {
    match datagram::anchor(fd) {
        // SAFETY: the program's arguments, as they came.
        Some(anchor) => unsafe {
            datagram::receive_messages(anchor, messages, count, flags, timeout)
        },
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::recvmmsg(fd, messages, count, flags, timeout) },
    }
}

/// As the kernel says it of a UDP socket, and some programs look for nothing else: with an error
/// pending it is in error, and not readable for that.
///
/// # Safety
///
/// `polled` must be null or point to `count` descriptors.
unsafe fn tell_records(polled: *mut pollfd, count: nfds_t) {
    let Ok(count) = usize::try_from(count) else { return };
    if polled.is_null() || !known::may_have_records() {
        return;
    }
    // SAFETY: the caller's promise.
    for polled in unsafe { slice::from_raw_parts_mut(polled, count) } {
        if polled.revents & libc::POLLIN == 0 {
            continue;
        }
        let Some(anchor) = datagram::anchor(polled.fd) else { continue };
        match anchor.kind {
            // What is there is put where the program looks for it.
            Kind::Packets => {
                ring::fill(anchor.fd, anchor.cookie);
            }
            Kind::Datagrams if crate::datagram::word_waits(anchor.fd) => {
                polled.revents = polled.revents & !libc::POLLIN | libc::POLLERR;
            }
            Kind::Datagrams | Kind::Netlink => {}
        }
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn poll(polled: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    // SAFETY: the program's arguments, as they came.
    let ready = unsafe { real::poll(polled, count, timeout) };
    if ready > 0 {
        // SAFETY: the kernel has filled them in.
        unsafe { tell_records(polled, count) };
    }
    ready
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn ppoll(
    polled: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    signals: *const sigset_t,
) -> c_int {
    // SAFETY: the program's arguments, as they came.
    let ready = unsafe { real::ppoll(polled, count, timeout, signals) };
    if ready > 0 {
        // SAFETY: the kernel has filled them in.
        unsafe { tell_records(polled, count) };
    }
    ready
}

/// System calls by number, of which libuv makes these two itself. In C it takes any number of
/// arguments; the kernel looks at six, which all calling conventions of Linux pass in the same
/// places whether or not they are declared.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    match number {
        // SAFETY: the program's arguments, as the call of this number takes them.
        libc::SYS_sendmmsg => unsafe {
            sendmmsg(a as c_int, b as *mut mmsghdr, c as c_uint, d as c_int).into()
        },
        // SAFETY: as above.
        libc::SYS_recvmmsg => unsafe {
            let (messages, timeout) = (b as *mut mmsghdr, e as *mut timespec);
            recvmmsg(a as c_int, messages, c as c_uint, d as c_int, timeout).into()
        },
        // SAFETY: the program's arguments, as they came.
        _ => unsafe { real::syscall(number, a, b, c, d, e, f) },
    }
}

/// In C it takes any number of arguments; the kernel looks at one more, which all calling
/// conventions of Linux pass in the same place.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    if let Some(result) = super::interfaces::ioctl(fd, request, argument) {
        return result;
    }
    if request == libc::FIONREAD
        && !argument.is_null()
        && let Some(anchor) = datagram::anchor(fd)
    {
        let waiting = crate::datagram::waiting(anchor.fd);
        // SAFETY: ioctl_tty(2) asks for a pointer to an int.
        unsafe { *argument.cast::<c_int>() = c_int::try_from(waiting).unwrap_or(c_int::MAX) };
        return 0;
    }
    if let Some(anchor) = datagram::anchor(fd)
        && let Some(answer) = stamp::answer(anchor.cookie, request)
    {
        return super::status(answer.and_then(|time| {
            let room = argument.cast::<[u8; 16]>();
            if room.is_null() {
                return Err(Errno::FAULT);
            }
            // SAFETY: socket(7) asks for a pointer to a timeval or timespec, which is as long.
            unsafe { room.write_unaligned(time) };
            Ok(())
        }));
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::ioctl(fd, request, argument) }
}

/// A packet socket's ring is memory of the shim's, not of the anchor.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn mmap(
    address: *mut c_void,
    len: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    if fd >= 0
        && let Some((Kind::Packets, cookie)) = known::records(fd)
        && let Some(file) = ring::file(cookie)
    {
        // SAFETY: the program's arguments, but for the file.
        return unsafe { real::mmap(address, len, protection, flags, file.as_raw_fd(), offset) };
    }
    // SAFETY: the program's arguments, as they came.
    unsafe { real::mmap(address, len, protection, flags, fd, offset) }
}

/// What programs call that are built for large files.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn mmap64(
    address: *mut c_void,
    len: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the program's arguments, as they came; offsets are of one length here.
    unsafe { mmap(address, len, protection, flags, fd, offset) }
}
