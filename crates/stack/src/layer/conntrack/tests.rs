//! A router that translates, with anything coming from both sides.

use crate::{
    InterfaceId,
    filter::{
        Filter, Hook,
        chain::{BaseChain, Chain},
        field::{CtField, Field},
        ranges::Ranges,
        rule::{Place, Ports, Rule, Step, To, Translate, Verdict},
        state::State,
    },
    layer::fixture::*,
    random::Random,
    request::Request,
    table::route::RoutingSettings,
    time::Duration,
};
use core::net::Ipv4Addr;
use narrows_wire::{
    address::MacAddr,
    checksum::Sum,
    icmpv4::{self, Unreachable},
    ipv4::{self, Packet, Protocol},
    rewrite::End,
};

const INSIDE: InterfaceId = InterfaceId(2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const SERVICE: u16 = 8080;

fn translate(end: End, place: Place, ports: Option<(u16, u16)>) -> Step {
    let to = To::Place(place);
    let ports = ports.map(|(low, high)| Ports::Range(low, high));
    Step::Translate(Translate { end, to, ports, random: false, persistent: false })
}

/// Masquerades the client behind [`OWN`], whose service at 8080 it is; nobody else gets in.
fn router() -> Host {
    let mut host = Host::with_peer();
    host.add_interface("eth1", MacAddr([2, 0, 0, 0, 0, 3]), "10.8.0.254/24");
    let pin = Request::PinNeighbor { interface: INSIDE, address: CLIENT.into(), mac: CLIENT_MAC };
    host.request(pin);
    for interface in [ETH, INSIDE] {
        let routing = RoutingSettings { forward: true, ..RoutingSettings::default() };
        host.request(Request::SetRouting { interface, routing });
    }
    let service = Rule {
        steps: [
            Step::Match {
                field: Field::DestinationPort,
                mask: u128::MAX,
                ranges: Ranges::one(SERVICE.into()),
                negate: false,
            },
            translate(End::Destination, Place::Range(CLIENT, CLIENT), Some((80, 80))),
        ]
        .into(),
    };
    let out = Rule {
        steps: [
            Step::Match {
                field: Field::OutputInterface,
                mask: u128::MAX,
                ranges: Ranges::one(ETH.0.into()),
                negate: false,
            },
            translate(End::Source, Place::Interface, None),
        ]
        .into(),
    };
    let invalid = Step::Match {
        field: Field::Ct(CtField::State),
        mask: 1,
        ranges: Ranges::one(0),
        negate: true,
    };
    let drop_invalid = Rule { steps: [invalid, Step::Verdict(Verdict::Drop)].into() };
    let chains =
        vec![Chain::new(vec![service]), Chain::new(vec![out]), Chain::new(vec![drop_invalid])];
    let mut filter = Filter::new(chains, Vec::new(), State::default()).expect("a ruleset");
    let base =
        |chain, priority, nat| BaseChain { chain, priority, accept: true, nat, device: None };
    for (hook, base) in [
        (Hook::Prerouting, base(0, -100, true)),
        (Hook::Postrouting, base(1, 100, true)),
        (Hook::Forward, base(2, 0, false)),
    ] {
        filter.hook(hook, base).expect("a chain");
    }
    host.shard.set_filter(Some(filter));
    host
}

fn from_inside(header: &ipv4::Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = packet_frame(header, payload);
    bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, 3]);
    bytes
}

fn datagram(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16)) -> (ipv4::Header, Vec<u8>) {
    let header = ipv4::Header { source: source.0, destination: destination.0, ..PACKET };
    let payload = udp(&header, source.1, destination.1, b"some words");
    (header, payload)
}

/// Who sent a frame to whom, by its addresses and ports; its checksums are right.
fn ends(frame: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
    let (_, packet) = read_packet(frame);
    assert_right(&packet);
    let Packet { header, payload, .. } = packet;
    let port = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    ((header.source, port(0)), (header.destination, port(2)))
}

fn assert_right(packet: &Packet<'_>) {
    let Packet { header, payload, .. } = packet;
    if header.is_fragment() {
        return;
    }
    let len = payload.len() as u16;
    let sum = match header.protocol {
        Protocol::TCP | Protocol::UDP => {
            Sum::pseudo_header(header.source, header.destination, header.protocol.0, len)
        }
        _ => Sum::default(),
    };
    assert_eq!(sum.add(Sum::of(payload)).finish(), 0, "{header:?}");
}

