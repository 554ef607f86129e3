//! The interfaces of the shard and their addresses. Invariant: an address belongs to one interface.
//!
//! The number of an interface that was removed is not given again, so an [`InterfaceId`] names one
//! interface for the life of the shard.
//! Addresses are kept twice: in order at their interface, because the first one is the source of
//! choice, and in a map from address to owner, because every packet asks for that.

use crate::{
    request::Error,
    table::{
        address_facts::AddressFacts,
        arp_policy::ArpPolicy,
        route::{RoutingSettings, Scope},
        zone::ZoneId,
    },
    time::Instant,
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{
    address::{MacAddr, Prefix},
    offload::Capabilities,
};
use std::collections::{BTreeMap, BTreeSet};

/// Index of an interface; never reused while the shard lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u16);

impl InterfaceId {
    /// 127.0.0.0/8 and all traffic between sockets of this shard; always there.
    pub const LOOPBACK: Self = Self(0);

    /// As programs number interfaces: Linux's count from 1.
    pub fn number(self) -> u32 {
        u32::from(self.0) + 1
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSettings {
    pub name: String,
    pub mac: MacAddr,
    /// The longest IPv4 packet, in bytes.
    pub mtu: u16,
    pub capabilities: Capabilities,
    pub routing: RoutingSettings,
}

#[derive(Clone, Debug)]
pub struct Interface {
    pub settings: InterfaceSettings,
    pub zone: ZoneId,
    pub addresses: Vec<Prefix>,
    pub arp: ArpPolicy,
    /// Of addresses that have more to them than a prefix.
    pub facts: BTreeMap<Ipv4Addr, AddressFacts>,
    /// Link addresses of groups that the operator joined it to.
    pub multicast: BTreeSet<MacAddr>,
    /// Hosts that this interface answers ARP for, beside those that `arp.proxy_arp` allows.
    pub proxied: BTreeSet<Ipv4Addr>,
}

impl Interface {
    fn new(settings: InterfaceSettings, addresses: Vec<Prefix>) -> Self {
        Self {
            settings,
            zone: ZoneId::PUBLIC,
            addresses,
            arp: ArpPolicy::default(),
            facts: BTreeMap::new(),
            multicast: BTreeSet::new(),
            proxied: BTreeSet::new(),
        }
    }

    /// Is an earlier address of this interface in the same subnet? Then that one is the source of
    /// choice there, as long as it lasts.
    pub fn is_secondary(&self, address: Prefix) -> bool {
        let before = self.addresses.iter().take_while(|held| **held != address);
        before.into_iter().any(|held| held.network() == address.network())
    }

    /// The subnet that an address of this interface brings: its peer's, if it has one.
    pub fn subnet_of(&self, address: Prefix) -> Prefix {
        self.peer_of(address).unwrap_or(address).network()
    }

    pub fn peer_of(&self, address: Prefix) -> Option<Prefix> {
        match address.address() {
            IpAddr::V4(address) => self.facts.get(&address)?.peer,
            IpAddr::V6(_) => None,
        }
    }

    /// Is `address` one that this interface answers for?
    pub fn has(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|prefix| prefix.address() == address)
    }

    /// Is `address` inside a subnet of this interface?
    pub fn on_link(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|prefix| prefix.contains(address.into()))
    }

    /// The limited broadcast address, or the directed one of a subnet of this interface.
    pub fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        address.is_broadcast()
            || self.addresses.iter().any(|prefix| prefix.broadcast() == Some(address.into()))
    }

    /// The number of a subnet of this interface, which hosts of old took for its broadcast address
    /// (RFC 1122 §3.3.6): no host has it.
    pub fn is_subnet_number(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|prefix| {
            prefix.broadcast().is_some() && prefix.network().address() == IpAddr::V4(address)
        })
    }
}

#[derive(Clone, Debug)]
pub struct InterfaceTable {
    /// By number; `None`: removed.
    interfaces: Vec<Option<Interface>>,
    owners: BTreeMap<IpAddr, InterfaceId>,
    revision: u32,
}

