//! IGMP (RFC 3376, and the older versions where a router speaks them): telling routers which groups
//! are joined here, so that they send what is for those.
//!
//! [`MembershipTable`] knows what is joined, [`GroupReports`] when to say so; here queries are read and
//! reports are put together. On the loopback interface there is nobody to tell.
//!
//! [`MembershipTable`]: crate::table::membership::MembershipTable
//! [`GroupReports`]: crate::table::group_reports::GroupReports

mod report;

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{Arrival, route::path_for},
    request::{Error, GroupInterface, Principal, SocketId, SocketKind},
    table::{
        membership::{MembershipChange, Transition},
        route,
        timer::TimerKey,
    },
};
use core::net::Ipv4Addr;
use narrows_wire::igmp::{ALL_SYSTEMS, Message, Query};

/// RFC 3376 §4: what routers of a link say is for its hosts alone.
const TTL: u8 = 1;

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    if arrival.header.ttl != TTL || arrival.interface == InterfaceId::LOOPBACK {
        return Err(DropReason::IgmpMalformed);
    }
    let message = Message::parse(arrival.payload).map_err(|error| match error {
        narrows_wire::Error::Checksum => DropReason::IgmpChecksum,
        _ => DropReason::IgmpMalformed,
    })?;
    let interface = arrival.interface;
    match message {
        Message::Query(query) => query_input(shard, now, arrival, &query),
        Message::Report { group } => {
            shard.group_reports.heard(now, (interface, group));
            arm(shard);
            Ok(())
        }
        Message::Other => Err(DropReason::IgmpIgnored),
    }
}

fn query_input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    query: &Query<'_>,
) -> Result<(), DropReason> {
    let (interface, destination) = (arrival.interface, arrival.header.destination);
    // RFC 3376 §4.1.12: to all systems, or to the group that it is about; one to this host alone is
    // for looking into it.
    let misdirected =
        destination.is_multicast() && destination != ALL_SYSTEMS && destination != query.group;
    if misdirected {
        return Err(DropReason::IgmpMalformed);
    }
    let joined = !shard.memberships.filter((interface, query.group)).is_nobody();
    shard.group_reports.asked(now, &mut shard.random, interface, query, joined);
    arm(shard);
    Ok(())
}

/// Changes a socket's membership, and begins to tell.
pub(crate) fn change(
    shard: &mut Shard,
    now: Instant,
    socket: SocketId,
    group: Ipv4Addr,
    interface: GroupInterface,
    change: &MembershipChange,
) -> Result<(), Error> {
    let found = shard.sockets.get(socket).ok_or(Error::NoSuchSocket)?;
    let who = found.principal;
    if !matches!(found.kind(), SocketKind::Udp | SocketKind::Raw) {
        return Err(Error::InvalidState);
    }
    if !group.is_multicast() {
        return Err(Error::InvalidArgument);
    }
    let held = shard.memberships.find(socket, named(shard, who, interface)?, group);
    let key = match held {
        Some(key) => key,
        None => (interface_of(shard, who, interface, group)?, group),
    };
    let transition = shard.memberships.change(&shard.config.limits, socket, key, change)?;
    tell(shard, now, &transition);
    Ok(())
}

/// A socket is gone, and its memberships with it.
pub(crate) fn forget(shard: &mut Shard, now: Instant, socket: SocketId) {
    for transition in shard.memberships.forget(socket) {
        tell(shard, now, &transition);
    }
}

/// The interface that a program names, if it names one; those of zones that it is not admitted to are
/// not there for it.
pub(crate) fn named(
    shard: &Shard,
    who: Principal,
    interface: GroupInterface,
) -> Result<Option<InterfaceId>, Error> {
    match interface {
        GroupInterface::Any => Ok(None),
        GroupInterface::Address(address) => {
            let owner = shard.interfaces.owner(address.into());
            owner
                .filter(|_| shard.covers(who, address.into()))
                .map(Some)
                .ok_or(Error::NoSuchInterface)
        }
        GroupInterface::Interface(interface) => {
            let found = shard.interfaces.get(interface).filter(|_| shard.admits(who, interface));
            found.map(|_| Some(interface)).ok_or(Error::NoSuchInterface)
        }
    }
}

/// The interface that a membership is of: the one named, or the one that packets to the group leave
/// by.
fn interface_of(
    shard: &Shard,
    who: Principal,
    interface: GroupInterface,
    group: Ipv4Addr,
) -> Result<InterfaceId, Error> {
    match named(shard, who, interface)? {
        Some(interface) => Ok(interface),
        None => {
            let path = path_for(shard, &route::Query { principal: who, ..route::Query::to(group) });
            path.map(|path| path.interface).map_err(|_| Error::NoSuchInterface)
        }
    }
}

fn tell(shard: &mut Shard, now: Instant, transition: &Transition) {
    // Devices have to let other groups in.
    shard.interfaces.touch();
    let (interface, group) = transition.key;
    if interface != InterfaceId::LOOPBACK && group != ALL_SYSTEMS {
        shard.group_reports.changed(now, transition);
        handle_timeout(shard, now);
    }
}

/// Says what is due; arms the timer again.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    while let Some(due) = shard.group_reports.expire(now, &mut shard.random) {
        report::send(shard, now, due);
    }
    arm(shard);
}

fn arm(shard: &mut Shard) {
    match shard.group_reports.next_timeout() {
        Some(at) => shard.timers.arm(TimerKey::Groups, at),
        None => shard.timers.cancel(TimerKey::Groups),
    }
}

#[cfg(test)]
mod tests;
