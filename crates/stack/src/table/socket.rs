//! The sockets of all programs. Invariant: a [`SocketId`] names one socket for ever; a slot used
//! again has another generation.

use crate::{
    event::Readiness,
    request::{Error, Principal, SocketId, SocketKind},
    table::{
        datagram::DatagramQueue,
        demux::{Flow, FlowOwner},
        error_queue::ErrorQueue,
        half_open_share::HalfOpenShares,
        interface::InterfaceId,
        ip_settings::IpSettings,
        packet_socket::PacketSocket,
        port::Binding,
        raw::RawSettings,
        route::Path,
    },
    tcp::{self, Connection, fast_open::Completion, listen::HalfOpen, time_wait::TimeWait},
    time::{Duration, Instant},
};
use core::net::{IpAddr, SocketAddr};
use slab::Slab;
use std::{collections::VecDeque, sync::Arc};

/// A socket address in 20 bytes instead of 32: without what only IPv6 has besides address and port.
#[derive(Clone, Copy, Debug)]
struct Endpoint {
    address: IpAddr,
    port: u16,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address: address.ip(), port: address.port() }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.address, endpoint.port)
    }
}

#[derive(Debug)]
pub struct Socket {
    pub principal: Principal,
    local: Endpoint,
    remote: Option<Endpoint>,
    /// Shared with its connection, and with what else was accepted by the same listener.
    pub settings: Arc<tcp::Settings>,
    pub ip: IpSettings,
    pub reuse_address: bool,
    pub reuse_port: bool,
    /// The port it holds.
    pub binding: Option<Arc<Binding>>,
    /// The program asked for that port, rather than for any.
    pub port_chosen: bool,
    /// A listener has it in its accept queue: nobody to tell anything yet.
    pub unaccepted: bool,
    /// The program has let go; what is left is the protocol's.
    pub orphan: bool,
    /// An error that the program hasn't seen.
    pub error: Option<Error>,
    /// What to tell with the next event; not empty: an event is queued.
    pub pending: Readiness,
    /// In an egress queue, or parked for its next hop.
    pub scheduled: bool,
    /// The way of its segments, and the generation of the route tables that it was made from.
    pub path: Option<(u64, Path)>,
    pub body: SocketBody,
}

#[derive(Debug)]
pub enum SocketBody {
    /// A TCP socket that neither listens nor connects.
    Closed,
    Listener(Box<Listener>),
    /// From SYN-SENT on, in every state of a connection.
    Connection(Box<Connection>),
    Datagram(Box<DatagramSocket>),
    Packet(Box<PacketSocket>),
}

/// How long a refused early connection counts (as Linux).
const REFUSAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Listener {
    /// How many connections may wait to be accepted.
    pub backlog: usize,
    pub accept_queue: VecDeque<SocketId>,
    /// How many handshakes are under way.
    pub half_open: usize,
    /// When a SYN was last answered with a cookie.
    pub cookie_sent_at: Option<Instant>,
    pub early: EarlyConnections,
}

/// Connections that were accepted with their SYN (RFC 7413), and how many of them are a risk.
#[derive(Debug, Default)]
pub struct EarlyConnections {
    /// Their handshake is not done.
    pending: usize,
    /// Refused by their peer, until then.
    refused: VecDeque<Instant>,
}

impl EarlyConnections {
    /// May there be another one, if at most `limit` may be a risk at a time? One that was refused
    /// counts for a while: it may have been a reflection on the peer (RFC 7413 §5.1).
    pub fn has_room(&mut self, now: Instant, limit: usize) -> bool {
        while self.refused.front().is_some_and(|until| now >= *until) {
            self.refused.pop_front();
        }
        self.pending + self.refused.len() < limit
    }

    pub fn began(&mut self) {
        self.pending += 1;
    }

    /// A handshake is over.
    pub fn ended(&mut self, now: Instant, completion: Completion) {
        self.pending = self.pending.saturating_sub(1);
        if completion == Completion::Refused {
            self.refused.push_back(now + REFUSAL);
        }
    }
}

