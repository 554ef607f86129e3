use super::*;
use crate::layer::segmentation::{self, Pieces};
use etherparse::PacketBuilder;
use narrows_wire::address::MacAddr;
use proptest::prelude::*;

const IN: InterfaceId = InterfaceId(1);

/// One segment of a train, as the wire brings it.
#[derive(Clone, Copy, Debug)]
struct Cargo {
    place: u32,
    len: usize,
    identification: u16,
    dont_fragment: bool,
    psh: bool,
    tos: u8,
    ttl: u8,
    port: u16,
    acknowledgment: u32,
    window: u16,
    timestamp: u32,
}

const PLAIN: Cargo = Cargo {
    place: 0,
    len: 1000,
    identification: u16::MAX,
    dont_fragment: false,
    psh: false,
    tos: 2,
    ttl: 64,
    port: 80,
    acknowledgment: 7,
    window: 500,
    timestamp: 9,
};

impl Cargo {
    /// The one behind it.
    fn next(self) -> Self {
        let identification = self.identification.wrapping_add(1);
        Self { place: self.place.wrapping_add(self.len as u32), identification, ..self }
    }

    fn data(self) -> Vec<u8> {
        (0..self.len as u32).map(|index| (self.place.wrapping_add(index) / 3) as u8).collect()
    }

    fn frame(self) -> Vec<u8> {
        let (source, destination) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let number = etherparse::IpNumber::TCP;
        let mut ip = etherparse::Ipv4Header::new(0, self.ttl, number, source, destination)
            .expect("a header");
        ip.identification = self.identification;
        ip.dont_fragment = self.dont_fragment;
        ip.ecn = (self.tos & 3).try_into().expect("two bits");
        let options = [etherparse::TcpOptionElement::Timestamp(self.timestamp, 1)];
        let mut tcp = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ip(etherparse::IpHeaders::Ipv4(ip, Default::default()))
            .tcp(self.port, 5000, self.place, self.window)
            .ack(self.acknowledgment);
        if self.psh {
            tcp = tcp.psh();
        }
        let mut bytes = Vec::new();
        let tcp = tcp.options(&options).expect("short");
        tcp.write(&mut bytes, &self.data()).expect("a frame");
        bytes
    }
}

fn wire() -> RxOffload {
    RxOffload::default()
}

/// What comes of frames that arrive one after the other: bytes of data and of each piece.
fn trains(frames: &[Vec<u8>]) -> Vec<(Vec<u8>, RxOffload)> {
    let mut burst = Burst::default();
    let mut taken = Vec::new();
    let mut take = |burst: &mut Burst| {
        taken.extend(burst.take().map(|(interface, bytes, offload)| {
            assert_eq!(interface, IN);
            (bytes, offload)
        }));
    };
    for frame in frames {
        let candidate = Candidate::of(frame, wire()).expect("a candidate");
        if !burst.append(IN, &candidate) {
            take(&mut burst);
            burst.begin(IN, &candidate);
        }
        if burst.is_complete() {
            take(&mut burst);
        }
    }
    take(&mut burst);
    taken
}

fn together(first: Cargo, second: Cargo) -> bool {
    trains(&[first.frame(), second.frame()]).len() == 1
}

#[test]
fn a_train_is_what_a_device_would_have_given() {
    let first = Cargo { place: u32::MAX - 1500, ..PLAIN };
    let second = first.next();
    let third = Cargo { len: 600, psh: true, ..second.next() };
    let all = [first, second, third];
    let taken = trains(&all.map(Cargo::frame));
    let [(bytes, offload)] = taken.as_slice() else { panic!("{} frames", taken.len()) };
    let expected = RxOffload { checksum: RxChecksum::Partial, segment_size: Some(1000) };
    assert_eq!(*offload, expected);
    let (link, packet) = ethernet::Header::parse(bytes).expect("a frame");
    assert_eq!(link.destination, MacAddr([4; 6]));
    let Packet { header, payload, .. } = Packet::parse(packet).expect("a right header checksum");
    assert_eq!((header.identification, header.tos), (u16::MAX, 2));
    let segment = tcp::Segment::parse(payload).expect("a segment");
    assert_eq!(segment.header.sequence, u32::MAX - 1500);
    assert_eq!(segment.header.flags, Flags::ACK.with(Flags::PSH));
    assert_eq!(segment.payload, all.map(Cargo::data).concat());
    let len = payload.len() as u16;
    let sum = Sum::pseudo_header(header.source, header.destination, 6, len).fold();
    assert_eq!(payload[TCP_CHECKSUM], sum.to_be_bytes());
}

#[test]
fn one_alone_stays_as_it_came() {
    let mut padded = PLAIN.frame();
    padded.extend([0; 9]);
    for (frame, expected) in [(PLAIN.frame(), PLAIN.frame()), (padded, PLAIN.frame())] {
        let verified = RxOffload { checksum: RxChecksum::Verified, segment_size: None };
        assert_eq!(trains(&[frame]), [(expected, verified)]);
    }
}

