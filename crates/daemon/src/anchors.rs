//! All anchors, found by socket, by the cookie of the program's end, and by token. Invariant: each
//! anchor has one socket and one cookie, and is found by both.

use crate::anchor::Anchor;
use crate::token;
use mio::Token;
use narrows_stack::SocketId;
use std::collections::HashMap;

/// An anchor is kept in the place that its socket has in the engine.
#[derive(Debug, Default)]
pub(crate) struct Anchors {
    slots: Vec<Option<Box<Anchor>>>,
    by_cookie: HashMap<u64, SocketId>,
    serial: usize,
}

impl Anchors {
    /// The token for the anchor of `socket`, different from any recent one.
    pub(crate) fn token(&mut self, socket: SocketId) -> Token {
        self.serial = self.serial.wrapping_add(1);
        token::anchor(self.serial, slot(socket))
    }

    pub(crate) fn insert(&mut self, anchor: Anchor) {
        let slot = slot(anchor.socket);
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.by_cookie.insert(anchor.cookie, anchor.socket);
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Box::new(anchor));
        }
    }

    pub(crate) fn remove(&mut self, socket: SocketId) -> Option<Box<Anchor>> {
        let place = self.slots.get_mut(slot(socket))?;
        let anchor = place.take_if(|anchor| anchor.socket == socket)?;
        self.by_cookie.remove(&anchor.cookie);
        Some(anchor)
    }

    pub(crate) fn get(&self, socket: SocketId) -> Option<&Anchor> {
        let anchor = self.slots.get(slot(socket))?.as_deref()?;
        (anchor.socket == socket).then_some(anchor)
    }

    pub(crate) fn get_mut(&mut self, socket: SocketId) -> Option<&mut Anchor> {
        let anchor = self.slots.get_mut(slot(socket))?.as_deref_mut()?;
        (anchor.socket == socket).then_some(anchor)
    }

    pub(crate) fn by_token(&mut self, token: Token) -> Option<&mut Anchor> {
        let anchor = self.slots.get_mut(token::index(token))?.as_deref_mut()?;
        (anchor.token == token).then_some(anchor)
    }

    pub(crate) fn by_cookie(&self, cookie: u64) -> Option<SocketId> {
        self.by_cookie.get(&cookie).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_cookie.len()
    }
}

/// The engine's place for a socket: the low half of its number.
fn slot(socket: SocketId) -> usize {
    usize::try_from(socket.as_u64() & u64::from(u32::MAX)).unwrap_or(usize::MAX)
}
