//! Edges: what became true for the program since it was last told.

use crate::event::Readiness;
use narrows_ring::ByteRing;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Edges {
    risen: Readiness,
    /// The program found no room to send into, and waits.
    starved: bool,
}

impl Edges {
    pub fn raise(&mut self, readiness: Readiness) {
        self.risen |= readiness;
    }

    pub fn take(&mut self) -> Readiness {
        core::mem::take(&mut self.risen)
    }

    /// Does the program wait for room?
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// After a write: did it leave room?
    pub fn wrote(&mut self, room: usize) {
        self.starved |= room == 0;
    }

    /// Bytes were acknowledged, or the limit was raised. A program that waits is woken once a third of the limit is free,
    /// not for each segment (as Linux's sk_stream_write_space).
    pub fn freed(&mut self, ring: &ByteRing) {
        if self.starved && ring.free() >= ring.limit() / 3 && ring.free() > 0 {
            self.starved = false;
            self.raise(Readiness::WRITABLE);
        }
    }
}
