//! The interfaces of the shard and their addresses. Invariant: an address belongs to one interface.

use crate::request::Error;
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{
    address::{MacAddr, Prefix},
    offload::Capabilities,
};

/// Index of an interface; never reused while the shard lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u16);

impl InterfaceId {
    /// 127.0.0.0/8 and all traffic between sockets of this shard; always there.
    pub const LOOPBACK: Self = Self(0);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSettings {
    pub name: String,
    pub mac: MacAddr,
    /// The longest IPv4 packet, in bytes.
    pub mtu: u16,
    pub capabilities: Capabilities,
}

#[derive(Clone, Debug)]
pub struct Interface {
    pub settings: InterfaceSettings,
    pub addresses: Vec<Prefix>,
}

#[derive(Clone, Debug)]
pub struct InterfaceTable {
    interfaces: Vec<Interface>,
}

impl InterfaceTable {
    /// The loopback interface alone.
    pub fn new() -> Self {
        todo!()
    }

    pub fn add(&mut self, settings: InterfaceSettings) -> Result<InterfaceId, Error> {
        let _ = settings;
        todo!()
    }

    pub fn get(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(usize::from(id.0))
    }

    pub fn iter(&self) -> impl Iterator<Item = (InterfaceId, &Interface)> {
        self.interfaces
            .iter()
            .enumerate()
            .map(|(index, interface)| (InterfaceId(index as u16), interface))
    }

    pub fn add_address(&mut self, id: InterfaceId, prefix: Prefix) -> Result<(), Error> {
        let _ = (id, prefix);
        todo!()
    }

    pub fn remove_address(&mut self, id: InterfaceId, prefix: Prefix) -> Result<(), Error> {
        let _ = (id, prefix);
        todo!()
    }

    /// The interface that owns `address`; 127.0.0.0/8 is the loopback's.
    pub fn owner(&self, address: IpAddr) -> Option<InterfaceId> {
        let _ = address;
        todo!()
    }

    /// The interface's first address in the subnet of `destination`, or its first address.
    pub fn source_for(&self, id: InterfaceId, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let _ = (id, destination);
        todo!()
    }
}
