//! `[[neighbor]]`: link addresses that are known and never asked for.

use super::{Checker, ConfigError, Configuration};
use narrows_wire::address::MacAddr;
use serde::Deserialize;
use std::net::Ipv4Addr;
use toml::Spanned;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeighborConfig {
    pub address: Ipv4Addr,
    pub mac: MacAddr,
    /// Index into [`Configuration::interfaces`].
    pub interface: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NeighborTable {
    address: Spanned<String>,
    lladdr: Spanned<String>,
    interface: Spanned<String>,
}

impl Checker<'_> {
    pub(super) fn neighbor(
        &self,
        configuration: &Configuration,
        table: &NeighborTable,
    ) -> Result<NeighborConfig, ConfigError> {
        let interface = self.interface_named(configuration, &table.interface)?;
        let text = table.address.get_ref();
        let address: Ipv4Addr = text.parse().map_err(|_| {
            let message = format!("\"{text}\" is not an IPv4 address: write as \"10.0.0.1\"");
            self.error(table.address.span(), message)
        })?;
        if configuration.interfaces.iter().any(|own| {
            own.addresses.iter().any(|prefix| prefix.address() == std::net::IpAddr::V4(address))
        }) {
            let message = format!("{address} is our own address: write a neighbor's");
            return Err(self.error(table.address.span(), message));
        }
        let same =
            |other: &NeighborConfig| (other.interface, other.address) == (interface, address);
        if configuration.neighbors.iter().any(same) {
            let message = format!("a second neighbor {address}: leave one out");
            return Err(self.error(table.address.span(), message));
        }
        let text = table.lladdr.get_ref();
        let mac = mac(text).filter(|mac| mac.is_unicast()).ok_or_else(|| {
            let message = format!(
                "\"{text}\" is not the MAC address of one station: write as \"02:00:00:00:00:01\""
            );
            self.error(table.lladdr.span(), message)
        })?;
        Ok(NeighborConfig { address, mac, interface })
    }
}

/// Six bytes in hexadecimal with colons between.
fn mac(text: &str) -> Option<MacAddr> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| (1..=2).contains(&part.len()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(MacAddr(bytes))
}
