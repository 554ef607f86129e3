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
        Arrival, autoconf,
        conntrack::{self, Tracking},
        filter,
        forward::{self, Transit},
        icmpv4, igmp,
        inspect::{Course, Since},
        ipv4_options, raw,
        route::{self, Cast, Decision, Inbound, Refusal},
        tcp, udp, watch,
    },
    table::{
        reassembly::{Insertion, Whole},
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
    let (tracking, since) = (Tracking::Off, Since::Beginning);
    let entering = Entering { interface, packet, offload, link, mark: 0, tracking, since };
    enter(shard, now, &entering)
}

/// A packet that nobody was asked about yet.
pub(crate) fn enter(
    shard: &mut Shard,
    now: Instant,
    entering: &Entering<'_>,
) -> Result<(), DropReason> {
    if shard.conntrack.is_some() {
        return conntrack::input(shard, now, entering);
    }
    let mark = filter::prerouting(shard, now, &entering.arrival())?;
    onward(shard, now, &Entering { mark, ..*entering })
}

/// A packet of which is to be decided whose it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entering<'a> {
    pub interface: InterfaceId,
    pub packet: Packet<'a>,
    pub offload: RxOffload,
    pub link: LinkDestination,
    /// That rules gave it.
    pub mark: u32,
    pub tracking: Tracking,
    pub since: Since,
}

impl<'a> Entering<'a> {
    pub fn arrival(&self) -> Arrival<'a> {
        let Self { interface, offload, link, mark, tracking, since, .. } = *self;
        let course = Course::Entering(link);
        Arrival { mark, tracking, since, course, ..arrival(interface, &self.packet, offload) }
    }
}

/// To whom it is for.
pub(crate) fn onward(
    shard: &mut Shard,
    now: Instant,
    entering: &Entering<'_>,
) -> Result<(), DropReason> {
    let Entering { interface, packet, offload, link, mark, tracking, since } = *entering;
    if shard.watchers.is_some() {
        let bytes = [packet.header_bytes, packet.payload].concat();
        watch::passed(shard, Stages::FILTER, interface, &bytes, offload);
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
    let decision = match came_back(shard, entering) {
        true => Decision::Deliver(Cast::Unicast),
        false => route::decide(&shard.interfaces, &shard.zones, &shard.routes, &inbound),
    };
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
            let transit = Transit { interface, packet, offload, way, mark, tracking, since };
            return forward::input(shard, now, &transit);
        }
        Decision::Refuse(Refusal { reason, answer }) => {
            if let Some(code) = answer.filter(|_| link == LinkDestination::Station) {
                icmpv4::unreachable(shard, now, &entering.arrival(), code);
            }
            return Err(route::blame_zones(shard, interface, &header, reason));
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
        let course = Course::Raw;
        let arrival = Arrival { mark, since, course, ..arrival(interface, &packet, offload) };
        return match deliver_raw(shard, now, &arrival) {
            Err(DropReason::Martian) => Err(reason),
            other => other,
        };
    }
    if header.is_fragment() {
        return fragment_input(shard, now, interface, &packet);
    }
    deliver(shard, now, &Arrival { course: Course::Here, ..entering.arrival() })
}

/// Something for several, of a transport that is for one: only raw sockets are interested.
pub(crate) fn deliver_raw(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    filter::input(shard, now, arrival)?;
    raw::input(shard, now, arrival).then_some(()).ok_or(DropReason::Martian)
}

/// Is it from this host to this host, with a source that it got on its way?
fn came_back(shard: &Shard, entering: &Entering<'_>) -> bool {
    let (InterfaceId::LOOPBACK, Tracking::Of(known)) = (entering.interface, entering.tracking)
    else {
        return false;
    };
    let table = shard.conntrack.as_ref();
    let flow = table.and_then(|table| table.get(known.flow));
    let destination = entering.packet.header.destination;
    flow.is_some_and(|flow| flow.is_translated())
        && (shard.interfaces.owner(destination.into()).is_some()
            || shard.routes.is_local(destination))
}

fn arrival<'a>(interface: InterfaceId, packet: &Packet<'a>, offload: RxOffload) -> Arrival<'a> {
    let Packet { header, header_bytes, payload, .. } = *packet;
    let (tracking, since, course) = (Tracking::Off, Since::Beginning, Course::Here);
    let mark = 0;
    Arrival { interface, header, header_bytes, payload, offload, mark, tracking, since, course }
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
                tracking: Tracking::Off,
                since: Since::Beginning,
                course: Course::Here,
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
    let Some(whole) = reassemble(shard, now, interface, packet)? else { return Ok(()) };
    let arrival = Arrival {
        interface,
        header: whole.header,
        header_bytes: &whole.header_bytes,
        payload: &whole.payload,
        offload: offload_of_whole(interface),
        mark: 0,
        tracking: Tracking::Off,
        since: Since::Beginning,
        course: Course::Here,
    };
    deliver(shard, now, &arrival)
}

/// The datagram that this fragment completes.
pub(crate) fn reassemble(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &Packet<'_>,
) -> Result<Option<Whole>, DropReason> {
    let Insertion { verdict, condemned, evicted } =
        shard.reassembly.insert(now, &shard.config.limits, interface, packet);
    count(shard, DropReason::FragmentLimit, evicted);
    arm(shard);
    let whole = verdict.inspect_err(|reason| count(shard, *reason, condemned))?;
    watch::note(shard, |_| match &whole {
        None => Step::Held,
        Some(whole) => Step::Whole { length: whole.payload.len() },
    });
    Ok(whole)
}

/// What the device said of the pieces says nothing of the whole; our own were never on a wire.
pub(crate) fn offload_of_whole(interface: InterfaceId) -> RxOffload {
    let checksum = match interface {
        InterfaceId::LOOPBACK => RxChecksum::Partial,
        _ => RxChecksum::Unverified,
    };
    RxOffload { checksum, segment_size: None }
}

/// A whole datagram for us.
pub(crate) fn deliver(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    if arrival.tracking != Tracking::Off {
        return conntrack::deliver(shard, now, arrival);
    }
    filter::input(shard, now, arrival)?;
    to_transport(shard, now, arrival)
}

pub(crate) fn to_transport(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
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
