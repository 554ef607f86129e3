//! What senders leave to devices: checksums that nobody has computed yet, and large frames, each of which
//! is several TCP segments or UDP datagrams in one.
//!
//! A frame that goes on takes with it what is left to do to it ([`onward`]). A device that can't do that
//! gets frames with nothing left to do ([`complete`], [`Pieces`]), made at the last moment, so that all
//! before it, from the route to the queue of the bridge, is once for many. As on Linux:
//!
//! - each piece has the next IPv4 identification, even where nobody will ask for one (RFC 6864), unless that
//!   is zero, which says so;
//! - of TCP's flags, FIN and PSH are on the last piece alone, CWR on the first (RFC 3168 §6.1.2).

use super::transport::Transport;
use crate::{
    counters::DropReason,
    table::{egress::Frame, identification::of_piece},
};
use narrows_wire::{
    checksum::Sum,
    offload::{PartialChecksum, RxChecksum, RxOffload, SegmentKind, Segmentation, TxOffload},
    tcp::Flags,
    udp,
};

/// A received frame as one to send: what its sender left to devices is left to ours.
pub(crate) fn onward(mut bytes: Vec<u8>, received: RxOffload) -> Result<Frame, DropReason> {
    let whole = received.checksum != RxChecksum::Partial && received.segment_size.is_none();
    let offload = if whole {
        TxOffload::default()
    } else {
        request(&mut bytes, received).ok_or(DropReason::OffloadUnsupported)?
    };
    Ok(Frame { bytes, offload })
}

/// What is left to do to a frame. `None`: it is neither TCP nor UDP, or not whole.
fn request(bytes: &mut [u8], received: RxOffload) -> Option<TxOffload> {
    let transport = Transport::find(bytes)?;
    let Transport { start, header_len, .. } = transport;
    let partial = PartialChecksum {
        start: u16::try_from(start).ok()?,
        offset: u16::try_from(transport.checksum_offset()?).ok()?,
    };
    let Some(segment_size) = received.segment_size else {
        return Some(TxOffload { checksum: Some(partial), segmentation: None });
    };
    let kind = transport.kind()?;
    // A sum that was right for the whole is none for the pieces: they start from the pseudo-header's.
    let len = bytes.get(start..transport.end)?.len();
    let field = bytes.get_mut(start + usize::from(partial.offset)..)?.first_chunk_mut()?;
    *field = transport.pseudo_header(len)?.fold().to_be_bytes();
    let header_len = u16::try_from(start.checked_add(header_len)?).ok()?;
    let segmentation = Some(Segmentation { kind, segment_size, header_len });
    Some(TxOffload { checksum: Some(partial), segmentation })
}

/// Computes the checksum over all from `start` on, whose field holds the pseudo-header's sum, `offset`
/// bytes from there. False: there is no such field.
pub(crate) fn complete(bytes: &mut [u8], start: usize, offset: usize) -> bool {
    let Some(covered) = bytes.get_mut(start..) else { return false };
    let sum = finish(Sum::of(covered), offset);
    let field = covered.get_mut(offset..).and_then(|rest| rest.first_chunk_mut());
    field.map(|field| *field = sum.to_be_bytes()).is_some()
}

/// RFC 768: a sum of zero is sent as all ones; zero says that UDP has none.
fn finish(sum: Sum, offset: usize) -> u16 {
    match sum.finish() {
        0 if offset == udp::CHECKSUM_OFFSET => u16::MAX,
        sum => sum,
    }
}

/// The frames that a large one stands for, first one first, with nothing left to do.
pub(crate) struct Pieces<'a> {
    bytes: &'a [u8],
    transport: Transport,
    checksum_offset: usize,
    /// Bytes of all headers together.
    header_len: usize,
    size: usize,
    /// The next piece.
    index: usize,
}

impl<'a> Pieces<'a> {
    /// `None`: what is asked is not what can be done with this frame.
    pub fn of(bytes: &'a [u8], segmentation: Segmentation) -> Option<Self> {
        let transport = Transport::find(bytes)?;
        let header_len = transport.start.checked_add(transport.header_len)?;
        let size = usize::from(segmentation.segment_size);
        if transport.kind() != Some(segmentation.kind) || size == 0 || header_len >= transport.end {
            return None;
        }
        let checksum_offset = transport.checksum_offset()?;
        Some(Self { bytes, transport, checksum_offset, header_len, size, index: 0 })
    }

