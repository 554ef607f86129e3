//! `[[route]]` and `[[rule]]`: where packets go, and which tables are looked up for what.

use super::{
    Checker, ConfigError, Configuration, InterfaceConfig, default_route, group::GroupName,
    split_prefix, text_of,
};
use narrows_stack::{
    InterfaceId,
    table::route::{
        Action, Facts, NextHop, Route, RouteKind, RouteProtocol, Rule, Scope, Selector, TableId,
    },
};
use narrows_wire::address::Prefix;
use serde::Deserialize;
use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Range,
};
use toml::Spanned;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteConfig {
    /// Host bits cleared.
    pub to: Prefix,
    pub table: TableId,
    pub kind: RouteKind,
    pub metric: u32,
    pub source: Option<Ipv4Addr>,
    pub hops: Vec<HopConfig>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HopConfig {
    pub via: Option<Ipv4Addr>,
    /// Index into [`Configuration::interfaces`].
    pub interface: usize,
    pub weight: u16,
    pub on_link: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleConfig {
    pub preference: u32,
    /// But for the interfaces.
    pub selector: Selector,
    /// Indices into [`Configuration::interfaces`].
    pub input: Option<usize>,
    pub output: Option<usize>,
    pub action: Action,
}

impl RouteConfig {
    /// `interfaces`: the engine's, in the order of the configuration.
    pub(crate) fn route(&self, interfaces: &[InterfaceId]) -> Route {
        let hop = |hop: &HopConfig| NextHop {
            weight: hop.weight,
            on_link: hop.on_link,
            ..NextHop::new(id(interfaces, hop.interface), hop.via)
        };
        let direct = self.hops.iter().all(|hop| hop.via.is_none());
        let scope = match self.kind {
            RouteKind::Local => Scope::Host,
            RouteKind::Unicast if direct => Scope::Link,
            _ => Scope::Global,
        };
        Route {
            to: self.to,
            table: self.table,
            facts: Facts {
                kind: self.kind,
                protocol: RouteProtocol::STATIC,
                scope,
                metric: self.metric,
                source: self.source,
                hops: self.hops.iter().map(hop).collect(),
            },
        }
    }

    /// Those that others' gateways may be reached by come first.
    pub(crate) fn has_gateway(&self) -> bool {
        self.hops.iter().any(|hop| hop.via.is_some())
    }
}

impl RuleConfig {
    pub(crate) fn rule(&self, interfaces: &[InterfaceId]) -> Rule {
        let named = |index: Option<usize>| index.map(|index| id(interfaces, index));
        let selector = Selector {
            input: named(self.input),
            output: named(self.output),
            ..self.selector.clone()
        };
        Rule { preference: self.preference, selector, action: self.action }
    }
}

fn id(interfaces: &[InterfaceId], index: usize) -> InterfaceId {
    interfaces.get(index).copied().unwrap_or(InterfaceId::LOOPBACK)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteTable {
    to: Spanned<String>,
    via: Option<Spanned<String>>,
    interface: Option<Spanned<String>>,
    onlink: Option<bool>,
    metric: Option<u32>,
    source: Option<Spanned<String>>,
    #[serde(rename = "type")]
    kind: Option<Spanned<String>>,
    table: Option<Spanned<TableName>>,
    nexthops: Option<Spanned<Vec<Spanned<HopTable>>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HopTable {
    via: Option<Spanned<String>>,
    interface: Option<Spanned<String>>,
    weight: Option<Spanned<i64>>,
    onlink: Option<bool>,
}

/// A table's name or number.
#[derive(Deserialize)]
#[serde(untagged)]
enum TableName {
    Number(i64),
    Word(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleTable {
    priority: Spanned<u32>,
    not: Option<bool>,
    from: Option<Spanned<String>>,
    to: Option<Spanned<String>>,
    iif: Option<Spanned<String>>,
    oif: Option<Spanned<String>>,
    iifgroup: Option<Spanned<GroupName>>,
    oifgroup: Option<Spanned<GroupName>>,
    fwmark: Option<Spanned<String>>,
    uidrange: Option<Spanned<String>>,
    table: Option<Spanned<TableName>>,
    goto: Option<Spanned<u32>>,
    action: Option<Spanned<String>>,
}

impl Checker<'_> {
    pub(super) fn route(
        &self,
        configuration: &Configuration,
        table: &Spanned<RouteTable>,
    ) -> Result<RouteConfig, ConfigError> {
        let span = table.span();
        let table = table.get_ref();
        let to = self.destination(&table.to)?;
        let kind = self.kind(table.kind.as_ref())?;
        let number = match &table.table {
            Some(name) => self.table_number(name)?,
            None if kind == RouteKind::Local => TableId::LOCAL,
            None => TableId::MAIN,
        };
        let metric = table.metric.unwrap_or(0);
        let same =
            |other: &RouteConfig| (other.to, other.table, other.metric) == (to, number, metric);
        if configuration.routes.iter().any(same) {
            let message = format!(
                "a second route to {}: leave one out, or give one another metric",
                text_of(to)
            );
            return Err(self.error(table.to.span(), message));
        }
        let source = table.source.as_ref().map(|text| self.own_source(configuration, text));
        let hops = self.hops(configuration, table, kind, span)?;
        Ok(RouteConfig { to, table: number, kind, metric, source: source.transpose()?, hops })
    }

    fn kind(&self, text: Option<&Spanned<String>>) -> Result<RouteKind, ConfigError> {
        let Some(text) = text else { return Ok(RouteKind::Unicast) };
        Ok(match text.get_ref().as_str() {
            "unicast" => RouteKind::Unicast,
            "local" => RouteKind::Local,
            "blackhole" => RouteKind::Blackhole,
            "unreachable" => RouteKind::Unreachable,
            "prohibit" => RouteKind::Prohibit,
            "throw" => RouteKind::Throw,
            other => {
                let message = format!(
                    "type = \"{other}\": write \"unicast\", \"local\", \"blackhole\", \
                     \"unreachable\", \"prohibit\" or \"throw\""
                );
                return Err(self.error(text.span(), message));
            }
        })
    }

    fn table_number(&self, name: &Spanned<TableName>) -> Result<TableId, ConfigError> {
        let (found, text) = match name.get_ref() {
            TableName::Number(number) => {
                (u32::try_from(*number).ok().filter(|number| *number > 0), number.to_string())
            }
            TableName::Word(word) => {
                let number = match word.as_str() {
                    "local" => Some(TableId::LOCAL.0),
                    "main" => Some(TableId::MAIN.0),
                    "default" => Some(TableId::DEFAULT.0),
                    word => word.parse().ok().filter(|number| *number > 0),
                };
                (number, format!("\"{word}\""))
            }
        };
        found.map(TableId).ok_or_else(|| {
            let message = format!(
                "no table {text}: write \"main\", \"local\", \"default\" or a number from 1 on"
            );
            self.error(name.span(), message)
        })
    }

    fn own_source(
        &self,
        configuration: &Configuration,
        text: &Spanned<String>,
    ) -> Result<Ipv4Addr, ConfigError> {
        let source = self.ipv4(text)?;
        let mut own = configuration.interfaces.iter().flat_map(|interface| &interface.addresses);
        if own.any(|prefix| prefix.address() == IpAddr::V4(source)) {
            return Ok(source);
        }
        let message = format!("{source} is not one of our addresses: write one, or leave it out");
        Err(self.error(text.span(), message))
    }

    fn hops(
        &self,
        configuration: &Configuration,
        table: &RouteTable,
        kind: RouteKind,
        span: Range<usize>,
    ) -> Result<Vec<HopConfig>, ConfigError> {
        let single = table.via.is_some() || table.interface.is_some();
        if kind != RouteKind::Unicast {
            let leads_on = single || table.nexthops.is_some();
            let message =
                "a route of this type leads nowhere: leave via, interface and nexthops out";
            return if leads_on { Err(self.error(span, message)) } else { Ok(Vec::new()) };
        }
        let Some(hops) = &table.nexthops else {
            let hop = HopTable {
                via: table.via.clone(),
                interface: table.interface.clone(),
                weight: None,
                onlink: table.onlink,
            };
            return Ok(vec![self.hop(configuration, &hop, span)?]);
        };
        if single {
            let message = "both nexthops and via or interface: write nexthops alone";
            return Err(self.error(span, message));
        }
        if hops.get_ref().is_empty() {
            let message = "nexthops is empty: write [{ via = \"ADDRESS\" }, …]";
            return Err(self.error(hops.span(), message));
        }
        let one = |hop: &Spanned<HopTable>| self.hop(configuration, hop.get_ref(), hop.span());
        hops.get_ref().iter().map(one).collect()
    }

    fn hop(
        &self,
        configuration: &Configuration,
        hop: &HopTable,
        span: Range<usize>,
    ) -> Result<HopConfig, ConfigError> {
        let weight = match &hop.weight {
            None => 1,
            Some(weight) => {
                let valid = u16::try_from(*weight.get_ref()).ok();
                valid.filter(|weight| (1..=256).contains(weight)).ok_or_else(|| {
                    let message = format!("weight = {}: write 1 to 256", weight.get_ref());
                    self.error(weight.span(), message)
                })?
            }
        };
        let named = match &hop.interface {
            Some(name) => Some(self.interface_named(configuration, name)?),
            None => None,
        };
        let on_link = hop.onlink.unwrap_or(false);
        let Some(text) = &hop.via else {
            let message = "where to? write via = \"ADDRESS\" or interface = \"NAME\"";
            let interface = named.ok_or_else(|| self.error(span, message))?;
            return Ok(HopConfig { via: None, interface, weight, on_link });
        };
        let via = self.ipv4(text)?;
        let interface = match (on_link, named) {
            (true, Some(interface)) => interface,
            (true, None) => {
                let message = "onlink: on which link? write interface = \"NAME\"";
                return Err(self.error(span, message));
            }
            (false, named) => self.link_of(configuration, named, via, text)?,
        };
        let mut networks = configuration.interfaces.iter().flat_map(|config| &config.addresses);
        if let Some(own) = networks.find(|own| own.broadcast() == Some(IpAddr::V4(via))) {
            let message = format!(
                "{via} is everybody on {}: write the gateway's address",
                text_of(own.network())
            );
            return Err(self.error(text.span(), message));
        }
        let own = |config: &InterfaceConfig| {
            config.addresses.iter().any(|own| own.address() == IpAddr::V4(via))
        };
        if configuration.interfaces.iter().any(own) {
            let message = format!("{via} is our own address: write the gateway's");
            return Err(self.error(text.span(), message));
        }
        Ok(HopConfig { via: Some(via), interface, weight, on_link })
    }

    /// The interface on whose link a gateway is: by an address of it, or by a route above that has no
    /// gateway itself. So no route leads back to itself.
    fn link_of(
        &self,
        configuration: &Configuration,
        named: Option<usize>,
        via: Ipv4Addr,
        text: &Spanned<String>,
    ) -> Result<usize, ConfigError> {
        let interfaces = configuration.interfaces.iter().enumerate();
        let by_address = interfaces
            .filter(|(_, config)| config.addresses.iter().any(|own| own.contains(via.into())))
            .map(|(index, _)| index);
        let direct = |route: &&RouteConfig| !route.has_gateway() && route.to.contains(via.into());
        let by_route = configuration.routes.iter().filter(direct).flat_map(|route| &route.hops);
        let mut links = by_address.chain(by_route.map(|hop| hop.interface));
        links.find(|index| named.is_none_or(|named| named == *index)).ok_or_else(|| {
            let networks: Vec<_> = configuration
                .interfaces
                .iter()
                .flat_map(|interface| &interface.addresses)
                .map(|own| text_of(own.network()))
                .collect();
            let message = format!(
                "no interface reaches the gateway {via}: write one inside {}",
                networks.join(", ")
            );
            self.error(text.span(), message)
        })
    }

    pub(super) fn destination(&self, text: &Spanned<String>) -> Result<Prefix, ConfigError> {
        if text.get_ref() == "default" {
            return Ok(default_route());
        }
        let prefix = split_prefix(text.get_ref())
            .and_then(|(address, length)| Prefix::new(address.into(), length.unwrap_or(32)));
        let Some(prefix) = prefix else {
            let message = format!(
                "\"{}\" is not a destination: write \"default\" or as \"10.2.0.0/16\"",
                text.get_ref()
            );
            return Err(self.error(text.span(), message));
        };
        if prefix.network() != prefix {
            let message = format!(
                "{} has host bits set: write \"{}\"",
                text_of(prefix),
                text_of(prefix.network())
            );
            return Err(self.error(text.span(), message));
        }
        Ok(prefix)
    }

    fn ipv4(&self, text: &Spanned<String>) -> Result<Ipv4Addr, ConfigError> {
        text.get_ref().parse().map_err(|_| {
            let message =
                format!("\"{}\" is not an IPv4 address: write as \"10.0.0.1\"", text.get_ref());
            self.error(text.span(), message)
        })
    }

    pub(super) fn rule(
        &self,
        configuration: &Configuration,
        table: &Spanned<RuleTable>,
    ) -> Result<RuleConfig, ConfigError> {
        let span = table.span();
        let table = table.get_ref();
        let preference = *table.priority.get_ref();
        if preference == 0 {
            let message = "priority 0 is the local table's: write 1 to 32765";
            return Err(self.error(table.priority.span(), message));
        }
        let selector = Selector {
            invert: table.not.unwrap_or(false),
            from: table.from.as_ref().map(|text| self.destination(text)).transpose()?,
            to: table.to.as_ref().map(|text| self.destination(text)).transpose()?,
            input_group: self.optional_group(&table.iifgroup)?,
            output_group: self.optional_group(&table.oifgroup)?,
            mark: table.fwmark.as_ref().map(|text| self.mark(text)).transpose()?,
            users: table.uidrange.as_ref().map(|text| self.users(text)).transpose()?,
            ..Selector::default()
        };
        let named = |name: &Option<Spanned<String>>| {
            name.as_ref().map(|name| self.interface_named(configuration, name)).transpose()
        };
        let (input, output) = (named(&table.iif)?, named(&table.oif)?);
        let action = self.action(configuration, table, preference, span)?;
        Ok(RuleConfig { preference, selector, input, output, action })
    }

    fn action(
        &self,
        configuration: &Configuration,
        table: &RuleTable,
        preference: u32,
        span: Range<usize>,
    ) -> Result<Action, ConfigError> {
        match (&table.table, &table.goto, &table.action) {
            (Some(name), None, None) => {
                let number = self.table_number(name)?;
                let known = [TableId::LOCAL, TableId::MAIN, TableId::DEFAULT].contains(&number)
                    || configuration.routes.iter().any(|route| route.table == number);
                if known {
                    return Ok(Action::Lookup(number));
                }
                let message = format!(
                    "table {} has no routes, so the rule leads nowhere: write a [[route]] with \
                     table = {}",
                    number.0, number.0
                );
                Err(self.error(name.span(), message))
            }
            (None, Some(target), None) if *target.get_ref() > preference => {
                Ok(Action::Goto(*target.get_ref()))
            }
            (None, Some(target), None) => {
                let message = format!(
                    "goto {} leads back, and round for ever: write a priority above {preference}",
                    target.get_ref()
                );
                Err(self.error(target.span(), message))
            }
            (None, None, Some(text)) => match text.get_ref().as_str() {
                "blackhole" => Ok(Action::Blackhole),
                "unreachable" => Ok(Action::Unreachable),
                "prohibit" => Ok(Action::Prohibit),
                other => {
                    let message = format!(
                        "action = \"{other}\": write \"blackhole\", \"unreachable\" or \"prohibit\""
                    );
                    Err(self.error(text.span(), message))
                }
            },
            _ => Err(self.error(span, "what then? write one of table, goto and action")),
        }
    }

    fn mark(&self, text: &Spanned<String>) -> Result<(u32, u32), ConfigError> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        };
        let parsed = match text.get_ref().split_once('/') {
            Some((value, mask)) => number(value).zip(number(mask)),
            None => number(text.get_ref()).map(|value| (value, u32::MAX)),
        };
        parsed.ok_or_else(|| {
            let message =
                format!("\"{}\" is not a mark: write as \"0x10\" or \"0x10/0xf0\"", text.get_ref());
            self.error(text.span(), message)
        })
    }

    fn users(&self, text: &Spanned<String>) -> Result<std::ops::RangeInclusive<u32>, ConfigError> {
        let split = text.get_ref().split_once('-');
        let parsed = split.and_then(|(first, last)| Some(first.parse().ok()?..=last.parse().ok()?));
        parsed.filter(|users| !users.is_empty()).ok_or_else(|| {
            let message = format!("\"{}\" are no users: write as \"1000-1999\"", text.get_ref());
            self.error(text.span(), message)
        })
    }
}

#[cfg(test)]
mod tests;
