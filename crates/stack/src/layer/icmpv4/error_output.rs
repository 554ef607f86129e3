//! ICMP errors that we send, where RFC 1122 §3.2.2 allows them: never about an error, a broadcast,
//! a fragment other than the first, or a source that is not one host; and only so many to one host.

use super::echo::message;
use crate::{
    Instant, Shard,
    counters::DropReason,
    layer::{
        Arrival,
        ipv4_input::may_be_source,
        ipv4_output::{self, DEFAULT_TTL, Datagram},
    },
    table::interface::InterfaceId,
};
use narrows_wire::{
    icmpv4::{self, Header, Unreachable},
    ipv4::{self, Protocol},
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

/// Tells the sender of a first fragment that the others did not come (RFC 792, code 1).
pub(crate) fn reassembly_timeout(shard: &mut Shard, now: Instant, first: &Arrival<'_>) {
    send(shard, now, first, Header::TimeExceeded { code: 1 });
}

fn send(shard: &mut Shard, now: Instant, about: &Arrival<'_>, error: Header) {
    if !allowed(shard, about) {
        return;
    }
    let destination = about.header.source;
    let limit = &mut shard.icmp_limits.errors;
    if !limit.allow(now, &mut shard.random, destination.into()) {
        shard.drop(DropReason::IcmpRateLimited);
        return;
    }
    let quoted = about.payload.len().min(MAX_QUOTE.saturating_sub(about.header_bytes.len()));
    let quote = [about.header_bytes, about.payload.get(..quoted).unwrap_or(&[])].concat();
    let datagram = Datagram {
        source: about.header.destination,
        destination,
        protocol: Protocol::ICMP,
        ttl: DEFAULT_TTL,
        tos: TOS,
        dont_fragment: false,
        payload: &message(&error, &quote),
    };
    if let Err(reason) = ipv4_output::output(shard, now, &datagram) {
        shard.drop(reason);
    }
}

/// RFC 1122 §3.2.2: may an error be sent about this?
fn allowed(shard: &Shard, about: &Arrival<'_>) -> bool {
    let header = &about.header;
    let to_one_host = shard.interfaces.owner(header.destination.into()).is_some();
    let from_one_host = about.interface == InterfaceId::LOOPBACK
        || may_be_source(shard, about.interface, header.source);
    // Only what is surely no error; of a fragment that is all there is to see.
    let is_error = header.protocol == Protocol::ICMP && !icmpv4::begins_as_echo(about.payload);
    to_one_host && from_one_host && header.fragment_offset == 0 && !is_error
}
