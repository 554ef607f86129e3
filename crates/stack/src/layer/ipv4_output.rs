//! IPv4's send side: route, source address, fragmentation, link header.

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::arp,
    request::Error,
    table::{egress::Frame, route::Route},
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::MacAddr,
    ethernet::{self, EtherType},
    ipv4::{self, Protocol},
    offload::TxOffload,
};

/// Where a packet to some destination goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub interface: InterfaceId,
    /// The gateway, or the destination itself on the link.
    pub next_hop: Ipv4Addr,
    /// The address to send from, if the socket has none.
    pub source: Ipv4Addr,
    pub mtu: u16,
}

/// What a transport wants sent: small things that the egress queue may own. TCP data goes another
/// way: it is pulled from its connection when the device has room.
#[derive(Clone, Debug)]
pub(crate) struct Datagram<'a> {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: Protocol,
    pub ttl: u8,
    pub tos: u8,
    pub dont_fragment: bool,
    /// Transport header (its checksum complete) and data.
    pub payload: &'a [u8],
}

/// What hosts send with (RFC 1700, and every current system).
pub(crate) const DEFAULT_TTL: u8 = 64;
/// The most a datagram carries: 65,535 less the header.
pub(crate) const MAX_PAYLOAD: usize = u16::MAX as usize - ipv4::HEADER_LEN;

/// The path of a packet. Local destinations go by the loopback interface. A source address that is
/// given already decides the interface (strong host, RFC 1122 §3.3.4.2): packets leave by the one
/// that owns it, whatever other ways there are.
pub(crate) fn path(
    shard: &Shard,
    source: Option<Ipv4Addr>,
    destination: Ipv4Addr,
) -> Result<Path, Error> {
    let owner = match source {
        Some(source) => {
            let owner = shard.interfaces.owner(source.into());
            Some(owner.ok_or(Error::AddressNotAvailable)?)
        }
        None => None,
    };
    if shard.interfaces.owner(destination.into()).is_some() {
        return local_path(shard, destination);
    }
    let [first, ..] = destination.octets();
    // Nowhere (0/8), groups, reserved addresses and the limited broadcast.
    if first == 0 || first >= 224 || owner == Some(InterfaceId::LOOPBACK) {
        return Err(Error::NetworkUnreachable);
    }
    let (interface, next_hop) = next_hop(shard, owner, destination)?;
    let link = shard.interfaces.get(interface).ok_or(Error::NetworkUnreachable)?;
    // Broadcasts are only for who asks for them, and no socket can as yet.
    if link.is_broadcast(next_hop) || link.is_subnet_number(next_hop) {
        return Err(Error::NetworkUnreachable);
    }
    let source = match source {
        Some(source) => source,
        None => {
            shard.interfaces.source_for(interface, next_hop).ok_or(Error::AddressNotAvailable)?
        }
    };
    Ok(Path { interface, next_hop, source, mtu: link.settings.mtu })
}

fn next_hop(
    shard: &Shard,
    owner: Option<InterfaceId>,
    destination: Ipv4Addr,
) -> Result<(InterfaceId, Ipv4Addr), Error> {
    let by_route = |route: &Route| (route.interface, route.via.unwrap_or(destination));
    let Some(owner) = owner else {
        let route = shard.routes.lookup(destination.into());
        return route.map(by_route).ok_or(Error::NetworkUnreachable);
    };
    let route = shard.routes.lookup_on(owner, destination.into());
    // Two interfaces can be in one subnet, of which there is but one route.
    let on_link = || {
        let link = shard.interfaces.get(owner)?;
        link.on_link(destination).then_some((owner, destination))
    };
    match route {
        Some(route) if route.to.length() > 0 => Ok(by_route(route)),
        default => on_link().or(default.map(by_route)).ok_or(Error::NetworkUnreachable),
    }
}

/// As on Linux, an own address is reached from itself, and all of 127.0.0.0/8 from 127.0.0.1.
fn local_path(shard: &Shard, destination: Ipv4Addr) -> Result<Path, Error> {
    let loopback = shard.interfaces.get(InterfaceId::LOOPBACK).ok_or(Error::NetworkUnreachable)?;
    let source = if destination.is_loopback() { Ipv4Addr::LOCALHOST } else { destination };
    Ok(Path {
        interface: InterfaceId::LOOPBACK,
        next_hop: destination,
        source,
        mtu: loopback.settings.mtu,
    })
}

