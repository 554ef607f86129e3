//! Destinations that the daemon has been asked about.
//!
//! A datagram goes to the daemon without an answer, but a program expects some errors at once: no
//! route, no permission to broadcast, too long. So the daemon is asked before the first datagram to
//! a destination, and what it said is remembered for the ones that follow, until the program
//! changes something about any of its sockets, or learns of an error. When a destination ceases to
//! be reachable, the error comes later, as those of the network do.
//!
//! An entry is a hash of who sends to whom, and the longest payload that goes there. A hash that
//! happens to be another's costs the program an error that it would have been told of at once.

use narrows_client::ipc::datagram::Header;
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

const PLACES: usize = 1024;

/// The longest payload that every path takes, whatever the socket's settings: IPv4's least
/// (RFC 791 §3.1: 576 bytes) without headers at their longest.
const SHORT: usize = 576 - 60 - 8;

/// Of a hash, in the low 16 bits a payload's length.
static REACHED: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

/// Part of every hash: with another, all are forgotten.
static GENERATION: AtomicU64 = AtomicU64::new(0);

static HASHER: OnceLock<RandomState> = OnceLock::new();

/// Who asks: the socket, by its cookie, and what it says of the datagram.
fn entry(cookie: u64, header: &Header) -> u64 {
    let generation = GENERATION.load(Ordering::Relaxed);
    let Header { peer, own, interface, segment_size, .. } = header;
    let key = (cookie, generation, peer, own, interface, segment_size);
    HASHER.get_or_init(RandomState::new).hash_one(key) & !0xffff
}

fn place(entry: u64) -> &'static AtomicU64 {
    &REACHED[(entry >> 16) as usize % PLACES]
}

/// Whether a payload of `length` bytes may go there without asking.
pub fn knows(cookie: u64, header: &Header, length: usize) -> bool {
    let entry = entry(cookie, header);
    let known = place(entry).load(Ordering::Relaxed);
    known & !0xffff == entry && length <= (known & 0xffff) as usize
}

pub fn remember(cookie: u64, header: &Header, longest: usize) {
    let entry = entry(cookie, header);
    let longest = longest.min(u16::MAX.into()) as u64;
    place(entry).store(entry | longest, Ordering::Relaxed);
}

/// Who sent something can be answered, if the answer is short.
pub fn remember_sender(cookie: u64, received: &Header) {
    let answer = Header { peer: received.peer, ..Header::default() };
    if !knows(cookie, &answer, SHORT) {
        remember(cookie, &answer, SHORT);
    }
}

pub fn forget_all() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_holds_for_that_socket_destination_and_length_until_forgotten() {
        let to = |text: &str| Header { peer: Some(text.parse().unwrap()), ..Header::default() };
        let (here, there) = (to("10.77.0.1:53"), to("10.77.0.1:54"));
        assert!(!knows(7, &here, 0));
        remember(7, &here, 1472);
        assert!(knows(7, &here, 0) && knows(7, &here, 1472));
        assert!(!knows(7, &here, 1473) && !knows(8, &here, 0) && !knows(7, &there, 0));
        let received = Header { ttl: 64, interface: 2, ..there };
        remember_sender(8, &received);
        assert!(knows(8, &there, SHORT) && !knows(8, &there, SHORT + 1));
        remember(8, &there, 9000);
        remember_sender(8, &received);
        assert!(knows(8, &there, 9000), "a sender is no news");
        forget_all();
        assert!(!knows(7, &here, 0) && !knows(8, &there, 0));
    }
}
