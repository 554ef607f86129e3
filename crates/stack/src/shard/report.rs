//! What there is to know of a shard: for `ss`, `stat`, `addr`, `route` and `neigh`.

use super::Shard;
use crate::{
    counters::Counters,
    dhcp::{Lease, Remembered},
    request::{Error, Principal, SocketId, SocketInfo, SocketKind},
    table::{
        conflict::Unusable,
        demux::Flow,
        interface::{Interface, InterfaceId},
        link::LinkTable,
        membership::Filter,
        neighbor::Neighbor,
        route::{Route, Rule, TableId},
        socket::{Socket, SocketBody},
    },
    tcp::{Info, State},
    time::Instant,
};
use core::net::Ipv4Addr;
use narrows_wire::address::{MacAddr, Prefix};

impl Shard {
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub fn interfaces(&self) -> impl Iterator<Item = (InterfaceId, &Interface)> {
        self.interfaces.iter()
    }

    /// Counts changes of what interfaces are to receive: see [`Shard::interface`] for what is new.
    pub fn interfaces_revision(&self) -> u32 {
        self.interfaces.revision()
    }

    /// What stands upon what.
    pub fn links(&self) -> &LinkTable {
        &self.links
    }

    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(id)
    }

    /// Addresses of an interface that are not in use, and why.
    pub fn unusable_addresses(
        &self,
        interface: InterfaceId,
    ) -> impl Iterator<Item = (Prefix, Unusable)> {
        self.claims.unusable_of(interface)
    }

    /// The routes of all tables but this host's own addresses, in no order.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.routes.iter()
    }

    /// The same from a place on, each with the place after it: for tables that take several replies.
    /// Begin at table 0, place 0.
    pub fn routes_from(
        &self,
        place: (TableId, usize),
    ) -> impl Iterator<Item = ((TableId, usize), Route)> {
        self.routes.iter_from(place)
    }

    /// In the order in which they are asked.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.routes.rules()
    }

    /// The groups joined on an interface, by how many sockets each, and from whom.
    pub fn groups(
        &self,
        interface: InterfaceId,
    ) -> impl Iterator<Item = (Ipv4Addr, usize, &Filter)> {
        self.memberships.of(interface)
    }

    /// What a DHCP server granted an interface.
    pub fn lease(&self, interface: InterfaceId) -> Option<&Lease> {
        self.autoconf.clients.get(&interface)?.lease()
    }

    /// The last lease of each link address, of clients that are and were.
    pub fn remembered_leases(&self) -> impl Iterator<Item = (MacAddr, Remembered)> {
        self.autoconf.remembered.iter().map(|(mac, lease)| (*mac, *lease))
    }

    pub fn neighbors(&self) -> impl Iterator<Item = Neighbor> {
        self.neighbors.iter()
    }

    /// Bytes in the ring buffers of all connections.
    pub fn buffered_bytes(&self) -> usize {
        self.buffers.in_use()
    }

    /// All sockets, then half-open connections, then those in TIME-WAIT.
    pub fn sockets(&self, now: Instant) -> impl Iterator<Item = SocketInfo> {
        let sockets = self.sockets.iter().map(move |(id, socket)| describe(now, id, socket));
        let half_open = self.remnants.half_open.iter().map(|(_, entry)| {
            let owner = self.sockets.get(entry.listener);
            let principal = owner.map_or(Principal::default(), |socket| socket.principal);
            remnant(entry.flow, principal, State::SynReceived)
        });
        let time_wait = self.remnants.time_wait.iter().map(|(_, entry)| {
            let principal =
                entry.binding.as_ref().map_or(Principal::default(), |held| held.principal);
            remnant(entry.flow, principal, State::TimeWait)
        });
        sockets.chain(half_open).chain(time_wait)
    }

    /// Why the connection failed, if the program was not told yet.
    pub fn pending_error(&self, id: SocketId) -> Option<Error> {
        self.sockets.get(id)?.error
    }

    /// Has a datagram socket been told of errors that its program has not taken out of the queue?
    pub fn has_queued_errors(&self, id: SocketId) -> bool {
        match self.sockets.get(id).map(|socket| &socket.body) {
            Some(SocketBody::Datagram(datagram)) => datagram.errors.next().is_some(),
            _ => false,
        }
    }

    pub(crate) fn socket_info(&self, now: Instant, id: SocketId) -> Option<SocketInfo> {
        self.sockets.get(id).map(|socket| describe(now, id, socket))
    }
}

fn describe(now: Instant, id: SocketId, socket: &Socket) -> SocketInfo {
    let (state, tcp, receive_queue, send_queue) = match &socket.body {
        SocketBody::Closed => (State::Closed, None, 0, 0),
        SocketBody::Listener(listener) => {
            // As it was asked for: see Shard::listen.
            (State::Listen, None, listener.accept_queue.len(), listener.backlog.saturating_sub(1))
        }
        SocketBody::Connection(connection) => {
            let info = connection.info(now);
            let queues = (connection.receive_queue(), connection.send_queue());
            (info.state, Some(info), queues.0, queues.1)
        }
        SocketBody::Datagram(datagram) => {
            // As Linux numbers them: what has a peer is established.
            let state = if socket.remote().is_some() { State::Established } else { State::Closed };
            (state, None, datagram.queue.payload_bytes(), 0)
        }
        SocketBody::Packet(packet) => (State::Closed, None, packet.queue.bytes(), 0),
    };
    let datagram = match &socket.body {
        SocketBody::Datagram(datagram) => Some(datagram),
        _ => None,
    };
    SocketInfo {
        id: Some(id),
        principal: socket.principal,
        kind: socket.kind(),
        orphan: socket.orphan,
        local: socket.local(),
        remote: socket.remote(),
        state,
        tcp,
        receive_queue,
        send_queue,
        lost: match &socket.body {
            SocketBody::Datagram(datagram) => datagram.queue.lost(),
            SocketBody::Packet(packet) => packet.queue.lost_ever(),
            _ => 0,
        },
        settings: Some(socket.settings.as_ref().clone()),
        ip: Some(socket.ip.clone()),
        segment_size: datagram.map_or(0, |datagram| datagram.segment_size),
        coalesce: datagram.is_some_and(|datagram| datagram.coalesce),
        no_checksum: datagram.is_some_and(|datagram| datagram.no_checksum),
        reuse_address: socket.reuse_address,
        reuse_port: socket.reuse_port,
    }
}

/// A connection without a socket.
fn remnant(flow: Flow, principal: Principal, state: State) -> SocketInfo {
    SocketInfo {
        id: None,
        principal,
        kind: SocketKind::Tcp,
        orphan: true,
        local: flow.local,
        remote: Some(flow.remote),
        state,
        tcp: None::<Info>,
        receive_queue: 0,
        send_queue: 0,
        lost: 0,
        settings: None,
        ip: None,
        segment_size: 0,
        coalesce: false,
        no_checksum: false,
        reuse_address: false,
        reuse_port: false,
    }
}
