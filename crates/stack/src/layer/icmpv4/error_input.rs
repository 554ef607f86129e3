//! ICMP errors about something we sent (RFC 1122 §3.2.2, RFC 5927): they concern whoever has the
//! flow that they quote, and nobody else. They make no state; a connection judges by the quoted
//! sequence number if it can be about a segment of its own. What a path's MTU is said to be is kept
//! for the destination, if a live flow was answered with it.

use super::datagram_error::{Report, report};
use crate::{
    Instant, Shard,
    counters::DropReason,
    layer::{Arrival, raw, tcp},
    request::{Error, SocketKind},
    table::{
        demux::Flow,
        error_queue::{IcmpOrigin, Origin},
        path_mtu::MIN_PATH_MTU,
        timer::TimerKey,
    },
    tcp::connection::IcmpError,
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    icmpv4::{Header, Unreachable},
    quote::{Quote, Transport},
};

/// RFC 1191 §7.1: the MTUs that links have, for routers that don't say.
const PLATEAUS: [u16; 7] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006];

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// `hard`: it will not go away (RFC 1122 §4.2.3.9).
    Unreachable { error: Error, hard: bool },
    /// The next hop's MTU; 0: the router doesn't say.
    TooBig { mtu: u16 },
}

pub(super) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    header: Header,
    payload: &[u8],
) -> Result<(), DropReason> {
    let problem = problem(header).ok_or(DropReason::IcmpIgnored)?;
    let quote = Quote::parse(payload).map_err(|_| DropReason::IcmpMalformed)?;
    // An error is sent to whom it quotes as the sender.
    if quote.header.source != arrival.header.destination {
        return Err(DropReason::IcmpUnmatched);
    }
    let told = !shard.raws.is_empty() && tell_raw(shard, arrival, problem, &quote, payload);
    let result = match quote.transport {
        Transport::Tcp { source_port, destination_port, sequence } => {
            let flow = flow(&quote, source_port, destination_port);
            let error = match problem {
                Problem::Unreachable { error, .. } => IcmpError::Unreachable(error),
                Problem::TooBig { mtu } => {
                    IcmpError::FragmentationNeeded { mtu: believable_mtu(mtu, quote.total_len) }
                }
            };
            tcp::error_input(shard, now, flow, sequence, error)
        }
        Transport::Udp { source_port, destination_port } => {
            let flow = flow(&quote, source_port, destination_port);
            datagram_error(shard, now, arrival, SocketKind::Udp, flow, problem, &quote, payload)
        }
        Transport::EchoRequest { identifier, .. } => {
            let flow = flow(&quote, identifier, 0);
            datagram_error(shard, now, arrival, SocketKind::Ping, flow, problem, &quote, payload)
        }
        Transport::Other => Err(DropReason::IcmpUnmatched),
    };
    // Whose it is if it is nobody else's.
    if told { Ok(()) } else { result }
}

/// Raw sockets of the quoted packet's protocol; true: one of them heard of it.
#[cold]
fn tell_raw(
    shard: &mut Shard,
    arrival: &Arrival<'_>,
    problem: Problem,
    quote: &Quote,
    quoted: &[u8],
) -> bool {
    let [kind, code, ..] = *arrival.payload else { return false };
    let interface = arrival.interface;
    let origin = origin(arrival, kind, code);
    let problem = match problem {
        Problem::TooBig { mtu } => Problem::TooBig { mtu: believable_mtu(mtu, quote.total_len) },
        unreachable => unreachable,
    };
    raw::error(shard, interface, &quote.header, origin, problem, quoted)
}

fn origin(arrival: &Arrival<'_>, kind: u8, code: u8) -> Origin {
    let (source, ttl, tos) = (arrival.header.source, arrival.header.ttl, arrival.header.tos);
    Origin::Icmp(IcmpOrigin {
        kind,
        code,
        from: source.into(),
        interface: arrival.interface,
        ttl,
        tos,
    })
}

/// An error about a datagram: its socket hears of it, and the path of what it may teach.
#[expect(clippy::too_many_arguments, reason = "what an error is about, where it came in, and when")]
fn datagram_error(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    kind: SocketKind,
    flow: Flow,
    problem: Problem,
    quote: &Quote,
    quoted: &[u8],
) -> Result<(), DropReason> {
    let [message, code, ..] = *arrival.payload else { return Err(DropReason::IcmpMalformed) };
    let interface = arrival.interface;
    let hears = |id| shard.hears(id, flow.local.ip());
    let sender = shard.datagrams.one(kind, &flow, interface, hears);
    sender.ok_or(DropReason::IcmpUnmatched)?;
    let problem = match problem {
        Problem::TooBig { mtu } => {
            let mtu = believable_mtu(mtu, quote.total_len);
            too_big(shard, now, quote, mtu)?;
            Problem::TooBig { mtu }
        }
        unreachable => unreachable,
    };
    let origin = origin(arrival, message, code);
    match report(shard, &Report { kind, flow, interface, origin, problem, quoted }) {
        // What it taught about the path was of use.
        Err(DropReason::IcmpIgnored) if matches!(problem, Problem::TooBig { .. }) => Ok(()),
        other => other,
    }
}

