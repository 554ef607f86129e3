//! What a device does for the stack, and the virtio-net header that carries it (virtio 1.2 §5.1.6).

use crate::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What the device says of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RxOffload {
    pub checksum: RxChecksum,
    /// Set when the frame is several segments in one: the payload of each but the last.
    pub segment_size: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RxChecksum {
    /// Nobody looked: the stack must.
    #[default]
    Unverified,
    /// The device found the transport checksum right.
    Verified,
    /// The frame never crossed a wire: its transport checksum field holds the pseudo-header's sum
    /// alone, and its bytes are as the sender wrote them.
    Partial,
}

/// What the stack asks the device to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TxOffload {
    /// Complete the transport checksum: the field holds the pseudo-header's folded sum.
    pub checksum: Option<PartialChecksum>,
    /// Cut the frame into segments.
    pub segmentation: Option<Segmentation>,
}

/// Offsets from the start of the frame, and from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the transport header begins, in bytes from the start of the frame.
    pub start: u16,
    /// The checksum field, in bytes from `start`.
    pub offset: u16,
}

/// What the segments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SegmentKind {
    #[default]
    TcpIpv4,
    TcpIpv6,
    /// Datagrams, over either.
    Udp,
}

/// One frame that stands for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    pub kind: SegmentKind,
    /// Payload bytes of each segment but the last.
    pub segment_size: u16,
    /// Bytes of all headers together.
    pub header_len: u16,
}

/// What a device can do; the stack asks for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities {
    pub tx_checksum: bool,
    /// The longest IPv4 packet the device cuts into TCP segments by itself; `None`: it does not.
    pub tx_segmentation: Option<u32>,
    /// Packets of that length it cuts into UDP datagrams too.
    pub tx_datagrams: bool,
}

impl Capabilities {
    /// Is the device able to do what is asked of it with a packet of `len` bytes?
    pub fn cover(&self, offload: &TxOffload, len: usize) -> bool {
        let cuts = |Segmentation { kind, .. }: Segmentation| {
            let longest = self.tx_segmentation.filter(|longest| len <= *longest as usize);
            longest.is_some() && (self.tx_datagrams || kind != SegmentKind::Udp)
        };
        (self.tx_checksum || offload.checksum.is_none()) && offload.segmentation.is_none_or(cuts)
    }
}

/// Length of the header without `num_buffers`.
pub const VNET_HEADER_LEN: usize = 10;

/// `struct virtio_net_hdr` as Linux passes it over AF_PACKET and TAP: in the machine's byte order.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    flags: u8,
    segmentation: u8,
    header_len: [u8; 2],
    segment_size: [u8; 2],
    checksum_start: [u8; 2],
    checksum_offset: [u8; 2],
}

/// Values of the header's fields (virtio 1.2 §5.1.6).
mod vnet {
    pub const NEEDS_CHECKSUM: u8 = 1;
    pub const CHECKSUM_VALID: u8 = 2;

    pub const NO_SEGMENTATION: u8 = 0;
    pub const TCP_IPV4: u8 = 1;
    pub const UDP_FRAGMENTS: u8 = 3;
    pub const TCP_IPV6: u8 = 4;
    pub const UDP_DATAGRAMS: u8 = 5;
    /// May be set beside a kind of TCP segmentation.
    pub const WITH_ECN: u8 = 0x80;
}

impl RxOffload {
    /// Refuses a kind of segmentation that it does not know, and segments of no size.
    pub fn from_vnet(header: &[u8; VNET_HEADER_LEN]) -> Result<Self, Error> {
        let layout: &Layout = zerocopy::transmute_ref!(header);
        let checksum = if layout.flags & vnet::NEEDS_CHECKSUM != 0 {
            RxChecksum::Partial
        } else if layout.flags & vnet::CHECKSUM_VALID != 0 {
            RxChecksum::Verified
        } else {
            RxChecksum::Unverified
        };
        let segment_size = match layout.segmentation & !vnet::WITH_ECN {
            vnet::NO_SEGMENTATION => None,
            vnet::TCP_IPV4 | vnet::TCP_IPV6 | vnet::UDP_FRAGMENTS | vnet::UDP_DATAGRAMS => {
                match u16::from_ne_bytes(layout.segment_size) {
                    0 => return Err(Error::Malformed),
                    size => Some(size),
                }
            }
            _ => return Err(Error::Malformed),
        };
        Ok(Self { checksum, segment_size })
    }
}

impl TxOffload {
    /// What a program asks for with a frame. Refuses a kind of segmentation that there is no device for,
    /// and segments of no size.
    pub fn from_vnet(header: &[u8; VNET_HEADER_LEN]) -> Result<Self, Error> {
        let layout: &Layout = zerocopy::transmute_ref!(header);
        let kind = match layout.segmentation & !vnet::WITH_ECN {
            vnet::NO_SEGMENTATION => None,
            vnet::TCP_IPV4 => Some(SegmentKind::TcpIpv4),
            vnet::TCP_IPV6 => Some(SegmentKind::TcpIpv6),
            vnet::UDP_DATAGRAMS => Some(SegmentKind::Udp),
            _ => return Err(Error::Malformed),
        };
        let segment_size = u16::from_ne_bytes(layout.segment_size);
        if kind.is_some() && segment_size == 0 {
            return Err(Error::Malformed);
        }
        let header_len = u16::from_ne_bytes(layout.header_len);
        Ok(Self {
            checksum: (layout.flags & vnet::NEEDS_CHECKSUM != 0).then(|| PartialChecksum {
                start: u16::from_ne_bytes(layout.checksum_start),
                offset: u16::from_ne_bytes(layout.checksum_offset),
            }),
            segmentation: kind.map(|kind| Segmentation { kind, segment_size, header_len }),
        })
    }

