//! IPv4's send side: route, source address, fragmentation, link header.

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{
        Arrival, arp,
        conntrack::{Changed, Tracking},
        filter::{self, Departure},
        inspect::{Own, Since},
        ipv4_fragment,
        route::{note_crossing, path_for, transport},
    },
    request::{Error, Principal},
    table::{egress::Frame, ip_settings::IpSettings, route::Query},
};

pub(crate) use crate::layer::route::Path;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::MacAddr,
    ethernet::{self, EtherType},
    ipv4::{self, Packet, Protocol},
    offload::{PartialChecksum, SegmentKind, Segmentation, TxOffload},
    udp,
};

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
    /// What rules may ask for: the mark and the owner of the socket.
    pub mark: u32,
    pub principal: Principal,
    /// The interface that the socket is bound to: it leaves by no other.
    pub output: Option<InterfaceId>,
    /// What is for a group is heard on this host too, if somebody here joined it.
    pub heard_here: bool,
    /// It is several UDP datagrams in one, each but the last with so many bytes of data; its checksum is
    /// the pseudo-header's sum.
    pub segment_size: Option<u16>,
    /// Of the first fragment; those that are for all go into the others too.
    pub options: &'a [u8],
    /// Transport header (its checksum complete if not otherwise said) and data.
    pub payload: &'a [u8],
}

impl Datagram<'_> {
    /// Packets on the wire, if none is fragmented.
    fn segments(&self) -> u16 {
        let data = self.payload.len().saturating_sub(udp::HEADER_LEN);
        let segments = self.segment_size.map_or(1, |size| data.div_ceil(usize::from(size).max(1)));
        u16::try_from(segments).unwrap_or(u16::MAX)
    }

    /// Without data, and nothing special about it.
    pub fn plain(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol) -> Self {
        Self {
            source,
            destination,
            protocol,
            ttl: DEFAULT_TTL,
            tos: 0,
            dont_fragment: false,
            mark: 0,
            principal: Principal::HOST,
            output: None,
            heard_here: false,
            segment_size: None,
            options: &[],
            payload: &[],
        }
    }
}

/// Of what this host sends on its own account.
pub(crate) const DEFAULT_TTL: u8 = IpSettings::DEFAULT_TTL;
/// The most a datagram carries: 65,535 less the header.
pub(crate) const MAX_PAYLOAD: usize = u16::MAX as usize - ipv4::HEADER_LEN;

/// Routes, fragments where needed and allowed, resolves the next hop, queues for the interface.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    datagram: &Datagram<'_>,
) -> Result<(), DropReason> {
    let mut header = ipv4::Header {
        tos: datagram.tos,
        identification: 0,
        dont_fragment: datagram.dont_fragment,
        more_fragments: false,
        fragment_offset: 0,
        ttl: datagram.ttl,
        protocol: datagram.protocol,
        source: datagram.source,
        destination: datagram.destination,
    };
    let query = Query {
        source: Some(datagram.source),
        mark: datagram.mark,
        principal: datagram.principal,
        output: datagram.output,
        transport: transport(&header, datagram.payload),
        ..Query::to(datagram.destination)
    };
    let found = path_for(shard, &query).map_err(error_reason);
    if found == Err(DropReason::OtherZone) {
        let from = shard.interfaces.zone_of(datagram.source.into());
        note_crossing(shard, from, datagram.destination);
    }
    let path = found?;
    header.identification = identification(shard, &header, datagram.segments());
    let header_bytes =
        header.with_options(datagram.options, datagram.payload.len()).unwrap_or_default();
    let departure = Departure {
        own: Own {
            path,
            principal: datagram.principal,
            heard_here: datagram.heard_here,
            segment_size: datagram.segment_size,
        },
        mark: datagram.mark,
        header,
        header_bytes: &header_bytes,
        payload: datagram.payload,
        payload_len: datagram.payload.len(),
        partial: datagram.segment_size.is_some(),
        frame: None,
        since: Since::Beginning,
        tracking: Tracking::Off,
    };
    let changed = ask_filter(shard, now, &departure)?;
    let Some(Changed { bytes, path: rerouted }) = &changed else {
        return transmit(shard, now, datagram, &header, path);
    };
    let Packet { header, payload, .. } =
        Packet::parse(bytes).map_err(|_| DropReason::Ipv4Malformed)?;
    let (source, destination) = (header.source, header.destination);
    let datagram = Datagram { source, destination, payload, ..datagram.clone() };
    transmit(shard, now, &datagram, &header, rerouted.unwrap_or(path))
}

