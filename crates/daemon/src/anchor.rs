//! Anchors: the Unix socket pairs that stand for sockets in programs.
//!
//! The daemon keeps one end of each pair and pumps between it and the engine's rings, both ways,
//! reading straight into the send ring's free space and writing straight from the receive ring.
//! What the program does with its end shows at ours:
//!
//! | the program | our end | the engine |
//! |---|---|---|
//! | writes | bytes to read | sends them |
//! | `shutdown(SHUT_WR)` | end of file | `ShutdownSend` |
//! | closes its last copy | hang-up: what is left is read, then end of file | `Close` |
//! | the same with bytes unread | hang-up, then ECONNRESET | `Abort` |
//! | `shutdown(SHUT_RD)` | EPIPE when written to | received bytes are discarded |
//!
//! and what the engine says becomes:
//!
//! | the engine | our end |
//! |---|---|
//! | end of the peer's stream | `shutdown(SHUT_WR)` after the last byte |
//! | the connection failed | closed after the last byte; why is kept as an epitaph |
//!
//! Before a connection is established the program must not find its anchor writable. So on
//! `Connect` the daemon writes *filler* through the program's own end, and takes exactly as many
//! bytes out again at ours when the handshake is done.
//!
//! UDP and ping sockets have anchors of another kind: see [`datagram`].
//!
//! Readiness is edge-triggered: `readable` and `writable` remember what was last seen. A read
//! shorter than asked, or a write shorter than offered, ends it until the next event.

use crate::{
    cut_through::{
        End,
        watch::{Side, Watch},
    },
    pair,
    policy::Authority,
    principal::Principal,
};
use mio::{Interest, Registry, Token, event::Event, unix::SourceFd};
use narrows_ipc::AcceptRecord;
use narrows_stack::{
    Instant, LocalPeer, Shard, SocketId,
    request::{Error, Principal as EnginePrincipal, Request},
};
use narrows_sys::socket::unread_by_peer;
use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recvmsg, sendmsg,
    },
};
use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    rc::Rc,
};

pub(crate) mod datagram;
#[cfg(test)]
mod tests;

/// Bytes moved by one system call: more than an anchor's kernel buffers hold, small enough to stay
/// in the cache between ring and kernel.
pub(crate) const CHUNK: usize = 256 << 10;

/// SO_SNDBUF of a listener's pair, which the kernel doubles: each record takes 768 bytes of it, so
/// that 64 can wait there.
const LISTENER_BUFFER: usize = 64 * 768 / 2;

/// Records that a listener's pair can hold at most, with some room for other kernels' accounts.
pub(crate) const RECORDS_IN_FLIGHT: usize = 128;

/// One socket of a program.
#[derive(Debug)]
pub(crate) struct Anchor {
    pub socket: SocketId,
    pub token: Token,
    /// Of the program's end: what names the socket in requests.
    pub cookie: u64,
    /// Who made it, or made the listener it came from.
    pub principal: Rc<Principal>,
    /// Who is at the other end, where that is a program of this host and was noted.
    pub peer: Option<Rc<Principal>>,
    /// For the epitaph.
    pub local: SocketAddr,
    pub state: State,
    /// Is it in the list of those with work to do?
    pub queued: bool,
    end: OwnedFd,
    /// The program's bytes, or their end, may be there to read.
    readable: bool,
    /// Nothing says that the program's end is full.
    writable: bool,
    /// Does the kernel tell us when our end becomes writable? Only wanted after it was full:
    /// otherwise each read of the program would wake us.
    watches_writable: bool,
    /// The program sends no more: what is left, and then the end, can be read.
    read_closed: bool,
    /// No copy of the program's end is left, or both directions are shut down.
    hung_up: bool,
    /// The engine's side is gone; what it received still goes to the program.
    failed: bool,
}

/// What an anchor is, and what that state needs.
#[derive(Debug)]
pub(crate) enum State {
    /// Neither connected nor listening: bytes of the program stay where they are.
    Fresh,
    /// The handshake is under way and this much filler is in the pair.
    Connecting {
        filler: usize,
    },
    /// The handshake is done, with a listener here: what the program writes stays in the pair until
    /// it is known where it goes. See [`crate::cut_through`].
    Parked(Box<Parked>),
    Open(Streams),
    Listening(Backlog),
    /// Of a UDP or ping socket, from the start to the end.
    Datagrams(Box<datagram::Datagrams>),
}

/// What is kept of the program's end, which the daemon has let go of.
#[derive(Debug)]
pub(crate) struct Parked {
    pub watch: Watch,
    pub inode: u64,
}

