//! The kernel's stack, kept off the addresses that are ours.
//!
//! A packet socket sees copies; the kernel goes on to process every frame itself, and would answer
//! a segment for our address with a reset if the address were its own, or forward it. The guard is an
//! nftables chain at the interface's ingress, which is after packet sockets and before everything
//! else. It names our addresses alone: the kernel keeps its own, on the same interface.

use crate::{OpenError, link};
use narrows_sys::netfilter::{DropRule, Field, Header, IngressTable};
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
        let what = format!("keeping the kernel off our addresses on {interface}");
        let links = link::list().map_err(|error| OpenError::io(&what, error))?;
        if !links.iter().any(|link| link.name == interface) {
            return Err(OpenError::no_interface(interface, &links));
        }
        let rules: Vec<_> =
            addresses.iter().flat_map(|&address| [ipv4_to(address), arp_for(address)]).collect();
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
fn ether_type(value: u16) -> Field {
    Field { header: Header::Link, offset: 12, value: value.to_be_bytes().into() }
}

/// RFC 791 §3.1: the destination address.
fn ipv4_to(address: Ipv4Addr) -> DropRule {
    let destination = Field { header: Header::Network, offset: 16, value: address.octets().into() };
    vec![ether_type(0x0800), destination]
}

/// RFC 826, for Ethernet and IPv4: the target's protocol address.
fn arp_for(address: Ipv4Addr) -> DropRule {
    let target = Field { header: Header::Network, offset: 24, value: address.octets().into() };
    vec![ether_type(0x0806), target]
}
