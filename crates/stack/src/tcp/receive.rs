//! The receive sequence space (RFC 9293 §3.3.1), the bytes in it, and the window we offer.

use super::{
    Settings, assembler::Assembler, delayed_ack::Acks, options::Negotiated, send::MAX_BUFFER,
    seq::Seq,
};
use crate::time::Instant;
use narrows_ring::{ByteRing, Pool};
use narrows_wire::tcp_options::SackBlocks;

/// What every connection may hold from the beginning: all that an unscaled window can say.
const FIRST_CAPACITY: usize = 65_535;

#[derive(Debug)]
pub(super) struct Receiver {
    pub nxt: Seq,
    /// The end of the window: it never moves back (RFC 9293 §3.8.6).
    edge: Seq,
    /// `nxt` as the peer last heard it (Last.ACK.sent of RFC 7323).
    pub told: Seq,
    pub ring: ByteRing,
    limit: usize,
    /// What the program allows the window to be.
    pub clamp: u32,
    /// Bytes that the program took, up to a number that makes no difference any more.
    read: usize,
    pub assembler: Assembler,
    /// Where the peer's FIN is, once seen.
    pub fin: Option<Seq>,
    /// The urgent octet, the last that was told of.
    urgent: Option<Seq>,
    /// Octets that came twice, to be told once (RFC 2883).
    duplicate: Option<(Seq, Seq)>,
    pub acks: Acks,
}

/// What became of a segment's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// It was the next: so much became readable, perhaps with what had waited for it.
    InOrder(u32),
    /// It waits for what is missing before it.
    OutOfOrder,
    /// There are too many holes.
    Refused,
}

impl Receiver {
    pub fn new(now: Instant, settings: &Settings) -> Self {
        Self {
            nxt: Seq(0),
            edge: Seq(0),
            told: Seq(0),
            ring: ByteRing::new(0),
            limit: settings.receive_limit.min(MAX_BUFFER),
            clamp: settings.window_clamp,
            read: 0,
            assembler: Assembler::default(),
            fin: None,
            urgent: None,
            duplicate: None,
            acks: Acks::new(now),
        }
    }

    /// The peer's SYN had the number `irs`, and `window` was, or is going to be, offered in ours.
    pub fn begin(&mut self, irs: Seq, window: u16, scale: u8) {
        self.nxt = irs + 1;
        self.told = self.nxt;
        self.edge = self.nxt + u32::from(window);
        self.set_limit(self.limit, scale);
    }

    /// Room for what rounding up to a multiple of the scale may promise is on top of the limit.
    pub fn set_limit(&mut self, limit: usize, scale: u8) {
        self.limit = limit.min(MAX_BUFFER);
        self.ring.set_limit(self.limit + granule(scale) as usize - 1);
    }

    /// The window of a SYN is never scaled (RFC 7323 §2.2). As Linux's it is whole segments, where
    /// one fits: the peer would wait for room to fill a part of one (RFC 9293 §3.8.6.2).
    pub fn syn_window(settings: &Settings, segment: u16) -> u16 {
        let room = settings.receive_limit.min(settings.window_clamp as usize);
        let part = if room > usize::from(segment) { room % usize::from(segment.max(1)) } else { 0 };
        u16::try_from(room - part).unwrap_or(u16::MAX)
    }

    /// The window of a SYN-ACK that acknowledges text: it begins after that.
    pub fn promise(&mut self, settings: &Settings) -> u16 {
        let room = settings.receive_limit.saturating_sub(self.ring.len());
        let window = u16::try_from(room).unwrap_or(u16::MAX);
        self.edge = self.edge.max(self.nxt + u32::from(window));
        window
    }

    /// The window as the peer last heard it.
    pub fn window(&self) -> u32 {
        self.edge.since(self.nxt)
    }

    /// The program took so many bytes.
    pub fn read(&mut self, bytes: usize) {
        self.read = self.read.saturating_add(bytes).min(MAX_BUFFER);
    }

    /// How much the window may hold at the moment: twice what the program has ever taken keeps
    /// ahead of a sender in slow start, while a peer that only just came can't make us hold a
    /// large buffer by placing a byte at its end. (Linux: dynamic right-sizing.)
    pub fn capacity(&self) -> usize {
        let capacity = self.limit.min(FIRST_CAPACITY.max(self.read.saturating_mul(2)));
        capacity.min(self.clamp as usize)
    }

