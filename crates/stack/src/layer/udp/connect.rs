//! The one peer that a UDP or ping socket may have: it receives from nobody else, and sends there
//! when it names nobody.

use super::{bound_address, output_interface};
use crate::{
    Shard,
    layer::{ipv4_output, route::path_of},
    request::{Envelope, Error, Reply, SocketId, SocketKind},
    table::{
        datagram_demux::{Member, Place},
        route::Query,
        socket::Socket,
    },
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where a datagram socket is found, if it has a port.
pub(crate) fn place(socket: &Socket) -> Option<Place> {
    let binding = socket.binding.as_ref()?;
    Some(socket.flow().map_or(Place::Bound(binding.local), Place::Connected))
}

/// connect(2): an earlier peer is forgotten.
pub(crate) fn connect(shard: &mut Shard, id: SocketId, remote: SocketAddr) -> Result<Reply, Error> {
    let destination = ipv4_output::v4(remote.ip())?;
    let bound = bound_address(shard, id, &Envelope::default())?;
    let socket = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?;
    let query = Query {
        source: bound,
        output: output_interface(&socket.ip, &Envelope::default(), destination),
        principal: socket.principal,
        mark: socket.ip.mark,
        ..Query::to(destination)
    };
    let may_broadcast = socket.ip.broadcast;
    let path = path_of(shard, &query)?;
    if path.broadcast && !may_broadcast {
        return Err(Error::BroadcastDenied);
    }
    super::take_port(shard, id)?;
    relocate(shard, id, |socket| {
        // ICMP has no ports: a ping socket's own is the identifier, and its peer has none.
        let port = if socket.kind() == SocketKind::Ping { 0 } else { remote.port() };
        socket.set_remote(Some(SocketAddr::new(remote.ip(), port)));
        if socket.local().ip().is_unspecified() {
            socket.set_local(SocketAddr::new(
                bound.unwrap_or(path.source).into(),
                socket.local().port(),
            ));
        }
    })
}

/// connect(2) to nobody. As on Linux, what the program did not choose itself goes: the address that
/// connecting gave the socket, and a port that it got without asking for that one.
pub(crate) fn disconnect(shard: &mut Shard, id: SocketId) -> Result<Reply, Error> {
    relocate(shard, id, |socket| {
        socket.set_remote(None);
        if let Some(binding) = &socket.binding {
            socket.set_local(binding.local);
        }
    })?;
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    if !socket.port_chosen
        && let Some(binding) = socket.binding.clone()
    {
        let (kind, address) = (socket.kind(), binding.local.ip());
        shard.datagrams.remove(kind, Place::Bound(binding.local), id);
        socket.binding = None;
        // The address stays if the program gave it; with it, a port is chosen when one is needed.
        socket.set_local(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        shard.ports.release(&binding);
        if !address.is_unspecified() {
            shard.bind(id, SocketAddr::new(address, 0))?;
        }
    }
    Ok(Reply::Done)
}

/// Changes what a socket is found by.
pub(crate) fn relocate(
    shard: &mut Shard,
    id: SocketId,
    change: impl FnOnce(&mut Socket),
) -> Result<Reply, Error> {
    let socket = shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
    let (kind, old) = (socket.kind(), place(socket));
    if kind == SocketKind::Tcp {
        return Err(Error::InvalidState);
    }
    change(socket);
    let member = Member { socket: id, reuse_port: socket.reuse_port, device: socket.ip.device };
    let new = place(socket);
    if let Some(old) = old {
        shard.datagrams.remove(kind, old, id);
    }
    if let Some(new) = new {
        shard.datagrams.insert(kind, new, member);
    }
    Ok(Reply::Done)
}