/// A packet of a live flow was too long for its path. One that might be fragmented was not: the error
/// can't be true.
fn too_big(shard: &mut Shard, now: Instant, quote: &Quote, mtu: u16) -> Result<(), DropReason> {
    if !quote.header.dont_fragment {
        return Err(DropReason::IcmpIgnored);
    }
    learn_path_mtu(shard, now, (quote.header.source, quote.header.destination), mtu);
    Ok(())
}

/// What leads from an address of ours, in its zone, to another host takes packets of `mtu` bytes for
/// the next ten minutes.
pub(crate) fn learn_path_mtu(
    shard: &mut Shard,
    now: Instant,
    (own, destination): (Ipv4Addr, Ipv4Addr),
    mtu: u16,
) {
    let zone = shard.interfaces.zone_of(own.into());
    shard.path_mtus.learn(now, (zone, destination), mtu);
    shard.routes.touch();
    arm(shard);
}

/// Forgets the path MTUs whose time is over; arms the timer again.
pub(crate) fn forget_path_mtus(shard: &mut Shard, now: Instant) {
    shard.path_mtus.expire(now);
    shard.routes.touch();
    arm(shard);
}

fn arm(shard: &mut Shard) {
    match shard.path_mtus.next_timeout() {
        Some(at) => shard.timers.arm(TimerKey::PathMtus, at),
        None => shard.timers.cancel(TimerKey::PathMtus),
    }
}

fn flow(quote: &Quote, local_port: u16, remote_port: u16) -> Flow {
    Flow {
        local: SocketAddr::new(quote.header.source.into(), local_port),
        remote: SocketAddr::new(quote.header.destination.into(), remote_port),
    }
}

/// As Linux's icmp_err_convert has it.
fn problem(header: Header) -> Option<Problem> {
    let unreachable = |error, hard| Some(Problem::Unreachable { error, hard });
    match header {
        Header::DestinationUnreachable { code: Unreachable::FRAGMENTATION_NEEDED, mtu } => {
            Some(Problem::TooBig { mtu })
        }
        Header::DestinationUnreachable { code, .. } => match code.0 {
            0 | 11 => unreachable(Error::NetworkUnreachable, false),
            1 | 12 => unreachable(Error::HostUnreachable, false),
            2 => unreachable(Error::ProtocolUnavailable, true),
            3 => unreachable(Error::ConnectionRefused, true),
            5 => unreachable(Error::SourceRouteFailed, false),
            6 | 9 => unreachable(Error::NetworkUnreachable, true),
            7 => unreachable(Error::HostDown, true),
            8 => unreachable(Error::HostIsolated, true),
            10 | 13..=15 => unreachable(Error::HostUnreachable, true),
            _ => None,
        },
        Header::TimeExceeded { .. } => unreachable(Error::HostUnreachable, false),
        Header::ParameterProblem { .. } => unreachable(Error::ProtocolError, true),
        Header::EchoRequest { .. }
        | Header::EchoReply { .. }
        | Header::Redirect { .. }
        | Header::TimestampRequest { .. }
        | Header::TimestampReply { .. }
        | Header::Other { .. } => None,
    }
}

/// The path MTU that an error about a packet of `total_len` bytes can mean.
fn believable_mtu(mtu: u16, total_len: u16) -> u16 {
    let said = match mtu {
        // RFC 1191 §5: the next lower plateau.
        0 => PLATEAUS.into_iter().find(|plateau| *plateau < total_len).unwrap_or(0),
        mtu => mtu,
    };
    said.max(MIN_PATH_MTU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_mtu_has_a_floor() {
        for (mtu, total_len, believed) in [
            (1400, 1500, 1400),
            (552, 1500, 552),
            (551, 1500, 552),
            (68, 1500, 552),
            (1, 1500, 552),
            (0, 1500, 1492),
            (0, 1492, 1006),
            (0, 65_535, 32_000),
            (0, 600, 552),
            (0, 20, 552),
        ] {
            assert_eq!(believable_mtu(mtu, total_len), believed, "{mtu} of {total_len}");
        }
    }

    #[test]
    fn codes_mean_what_they_do_on_linux() {
        let hard = |code| match problem(Header::DestinationUnreachable {
            code: Unreachable(code),
            mtu: 0,
        }) {
            Some(Problem::Unreachable { hard, .. }) => Some(hard),
            _ => None,
        };
        let hard_codes: Vec<u8> = (0..=255).filter(|code| hard(*code) == Some(true)).collect();
        assert_eq!(hard_codes, [2, 3, 6, 7, 8, 9, 10, 13, 14, 15]);
        let soft_codes: Vec<u8> = (0..=255).filter(|code| hard(*code) == Some(false)).collect();
        assert_eq!(soft_codes, [0, 1, 5, 11, 12]);
    }
}
