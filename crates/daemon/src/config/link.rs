//! What an interface is: a device, or something that stands upon other interfaces.
//!
//! | `device` | its keys |
//! |---|---|
//! | `"packet:eth1"`, `"tap:narrows0"` | |
//! | `"vlan"` | `link`, `id`, `protocol` |
//! | `"bond"` | `members`, `mode`, `xmit_hash_policy`, `primary`, `lacp_rate`, `arp_interval`, `arp_ip_target`, `min_links`, `updelay`, `downdelay` |
//! | `"bridge"` | `ports`, `ageing_time`, `max_addresses`, `flood_limit` |
//!
//! Interfaces are named in any order. Keys and values are those of ip-link(8) where it has them;
//! times are in seconds, but `arp_interval`, `updelay` and `downdelay` in milliseconds, as there.

use super::{Checker, ConfigError, InterfaceConfig, InterfaceTable};
use core::{ops::Range, time::Duration};
use narrows_device::DeviceSpec;
use narrows_stack::table::{
    bond::{ArpMonitor, BondMode, HashPolicy, MAX_MEMBERS},
    bridge::BridgeSettings,
};
use narrows_wire::{
    address::MacAddr,
    vlan::{Tag, TagProtocol, VlanId},
};
use std::net::Ipv4Addr;
use toml::Spanned;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkConfig {
    Device(DeviceSpec),
    Vlan {
        lower: String,
        tag: Tag,
    },
    Bond {
        members: Vec<String>,
        bond: BondConfig,
    },
    Bridge {
        ports: Vec<String>,
        settings: BridgeSettings,
    },
    /// A private zone's: made by the zone.
    Private {
        mac: MacAddr,
    },
}

/// As [`BondSettings`](narrows_stack::table::bond::BondSettings), by names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BondConfig {
    pub mode: BondMode,
    pub hash: HashPolicy,
    pub primary: Option<String>,
    pub lacp_fast: bool,
    pub monitor: Option<ArpMonitor>,
    pub min_links: u8,
    pub up_delay: Duration,
    pub down_delay: Duration,
}

impl LinkConfig {
    pub(crate) fn device(&self) -> Option<&DeviceSpec> {
        match self {
            Self::Device(spec) => Some(spec),
            _ => None,
        }
    }

    /// The interfaces that become part of it.
    pub(crate) fn members(&self) -> &[String] {
        match self {
            Self::Bond { members, .. } => members,
            Self::Bridge { ports, .. } => ports,
            Self::Device(_) | Self::Vlan { .. } | Self::Private { .. } => &[],
        }
    }

    /// The interfaces it stands upon.
    pub(crate) fn below(&self) -> &[String] {
        match self {
            Self::Vlan { lower, .. } => std::slice::from_ref(lower),
            _ => self.members(),
        }
    }

    /// In a few words, for messages and reports.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Device(spec) => spec.to_string(),
            Self::Vlan { lower, tag } => format!("vlan:{lower}.{}", tag.id),
            Self::Bond { bond, .. } => format!("bond:{}", bond.mode.name()),
            Self::Bridge { .. } => "bridge".into(),
            Self::Private { .. } => "private".into(),
        }
    }
}

/// Milliseconds that ARP monitoring may wait: less would be a flood, more no monitoring.
const ARP_INTERVAL: core::ops::RangeInclusive<i64> = 10..=60_000;
/// Milliseconds for which a member's wire may be doubted: after a minute it is broken.
const LINK_DELAY: core::ops::RangeInclusive<i64> = 0..=60_000;
/// Seconds (802.1D, table 7-5: 10 to 1,000,000).
const AGEING_TIME: core::ops::RangeInclusive<i64> = 1..=1_000_000;
/// Addresses that one bridge may learn, at most: what a large site has.
const MAX_ADDRESSES: core::ops::RangeInclusive<i64> = 1..=1 << 20;
const FLOOD_LIMIT: core::ops::RangeInclusive<i64> = 0..=u32::MAX as i64;

type Key<T> = Option<Spanned<T>>;
type Names = Spanned<Vec<Spanned<String>>>;

