//! Interfaces made, changed and removed at run time, and links that come and go.

use super::bond;
use crate::{
    Instant, InterfaceId, Shard,
    layer::tcp,
    request::{Error, LinkChange, LinkSettings, NewLink, PortChange, Reply},
    table::{
        bond::{Bond, Change},
        bridge::Bridge,
        interface::{InterfaceSettings, MIN_MTU},
        link::LinkKind,
        route::RoutingSettings,
        timer::TimerKey,
    },
};
use narrows_wire::{
    address::MacAddr,
    offload::Capabilities,
    vlan::{TAG_LEN, TagProtocol},
};

/// What an interface on others has before it has any: Ethernet's.
const DEFAULT_MTU: u16 = 1500;

/// A new interface that stands upon others, without members.
pub(crate) fn add(shard: &mut Shard, name: String, new: NewLink) -> Result<Reply, Error> {
    let (mac, mtu) = match &new {
        NewLink::Vlan { lower, .. } => {
            let below = shard.interfaces.get(*lower).ok_or(Error::NoSuchInterface)?;
            (below.settings.mac, below.settings.mtu)
        }
        NewLink::Bond(_) | NewLink::Bridge(_) => (random_mac(shard), DEFAULT_MTU),
        NewLink::Private { mac } => (*mac, DEFAULT_MTU),
    };
    let settings = InterfaceSettings {
        name,
        mac,
        mtu,
        capabilities: Capabilities::default(),
        routing: RoutingSettings::default(),
    };
    let id = shard.interfaces.add(settings)?;
    // Until it is given another one.
    if let NewLink::Vlan { lower, .. } = &new {
        let zone = shard.interfaces.zone(*lower);
        shard.put_in_zone(id, zone);
    }
    let kind = match new {
        NewLink::Vlan { lower, tag } => LinkKind::Vlan { lower, tag },
        NewLink::Bond(settings) => LinkKind::Bond(Box::new(Bond::new(settings))),
        NewLink::Bridge(settings) => LinkKind::Bridge(Box::new(Bridge::new(settings))),
        NewLink::Private { .. } => LinkKind::Private,
    };
    if let Err(error) = shard.links.add(id, kind) {
        shard.interfaces.remove(id);
        return Err(error);
    }
    refresh(shard, id);
    Ok(Reply::Interface(id))
}

/// Takes an interface out, with its addresses, routes and neighbors, unless others stand upon it.
pub(crate) fn remove(shard: &mut Shard, id: InterfaceId) -> Result<Reply, Error> {
    if id == InterfaceId::LOOPBACK {
        return Err(Error::InvalidArgument);
    }
    shard.links.remove(id)?;
    let addresses =
        shard.interfaces.get(id).map(|station| station.addresses.clone()).unwrap_or_default();
    for prefix in addresses {
        shard.remove_address(id, prefix)?;
    }
    shard.routes.remove_interface(id);
    shard.neighbors.remove_interface(id);
    shard.autoconf.remove(id);
    shard.claims.remove_interface(id);
    shard.memberships.remove_interface(id);
    shard.group_reports.remove_interface(id);
    shard.interfaces.remove(id);
    shard.interfaces.touch();
    let (_, connections) = shard.egress.take(id);
    for connection in connections.into_iter().chain(shard.egress.unpark_all(id)) {
        tcp::reschedule(shard, connection);
    }
    Ok(Reply::Done)
}

/// Makes an interface part of a bond or bridge.
pub(crate) fn enslave(
    shard: &mut Shard,
    now: Instant,
    member: InterfaceId,
    master: InterfaceId,
) -> Result<Reply, Error> {
    shard.links.may_enslave(member, master)?;
    if shard.interfaces.zone(member) != shard.interfaces.zone(master) {
        return Err(Error::OtherZone);
    }
    let station = shard.interfaces.get(member).ok_or(Error::NoSuchInterface)?;
    let (mac, mtu) = (station.settings.mac, station.settings.mtu);
    let running = shard.links.is_running(member);
    let is_device = shard.links.get(member).is_some_and(|link| link.is_device());
    let own = shard.links.get(master).ok_or(Error::NoSuchInterface)?.own;
    if own.mtu.is_some_and(|wanted| wanted > mtu) {
        return Err(Error::InvalidArgument);
    }
    let first = shard.links.members(master).next().is_none();
    if first && own.mac.is_none() {
        set_mac(shard, master, mac);
    }
    let system = shard.interfaces.get(master).map_or(mac, |station| station.settings.mac);
    let change = match shard.links.get_mut(master).map(|link| &mut link.kind) {
        Some(LinkKind::Bond(bond)) if !bond.has_room() => return Err(Error::LimitReached),
        // A bond gives its frames to devices: what stands upon others has no wire of its own to fail.
        Some(LinkKind::Bond(_)) if !is_device => return Err(Error::InvalidArgument),
        Some(LinkKind::Bond(bond)) => bond.add(now, member, system, running),
        Some(LinkKind::Bridge(bridge)) if !bridge.has_room() => return Err(Error::LimitReached),
        Some(LinkKind::Bridge(bridge)) => {
            bridge.add(member);
            Change::default()
        }
        _ => return Err(Error::InvalidArgument),
    };
    if let Some(link) = shard.links.get_mut(member) {
        link.master = Some(master);
    }
    bond::act(shard, now, master, change);
    refresh(shard, master);
    shard.interfaces.touch();
    Ok(Reply::Done)
}

