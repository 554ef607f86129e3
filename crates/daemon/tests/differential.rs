//! The same frames to the kernel and to the engine: their answers are the same.
//!
//! A tester with a packet socket sends generated packets to a kernel in a namespace of its own, and
//! hands the same bytes to a shard that has the kernel's addresses. What differs on purpose is left
//! out of the generator, with the reason beside it.

use anyhow::{Context, Result, ensure};
use narrows_device::{Device, DeviceSpec, link};
use narrows_stack::{
    Config, Instant, InterfaceId, Reply, Request, Shard, Sink,
    random::Random,
    request::Principal,
    table::{interface::InterfaceSettings, route::RoutingSettings},
};
use narrows_testbed::{Network, as_root};
use narrows_wire::{
    address::{MacAddr, Prefix},
    arp,
    checksum::Sum,
    ethernet::{self, EtherType},
    icmpv4,
    ipv4::{self, Protocol},
    offload::{Capabilities, RxOffload, TxOffload},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs,
    net::Ipv4Addr,
    time::{Duration, Instant as Clock},
};

const TESTER: Ipv4Addr = Network::NARROWS_ADDRESS;
const HOST: Ipv4Addr = Network::KERNEL_ADDRESS;
const PATIENCE: Duration = Duration::from_secs(5);
/// Of the echo request that ends a probe.
const SENTINEL: u16 = 0xbeef;
const PROBES: u32 = 6000;

/// One experiment: some IPv4 packets in a row.
#[derive(Debug)]
struct Probe {
    what: &'static str,
    packets: Vec<Vec<u8>>,
}

/// What an answer says, without what any host may choose (identification, and how much it quotes).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    protocol: u8,
    ttl: u8,
    message: Vec<u8>,
}

#[test]
fn icmp_answers_and_reassembly_are_the_kernels() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let mut kernel = Kernel::new(&network)?;
        let mut engine = Engine::new(kernel.mac, kernel.device.mac())?;
        let mut random = Random::new(*b"differential now");
        let mut different = Vec::new();
        let mut answered = 0;
        for number in 0..PROBES {
            let probe = probe(&mut random, number);
            let expected = kernel.ask(&probe, number as u16)?;
            let came = engine.ask(&probe);
            answered += usize::from(!expected.is_empty());
            if expected != came {
                let Probe { what, packets } = probe;
                different.push(format!(
                    "{what}: {packets:x?}\n kernel {expected:x?}\n engine {came:x?}"
                ));
            }
        }
        ensure!(different.is_empty(), "{} differ: {}", different.len(), different[0]);
        // The generator makes what is answered and what is not.
        ensure!((1000..5000).contains(&answered), "{answered} of {PROBES} were answered");
        Ok(())
    })
}

/// A packet socket on the wire to the kernel.
struct Kernel {
    device: Device,
    mac: MacAddr,
}

impl Kernel {
    fn new(network: &Network) -> Result<Self> {
        let spec: DeviceSpec = format!("packet:{}", Network::NARROWS_INTERFACE).parse()?;
        let device = network.narrows.run(|| Device::open(&spec))??;
        let end = network.kernel.run(|| link::find(Network::KERNEL_INTERFACE))??;
        let mac = end.and_then(|link| link.mac).context("the kernel's end")?;
        // Errors are limited by destination, and there is but one here; and in all.
        let limits = [
            ("icmp_ratelimit", "0"),
            ("icmp_msgs_per_sec", "100000"),
            ("icmp_msgs_burst", "10000"),
        ];
        for (name, value) in limits {
            network.kernel.run(|| fs::write(format!("/proc/sys/net/ipv4/{name}"), value))??;
        }
        let mut kernel = Self { device, mac };
        kernel.introduce()?;
        Ok(kernel)
    }

