//! The whole public API of the engine; no protocol rules.
//!
//! Frames, requests and the time go in; frames, events and the next deadline come out:
//!
//! ```text
//!   receive(now, interface, frame, offload)      one frame from a device; or a burst of them
//!   request(now, principal, Request) -> Reply    one call of a program
//!   send_with / receive_with                     bytes of a TCP stream, in place
//!   handle_timeout(now)   next_timeout()         deadlines
//!   loop_back(now)                               traffic between sockets of this shard
//!   poll_transmit(now, interface, sink)          frames to send
//!   poll_event() -> Option<Event>                readable, writable, accepted, failed …
//!   poll_notice() -> Option<Notice>              what the operator should know
//! ```
//!
//! Any call may add events and frames to send, and may change `next_timeout`: after a batch of
//! calls, poll events, loop back, transmit, and ask for the next deadline, in that order.

mod addresses;
mod datagrams;
mod inspecting;
mod local;
mod memory;
mod receive;
mod rehearsal;
mod report;
mod requests;
mod routing;
mod watching;
mod zones;

pub use inspecting::{Inspecting, Inspection};
pub use local::LocalPeer;
pub use memory::Holding;
pub use routing::Resolved;
pub(crate) use zones::meet;

use crate::{
    config::{Config, FastOpenKey},
    conntrack::Conntrack,
    counters::{Counters, DropReason, Place},
    dhcp::Remembered,
    event::{Event, Notice, Readiness},
    filter::Filter,
    layer::{
        self,
        forward::{Onward, Span},
        inspect::Parked,
    },
    random::{Key, Random},
    request::{Error, Patience, SendFlags, SocketId},
    table::{
        autoconf::Autoconf,
        burst::Burst,
        conflict::ClaimTable,
        datagram_demux::DatagramDemux,
        demux::Demux,
        egress::Egress,
        fast_open::CookieCache,
        group_reports::GroupReports,
        identification::Identifications,
        inspector::Inspectors,
        interface::{InterfaceId, InterfaceTable},
        link::LinkTable,
        membership::MembershipTable,
        neighbor::NeighborTable,
        packet_socket::PacketSockets,
        path_mtu::PathMtus,
        port::PortTable,
        rate_limit::IcmpLimits,
        raw::RawSockets,
        reassembly::ReassemblyTable,
        route::RouteTables,
        socket::{Remnants, SocketTable},
        timer::{TimerKey, TimerWheel},
        watch::{Step, Watchers},
        zone::ZoneTable,
    },
    tcp::{Settings, cookies::Cookies},
    time::Instant,
};
use core::net::SocketAddr;
use narrows_ring::Pool;
use narrows_wire::{address::MacAddr, offload::TxOffload};
use std::{
    collections::VecDeque,
    io::{IoSlice, IoSliceMut},
    sync::Arc,
};

/// Where frames to send go. A frame is `header` followed by both parts of `payload`.
pub trait Sink {
    /// Can another frame be taken now?
    fn has_room(&self) -> bool;
    /// Takes a frame; called only while there is room, so it can't fail.
    fn send(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]);
}

/// Notices that wait: more than a turn of any daemon brings.
const NOTICES: usize = 64;

/// A whole TCP/IP host: see the module's documentation.
pub struct Shard {
    pub(crate) config: Config,
    /// What new TCP sockets start with: the configuration's, shared.
    pub(crate) settings: Arc<Settings>,
    pub(crate) random: Random,
    pub(crate) secrets: Secrets,
    pub(crate) counters: Counters,
    pub(crate) filter: Option<Box<Filter>>,
    /// Flows, where rules or the configuration want to know of them.
    pub(crate) conntrack: Option<Box<Conntrack>>,
    pub(crate) interfaces: InterfaceTable,
    pub(crate) links: LinkTable,
    pub(crate) zones: ZoneTable,
    pub(crate) routes: RouteTables,
    pub(crate) path_mtus: PathMtus,
    pub(crate) identifications: Identifications,
    pub(crate) neighbors: NeighborTable,
    pub(crate) claims: ClaimTable,
    pub(crate) autoconf: Autoconf,
    pub(crate) memberships: MembershipTable,
    pub(crate) group_reports: GroupReports,
    pub(crate) reassembly: ReassemblyTable,
    pub(crate) icmp_limits: IcmpLimits,
    pub(crate) sockets: SocketTable,
    pub(crate) remnants: Remnants,
    pub(crate) demux: Demux,
    pub(crate) datagrams: DatagramDemux,
    pub(crate) ports: PortTable,
    pub(crate) cookies: CookieCache,
    pub(crate) timers: TimerWheel,
    pub(crate) egress: Egress,
    /// Of the frame that is being received, if it may leave from where it is, and what became of that.
    pub(crate) span: Option<Span>,
    pub(crate) onward: Option<Onward>,
    /// Segments that others may follow.
    burst: Burst,
    pub(crate) packets: PacketSockets,
    /// `None`: nobody watches.
    pub(crate) watchers: Option<Box<Watchers>>,
    /// `None`: nobody inspects.
    pub(crate) inspectors: Option<Box<Inspectors<Parked>>>,
    /// Counts rulesets: what waits notices that there is another.
    pub(crate) rules: u64,
    pub(crate) raws: RawSockets,
    pub(crate) buffers: Pool,
    /// Sockets with something pending to tell.
    pub(crate) events: VecDeque<SocketId>,
    notices: VecDeque<Notice>,
    /// Where frames are put together that no device takes in parts.
    pub(crate) scratch: Vec<u8>,
}

