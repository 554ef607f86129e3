//! The kernel's stack, kept off the addresses that are ours.
//!
//! A packet socket sees copies; the kernel goes on to process every frame itself, and would answer
//! a segment for our address with a reset if the address were its own, or forward it. The guard is an
//! nftables chain at the interface's ingress, which is after packet sockets and before everything
//! else. It names our addresses alone: the kernel keeps its own, on the same interface.

use crate::{OpenError, link};
use narrows_sys::netfilter::{Condition, DropRule, Field, Header, IngressTable};
use narrows_wire::address::MacAddr;
use std::{io, net::Ipv4Addr};

/// Keeps the kernel's stack from acting on frames for our addresses, as long as it lives, and no
/// longer than the process.
pub struct Guard {
    _table: IngressTable,
}

impl Guard {
    /// From now on the kernel drops, after packet sockets saw them, the IPv4 packets and ARP
    /// packets that arrive on `interface` for one of `addresses`.
    pub fn new(interface: &str, addresses: &[Ipv4Addr]) -> Result<Self, OpenError> {
        Self::with(interface, addresses, |_| Vec::new())
    }

    /// The same of an interface that forwards, and of all IPv4 packets sent to its station that are
    /// not for one of `kernels`, the kernel's own addresses: the kernel forwards none of ours.
    pub fn of_router(
        interface: &str,
        addresses: &[Ipv4Addr],
        kernels: &[Ipv4Addr],
    ) -> Result<Self, OpenError> {
        Self::with(interface, addresses, |mac| vec![ipv4_through(mac, kernels)])
    }

    fn with(
        interface: &str,
        addresses: &[Ipv4Addr],
        more: impl FnOnce(MacAddr) -> Vec<DropRule>,
    ) -> Result<Self, OpenError> {
        let what = format!("keeping the kernel off our addresses on {interface}");
        let links = link::list().map_err(|error| OpenError::io(&what, error))?;
        let Some(link) = links.iter().find(|link| link.name == interface) else {
            return Err(OpenError::no_interface(interface, &links));
        };
        let mut rules: Vec<_> =
            addresses.iter().flat_map(|&address| [ipv4_to(address), arp_for(address)]).collect();
        rules.extend(link.mac.map(more).unwrap_or_default());
        match IngressTable::new("narrows", interface, &rules) {
            Ok(table) => {
                tracing::debug!(interface, table = table.name(), "the kernel is kept off");
                Ok(Self { _table: table })
            }
            Err(error) => Err(match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    OpenError::Permission { what, capability: "CAP_NET_ADMIN" }
                }
                io::ErrorKind::Unsupported | io::ErrorKind::NotFound => OpenError::Unsupported {
                    what,
                    hint: "it needs nftables (CONFIG_NF_TABLES_NETDEV)",
                },
                _ => OpenError::io(&what, error),
            }),
        }
    }
}

/// Untagged frames of that EtherType.
fn ether_type(value: u16) -> Condition {
    let value = value.to_be_bytes().into();
    Condition::Equal(Field { header: Header::Link, offset: 12, value })
}

/// RFC 791 §3.1: the destination address.
fn destination(address: Ipv4Addr) -> Field {
    Field { header: Header::Network, offset: 16, value: address.octets().into() }
}

fn ipv4_to(address: Ipv4Addr) -> DropRule {
    vec![ether_type(0x0800), Condition::Equal(destination(address))]
}

/// RFC 826, for Ethernet and IPv4: the target's protocol address.
fn arp_for(address: Ipv4Addr) -> DropRule {
    let target = Field { header: Header::Network, offset: 24, value: address.octets().into() };
    vec![ether_type(0x0806), Condition::Equal(target)]
}

/// What is sent to the station for somebody else, as a router's neighbors do.
fn ipv4_through(station: MacAddr, kernels: &[Ipv4Addr]) -> DropRule {
    let station = Field { header: Header::Link, offset: 0, value: station.0.into() };
    let others = kernels.iter().map(|kernel| Condition::Different(destination(*kernel)));
    [ether_type(0x0800), Condition::Equal(station)].into_iter().chain(others).collect()
}
