use super::*;
use crate::{
    Reply, Sink,
    layer::fixture::{
        Collector, ETH, Host, OWN_MAC, PACKET, PEER, PEER_MAC, REMOTE, frame, icmp, packet,
        read_icmp, read_packet, udp,
    },
    request::{Principal, Request},
    table::{interface::InterfaceSettings, route::RoutingSettings},
    time::Duration,
};
use narrows_wire::{
    address::{MacAddr, Prefix},
    checksum::Sum,
    ethernet::EtherType,
    icmpv4::{Header as IcmpHeader, Unreachable},
    ipv4::{Header, Protocol},
    offload::{Capabilities, RxChecksum, Segmentation, TxOffload},
};

const FAR: InterfaceId = InterfaceId(2);
const FAR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
/// A host on the far side, whose link address is known.
const FAR_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 7);
const FAR_HOST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 7]);

/// From the peer to the host on the far side.
const TRANSIT: Header = Header { destination: FAR_HOST, ..PACKET };

fn router_with(mtu: u16, capabilities: Capabilities, routing: RoutingSettings) -> Host {
    let mut host = Host::with_peer();
    let settings =
        InterfaceSettings { name: "far".into(), mac: FAR_MAC, mtu, capabilities, routing };
    let added =
        host.shard.request(host.now, Principal::user(0), Request::AddInterface { settings });
    assert_eq!(added, Ok(Reply::Interface(FAR)));
    let prefix = Prefix::new(Ipv4Addr::new(10, 1, 0, 2).into(), 24).expect("a prefix");
    host.request(Request::AddAddress { interface: FAR, prefix });
    let (address, mac) = (FAR_HOST.into(), FAR_HOST_MAC);
    host.request(Request::PinNeighbor { interface: FAR, address, mac });
    host.request(Request::SetRouting { interface: ETH, routing });
    host
}

/// Forwards between both interfaces.
fn router(mtu: u16) -> Host {
    let routing = RoutingSettings { forward: true, ..RoutingSettings::default() };
    router_with(mtu, Capabilities::default(), routing)
}

fn transit(header: &Header, payload: &[u8]) -> Vec<u8> {
    frame(OWN_MAC, EtherType::IPV4, &packet(header, payload))
}

fn datagram(len: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..len).map(|index| index as u8).collect();
    udp(&TRANSIT, 1000, 2000, &data)
}

#[test]
fn a_packet_passes_with_a_hop_less_to_go() {
    let mut host = router(1500);
    let payload = datagram(100);
    let header = Header { ttl: 7, tos: 0x2e, ..TRANSIT };
    host.receive(&transit(&header, &payload));
    let frames = host.sent_on(FAR);
    let (link, passed) = read_packet(&frames[0]);
    assert_eq!((link.source, link.destination), (FAR_MAC, FAR_HOST_MAC));
    assert_eq!((passed.header, passed.payload), (Header { ttl: 6, ..header }, &payload[..]));
    assert_eq!((frames.len(), host.drops()), (1, vec![]));
    assert!(host.sent().is_empty());
    assert_eq!(host.shard.counters.packets_forwarded, 1);
}

#[test]
fn a_host_sends_nothing_on() {
    let mut host = router_with(1500, Capabilities::default(), RoutingSettings::default());
    let reason = host.refused(&transit(&TRANSIT, &datagram(1)));
    assert_eq!(reason, DropReason::NotLocal);
    assert!(host.sent().is_empty() && host.sent_on(FAR).is_empty());
}

#[test]
fn what_was_sent_to_the_whole_link_stays_there() {
    let mut host = router(1500);
    let packet = packet(&TRANSIT, &datagram(1));
    let frame = frame(MacAddr::BROADCAST, EtherType::IPV4, &packet);
    assert_eq!(host.refused(&frame), DropReason::NotLocal);
    assert!(host.sent_on(FAR).is_empty());
}

#[test]
fn the_last_hop_is_told() {
    for ttl in [0, 1] {
        let mut host = router(1500);
        let packet = packet(&Header { ttl, ..TRANSIT }, &datagram(4));
        let reason = host.refused(&frame(OWN_MAC, EtherType::IPV4, &packet));
        assert_eq!(reason, DropReason::TtlExceeded);
        let (header, error, quote) = read_icmp(&host.sent_one());
        assert_eq!(error, IcmpHeader::TimeExceeded { code: 0 });
        assert_eq!((header.source, header.destination), (crate::layer::fixture::OWN, PEER));
        assert_eq!(quote, packet);
        assert!(host.sent_on(FAR).is_empty());
    }
}