/// Takes an interface out of its bond or bridge.
pub(crate) fn release(
    shard: &mut Shard,
    now: Instant,
    member: InterfaceId,
) -> Result<Reply, Error> {
    let link = shard.links.get_mut(member).ok_or(Error::NoSuchInterface)?;
    let master = link.master.take().ok_or(Error::InvalidArgument)?;
    let change = match shard.links.get_mut(master).map(|link| &mut link.kind) {
        Some(LinkKind::Bond(bond)) => bond.remove(now, member),
        Some(LinkKind::Bridge(bridge)) => {
            bridge.remove(member);
            Change::default()
        }
        _ => Change::default(),
    };
    bond::act(shard, now, master, change);
    bond::abandon(shard, member, Some(master));
    refresh(shard, master);
    shard.interfaces.touch();
    Ok(Reply::Done)
}

/// What the operator sets on one interface, or its device says of the wire.
pub(crate) fn set(
    shard: &mut Shard,
    now: Instant,
    id: InterfaceId,
    change: LinkChange,
) -> Result<Reply, Error> {
    let link = shard.links.get(id).ok_or(Error::NoSuchInterface)?;
    let station = shard.interfaces.get(id).ok_or(Error::NoSuchInterface)?;
    match change {
        LinkChange::Mtu(mtu) => {
            let most = most_mtu(shard, id);
            let needed = shard.links.above(id).filter_map(|above| needed_mtu(shard, above)).max();
            if mtu < MIN_MTU
                || most.is_some_and(|most| mtu > most)
                || needed.is_some_and(|needed| mtu < needed)
                || id == InterfaceId::LOOPBACK
            {
                return Err(Error::InvalidArgument);
            }
            if let Some(link) = shard.links.get_mut(id) {
                link.own.mtu = Some(mtu);
            }
            refresh(shard, id);
        }
        LinkChange::Mac(mac) => {
            let derived = matches!(link.kind, LinkKind::Vlan { .. });
            if !mac.is_unicast() || derived || station.settings.mac == MacAddr::ZERO {
                return Err(Error::InvalidArgument);
            }
            if let Some(link) = shard.links.get_mut(id) {
                link.own.mac = Some(mac);
            }
            set_mac(shard, id, mac);
        }
        LinkChange::Up(up) => {
            if id == InterfaceId::LOOPBACK {
                return Err(Error::InvalidArgument);
            }
            if let Some(link) = shard.links.get_mut(id) {
                link.up = up;
            }
            running_changed(shard, now, id);
        }
        LinkChange::Carrier(carrier) => {
            if let Some(link) = shard.links.get_mut(id) {
                link.carrier = carrier;
            }
            running_changed(shard, now, id);
        }
        LinkChange::Promiscuous(on) => {
            if let Some(link) = shard.links.get_mut(id) {
                link.promiscuous = on;
            }
        }
        LinkChange::Group(group) => {
            if let Some(link) = shard.links.get_mut(id) {
                link.group = group;
                shard.routes.set_group(id, group);
            }
        }
    }
    shard.interfaces.touch();
    Ok(Reply::Done)
}

/// Other settings for a bond, a bridge, or one of a bridge's ports.
pub(crate) fn configure(
    shard: &mut Shard,
    now: Instant,
    id: InterfaceId,
    settings: LinkSettings,
) -> Result<Reply, Error> {
    let link = shard.links.get_mut(id).ok_or(Error::NoSuchInterface)?;
    match (&mut link.kind, settings) {
        (LinkKind::Bond(bond), LinkSettings::Bond(settings)) => {
            let change = bond.set(now, settings);
            bond::act(shard, now, id, change);
        }
        (LinkKind::Bridge(bridge), LinkSettings::Bridge(settings)) => bridge.set(settings),
        (LinkKind::Bridge(bridge), LinkSettings::Port { port, change }) => {
            let done = match change {
                PortChange::Bind(bound) => bridge.bind(port, bound),
                PortChange::Pin(mac) => bridge.pin(mac, port),
                PortChange::Forget(mac) => bridge.forget(mac, port),
            };
            return if done { Ok(Reply::Done) } else { Err(Error::InvalidArgument) };
        }
        _ => return Err(Error::InvalidArgument),
    }
    Ok(Reply::Done)
}