/// Keys made at the start, never saved.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// Initial sequence numbers (RFC 6528).
    pub sequence: Key,
    /// Timestamp offsets (RFC 7323 §7.1).
    pub timestamp: Key,
    /// SYN cookies.
    pub syn_cookies: Cookies,
    /// Fast-open cookies, where the configuration has no key for them.
    pub fast_open: FastOpenKey,
    /// What timestamps of ICMP and IPv4 begin from where nobody knows the time of day: the time since
    /// the start is nobody's business.
    pub time_of_day: u32,
}

impl Shard {
    /// `seed`: 128 unpredictable bits; the same seed and inputs give the same outputs.
    pub fn new(config: Config, seed: [u8; 16]) -> Self {
        let mut random = Random::new(seed);
        let secrets = Secrets {
            sequence: random.key(),
            timestamp: random.key(),
            syn_cookies: Cookies { first: random.key(), second: random.key() },
            fast_open: FastOpenKey(random.octets()),
            time_of_day: random.next_u32(),
        };
        let icmp_limits = IcmpLimits::new(&mut random);
        let demux_key = random.key();
        let limits = &config.limits;
        Self {
            secrets,
            counters: Counters::default(),
            filter: None,
            conntrack: None,
            interfaces: InterfaceTable::new(),
            links: LinkTable::new(),
            zones: ZoneTable::default(),
            routes: RouteTables::new(limits.routes, random.key()),
            path_mtus: PathMtus::new(random.key()),
            identifications: Identifications::new(&mut random),
            neighbors: NeighborTable::default(),
            claims: ClaimTable::default(),
            autoconf: Autoconf::default(),
            memberships: MembershipTable::default(),
            group_reports: GroupReports::default(),
            reassembly: ReassemblyTable::default(),
            icmp_limits,
            sockets: SocketTable::default(),
            remnants: Remnants::default(),
            demux: Demux::new(demux_key),
            datagrams: DatagramDemux::new(demux_key),
            cookies: CookieCache::new(random.key()),
            ports: PortTable::new(config.ephemeral_ports, &mut random),
            timers: TimerWheel::default(),
            egress: Egress::new(limits, random.key()),
            span: None,
            onward: None,
            burst: Burst::default(),
            packets: PacketSockets::default(),
            watchers: None,
            inspectors: None,
            rules: 0,
            raws: RawSockets::default(),
            buffers: Pool::new(limits.pooled_bytes),
            events: VecDeque::new(),
            notices: VecDeque::new(),
            scratch: Vec::new(),
            random,
            settings: Arc::new(config.tcp.clone()),
            config,
        }
    }

    /// Changes limits, and what new sockets start with.
    pub fn set_config(&mut self, config: Config) {
        self.settings = Arc::new(config.tcp.clone());
        self.config = config;
        layer::conntrack::renew(self);
    }

    /// The rules from now on, `None` for none. Counters of rules that stay go on.
    pub fn set_filter(&mut self, filter: Option<Filter>) {
        let mut filter = filter.map(Box::new);
        if let (Some(new), Some(old)) = (&mut filter, &self.filter) {
            new.take_over(old);
        }
        self.filter = filter;
        self.rules += 1;
        layer::conntrack::renew(self);
    }

    /// The flows that are known, if anybody wants to know them.
    pub fn conntrack(&self) -> Option<&Conntrack> {
        self.conntrack.as_deref()
    }