#[test]
fn errors_are_told_about_nothing_that_is_an_error_or_a_later_fragment() {
    let mut host = router(1500);
    let error = icmp(&IcmpHeader::TimeExceeded { code: 0 }, &packet(&TRANSIT, &datagram(4)));
    let last_hop = Header { ttl: 1, ..TRANSIT };
    host.receive(&transit(&Header { protocol: Protocol::ICMP, ..last_hop }, &error));
    host.receive(&transit(&Header { fragment_offset: 8, ..last_hop }, &datagram(4)));
    assert_eq!(host.dropped(DropReason::TtlExceeded), 2);
    assert!(host.sent().is_empty());
    let first = Header { more_fragments: true, ..last_hop };
    host.receive(&transit(&first, &datagram(8)));
    assert_eq!(host.sent().len(), 1);
}

#[test]
fn what_may_not_be_cut_is_told_the_mtu() {
    for (len, passes) in [(1252, true), (1253, false)] {
        let mut host = router(1280);
        let header = Header { dont_fragment: true, ..TRANSIT };
        host.receive(&transit(&header, &datagram(len)));
        assert_eq!(host.sent_on(FAR).len(), usize::from(passes), "{len}");
        if !passes {
            let (_, error, _) = read_icmp(&host.sent_one());
            let code = Unreachable::FRAGMENTATION_NEEDED;
            assert_eq!(error, IcmpHeader::DestinationUnreachable { code, mtu: 1280 });
            assert_eq!(host.drops(), [(DropReason::MessageTooLong, 1)]);
        }
    }
}

#[test]
fn what_may_be_cut_is() {
    let mut host = router(576);
    let payload = datagram(1400);
    host.receive(&transit(&TRANSIT, &payload));
    let frames = host.sent_on(FAR);
    let mut joined = Vec::new();
    for frame in &frames {
        let piece = read_packet(frame).1;
        assert!(piece.header_bytes.len() + piece.payload.len() <= 576);
        assert_eq!(usize::from(piece.header.fragment_offset), joined.len());
        assert_eq!((piece.header.ttl, piece.header.identification), (63, 99));
        joined.extend_from_slice(piece.payload);
    }
    assert_eq!((frames.len(), joined), (3, payload));
}

#[test]
fn who_passed_it_on_is_recorded() {
    let mut host = router(1500);
    let payload = datagram(4);
    let options = [7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 0];
    let bytes = [&TRANSIT.with_options(&options, payload.len()).expect("short")[..], &payload];
    host.receive(&frame(OWN_MAC, EtherType::IPV4, &bytes.concat()));
    let frames = host.sent_on(FAR);
    let passed = read_packet(&frames[0]).1;
    assert_eq!(passed.options, [7, 7, 8, 10, 1, 0, 2, 1, 148, 4, 0, 0]);
    assert_eq!((passed.header.ttl, passed.payload), (63, &payload[..]));
}

#[test]
fn a_malformed_option_is_pointed_at() {
    let mut host = router(1500);
    let payload = datagram(4);
    let options = [1, 7, 7, 3, 0, 0, 0, 0];
    let bytes = [&TRANSIT.with_options(&options, payload.len()).expect("short")[..], &payload];
    let reason = host.refused(&frame(OWN_MAC, EtherType::IPV4, &bytes.concat()));
    assert_eq!(reason, DropReason::Ipv4Malformed);
    let (_, error, _) = read_icmp(&host.sent_one());
    assert_eq!(error, IcmpHeader::ParameterProblem { pointer: 23 });
}

#[test]
fn a_next_hop_that_does_not_answer_makes_the_host_unreachable() {
    let mut host = router(1500);
    let silent = Header { destination: Ipv4Addr::new(10, 1, 0, 99), ..TRANSIT };
    host.receive(&transit(&silent, &datagram(4)));
    host.pass(Duration::from_secs(10));
    let (header, error, quote) = read_icmp(&host.sent_one());
    let code = Unreachable::HOST;
    assert_eq!(error, IcmpHeader::DestinationUnreachable { code, mtu: 0 });
    assert_eq!(header.destination, PEER);
    assert_eq!(quote[8], 63, "as it would have left");
}