/// The two directions of a connection.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    from_program: FromProgram,
    to_program: ToProgram,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum FromProgram {
    #[default]
    Open,
    Ended,
    /// The program closed its end without having read everything.
    Reset,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ToProgram {
    #[default]
    Open,
    /// The peer's stream ended, and the program was told.
    Ended,
    /// The program wants no more bytes.
    Discarding,
}

/// A listener's accepted connections on their way to the program.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// The next to be sent: when the last try found no room, or left by another listener.
    pub held: VecDeque<Held>,
    /// The ones sent that no program has said to have taken, oldest first.
    pub sent: VecDeque<Sent>,
}

/// An accepted connection whose record is on its way to a program.
#[derive(Debug)]
pub(crate) struct Sent {
    pub socket: SocketId,
    /// If the listener lets others share its port: all that it takes to give it to one of them.
    pub kept: Option<Held>,
}

/// An accepted connection, with what its record is made of.
#[derive(Debug)]
pub(crate) struct Held {
    pub socket: SocketId,
    pub record: AcceptRecord,
    pub program_end: OwnedFd,
}

/// How a connection's anchor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The program let go.
    Closed,
    /// The program let go with bytes unread.
    Reset,
    /// The engine's side failed.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// An event will say when there is more to do.
    Wait,
    /// The budget is spent, and there is more to do.
    Again,
    /// The device is behind: there is more to do when it has caught up.
    Congested,
    /// The user has sent as many frames as he may in a second.
    Rationed,
    End(Ending),
}

/// What one [`Anchor::pump`] may do.
pub(crate) struct Room<'a> {
    /// About so many each way.
    pub bytes: usize,
    /// That sockets of datagrams and frames may send: what is left of them.
    pub frames: &'a mut u64,
}

/// What one [`Anchor::pump`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pumped {
    /// In bytes, as the next.
    pub to_program: usize,
    pub from_program: usize,
    /// Datagrams and frames, of either direction.
    pub datagrams: usize,
    pub next: Next,
}

impl Pumped {
    /// What was done, in bytes whose moving takes as long.
    pub(crate) fn work(&self) -> usize {
        let datagrams = self.datagrams.saturating_mul(datagram::COST);
        self.to_program.max(self.from_program).saturating_add(datagrams)
    }
}

/// Why a direction stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// The source has no more for now, or ended.
    Dry,
    /// The other side takes no more for now.
    Full,
    Budget,
    /// No more frames in this second.
    Ration,
}

impl Anchor {
    /// Takes our `end` of a pair into use and has its events reported as `token`.
    pub(crate) fn new(
        registry: &Registry,
        token: Token,
        socket: SocketId,
        cookie: u64,
        principal: Rc<Principal>,
        end: OwnedFd,
    ) -> io::Result<Self> {
        registry.register(&mut SourceFd(&end.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self {
            socket,
            token,
            cookie,
            principal,
            peer: None,
            local: SocketAddr::from(([0, 0, 0, 0], 0)),
            state: State::Fresh,
            queued: false,
            end,
            readable: false,
            writable: true,
            watches_writable: false,
            read_closed: false,
            hung_up: false,
            failed: false,
        })
    }

    /// Notes what the kernel says of our end.
    pub(crate) fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed();
        self.writable |= event.is_writable();
        self.read_closed |= event.is_read_closed();
        self.hung_up |= event.is_read_closed() && event.is_write_closed();
    }

    /// The engine says that the connection is gone.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// A handshake begins: `filler` through the program's end takes its writability away.
    pub(crate) fn connecting(&mut self, program_end: BorrowedFd<'_>, filler: &[u8]) {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // If it takes none, the program filled or shut down the socket itself.
        let filler = rustix::net::send(program_end, filler, flags).unwrap_or(0);
        self.state = State::Connecting { filler };
    }

    /// The handshake is done: takes the filler out.
    pub(crate) fn connected(&mut self, scratch: &mut [u8]) {
        let State::Connecting { filler } = self.state else { return };
        let mut left = filler;
        while left > 0 {
            let len = left.min(scratch.len());
            let Some(part) = scratch.get_mut(..len) else { break };
            match receive(&self.end, &mut [IoSliceMut::new(part)]) {
                Ok(count) if count > 0 => left -= count.min(left),
                _ => break,
            }
        }
        self.open();
    }

    /// A connection that is established from the start.
    pub(crate) fn open(&mut self) {
        pair::widen(&self.end);
        self.state = State::Open(Streams::default());
        // What the program wrote behind the filler made no new edge.
        self.readable = true;
    }

