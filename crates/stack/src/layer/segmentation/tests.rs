use super::*;
use crate::layer::fixture::{OWN, OWN_MAC, PEER, PEER_MAC};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use narrows_wire::{ethernet, vlan::TAG_LEN};

const V6: ([u8; 16], [u8; 16]) = ([0xfd; 16], [0xfc; 16]);
const SEQUENCE: u32 = u32::MAX - 1000;
const IDENTIFICATION: u16 = u16::MAX;

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index / 7) as u8).collect()
}

/// A frame as a sender leaves it to a device, written by somebody else.
fn large(kind: SegmentKind, v6: bool, len: usize) -> Vec<u8> {
    let link = PacketBuilder::ethernet2(PEER_MAC.0, OWN_MAC.0);
    let ip = match v6 {
        true => link.ipv6(V6.0, V6.1, 64),
        false => {
            let mut header = etherparse::Ipv4Header::new(
                0,
                64,
                etherparse::IpNumber::TCP,
                PEER.octets(),
                OWN.octets(),
            )
            .expect("short");
            header.identification = IDENTIFICATION;
            link.ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        }
    };
    let (mut bytes, data) = (Vec::new(), data(len));
    match kind {
        SegmentKind::Udp => ip.udp(1000, 2000).write(&mut bytes, &data),
        _ => {
            let options = [etherparse::TcpOptionElement::Timestamp(1, 2)];
            let tcp = ip.tcp(1000, 2000, SEQUENCE, 4096).ack(7).fin().psh().cwr().ece();
            tcp.options(&options).expect("short").write(&mut bytes, &data)
        }
    }
    .expect("a frame");
    bytes
}

const PARTIAL: RxOffload = RxOffload { checksum: RxChecksum::Partial, segment_size: Some(1000) };

/// What a TCP header says: sequence number, and whether FIN, PSH and CWR are set.
type Tcp = (u32, [bool; 3]);

/// Headers aside, what a frame says: identification, TCP's part, and data. Its lengths and checksums have
/// to be right.
fn read(frame: &[u8]) -> (Option<u16>, Option<Tcp>, Vec<u8>) {
    let packet = SlicedPacket::from_ethernet(frame).expect("a frame that others can read");
    let net = packet.net.expect("a packet");
    let identification = match &net {
        NetSlice::Ipv4(v4) => {
            let header = v4.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            Some(header.identification)
        }
        _ => None,
    };
    let (tcp, sums, data) = match packet.transport.expect("a transport") {
        TransportSlice::Tcp(tcp) => {
            let sum = match &net {
                NetSlice::Ipv4(v4) => {
                    tcp.calc_checksum_ipv4(v4.header().source(), v4.header().destination())
                }
                NetSlice::Ipv6(_) => tcp.calc_checksum_ipv6(V6.0, V6.1),
                NetSlice::Arp(_) => unreachable!("it was IP"),
            };
            let flags = [tcp.fin(), tcp.psh(), tcp.cwr()];
            let said = Some((tcp.sequence_number(), flags));
            (said, (sum.expect("short"), tcp.checksum()), tcp.payload().to_vec())
        }
        TransportSlice::Udp(udp) => {
            let (header, payload) = (udp.to_header(), udp.payload());
            assert_eq!(usize::from(header.length), udp::HEADER_LEN + payload.len());
            let sum = match &net {
                NetSlice::Ipv4(v4) => header.calc_checksum_ipv4(&v4.header().to_header(), payload),
                NetSlice::Ipv6(v6) => header.calc_checksum_ipv6(&v6.header().to_header(), payload),
                NetSlice::Arp(_) => unreachable!("it was IP"),
            };
            (None, (sum.expect("short"), header.checksum), payload.to_vec())
        }
        _ => panic!("neither TCP nor UDP"),
    };
    assert_eq!(sums.0, sums.1, "transport checksum");
    (identification, tcp, data)
}

#[test]
fn pieces_make_the_whole() {
    for (kind, v6) in [
        (SegmentKind::TcpIpv4, false),
        (SegmentKind::TcpIpv6, true),
        (SegmentKind::Udp, false),
        (SegmentKind::Udp, true),
    ] {
        for (len, count) in [(1, 1), (1000, 1), (1001, 2), (2500, 3), (60_000, 60)] {
            let frame = onward(large(kind, v6, len), PARTIAL).expect("it can go on");
            let asked = frame.offload.segmentation.expect("to be cut");
            assert_eq!((asked.kind, asked.segment_size), (kind, 1000));
            let pieces: Vec<_> = Pieces::of(&frame.bytes, asked).expect("pieces").collect();
            let mut joined = Vec::new();
            for (index, piece) in pieces.iter().enumerate() {
                let (identification, tcp, data) = read(piece);
                let next = IDENTIFICATION.wrapping_add(index as u16);
                assert_eq!(identification, (!v6).then_some(next));
                let (first, last) = (index == 0, index + 1 == count);
                let expected = (SEQUENCE.wrapping_add(joined.len() as u32), [last, last, first]);
                assert_eq!(tcp, (kind != SegmentKind::Udp).then_some(expected));
                assert_eq!(usize::from(asked.header_len), piece.len() - data.len());
                joined.extend(data);
            }
            assert_eq!((pieces.len(), joined), (count, data(len)), "{kind:?} {len}");
        }
    }
}

