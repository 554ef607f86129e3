//! A host with one interface, for the tests of the layers: frames in, frames out, each of which an
//! independent parser has read.

use crate::{
    Config, Error, Instant, InterfaceId, Reply, Request, Shard, Sink, SocketId,
    counters::DropReason,
    layer::route::{Path, path_for},
    request::Principal,
    table::{
        interface::InterfaceSettings,
        route::{Placement, Query, Route, RouteFilter, TableId},
    },
    time::Duration,
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::{MacAddr, Prefix},
    arp,
    checksum::Sum,
    ethernet::{self, EtherType},
    icmpv4,
    ipv4::{self, Protocol},
    offload::{Capabilities, RxOffload, TxOffload},
    udp,
};

pub(crate) const OWN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub(crate) const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

/// Ours: 10.0.0.2/24, with a default route by the peer.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// On the link.
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Beyond the peer.
pub(crate) const REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);

pub(crate) const ETH: InterfaceId = InterfaceId(1);

pub(crate) struct Host {
    pub shard: Shard,
    pub now: Instant,
}

/// Takes every frame.
#[derive(Default)]
pub(crate) struct Collector {
    pub frames: Vec<Vec<u8>>,
}

impl Sink for Collector {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        assert_eq!(offload, TxOffload::default(), "the device offers nothing");
        self.frames.push([header, payload[0], payload[1]].concat());
    }
}

pub(crate) fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').expect("a prefix");
    Prefix::new(address.parse().expect("an address"), length.parse().expect("a length"))
        .expect("a valid prefix")
}

/// In the main table.
pub(crate) fn add_route(to: &str, interface: InterfaceId, via: Option<Ipv4Addr>) -> Request {
    let route = Route::unicast(prefix(to), interface, via);
    Request::AddRoute { route, placement: Placement::Alone }
}

pub(crate) fn remove_route(to: &str) -> Request {
    Request::RemoveRoute { filter: RouteFilter::to(prefix(to), TableId::MAIN) }
}

impl Host {
    /// Knows nobody's link address.
    pub fn new() -> Self {
        Self::with(Config::default(), [7; 16])
    }

    pub fn with(config: Config, seed: [u8; 16]) -> Self {
        let mut host = Self { shard: Shard::new(config, seed), now: Instant::from_millis(1000) };
        host.add_interface("eth0", OWN_MAC, "10.0.0.2/24");
        let via = Some(PEER);
        host.request(add_route("0.0.0.0/0", ETH, via));
        host
    }

    /// Knows the peer's link address.
    pub fn with_peer() -> Self {
        Self::new().pinned()
    }

    pub fn pinned(mut self) -> Self {
        let request = Request::PinNeighbor { interface: ETH, address: PEER.into(), mac: PEER_MAC };
        self.request(request);
        self
    }

    pub fn add_interface(&mut self, name: &str, mac: MacAddr, address: &str) -> InterfaceId {
        let settings = InterfaceSettings {
            name: name.to_owned(),
            mac,
            mtu: 1500,
            capabilities: Capabilities::default(),
            routing: Default::default(),
        };
        let Reply::Interface(interface) = self.request(Request::AddInterface { settings }) else {
            panic!("no interface")
        };
        self.request(Request::AddAddress { interface, prefix: prefix(address) });
        interface
    }

    pub fn request(&mut self, request: Request) -> Reply {
        self.shard.request(self.now, Principal::user(1), request).expect("granted")
    }

    /// A bound datagram socket.
    pub fn socket(&mut self, open: Request, local: (Ipv4Addr, u16)) -> SocketId {
        let Reply::Socket(socket) = self.request(open) else { panic!("no socket") };
        let local = SocketAddr::new(local.0.into(), local.1);
        self.request(Request::Bind { socket, local });
        socket
    }

    pub fn receive(&mut self, frame: &[u8]) {
        self.receive_on(ETH, frame);
    }

    pub fn receive_on(&mut self, interface: InterfaceId, frame: &[u8]) {
        self.shard.receive(self.now, interface, frame, RxOffload::default());
    }

    /// Receives a frame that goes no further, and says why.
    pub fn refused(&mut self, frame: &[u8]) -> DropReason {
        let before = self.drops();
        self.receive(frame);
        let mut new = self.drops();
        new.retain(|drop| !before.contains(drop));
        match new.as_slice() {
            [(reason, _)] => *reason,
            others => panic!("not one reason: {others:?}"),
        }
    }

    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        self.shard.counters.drops().collect()
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.shard.counters.dropped(reason)
    }

    /// What leaves by the interface, with what it does for itself in between.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        self.sent_on(ETH)
    }

    pub fn sent_on(&mut self, interface: InterfaceId) -> Vec<Vec<u8>> {
        let mut sink = Collector::default();
        loop {
            let looped = self.shard.loop_back(self.now);
            let transmitted = self.shard.poll_transmit(self.now, interface, &mut sink);
            if !looped && !transmitted {
                break;
            }
        }
        for frame in &sink.frames {
            etherparse::SlicedPacket::from_ethernet(frame).expect("a frame that others can read");
        }
        sink.frames
    }

    /// The one frame that leaves.
    pub fn sent_one(&mut self) -> Vec<u8> {
        let frames = self.sent();
        match <[_; 1]>::try_from(frames) {
            Ok([frame]) => frame,
            Err(frames) => panic!("not one frame: {frames:?}"),
        }
    }

    /// Lets time pass, and does what becomes due on the way.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(next) = self.shard.next_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.shard.handle_timeout(self.now);
        }
        self.now = end;
        self.shard.handle_timeout(self.now);
    }
}

