//! Addresses that interfaces find themselves: the messages of the DHCP client, and link-local
//! addresses (RFC 3927), which are probed for whatever the interface's conflict detection says.
//!
//! A DHCP client has to hear servers before its interface has an address, so their answers are taken
//! out of the way of other packets before it is asked whom those are for.

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    dhcp::{Action, Client, Lease, Remembered},
    event::Notice,
    layer::{arp::conflict, ipv4_output, link},
    request::Error,
    table::{
        autoconf::{AddressSource, LinkLocal},
        egress::Frame,
        route::{Placement, Route, RouteFilter, TableId},
        timer::TimerKey,
    },
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{
    address::{MacAddr, Prefix},
    checksum::Sum,
    dhcp::{self, CLIENT_PORT, REQUEST_LEN, Reply, ReplyKind, Request, SERVER_PORT},
    ethernet::{self, EtherType},
    ipv4::{self, Packet, Protocol},
    offload::{RxChecksum, RxOffload},
    udp,
};

/// RFC 3927 §2.1.
const LINK_LOCAL_PREFIX: u8 = 16;

/// From now on an interface finds its address this way; what it had by another is given up.
pub(crate) fn set(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    source: AddressSource,
) -> Result<(), Error> {
    let mac = shard.interfaces.get(interface).ok_or(Error::NoSuchInterface)?.settings.mac;
    if interface == InterfaceId::LOOPBACK {
        return Err(Error::InvalidArgument);
    }
    if let Some(lease) = release(shard, now, interface) {
        deconfigure(shard, interface, &lease);
    }
    shard.autoconf.remove(interface);
    match source {
        AddressSource::Static => {}
        AddressSource::Dhcp => {
            let remembered = shard.autoconf.remembered.get(&mac).copied();
            let client = Client::new(now, &mut shard.random, mac, remembered);
            shard.autoconf.clients.insert(interface, client);
        }
        AddressSource::LinkLocal => shard.autoconf.start_link_local(now, interface),
    }
    handle_timeout(shard, now);
    Ok(())
}

/// Every lease is given back to its server, for a host that ends.
pub(crate) fn release_all(shard: &mut Shard, now: Instant) {
    let interfaces: Vec<_> = shard.autoconf.clients.keys().copied().collect();
    for interface in interfaces {
        release(shard, now, interface);
        shard.autoconf.remove(interface);
    }
}

/// Tells the server, while the address is there to tell it from, that it can have that again.
fn release(shard: &mut Shard, now: Instant, interface: InterfaceId) -> Option<Lease> {
    let client = shard.autoconf.clients.get_mut(&interface)?;
    let (mac, lease) = (client.mac(), *client.lease()?);
    if let Some(held) = client.remembered() {
        shard.autoconf.remember(mac, Remembered { until: now, ..held });
    }
    let client = shard.autoconf.clients.get_mut(&interface)?;
    if let Some(Action::Unicast(request, server)) = client.release(now, &mut shard.random) {
        unicast(shard, now, &request, server);
    }
    let Lease { prefix, server, .. } = lease;
    shard.tell(Notice::LeaseReleased { interface, prefix, server });
    Some(lease)
}

/// Is the packet a DHCP server's answer to a client of ours? Then it ends here.
pub(crate) fn is_for_client(shard: &Shard, interface: InterfaceId, packet: &Packet<'_>) -> bool {
    !shard.autoconf.clients.is_empty()
        && packet.header.protocol == Protocol::UDP
        && !packet.header.is_fragment()
        && shard.autoconf.clients.contains_key(&interface)
        && udp::Header::parse(packet.payload)
            .is_ok_and(|(header, _)| header.destination_port == CLIENT_PORT)
}

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &Packet<'_>,
    offload: RxOffload,
) -> Result<(), DropReason> {
    let parsed = udp::Header::parse(packet.payload);
    let (header, message) = parsed.map_err(|_| DropReason::DhcpMalformed)?;
    if header.checksum != 0 && offload.checksum == RxChecksum::Unverified {
        let len = udp::HEADER_LEN + message.len();
        let datagram = packet.payload.get(..len).ok_or(DropReason::DhcpMalformed)?;
        let sum = udp_sum(packet.header.source, packet.header.destination, datagram);
        if sum.is_none_or(|sum| sum.finish() != 0) {
            return Err(DropReason::UdpChecksum);
        }
    }
    let reply = Reply::parse(message).map_err(|_| DropReason::DhcpMalformed)?;
    let client = shard.autoconf.clients.get_mut(&interface).ok_or(DropReason::DhcpUnmatched)?;
    let before = client.lease().copied();
    let action = client.receive(now, &mut shard.random, &reply);
    let action = action.ok_or(DropReason::DhcpUnmatched)?;
    if reply.kind == ReplyKind::Nak {
        shard.autoconf.remembered.remove(&reply.mac);
    }
    act(shard, now, interface, before, action);
    handle_timeout(shard, now);
    Ok(())
}

