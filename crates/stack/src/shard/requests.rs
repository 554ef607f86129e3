//! The calls of programs and of the operator, one by one.

use super::Shard;
use crate::{
    config::FastOpenMode,
    counters::Place,
    event::Readiness,
    layer::{self, ipv4_output, route::path_for},
    request::{Envelope, Error, Principal, Reply, Request, SocketId, SocketKind, SocketOption},
    table::{
        interface::InterfaceId,
        link::LinkKind,
        neighbor::{NeighborChange, NeighborMode, NeighborSetting},
        port::{Binding, Role},
        route::Query,
        socket::{DatagramSocket, Listener, Socket, SocketBody},
    },
    tcp::Connection,
    time::Instant,
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::{collections::VecDeque, sync::Arc};

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The smallest and largest buffers a program can ask for, in bytes: as on Linux, a floor that
/// still works and a ceiling that one socket can't hurt with.
const BUFFER_LIMITS: core::ops::RangeInclusive<usize> = 4 << 10..=16 << 20;

/// The least that TCP_WINDOW_CLAMP means, as on Linux.
const MIN_CLAMP: u32 = 1152;

impl Shard {
    /// One call of a program.
    pub fn request(
        &mut self,
        now: Instant,
        principal: Principal,
        request: Request,
    ) -> Result<Reply, Error> {
        self.begin(now, Place { user: Some(principal.uid), ..Place::default() });
        match request {
            Request::OpenTcp => self.open(principal, SocketBody::Closed),
            Request::OpenUdp => self.open_datagram(principal, SocketKind::Udp),
            Request::OpenPing => self.open_datagram(principal, SocketKind::Ping),
            Request::OpenRaw { protocol, interfaces } => {
                layer::raw::open(self, principal, protocol, interfaces)
            }
            Request::SetIpOptions { socket, options } => {
                layer::ipv4_options::set(self, socket, &options)
            }
            Request::SetRaw { socket, option } => layer::raw::set_option(self, socket, &option),
            Request::OpenPacket { cooked, protocol } => {
                layer::packet::open(self, principal, cooked, protocol)
            }
            Request::BindPacket { socket, interface, protocol } => {
                layer::packet::bind(self, socket, interface, protocol)
            }
            Request::SetPacket { socket, option } => layer::packet::set(self, socket, option),
            Request::PacketStatistics { socket } => layer::packet::statistics(self, socket),
            Request::Bind { socket, local } => self.bind(socket, local),
            Request::Connect { socket, remote } => self.connect(now, socket, remote),
            Request::Disconnect { socket } => self.disconnect(now, socket),
            Request::Reach { socket, envelope, len } => self.reach(now, socket, &envelope, len),
            Request::PathMtu { socket } => self.path_mtu(socket),
            Request::Listen { socket, backlog } => self.listen(socket, backlog),
            Request::Accept { socket } => self.accept(socket),
            Request::SetOption { socket, option } => self.set_option(now, socket, option),
            Request::Info { socket } => {
                let info = self.socket_info(now, socket).ok_or(Error::NoSuchSocket)?;
                Ok(Reply::Info(Box::new(info)))
            }
            Request::TakeError { socket } => {
                let socket = self.sockets.get_mut(socket).ok_or(Error::NoSuchSocket)?;
                Ok(Reply::Error(socket.error.take()))
            }
            Request::TakeQueuedError { socket } => self.take_queued_error(socket),
            Request::Watch { socket, tag, watch } => {
                self.connection(socket)?.watch(now, tag, watch);
                Ok(Reply::Done)
            }
            Request::TakeNotice { socket } => {
                Ok(Reply::Notice(self.connection(socket)?.take_notice()))
            }
            Request::ShutdownSend { socket } => layer::tcp::shutdown_send(self, now, socket),
            Request::Close { socket } => {
                layer::igmp::forget(self, now, socket);
                layer::packet::forget(self, socket);
                layer::raw::forget(self, socket);
                layer::tcp::close(self, now, socket)
            }
            Request::Abort { socket } => {
                layer::igmp::forget(self, now, socket);
                layer::packet::forget(self, socket);
                layer::raw::forget(self, socket);
                layer::tcp::abort(self, now, socket)
            }
            Request::Membership { socket, group, interface, change } => {
                layer::igmp::change(self, now, socket, group, interface, &change)?;
                Ok(Reply::Done)
            }
            Request::SetTcpDefaults { defaults } => {
                self.config.set_tcp_defaults(&defaults);
                self.settings = Arc::new(self.config.tcp.clone());
                Ok(Reply::Done)
            }
            Request::SetEphemeralPorts { range } => {
                let (first, last) = range;
                if first == 0 || first > last {
                    return Err(Error::InvalidArgument);
                }
                self.config.ephemeral_ports = range;
                self.ports.set_range(range);
                Ok(Reply::Done)
            }
            Request::SetConntrack { config } => {
                self.config.conntrack = config;
                layer::conntrack::renew(self);
                Ok(Reply::Done)
            }
            Request::AddInterface { settings } => {
                let id = self.interfaces.add(settings)?;
                self.links.add(id, LinkKind::Device)?;
                Ok(Reply::Interface(id))
            }
            Request::RenameInterface { interface, name } => {
                self.interfaces.rename(interface, name)?;
                Ok(Reply::Done)
            }
            Request::AnswerTimestamps(on) => {
                self.config.icmp_timestamps = on;
                Ok(Reply::Done)
            }
            Request::AddLink { name, link } => layer::link::add(self, name, link),
            Request::RemoveInterface { interface } => layer::link::remove(self, interface),
            Request::Enslave { member, master } => layer::link::enslave(self, now, member, master),
            Request::Release { member } => layer::link::release(self, now, member),
            Request::SetLink { interface, change } => {
                layer::link::set(self, now, interface, change)
            }
            Request::ConfigureLink { interface, settings } => {
                layer::link::configure(self, now, interface, settings)
            }
            Request::AddAddress { interface, prefix } => self.add_address(now, interface, prefix),
            Request::RemoveAddress { interface, prefix } => self.remove_address(interface, prefix),
            Request::DescribeAddress { interface, address, facts } => {
                self.describe_address(interface, address, facts)
            }
            Request::SetMulticast { interface, mac, joined } => {
                self.set_multicast(interface, mac, joined)
            }
            Request::SetAddressSource { interface, source } => {
                layer::autoconf::set(self, now, interface, source)?;
                Ok(Reply::Done)
            }
            Request::AnnounceAddresses { interface } => {
                self.interfaces.get(interface).ok_or(Error::NoSuchInterface)?;
                layer::arp::conflict::announce_all(self, interface);
                Ok(Reply::Done)
            }
            Request::AddRoute { route, placement } => {
                let added = self.add_route(route, placement)?;
                layer::gateway::arm(self, now);
                Ok(added)
            }
            Request::RemoveRoute { filter } => {
                self.routes.remove(&filter)?;
                Ok(Reply::Done)
            }
            Request::AddRule { rule } => self.add_rule(rule),
            Request::RemoveRule { filter } => {
                self.routes.remove_rule(&filter)?;
                Ok(Reply::Done)
            }
            Request::SetRouting { interface, routing } => {
                self.interfaces.set_routing(interface, routing)?;
                self.routes.touch();
                Ok(Reply::Done)
            }
            Request::PinNeighbor { interface, address, mac } => {
                let (setting, mode) = (NeighborSetting::Permanent, NeighborMode::Replace);
                let change = NeighborChange { mac, setting, mode };
                self.change_neighbor(now, interface, address, change)
            }
            Request::SetNeighbor { interface, address, change } => {
                self.change_neighbor(now, interface, address, change)
            }
            Request::RemoveNeighbor { interface, address } => {
                layer::arp::change::remove(self, interface, address).map(|()| Reply::Done)
            }
            Request::SetProxied { interface, address, proxied } => {
                layer::arp::change::set_proxied(self, interface, address, proxied)?;
                Ok(Reply::Done)
            }
            Request::SetZone { interface, zone } => self.set_zone(now, interface, zone),
            Request::SetZones(settings) => self.set_zones(now, settings),
            Request::Admit { id, admission } => self.admit(now, id, admission),
            Request::SetArpPolicy { interface, policy } => {
                let found = self.interfaces.get_mut(interface).ok_or(Error::NoSuchInterface)?;
                found.arp = policy;
                Ok(Reply::Done)
            }
        }
    }

    fn change_neighbor(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        address: IpAddr,
        change: NeighborChange,
    ) -> Result<Reply, Error> {
        self.interfaces.get(interface).ok_or(Error::NoSuchInterface)?;
        layer::arp::change::set(self, now, interface, address, change)?;
        Ok(Reply::Done)
    }

    fn open(&mut self, principal: Principal, body: SocketBody) -> Result<Reply, Error> {
        let socket = Socket::new(principal, ANY, Arc::clone(&self.settings), body);
        let id = self.sockets.insert(socket, self.config.limits.sockets);
        id.map(Reply::Socket).ok_or(Error::LimitReached)
    }

    fn open_datagram(&mut self, principal: Principal, kind: SocketKind) -> Result<Reply, Error> {
        let bytes = self.config.limits.datagram_bytes;
        let body = SocketBody::Datagram(Box::new(DatagramSocket::new(kind, bytes)));
        let mut socket = Socket::new(principal, ANY, Arc::clone(&self.settings), body);
        // Half of what they are, as programs count them: see `set_option`.
        let settings = Arc::make_mut(&mut socket.settings);
        settings.send_limit = bytes / 2;
        settings.receive_limit = bytes / 2;
        let id = self.sockets.insert(socket, self.config.limits.sockets);
        id.map(Reply::Socket).ok_or(Error::LimitReached)
    }

    pub(crate) fn bind(&mut self, id: SocketId, local: SocketAddr) -> Result<Reply, Error> {
        let socket = self.sockets.get(id).ok_or(Error::NoSuchSocket)?;
        if socket.binding.is_some()
            || matches!(
                socket.body,
                SocketBody::Listener(_) | SocketBody::Connection(_) | SocketBody::Packet(_)
            )
        {
            return Err(Error::InvalidArgument);
        }
        if !local.is_ipv4() {
            return Err(Error::FamilyNotSupported);
        }
        if !self.may_bind(socket.principal, socket.kind(), local.ip()) {
            return Err(Error::AddressNotAvailable);
        }
        if socket.kind() == SocketKind::Raw {
            return layer::raw::bind(self, id, local.ip());
        }
        let mut binding = Binding {
            kind: socket.kind(),
            local,
            principal: socket.principal,
            reuse_address: socket.reuse_address,
            reuse_port: socket.reuse_port,
            role: Role::Bound,
        };
        if local.port() == 0 {
            let (zones, interfaces) = (&self.zones, &self.interfaces);
            let meet = |one: &Binding, other: &Binding| super::meet(zones, interfaces, one, other);
            let port = self.ports.choose(&mut self.random, binding, meet);
            binding.local.set_port(port.ok_or(Error::AddressInUse)?);
        } else if !self.port_is_free(&binding) {
            return Err(Error::AddressInUse);
        }
        let port_chosen = local.port() != 0;
        if binding.kind == SocketKind::Tcp {
            self.take_port(id, binding);
        } else {
            let binding = self.ports.take(binding);
            layer::udp::relocate(self, id, |socket| {
                socket.set_local(binding.local);
                socket.binding = Some(binding);
                socket.port_chosen = port_chosen;
            })?;
        }
        Ok(Reply::Done)
    }

    /// Any address, one of ours in the principal's zones; and for datagrams also a broadcast address
    /// there, or a group.
    fn may_bind(&self, who: Principal, kind: SocketKind, address: IpAddr) -> bool {
        let broadcast = |address| {
            let mut links = self.interfaces.iter();
            links.any(|(id, link)| link.is_broadcast(address) && self.admits(who, id))
        };
        address.is_unspecified()
            || self.interfaces.owner(address).is_some() && self.covers(who, address)
            || matches!(kind, SocketKind::Udp | SocketKind::Raw)
                && matches!(address, IpAddr::V4(to) if to.is_multicast() || broadcast(to))
    }

    fn port_is_free(&self, binding: &Binding) -> bool {
        let meet =
            |one: &Binding, other: &Binding| super::meet(&self.zones, &self.interfaces, one, other);
        self.ports.allows(binding, meet)
    }

    /// Gives the socket its port; the caller has asked if it may have it.
    fn take_port(&mut self, id: SocketId, binding: Binding) {
        let binding = self.ports.take(binding);
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.set_local(binding.local);
            socket.binding = Some(binding);
        }
    }

    fn connect(&mut self, now: Instant, id: SocketId, remote: SocketAddr) -> Result<Reply, Error> {
        let IpAddr::V4(mut destination) = remote.ip() else {
            return Err(Error::FamilyNotSupported);
        };
        // As on Linux, "any" is this host.
        if destination.is_unspecified() {
            destination = Ipv4Addr::LOCALHOST;
        }
        let remote = SocketAddr::new(destination.into(), remote.port());
        let socket = self.sockets.get(id).ok_or(Error::NoSuchSocket)?;
        match &socket.body {
            SocketBody::Closed => layer::tcp::connect(self, now, id, remote),
            SocketBody::Connection(connection) => Err(layer::tcp::reconnect_error(connection)),
            SocketBody::Listener(_) => Err(Error::AlreadyConnected),
            SocketBody::Datagram(datagram) if datagram.raw.is_some() => {
                layer::raw::connect(self, id, remote)
            }
            SocketBody::Datagram(_) => layer::udp::connect(self, id, remote),
            SocketBody::Packet(_) => Err(Error::InvalidState),
        }
    }

    fn connection(&mut self, id: SocketId) -> Result<&mut Connection, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        socket.connection().ok_or(Error::NotConnected)
    }

    fn disconnect(&mut self, now: Instant, id: SocketId) -> Result<Reply, Error> {
        match self.sockets.get(id).ok_or(Error::NoSuchSocket)?.kind() {
            SocketKind::Tcp => layer::tcp::disconnect(self, now, id),
            SocketKind::Raw => layer::raw::disconnect(self, id),
            _ => layer::udp::disconnect(self, id),
        }
    }

    fn reach(
        &mut self,
        now: Instant,
        id: SocketId,
        envelope: &Envelope,
        len: usize,
    ) -> Result<Reply, Error> {
        let longest = match self.sockets.get(id).ok_or(Error::NoSuchSocket)?.kind() {
            SocketKind::Udp => layer::udp::reach(self, now, id, envelope, len)?,
            SocketKind::Ping => layer::icmpv4::reach(self, id, envelope, len)?,
            SocketKind::Raw => layer::raw::reach(self, id, envelope, len)?,
            SocketKind::Packet => layer::packet::reach(self, id, envelope.interface, len)?,
            SocketKind::Tcp => return Err(Error::InvalidState),
        };
        Ok(Reply::Reachable { longest })
    }

    fn path_mtu(&self, id: SocketId) -> Result<Reply, Error> {
        let socket = self.sockets.get(id).ok_or(Error::NoSuchSocket)?;
        let remote = socket.remote().ok_or(Error::NotConnected)?;
        let bound = layer::udp::bound_address(self, id, &Envelope::default())?;
        let destination = ipv4_output::v4(remote.ip())?;
        let query = Query {
            source: bound,
            output: layer::udp::output_interface(&socket.ip, &Envelope::default(), destination),
            principal: socket.principal,
            mark: socket.ip.mark,
            ..Query::to(destination)
        };
        Ok(Reply::PathMtu(path_for(self, &query)?.mtu))
    }

    /// As on Linux, the pending error is then that of the next entry, or none.
    fn take_queued_error(&mut self, id: SocketId) -> Result<Reply, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        let datagram = socket.datagram().ok_or(Error::InvalidState)?;
        let Some(queued) = datagram.errors.pop() else { return Ok(Reply::QueuedError(None)) };
        socket.error = datagram.errors.next();
        if socket.error.is_some() {
            self.notify(id, Readiness::READABLE);
        }
        Ok(Reply::QueuedError(Some(Box::new(queued))))
    }

    fn bind_to_device(
        &mut self,
        id: SocketId,
        device: Option<InterfaceId>,
    ) -> Result<Reply, Error> {
        if let Some(device) = device {
            self.interfaces.get(device).ok_or(Error::NoSuchInterface)?;
            let socket = self.sockets.get(id).ok_or(Error::NoSuchSocket)?;
            if !self.admits(socket.principal, device) {
                return Err(Error::NoSuchInterface);
            }
        }
        layer::udp::relocate(self, id, |socket| socket.ip.device = device)
    }

    fn listen(&mut self, id: SocketId, backlog: u32) -> Result<Reply, Error> {
        // A queue for one more than asked, as on Linux.
        let backlog = (backlog as usize).min(self.config.limits.backlog) + 1;
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        match &mut socket.body {
            SocketBody::Listener(listener) => {
                listener.backlog = backlog;
                return Ok(Reply::Done);
            }
            SocketBody::Closed => {}
            _ => return Err(Error::InvalidState),
        }
        if socket.binding.is_none() {
            self.bind(id, ANY)?;
        }
        let socket = self.sockets.get(id).ok_or(Error::NoSuchSocket)?;
        let bound = socket.binding.clone().ok_or(Error::InvalidState)?;
        let binding = Binding {
            role: Role::Listener,
            reuse_address: socket.reuse_address,
            reuse_port: socket.reuse_port,
            ..*bound
        };
        self.ports.release(&bound);
        if !self.port_is_free(&binding) {
            self.ports.take(*bound);
            return Err(Error::AddressInUse);
        }
        self.take_port(id, binding);
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        let listener = Listener {
            backlog,
            accept_queue: VecDeque::new(),
            half_open: 0,
            cookie_sent_at: None,
            early: Default::default(),
        };
        socket.body = SocketBody::Listener(Box::new(listener));
        self.demux.insert_listener(binding.local, id);
        Ok(Reply::Done)
    }

    fn accept(&mut self, id: SocketId) -> Result<Reply, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        let listener = socket.listener().ok_or(Error::InvalidArgument)?;
        let accepted = listener.accept_queue.pop_front().ok_or(Error::WouldBlock)?;
        if !listener.accept_queue.is_empty() {
            self.notify(id, Readiness::ACCEPTABLE);
        }
        let socket = self.sockets.get_mut(accepted).ok_or(Error::ConnectionAborted)?;
        let (local, remote) = (socket.local(), socket.remote().ok_or(Error::ConnectionAborted)?);
        socket.unaccepted = false;
        let ready = socket.connection().map(|connection| layer::tcp::readiness(connection));
        self.notify(accepted, ready.unwrap_or_default());
        self.counters.tcp_connections_accepted += 1;
        Ok(Reply::Accepted { socket: accepted, local, remote })
    }

    fn set_option(
        &mut self,
        now: Instant,
        id: SocketId,
        option: SocketOption,
    ) -> Result<Reply, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
        let settings = Arc::make_mut(&mut socket.settings);
        match option {
            SocketOption::ReuseAddress(on) => socket.reuse_address = on,
            SocketOption::ReusePort(on) => socket.reuse_port = on,
            SocketOption::KeepAlive(on) => settings.keep_alive = on,
            SocketOption::KeepAliveIdle(idle) => settings.keep_alive_idle = idle,
            SocketOption::KeepAliveInterval(interval) => settings.keep_alive_interval = interval,
            SocketOption::KeepAliveCount(count) => settings.keep_alive_count = count,
            SocketOption::NoDelay(on) => settings.no_delay = on,
            SocketOption::Cork(on) => settings.cork = on,
            SocketOption::SendBuffer(bytes) => {
                settings.send_limit = bytes.clamp(*BUFFER_LIMITS.start(), *BUFFER_LIMITS.end());
                settings.send_tuned = false;
            }
            SocketOption::ReceiveBuffer(bytes) => {
                settings.receive_limit = bytes.clamp(*BUFFER_LIMITS.start(), *BUFFER_LIMITS.end());
                // As on Linux, with as much again for the bookkeeping.
                let limit = settings.receive_limit.saturating_mul(2);
                match &mut socket.body {
                    SocketBody::Datagram(datagram) => datagram.queue.set_limit(limit),
                    SocketBody::Packet(packet) => packet.queue.set_limit(limit),
                    _ => {}
                }
            }
            SocketOption::Linger(linger) => settings.linger = linger,
            SocketOption::MaxSegment(mss) => settings.max_segment = Some(mss),
            SocketOption::UserTimeout(timeout) => settings.user_timeout = timeout,
            SocketOption::Congestion(algorithm) => settings.congestion = algorithm,
            SocketOption::MaxPacingRate(rate) => settings.max_pacing_rate = rate,
            SocketOption::FastOpenConnect(on) => {
                if !self.config.fast_open.mode.contains(FastOpenMode::CLIENT) {
                    return Err(Error::NotSupported);
                }
                if !matches!(socket.body, SocketBody::Closed) {
                    return Err(Error::InvalidArgument);
                }
                settings.fast_open_connect = on;
            }
            SocketOption::FastOpenWithoutCookie(on) => settings.fast_open_without_cookie = on,
            SocketOption::FastOpenBacklog(backlog) => {
                if matches!(socket.body, SocketBody::Connection(_)) {
                    return Err(Error::InvalidArgument);
                }
                settings.fast_open_backlog = backlog;
            }
            SocketOption::SynRetries(count) => settings.syn_retries = count,
            SocketOption::FinWait2(time) => settings.fin_wait_2 = time,
            SocketOption::DeferAccept(count) => settings.defer_accept = count,
            SocketOption::UnsentLow(bytes) => settings.unsent_low = bytes,
            SocketOption::WindowClamp(bytes) => settings.window_clamp = bytes.max(MIN_CLAMP),
            SocketOption::QuickAcks(on) => {
                if let SocketBody::Connection(connection) = &mut socket.body {
                    connection.set_quick_acks(on);
                }
            }
            SocketOption::TimeToLive(0) => return Err(Error::InvalidArgument),
            SocketOption::TimeToLive(ttl) => socket.ip.ttl = ttl,
            SocketOption::TypeOfService(tos) => socket.ip.tos = tos,
            SocketOption::Mark(mark) => {
                socket.ip.mark = mark;
                // Its way may be another one.
                socket.path = None;
            }
            SocketOption::Broadcast(on) => socket.ip.broadcast = on,
            SocketOption::PathMtu(discovery) => socket.ip.path_mtu = discovery,
            SocketOption::ReceiveErrors(on) => {
                socket.ip.receive_errors = on;
                if let Some(datagram) = socket.datagram().filter(|_| !on) {
                    datagram.errors.clear();
                }
            }
            SocketOption::Device(device) => return self.bind_to_device(id, device),
            SocketOption::MulticastTtl(ttl) => socket.ip.multicast_ttl = ttl,
            SocketOption::MulticastLoop(on) => socket.ip.multicast_loop = on,
            SocketOption::MulticastAll(on) => socket.ip.multicast_all = on,
            SocketOption::MulticastInterface(interface) => {
                let who = socket.principal;
                let named = layer::igmp::named(self, who, interface)?;
                let socket = self.sockets.get_mut(id).ok_or(Error::NoSuchSocket)?;
                socket.ip.multicast_interface = named;
                return Ok(Reply::Done);
            }
            SocketOption::SegmentSize(size) => {
                socket.datagram().ok_or(Error::InvalidState)?.segment_size = size;
            }
            SocketOption::Coalesce(on) => {
                socket.datagram().ok_or(Error::InvalidState)?.coalesce = on;
            }
            SocketOption::NoChecksum(on) => {
                socket.datagram().ok_or(Error::InvalidState)?.no_checksum = on;
            }
        }
        if let SocketBody::Connection(connection) = &mut socket.body {
            connection.set(now, &socket.settings);
            if option == SocketOption::NoDelay(true) {
                connection.push(now);
            }
            layer::tcp::settle(self, now, id);
        }
        Ok(Reply::Done)
    }
}
