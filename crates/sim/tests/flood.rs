//! A million SYNs from addresses of nobody, and a client who is served all the while.

use narrows_stack::{
    Config, Instant, InterfaceId, Reply, Request, Shard, Sink, SocketId, request::Principal,
    table::interface::InterfaceSettings, time::Duration,
};
use narrows_wire::{
    address::{MacAddr, Prefix},
    ethernet::{self, EtherType},
    ipv4::{self, Protocol},
    offload::{Capabilities, RxChecksum, RxOffload, TxOffload},
    tcp::{self, Flags, Segment},
    tcp_options::{Options, Timestamps},
};
use std::net::{Ipv4Addr, SocketAddr};

const SYNS: u32 = 1_000_000;
/// From so many addresses, whose neighbors fit into a table.
const SPOOFED: u32 = 512;
/// After each of which the client comes.
const ROUNDS: u32 = 100;
/// Of the listener. One more than that may be under way.
const BACKLOG: u32 = 100;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OWN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const ETH: InterfaceId = InterfaceId(1);

/// Keeps the last frame.
#[derive(Default)]
struct Last(Vec<u8>);

impl Sink for Last {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, _: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        self.0.clear();
        self.0.extend([header, payload[0], payload[1]].into_iter().flatten());
    }
}

struct Host {
    shard: Shard,
    now: Instant,
    last: Last,
}

impl Host {
    fn new() -> Self {
        let mut shard = Shard::new(Config::default(), [1; 16]);
        let settings = InterfaceSettings {
            name: "eth0".to_owned(),
            mac: OWN_MAC,
            mtu: 1500,
            capabilities: Capabilities::default(),
            routing: Default::default(),
        };
        let now = Instant::from_millis(1);
        let prefix = Prefix::new(OWN.into(), 8).expect("a prefix");
        for request in
            [Request::AddInterface { settings }, Request::AddAddress { interface: ETH, prefix }]
        {
            shard.request(now, Principal::HOST, request).expect("granted");
        }
        Self { shard, now, last: Last::default() }
    }

    fn request(&mut self, request: Request) -> Reply {
        self.shard.request(self.now, Principal::HOST, request).expect("granted")
    }

    fn listen(&mut self) -> SocketId {
        let Reply::Socket(socket) = self.request(Request::OpenTcp) else { panic!("no socket") };
        let local = SocketAddr::new(OWN.into(), 80);
        self.request(Request::Bind { socket, local });
        self.request(Request::Listen { socket, backlog: BACKLOG });
        socket
    }

    fn receive(&mut self, frame: &[u8]) {
        let offload = RxOffload { checksum: RxChecksum::Verified, segment_size: None };
        self.shard.receive(self.now, ETH, frame, offload);
    }

    fn transmit(&mut self) {
        while self.shard.poll_transmit(self.now, ETH, &mut self.last) {}
    }

    /// The client's segment in a frame; `port` and `source` are put in.
    fn client_sends(&mut self, port: u16, header: tcp::Header, options: &Options, text: &[u8]) {
        let header = tcp::Header { source_port: port, ..header };
        self.receive(&frame(CLIENT, header, options, text));
    }
}

fn frame(source: Ipv4Addr, header: tcp::Header, options: &Options, text: &[u8]) -> Vec<u8> {
    let mut segment = [0; tcp::MAX_HEADER_LEN];
    let len = header.emit(options, 0, &mut segment);
    let mut link = [0; ethernet::HEADER_LEN];
    ethernet::Header { destination: OWN_MAC, source: PEER_MAC, ether_type: EtherType::IPV4 }
        .emit(&mut link);
    let packet = packet(source, len + text.len());
    [&link[..], &packet, &segment[..len], text].concat()
}

fn packet(source: Ipv4Addr, len: usize) -> [u8; ipv4::HEADER_LEN] {
    let header = ipv4::Header {
        tos: 0,
        identification: 1,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: Protocol::TCP,
        source,
        destination: OWN,
    };
    let mut bytes = [0; ipv4::HEADER_LEN];
    header.emit(len, &mut bytes).expect("short enough");
    bytes
}