#[test]
fn redirects_are_sent_where_they_are_wanted() {
    for redirects in [false, true] {
        let routing = RoutingSettings { forward: true, redirects, ..RoutingSettings::default() };
        let mut host = router_with(1500, Capabilities::default(), routing);
        // Another host of the link sends by us what the peer is the gateway for.
        let source = Ipv4Addr::new(10, 0, 0, 77);
        let header = Header { source, destination: REMOTE, ..PACKET };
        let mac = MacAddr([2, 0, 0, 0, 0, 77]);
        let address = source.into();
        host.request(Request::PinNeighbor { interface: ETH, address, mac });
        host.receive(&transit(&header, &datagram(4)));
        let frames = host.sent();
        assert_eq!(frames.len(), 1 + usize::from(redirects));
        if redirects {
            let (to, error, _) = read_icmp(&frames[0]);
            assert_eq!(error, IcmpHeader::Redirect { code: 1, gateway: PEER });
            assert_eq!(to.destination, source);
        }
        let (link, passed) = read_packet(&frames[frames.len() - 1]);
        assert_eq!((link.destination, passed.header.destination), (PEER_MAC, REMOTE));
    }
}

#[test]
fn a_full_queue_takes_no_more() {
    let mut host = router(1500);
    let limit = host.shard.config.limits.egress_queue;
    for _ in 0..limit {
        host.receive(&transit(&TRANSIT, &datagram(4)));
    }
    assert_eq!(host.drops(), []);
    assert_eq!(host.refused(&transit(&TRANSIT, &datagram(4))), DropReason::EgressQueueFull);
}

/// Keeps what the device is asked to do.
#[derive(Default)]
struct Device(Vec<(TxOffload, Vec<u8>)>);

impl Sink for Device {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        self.0.push((offload, [header, payload[0], payload[1]].concat()));
    }
}

/// A TCP header with ECN and FIN marks and a partial checksum, and data.
fn large_segment(len: usize) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[4..8].copy_from_slice(&0xffff_ff00_u32.to_be_bytes());
    segment[12..14].copy_from_slice(&[0x50, 0x99]);
    segment.extend((0..len).map(|index| index as u8));
    let sum = Sum::pseudo_header(PEER, FAR_HOST, 6, segment.len() as u16).fold();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

const LARGE: RxOffload = RxOffload { checksum: RxChecksum::Partial, segment_size: Some(1000) };
const ABLE: Capabilities =
    Capabilities { tx_checksum: true, tx_segmentation: Some(65_535), tx_datagrams: true };

fn pass_large(host: &mut Host, header: &Header, payload: &[u8]) -> Vec<(TxOffload, Vec<u8>)> {
    host.shard.receive(host.now, ETH, &transit(header, payload), LARGE);
    let mut device = Device::default();
    assert!(!host.shard.poll_transmit(host.now, FAR, &mut device));
    device.0
}

const LARGE_TCP: Header = Header { protocol: Protocol::TCP, dont_fragment: true, ..TRANSIT };

#[test]
fn large_frames_pass_whole_to_a_device_that_cuts_them() {
    let routing = RoutingSettings { forward: true, ..RoutingSettings::default() };
    let mut host = router_with(1500, ABLE, routing);
    let payload = large_segment(20_000);
    let sent = pass_large(&mut host, &LARGE_TCP, &payload);
    let [(offload, frame)] = sent.as_slice() else { panic!("{} frames", sent.len()) };
    let segmentation =
        Segmentation { kind: Default::default(), segment_size: 1000, header_len: 54 };
    assert_eq!(offload.segmentation, Some(segmentation));
    assert_eq!(offload.checksum.map(|partial| (partial.start, partial.offset)), Some((34, 16)));
    let passed = read_packet(frame).1;
    assert_eq!((passed.header.ttl, passed.payload), (63, &payload[..]));
}

