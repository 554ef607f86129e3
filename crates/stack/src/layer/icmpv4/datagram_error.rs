//! What a UDP or ping socket hears of an error about a datagram it sent.
//!
//! As on Linux: a socket that isn't connected can't tell which of its datagrams an error is about,
//! and what may pass is the network's to mend, so only a connected socket hears of errors, and only
//! of those that will not pass (RFC 1122 §4.1.3.3). With IP_RECVERR it hears of all, and finds each
//! in its queue with the beginning of the datagram.

use super::{error_input::Problem, error_output};
use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    event::Readiness,
    layer::conntrack,
    request::{Error, SocketId, SocketKind},
    table::{
        demux::Flow,
        egress::Frame,
        error_queue::{IcmpOrigin, Origin, QueuedError},
        ip_settings::PathMtuDiscovery,
    },
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    ethernet,
    icmpv4::{Unreachable, kind::DESTINATION_UNREACHABLE},
    ipv4::{self, Packet},
    quote::{Quote, Transport},
    udp,
};

/// RFC 1122 §3.2.2 at its most generous (RFC 1812 §4.3.2.3): what an error quotes of a datagram.
const MAX_QUOTE: usize = 548;

/// An error about a datagram.
pub(super) struct Report<'a> {
    pub kind: SocketKind,
    pub flow: Flow,
    /// Where it came in.
    pub interface: InterfaceId,
    pub origin: Origin,
    pub problem: Problem,
    /// The quoted packet.
    pub quoted: &'a [u8],
}

pub(super) fn report(shard: &mut Shard, report: &Report<'_>) -> Result<(), DropReason> {
    let Report { kind, flow, .. } = report;
    let hears = |id| shard.hears(id, flow.local.ip());
    let id = shard.datagrams.one(*kind, flow, report.interface, hears);
    let id = id.ok_or(DropReason::IcmpUnmatched)?;
    let own = payload(*kind, report.quoted);
    note_error(shard, id, flow.remote, report.origin, report.problem, own)
}

/// Tells one socket of an error about what it sent to `remote`, if it wants to know.
pub(crate) fn note_error(
    shard: &mut Shard,
    id: SocketId,
    remote: SocketAddr,
    origin: Origin,
    problem: Problem,
    payload: &[u8],
) -> Result<(), DropReason> {
    let limit = shard.config.limits.queued_errors;
    let socket = shard.sockets.get_mut(id).ok_or(DropReason::IcmpUnmatched)?;
    let (error, hard, mtu) = match problem {
        Problem::Unreachable { error, hard } => (error, hard, 0),
        Problem::TooBig { .. } if socket.ip.path_mtu == PathMtuDiscovery::Dont => {
            return Err(DropReason::IcmpIgnored);
        }
        Problem::TooBig { mtu } => (Error::MessageTooLong, true, mtu),
    };
    // Raw sockets have no ports.
    let peer = socket.remote().map(|peer| match socket.raw() {
        Some(_) => SocketAddr::new(peer.ip(), 0),
        None => peer,
    });
    let concerned = hard && peer == Some(remote);
    if !(concerned || socket.ip.receive_errors) {
        return Err(DropReason::IcmpIgnored);
    }
    socket.error = Some(error);
    let wanted = socket.ip.receive_errors;
    if let Some(datagram) = socket.datagram().filter(|_| wanted) {
        let payload = payload.into();
        let queued = QueuedError { error, origin, destination: remote, mtu: mtu.into(), payload };
        datagram.errors.push(queued, limit);
    }
    shard.notify(id, Readiness::READABLE);
    Ok(())
}

/// A frame whose next hop answers no ARP. Who sent it, be it a program here, is told what a router
/// tells.
pub(crate) fn undeliverable(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    frames: &[Frame],
) {
    let packet = frames.first().and_then(|frame| frame.bytes.get(ethernet::HEADER_LEN..));
    let Some(Ok(packet)) = packet.map(Packet::parse) else { return };
    let source = packet.header.source;
    let own = shard.interfaces.owner(source.into()).is_some() || shard.routes.is_local(source);
    if !own || conntrack::stands_for_another(shard, &packet) {
        return error_output::undeliverable(shard, now, interface, &packet);
    }
    let whole = [packet.header_bytes, packet.payload].concat();
    let Ok(quote) = Quote::parse(&whole) else { return };
    let (kind, local_port, remote_port) = match quote.transport {
        Transport::Udp { source_port, destination_port } => {
            (SocketKind::Udp, source_port, destination_port)
        }
        Transport::EchoRequest { identifier, .. } => (SocketKind::Ping, identifier, 0),
        // The layer of TCP hears of it for all connections at once.
        Transport::Tcp { .. } | Transport::Other => return,
    };
    let source = source.into();
    let interface = shard.interfaces.owner(source).unwrap_or(InterfaceId::LOOPBACK);
    let flow = Flow {
        local: SocketAddr::new(source, local_port),
        remote: SocketAddr::new(quote.header.destination.into(), remote_port),
    };
    let code = Unreachable::HOST.0;
    let origin = Origin::Icmp(IcmpOrigin::own(DESTINATION_UNREACHABLE, code, source, interface));
    let problem = Problem::Unreachable { error: Error::HostUnreachable, hard: false };
    let quoted = whole.get(..MAX_QUOTE).unwrap_or(&whole);
    // Nobody to tell is no loss: the datagram has been counted.
    let _ = report(shard, &Report { kind, flow, interface, origin, problem, quoted });
}

/// A datagram whose next hop is known to answer no ARP: the same, at once.
pub(crate) fn no_neighbor(
    shard: &mut Shard,
    id: SocketId,
    destination: SocketAddr,
    payload: &[u8],
) {
    let limit = shard.config.limits.queued_errors;
    let Some(socket) = shard.sockets.get_mut(id).filter(|socket| socket.ip.receive_errors) else {
        return;
    };
    let Some(datagram) = socket.datagram() else { return };
    let interface = datagram.last_interface.unwrap_or(InterfaceId::LOOPBACK);
    let error = Error::HostUnreachable;
    socket.error = Some(error);
    let IpAddr::V4(remote) = destination.ip() else { return };
    let from = shard.interfaces.source_for(interface, remote).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let code = Unreachable::HOST.0;
    let origin =
        Origin::Icmp(IcmpOrigin::own(DESTINATION_UNREACHABLE, code, from.into(), interface));
    let quoted = payload.get(..MAX_QUOTE).unwrap_or(payload);
    let queued = QueuedError { error, origin, destination, mtu: 0, payload: quoted.into() };
    if let Some(datagram) = shard.sockets.get_mut(id).and_then(|socket| socket.datagram()) {
        datagram.errors.push(queued, limit);
    }
    shard.notify(id, Readiness::READABLE);
}

/// What a quoted packet has of the program's own bytes.
fn payload(kind: SocketKind, quoted: &[u8]) -> &[u8] {
    let header_len = quoted.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    let start = match kind {
        SocketKind::Udp => header_len + udp::HEADER_LEN,
        SocketKind::Ping | SocketKind::Tcp | SocketKind::Packet | SocketKind::Raw => {
            header_len.max(ipv4::HEADER_LEN)
        }
    };
    quoted.get(start..).unwrap_or_default()
}
