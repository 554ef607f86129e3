//! A wire with Narrows at one end and the kernel at the other.

use crate::{
    Namespace,
    netlink::{self, Links},
};
use anyhow::{Context, Result};
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
        let network = Self { narrows: Namespace::new()?, kernel: Namespace::new()? };
        network.add_wire(Self::NARROWS_INTERFACE, Self::KERNEL_INTERFACE)?;
        let address = Self::KERNEL_ADDRESS;
        network.kernel.run(|| {
            netlink::run(async |links| {
                links.add_address(Self::KERNEL_INTERFACE, address, Self::PREFIX_LENGTH).await
            })
        })??;
        Ok(network)
    }

    /// Another wire between both namespaces: interfaces of these names, up and without addresses.
    pub fn add_wire(&self, narrows: &str, kernel: &str) -> Result<()> {
        join((&self.narrows, narrows), (&self.kernel, kernel))
    }

    /// Gives the kernel [`Network::KERNEL_ADDRESS_AT_NARROWS`] at Narrows' end too, so that kernel
    /// and kernel can talk over the same wire.
    pub fn address_narrows_end(&self) -> Result<()> {
        let address = Self::KERNEL_ADDRESS_AT_NARROWS;
        self.narrows
            .run(|| {
                netlink::run(async |links| {
                    links.add_address(Self::NARROWS_INTERFACE, address, Self::PREFIX_LENGTH).await
                })
            })?
            .with_context(|| format!("giving the kernel {address} at Narrows' end"))
    }
}

/// A wire between two namespaces: interfaces of these names, up and without addresses.
pub fn join(
    (one, one_name): (&Namespace, &str),
    (other, other_name): (&Namespace, &str),
) -> Result<()> {
    other
        .run(|| {
            netlink::run(async |links| {
                links.add_veth(other_name, one_name).await?;
                links.move_to(one_name, one.descriptor()).await?;
                links.set_up(other_name).await
            })
        })?
        .context("making a veth pair")?;
    let up = async |links: Links| links.set_up(one_name).await;
    one.run(|| netlink::run(up))?.context("setting the veth pair up")?;
    for (namespace, name) in [(one, one_name), (other, other_name)] {
        namespace
            .run(|| netlink::run(async |links| links.wait_until_operational(name).await))??;
    }
    Ok(())
}
