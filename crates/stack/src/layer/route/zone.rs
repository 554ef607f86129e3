//! What zones leave of the ways there are: for a packet of this host, those of the zones that its
//! sender is admitted to, or of the one that its source address is in; and those that a rule lets it
//! cross to.

use crate::{
    InterfaceId, Shard,
    counters::DropReason,
    request::Error,
    table::{
        route::{Answer, Query},
        zone::{AdmissionId, Crosser, ZoneId, ZoneSet},
    },
};
use core::net::Ipv4Addr;
use narrows_wire::{
    icmpv4::{self, kind},
    ipv4::{self, Protocol},
    quote::{Quote, Transport},
};

/// The zones that a packet may leave by.
pub(super) fn open_to(shard: &Shard, query: &Query) -> ZoneSet {
    if shard.zones.is_single() {
        return ZoneSet::ALL;
    }
    let zones = match query.source {
        Some(source) => shard.zones.beyond(shard.interfaces.zone_of(source.into())),
        None => shard.zones.of(query.principal),
    };
    zones.within(query.zones)
}

/// May it leave by an interface of `zone`, or be for an address there?
pub(super) fn check(shard: &Shard, query: &Query, zone: ZoneId) -> Result<(), Error> {
    if shard.zones.is_single() {
        return Ok(());
    }
    let crosses = |source: Ipv4Addr| {
        let (protocol, source_port, destination_port) = query.transport;
        let (destination, begins) = (query.destination, query.begins);
        let packet =
            Crosser { source, destination, protocol, source_port, destination_port, begins };
        let from = shard.interfaces.zone_of(source.into());
        shard.zones.lets_cross(from, zone, &packet)
    };
    match query.zones.contains(zone) && query.source.is_none_or(crosses) {
        true => Ok(()),
        false => Err(Error::OtherZone),
    }
}

/// Where a packet that is about to be dropped would have gone, for who counts it.
#[cold]
pub(crate) fn note_crossing(shard: &mut Shard, from: ZoneId, destination: Ipv4Addr) {
    shard.counters.place.crossing = zone_ahead(shard, destination).map(|to| (from, to));
}

/// Why a packet that came in goes no further: a way that there is in another zone is none.
#[cold]
pub(crate) fn blame_zones(
    shard: &mut Shard,
    interface: InterfaceId,
    header: &ipv4::Header,
    reason: DropReason,
) -> DropReason {
    if shard.zones.is_single() || !matches!(reason, DropReason::OtherZone | DropReason::NoRoute) {
        return reason;
    }
    let from = match interface {
        InterfaceId::LOOPBACK => shard.interfaces.zone_of(header.source.into()),
        interface => shard.interfaces.zone(interface),
    };
    match zone_ahead(shard, header.destination) {
        Some(to) if to != from => {
            shard.counters.place.crossing = Some((from, to));
            DropReason::OtherZone
        }
        _ => reason,
    }
}

/// The same of a program's, which has asked for a way: that it was refused one is counted here.
#[cold]
pub(super) fn refuse(shard: &mut Shard, query: &Query) {
    let from = match query.source {
        Some(source) => Some(shard.interfaces.zone_of(source.into())),
        // Of several, the one that it was let into.
        None => shard.zones.of(query.principal).iter().last(),
    };
    note_crossing(shard, from.unwrap_or_default(), query.destination);
    shard.drop(DropReason::OtherZone);
}

/// The zone of an address of ours, of a network that we are on, or of the way there.
fn zone_ahead(shard: &Shard, destination: Ipv4Addr) -> Option<ZoneId> {
    let interfaces = &shard.interfaces;
    if interfaces.owner(destination.into()).is_some() {
        return Some(interfaces.zone_of(destination.into()));
    }
    match shard.routes.lookup(&Query::to(destination)) {
        Answer::Found(found) => found.hop.map(|hop| interfaces.zone(hop.interface)),
        Answer::Refused(_) | Answer::None => None,
    }
}

/// The address to send from on an interface: in a private zone the member's own.
pub(super) fn source_for(
    shard: &Shard,
    query: &Query,
    interface: InterfaceId,
    destination: Ipv4Addr,
) -> Option<Ipv4Addr> {
    let interfaces = &shard.interfaces;
    let private = shard.zones.is_private(interfaces.zone(interface));
    if !private || query.principal.admission == AdmissionId::HOST {
        return interfaces.source_for(interface, destination);
    }
    let there = |member: Ipv4Addr| interfaces.owner(member.into()) == Some(interface);
    shard.zones.member_address(query.principal, there)
}

/// What rules from zone to zone may ask of a packet that came in. An error about a packet goes where
/// an answer to it may.
pub(super) fn crosser(header: &ipv4::Header, payload: &[u8]) -> Crosser {
    if header.protocol == Protocol::ICMP
        && !icmpv4::begins_as_query(payload)
        && let Some(answer) = payload.get(icmpv4::HEADER_LEN..).and_then(answer_to)
    {
        return answer;
    }
    let (protocol, source_port, destination_port) = super::transport(header, payload);
    // A fragment other than the first says nothing of the sort, and is nothing without the first.
    let begins = header.fragment_offset == 0
        && match protocol {
            Protocol::TCP => payload.get(TCP_FLAGS).is_none_or(|flags| flags & SYN_ACK == SYN),
            Protocol::ICMP => {
                !matches!(payload.first(), Some(&(kind::ECHO_REPLY | kind::TIMESTAMP_REPLY)))
            }
            _ => false,
        };
    Crosser {
        source: header.source,
        destination: header.destination,
        protocol,
        source_port,
        destination_port,
        begins,
    }
}

/// An answer to a packet that an ICMP error quotes.
fn answer_to(quoted: &[u8]) -> Option<Crosser> {
    let quote = Quote::parse(quoted).ok()?;
    let (destination_port, source_port) = match quote.transport {
        Transport::Tcp { source_port, destination_port, .. }
        | Transport::Udp { source_port, destination_port } => (source_port, destination_port),
        Transport::EchoRequest { .. } => (0, 0),
        Transport::Other => return None,
    };
    Some(Crosser {
        source: quote.header.destination,
        destination: quote.header.source,
        protocol: quote.header.protocol,
        source_port,
        destination_port,
        begins: false,
    })
}

/// Where TCP's header has its flags (RFC 9293 §3.1), and two of them.
const TCP_FLAGS: usize = 13;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;
