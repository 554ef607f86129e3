//! Programs that decide about packets: each has a connection to the control socket that began with an
//! [`Attach`] in place of a hello, on which it is given packets and answers ([`narrows_ipc::inspect`]).
//!
//! Who may: whom policy lets inspect the interface (`packet inspect lan`); and the engine gives nobody what passes
//! in a zone that he is not admitted to. What waits for an answer is kept by the engine, within limits, and ends by
//! its deadline: nobody waits for a program that is slow, stopped or dead longer than that. An answer that makes no
//! sense is counted and ignored; who gives many, or speaks another version, is sent away.

use crate::{
    anchor::datagram::{interface_number, interface_of, since_1970},
    bpf,
    control::losses::name_of,
    pair,
    principal::Principal,
    token,
    worker::Worker,
};
use mio::{Interest, Token, event::Event, unix::SourceFd};
use narrows_ipc::{
    Error,
    inspect::{
        Answer, Attach, Attached, Flags, Hook, InspectorRow, MAX_ANSWER, Mistake, PacketHeader,
        Source, Verdict,
    },
    message::Owner,
};
use narrows_policy::Access;
use narrows_stack::{
    Instant,
    filter::Hook as EngineHook,
    shard::{Inspecting, Inspection},
    table::inspector::{
        Answer as EngineAnswer, InspectorId, Lie, MAX_PATIENCE, MAX_ROOM, Source as EngineSource,
        Terms,
    },
};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use slab::Slab;
use std::{
    os::fd::{AsRawFd, OwnedFd},
    rc::Rc,
    time::Duration,
};

/// Of one user: the places are few, and are for all.
const MAX_PER_USER: usize = 8;

/// Answers read from one program, and packets told to it, before others get their turn.
const PER_TURN: usize = 64;

/// Answers that make no sense before a program is sent away: more than a mistake, less than a flood.
const MAX_LIES: u32 = 64;

#[derive(Default)]
pub(crate) struct Inspections {
    readers: Slab<Reader>,
    serial: usize,
    /// Room for one answer.
    record: Vec<u8>,
}

struct Reader {
    token: Token,
    id: InspectorId,
    principal: Rc<Principal>,
    end: OwnedFd,
    readable: bool,
    writable: bool,
    lies: u32,
    gone: bool,
}