    /// Keeps the number of records that wait in a listener's pair small: the others wait in the
    /// engine's queue, where they count against the backlog.
    pub(crate) fn listening(&mut self) -> io::Result<()> {
        if !matches!(self.state, State::Listening(_)) {
            rustix::net::sockopt::set_socket_send_buffer_size(&self.end, LISTENER_BUFFER)?;
            self.state = State::Listening(Backlog::default());
        }
        Ok(())
    }

    /// Sends an accepted connection's record over a listener's anchor.
    pub(crate) fn hand_over(&mut self, held: &Held) -> io::Result<()> {
        let result = held.record.send(self.end.as_fd(), held.program_end.as_fd());
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.writable = false;
        }
        result
    }

    /// Of a listener: forgets the connections that programs have said to have taken, a byte each. Who
    /// was killed before he could say so is made up for as soon as no record is on its way.
    pub(crate) fn note_taken(&mut self) {
        let State::Listening(backlog) = &mut self.state else { return };
        let mut notes = [0; RECORDS_IN_FLIGHT];
        let mut noted = false;
        // Asked before what is read next. A pair whose other end is closed has no records either, and
        // those are not taken: it gives end of file, and nothing is forgotten.
        let mut all_read = false;
        loop {
            match receive(&self.end, &mut [IoSliceMut::new(&mut notes)]) {
                Ok(count @ 1..) => {
                    backlog.sent.drain(..count.min(backlog.sent.len()));
                    noted = true;
                    all_read = matches!(unread_by_peer(&self.end), Ok(0));
                }
                Err(Errno::AGAIN) if noted && all_read => {
                    return backlog.sent.clear();
                }
                _ => return,
            }
        }
    }

    pub(crate) fn end(&self) -> &OwnedFd {
        &self.end
    }

    /// Puts our end of a parked anchor into the set where the program's is, and gives that. `None`: it
    /// isn't parked.
    pub(crate) fn watch_own_end(&mut self) -> io::Result<Option<&Watch>> {
        let State::Parked(parked) = &mut self.state else { return Ok(None) };
        parked.watch.add(Side::Server, &self.end)?;
        Ok(Some(&parked.watch))
    }

    /// Gives up a parked anchor: our end, what is kept of the program's, and the end of the connection
    /// that the program has. `None`: it isn't parked.
    pub(crate) fn separate(self, registry: &Registry) -> Option<(OwnedFd, Parked, End)> {
        let Self { socket, cookie, principal, local, state, end, .. } = self;
        let State::Parked(parked) = state else { return None };
        // Else events would come for as long as any program has it.
        if let Err(error) = registry.deregister(&mut SourceFd(&end.as_raw_fd())) {
            tracing::warn!(%error, "an anchor's events can't be stopped");
        }
        let inode = parked.inode;
        let program = End { socket, cookie, inode, principal, local, shut: false, closed: false };
        Some((end, *parked, program))
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(crate) fn has_hung_up(&self) -> bool {
        self.hung_up
    }

    /// Moves what can be moved, as much as there is `room` for. `record` has room for
    /// [`datagram::RECORD`] bytes.
    pub(crate) fn pump(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        authority: &mut Authority,
        room: Room<'_>,
        record: &mut [u8],
    ) -> Pumped {
        let mut pumped = Pumped { to_program: 0, from_program: 0, datagrams: 0, next: Next::Wait };
        match self.state {
            State::Open(_) => self.pump_streams(shard, now, room.bytes, &mut pumped),
            State::Datagrams(_) => {
                self.pump_datagrams(shard, now, authority, room, record, &mut pumped);
            }
            State::Parked(_) if !self.failed => match shard.local_peer(self.socket) {
                Some(LocalPeer::Unaccepted { .. }) => {}
                // Its last segment is on the way; or there is no room in the listener's queue, and
                // then the client's segments have to ask for it.
                Some(LocalPeer::HalfOpen { .. }) if shard.loops_back() => pumped.next = Next::Again,
                _ => {
                    self.open();
                    pumped.next = Next::Again;
                }
            },
            _ if self.hung_up => pumped.next = Next::End(Ending::Closed),
            _ if self.failed => pumped.next = Next::End(Ending::Failed),
            _ => {}
        }
        pumped
    }

    fn pump_streams(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        budget: usize,
        pumped: &mut Pumped,
    ) {
        let delivered = self.deliver(shard, now, budget, &mut pumped.to_program);
        let collected = self.collect(shard, now, budget, &mut pumped.from_program);
        let State::Open(streams) = &self.state else { return };
        let program_listens = !self.hung_up && streams.to_program == ToProgram::Open;
        pumped.next = if streams.from_program == FromProgram::Reset {
            Next::End(Ending::Reset)
        } else if self.failed && (delivered == Stop::Dry || !program_listens) {
            Next::End(Ending::Failed)
        } else if self.hung_up && streams.from_program == FromProgram::Ended {
            Next::End(Ending::Closed)
        } else if delivered == Stop::Budget || collected == Stop::Budget {
            Next::Again
        } else {
            Next::Wait
        };
    }

    /// From the receive ring to the program.
    fn deliver(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        budget: usize,
        moved: &mut usize,
    ) -> Stop {
        let State::Open(streams) = &mut self.state else { return Stop::Dry };
        while streams.to_program != ToProgram::Ended {
            if !self.writable {
                return Stop::Full;
            }
            if *moved >= budget {
                return Stop::Budget;
            }
            let mut offered = 0;
            let result = shard.receive_with(now, self.socket, CHUNK, |bytes| {
                offered = bytes.iter().map(|part| part.len()).sum();
                if offered == 0 || streams.to_program == ToProgram::Discarding {
                    return offered;
                }
                match send(&self.end, bytes) {
                    Ok(sent) => {
                        self.writable = sent == offered;
                        sent
                    }
                    Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => {
                        self.writable = false;
                        0
                    }
                    Err(_) => {
                        streams.to_program = ToProgram::Discarding;
                        offered
                    }
                }
            });
            match result {
                Ok(_) if offered == 0 => {
                    // Fails only when the program has hung up, which is handled as such.
                    let _ = rustix::net::shutdown(&self.end, Shutdown::Write);
                    streams.to_program = ToProgram::Ended;
                }
                Ok(count) => *moved += count,
                Err(Error::WouldBlock) => return Stop::Dry,
                Err(_) => {
                    self.failed = true;
                    return Stop::Dry;
                }
            }
        }
        Stop::Dry
    }

    /// From the program to the send ring.
    fn collect(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        budget: usize,
        moved: &mut usize,
    ) -> Stop {
        let State::Open(streams) = &mut self.state else { return Stop::Dry };
        while self.readable && !self.failed && streams.from_program == FromProgram::Open {
            if *moved >= budget {
                return Stop::Budget;
            }
            let mut offered = 0;
            let mut ended = FromProgram::Open;
            let result = shard.send_with(now, self.socket, CHUNK, |room| {
                offered = room.iter().map(|part| part.len()).sum();
                if offered == 0 {
                    return 0;
                }
                match receive(&self.end, room) {
                    Ok(0) => {
                        ended = FromProgram::Ended;
                        0
                    }
                    Ok(count) => {
                        // The end, once reported, makes no edge of its own.
                        self.readable = count == offered || self.read_closed;
                        count
                    }
                    Err(Errno::AGAIN) => {
                        self.readable = false;
                        0
                    }
                    Err(_) => {
                        ended = FromProgram::Reset;
                        0
                    }
                }
            });
            match result {
                Ok(_) if offered == 0 => return Stop::Full,
                Ok(count) => *moved += count,
                // The connection is failing, and an event is on its way.
                Err(_) => return Stop::Full,
            }
            streams.from_program = ended;
            if ended == FromProgram::Ended && !self.hung_up {
                let request = Request::ShutdownSend { socket: self.socket };
                if let Err(error) = shard.request(now, EnginePrincipal::default(), request) {
                    tracing::debug!(%error, "end of the program's stream");
                }
            }
        }
        Stop::Dry
    }

    /// Asks the kernel for word of writability while it is missing, and only then.
    pub(crate) fn watch(&mut self, registry: &Registry) -> io::Result<()> {
        let wanted = !self.writable;
        if wanted == self.watches_writable {
            return Ok(());
        }
        let interest =
            if wanted { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        registry.reregister(&mut SourceFd(&self.end.as_raw_fd()), self.token, interest)?;
        self.watches_writable = wanted;
        Ok(())
    }
}

fn receive(end: &OwnedFd, room: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
    let mut control = RecvAncillaryBuffer::default();
    rustix::io::retry_on_intr(|| recvmsg(end, room, &mut control, RecvFlags::DONTWAIT))
        .map(|received| received.bytes)
}

fn send(end: &OwnedFd, bytes: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let mut control = SendAncillaryBuffer::default();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| sendmsg(end, bytes, &mut control, flags))
}
