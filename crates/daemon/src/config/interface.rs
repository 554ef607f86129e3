//! Interfaces: `[[interface]]`, with its name, its device, and its addresses beside those of others.

use super::{Checker, ConfigError, LinkConfig, LinkOptions, address, arp, group, text_of};
use narrows_device::{DeviceSpec, link::Link};
use narrows_ipc::change::AddressDetails;
use narrows_stack::table::{
    arp_policy::ArpPolicy, autoconf::AddressSource, route::RoutingSettings, zone::ZoneId,
};
use narrows_wire::address::Prefix;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use toml::Spanned;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InterfaceConfig {
    pub name: String,
    pub link: LinkConfig,
    pub options: LinkOptions,
    /// IPv4, each with the prefix length of its network.
    pub addresses: Vec<Prefix>,
    /// What is said of some of them beside that.
    pub described: Vec<(Prefix, AddressDetails)>,
    pub source: AddressSource,
    /// What the kernel gets on its side of a TAP.
    pub kernel: Option<(Ipv4Addr, u8)>,
    pub arp: ArpPolicy,
    pub routing: RoutingSettings,
    pub zone: ZoneId,
}

/// The longest interface name, as in the kernel (IFNAMSIZ less its NUL).
const MAX_NAME: usize = 15;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InterfaceTable {
    pub(super) name: Spanned<String>,
    pub(super) device: Spanned<String>,
    pub(super) address: Option<Spanned<address::Addresses>>,
    pub(super) kernel: Option<Spanned<String>>,
    pub(super) zone: Option<Spanned<String>>,
    pub(super) conflict_detection: Option<Spanned<String>>,
    pub(super) arp_ignore: Option<Spanned<i64>>,
    pub(super) arp_announce: Option<Spanned<i64>>,
    pub(super) arp_filter: Option<Spanned<arp::Switch>>,
    pub(super) arp_accept: Option<Spanned<arp::Switch>>,
    pub(super) proxy_arp: Option<Spanned<arp::Switch>>,
    pub(super) forward: Option<bool>,
    pub(super) host_model: Option<Spanned<String>>,
    pub(super) reverse_path: Option<Spanned<String>>,
    pub(super) redirects: Option<bool>,
    pub(super) mtu: Option<Spanned<i64>>,
    pub(super) mac: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<group::GroupName>>,
    pub(super) promiscuous: Option<bool>,
    pub(super) bind: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) fdb: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) link: Option<Spanned<String>>,
    pub(super) id: Option<Spanned<i64>>,
    pub(super) protocol: Option<Spanned<String>>,
    pub(super) members: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) mode: Option<Spanned<String>>,
    pub(super) xmit_hash_policy: Option<Spanned<String>>,
    pub(super) primary: Option<Spanned<String>>,
    pub(super) lacp_rate: Option<Spanned<String>>,
    pub(super) arp_interval: Option<Spanned<i64>>,
    pub(super) arp_ip_target: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) min_links: Option<Spanned<i64>>,
    pub(super) updelay: Option<Spanned<i64>>,
    pub(super) downdelay: Option<Spanned<i64>>,
    pub(super) ports: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) ageing_time: Option<Spanned<i64>>,
    pub(super) max_addresses: Option<Spanned<i64>>,
    pub(super) flood_limit: Option<Spanned<i64>>,
}

impl InterfaceConfig {
    /// Without addresses, and otherwise as a file that says no more.
    pub(crate) fn bare(name: &str, link: LinkConfig, options: LinkOptions) -> Self {
        let (addresses, kernel) = (Vec::new(), None);
        Self {
            name: name.into(),
            link,
            options,
            addresses,
            described: Vec::new(),
            source: AddressSource::Static,
            kernel,
            arp: arp::DEFAULT,
            routing: RoutingSettings::default(),
            zone: ZoneId::PUBLIC,
        }
    }
}

