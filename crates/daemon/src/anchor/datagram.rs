//! Anchors of UDP and ping sockets: record by record between our end and the engine.
//!
//! What differs from a stream's: each record is one datagram behind a header (see
//! [`narrows_ipc::datagram`]); the socket takes part from the start, without a handshake; and
//! nothing that happens to a datagram ends it. An error waits here until the program asks for it,
//! and a record without payload makes the anchor readable meanwhile.
//!
//! Where datagrams go is asked of the policy here, because nothing else lies between a program that
//! writes records of its own and the engine: about who made the socket, since the kernel doesn't say
//! who wrote.
//!
//! A full anchor leaves datagrams in the engine's queue, which drops what comes past its limit. A
//! device that can't keep up leaves the program's records in the anchor, where they fill it: so a
//! program waits as it would for its socket's send buffer.

use super::{Anchor, Ending, Next, Pumped, Room, State, Stop};
use crate::{options, policy::Authority, principal::Principal};
use narrows_ipc::{
    Error,
    datagram::{Attached, Content, Header, Options},
};
use narrows_policy::{ActKind, Protocol};
use narrows_stack::{
    Instant, InterfaceId, Shard, SocketId,
    request::{Envelope, Error as EngineError},
    table::{datagram::Datagram, packet_socket::FrameCopy},
};
use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags, recvmsg},
};
use std::{
    io::{IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::OwnedFd,
    time::SystemTime,
};

pub(crate) mod packet;
pub(crate) mod raw;
#[cfg(test)]
mod tests;

/// The longest record: a header and all that IPv4 can carry, with link headers, and a byte to tell what
/// is longer.
pub(crate) const RECORD: usize = Header::LEN + 65_536 + 32;

/// What a datagram costs of a turn's bytes beside its payload. Its two system calls, and what a virtual
/// wire has the kernel do for it at its other end, take five to ten microseconds, in which as many bytes
/// of a stream are moved.
pub(super) const COST: usize = 8 << 10;

/// Frames that may wait at the interface a socket last sent by, before the socket's records wait in
/// its anchor: a millisecond's worth of full-size frames at 10 Gbit/s.
pub(crate) const BACKLOG: usize = 1024;

/// What an anchor of datagrams knows.
#[derive(Debug)]
pub(crate) struct Datagrams {
    carries: Carries,
    /// Where the last datagram was allowed to go, and by which state of the policy.
    permitted: Option<(SocketAddr, u64)>,
    /// What the program wants to be told with each datagram.
    pub attached: Attached,
    /// The pending error.
    pub error: Option<Error>,
    /// The program has not been given word of it yet.
    word_owed: bool,
    /// Taken from the engine's queue when the anchor turned out to be full.
    held: Option<Waiting>,
    /// The program wants no more.
    discarding: bool,
    /// On the worker's list of those whose device is behind.
    pub congested: bool,
    /// The program sends no more.
    sending_ended: bool,
}

/// What an anchor's records are.
#[derive(Debug)]
pub(crate) enum Carries {
    Datagrams(Protocol),
    Frames(packet::Permitted),
    /// Of a raw IP socket.
    Packets(raw::Permitted),
}

/// By what a program's record leaves.
struct Outlet<'a> {
    shard: &'a mut Shard,
    now: Instant,
    authority: &'a mut Authority,
}

/// What goes to a program in one record.
#[derive(Debug)]
enum Waiting {
    Datagram(Datagram),
    Frame(FrameCopy),
}

impl Waiting {
    fn payload(&self) -> &[u8] {
        match self {
            Self::Datagram(datagram) => &datagram.payload,
            Self::Frame(frame) => &frame.bytes,
        }
    }

    fn header(&self, attached: Attached, now: Instant) -> [u8; Header::LEN] {
        match self {
            Self::Datagram(datagram) => header(datagram, attached, now).encode(),
            Self::Frame(frame) => packet::header(frame, attached, now).encode(),
        }
    }
}

