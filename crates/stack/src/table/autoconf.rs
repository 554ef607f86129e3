//! Interfaces that find their own address: by DHCP, or among the link-local ones. Invariant: an
//! interface has one such source at most.
//!
//! Leases are remembered by the link address they were granted to, which is what servers know a
//! client by, also when the client has ended.

use crate::{
    dhcp::{Client, Remembered},
    random::Random,
    table::interface::InterfaceId,
    time::{Duration, Instant},
};
use core::net::Ipv4Addr;
use narrows_wire::address::MacAddr;
use std::collections::BTreeMap;

/// Where an interface's first address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The operator.
    Static,
    /// A DHCP server (RFC 2131).
    Dhcp,
    /// Itself (RFC 3927).
    LinkLocal,
}

impl AddressSource {
    pub const ALL: [Self; 3] = [Self::Static, Self::Dhcp, Self::LinkLocal];

    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dhcp => "dhcp",
            Self::LinkLocal => "link-local",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }
}

/// RFC 3927 §9: after so many conflicts, at most one new address a minute.
const MAX_CONFLICTS: u32 = 10;
const RATE_LIMIT_INTERVAL: Duration = Duration::from_secs(60);
/// RFC 3927 §2.1: the first and the last 256 addresses are reserved.
const FIRST: u32 = 0xa9fe_0100;
const COUNT: u32 = 0xfe00;

/// Leases remembered: more than a host has interfaces with one, and link addresses change.
const MAX_REMEMBERED: usize = 64;

/// One interface's search for a link-local address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkLocal {
    conflicts: u32,
    /// When to try the next address; `None`: one is being tried or used.
    next: Option<Instant>,
}

impl LinkLocal {
    /// An address nobody was told of.
    pub fn pick(random: &mut Random) -> Ipv4Addr {
        Ipv4Addr::from(FIRST + random.below(COUNT))
    }

    /// Another station has the address that was picked.
    pub fn conflict(&mut self, now: Instant) {
        self.conflicts = self.conflicts.saturating_add(1);
        let wait =
            if self.conflicts < MAX_CONFLICTS { Duration::ZERO } else { RATE_LIMIT_INTERVAL };
        self.next = Some(now + wait);
    }

    /// Is another address to be tried now? Counts it as tried if so.
    pub fn take_due(&mut self, now: Instant) -> bool {
        self.next.take_if(|next| *next <= now).is_some()
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Autoconf {
    pub clients: BTreeMap<InterfaceId, Client>,
    pub link_local: BTreeMap<InterfaceId, LinkLocal>,
    pub remembered: BTreeMap<MacAddr, Remembered>,
}

impl Autoconf {
    pub fn start_link_local(&mut self, now: Instant, interface: InterfaceId) {
        self.link_local.insert(interface, LinkLocal { conflicts: 0, next: Some(now) });
    }

    pub fn remove(&mut self, interface: InterfaceId) -> Option<Client> {
        self.link_local.remove(&interface);
        self.clients.remove(&interface)
    }

    /// The one that is over first makes room.
    pub fn remember(&mut self, mac: MacAddr, lease: Remembered) {
        self.remembered.insert(mac, lease);
        if self.remembered.len() > MAX_REMEMBERED {
            let first = self.remembered.iter().min_by_key(|(_, lease)| lease.until);
            if let Some(mac) = first.map(|(mac, _)| *mac) {
                self.remembered.remove(&mac);
            }
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let leases = self.clients.values().map(Client::next_timeout);
        let searches = self.link_local.values().filter_map(|search| search.next);
        leases.chain(searches).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_link_local_and_not_reserved() {
        let mut random = Random::new([5; 16]);
        let picked: Vec<_> = (0..1000).map(|_| LinkLocal::pick(&mut random)).collect();
        let fits =
            |address: &Ipv4Addr| address.is_link_local() && !matches!(address.octets()[2], 0 | 255);
        assert!(picked.iter().all(fits));
        assert!(picked.iter().collect::<std::collections::BTreeSet<_>>().len() > 950);
    }

    #[test]
    fn of_too_many_leases_the_oldest_is_forgotten() {
        let mut autoconf = Autoconf::default();
        let lease = |until| Remembered { address: [10, 0, 0, 1].into(), until };
        for number in 0..=MAX_REMEMBERED as u8 {
            let until = Instant::from_millis(1000 - u64::from(number));
            autoconf.remember(MacAddr([2, 0, 0, 0, 0, number]), lease(until));
        }
        assert_eq!(autoconf.remembered.len(), MAX_REMEMBERED);
        let last = MacAddr([2, 0, 0, 0, 0, MAX_REMEMBERED as u8]);
        assert!(!autoconf.remembered.contains_key(&last));
    }

    #[test]
    fn after_ten_conflicts_a_minute_passes_between_tries() {
        let mut autoconf = Autoconf::default();
        let (interface, mut now) = (InterfaceId(1), Instant::ZERO);
        autoconf.start_link_local(now, interface);
        let mut tried = Vec::new();
        for _ in 0..12 {
            now = autoconf.next_timeout().expect("a try");
            let search = autoconf.link_local.get_mut(&interface).expect("it searches");
            assert!(search.take_due(now));
            assert!(!search.take_due(now));
            tried.push(now.as_millis() / 1000);
            search.conflict(now);
        }
        assert_eq!(tried, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 60, 120]);
    }
}
