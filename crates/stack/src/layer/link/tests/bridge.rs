use super::*;
use crate::layer::fixture::{Collector, frame, ping, read_packet};
use narrows_wire::{
    checksum::Sum,
    offload::{Capabilities, SegmentKind},
};
use std::collections::BTreeSet;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);

struct Bridged {
    host: Host,
    bridge: InterfaceId,
    ports: [InterfaceId; 3],
}

/// Three ports, and the bridge at 10.8.0.2/24.
fn bridged(settings: BridgeSettings) -> Bridged {
    let mut host = Host::new();
    let ports = [1, 2, 3].map(|n| host.add_device(&format!("p{n}"), MacAddr([6, 0, 0, 0, 0, n])));
    let bridge = host.add_link("br0", NewLink::Bridge(settings));
    host.enslave(&ports, bridge);
    host.address(bridge, "10.8.0.2/24");
    let mut bridged = Bridged { host, bridge, ports };
    bridged.counts();
    bridged
}

fn station(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 9, number])
}

/// The bridge's own: its first port's.
const OWN: MacAddr = MacAddr([6, 0, 0, 0, 0, 1]);

fn between(source: MacAddr, destination: MacAddr) -> Vec<u8> {
    let mut bytes = frame(destination, EtherType(0x9999), b"cargo");
    bytes[6..12].copy_from_slice(&source.0);
    bytes
}

impl Bridged {
    fn counts(&mut self) -> [usize; 3] {
        self.ports.map(|port| {
            let mut sink = Collector::default();
            while self.host.shard.loop_back(self.host.now)
                || self.host.shard.poll_transmit(self.host.now, port, &mut sink)
            {}
            sink.frames.len()
        })
    }

    /// A frame comes in by a port: why it was dropped, and what left by which.
    fn carry(&mut self, port: usize, bytes: &[u8]) -> (Vec<DropReason>, [usize; 3]) {
        let reasons = self.host.refused_on(self.ports[port], bytes);
        (reasons, self.counts())
    }

    fn configure(&mut self, port: usize, change: PortChange) {
        let settings = LinkSettings::Port { port: self.ports[port], change };
        self.host.request(Request::ConfigureLink { interface: self.bridge, settings });
    }
}

#[test]
fn it_learns_who_is_where() {
    let mut bridged = bridged(BridgeSettings::default());
    let (a, b) = (station(1), station(2));
    assert_eq!(bridged.carry(0, &between(a, b)), (vec![], [0, 1, 1]));
    assert_eq!(bridged.carry(1, &between(b, a)), (vec![], [1, 0, 0]));
    assert_eq!(bridged.carry(0, &between(a, b)), (vec![], [0, 1, 0]));
    // Both behind one port: the others need not know.
    assert_eq!(bridged.carry(1, &between(station(3), b)), (vec![], [0, 0, 0]));
    let (unknown, counts) = bridged.carry(2, &between(station(4), MacAddr::BROADCAST));
    // To everybody includes us, who do not know the protocol.
    assert_eq!((unknown, counts), (vec![DropReason::UnknownEtherType], [1, 1, 0]));
    // Who moved is found again; who is silent is forgotten.
    assert_eq!(bridged.carry(2, &between(b, a)), (vec![], [1, 0, 0]));
    assert_eq!(bridged.carry(0, &between(a, b)), (vec![], [0, 0, 1]));
    bridged.host.pass(Duration::from_secs(400));
    assert_eq!(bridged.carry(0, &between(a, b)), (vec![], [0, 1, 1]));
}

#[test]
fn the_bridge_is_a_host_too() {
    let mut bridged = bridged(BridgeSettings::default());
    let header = ipv4::Header { source: THEIRS, destination: OURS, ..PACKET };
    let mut request = ping(&header);
    request[..6].copy_from_slice(&OWN.0);
    bridged.host.know(bridged.bridge, THEIRS, PEER_MAC);
    assert_eq!(bridged.carry(1, &request), (vec![], [0, 1, 0]));
    // An unknown next hop is asked for on all ports, and TCP finds the one it is behind.
    let far = Ipv4Addr::new(10, 8, 0, 7);
    bridged.host.know(bridged.bridge, far, station(7));
    let Reply::Socket(socket) = bridged.host.request(Request::OpenTcp) else { panic!("no socket") };
    bridged.host.request(Request::Connect { socket, remote: SocketAddr::new(far.into(), 80) });
    assert_eq!(bridged.counts(), [1, 1, 1]);
    bridged.carry(2, &between(station(7), OWN));
    bridged.host.pass(Duration::from_millis(1500));
    assert_eq!(bridged.counts(), [0, 0, 1]);
}

