//! Programs that watch packets pass: each has one end of a socket pair, on which it is told what the
//! engine saw ([`narrows_ipc::see`]).
//!
//! Who may: for copies of frames, whom policy lets observe the interface; for whole ways, with what the
//! tables say about them and whose sockets they lead to, whoever may also read the daemon's reports. In
//! both cases the engine shows nobody what passes in a zone that he is not admitted to.
//!
//! Nobody waits for a slow reader. What does not fit into his socket waits here up to a limit; what comes
//! past it he loses, and is told how much.

mod describe;

pub(crate) use describe::{Names, journey};

use crate::{
    anchor::datagram::{interface_number, interface_of, since_1970},
    bpf,
    control::losses::name_of,
    pair,
    principal::Principal,
    session::Outcome,
    token,
    worker::Worker,
};
use mio::{Interest, Token, event::Event, unix::SourceFd};
use narrows_ipc::{
    Error,
    see::{Direction, Seen, Stage, Told, WatchOptions},
};
use narrows_policy::Access;
use narrows_stack::{
    Instant, SocketId,
    table::{
        packet_socket::PacketType,
        watch::{Journey, Record, Sight, Stages, Watch, WatcherId},
    },
};
use rustix::{
    io::Errno,
    net::{SendFlags, send},
};
use slab::Slab;
use std::{
    collections::VecDeque,
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
};

/// Bytes of records that wait for one reader: a tenth of a second at 300 Mbit/s.
const MAX_WAITING: usize = 4 << 20;

/// Of one user: the places are few, and are for all.
const MAX_PER_USER: usize = 8;

#[derive(Default)]
pub(crate) struct Watches {
    readers: Slab<Reader>,
    serial: usize,
}

struct Reader {
    token: Token,
    id: WatcherId,
    principal: Rc<Principal>,
    /// Is he told whose packets are whose?
    inspects: bool,
    end: OwnedFd,
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    writable: bool,
    /// Records that he has lost and was not told of.
    lost: u64,
    gone: bool,
}

impl Reader {
    fn tell(&mut self, record: Option<Vec<u8>>) {
        let Some(record) = record.filter(|record| self.bytes + record.len() <= MAX_WAITING) else {
            self.lost += 1;
            return;
        };
        self.bytes += record.len();
        self.waiting.push_back(record);
    }

    /// Sends what waits, as far as there is room; what was lost is told where it was.
    fn flush(&mut self) {
        while self.writable && !self.gone {
            let Some(record) = self.waiting.front() else {
                match std::mem::take(&mut self.lost) {
                    0 => return,
                    lost => {
                        self.tell(Told::Lost(lost).encode());
                        continue;
                    }
                }
            };
            match send(&self.end, record, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => {
                    self.bytes -= record.len();
                    self.waiting.pop_front();
                }
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => self.writable = false,
                // Longer than the kernel gives room for.
                Err(Errno::MSGSIZE) => {
                    self.bytes -= record.len();
                    self.waiting.pop_front();
                    self.lost += 1;
                }
                Err(Errno::INTR) => {}
                Err(_) => self.gone = true,
            }
        }
    }
}

/// Somebody wants to watch.
pub(crate) fn open(worker: &mut Worker, session: Token, options: WatchOptions) -> Outcome {
    let principal = worker.sessions.get_mut(session).map(|session| session.principal.clone());
    match principal.ok_or(Error::BadMessage).and_then(|who| try_open(worker, who, options)) {
        Ok(program_end) => Outcome::Anchor(program_end),
        Err(error) => Outcome::Answer(Err(error)),
    }
}

fn try_open(
    worker: &mut Worker,
    principal: Rc<Principal>,
    options: WatchOptions,
) -> Result<OwnedFd, Error> {
    let interface = interface_of(options.interface)?;
    let name = interface.map(|interface| name_of(worker, interface));
    worker.authority.packet(&principal, name.as_deref(), Access::Observe)?;
    if options.journeys {
        worker.authority.inspect(&principal)?;
    }
    let own = |reader: &Reader| reader.principal.uid == principal.uid;
    if worker.watches.readers.iter().filter(|(_, reader)| own(reader)).count() >= MAX_PER_USER {
        return Err(Error::NoBufferSpace);
    }
    let watch = Watch {
        interface,
        filter: options.filter.map(|program| bpf::compile(&program)).transpose()?,
        stages: options.stages.iter().map(|stage| to_engine(*stage)).collect(),
        journeys: options.journeys,
        sees_claimed: worker.authority.lets_packet(&principal, name.as_deref(), Access::Claim),
        snap: options.snap as usize,
    };
    let pair = pair::of_records().map_err(|error| worker.refuse_anchor(&error))?;
    pair::widen(&pair.end);
    let id = worker.shard.watch(principal.of_engine(), watch);
    let id = id.ok_or(Error::NoBufferSpace)?;
    let inspects = worker.authority.lets_inspect(&principal);
    let watches = &mut worker.watches;
    watches.serial = watches.serial.wrapping_add(1);
    let entry = watches.readers.vacant_entry();
    let token = token::watch(watches.serial, entry.key());
    let raw = pair.end.as_raw_fd();
    let interest = Interest::READABLE | Interest::WRITABLE;
    if let Err(error) = worker.registry.register(&mut SourceFd(&raw), token, interest) {
        worker.shard.unwatch(id);
        return Err(worker.refuse_anchor(&error));
    }
    entry.insert(Reader {
        token,
        id,
        principal,
        inspects,
        end: pair.end,
        waiting: VecDeque::new(),
        bytes: 0,
        writable: true,
        lost: 0,
        gone: false,
    });
    Ok(pair.program_end)
}

