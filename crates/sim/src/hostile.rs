//! Frames from somebody who means harm: noise, damaged and repeated copies of what passed by, and
//! segments, handshakes and ICMP errors forged by one who sees nothing of the connections but their
//! addresses.
//!
//! What an attacker could do who sees and forges everything (send the next byte of a stream) is
//! left out: against that, TCP has nothing.

use crate::frame::Frame;
use narrows_stack::random::Random;
use narrows_wire::{
    checksum::Sum,
    ethernet, icmpv4,
    ipv4::{self, Protocol},
    offload::{RxChecksum, RxOffload},
    tcp::{self, Flags, Segment},
    tcp_options::Options,
};
use std::{collections::VecDeque, net::Ipv4Addr};

/// Frames remembered for repetition.
const MEMORY: usize = 256;

#[derive(Debug)]
pub struct Hostile {
    random: Random,
    /// Of 10,000 frames, how many are followed by a hostile one.
    probability: u32,
    seen: VecDeque<Frame>,
}

impl Hostile {
    pub fn new(probability: u32, random: Random) -> Self {
        Self { random, probability, seen: VecDeque::new() }
    }

    /// Called for each frame that arrives: what comes after it, if anything.
    pub fn follow(&mut self, frame: &Frame) -> Option<Frame> {
        if self.probability == 0 {
            return None;
        }
        if self.seen.len() == MEMORY {
            self.seen.pop_front();
        }
        self.seen.push_back(frame.clone());
        (self.random.below(10_000) < self.probability).then(|| self.forge(frame))
    }

    fn forge(&mut self, last: &Frame) -> Frame {
        match self.random.below(6) {
            0 => self.noise(last),
            1 => self.repeat(),
            2 => self.damage(last),
            3 | 4 => self.segment(last).unwrap_or_else(|| self.noise(last)),
            _ => self.icmp_error(last).unwrap_or_else(|| self.noise(last)),
        }
    }

    fn bytes(&mut self, most: u32) -> Vec<u8> {
        let len = self.random.below(most + 1);
        (0..len).map(|_| self.random.next_u32() as u8).collect()
    }

    /// Random bytes behind as many right ones as chance will have.
    fn noise(&mut self, last: &Frame) -> Frame {
        let right = self.random.below(60).min(last.bytes.len() as u32) as usize;
        let noise = self.bytes(200);
        let segment_size = (self.random.below(4) == 0).then(|| self.random.next_u32() as u16);
        let offload = RxOffload { checksum: RxChecksum::Unverified, segment_size };
        Frame { offload, ..Frame::plain([&last.bytes[..right], &noise].concat()) }
    }

    /// Something old once more.
    fn repeat(&mut self) -> Frame {
        let index = self.random.below(self.seen.len() as u32) as usize;
        self.seen[index].clone()
    }

    /// A copy with a byte changed, or cut short. ARP is never changed: who answers for another's
    /// address on the same link is believed, by any host.
    fn damage(&mut self, last: &Frame) -> Frame {
        let mut bytes = last.bytes.to_vec();
        let at = self.random.below(bytes.len() as u32) as usize;
        if parse(last).is_none() || self.random.below(2) == 0 {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 + self.random.below(255) as u8;
        }
        // A partial checksum vouches for nothing here.
        Frame::plain(bytes)
    }

