//! A frame on the wire, and what a device does to frames before they get there.

use narrows_wire::{
    Error,
    checksum::Sum,
    ethernet, ipv4,
    offload::{PartialChecksum, RxChecksum, RxOffload, Segmentation, TxOffload},
    tcp::{self, Flags, Segment},
};
use std::sync::Arc;

/// A frame, with what a device may say of it. Copies share the bytes.
#[derive(Clone, Debug)]
pub struct Frame {
    pub bytes: Arc<[u8]>,
    pub offload: RxOffload,
}

impl Frame {
    /// As it comes from a wire: nobody has checked anything.
    pub fn plain(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { bytes: bytes.into(), offload: RxOffload::default() }
    }

    /// Handed over in memory, with its offload requests undone.
    pub fn whole(bytes: impl Into<Arc<[u8]>>, offload: TxOffload) -> Self {
        let checksum = match offload.checksum {
            Some(_) => RxChecksum::Partial,
            None => RxChecksum::Unverified,
        };
        let segment_size = offload.segmentation.map(|segmentation| segmentation.segment_size);
        Self { bytes: bytes.into(), offload: RxOffload { checksum, segment_size } }
    }

    /// Damage to a frame that never crosses a wire is damage to memory: that is not for TCP to find.
    pub fn crosses_a_wire(&self) -> bool {
        self.offload.checksum != RxChecksum::Partial
    }
}

/// Does in software what `offload` asks of a device: cuts the frame, completes the checksums.
pub fn cut(bytes: Vec<u8>, offload: TxOffload) -> Result<Vec<Frame>, Error> {
    let Some(checksum) = offload.checksum else { return Ok(vec![Frame::plain(bytes)]) };
    match offload.segmentation {
        Some(segmentation) => segments(&bytes, checksum, segmentation),
        None => complete(bytes, checksum).map(|bytes| vec![Frame::plain(bytes)]),
    }
}

/// The checksum field holds the pseudo-header's sum: the sum over all is the checksum's complement.
fn complete(mut bytes: Vec<u8>, partial: PartialChecksum) -> Result<Vec<u8>, Error> {
    let start = usize::from(partial.start);
    let sum = Sum::of(bytes.get(start..).ok_or(Error::Truncated)?);
    let field = start + usize::from(partial.offset);
    let field = bytes.get_mut(field..field + 2).ok_or(Error::Truncated)?;
    field.copy_from_slice(&sum.finish().to_be_bytes());
    Ok(bytes)
}

fn segments(
    bytes: &[u8],
    partial: PartialChecksum,
    segmentation: Segmentation,
) -> Result<Vec<Frame>, Error> {
    let (link, packet) = bytes.split_at_checked(ethernet::HEADER_LEN).ok_or(Error::Truncated)?;
    let whole = ipv4::Packet::parse(packet)?;
    let segment = Segment::parse(whole.payload)?;
    let size = usize::from(segmentation.segment_size);
    if size == 0 {
        return Err(Error::Malformed);
    }
    let count = segment.payload.chunks(size).count();
    let frames = segment.payload.chunks(size).enumerate().map(|(index, payload)| {
        let first_byte = (index * size) as u32;
        let mut flags = segment.header.flags.0;
        if index + 1 < count {
            flags &= !(Flags::FIN.0 | Flags::PSH.0);
        }
        if index > 0 {
            flags &= !Flags::CWR.0;
        }
        let header = tcp::Header {
            sequence: segment.header.sequence.wrapping_add(first_byte),
            flags: Flags(flags),
            ..segment.header
        };
        let mut tcp_header = [0; tcp::MAX_HEADER_LEN];
        let tcp_len = header.emit(&segment.options, 0, &mut tcp_header);
        let len = tcp_len + payload.len();
        let (source, destination) = (whole.header.source, whole.header.destination);
        let pseudo = Sum::pseudo_header(source, destination, ipv4::Protocol::TCP.0, len as u16);
        let field = usize::from(partial.offset);
        let field = tcp_header.get_mut(field..field + 2).ok_or(Error::Malformed)?;
        field.copy_from_slice(&pseudo.fold().to_be_bytes());
        let mut ip_header = [0; ipv4::HEADER_LEN];
        whole.header.emit(len, &mut ip_header).ok_or(Error::Malformed)?;
        let frame = [link, &ip_header, &tcp_header[..tcp_len], payload].concat();
        complete(frame, partial).map(Frame::plain)
    });
    frames.collect()
}
