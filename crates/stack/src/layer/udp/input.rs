//! A datagram's way to its socket, to several, or to nobody.

use super::{is_own, sum};
use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    event::Readiness,
    layer::{Arrival, icmpv4, ipv4_options, watch},
    request::{SocketId, SocketKind},
    table::{
        datagram::Datagram,
        demux::Flow,
        watch::{Role, Step},
    },
};
use core::net::SocketAddr;
use narrows_wire::{
    icmpv4::Unreachable,
    offload::RxChecksum,
    udp::{HEADER_LEN, Header},
};

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    let (header, payload) = Header::parse(arrival.payload).map_err(|_| DropReason::UdpMalformed)?;
    verify_checksum(arrival, &header, payload)?;
    let flow = Flow {
        local: SocketAddr::new(arrival.header.destination.into(), header.destination_port),
        remote: SocketAddr::new(arrival.header.source.into(), header.source_port),
    };
    if !is_own(shard, arrival.header.destination) {
        return deliver_to_all(shard, now, arrival, &flow, payload);
    }
    let hears = |id| shard.hears(id, flow.local.ip());
    let Some(id) = shard.datagrams.one(SocketKind::Udp, &flow, arrival.interface, hears) else {
        icmpv4::unreachable(shard, now, arrival, Unreachable::PORT);
        return Err(DropReason::UdpNoSocket);
    };
    deliver(shard, now, arrival, &flow, id, payload)
}

/// A broadcast, or what is for a group: a copy for everybody who wants it (RFC 1122 §4.1.3.4).
fn deliver_to_all(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    flow: &Flow,
    payload: &[u8],
) -> Result<(), DropReason> {
    // A copy of what this host sent itself counts as coming from where it was sent to.
    let interface = match arrival.interface {
        InterfaceId::LOOPBACK => {
            shard.interfaces.owner(flow.remote.ip()).unwrap_or(InterfaceId::LOOPBACK)
        }
        interface => interface,
    };
    let arrival = Arrival { interface, ..*arrival };
    let (group, source) = (arrival.header.destination, arrival.header.source);
    let wants = |id: &SocketId| {
        let Some(socket) = shard.sockets.get(*id) else { return false };
        let joined = || {
            let admits = shard.memberships.admits(*id, interface, group, source);
            admits.unwrap_or(socket.ip.multicast_all)
        };
        shard.admits(socket.principal, interface) && (!group.is_multicast() || joined())
    };
    let sockets: Vec<SocketId> =
        shard.datagrams.all(SocketKind::Udp, flow, interface).filter(wants).collect();
    if sockets.is_empty() {
        return Err(DropReason::UdpNoSocket);
    }
    for id in sockets {
        if let Err(reason) = deliver(shard, now, &arrival, flow, id, payload) {
            shard.drop(reason);
        }
    }
    Ok(())
}

/// To one socket: as it is, or cut into the datagrams that a device or sender made one of.
fn deliver(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    flow: &Flow,
    id: SocketId,
    payload: &[u8],
) -> Result<(), DropReason> {
    watch::note(shard, |_| Step::Socket { id: Some(id), role: Role::Datagram });
    let options = ipv4_options::arrived(shard, now, arrival);
    let socket = shard.sockets.get_mut(id).ok_or(DropReason::UdpNoSocket)?;
    shard.counters.place.user = Some(socket.principal.uid);
    let datagram = socket.datagram().ok_or(DropReason::UdpNoSocket)?;
    let several = arrival.offload.segment_size.map(usize::from);
    let several = several.filter(|size| *size > 0 && *size < payload.len());
    let template = Datagram {
        from: flow.remote,
        to: flow.local,
        interface: arrival.interface,
        ttl: arrival.header.ttl,
        tos: arrival.header.tos,
        segment_size: None,
        received: now,
        options,
        payload: Box::default(),
    };
    let result = match several {
        Some(_) if datagram.coalesce => {
            let segment_size = arrival.offload.segment_size;
            datagram.queue.push(Datagram { segment_size, payload: payload.into(), ..template })
        }
        Some(size) => payload.chunks(size).try_for_each(|piece| {
            datagram.queue.push(Datagram { payload: piece.into(), ..template.clone() })
        }),
        None => datagram.queue.push(Datagram { payload: payload.into(), ..template }),
    };
    shard.notify(id, Readiness::READABLE);
    result
}

fn verify_checksum(
    arrival: &Arrival<'_>,
    header: &Header,
    payload: &[u8],
) -> Result<(), DropReason> {
    // RFC 768: 0 says that the sender computed none.
    if header.checksum == 0 || arrival.offload.checksum != RxChecksum::Unverified {
        return Ok(());
    }
    // What follows the datagram in its packet is not covered.
    let len = HEADER_LEN + payload.len();
    let datagram = arrival.payload.get(..len).ok_or(DropReason::UdpMalformed)?;
    match sum(arrival.header.source, arrival.header.destination, datagram)?.finish() {
        0 => Ok(()),
        _ => Err(DropReason::UdpChecksum),
    }
}
