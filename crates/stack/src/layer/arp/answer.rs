//! Which questions are answered: those for our addresses, as `arp_ignore` and `arp_filter` say, and
//! those for hosts that we stand in for.

use super::is_probe;
use crate::{
    InterfaceId, Shard, layer::route::path_from, table::arp_policy::ArpIgnore,
    table::interface::Interface,
};
use core::net::Ipv4Addr;
use narrows_wire::arp::Packet;

/// Is the question, which came in by `interface`, one that we answer?
pub(super) fn answers(shard: &Shard, interface: InterfaceId, packet: &Packet) -> bool {
    let Some(station) = shard.interfaces.get(interface) else { return false };
    match shard.interfaces.owner(packet.target_ip.into()) {
        // 127.0.0.0/8 is on no link.
        Some(InterfaceId::LOOPBACK) => false,
        Some(owner) => {
            let own = owner == interface;
            shard.interfaces.zone(owner) == station.zone
                && !is_ignored(station, own, packet)
                && (is_probe(packet)
                    || !station.arp.arp_filter
                    || leads_back(shard, interface, packet.sender_ip))
        }
        // Who probes for an address would take it for that of another station.
        None => !is_probe(packet) && stands_in(shard, interface, station, packet.target_ip),
    }
}

fn is_ignored(station: &Interface, own: bool, packet: &Packet) -> bool {
    match station.arp.arp_ignore {
        ArpIgnore::AnyInterface => false,
        ArpIgnore::OtherInterfaces => !own,
        ArpIgnore::OtherSubnets => {
            let held = |prefix: &&narrows_wire::address::Prefix| {
                prefix.address() == core::net::IpAddr::V4(packet.target_ip)
            };
            let prefix = station.addresses.iter().find(held);
            !prefix.is_some_and(|prefix| prefix.contains(packet.sender_ip.into()))
        }
        ArpIgnore::All => true,
    }
}

/// Would a packet to `host` leave by `interface`?
fn leads_back(shard: &Shard, interface: InterfaceId, host: Ipv4Addr) -> bool {
    path_from(shard, interface, host).is_ok_and(|path| path.interface == interface)
}

/// Proxy ARP (RFC 1027): for a host that is reached by another interface, where packets that come in
/// by this one are forwarded.
fn stands_in(shard: &Shard, interface: InterfaceId, station: &Interface, target: Ipv4Addr) -> bool {
    let asked = station.arp.proxy_arp || station.proxied.contains(&target);
    asked
        && station.settings.routing.forward
        && path_from(shard, interface, target).is_ok_and(|path| {
            path.interface != interface && path.interface != InterfaceId::LOOPBACK
        })
}
