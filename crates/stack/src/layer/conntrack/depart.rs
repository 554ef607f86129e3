//! Packets of this host: tracked where programs' rules are asked, routed anew if their destination is another.

use super::{Membership, Tracking, confirm, settle, track, translate};
use crate::{
    Instant, InterfaceId, Shard,
    conntrack::{Direction, Tuple},
    counters::DropReason,
    filter::{Hook, Part},
    layer::{
        Arrival,
        filter::{self, Departure},
        inspect::Own,
        ipv4_output::error_reason,
        route::{Path, path_for, transport},
    },
    table::{demux::Flow, route::Query},
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    ipv4::{Header, Protocol},
    offload::{RxChecksum, RxOffload},
    rewrite::End,
};

/// What became of a packet.
#[derive(Clone, Debug)]
pub(crate) struct Changed {
    /// Its header and as much of its payload as was given.
    pub bytes: Vec<u8>,
    /// If its destination is another.
    pub path: Option<Path>,
}

/// A packet on its way to `path`. `None`: it goes as it is.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    departure: &Departure<'_>,
) -> Result<Option<Changed>, DropReason> {
    let mut packet = departure.arrival();
    // Who computes the checksum later has the pseudo-header's sum in its field.
    let checksum = if departure.partial { RxChecksum::Partial } else { RxChecksum::Verified };
    packet.offload = RxOffload { checksum, segment_size: None };
    let asked = filter::left(shard, now, Hook::Output, Part::BeforeTracking, departure, &packet)?;
    packet.mark = asked.mark;
    packet.tracking = match (packet.tracking, asked.untrack) {
        (Tracking::Off, true) => Tracking::Untracked,
        (Tracking::Off, false) => track::packet(shard, now, &packet, departure.payload_len)?,
        (known, _) => known,
    };
    let result = tracked_output(shard, now, departure, &packet);
    settle(shard, packet.tracking);
    result
}

fn tracked_output(
    shard: &mut Shard,
    now: Instant,
    departure: &Departure<'_>,
    packet: &Arrival<'_>,
) -> Result<Option<Changed>, DropReason> {
    let (first, mark) = hook(shard, now, Hook::Output, departure, packet, None)?;
    let packet = Arrival { mark, ..with(packet, first.as_deref())? };
    let destination = packet.header.destination;
    let path = match destination == departure.header.destination {
        true => None,
        false => Some(reroute(shard, departure, &packet)?),
    };
    let own = Own { path: path.unwrap_or(departure.own.path), ..departure.own };
    let departure = &Departure { own, ..*departure };
    let to = Some((own.path.interface, own.path.next_hop));
    let (second, mark) = hook(shard, now, Hook::Postrouting, departure, &packet, to)?;
    confirm(shard, packet.tracking)?;
    if path.is_none() {
        let packet = Arrival { mark, ..with(&packet, second.as_deref())? };
        filter::left_by_device(shard, now, departure, &packet)?;
    }
    Ok(second.or(first).map(|bytes| Changed { bytes, path }))
}

/// The rules of a hook, and the end that is changed there.
fn hook(
    shard: &mut Shard,
    now: Instant,
    hook: Hook,
    departure: &Departure<'_>,
    packet: &Arrival<'_>,
    output: Option<(InterfaceId, Ipv4Addr)>,
) -> Result<(Option<Vec<u8>>, u32), DropReason> {
    let end = if output.is_some() { End::Source } else { End::Destination };
    let mut packet = *packet;
    packet.mark = filter::left(shard, now, hook, Part::BeforeTranslation, departure, &packet)?.mark;
    let place = translate::Place { input: None, output };
    let translated = packet.since.covers(hook, Part::Translation);
    if !translated && translate::is_open(shard, &packet, place) {
        let listens = shard.filter.as_ref().is_some_and(|filter| filter.translates(hook));
        let choice = match listens {
            true => filter::left(shard, now, hook, Part::Translation, departure, &packet)?.choice,
            false => None,
        };
        translate::settle(shard, &packet, end, place, choice)?;
    }
    let bytes = match packet.tracking {
        Tracking::Of(Membership { flow, direction, state }) if !translated => {
            translate::change(shard, &packet, flow, direction, state, end)?
        }
        _ => None,
    };
    let packet = with(&packet, bytes.as_deref())?;
    let mark = filter::left(shard, now, hook, Part::AfterTranslation, departure, &packet)?.mark;
    Ok((bytes, mark))
}

fn with<'a>(packet: &Arrival<'a>, bytes: Option<&'a [u8]>) -> Result<Arrival<'a>, DropReason> {
    let Some(bytes) = bytes else { return Ok(*packet) };
    let (header_bytes, payload) =
        bytes.split_at_checked(packet.header_bytes.len()).ok_or(DropReason::Ipv4Malformed)?;
    let address = |at: usize| {
        let octets = header_bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
        octets.map(|octets| Ipv4Addr::from(*octets)).ok_or(DropReason::Ipv4Malformed)
    };
    let header = Header { source: address(12)?, destination: address(16)?, ..packet.header };
    Ok(Arrival { header, header_bytes, payload, ..*packet })
}

fn reroute(
    shard: &Shard,
    departure: &Departure<'_>,
    packet: &Arrival<'_>,
) -> Result<Path, DropReason> {
    let header = &packet.header;
    let query = Query {
        source: Some(header.source),
        mark: packet.mark,
        principal: departure.own.principal,
        transport: transport(header, packet.payload),
        ..Query::to(header.destination)
    };
    path_for(shard, &query).map_err(error_reason)
}

/// May segments of this connection be given another destination? Then their way is known only when rules have
/// been asked.
pub(crate) fn may_reroute(shard: &Shard, flow: &Flow) -> bool {
    let Some(table) = &shard.conntrack else { return false };
    let Some(tuple) = tuple_of(flow) else { return false };
    match table.find(&tuple) {
        Some((id, direction)) => table
            .get(id)
            .is_some_and(|flow| flow.translation(direction, End::Destination).is_some()),
        None => shard.filter.as_ref().is_some_and(|filter| filter.translates(Hook::Output)),
    }
}

/// To where the peer of a connection wanted.
pub(crate) fn original_destination(
    shard: &Shard,
    local: SocketAddr,
    remote: SocketAddr,
) -> Option<SocketAddr> {
    let table = shard.conntrack.as_ref()?;
    let (flow, _) = table.find(&tuple_of(&Flow { local, remote })?)?;
    let original = table.get(flow)?.tuple(Direction::Original);
    Some(SocketAddr::new(original.destination.into(), original.destination_port))
}

/// Of a connection's segments as it sends them.
fn tuple_of(flow: &Flow) -> Option<Tuple> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (flow.local.ip(), flow.remote.ip()) else {
        return None;
    };
    Some(Tuple {
        protocol: Protocol::TCP,
        source,
        destination,
        source_port: flow.local.port(),
        destination_port: flow.remote.port(),
        kind: 0,
    })
}
