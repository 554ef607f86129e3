//! ARP (RFC 826): who has an address on the link.
//!
//! What to believe of others, and what to ask, is the neighbor table's decision; here packets are
//! read and made. Which questions are answered is in [`answer`], what happens when another station
//! claims an address of ours in [`conflict`], and what the operator may change in [`change`].

mod answer;
pub(crate) mod change;
pub(crate) mod conflict;

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{filter, gateway, icmpv4, ipv4_input::may_be_source, link, tcp, watch},
    table::{
        arp_policy::ArpAnnounce,
        egress::Frame,
        neighbor::{Claim, Due, Learned, Lookup, NeighborKey, PendingDatagram, Watched},
        timer::TimerKey,
        watch::{Stages, Step},
    },
    time::Duration,
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{
    address::{MacAddr, Prefix},
    arp::{self, Operation, Packet},
    ethernet::{self, EtherType},
    offload::RxOffload,
};

/// What is known of a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    Known(MacAddr),
    /// Asked; `layer::tcp::neighbor_settled` follows when it answers, or when it does not.
    Pending,
    /// Asked in vain a moment ago.
    Failed,
}

/// RFC 4861 §6.3.2, which Linux follows for ARP too: reachable for 30 s, spread by half so that
/// neighbors that were met together are not asked together.
const REACHABLE_MIN: Duration = Duration::from_secs(15);
const REACHABLE_SPREAD_MILLIS: u32 = 30_000;

/// A gateway heard of so lately is not asked if it is there.
const WATCH_PATIENCE: Duration = Duration::from_millis(900);

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &[u8],
) -> Result<(), DropReason> {
    filter::arp(shard, now, interface, packet)?;
    if shard.watchers.is_some() {
        watch::passed(shard, Stages::FILTER, interface, packet, RxOffload::default());
    }
    let packet = Packet::parse(packet).map_err(|_| DropReason::ArpMalformed)?;
    let station = shard.interfaces.get(interface).ok_or(DropReason::ArpNotForUs)?;
    let own_mac = station.settings.mac;
    if !packet.sender_mac.is_unicast() || packet.sender_mac == own_mac {
        return Err(DropReason::Martian);
    }
    conflict::input(shard, now, interface, &packet)?;
    if !is_probe(&packet) && !may_be_source(shard, interface, packet.sender_ip) {
        return Err(DropReason::Martian);
    }
    match packet.operation {
        Operation::Request => request_input(shard, now, interface, &packet),
        Operation::Reply => {
            let ours = shard.interfaces.owner(packet.target_ip.into()).is_some();
            let solicited = ours && packet.target_mac == own_mac;
            let claim = if solicited { Claim::Reply } else { Claim::Announcement };
            match learn(shard, now, interface, &packet, claim) {
                Learned::Resolved(_) | Learned::Noted => Ok(()),
                Learned::Contested(_) | Learned::Ignored => Err(DropReason::ArpUnsolicited),
            }
        }
    }
}

/// RFC 5227 §1.1: asks on behalf of nobody, before its sender takes the address.
fn is_probe(packet: &Packet) -> bool {
    packet.operation == Operation::Request && packet.sender_ip.is_unspecified()
}

fn request_input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &Packet,
) -> Result<(), DropReason> {
    let answered = answer::answers(shard, interface, packet);
    if !is_probe(packet) {
        let station = shard.interfaces.get(interface).ok_or(DropReason::ArpNotForUs)?;
        let announces = packet.sender_ip == packet.target_ip && station.arp.arp_accept;
        let claim = if answered || announces { Claim::RequestForUs } else { Claim::Announcement };
        learn(shard, now, interface, packet, claim);
    }
    if !answered {
        return Err(DropReason::ArpNotForUs);
    }
    let own_mac = shard.interfaces.get(interface).ok_or(DropReason::ArpNotForUs)?.settings.mac;
    let reply = Packet {
        operation: Operation::Reply,
        sender_mac: own_mac,
        sender_ip: packet.target_ip,
        target_mac: packet.sender_mac,
        target_ip: packet.sender_ip,
    };
    send(shard, interface, packet.sender_mac, &reply)
}

/// The next hop's link address, for a packet from `source`; begins to ask for it if it isn't known.
pub(crate) fn resolve(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    next_hop: Ipv4Addr,
    source: Ipv4Addr,
) -> Resolution {
    match look_up(shard, now, interface, next_hop, Some(source)) {
        Lookup::Known(mac) => Resolution::Known(mac),
        Lookup::Ask | Lookup::Pending => Resolution::Pending,
        Lookup::Failed | Lookup::Full => Resolution::Failed,
    }
}