    /// Asks for the kernel's MAC, from which it learns ours.
    fn introduce(&mut self) -> Result<()> {
        let request = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: self.device.mac(),
            sender_ip: TESTER,
            target_mac: MacAddr::ZERO,
            target_ip: HOST,
        };
        let mut bytes = [0; arp::LEN];
        request.emit(&mut bytes);
        self.send(EtherType::ARP, &bytes)?;
        self.wait_for(|ether_type, _| ether_type == EtherType::ARP)
    }

    fn send(&mut self, ether_type: EtherType, packet: &[u8]) -> Result<()> {
        let header =
            ethernet::Header { destination: self.mac, source: self.device.mac(), ether_type };
        let mut bytes = [0; ethernet::HEADER_LEN];
        header.emit(&mut bytes);
        self.device.send(TxOffload::default(), &[&bytes, packet].concat(), [&[], &[]]);
        Ok(self.device.flush()?)
    }

    /// Looks at frames until `done` says of one that it was the last.
    fn wait_for(&mut self, mut done: impl FnMut(EtherType, &[u8]) -> bool) -> Result<()> {
        let deadline = Clock::now() + PATIENCE;
        let mut finished = false;
        while !finished {
            ensure!(Clock::now() < deadline, "the kernel does not answer");
            let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            poll(&mut [PollFd::new(&self.device.descriptor(), PollFlags::IN)], Some(&wait))?;
            self.device.receive(64, |frame, _| {
                if let Ok((header, packet)) = ethernet::Header::parse(frame) {
                    finished |= done(header.ether_type, packet);
                }
            })?;
        }
        Ok(())
    }

    /// The answers to a probe: what comes before that to the sentinel.
    fn ask(&mut self, probe: &Probe, number: u16) -> Result<Vec<Answer>> {
        for packet in &probe.packets {
            self.send(EtherType::IPV4, packet)?;
        }
        self.send(EtherType::IPV4, &echo(SENTINEL, number, &[]))?;
        let mut answers = Vec::new();
        self.wait_for(|ether_type, packet| {
            let Some(packet) = (ether_type == EtherType::IPV4).then(|| ipv4::Packet::parse(packet))
            else {
                return false;
            };
            let Ok(packet) = packet else { return false };
            if packet.header.destination != TESTER {
                return false;
            }
            let reply = icmpv4::Header::parse(packet.payload).map(|(header, _)| header);
            let end = icmpv4::Header::EchoReply { identifier: SENTINEL, sequence: number };
            if packet.header.protocol == Protocol::ICMP && reply == Ok(end) {
                return true;
            }
            answers.push(answer(&packet));
            false
        })?;
        Ok(answers)
    }
}

/// A shard with the kernel's addresses.
struct Engine {
    shard: Shard,
    interface: InterfaceId,
    now: Instant,
    host: MacAddr,
    tester: MacAddr,
}

impl Engine {
    fn new(host: MacAddr, tester: MacAddr) -> Result<Self> {
        let mut shard = Shard::new(Config::default(), [1; 16]);
        let now = Instant::from_millis(1_000_000);
        let settings = InterfaceSettings {
            name: "peer0".into(),
            mac: host,
            mtu: 1500,
            capabilities: Capabilities::default(),
            routing: RoutingSettings::default(),
        };
        let principal = Principal::default();
        let reply = shard.request(now, principal, Request::AddInterface { settings });
        let Ok(Reply::Interface(interface)) = reply else { anyhow::bail!("{reply:?}") };
        let prefix = Prefix::new(HOST.into(), Network::PREFIX_LENGTH).context("a prefix")?;
        let pin = Request::PinNeighbor { interface, address: TESTER.into(), mac: tester };
        for request in [Request::AddAddress { interface, prefix }, pin] {
            shard.request(now, principal, request).context("setting up")?;
        }
        Ok(Self { shard, interface, now, host, tester })
    }

    fn ask(&mut self, probe: &Probe) -> Vec<Answer> {
        // So late that no limit counts what went before.
        self.now += Duration::from_secs(10);
        let mut frames = Frames(Vec::new());
        while self.shard.poll_transmit(self.now, self.interface, &mut frames) {}
        frames.0.clear();
        let mut header = [0; ethernet::HEADER_LEN];
        let link = ethernet::Header {
            destination: self.host,
            source: self.tester,
            ether_type: EtherType::IPV4,
        };
        link.emit(&mut header);
        for packet in &probe.packets {
            let frame = [&header, packet.as_slice()].concat();
            self.shard.receive(self.now, self.interface, &frame, RxOffload::default());
        }
        while self.shard.poll_transmit(self.now, self.interface, &mut frames) {}
        let packets = frames.0.iter().filter_map(|frame| {
            let (header, packet) = ethernet::Header::parse(frame).ok()?;
            let packet = (header.ether_type == EtherType::IPV4).then_some(packet)?;
            ipv4::Packet::parse(packet).ok().map(|packet| answer(&packet))
        });
        packets.collect()
    }
}

struct Frames(Vec<Vec<u8>>);

impl Sink for Frames {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, _offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        self.0.push([header, payload[0], payload[1]].concat());
    }
}

