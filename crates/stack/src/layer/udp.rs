//! UDP (RFC 768): finds the socket, or says that there is none.

use crate::{
    Instant, Shard,
    counters::DropReason,
    event::Readiness,
    layer::{
        Arrival, icmpv4,
        ipv4_output::{self, Datagram, error_of, v4},
    },
    request::{Error, SocketId, SocketKind},
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    checksum::Sum,
    icmpv4::Unreachable,
    ipv4::Protocol,
    offload::RxChecksum,
    udp::{HEADER_LEN, Header},
};

/// The most one datagram carries.
const MAX_PAYLOAD: usize = ipv4_output::MAX_PAYLOAD - HEADER_LEN;

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    let (header, payload) = Header::parse(arrival.payload).map_err(|_| DropReason::UdpMalformed)?;
    verify_checksum(arrival, &header, payload)?;
    let to = SocketAddr::new(arrival.header.destination.into(), header.destination_port);
    let from = SocketAddr::new(arrival.header.source.into(), header.source_port);
    let Some(id) = shard.demux.datagram(SocketKind::Udp, to, from) else {
        icmpv4::unreachable(shard, now, arrival, Unreachable::PORT);
        return Err(DropReason::UdpNoSocket);
    };
    let socket = shard.sockets.get_mut(id).ok_or(DropReason::UdpNoSocket)?;
    let datagram = socket.datagram().ok_or(DropReason::UdpNoSocket)?;
    datagram.queue.push(from, to, arrival.header.ttl, payload)?;
    shard.notify(id, Readiness::READABLE);
    Ok(())
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

/// Over pseudo-header, header and data.
fn sum(source: Ipv4Addr, destination: Ipv4Addr, datagram: &[u8]) -> Result<Sum, DropReason> {
    let len = u16::try_from(datagram.len()).map_err(|_| DropReason::UdpMalformed)?;
    let pseudo_header = Sum::pseudo_header(source, destination, Protocol::UDP.0, len);
    Ok(pseudo_header.add(Sum::of(datagram)))
}

/// Sends one datagram to `remote`, or to the connected peer.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    socket: SocketId,
    remote: Option<SocketAddr>,
    payload: &[u8],
) -> Result<(), Error> {
    let connected = shard.sockets.get(socket).ok_or(Error::NoSuchSocket)?.remote;
    let remote = remote.or(connected).ok_or(Error::NotConnected)?;
    let destination = v4(remote.ip())?;
    if remote.port() == 0 {
        return Err(Error::InvalidArgument);
    }
    if payload.len() > MAX_PAYLOAD {
        return Err(Error::MessageTooLong);
    }
    let local = sending_address(shard, socket, SocketKind::Udp)?;
    let bound = ipv4_output::bound(local);
    let path = ipv4_output::path(shard, bound, destination)?;
    let source = bound.unwrap_or(path.source);
    let datagram = datagram(source, local.port(), destination, remote.port(), payload)?;
    let datagram = Datagram {
        payload: &datagram,
        user: shard.sockets.get(socket).map_or(0, |socket| socket.principal.0),
        ..Datagram::plain(source, destination, Protocol::UDP)
    };
    ipv4_output::output(shard, now, &datagram).map_err(|reason| {
        shard.drop(reason);
        error_of(reason)
    })
}

/// The address that a datagram socket sends from: it gets a port if it has none. A pending error
/// is told first.
pub(crate) fn sending_address(
    shard: &mut Shard,
    id: SocketId,
    kind: SocketKind,
) -> Result<SocketAddr, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    if socket.kind() != kind {
        return Err(Error::InvalidState);
    }
    if let Some(error) = socket.error.take() {
        return Err(error);
    }
    if socket.binding.is_none() {
        shard.bind(id, SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0))?;
    }
    shard.sockets.get(id).map(|socket| socket.local).ok_or(Error::NoSuchSocket)
}

/// Header and data, checksum included.
fn datagram(
    source: Ipv4Addr,
    source_port: u16,
    destination: Ipv4Addr,
    destination_port: u16,
    payload: &[u8],
) -> Result<Vec<u8>, Error> {
    let len = u16::try_from(payload.len()).map_err(|_| Error::MessageTooLong)?;
    let emit = |checksum| {
        let mut bytes = [0; HEADER_LEN];
        Header { source_port, destination_port, checksum }.emit(len, &mut bytes);
        bytes
    };
    let mut datagram = [&emit(0)[..], payload].concat();
    let sum = sum(source, destination, &datagram).map_err(|_| Error::MessageTooLong)?;
    // RFC 768: a sum of zero is sent as all ones; zero says that there is none.
    let checksum = match sum.finish() {
        0 => u16::MAX,
        checksum => checksum,
    };
    if let Some(header) = datagram.first_chunk_mut() {
        *header = emit(checksum);
    }
    Ok(datagram)
}

#[cfg(test)]
mod tests;
