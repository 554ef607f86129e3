//! A packet that leaves at once: from the buffer that it came in, behind a new header, to a device that is
//! idle. Of a large one, copying is half of the work.
//!
//! It is taken only where nothing would see the frame or change it on its way, nothing waits that it
//! would overtake, and the device does what is left to do. All others go the long way.

use super::{
    Transit,
    frames::{self, Egress},
};
use crate::{
    Instant, InterfaceId, Shard,
    layer::{
        arp::{self, Resolution},
        filter, transport,
    },
};
use core::ops::Range;
use narrows_wire::{
    ethernet,
    ipv4::{self, Packet, Protocol},
    offload::{PartialChecksum, RxChecksum, SegmentKind, Segmentation, TxOffload},
};

const MAX_HEADERS: usize = ethernet::HEADER_LEN + ipv4::MAX_HEADER_LEN;

/// Where in memory a frame is. Only ever compared: nothing is read by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: usize,
    end: usize,
}

impl Span {
    pub fn of(bytes: &[u8]) -> Self {
        let Range { start, end } = bytes.as_ptr_range();
        Self { start: start.addr(), end: end.addr() }
    }

    /// Which part of the frame `part` is; `None`: it is none.
    fn range(self, part: &[u8]) -> Option<Range<usize>> {
        let Self { start, end } = Self::of(part);
        (end <= self.end).then_some(start.checked_sub(self.start)?..end.checked_sub(self.start)?)
    }
}

/// The frame that leaves: new headers, and a part of the one that came.
#[derive(Clone, Debug)]
pub(crate) struct Onward {
    pub interface: InterfaceId,
    pub offload: TxOffload,
    pub payload: Range<usize>,
    headers: [u8; MAX_HEADERS],
    headers_len: usize,
}

impl Onward {
    pub fn headers(&self) -> &[u8] {
        self.headers.get(..self.headers_len).unwrap_or_default()
    }
}

/// `header`: of the packet as it leaves.
pub(super) fn find(
    shard: &mut Shard,
    now: Instant,
    transit: &Transit<'_>,
    header: &[u8],
    egress: &Egress,
) -> Option<Onward> {
    let Transit { packet, way, .. } = transit;
    let payload = shard.span?.range(packet.payload)?;
    let device = shard.links.get(way.interface).is_some_and(|link| link.is_device() && link.up);
    let watched = shard.packets.is_watching() || shard.watchers.is_some();
    let seen = watched || filter::sees_egress(shard);
    let alone = shard.egress.frames(way.interface) == 0;
    if !device || seen || !alone || frames::longest_piece(transit) > usize::from(egress.mtu) {
        return None;
    }
    let offload = offload(transit, header)?;
    let station = &shard.interfaces.get(way.interface)?.settings;
    if !station.capabilities.cover(&offload, header.len() + packet.payload.len()) {
        return None;
    }
    let source = packet.header.source;
    let Resolution::Known(mac) = arp::resolve(shard, now, way.interface, way.next_hop, source)
    else {
        return None;
    };
    let mut headers = [0; MAX_HEADERS];
    let headers_len = ethernet::HEADER_LEN + header.len();
    let (link, rest) = headers.split_first_chunk_mut()?;
    *link = egress.link_header(mac);
    rest.get_mut(..header.len())?.copy_from_slice(header);
    Some(Onward { interface: way.interface, offload, payload, headers, headers_len })
}

/// What is left to do, if nothing has to be changed in the transport header for it.
fn offload(transit: &Transit<'_>, header: &[u8]) -> Option<TxOffload> {
    let Packet { header: parsed, payload, .. } = &transit.packet;
    let partial = transit.offload.checksum == RxChecksum::Partial;
    if !partial && transit.offload.segment_size.is_none() {
        return Some(TxOffload::default());
    }
    let kind = match parsed.protocol {
        Protocol::TCP => SegmentKind::TcpIpv4,
        Protocol::UDP => SegmentKind::Udp,
        _ => return None,
    };
    // A sum that was right for the whole is none for the pieces.
    if !partial || parsed.is_fragment() {
        return None;
    }
    let start = ethernet::HEADER_LEN + header.len();
    let checksum = PartialChecksum {
        start: u16::try_from(start).ok()?,
        offset: u16::try_from(transport::checksum_offset(parsed.protocol)?).ok()?,
    };
    let header_len = start + transport::header_len(parsed.protocol, payload)?;
    let header_len = u16::try_from(header_len).ok()?;
    let segmentation = |segment_size| Segmentation { kind, segment_size, header_len };
    Some(TxOffload {
        checksum: Some(checksum),
        segmentation: transit.offload.segment_size.map(segmentation),
    })
}
