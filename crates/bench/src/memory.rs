//! What a connection that waits costs: so many are opened in the engine, each with a question and an
//! answer behind it, and the process is asked what that took. That counts all there is of a connection:
//! its socket, its place in every table, its timer, and what the allocator adds.

use anyhow::{Context, Result, bail, ensure};
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
use std::{fs, net::Ipv4Addr};

const COUNTS: [u32; 2] = [100_000, 1_000_000];
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Below it, addresses of clients.
const CLIENTS: u32 = 0x0a80_0000;
/// Connections of one client: from so many ports.
const PORTS: u32 = 50_000;
const FIRST_PORT: u16 = 10_000;
const OWN_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const ETH: InterfaceId = InterfaceId(1);
const QUESTION: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// What the peer begins with.
const IRS: u32 = 1000;
/// What is opened at a time, as long as the listener's queue.
const BATCH: u32 = 1000;

/// Prints a line for each count.
pub fn run() -> Result<()> {
    println!("{:>12} {:>18} {:>14}", "connections", "bytes each", "MiB in all");
    for count in COUNTS {
        let mut server = Server::new()?;
        let before = resident()?;
        server.open(count)?;
        let bytes = resident()?.saturating_sub(before);
        println!(
            "{count:>12} {:>18} {:>14.1}",
            bytes / u64::from(count),
            bytes as f64 / f64::from(1 << 20)
        );
    }
    Ok(())
}

/// Bytes of this process in memory.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kibibytes.context("no VmRSS in /proc/self/status")? << 10)
}

struct Server {
    shard: Shard,
    now: Instant,
    listener: SocketId,
}

/// Keeps the number and the clock of the last segment.
#[derive(Default)]
struct Last {
    sequence: u32,
    stamp: u32,
}

impl Sink for Last {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, _: TxOffload, header: &[u8], _: [&[u8]; 2]) {
        let Ok((_, ip)) = ethernet::Header::parse(header) else { return };
        let Some(segment) = ip.get(ipv4::HEADER_LEN..).map(Segment::parse) else { return };
        if let Ok(segment) = segment {
            self.sequence = segment.header.sequence;
            self.stamp = segment.options.timestamps.map_or(0, |timestamps| timestamps.value);
        }
    }
}

impl Server {
    fn new() -> Result<Self> {
        let mut shard = Shard::new(Config::default(), [3; 16]);
        let now = Instant::from_millis(1);
        let settings = InterfaceSettings {
            name: "eth0".to_owned(),
            mac: OWN_MAC,
            mtu: 1500,
            capabilities: Capabilities { tx_checksum: true, ..Capabilities::default() },
            routing: Default::default(),
        };
        let prefix = Prefix::new(OWN.into(), 8).context("a prefix")?;
        let mut request = |request| shard.request(now, Principal::HOST, request);
        request(Request::AddInterface { settings })?;
        request(Request::AddAddress { interface: ETH, prefix })?;
        let Reply::Socket(listener) = request(Request::OpenTcp)? else { bail!("no socket") };
        request(Request::Bind { socket: listener, local: (OWN, 80).into() })?;
        request(Request::Listen { socket: listener, backlog: BATCH })?;
        Ok(Self { shard, now, listener })
    }

    /// Opens so many, in batches between which time passes and answers are acknowledged.
    fn open(&mut self, count: u32) -> Result<()> {
        for number in 0..count {
            self.open_one(number).with_context(|| format!("connection {number}"))?;
            if number % BATCH == BATCH - 1 {
                self.now += Duration::from_millis(100);
                self.shard.handle_timeout(self.now);
                while self.shard.poll_event().is_some() {}
            }
        }
        ensure!(self.shard.buffered_bytes() == 0, "idle connections hold buffers");
        Ok(())
    }

    fn open_one(&mut self, number: u32) -> Result<()> {
        let client = Ipv4Addr::from(CLIENTS + number / PORTS);
        let port = FIRST_PORT + (number % PORTS) as u16;
        if number.is_multiple_of(PORTS) {
            let pin =
                Request::PinNeighbor { interface: ETH, address: client.into(), mac: PEER_MAC };
            self.request(pin)?;
        }
        let mut peer = Peer { client, port, ack: 0, echo: 0 };
        self.receive(&peer.segment(Flags::SYN, 0, b""));
        let syn_ack = self.transmit();
        (peer.ack, peer.echo) = (syn_ack.sequence.wrapping_add(1), syn_ack.stamp);
        self.receive(&peer.segment(Flags::ACK.with(Flags::PSH), 1, QUESTION));
        let accepted = self.request(Request::Accept { socket: self.listener })?;
        let Reply::Accepted { socket, .. } = accepted else { bail!("nothing to accept") };
        self.shard.receive_with(self.now, socket, QUESTION.len(), |text| text[0].len())?;
        let answer = |room: &mut [std::io::IoSliceMut<'_>; 2]| {
            let taken = room[0].len().min(QUESTION.len());
            room[0][..taken].copy_from_slice(&QUESTION[..taken]);
            taken
        };
        self.shard.send_with(self.now, socket, QUESTION.len(), answer)?;
        peer.echo = self.transmit().stamp;
        peer.ack = peer.ack.wrapping_add(QUESTION.len() as u32);
        self.receive(&peer.segment(Flags::ACK, 1 + QUESTION.len() as u32, b""));
        self.transmit();
        Ok(())
    }

    fn request(&mut self, request: Request) -> Result<Reply> {
        Ok(self.shard.request(self.now, Principal::HOST, request)?)
    }

    fn receive(&mut self, frame: &[u8]) {
        let offload = RxOffload { checksum: RxChecksum::Verified, segment_size: None };
        self.shard.receive(self.now, ETH, frame, offload);
    }

    fn transmit(&mut self) -> Last {
        let mut last = Last::default();
        while self.shard.poll_transmit(self.now, ETH, &mut last) {}
        last
    }
}

struct Peer {
    client: Ipv4Addr,
    port: u16,
    ack: u32,
    echo: u32,
}

impl Peer {
    /// `at`: from the number of the SYN.
    fn segment(&self, flags: Flags, at: u32, text: &[u8]) -> Vec<u8> {
        let header = tcp::Header {
            source_port: self.port,
            destination_port: 80,
            sequence: IRS + at,
            acknowledgment: self.ack,
            flags,
            window: u16::MAX,
            urgent: 0,
        };
        let timestamps = Some(Timestamps { value: 1 + at, echo: self.echo });
        let options = match flags.syn() {
            true => Options {
                mss: Some(1460),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps,
                ..Options::default()
            },
            false => Options { timestamps, ..Options::default() },
        };
        let mut segment = [0; tcp::MAX_HEADER_LEN];
        let len = header.emit(&options, 0, &mut segment);
        let ip = ipv4::Header {
            tos: 0,
            identification: 1,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: Protocol::TCP,
            source: self.client,
            destination: OWN,
        };
        let mut packet = [0; ipv4::HEADER_LEN];
        // A header and a short line always fit.
        let _ = ip.emit(len + text.len(), &mut packet);
        let mut link = [0; ethernet::HEADER_LEN];
        let ether_type = EtherType::IPV4;
        ethernet::Header { destination: OWN_MAC, source: PEER_MAC, ether_type }.emit(&mut link);
        [&link[..], &packet, &segment[..len], text].concat()
    }
}
