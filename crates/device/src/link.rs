//! The kernel's interfaces: what there is, and the little that Narrows sets on them.

use narrows_wire::address::MacAddr;
use std::{io, net::Ipv4Addr};

/// One of the kernel's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `None`: not Ethernet.
    pub mac: Option<MacAddr>,
    pub mtu: u32,
    pub up: bool,
    /// The kernel's own IPv4 addresses there, with prefix lengths.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// All interfaces of the calling thread's network namespace, by index.
pub fn list() -> io::Result<Vec<Link>> {
    todo!()
}

/// The interface of that name.
pub fn find(_name: &str) -> io::Result<Option<Link>> {
    todo!()
}

/// Sets the interface up.
pub fn set_up(_index: u32) -> io::Result<()> {
    todo!()
}

/// Gives the kernel an address there; one it already has is fine.
pub fn add_address(_index: u32, _address: Ipv4Addr, _prefix_length: u8) -> io::Result<()> {
    todo!()
}