fn answer(packet: &ipv4::Packet<'_>) -> Answer {
    let mut message = packet.payload.to_vec();
    let error = packet.header.protocol == Protocol::ICMP && matches!(message[0], 3 | 11 | 12);
    if error {
        // Of the quoted packet its header and eight bytes are what counts; the sum covers all.
        message.truncate(icmpv4::HEADER_LEN + ipv4::HEADER_LEN + 8);
        message[2..4].fill(0);
    }
    Answer { protocol: packet.header.protocol.0, ttl: packet.header.ttl, message }
}

/// An IPv4 packet to the host, right in every respect.
fn ip(protocol: Protocol, payload: &[u8], change: impl FnOnce(&mut ipv4::Header)) -> Vec<u8> {
    let mut header = ipv4::Header {
        tos: 0,
        identification: 1,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        source: TESTER,
        destination: HOST,
    };
    change(&mut header);
    let mut bytes = [0; ipv4::HEADER_LEN];
    header.emit(payload.len(), &mut bytes).expect("a short packet");
    [&bytes, payload].concat()
}

fn icmp(header: icmpv4::Header, data: &[u8]) -> Vec<u8> {
    let mut bytes = [0; icmpv4::HEADER_LEN];
    header.emit(data, &mut bytes);
    [&bytes, data].concat()
}

fn echo(identifier: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let message = icmp(icmpv4::Header::EchoRequest { identifier, sequence }, data);
    ip(Protocol::ICMP, &message, |_| {})
}

fn bytes(random: &mut Random, most: u32) -> Vec<u8> {
    let length = random.below(most + 1);
    (0..length).map(|_| random.below(256) as u8).collect()
}

fn udp(random: &mut Random) -> Vec<u8> {
    let data = bytes(random, 1400);
    let port = 20_000 + random.below(40_000) as u16;
    let length = (8 + data.len()) as u16;
    let fields = [40_000, port, length, 0];
    let mut datagram: Vec<u8> = fields.into_iter().flat_map(u16::to_be_bytes).collect();
    datagram.extend(data);
    let pseudo_header = Sum::pseudo_header(TESTER, HOST, Protocol::UDP.0, length);
    let checksum = match random.below(4) {
        0 => 0,
        1 => 0x1234,
        _ => pseudo_header.add(Sum::of(&datagram)).finish(),
    };
    datagram[6..8].copy_from_slice(&checksum.to_be_bytes());
    datagram
}

fn probe(random: &mut Random, number: u32) -> Probe {
    let identification = number as u16 + 100;
    let one = |what, packet| Probe { what, packets: vec![packet] };
    match random.below(10) {
        0 => one("UDP to a port that nobody has", ip(Protocol::UDP, &udp(random), |_| {})),
        1 => {
            // The kernel knows some low ones.
            let protocol = Protocol(150 + random.below(100) as u8);
            one("an unknown protocol", ip(protocol, &bytes(random, 600), |_| {}))
        }
        2 => one("an echo request", echo(7, number as u16, &bytes(random, 1400))),
        3 => {
            let mut packet = echo(7, number as u16, &bytes(random, 100));
            let at = random.below(packet.len() as u32) as usize;
            packet[at] ^= 1 << random.below(8);
            one("an echo request with a flipped bit", packet)
        }
        4 => {
            let [a, b] = [0, 1].map(|_| random.below(256) as u8);
            let addresses = [
                [127, 0, 0, a],
                [0, 0, 0, a],
                [224, a, 0, b],
                [255; 4],
                [240, a, b, 1],
                HOST.octets(),
                [10, 77, 0, 255],
            ];
            let address = Ipv4Addr::from(addresses[random.below(7) as usize]);
            let message = icmp(icmpv4::Header::EchoRequest { identifier: 7, sequence: 1 }, b"x");
            let source = random.below(2) == 0;
            let packet = ip(Protocol::ICMP, &message, |header| {
                if source { header.source = address } else { header.destination = address }
            });
            one("an address that can't be", packet)
        }
        5 => {
            // Not 13, a timestamp request: the kernel answers, we do so only if told to.
            let kind = [0, 4, 8, 9, 10, 15, 17, 30, 255][random.below(9) as usize];
            let code = random.below(4) as u8;
            let message = icmp(icmpv4::Header::Other { kind, code }, &bytes(random, 50));
            one("a type of no use, or a code", ip(Protocol::ICMP, &message, |_| {}))
        }
        6 => one("about an error", about_an_error(random)),
        7 => one("TCP to a port that nobody has", ip(Protocol::TCP, &tcp(random), |_| {})),
        8 => one("an odd header", odd_header(random, number as u16)),
        _ => Probe { what: "fragments", packets: fragments(random, identification) },
    }
}