/// An Ethernet frame from the peer.
pub(crate) fn frame(destination: MacAddr, ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut link = [0; ethernet::HEADER_LEN];
    ethernet::Header { destination, source: PEER_MAC, ether_type }.emit(&mut link);
    [&link[..], payload].concat()
}

/// A packet from the peer to us; tests change what they are about.
pub(crate) const PACKET: ipv4::Header = ipv4::Header {
    tos: 0,
    identification: 99,
    dont_fragment: false,
    more_fragments: false,
    fragment_offset: 0,
    ttl: 64,
    protocol: Protocol::UDP,
    source: PEER,
    destination: OWN,
};

pub(crate) fn packet(header: &ipv4::Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0; ipv4::HEADER_LEN];
    header.emit(payload.len(), &mut bytes).expect("short enough");
    [&bytes[..], payload].concat()
}

/// A packet in a frame to us.
pub(crate) fn packet_frame(header: &ipv4::Header, payload: &[u8]) -> Vec<u8> {
    frame(OWN_MAC, EtherType::IPV4, &packet(header, payload))
}

pub(crate) fn arp_frame(packet: &arp::Packet) -> Vec<u8> {
    let mut body = [0; arp::LEN];
    packet.emit(&mut body);
    frame(MacAddr::BROADCAST, EtherType::ARP, &body)
}

/// A datagram with its checksum.
pub(crate) fn udp(header: &ipv4::Header, source: u16, destination: u16, data: &[u8]) -> Vec<u8> {
    let len = data.len() as u16;
    let mut header_bytes = [0; udp::HEADER_LEN];
    let mut udp_header =
        udp::Header { source_port: source, destination_port: destination, checksum: 0 };
    udp_header.emit(len, &mut header_bytes);
    let sum = Sum::pseudo_header(header.source, header.destination, 17, len + 8)
        .add(Sum::of(&header_bytes))
        .add(Sum::of(data));
    udp_header.checksum = sum.finish();
    udp_header.emit(len, &mut header_bytes);
    [&header_bytes[..], data].concat()
}

pub(crate) fn icmp(header: &icmpv4::Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0; icmpv4::HEADER_LEN];
    header.emit(payload, &mut bytes);
    [&bytes[..], payload].concat()
}

/// An echo request from the peer in a frame to us.
pub(crate) fn ping(header: &ipv4::Header) -> Vec<u8> {
    let request = icmpv4::Header::EchoRequest { identifier: 5, sequence: 6 };
    let header = ipv4::Header { protocol: Protocol::ICMP, ..*header };
    packet_frame(&header, &icmp(&request, b"are you there"))
}

/// What a frame of ours carries.
pub(crate) fn read_packet(frame: &[u8]) -> (ethernet::Header, ipv4::Packet<'_>) {
    let (link, rest) = ethernet::Header::parse(frame).expect("a frame");
    assert_eq!(link.ether_type, EtherType::IPV4);
    (link, ipv4::Packet::parse(rest).expect("a packet"))
}

pub(crate) fn read_icmp(frame: &[u8]) -> (ipv4::Header, icmpv4::Header, Vec<u8>) {
    let (_, packet) = read_packet(frame);
    assert_eq!(packet.header.protocol, Protocol::ICMP);
    let (header, payload) = icmpv4::Header::parse(packet.payload).expect("a message");
    (packet.header, header, payload.to_vec())
}

pub(crate) fn read_arp(frame: &[u8]) -> (ethernet::Header, arp::Packet) {
    let (link, rest) = ethernet::Header::parse(frame).expect("a frame");
    assert_eq!(link.ether_type, EtherType::ARP);
    (link, arp::Packet::parse(rest).expect("ARP"))
}

pub(crate) fn is_arp(frame: &[u8]) -> bool {
    ethernet::Header::parse(frame).is_ok_and(|(link, _)| link.ether_type == EtherType::ARP)
}

/// The path of a packet of this host of which nothing but its addresses matters.
pub(crate) fn path(
    shard: &Shard,
    source: Option<Ipv4Addr>,
    destination: Ipv4Addr,
) -> Result<Path, Error> {
    path_for(shard, &Query { source, ..Query::to(destination) })
}