#[test]
fn there_and_back() {
    let mut host = router();
    let (header, payload) = datagram((CLIENT, 4000), (REMOTE, 53));
    host.receive_on(INSIDE, &from_inside(&header, &payload));
    assert_eq!(ends(&host.sent_one()), ((OWN, 4000), (REMOTE, 53)));
    let (header, payload) = datagram((REMOTE, 53), (OWN, 4000));
    host.receive(&packet_frame(&header, &payload));
    let frames = host.sent_on(INSIDE);
    assert_eq!(ends(&frames[0]), ((REMOTE, 53), (CLIENT, 4000)));
    // From elsewhere nobody gets through by the same port.
    let (header, payload) = datagram((Ipv4Addr::new(192, 0, 2, 66), 53), (OWN, 4000));
    host.receive(&packet_frame(&header, &payload));
    assert!(host.sent_on(INSIDE).is_empty());
}

#[test]
fn a_service_inside_is_reached_from_outside() {
    let mut host = router();
    let (header, payload) = datagram((REMOTE, 999), (OWN, SERVICE));
    host.receive(&packet_frame(&header, &payload));
    assert_eq!(ends(&host.sent_on(INSIDE)[0]), ((REMOTE, 999), (CLIENT, 80)));
    let (header, payload) = datagram((CLIENT, 80), (REMOTE, 999));
    host.receive_on(INSIDE, &from_inside(&header, &payload));
    assert_eq!(ends(&host.sent_one()), ((OWN, SERVICE), (REMOTE, 999)));
}

/// Who is behind this host's address is told as if he weren't.
#[test]
fn who_sent_what_can_t_be_delivered_is_told() {
    let mut host = router();
    let silent = Ipv4Addr::new(10, 0, 0, 99);
    let (header, payload) = datagram((CLIENT, 4000), (silent, 53));
    host.receive_on(INSIDE, &from_inside(&header, &payload));
    host.pass(Duration::from_secs(10));
    host.sent();
    let frames = host.sent_on(INSIDE);
    assert_eq!(frames.len(), 1);
    let (header, error, quote) = read_icmp(&frames[0]);
    let code = Unreachable::HOST;
    assert_eq!(error, icmpv4::Header::DestinationUnreachable { code, mtu: 0 });
    assert_eq!(header.destination, CLIENT);
    let quoted = Packet::parse(&quote).expect("a whole packet");
    assert_eq!((quoted.header.source, quoted.header.destination), (CLIENT, silent));
    assert_eq!(quoted.payload, payload);
}

/// An error about what was translated tells its sender of what he sent (RFC 5508 §4).
#[test]
fn errors_are_translated_with_what_they_quote() {
    let mut host = router();
    let (header, payload) = datagram((CLIENT, 4000), (REMOTE, 53));
    host.receive_on(INSIDE, &from_inside(&header, &payload));
    let sent = host.sent_one();
    let error = |quote: &[u8]| {
        let code = Unreachable::FRAGMENTATION_NEEDED;
        let message = icmp(&icmpv4::Header::DestinationUnreachable { code, mtu: 1300 }, quote);
        let router = Ipv4Addr::new(198, 51, 100, 1);
        let protocol = Protocol::ICMP;
        packet_frame(&ipv4::Header { source: router, protocol, ..PACKET }, &message)
    };
    let quote = &sent[14..14 + 28];
    host.receive(&error(quote));
    let frames = host.sent_on(INSIDE);
    let (header, _, quoted) = read_icmp(&frames[0]);
    assert_eq!(header.destination, CLIENT);
    let quoted = Packet::parse(&[&quoted[..], &[0; 18]].concat()).expect("a header").header;
    assert_eq!((quoted.source, quoted.destination), (CLIENT, REMOTE));
    // One that quotes nothing of ours is nobody's.
    let mut forged = quote.to_vec();
    forged[20] ^= 1;
    host.receive(&error(&forged));
    assert!(host.sent_on(INSIDE).is_empty());
}

