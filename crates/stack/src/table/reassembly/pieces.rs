//! The fragments of one datagram, each at its place.

use super::Whole;
use crate::counters::DropReason;
use narrows_wire::ipv4;
use std::collections::BTreeMap;

/// The longest IPv4 packet, header included (RFC 791 §3.1).
const MAX_PACKET: usize = 65_535;

/// The fragments of one datagram that came so far. Invariant: they do not overlap.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pub by_offset: BTreeMap<u16, Box<[u8]>>,
    /// Payload bytes held.
    pub held: usize,
    /// Length of the payload; known once the last fragment came.
    total: Option<usize>,
    /// The first fragment's header, read and as it came.
    pub first: Option<(ipv4::Header, Box<[u8]>)>,
}

/// Can this be a fragment at all (RFC 791 §3.1)?
pub(super) fn check(packet: &ipv4::Packet<'_>) -> Result<(), DropReason> {
    let len = packet.payload.len();
    if len == 0 || (packet.header.more_fragments && !len.is_multiple_of(8)) {
        return Err(DropReason::Ipv4Malformed);
    }
    let end = usize::from(packet.header.fragment_offset) + len;
    if packet.header_bytes.len() + end > MAX_PACKET {
        return Err(DropReason::FragmentTooBig); // ping of death
    }
    Ok(())
}

/// Is there a place for a fragment among those held?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Free,
    Duplicate,
    /// It overlaps another, or they disagree about where the datagram ends.
    Taken,
}

impl Pieces {
    pub(super) fn place(&self, header: &ipv4::Header, payload: &[u8]) -> Place {
        let offset = header.fragment_offset;
        let start = usize::from(offset);
        let end = start + payload.len();
        if let Some(held) = self.by_offset.get(&offset)
            && **held == *payload
            && header.more_fragments == (self.total != Some(end))
        {
            return Place::Duplicate;
        }
        let before = self.by_offset.range(..=offset).next_back();
        let after = self.by_offset.range(offset..).next();
        let overlaps = before.is_some_and(|(at, held)| usize::from(*at) + held.len() > start)
            || after.is_some_and(|(at, _)| usize::from(*at) < end);
        let past_the_end = match (self.total, header.more_fragments) {
            (Some(total), true) => end >= total,
            (Some(_), false) => true,
            (None, true) => false,
            (None, false) => self.end() > end,
        };
        if overlaps || past_the_end { Place::Taken } else { Place::Free }
    }

    /// Where the farthest fragment ends.
    fn end(&self) -> usize {
        self.by_offset.last_key_value().map_or(0, |(at, held)| usize::from(*at) + held.len())
    }

    pub(super) fn add(&mut self, packet: &ipv4::Packet<'_>) {
        let header = packet.header;
        self.by_offset.insert(header.fragment_offset, packet.payload.into());
        self.held += packet.payload.len();
        if header.fragment_offset == 0 {
            self.first = Some((header, packet.header_bytes.into()));
        }
        if !header.more_fragments {
            self.total = Some(usize::from(header.fragment_offset) + packet.payload.len());
        }
    }

    /// Nothing overlaps and nothing lies past the end, so as many bytes as the whole are the whole.
    pub(super) fn complete(&self) -> bool {
        self.total == Some(self.held)
    }

    /// The datagram, or why there is none and how many pieces go with it.
    pub(super) fn join(self) -> Result<Whole, (DropReason, usize)> {
        let pieces = self.by_offset.len();
        let (header, header_bytes) = self.first.ok_or((DropReason::Ipv4Malformed, pieces))?;
        // The first fragment's header may be longer than the last one's.
        if header_bytes.len() + self.held > MAX_PACKET {
            return Err((DropReason::FragmentTooBig, pieces));
        }
        let mut payload = Vec::with_capacity(self.held);
        for piece in self.by_offset.values() {
            payload.extend_from_slice(piece);
        }
        let header = ipv4::Header { more_fragments: false, fragment_offset: 0, ..header };
        Ok(Whole { header, header_bytes, payload })
    }
}