#[test]
fn ports_defend_the_others() {
    let mut bridged = bridged(BridgeSettings { flood_limit: 20, ..BridgeSettings::default() });
    let (a, b) = (station(1), station(2));
    bridged.configure(0, PortChange::Bind(Some(BTreeSet::from([a]))));
    bridged.configure(1, PortChange::Pin(b));
    for (port, frame, reason) in [
        (0, between(b, a), DropReason::BridgeSpoofed),
        (2, between(b, a), DropReason::BridgeSpoofed),
        (1, between(MacAddr::BROADCAST, a), DropReason::BridgeSpoofed),
        (1, between(MacAddr::ZERO, a), DropReason::BridgeSpoofed),
        (1, between(b, narrows_wire::lacp::DESTINATION), DropReason::BridgeReserved),
    ] {
        assert_eq!(bridged.carry(port, &frame), (vec![reason], [0, 0, 0]), "{frame:02x?}");
    }
    // A storm: two frames at once, then twenty a second.
    let storm = between(station(5), station(6));
    let mut passed = 0;
    for _ in 0..100 {
        passed += usize::from(bridged.carry(2, &storm).0.is_empty());
    }
    assert_eq!(passed, 2);
    assert_eq!(bridged.carry(1, &between(b, station(6))).0, [], "limits are per port");
    bridged.host.pass(Duration::from_secs(1));
    assert_eq!(bridged.carry(2, &storm).0, []);
}

#[test]
fn a_loop_closes_its_port_for_a_while() {
    let mut bridged = bridged(BridgeSettings::default());
    let ours = between(OWN, MacAddr::BROADCAST);
    assert_eq!(bridged.carry(1, &ours).0, [DropReason::BridgeLoop]);
    let other = between(station(1), station(2));
    assert_eq!(bridged.carry(1, &other), (vec![DropReason::BridgePortClosed], [0, 0, 0]));
    assert_eq!(bridged.carry(0, &other), (vec![], [0, 0, 1]));
    bridged.host.pass(Duration::from_secs(11));
    assert_eq!(bridged.carry(1, &other), (vec![], [1, 0, 1]));
    // One station everywhere at once is a loop between two of our ports.
    let mut closed = false;
    for turn in 0..100 {
        let (reasons, _) = bridged.carry(turn % 2, &other);
        closed |= reasons == [DropReason::BridgeLoop];
    }
    assert!(closed);
}

#[test]
fn addresses_learned_have_a_limit() {
    let settings = BridgeSettings { max_addresses: 8, ..BridgeSettings::default() };
    let mut bridged = bridged(settings);
    for number in 0..100 {
        bridged.carry(0, &between(station(number), station(200)));
    }
    let known = bridged.host.shard.links.get(bridged.bridge).and_then(|link| link.bridge());
    assert_eq!(known.map(|bridge| bridge.entries().count()), Some(8));
    // Who is not known is reached by flooding.
    assert_eq!(bridged.carry(1, &between(station(201), station(50))).1, [1, 0, 1]);
}

