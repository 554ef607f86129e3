//! Echo (RFC 792, RFC 1122 §3.2.2.6): answers to pings, and the pings of programs.

use crate::{
    Instant, Shard,
    counters::DropReason,
    event::Readiness,
    layer::{
        Arrival,
        ipv4_options::{self, Mark},
        ipv4_output::{self, Datagram, error_of, v4},
        udp,
    },
    request::{Error, SocketId, SocketKind},
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    icmpv4::{HEADER_LEN, Header},
    ipv4::Protocol,
};

/// Answers from the address that was asked. IPv4 input lets no echo request to a broadcast address
/// come this far.
pub(super) fn request_input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    identifier: u16,
    sequence: u16,
    payload: &[u8],
) -> Result<(), DropReason> {
    let destination = arrival.header.source;
    let limit = &mut shard.icmp_limits.echo_replies;
    if !limit.allow(now, &mut shard.random, destination.into()) {
        return Err(DropReason::IcmpRateLimited);
    }
    let message = message(&Header::EchoReply { identifier, sequence }, payload);
    let source = arrival.header.destination;
    let options = echoed_options(shard, now, arrival, source);
    let reply = Datagram {
        tos: arrival.header.tos,
        options: &options,
        payload: &message,
        ..Datagram::plain(source, destination, Protocol::ICMP)
    };
    ipv4_output::output(shard, now, &reply)
}

/// The recorded route and timestamps of a request, gone on with (RFC 1122 §3.2.2.6): we are where the
/// way there ends, and where the way back begins.
fn echoed_options(shard: &Shard, now: Instant, arrival: &Arrival<'_>, own: Ipv4Addr) -> Vec<u8> {
    let mut options = ipv4_options::echoed(arrival.options());
    if !options.is_empty() {
        let mark = Mark { address: own, time: ipv4_options::time_of_day(shard, now) };
        for _ in 0..2 {
            ipv4_options::record(&mut options, mark, |address| address == own);
        }
    }
    options
}

/// An answer to a ping socket, whose local port is the identifier. It gets the data that came back.
pub(super) fn reply_input(
    shard: &mut Shard,
    arrival: &Arrival<'_>,
    identifier: u16,
    payload: &[u8],
) -> Result<(), DropReason> {
    let from = SocketAddr::new(arrival.header.source.into(), 0);
    let to = SocketAddr::new(arrival.header.destination.into(), identifier);
    let id = shard.demux.datagram(SocketKind::Ping, to, from).ok_or(DropReason::IcmpUnmatched)?;
    let socket = shard.sockets.get_mut(id).ok_or(DropReason::IcmpUnmatched)?;
    let datagram = socket.datagram().ok_or(DropReason::IcmpUnmatched)?;
    datagram.queue.push(from, to, arrival.header.ttl, payload)?;
    shard.notify(id, Readiness::READABLE);
    Ok(())
}

/// Sends an echo request from a ping socket: `remote`'s port is not used.
pub(crate) fn send_echo(
    shard: &mut Shard,
    now: Instant,
    socket: SocketId,
    remote: IpAddr,
    sequence: u16,
    payload: &[u8],
) -> Result<(), Error> {
    let destination = v4(remote)?;
    let local = udp::sending_address(shard, socket, SocketKind::Ping)?;
    let source = ipv4_output::bound(local);
    if payload.len() > ipv4_output::MAX_PAYLOAD - HEADER_LEN {
        return Err(Error::MessageTooLong);
    }
    let path = ipv4_output::path(shard, source, destination)?;
    let message = message(&Header::EchoRequest { identifier: local.port(), sequence }, payload);
    let source = source.unwrap_or(path.source);
    let request = Datagram {
        payload: &message,
        user: shard.sockets.get(socket).map_or(0, |socket| socket.principal.0),
        ..Datagram::plain(source, destination, Protocol::ICMP)
    };
    ipv4_output::output(shard, now, &request).map_err(|reason| {
        shard.drop(reason);
        error_of(reason)
    })
}

/// A whole message.
pub(super) fn message(header: &Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [0; HEADER_LEN];
    header.emit(payload, &mut bytes);
    [&bytes[..], payload].concat()
}
