//! IPv4's send side: route, source address, fragmentation, link header.

use crate::{Instant, InterfaceId, Shard, counters::DropReason, request::Error};
use core::net::Ipv4Addr;
use narrows_wire::ipv4::Protocol;

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

/// Local destinations go by the loopback interface.
pub(crate) fn path(shard: &Shard, destination: Ipv4Addr) -> Result<Path, Error> {
    let _ = (shard, destination);
    todo!()
}

/// Routes, fragments where needed and allowed, resolves the next hop, queues for the interface.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    datagram: &Datagram<'_>,
) -> Result<(), DropReason> {
    let _ = (shard, now, datagram);
    todo!()
}

/// The identification of a packet that may not be fragmented further: zero (RFC 6864 §4.1); of
/// others, unpredictable.
pub(crate) fn identification(shard: &mut Shard, dont_fragment: bool) -> u16 {
    let _ = (shard, dont_fragment);
    todo!()
}