impl Checker<'_> {
    pub(super) fn interface(
        &self,
        earlier: &[InterfaceConfig],
        table: &InterfaceTable,
    ) -> Result<InterfaceConfig, ConfigError> {
        let name = self.name(earlier, &table.name)?;
        let link = self.link(earlier, table)?;
        let options = self.options(table)?;
        let arp = self.arp_policy(table)?;
        let routing = self.routing(table)?;
        let source = self.address_source(table)?;
        let mut interface = InterfaceConfig {
            name,
            link,
            options,
            addresses: Vec::new(),
            described: Vec::new(),
            source,
            kernel: None,
            arp,
            routing,
            // Known when all interfaces are.
            zone: ZoneId::PUBLIC,
        };
        for entry in table.address.iter().flat_map(|list| list.get_ref().list()) {
            let prefix = self.own_address(earlier, &interface, &address::prefix_of(entry))?;
            interface.addresses.push(prefix);
            let details = self.address_details(prefix, entry)?;
            interface.described.extend(details.map(|details| (prefix, details)));
        }
        if let Some(text) = &table.kernel {
            interface.kernel = Some(self.kernel_address(&interface, text)?);
        }
        Ok(interface)
    }

    pub(super) fn name(
        &self,
        earlier: &[InterfaceConfig],
        name: &Spanned<String>,
    ) -> Result<String, ConfigError> {
        let text = name.get_ref();
        if !is_interface_name(text) {
            let message = format!(
                "\"{text}\" is not an interface name: write 1 to {MAX_NAME} letters, digits, '-', \
                 '_' or '.'"
            );
            return Err(self.error(name.span(), message));
        }
        if text == "lo" {
            let message = "\"lo\" is the loopback interface, always there: write another name";
            return Err(self.error(name.span(), message));
        }
        if earlier.iter().any(|interface| interface.name == *text) {
            let message = format!("a second interface \"{text}\": write another name");
            return Err(self.error(name.span(), message));
        }
        Ok(text.clone())
    }

    pub(super) fn device(
        &self,
        earlier: &[InterfaceConfig],
        text: &Spanned<String>,
    ) -> Result<DeviceSpec, ConfigError> {
        let device = DeviceSpec::parse(text.get_ref())
            .map_err(|error| self.error(text.span(), error.to_string()))?;
        if let Some(other) = earlier
            .iter()
            .find(|other| other.link.device().is_some_and(|held| held.name() == device.name()))
        {
            let message = format!(
                "device {} is interface \"{}\" already: write another device, or put both \
                 addresses there",
                device.name(),
                other.name
            );
            return Err(self.error(text.span(), message));
        }
        let holds = |links: &[Link]| links.iter().any(|link| link.name == device.name());
        let present = self.links.is_none_or(holds);
        if matches!(device, DeviceSpec::Packet(_)) && !present {
            let names: Vec<_> = self.links().iter().map(|link| link.name.as_str()).collect();
            let message = format!(
                "no device {}: write packet: and one of {}",
                device.name(),
                names.join(", ")
            );
            return Err(self.error(text.span(), message));
        }
        Ok(device)
    }

    /// An address of ours: a host's, on no other interface and not the kernel's.
    pub(in crate::config) fn own_address(
        &self,
        earlier: &[InterfaceConfig],
        interface: &InterfaceConfig,
        text: &Spanned<String>,
    ) -> Result<Prefix, ConfigError> {
        let prefix = self.host_address(text)?;
        let address = prefix.address();
        for other in earlier.iter().chain([interface]) {
            if other.addresses.iter().any(|own| own.address() == address) {
                let message = format!(
                    "{address} is the address of interface \"{}\" already: write another",
                    other.name
                );
                return Err(self.error(text.span(), message));
            }
        }
        for other in earlier {
            if other.addresses.iter().any(|own| own.network() == prefix.network()) {
                let message = format!(
                    "{} is the network of interface \"{}\" already: write an address of another \
                     network",
                    text_of(prefix.network()),
                    other.name
                );
                return Err(self.error(text.span(), message));
            }
            if let Some(own) = other.addresses.iter().find(|own| overlap(**own, prefix)) {
                let message = format!(
                    "{} overlaps {}, the network of interface \"{}\": write an address of another \
                     network",
                    text_of(prefix.network()),
                    text_of(own.network()),
                    other.name
                );
                return Err(self.error(text.span(), message));
            }
        }
        let holds =
            |link: &&Link| link.addresses.iter().any(|(own, _)| IpAddr::V4(*own) == address);
        if let Some(link) = self.links().iter().find(holds) {
            let message = format!(
                "{address} is the kernel's own address on {}: write one that nobody has",
                link.name
            );
            return Err(self.error(text.span(), message));
        }
        Ok(prefix)
    }

    fn kernel_address(
        &self,
        interface: &InterfaceConfig,
        text: &Spanned<String>,
    ) -> Result<(Ipv4Addr, u8), ConfigError> {
        if !matches!(interface.link, LinkConfig::Device(DeviceSpec::Tap(_))) {
            let message = format!(
                "kernel is for tap devices: leave it out, {} has the kernel's own addresses",
                interface.link.describe()
            );
            return Err(self.error(text.span(), message));
        }
        let prefix = self.host_address(text)?;
        if interface.addresses.iter().any(|own| own.address() == prefix.address()) {
            let message =
                format!("{} is both ours and the kernel's: write another", prefix.address());
            return Err(self.error(text.span(), message));
        }
        match prefix.address() {
            IpAddr::V4(address) => Ok((address, prefix.length())),
            IpAddr::V6(_) => Err(self.not_an_address(text)),
        }
    }
}

/// Is one network part of the other? A single host's address is in nobody's way.
fn overlap(one: Prefix, other: Prefix) -> bool {
    let hosts = one.length() < 32 && other.length() < 32;
    hosts && (one.contains(other.address()) || other.contains(one.address()))
}

/// Can an interface have this name?
pub(crate) fn is_interface_name(text: &str) -> bool {
    let fits = (1..=MAX_NAME).contains(&text.len());
    fits && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
