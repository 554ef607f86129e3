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

use super::{Anchor, Ending, Next, Pumped, State, Stop};
use crate::{options, policy::Authority, principal::Principal};
use narrows_ipc::{
    Error,
    datagram::{Attached, Content, Header},
};
use narrows_policy::{ActKind, Protocol};
use narrows_stack::{
    Instant, InterfaceId, Shard,
    request::{Envelope, Error as EngineError},
    table::datagram::Datagram,
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

#[cfg(test)]
mod tests;

/// The longest record: a header and all that IPv4 can carry, with a byte to tell what is longer.
pub(crate) const RECORD: usize = Header::LEN + 65_536;

/// What a datagram costs of a turn's bytes beside its payload: about what its system call takes.
const COST: usize = 512;

/// Frames that may wait at the interface a socket last sent by, before the socket's records wait in
/// its anchor: a millisecond's worth of full-size frames at 10 Gbit/s.
pub(crate) const BACKLOG: usize = 1024;

/// What an anchor of datagrams knows.
#[derive(Debug)]
pub(crate) struct Datagrams {
    protocol: Protocol,
    /// Where the last datagram was allowed to go, and by which state of the policy.
    permitted: Option<(SocketAddr, u64)>,
    /// What the program wants to be told with each datagram.
    pub attached: Attached,
    /// The pending error.
    pub error: Option<Error>,
    /// The program has not been given word of it yet.
    word_owed: bool,
    /// Taken from the engine's queue when the anchor turned out to be full.
    held: Option<Datagram>,
    /// The program wants no more.
    discarding: bool,
    /// On the worker's list of those whose device is behind.
    pub congested: bool,
    /// The program sends no more.
    sending_ended: bool,
}

impl Datagrams {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
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

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// May a datagram go there? The connected peer was asked about when it was set.
    fn may_send(
        &mut self,
        shard: &Shard,
        authority: &mut Authority,
        maker: &Principal,
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
        authority.connect(shard, maker, self.protocol, remote)?;
        self.permitted = Some(asked);
        Ok(())
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
        budget: usize,
        record: &mut [u8],
        pumped: &mut Pumped,
    ) {
        let delivered = self.deliver_datagrams(shard, now, budget, &mut pumped.to_program);
        let collected = self.collect_datagrams(shard, now, authority, budget, record, pumped);
        let State::Datagrams(datagrams) = &self.state else { return };
        pumped.next = if self.hung_up && datagrams.sending_ended {
            Next::End(Ending::Closed)
        } else if delivered == Stop::Budget || collected == Stop::Budget {
            Next::Again
        } else if collected == Stop::Full {
            Next::Congested
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
        moved: &mut usize,
    ) -> Stop {
        let State::Datagrams(datagrams) = &mut self.state else { return Stop::Dry };
        loop {
            if !self.writable {
                return Stop::Full;
            }
            if *moved >= budget {
                return Stop::Budget;
            }
            let next = match datagrams.held.take() {
                Some(held) => Ok(held),
                None if datagrams.word_owed => Err(EngineError::WouldBlock),
                None => shard.receive_datagram(self.socket),
            };
            let result = match &next {
                Ok(_) if datagrams.discarding => Ok(()),
                Ok(datagram) => {
                    let header = header(datagram, datagrams.attached, now).encode();
                    send_record(&self.end, &header, &datagram.payload)
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
                (Ok(()), Ok(datagram)) => *moved += COST + datagram.payload.len(),
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
        budget: usize,
        record: &mut [u8],
        pumped: &mut Pumped,
    ) -> Stop {
        let State::Datagrams(datagrams) = &mut self.state else { return Stop::Dry };
        while self.readable && !datagrams.sending_ended {
            if pumped.from_program >= budget {
                return Stop::Budget;
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
                    pumped.from_program += COST + count;
                    let Some((header, payload)) = parse(bytes) else {
                        tracing::debug!(count, "a record that is no datagram");
                        continue;
                    };
                    let envelope = envelope(&header);
                    if let Err(error) =
                        datagrams.may_send(shard, authority, &self.principal, &envelope)
                    {
                        datagrams.fail(error);
                        continue;
                    }
                    match shard.send_datagram(now, self.socket, &envelope, payload) {
                        // A full queue loses datagrams, which is counted there and told nobody.
                        Ok(()) | Err(EngineError::LimitReached) => {}
                        Err(error) => datagrams.fail(options::error(error)),
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
    let received = if attached.intersects(Attached::TIMESTAMP | Attached::TIMESTAMP_NS) {
        let time = SystemTime::now().checked_sub(now.since(datagram.received));
        time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
            .and_then(|since| u64::try_from(since.as_nanos()).ok())
            .unwrap_or(0)
    } else {
        0
    };
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
    }
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