    /// The header that goes before the frame to the device.
    pub fn to_vnet(&self) -> [u8; VNET_HEADER_LEN] {
        let (flags, checksum_start, checksum_offset) = match self.checksum {
            Some(PartialChecksum { start, offset }) => (vnet::NEEDS_CHECKSUM, start, offset),
            None => (0, 0, 0),
        };
        let (segmentation, segment_size, header_len) = match self.segmentation {
            Some(Segmentation { kind, segment_size, header_len }) => {
                let kind = match kind {
                    SegmentKind::TcpIpv4 => vnet::TCP_IPV4,
                    SegmentKind::TcpIpv6 => vnet::TCP_IPV6,
                    SegmentKind::Udp => vnet::UDP_DATAGRAMS,
                };
                (kind, segment_size, header_len)
            }
            None => (vnet::NO_SEGMENTATION, 0, 0),
        };
        zerocopy::transmute!(Layout {
            flags,
            segmentation,
            header_len: header_len.to_ne_bytes(),
            segment_size: segment_size.to_ne_bytes(),
            checksum_start: checksum_start.to_ne_bytes(),
            checksum_offset: checksum_offset.to_ne_bytes(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn vnet(flags: u8, segmentation: u8, segment_size: u16) -> [u8; VNET_HEADER_LEN] {
        let [low, high] = segment_size.to_ne_bytes();
        [flags, segmentation, 0, 0, low, high, 0, 0, 0, 0]
    }

    #[test]
    fn received_headers() {
        use RxChecksum::*;
        let cases = [
            (vnet(0, 0, 0), Ok((Unverified, None))),
            (vnet(2, 0, 0), Ok((Verified, None))),
            (vnet(1, 0, 0), Ok((Partial, None))),
            (vnet(3, 0, 9), Ok((Partial, None))),
            (vnet(1, 1, 1448), Ok((Partial, Some(1448)))),
            (vnet(1, 0x81, 1448), Ok((Partial, Some(1448)))),
            (vnet(1, 4, 1428), Ok((Partial, Some(1428)))),
            (vnet(1, 5, 1000), Ok((Partial, Some(1000)))),
            (vnet(1, 1, 0), Err(Error::Malformed)),
            (vnet(1, 2, 1448), Err(Error::Malformed)),
            (vnet(1, 0x7f, 1448), Err(Error::Malformed)),
        ];
        for (header, expected) in cases {
            let expected =
                expected.map(|(checksum, segment_size)| RxOffload { checksum, segment_size });
            assert_eq!(RxOffload::from_vnet(&header), expected, "{header:?}");
        }
    }

    #[test]
    fn what_a_device_is_able_to_do() {
        let checksum = Some(PartialChecksum { start: 34, offset: 16 });
        let of = |kind| TxOffload {
            checksum,
            segmentation: Some(Segmentation { kind, segment_size: 1448, header_len: 66 }),
        };
        let (plain, sum) = (TxOffload::default(), TxOffload { checksum, segmentation: None });
        let (tcp, udp) = (of(SegmentKind::TcpIpv4), of(SegmentKind::Udp));
        let able = |tx_checksum, tx_segmentation, tx_datagrams| {
            let able = Capabilities { tx_checksum, tx_segmentation, tx_datagrams };
            [(plain, 1500), (sum, 1500), (tcp, 9000), (tcp, 9001), (udp, 9000)]
                .map(|(offload, len)| able.cover(&offload, len))
        };
        assert_eq!(able(false, None, false), [true, false, false, false, false]);
        assert_eq!(able(true, None, false), [true, true, false, false, false]);
        assert_eq!(able(true, Some(9000), false), [true, true, true, false, false]);
        assert_eq!(able(true, Some(9000), true), [true, true, true, false, true]);
        assert_eq!(able(false, Some(9000), true), [true, false, false, false, false]);
    }

    #[test]
    fn sent_headers() {
        let checksum = Some(PartialChecksum { start: 34, offset: 16 });
        let of = |kind| Some(Segmentation { kind, segment_size: 1448, header_len: 66 });
        let segmentation = of(SegmentKind::TcpIpv4);
        let fields = |header: [u8; VNET_HEADER_LEN]| {
            let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
            (header[0], header[1], [word(2), word(4), word(6), word(8)])
        };
        let cases = [
            (TxOffload::default(), (0, 0, [0; 4])),
            (TxOffload { checksum, segmentation: None }, (1, 0, [0, 0, 34, 16])),
            (TxOffload { checksum, segmentation }, (1, 1, [66, 1448, 34, 16])),
            (
                TxOffload { checksum, segmentation: of(SegmentKind::TcpIpv6) },
                (1, 4, [66, 1448, 34, 16]),
            ),
            (
                TxOffload { checksum, segmentation: of(SegmentKind::Udp) },
                (1, 5, [66, 1448, 34, 16]),
            ),
        ];
        for (offload, expected) in cases {
            assert_eq!(fields(offload.to_vnet()), expected);
        }
    }
}
