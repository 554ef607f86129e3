//! What is remembered of sockets whose daemon's end is closed while a program may still hold the
//! anchor: why the connection ended, and which address it had.
//!
//! Without it a reset with nothing unread would look to the program like a clean end of stream.

use narrows_ipc::Error;
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

/// Failed connections remembered; past it the oldest is forgotten. Enough for some seconds of
/// failures at full speed, at about 100 bytes each.
const FAILED_LIMIT: usize = 65_536;
/// Cleanly ended connections remembered: a program can hold such an anchor only after
/// `shutdown(SHUT_RDWR)`, and asks little of it.
const CLOSED_LIMIT: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epitaph {
    /// Cleared once a program has taken it.
    pub error: Option<Error>,
    pub local: SocketAddr,
}

/// Epitaphs by the cookie of the program's end. Failures don't compete with clean ends.
#[derive(Debug)]
pub(crate) struct Epitaphs {
    failed: Bounded,
    closed: Bounded,
}

impl Epitaphs {
    pub(crate) fn new() -> Self {
        Self { failed: Bounded::new(FAILED_LIMIT), closed: Bounded::new(CLOSED_LIMIT) }
    }

    pub(crate) fn insert(&mut self, cookie: u64, epitaph: Epitaph) {
        match epitaph.error {
            Some(_) => self.failed.insert(cookie, epitaph),
            None => self.closed.insert(cookie, epitaph),
        }
    }

    pub(crate) fn get_mut(&mut self, cookie: u64) -> Option<&mut Epitaph> {
        let Self { failed, closed } = self;
        failed.entries.get_mut(&cookie).or_else(|| closed.entries.get_mut(&cookie))
    }
}

/// At most `limit` entries: the oldest goes first. A cookie is never used twice, so neither is a
/// key.
#[derive(Debug)]
struct Bounded {
    limit: usize,
    entries: HashMap<u64, Epitaph>,
    order: VecDeque<u64>,
}

impl Bounded {
    fn new(limit: usize) -> Self {
        Self { limit, entries: HashMap::new(), order: VecDeque::new() }
    }

    fn insert(&mut self, cookie: u64, epitaph: Epitaph) {
        if self.entries.insert(cookie, epitaph).is_none() {
            self.order.push_back(cookie);
        }
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epitaph(error: Option<Error>) -> Epitaph {
        Epitaph { error, local: "10.0.0.2:80".parse().expect("an address") }
    }

    #[test]
    fn an_error_is_kept_until_taken_and_the_socket_after_it() {
        let mut epitaphs = Epitaphs::new();
        epitaphs.insert(7, epitaph(Some(Error::ConnectionReset)));
        let found = epitaphs.get_mut(7).expect("remembered");
        assert_eq!(found.error.take(), Some(Error::ConnectionReset));
        assert_eq!(epitaphs.get_mut(7), Some(&mut epitaph(None)));
        assert_eq!(epitaphs.get_mut(8), None);
    }

    #[test]
    fn clean_ends_never_push_out_failures() {
        let mut epitaphs = Epitaphs::new();
        epitaphs.insert(1, epitaph(Some(Error::TimedOut)));
        for cookie in 2..(2 + CLOSED_LIMIT as u64 + 10) {
            epitaphs.insert(cookie, epitaph(None));
        }
        assert!(epitaphs.get_mut(1).is_some());
        assert!(epitaphs.get_mut(2).is_none());
        assert_eq!(epitaphs.closed.entries.len(), CLOSED_LIMIT);
        assert_eq!(epitaphs.closed.order.len(), CLOSED_LIMIT);
    }

    #[test]
    fn the_oldest_failure_goes_first() {
        let mut epitaphs = Epitaphs::new();
        for cookie in 0..=FAILED_LIMIT as u64 {
            epitaphs.insert(cookie, epitaph(Some(Error::ConnectionRefused)));
        }
        assert!(epitaphs.get_mut(0).is_none());
        assert!(epitaphs.get_mut(1).is_some());
        assert!(epitaphs.get_mut(FAILED_LIMIT as u64).is_some());
    }
}