    fn piece(&self, index: usize) -> Option<Vec<u8>> {
        let offset = index.checked_mul(self.size)?;
        let data = self.bytes.get(self.header_len.checked_add(offset)?..self.transport.end)?;
        let (last, data) = match data.get(..self.size) {
            Some(full) => (data.len() == self.size, full),
            None => (true, data),
        };
        if data.is_empty() {
            return None;
        }
        let mut piece = [self.bytes.get(..self.header_len)?, data].concat();
        let start = self.transport.start;
        let (network, segment) = piece.split_at_mut_checked(start)?;
        let len = segment.len();
        self.network_header(network.get_mut(self.transport.network..)?, len, index)?;
        match self.transport.kind()? {
            SegmentKind::Udp => {
                let field = segment.get_mut(UDP_LENGTH)?;
                field.copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
            }
            SegmentKind::TcpIpv4 | SegmentKind::TcpIpv6 => tcp_header(segment, offset, last)?,
        }
        let field = self.checksum_offset..self.checksum_offset + 2;
        segment.get_mut(field.clone())?.fill(0);
        let sum = self.transport.pseudo_header(len)?.add(Sum::of(segment));
        let sum = finish(sum, self.checksum_offset);
        segment.get_mut(field)?.copy_from_slice(&sum.to_be_bytes());
        Some(piece)
    }

    /// Length, and of IPv4 identification and checksum.
    fn network_header(&self, header: &mut [u8], payload_len: usize, index: usize) -> Option<()> {
        if self.transport.ipv6 {
            let len = u16::try_from(payload_len).ok()?;
            header.get_mut(IPV6_LENGTH)?.copy_from_slice(&len.to_be_bytes());
            return Some(());
        }
        let len = u16::try_from(header.len().checked_add(payload_len)?).ok()?;
        header.get_mut(IPV4_LENGTH)?.copy_from_slice(&len.to_be_bytes());
        let dont_fragment = header.get(IPV4_FLAGS)? & 0x40 != 0;
        let field = header.get_mut(IPV4_IDENTIFICATION)?.first_chunk_mut()?;
        let first = u16::from_be_bytes(*field);
        *field = of_piece(first, dont_fragment, index).to_be_bytes();
        header.get_mut(IPV4_CHECKSUM)?.fill(0);
        let sum = Sum::of(header).finish();
        header.get_mut(IPV4_CHECKSUM)?.copy_from_slice(&sum.to_be_bytes());
        Some(())
    }
}

impl Iterator for Pieces<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let piece = self.piece(self.index)?;
        self.index += 1;
        Some(piece)
    }
}

/// Where RFC 791 §3.1, RFC 8200 §3, RFC 9293 §3.1 and RFC 768 have what differs from piece to piece.
const IPV4_LENGTH: core::ops::Range<usize> = 2..4;
const IPV4_IDENTIFICATION: core::ops::Range<usize> = 4..6;
const IPV4_FLAGS: usize = 6;
const IPV4_CHECKSUM: core::ops::Range<usize> = 10..12;
const IPV6_LENGTH: core::ops::Range<usize> = 4..6;
const TCP_SEQUENCE: core::ops::Range<usize> = 4..8;
/// With the header's length.
const TCP_FLAGS: core::ops::Range<usize> = 12..14;
const UDP_LENGTH: core::ops::Range<usize> = 4..6;

fn tcp_header(segment: &mut [u8], offset: usize, last: bool) -> Option<()> {
    let field = segment.get_mut(TCP_SEQUENCE)?.first_chunk_mut()?;
    let sequence = u32::from_be_bytes(*field).wrapping_add(u32::try_from(offset).ok()?);
    *field = sequence.to_be_bytes();
    let field = segment.get_mut(TCP_FLAGS)?.first_chunk_mut()?;
    let mut flags = Flags(u16::from_be_bytes(*field));
    if !last {
        flags = flags.without(Flags::FIN.with(Flags::PSH));
    }
    if offset > 0 {
        flags = flags.without(Flags::CWR);
    }
    *field = flags.0.to_be_bytes();
    Some(())
}

#[cfg(test)]
mod tests;