/// Routes, fragments where needed and allowed, resolves the next hop, queues for the interface.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    datagram: &Datagram<'_>,
) -> Result<(), DropReason> {
    let path = path(shard, Some(datagram.source), datagram.destination)
        .map_err(|_| DropReason::NoRoute)?;
    let identification = identification(shard, datagram.dont_fragment);
    let header = ipv4::Header {
        tos: datagram.tos,
        identification,
        dont_fragment: datagram.dont_fragment,
        more_fragments: false,
        fragment_offset: 0,
        ttl: datagram.ttl,
        protocol: datagram.protocol,
        source: datagram.source,
        destination: datagram.destination,
    };
    if path.interface == InterfaceId::LOOPBACK {
        let bytes = packet(&[], &header, datagram.payload).ok_or(DropReason::MessageTooLong)?;
        return shard.egress.push(path.interface, Frame { bytes, offload: TxOffload::default() });
    }
    let link = shard.interfaces.get(path.interface).ok_or(DropReason::NoRoute)?;
    let link = ethernet::Header {
        // Filled in when the next hop is known.
        destination: MacAddr::ZERO,
        source: link.settings.mac,
        ether_type: EtherType::IPV4,
    };
    let mut link_bytes = [0; ethernet::HEADER_LEN];
    link.emit(&mut link_bytes);
    let frames = fragments(&link_bytes, &header, datagram.payload, path.mtu)
        .ok_or(DropReason::MessageTooLong)?;
    arp::output(shard, now, path.interface, path.next_hop, frames)
}

/// The identification of a packet that may not be fragmented further: zero (RFC 6864 §4.1); of
/// others, unpredictable.
pub(crate) fn identification(shard: &mut Shard, dont_fragment: bool) -> u16 {
    if dont_fragment { 0 } else { (shard.random.next_u32() >> 16) as u16 }
}

/// The frames of a datagram: one if it fits, else as many as it takes (RFC 791 §3.2). `None`: too
/// long for IPv4, or for the link and not to be fragmented.
fn fragments(link: &[u8], header: &ipv4::Header, payload: &[u8], mtu: u16) -> Option<Vec<Vec<u8>>> {
    let room = usize::from(mtu).checked_sub(ipv4::HEADER_LEN)?;
    if payload.len() <= room {
        return packet(link, header, payload).map(|frame| vec![frame]);
    }
    if header.dont_fragment || payload.len() > MAX_PAYLOAD {
        return None;
    }
    let size = room & !7;
    let last = payload.len().checked_sub(1)?.checked_div(size)?;
    let cut = |(index, piece): (usize, &[u8])| {
        let fragment = ipv4::Header {
            more_fragments: index < last,
            fragment_offset: u16::try_from(index * size).ok()?,
            ..*header
        };
        packet(link, &fragment, piece)
    };
    payload.chunks(size).enumerate().map(cut).collect()
}

fn packet(link: &[u8], header: &ipv4::Header, payload: &[u8]) -> Option<Vec<u8>> {
    let mut header_bytes = [0; ipv4::HEADER_LEN];
    header.emit(payload.len(), &mut header_bytes)?;
    Some([link, &header_bytes, payload].concat())
}

/// Why a program's datagram could not be sent, as the program sees it.
pub(crate) fn error_of(reason: DropReason) -> Error {
    match reason {
        DropReason::NoRoute => Error::NetworkUnreachable,
        DropReason::NeighborUnresolved => Error::HostUnreachable,
        DropReason::MessageTooLong => Error::MessageTooLong,
        _ => Error::LimitReached,
    }
}

/// The address that a socket is bound to, if it is to one.
pub(crate) fn bound(local: SocketAddr) -> Option<Ipv4Addr> {
    match local.ip() {
        IpAddr::V4(address) => Some(address).filter(|address| !address.is_unspecified()),
        IpAddr::V6(_) => None,
    }
}

/// The IPv4 address of a socket's end.
pub(crate) fn v4(address: IpAddr) -> Result<Ipv4Addr, Error> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(Error::FamilyNotSupported),
    }
}

#[cfg(test)]
mod tests;