    /// A segment of the connection whose sequence numbers are guesses.
    fn segment(&mut self, last: &Frame) -> Option<Frame> {
        let (link, packet) = parse(last)?;
        let segment = Segment::parse(packet.payload).ok()?;
        let kinds = [
            Flags::RST,
            Flags::RST.with(Flags::ACK),
            Flags::SYN,
            Flags::SYN.with(Flags::ACK),
            Flags::ACK,
            Flags::FIN.with(Flags::ACK),
            Flags::PSH.with(Flags::ACK),
            Flags(0x1ff),
        ];
        let flags = kinds[self.random.below(kinds.len() as u32) as usize];
        let other_port = self.random.below(4) == 0;
        let header = tcp::Header {
            source_port: if other_port {
                self.random.next_u32() as u16
            } else {
                segment.header.source_port
            },
            sequence: self.random.next_u32(),
            acknowledgment: self.random.next_u32(),
            flags,
            window: self.random.next_u32() as u16,
            urgent: self.random.next_u32() as u16,
            ..segment.header
        };
        let payload = self.bytes(100);
        let mut bytes = [0; tcp::MAX_HEADER_LEN];
        let len = header.emit(&Options::default(), 0, &mut bytes);
        let (source, destination) = (packet.header.source, packet.header.destination);
        let total = (len + payload.len()) as u16;
        let sum = Sum::pseudo_header(source, destination, Protocol::TCP.0, total)
            .add(Sum::of(&bytes[..len]))
            .add(Sum::of(&payload));
        let field = tcp::CHECKSUM_OFFSET;
        bytes[field..field + 2].copy_from_slice(&sum.finish().to_be_bytes());
        let message = [&bytes[..len], &payload].concat();
        self.datagram(&link, source, destination, Protocol::TCP, &message)
    }

    /// An error about the connection whose quoted sequence number is a guess.
    fn icmp_error(&mut self, last: &Frame) -> Option<Frame> {
        let (link, packet) = parse(last)?;
        let segment = Segment::parse(packet.payload).ok()?;
        // The quoted packet went the other way.
        let quoted = tcp::Header {
            source_port: segment.header.destination_port,
            destination_port: segment.header.source_port,
            sequence: self.random.next_u32(),
            ..segment.header
        };
        let mut quote = [0; tcp::MAX_HEADER_LEN];
        quoted.emit(&Options::default(), 0, &mut quote);
        let ip = ipv4::Header {
            source: packet.header.destination,
            destination: packet.header.source,
            ..packet.header
        };
        let mut ip_bytes = [0; ipv4::HEADER_LEN];
        ip.emit(1480, &mut ip_bytes)?;
        let payload = [&ip_bytes, &quote[..8]].concat();
        let error = match self.random.below(3) {
            0 => icmpv4::Header::DestinationUnreachable {
                code: icmpv4::Unreachable(self.random.below(16) as u8),
                mtu: 0,
            },
            1 => icmpv4::Header::DestinationUnreachable {
                code: icmpv4::Unreachable::FRAGMENTATION_NEEDED,
                mtu: self.random.next_u32() as u16,
            },
            _ => icmpv4::Header::TimeExceeded { code: 0 },
        };
        let mut header = [0; icmpv4::HEADER_LEN];
        error.emit(&payload, &mut header);
        let message = [&header[..], &payload].concat();
        let (source, destination) = (packet.header.source, packet.header.destination);
        self.datagram(&link, source, destination, Protocol::ICMP, &message)
    }

    fn datagram(
        &mut self,
        link: &ethernet::Header,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        protocol: Protocol,
        payload: &[u8],
    ) -> Option<Frame> {
        let header = ipv4::Header {
            tos: 0,
            identification: self.random.next_u32() as u16,
            dont_fragment: self.random.below(2) == 0,
            more_fragments: self.random.below(8) == 0,
            fragment_offset: if self.random.below(8) == 0 { 8 } else { 0 },
            ttl: 64,
            protocol,
            source,
            destination,
        };
        let mut ip_bytes = [0; ipv4::HEADER_LEN];
        header.emit(payload.len(), &mut ip_bytes)?;
        let mut link_bytes = [0; ethernet::HEADER_LEN];
        link.emit(&mut link_bytes);
        Some(Frame::plain([&link_bytes[..], &ip_bytes, payload].concat()))
    }
}

fn parse(frame: &Frame) -> Option<(ethernet::Header, ipv4::Packet<'_>)> {
    let (link, payload) = ethernet::Header::parse(&frame.bytes).ok()?;
    let packet = ipv4::Packet::parse(payload).ok()?;
    (packet.header.protocol == Protocol::TCP).then_some((link, packet))
}
