//! Two connections joined by a wire that loses, duplicates and reorders, in virtual time.

use crate::{
    event::Readiness,
    random::Random,
    tcp::{
        Connection, Settings,
        connection::{Fate, Outgoing},
        listen::{HalfOpen, HalfOpenTimeout, HalfOpenVerdict, Opening},
    },
    time::{Duration, Instant},
};
use narrows_ring::Pool;
use narrows_wire::ecn::Codepoint;
use narrows_wire::{
    tcp::{Flags, Header, Segment},
    tcp_options::Options,
};
use std::{collections::BTreeMap, sync::Arc};

/// Chances are out of a thousand.
#[derive(Clone, Debug)]
pub struct Wire {
    pub loss: u32,
    pub duplication: u32,
    /// A segment comes up to four delays later.
    pub reordering: u32,
    pub delay: Duration,
    /// Bytes a millisecond, with a queue of a hundred milliseconds; 0: no limit.
    pub rate: u64,
    /// Payload that the sender may give in one piece; the wire cuts it.
    pub offload: usize,
    /// Pieces arrive whole, as after GRO.
    pub coalesce: bool,
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            loss: 0,
            duplication: 0,
            reordering: 0,
            delay: Duration::from_millis(5),
            rate: 0,
            offload: 0,
            coalesce: false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct OwnedSegment {
    pub header: Header,
    pub options: Options,
    pub payload: Vec<u8>,
}

impl OwnedSegment {
    pub fn of(outgoing: &Outgoing, payload: [&[u8]; 2]) -> Self {
        Self {
            header: Header {
                source_port: 1,
                destination_port: 2,
                sequence: outgoing.sequence,
                acknowledgment: outgoing.acknowledgment,
                flags: outgoing.flags,
                window: outgoing.window,
                urgent: outgoing.urgent,
            },
            options: outgoing.options,
            payload: payload.concat(),
        }
    }

    pub fn borrow(&self) -> Segment<'_> {
        Segment { header: self.header, options: self.options, payload: &self.payload }
    }

    /// As a device cuts it.
    fn pieces(self, size: usize) -> Vec<Self> {
        if self.payload.len() <= size || size == 0 {
            return vec![self];
        }
        let last = (self.payload.len() - 1) / size;
        let piece = |(index, payload): (usize, &[u8])| {
            let mut header = self.header;
            header.sequence = header.sequence.wrapping_add((index * size) as u32);
            if index < last {
                header.flags = Flags(header.flags.0 & !(Flags::FIN.0 | Flags::PSH.0));
            }
            Self { header, options: self.options, payload: payload.to_vec() }
        };
        self.payload.chunks(size).enumerate().map(piece).collect()
    }
}

/// One end and the program there: it sends `to_send` bytes of a known pattern, reads all that
/// comes, and closes once it has done both.
pub struct End {
    pub connection: Option<Connection>,
    pub pool: Pool,
    settings: Settings,
    half_open: Option<HalfOpen>,
    pub to_send: usize,
    pub sent: usize,
    pub received: usize,
    /// Bytes the program reads in one go, and how often.
    pub appetite: usize,
    pub finished: bool,
    closed: bool,
    pub fate: Fate,
    pub seen: Readiness,
}

fn pattern(position: usize) -> u8 {
    (position ^ (position >> 8) ^ (position >> 16)) as u8
}

impl End {
    fn new(settings: Settings, to_send: usize) -> Self {
        Self {
            connection: None,
            pool: Pool::new(1 << 20),
            settings,
            half_open: None,
            to_send,
            sent: 0,
            received: 0,
            appetite: usize::MAX,
            finished: false,
            closed: false,
            fate: Fate::Alive,
            seen: Readiness::empty(),
        }
    }

