//! Zones come and go, and who is admitted to them; sockets that are where they may not be end.

use super::Shard;
use crate::{
    layer,
    request::{Error, Principal, Reply, SocketId},
    table::{
        interface::{InterfaceId, InterfaceTable},
        link::LinkKind,
        port::Binding,
        zone::{Admission, AdmissionId, MAX_CROSSINGS, ZoneId, ZoneSettings, ZoneTable},
    },
    time::Instant,
};
use core::net::IpAddr;
use std::collections::BTreeSet;

/// Have two bindings an address in common?
pub(crate) fn meet(
    zones: &ZoneTable,
    interfaces: &InterfaceTable,
    one: &Binding,
    other: &Binding,
) -> bool {
    let wide = |held: &Binding| held.local.ip().is_unspecified();
    // What is nobody's, a group's address or a broadcast, all may be bound to.
    let covers = |who: &Binding, address: IpAddr| {
        interfaces.owner(address).is_none()
            || zones.covers(who.principal, interfaces.zone_of(address), address)
    };
    match (wide(one), wide(other)) {
        (false, false) => one.local.ip() == other.local.ip(),
        _ if zones.is_single() => true,
        (true, false) => covers(one, other.local.ip()),
        (false, true) => covers(other, one.local.ip()),
        (true, true) => zones.meet(one.principal, other.principal),
    }
}

impl Shard {
    /// Which zones are private, what may cross, and who is admitted where.
    pub fn zones(&self) -> &ZoneTable {
        &self.zones
    }

    /// May `who` take part in what happens on an interface?
    pub fn admits(&self, who: Principal, interface: InterfaceId) -> bool {
        self.zones.is_single() || self.zones.of(who).contains(self.interfaces.zone(interface))
    }

    /// May `who` use an address of this host: be bound to it, receive what is for it, send from it?
    pub fn covers(&self, who: Principal, address: IpAddr) -> bool {
        self.zones.is_single() || self.zones.covers(who, self.interfaces.zone_of(address), address)
    }

    /// Has this socket part in what is for `address`?
    pub(crate) fn hears(&self, id: SocketId, address: IpAddr) -> bool {
        self.zones.is_single()
            || self.sockets.get(id).is_some_and(|socket| self.covers(socket.principal, address))
    }

    /// [`Error::InvalidArgument`]: the loopback is `public`'s.
    pub(crate) fn set_zone(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        zone: ZoneId,
    ) -> Result<Reply, Error> {
        self.interfaces.get(interface).ok_or(Error::NoSuchInterface)?;
        if interface == InterfaceId::LOOPBACK {
            return Err(Error::InvalidArgument);
        }
        if zone != ZoneId::PUBLIC {
            self.zones.divide();
        }
        for id in self.stack_of(interface) {
            self.put_in_zone(id, zone);
        }
        self.interfaces.touch();
        self.rejudge(now);
        Ok(Reply::Done)
    }

    pub(crate) fn put_in_zone(&mut self, interface: InterfaceId, zone: ZoneId) {
        let Some(found) = self.interfaces.get_mut(interface) else { return };
        if found.zone != zone {
            found.zone = zone;
            self.routes.set_zone(interface, zone);
        }
    }

    /// The interfaces that are in a zone together with this one: what it stands upon, and what stands
    /// upon it. A VLAN can be in another zone than its link, which goes its own way; it follows
    /// its link only out of the zone that both were in.
    fn stack_of(&self, interface: InterfaceId) -> BTreeSet<InterfaceId> {
        let zone = self.interfaces.zone(interface);
        let is_vlan = |id: &InterfaceId| {
            self.links.get(*id).is_some_and(|link| matches!(link.kind, LinkKind::Vlan { .. }))
        };
        let mut found = BTreeSet::from([interface]);
        let mut new = vec![interface];
        while let Some(id) = new.pop() {
            let below = self.links.below(id).filter(|_| !is_vlan(&id));
            let above = self.links.above(id);
            let above = above.filter(|id| !is_vlan(id) || self.interfaces.zone(*id) == zone);
            new.extend(above.chain(below).filter(|id| found.insert(*id)));
        }
        found
    }

    pub(crate) fn set_zones(
        &mut self,
        now: Instant,
        settings: ZoneSettings,
    ) -> Result<Reply, Error> {
        if settings.crossings.len() > MAX_CROSSINGS {
            return Err(Error::LimitReached);
        }
        self.zones.set(settings);
        self.rejudge(now);
        Ok(Reply::Done)
    }

    /// [`Error::InvalidArgument`]: those numbers have a meaning of their own.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        id: AdmissionId,
        admission: Option<Admission>,
    ) -> Result<Reply, Error> {
        if matches!(id, AdmissionId::NOBODY | AdmissionId::HOST) {
            return Err(Error::InvalidArgument);
        }
        match admission {
            Some(admission) => self.zones.admit(id, admission),
            None => self.zones.forget(id),
        }
        self.rejudge(now);
        Ok(Reply::Done)
    }

    /// The admissions that sockets have.
    pub fn admissions(&self) -> BTreeSet<AdmissionId> {
        self.sockets.iter().map(|(_, socket)| socket.principal.admission).collect()
    }

    /// Ways may have changed; sockets at addresses that are not their owners' any more end.
    fn rejudge(&mut self, now: Instant) {
        self.routes.touch();
        let strays: Vec<SocketId> = self
            .sockets
            .iter()
            .filter(|(_, socket)| {
                let address = socket.local().ip();
                self.interfaces.owner(address).is_some() && !self.covers(socket.principal, address)
            })
            .map(|(id, _)| id)
            .collect();
        for id in strays {
            layer::tcp::expel(self, now, id);
        }
    }
}
