//! The configuration file: TOML in, checked [`Configuration`] out, or an error that names the file,
//! the line and what to write instead.
//!
//! Everything that can be known to be wrong is found here, before a device is opened or a socket
//! made: unknown keys, addresses that can't be a host's, one address or network on two interfaces,
//! one device under two interfaces, devices that aren't there, addresses the kernel has itself.

use narrows_device::{DeviceSpec, link::Link};
use narrows_policy::{Defaults, Effect, Rule, audit::Forbid};
use narrows_stack::{
    config::{ConntrackConfig, TcpDefaults},
    table::{autoconf::AddressSource, route::RoutingSettings, zone::ZoneId},
};
use narrows_wire::address::Prefix;
use serde::Deserialize;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    path::{Path, PathBuf},
};
use toml::Spanned;

mod account;
mod address;
mod arp;
mod conntrack;
mod daemon;
mod dhcp;
mod filter;
mod forbid;
mod group;
mod interface;
mod link;
mod local;
mod neighbor;
mod policy;
mod quota;
mod route;
mod routing;
mod tcp;
#[cfg(test)]
mod tests;
mod topology;
mod zone;

pub(crate) use daemon::{Account, DaemonConfig};
pub(crate) use dhcp::DhcpConfig;
use interface::InterfaceTable;
pub(crate) use interface::{InterfaceConfig, is_interface_name};
pub(crate) use link::{BondConfig, LinkConfig};
pub(crate) use neighbor::NeighborConfig;
pub(crate) use quota::{QuotaConfig, Quotas};
pub(crate) use route::{RouteConfig, RuleConfig};
pub(crate) use topology::{LinkOptions, from_below};
#[cfg(test)]
pub(crate) use zone::Admitted;
pub(crate) use zone::{Allow, PUBLIC, ZoneConfig};

/// What the daemon does: interfaces, routes beside those that their addresses imply, neighbors that
/// are not asked for, and who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub interfaces: Vec<InterfaceConfig>,
    pub routes: Vec<RouteConfig>,
    pub rules: Vec<RuleConfig>,
    pub neighbors: Vec<NeighborConfig>,
    /// What holds where no rule does.
    pub defaults: Defaults,
    pub policy: Vec<Rule>,
    /// What rules and zones may not lead to.
    pub forbidden: Vec<Forbid>,
    /// Beside `public`.
    pub zones: Vec<ZoneConfig>,
    /// What may go from zone to zone.
    pub allows: Vec<Allow>,
    /// Are ICMP timestamp requests answered?
    pub icmp_timestamps: bool,
    pub daemon: DaemonConfig,
    pub dhcp: DhcpConfig,
    pub quotas: Quotas,
    pub tcp: TcpDefaults,
    pub conntrack: ConntrackConfig,
    /// A ruleset in nft(8)'s language.
    pub filter: Option<String>,
    pub local: local::LocalConfig,
}

/// Why a configuration can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    /// Counted from 1.
    line: usize,
    message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

impl std::error::Error for ConfigError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    interface: Vec<Spanned<InterfaceTable>>,
    #[serde(default)]
    route: Vec<Spanned<route::RouteTable>>,
    #[serde(default)]
    rule: Vec<Spanned<route::RuleTable>>,
    icmp: Option<IcmpTable>,
    tcp: Option<tcp::TcpTable>,
    conntrack: Option<conntrack::ConntrackTable>,
    filter: Option<filter::FilterTable>,
    #[serde(default)]
    local: local::LocalConfig,
    #[serde(default)]
    neighbor: Vec<neighbor::NeighborTable>,
    daemon: Option<daemon::DaemonTable>,
    dhcp: Option<dhcp::DhcpTable>,
    quota: Option<quota::QuotaTable>,
    policy: Option<policy::PolicyTable>,
    #[serde(default)]
    grant: Vec<Spanned<policy::GrantTable>>,
    #[serde(default)]
    deny: Vec<Spanned<policy::GrantTable>>,
    #[serde(default)]
    forbid: Vec<Spanned<forbid::ForbidTable>>,
    #[serde(default)]
    zone: Vec<Spanned<zone::ZoneTable>>,
    #[serde(default)]
    allow: Vec<Spanned<zone::AllowTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IcmpTable {
    #[serde(default)]
    timestamp: bool,
}

