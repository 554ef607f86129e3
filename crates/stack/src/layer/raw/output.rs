//! Where a raw socket's packet goes, and its IPv4 header: ours, or the program's own.

use super::settings;
use crate::{
    Instant, InterfaceId, Shard,
    layer::{
        ipv4_options,
        ipv4_output::{self, Datagram, MAX_PAYLOAD, Spoken, v4},
        route::{Path, path_of},
        udp,
    },
    request::{Envelope, Error, Principal, SocketId, SocketKind},
    table::{ip_settings::IpSettings, route::Query},
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::Prefix,
    checksum::Sum,
    ipv4::{HEADER_LEN, Header, Packet, Protocol},
};

/// Where the header has what is filled in.
const TOTAL_LENGTH: core::ops::Range<usize> = 2..4;
const IDENTIFICATION: core::ops::Range<usize> = 4..6;
const CHECKSUM: core::ops::Range<usize> = 10..12;
const SOURCE: core::ops::Range<usize> = 12..16;

struct Way {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    path: Path,
    output: Option<InterfaceId>,
    principal: Principal,
    settings: IpSettings,
    protocol: Protocol,
    header_included: bool,
    options: Box<[u8]>,
}

impl Way {
    /// The longest that the program may write.
    fn longest(&self) -> usize {
        let mtu = usize::from(self.path.mtu);
        if self.header_included {
            return mtu;
        }
        let header = ipv4_options::header_len(&self.options);
        let most = MAX_PAYLOAD - (header - HEADER_LEN);
        if self.settings.path_mtu.refuses() { mtu.saturating_sub(header).min(most) } else { most }
    }
}

/// By which interface a packet would leave; an error where it would not.
pub(crate) fn course(
    shard: &mut Shard,
    id: SocketId,
    envelope: &Envelope,
) -> Result<InterfaceId, Error> {
    way(shard, id, envelope).map(|way| way.path.interface)
}

/// Whether `len` bytes could be sent: the most that could.
pub(crate) fn reach(
    shard: &mut Shard,
    id: SocketId,
    envelope: &Envelope,
    len: usize,
) -> Result<usize, Error> {
    let way = way(shard, id, envelope)?;
    if way.header_included && len < HEADER_LEN {
        return Err(Error::InvalidArgument);
    }
    let longest = way.longest();
    if len > longest { Err(Error::MessageTooLong) } else { Ok(longest) }
}

/// Sends one packet.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    id: SocketId,
    envelope: &Envelope,
    bytes: &[u8],
) -> Result<(), Error> {
    let way = way(shard, id, envelope)?;
    if bytes.len() > way.longest() {
        return Err(Error::MessageTooLong);
    }
    let result = if way.header_included {
        let (header, packet) = with_own_header(shard, &way, bytes)?;
        let spoken = Spoken {
            path: way.path,
            header,
            packet: &packet,
            principal: way.principal,
            mark: way.settings.mark,
            heard_here: way.settings.multicast_loop,
        };
        ipv4_output::output_spoken(shard, now, &spoken)
    } else {
        let header_len = ipv4_options::header_len(&way.options);
        let fits = header_len + bytes.len() <= usize::from(way.path.mtu);
        let ttl = match way.destination.is_multicast() {
            true => way.settings.multicast_ttl,
            false => way.settings.ttl,
        };
        let options = ipv4_options::begun(shard, now, &way.options, way.source);
        let datagram = Datagram {
            ttl: envelope.ttl.unwrap_or(ttl),
            tos: envelope.tos.unwrap_or(way.settings.tos),
            dont_fragment: fits && way.settings.path_mtu.forbids_fragments(),
            principal: way.principal,
            mark: way.settings.mark,
            output: way.output,
            heard_here: way.settings.multicast_loop,
            options: &options,
            payload: bytes,
            ..Datagram::plain(way.source, way.destination, way.protocol)
        };
        ipv4_output::output(shard, now, &datagram)
    };
    udp::conclude(shard, result, id, SocketAddr::new(way.destination.into(), 0), bytes)
}

