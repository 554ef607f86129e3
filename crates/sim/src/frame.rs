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

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_wire::{address::MacAddr, ethernet::EtherType, tcp_options::Options};
    use std::net::Ipv4Addr;

    /// A frame of `payload` with a partial checksum, and where its headers end.
    fn large(payload: &[u8]) -> (Vec<u8>, PartialChecksum, u16) {
        let [source, destination] = [1, 2].map(|last| Ipv4Addr::new(10, 0, 0, last));
        let header = tcp::Header {
            sequence: 0xffff_fff0,
            flags: Flags(Flags::CWR.0 | Flags::PSH.0 | Flags::FIN.0 | Flags::ACK.0),
            ..tcp::Header::default()
        };
        let mut segment = [0; tcp::MAX_HEADER_LEN];
        let options = Options { timestamps: Some(Default::default()), ..Options::default() };
        let tcp_len = options.emitted_len() + tcp::HEADER_LEN;
        let len = tcp_len + payload.len();
        let sum = Sum::pseudo_header(source, destination, 6, len as u16).fold();
        header.emit(&options, sum, &mut segment);
        let ip = ipv4::Header {
            tos: 0,
            identification: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: ipv4::Protocol::TCP,
            source,
            destination,
        };
        let mut packet = [0; ipv4::HEADER_LEN];
        ip.emit(len, &mut packet).unwrap();
        let link = ethernet::Header {
            destination: MacAddr::BROADCAST,
            source: MacAddr::ZERO,
            ether_type: EtherType::IPV4,
        };
        let mut bytes = [0; ethernet::HEADER_LEN];
        link.emit(&mut bytes);
        let frame = [&bytes[..], &packet, &segment[..tcp_len], payload].concat();
        let checksum = PartialChecksum { start: 34, offset: tcp::CHECKSUM_OFFSET as u16 };
        (frame, checksum, (34 + tcp_len) as u16)
    }

    /// Sequence number, flags and payload, with the checksum looked at.
    fn open(frame: &Frame) -> (u32, Flags, Vec<u8>) {
        let packet = ipv4::Packet::parse(&frame.bytes[ethernet::HEADER_LEN..]).unwrap();
        let (source, destination) = (packet.header.source, packet.header.destination);
        let len = packet.payload.len() as u16;
        let sum = Sum::pseudo_header(source, destination, 6, len).add(Sum::of(packet.payload));
        assert_eq!(sum.finish(), 0);
        let segment = Segment::parse(packet.payload).unwrap();
        (segment.header.sequence, segment.header.flags, segment.payload.to_vec())
    }

    #[test]
    fn segments_are_cut_and_numbered() {
        let payload: Vec<u8> = (0..250).collect();
        let (bytes, checksum, header_len) = large(&payload);
        let segmentation =
            Some(Segmentation { kind: Default::default(), segment_size: 100, header_len });
        let frames = cut(bytes, TxOffload { checksum: Some(checksum), segmentation }).unwrap();
        let opened: Vec<_> = frames.iter().map(open).collect();
        let expected = [
            (0xffff_fff0, Flags::CWR.with(Flags::ACK), payload[..100].to_vec()),
            (0xffff_fff0_u32.wrapping_add(100), Flags::ACK, payload[100..200].to_vec()),
            (
                0xffff_fff0_u32.wrapping_add(200),
                Flags::ACK.with(Flags::PSH).with(Flags::FIN),
                payload[200..].to_vec(),
            ),
        ];
        assert_eq!(opened, expected);
    }

    #[test]
    fn a_checksum_alone_is_completed() {
        let (bytes, checksum, _) = large(b"odd");
        let offload = TxOffload { checksum: Some(checksum), segmentation: None };
        let frames = cut(bytes, offload).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(open(&frames[0]).2, b"odd");
    }

    #[test]
    fn requests_that_lie_are_errors() {
        let checksum = Some(PartialChecksum { start: 60_000, offset: 16 });
        assert!(cut(vec![0; 60], TxOffload { checksum, segmentation: None }).is_err());
        let (bytes, checksum, header_len) = large(b"payload");
        let segmentation =
            Some(Segmentation { kind: Default::default(), segment_size: 0, header_len });
        assert!(cut(bytes, TxOffload { checksum: Some(checksum), segmentation }).is_err());
    }
}