impl Checker<'_> {
    /// What the interface is, as far as its own table tells.
    pub(super) fn link(
        &self,
        earlier: &[InterfaceConfig],
        table: &InterfaceTable,
    ) -> Result<LinkConfig, ConfigError> {
        let kind = match table.device.get_ref().as_str() {
            "private" => {
                let message = "a private interface comes with its zone: write [[zone]] with link = \
                               \"private\" and members";
                return Err(self.error(table.device.span(), message));
            }
            kind @ ("vlan" | "bond" | "bridge") => kind,
            _ => "device",
        };
        self.refuse_strange_keys(table, kind)?;
        match kind {
            "vlan" => self.vlan(table),
            "bond" => self.bond(table),
            "bridge" => self.bridge(table),
            _ => self.device(earlier, &table.device).map(LinkConfig::Device),
        }
    }

    /// Keys of another kind of interface.
    fn refuse_strange_keys(&self, table: &InterfaceTable, kind: &str) -> Result<(), ConfigError> {
        fn span<T>(key: &Key<T>) -> Option<Range<usize>> {
            key.as_ref().map(Spanned::span)
        }
        let keys = [
            ("link", "vlan", span(&table.link)),
            ("id", "vlan", span(&table.id)),
            ("protocol", "vlan", span(&table.protocol)),
            ("members", "bond", span(&table.members)),
            ("mode", "bond", span(&table.mode)),
            ("xmit_hash_policy", "bond", span(&table.xmit_hash_policy)),
            ("primary", "bond", span(&table.primary)),
            ("lacp_rate", "bond", span(&table.lacp_rate)),
            ("arp_interval", "bond", span(&table.arp_interval)),
            ("arp_ip_target", "bond", span(&table.arp_ip_target)),
            ("min_links", "bond", span(&table.min_links)),
            ("updelay", "bond", span(&table.updelay)),
            ("downdelay", "bond", span(&table.downdelay)),
            ("ports", "bridge", span(&table.ports)),
            ("ageing_time", "bridge", span(&table.ageing_time)),
            ("max_addresses", "bridge", span(&table.max_addresses)),
            ("flood_limit", "bridge", span(&table.flood_limit)),
        ];
        for (key, of, span) in keys {
            if let Some(span) = span.filter(|_| of != kind) {
                let message = format!("{key} is for device = \"{of}\": leave it out");
                return Err(self.error(span, message));
            }
        }
        Ok(())
    }

    fn vlan(&self, table: &InterfaceTable) -> Result<LinkConfig, ConfigError> {
        let missing = |what: &str| self.error(table.device.span(), format!("a VLAN needs {what}"));
        let lower = table
            .link
            .as_ref()
            .ok_or_else(|| missing("the interface it is on: write link = \"NAME\""))?;
        let id = table.id.as_ref().ok_or_else(|| missing("its number: write id = 100"))?;
        let number = u16::try_from(*id.get_ref()).ok().and_then(VlanId::new);
        let number = number.ok_or_else(|| {
            let message = format!("id = {}: write 1 to {}", id.get_ref(), VlanId::MAX);
            self.error(id.span(), message)
        })?;
        let protocols = [TagProtocol::Dot1q, TagProtocol::Dot1ad].map(|each| (each.name(), each));
        let protocol = self.choice("protocol", &table.protocol, &protocols)?;
        let tag = Tag { protocol: protocol.unwrap_or(TagProtocol::Dot1q), id: number };
        Ok(LinkConfig::Vlan { lower: lower.get_ref().clone(), tag })
    }

    fn bond(&self, table: &InterfaceTable) -> Result<LinkConfig, ConfigError> {
        let members = self.names("members", table, &table.members)?;
        if members.len() > MAX_MEMBERS {
            let message = format!("{} members: a bond has {MAX_MEMBERS} at most", members.len());
            return Err(self.error(span_or(&table.members, table), message));
        }
        let modes = BondMode::ALL.map(|mode| (mode.name(), mode));
        let mode = self.choice("mode", &table.mode, &modes)?.unwrap_or_default();
        let policies = HashPolicy::ALL.map(|policy| (policy.name(), policy));
        let hash = self.choice("xmit_hash_policy", &table.xmit_hash_policy, &policies)?;
        let rates = [("slow", false), ("fast", true)];
        let rate = self.choice("lacp_rate", &table.lacp_rate, &rates)?;
        if let Some(primary) = &table.primary
            && !members.contains(primary.get_ref())
        {
            let message =
                format!("primary \"{}\": write one of {}", primary.get_ref(), members.join(", "));
            return Err(self.error(primary.span(), message));
        }
        let bond = BondConfig {
            mode,
            hash: hash.unwrap_or_default(),
            primary: table.primary.as_ref().map(|primary| primary.get_ref().clone()),
            lacp_fast: rate.unwrap_or(false),
            monitor: self.monitor(table)?,
            min_links: self.min_links(table)?,
            up_delay: self.delay("updelay", &table.updelay)?,
            down_delay: self.delay("downdelay", &table.downdelay)?,
        };
        Ok(LinkConfig::Bond { members, bond })
    }

    fn min_links(&self, table: &InterfaceTable) -> Result<u8, ConfigError> {
        let Some(least) = &table.min_links else { return Ok(0) };
        let number = self.number("min_links", least, 0..=MAX_MEMBERS as i64)?;
        Ok(u8::try_from(number).unwrap_or(u8::MAX))
    }

    fn delay(&self, key: &str, value: &Key<i64>) -> Result<Duration, ConfigError> {
        let Some(value) = value else { return Ok(Duration::ZERO) };
        Ok(Duration::from_millis(self.number(key, value, LINK_DELAY)?))
    }

    fn monitor(&self, table: &InterfaceTable) -> Result<Option<ArpMonitor>, ConfigError> {
        let (interval, targets) = match (&table.arp_interval, &table.arp_ip_target) {
            (None, None) => return Ok(None),
            (Some(interval), Some(targets)) => (interval, targets),
            (Some(interval), None) => {
                let message = "whom to ask? write arp_ip_target = [\"10.0.0.1\"]";
                return Err(self.error(interval.span(), message));
            }
            (None, Some(targets)) => {
                let message = "how often? write arp_interval = 1000";
                return Err(self.error(targets.span(), message));
            }
        };
        let address = |text: &Spanned<String>| {
            text.get_ref().parse::<Ipv4Addr>().map_err(|_| {
                let message = format!("\"{}\" is not an IPv4 address", text.get_ref());
                self.error(text.span(), message)
            })
        };
        let targets: Vec<_> = targets.get_ref().iter().map(address).collect::<Result<_, _>>()?;
        let millis = self.number("arp_interval", interval, ARP_INTERVAL)?;
        Ok(Some(ArpMonitor { interval: Duration::from_millis(millis), targets }))
    }

    fn bridge(&self, table: &InterfaceTable) -> Result<LinkConfig, ConfigError> {
        let ports = self.names("ports", table, &table.ports)?;
        let mut settings = BridgeSettings::default();
        if let Some(seconds) = &table.ageing_time {
            let seconds = self.number("ageing_time", seconds, AGEING_TIME)?;
            settings.ageing = Duration::from_secs(seconds);
        }
        if let Some(most) = &table.max_addresses {
            let most = self.number("max_addresses", most, MAX_ADDRESSES)?;
            settings.max_addresses = usize::try_from(most).unwrap_or(usize::MAX);
        }
        if let Some(limit) = &table.flood_limit {
            let limit = self.number("flood_limit", limit, FLOOD_LIMIT)?;
            settings.flood_limit = u32::try_from(limit).unwrap_or(u32::MAX);
        }
        Ok(LinkConfig::Bridge { ports, settings })
    }

    /// The names in a list, each once.
    fn names(
        &self,
        key: &str,
        table: &InterfaceTable,
        list: &Option<Names>,
    ) -> Result<Vec<String>, ConfigError> {
        let mut names = Vec::<String>::new();
        for name in list.iter().flat_map(|list| list.get_ref()) {
            if names.contains(name.get_ref()) {
                let message = format!("\"{}\" is listed twice: leave one out", name.get_ref());
                return Err(self.error(name.span(), message));
            }
            names.push(name.get_ref().clone());
        }
        if names.is_empty() {
            let message = format!("of what? write {key} = [\"NAME\", \"NAME\"], of interfaces");
            return Err(self.error(span_or(list, table), message));
        }
        Ok(names)
    }

    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        value: &Key<String>,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = value else { return Ok(None) };
        let found = choices.iter().find(|(name, _)| name == value.get_ref());
        found.map(|(_, choice)| Some(*choice)).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let message =
                format!("{key} = \"{}\": write one of {}", value.get_ref(), names.join(", "));
            self.error(value.span(), message)
        })
    }

    fn number(
        &self,
        key: &str,
        value: &Spanned<i64>,
        range: core::ops::RangeInclusive<i64>,
    ) -> Result<u64, ConfigError> {
        let number = *value.get_ref();
        match u64::try_from(number) {
            Ok(fits) if range.contains(&number) => Ok(fits),
            _ => {
                let message =
                    format!("{key} = {number}: write {} to {}", range.start(), range.end());
                Err(self.error(value.span(), message))
            }
        }
    }
}

/// Where a key stands, or what lacks it.
pub(super) fn span_or<T>(key: &Key<T>, table: &InterfaceTable) -> Range<usize> {
    key.as_ref().map_or(table.device.span(), Spanned::span)
}