/// The smallest MTU that every IPv4 link must have (RFC 791 §3.2).
pub const MIN_MTU: u16 = 68;
/// Interfaces of one shard: enough for every VLAN of a link, few enough to list.
pub const MAX_INTERFACES: usize = 4096;
/// Addresses of one interface: enough for a /22 of virtual hosts; a longer list says that
/// something is adding addresses without end.
pub const MAX_ADDRESSES: usize = 1024;
/// Groups by their link addresses: more than any program joins by hand, and what a device's filter
/// still compares quickly.
pub const MAX_MULTICAST: usize = 64;

/// The loopback interface's MTU: the longest IPv4 packet there is.
const LOOPBACK_MTU: u16 = u16::MAX;

impl Default for InterfaceTable {
    fn default() -> Self {
        Self::new()
    }
}

impl InterfaceTable {
    /// The loopback interface alone.
    pub fn new() -> Self {
        let settings = InterfaceSettings {
            name: "lo".to_owned(),
            mac: MacAddr::ZERO,
            mtu: LOOPBACK_MTU,
            capabilities: Capabilities {
                tx_checksum: true,
                tx_segmentation: Some(u32::from(LOOPBACK_MTU)),
                tx_datagrams: true,
            },
            routing: RoutingSettings::default(),
        };
        let addresses = Prefix::new(Ipv4Addr::LOCALHOST.into(), 8).into_iter().collect();
        let loopback = Interface::new(settings, addresses);
        let owners = [(Ipv4Addr::LOCALHOST.into(), InterfaceId::LOOPBACK)].into();
        Self { interfaces: vec![Some(loopback)], owners, revision: 0 }
    }

    /// [`Error::InvalidArgument`]: the name is empty or taken, the MAC address is not one a station
    /// can own, or the MTU is under [`MIN_MTU`]. [`Error::LimitReached`]: [`MAX_INTERFACES`].
    pub fn add(&mut self, settings: InterfaceSettings) -> Result<InterfaceId, Error> {
        let name_taken = self.iter().any(|(_, other)| other.settings.name == settings.name);
        if settings.name.is_empty()
            || name_taken
            || !settings.mac.is_unicast()
            || settings.mtu < MIN_MTU
        {
            return Err(Error::InvalidArgument);
        }
        if self.iter().count() >= MAX_INTERFACES {
            return Err(Error::LimitReached);
        }
        let index = u16::try_from(self.interfaces.len()).map_err(|_| Error::LimitReached)?;
        self.interfaces.push(Some(Interface::new(settings, Vec::new())));
        Ok(InterfaceId(index))
    }

    pub fn get(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(usize::from(id.0))?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: InterfaceId) -> Option<&mut Interface> {
        self.interfaces.get_mut(usize::from(id.0))?.as_mut()
    }

    /// Takes an interface out whose addresses are gone already.
    pub(crate) fn remove(&mut self, id: InterfaceId) {
        if let Some(place) = self.interfaces.get_mut(usize::from(id.0)) {
            *place = None;
        }
    }

    /// [`Error::InvalidArgument`]: the name is empty or another's, or the interface the loopback.
    pub fn rename(&mut self, id: InterfaceId, name: String) -> Result<(), Error> {
        let taken = self.iter().any(|(other, held)| other != id && held.settings.name == name);
        let interface = self.get_mut(id).ok_or(Error::NoSuchInterface)?;
        if name.is_empty() || taken || id == InterfaceId::LOOPBACK {
            return Err(Error::InvalidArgument);
        }
        interface.settings.name = name;
        Ok(())
    }

