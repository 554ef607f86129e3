//! IPv4's receive side: header, options, whose packet it is, reassembly, and to the transport.
//!
//! Unless the interface is set otherwise the host is strong (RFC 1122 §3.3.4.2): a packet is for us if
//! the interface it came in by has its destination address, and believable if that interface is where
//! we would send the answer. Both are decided before any transport sees it, so that nobody on one link
//! can feel for the connections of another (CVE-2019-14899).

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{
        Arrival, autoconf, filter,
        forward::{self, Transit},
        icmpv4, igmp, ipv4_options, raw,
        route::{self, Cast, Decision, Inbound, Refusal},
        tcp, udp, watch,
    },
    table::{
        reassembly::Insertion,
        timer::TimerKey,
        watch::{Stages, Step},
    },
};
use core::net::Ipv4Addr;
use narrows_wire::{
    Error,
    icmpv4::Unreachable,
    ipv4::{Packet, Protocol},
    offload::{RxChecksum, RxOffload},
};

/// To whom the link layer delivered a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkDestination {
    Station,
    Broadcast,
    Group,
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
    let bytes = packet;
    let packet = Packet::parse(packet).map_err(|error| match error {
        Error::Truncated => DropReason::Ipv4Truncated,
        Error::Malformed => DropReason::Ipv4Malformed,
        Error::Checksum => DropReason::Ipv4Checksum,
    })?;
    if let Err(refusal) = ipv4_options::check(packet.options) {
        if let ipv4_options::Refusal::Malformed { pointer } = refusal
            && link == LinkDestination::Station
        {
            let about = arrival(interface, &packet, offload);
            icmpv4::parameter_problem(shard, now, &about, pointer);
        }
        return Err(refusal.reason());
    }
    if autoconf::is_for_client(shard, interface, &packet) {
        return autoconf::input(shard, now, interface, &packet, offload);
    }
    let mark = filter::prerouting(shard, now, &arrival(interface, &packet, offload))?;
    if shard.watchers.is_some() {
        watch::passed(shard, Stages::FILTER, interface, bytes, offload);
    }
    let header = packet.header;
    let (source, destination) = (header.source, header.destination);
    // Our copy of what we sent counts as coming in where it went out.
    let heard_on = match interface {
        InterfaceId::LOOPBACK => shard.interfaces.owner(source.into()).unwrap_or(interface),
        interface => interface,
    };
    let joined =
        destination.is_multicast() && shard.memberships.wants(heard_on, destination, source);
    let inbound = Inbound { interface, header: &header, payload: packet.payload, joined, mark };
    let decision = route::decide(&shard.interfaces, &shard.zones, &shard.routes, &inbound);
    if shard.watchers.is_some() {
        watch::decided(shard, &inbound, &decision);
    }
    let cast = match decision {
        Decision::Deliver(cast) => cast,
        // RFC 1812 §5.3.4: what was broadcast on a link is for nobody beyond it.
        Decision::Forward(_) if link != LinkDestination::Station => {
            return Err(DropReason::NotLocal);
        }
        Decision::Forward(way) => {
            return forward::input(shard, now, &Transit { interface, packet, offload, way, mark });
        }
        Decision::Refuse(Refusal { reason, answer }) => {
            if let Some(code) = answer.filter(|_| link == LinkDestination::Station) {
                icmpv4::unreachable(shard, now, &arrival(interface, &packet, offload), code);
            }
            return Err(reason);
        }
    };
    // RFC 1122 §3.3.6: what went to several on the link and is addressed to one host is a mistake.
    if link != LinkDestination::Station && cast == Cast::Unicast {
        return Err(DropReason::Martian);
    }
    let for_all = header.protocol == Protocol::UDP
        || cast == Cast::Multicast && header.protocol == Protocol::IGMP;
    if cast != Cast::Unicast && !for_all {
        let reason = match header.protocol {
            Protocol::ICMP => DropReason::IcmpIgnored, // RFC 1122 §3.2.2.6
            _ => DropReason::Martian,                  // RFC 9293 §3.9.2.3
        };
        // Raw sockets make of it what they like.
        if shard.raws.is_empty() || header.is_fragment() {
            return Err(reason);
        }
        let arrival = Arrival { mark, ..arrival(interface, &packet, offload) };
        filter::input(shard, now, &arrival)?;
        return if raw::input(shard, now, &arrival) { Ok(()) } else { Err(reason) };
    }
    if header.is_fragment() {
        return fragment_input(shard, now, interface, &packet);
    }
    let arrival = Arrival { mark, ..arrival(interface, &packet, offload) };
    deliver(shard, now, &arrival)
}

fn arrival<'a>(interface: InterfaceId, packet: &Packet<'a>, offload: RxOffload) -> Arrival<'a> {
    let Packet { header, header_bytes, payload, .. } = *packet;
    Arrival { interface, header, header_bytes, payload, offload, mark: 0 }
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
                mark: 0,
            };
            icmpv4::reassembly_timeout(shard, now, &arrival);
        }
    }
    arm(shard);
}

/// See [`route::may_be_source`].
pub(crate) fn may_be_source(shard: &Shard, interface: InterfaceId, source: Ipv4Addr) -> bool {
    route::may_be_source(&shard.interfaces, interface, source)
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
    let Some(whole) = whole else {
        watch::note(shard, |_| Step::Held);
        return Ok(());
    };
    watch::note(shard, |_| Step::Whole { length: whole.payload.len() });
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
        mark: 0,
    };
    deliver(shard, now, &arrival)
}

/// A whole datagram for us.
fn deliver(shard: &mut Shard, now: Instant, arrival: &Arrival<'_>) -> Result<(), DropReason> {
    filter::input(shard, now, arrival)?;
    if shard.watchers.is_some() {
        watch::whole(shard, arrival);
    }
    let taken = !shard.raws.is_empty() && raw::input(shard, now, arrival);
    match arrival.header.protocol {
        Protocol::TCP => tcp::input(shard, now, arrival),
        Protocol::UDP => udp::input(shard, now, arrival),
        Protocol::ICMP => match icmpv4::input(shard, now, arrival) {
            // It was for whoever took it.
            Err(DropReason::IcmpUnmatched | DropReason::IcmpIgnored) if taken => Ok(()),
            other => other,
        },
        Protocol::IGMP => igmp::input(shard, now, arrival),
        _ if taken => Ok(()),
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
