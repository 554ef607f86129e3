//! Which incoming frames are one packet socket's alone. Invariant: no two claims of one rank overlap, and
//! those of the higher rank come first, so that no frame has two holders.
//!
//! A claim is about one interface, so that it can't reach into a zone where its holder is not. It is not a
//! filter's program, of which nobody could tell whether another one takes a frame that it takes, but fields
//! and what they may be. Two claims overlap unless some field keeps them apart.

use crate::{
    request::{Error, SocketId},
    table::interface::InterfaceId,
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{
    address::Prefix,
    ethernet::EtherType,
    ipv4::{self, Protocol},
};

/// Claims of a shard: each costs every frame a look.
const MAX_CLAIMS: usize = 64;

/// What frames have to be; `None`: anything. What asks about a packet is about IPv4, what asks about ports
/// is about TCP and UDP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    pub interface: Option<InterfaceId>,
    /// Behind the outermost tag.
    pub ether_type: Option<u16>,
    pub protocol: Option<u8>,
    pub source: Option<Prefix>,
    pub destination: Option<Prefix>,
    /// First and last.
    pub source_ports: Option<(u16, u16)>,
    pub destination_ports: Option<(u16, u16)>,
}

impl Match {
    /// Can there be a frame that both are about?
    pub fn overlaps(&self, other: &Self) -> bool {
        let prefixes = |one: &Option<Prefix>, other: &Option<Prefix>| match (one, other) {
            (Some(one), Some(other)) => {
                one.contains(other.address()) || other.contains(one.address())
            }
            _ => true,
        };
        let ports = |one: Option<(u16, u16)>, other: Option<(u16, u16)>| match (one, other) {
            (Some((a, b)), Some((c, d))) => a.max(c) <= b.min(d),
            _ => true,
        };
        same(self.interface, other.interface)
            && same(self.kind(), other.kind())
            && self.speaks(other)
            && prefixes(&self.source, &other.source)
            && prefixes(&self.destination, &other.destination)
            && ports(self.source_ports, other.source_ports)
            && ports(self.destination_ports, other.destination_ports)
    }

    /// Is every frame that this is about one of the other's?
    pub fn is_within(&self, outer: &Self) -> bool {
        fn narrows<T: PartialEq>(inner: &Option<T>, outer: &Option<T>) -> bool {
            outer.is_none() || inner == outer
        }
        let net = |inner: &Option<Prefix>, outer: &Option<Prefix>| match (inner, outer) {
            (_, None) => true,
            (Some(inner), Some(outer)) => {
                inner.length() >= outer.length() && outer.contains(inner.address())
            }
            (None, Some(_)) => false,
        };
        let ports = |inner: Option<(u16, u16)>, outer: Option<(u16, u16)>| match (inner, outer) {
            (_, None) => true,
            (Some((a, b)), Some((c, d))) => a >= c && b <= d,
            (None, Some(_)) => false,
        };
        narrows(&self.interface, &outer.interface)
            && narrows(&self.kind(), &outer.kind())
            && narrows(&self.protocol, &outer.protocol)
            && net(&self.source, &outer.source)
            && net(&self.destination, &outer.destination)
            && ports(self.source_ports, outer.source_ports)
            && ports(self.destination_ports, outer.destination_ports)
    }

    /// Could both be about one protocol above IPv4? Ports narrow it down where it isn't said.
    fn speaks(&self, other: &Self) -> bool {
        let has_ports = |one: &Self| one.source_ports.is_some() || one.destination_ports.is_some();
        let may_have =
            |one: &Self| one.protocol.is_none_or(|named| PORTED.contains(&Protocol(named)));
        same(self.protocol, other.protocol)
            && (!has_ports(self) || may_have(other))
            && (!has_ports(other) || may_have(self))
    }

    /// The Ethernet type that is asked for, said or not.
    fn kind(&self) -> Option<u16> {
        let of_packets = self.protocol.is_some()
            || self.source.is_some()
            || self.destination.is_some()
            || self.source_ports.is_some()
            || self.destination_ports.is_some();
        self.ether_type.or(of_packets.then_some(EtherType::IPV4.0))
    }

