//! Which flow a packet is of.

use super::{Membership, Tracking};
use crate::{
    Instant, InterfaceId, Shard,
    conntrack::{
        Connection, Conntrack, Direction, FlowId, FlowState, Observed, Status, Tuple,
        flow::state,
        table::{Heard, Refusal},
    },
    counters::DropReason,
    layer::Arrival,
    table::timer::TimerKey,
};
use narrows_wire::{
    checksum::Sum,
    icmpv4,
    ipv4::Protocol,
    offload::{RxChecksum, RxOffload},
    quote::Quote,
    tcp::Segment,
};

/// Of a packet that came in. Its transport's checksum has been verified then, if nobody else had.
pub(super) fn arrival(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(Tracking, RxOffload), DropReason> {
    if arrival.interface == InterfaceId::LOOPBACK
        && let Some(known) = recognize(shard, arrival)
    {
        return Ok((known, arrival.offload));
    }
    let Some(checksum) = verified(arrival) else { return Ok((Tracking::Invalid, arrival.offload)) };
    let offload = RxOffload { checksum, ..arrival.offload };
    packet(shard, now, arrival, arrival.payload.len()).map(|tracking| (tracking, offload))
}

/// What was tracked when this host sent it, and looks as it was to look in the end.
fn recognize(shard: &Shard, arrival: &Arrival<'_>) -> Option<Tracking> {
    let table = shard.conntrack.as_ref()?;
    let related = is_error(arrival);
    let tuple = match related {
        true => Tuple::of_quote(&quote(arrival)?)?,
        false => Tuple::of(&arrival.header, arrival.payload)?,
    };
    let (flow, answer) = table.find(&tuple.inverse())?;
    // An error goes the other way than what it quotes.
    let direction = if related { answer } else { answer.other() };
    let state = if related { FlowState::Related } else { state_of(table, flow, direction) };
    Some(Tracking::Of(Membership { flow, direction, state }))
}

/// A packet with all its transport header, and `payload_len` bytes behind its own.
pub(super) fn packet(
    shard: &mut Shard,
    now: Instant,
    packet: &Arrival<'_>,
    payload_len: usize,
) -> Result<Tracking, DropReason> {
    let Some(table) = &mut shard.conntrack else { return Ok(Tracking::Off) };
    if is_error(packet) {
        return Ok(related(table, packet).unwrap_or(Tracking::Invalid));
    }
    let Some(tuple) = Tuple::of(&packet.header, packet.payload) else {
        return Ok(Tracking::Invalid);
    };
    let segment = match packet.header.protocol {
        Protocol::TCP => match observed(packet.payload, payload_len) {
            Some(segment) => Some(segment),
            None => return Ok(Tracking::Invalid),
        },
        _ => None,
    };
    let found = table.find(&tuple);
    let is_known = found.is_some();
    let (mut flow, mut direction) = match found {
        Some(found) => found,
        None => match table.open(now, tuple, segment.as_ref()) {
            Ok(flow) => (flow, Direction::Original),
            Err(Refusal::Invalid) => return Ok(Tracking::Invalid),
            Err(Refusal::Drop(reason)) => return Err(reason),
        },
    };
    let length = packet.header_bytes.len() + payload_len;
    let mut heard = table.update(now, flow, direction, segment.as_ref(), length);
    if heard == Heard::Anew && is_known {
        table.remove(flow);
        match table.open(now, tuple, segment.as_ref()) {
            Ok(again) => (flow, direction) = (again, Direction::Original),
            Err(Refusal::Invalid) => return Ok(Tracking::Invalid),
            Err(Refusal::Drop(reason)) => return Err(reason),
        }
        heard = table.update(now, flow, direction, segment.as_ref(), length);
    }
    let state = state_of(table, flow, direction);
    match heard {
        Heard::Sooner(expires) => shard.timers.arm(TimerKey::Flow(flow.0), expires),
        Heard::Invalid | Heard::Anew => {
            table.settle(flow);
            return Ok(Tracking::Invalid);
        }
        Heard::Later => {}
    }
    Ok(Tracking::Of(Membership { flow, direction, state }))
}

fn state_of(table: &Conntrack, flow: FlowId, direction: Direction) -> FlowState {
    let answered = table.get(flow).is_some_and(|flow| flow.status().contains(Status::SEEN_REPLY));
    match direction == Direction::Reply || answered {
        true => FlowState::Established,
        false => FlowState::New,
    }
}

fn observed(payload: &[u8], payload_len: usize) -> Option<Observed> {
    let segment = Segment::parse(payload).ok()?;
    let header_len = payload.len() - segment.payload.len();
    let data_len = u32::try_from(payload_len.checked_sub(header_len)?).ok()?;
    Some(Observed { header: segment.header, options: segment.options, data_len })
}

pub(super) fn is_error(packet: &Arrival<'_>) -> bool {
    use icmpv4::kind::{DESTINATION_UNREACHABLE, PARAMETER_PROBLEM, REDIRECT, TIME_EXCEEDED};
    // RFC 1122 §3.2.2.3: source quench too, which nobody sends any more.
    const SOURCE_QUENCH: u8 = 4;
    packet.header.protocol == Protocol::ICMP
        && matches!(
            packet.payload,
            [
                DESTINATION_UNREACHABLE
                    | SOURCE_QUENCH
                    | REDIRECT
                    | TIME_EXCEEDED
                    | PARAMETER_PROBLEM,
                ..
            ]
        )
}

fn quote(packet: &Arrival<'_>) -> Option<Quote> {
    Quote::parse(packet.payload.get(icmpv4::HEADER_LEN..)?).ok()
}

/// An error is of the flow that it quotes, if it goes to who sent what it quotes.
fn related(table: &Conntrack, packet: &Arrival<'_>) -> Option<Tracking> {
    let inner = Tuple::of_quote(&quote(packet)?)?;
    if inner.source != packet.header.destination {
        return None;
    }
    // What it quotes may have been changed on its way, so that only answers to it are known.
    let (flow, direction) = table.find(&inner.inverse())?;
    Some(Tracking::Of(Membership { flow, direction, state: FlowState::Related }))
}

/// `None`: the transport's checksum is wrong.
fn verified(arrival: &Arrival<'_>) -> Option<RxChecksum> {
    let checksum = arrival.offload.checksum;
    let (header, payload) = (&arrival.header, arrival.payload);
    let pseudo = match header.protocol {
        Protocol::ICMP => Sum::default(),
        // RFC 768: zero says that there is none.
        Protocol::UDP if matches!(payload, [_, _, _, _, _, _, 0, 0, ..]) => return Some(checksum),
        Protocol::TCP | Protocol::UDP if checksum == RxChecksum::Unverified => {
            let len = u16::try_from(payload.len()).ok()?;
            Sum::pseudo_header(header.source, header.destination, header.protocol.0, len)
        }
        _ => return Some(checksum),
    };
    let right = pseudo.add(Sum::of(payload)).finish() == 0;
    right.then_some(match header.protocol {
        Protocol::ICMP => checksum,
        _ => RxChecksum::Verified,
    })
}

/// What rules would be told of a packet's flow, and the flow's mark; nothing changes.
pub(crate) fn peek(shard: &Shard, now: Instant, tuple: &Tuple) -> Option<(Connection, u32)> {
    let table = shard.conntrack.as_ref()?;
    let Some((flow, direction)) = table.find(tuple) else {
        return Some((Connection { state: state::NEW, flow: None }, 0));
    };
    let state = state_of(table, flow, direction);
    Tracking::Of(Membership { flow, direction, state }).connection(shard, now)
}

/// Tracks, or no longer, as rules and configuration say.
pub(crate) fn start_anew(shard: &mut Shard) {
    let wanted = shard.config.conntrack.always
        || shard.filter.as_ref().is_some_and(|filter| filter.tracks());
    match &mut shard.conntrack {
        Some(table) if wanted => table.set_config(shard.config.conntrack.clone()),
        Some(_) => shard.conntrack = None,
        None if wanted => {
            let config = shard.config.conntrack.clone();
            shard.conntrack = Some(Box::new(Conntrack::new(config, &mut shard.random)));
        }
        None => {}
    }
}
