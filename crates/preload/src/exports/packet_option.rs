//! Options of packet sockets: from C's arguments to safe ones and back.

use super::output;
use crate::{
    control, kernel,
    packet::{
        self,
        option::{self, Get, Set},
        ring,
    },
};
use libc::{c_int, c_void, socklen_t};
use narrows_client::ipc::packet::{Instruction, PacketOption};
use rustix::io::Errno;
use std::{os::fd::BorrowedFd, slice};

/// The longest filter: Linux's BPF_MAXINSNS.
const LONGEST_FILTER: usize = 4096;

/// The result of a `setsockopt`; `None`: the kernel does it, on the anchor.
///
/// # Safety
///
/// As setsockopt(2) asks, which for a filter means what the value points to.
pub unsafe fn set(
    anchor: BorrowedFd<'_>,
    cookie: u64,
    (level, name): (c_int, c_int),
    value: &[u8],
) -> Option<c_int> {
    let result = match option::set(level, name, value) {
        Ok(Set::Kernel) => return None,
        Ok(Set::Packet(option)) => packet::set(anchor, option),
        Ok(Set::Daemon(option)) => control::set_datagram_option(anchor, &option),
        // SAFETY: the caller's promise.
        Ok(Set::Filter) => unsafe { filter(value) }
            .and_then(|program| packet::set(anchor, PacketOption::Filter(Some(program)))),
        Ok(Set::Version(version)) => ring::set_version(anchor, cookie, version),
        Ok(Set::Reserve(bytes)) => ring::set_reserve(anchor, cookie, bytes),
        Ok(Set::Ring(request, private)) => ring::set(anchor, cookie, request, private),
        Ok(Set::Hint) => Ok(()),
        Err(errno) => Err(errno),
    };
    Some(super::status(result))
}

/// `struct sock_fprog`: how many instructions, and where they are.
///
/// # Safety
///
/// The value must be one that is true.
pub unsafe fn filter(value: &[u8]) -> Result<Vec<Instruction>, Errno> {
    let program = value.as_ptr().cast::<libc::sock_fprog>();
    if value.len() < size_of::<libc::sock_fprog>() {
        return Err(Errno::INVAL);
    }
    // SAFETY: it is as long, and made of numbers and a pointer; wherever it is.
    let program = unsafe { program.read_unaligned() };
    let count = usize::from(program.len);
    if program.filter.is_null() || count == 0 || count > LONGEST_FILTER {
        return Err(Errno::INVAL);
    }
    // SAFETY: the caller's promise.
    let instructions = unsafe { slice::from_raw_parts(program.filter, count) };
    Ok(instructions.iter().map(|each| (each.code, each.jt, each.jf, each.k)).collect())
}

/// The result of a `getsockopt`; `None`: the kernel's, of the anchor.
///
/// # Safety
///
/// As getsockopt(2) asks.
pub unsafe fn get(
    anchor: BorrowedFd<'_>,
    cookie: u64,
    (level, name): (c_int, c_int),
    value: *mut c_void,
    len: *mut socklen_t,
) -> Option<c_int> {
    let number = |number: c_int| number.to_ne_bytes().to_vec();
    let of_state = |part: fn(narrows_client::ipc::packet::PacketState) -> c_int| {
        packet::state(anchor).map(|state| number(part(state)))
    };
    let bytes = match option::get(level, name) {
        Ok(Get::Kernel) => return None,
        Ok(Get::Number(value)) => Ok(number(value)),
        Ok(Get::Statistics) => packet::statistics(anchor).map(|(frames, lost)| {
            // Version 3 counts beside them how often its queue stood still, which it does not.
            let longer = ring::version(cookie) == 2;
            let counts = [frames, lost, 0].map(u32::to_ne_bytes).concat();
            counts.get(..if longer { 12 } else { 8 }).unwrap_or_default().to_vec()
        }),
        Ok(Get::Attached(fields)) => control::attached(anchor, fields),
        Ok(Get::HeaderLength) => {
            // SAFETY: the caller's promise: the value says which version is meant.
            let asked = unsafe { value.cast::<c_int>().as_ref() }.copied().ok_or(Errno::FAULT);
            asked.and_then(ring::header_length).map(number)
        }
        Ok(Get::Version) => Ok(number(ring::version(cookie))),
        Ok(Get::IgnoreOutgoing) => of_state(|state| state.ignore_outgoing.into()),
        Ok(Get::VnetHeader) => of_state(|state| state.vnet_header.into()),
        Ok(Get::Fanout) => of_state(|state| state.fanout.map_or(0, c_int::from)),
        Ok(Get::Protocol) => of_state(|state| state.protocol.to_be().into()),
        Ok(Get::Type) => of_state(|state| match state.cooked {
            true => libc::SOCK_DGRAM,
            false => libc::SOCK_RAW,
        }),
        Ok(Get::Error) => control::take_datagram_error(anchor)
            .map(|error| number(error.map_or(0, Errno::raw_os_error))),
        Ok(Get::Daemon(name)) => control::option(anchor, name),
        Err(errno) => return Some(kernel::fail(errno)),
    };
    // SAFETY: the caller's promise.
    Some(super::status(bytes.and_then(|bytes| unsafe { output(&bytes, value, len, false) })))
}
