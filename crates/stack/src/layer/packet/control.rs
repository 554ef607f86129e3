//! What programs ask about their packet sockets.

use crate::{
    InterfaceId, Shard, bpf,
    layer::{packet::tap, raw},
    request::{Error, FanoutRequest, PacketOption, PacketState, Principal, Reply, SocketId},
    table::{
        claim::{Match, Rank},
        fanout::FanoutKind,
        packet_socket::PacketSocket,
        socket::{Socket, SocketBody},
    },
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::ipv4::Protocol;
use std::sync::Arc;

/// Packet sockets of a shard: each costs every frame a look, so not as many as of other kinds.
const MAX_SOCKETS: usize = 256;
/// Groups and modes that one socket asks for, as of multicast groups.
const MAX_MEMBERSHIPS: usize = 64;

pub(crate) fn open(
    shard: &mut Shard,
    principal: Principal,
    cooked: bool,
    protocol: u16,
) -> Result<Reply, Error> {
    if shard.packets.members.len() >= MAX_SOCKETS {
        return Err(Error::LimitReached);
    }
    let limit = shard.config.limits.datagram_bytes;
    let mut socket = PacketSocket::new(cooked, limit);
    socket.protocol = protocol;
    let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let body = SocketBody::Packet(Box::new(socket));
    let mut socket = Socket::new(principal, any, shard.settings.clone(), body);
    // Half of what they are, as programs count them.
    let settings = Arc::make_mut(&mut socket.settings);
    settings.send_limit = limit / 2;
    settings.receive_limit = limit / 2;
    let id = shard.sockets.insert(socket, shard.config.limits.sockets);
    let id = id.ok_or(Error::LimitReached)?;
    shard.packets.members.push(id);
    shard.interfaces.touch();
    Ok(Reply::Socket(id))
}

/// The program is gone.
pub(crate) fn forget(shard: &mut Shard, id: SocketId) {
    let Ok(socket) = packet(shard, id) else { return };
    if let Some(group) = socket.fanout {
        shard.packets.fanouts.leave(group, id);
    }
    shard.packets.members.retain(|member| *member != id);
    shard.packets.claims.release(id);
    tap::forget(shard, id);
    shard.interfaces.touch();
}

/// Which frames the socket hears of from now on. A protocol of 0 leaves the one it has.
pub(crate) fn bind(
    shard: &mut Shard,
    id: SocketId,
    interface: Option<InterfaceId>,
    protocol: u16,
) -> Result<Reply, Error> {
    let who = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?.principal;
    if let Some(interface) = interface
        && (shard.interfaces.get(interface).is_none() || !shard.admits(who, interface))
    {
        return Err(Error::NoSuchInterface);
    }
    let socket = packet(shard, id)?;
    if socket.fanout.is_some() {
        return Err(Error::InvalidArgument);
    }
    socket.interface = interface;
    if protocol != 0 {
        socket.protocol = protocol;
    }
    shard.interfaces.touch();
    Ok(Reply::Done)
}

pub(crate) fn set(shard: &mut Shard, id: SocketId, option: PacketOption) -> Result<Reply, Error> {
    if let PacketOption::Filter(instructions) = &option
        && shard.sockets.get(id).is_some_and(|socket| socket.raw().is_some())
    {
        return raw::set_filter(shard, id, instructions.as_deref());
    }
    let socket = packet(shard, id)?;
    match option {
        PacketOption::Filter(None) => socket.filter = None,
        PacketOption::Filter(Some(instructions)) => {
            let program = bpf::Program::new(&instructions).map_err(|_| Error::InvalidArgument)?;
            socket.filter = Some(program);
        }
        PacketOption::IgnoreOutgoing(on) => socket.ignore_outgoing = on,
        PacketOption::VnetHeader(on) => socket.vnet_header = on,
        PacketOption::Member { interface, appetite, joined } => {
            shard.interfaces.get(interface).ok_or(Error::NoSuchInterface)?;
            let socket = packet(shard, id)?;
            let wish = (interface, appetite);
            let held = socket.memberships.iter().position(|held| *held == wish);
            match (held, joined) {
                (Some(at), false) => drop(socket.memberships.swap_remove(at)),
                (None, false) => return Err(Error::AddressNotAvailable),
                (_, true) if socket.memberships.len() >= MAX_MEMBERSHIPS => {
                    return Err(Error::LimitReached);
                }
                (_, true) => socket.memberships.push(wish),
            }
        }
        PacketOption::Fanout(request) => return join(shard, id, request),
        PacketOption::Claim(None) => shard.packets.claims.release(id),
        PacketOption::Claim(Some((wish, rank))) => return claim(shard, id, wish, rank),
        PacketOption::Tap(stages) => return tap::set(shard, id, stages),
        PacketOption::SeesClaimed(on) => socket.sees_claimed = on,
    }
    Ok(Reply::Done)
}

fn claim(shard: &mut Shard, id: SocketId, wish: Match, rank: Rank) -> Result<Reply, Error> {
    let who = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?.principal;
    let interface = wish.interface.ok_or(Error::InvalidArgument)?;
    if shard.interfaces.get(interface).is_none() || !shard.admits(who, interface) {
        return Err(Error::NoSuchInterface);
    }
    if !packet(shard, id)?.tap.is_empty() {
        return Err(Error::InvalidArgument);
    }
    shard.packets.claims.take(id, wish, rank).map_err(|(error, _)| error)?;
    Ok(Reply::Done)
}

fn join(shard: &mut Shard, id: SocketId, request: FanoutRequest) -> Result<Reply, Error> {
    let principal = shard.sockets.get(id).ok_or(Error::NoSuchSocket)?.principal;
    let socket = packet(shard, id)?;
    let heard = (socket.interface, socket.protocol);
    if socket.protocol == 0 || !socket.tap.is_empty() {
        return Err(Error::InvalidArgument);
    }
    if socket.fanout.is_some() {
        return Err(Error::AlreadyExists);
    }
    let FanoutRequest { group, mode, rollover, unused } = request;
    let fanouts = &shard.packets.fanouts;
    let group = if unused { fanouts.unused().ok_or(Error::LimitReached)? } else { group };
    // As in Linux, whoever joins hears what the others do.
    if let Some(other) = fanouts.any_member(group)
        && let Ok(other) = packet(shard, other)
        && (other.interface, other.protocol) != heard
    {
        return Err(Error::InvalidArgument);
    }
    shard.packets.fanouts.join(group, FanoutKind { mode, rollover }, principal, id)?;
    packet(shard, id)?.fanout = Some(group);
    Ok(Reply::Done)
}

/// What there is to know of the socket; the counts begin anew.
pub(crate) fn statistics(shard: &mut Shard, id: SocketId) -> Result<Reply, Error> {
    let socket = packet(shard, id)?;
    let (frames, lost) = socket.queue.take_statistics();
    Ok(Reply::PacketStatistics { frames, lost })
}

impl Shard {
    /// What a packet socket hears of, and is.
    pub fn packet_state(&self, id: SocketId) -> Option<PacketState> {
        let socket = super::packet_socket(self, id)?;
        Some(PacketState {
            cooked: socket.cooked,
            interface: socket.interface,
            protocol: socket.protocol,
            ignore_outgoing: socket.ignore_outgoing,
            vnet_header: socket.vnet_header,
            fanout: socket.fanout,
            filtered: socket.filter.is_some(),
            sees_claimed: socket.sees_claimed,
            tap: socket.tap,
        })
    }

    /// Whose claim another one of `socket` would overlap.
    pub fn claim_in_the_way(&self, socket: SocketId, wish: &Match, rank: Rank) -> Option<SocketId> {
        self.packets.claims.in_the_way(socket, wish, rank)
    }

    /// Who holds which claim; of those that a frame is about the first has it.
    pub fn claims(&self) -> impl Iterator<Item = (SocketId, &Match)> {
        self.packets.claims.iter()
    }

    /// The packet sockets, in the order in which they hear of frames.
    pub fn packet_sockets(&self) -> impl Iterator<Item = (SocketId, PacketState)> {
        self.packets.members.iter().filter_map(|id| Some((*id, self.packet_state(*id)?)))
    }

    /// The raw sockets of a protocol.
    pub fn raw_sockets(&self, protocol: Protocol) -> impl Iterator<Item = SocketId> {
        self.raws.of(protocol)
    }

    /// Whether any packet socket, or who watches, is to hear of frames of this interface.
    pub fn is_watched(&self, interface: InterfaceId) -> bool {
        if self.watchers.as_ref().is_some_and(|watchers| watchers.are_about(interface)) {
            return true;
        }
        let sockets = self.packets.members.iter().filter_map(|id| super::packet_socket(self, *id));
        sockets
            .into_iter()
            .any(|one| one.protocol != 0 && one.interface.is_none_or(|bound| bound == interface))
    }
}

pub(super) fn packet(shard: &mut Shard, id: SocketId) -> Result<&mut PacketSocket, Error> {
    match &mut shard.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?.body {
        SocketBody::Packet(socket) => Ok(socket),
        _ => Err(Error::InvalidState),
    }
}