fn header(flags: Flags, sequence: u32, acknowledgment: u32) -> tcp::Header {
    tcp::Header {
        source_port: 1,
        destination_port: 80,
        sequence,
        acknowledgment,
        flags,
        window: 1000,
        urgent: 0,
    }
}

fn options() -> Options {
    Options {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 100, echo: 0 }),
        ..Options::default()
    }
}

/// Handshakes that go no further. SYN-ACKs leave some hundreds at a time.
fn flood(host: &mut Host, numbers: std::ops::Range<u32>) {
    const IP: usize = ethernet::HEADER_LEN;
    const TCP: usize = IP + ipv4::HEADER_LEN;
    let mut syn = frame(CLIENT, header(Flags::SYN, 999, 0), &options(), b"");
    let end = numbers.end;
    for number in numbers {
        let source = Ipv4Addr::from(0x0a01_0000 | number & (SPOOFED - 1));
        let ip = packet(source, syn.len() - TCP);
        syn[IP..TCP].copy_from_slice(&ip);
        syn[TCP..TCP + 2].copy_from_slice(&((number / SPOOFED) as u16).to_be_bytes());
        host.receive(&syn);
        if number % 256 == 255 || number + 1 == end {
            host.transmit();
        }
    }
}

/// A whole handshake with a question in it. → the socket.
fn serve(host: &mut Host, listener: SocketId, port: u16) -> SocketId {
    host.client_sends(port, header(Flags::SYN, 999, 0), &options(), b"");
    host.transmit();
    let (_, ip) = ethernet::Header::parse(&host.last.0).expect("a frame");
    let packet = ipv4::Packet::parse(ip).expect("a packet");
    let syn_ack = Segment::parse(packet.payload).expect("a segment");
    assert_eq!(syn_ack.header.destination_port, port);
    let echo = syn_ack.options.timestamps.expect("as was asked for").value;
    let acknowledgment = syn_ack.header.sequence.wrapping_add(1);
    let timestamps = Some(Timestamps { value: 101, echo });
    let answer = header(Flags::ACK, 1000, acknowledgment);
    host.client_sends(port, answer, &Options { timestamps, ..Options::default() }, b"GET");
    match host.request(Request::Accept { socket: listener }) {
        Reply::Accepted { socket, .. } => socket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_flood_of_a_million_syns_leaves_room_for_a_client() {
    let mut host = Host::new();
    for number in 0..SPOOFED {
        let address = Ipv4Addr::from(0x0a01_0000 | number).into();
        host.request(Request::PinNeighbor { interface: ETH, address, mac: PEER_MAC });
    }
    let address = CLIENT.into();
    host.request(Request::PinNeighbor { interface: ETH, address, mac: PEER_MAC });
    let listener = host.listen();
    let each = SYNS / ROUNDS;
    for round in 0..ROUNDS {
        flood(&mut host, round * each..(round + 1) * each);
        let socket = serve(&mut host, listener, 5000 + round as u16);
        let read = host.shard.receive_with(host.now, socket, 9, |bytes| {
            assert_eq!(&bytes[0][..], b"GET");
            bytes[0].len()
        });
        assert_eq!(read, Ok(3));
        host.request(Request::Abort { socket });
        host.transmit();
        // The listener and what it may have under way, however many came.
        assert!(host.shard.sockets(host.now).count() <= 2 + BACKLOG as usize);
        assert_eq!(host.shard.buffered_bytes(), 0);
        host.now += Duration::from_millis(100);
        host.shard.handle_timeout(host.now);
        host.transmit();
    }
    let counters = host.shard.counters();
    assert_eq!(counters.tcp_syn_cookies_answered, u64::from(ROUNDS));
    assert_eq!(counters.tcp_syn_cookies_refused, 0);
    assert!(counters.tcp_syn_cookies_sent > u64::from(SYNS - SYNS / 100), "nearly all");
}
