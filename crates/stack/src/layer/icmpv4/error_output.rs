//! ICMP errors that we send, where RFC 1122 §3.2.2 allows them: never about an error, a broadcast,
//! a fragment other than the first, or a source that is not one host; and only so many to one host.

use super::echo::message;
use crate::{
    Instant, Shard,
    counters::DropReason,
    layer::{
        Arrival,
        conntrack::Tracking,
        inspect::{Course, Since},
        ipv4_input::may_be_source,
        ipv4_output::{self, Datagram},
        route::path_from,
    },
    table::interface::InterfaceId,
};
use core::net::Ipv4Addr;
use narrows_wire::{
    icmpv4::{self, Header, Unreachable},
    ipv4::{self, Packet, Protocol},
    offload::RxOffload,
};

/// RFC 1812 §4.3.2.3: as much of the datagram as fits without the error exceeding 576 bytes.
const MAX_QUOTE: usize = 576 - ipv4::HEADER_LEN - icmpv4::HEADER_LEN;

/// RFC 1812 §4.3.2.5: errors are sent with internetwork control precedence.
const TOS: u8 = 0xc0;

/// Tells the sender of `arrival` that it can't be delivered, where RFC 1122 §3.2.2 allows it.
pub(crate) fn unreachable(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    code: Unreachable,
) {
    send(shard, now, arrival, Header::DestinationUnreachable { code, mtu: 0 });
}

/// Tells the sender that the next link takes packets of `mtu` bytes (RFC 1191 §4).
pub(crate) fn fragmentation_needed(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    mtu: u16,
) {
    let code = Unreachable::FRAGMENTATION_NEEDED;
    send(shard, now, arrival, Header::DestinationUnreachable { code, mtu });
}

/// Tells the sender of a first fragment that the others did not come (RFC 792, code 1).
pub(crate) fn reassembly_timeout(shard: &mut Shard, now: Instant, first: &Arrival<'_>) {
    send(shard, now, first, Header::TimeExceeded { code: 1 });
}

/// Tells the sender that its packet passed as many routers as it may (RFC 792, code 0).
pub(crate) fn time_exceeded(shard: &mut Shard, now: Instant, arrival: &Arrival<'_>) {
    send(shard, now, arrival, Header::TimeExceeded { code: 0 });
}

/// Tells the sender that the octet of the header at `pointer` is wrong (RFC 1122 §3.2.2.5).
pub(crate) fn parameter_problem(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    pointer: u8,
) {
    send(shard, now, arrival, Header::ParameterProblem { pointer });
}

/// Tells a host on the link of a better gateway to that destination (RFC 1812 §4.3.3.2: for hosts, not
/// for networks).
pub(crate) fn redirect(shard: &mut Shard, now: Instant, arrival: &Arrival<'_>, gateway: Ipv4Addr) {
    send(shard, now, arrival, Header::Redirect { code: 1, gateway });
}

/// A packet that was being forwarded, and whose next hop answers no ARP.
pub(super) fn undeliverable(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &Packet<'_>,
) {
    let Ok(back) = path_from(shard, interface, packet.header.source) else { return };
    let Packet { header, header_bytes, payload, .. } = *packet;
    let offload = RxOffload::default();
    let interface = back.interface;
    let arrival = Arrival {
        interface,
        header,
        header_bytes,
        payload,
        offload,
        mark: 0,
        tracking: Tracking::Off,
        since: Since::Beginning,
        course: Course::Here,
    };
    unreachable(shard, now, &arrival, Unreachable::HOST);
}

fn send(shard: &mut Shard, now: Instant, about: &Arrival<'_>, error: Header) {
    if !allowed(shard, about) {
        return;
    }
    let destination = about.header.source;
    // RFC 1122 §3.2.2: from the address that the packet was for. If that is another host's, from
    // the one that answers come from.
    let source = match shard.interfaces.owner(about.header.destination.into()) {
        Some(_) => about.header.destination,
        None => match path_from(shard, about.interface, destination) {
            Ok(back) => back.source,
            Err(_) => return shard.drop(DropReason::NoRoute),
        },
    };
    let limit = &mut shard.icmp_limits.errors;
    if !limit.allow(now, &mut shard.random, destination.into()) {
        shard.drop(DropReason::IcmpRateLimited);
        return;
    }
    let quoted = about.payload.len().min(MAX_QUOTE.saturating_sub(about.header_bytes.len()));
    let quote = [about.header_bytes, about.payload.get(..quoted).unwrap_or(&[])].concat();
    let datagram = Datagram {
        tos: TOS,
        payload: &message(&error, &quote),
        ..Datagram::plain(source, destination, Protocol::ICMP)
    };
    if let Err(reason) = ipv4_output::output(shard, now, &datagram) {
        shard.drop(reason);
    }
}

/// RFC 1122 §3.2.2: may an error be sent about this?
fn allowed(shard: &Shard, about: &Arrival<'_>) -> bool {
    let header = &about.header;
    let to_one_host = !header.destination.is_multicast()
        && shard
            .interfaces
            .get(about.interface)
            .is_some_and(|link| !link.is_broadcast(header.destination));
    let from_one_host = about.interface == InterfaceId::LOOPBACK
        || may_be_source(shard, about.interface, header.source);
    // Only what is surely no error; of a fragment that is all there is to see.
    let is_error = header.protocol == Protocol::ICMP && !icmpv4::begins_as_query(about.payload);
    to_one_host && from_one_host && header.fragment_offset == 0 && !is_error
}