    /// [`Error::NoSuchInterface`]; the loopback takes no part in routing.
    pub fn set_routing(&mut self, id: InterfaceId, routing: RoutingSettings) -> Result<(), Error> {
        let interface = self.get_mut(id).ok_or(Error::NoSuchInterface)?;
        if id == InterfaceId::LOOPBACK {
            return Err(Error::InvalidArgument);
        }
        interface.settings.routing = routing;
        self.revision = self.revision.wrapping_add(1);
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = (InterfaceId, &Interface)> {
        (0u16..)
            .zip(&self.interfaces)
            .filter_map(|(index, interface)| Some((InterfaceId(index), interface.as_ref()?)))
    }

    /// Counts changes of what interfaces are to receive, so that who set up devices for them can
    /// tell when that is out of date.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    pub(crate) fn touch(&mut self) {
        self.revision = self.revision.wrapping_add(1);
    }

    /// Can the interface be given this address? [`Error::InvalidArgument`]: no host can have it in
    /// that prefix. [`Error::AddressInUse`]: an interface has it already.
    pub fn check_address(&self, id: InterfaceId, prefix: Prefix) -> Result<(), Error> {
        let interface = self.get(id).ok_or(Error::NoSuchInterface)?;
        let IpAddr::V4(address) = prefix.address() else {
            return Err(Error::FamilyNotSupported);
        };
        // 127.0.0.0/8 is the loopback's as a whole, and it has nothing else.
        if !is_host(address, prefix) || address.is_loopback() != (id == InterfaceId::LOOPBACK) {
            return Err(Error::InvalidArgument);
        }
        if self.owners.contains_key(&prefix.address()) {
            return Err(Error::AddressInUse);
        }
        if interface.addresses.len() >= MAX_ADDRESSES {
            return Err(Error::LimitReached);
        }
        Ok(())
    }

    /// Errors are those of [`InterfaceTable::check_address`].
    pub fn add_address(&mut self, id: InterfaceId, prefix: Prefix) -> Result<(), Error> {
        self.check_address(id, prefix)?;
        let interface = self.get_mut(id).ok_or(Error::NoSuchInterface)?;
        interface.addresses.push(prefix);
        self.touch();
        self.owners.insert(prefix.address(), id);
        Ok(())
    }

    /// [`Error::AddressNotAvailable`]: the interface does not have it.
    pub fn remove_address(&mut self, id: InterfaceId, prefix: Prefix) -> Result<(), Error> {
        let interface = self.get_mut(id).ok_or(Error::NoSuchInterface)?;
        let index = interface.addresses.iter().position(|held| *held == prefix);
        interface.addresses.remove(index.ok_or(Error::AddressNotAvailable)?);
        self.touch();
        self.owners.remove(&prefix.address());
        Ok(())
    }

    /// The interface that owns `address`; 127.0.0.0/8 is the loopback's.
    pub fn owner(&self, address: IpAddr) -> Option<InterfaceId> {
        if address.is_loopback() {
            return Some(InterfaceId::LOOPBACK);
        }
        self.owners.get(&address).copied()
    }

    /// The zone of an interface; of one that is gone, `public`.
    pub fn zone(&self, id: InterfaceId) -> ZoneId {
        self.get(id).map_or(ZoneId::PUBLIC, |interface| interface.zone)
    }

    /// The zone that an address is in; those of nobody, and those that only routes make local, are in
    /// `public`.
    pub fn zone_of(&self, address: IpAddr) -> ZoneId {
        self.owner(address).map_or(ZoneId::PUBLIC, |owner| self.zone(owner))
    }

    /// When the first of the addresses that were given for a time goes.
    pub fn next_expiry(&self) -> Option<Instant> {
        let facts = self.iter().flat_map(|(_, interface)| interface.facts.values());
        facts.filter_map(|facts| facts.valid_until).min()
    }

