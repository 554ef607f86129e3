//! Segments of one flow that come right after each other from a device, put together to one large frame:
//! receive offload in software, for devices that give frames as they were on the wire.
//!
//! Invariant: what is held is a frame as a device with that offload would have given it. All that is said in
//! headers is the same in each segment but what follows from its place: sequence number, IPv4
//! identification, lengths, checksums, and PSH on the last. Timestamps are the same too, and so is the mark
//! of congestion. So [`layer::segmentation`](crate::layer::segmentation) takes it apart to the very frames
//! that came, and nobody is told less than they said. Checksums were verified before a segment was put to
//! others.
//!
//! One flow at a time: segments come in trains. Linux keeps eight, and lets the identification of packets that
//! nobody may fragment stay the same, whatever it is; here only if it is zero.

use crate::table::{identification, interface::InterfaceId};
use core::ops::Range;
use narrows_wire::{
    checksum::Sum,
    ethernet::{self, EtherType},
    ipv4::{self, Packet, Protocol},
    offload::{RxChecksum, RxOffload},
    tcp::{self, Flags},
};

/// Bytes of data that make it worth a copy: the least that a host has to take (RFC 9293 §3.7.1).
const LEAST_DATA: usize = 536;

/// Where headers have what may differ from segment to segment.
const IP_LENGTH: Range<usize> = 2..4;
const IP_IDENTIFICATION: Range<usize> = 4..6;
const IP_CHECKSUM: Range<usize> = 10..12;
const TCP_SEQUENCE: Range<usize> = 4..8;
const TCP_FLAGS: usize = 13;
/// What is not the header's length, of the two bytes that begin with that: flags, and what is reserved.
const FLAGS: u16 = 0x0fff;
/// In the second of them.
const PSH: u8 = Flags::PSH.0 as u8;
const TCP_CHECKSUM: Range<usize> = tcp::CHECKSUM_OFFSET..tcp::CHECKSUM_OFFSET + 2;

const NETWORK: usize = ethernet::HEADER_LEN;
const TRANSPORT: usize = NETWORK + ipv4::HEADER_LEN;

/// A segment that others may follow.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The frame without padding.
    frame: &'a [u8],
    /// Bytes of all headers together.
    headers: usize,
    sequence: u32,
    identification: u16,
    dont_fragment: bool,
    last: bool,
    offload: RxOffload,
}

impl<'a> Candidate<'a> {
    /// `None`: another kind of frame, or one that says more than "here are data". Its checksum is right.
    pub fn of(frame: &'a [u8], offload: RxOffload) -> Option<Self> {
        if offload.segment_size.is_some() || frame.len() < TRANSPORT + tcp::HEADER_LEN + LEAST_DATA
        {
            return None;
        }
        let (link, packet) = ethernet::Header::parse(frame).ok()?;
        if link.ether_type != EtherType::IPV4 {
            return None;
        }
        let Packet { header, options, payload, .. } = Packet::parse(packet).ok()?;
        if header.protocol != Protocol::TCP || header.is_fragment() || !options.is_empty() {
            return None;
        }
        let tcp_len = usize::from(payload.get(tcp::LENGTH_OFFSET)? >> 4) * 4;
        let field = payload.get(tcp::LENGTH_OFFSET..)?.first_chunk()?;
        let flags = Flags(u16::from_be_bytes(*field) & FLAGS);
        let says_more = flags.without(Flags::PSH) != Flags::ACK;
        if says_more || tcp_len < tcp::HEADER_LEN || payload.len() < tcp_len + LEAST_DATA {
            return None;
        }
        if offload.checksum == RxChecksum::Unverified {
            let len = u16::try_from(payload.len()).ok()?;
            let (source, destination) = (header.source, header.destination);
            let pseudo = Sum::pseudo_header(source, destination, Protocol::TCP.0, len);
            if pseudo.add(Sum::of(payload)).finish() != 0 {
                return None;
            }
        }
        Some(Self {
            frame: frame.get(..TRANSPORT + payload.len())?,
            headers: TRANSPORT + tcp_len,
            sequence: u32::from_be_bytes(*payload.get(TCP_SEQUENCE)?.first_chunk()?),
            identification: header.identification,
            dont_fragment: header.dont_fragment,
            last: flags.contains(Flags::PSH),
            offload,
        })
    }

    fn data(&self) -> &'a [u8] {
        self.frame.get(self.headers..).unwrap_or_default()
    }
}

/// What is the same in all segments of a train, in the order of their headers.
fn common(frame: &[u8], headers: usize) -> Option<[&[u8]; 8]> {
    let (link, ip) = (frame.get(..NETWORK)?, frame.get(NETWORK..TRANSPORT)?);
    let tcp = frame.get(TRANSPORT..headers)?;
    Some([
        link,
        ip.get(..IP_LENGTH.start)?,
        ip.get(IP_IDENTIFICATION.end..IP_CHECKSUM.start)?,
        ip.get(IP_CHECKSUM.end..)?,
        tcp.get(..TCP_SEQUENCE.start)?,
        tcp.get(TCP_SEQUENCE.end..TCP_FLAGS)?,
        tcp.get(TCP_FLAGS + 1..TCP_CHECKSUM.start)?,
        tcp.get(TCP_CHECKSUM.end..)?,
    ])
}

