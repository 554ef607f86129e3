//! Addresses of interfaces come and go, and routes with them.

use super::Shard;
use crate::{
    layer::arp::conflict,
    request::{Error, Reply},
    table::{arp_policy::ConflictDetection, interface::InterfaceId},
    time::Instant,
};
use core::net::IpAddr;
use narrows_wire::address::Prefix;

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
            self.interfaces.remove_address(interface, prefix)?;
            self.disconnect_subnet(interface, prefix);
        }
        self.claims.remove(key);
        conflict::arm(self);
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
        if self.interfaces.remove_address(interface, prefix).is_ok() {
            self.disconnect_subnet(interface, prefix);
        }
    }
}