impl Datagrams {
    pub(crate) fn new(carries: Carries) -> Self {
        Self {
            carries,
            permitted: None,
            attached: Attached::default(),
            error: None,
            word_owed: false,
            held: None,
            discarding: false,
            congested: false,
            sending_ended: false,
        }
    }

    /// Of datagrams: what rules call them.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        match self.carries {
            Carries::Datagrams(protocol) => Some(protocol),
            Carries::Frames(_) | Carries::Packets(_) => None,
        }
    }

    /// May a datagram go there? The connected peer was asked about when it was set.
    fn may_send(
        &mut self,
        shard: &Shard,
        authority: &mut Authority,
        maker: &Principal,
        protocol: Protocol,
        envelope: &Envelope,
    ) -> Result<(), Error> {
        let Some(remote) = envelope.remote else { return Ok(()) };
        if authority.policy.is_unrestricted(ActKind::Connect) {
            return Ok(());
        }
        let asked = (remote, authority.policy.generation());
        if self.permitted == Some(asked) {
            return Ok(());
        }
        authority.connect(shard, maker, protocol, remote)?;
        self.permitted = Some(asked);
        Ok(())
    }

    /// The next that the engine has for the program.
    fn next(&self, shard: &mut Shard, socket: SocketId) -> Result<Waiting, EngineError> {
        match self.carries {
            Carries::Datagrams(_) | Carries::Packets(_) => {
                shard.receive_datagram(socket).map(Waiting::Datagram)
            }
            Carries::Frames(_) => shard.receive_frame(socket).map(Waiting::Frame),
        }
    }

    /// Sends what a program's record says.
    fn send(
        &mut self,
        outlet: &mut Outlet<'_>,
        socket: SocketId,
        maker: &Principal,
        record: &[u8],
    ) -> Result<(), Error> {
        let Outlet { shard, now, authority } = outlet;
        match &mut self.carries {
            Carries::Frames(permitted) => {
                let Some((to, frame)) = packet::parse(record) else { return Ok(()) };
                packet::may_send(shard, authority, maker, permitted, socket, &to)?;
                shard.send_frame(*now, socket, &to, frame).map_err(options::error)
            }
            Carries::Packets(permitted) => {
                let Some((header, packet)) = parse(record) else { return Ok(()) };
                let envelope = envelope(&header);
                raw::may_send(shard, authority, maker, permitted, socket, &envelope)?;
                shard.send_datagram(*now, socket, &envelope, packet).map_err(options::error)
            }
            Carries::Datagrams(protocol) => {
                let protocol = *protocol;
                let Some((header, payload)) = parse(record) else { return Ok(()) };
                let envelope = envelope(&header);
                self.may_send(shard, authority, maker, protocol, &envelope)?;
                shard.send_datagram(*now, socket, &envelope, payload).map_err(options::error)
            }
        }
    }

    /// The program is to be told again that there is an error to ask for.
    pub(crate) fn owe_word(&mut self) {
        self.word_owed = true;
    }

    /// Notes an error; the program gets word of it unless it has one to ask for already.
    fn fail(&mut self, error: Error) {
        self.word_owed |= self.error.is_none();
        self.error = Some(error);
    }
}

impl Anchor {
    /// Before a request about the socket: what the program sent earlier goes by what was in force.
    pub(crate) fn is_datagrams(&self) -> bool {
        matches!(self.state, State::Datagrams(_))
    }

    pub(crate) fn is_packets(&self) -> bool {
        matches!(&self.state, State::Datagrams(datagrams)
            if matches!(datagrams.carries, Carries::Frames(_)))
    }

    pub(crate) fn is_raw(&self) -> bool {
        matches!(&self.state, State::Datagrams(datagrams)
            if matches!(datagrams.carries, Carries::Packets(_)))
    }

    pub(crate) fn datagrams(&mut self) -> Option<&mut Datagrams> {
        match &mut self.state {
            State::Datagrams(datagrams) => Some(datagrams),
            _ => None,
        }
    }

