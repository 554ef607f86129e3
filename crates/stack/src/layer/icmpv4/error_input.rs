//! ICMP errors about something we sent (RFC 1122 §3.2.2, RFC 5927): they concern whoever has the
//! flow that they quote, and nobody else. They make no state; a connection judges by the quoted
//! sequence number if it can be about a segment of its own. What a path's MTU is said to be is kept
//! for the destination, if a live flow was answered with it.

use super::error_output;
use crate::{
    Instant, Shard,
    counters::DropReason,
    event::Readiness,
    layer::{Arrival, tcp},
    request::{Error, SocketKind},
    table::{demux::Flow, egress::Frame, path_mtu::MIN_PATH_MTU, timer::TimerKey},
    tcp::connection::IcmpError,
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    ethernet,
    icmpv4::{Header, Unreachable},
    ipv4::Packet,
    quote::{Quote, Transport},
};

/// RFC 1191 §7.1: the MTUs that links have, for routers that don't say.
const PLATEAUS: [u16; 7] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006];

/// What an error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
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
    match quote.transport {
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
            match problem {
                // Soft errors are the network's to mend, as on Linux.
                Problem::Unreachable { error, hard: true } => {
                    report(shard, SocketKind::Udp, flow, error)
                }
                Problem::Unreachable { hard: false, .. } => Err(DropReason::IcmpIgnored),
                Problem::TooBig { mtu } => {
                    let sender = shard.demux.datagram(SocketKind::Udp, flow.local, flow.remote);
                    sender.ok_or(DropReason::IcmpUnmatched)?;
                    too_big(shard, now, &quote, mtu)
                }
            }
        }
        Transport::EchoRequest { identifier, .. } => match problem {
            Problem::Unreachable { error, .. } => {
                report(shard, SocketKind::Ping, flow(&quote, identifier, 0), error)
            }
            Problem::TooBig { .. } => Err(DropReason::IcmpIgnored),
        },
        Transport::Other => Err(DropReason::IcmpUnmatched),
    }
}

/// A frame of ours whose next hop answers no ARP: what a router would tell us with an ICMP error,
/// except that we know it for sure.
pub(crate) fn undeliverable(shard: &mut Shard, now: Instant, frames: &[Frame]) {
    let packet = frames.first().and_then(|frame| frame.bytes.get(ethernet::HEADER_LEN..));
    let Some(Ok(packet)) = packet.map(Packet::parse) else { return };
    let ours = |source: Ipv4Addr| {
        shard.interfaces.owner(source.into()).is_some() || shard.routes.is_local(source)
    };
    if !ours(packet.header.source) {
        return error_output::undeliverable(shard, now, &packet);
    }
    let whole = [packet.header_bytes, packet.payload].concat();
    let Ok(quote) = Quote::parse(&whole) else { return };
    let (kind, flow) = match quote.transport {
        Transport::Udp { source_port, destination_port } => {
            (SocketKind::Udp, flow(&quote, source_port, destination_port))
        }
        Transport::EchoRequest { identifier, .. } => {
            (SocketKind::Ping, flow(&quote, identifier, 0))
        }
        // The layer of TCP hears of it for all connections at once.
        Transport::Tcp { .. } | Transport::Other => return,
    };
    // Nobody to tell is no loss: the datagram has been counted.
    let _ = report(shard, kind, flow, Error::HostUnreachable);
}

/// A packet of a live flow was too long for its path. One that might be fragmented was not: the error
/// can't be true.
fn too_big(shard: &mut Shard, now: Instant, quote: &Quote, mtu: u16) -> Result<(), DropReason> {
    if !quote.header.dont_fragment {
        return Err(DropReason::IcmpIgnored);
    }
    let mtu = believable_mtu(mtu, quote.total_len);
    learn_path_mtu(shard, now, quote.header.destination, mtu);
    Ok(())
}

/// What leads to `destination` takes packets of `mtu` bytes for the next ten minutes.
pub(crate) fn learn_path_mtu(shard: &mut Shard, now: Instant, destination: Ipv4Addr, mtu: u16) {
    shard.path_mtus.learn(now, destination, mtu);
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

/// Leaves an error for the program to find. A UDP socket that isn't connected can't tell which of
/// its datagrams it is about, and hears nothing (RFC 1122 §4.1.3.3, as Linux has it).
fn report(shard: &mut Shard, kind: SocketKind, flow: Flow, error: Error) -> Result<(), DropReason> {
    let id = shard.demux.datagram(kind, flow.local, flow.remote);
    let id = id.ok_or(DropReason::IcmpUnmatched)?;
    let socket = shard.sockets.get_mut(id).ok_or(DropReason::IcmpUnmatched)?;
    if kind == SocketKind::Udp && socket.remote != Some(flow.remote) {
        return Err(DropReason::IcmpIgnored);
    }
    socket.error = Some(error);
    shard.notify(id, Readiness::READABLE);
    Ok(())
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
            0 | 5 | 11 => unreachable(Error::NetworkUnreachable, false),
            1 | 12 => unreachable(Error::HostUnreachable, false),
            2 | 3 => unreachable(Error::ConnectionRefused, true),
            6 | 9 => unreachable(Error::NetworkUnreachable, true),
            7 | 8 | 10 | 13..=15 => unreachable(Error::HostUnreachable, true),
            _ => None,
        },
        Header::TimeExceeded { .. } | Header::ParameterProblem { .. } => {
            unreachable(Error::HostUnreachable, false)
        }
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
