//! Copies of packets for raw sockets, and what they hear of errors about packets they sent.

use super::settings;
use crate::{
    Instant, InterfaceId, Shard,
    bpf::Context,
    event::Readiness,
    layer::{
        Arrival,
        icmpv4::{Problem, note_error},
        ipv4_options, packet, watch,
    },
    request::SocketId,
    table::{
        datagram::Datagram,
        error_queue::Origin,
        socket::Socket,
        watch::{Role, Step},
    },
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    ipv4::{Header, Protocol},
    offload::RxChecksum,
};

/// ETH_P_IP, as filters ask for it.
const IPV4: u16 = 0x0800;

/// Shows a whole packet for this host to the raw sockets of its protocol; true: one of them took it.
#[cold]
pub(crate) fn input(shard: &mut Shard, now: Instant, arrival: &Arrival<'_>) -> bool {
    let protocol = arrival.header.protocol;
    let wanted: Vec<SocketId> =
        shard.raws.of(protocol).filter(|id| hears(shard, *id, arrival)).collect();
    if wanted.is_empty() {
        return false;
    }
    let options = ipv4_options::arrived(shard, now, arrival);
    let packet = whole(arrival, &options);
    for id in &wanted {
        watch::note(shard, |_| Step::Socket { id: Some(*id), role: Role::Raw });
        give(shard, now, arrival, &options, &packet, *id);
    }
    true
}

/// Is the packet one that the socket may hear of, and wants to?
fn hears(shard: &Shard, id: SocketId, arrival: &Arrival<'_>) -> bool {
    let Some(socket) = shard.sockets.get(id) else { return false };
    let Some(raw) = socket.raw() else { return false };
    let Header { source, destination, .. } = arrival.header;
    if !is_of(socket, destination, source, arrival.interface) || !raw.listens_on(arrival.interface)
    {
        return false;
    }
    let icmp = arrival.payload.first().filter(|_| arrival.header.protocol == Protocol::ICMP);
    if icmp.is_some_and(|kind| raw.refuses(*kind)) {
        return false;
    }
    if destination.is_multicast() {
        let admits = shard.memberships.admits(id, arrival.interface, destination, source);
        return admits.unwrap_or(socket.ip.multicast_all) && may_hear(shard, socket, arrival);
    }
    may_hear(shard, socket, arrival)
}

/// Is a packet from `remote` to `local` what the socket is bound, connected and held to?
fn is_of(socket: &Socket, local: Ipv4Addr, remote: Ipv4Addr, interface: InterfaceId) -> bool {
    let bound = socket.local().ip();
    (bound.is_unspecified() || bound == IpAddr::V4(local))
        && socket.remote().is_none_or(|peer| peer.ip() == IpAddr::V4(remote))
        && socket.ip.device.is_none_or(|device| device == interface)
}

/// Zones: what is for an address is for those who may use it, what is for many for those who are
/// admitted where it came in.
fn may_hear(shard: &Shard, socket: &Socket, arrival: &Arrival<'_>) -> bool {
    let destination = arrival.header.destination.into();
    if shard.zones.is_single() || shard.interfaces.owner(destination).is_some() {
        return shard.covers(socket.principal, destination);
    }
    let interface = match arrival.interface {
        // A copy of what this host sent itself.
        InterfaceId::LOOPBACK => shard.interfaces.owner(arrival.header.source.into()),
        interface => Some(interface),
    };
    interface.is_some_and(|interface| shard.admits(socket.principal, interface))
}

/// From its IPv4 header on: one packet with these options, and with the sum that a device was to complete.
pub(crate) fn whole(arrival: &Arrival<'_>, options: &[u8]) -> Vec<u8> {
    let Arrival { header, header_bytes, payload, offload, .. } = arrival;
    let header_of_all = Header { more_fragments: false, fragment_offset: 0, ..*header };
    let length = header_bytes.len() + payload.len();
    let said = header_bytes
        .get(2..4)
        .map(|bytes| bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
    let as_it_came = said == Some(length) && !header.is_fragment() && options == arrival.options();
    let header = if as_it_came {
        header_bytes.to_vec()
    } else {
        // Put together again: the first fragment's header is not the packet's.
        let again = header_of_all.with_options(options, payload.len());
        again.unwrap_or_else(|| header_bytes.to_vec())
    };
    let mut bytes = [&header[..], payload].concat();
    if offload.checksum == RxChecksum::Partial {
        packet::complete_packet(&mut bytes);
    }
    bytes
}

/// A copy for one socket, as much of it as its filter takes.
fn give(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    options: &[u8],
    packet: &[u8],
    id: SocketId,
) {
    let random = shard.random.next_u32();
    let taken = match settings(shard, id).and_then(|raw| raw.filter.as_ref()) {
        None => packet.len(),
        Some(filter) => filter.run([&[], packet], &context(arrival, random)) as usize,
    };
    if taken == 0 {
        return;
    }
    let Header { source, destination, ttl, tos, protocol, .. } = arrival.header;
    let Some(datagram) = shard.sockets.get_mut(id).and_then(|socket| socket.datagram()) else {
        return;
    };
    let pushed = datagram.queue.push(Datagram {
        from: SocketAddr::new(source.into(), 0),
        to: SocketAddr::new(destination.into(), protocol.0.into()),
        interface: arrival.interface,
        ttl,
        tos,
        segment_size: None,
        received: now,
        options: options.into(),
        payload: packet.get(..taken).unwrap_or(packet).into(),
    });
    match pushed {
        Ok(()) => shard.notify(id, Readiness::READABLE),
        Err(reason) => shard.drop(reason),
    }
}

fn context(arrival: &Arrival<'_>, random: u32) -> Context {
    let payload_offset = u32::try_from(arrival.header_bytes.len()).unwrap_or(0);
    Context {
        protocol: IPV4,
        packet_type: 0,
        interface: arrival.interface.number(),
        hardware: packet::hardware(arrival.interface),
        vlan: None,
        network: 0,
        payload_offset,
        random,
    }
}

/// An ICMP error about a packet that this host sent: raw sockets of its protocol that could have sent it
/// hear of it, under the same conditions as others; true: one of them did.
#[cold]
pub(crate) fn error(
    shard: &mut Shard,
    interface: InterfaceId,
    header: &Header,
    origin: Origin,
    problem: Problem,
    quoted: &[u8],
) -> bool {
    let Header { source, destination, protocol, .. } = *header;
    let concerned = |id: &SocketId| {
        let socket = shard.sockets.get(*id);
        socket.is_some_and(|socket| {
            is_of(socket, source, destination, interface)
                && shard.covers(socket.principal, source.into())
        })
    };
    let sockets: Vec<SocketId> = shard.raws.of(protocol).filter(concerned).collect();
    let remote = SocketAddr::new(destination.into(), 0);
    let header_len = quoted.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let mut told = false;
    for id in sockets {
        let whole = settings(shard, id).is_some_and(|raw| raw.header_included);
        let own = if whole { quoted } else { quoted.get(header_len..).unwrap_or_default() };
        told |= note_error(shard, id, remote, origin, problem, own).is_ok();
    }
    told
}