#[test]
fn large_frames_are_cut_for_a_device_that_can_not() {
    let mut host = router(1500);
    let payload = large_segment(2500);
    let sent = pass_large(&mut host, &LARGE_TCP, &payload);
    let mut joined = Vec::new();
    for (index, (offload, frame)) in sent.iter().enumerate() {
        assert_eq!(*offload, TxOffload::default());
        let (_, packet) = read_packet(frame);
        let segment = packet.payload;
        let len = segment.len() as u16;
        let sum = Sum::pseudo_header(PEER, FAR_HOST, 6, len).add(Sum::of(segment));
        assert_eq!(sum.finish(), 0, "checksum of segment {index}");
        let sequence = u32::from_be_bytes(segment[4..8].try_into().expect("four bytes"));
        assert_eq!(sequence, 0xffff_ff00_u32.wrapping_add(joined.len() as u32));
        // CWR on the first, PSH and FIN on the last.
        assert_eq!(segment[13], [0x90, 0x10, 0x19][index], "flags of segment {index}");
        assert_eq!(packet.header.identification, 99 + index as u16);
        joined.extend_from_slice(&segment[20..]);
    }
    assert_eq!((sent.len(), &joined[..]), (3, &payload[20..]));
}

#[test]
fn large_datagrams_are_cut() {
    let mut host = router(1500);
    let data = [7; 2100];
    let payload = udp(&TRANSIT, 1000, 2000, &data);
    let sent = pass_large(&mut host, &TRANSIT, &payload);
    let lens: Vec<_> = sent
        .iter()
        .map(|(_, frame)| {
            let (_, packet) = read_packet(frame);
            let len = packet.payload.len() as u16;
            let sum = Sum::pseudo_header(PEER, FAR_HOST, 17, len).add(Sum::of(packet.payload));
            assert_eq!(sum.finish(), 0);
            narrows_wire::udp::Header::parse(packet.payload).expect("a datagram").1.len()
        })
        .collect();
    assert_eq!(lens, [1000, 1000, 100]);
}

#[test]
fn segments_too_long_for_the_next_link_are_told_so() {
    for (mtu, passes) in [(1040, true), (1039, false)] {
        let routing = RoutingSettings { forward: true, ..RoutingSettings::default() };
        let mut host = router_with(mtu, ABLE, routing);
        let sent = pass_large(&mut host, &LARGE_TCP, &large_segment(20_000));
        assert_eq!(sent.len(), usize::from(passes), "{mtu}");
        assert_eq!(host.dropped(DropReason::MessageTooLong), u64::from(!passes));
    }
}

#[test]
fn a_checksum_nobody_computed_is_completed() {
    let mut host = router(1500);
    let payload = large_segment(100);
    let offload = RxOffload { segment_size: None, ..LARGE };
    host.shard.receive(host.now, ETH, &transit(&LARGE_TCP, &payload), offload);
    let mut sink = Collector::default();
    assert!(!host.shard.poll_transmit(host.now, FAR, &mut sink));
    let (_, packet) = read_packet(&sink.frames[0]);
    let sum = Sum::pseudo_header(PEER, FAR_HOST, 6, 120).add(Sum::of(packet.payload));
    assert_eq!(sum.finish(), 0);
}

/// What `pass` was given, in one piece, and what its device is asked to do.
fn passed(host: &mut Host, bytes: &[u8], offload: RxOffload) -> Option<(TxOffload, Vec<u8>)> {
    let mut given = None;
    host.shard.receive_and_pass(host.now, ETH, bytes, offload, |to, offload, header, payload| {
        assert_eq!(to, FAR);
        given = Some((offload, [header, payload].concat()));
        true
    });
    given
}

/// The short way gives the same frames as the long one.
#[test]
fn what_leaves_at_once_is_what_would_have_waited() {
    let routing = RoutingSettings { forward: true, ..RoutingSettings::default() };
    let small = udp(&TRANSIT, 1000, 2000, b"x");
    let mut datagrams = udp(&TRANSIT, 1000, 2000, &[7; 2100]);
    let sum = Sum::pseudo_header(PEER, FAR_HOST, 17, 2108).fold();
    datagrams[6..8].copy_from_slice(&sum.to_be_bytes());
    let [plain, partial] = [RxChecksum::Unverified, RxChecksum::Partial]
        .map(|checksum| RxOffload { checksum, segment_size: None });
    for (header, payload, offload) in [
        (TRANSIT, &small, plain),
        (Header { more_fragments: true, ..TRANSIT }, &small, plain),
        (LARGE_TCP, &large_segment(20_000), LARGE),
        (LARGE_TCP, &large_segment(100), partial),
        (TRANSIT, &datagrams, LARGE),
    ] {
        let mut bytes = transit(&header, payload);
        // Padding stays behind.
        bytes.extend([0xee; 5]);
        let mut host = router_with(1500, ABLE, routing);
        let given = passed(&mut host, &bytes, offload).expect("it passes");
        assert!(host.shard.egress.is_empty(FAR));
        let counted = (host.shard.counters.packets_forwarded, host.shard.counters.frames_sent);
        let mut other = router_with(1500, ABLE, routing);
        other.shard.receive(other.now, ETH, &bytes, offload);
        let mut device = Device::default();
        assert!(!other.shard.poll_transmit(other.now, FAR, &mut device));
        assert!([given] == device.0.as_slice(), "{header:?}");
        let expected = (other.shard.counters.packets_forwarded, other.shard.counters.frames_sent);
        assert_eq!(counted, expected);
    }
}