    /// Where the peer of a TCP connection of this host thinks that it is connected to, if its flow is known
    /// (SO_ORIGINAL_DST).
    pub fn original_destination(
        &self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<SocketAddr> {
        layer::conntrack::original_destination(self, local, remote)
    }

    pub fn conntrack_mut(&mut self) -> Option<&mut Conntrack> {
        self.conntrack.as_deref_mut()
    }

    pub fn filter(&self) -> Option<&Filter> {
        self.filter.as_deref()
    }

    pub fn filter_mut(&mut self) -> Option<&mut Filter> {
        self.filter.as_deref_mut()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What cookies are made with, and what else they are accepted from.
    pub(crate) fn fast_open_keys(&self) -> [Option<FastOpenKey>; 2] {
        let [first, second] = self.config.fast_open.keys;
        [Some(first.unwrap_or(self.secrets.fast_open)), second]
    }

    /// A call from outside begins; what it drops is counted at `place`.
    pub(crate) fn begin(&mut self, now: Instant, place: Place) {
        self.packets.clock = now;
        self.counters.place = place;
        if self.watchers.is_some() {
            layer::watch::begin(self);
        }
    }

    /// The packet under way is this socket's.
    pub(crate) fn attribute(&mut self, id: SocketId) {
        self.counters.place.user = self.sockets.get(id).map(|socket| socket.principal.uid);
    }

    /// Counts a packet that goes no further.
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.counters.drop(reason);
        layer::watch::note(self, |_| Step::Lost(reason));
    }

    /// When to call `handle_timeout` at the latest; may be earlier than anything is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next_timeout()
    }

