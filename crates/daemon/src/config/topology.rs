//! Interfaces together: what stands upon what, and what each may then have.

use super::{
    Checker, ConfigError, InterfaceConfig, InterfaceTable,
    link::{LinkConfig, span_or},
};
use core::ops::Range;
use narrows_device::DeviceSpec;
use narrows_stack::table::{autoconf::AddressSource, interface::MIN_MTU, link::MAX_DEPTH};
use narrows_wire::address::MacAddr;
use std::collections::{BTreeMap, BTreeSet};
use toml::Spanned;

/// What any interface may be set to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkOptions {
    /// `None`: what the device has, or what is below.
    pub mtu: Option<u16>,
    pub mac: Option<MacAddr>,
    pub group: u32,
    pub promiscuous: bool,
    /// Of a bridge's port: who may speak by it.
    pub bound: Option<BTreeSet<MacAddr>>,
    /// Of a bridge's port: who is behind it.
    pub stations: BTreeSet<MacAddr>,
}

/// An interface's table, and what was made of it.
type Checked<'a> = (&'a InterfaceTable, &'a InterfaceConfig);

impl Checker<'_> {
    pub(super) fn options(&self, table: &InterfaceTable) -> Result<LinkOptions, ConfigError> {
        let mut options = LinkOptions {
            promiscuous: table.promiscuous.unwrap_or(false),
            ..LinkOptions::default()
        };
        if let Some(mtu) = &table.mtu {
            let fits = u16::try_from(*mtu.get_ref()).ok().filter(|mtu| *mtu >= MIN_MTU);
            options.mtu = Some(fits.ok_or_else(|| {
                let message = format!("mtu = {}: write {MIN_MTU} to {}", mtu.get_ref(), u16::MAX);
                self.error(mtu.span(), message)
            })?);
        }
        options.group = self.optional_group(&table.group)?.unwrap_or(0);
        options.mac = table.mac.as_ref().map(|mac| self.station(mac)).transpose()?;
        let stations = |list: &Vec<Spanned<String>>| -> Result<BTreeSet<_>, _> {
            list.iter().map(|mac| self.station(mac)).collect()
        };
        options.bound = table.bind.as_ref().map(|list| stations(list.get_ref())).transpose()?;
        let behind = table.fdb.as_ref().map(|list| stations(list.get_ref())).transpose()?;
        options.stations = behind.unwrap_or_default();
        Ok(options)
    }

    pub(super) fn station(&self, text: &Spanned<String>) -> Result<MacAddr, ConfigError> {
        let mut bytes = [0; 6];
        let mut parts = text.get_ref().split(':');
        let filled = bytes.iter_mut().all(|byte| {
            let part = parts.next().filter(|part| (1..=2).contains(&part.len()));
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            value.map(|value| *byte = value).is_some()
        });
        let mac = Some(MacAddr(bytes)).filter(|_| filled && parts.next().is_none());
        mac.filter(|mac| mac.is_unicast()).ok_or_else(|| {
            let message = format!(
                "\"{}\" is not the address of one station: write as \"02:00:00:00:00:01\"",
                text.get_ref()
            );
            self.error(text.span(), message)
        })
    }

    /// Checks all interfaces against each other.
    pub(super) fn topology(
        &self,
        tables: &[Spanned<InterfaceTable>],
        interfaces: &[InterfaceConfig],
    ) -> Result<(), ConfigError> {
        let all: Vec<Checked<'_>> = tables.iter().map(Spanned::get_ref).zip(interfaces).collect();
        let mut masters = BTreeMap::<&str, &str>::new();
        for (table, config) in &all {
            for name in config.link.below() {
                let span = self.span_of(table, name);
                let Some((_, lower)) = all.iter().find(|(_, other)| other.name == *name) else {
                    let names: Vec<_> = interfaces.iter().map(|other| &*other.name).collect();
                    let message =
                        format!("no interface \"{name}\": write one of {}", names.join(", "));
                    return Err(self.error(span, message));
                };
                self.may_stand_upon(config, lower, span.clone())?;
                if config.link.members().contains(name)
                    && let Some(master) = masters.insert(name, &config.name)
                {
                    let message =
                        format!("\"{name}\" is part of \"{master}\" already: write another");
                    return Err(self.error(span, message));
                }
                if !stands(interfaces, name, 1) {
                    let message = format!(
                        "\"{}\" would stand upon itself, or {MAX_DEPTH} others: leave \"{name}\" out",
                        config.name
                    );
                    return Err(self.error(span, message));
                }
            }
            self.only_vlan(table, config, interfaces)?;
        }
        all.iter().try_for_each(|(table, config)| {
            let master = masters.get(&*config.name).copied();
            let carries = interfaces.iter().any(|other| other.link.below().contains(&config.name));
            let bridged = interfaces.iter().any(|other| {
                matches!(&other.link, LinkConfig::Bridge { ports, .. } if ports.contains(&config.name))
            });
            self.its_place(table, config, master, carries, bridged)
        })
    }

    fn may_stand_upon(
        &self,
        upper: &InterfaceConfig,
        lower: &InterfaceConfig,
        span: Range<usize>,
    ) -> Result<(), ConfigError> {
        let in_bond = matches!(upper.link, LinkConfig::Bond { .. });
        if in_bond && lower.link.device().is_none() {
            let message = format!(
                "\"{}\" is {}: a bond's members are devices",
                lower.name,
                lower.link.describe()
            );
            return Err(self.error(span, message));
        }
        let (mtu, most) = (upper.options.mtu, self.mtu_of(lower));
        if let (Some(mtu), Some(most)) = (mtu, most)
            && mtu > most
        {
            let message = format!(
                "mtu {mtu} is more than the {most} of \"{}\": write at most {most}",
                lower.name
            );
            return Err(self.error(span, message));
        }
        Ok(())
    }

    /// As far as that is known before anything is opened.
    fn mtu_of(&self, config: &InterfaceConfig) -> Option<u16> {
        config.options.mtu.or_else(|| {
            let name = config.link.device()?.name();
            let link = self.links().iter().find(|link| link.name == name)?;
            Some(u16::try_from(link.mtu).unwrap_or(u16::MAX))
        })
    }

    fn only_vlan(
        &self,
        table: &InterfaceTable,
        config: &InterfaceConfig,
        interfaces: &[InterfaceConfig],
    ) -> Result<(), ConfigError> {
        let LinkConfig::Vlan { lower, tag } = &config.link else { return Ok(()) };
        let mut earlier = interfaces.iter().take_while(|other| other.name != config.name);
        match earlier.find(|other| other.link == config.link) {
            Some(other) => {
                let message = format!(
                    "VLAN {} of \"{lower}\" is interface \"{}\" already: write another id",
                    tag.id, other.name
                );
                Err(self.error(span_or(&table.id, table), message))
            }
            None => Ok(()),
        }
    }

    /// What an interface may have, by its place among the others.
    fn its_place(
        &self,
        table: &InterfaceTable,
        config: &InterfaceConfig,
        master: Option<&str>,
        carries: bool,
        bridged: bool,
    ) -> Result<(), ConfigError> {
        let addresses = || table.address.as_ref().map_or(table.name.span(), Spanned::span);
        let addressed = !config.addresses.is_empty() || config.source != AddressSource::Static;
        if let (Some(master), true) = (master, addressed) {
            let message = format!(
                "\"{}\" is part of \"{master}\", which has the addresses: leave address out",
                config.name
            );
            return Err(self.error(addresses(), message));
        }
        let switch = matches!(config.link, LinkConfig::Bridge { .. });
        if !addressed && !carries && !switch {
            let message = "an interface needs an address: write address = [\"10.0.0.2/24\"]";
            return Err(self.error(addresses(), message));
        }
        for (key, span) in [
            ("bind", table.bind.as_ref().map(Spanned::span)),
            ("fdb", table.fdb.as_ref().map(Spanned::span)),
        ] {
            if let Some(span) = span.filter(|_| !bridged) {
                let message = format!("{key} is for a port of a bridge: leave it out");
                return Err(self.error(span, message));
            }
        }
        self.device_carries(table, config)
    }

    /// Frames for the kernel's interface may not be longer than that says.
    fn device_carries(
        &self,
        table: &InterfaceTable,
        config: &InterfaceConfig,
    ) -> Result<(), ConfigError> {
        let (Some(mtu), Some(DeviceSpec::Packet(name))) = (&table.mtu, config.link.device()) else {
            return Ok(());
        };
        let link = self.links().iter().find(|link| link.name == *name);
        match link.filter(|link| *mtu.get_ref() > i64::from(link.mtu)) {
            Some(link) => {
                let message = format!(
                    "{name} has an MTU of {most} in the kernel: write at most {most}, or set it \
                     first with `ip link set {name} mtu {wanted}`",
                    most = link.mtu,
                    wanted = mtu.get_ref()
                );
                Err(self.error(mtu.span(), message))
            }
            None => Ok(()),
        }
    }

    /// Where a table names an interface below it.
    fn span_of(&self, table: &InterfaceTable, name: &str) -> Range<usize> {
        let lists = [&table.members, &table.ports];
        let mut listed = lists.into_iter().flatten().flat_map(|list| list.get_ref());
        match listed.find(|listed| listed.get_ref() == name) {
            Some(listed) => listed.span(),
            None => span_or(&table.link, table),
        }
    }
}

/// Does following what `name` stands upon end, after not too many steps?
fn stands(interfaces: &[InterfaceConfig], name: &str, depth: usize) -> bool {
    let found = interfaces.iter().find(|config| config.name == *name);
    depth < MAX_DEPTH
        && found.is_none_or(|config| {
            config.link.below().iter().all(|below| stands(interfaces, below, depth + 1))
        })
}

/// The interfaces in an order in which each comes after those it stands upon.
pub(crate) fn from_below(interfaces: &[InterfaceConfig]) -> Vec<usize> {
    let mut order = Vec::new();
    while order.len() < interfaces.len() {
        let before = order.len();
        for (index, config) in interfaces.iter().enumerate() {
            let known = |name: &String| {
                let at = interfaces.iter().position(|other| other.name == *name);
                at.is_none_or(|at| order.contains(&at))
            };
            if !order.contains(&index) && config.link.below().iter().all(known) {
                order.push(index);
            }
        }
        if order.len() == before {
            break;
        }
    }
    order
}
