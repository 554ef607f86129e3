//! The functions that take the C library's place. Each turns its arguments into safe ones, hands
//! them to the module that knows what the call means, and its result into `errno`.
//!
//! They may be cancelled and unwound through by the C library, so none holds anything that must
//! be dropped while it calls the real function.
//!
//! Under test they have no C names: the tests' own sockets are the kernel's.

#![allow(clippy::missing_safety_doc, reason = "what the C library's functions of these names ask")]

use crate::{
    control::{self, Whose},
    kernel, real, session,
    sockopt::{self, Get, Set},
    transfer,
};
use libc::{c_int, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};
use rustix::io::Errno;
use std::{
    net::SocketAddr,
    os::fd::{BorrowedFd, IntoRawFd},
    ptr, slice,
};

/// Runs when the shim is loaded, before the program's `main`.
#[used]
#[cfg_attr(not(test), unsafe(link_section = ".init_array"))]
static AT_LOAD: extern "C" fn() = at_load;

extern "C" fn at_load() {
    real::resolve_all();
    session::prepare();
}

/// The anchor under this number, if it is one.
fn anchor<'a>(fd: c_int) -> Option<BorrowedFd<'a>> {
    kernel::descriptor(fd).filter(|fd| session::is_anchor(*fd))
}

fn status(result: Result<(), Errno>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(errno) => kernel::fail(errno),
    }
}

/// What a program passes in.
///
/// # Safety
///
/// `data` must be null or point to `len` readable bytes.
unsafe fn input<'a>(data: *const c_void, len: socklen_t) -> Result<&'a [u8], Errno> {
    let len = usize::try_from(len).map_err(|_| Errno::INVAL)?;
    if data.is_null() {
        return if len == 0 { Ok(&[]) } else { Err(Errno::FAULT) };
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { slice::from_raw_parts(data.cast(), len) })
}

/// Writes what a program asked for into the room that it has, and sets the length to what was
/// written, or to what there was if `whole`.
///
/// # Safety
///
/// `len` must be null or point to a length, and `room` be null or point to that many bytes.
unsafe fn output(
    bytes: &[u8],
    room: *mut c_void,
    len: *mut socklen_t,
    whole: bool,
) -> Result<(), Errno> {
    if room.is_null() || len.is_null() {
        return Err(Errno::FAULT);
    }
    // SAFETY: not null, so it points to a length.
    let space = unsafe { *len };
    // Lengths are signed in the kernel.
    let space = i32::try_from(space).map_err(|_| Errno::INVAL)?;
    let count = bytes.len().min(usize::try_from(space).map_err(|_| Errno::INVAL)?);
    let said = if whole { bytes.len() } else { count };
    // SAFETY: there is room for `space` bytes, which `count` is not above.
    unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr(), room.cast(), count);
        *len = socklen_t::try_from(said).unwrap_or(socklen_t::MAX);
    }
    Ok(())
}