    /// The program may have sent something that no event has told of yet.
    pub(crate) fn look_again(&mut self) {
        self.readable = true;
    }

    /// As [`Anchor::pump`]; `record` has room for one.
    pub(super) fn pump_datagrams(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        authority: &mut Authority,
        room: Room<'_>,
        record: &mut [u8],
        pumped: &mut Pumped,
    ) {
        let delivered = self.deliver_datagrams(shard, now, room.bytes, pumped);
        let collected = self.collect_datagrams(shard, now, authority, room, record, pumped);
        let State::Datagrams(datagrams) = &self.state else { return };
        pumped.next = if self.hung_up && datagrams.sending_ended {
            Next::End(Ending::Closed)
        } else if delivered == Stop::Budget || collected == Stop::Budget {
            Next::Again
        } else if collected == Stop::Full {
            Next::Congested
        } else if collected == Stop::Ration {
            Next::Rationed
        } else {
            Next::Wait
        };
    }

    /// From the engine's queue to the program.
    fn deliver_datagrams(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        budget: usize,
        pumped: &mut Pumped,
    ) -> Stop {
        let State::Datagrams(datagrams) = &mut self.state else { return Stop::Dry };
        loop {
            if !self.writable {
                return Stop::Full;
            }
            if pumped.work() >= budget {
                return Stop::Budget;
            }
            let next = match datagrams.held.take() {
                Some(held) => Ok(held),
                None if datagrams.word_owed => Err(EngineError::WouldBlock),
                None => datagrams.next(shard, self.socket),
            };
            let result = match &next {
                Ok(_) if datagrams.discarding => Ok(()),
                Ok(waiting) => {
                    let header = waiting.header(datagrams.attached, now);
                    send_record(&self.end, &header, waiting.payload())
                }
                Err(EngineError::WouldBlock) if datagrams.word_owed => {
                    let header = Header { content: Content::Error, ..Header::default() };
                    send_record(&self.end, &header.encode(), &[])
                }
                Err(EngineError::WouldBlock) => return Stop::Dry,
                Err(error) => {
                    datagrams.fail(options::error(*error));
                    continue;
                }
            };
            match (result, next) {
                (Ok(()), Ok(waiting)) => {
                    pumped.datagrams += 1;
                    pumped.to_program += waiting.payload().len();
                }
                (Ok(()), Err(_)) => datagrams.word_owed = false,
                (Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM), next) => {
                    datagrams.held = next.ok();
                    self.writable = false;
                }
                (Err(_), _) => {
                    datagrams.discarding = true;
                    datagrams.word_owed = false;
                }
            }
        }
    }

    /// From the program to the engine.
    fn collect_datagrams(
        &mut self,
        shard: &mut Shard,
        now: Instant,
        authority: &mut Authority,
        room: Room<'_>,
        record: &mut [u8],
        pumped: &mut Pumped,
    ) -> Stop {
        let State::Datagrams(datagrams) = &mut self.state else { return Stop::Dry };
        let delivered = pumped.work();
        while self.readable && !datagrams.sending_ended {
            // What was delivered leaves room for what is collected.
            if pumped.work() >= delivered + room.bytes {
                return Stop::Budget;
            }
            if *room.frames == 0 && !self.hung_up {
                return Stop::Ration;
            }
            // What is left of a socket that is closed is little, and can't wait for anybody.
            if !self.hung_up && shard.backlog(self.socket) >= BACKLOG {
                return Stop::Full;
            }
            match receive_record(&self.end, record) {
                // No record is empty: this is the end.
                Ok(0) => datagrams.sending_ended = true,
                Ok(count) => {
                    let bytes = record.get(..count).unwrap_or_default();
                    pumped.datagrams += 1;
                    pumped.from_program += count.saturating_sub(Header::LEN);
                    *room.frames = room.frames.saturating_sub(frames_of(bytes));
                    let mut outlet = Outlet { shard, now, authority };
                    match datagrams.send(&mut outlet, self.socket, &self.principal, bytes) {
                        // A full queue loses datagrams, which is counted there and told nobody.
                        Ok(()) | Err(Error::NoBufferSpace) => {}
                        Err(error) => datagrams.fail(error),
                    }
                }
                Err(Errno::AGAIN) => self.readable = false,
                // The program closed its end without having read everything; what it sent is there.
                Err(Errno::CONNRESET) => {}
                Err(_) => datagrams.sending_ended = true,
            }
        }
        Stop::Dry
    }
}

