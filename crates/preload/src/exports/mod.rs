//! The functions that take the C library's place. Each turns its arguments into safe ones, hands
//! them to the module that knows what the call means, and its result into `errno`.
//!
//! They may be cancelled and unwound through by the C library, so none holds anything that must
//! be dropped while it calls the real function.
//!
//! Under test they have no C names: the tests' own sockets are the kernel's.

#![allow(clippy::missing_safety_doc, reason = "what the C library's functions of these names ask")]

mod datagram;
pub mod files;
pub mod interfaces;
mod packet_option;
pub mod transfer;

use crate::{
    control::{self, Whose},
    kernel,
    known::{self, Kind},
    netlink, packet, real, session,
    sockopt::{self, Get, PeerPart, Set},
};
use libc::{c_int, c_void, sockaddr, socklen_t};
use narrows_client::ipc::packet::PacketOption;
use rustix::io::Errno;
use std::{
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd, IntoRawFd},
    ptr, slice,
};

/// Runs when the shim is loaded, before the program's `main`.
#[used]
#[cfg_attr(not(test), unsafe(link_section = ".init_array"))]
static AT_LOAD: extern "C" fn() = at_load;

extern "C" fn at_load() {
    real::resolve_all();
    session::prepare();
    known::look_at_inherited();
}