/// # Safety
///
/// As for [`output`].
unsafe fn output_address(
    address: Result<SocketAddr, Errno>,
    room: *mut sockaddr,
    len: *mut socklen_t,
) -> Result<(), Errno> {
    let bytes = crate::sockaddr::encode(address?);
    // SAFETY: the caller's promise.
    unsafe { output(&bytes, room.cast(), len, true) }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    match control::whose(domain, kind, protocol) {
        Ok(Whose::Narrows { nonblocking, close_on_exec }) => {
            match control::socket(nonblocking, close_on_exec) {
                Ok(anchor) => anchor.into_raw_fd(),
                Err(errno) => kernel::fail(errno),
            }
        }
        Ok(Whose::KernelWithWarning) => {
            control::warn_of_kernel_socket();
            // SAFETY: numbers only.
            unsafe { real::socket(domain, kind, protocol) }
        }
        // SAFETY: numbers only.
        Ok(Whose::Kernel) => unsafe { real::socket(domain, kind, protocol) },
        Err(errno) => kernel::fail(errno),
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    let Some(anchor) = anchor(fd) else {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::bind(fd, address, len) };
    };
    // SAFETY: bind(2) asks the same of the program.
    let address = unsafe { input(address.cast(), len) };
    status(address.and_then(|address| control::bind(anchor, address)))
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn connect(
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
) -> c_int {
    let Some(anchor) = anchor(fd) else {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::connect(fd, address, len) };
    };
    // SAFETY: connect(2) asks the same of the program.
    let address = unsafe { input(address.cast(), len) };
    status(address.and_then(|address| control::connect(anchor, address)))
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn listen(fd: c_int, backlog: c_int) -> c_int {
    match anchor(fd) {
        Some(anchor) => status(control::listen(anchor, backlog)),
        // SAFETY: numbers only.
        None => unsafe { real::listen(fd, backlog) },
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn accept(
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the same contract.
    unsafe { accept4(fd, address, len, 0) }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(anchor) = anchor(fd) else {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::accept4(fd, address, len, flags) };
    };
    if flags & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) != 0 {
        return kernel::fail(Errno::INVAL);
    }
    let wait = || {
        let mut byte = 0_u8;
        // SAFETY: the buffer is of the size said. The C library's function, because a thread
        // that waits here may be cancelled.
        let there = unsafe { real::recv(fd, (&raw mut byte).cast(), 1, libc::MSG_PEEK) };
        usize::try_from(there).map_err(|_| Errno::from_raw_os_error(kernel::errno()))
    };
    let nonblocking = flags & libc::SOCK_NONBLOCK != 0;
    let close_on_exec = flags & libc::SOCK_CLOEXEC != 0;
    match control::accept(anchor, nonblocking, close_on_exec, wait) {
        Ok((accepted, peer)) => {
            if !address.is_null() {
                // SAFETY: accept(2) asks the same of the program.
                if let Err(errno) = unsafe { output_address(Ok(peer), address, len) } {
                    return kernel::fail(errno);
                }
            }
            accepted.into_raw_fd()
        }
        Err(errno) => kernel::fail(errno),
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn getsockname(
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let Some(anchor) = anchor(fd) else {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::getsockname(fd, address, len) };
    };
    let found = control::local_address(anchor);
    // SAFETY: getsockname(2) asks the same of the program.
    status(unsafe { output_address(found, address, len) })
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn getpeername(
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let Some(anchor) = anchor(fd) else {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::getpeername(fd, address, len) };
    };
    let found = control::peer_address(anchor);
    // SAFETY: getpeername(2) asks the same of the program.
    status(unsafe { output_address(found, address, len) })
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the program's arguments, as they came.
    let real = || unsafe { real::getsockopt(fd, level, name, value, len) };
    let Some(anchor) = anchor(fd) else { return real() };
    let bytes = match sockopt::get(level, name) {
        Ok(Get::Kernel) => return real(),
        Ok(Get::Daemon(name)) => control::option(anchor, name),
        Ok(Get::Error) => control::take_error(anchor)
            .map(|error| error.map_or(0, Errno::raw_os_error).to_ne_bytes().to_vec()),
        Ok(Get::Number(number)) => Ok(number.to_ne_bytes().to_vec()),
        Ok(Get::Empty) => Ok(Vec::new()),
        Ok(Get::Nobody) => Ok([0_i32, -1, -1].map(i32::to_ne_bytes).concat()),
        Err(errno) => Err(errno),
    };
    // SAFETY: getsockopt(2) asks the same of the program.
    status(bytes.and_then(|bytes| unsafe { output(&bytes, value, len, false) }))
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: the program's arguments, as they came.
    let real = || unsafe { real::setsockopt(fd, level, name, value, len) };
    let Some(anchor) = anchor(fd) else { return real() };
    // SAFETY: setsockopt(2) asks the same of the program.
    let value = unsafe { input(value, len) };
    match value.and_then(|value| sockopt::set(level, name, value)) {
        Ok(Set::Daemon(option)) => status(control::set_option(anchor, &option)),
        Ok(Set::Kernel) => real(),
        Ok(Set::Hint) => 0,
        Err(errno) => kernel::fail(errno),
    }
}

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
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::read(fd, buffer, len) };
    after_read(fd, read, len)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn readv(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
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
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::recvfrom(fd, buffer, len, flags, address, address_len) };
    after_read(fd, read, len)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::recvmsg(fd, message, flags) };
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
    // SAFETY: the program's arguments, as they came.
    let read = unsafe { real::__recvfrom_chk(fd, buffer, len, room, flags, address, address_len) };
    after_read(fd, read, len)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn write(fd: c_int, buffer: *const c_void, len: size_t) -> ssize_t {
    // SAFETY: the program's arguments, as they came.
    let written = unsafe { real::write(fd, buffer, len) };
    after_write(fd, written)
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn writev(fd: c_int, slices: *const iovec, count: c_int) -> ssize_t {
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