/// A segment with any flags and options of no meaning.
fn tcp(random: &mut Random) -> Vec<u8> {
    let data = bytes(random, 50);
    let mut segment = Vec::new();
    segment.extend(40_000_u16.to_be_bytes());
    segment.extend((20_000 + random.below(40_000) as u16).to_be_bytes());
    segment.extend(random.next_u64().to_be_bytes());
    let words = random.below(8) as u16;
    segment.extend((words << 12 | random.below(256) as u16).to_be_bytes());
    segment.extend([0xff, 0xff, 0, 0, 0, 0]);
    segment.resize(segment.len().max(usize::from(words) * 4), 1);
    segment.extend(data);
    let length = segment.len() as u16;
    let sum = Sum::pseudo_header(TESTER, HOST, Protocol::TCP.0, length).add(Sum::of(&segment));
    segment[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    segment
}

/// An echo request with one field of the IPv4 header changed, and the checksum right again.
fn odd_header(random: &mut Random, number: u16) -> Vec<u8> {
    let mut packet = echo(7, number, &bytes(random, 100));
    // Version and length, service, total length, flags and offset, TTL, protocol.
    let at = [0, 1, 2, 3, 6, 8, 9][random.below(7) as usize];
    packet[at] = random.below(256) as u8;
    if at == 0 {
        // No longer than it is: what follows would be options.
        packet[0] = packet[0] & 0xf0 | random.below(6) as u8;
    }
    packet[10..12].fill(0);
    let checksum = Sum::of(&packet[..ipv4::HEADER_LEN]).finish();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// UDP in a packet that no error is sent about, or in a first fragment.
fn about_an_error(random: &mut Random) -> Vec<u8> {
    let quoted = ip(Protocol::UDP, &udp(random), |header| {
        (header.source, header.destination) = (HOST, TESTER);
    });
    let quote = &quoted[..quoted.len().min(28)];
    let code = icmpv4::Unreachable(random.below(16) as u8);
    let error = icmp(icmpv4::Header::DestinationUnreachable { code, mtu: 1400 }, quote);
    ip(Protocol::ICMP, &error, |_| {})
}

/// An echo request in pieces: in any order, some twice, some missing, some overlapping.
fn fragments(random: &mut Random, identification: u16) -> Vec<Vec<u8>> {
    let units = 2 + random.below(10) as usize;
    let data: Vec<u8> = (0..units * 8 - icmpv4::HEADER_LEN).map(|at| at as u8).collect();
    let header = icmpv4::Header::EchoRequest { identifier: 7, sequence: identification };
    let message = icmp(header, &data);
    let mut cuts: Vec<usize> = (1..units).filter(|_| random.below(3) == 0).collect();
    cuts.insert(0, 0);
    cuts.push(units);
    let mut ranges: Vec<(usize, usize)> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
    match random.below(4) {
        0 => drop(ranges.remove(random.below(ranges.len() as u32) as usize)),
        1 => ranges.push(ranges[random.below(ranges.len() as u32) as usize]),
        2 => return in_ip(&message, identification, &with_overlap(random, ranges)),
        _ => {}
    }
    shuffle(random, &mut ranges);
    in_ip(&message, identification, &ranges)
}

/// First the end of one piece and the beginning of the next in one. The kernel takes what lies
/// inside the pieces that are there for a duplicate, without a look at its bytes, and after an
/// overlap begins anew: so the overlap is no part of either, and nothing comes twice.
fn with_overlap(random: &mut Random, mut ranges: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let long = |pair: &[(usize, usize)]| pair.iter().all(|(start, end)| end - start > 1);
    let joint = ranges.windows(2).find(|pair| long(pair)).map(|pair| pair[0].1);
    shuffle(random, &mut ranges);
    if let Some(joint) = joint {
        ranges.insert(0, (joint - 1, joint + 1));
    }
    ranges
}

fn shuffle(random: &mut Random, ranges: &mut [(usize, usize)]) {
    for last in (1..ranges.len()).rev() {
        ranges.swap(last, random.below(last as u32 + 1) as usize);
    }
}

/// Pieces of an ICMP message, in units of eight bytes.
fn in_ip(message: &[u8], identification: u16, ranges: &[(usize, usize)]) -> Vec<Vec<u8>> {
    let units = message.len() / 8;
    let piece = |(start, end): &(usize, usize)| {
        ip(Protocol::ICMP, &message[start * 8..end * 8], |header| {
            header.identification = identification;
            header.fragment_offset = *start as u16 * 8;
            header.more_fragments = *end < units;
        })
    };
    ranges.iter().map(piece).collect()
}
