//! Data calls on anchors of datagrams: from C's arguments to safe ones and back.

use super::{input, output, status};
use crate::{
    datagram::{self, Anchor, Received},
    kernel, known,
};
use libc::{c_int, c_void, iovec, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t};
use rustix::io::Errno;
use std::{ptr, slice, time::Instant};

/// The descriptor under this number, if it carries records. `errno` is kept.
#[inline]
pub fn anchor<'a>(fd: c_int) -> Option<Anchor<'a>> {
    let (kind, cookie) = known::records(fd)?;
    kernel::descriptor(fd).map(|fd| Anchor { fd, kind, cookie })
}

fn result(count: Result<usize, Errno>) -> ssize_t {
    match count {
        Ok(count) => ssize_t::try_from(count).unwrap_or(ssize_t::MAX),
        Err(errno) => kernel::fail(errno) as ssize_t,
    }
}

/// What the program is told of a datagram's length: with MSG_TRUNC all of it, else what there was
/// room for.
fn told(received: &Received, slices: &[iovec], flags: c_int) -> usize {
    if flags & libc::MSG_TRUNC != 0 && flags & libc::MSG_ERRQUEUE == 0 {
        return received.length;
    }
    let room = slices.iter().fold(0_usize, |sum, slice| sum.saturating_add(slice.iov_len));
    received.length.min(room)
}

/// # Safety
///
/// `data` must be null or point to `count` slices, each to its bytes.
unsafe fn slices<'a>(data: *const iovec, count: size_t) -> Result<&'a [iovec], Errno> {
    match (data.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Errno::FAULT),
        // SAFETY: the caller's promise.
        (false, count) => Ok(unsafe { slice::from_raw_parts(data, count) }),
    }
}

/// # Safety
///
/// As sendto(2) asks.
pub unsafe fn send_to(
    anchor: Anchor<'_>,
    buffer: *const c_void,
    len: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_len: socklen_t,
) -> ssize_t {
    let whole = iovec { iov_base: buffer.cast_mut(), iov_len: len };
    let peer = if address.is_null() {
        Ok(None)
    } else {
        // SAFETY: the caller's promise.
        unsafe { input(address.cast(), address_len) }.map(Some)
    };
    // SAFETY: the caller's promise.
    result(peer.and_then(|peer| unsafe { datagram::send(anchor, peer, &[], &[whole], flags) }))
}

/// # Safety
///
/// As writev(2) asks.
pub unsafe fn write_vector(anchor: Anchor<'_>, data: *const iovec, count: c_int) -> ssize_t {
    let count = size_t::try_from(count).map_err(|_| Errno::INVAL);
    // SAFETY: the caller's promise.
    let slices = count.and_then(|count| unsafe { slices(data, count) });
    // SAFETY: the caller's promise.
    result(slices.and_then(|slices| unsafe { datagram::send(anchor, None, &[], slices, 0) }))
}

/// # Safety
///
/// As sendmsg(2) asks.
unsafe fn send_one(
    anchor: Anchor<'_>,
    message: *const msghdr,
    flags: c_int,
) -> Result<usize, Errno> {
    if message.is_null() {
        return Err(Errno::FAULT);
    }
    // SAFETY: not null, and the caller's promise.
    let message = unsafe { &*message };
    let peer = if message.msg_name.is_null() {
        None
    } else {
        // SAFETY: the caller's promise.
        Some(unsafe { input(message.msg_name, message.msg_namelen) }?)
    };
    let control = if message.msg_control.is_null() {
        &[]
    } else {
        // SAFETY: the caller's promise.
        unsafe { slice::from_raw_parts(message.msg_control.cast(), message.msg_controllen) }
    };
    // SAFETY: the caller's promise.
    let slices = unsafe { slices(message.msg_iov, message.msg_iovlen) }?;
    // SAFETY: the caller's promise.
    unsafe { datagram::send(anchor, peer, control, slices, flags) }
}

/// # Safety
///
/// As sendmsg(2) asks.
pub unsafe fn send_message(anchor: Anchor<'_>, message: *const msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    result(unsafe { send_one(anchor, message, flags) })
}

/// # Safety
///
/// As sendmmsg(2) asks.
pub unsafe fn send_messages(
    anchor: Anchor<'_>,
    messages: *mut mmsghdr,
    count: u32,
    flags: c_int,
) -> c_int {
    let mut sent = 0;
    for index in 0..count.min(MOST_MESSAGES) as usize {
        // SAFETY: the caller's promise: there are `count` of them.
        let message = unsafe { &mut *messages.add(index) };
        // SAFETY: the caller's promise.
        match unsafe { send_one(anchor, &message.msg_hdr, flags) } {
            Ok(len) => message.msg_len = u32::try_from(len).unwrap_or(u32::MAX),
            // What was sent counts; the error comes with the next call, if it lasts.
            Err(errno) if sent == 0 => return kernel::fail(errno),
            Err(_) => break,
        }
        sent += 1;
    }
    sent
}

/// The kernel's UIO_MAXIOV, which bounds sendmmsg(2) and recvmmsg(2).
const MOST_MESSAGES: u32 = 1024;