#[test]
fn what_can_not_leave_at_once_waits_its_turn() {
    let routing = RoutingSettings { forward: true, ..RoutingSettings::default() };
    let (small, large) = (transit(&TRANSIT, &datagram(4)), large_segment(2000));
    let large = transit(&LARGE_TCP, &large);
    let plain = RxOffload::default();
    // Its device has no room.
    let mut host = router_with(1500, ABLE, routing);
    let refuse = |_, _: TxOffload, _: &[u8], _: &[u8]| false;
    host.shard.receive_and_pass(host.now, ETH, &small, plain, refuse);
    assert_eq!(host.shard.egress.frames(FAR), 1);
    // Another waits already.
    assert_eq!(passed(&mut host, &small, plain), None);
    assert_eq!((host.sent_on(FAR).len(), host.drops()), (2, vec![]));
    assert!(passed(&mut host, &small, plain).is_some());
    // The device can't do what is left to do.
    let mut host = router(1500);
    assert_eq!(passed(&mut host, &large, LARGE), None);
    assert_eq!(host.sent_on(FAR).len(), 2);
    // The sum of the whole is to become one of the pieces.
    let mut host = router_with(1500, ABLE, routing);
    let verified = RxOffload { checksum: RxChecksum::Verified, ..LARGE };
    assert_eq!(passed(&mut host, &large, verified), None);
    // Nobody knows yet where the next hop is.
    let silent = Header { destination: Ipv4Addr::new(10, 1, 0, 99), ..TRANSIT };
    assert_eq!(passed(&mut host, &transit(&silent, &datagram(4)), plain), None);
    // A packet socket is to see it.
    let packet = Request::OpenPacket { cooked: false, protocol: 3 };
    host.request(packet);
    assert_eq!(passed(&mut host, &small, plain), None);
    // It is for this host.
    let here = Header { destination: crate::layer::fixture::OWN, ..TRANSIT };
    assert_eq!(passed(&mut host, &transit(&here, &datagram(4)), plain), None);
}

/// Whatever a frame says of itself: no panic, and nothing leaves that is longer than the link takes.
#[test]
fn lying_frames() {
    let mut random = crate::random::Random::new([8; 16]);
    let mut host = router(576);
    for _ in 0..20_000 {
        let len = random.below(3000) as usize;
        let mut payload = large_segment(len);
        for _ in 0..random.below(4) {
            let at = random.below(24) as usize % payload.len();
            payload[at] = random.next_u32() as u8;
        }
        payload.truncate(random.below(3000) as usize);
        let protocol = Protocol([1, 6, 17, 99][random.below(4) as usize]);
        let header = Header {
            protocol,
            dont_fragment: random.below(2) == 0,
            more_fragments: random.below(8) == 0,
            fragment_offset: if random.below(8) == 0 { random.below(8191) as u16 * 8 } else { 0 },
            ..TRANSIT
        };
        let checksum = [RxChecksum::Unverified, RxChecksum::Verified, RxChecksum::Partial];
        let offload = RxOffload {
            checksum: checksum[random.below(3) as usize],
            segment_size: (random.below(2) == 0).then(|| random.below(1600) as u16),
        };
        let (mut near, mut far) = (Device::default(), Device::default());
        far.0.extend(passed(&mut host, &transit(&header, &payload), offload));
        while host.shard.poll_transmit(host.now, FAR, &mut far) {}
        while host.shard.poll_transmit(host.now, ETH, &mut near) {}
        for (offload, frame) in far.0.iter().chain(&near.0) {
            assert!(frame.len() <= 14 + 576 && *offload == TxOffload::default());
        }
    }
}