    /// The interface's first address in the subnet of `destination`, or its first address that is of
    /// use beyond the link, or its first address.
    pub fn source_for(&self, id: InterfaceId, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let addresses = &self.get(id)?.addresses;
        let on_link = addresses.iter().find(|prefix| prefix.contains(destination.into()));
        let facts = &self.get(id)?.facts;
        let global = |prefix: &&Prefix| match prefix.address() {
            IpAddr::V4(address) => {
                let scope = facts.get(&address).and_then(|facts| facts.scope);
                scope.is_none_or(|scope| scope == Scope::Global)
            }
            IpAddr::V6(_) => false,
        };
        let chosen = on_link.or_else(|| addresses.iter().find(global));
        match chosen.or_else(|| addresses.first())?.address() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

/// Can a host have `address` in this prefix? Not the subnet's number and not its broadcast address.
fn is_host(address: Ipv4Addr, prefix: Prefix) -> bool {
    let [first, ..] = address.octets();
    let class_e = first >= 240;
    let edge = prefix.broadcast().is_some_and(|broadcast| {
        broadcast == prefix.address() || prefix.network().address() == prefix.address()
    });
    first != 0 && !address.is_multicast() && !class_e && !edge && prefix.length() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').expect("a prefix");
        Prefix::new(address.parse().expect("an address"), length.parse().expect("a length"))
            .expect("a valid prefix")
    }

    fn settings(name: &str) -> InterfaceSettings {
        InterfaceSettings {
            name: name.to_owned(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            capabilities: Capabilities::default(),
            routing: RoutingSettings::default(),
        }
    }

    fn table() -> (InterfaceTable, InterfaceId) {
        let mut table = InterfaceTable::new();
        let id = table.add(settings("eth0")).expect("a new interface");
        table.add_address(id, prefix("10.0.0.2/24")).expect("a new address");
        (table, id)
    }

    #[test]
    fn loopback_is_always_there() {
        let table = InterfaceTable::new();
        let loopback = table.get(InterfaceId::LOOPBACK).expect("loopback");
        assert_eq!(loopback.settings.name, "lo");
        assert_eq!(table.owner("127.9.9.9".parse().unwrap()), Some(InterfaceId::LOOPBACK));
        assert_eq!(
            table.source_for(InterfaceId::LOOPBACK, Ipv4Addr::new(127, 0, 0, 5)),
            Some(Ipv4Addr::LOCALHOST)
        );
    }

    #[test]
    fn an_address_belongs_to_one_interface() {
        let (mut table, first) = table();
        let second = table.add(settings("eth1")).expect("a new interface");
        for id in [first, second] {
            assert_eq!(table.add_address(id, prefix("10.0.0.2/16")), Err(Error::AddressInUse));
        }
        assert_eq!(table.owner("10.0.0.2".parse().unwrap()), Some(first));
        table.remove_address(first, prefix("10.0.0.2/24")).expect("it is there");
        assert_eq!(table.owner("10.0.0.2".parse().unwrap()), None);
        assert_eq!(
            table.remove_address(first, prefix("10.0.0.2/24")),
            Err(Error::AddressNotAvailable)
        );
        table.add_address(second, prefix("10.0.0.2/16")).expect("free again");
        assert_eq!(table.owner("10.0.0.2".parse().unwrap()), Some(second));
    }

    #[test]
    fn later_addresses_of_a_subnet_are_secondary_until_the_first_goes() {
        let (mut table, id) = table();
        let added = ["10.0.0.3/24", "10.0.0.4/16", "10.0.0.5/24"];
        for text in added {
            table.add_address(id, prefix(text)).expect("a new address");
        }
        let secondary = |table: &InterfaceTable| {
            let interface = table.get(id).expect("there");
            added.map(|text| interface.is_secondary(prefix(text)))
        };
        assert_eq!(secondary(&table), [true, false, true]);
        let revision = table.revision();
        table.remove_address(id, prefix("10.0.0.2/24")).expect("it is there");
        assert_eq!(secondary(&table), [false, false, true]);
        assert_ne!(table.revision(), revision);
    }

    #[test]
    fn addresses_that_no_host_can_have_are_refused() {
        let (mut table, id) = table();
        for text in [
            "0.1.2.3/8",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "240.0.0.1/24",
            "255.255.255.255/32",
            "10.1.0.0/24",
            "10.1.0.255/24",
            "10.1.0.1/0",
        ] {
            assert_eq!(table.add_address(id, prefix(text)), Err(Error::InvalidArgument), "{text}");
        }
        assert_eq!(table.add_address(id, prefix("fe80::1/64")), Err(Error::FamilyNotSupported));
        assert_eq!(
            table.add_address(InterfaceId::LOOPBACK, prefix("10.1.0.1/24")),
            Err(Error::InvalidArgument)
        );
        assert_eq!(
            table.add_address(InterfaceId(9), prefix("10.1.0.1/24")),
            Err(Error::NoSuchInterface)
        );
        // RFC 3021: both addresses of a /31 are hosts.
        table.add_address(id, prefix("10.1.0.0/31")).expect("a host");
        table.add_address(id, prefix("10.1.0.2/32")).expect("a host");
    }

    #[test]
    fn a_new_name_is_nobody_elses() {
        let (mut table, id) = table();
        table.add(settings("eth1")).expect("a new interface");
        for bad in ["", "lo", "eth1"] {
            assert_eq!(table.rename(id, bad.to_owned()), Err(Error::InvalidArgument), "{bad}");
        }
        for loopback in [InterfaceId::LOOPBACK, InterfaceId(9)] {
            assert!(table.rename(loopback, "x".to_owned()).is_err());
        }
        table.rename(id, "eth0".to_owned()).expect("its own");
        table.rename(id, "wan".to_owned()).expect("a free name");
        assert_eq!(table.get(id).map(|held| &*held.settings.name), Some("wan"));
    }

    #[test]
    fn settings_that_no_link_can_have_are_refused() {
        let (mut table, _) = table();
        for bad in [
            settings("eth0"),
            settings(""),
            InterfaceSettings { mac: MacAddr::BROADCAST, ..settings("eth1") },
            InterfaceSettings { mac: MacAddr::ZERO, ..settings("eth1") },
            InterfaceSettings { mtu: 67, ..settings("eth1") },
        ] {
            assert_eq!(table.add(bad.clone()), Err(Error::InvalidArgument), "{bad:?}");
        }
    }

    #[test]
    fn tables_have_limits() {
        let (mut table, id) = table();
        for count in 2..MAX_INTERFACES {
            table.add(settings(&format!("vlan{count}"))).expect("room");
        }
        assert_eq!(table.add(settings("one-more")), Err(Error::LimitReached));
        for count in 1..MAX_ADDRESSES as u32 {
            let address = Ipv4Addr::from(0x0a10_0000 + count);
            table.add_address(id, Prefix::new(address.into(), 32).unwrap()).expect("room");
        }
        assert_eq!(table.add_address(id, prefix("10.9.0.1/32")), Err(Error::LimitReached));
    }

    #[test]
    fn the_source_is_in_the_subnet_of_the_destination() {
        let (mut table, id) = table();
        table.add_address(id, prefix("192.168.7.1/24")).expect("a new address");
        for (destination, source) in
            [("192.168.7.9", "192.168.7.1"), ("10.0.0.9", "10.0.0.2"), ("8.8.8.8", "10.0.0.2")]
        {
            assert_eq!(
                table.source_for(id, destination.parse().unwrap()),
                Some(source.parse().unwrap()),
                "{destination}"
            );
        }
        assert_eq!(table.source_for(InterfaceId(7), Ipv4Addr::LOCALHOST), None);
    }

    #[test]
    fn subnets_say_what_is_on_the_link() {
        let (table, id) = table();
        let interface = table.get(id).expect("there");
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert!(interface.has(address("10.0.0.2")) && !interface.has(address("10.0.0.3")));
        assert!(interface.on_link(address("10.0.0.3")) && !interface.on_link(address("10.0.1.3")));
        assert!(interface.is_broadcast(address("10.0.0.255")));
        assert!(interface.is_broadcast(Ipv4Addr::BROADCAST));
        assert!(!interface.is_broadcast(address("10.0.1.255")));
        assert!(interface.is_subnet_number(address("10.0.0.0")));
        assert!(!interface.is_subnet_number(address("10.0.1.0")));
    }
}