    /// Returns what closing has to say at once.
    fn run_program(&mut self, now: Instant) -> Option<Outgoing> {
        let connection = self.connection.as_mut()?;
        self.seen |= connection.take_readiness();
        while self.sent < self.to_send {
            let (sent, left) = (self.sent, self.to_send - self.sent);
            let fill = |room: &mut [std::io::IoSliceMut<'_>; 2]| {
                let mut position = sent;
                for slice in room {
                    for byte in slice.iter_mut() {
                        *byte = pattern(position);
                        position += 1;
                    }
                }
                position - sent
            };
            match connection.send_with(now, &mut self.pool, left, Default::default(), fill) {
                Ok(0) | Err(_) => break,
                Ok(count) => self.sent += count,
            }
        }
        if self.sent == self.to_send {
            connection.shutdown_send(now);
        }
        let mut received = self.received;
        let appetite = self.appetite;
        let result = connection.receive_with(now, &mut self.pool, appetite, |slices| {
            for byte in slices.iter().flat_map(|slice| slice.iter()) {
                assert_eq!(*byte, pattern(received), "byte {received}");
                received += 1;
            }
            slices.iter().map(|slice| slice.len()).sum()
        });
        self.received = received;
        self.finished |= result == Ok(0);
        if self.finished && self.sent == self.to_send && !self.closed {
            self.closed = true;
            let outcome = connection.close(now, &mut self.pool);
            assert!(outcome.reply.as_ref().is_none_or(|reply| reply.flags == Flags::ACK));
            self.conclude(outcome.fate);
            return outcome.reply;
        }
        None
    }

    fn conclude(&mut self, fate: Fate) {
        if fate != Fate::Alive && self.fate == Fate::Alive {
            self.fate = fate;
        }
    }

    pub fn is_over(&self) -> bool {
        self.closed && self.fate != Fate::Alive
    }
}

pub struct Pipe {
    pub now: Instant,
    pub ends: [End; 2],
    wire: Wire,
    random: Random,
    flying: BTreeMap<(Instant, u64), (usize, OwnedSegment)>,
    busy_until: [Instant; 2],
    count: u64,
    pub segments: u64,
    /// Calls of `poll_segment` that gave something.
    pub polls: u64,
}

pub const MSS: u16 = 1460;

impl Pipe {
    /// The first end connects and sends `to_send[0]` bytes, the second accepts.
    pub fn new(seed: u64, wire: Wire, settings: [Settings; 2], to_send: [usize; 2]) -> Self {
        let mut random = Random::new(u128::from(seed).to_le_bytes());
        let now = Instant::from_millis(1000);
        let [first, second] = settings;
        let mut ends = [End::new(first, to_send[0]), End::new(second, to_send[1])];
        let opening = opening(&mut random);
        ends[0].connection =
            Some(Connection::connect(now, opening, &Arc::new(ends[0].settings.clone())));
        Self {
            now,
            ends,
            wire,
            random,
            flying: BTreeMap::new(),
            busy_until: [Instant::ZERO; 2],
            count: 0,
            segments: 0,
            polls: 0,
        }
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        self.random.below(1000) < of_thousand
    }

    fn put(&mut self, from: usize, segment: OwnedSegment) {
        self.segments += 1;
        let len = segment.payload.len() as u64 + 54;
        let mut arrival = self.now + self.wire.delay;
        if let Some(nanos) = (len * 1_000_000).checked_div(self.wire.rate) {
            let begin = self.busy_until[from].max(self.now);
            if begin.since(self.now) > Duration::from_millis(100) {
                return;
            }
            self.busy_until[from] = begin + Duration::from_nanos(nanos);
            arrival = self.busy_until[from] + self.wire.delay;
        }
        if self.chance(self.wire.loss) {
            return;
        }
        if self.chance(self.wire.reordering) {
            arrival += self.wire.delay * (1 + self.random.below(4));
        }
        let again = self.chance(self.wire.duplication);
        for _ in 0..=u8::from(again) {
            self.count += 1;
            self.flying.insert((arrival, self.count), (1 - from, segment.clone()));
        }
    }

    fn poll(&mut self, index: usize) {
        loop {
            let end = &mut self.ends[index];
            let Some(connection) = &mut end.connection else { return };
            let wanted = connection.wants_to_send(self.now);
            let Some(outgoing) = connection.poll_segment(self.now, self.wire.offload) else {
                assert!(!wanted, "wants_to_send must be exact");
                return;
            };
            assert!(wanted, "wants_to_send must be exact");
            self.polls += 1;
            let size = usize::from(outgoing.segment_size);
            assert!(outgoing.payload_len <= size.max(self.wire.offload), "{outgoing:?}");
            let segment = OwnedSegment::of(&outgoing, connection.payload(&outgoing));
            assert_eq!(segment.payload.len(), outgoing.payload_len);
            let size = if self.wire.coalesce { usize::MAX } else { size };
            for piece in segment.pieces(size) {
                self.put(index, piece);
            }
        }
    }