/// The netlink socket under this number, if it is one of the shim's.
fn netlink_socket<'a>(fd: c_int) -> Option<BorrowedFd<'a>> {
    known::is_netlink(fd).then(|| kernel::descriptor(fd)).flatten()
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
        Ok(Whose::Narrows { kind, nonblocking, close_on_exec }) => {
            match control::socket(kind, nonblocking, close_on_exec) {
                Ok(anchor) => anchor.into_raw_fd(),
                Err(errno) => kernel::fail(errno),
            }
        }
        Ok(Whose::Netlink { nonblocking, close_on_exec }) => {
            match control::netlink_socket(nonblocking, close_on_exec) {
                Ok(socket) => socket.into_raw_fd(),
                Err(errno) => kernel::fail(errno),
            }
        }
        // SAFETY: numbers only.
        Ok(Whose::Kernel) => unsafe { real::socket(domain, kind, protocol) },
        Err(errno) => kernel::fail(errno),
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int {
    if let Some(socket) = netlink_socket(fd) {
        // SAFETY: bind(2) asks the same of the program.
        let address = unsafe { input(address.cast(), len) };
        return status(address.and_then(|address| netlink::bind(socket, address)));
    }
    let Some(anchor) = anchor(fd) else {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::bind(fd, address, len) };
    };
    // SAFETY: bind(2) asks the same of the program.
    let address = unsafe { input(address.cast(), len) };
    let bind = if known::is_packets(fd) { packet::bind } else { control::bind };
    status(address.and_then(|address| bind(anchor, address)))
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn connect(
    fd: c_int,
    address: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // To the kernel's side, where what is sent goes anyway.
    if netlink_socket(fd).is_some() {
        return 0;
    }
    let Some(anchor) = anchor(fd) else {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::connect(fd, address, len) };
    };
    // SAFETY: connect(2) asks the same of the program.
    let address = unsafe { input(address.cast(), len) };
    let connect =
        if known::is_datagrams(fd) { control::connect_datagrams } else { control::connect };
    status(address.and_then(|address| connect(anchor, address)))
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn listen(fd: c_int, backlog: c_int) -> c_int {
    match anchor(fd) {
        Some(_) if known::records(fd).is_some() => kernel::fail(Errno::OPNOTSUPP),
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
    if known::is_datagrams(fd) {
        return kernel::fail(Errno::OPNOTSUPP);
    }
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
    if let Some(socket) = netlink_socket(fd) {
        let name = netlink::address(netlink::port(socket).unwrap_or(0));
        // SAFETY: getsockname(2) asks the same of the program.
        return status(unsafe { output(&name, address.cast(), len, true) });
    }
    let Some(anchor) = anchor(fd) else {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::getsockname(fd, address, len) };
    };
    if known::is_packets(fd) {
        let name = packet::name(anchor);
        // SAFETY: getsockname(2) asks the same of the program.
        return status(
            name.and_then(|name| unsafe { output(name.bytes(), address.cast(), len, true) }),
        );
    }
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
    if netlink_socket(fd).is_some() {
        let name = netlink::address(0);
        // SAFETY: getpeername(2) asks the same of the program.
        return status(unsafe { output(&name, address.cast(), len, true) });
    }
    let Some(anchor) = anchor(fd) else {
        // SAFETY: the program's arguments, as they came.
        return unsafe { real::getpeername(fd, address, len) };
    };
    if known::is_packets(fd) {
        return kernel::fail(Errno::OPNOTSUPP);
    }
    let found = control::peer_address(anchor);
    // SAFETY: getpeername(2) asks the same of the program.
    status(unsafe { output_address(found, address, len) })
}

/// `getsockopt` of who is at the other end. Unlike other values a list of groups is not cut short.
///
/// # Safety
///
/// As for [`output`].
unsafe fn peer(
    anchor: BorrowedFd<'_>,
    part: PeerPart,
    value: *mut c_void,
    len: *mut socklen_t,
) -> Result<(), Errno> {
    let bytes = match part {
        PeerPart::Credentials => control::peer_credentials(anchor)?,
        PeerPart::Groups => control::peer_groups(anchor)?,
        PeerPart::Process => {
            let process = control::peer_process(anchor)?;
            let number = process.as_raw_fd().to_ne_bytes();
            // SAFETY: the caller's promise.
            unsafe { output(&number, value, len, false) }?;
            // The program's from here on.
            let _ = process.into_raw_fd();
            return Ok(());
        }
    };
    // SAFETY: the caller's promise.
    let room = unsafe { len.as_ref() }.map_or(0, |len| *len as usize);
    if part == PeerPart::Groups && room < bytes.len() {
        if !len.is_null() {
            // SAFETY: not null, so it points to a length; the program learns how much room it takes.
            unsafe { *len = socklen_t::try_from(bytes.len()).unwrap_or(socklen_t::MAX) };
        }
        return Err(Errno::RANGE);
    }
    // SAFETY: the caller's promise.
    unsafe { output(&bytes, value, len, false) }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if netlink_socket(fd).is_some()
        && let Some(number) = netlink::option(level, name)
    {
        // SAFETY: getsockopt(2) asks the same of the program.
        return status(unsafe { output(&number.to_ne_bytes(), value, len, false) });
    }
    // SAFETY: the program's arguments, as they came.
    let real = || unsafe { real::getsockopt(fd, level, name, value, len) };
    let Some(anchor) = anchor(fd) else { return real() };
    if let Some((Kind::Packets, cookie)) = known::records(fd) {
        // SAFETY: the program's arguments, as they came.
        return unsafe { packet_option::get(anchor, cookie, (level, name), value, len) }
            .unwrap_or_else(real);
    }
    let datagrams = known::is_datagrams(fd);
    let get = if datagrams { sockopt::datagram::get } else { sockopt::get };
    let bytes = match get(level, name) {
        Ok(Get::Kernel) => return real(),
        Ok(Get::Daemon(name)) => control::option(anchor, name),
        Ok(Get::Attached(fields)) => control::attached(anchor, fields),
        Ok(Get::Protocol) => control::protocol(anchor),
        Ok(Get::Error) => {
            let taken = if datagrams {
                control::take_datagram_error(anchor)
            } else {
                control::take_error(anchor)
            };
            taken.map(|error| error.map_or(0, Errno::raw_os_error).to_ne_bytes().to_vec())
        }
        Ok(Get::Number(number)) => Ok(number.to_ne_bytes().to_vec()),
        Ok(Get::Empty) => Ok(Vec::new()),
        Ok(Get::Peer(part)) => {
            // SAFETY: getsockopt(2) asks the same of the program.
            return status(unsafe { peer(anchor, part, value, len) });
        }
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
    if netlink_socket(fd).is_some() && netlink::keeps_option(level, name) {
        return 0;
    }
    // SAFETY: the program's arguments, as they came.
    let real = || unsafe { real::setsockopt(fd, level, name, value, len) };
    let Some(anchor) = anchor(fd) else { return real() };
    // SAFETY: setsockopt(2) asks the same of the program.
    let (at, value) = (value, unsafe { input(value, len) });
    if let (Some((Kind::Packets, cookie)), Ok(value)) = (known::records(fd), &value) {
        // SAFETY: setsockopt(2) asks the same of the program.
        return unsafe { packet_option::set(anchor, cookie, (level, name), value) }
            .unwrap_or_else(real);
    }
    let datagrams = known::is_datagrams(fd);
    let set = if datagrams { sockopt::datagram::set } else { sockopt::set };
    match value.and_then(|value| set(level, name, value)) {
        Ok(Set::AttachFilter) => {
            // SAFETY: setsockopt(2) asks the same of the program, and of what the value points to.
            let program = unsafe { input(at, len).and_then(|value| packet_option::filter(value)) };
            let filter = |program| packet::set(anchor, PacketOption::Filter(Some(program)));
            status(program.and_then(filter))
        }
        Ok(Set::DetachFilter) => status(packet::set(anchor, PacketOption::Filter(None))),
        Ok(Set::Daemon(option)) if datagrams => {
            status(control::set_datagram_option(anchor, &option))
        }
        Ok(Set::Daemon(option)) => status(control::set_option(anchor, &option)),
        Ok(Set::Membership { group, interface, change }) => {
            status(control::membership(anchor, group, interface, &change))
        }
        Ok(Set::Kernel) => real(),
        Ok(Set::Hint) => 0,
        Err(errno) => kernel::fail(errno),
    }
}