#[derive(Debug)]
pub struct DatagramSocket {
    pub kind: SocketKind,
    pub queue: DatagramQueue,
    /// Filled if [`IpSettings::receive_errors`].
    pub errors: ErrorQueue,
    /// UDP_SEGMENT: what is sent is cut into datagrams of so many bytes; 0: it is not.
    pub segment_size: u16,
    /// UDP_GRO: takes several datagrams of one sender in one piece.
    pub coalesce: bool,
    /// SO_NO_CHECK: sends without a checksum.
    pub no_checksum: bool,
    /// IP_OPTIONS: those of packets that it sends, checked.
    pub options: Box<[u8]>,
    /// By which it sent last.
    pub last_interface: Option<InterfaceId>,
    /// Of raw sockets.
    pub raw: Option<Box<RawSettings>>,
}

impl DatagramSocket {
    pub fn new(kind: SocketKind, receive_limit: usize) -> Self {
        Self {
            kind,
            queue: DatagramQueue::new(receive_limit),
            errors: ErrorQueue::default(),
            segment_size: 0,
            coalesce: false,
            no_checksum: false,
            options: Box::default(),
            last_interface: None,
            raw: None,
        }
    }
}

impl Socket {
    pub fn new(
        principal: Principal,
        local: SocketAddr,
        settings: Arc<tcp::Settings>,
        body: SocketBody,
    ) -> Self {
        Self {
            principal,
            local: local.into(),
            remote: None,
            settings,
            ip: IpSettings::default(),
            reuse_address: false,
            reuse_port: false,
            binding: None,
            port_chosen: false,
            unaccepted: false,
            orphan: false,
            error: None,
            pending: Readiness::empty(),
            scheduled: false,
            path: None,
            body,
        }
    }

    pub fn kind(&self) -> SocketKind {
        match &self.body {
            SocketBody::Datagram(datagram) => datagram.kind,
            SocketBody::Packet(_) => SocketKind::Packet,
            _ => SocketKind::Tcp,
        }
    }

    /// Port 0: not bound.
    pub fn local(&self) -> SocketAddr {
        self.local.into()
    }

    pub fn set_local(&mut self, local: SocketAddr) {
        self.local = local.into();
    }

    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote.map(SocketAddr::from)
    }

    pub fn set_remote(&mut self, remote: Option<SocketAddr>) {
        self.remote = remote.map(Endpoint::from);
    }

    pub fn flow(&self) -> Option<Flow> {
        self.remote().map(|remote| Flow { local: self.local(), remote })
    }

    pub fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.body {
            SocketBody::Connection(connection) => Some(connection),
            _ => None,
        }
    }

    pub fn listener(&mut self) -> Option<&mut Listener> {
        match &mut self.body {
            SocketBody::Listener(listener) => Some(listener),
            _ => None,
        }
    }

    /// What only raw sockets have.
    pub fn raw(&self) -> Option<&RawSettings> {
        match &self.body {
            SocketBody::Datagram(datagram) => datagram.raw.as_deref(),
            _ => None,
        }
    }

    pub fn datagram(&mut self) -> Option<&mut DatagramSocket> {
        match &mut self.body {
            SocketBody::Datagram(datagram) => Some(datagram),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    socket: Option<Socket>,
}

#[derive(Debug, Default)]
pub struct SocketTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl SocketTable {
    /// `None` when there are `limit` sockets already.
    pub fn insert(&mut self, socket: Socket, limit: usize) -> Option<SocketId> {
        if self.len() >= limit {
            return None;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            (self.slots.len() - 1) as u32
        });
        let place = self.slots.get_mut(slot as usize)?;
        place.generation = place.generation.wrapping_add(1);
        place.socket = Some(socket);
        Some(SocketId { slot, generation: place.generation })
    }

    pub fn get(&self, id: SocketId) -> Option<&Socket> {
        let slot = self.slots.get(id.slot as usize)?;
        slot.socket.as_ref().filter(|_| slot.generation == id.generation)
    }

    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut Socket> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        slot.socket.as_mut().filter(|_| slot.generation == id.generation)
    }

    /// The connection of a socket that has one.
    pub fn connection(&mut self, id: SocketId) -> Option<&mut Connection> {
        self.get_mut(id)?.connection()
    }

    /// The socket that is in a slot now: for timers, whose keys are slots.
    pub fn in_slot(&self, slot: u32) -> Option<SocketId> {
        let place = self.slots.get(slot as usize)?;
        place.socket.as_ref().map(|_| SocketId { slot, generation: place.generation })
    }

    pub fn remove(&mut self, id: SocketId) -> Option<Socket> {
        self.get(id)?;
        let socket = self.slots.get_mut(id.slot as usize)?.socket.take();
        self.free.push(id.slot);
        socket
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = (SocketId, &Socket)> {
        self.slots.iter().zip(0..).filter_map(|(place, slot)| {
            let id = SocketId { slot, generation: place.generation };
            place.socket.as_ref().map(|socket| (id, socket))
        })
    }
}