/// A packet of this host that comes back from an inspector.
pub(crate) fn go_on(
    shard: &mut Shard,
    now: Instant,
    packet: &Arrival<'_>,
    own: Own,
) -> Result<(), DropReason> {
    let Arrival { header, header_bytes, payload, mark, since, tracking, .. } = *packet;
    let departure = Departure {
        own,
        mark,
        header,
        header_bytes,
        payload,
        payload_len: payload.len(),
        partial: own.segment_size.is_some(),
        frame: None,
        since,
        tracking,
    };
    let changed = ask_filter(shard, now, &departure)?;
    let bytes = match &changed {
        Some(Changed { bytes, .. }) => bytes.clone(),
        None => [header_bytes, payload].concat(),
    };
    let path = changed.and_then(|changed| changed.path).unwrap_or(own.path);
    let Packet { header, options, payload, .. } =
        Packet::parse(&bytes).map_err(|_| DropReason::Ipv4Malformed)?;
    let datagram = Datagram {
        options,
        payload,
        heard_here: own.heard_here,
        segment_size: own.segment_size,
        ..Datagram::plain(header.source, header.destination, header.protocol)
    };
    transmit(shard, now, &datagram, &header, path)
}

/// What rules make of a packet, if anything.
fn ask_filter(
    shard: &mut Shard,
    now: Instant,
    departure: &Departure<'_>,
) -> Result<Option<Changed>, DropReason> {
    if shard.filter.is_none() && shard.conntrack.is_none() && shard.inspectors.is_none() {
        return Ok(None);
    }
    filter::output(shard, now, departure)
}

/// Cuts a datagram where its path needs that, and queues what comes of it.
fn transmit(
    shard: &mut Shard,
    now: Instant,
    datagram: &Datagram<'_>,
    header: &ipv4::Header,
    path: Path,
) -> Result<(), DropReason> {
    let Datagram { options, payload, heard_here, segment_size, .. } = *datagram;
    // The segments of a large one are no longer than the path takes.
    let mtu = if segment_size.is_some() { u16::MAX } else { path.mtu };
    let pieces = ipv4_fragment::pieces(header, options, payload, mtu);
    let pieces = pieces.ok_or(DropReason::MessageTooLong)?;
    let packets = pieces.iter().map(|(header, piece)| [header.as_slice(), *piece]);
    let leaving = Leaving { path, header, payload, heard_here, segment_size };
    leave(shard, now, &leaving, packets)
}

/// A packet whose header is made already, from a program that makes its own.
#[derive(Debug)]
pub(crate) struct Spoken<'a> {
    pub path: Path,
    /// What the packet's header says.
    pub header: ipv4::Header,
    /// No longer than the path takes.
    pub packet: &'a [u8],
    pub principal: Principal,
    pub mark: u32,
    /// As of [`Datagram`].
    pub heard_here: bool,
}

/// As [`output`], of a packet that goes out as it is.
pub(crate) fn output_spoken(
    shard: &mut Shard,
    now: Instant,
    spoken: &Spoken<'_>,
) -> Result<(), DropReason> {
    let Spoken { path, header, packet, principal, mark, heard_here } = *spoken;
    let parsed = Packet::parse(packet).map_err(|_| DropReason::Ipv4Malformed)?;
    let departure = Departure {
        own: Own { path, principal, heard_here, segment_size: None },
        mark,
        header,
        header_bytes: parsed.header_bytes,
        payload: parsed.payload,
        payload_len: parsed.payload.len(),
        partial: false,
        frame: None,
        since: Since::Beginning,
        tracking: Tracking::Off,
    };
    let changed = ask_filter(shard, now, &departure)?;
    let (packet, path) = match &changed {
        Some(Changed { bytes, path: rerouted }) => (&bytes[..], rerouted.unwrap_or(path)),
        None => (packet, path),
    };
    let Packet { header, payload, .. } =
        Packet::parse(packet).map_err(|_| DropReason::Ipv4Malformed)?;
    let leaving = Leaving { path, header: &header, payload, heard_here, segment_size: None };
    leave(shard, now, &leaving, [[packet, &[]]].into_iter())
}