    /// Where the window would end if it was told now: further than before only by a step that is
    /// worth it (RFC 9293 §3.8.6.2.2).
    fn next_edge(&self, scale: u8, segment: u32) -> Seq {
        let capacity = self.capacity();
        let free = capacity.saturating_sub(self.ring.len()) as u32;
        let offer = free.min(u32::from(u16::MAX) << scale) & !(granule(scale) - 1);
        let edge = self.nxt + offer;
        let worth = segment.min(capacity as u32 / 2);
        if edge.since(self.edge) >= worth.max(1) { edge } else { self.edge }
    }

    /// The window to tell the peer, as it goes on the wire; it counts as told.
    pub fn offer(&mut self, scale: u8, segment: u32) -> u16 {
        self.edge = self.next_edge(scale, segment);
        u16::try_from(self.window().div_ceil(granule(scale))).unwrap_or(u16::MAX)
    }

    /// The program made room: is that worth an acknowledgment of its own? (As Linux: at most half
    /// the window was left, and it would double.)
    pub fn is_update_due(&self, scale: u8, segment: u32) -> bool {
        let window = self.window();
        let next = self.next_edge(scale, segment);
        next != self.edge
            && window <= self.capacity() as u32 / 2
            && next.since(self.nxt) >= window.saturating_mul(2)
    }

    /// One after the last octet that we ever offered to take, rounding included: RFC 7323 §2.4
    /// asks to accept all of that.
    pub fn accepted_edge(&self, scale: u8) -> Seq {
        self.edge + (granule(scale) - 1)
    }

    /// Puts `text` that begins at `at`, which is `nxt` or later, in its place.
    pub fn place(&mut self, buffers: &mut Pool, at: Seq, text: &[u8]) -> Placed {
        if at == self.nxt {
            let placed = self.ring.place(buffers, 0, text) as u32;
            let end = at + placed;
            let next = if self.assembler.is_empty() { end } else { self.assembler.advance(end) };
            let readable = next.since(self.nxt);
            self.ring.commit(readable as usize);
            self.nxt = next;
            return Placed::InOrder(readable);
        }
        let end = at + text.len() as u32;
        if !self.assembler.accepts(at, end) {
            return Placed::Refused;
        }
        if self.assembler.contains(at, end) {
            self.report_duplicate(at, end);
            return Placed::OutOfOrder;
        }
        let placed = self.ring.place(buffers, at.since(self.nxt) as usize, text) as u32;
        if placed > 0 {
            // It was asked above whether there is room.
            let _ = self.assembler.insert(at, at + placed);
        }
        Placed::OutOfOrder
    }

    /// A segment's pointer leads to an urgent octet. It stays in its place in the stream (RFC 6093
    /// §4), and where that is can be asked.
    pub fn note_urgent(&mut self, sequence: Seq, pointer: u16) {
        if pointer > 0 {
            // As nearly everybody, not as RFC 1122 has it: the pointer is to the octet after it.
            self.urgent = Some(sequence + (u32::from(pointer) - 1));
        }
    }

    /// How far from the next octet to read the urgent one is, if it is one of those that wait.
    pub fn urgent_offset(&self) -> Option<u32> {
        let waiting = self.ring.len() as u32;
        let first = self.nxt - waiting;
        let urgent = self.urgent.filter(|urgent| urgent.at_or_after(first))?;
        Some(urgent.since(first)).filter(|offset| *offset < waiting)
    }

    /// Octets of the peer that were here already.
    pub fn report_duplicate(&mut self, start: Seq, end: Seq) {
        self.duplicate = Some((start, end));
    }

    /// How many SACK blocks the next segment will have.
    pub fn blocks(&self, negotiated: &Negotiated) -> usize {
        if !negotiated.sack {
            return 0;
        }
        let reports = self.assembler.len() + usize::from(self.duplicate.is_some());
        reports.min(negotiated.sack_room())
    }

    /// The SACK option of a segment that leaves now: what came twice, then what is out of order.
    pub fn sack(&mut self, negotiated: &Negotiated) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        let room = self.blocks(negotiated);
        if room > 0 {
            if let Some((start, end)) = self.duplicate {
                blocks.push(start.0, end.0);
            }
            self.assembler.report(&mut blocks, room - usize::from(self.duplicate.is_some()));
        }
        self.duplicate = None;
        blocks
    }

    /// Forgets what waits for something before it: the peer still has it, and has to (RFC 2018 §8).
    pub fn prune(&mut self, buffers: &mut Pool) {
        self.assembler.clear();
        if self.ring.is_empty() {
            self.ring.release(buffers);
        }
    }

    /// Nobody reads any more.
    pub fn release(&mut self, buffers: &mut Pool) {
        self.ring.release(buffers);
        self.assembler.clear();
    }
}

/// What one step of a scaled window field stands for.
fn granule(scale: u8) -> u32 {
    1 << scale.min(super::options::MAX_WINDOW_SCALE)
}