impl Configuration {
    /// What runs without a file: a TAP with the kernel at its other end.
    pub(crate) fn without_file() -> Self {
        let address = IpAddr::V4(Ipv4Addr::new(10, 111, 0, 2));
        Self {
            interfaces: vec![InterfaceConfig {
                name: "narrows0".into(),
                link: LinkConfig::Device(DeviceSpec::Tap("narrows0".into())),
                options: LinkOptions::default(),
                addresses: Prefix::new(address, 24).into_iter().collect(),
                described: Vec::new(),
                source: AddressSource::Static,
                kernel: Some((Ipv4Addr::new(10, 111, 0, 1), 24)),
                arp: arp::DEFAULT,
                routing: RoutingSettings::default(),
                zone: ZoneId::PUBLIC,
            }],
            routes: Vec::new(),
            rules: Vec::new(),
            icmp_timestamps: false,
            tcp: TcpDefaults::default(),
            conntrack: ConntrackConfig::default(),
            filter: None,
            local: local::LocalConfig::default(),
            neighbors: Vec::new(),
            daemon: DaemonConfig::default(),
            dhcp: DhcpConfig::default(),
            quotas: Quotas::default(),
            defaults: Defaults::default(),
            policy: Vec::new(),
            forbidden: Vec::new(),
            zones: Vec::new(),
            allows: Vec::new(),
        }
    }

    /// Checks `text`, read from `file`, on a machine whose kernel has `links`.
    pub(crate) fn parse(file: &Path, text: &str, links: &[Link]) -> Result<Self, ConfigError> {
        Self::check(&Checker { file, text, links: Some(links) })
    }

    /// The same, on another machine than the one that it is for.
    pub(crate) fn parse_elsewhere(file: &Path, text: &str) -> Result<Self, ConfigError> {
        Self::check(&Checker { file, text, links: None })
    }

    fn check(checker: &Checker<'_>) -> Result<Self, ConfigError> {
        let tables: File = toml::from_str(checker.text).map_err(|error| {
            checker.error(error.span().unwrap_or(0..0), error.message().to_owned())
        })?;
        let mut configuration = Self::default();
        // A private zone needs none.
        if tables.interface.is_empty() && tables.zone.is_empty() {
            return Err(checker
                .error(0..0, "no interface: write [[interface]] with name, device and address"));
        }
        for table in &tables.interface {
            let interface = checker.interface(&configuration.interfaces, table.get_ref())?;
            configuration.interfaces.push(interface);
        }
        checker.topology(&tables.interface, &configuration.interfaces)?;
        checker.zones(&mut configuration, &tables.zone)?;
        checker.put_into_zones(&mut configuration, &tables.interface)?;
        for table in &tables.allow {
            let allow = checker.allow(&configuration, table)?;
            configuration.allows.push(allow);
        }
        for table in &tables.route {
            let route = checker.route(&configuration, table)?;
            configuration.routes.push(route);
        }
        for table in &tables.rule {
            let rule = checker.rule(&configuration, table)?;
            configuration.rules.push(rule);
        }
        if let Some(table) = &tables.quota {
            configuration.quotas = checker.quotas(table)?;
        }
        if let Some(table) = &tables.daemon {
            configuration.daemon = checker.daemon(table)?;
        }
        if let Some(table) = tables.dhcp {
            configuration.dhcp = checker.dhcp(table)?;
        }
        configuration.filter = checker.filter(tables.filter.as_ref())?;
        configuration.local = tables.local;
        configuration.icmp_timestamps = tables.icmp.is_some_and(|icmp| icmp.timestamp);
        if let Some(table) = &tables.tcp {
            configuration.tcp = checker.tcp(table)?;
        }
        if let Some(table) = &tables.conntrack {
            configuration.conntrack = checker.conntrack(table)?;
        }
        for table in &tables.neighbor {
            let neighbor = checker.neighbor(&configuration, table)?;
            configuration.neighbors.push(neighbor);
        }
        configuration.defaults = checker.defaults(tables.policy.as_ref())?;
        for (effect, tables) in [(Effect::Deny, &tables.deny), (Effect::Grant, &tables.grant)] {
            for table in tables {
                let rules = checker.rules_of(&configuration, effect, table)?;
                configuration.policy.extend(rules);
            }
        }
        for table in &tables.forbid {
            let forbid = checker.forbid(&configuration, table)?;
            configuration.forbidden.push(forbid);
        }
        Ok(configuration)
    }
}

