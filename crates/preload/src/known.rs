//! Which descriptors carry records that are not just the program's bytes: anchors of datagrams and
//! of packets, and netlink's sockets. Found out at the cost of one system call.
//!
//! A record of such an anchor has a header that no program may see, so every data call must know
//! before it reads or writes. Descriptors change hands by `dup`, `fork`, `exec`, `close`, so nothing
//! is remembered of them. What is remembered is sockets, by the cookie that the kernel gives each
//! one only once: asking for a descriptor's cookie tells which of them it is now.
//!
//! As long as the process has no such descriptor, not even that is asked.

use crate::{kernel, netlink, session};
use narrows_client::{OptionName, SocketKind, SocketOption};
use std::{
    os::fd::BorrowedFd,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Sockets remembered; those that share a place with another are looked at again.
const PLACES: usize = 1024;

/// Whether this process may have a descriptor of these kinds.
static ANY: AtomicBool = AtomicBool::new(false);

/// Cookies, shifted by [`KIND_BITS`] to leave room for the kind's number. 0: nobody's place.
static SOCKETS: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

const KIND_BITS: u32 = 2;

/// What a descriptor carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An anchor of datagrams.
    Datagrams = 1,
    /// Netlink's messages.
    Netlink = 2,
    /// An anchor of frames.
    Packets = 3,
}

impl Kind {
    fn of(number: u64) -> Option<Self> {
        [Self::Datagrams, Self::Netlink, Self::Packets]
            .into_iter()
            .find(|kind| *kind as u64 == number)
    }
}

/// This process has such a descriptor now, or may have been given one.
pub fn expect_records() {
    ANY.store(true, Ordering::Relaxed);
}

/// Whether it may have.
pub fn may_have_records() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// Whether any descriptor that the process was started with is of these kinds. Done when the shim is
/// loaded: before that, nobody of this process has made or received one.
pub fn look_at_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return expect_records() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let carries_records = |fd| kernel::is_record_socket(fd) || netlink::port(fd).is_some();
    if numbers.filter_map(kernel::descriptor).any(carries_records) {
        expect_records();
    }
}

/// What the descriptor carries, and the kernel's number for its socket; `None` if just bytes. `errno`
/// is kept.
#[inline]
pub fn records(fd: i32) -> Option<(Kind, u64)> {
    if !ANY.load(Ordering::Relaxed) {
        return None;
    }
    ask(fd)
}

/// Whether the descriptor is an anchor of datagrams.
pub fn is_datagrams(fd: i32) -> bool {
    matches!(records(fd), Some((Kind::Datagrams, _)))
}

/// Whether the descriptor is an anchor of frames.
pub fn is_packets(fd: i32) -> bool {
    matches!(records(fd), Some((Kind::Packets, _)))
}

/// Whether the descriptor is a netlink socket of the shim.
pub fn is_netlink(fd: i32) -> bool {
    matches!(records(fd), Some((Kind::Netlink, _)))
}

/// A new socket is of this kind.
pub fn remember(anchor: BorrowedFd<'_>, kind: SocketKind) {
    let kind = match kind {
        SocketKind::Tcp => return,
        SocketKind::Packet { .. } => Kind::Packets,
        SocketKind::Udp | SocketKind::Ping | SocketKind::Raw { .. } => Kind::Datagrams,
    };
    expect_records();
    if let Some(cookie) = kernel::cookie(anchor) {
        note(cookie, Some(kind));
    }
}

/// Which kind an anchor is that came from elsewhere: the daemon knows.
fn asked(anchor: BorrowedFd<'_>) -> Kind {
    match session::with(|session| session.option(anchor, OptionName::Kind)) {
        Ok(SocketOption::Kind(SocketKind::Packet { .. })) => Kind::Packets,
        _ => Kind::Datagrams,
    }
}

fn note(cookie: u64, kind: Option<Kind>) {
    if let Some(place) = SOCKETS.get(cookie as usize % PLACES) {
        let number = kind.map_or(0, |kind| kind as u64);
        place.store(cookie << KIND_BITS | number, Ordering::Relaxed);
    }
}

fn ask(fd: i32) -> Option<(Kind, u64)> {
    let fd = kernel::descriptor(fd)?;
    let cookie = kernel::cookie(fd)?;
    let place = SOCKETS.get(cookie as usize % PLACES)?;
    let known = place.load(Ordering::Relaxed);
    let kind = if known >> KIND_BITS == cookie {
        Kind::of(known & ((1 << KIND_BITS) - 1))
    } else {
        let kind = find_out(fd);
        note(cookie, kind);
        kind
    };
    kind.map(|kind| (kind, cookie))
}

fn find_out(fd: BorrowedFd<'_>) -> Option<Kind> {
    if kernel::is_record_socket(fd) && session::is_anchor(fd) {
        return Some(asked(fd));
    }
    netlink::port(fd).map(|_| Kind::Netlink)
}
