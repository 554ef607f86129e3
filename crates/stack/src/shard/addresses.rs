//! Addresses of interfaces come and go, and routes with them.

use super::Shard;
use crate::{
    event::Notice,
    layer::arp::conflict,
    request::{Error, Reply},
    table::{
        address_facts::AddressFacts,
        arp_policy::ConflictDetection,
        interface::{InterfaceId, MAX_MULTICAST},
        timer::TimerKey,
    },
    time::Instant,
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::address::{MacAddr, Prefix};

impl Shard {
    /// Gives an interface an address: at once, or when nobody else turns out to have it.
    pub(crate) fn add_address(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        prefix: Prefix,
    ) -> Result<Reply, Error> {
        self.interfaces.check_address(interface, prefix)?;
        let IpAddr::V4(address) = prefix.address() else { return Err(Error::FamilyNotSupported) };
        let key = (interface, address);
        if self.claims.unusable(key).is_some() {
            return Err(Error::AddressInUse);
        }
        let detection = self.interfaces.get(interface).map(|found| found.arp.conflict_detection);
        match detection {
            Some(ConflictDetection::Probe) => {
                self.claims.probe(now, &mut self.random, key, prefix);
            }
            Some(ConflictDetection::Announce) => {
                self.take_address(interface, prefix)?;
                self.claims.announce(now, key, prefix);
                conflict::announce(self, interface, address);
            }
            Some(ConflictDetection::Off) | None => self.take_address(interface, prefix)?,
        }
        conflict::arm(self);
        Ok(Reply::Done)
    }

    /// Takes an address from an interface, be it in use, being probed for, or given up.
    pub(crate) fn remove_address(
        &mut self,
        interface: InterfaceId,
        prefix: Prefix,
    ) -> Result<Reply, Error> {
        let IpAddr::V4(address) = prefix.address() else { return Err(Error::FamilyNotSupported) };
        let key = (interface, address);
        if self.claims.unusable(key) != Some(prefix) {
            self.release(interface, prefix)?;
        }
        if let Some(found) = self.interfaces.get_mut(interface) {
            found.facts.remove(&address);
        }
        self.claims.remove(key);
        conflict::arm(self);
        Ok(Reply::Done)
    }

    /// Says more of an address that is there. [`Error::AddressNotAvailable`]: it is not.
    /// [`Error::InvalidArgument`]: a peer of an address that is not a single host's.
    pub(super) fn describe_address(
        &mut self,
        interface: InterfaceId,
        address: Ipv4Addr,
        facts: AddressFacts,
    ) -> Result<Reply, Error> {
        let found = self.interfaces.get_mut(interface).ok_or(Error::NoSuchInterface)?;
        let held = found.addresses.iter().find(|held| held.address() == IpAddr::V4(address));
        let (held, claimed) = (held.copied(), self.claims.unusable((interface, address)));
        let prefix = held.or(claimed).ok_or(Error::AddressNotAvailable)?;
        let before = found.peer_of(prefix);
        let peer = facts.peer.filter(|_| facts.peer != before);
        if facts.peer.is_some() && prefix.length() < 32 {
            return Err(Error::InvalidArgument);
        }
        found.facts.insert(address, facts);
        if held.is_some() && peer.is_some() {
            self.connect_subnet(interface, prefix)?;
        }
        self.arm_addresses();
        Ok(Reply::Done)
    }

    /// Takes away addresses whose time is over.
    pub(super) fn expire_addresses(&mut self, now: Instant) {
        let over = |facts: &AddressFacts| facts.valid_until.is_some_and(|until| until <= now);
        let mut gone = Vec::new();
        for (id, interface) in self.interfaces.iter() {
            let addresses = interface.facts.iter().filter(|(_, facts)| over(facts));
            gone.extend(addresses.map(|(address, _)| (id, *address)));
        }
        for (interface, address) in gone {
            let found = self.interfaces.get(interface);
            let mut addresses = found.iter().flat_map(|found| &found.addresses);
            let held = addresses.find(|held| held.address() == IpAddr::V4(address)).copied();
            let prefix = held.or_else(|| self.claims.unusable((interface, address)));
            if let Some(prefix) = prefix
                && self.remove_address(interface, prefix).is_ok()
            {
                self.tell(Notice::AddressExpired { interface, prefix });
            }
        }
        self.arm_addresses();
    }

    fn arm_addresses(&mut self) {
        match self.interfaces.next_expiry() {
            Some(at) => self.timers.arm(TimerKey::Addresses, at),
            None => self.timers.cancel(TimerKey::Addresses),
        }
    }

    /// Joins an interface to a group of stations by its link address, or takes it out again.
    pub(super) fn set_multicast(
        &mut self,
        interface: InterfaceId,
        mac: MacAddr,
        joined: bool,
    ) -> Result<Reply, Error> {
        let found = self.interfaces.get_mut(interface).ok_or(Error::NoSuchInterface)?;
        if !mac.is_multicast() || mac.is_broadcast() || interface == InterfaceId::LOOPBACK {
            return Err(Error::InvalidArgument);
        }
        if joined && found.multicast.len() >= MAX_MULTICAST {
            return Err(Error::LimitReached);
        }
        match joined {
            true if !found.multicast.insert(mac) => return Err(Error::AlreadyExists),
            false if !found.multicast.remove(&mac) => return Err(Error::NoSuchEntry),
            _ => self.interfaces.touch(),
        }
        Ok(Reply::Done)
    }

    /// The interface has the address from now on; that brings the route to its subnet.
    pub(crate) fn take_address(
        &mut self,
        interface: InterfaceId,
        prefix: Prefix,
    ) -> Result<(), Error> {
        self.interfaces.add_address(interface, prefix)?;
        self.connect_subnet(interface, prefix)
    }

    /// An address turned out to be another station's.
    pub(crate) fn release_address(&mut self, interface: InterfaceId, prefix: Prefix) {
        // It is not there if it was only probed for.
        let _ = self.release(interface, prefix);
    }

    fn release(&mut self, interface: InterfaceId, prefix: Prefix) -> Result<(), Error> {
        let peer = self.interfaces.get(interface).and_then(|found| found.peer_of(prefix));
        self.interfaces.remove_address(interface, prefix)?;
        self.disconnect_subnet(interface, peer.unwrap_or(prefix));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Config,
        request::{Principal, Request},
        table::{interface::InterfaceSettings, route::Scope},
        time::Duration,
    };

    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').expect("a prefix");
        let length = length.parse().expect("a length");
        Prefix::new(address.parse().expect("an address"), length).expect("a valid prefix")
    }

    fn ask(shard: &mut Shard, request: Request) -> Result<Reply, Error> {
        shard.request(Instant::ZERO, Principal::default(), request)
    }

    fn host() -> (Shard, InterfaceId) {
        let mut shard = Shard::new(Config::default(), [1; 16]);
        let settings = InterfaceSettings {
            name: "lan".into(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            capabilities: Default::default(),
            routing: Default::default(),
        };
        let Ok(Reply::Interface(id)) = ask(&mut shard, Request::AddInterface { settings }) else {
            panic!("no interface")
        };
        (shard, id)
    }

    fn describe(
        shard: &mut Shard,
        id: InterfaceId,
        own: &str,
        facts: AddressFacts,
    ) -> Result<Reply, Error> {
        let IpAddr::V4(address) = prefix(own).address() else { panic!("{own}") };
        ask(shard, Request::DescribeAddress { interface: id, address, facts })
    }

    fn routes(shard: &Shard) -> Vec<Prefix> {
        shard.routes().map(|route| route.to).collect()
    }

    #[test]
    fn an_address_goes_when_its_time_is_over() {
        let (mut shard, interface) = host();
        for text in ["10.0.0.2/24", "10.0.0.3/24"] {
            let prefix = prefix(text);
            ask(&mut shard, Request::AddAddress { interface, prefix }).expect("a new address");
        }
        let until = Instant::ZERO + Duration::from_secs(60);
        let facts = AddressFacts { valid_until: Some(until), ..AddressFacts::default() };
        describe(&mut shard, interface, "10.0.0.2/24", facts.clone()).expect("described");
        let missing = describe(&mut shard, interface, "10.0.0.9/24", facts);
        assert_eq!(missing, Err(Error::AddressNotAvailable));
        let held = |shard: &Shard| shard.interface(interface).map(|it| it.addresses.clone());
        shard.handle_timeout(Instant::ZERO + Duration::from_secs(59));
        assert_eq!(held(&shard).map(|held| held.len()), Some(2));
        assert!(shard.next_timeout().is_some_and(|at| at <= until));
        shard.handle_timeout(until + Duration::from_millis(5));
        assert_eq!(held(&shard), Some(vec![prefix("10.0.0.3/24")]));
        let gone = Notice::AddressExpired { interface, prefix: prefix("10.0.0.2/24") };
        assert_eq!(shard.poll_notice(), Some(gone));
        // The subnet is still there, by the other.
        assert_eq!(routes(&shard), [prefix("10.0.0.0/24")]);
        assert_eq!(shard.next_timeout(), None);
        let again = Request::AddAddress { interface, prefix: prefix("10.0.0.2/24") };
        ask(&mut shard, again).expect("nobody has it");
    }

    #[test]
    fn a_peer_is_where_the_route_of_its_address_leads() {
        let (mut shard, interface) = host();
        let own = prefix("10.0.0.2/32");
        ask(&mut shard, Request::AddAddress { interface, prefix: own }).expect("a new address");
        assert_eq!(routes(&shard), []);
        let facts = AddressFacts {
            peer: Some(prefix("10.9.0.1/24")),
            scope: Some(Scope::Link),
            ..AddressFacts::default()
        };
        describe(&mut shard, interface, "10.0.0.2/32", facts.clone()).expect("described");
        assert_eq!(routes(&shard), [prefix("10.9.0.0/24")]);
        ask(&mut shard, Request::RemoveAddress { interface, prefix: own }).expect("it is there");
        assert_eq!(routes(&shard), []);
        assert!(shard.interface(interface).is_some_and(|it| it.facts.is_empty()));
        let wide = prefix("10.1.0.2/24");
        ask(&mut shard, Request::AddAddress { interface, prefix: wide }).expect("a new address");
        let refused = describe(&mut shard, interface, "10.1.0.2/24", facts);
        assert_eq!(refused, Err(Error::InvalidArgument));
        assert_eq!(routes(&shard), [prefix("10.1.0.0/24")]);
    }

    #[test]
    fn a_link_address_is_not_the_source_for_what_is_far() {
        let (mut shard, interface) = host();
        for text in ["10.0.0.2/24", "10.1.0.2/24"] {
            let prefix = prefix(text);
            ask(&mut shard, Request::AddAddress { interface, prefix }).expect("a new address");
        }
        let facts = AddressFacts { scope: Some(Scope::Link), ..AddressFacts::default() };
        describe(&mut shard, interface, "10.0.0.2/24", facts).expect("described");
        for (to, from) in [([10, 0, 0, 9], [10, 0, 0, 2]), ([8, 8, 8, 8], [10, 1, 0, 2])] {
            let source = shard.interfaces.source_for(interface, to.into());
            assert_eq!(source, Some(from.into()), "{to:?}");
        }
    }

    #[test]
    fn groups_are_joined_by_their_link_addresses_within_bounds() {
        let (mut shard, interface) = host();
        let mut set = |last, joined| {
            let mac = MacAddr([3, 0, 0, 0, 0, last]);
            ask(&mut shard, Request::SetMulticast { interface, mac, joined })
        };
        assert_eq!(set(1, true), Ok(Reply::Done));
        assert_eq!(set(1, true), Err(Error::AlreadyExists));
        assert_eq!(set(2, false), Err(Error::NoSuchEntry));
        assert_eq!(set(1, false), Ok(Reply::Done));
        for last in 0..MAX_MULTICAST as u8 {
            assert_eq!(set(last, true), Ok(Reply::Done));
        }
        assert_eq!(set(200, true), Err(Error::LimitReached));
        for mac in [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr::BROADCAST] {
            let joined = ask(&mut shard, Request::SetMulticast { interface, mac, joined: true });
            assert_eq!(joined, Err(Error::InvalidArgument), "{mac}");
        }
    }
}