/// Does what is due of bonds and bridges; arms the timer again.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    let ids: Vec<_> = shard.links.iter().map(|(id, _)| id).collect();
    for id in ids {
        match shard.links.get_mut(id).map(|link| &mut link.kind) {
            Some(LinkKind::Bond(_)) => bond::handle_timeout(shard, now, id),
            Some(LinkKind::Bridge(bridge)) => bridge.handle_timeout(now),
            _ => {}
        }
    }
    arm(shard);
}

pub(crate) fn arm(shard: &mut Shard) {
    if let Some(at) = shard.links.next_timeout() {
        shard.timers.arm(TimerKey::Links, at);
    }
}

/// A link went down or came up: what is above learns of it, and what waits for it goes elsewhere.
fn running_changed(shard: &mut Shard, now: Instant, id: InterfaceId) {
    let running = shard.links.is_running(id);
    let (up, master) = shard.links.get(id).map_or((false, None), |link| (link.up, link.master));
    if let Some(master) = master
        && let Some(bond) = shard.links.bond_mut(master)
    {
        let change = bond.set_running(now, id, running);
        bond::act(shard, now, master, change);
    } else if !up {
        bond::abandon(shard, id, None);
    }
}

/// The most that the links below an interface carry; `None`: nothing is below.
///
/// One customer's tag is beyond what an MTU counts (802.3 §3.2.7). A second one, or a provider's, is
/// not: the kernel takes no frame that is longer, so there the tag has to fit in.
fn most_mtu(shard: &Shard, id: InterfaceId) -> Option<u16> {
    let mtu = |below| Some(shard.interfaces.get(below)?.settings.mtu);
    let least = shard.links.below(id).filter_map(mtu).min()?;
    match shard.links.get(id)?.kind {
        LinkKind::Vlan { lower, tag }
            if tag.protocol == TagProtocol::Dot1ad || is_vlan(shard, lower) =>
        {
            Some(least.saturating_sub(TAG_LEN as u16).max(MIN_MTU))
        }
        _ => Some(least),
    }
}

fn is_vlan(shard: &Shard, id: InterfaceId) -> bool {
    shard.links.get(id).is_some_and(|link| matches!(link.kind, LinkKind::Vlan { .. }))
}

/// The MTU that the operator set for an interface, if it was.
fn needed_mtu(shard: &Shard, id: InterfaceId) -> Option<u16> {
    shard.links.get(id)?.own.mtu
}

/// What stands upon others has of them what it was not given itself; works that out anew for an
/// interface and all above it.
fn refresh(shard: &mut Shard, id: InterfaceId) {
    shard.interfaces.touch();
    // Paths that are kept say how long packets may be.
    shard.routes.touch();
    for id in shard.links.at_and_above(id) {
        let Some(link) = shard.links.get(id) else { continue };
        let tagged = matches!(link.kind, LinkKind::Vlan { .. });
        let own = link.own;
        let below: Vec<_> = shard.links.below(id).collect();
        let stations = || below.iter().filter_map(|id| Some(&shard.interfaces.get(*id)?.settings));
        let mtu = most_mtu(shard, id);
        let able = stations().map(|settings| settings.capabilities).reduce(weaker);
        let Some(station) = shard.interfaces.get_mut(id) else { continue };
        if let Some(mtu) = own.mtu.or(mtu) {
            station.settings.mtu = mtu;
        }
        if let Some(mut able) = able {
            // The tag is part of what a device counts.
            let tag = if tagged { TAG_LEN as u32 } else { 0 };
            able.tx_segmentation = able.tx_segmentation.map(|most| most.saturating_sub(tag));
            station.settings.capabilities = able;
        }
    }
}

/// What both can do.
fn weaker(a: Capabilities, b: Capabilities) -> Capabilities {
    Capabilities {
        tx_checksum: a.tx_checksum && b.tx_checksum,
        tx_segmentation: a.tx_segmentation.zip(b.tx_segmentation).map(|(a, b)| a.min(b)),
        tx_datagrams: a.tx_datagrams && b.tx_datagrams,
    }
}

/// Of an interface and the VLANs on it.
fn set_mac(shard: &mut Shard, id: InterfaceId, mac: MacAddr) {
    let mut at = vec![id];
    while let Some(id) = at.pop() {
        if let Some(station) = shard.interfaces.get_mut(id) {
            station.settings.mac = mac;
        }
        at.extend(shard.links.get(id).into_iter().flat_map(|link| link.vlans.values().copied()));
    }
}

/// A unicast address from the range that everybody may assign (IEEE 802-2014 §8.4.4).
fn random_mac(shard: &mut Shard) -> MacAddr {
    let [_, _, a, b, c, d, e, f] = shard.random.next_u64().to_be_bytes();
    MacAddr([a & 0xfc | 2, b, c, d, e, f])
}
