//! IPv4's receive side: header, options, martians, is it ours, reassembly, and to the transport.
//!
//! The host is strong (RFC 1122 §3.3.4.2): a packet is for us if the interface it came in by has
//! its destination address, and believable if that interface is where we would send the answer.
//! Both are decided before any transport sees it, so that nobody on one link can feel for the
//! connections of another (CVE-2019-14899).

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{Arrival, icmpv4, tcp, udp},
    table::{reassembly::Insertion, timer::TimerKey},
};
use core::net::Ipv4Addr;
use narrows_wire::{
    Error,
    icmpv4::Unreachable,
    ipv4::{self, Packet, Protocol, RawOption},
    offload::{RxChecksum, RxOffload},
};

/// To whom the link layer delivered a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkDestination {
    Station,
    Broadcast,
}

/// To whom a packet for us is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cast {
    Unicast,
    Broadcast,
}

/// A packet from the loopback interface, which has no link layer.
pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &[u8],
    offload: RxOffload,
) -> Result<(), DropReason> {
    input_from_link(shard, now, interface, packet, offload, LinkDestination::Station)
}

/// What an Ethernet frame carries.
pub(crate) fn input_from_link(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &[u8],
    offload: RxOffload,
    link: LinkDestination,
) -> Result<(), DropReason> {
    let packet = Packet::parse(packet).map_err(|error| match error {
        Error::Truncated => DropReason::Ipv4Truncated,
        Error::Malformed => DropReason::Ipv4Malformed,
        Error::Checksum => DropReason::Ipv4Checksum,
    })?;
    check_options(packet.options)?;
    let header = packet.header;
    let cast = match interface {
        InterfaceId::LOOPBACK => own_cast(shard, &header)?,
        _ => wire_cast(shard, interface, &header)?,
    };
    // RFC 1122 §3.3.6: what was broadcast on the link and is addressed to one host is a mistake.
    if link == LinkDestination::Broadcast && cast != Cast::Broadcast {
        return Err(DropReason::Martian);
    }
    if cast == Cast::Broadcast && header.protocol != Protocol::UDP {
        return Err(match header.protocol {
            Protocol::ICMP => DropReason::IcmpIgnored, // RFC 1122 §3.2.2.6
            _ => DropReason::Martian,                  // RFC 9293 §3.9.2.3
        });
    }
    if header.is_fragment() {
        return fragment_input(shard, now, interface, &packet);
    }
    let Packet { header_bytes, payload, .. } = packet;
    deliver(shard, now, &Arrival { interface, header, header_bytes, payload, offload })
}

/// Gives up datagrams whose fragments did not come; arms the timer again.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    while let Some(expired) = shard.reassembly.expire(now) {
        count(shard, DropReason::ReassemblyTimeout, expired.fragments);
        // RFC 792: without the first fragment there is nothing to tell.
        if let Some(first) = expired.first {
            let arrival = Arrival {
                interface: expired.key.interface,
                header: first.header,
                header_bytes: &first.header_bytes,
                payload: &first.payload,
                offload: RxOffload::default(),
            };
            icmpv4::reassembly_timeout(shard, now, &arrival);
        }
    }
    arm(shard);
}

/// Can one host have this address and reach us by `interface` with it? Not "this network", the
/// loopback, groups, reserved addresses or broadcasts (RFC 1122 §3.2.1.3, RFC 6890); and not an
/// address of ours: who claims that attacks (LAND) or is misconfigured.
pub(crate) fn may_be_source(shard: &Shard, interface: InterfaceId, source: Ipv4Addr) -> bool {
    let [first, ..] = source.octets();
    let one_host = !matches!(first, 0 | 127 | 224..);
    one_host
        && shard.interfaces.owner(source.into()).is_none()
        && shard.interfaces.get(interface).is_some_and(|station| {
            !station.is_broadcast(source) && !station.is_subnet_number(source)
        })
}

