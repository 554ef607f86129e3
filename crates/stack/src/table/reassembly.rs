//! Fragments of IPv4 datagrams until the last hole closes. Invariant: no two fragments of a
//! datagram overlap, and the bytes held never exceed the limits, per source and in all.
//!
//! Each datagram keeps its pieces in a map by offset, so a fragment finds its place and its
//! neighbors in O(log n) in whatever order an attacker sends them (FragmentSmack, CVE-2018-5391).
//! A fragment that overlaps another condemns the datagram: what is held of it goes, and what comes
//! later is refused until its time is over. Only an exact duplicate, which networks make, is let
//! pass. When a limit is reached the oldest datagrams go first, those of the same source before
//! any other's: whole datagrams arrive within milliseconds, so what is old is lost or an attack.

mod pieces;

use crate::{config::Limits, counters::DropReason, table::interface::InterfaceId, time::Instant};
use core::net::Ipv4Addr;
use narrows_wire::ipv4;
use pieces::{Pieces, Place, check};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// What fragments of one datagram have in common (RFC 791 §3.2), and the interface: what came in
/// by one can't complete what came in by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DatagramKey {
    pub interface: InterfaceId,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    pub identification: u16,
}

/// A datagram made whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// The first fragment's, with the marks of a fragment taken off.
    pub header: ipv4::Header,
    /// The first fragment's, as it came.
    pub header_bytes: Box<[u8]>,
    pub payload: Vec<u8>,
}

/// A datagram whose time ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub key: DatagramKey,
    pub fragments: usize,
    /// The first fragment, if it came: an ICMP error may quote it (RFC 792).
    pub first: Option<First>,
}

/// What is kept of the fragment at offset 0 beside its payload's place in the datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub header: ipv4::Header,
    pub header_bytes: Box<[u8]>,
    pub payload: Box<[u8]>,
}

/// What became of a fragment, and which others went with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Insertion {
    /// `Ok(None)`: held, or an exact duplicate of one that is.
    pub verdict: Result<Option<Whole>, DropReason>,
    /// Fragments of the same datagram that go for the same reason.
    pub condemned: usize,
    /// Fragments of older datagrams that made room.
    pub evicted: usize,
}

impl Insertion {
    fn refused(reason: DropReason) -> Self {
        Self { verdict: Err(reason), condemned: 0, evicted: 0 }
    }
}

/// Bookkeeping of a fragment and of a datagram in bytes, so that small ones are not free.
const FRAGMENT_OVERHEAD: usize = 64;
const DATAGRAM_OVERHEAD: usize = 320;
/// One source holds at most this share of the datagrams being reassembled.
const SOURCE_SHARE: usize = 4;

#[derive(Debug)]
struct Datagram {
    serial: u64,
    deadline: Instant,
    /// Memory it is charged for.
    charge: usize,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Collecting(Pieces),
    /// An overlap was seen: nothing is held, and nothing more is taken.
    Condemned,
}

#[derive(Debug, Default)]
struct Source {
    charge: usize,
    serials: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub struct ReassemblyTable {
    datagrams: BTreeMap<DatagramKey, Datagram>,
    /// In order of arrival, which is the order of deadlines too.
    by_age: BTreeMap<u64, DatagramKey>,
    sources: BTreeMap<Ipv4Addr, Source>,
    charge: usize,
    next_serial: u64,
}

impl ReassemblyTable {
    /// Bytes held, bookkeeping included.
    pub fn bytes(&self) -> usize {
        self.charge
    }

    /// Datagrams being reassembled.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// When the oldest datagram's time is over.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let key = self.by_age.values().next()?;
        Some(self.datagrams.get(key)?.deadline)
    }