/// Asks servers, ends leases, tries addresses; arms the timer again.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    let interfaces: Vec<_> = shard.autoconf.clients.keys().copied().collect();
    for interface in interfaces {
        while let Some(client) = shard.autoconf.clients.get_mut(&interface) {
            let before = client.lease().copied();
            let Some(action) = client.handle_timeout(now, &mut shard.random) else { break };
            act(shard, now, interface, before, action);
        }
    }
    let mut due = Vec::new();
    for (interface, search) in &mut shard.autoconf.link_local {
        if search.take_due(now) {
            due.push(*interface);
        }
    }
    for interface in due {
        try_link_local(shard, now, interface);
    }
    match shard.autoconf.next_timeout() {
        Some(at) => shard.timers.arm(TimerKey::Autoconf, at),
        None => shard.timers.cancel(TimerKey::Autoconf),
    }
}

/// Another station has an address of the interface's: if it was found, another is looked for.
pub(crate) fn lost(shard: &mut Shard, now: Instant, interface: InterfaceId, address: Ipv4Addr) {
    let is_it = |lease: &&Lease| lease.prefix.address() == IpAddr::V4(address);
    if let Some(client) = shard.autoconf.clients.get_mut(&interface)
        && let Some(lease) = client.lease().filter(is_it).copied()
    {
        let decline = client.decline(now, &mut shard.random);
        shard.autoconf.remembered.remove(&client.mac());
        deconfigure(shard, interface, &lease);
        if let Some(Action::Broadcast(request)) = decline {
            broadcast(shard, interface, &request);
        }
    } else if let Some(search) = shard.autoconf.link_local.get_mut(&interface)
        && address.is_link_local()
    {
        search.conflict(now);
        shard.claims.remove((interface, address));
    } else {
        return;
    }
    handle_timeout(shard, now);
}

/// An address that was probed for is the interface's now: so its gateway can be reached.
pub(crate) fn won(shard: &mut Shard, interface: InterfaceId) {
    let lease = shard.autoconf.clients.get(&interface).and_then(|client| client.lease().copied());
    if let Some(lease) = lease {
        add_route(shard, interface, &lease);
    }
}

fn try_link_local(shard: &mut Shard, now: Instant, interface: InterfaceId) {
    let address = LinkLocal::pick(&mut shard.random);
    let prefix = Prefix::new(address.into(), LINK_LOCAL_PREFIX);
    let Some(prefix) = prefix.filter(|own| shard.interfaces.check_address(interface, *own).is_ok())
    else {
        return;
    };
    shard.claims.probe(now, &mut shard.random, (interface, address), prefix);
    conflict::arm(shard);
}

/// `before`: the lease that was held until then.
fn act(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    before: Option<Lease>,
    action: Action,
) {
    match action {
        Action::Broadcast(request) => broadcast(shard, interface, &request),
        Action::Unicast(request, server) => unicast(shard, now, &request, server),
        Action::Configure(lease) => {
            remember(shard, interface);
            let same = |held: &Lease| (held.prefix, held.router) == (lease.prefix, lease.router);
            if before.as_ref().is_some_and(same) {
                let lasts = lease.expires.since(now);
                shard.tell(Notice::LeaseRenewed { interface, prefix: lease.prefix, lasts });
                return;
            }
            if let Some(before) = before {
                deconfigure(shard, interface, &before);
            }
            configure(shard, now, interface, &lease);
        }
        Action::Deconfigure => {
            if let Some(before) = before {
                deconfigure(shard, interface, &before);
                shard.tell(Notice::LeaseEnded { interface, prefix: before.prefix });
            }
        }
    }
}

fn remember(shard: &mut Shard, interface: InterfaceId) {
    let client = shard.autoconf.clients.get(&interface);
    if let Some((mac, held)) = client.and_then(|client| Some((client.mac(), client.remembered()?)))
    {
        shard.autoconf.remember(mac, held);
    }
}

