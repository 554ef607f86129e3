//! Giving a flow another end, and its packets what the flow has.

use super::{Membership, Tracking, track};
use crate::{
    Instant, InterfaceId, Shard,
    conntrack::{FlowState, Tuple, nat::Wanted},
    counters::DropReason,
    filter::{
        Hook, Part,
        rule::{self, Choice},
    },
    layer::{Arrival, filter},
};
use core::net::Ipv4Addr;
use narrows_wire::{
    icmpv4,
    ipv4::Packet,
    offload::RxChecksum,
    rewrite::{self, End, Field},
};

/// Where a packet is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub input: Option<InterfaceId>,
    /// And by whom it goes on.
    pub output: Option<(InterfaceId, Ipv4Addr)>,
}

/// Asks the rules, once for each end of a flow, with its first packet. A source that no rule gives another still
/// gets another port if answers to it could not be told from those of another flow.
pub(super) fn decide(
    shard: &mut Shard,
    now: Instant,
    hook: Hook,
    packet: &Arrival<'_>,
    end: End,
    place: Place,
) -> Result<(), DropReason> {
    if packet.since.covers(hook, Part::Translation) || !is_open(shard, packet, place) {
        return Ok(());
    }
    let listens = shard.filter.as_ref().is_some_and(|filter| filter.translates(hook));
    let output = place.output.map(|(output, _)| output);
    let choice = match listens {
        true => filter::came_in(shard, now, hook, Part::Translation, packet, output)?.choice,
        false => None,
    };
    settle(shard, packet, end, place, choice)
}

/// Does the first packet of a flow come by here for the first time?
pub(super) fn is_open(shard: &Shard, packet: &Arrival<'_>, place: Place) -> bool {
    let Tracking::Of(Membership { flow, state, .. }) = packet.tracking else { return false };
    let confirmed = |flow: &crate::conntrack::flow::Flow| {
        flow.status().contains(crate::conntrack::Status::CONFIRMED)
    };
    state == FlowState::New
        && place.input != Some(InterfaceId::LOOPBACK)
        && shard.conntrack.as_ref().and_then(|table| table.get(flow)).is_some_and(|f| !confirmed(f))
}

/// Does what the rules have decided.
pub(super) fn settle(
    shard: &mut Shard,
    packet: &Arrival<'_>,
    end: End,
    place: Place,
    choice: Option<Choice>,
) -> Result<(), DropReason> {
    let Tracking::Of(Membership { flow, .. }) = packet.tracking else { return Ok(()) };
    let wanted = match choice.filter(|choice| choice.end == end) {
        None => Wanted::none(end),
        Some(Choice { place: address, ports, random, persistent, .. }) => {
            let addresses = match address {
                rule::Place::Same => None,
                rule::Place::Range(first, last) => Some((first, last)),
                rule::Place::Interface | rule::Place::Here => {
                    let own = own_address(shard, packet, place);
                    let own = own.ok_or(DropReason::NatExhausted)?;
                    Some((own, own))
                }
            };
            Wanted { end, addresses, ports, random, persistent }
        }
    };
    let Shard { conntrack, random, .. } = shard;
    match conntrack {
        Some(table) => table.translate(random, flow, &wanted),
        None => Ok(()),
    }
}

/// This host's address where the packet leaves, or came in; what it sends itself comes back to it.
fn own_address(shard: &Shard, packet: &Arrival<'_>, place: Place) -> Option<Ipv4Addr> {
    match (place.output, place.input) {
        (Some((output, next_hop)), _) => shard.interfaces.source_for(output, next_hop),
        (None, Some(input)) => shard.interfaces.source_for(input, packet.header.source),
        (None, None) => Some(Ipv4Addr::LOCALHOST),
    }
}

/// Is a packet that leaves so of somebody who is behind this host's address?
pub(crate) fn stands_for_another(shard: &Shard, packet: &Packet<'_>) -> bool {
    let Some(table) = &shard.conntrack else { return false };
    let tuple = Tuple::of(&packet.header, packet.payload).map(|tuple| tuple.inverse());
    let found = tuple.and_then(|answer| table.find(&answer));
    let flow = found.and_then(|(flow, direction)| Some((table.get(flow)?, direction)));
    let inside = flow.and_then(|(flow, direction)| flow.translation(direction, End::Destination));
    inside.is_some_and(|(address, _)| shard.interfaces.owner(address.into()).is_none())
}

/// The packet with the end that its flow has, if that is another: header and payload, of which the transport's
/// header at least was there.
pub(super) fn apply(
    shard: &Shard,
    packet: &Arrival<'_>,
    hook: Hook,
    end: End,
) -> Result<Option<Vec<u8>>, DropReason> {
    let Tracking::Of(Membership { flow, direction, state }) = packet.tracking else {
        return Ok(None);
    };
    if packet.interface == InterfaceId::LOOPBACK || packet.since.covers(hook, Part::Translation) {
        return Ok(None);
    }
    change(shard, packet, flow, direction, state, end)
}

/// As [`apply`], of packets of this host too.
pub(super) fn change(
    shard: &Shard,
    packet: &Arrival<'_>,
    flow: crate::conntrack::FlowId,
    direction: crate::conntrack::Direction,
    state: FlowState,
    end: End,
) -> Result<Option<Vec<u8>>, DropReason> {
    let flow = shard.conntrack.as_ref().and_then(|table| table.get(flow));
    let Some((address, port)) = flow.and_then(|flow| flow.translation(direction, end)) else {
        return Ok(None);
    };
    let mut bytes = [packet.header_bytes, packet.payload].concat();
    let field = match packet.offload.checksum {
        RxChecksum::Partial => Field::Partial,
        RxChecksum::Unverified | RxChecksum::Verified => Field::Whole,
    };
    if state != FlowState::Related {
        rewrite::end(&mut bytes, end, address, Some(port), field)
            .ok_or(DropReason::Ipv4Malformed)?;
        return Ok(Some(bytes));
    }
    debug_assert!(track::is_error(packet));
    // A better gateway for an address that is not the host's own is none (RFC 5508 §4.2, REQ-7).
    if packet.payload.first() == Some(&icmpv4::kind::REDIRECT) {
        return Err(DropReason::IcmpIgnored);
    }
    rewrite::end(&mut bytes, end, address, None, field).ok_or(DropReason::Ipv4Malformed)?;
    // What it quotes went the other way (RFC 5508 §4.1).
    let message = bytes.get_mut(packet.header_bytes.len()..).unwrap_or_default();
    let quoted = message.get_mut(icmpv4::HEADER_LEN..).unwrap_or_default();
    rewrite::end(quoted, end.other(), address, Some(port), Field::Whole);
    rewrite::renew_icmp(message).ok_or(DropReason::IcmpMalformed)?;
    Ok(Some(bytes))
}