    /// Refuses ranges that end before they begin, and what no frame is.
    fn check(&self) -> Result<(), Error> {
        let range = |ports: Option<(u16, u16)>| ports.is_none_or(|(first, last)| first <= last);
        let ipv4 = |prefix: &Option<Prefix>| prefix.is_none_or(|prefix| prefix.address().is_ipv4());
        let packets = Self { ether_type: None, interface: None, ..self.clone() } != Self::default();
        let ported = self.source_ports.is_some() || self.destination_ports.is_some();
        let sound = range(self.source_ports)
            && range(self.destination_ports)
            && ipv4(&self.source)
            && ipv4(&self.destination)
            && (!packets || self.ether_type.is_none_or(|kind| kind == EtherType::IPV4.0))
            && (!ported || self.protocol.is_none_or(|named| PORTED.contains(&Protocol(named))));
        if sound { Ok(()) } else { Err(Error::InvalidArgument) }
    }

    /// Is a frame of that type, with that behind its headers, what is claimed? Of a fragment without ports
    /// nothing that asks for them is true.
    pub fn takes(&self, interface: InterfaceId, ether_type: u16, payload: &[u8]) -> bool {
        if !same(self.interface, Some(interface)) || !same(self.kind(), Some(ether_type)) {
            return false;
        }
        if ether_type != EtherType::IPV4.0 {
            return true;
        }
        let Ok(packet) = ipv4::Packet::parse(payload) else {
            return *self == self.without_packet();
        };
        let ipv4::Header { source, destination, protocol, fragment_offset, .. } = packet.header;
        let within = |prefix: Option<Prefix>, address: Ipv4Addr| {
            prefix.is_none_or(|prefix| prefix.contains(IpAddr::V4(address)))
        };
        let has_ports = PORTED.contains(&protocol) && fragment_offset == 0;
        let port = |at: usize| {
            let bytes = packet.payload.get(at..)?.first_chunk().copied()?;
            has_ports.then_some(u16::from_be_bytes(bytes))
        };
        let of = |range: Option<(u16, u16)>, port: Option<u16>| match (range, port) {
            (None, _) => true,
            (Some((first, last)), Some(port)) => (first..=last).contains(&port),
            (Some(_), None) => false,
        };
        same(self.protocol, Some(protocol.0))
            && within(self.source, source)
            && within(self.destination, destination)
            && of(self.source_ports, port(0))
            && of(self.destination_ports, port(2))
    }

    fn without_packet(&self) -> Self {
        Self { interface: self.interface, ether_type: self.ether_type, ..Self::default() }
    }
}

/// Protocols whose first four bytes are ports.
const PORTED: [Protocol; 2] = [Protocol::TCP, Protocol::UDP];

fn same<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}

/// Whose claims go before whose; within a rank none does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Takes what is in common with those of the other rank away from them.
    First,
    Common,
}

#[derive(Debug, Default)]
pub struct Claims {
    /// By rank.
    held: Vec<(SocketId, Rank, Match)>,
}

impl Claims {
    /// Takes a claim in place of the socket's earlier one. `Err`: whose it overlaps, if it is that.
    /// Nobody claims what somebody of a higher rank has already: little of it would come to him.
    pub fn take(
        &mut self,
        socket: SocketId,
        wish: Match,
        rank: Rank,
    ) -> Result<(), (Error, Option<SocketId>)> {
        wish.check().map_err(|error| (error, None))?;
        if wish.interface.is_none() {
            return Err((Error::InvalidArgument, None));
        }
        if let Some(holder) = self.in_the_way(socket, &wish, rank) {
            return Err((Error::InUse, Some(holder)));
        }
        self.release(socket);
        if self.held.len() >= MAX_CLAIMS {
            return Err((Error::LimitReached, None));
        }
        let at = self.held.partition_point(|(_, held, _)| *held <= rank);
        self.held.insert(at, (socket, rank, wish));
        Ok(())
    }