    fn deliver(&mut self, index: usize, segment: &OwnedSegment) {
        let end = &mut self.ends[index];
        let mut replies = Vec::new();
        if end.connection.is_none() {
            let syn = segment.header.flags.syn() && !segment.header.flags.ack();
            match &mut end.half_open {
                None if syn => {
                    let opening = opening(&mut self.random);
                    let (half_open, syn_ack) = HalfOpen::new(
                        self.now,
                        &segment.borrow(),
                        Codepoint::NotEct,
                        opening,
                        &end.settings,
                    );
                    end.half_open = Some(half_open);
                    replies.push(syn_ack);
                }
                None => {}
                Some(half_open) => {
                    match half_open.segment_arrives(self.now, &segment.borrow(), 0) {
                        HalfOpenVerdict::Established => {
                            let half_open = half_open.clone();
                            end.connection = Some(Connection::accept(
                                self.now,
                                half_open,
                                &Arc::new(end.settings.clone()),
                            ));
                        }
                        HalfOpenVerdict::Reply(reply) => replies.push(reply),
                        HalfOpenVerdict::Drop(_) => {}
                        HalfOpenVerdict::Reset => panic!("reset during the handshake"),
                    }
                }
            }
        }
        if let Fate::TimeWait(time_wait) = &end.fate {
            use crate::tcp::time_wait::TimeWaitVerdict::Acknowledge;
            let verdict = time_wait.segment_arrives(self.now, &segment.borrow());
            if let Acknowledge { reply, .. } = verdict {
                replies.push(reply);
            }
        } else if let Some(connection) = &mut end.connection {
            let outcome = connection.segment_arrives(
                self.now,
                &mut end.pool,
                &segment.borrow(),
                Codepoint::NotEct,
            );
            // What comes after the end is answered by a RST, as it should.
            if end.fate == Fate::Alive {
                replies.extend(outcome.reply);
            }
            end.conclude(outcome.fate);
        }
        for reply in replies {
            assert!(!reply.flags.rst(), "nobody resets");
            self.put(index, OwnedSegment::of(&reply, [&[], &[]]));
        }
    }

    fn time_out(&mut self, index: usize) {
        let end = &mut self.ends[index];
        let mut replies = Vec::new();
        if let Some(connection) = &mut end.connection {
            if connection.next_timeout().is_some_and(|at| at <= self.now) {
                let outcome = connection.handle_timeout(self.now, &mut end.pool);
                replies.extend(outcome.reply);
                end.conclude(outcome.fate);
            }
        } else if let Some(half_open) = &mut end.half_open
            && half_open.next_timeout() <= self.now
            && let HalfOpenTimeout::Again(again) = half_open.handle_timeout(self.now, 0)
        {
            replies.push(again);
        }
        for reply in replies {
            self.put(index, OwnedSegment::of(&reply, [&[], &[]]));
        }
    }

    /// Runs programs and output, then goes to the next moment at which something happens.
    /// `false` when nothing ever will.
    pub fn step(&mut self) -> bool {
        for index in [0, 1] {
            if let Some(reply) = self.ends[index].run_program(self.now) {
                self.put(index, OwnedSegment::of(&reply, [&[], &[]]));
            }
            self.poll(index);
        }
        let mut next = self.flying.keys().next().map(|(at, _)| *at);
        for end in &self.ends {
            let deadline = match (&end.connection, &end.half_open) {
                (Some(connection), _) => connection.next_timeout(),
                (None, half_open) => half_open.as_ref().map(HalfOpen::next_timeout),
            };
            next = next.into_iter().chain(deadline).min();
        }
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        while let Some(entry) = self.flying.first_entry()
            && entry.key().0 <= self.now
        {
            let (index, segment) = entry.remove();
            self.deliver(index, &segment);
        }
        for index in [0, 1] {
            self.time_out(index);
        }
        true
    }

    /// Until both ends are over; panics after a virtual `limit`.
    pub fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        while !self.ends.iter().all(End::is_over) {
            let goes_on = self.step() || self.ends.iter().all(End::is_over);
            assert!(goes_on, "both wait for ever: {}", self.describe());
            assert!(self.now < end, "not done in time: {}", self.describe());
        }
    }

    pub fn describe(&self) -> String {
        let describe = |end: &End| {
            let info = end.connection.as_ref().map(|connection| connection.info(self.now));
            format!("sent {} received {} {:?} {info:#?}", end.sent, end.received, end.fate)
        };
        self.ends.iter().map(describe).collect::<Vec<_>>().join("\n")
    }
}

fn opening(random: &mut Random) -> Opening {
    Opening { iss: random.next_u32(), timestamp_offset: random.next_u32(), mss: MSS }
}
