//! Frames that programs send by packet sockets, as they are or behind a header made for them.

use super::{LONGEST_HEADER, packet_socket};
use crate::{
    InterfaceId, Shard,
    counters::DropReason,
    layer::link,
    request::{Error, FrameAddress, SocketId},
    table::egress::Frame,
};
use core::net::Ipv4Addr;
use narrows_wire::{
    address::MacAddr,
    ethernet::{EtherType, HEADER_LEN, Header},
    ipv4::Packet,
    offload::{TxOffload, VNET_HEADER_LEN},
};

/// Whether `len` bytes could be sent: the most that could.
pub(crate) fn reach(
    shard: &Shard,
    id: SocketId,
    interface: Option<InterfaceId>,
    len: usize,
) -> Result<usize, Error> {
    let socket = packet_socket(shard, id).ok_or(Error::InvalidState)?;
    let interface = interface.or(socket.interface).ok_or(Error::NoSuchInterface)?;
    let station = shard.interfaces.get(interface).ok_or(Error::NoSuchInterface)?;
    let who = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?.principal;
    if !shard.admits(who, interface) {
        return Err(Error::NoSuchInterface);
    }
    if !shard.links.get(interface).is_some_and(|link| link.up) {
        return Err(Error::LinkDown);
    }
    if socket.vnet_header {
        return Ok(MAX_FRAME);
    }
    let mtu = usize::from(station.settings.mtu);
    let (least, most) = if socket.cooked { (0, mtu) } else { (HEADER_LEN, mtu + LONGEST_HEADER) };
    match len {
        len if len < least => Err(Error::InvalidArgument),
        len if len > most => Err(Error::MessageTooLong),
        _ => Ok(most),
    }
}

/// The longest that a device cuts up, with its headers.
const MAX_FRAME: usize = 65_535 + LONGEST_HEADER + VNET_HEADER_LEN;

/// Sends one frame, or with a socket without link headers one packet.
pub(crate) fn send(
    shard: &mut Shard,
    id: SocketId,
    to: &FrameAddress,
    bytes: &[u8],
) -> Result<(), Error> {
    reach(shard, id, to.interface, bytes.len())?;
    let socket = packet_socket(shard, id).ok_or(Error::InvalidState)?;
    let interface = to.interface.or(socket.interface).ok_or(Error::NoSuchInterface)?;
    let station = shard.interfaces.get(interface).ok_or(Error::NoSuchInterface)?;
    let (offload, bytes) = if socket.vnet_header {
        let (header, rest) =
            bytes.split_first_chunk::<VNET_HEADER_LEN>().ok_or(Error::InvalidArgument)?;
        (TxOffload::from_vnet(header).map_err(|_| Error::InvalidArgument)?, rest)
    } else {
        (TxOffload::default(), bytes)
    };
    let bytes = if socket.cooked {
        let header = Header {
            destination: to.destination.unwrap_or(MacAddr::ZERO),
            source: station.settings.mac,
            ether_type: EtherType(to.protocol.unwrap_or(socket.protocol)),
        };
        let mut link = [0; HEADER_LEN];
        header.emit(&mut link);
        [&link[..], bytes].concat()
    } else {
        bytes.to_vec()
    };
    if bytes.len() < HEADER_LEN {
        return Err(Error::InvalidArgument);
    }
    if interface == InterfaceId::LOOPBACK {
        return send_here(shard, id, bytes);
    }
    // The tag of a VLAN that is in a zone of its own leads there.
    if !shard.zones.is_single() && !is_admitted(shard, id, interface, &bytes) {
        shard.drop(DropReason::OtherZone);
        return Ok(());
    }
    shard.packets.sender = Some(id);
    let sent = link::output(shard, interface, Frame { bytes, offload });
    shard.packets.sender = None;
    sent.map_err(|reason| {
        shard.drop(reason);
        match reason {
            DropReason::LinkDown => Error::LinkDown,
            _ => Error::LimitReached,
        }
    })
}

/// Is the sender admitted to where a frame goes that leaves by `interface`?
fn is_admitted(shard: &Shard, id: SocketId, interface: InterfaceId, frame: &[u8]) -> bool {
    let Some(who) = shard.sockets.get(id).map(|socket| socket.principal) else { return false };
    let zone = |(header, payload): (Header, &[u8])| {
        link::zone_of(shard, interface, header.ether_type, payload)
    };
    Header::parse(frame).is_ok_and(|parsed| shard.zones.of(who).contains(zone(parsed)))
}

/// On the loopback there are IPv4 packets and nothing else.
fn send_here(shard: &mut Shard, id: SocketId, frame: Vec<u8>) -> Result<(), Error> {
    let (header, packet) = Header::parse(&frame).map_err(|_| Error::InvalidArgument)?;
    // Where all zones meet, nobody speaks for another's address, nor to one.
    let who = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?.principal;
    let ends =
        Packet::parse(packet).map(|packet| (packet.header.source, packet.header.destination));
    let may = |(source, destination): (Ipv4Addr, Ipv4Addr)| {
        shard.covers(who, source.into()) && shard.covers(who, destination.into())
    };
    if !shard.zones.is_single() && !ends.is_ok_and(may) {
        shard.drop(DropReason::OtherZone);
        return Ok(());
    }
    if header.ether_type != EtherType::IPV4 {
        shard.drop(DropReason::UnknownEtherType);
        return Ok(());
    }
    let packet = Frame::plain(packet.to_vec());
    shard.egress.push(InterfaceId::LOOPBACK, packet).map_err(|_| Error::LimitReached)
}