    pub fn release(&mut self, socket: SocketId) {
        self.held.retain(|(holder, ..)| *holder != socket);
    }

    /// Most of the time there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (SocketId, &Match)> {
        self.held.iter().map(|(holder, _, held)| (*holder, held))
    }

    /// Who has claimed a frame.
    pub fn holder(
        &self,
        interface: InterfaceId,
        ether_type: u16,
        payload: &[u8],
    ) -> Option<SocketId> {
        let mut held = self.held.iter();
        held.find(|(.., held)| held.takes(interface, ether_type, payload))
            .map(|(holder, ..)| *holder)
    }

    /// Whose claim `wish` would overlap, without going before it.
    pub fn in_the_way(&self, socket: SocketId, wish: &Match, rank: Rank) -> Option<SocketId> {
        let mut others = self.held.iter().filter(|(holder, ..)| *holder != socket);
        let bars = |held: &Match, of: Rank| of <= rank && held.overlaps(wish);
        others.find(|(_, of, held)| bars(held, *of)).map(|(holder, ..)| *holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETH: InterfaceId = InterfaceId(1);

    fn socket(slot: u32) -> SocketId {
        SocketId { slot, generation: 1 }
    }

    fn net(text: &str) -> Option<Prefix> {
        let (address, length) = text.split_once('/')?;
        Prefix::new(address.parse().ok()?, length.parse().ok()?)
    }

    fn udp(first: u16, last: u16) -> Match {
        let destination_ports = Some((first, last));
        Match { interface: Some(ETH), protocol: Some(17), destination_ports, ..Match::default() }
    }

    /// What claims may say, in some variety.
    fn several() -> Vec<Match> {
        let any = Match::default();
        let mut all = vec![
            any.clone(),
            Match { interface: Some(ETH), ..any.clone() },
            Match { interface: Some(InterfaceId(2)), ..any.clone() },
            Match { ether_type: Some(0x0806), ..any.clone() },
            Match { ether_type: Some(0x0800), ..any.clone() },
            Match { protocol: Some(1), ..any.clone() },
            Match { source: net("10.0.0.0/8"), ..any.clone() },
            Match { source: net("10.9.0.0/16"), ..any.clone() },
            Match { source: net("11.0.0.0/8"), ..any.clone() },
            Match { destination: net("10.0.0.2/32"), ..any.clone() },
            Match { destination_ports: Some((50, 60)), ..any.clone() },
            Match { source_ports: Some((50, 60)), ..any },
        ];
        all.extend([udp(53, 53), udp(53, 80), udp(54, 100)]);
        all
    }

    fn frames() -> Vec<(InterfaceId, u16, Vec<u8>)> {
        let mut all = vec![(ETH, 0x0806, vec![0; 28]), (ETH, 0x86dd, vec![0; 40])];
        for source in ["10.9.0.1", "10.0.0.1", "11.0.0.1", "192.0.2.1"] {
            for (protocol, port) in [(1, 0), (6, 53), (17, 53), (17, 54), (17, 70)] {
                for own in ["10.0.0.2", "10.0.0.3"] {
                    let header = ipv4::Header {
                        tos: 0,
                        identification: 0,
                        dont_fragment: false,
                        more_fragments: false,
                        fragment_offset: 0,
                        ttl: 64,
                        protocol: Protocol(protocol),
                        source: source.parse().expect("an address"),
                        destination: own.parse().expect("an address"),
                    };
                    let ports = [55_u16, port].map(u16::to_be_bytes).concat();
                    let packet = header.with_options(&[], 4).expect("a header");
                    all.push((ETH, 0x0800, [packet, ports].concat()));
                }
            }
        }
        all
    }

    #[test]
    fn what_does_not_overlap_never_takes_the_same_frame() {
        for one in several() {
            for other in several() {
                let overlap = one.overlaps(&other);
                assert_eq!(overlap, other.overlaps(&one), "{one:?} {other:?}");
                let both = frames().into_iter().any(|(interface, kind, payload)| {
                    [&one, &other].iter().all(|held| held.takes(interface, kind, &payload))
                });
                assert!(overlap || !both, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn what_is_within_another_is_taken_by_it() {
        for inner in several() {
            for outer in several().into_iter().filter(|outer| inner.is_within(outer)) {
                let strays = |(interface, kind, payload): &(InterfaceId, u16, Vec<u8>)| {
                    inner.takes(*interface, *kind, payload)
                        && !outer.takes(*interface, *kind, payload)
                };
                assert!(!frames().iter().any(strays), "{inner:?} {outer:?}");
            }
            assert!(inner.is_within(&inner) && inner.is_within(&Match::default()), "{inner:?}");
        }
        assert!(udp(53, 53).is_within(&udp(50, 60)) && !udp(50, 60).is_within(&udp(53, 53)));
    }

    #[test]
    fn what_one_field_keeps_apart_does_not_overlap() {
        let icmp = Match { protocol: Some(1), ..Match::default() };
        let arp = Match { ether_type: Some(0x0806), ..Match::default() };
        let ports = Match { source_ports: Some((1, 2)), ..Match::default() };
        for (one, other, overlap) in [
            (udp(53, 53), udp(54, 60), false),
            (udp(53, 54), udp(54, 60), true),
            (udp(53, 53), icmp.clone(), false),
            (udp(53, 53), arp.clone(), false),
            (ports.clone(), icmp, false),
            (ports.clone(), udp(53, 53), true),
            (arp, Match::default(), true),
        ] {
            assert_eq!(one.overlaps(&other), overlap, "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_second_claim_is_refused_and_says_whose_is_in_the_way() {
        let mut claims = Claims::default();
        assert_eq!(claims.take(socket(1), udp(53, 53), Rank::Common), Ok(()));
        let refused = Err((Error::InUse, Some(socket(1))));
        assert_eq!(claims.take(socket(2), udp(50, 60), Rank::Common), refused);
        assert_eq!(
            claims.take(socket(1), udp(50, 60), Rank::Common),
            Ok(()),
            "its own is replaced"
        );
        claims.release(socket(1));
        assert_eq!(claims.take(socket(2), udp(50, 60), Rank::Common), Ok(()));
        for wrong in [
            udp(2, 1),
            Match { interface: None, ..udp(1, 2) },
            Match { protocol: Some(1), ..udp(1, 2) },
            Match { ether_type: Some(0x0806), ..udp(1, 2) },
        ] {
            assert_eq!(
                claims.take(socket(3), wrong, Rank::Common),
                Err((Error::InvalidArgument, None))
            );
        }
        let port = |at| udp(at, at);
        let taken = (1000..)
            .take_while(|at| claims.take(socket(*at), port(*at as u16), Rank::Common).is_ok());
        assert_eq!(taken.count(), MAX_CLAIMS - 1);
    }

    #[test]
    fn the_higher_rank_goes_before_the_other_and_bars_it() {
        let mut claims = Claims::default();
        assert_eq!(claims.take(socket(1), udp(53, 60), Rank::Common), Ok(()));
        assert_eq!(claims.take(socket(2), udp(53, 53), Rank::First), Ok(()));
        assert_eq!(
            claims.take(socket(3), udp(50, 53), Rank::First),
            Err((Error::InUse, Some(socket(2))))
        );
        assert_eq!(
            claims.take(socket(3), udp(53, 53), Rank::Common),
            Err((Error::InUse, Some(socket(2))))
        );
        let frame = |port: u8| {
            let mut packet =
                vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            packet.extend([0, 9, 0, port, 0, 8, 0, 0]);
            let sum = narrows_wire::checksum::Sum::of(&packet[..20]).finish();
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            packet
        };
        let holder = |claims: &Claims, port| claims.holder(ETH, 0x0800, &frame(port));
        assert_eq!((holder(&claims, 53), holder(&claims, 54)), (Some(socket(2)), Some(socket(1))));
        claims.release(socket(2));
        assert_eq!(holder(&claims, 53), Some(socket(1)));
    }
}