    /// Takes a fragment that came in by `interface`.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        limits: &Limits,
        interface: InterfaceId,
        packet: &ipv4::Packet<'_>,
    ) -> Insertion {
        if let Err(reason) = check(packet) {
            return Insertion::refused(reason);
        }
        let header = &packet.header;
        let key = DatagramKey {
            interface,
            source: header.source,
            destination: header.destination,
            protocol: header.protocol.0,
            identification: header.identification,
        };
        let mut insertion = Insertion { verdict: Ok(None), condemned: 0, evicted: 0 };
        let place = match self.datagrams.get(&key).map(|datagram| &datagram.progress) {
            None => Place::Free,
            Some(Progress::Condemned) => return Insertion::refused(DropReason::FragmentOverlap),
            Some(Progress::Collecting(pieces)) => pieces.place(header, packet.payload),
        };
        match place {
            Place::Duplicate => return insertion,
            Place::Taken => {
                insertion.condemned = self.condemn(key);
                insertion.verdict = Err(DropReason::FragmentOverlap);
                return insertion;
            }
            Place::Free => {}
        }
        match self.make_room(limits, key, packet.payload.len()) {
            Some(evicted) => insertion.evicted = evicted,
            None => return Insertion::refused(DropReason::FragmentLimit),
        }
        match self.hold(now, limits, key, packet).map(Pieces::join) {
            None => {}
            Some(Ok(whole)) => insertion.verdict = Ok(Some(whole)),
            Some(Err((reason, pieces))) => {
                insertion.verdict = Err(reason);
                insertion.condemned = pieces.saturating_sub(1);
            }
        }
        insertion
    }

    /// Forgets the oldest datagram whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Expired> {
        let key = *self.by_age.values().next()?;
        if self.datagrams.get(&key)?.deadline > now {
            return None;
        }
        let (fragments, first) = match self.remove(key)?.progress {
            Progress::Condemned => (0, None),
            Progress::Collecting(mut pieces) => {
                let fragments = pieces.by_offset.len();
                let payload = pieces.by_offset.remove(&0);
                let first = pieces.first.zip(payload).map(|((header, header_bytes), payload)| {
                    First { header, header_bytes, payload }
                });
                (fragments, first)
            }
        };
        Some(Expired { key, fragments, first })
    }

    /// Adds a fragment for which there is a place and room; gives the pieces when it was the last.
    fn hold(
        &mut self,
        now: Instant,
        limits: &Limits,
        key: DatagramKey,
        packet: &ipv4::Packet<'_>,
    ) -> Option<Pieces> {
        let source = self.sources.entry(key.source).or_default();
        let mut charged = packet.payload.len() + FRAGMENT_OVERHEAD;
        let datagram = match self.datagrams.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                charged += DATAGRAM_OVERHEAD;
                let serial = self.next_serial;
                self.next_serial += 1;
                self.by_age.insert(serial, key);
                source.serials.insert(serial);
                let deadline = now + limits.reassembly_timeout;
                let progress = Progress::Collecting(Pieces::default());
                entry.insert(Datagram { serial, deadline, charge: 0, progress })
            }
        };
        datagram.charge += charged;
        source.charge += charged;
        self.charge += charged;
        if let Progress::Collecting(pieces) = &mut datagram.progress {
            pieces.add(packet);
            if !pieces.complete() {
                return None;
            }
        }
        match self.remove(key)?.progress {
            Progress::Collecting(pieces) => Some(pieces),
            Progress::Condemned => None,
        }
    }

    /// Lets the oldest datagrams go, those of the same source first, until a fragment of `len`
    /// bytes fits, and says how many fragments that cost. `None`: it would not fit alone either.
    fn make_room(&mut self, limits: &Limits, key: DatagramKey, len: usize) -> Option<usize> {
        let own = self.datagrams.get(&key);
        let (own_charge, own_fragments) = own.map_or((0, 0), |own| match &own.progress {
            Progress::Collecting(pieces) => (own.charge, pieces.by_offset.len()),
            Progress::Condemned => (own.charge, 0),
        });
        let (new, overhead) = if own.is_some() { (0, 0) } else { (1, DATAGRAM_OVERHEAD) };
        let cost = len + FRAGMENT_OVERHEAD + overhead;
        let most = limits.reassembly_bytes.min(limits.reassembly_bytes_per_source);
        if own_charge + cost > most || own_fragments >= limits.reassembly_fragments {
            return None;
        }
        let datagrams = limits.reassembly_datagrams;
        let datagrams_per_source = datagrams.div_ceil(SOURCE_SHARE);
        let mut evicted = 0;
        while let Some(source) = self.sources.get(&key.source)
            && (source.charge + cost > limits.reassembly_bytes_per_source
                || source.serials.len() + new > datagrams_per_source)
        {
            let oldest = source.serials.iter().find(|serial| self.by_age.get(serial) != Some(&key));
            evicted += self.evict(*oldest?)?;
        }
        while self.charge + cost > limits.reassembly_bytes || self.datagrams.len() + new > datagrams
        {
            let oldest = self.by_age.iter().find(|(_, held)| **held != key);
            evicted += self.evict(*oldest?.0)?;
        }
        Some(evicted)
    }

    /// Forgets a datagram, and says how many fragments it had.
    fn evict(&mut self, serial: u64) -> Option<usize> {
        let key = *self.by_age.get(&serial)?;
        match self.remove(key)?.progress {
            Progress::Collecting(pieces) => Some(pieces.by_offset.len()),
            Progress::Condemned => Some(0),
        }
    }

    /// Lets go of all that is held of a datagram; its name stays, to refuse the rest of it.
    fn condemn(&mut self, key: DatagramKey) -> usize {
        let Some(datagram) = self.datagrams.get_mut(&key) else { return 0 };
        let released = datagram.charge.saturating_sub(DATAGRAM_OVERHEAD);
        datagram.charge -= released;
        let before = core::mem::replace(&mut datagram.progress, Progress::Condemned);
        self.charge -= released;
        if let Some(source) = self.sources.get_mut(&key.source) {
            source.charge -= released;
        }
        match before {
            Progress::Collecting(pieces) => pieces.by_offset.len(),
            Progress::Condemned => 0,
        }
    }

    fn remove(&mut self, key: DatagramKey) -> Option<Datagram> {
        let datagram = self.datagrams.remove(&key)?;
        self.by_age.remove(&datagram.serial);
        self.charge -= datagram.charge;
        if let Entry::Occupied(mut source) = self.sources.entry(key.source) {
            source.get_mut().charge -= datagram.charge;
            source.get_mut().serials.remove(&datagram.serial);
            if source.get().serials.is_empty() {
                source.remove();
            }
        }
        Some(datagram)
    }
}

#[cfg(test)]
mod tests;