pub(crate) fn to_engine(stage: Stage) -> Stages {
    match stage {
        Stage::Receive => Stages::RECEIVE,
        Stage::Filter => Stages::FILTER,
        Stage::Reassembled => Stages::REASSEMBLED,
        Stage::Transmit => Stages::TRANSMIT,
        Stage::Drop => Stages::DROP,
    }
}

/// A reader's socket has room again, or the reader is gone.
pub(crate) fn ready(worker: &mut Worker, token: Token, event: &Event) {
    let index = token::index(token);
    let found = worker.watches.readers.get_mut(index);
    let Some(reader) = found.filter(|reader| reader.token == token) else { return };
    reader.gone |= event.is_read_closed() || event.is_write_closed() || event.is_error();
    reader.writable |= event.is_writable();
    reader.flush();
    if reader.gone {
        end(worker, index);
    }
}

fn end(worker: &mut Worker, index: usize) {
    if let Some(reader) = worker.watches.readers.try_remove(index) {
        worker.shard.unwatch(reader.id);
        worker.descriptor_freed();
    }
}

/// Tells everybody what the engine saw since the last turn.
pub(crate) fn deliver(worker: &mut Worker) {
    if worker.watches.readers.is_empty() {
        return;
    }
    while let Some((audience, record)) = worker.shard.poll_record() {
        for id in audience.members() {
            let readers = worker.watches.readers.iter();
            let found =
                readers.filter(|(_, reader)| reader.id == id).map(|(index, _)| index).next();
            let Some(index) = found else { continue };
            let inspects = worker.watches.readers.get(index).is_some_and(|reader| reader.inspects);
            let told = told(worker, &record, inspects).encode();
            if let Some(reader) = worker.watches.readers.get_mut(index) {
                reader.tell(told);
            }
        }
    }
    for (_, reader) in &mut worker.watches.readers {
        reader.lost += worker.shard.take_lost_records(reader.id);
        reader.flush();
    }
    let gone = worker.watches.readers.iter().filter(|(_, reader)| reader.gone);
    for index in gone.map(|(index, _)| index).collect::<Vec<_>>() {
        end(worker, index);
    }
}

fn told(worker: &mut Worker, record: &Record, inspects: bool) -> Told {
    let now = worker.clock.now();
    match record {
        Record::Sight(sight) => Told::Frame {
            packet: Box::new(Seen {
                user: sight.user.filter(|_| inspects),
                name: name_of(worker, sight.interface),
                ..seen(sight, now)
            }),
            stage: stage_of(sight.stage),
            reason: sight.reason.map(|reason| reason.describe().0.to_owned()),
        },
        Record::Journey(way) => {
            let sockets = sockets_on(worker, way);
            let names = Names {
                interface: &|id| name_of(worker, id),
                rule: &|chain, rule| worker.rules.describe(chain, rule),
                socket: &|id| {
                    let found = sockets.iter().find(|(socket, _)| *socket == id);
                    found.map_or_else(String::new, |(_, text)| text.clone())
                },
            };
            let time = since_1970(now, way.seen);
            Told::Journey(Box::new(journey(way, time, &names)))
        }
    }
}

/// The sockets that a packet found, as ss(8) would have them.
fn sockets_on(worker: &mut Worker, way: &Journey) -> Vec<(SocketId, String)> {
    let sockets = way.steps.iter().filter_map(describe::socket_of);
    sockets.map(|socket| (socket, describe::socket(worker, socket))).collect()
}

fn seen(sight: &Sight, now: Instant) -> Seen {
    Seen {
        time: since_1970(now, sight.seen),
        interface: interface_number(sight.interface),
        name: String::new(),
        direction: direction(sight.kind),
        user: None,
        length: u32::try_from(sight.length).unwrap_or(u32::MAX),
        bytes: sight.bytes.to_vec(),
    }
}

fn direction(kind: PacketType) -> Direction {
    match kind {
        PacketType::Host => Direction::ToUs,
        PacketType::Broadcast => Direction::Broadcast,
        PacketType::Multicast => Direction::Multicast,
        PacketType::OtherHost => Direction::ToOthers,
        PacketType::Outgoing => Direction::Outgoing,
    }
}

pub(crate) fn stage_of(stage: Stages) -> Stage {
    let found = Stage::ALL.into_iter().find(|one| to_engine(*one) == stage);
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests;