/// Looks after a gateway that may not be in use: asks it if it was not heard of for a while.
pub(crate) fn watch(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    gateway: Ipv4Addr,
) -> Watched {
    let address = IpAddr::V4(gateway);
    let limit = shard.config.limits.neighbors;
    let watched = shard.neighbors.watch(now, limit, (interface, address), WATCH_PATIENCE);
    match watched {
        Watched::Probe(mac) => ask(shard, now, interface, address, Some(mac), None),
        Watched::Ask => ask(shard, now, interface, address, None, None),
        Watched::Alive | Watched::Dead => return watched,
    }
    arm(shard);
    watched
}

/// The layer above knows that what is sent to this next hop arrives.
pub(crate) fn confirm(shard: &mut Shard, now: Instant, interface: InterfaceId, next_hop: Ipv4Addr) {
    let reachable = reachable_time(shard);
    shard.neighbors.confirm(now, (interface, next_hop.into()), reachable);
    arm(shard);
}

/// Sends a datagram's frames, whole but for the destination's link address, to the next hop: at
/// once, or when it answers.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    next_hop: Ipv4Addr,
    frames: PendingDatagram,
) -> Result<(), DropReason> {
    if next_hop.is_multicast() {
        return transmit(shard, interface, MacAddr::of_group(next_hop), frames);
    }
    let source = frames.first().and_then(|frame| source_of(&frame.bytes));
    match look_up(shard, now, interface, next_hop, source) {
        Lookup::Known(mac) => transmit(shard, interface, mac, frames),
        Lookup::Ask | Lookup::Pending => {
            watch::note(shard, |_| Step::Unresolved { interface, next_hop });
            let limit = shard.config.limits.neighbor_pending;
            let dropped = shard.neighbors.hold((interface, next_hop.into()), limit, frames)?;
            for _ in 0..dropped {
                shard.drop(DropReason::NeighborUnresolved);
            }
            Ok(())
        }
        Lookup::Failed => Err(DropReason::NeighborUnresolved),
        Lookup::Full => Err(DropReason::NeighborTableFull),
    }
}

/// The source address of a frame of ours.
fn source_of(frame: &[u8]) -> Option<Ipv4Addr> {
    let (_, packet) = ethernet::Header::parse(frame).ok()?;
    let bytes = packet.get(12..16)?;
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

/// Retries, ages and gives up what is due; arms the timer again.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    let limit = shard.config.limits.neighbors;
    while let Some(due) = shard.neighbors.expire(now, limit) {
        match due {
            Due::Ask((interface, address)) => {
                let waiting = shard.neighbors.first_pending((interface, address));
                let source = waiting.and_then(source_of);
                ask(shard, now, interface, address, None, source);
            }
            Due::Probe((interface, address), mac) => {
                ask(shard, now, interface, address, Some(mac), None);
            }
            Due::Failed((interface, address), waiting) => {
                for datagram in waiting {
                    shard.drop(DropReason::NeighborUnresolved);
                    icmpv4::undeliverable(shard, now, interface, &datagram);
                }
                settle_connections(shard, (interface, address));
            }
            Due::Aged => {}
        }
    }
    arm(shard);
}

fn look_up(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    next_hop: Ipv4Addr,
    source: Option<Ipv4Addr>,
) -> Lookup {
    let address = IpAddr::V4(next_hop);
    let limit = shard.config.limits.neighbors;
    let payer = shard.counters.place.user;
    let lookup = shard.neighbors.lookup(now, limit, (interface, address), payer);
    match lookup {
        Lookup::Ask => ask(shard, now, interface, address, None, source),
        Lookup::Known(_) => {}
        Lookup::Pending | Lookup::Failed | Lookup::Full => return lookup,
    }
    arm(shard);
    lookup
}

/// Notes what a packet says of its sender. What waited for it is sent.
fn learn(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &Packet,
    claim: Claim,
) -> Learned {
    // Only hosts of the link are next hops.
    let on_link = |station: &crate::table::interface::Interface| station.on_link(packet.sender_ip);
    let claim = match claim {
        Claim::RequestForUs if !shard.interfaces.get(interface).is_some_and(on_link) => {
            Claim::Announcement
        }
        claim => claim,
    };
    let key = (interface, IpAddr::V4(packet.sender_ip));
    let limit = shard.config.limits.neighbors;
    let reachable = reachable_time(shard);
    let learned = shard.neighbors.learn(now, limit, key, packet.sender_mac, claim, reachable);
    let outcome = match learned {
        Learned::Resolved(waiting) => {
            resolved(shard, key, packet.sender_mac, waiting);
            Learned::Resolved(Default::default())
        }
        Learned::Contested(holder) => {
            ask(shard, now, interface, key.1, Some(holder), None);
            Learned::Contested(holder)
        }
        Learned::Noted => Learned::Noted,
        Learned::Ignored => return Learned::Ignored,
    };
    if claim == Claim::Reply {
        gateway::answered(shard, interface, packet.sender_ip);
    }
    arm(shard);
    outcome
}

