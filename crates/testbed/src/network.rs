//! (being written)

use crate::Namespace;
use anyhow::Result;
use std::net::Ipv4Addr;

/// Two namespaces joined by a veth pair: one end for Narrows, one for the kernel.
pub struct Network {
    /// Where the daemon runs. Its end of the wire is [`Network::NARROWS_INTERFACE`], up and without
    /// an address.
    pub narrows: Namespace,
    /// Where the kernel's own TCP answers, at [`Network::KERNEL_ADDRESS`] on
    /// [`Network::KERNEL_INTERFACE`].
    pub kernel: Namespace,
}

impl Network {
    pub const NARROWS_INTERFACE: &str = "nw0";
    pub const KERNEL_INTERFACE: &str = "peer0";
    /// Narrows' own; the kernel does not have it.
    pub const NARROWS_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    pub const KERNEL_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The kernel's at Narrows' end, after [`Network::address_narrows_end`].
    pub const KERNEL_ADDRESS_AT_NARROWS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
    pub const PREFIX_LENGTH: u8 = 24;

    pub fn new() -> Result<Self> {
        todo!()
    }

    /// Gives the kernel [`Network::KERNEL_ADDRESS_AT_NARROWS`] at Narrows' end too, so that kernel
    /// and kernel can talk over the same wire.
    pub fn address_narrows_end(&self) -> Result<()> {
        todo!()
    }
}