/// A packet of our own: both ends are ours.
fn own_cast(shard: &Shard, header: &ipv4::Header) -> Result<Cast, DropReason> {
    let ours = |address: Ipv4Addr| shard.interfaces.owner(address.into()).is_some();
    match (ours(header.source), ours(header.destination)) {
        (true, true) => Ok(Cast::Unicast),
        (true, false) => Err(DropReason::NotLocal),
        (false, _) => Err(DropReason::Martian),
    }
}

/// A packet from a wire.
fn wire_cast(
    shard: &Shard,
    interface: InterfaceId,
    header: &ipv4::Header,
) -> Result<Cast, DropReason> {
    let station = shard.interfaces.get(interface).ok_or(DropReason::NotLocal)?;
    let destination = header.destination;
    let [first, ..] = destination.octets();
    let broadcast = station.is_broadcast(destination);
    if matches!(first, 0 | 127) || (first >= 240 && !broadcast) {
        return Err(DropReason::Martian);
    }
    if !may_be_source(shard, interface, header.source) {
        return Err(DropReason::Martian);
    }
    if !broadcast && !station.has(destination) {
        return Err(DropReason::NotLocal);
    }
    // Reverse path (RFC 3704 §2.2): would the answer leave by this interface?
    let back = || shard.routes.lookup(header.source.into()).map(|route| route.interface);
    if !station.on_link(header.source) && back() != Some(interface) {
        return Err(DropReason::Martian);
    }
    Ok(if broadcast { Cast::Broadcast } else { Cast::Unicast })
}

/// RFC 7126: a source route asks us to act for another; other options concern routers.
fn check_options(options: &[u8]) -> Result<(), DropReason> {
    for option in ipv4::options(options) {
        let option = option.map_err(|_| DropReason::Ipv4Malformed)?;
        if matches!(option.kind, RawOption::LOOSE_SOURCE_ROUTE | RawOption::STRICT_SOURCE_ROUTE) {
            return Err(DropReason::Ipv4SourceRoute);
        }
    }
    Ok(())
}

fn fragment_input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &Packet<'_>,
) -> Result<(), DropReason> {
    let Insertion { verdict, condemned, evicted } =
        shard.reassembly.insert(now, &shard.config.limits, interface, packet);
    count(shard, DropReason::FragmentLimit, evicted);
    arm(shard);
    let whole = verdict.inspect_err(|reason| count(shard, *reason, condemned))?;
    let Some(whole) = whole else { return Ok(()) };
    // What the device said of the pieces says nothing of the whole; our own were never on a wire.
    let checksum = match interface {
        InterfaceId::LOOPBACK => RxChecksum::Partial,
        _ => RxChecksum::Unverified,
    };
    let arrival = Arrival {
        interface,
        header: whole.header,
        header_bytes: &whole.header_bytes,
        payload: &whole.payload,
        offload: RxOffload { checksum, segment_size: None },
    };
    deliver(shard, now, &arrival)
}

/// A whole datagram for us.
fn deliver(shard: &mut Shard, now: Instant, arrival: &Arrival<'_>) -> Result<(), DropReason> {
    match arrival.header.protocol {
        Protocol::TCP => tcp::input(shard, now, arrival),
        Protocol::UDP => udp::input(shard, now, arrival),
        Protocol::ICMP => icmpv4::input(shard, now, arrival),
        _ => {
            icmpv4::unreachable(shard, now, arrival, Unreachable::PROTOCOL);
            Err(DropReason::UnknownProtocol)
        }
    }
}

fn count(shard: &mut Shard, reason: DropReason, times: usize) {
    for _ in 0..times {
        shard.drop(reason);
    }
}

fn arm(shard: &mut Shard) {
    match shard.reassembly.next_timeout() {
        Some(at) => shard.timers.arm(TimerKey::Reassembly, at),
        None => shard.timers.cancel(TimerKey::Reassembly),
    }
}

#[cfg(test)]
mod tests;