/// What keeps an address from being a host's.
pub(crate) fn no_hosts(prefix: Prefix) -> Option<&'static str> {
    let IpAddr::V4(address) = prefix.address() else { return None };
    match address.octets()[0] {
        0 | 240.. => Some("can't be a host's"),
        _ if address.is_multicast() => Some("is multicast"),
        _ if address.is_loopback() => Some("is loopback, always there"),
        // RFC 3021: /31 has neither a network nor a broadcast address.
        _ if prefix.length() < 31 && prefix.network().address() == prefix.address() => {
            Some("is the network's own")
        }
        _ if prefix.broadcast() == Some(prefix.address()) => {
            Some("is the network's broadcast address")
        }
        _ => None,
    }
}

/// One file being checked.
struct Checker<'a> {
    file: &'a Path,
    text: &'a str,
    /// The kernel's. `None`: of a machine of which nothing is known.
    links: Option<&'a [Link]>,
}

impl Checker<'_> {
    fn links(&self) -> &[Link] {
        self.links.unwrap_or_default()
    }

    fn error(&self, span: Range<usize>, message: impl Into<String>) -> ConfigError {
        ConfigError { file: self.file.into(), line: self.line(span), message: message.into() }
    }

    /// Counted from 1.
    fn line(&self, span: Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// An IPv4 address that one host can have, with its prefix length.
    fn host_address(&self, text: &Spanned<String>) -> Result<Prefix, ConfigError> {
        let (address, length) =
            split_prefix(text.get_ref()).ok_or_else(|| self.not_an_address(text))?;
        let Some(length) = length else {
            let message = format!("no prefix length: write \"{address}/24\" or the like");
            return Err(self.error(text.span(), message));
        };
        let prefix = Prefix::new(IpAddr::V4(address), length).filter(|_| length > 0);
        let Some(prefix) = prefix else {
            let message = format!("prefix length {length}: write 1 to 32");
            return Err(self.error(text.span(), message));
        };
        match no_hosts(prefix) {
            Some(what) => {
                let message =
                    format!("{address} {what}: write a host's address, as \"10.0.0.2/24\"");
                Err(self.error(text.span(), message))
            }
            None => Ok(prefix),
        }
    }

    fn not_an_address(&self, text: &Spanned<String>) -> ConfigError {
        let message = format!(
            "\"{}\" is not an IPv4 address with a prefix length: write as \"10.0.0.2/24\"",
            text.get_ref()
        );
        self.error(text.span(), message)
    }

    fn interface_named(
        &self,
        configuration: &Configuration,
        name: &Spanned<String>,
    ) -> Result<usize, ConfigError> {
        let found = configuration.interfaces.iter().position(|other| other.name == *name.get_ref());
        found.ok_or_else(|| {
            let names: Vec<_> =
                configuration.interfaces.iter().map(|other| other.name.as_str()).collect();
            let message =
                format!("no interface \"{}\": write one of {}", name.get_ref(), names.join(", "));
            self.error(name.span(), message)
        })
    }
}

fn split_prefix(text: &str) -> Option<(Ipv4Addr, Option<u8>)> {
    match text.split_once('/') {
        Some((address, length)) => Some((address.parse().ok()?, Some(length.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}

fn default_route() -> Prefix {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    Prefix::new(any, 0).expect("a length of 0 fits every family")
}

pub(crate) fn text_of(prefix: Prefix) -> String {
    format!("{}/{}", prefix.address(), prefix.length())
}