/// A handshake that a listener answers: no socket yet.
#[derive(Debug)]
pub struct HalfOpenEntry {
    /// Whose listener it is.
    pub user: u32,
    pub flow: Flow,
    pub listener: SocketId,
    pub state: HalfOpen,
}

/// A connection whose socket is gone already.
#[derive(Debug)]
pub struct TimeWaitEntry {
    pub flow: Flow,
    pub binding: Option<Arc<Binding>>,
    pub since: Instant,
    pub expires: Instant,
    pub state: TimeWait,
}

/// Connections that are not sockets: before the program has them, and after it let go.
#[derive(Debug, Default)]
pub struct Remnants {
    pub half_open: Slab<HalfOpenEntry>,
    pub half_open_shares: HalfOpenShares,
    pub time_wait: Slab<TimeWaitEntry>,
    /// TIME-WAIT in the order of entry: when the table is full the oldest goes.
    pub time_wait_order: VecDeque<(u32, Flow)>,
}

impl Remnants {
    /// The half-open connection of a flow's owner, if it is one.
    pub fn half_open_of(&mut self, owner: FlowOwner) -> Option<&mut HalfOpenEntry> {
        match owner {
            FlowOwner::HalfOpen(index) => self.half_open.get_mut(index as usize),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> Socket {
        let local = "0.0.0.0:0".parse().expect("address");
        Socket::new(Principal::user(0), local, Arc::default(), SocketBody::Closed)
    }

    #[test]
    fn a_name_outlives_its_socket_and_names_nothing_else() {
        let mut table = SocketTable::default();
        let first = table.insert(socket(), 10).expect("room");
        assert!(table.remove(first).is_some());
        let second = table.insert(socket(), 10).expect("room");
        assert_eq!(first.slot, second.slot);
        assert!(table.get(first).is_none());
        assert!(table.remove(first).is_none());
        assert_eq!(table.in_slot(second.slot), Some(second));
    }

    #[test]
    fn refused_early_connections_count_for_a_minute() {
        let mut early = EarlyConnections::default();
        let at = Instant::from_millis;
        assert!(!early.has_room(at(0), 0));
        early.began();
        assert!(!early.has_room(at(0), 1) && early.has_room(at(0), 2));
        early.ended(at(1), Completion::Refused);
        assert!(!early.has_room(at(60_000), 1));
        assert!(early.has_room(at(60_001), 1));
        early.began();
        early.ended(at(60_002), Completion::Established);
        assert!(early.has_room(at(60_002), 1));
    }

    #[test]
    fn the_limit_is_a_result() {
        let mut table = SocketTable::default();
        let ids: Vec<_> = (0..3).map_while(|_| table.insert(socket(), 2)).collect();
        assert_eq!((ids.len(), table.len()), (2, 2));
    }
}