/// What is held.
#[derive(Clone, Copy, Debug)]
struct Train {
    interface: InterfaceId,
    /// Bytes of all headers together.
    headers: usize,
    /// Bytes of data of each segment but the last.
    size: usize,
    segments: usize,
    next_sequence: u32,
    /// Of the first.
    identification: u16,
    dont_fragment: bool,
    /// Nothing may follow.
    complete: bool,
    /// What the device said of the first.
    offload: RxOffload,
}

impl Train {
    /// The IPv4 identification of the segment with that index.
    fn identification_of(&self, index: usize) -> u16 {
        identification::of_piece(self.identification, self.dont_fragment, index)
    }
}

/// Segments held back until something else comes.
#[derive(Debug, Default)]
pub struct Burst {
    /// The first frame, with the data of those behind it.
    bytes: Vec<u8>,
    train: Option<Train>,
}

impl Burst {
    /// Can nothing follow any more?
    pub fn is_complete(&self) -> bool {
        self.train.is_some_and(|train| train.complete)
    }

    /// Begins a train. What was held has to be taken before.
    pub fn begin(&mut self, interface: InterfaceId, first: &Candidate<'_>) {
        self.bytes.clear();
        self.bytes.extend_from_slice(first.frame);
        let size = first.data().len();
        self.train = Some(Train {
            interface,
            headers: first.headers,
            size,
            segments: 1,
            next_sequence: first.sequence.wrapping_add(size as u32),
            identification: first.identification,
            dont_fragment: first.dont_fragment,
            complete: first.last,
            offload: first.offload,
        });
    }

    /// Puts a segment to those held; false: it does not continue them.
    pub fn append(&mut self, interface: InterfaceId, next: &Candidate<'_>) -> bool {
        let Self { bytes, train: Some(train) } = self else { return false };
        let data = next.data();
        let follows = next.identification == train.identification_of(train.segments);
        let continues = !train.complete
            && train.interface == interface
            && train.next_sequence == next.sequence
            && follows
            && data.len() <= train.size
            && bytes.len() + data.len() <= NETWORK + usize::from(u16::MAX)
            && common(bytes, train.headers) == common(next.frame, next.headers);
        if !continues {
            return false;
        }
        bytes.extend_from_slice(data);
        train.segments += 1;
        train.next_sequence = next.sequence.wrapping_add(data.len() as u32);
        train.complete = next.last || data.len() < train.size;
        if next.last
            && let Some(flags) = bytes.get_mut(TRANSPORT + TCP_FLAGS)
        {
            *flags |= PSH;
        }
        true
    }

    /// Takes what is held: where it came in, the frame, and what a device would have said of it. The
    /// bytes are to be given back to [`Burst::reuse`].
    pub fn take(&mut self) -> Option<(InterfaceId, Vec<u8>, RxOffload)> {
        let train = self.train.take()?;
        let mut bytes = core::mem::take(&mut self.bytes);
        if train.segments == 1 {
            // Its checksum was looked at, if a device had not done so.
            let checksum = match train.offload.checksum {
                RxChecksum::Unverified => RxChecksum::Verified,
                known => known,
            };
            return Some((train.interface, bytes, RxOffload { checksum, ..train.offload }));
        }
        let (_, packet) = bytes.split_at_mut_checked(NETWORK)?;
        let len = u16::try_from(packet.len()).ok()?;
        packet.get_mut(IP_LENGTH)?.copy_from_slice(&len.to_be_bytes());
        packet.get_mut(IP_CHECKSUM)?.fill(0);
        let sum = Sum::of(packet.get(..ipv4::HEADER_LEN)?).finish();
        packet.get_mut(IP_CHECKSUM)?.copy_from_slice(&sum.to_be_bytes());
        // As a sender leaves it to a device: whoever sends it on has it computed for each segment.
        let Packet { header, payload, .. } = Packet::parse(packet).ok()?;
        let (source, destination) = (header.source, header.destination);
        let len = u16::try_from(payload.len()).ok()?;
        let pseudo = Sum::pseudo_header(source, destination, Protocol::TCP.0, len).fold();
        let segment = packet.get_mut(ipv4::HEADER_LEN..)?;
        segment.get_mut(TCP_CHECKSUM)?.copy_from_slice(&pseudo.to_be_bytes());
        let segment_size = u16::try_from(train.size).ok();
        let offload = RxOffload { checksum: RxChecksum::Partial, segment_size };
        Some((train.interface, bytes, offload))
    }

    /// Memory for the next train.
    pub fn reuse(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }
}

#[cfg(test)]
mod tests;
