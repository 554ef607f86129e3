//! Which descriptors are anchors of datagrams, found out at the cost of one system call.
//!
//! A record of such an anchor has a header that no program may see, so every data call must know
//! before it reads or writes. Descriptors change hands by `dup`, `fork`, `exec`, `close`, so nothing
//! is remembered of them. What is remembered is sockets, by the cookie that the kernel gives each
//! one only once: asking for a descriptor's cookie tells which of them it is now.
//!
//! As long as the process has no such anchor, not even that is asked.

use crate::{kernel, session};
use std::{
    os::fd::BorrowedFd,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Sockets remembered; those that share a place with another are looked at again.
const PLACES: usize = 1024;

/// Whether this process may have an anchor of datagrams.
static ANY: AtomicBool = AtomicBool::new(false);

/// Cookies, doubled; odd: that socket is an anchor of datagrams. 0: nobody's place.
static SOCKETS: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

/// This process has such an anchor now, or may have been given one.
pub fn expect_datagrams() {
    ANY.store(true, Ordering::Relaxed);
}

/// Whether it may have.
pub fn may_have_datagrams() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// Whether any descriptor that the process was started with is an anchor of datagrams. Done when
/// the shim is loaded: before that, nobody of this process has made or received one.
pub fn look_at_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return expect_datagrams() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    if numbers.filter_map(kernel::descriptor).any(|fd| kernel::is_record_socket(fd)) {
        expect_datagrams();
    }
}

/// The cookie of an anchor of datagrams; `None` for any other descriptor. `errno` is kept.
#[inline]
pub fn datagrams(fd: i32) -> Option<u64> {
    if !ANY.load(Ordering::Relaxed) {
        return None;
    }
    ask(fd)
}

fn ask(fd: i32) -> Option<u64> {
    let fd = kernel::descriptor(fd)?;
    let cookie = kernel::cookie(fd)?;
    let place = SOCKETS.get(cookie as usize % PLACES)?;
    let known = place.load(Ordering::Relaxed);
    if known >> 1 == cookie {
        return (known & 1 != 0).then_some(cookie);
    }
    let is_one = is_anchor_of_datagrams(fd);
    place.store(cookie << 1 | u64::from(is_one), Ordering::Relaxed);
    is_one.then_some(cookie)
}

fn is_anchor_of_datagrams(fd: BorrowedFd<'_>) -> bool {
    kernel::is_record_socket(fd) && session::is_anchor(fd)
}
