//! The connections that are cut through. Invariant: each has two sockets of the engine and two
//! cookies, and is found by any of them; it is in the round of those to be looked at once.

use super::watch::{Side, Sides, Watch};
use crate::{principal::Principal, token};
use mio::Token;
use narrows_stack::{Instant, SocketId};
use slab::Slab;
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::Rc,
};

#[derive(Debug)]
pub(crate) struct Cut {
    pub token: Token,
    pub watch: Watch,
    pub ends: Sides<End>,
}

/// One end: a program's descriptor, and the engine's connection.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub socket: SocketId,
    pub cookie: u64,
    /// In the kernel's file system of sockets.
    pub inode: u64,
    pub principal: Rc<Principal>,
    pub local: SocketAddr,
    /// The engine was told that no more is sent.
    pub shut: bool,
    /// No program has it any more, and the engine was told.
    pub closed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Cuts {
    cuts: Slab<Cut>,
    by_socket: HashMap<SocketId, (usize, Side)>,
    by_cookie: HashMap<u64, SocketId>,
    /// Whom to look at next: see [`super::end`].
    round: VecDeque<Token>,
    serial: usize,
    /// When to look again, while there are any.
    pub next_look: Option<Instant>,
}

impl Cuts {
    /// The token of the next one to be inserted.
    pub(crate) fn next_token(&mut self) -> Token {
        self.serial = self.serial.wrapping_add(1);
        token::cut(self.serial, self.cuts.vacant_key())
    }

    /// `cut` has the token that [`Cuts::next_token`] gave.
    pub(crate) fn insert(&mut self, cut: Cut) {
        let entry = self.cuts.vacant_entry();
        for side in Side::BOTH {
            let end = cut.ends.get(side);
            self.by_socket.insert(end.socket, (entry.key(), side));
            self.by_cookie.insert(end.cookie, end.socket);
        }
        self.round.push_back(cut.token);
        entry.insert(cut);
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Cut> {
        self.cuts.get_mut(token::index(token)).filter(|cut| cut.token == token)
    }

    /// An end that a program may have.
    pub(crate) fn end(&self, socket: SocketId) -> Option<&End> {
        let (index, side) = self.by_socket.get(&socket)?;
        Some(self.cuts.get(*index)?.ends.get(*side)).filter(|end| !end.closed)
    }

    pub(crate) fn end_mut(&mut self, socket: SocketId) -> Option<&mut End> {
        let (index, side) = self.by_socket.get(&socket)?;
        Some(self.cuts.get_mut(*index)?.ends.get_mut(*side)).filter(|end| !end.closed)
    }

    /// The other end of the connection, whether a program has it or not.
    pub(crate) fn other_end(&self, socket: SocketId) -> Option<&End> {
        let (index, side) = self.by_socket.get(&socket)?;
        Some(self.cuts.get(*index)?.ends.get(side.other()))
    }

    pub(crate) fn token_of(&self, socket: SocketId) -> Option<Token> {
        let (index, _) = self.by_socket.get(&socket)?;
        Some(self.cuts.get(*index)?.token)
    }

    pub(crate) fn side_of(&self, socket: SocketId) -> Option<Side> {
        self.by_socket.get(&socket).map(|(_, side)| *side)
    }

    pub(crate) fn by_cookie(&self, cookie: u64) -> Option<SocketId> {
        self.by_cookie.get(&cookie).copied()
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<Cut> {
        self.get_mut(token)?;
        let cut = self.cuts.try_remove(token::index(token))?;
        for side in Side::BOTH {
            let end = cut.ends.get(side);
            self.by_socket.remove(&end.socket);
            self.by_cookie.remove(&end.cookie);
        }
        Some(cut)
    }

    /// Those that have an end at `port` (0: any), `count` at most.
    pub(crate) fn with_port(&self, port: u16, count: usize) -> Vec<Token> {
        let has = |end: &End| port == 0 || end.local.port() == port;
        let found =
            self.cuts.iter().filter(|(_, Cut { ends, .. })| has(&ends.client) || has(&ends.server));
        found.map(|(_, cut)| cut.token).take(count).collect()
    }

    /// The next in the round; it goes on behind the others.
    pub(crate) fn next_in_round(&mut self) -> Option<Token> {
        loop {
            let token = self.round.pop_front()?;
            if self.get_mut(token).is_some() {
                self.round.push_back(token);
                return Some(token);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.cuts.len()
    }
}