fn way(shard: &mut Shard, id: SocketId, envelope: &Envelope) -> Result<Way, Error> {
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    if socket.kind() != SocketKind::Raw {
        return Err(Error::InvalidState);
    }
    let remote = envelope.remote.or(socket.remote()).ok_or(Error::NoDestination)?;
    let destination = match v4(remote.ip())? {
        Ipv4Addr::UNSPECIFIED => Ipv4Addr::LOCALHOST,
        destination => destination,
    };
    let (ip, principal) = (socket.ip.clone(), socket.principal);
    let raw = settings(shard, id).ok_or(Error::InvalidState)?;
    let (protocol, header_included) = (raw.protocol, raw.header_included);
    let bound = udp::bound_address(shard, id, envelope)?;
    let output = udp::output_interface(&ip, envelope, destination);
    let query = Query { source: bound, output, principal, mark: ip.mark, ..Query::to(destination) };
    let path = path_of(shard, &query)?;
    if path.broadcast && !ip.broadcast {
        return Err(Error::BroadcastDenied);
    }
    let datagram = shard.sockets.get_mut(id).and_then(|socket| socket.datagram());
    let datagram = datagram.ok_or(Error::InvalidState)?;
    datagram.last_interface = Some(path.interface);
    let options = datagram.options.clone();
    Ok(Way {
        source: bound.unwrap_or(path.source),
        destination,
        path,
        output,
        principal,
        settings: ip,
        protocol,
        header_included,
        options,
    })
}

/// The program's packet with what Linux fills in, checked as any packet is that comes in.
fn with_own_header(shard: &mut Shard, way: &Way, bytes: &[u8]) -> Result<(Header, Vec<u8>), Error> {
    let mut packet = bytes.to_vec();
    let total = u16::try_from(packet.len()).map_err(|_| Error::MessageTooLong)?;
    let header_len = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if header_len < HEADER_LEN || header_len > packet.len() {
        return Err(Error::InvalidArgument);
    }
    put(&mut packet, TOTAL_LENGTH, &total.to_be_bytes());
    if packet.get(SOURCE).is_some_and(|source| source == [0; 4]) {
        put(&mut packet, SOURCE, &way.source.octets());
    }
    sum(&mut packet, header_len);
    let header = Packet::parse(&packet).map_err(|_| Error::InvalidArgument)?.header;
    if header.identification == 0 {
        let identification = ipv4_output::identification(shard, &header, 1);
        put(&mut packet, IDENTIFICATION, &identification.to_be_bytes());
        sum(&mut packet, header_len);
    }
    may_speak_as(shard, way, &header)?;
    Ok((header, packet))
}

fn put(packet: &mut [u8], place: core::ops::Range<usize>, bytes: &[u8]) {
    if let Some(field) = packet.get_mut(place) {
        field.copy_from_slice(bytes);
    }
}

fn sum(packet: &mut [u8], header_len: usize) {
    put(packet, CHECKSUM, &[0; 2]);
    let sum = packet.get(..header_len).map_or(0, |header| Sum::of(header).finish());
    put(packet, CHECKSUM, &sum.to_be_bytes());
}

/// May he say that it comes from there? Nobody speaks for another zone. On this host, where all zones
/// meet, it must also be for whom the address of the call says.
fn may_speak_as(shard: &Shard, way: &Way, header: &Header) -> Result<(), Error> {
    if shard.zones.is_single() {
        return Ok(());
    }
    let (source, who) = (header.source.into(), way.principal);
    let own = shard.interfaces.owner(source).is_some();
    let on_link = |prefix: &Prefix| prefix.length() > 0 && prefix.contains(source);
    let elsewhere = || {
        let mut links = shard.interfaces.iter();
        links.any(|(id, link)| link.addresses.iter().any(on_link) && !shard.admits(who, id))
    };
    let may = if own { shard.covers(who, source) } else { !elsewhere() };
    let local = way.path.interface == InterfaceId::LOOPBACK;
    let strays = local && (header.destination != way.destination || !own);
    if may && !strays { Ok(()) } else { Err(Error::OtherZone) }
}