    /// Does whatever is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.begin(now, Place::default());
        while let Some(key) = self.timers.expire(now) {
            match key {
                TimerKey::Socket(slot) => layer::tcp::connection_timeout(self, now, slot),
                TimerKey::HalfOpen(index) => layer::tcp::half_open_timeout(self, now, index),
                TimerKey::TimeWait(index) => layer::tcp::time_wait_timeout(self, now, index),
                TimerKey::Flow(index) => layer::conntrack::handle_timeout(self, now, index),
                TimerKey::Neighbors => layer::arp::handle_timeout(self, now),
                TimerKey::Links => layer::link::handle_timeout(self, now),
                TimerKey::Autoconf => layer::autoconf::handle_timeout(self, now),
                TimerKey::Groups => layer::igmp::handle_timeout(self, now),
                TimerKey::Claims => layer::arp::conflict::handle_timeout(self, now),
                TimerKey::Reassembly => layer::ipv4_input::handle_timeout(self, now),
                TimerKey::Gateways => layer::gateway::handle_timeout(self, now),
                TimerKey::Addresses => self.expire_addresses(now),
                TimerKey::Inspectors => layer::inspect::handle_timeout(self, now),
                TimerKey::PathMtus => layer::icmpv4::forget_path_mtus(self, now),
            }
        }
    }

    /// Bytes of free ring buffers that are kept warm. While there are any, a call of
    /// [`Shard::trim_buffers`] now and then gives back those that nobody needed in between.
    pub fn warm_bytes(&self) -> usize {
        self.buffers.free_bytes()
    }

    /// Gives back the ring buffers that were free since the last call.
    pub fn trim_buffers(&mut self) {
        self.buffers.trim();
    }

    /// Carries packets between sockets of this shard, a bounded number; true: more are waiting.
    #[must_use]
    pub fn loop_back(&mut self, now: Instant) -> bool {
        self.begin(now, Place::default());
        layer::loopback::run(self, now)
    }

    /// Gives frames for `interface` to `sink` while it has room, a bounded number; true: more are
    /// waiting.
    #[must_use]
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        sink: &mut impl Sink,
    ) -> bool {
        self.begin(now, Place::at(interface));
        while sink.has_room() {
            let Some(frame) = self.egress.pop(interface) else { break };
            if let Err(reason) = layer::filter::egress(self, now, interface, &frame.bytes) {
                self.counters.drop(reason);
                if self.watchers.is_some() {
                    layer::watch::lost(self, interface, &frame.bytes, frame.offload, reason);
                }
                continue;
            }
            self.count_sent(frame.bytes.len());
            if let Some(link) = self.links.get_mut(interface) {
                link.traffic.sent(1, frame.bytes.len() as u64);
            }
            sink.send(frame.offload, &frame.bytes, [&[], &[]]);
            if self.watchers.is_some() {
                layer::watch::begin(self);
            }
        }
        layer::tcp::transmit(self, now, interface, sink);
        !self.egress.is_empty(interface)
    }

    pub(crate) fn count_sent(&mut self, bytes: usize) {
        self.counters.frames_sent += 1;
        self.counters.bytes_sent += bytes as u64;
    }

    /// What became of which socket; `None` when all is told.
    #[must_use]
    pub fn poll_event(&mut self) -> Option<Event> {
        while let Some(id) = self.events.pop_front() {
            if let Some(socket) = self.sockets.get_mut(id) {
                let readiness = core::mem::take(&mut socket.pending);
                return Some(Event { socket: id, readiness });
            }
        }
        None
    }

    /// What the operator should know; `None` when all is told.
    #[must_use]
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Queues a notice. If nobody asks for them, the oldest go.
    pub(crate) fn tell(&mut self, notice: Notice) {
        if self.notices.len() >= NOTICES {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }

    /// What an earlier run leased, for DHCP clients that begin from now on.
    pub fn recall_lease(&mut self, mac: MacAddr, lease: Remembered) {
        self.autoconf.remember(mac, lease);
    }

    /// Gives every lease back to its server. The addresses stay, so that this can leave.
    pub fn release_leases(&mut self, now: Instant) {
        layer::autoconf::release_all(self, now);
    }

    /// Does anything wait for a neighbor to say its link address?
    pub fn waits_for_neighbors(&self) -> bool {
        self.neighbors.holds_any()
    }

    /// Ends every TIME-WAIT now: their ports are free, and old segments find nobody.
    pub fn end_time_wait(&mut self) {
        layer::tcp::end_time_wait(self);
    }

    /// Queues an event; events of one socket merge.
    pub(crate) fn notify(&mut self, id: SocketId, readiness: Readiness) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        if readiness.is_empty() || socket.orphan || socket.unaccepted {
            return;
        }
        if socket.pending.is_empty() {
            self.events.push_back(id);
        }
        socket.pending |= readiness;
    }

    /// Offers room in a connection's send ring, at most `max` bytes, to `fill`, which says how many
    /// bytes it wrote. `Err`: nothing can be sent (any more).
    pub fn send_with(
        &mut self,
        now: Instant,
        id: SocketId,
        max: usize,
        fill: impl FnOnce(&mut [IoSliceMut<'_>; 2]) -> usize,
    ) -> Result<usize, Error> {
        self.send_flagged(now, id, max, SendFlags::empty(), fill)
    }

    /// As [`Shard::send_with`], with what the program says of its bytes.
    pub fn send_flagged(
        &mut self,
        now: Instant,
        id: SocketId,
        max: usize,
        flags: SendFlags,
        fill: impl FnOnce(&mut [IoSliceMut<'_>; 2]) -> usize,
    ) -> Result<usize, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        let connection = socket.connection().ok_or(Error::NotConnected)?;
        let sent = connection.send_with(now, &mut self.buffers, max, flags, fill)?;
        layer::tcp::settle(self, now, id);
        Ok(sent)
    }

    /// As connect(2) and [`Shard::send_with`] in one, of so many bytes `offered`: what `fill` gives goes into the SYN, if the
    /// peer may get it there (RFC 7413). `Ok(0)`: it may not, and the handshake is under way without.
    pub fn connect_with(
        &mut self,
        now: Instant,
        id: SocketId,
        remote: SocketAddr,
        offered: (usize, Patience),
        fill: impl FnOnce(&mut [IoSliceMut<'_>; 2]) -> usize,
    ) -> Result<usize, Error> {
        layer::tcp::connect_with(self, now, id, remote, offered, fill)
    }

    /// Does a connection wait with its SYN for text?
    pub fn is_deferred(&self, id: SocketId) -> bool {
        match self.sockets.get(id).map(|socket| &socket.body) {
            Some(crate::table::socket::SocketBody::Connection(connection)) => {
                connection.is_deferred()
            }
            _ => false,
        }
    }

    /// Room in the send ring.
    pub fn send_room(&self, id: SocketId) -> usize {
        match self.sockets.get(id).map(|socket| &socket.body) {
            Some(crate::table::socket::SocketBody::Connection(connection)) => {
                connection.send_room()
            }
            _ => 0,
        }
    }

    /// Offers received bytes, at most `max`, to `drain`, which says how many it took. `Ok(0)`
    /// without a call of `drain` is the end of the stream; `Err(WouldBlock)`: nothing yet.
    pub fn receive_with(
        &mut self,
        now: Instant,
        id: SocketId,
        max: usize,
        drain: impl FnOnce(&[IoSlice<'_>; 2]) -> usize,
    ) -> Result<usize, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        let connection = socket.connection().ok_or(Error::NotConnected)?;
        let received = connection.receive_with(now, &mut self.buffers, max, drain)?;
        layer::tcp::settle(self, now, id);
        Ok(received)
    }
}
