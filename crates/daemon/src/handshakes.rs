//! Program ends of anchors whose handshake is under way.
//!
//! Until a connection is established its pair's buffer must be small, so that little filler takes
//! the program's end's writability away; afterwards it should be large. Only through the program's
//! end can it be made so, and the daemon has that end as long as it keeps the copy that came with
//! the connect request. While it does, the program's letting go does not show: so the copies go
//! with the session that asked, at the latest.

use crate::pair;
use mio::Token;
use narrows_stack::SocketId;
use std::{collections::HashMap, os::fd::OwnedFd};

#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    ends: HashMap<SocketId, (Token, OwnedFd)>,
}

impl Handshakes {
    pub(crate) fn begin(&mut self, socket: SocketId, session: Token, program_end: OwnedFd) {
        self.ends.insert(socket, (session, program_end));
    }

    /// The connection is established: its stream gets its buffer.
    pub(crate) fn established(&mut self, socket: SocketId) {
        if let Some((_, program_end)) = self.ends.remove(&socket) {
            pair::widen(&program_end);
        }
    }

    /// The connection is established, and the program's end wanted.
    pub(crate) fn take(&mut self, socket: SocketId) -> Option<OwnedFd> {
        self.ends.remove(&socket).map(|(_, program_end)| program_end)
    }

    /// The connection will not be.
    pub(crate) fn failed(&mut self, socket: SocketId) {
        self.ends.remove(&socket);
    }

    /// The program is gone, or has another session: what it let go of must show.
    pub(crate) fn session_ended(&mut self, session: Token) {
        self.ends.retain(|_, (asked_by, _)| *asked_by != session);
    }
}