#[test]
fn what_differs_stays_apart() {
    let next = PLAIN.next();
    assert!(together(PLAIN, next));
    assert!(together(PLAIN, Cargo { psh: true, ..next }));
    assert!(together(PLAIN, Cargo { len: 600, ..next }));
    let atomic = Cargo { dont_fragment: true, identification: 0, ..PLAIN };
    assert!(together(atomic, Cargo { identification: 0, ..atomic.next() }));
    let counted = Cargo { dont_fragment: true, ..PLAIN };
    assert!(together(counted, counted.next()));
    assert!(!together(atomic, atomic.next()));
    for other in [
        Cargo { place: next.place + 1, ..next },
        Cargo { place: next.place - 1, ..next },
        PLAIN,
        Cargo { len: 1001, ..next },
        Cargo { identification: 1, ..next },
        Cargo { dont_fragment: true, ..next },
        Cargo { identification: PLAIN.identification, ..next },
        Cargo { tos: 3, ..next },
        Cargo { ttl: 63, ..next },
        Cargo { port: 81, ..next },
        Cargo { acknowledgment: 8, ..next },
        Cargo { window: 501, ..next },
        Cargo { timestamp: 10, ..next },
    ] {
        assert!(!together(PLAIN, other), "{other:?}");
    }
    // Behind a push or a short one comes nothing.
    for last in [Cargo { psh: true, ..PLAIN }, Cargo { len: 600, ..PLAIN.next() }] {
        let frames = [PLAIN.frame(), last.frame(), Cargo { len: 600, ..last.next() }.frame()];
        let frames = if last.psh { &frames[1..] } else { &frames[..] };
        assert_eq!(trains(frames).len(), 2, "{last:?}");
    }
    let mut burst = Burst::default();
    burst.begin(IN, &Candidate::of(&PLAIN.frame(), wire()).expect("a candidate"));
    let (frame, elsewhere) = (next.frame(), InterfaceId(2));
    assert!(!burst.append(elsewhere, &Candidate::of(&frame, wire()).expect("a candidate")));
}

#[test]
fn a_train_is_no_longer_than_a_packet() {
    let mut cargo = PLAIN;
    let frames: Vec<_> = (0..200)
        .map(|_| {
            let frame = cargo.frame();
            cargo = cargo.next();
            frame
        })
        .collect();
    let taken = trains(&frames);
    assert_eq!(taken.len(), 4);
    for (bytes, _) in &taken {
        Packet::parse(&bytes[NETWORK..]).expect("a packet");
    }
}

#[test]
fn what_says_more_than_data_is_no_candidate() {
    let frame = PLAIN.frame();
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 10] = [
        ("FIN", |bytes| bytes[TRANSPORT + TCP_FLAGS] |= 1),
        ("SYN", |bytes| bytes[TRANSPORT + TCP_FLAGS] |= 2),
        ("RST", |bytes| bytes[TRANSPORT + TCP_FLAGS] |= 4),
        ("URG", |bytes| bytes[TRANSPORT + TCP_FLAGS] |= 0x20),
        ("ECE", |bytes| bytes[TRANSPORT + TCP_FLAGS] |= 0x40),
        ("CWR", |bytes| bytes[TRANSPORT + TCP_FLAGS] |= 0x80),
        ("AE", |bytes| bytes[TRANSPORT + tcp::LENGTH_OFFSET] |= 1),
        ("no ACK", |bytes| bytes[TRANSPORT + TCP_FLAGS] = 0),
        ("a wrong checksum", |bytes| bytes[700] ^= 1),
        ("a header that is too long", |bytes| bytes[TRANSPORT + tcp::LENGTH_OFFSET] = 0xf0),
    ];
    for (what, change) in changes {
        let mut bytes = frame.clone();
        change(&mut bytes);
        assert!(Candidate::of(&bytes, wire()).is_none(), "{what}");
        // Where a device has verified it, the flags alone decide.
        let verified = RxOffload { checksum: RxChecksum::Verified, segment_size: None };
        let taken = Candidate::of(&bytes, verified).is_some();
        assert_eq!(taken, what.starts_with("a "), "{what}");
    }
    let large = RxOffload { segment_size: Some(500), ..wire() };
    assert!(Candidate::of(&frame, large).is_none());
    let short = Cargo { len: LEAST_DATA - 1, ..PLAIN }.frame();
    assert!(Candidate::of(&short, wire()).is_none());
    for len in 0..frame.len() {
        assert!(Candidate::of(&frame[..len], wire()).is_none(), "{len}");
    }
}

/// Segments of any lengths, marks and pushes, with gaps and other flows between them.
fn any_traffic() -> impl Strategy<Value = Vec<Cargo>> {
    let step = (0..12_u8, 536..1460_usize, any::<bool>());
    (any::<(u32, u16, bool)>(), prop::collection::vec(step, 1..150)).prop_map(
        |((place, identification, dont_fragment), steps)| {
            let mut cargo = Cargo { place, identification, dont_fragment, ..PLAIN };
            let mut segments = Vec::new();
            for (what, len, same_length) in steps {
                cargo = Cargo { psh: what == 0, ..cargo.next() };
                match what {
                    1 => cargo.place = cargo.place.wrapping_add(1),
                    2 => cargo.port ^= 1,
                    3 => cargo.tos ^= 1,
                    4 => cargo.timestamp += 1,
                    5 => cargo.identification = 0,
                    _ => {}
                }
                if !same_length {
                    cargo.len = len;
                }
                segments.push(cargo);
            }
            segments
        },
    )
}

proptest! {
    #[test]
    fn trains_come_apart_to_the_frames_that_came(traffic in any_traffic()) {
        let frames: Vec<_> = traffic.into_iter().map(Cargo::frame).collect();
        let mut apart = Vec::new();
        for (bytes, received) in trains(&frames) {
            let frame = segmentation::onward(bytes, received).expect("TCP");
            match frame.offload.segmentation {
                Some(segmentation) => {
                    apart.extend(Pieces::of(&frame.bytes, segmentation).expect("as asked"));
                }
                None => apart.push(frame.bytes),
            }
        }
        prop_assert_eq!(apart, frames);
    }
}