/// The interface's number, as programs see it: Linux's count from 1.
pub(crate) fn interface_number(interface: InterfaceId) -> u32 {
    u32::from(interface.0) + 1
}

/// The interface of a program's number; `None` for 0, which says any.
pub(crate) fn interface_of(number: u32) -> Result<Option<InterfaceId>, Error> {
    match number.checked_sub(1).map(u16::try_from) {
        None => Ok(None),
        Some(Ok(index)) => Ok(Some(InterfaceId(index))),
        Some(Err(_)) => Err(Error::NoSuchDevice),
    }
}

fn header(datagram: &Datagram, attached: Attached, now: Instant) -> Header {
    let wanted = attached.intersects(Attached::TIMESTAMP | Attached::TIMESTAMP_NS);
    let received = if wanted { since_1970(now, datagram.received) } else { 0 };
    // As on Linux, of several in one it is told without more asking than for them.
    let several = datagram.segment_size.map_or(Attached::empty(), |_| Attached::SEGMENT_SIZE);
    let attached = attached | several;
    Header {
        content: Content::Datagram,
        attached,
        ttl: datagram.ttl,
        tos: datagram.tos,
        segment_size: datagram.segment_size.unwrap_or(0),
        interface: interface_number(datagram.interface),
        peer: Some(datagram.from),
        own: Some(datagram.to.ip()),
        received,
        options: Options::new(&datagram.options).unwrap_or_default(),
    }
}

/// A time of the engine's as the world counts it, in nanoseconds.
pub(crate) fn since_1970(now: Instant, then: Instant) -> u64 {
    let time = SystemTime::now().checked_sub(now.since(then));
    time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

/// How many frames a program's record makes, if it is cut as it says.
fn frames_of(record: &[u8]) -> u64 {
    let cut = parse(record).filter(|(header, _)| {
        header.attached.contains(Attached::SEGMENT_SIZE) && header.segment_size > 0
    });
    cut.map_or(1, |(header, payload)| {
        payload.len().div_ceil(usize::from(header.segment_size)).max(1) as u64
    })
}

fn parse(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (header, payload) = bytes.split_first_chunk()?;
    let header = Header::decode(header).ok()?;
    (header.content == Content::Datagram && bytes.len() < RECORD).then_some((header, payload))
}

fn envelope(header: &Header) -> Envelope {
    let has = |field| header.attached.contains(field);
    let info = has(Attached::PACKET_INFO);
    Envelope {
        remote: header.peer,
        source: header.own.filter(|_| info),
        interface: interface_of(header.interface).ok().flatten().filter(|_| info),
        ttl: has(Attached::TTL).then_some(header.ttl),
        tos: has(Attached::TOS).then_some(header.tos),
        segment_size: has(Attached::SEGMENT_SIZE).then_some(header.segment_size),
    }
}

fn send_record(end: &OwnedFd, header: &[u8], payload: &[u8]) -> Result<(), Errno> {
    super::send(end, &[IoSlice::new(header), IoSlice::new(payload)]).map(drop)
}

/// How many bytes the next record has; `record` is longer than any that counts.
fn receive_record(end: &OwnedFd, record: &mut [u8]) -> Result<usize, Errno> {
    let mut control = RecvAncillaryBuffer::default();
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(end, &mut [IoSliceMut::new(record)], &mut control, RecvFlags::DONTWAIT)
    })?;
    // Cut off: as long as the buffer, and so refused.
    let cut = received.flags.contains(ReturnFlags::TRUNC);
    Ok(if cut { RECORD } else { received.bytes })
}