/// Makes a session one that inspects; its socket is answered on from now on.
pub(crate) fn attach(worker: &mut Worker, session: Token, wish: Result<Attach, Mistake>) {
    let Some(session) = worker.sessions.remove(session) else { return };
    let principal = session.principal.clone();
    let end = session.into_socket();
    let attached = match wish {
        Ok(wish) => try_attach(worker, &principal, &end, &wish),
        Err(_) => Err(Error::InvalidArgument),
    };
    let result = attached.map(|id| id.0).map_err(|error| error.errno() as u16);
    let told = send(&end, &Attached { result }.encode(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    match attached {
        Ok(id) if told.is_ok() => insert(worker, principal, end, id),
        Ok(id) => {
            worker.shard.end_inspector(worker.clock.now(), id);
            leave(worker, &principal, end);
        }
        Err(_) => leave(worker, &principal, end),
    }
}

fn insert(worker: &mut Worker, principal: Rc<Principal>, end: OwnedFd, id: InspectorId) {
    let inspections = &mut worker.inspections;
    inspections.serial = inspections.serial.wrapping_add(1);
    let entry = inspections.readers.vacant_entry();
    let token = token::inspector(inspections.serial, entry.key());
    let raw = end.as_raw_fd();
    let interest = Interest::READABLE | Interest::WRITABLE;
    if let Err(error) = worker.registry.reregister(&mut SourceFd(&raw), token, interest) {
        tracing::warn!(%error, "can't watch an inspector");
        worker.shard.end_inspector(worker.clock.now(), id);
        return leave(worker, &principal, end);
    }
    let (readable, writable, lies, gone) = (true, true, 0, false);
    entry.insert(Reader { token, id, principal, end, readable, writable, lies, gone });
}

fn try_attach(
    worker: &mut Worker,
    principal: &Principal,
    end: &OwnedFd,
    wish: &Attach,
) -> Result<InspectorId, Error> {
    let interface = interface_of(wish.interface)?;
    let name = match interface {
        Some(interface) => {
            worker.shard.interface(interface).ok_or(Error::NoSuchDevice)?;
            Some(name_of(worker, interface))
        }
        None => None,
    };
    worker.authority.packet(principal, name.as_deref(), Access::Inspect)?;
    let own = |reader: &Reader| reader.principal.uid == principal.uid;
    let taken = worker.inspections.readers.iter().filter(|(_, reader)| own(reader)).count();
    let patience = Duration::from_millis(wish.patience.into());
    let room = wish.room as usize;
    if patience.is_zero() || patience > MAX_PATIENCE || room == 0 || room > MAX_ROOM {
        return Err(Error::InvalidArgument);
    }
    let filter = (!wish.filter.is_empty()).then(|| bpf::compile(&wish.filter)).transpose()?;
    let terms = Terms {
        source: match wish.source {
            Source::Queue(queue) => EngineSource::Queue(queue),
            Source::Hook(hook) => EngineSource::Hook(to_engine(hook)),
        },
        interface,
        filter,
        snap: match wish.snap {
            0 => usize::MAX,
            snap => snap as usize,
        },
        open: wish.open,
        patience,
        room,
    };
    if taken >= MAX_PER_USER {
        return Err(Error::NoBufferSpace);
    }
    pair::refuse_descriptors(end).map_err(|_| Error::NoBufferSpace)?;
    pair::widen(end);
    worker.shard.inspect(principal.of_engine(), terms).ok_or(Error::NoBufferSpace)
}

fn to_engine(hook: Hook) -> EngineHook {
    match hook {
        Hook::Prerouting => EngineHook::Prerouting,
        Hook::Input => EngineHook::Input,
        Hook::Forward => EngineHook::Forward,
        Hook::Output => EngineHook::Output,
        Hook::Postrouting => EngineHook::Postrouting,
    }
}

pub(crate) fn of_engine(hook: EngineHook) -> Option<Hook> {
    Hook::ALL.into_iter().find(|one| to_engine(*one) == hook)
}

/// A program's socket has something to read, or room, or the program is gone.
pub(crate) fn ready(worker: &mut Worker, token: Token, event: &Event) {
    let found = worker.inspections.readers.get_mut(token::index(token));
    let Some(reader) = found.filter(|reader| reader.token == token) else { return };
    reader.readable |= event.is_readable();
    reader.writable |= event.is_writable();
    // What it said before it went still counts.
    reader.readable |= event.is_read_closed();
    reader.gone |= event.is_write_closed() || event.is_error();
}

impl Inspections {
    fn indices(&self) -> Vec<usize> {
        self.readers.iter().map(|(index, _)| index).collect()
    }
}

/// Tells programs of packets, a bounded number; true: more are waiting.
pub(crate) fn deliver(worker: &mut Worker) -> bool {
    if worker.inspections.readers.is_empty() {
        return false;
    }
    let now = worker.clock.now();
    let mut more = false;
    for index in worker.inspections.indices() {
        more |= (0..PER_TURN).all(|_| tell(worker, now, index));
    }
    more
}

/// Reads answers, a bounded number; true: more are waiting.
pub(crate) fn serve(worker: &mut Worker) -> bool {
    if worker.inspections.readers.is_empty() {
        return false;
    }
    let now = worker.clock.now();
    let mut more = false;
    for index in worker.inspections.indices() {
        for _ in 0..PER_TURN {
            if !answer(worker, now, index) {
                break;
            }
        }
        let Some(reader) = worker.inspections.readers.get(index) else { continue };
        if reader.gone && !reader.readable || reader.lies >= MAX_LIES {
            end(worker, now, index);
        } else {
            more |= reader.readable;
        }
    }
    more
}

/// Reads one answer; false: there is none.
fn answer(worker: &mut Worker, now: Instant, index: usize) -> bool {
    let Some(reader) = worker.inspections.readers.get_mut(index) else { return false };
    if !reader.readable {
        return false;
    }
    let record = &mut worker.inspections.record;
    record.resize(MAX_ANSWER + 1, 0);
    match recv(&reader.end, &mut record[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
        Ok((_, 0)) => {
            (reader.readable, reader.gone) = (false, true);
            false
        }
        Ok((count, length)) => {
            let id = reader.id;
            let read = record.get(..count).filter(|_| length <= MAX_ANSWER);
            let said = read.ok_or(Mistake::Malformed).and_then(Answer::decode);
            match said {
                Ok(said) => {
                    let answer = match said.verdict {
                        Verdict::Drop => EngineAnswer::Drop,
                        Verdict::Accept => EngineAnswer::Accept { mark: said.mark },
                    };
                    let told =
                        worker.shard.answer_inspection(now, id, said.packet, answer, said.bytes);
                    reader.lies += u32::from(matches!(told, Err(Lie::Unknown | Lie::Rewrite)));
                }
                Err(Mistake::Malformed) => {
                    worker.shard.note_lie(id);
                    reader.lies += 1;
                }
                Err(Mistake::Version) => (reader.readable, reader.gone) = (false, true),
            }
            true
        }
        Err(Errno::INTR) => true,
        Err(Errno::AGAIN) => {
            reader.readable = false;
            false
        }
        Err(_) => {
            (reader.readable, reader.gone) = (false, true);
            false
        }
    }
}

/// Tells one packet; false: there is none, or no room for it now.
fn tell(worker: &mut Worker, now: Instant, index: usize) -> bool {
    let Some(reader) = worker.inspections.readers.get_mut(index) else { return false };
    if !reader.writable || reader.gone {
        return false;
    }
    let Reader { id, end, writable, gone, .. } = reader;
    worker.shard.tell_inspector(*id, |seen| {
        let record = [&header(&seen, now).encode()[..], seen.bytes].concat();
        match send(&*end, &record, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => *writable = false,
            Err(Errno::INTR) => return false,
            // Longer than the kernel gives room for: its deadline decides.
            Ok(_) | Err(Errno::MSGSIZE) => {}
            Err(_) => *gone = true,
        }
        *writable && !*gone
    })
}

fn header(seen: &Inspection<'_>, now: Instant) -> PacketHeader {
    let number = |interface: Option<_>| interface.map_or(0, interface_number);
    let mut flags = Flags::empty();
    flags.set(Flags::CUT, seen.bytes.len() < seen.length);
    flags.set(Flags::SEGMENTS, seen.segment_size.is_some());
    flags.set(Flags::OWN, seen.user.is_some());
    flags.set(Flags::PARTIAL, seen.partial);
    PacketHeader {
        hook: of_engine(seen.hook).unwrap_or(Hook::Forward),
        flags,
        queue: match seen.source {
            EngineSource::Queue(queue) => queue,
            EngineSource::Hook(_) => 0,
        },
        segment_size: seen.segment_size.unwrap_or(0),
        packet: seen.packet,
        time: since_1970(now, seen.seen),
        input: number(seen.input),
        output: number(seen.output),
        mark: seen.mark,
        user: seen.user.unwrap_or(0),
        length: u32::try_from(seen.length).unwrap_or(u32::MAX),
    }
}

/// Who decides about packets, and what he said.
pub(crate) fn report(worker: &Worker) -> Vec<InspectorRow> {
    let row = |one: Inspecting| {
        let mut readers = worker.inspections.readers.iter().map(|(_, reader)| reader);
        let reader = readers.find(|reader| reader.id == one.id)?;
        let Terms { source, interface, filter, open, patience, room, .. } = one.terms;
        let (waiting, bytes) = one.waiting;
        let tally = one.tally;
        Some(InspectorRow {
            id: one.id.0,
            owner: reader.principal.report(),
            source: describe(source),
            interface: interface.map_or(String::new(), |interface| name_of(worker, interface)),
            filtered: filter.is_some(),
            open,
            patience: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
            room: u32::try_from(room).unwrap_or(u32::MAX),
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            bytes: bytes as u64,
            given: tally.given,
            accepted: tally.accepted,
            dropped: tally.dropped,
            marked: tally.marked,
            rewritten: tally.rewritten,
            full: tally.full,
            late: tally.late,
            stale: tally.stale,
            lies: tally.lies,
        })
    };
    worker.shard.inspectors().into_iter().filter_map(row).collect()
}

/// Who is given all packets of a hook, and whether a filter of his says which.
pub(crate) fn at(worker: &Worker, hook: EngineHook) -> Vec<(Owner, bool)> {
    let rows = report(worker).into_iter();
    let source = describe(EngineSource::Hook(hook));
    rows.filter(|row| row.source == source).map(|row| (row.owner, row.filtered)).collect()
}

fn describe(source: EngineSource) -> String {
    match source {
        EngineSource::Queue(queue) => format!("queue {queue}"),
        EngineSource::Hook(hook) => {
            format!("hook {}", of_engine(hook).map_or("", |hook| hook.name()))
        }
    }
}

/// What waits for answers now.
pub(crate) fn totals(worker: &Worker) -> [(&'static str, u64); 2] {
    let all = worker.shard.inspectors();
    let waiting = all.iter().map(|one| one.waiting.0 as u64).sum();
    [("inspectors", all.len() as u64), ("inspected-packets-waiting", waiting)]
}

fn end(worker: &mut Worker, now: Instant, index: usize) {
    let Some(reader) = worker.inspections.readers.try_remove(index) else { return };
    let Reader { id, principal, end, lies, .. } = reader;
    if lies >= MAX_LIES {
        let (pid, uid) = (principal.pid, principal.uid);
        tracing::warn!(pid, uid, "an inspector is sent away: its answers make no sense");
    }
    worker.shard.end_inspector(now, id);
    leave(worker, &principal, end);
}

fn leave(worker: &mut Worker, principal: &Principal, end: OwnedFd) {
    worker.bills.close_session(principal.bill);
    worker.close_foreign(principal.bill, end);
    worker.descriptor_freed();
}