/// # Safety
///
/// As read(2) asks.
pub unsafe fn read(anchor: Anchor<'_>, buffer: *mut c_void, len: size_t) -> ssize_t {
    // As on any socket: nothing is asked for, so nothing is taken.
    if len == 0 {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe { receive_from(anchor, buffer, len, 0, ptr::null_mut(), ptr::null_mut()) }
}

/// # Safety
///
/// As readv(2) asks.
pub unsafe fn read_vector(anchor: Anchor<'_>, data: *const iovec, count: c_int) -> ssize_t {
    let count = size_t::try_from(count).map_err(|_| Errno::INVAL);
    // SAFETY: the caller's promise.
    let slices = count.and_then(|count| unsafe { slices(data, count) });
    result(slices.and_then(|slices| {
        if slices.iter().all(|slice| slice.iov_len == 0) {
            return Ok(0);
        }
        // SAFETY: the caller's promise.
        let received = unsafe { datagram::receive(anchor, slices, 0) }?;
        Ok(told(&received, slices, 0))
    }))
}

/// # Safety
///
/// As recvfrom(2) asks.
pub unsafe fn receive_from(
    anchor: Anchor<'_>,
    buffer: *mut c_void,
    len: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_len: *mut socklen_t,
) -> ssize_t {
    let whole = [iovec { iov_base: buffer, iov_len: len }];
    // SAFETY: the caller's promise.
    let received = match unsafe { datagram::receive(anchor, &whole, flags) } {
        Ok(received) => received,
        Err(errno) => return kernel::fail(errno) as ssize_t,
    };
    if !address.is_null() {
        // SAFETY: the caller's promise.
        let written = unsafe { output_name(&received, address, address_len) };
        if status(written) < 0 {
            return -1;
        }
    }
    result(Ok(told(&received, &whole, flags)))
}

/// Tells where it came from.
///
/// # Safety
///
/// As for [`output`].
unsafe fn output_name(
    received: &Received,
    room: *mut sockaddr,
    len: *mut socklen_t,
) -> Result<(), Errno> {
    // SAFETY: the caller's promise.
    unsafe { output(received.peer.bytes(), room.cast(), len, true) }
}

/// # Safety
///
/// As recvmsg(2) asks.
unsafe fn receive_one(
    anchor: Anchor<'_>,
    message: *mut msghdr,
    flags: c_int,
) -> Result<usize, Errno> {
    if message.is_null() {
        return Err(Errno::FAULT);
    }
    // SAFETY: not null, and the caller's promise.
    let message = unsafe { &mut *message };
    // SAFETY: the caller's promise.
    let slices = unsafe { slices(message.msg_iov, message.msg_iovlen) }?;
    // SAFETY: the caller's promise.
    let received = unsafe { datagram::receive(anchor, slices, flags) }?;
    message.msg_flags = received.flags;
    if !message.msg_name.is_null() {
        let name = message.msg_name.cast();
        // SAFETY: the caller's promise.
        unsafe { output_name(&received, name, &raw mut message.msg_namelen) }?;
    }
    let control = received.control.bytes();
    let room = if message.msg_control.is_null() { 0 } else { message.msg_controllen };
    let fits = control.get(..room.min(control.len())).unwrap_or_default();
    if fits.len() < control.len() {
        message.msg_flags |= libc::MSG_CTRUNC;
    }
    // SAFETY: there is room for as many bytes.
    unsafe { ptr::copy_nonoverlapping(fits.as_ptr(), message.msg_control.cast(), fits.len()) };
    message.msg_controllen = fits.len();
    Ok(told(&received, slices, flags))
}

/// # Safety
///
/// As recvmsg(2) asks.
pub unsafe fn receive_message(anchor: Anchor<'_>, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the caller's promise.
    result(unsafe { receive_one(anchor, message, flags) })
}

/// # Safety
///
/// As recvmmsg(2) asks.
pub unsafe fn receive_messages(
    anchor: Anchor<'_>,
    messages: *mut mmsghdr,
    count: u32,
    mut flags: c_int,
    timeout: *mut libc::timespec,
) -> c_int {
    let started = Instant::now();
    // SAFETY: null, or the caller's promise.
    let timeout = unsafe { timeout.as_ref() }.map(|timeout| {
        std::time::Duration::new(
            u64::try_from(timeout.tv_sec).unwrap_or(0),
            u32::try_from(timeout.tv_nsec).unwrap_or(0),
        )
    });
    let wait_for_one = flags & libc::MSG_WAITFORONE != 0;
    flags &= !libc::MSG_WAITFORONE;
    let mut received = 0;
    for index in 0..count.min(MOST_MESSAGES) as usize {
        // SAFETY: the caller's promise: there are `count` of them.
        let message = unsafe { &mut *messages.add(index) };
        // SAFETY: the caller's promise.
        match unsafe { receive_one(anchor, &raw mut message.msg_hdr, flags) } {
            Ok(len) => message.msg_len = u32::try_from(len).unwrap_or(u32::MAX),
            Err(errno) if received == 0 => return kernel::fail(errno),
            Err(_) => break,
        }
        received += 1;
        if wait_for_one {
            flags |= libc::MSG_DONTWAIT;
        }
        // As the kernel does: the time is only looked at after a datagram.
        if timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
            break;
        }
    }
    received
}