/// Frames of another station as its machine's kernel leaves them to devices: a checksum not yet
/// made, segments not yet cut.
#[test]
fn what_a_sender_left_to_devices_is_left_to_ours() {
    let mut bridged = bridged(BridgeSettings::default());
    let mut segment = vec![0; 20 + 3000];
    segment[12] = 5 << 4;
    segment[16..18].copy_from_slice(&[0xaa, 0xaa]);
    let header = ipv4::Header { protocol: ipv4::Protocol::TCP, ..PACKET };
    let mut bytes = crate::layer::fixture::packet_frame(&header, &segment);
    bytes[..6].copy_from_slice(&station(9).0);
    let offload = RxOffload { checksum: RxChecksum::Partial, segment_size: Some(1460) };
    let now = bridged.host.now;
    bridged.host.shard.receive(now, bridged.ports[0], &bytes, offload);
    // These can't do anything, and get what leaves in the end.
    for port in &bridged.ports[1..] {
        let mut data = Vec::new();
        for piece in bridged.host.sent_on(*port) {
            let packet = read_packet(&piece).1;
            let len = packet.payload.len() as u16;
            let sum = Sum::pseudo_header(PACKET.source, PACKET.destination, 6, len);
            assert_eq!(sum.add(Sum::of(packet.payload)).finish(), 0);
            data.push(packet.payload.len() - 20);
        }
        assert_eq!(data, [1460, 1460, 80]);
    }
    assert_eq!(bridged.host.drops(), []);
    for port in bridged.ports {
        let able =
            Capabilities { tx_checksum: true, tx_segmentation: Some(65_535), tx_datagrams: true };
        let station = bridged.host.shard.interfaces.get_mut(port).expect("there");
        station.settings.capabilities = able;
    }
    bridged.host.shard.receive(now, bridged.ports[0], &bytes, offload);
    let frame = bridged.host.shard.egress.pop(bridged.ports[1]).expect("a frame");
    let checksum = frame.offload.checksum.expect("to be made");
    let cut = frame.offload.segmentation.expect("to be cut");
    assert_eq!((checksum.start, checksum.offset), (34, 16));
    assert_eq!((cut.segment_size, cut.header_len), (1460, 54));
    assert_eq!(read_packet(&frame.bytes).1.payload.len(), segment.len());
    // The pseudo-header's sum, for the whole length.
    let sum = Sum::pseudo_header(PACKET.source, PACKET.destination, 6, 3020);
    assert_eq!(frame.bytes[50..52], sum.fold().to_be_bytes());
    // The kinds of segments that kernels leave to devices.
    let v6 = |next: u8, transport: &[u8]| {
        let mut header = [0; 40];
        header[0] = 6 << 4;
        header[4..6].copy_from_slice(&(transport.len() as u16).to_be_bytes());
        header[6] = next;
        let mut frame = between(station(8), station(9));
        frame.truncate(12);
        [&frame[..], &[0x86, 0xdd], &header, transport].concat()
    };
    let udp = ipv4::Header { protocol: ipv4::Protocol::UDP, ..PACKET };
    let mut datagrams = crate::layer::fixture::packet_frame(&udp, &[0; 2000]);
    datagrams[..6].copy_from_slice(&station(9).0);
    for (bytes, kind, header_len) in [
        (v6(6, &segment), SegmentKind::TcpIpv6, 74),
        (v6(17, &[0; 2000]), SegmentKind::Udp, 62),
        (datagrams, SegmentKind::Udp, 42),
    ] {
        bridged.host.shard.receive(now, bridged.ports[0], &bytes, offload);
        let frame = bridged.host.shard.egress.pop(bridged.ports[1]).expect("a frame");
        let cut = frame.offload.segmentation.expect("to be cut");
        assert_eq!((cut.kind, cut.header_len), (kind, header_len));
    }
    // What can't be told apart is not sent as something it is not.
    for bytes in [v6(44, &segment), v6(6, &[]), v6(6, &segment)[..40].to_vec()] {
        let before = bridged.host.dropped(DropReason::OffloadUnsupported);
        bridged.host.shard.receive(now, bridged.ports[0], &bytes, offload);
        assert_eq!(bridged.host.dropped(DropReason::OffloadUnsupported), before + 1);
    }
    // A tag moves everything along.
    let vlan = NewLink::Vlan { lower: ETH, tag: customer(4) };
    let vlan = bridged.host.add_link("v", vlan);
    bridged.host.enslave(&[vlan], bridged.bridge);
    let station = bridged.host.shard.interfaces.get_mut(ETH).expect("there");
    station.settings.capabilities =
        Capabilities { tx_checksum: true, tx_segmentation: Some(65_535), tx_datagrams: true };
    bridged.host.shard.receive(now, bridged.ports[0], &bytes, offload);
    let frame = bridged.host.shard.egress.pop(ETH).expect("a frame");
    assert_eq!(frame.offload.checksum.map(|checksum| checksum.start), Some(38));
    assert_eq!(frame.offload.segmentation.map(|cut| cut.header_len), Some(58));
}