#[test]
fn tags_go_on_every_piece() {
    let mut frame = large(SegmentKind::TcpIpv4, false, 2500);
    let tags = [0x88, 0xa8, 0, 9, 0x81, 0, 0x60, 7];
    frame.splice(12..12, tags);
    let frame = onward(frame, PARTIAL).expect("it can go on");
    let asked = frame.offload.segmentation.expect("to be cut");
    let pieces: Vec<_> = Pieces::of(&frame.bytes, asked).expect("pieces").collect();
    assert_eq!(pieces.len(), 3);
    let partial = frame.offload.checksum.expect("to be made");
    assert_eq!(usize::from(partial.start), ethernet::HEADER_LEN + 2 * TAG_LEN + 20);
    for piece in &pieces {
        assert_eq!(piece[12..20], tags);
        read(piece);
    }
}

/// A frame can be longer than the packet in it.
#[test]
fn padding_belongs_to_no_piece() {
    let mut frame = large(SegmentKind::Udp, false, 1500);
    frame.extend([0xee; 30]);
    let frame = onward(frame, PARTIAL).expect("it can go on");
    let asked = frame.offload.segmentation.expect("to be cut");
    let joined: Vec<u8> =
        Pieces::of(&frame.bytes, asked).expect("pieces").flat_map(|piece| read(&piece).2).collect();
    assert_eq!(joined, data(1500));
}

#[test]
fn a_checksum_nobody_computed_is_completed() {
    let one = RxOffload { segment_size: None, ..PARTIAL };
    for (kind, v6) in [(SegmentKind::TcpIpv4, false), (SegmentKind::Udp, true)] {
        let mut bytes = large(kind, v6, 100);
        let transport = Transport::find(&bytes).expect("a transport");
        let field = transport.start + transport.checksum_offset().expect("a field");
        let sum = transport.pseudo_header(bytes.len() - transport.start).expect("short").fold();
        bytes[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        let mut frame = onward(bytes, one).expect("it can go on");
        let partial = frame.offload.checksum.expect("to be made");
        assert!(complete(&mut frame.bytes, partial.start.into(), partial.offset.into()));
        read(&frame.bytes);
    }
    assert!(!complete(&mut [0; 20], 14, 6));
    assert!(!complete(&mut [0; 20], 21, 0));
    // Zero would say that UDP has none.
    let mut zero = [0xff, 0xff, 0, 0, 0, 0, 0, 0];
    assert!(complete(&mut zero, 0, udp::CHECKSUM_OFFSET));
    assert_eq!(zero[6..], [0xff, 0xff]);
}

#[test]
fn what_is_not_what_it_says_is_refused() {
    let tcp = large(SegmentKind::TcpIpv4, false, 2500);
    let asked = |kind, segment_size| Segmentation { kind, segment_size, header_len: 0 };
    for (what, kind, size) in [
        ("another transport", SegmentKind::Udp, 1000),
        ("another family", SegmentKind::TcpIpv6, 1000),
        ("pieces of nothing", SegmentKind::TcpIpv4, 0),
    ] {
        assert!(Pieces::of(&tcp, asked(kind, size)).is_none(), "{what}");
    }
    let empty = large(SegmentKind::TcpIpv4, false, 0);
    assert!(Pieces::of(&empty, asked(SegmentKind::TcpIpv4, 1000)).is_none());
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 5] = [
        ("another protocol", |bytes| bytes[23] = 132),
        ("a header longer than the packet", |bytes| bytes.truncate(14 + 20 + 24)),
        ("a header shorter than TCP's", |bytes| bytes[46] = 4 << 4),
        ("another type", |bytes| bytes[12..14].copy_from_slice(&[0x99, 0x99])),
        ("a fragment", |bytes| bytes[20] = 0x20),
    ];
    for (what, change) in changes {
        let mut bytes = tcp.clone();
        change(&mut bytes);
        // The header's checksum is not what is wrong with it.
        bytes[24..26].fill(0);
        let len = (bytes.len() - 14) as u16;
        bytes[16..18].copy_from_slice(&len.to_be_bytes());
        let sum = Sum::of(&bytes[14..34]).finish();
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(onward(bytes, PARTIAL), Err(DropReason::OffloadUnsupported), "{what}");
    }
}

/// Whatever a frame says of itself: no panic, and no more bytes of data than there were.
#[test]
fn lying_frames() {
    let mut random = crate::random::Random::new([5; 16]);
    for round in 0..20_000_u32 {
        let (kind, v6) = [
            (SegmentKind::TcpIpv4, false),
            (SegmentKind::TcpIpv6, true),
            (SegmentKind::Udp, round % 8 < 4),
        ][random.below(3) as usize];
        let mut bytes = large(kind, v6, random.below(300) as usize);
        for _ in 0..random.below(4) {
            let at = random.below(70) as usize % bytes.len();
            bytes[at] = random.next_u32() as u8;
        }
        bytes.truncate(random.below(400) as usize);
        let size = random.below(100) as u16;
        let len = bytes.len();
        let asked = Segmentation { kind, segment_size: size, header_len: random.next_u32() as u16 };
        let pieces = Pieces::of(&bytes, asked);
        let total: usize = pieces.into_iter().flatten().map(|piece| piece.len() - 42).sum();
        assert!(total <= len * 60, "{total} of {len}");
        let received = RxOffload { checksum: RxChecksum::Partial, segment_size: Some(size) };
        if let Ok(frame) = onward(bytes, received) {
            assert_eq!(frame.bytes.len(), len);
        }
    }
}