fn configure(shard: &mut Shard, now: Instant, interface: InterfaceId, lease: &Lease) {
    let Lease { prefix, router, name_servers, server, expires } = *lease;
    let lasts = expires.since(now);
    match shard.add_address(now, interface, prefix) {
        Ok(_) => {
            add_route(shard, interface, lease);
            shard.tell(Notice::Leased { interface, prefix, router, name_servers, server, lasts });
        }
        Err(error) => shard.tell(Notice::LeaseUnusable { interface, prefix, error }),
    }
}

/// The default route, if the gateway can be reached (yet), and there is no other default route.
fn add_route(shard: &mut Shard, interface: InterfaceId, lease: &Lease) {
    if let Some(route) = default_route(interface, lease) {
        let _ = shard.add_route(route, Placement::Alone);
    }
}

fn default_route(interface: InterfaceId, lease: &Lease) -> Option<Route> {
    let any = Prefix::new(Ipv4Addr::UNSPECIFIED.into(), 0)?;
    Some(Route::unicast(any, interface, Some(lease.router?)))
}

fn deconfigure(shard: &mut Shard, interface: InterfaceId, lease: &Lease) {
    if let Some(route) = default_route(interface, lease) {
        let hops = vec![(Some(interface), lease.router)];
        let filter = RouteFilter { hops, ..RouteFilter::to(route.to, TableId::MAIN) };
        // It is not there if another default route was before it.
        let _ = shard.routes.remove(&filter);
    }
    // It may have been taken away by the operator.
    let _ = shard.remove_address(interface, lease.prefix);
}

fn broadcast(shard: &mut Shard, interface: InterfaceId, request: &Request) {
    let Some(station) = shard.interfaces.get(interface) else { return };
    let mut link = [0; ethernet::HEADER_LEN];
    let source = station.settings.mac;
    let destination = MacAddr::BROADCAST;
    ethernet::Header { destination, source, ether_type: EtherType::IPV4 }.emit(&mut link);
    let (source, destination) = (request.client, Ipv4Addr::BROADCAST);
    let Some(datagram) = datagram(source, destination, request) else { return };
    let header = ipv4::Header {
        tos: 0,
        identification: 0,
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        ttl: ipv4_output::DEFAULT_TTL,
        protocol: Protocol::UDP,
        source,
        destination,
    };
    let mut packet = [0; ipv4::HEADER_LEN];
    if header.emit(datagram.len(), &mut packet).is_none() {
        return;
    }
    let frame = Frame::plain([&link[..], &packet, &datagram].concat());
    if let Err(reason) = link::output(shard, interface, frame) {
        shard.drop(reason);
    }
}

fn unicast(shard: &mut Shard, now: Instant, request: &Request, server: Ipv4Addr) {
    let Some(payload) = datagram(request.client, server, request) else { return };
    let datagram = ipv4_output::Datagram {
        payload: &payload,
        ..ipv4_output::Datagram::plain(request.client, server, Protocol::UDP)
    };
    if let Err(reason) = ipv4_output::output(shard, now, &datagram) {
        shard.drop(reason);
    }
}

/// The message with its UDP header.
fn datagram(source: Ipv4Addr, destination: Ipv4Addr, request: &Request) -> Option<Vec<u8>> {
    let mut message = [0; REQUEST_LEN];
    request.emit(&mut message);
    let emit = |checksum| {
        let mut bytes = [0; udp::HEADER_LEN];
        let ports = (CLIENT_PORT, SERVER_PORT);
        udp::Header { source_port: ports.0, destination_port: ports.1, checksum }
            .emit(dhcp::REQUEST_LEN as u16, &mut bytes);
        bytes
    };
    let unsummed = [&emit(0)[..], &message].concat();
    let checksum = match udp_sum(source, destination, &unsummed)?.finish() {
        0 => u16::MAX,
        checksum => checksum,
    };
    Some([&emit(checksum)[..], &message].concat())
}

fn udp_sum(source: Ipv4Addr, destination: Ipv4Addr, datagram: &[u8]) -> Option<Sum> {
    let len = u16::try_from(datagram.len()).ok()?;
    let pseudo_header = Sum::pseudo_header(source, destination, Protocol::UDP.0, len);
    Some(pseudo_header.add(Sum::of(datagram)))
}

#[cfg(test)]
mod tests;
