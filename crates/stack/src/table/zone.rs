//! Zones: which interfaces belong together, and who is admitted where. Invariant: whatever is not
//! admitted is refused; a principal that nobody admitted has the zone `public` alone.
//!
//! An interface is in one zone, its addresses and routes with it. A zone is either shared, as `public`
//! is: its members use any of its addresses. Or it is private: each of its addresses is one member's,
//! who can use no other there.
//!
//! No two interfaces have one address, in whatever zones they are, so that an address says which
//! zone it is in, and a connection's four-tuple names no more than one. What has to be asked of a zone
//! is therefore little: when a socket is given an address, when it has none in particular (the
//! wildcard), and when a packet goes from an interface to another.
//!
//! Linux has no such thing in one network namespace; of VRFs, which come closest, it differs in that
//! a socket can be in several zones, and finds the way to each.

use crate::request::Principal;
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{address::Prefix, ipv4::Protocol};
use std::collections::BTreeMap;

/// Zones of one shard, so that a set of them is one word.
pub const MAX_ZONES: usize = 64;

/// Rules from zone to zone: they are asked one after the other, of packets that cross alone.
pub const MAX_CROSSINGS: usize = 1024;

/// A zone's number, under [`MAX_ZONES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneId(u8);

impl ZoneId {
    /// Admits all.
    pub const PUBLIC: Self = Self(0);

    /// `None`: [`MAX_ZONES`] or more.
    pub fn new(number: usize) -> Option<Self> {
        (number < MAX_ZONES).then_some(Self(number as u8))
    }

    pub fn number(self) -> usize {
        self.0.into()
    }
}

/// Some of the zones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ZoneSet(u64);

impl ZoneSet {
    pub const ALL: Self = Self(u64::MAX);
    pub const NONE: Self = Self(0);
    pub const PUBLIC: Self = Self(1);

    pub fn only(zone: ZoneId) -> Self {
        Self(1 << zone.0)
    }

    pub fn contains(self, zone: ZoneId) -> bool {
        self.0 >> zone.0 & 1 != 0
    }

    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = ZoneId> {
        (0..MAX_ZONES as u8).map(ZoneId).filter(move |zone| self.contains(*zone))
    }
}

/// Names what a principal is admitted to; the daemon gives one to each identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdmissionId(pub u32);

impl AdmissionId {
    /// Who was admitted nowhere in particular: public alone.
    pub const NOBODY: Self = Self(0);
    /// This host itself, on whose account replies, errors and the like are sent.
    pub const HOST: Self = Self(u32::MAX);
}

/// What a principal is admitted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    pub zones: ZoneSet,
    /// Its addresses in private zones.
    pub members: Vec<Ipv4Addr>,
}

impl Default for Admission {
    fn default() -> Self {
        Self { zones: ZoneSet::PUBLIC, members: Vec::new() }
    }
}

/// What may go from one zone to another, and what answers it. It says who may begin: of the answers,
/// TCP's are those without a SYN of their own, and ICMP's are not echo requests; those of UDP are told by
/// their ports alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    pub from: ZoneId,
    pub to: ZoneId,
    /// `None`: every one.
    pub protocol: Option<Protocol>,
    /// Destination ports, inclusive.
    pub ports: Option<(u16, u16)>,
    pub source: Option<Prefix>,
    pub destination: Option<Prefix>,
}

/// A packet that would go from zone to zone.
#[derive(Clone, Copy, Debug)]
pub struct Crosser {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: Protocol,
    pub source_port: u16,
    pub destination_port: u16,
    /// It asks for something new, rather than answers.
    pub begins: bool,
}

impl Crosser {
    fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }
}

impl Crossing {
    fn lets(&self, packet: &Crosser) -> bool {
        let in_prefix = |prefix: Option<Prefix>, address: Ipv4Addr| {
            prefix.is_none_or(|prefix| prefix.contains(address.into()))
        };
        self.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && self.ports.is_none_or(|(low, high)| (low..=high).contains(&packet.destination_port))
            && in_prefix(self.source, packet.source)
            && in_prefix(self.destination, packet.destination)
    }
}