/// A next hop answered: sends what waited for that, and tells connections.
fn resolved(
    shard: &mut Shard,
    (interface, address): NeighborKey,
    mac: MacAddr,
    waiting: impl IntoIterator<Item = PendingDatagram>,
) {
    for datagram in waiting {
        if let Err(reason) = transmit(shard, interface, mac, datagram) {
            shard.drop(reason);
        }
    }
    settle_connections(shard, (interface, address));
}

/// Connections that wait for a next hop look again.
fn settle_connections(shard: &mut Shard, (interface, address): NeighborKey) {
    if let IpAddr::V4(next_hop) = address {
        tcp::neighbor_settled(shard, interface, next_hop);
    }
}

fn reachable_time(shard: &mut Shard) -> Duration {
    let spread = shard.random.below(REACHABLE_SPREAD_MILLIS);
    REACHABLE_MIN + Duration::from_millis(spread.into())
}

/// Asks everybody who has `address`, or its last known holder alone. `source`: of the packet that
/// waits for the answer.
fn ask(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    address: IpAddr,
    holder: Option<MacAddr>,
    source: Option<Ipv4Addr>,
) {
    let IpAddr::V4(target_ip) = address else { return };
    let Some(station) = shard.interfaces.get(interface) else { return };
    let own_mac = station.settings.mac;
    // Without an address of our own nobody could answer us.
    let Some(sender_ip) = sender_address(shard, interface, target_ip, source) else { return };
    if holder.is_none() && !shard.neighbors.may_ask(now) {
        return; // the next try is a second away
    }
    let request = Packet {
        operation: Operation::Request,
        sender_mac: own_mac,
        sender_ip,
        target_mac: MacAddr::ZERO,
        target_ip,
    };
    let destination = holder.unwrap_or(MacAddr::BROADCAST);
    if let Err(reason) = send(shard, interface, destination, &request) {
        shard.drop(reason);
    }
}

/// The address that a question is put in the name of, as `arp_announce` says.
fn sender_address(
    shard: &Shard,
    interface: InterfaceId,
    target: Ipv4Addr,
    source: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let station = shard.interfaces.get(interface)?;
    let ours = source.filter(|source| {
        let owner = shard.interfaces.owner((*source).into());
        owner.is_some_and(|owner| shard.interfaces.zone(owner) == station.zone)
    });
    let shares_subnet = |source: &Ipv4Addr| {
        let both = |own: &Prefix| own.contains((*source).into()) && own.contains(target.into());
        station.addresses.iter().any(both)
    };
    let given = match station.arp.arp_announce {
        ArpAnnounce::Any => ours,
        ArpAnnounce::SameSubnet => ours.filter(shares_subnet),
        ArpAnnounce::Best => None,
    };
    given.or_else(|| shard.interfaces.source_for(interface, target))
}

fn send(
    shard: &mut Shard,
    interface: InterfaceId,
    destination: MacAddr,
    packet: &Packet,
) -> Result<(), DropReason> {
    let header =
        ethernet::Header { destination, source: packet.sender_mac, ether_type: EtherType::ARP };
    let mut link = [0; ethernet::HEADER_LEN];
    header.emit(&mut link);
    let mut body = [0; arp::LEN];
    packet.emit(&mut body);
    let bytes = [&link[..], &body[..]].concat();
    link::output(shard, interface, Frame::plain(bytes))
}

/// Puts the destination's address on a datagram's frames and queues them. A fragment that finds no
/// room takes the rest with it: without it they are of no use.
pub(crate) fn transmit(
    shard: &mut Shard,
    interface: InterfaceId,
    destination: MacAddr,
    frames: PendingDatagram,
) -> Result<(), DropReason> {
    frames.into_iter().try_for_each(|mut frame| {
        if let Some(field) = frame.bytes.first_chunk_mut() {
            *field = destination.0;
        }
        link::output(shard, interface, frame)
    })
}

fn arm(shard: &mut Shard) {
    match shard.neighbors.next_timeout() {
        Some(at) => shard.timers.arm(TimerKey::Neighbors, at),
        None => shard.timers.cancel(TimerKey::Neighbors),
    }
}

#[cfg(test)]
mod tests;