/// What is about to leave: where to, and what it was before it was cut.
struct Leaving<'a> {
    path: Path,
    header: &'a ipv4::Header,
    payload: &'a [u8],
    heard_here: bool,
    /// As of [`Datagram`].
    segment_size: Option<u16>,
}

/// Puts a link header before each of the packets and resolves the next hop.
fn leave<'a>(
    shard: &mut Shard,
    now: Instant,
    leaving: &Leaving<'_>,
    packets: impl Iterator<Item = [&'a [u8]; 2]>,
) -> Result<(), DropReason> {
    let Leaving { path, header, .. } = *leaving;
    if path.interface == InterfaceId::LOOPBACK {
        for [header, piece] in packets {
            let offload = offload(leaving.segment_size, header.len());
            let frame = Frame { bytes: [header, piece].concat(), offload };
            shard.egress.push(path.interface, frame)?;
        }
        return Ok(());
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
    let frame = |[header, piece]: [&[u8]; 2]| {
        let offload = offload(leaving.segment_size, link_bytes.len() + header.len());
        Frame { bytes: [&link_bytes[..], header, piece].concat(), offload }
    };
    let frames = packets.map(frame).collect();
    if header.destination.is_multicast() {
        let (group, source) = (header.destination, header.source);
        if leaving.heard_here && shard.memberships.wants(path.interface, group, source) {
            hear_oneself(shard, leaving);
        }
        // RFC 1112 §6.1: such a packet goes no further.
        if header.ttl == 0 {
            return Ok(());
        }
    }
    if path.broadcast {
        hear_oneself(shard, leaving);
        return arp::transmit(shard, path.interface, MacAddr::BROADCAST, frames);
    }
    arp::output(shard, now, path.interface, path.next_hop, frames)
}

/// What is left to do to a large datagram behind headers of so many bytes; to others, nothing.
fn offload(segment_size: Option<u16>, headers: usize) -> TxOffload {
    let Some(segment_size) = segment_size else { return TxOffload::default() };
    let start = headers as u16;
    let checksum = PartialChecksum { start, offset: udp::CHECKSUM_OFFSET as u16 };
    let header_len = start.saturating_add(udp::HEADER_LEN as u16);
    TxOffload {
        checksum: Some(checksum),
        segmentation: Some(Segmentation { kind: SegmentKind::Udp, segment_size, header_len }),
    }
}

/// A host is among those that its broadcasts are for, and can be a member of groups.
fn hear_oneself(shard: &mut Shard, leaving: &Leaving<'_>) {
    let Some(header) = leaving.header.with_options(&[], leaving.payload.len()) else { return };
    let offload = offload(leaving.segment_size, header.len());
    let copy = Frame { bytes: [&header, leaving.payload].concat(), offload };
    if let Err(reason) = shard.egress.push(InterfaceId::LOOPBACK, copy) {
        shard.drop(reason);
    }
}

/// The identification of a packet that may not be fragmented further: zero (RFC 6864 §4.1); of
/// others, one that does not come back soon and that nobody can tell beforehand.
///
/// Of several packets in one frame, `count`: the first one's, which the others' follow.
pub(crate) fn identification(shard: &mut Shard, header: &ipv4::Header, count: u16) -> u16 {
    if header.dont_fragment {
        return 0;
    }
    let ipv4::Header { source, destination, protocol, .. } = *header;
    shard.identifications.next(&mut shard.random, (source, destination, protocol.0), count)
}

/// Why a packet has no way.
pub(crate) fn error_reason(error: Error) -> DropReason {
    match error {
        Error::OtherZone => DropReason::OtherZone,
        _ => DropReason::NoRoute,
    }
}

/// Why a program's datagram could not be sent, as the program sees it.
pub(crate) fn error_of(reason: DropReason) -> Error {
    match reason {
        DropReason::NoRoute => Error::NetworkUnreachable,
        DropReason::OtherZone => Error::OtherZone,
        DropReason::NeighborUnresolved => Error::HostUnreachable,
        DropReason::MessageTooLong => Error::MessageTooLong,
        DropReason::Filtered | DropReason::FilterRejected | DropReason::InspectorAbsent => {
            Error::Filtered
        }
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