/// Which zones are private, and what may go between zones: what the operator sets, in one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneSettings {
    pub private: ZoneSet,
    pub crossings: Vec<Crossing>,
}

#[derive(Clone, Debug, Default)]
pub struct ZoneTable {
    /// There is more than `public`, which needs no questions.
    several: bool,
    settings: ZoneSettings,
    admissions: BTreeMap<AdmissionId, Admission>,
}

impl ZoneTable {
    /// Is `public` all there is? Then nothing can be in the wrong zone.
    pub fn is_single(&self) -> bool {
        !self.several
    }

    /// From now on there is another zone.
    pub(crate) fn divide(&mut self) {
        self.several = true;
    }

    pub fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    /// The caller keeps to [`MAX_CROSSINGS`].
    pub(crate) fn set(&mut self, settings: ZoneSettings) {
        self.several |= !settings.private.is_empty();
        self.settings = settings;
    }

    /// Whoever has this number is admitted to that from now on.
    pub(crate) fn admit(&mut self, id: AdmissionId, admission: Admission) {
        self.several |= admission != Admission::default();
        self.admissions.insert(id, admission);
    }

    /// Forgets a number that nobody has any more.
    pub(crate) fn forget(&mut self, id: AdmissionId) {
        self.admissions.remove(&id);
    }

    pub fn is_private(&self, zone: ZoneId) -> bool {
        self.settings.private.contains(zone)
    }

    /// The zones that a principal is admitted to.
    pub fn of(&self, who: Principal) -> ZoneSet {
        match who.admission {
            AdmissionId::HOST => ZoneSet::ALL,
            id => self.admissions.get(&id).map_or(ZoneSet::PUBLIC, |admission| admission.zones),
        }
    }

    fn members(&self, who: Principal) -> &[Ipv4Addr] {
        self.admissions.get(&who.admission).map_or(&[], |admission| &admission.members)
    }

    /// May `who` use `address`, which is in `zone`?
    pub fn covers(&self, who: Principal, zone: ZoneId, address: IpAddr) -> bool {
        if self.is_single() || who.admission == AdmissionId::HOST {
            return true;
        }
        let own = |member: &Ipv4Addr| IpAddr::V4(*member) == address;
        self.of(who).contains(zone) && (!self.is_private(zone) || self.members(who).iter().any(own))
    }

    /// The first of `who`'s addresses in a private zone that `is_there` says is in that zone.
    pub fn member_address(
        &self,
        who: Principal,
        is_there: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        self.members(who).iter().copied().find(|member| is_there(*member))
    }

    /// Is there an address that both may use?
    pub fn meet(&self, one: Principal, other: Principal) -> bool {
        let shared = self.of(one).within(self.of(other)).without(self.settings.private);
        let members = self.members(other);
        !shared.is_empty() || self.members(one).iter().any(|member| members.contains(member))
    }

    /// The zones that something in `from` may go to, or answer.
    pub fn beyond(&self, from: ZoneId) -> ZoneSet {
        let crossings = self.settings.crossings.iter();
        let others = crossings.filter_map(|crossing| match from {
            from if from == crossing.from => Some(crossing.to),
            from if from == crossing.to => Some(crossing.from),
            _ => None,
        });
        others.fold(ZoneSet::only(from), |zones, zone| zones.with(ZoneSet::only(zone)))
    }

    /// May this packet go from one zone to another?
    pub fn lets_cross(&self, from: ZoneId, to: ZoneId, packet: &Crosser) -> bool {
        let answered = packet.reversed();
        from == to
            || self.settings.crossings.iter().any(|crossing| {
                let there = (crossing.from, crossing.to) == (from, to);
                let back = (crossing.from, crossing.to) == (to, from) && !packet.begins;
                there && crossing.lets(packet) || back && crossing.lets(&answered)
            })
    }
}

#[cfg(test)]
mod tests;