#[test]
fn fragments_are_translated_as_one() {
    let mut host = router();
    let (header, _) = datagram((CLIENT, 4000), (REMOTE, 53));
    let payload = udp(&header, 4000, 53, &[7; 2000]);
    let first = ipv4::Header { more_fragments: true, ..header };
    let second = ipv4::Header { fragment_offset: 1400, ..header };
    host.receive_on(INSIDE, &from_inside(&second, &payload[1400..]));
    assert!(host.sent().is_empty());
    host.receive_on(INSIDE, &from_inside(&first, &payload[..1400]));
    let frames = host.sent();
    assert_eq!(frames.len(), 2);
    let sources: Vec<_> = frames.iter().map(|frame| read_packet(frame).1.header.source).collect();
    assert_eq!(sources, [OWN, OWN]);
}

/// A packet of any kind between hosts that are there or not.
fn draw(random: &mut Random, seen: &[Vec<u8>]) -> (bool, Vec<u8>) {
    let inside = random.below(2) == 0;
    let far = [REMOTE, PEER, Ipv4Addr::new(192, 0, 2, 66)][random.below(3) as usize];
    let near = [OWN, CLIENT][random.below(2) as usize];
    let (source, destination) = if inside { (CLIENT, far) } else { (far, near) };
    let mut port = || [80, SERVICE, 4000, 4001, 53][random.below(5) as usize];
    let ports = (port(), port());
    let mut header = ipv4::Header { source, destination, ..PACKET };
    let mut payload = match random.below(4) {
        0 => udp(&header, ports.0, ports.1, b"words"),
        1 => {
            header.protocol = Protocol::ICMP;
            let (identifier, sequence) = (ports.0, 1);
            let echo = match random.below(2) {
                0 => icmpv4::Header::EchoRequest { identifier, sequence },
                _ => icmpv4::Header::EchoReply { identifier, sequence },
            };
            icmp(&echo, b"echo")
        }
        2 if !seen.is_empty() => {
            header.protocol = Protocol::ICMP;
            let about = &seen[random.below(seen.len() as u32) as usize];
            let quote = about.get(14..).unwrap_or_default();
            let quote = &quote[..quote.len().min(28 + random.below(30) as usize)];
            icmp(&icmpv4::Header::TimeExceeded { code: 0 }, quote)
        }
        _ => {
            header.protocol = Protocol::TCP;
            let [a, b] = ports.0.to_be_bytes();
            let [c, d] = ports.1.to_be_bytes();
            let sequence = (random.below(4) * 500).to_be_bytes();
            let acknowledgment = (random.below(4) * 500).to_be_bytes();
            let flags = [2, 0x12, 0x10, 0x11, 4, 0x14, random.next_u32() as u8];
            let flags = flags[random.below(7) as usize];
            let mut segment = vec![a, b, c, d];
            segment.extend(sequence);
            segment.extend(acknowledgment);
            segment.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
            segment.extend(vec![1; random.below(600) as usize]);
            let len = segment.len() as u16;
            let sum = Sum::pseudo_header(source, destination, 6, len).add(Sum::of(&segment));
            segment[16..18].copy_from_slice(&sum.finish().to_be_bytes());
            segment
        }
    };
    if random.below(10) == 0 {
        let at = random.below(payload.len() as u32) as usize;
        payload[at] ^= 1 << random.below(8);
        payload.truncate(payload.len() - random.below(4).min(payload.len() as u32 - 1) as usize);
    }
    header.ttl = [1, 2, 64][random.below(3) as usize];
    header.more_fragments = random.below(20) == 0;
    (inside, if inside { from_inside(&header, &payload) } else { packet_frame(&header, &payload) })
}

#[test]
fn anything_from_both_sides_leaves_the_table_whole() {
    for seed in 0..8 {
        let mut host = router();
        let mut config = host.shard.config().clone();
        (config.conntrack.flows, config.conntrack.flows_per_source) = (32, 20);
        host.shard.set_config(config);
        let mut random = Random::new([seed; 16]);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for _ in 0..1500 {
            let (inside, frame) = draw(&mut random, &seen);
            host.receive_on(if inside { INSIDE } else { ETH }, &frame);
            for frame in [host.sent(), host.sent_on(INSIDE)].concat() {
                if !is_arp(&frame) {
                    let (_, packet) = read_packet(&frame);
                    // Nobody outside hears of an address inside.
                    assert!(packet.header.protocol != Protocol::TCP || packet.header.ttl > 0);
                    seen.push(frame);
                }
            }
            seen.truncate(64);
            if random.below(50) == 0 {
                host.pass(Duration::from_secs(random.below(100).into()));
            }
            let table = host.shard.conntrack().expect("it tracks");
            assert_eq!(table.pending(), 0);
            table.assert_consistent();
        }
    }
}
