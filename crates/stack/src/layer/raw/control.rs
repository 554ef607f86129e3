//! What programs ask about their raw sockets. They have no ports; what getsockname(2) says in the place
//! of one is the protocol, as on Linux.

use crate::{
    InterfaceId, Shard, bpf,
    layer::{ipv4_output, route::path_for, udp},
    request::{Envelope, Error, Principal, RawOption, Reply, SocketId, SocketKind},
    table::{
        raw::RawSettings,
        route::Query,
        socket::{DatagramSocket, Socket, SocketBody},
    },
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::ipv4::Protocol;
use std::sync::Arc;

/// `interfaces`: hears of what comes in by these alone; `None`: by any.
pub(crate) fn open(
    shard: &mut Shard,
    principal: Principal,
    protocol: Protocol,
    interfaces: Option<Box<[InterfaceId]>>,
) -> Result<Reply, Error> {
    if !shard.raws.has_room() {
        return Err(Error::LimitReached);
    }
    let bytes = shard.config.limits.datagram_bytes;
    let mut datagram = DatagramSocket::new(SocketKind::Raw, bytes);
    datagram.raw = Some(Box::new(RawSettings::new(protocol, interfaces)));
    let local = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), protocol.0.into());
    let body = SocketBody::Datagram(Box::new(datagram));
    let mut socket = Socket::new(principal, local, Arc::clone(&shard.settings), body);
    // Half of what they are, as programs count them.
    let settings = Arc::make_mut(&mut socket.settings);
    settings.send_limit = bytes / 2;
    settings.receive_limit = bytes / 2;
    let id = shard.sockets.insert(socket, shard.config.limits.sockets);
    let id = id.ok_or(Error::LimitReached)?;
    shard.raws.insert(protocol, id);
    Ok(Reply::Socket(id))
}

/// The program is gone, or may not be where it is any more.
pub(crate) fn forget(shard: &mut Shard, id: SocketId) {
    if settings(shard, id).is_ok() {
        shard.raws.remove(id);
    }
}

/// Hears of what is for that address alone, and sends from it. As often as the program likes.
pub(crate) fn bind(shard: &mut Shard, id: SocketId, address: IpAddr) -> Result<Reply, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    if socket.remote().is_some() {
        return Err(Error::InvalidArgument);
    }
    socket.set_local(SocketAddr::new(address, socket.local().port()));
    Ok(Reply::Done)
}

/// Hears of what that host sends alone, and sends there.
pub(crate) fn connect(shard: &mut Shard, id: SocketId, remote: SocketAddr) -> Result<Reply, Error> {
    let destination = ipv4_output::v4(remote.ip())?;
    let bound = udp::bound_address(shard, id, &Envelope::default())?;
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    let query = Query {
        source: bound,
        output: udp::output_interface(&socket.ip, &Envelope::default(), destination),
        principal: socket.principal,
        mark: socket.ip.mark,
        ..Query::to(destination)
    };
    let path = path_for(shard, &query)?;
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    if path.broadcast && !socket.ip.broadcast {
        return Err(Error::BroadcastDenied);
    }
    socket.set_remote(Some(remote));
    if socket.local().ip().is_unspecified() {
        socket
            .set_local(SocketAddr::new(bound.unwrap_or(path.source).into(), socket.local().port()));
    }
    Ok(Reply::Done)
}

/// As on Linux, the address that it was bound to goes too.
pub(crate) fn disconnect(shard: &mut Shard, id: SocketId) -> Result<Reply, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    socket.set_remote(None);
    socket.set_local(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), socket.local().port()));
    Ok(Reply::Done)
}

pub(crate) fn set_filter(
    shard: &mut Shard,
    id: SocketId,
    instructions: Option<&[bpf::Instruction]>,
) -> Result<Reply, Error> {
    let program = instructions.map(bpf::Program::new).transpose();
    settings(shard, id)?.filter = program.map_err(|_| Error::InvalidArgument)?;
    Ok(Reply::Done)
}

pub(crate) fn set_option(
    shard: &mut Shard,
    id: SocketId,
    option: &RawOption,
) -> Result<Reply, Error> {
    let raw = settings(shard, id)?;
    match option {
        RawOption::HeaderIncluded(on) => raw.header_included = *on,
        RawOption::IcmpFilter(_) if raw.protocol != Protocol::ICMP => {
            return Err(Error::NotSupported);
        }
        RawOption::IcmpFilter(types) => raw.icmp_filter = *types,
    }
    Ok(Reply::Done)
}

fn settings(shard: &mut Shard, id: SocketId) -> Result<&mut RawSettings, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    let datagram = socket.datagram().ok_or(Error::InvalidState)?;
    datagram.raw.as_deref_mut().ok_or(Error::InvalidState)
}
