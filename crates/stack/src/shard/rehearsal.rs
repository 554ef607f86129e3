//! Trying what the operator asks before it is done.

use super::Shard;

impl Shard {
    /// A shard with the same interfaces, zones, addresses, routes, rules and neighbors, but without sockets or
    /// anything to send. What the operator asks of the one is refused by the other for the same
    /// reasons, so several requests can be tried in order before the first is made in earnest.
    pub fn rehearsal(&self) -> Self {
        // Nothing it draws is seen by anybody.
        let trial = Self::new(self.config.clone(), [0; 16]);
        Self {
            interfaces: self.interfaces.clone(),
            links: self.links.clone(),
            zones: self.zones.clone(),
            routes: self.routes.clone(),
            neighbors: self.neighbors.clone(),
            claims: self.claims.clone(),
            autoconf: self.autoconf.clone(),
            ..trial
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Config, Instant, InterfaceId, Shard,
        request::{Error, LinkChange, Principal, Reply, Request},
        table::interface::InterfaceSettings,
    };
    use narrows_wire::address::{MacAddr, Prefix};

    #[test]
    fn what_is_tried_changes_nothing_and_fails_alike() {
        let mut shard = Shard::new(Config::default(), [1; 16]);
        let ask = |shard: &mut Shard, request| {
            shard.request(Instant::ZERO, Principal::default(), request)
        };
        let settings = InterfaceSettings {
            name: "lan".into(),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            capabilities: Default::default(),
            routing: Default::default(),
        };
        let added = ask(&mut shard, Request::AddInterface { settings });
        let Ok(Reply::Interface(interface)) = added else { panic!("{added:?}") };
        let prefix = Prefix::new([10, 0, 0, 2].into(), 24).expect("a prefix");
        let mut trial = shard.rehearsal();
        let address = Request::AddAddress { interface, prefix };
        assert_eq!(ask(&mut trial, address.clone()), Ok(Reply::Done));
        assert_eq!(ask(&mut trial, address.clone()), Err(Error::AddressInUse));
        let held = |shard: &Shard| shard.interface(interface).map(|it| it.addresses.clone());
        assert_eq!((held(&shard), held(&trial)), (Some(vec![]), Some(vec![prefix])));
        assert_eq!(ask(&mut shard, address), Ok(Reply::Done));
        let bad = Request::SetLink { interface: InterfaceId(9), change: LinkChange::Mtu(1400) };
        let mut trial = shard.rehearsal();
        assert_eq!(ask(&mut trial, bad.clone()), ask(&mut shard, bad));
        assert_eq!(ask(&mut trial, Request::RemoveInterface { interface }), Ok(Reply::Done));
        assert!(shard.interface(interface).is_some());
    }
}
