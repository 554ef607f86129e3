//! `narrows route add|append|change|delete|prepend|replace`, in the words of ip-route(8).

use super::names;
use crate::{report, words::Words};
use anyhow::{Context, Result};
use narrows_client::Stack;
use narrows_ipc::{
    change::Change,
    route::{HopRow, RouteKind, RouteMatch, RoutePlacement, RouteRow, RouteScope, protocol, table},
};
use std::net::IpAddr;

pub fn add(command: &str, words: Words<'_>, stack: &Stack) -> Result<()> {
    let placement = match command {
        "append" => RoutePlacement::Append,
        "change" => RoutePlacement::Change,
        "prepend" => RoutePlacement::Prepend,
        "replace" => RoutePlacement::Replace,
        _ => RoutePlacement::Add,
    };
    let route = Asked::read(words)?.route();
    let what = format!("route {command} {}", report::prefix(route.to.0, route.to.1));
    stack.change(Change::AddRoute { route, placement }).context(what)
}

pub fn delete(words: Words<'_>, stack: &Stack) -> Result<()> {
    let route = Asked::read(words)?.filter();
    let what = format!("route delete {}", report::prefix(route.to.0, route.to.1));
    stack.change(Change::RemoveRoute { route }).context(what)
}

/// `[KIND] PREFIX [via ADDRESS] [dev NAME] [src ADDRESS] [metric N] [table T] [proto P] [scope S]
/// [onlink] [nexthop via ADDRESS [dev NAME] [weight N] [onlink]]…`.
#[derive(Debug, Default)]
struct Asked {
    kind: Option<RouteKind>,
    to: Option<(IpAddr, u8)>,
    table: Option<u32>,
    protocol: Option<u8>,
    scope: Option<RouteScope>,
    metric: Option<u32>,
    source: Option<IpAddr>,
    /// The route's own next hop.
    hop: Hop,
    /// Those of `nexthop`.
    hops: Vec<Hop>,
}

#[derive(Debug, Default)]
struct Hop {
    via: Option<IpAddr>,
    interface: Option<String>,
    weight: Option<u16>,
    on_link: bool,
}

const GRAMMAR: &str = "write [KIND] PREFIX [via ADDRESS] [dev NAME] [src ADDRESS] [metric N] \
    [table T] [proto P] [scope S] [onlink] [nexthop via ADDRESS dev NAME weight N]";

impl Asked {
    fn read(mut words: Words<'_>) -> Result<Self> {
        let mut asked = Self::default();
        while let Some(word) = words.next() {
            if asked.hop(word, &mut words)? {
                continue;
            }
            match word {
                "to" => {
                    let value = words.value(word)?;
                    asked.to = Some(destination(&words, value)?);
                }
                "src" => {
                    let value = words.value(word)?;
                    asked.source = Some(words.address(value)?);
                }
                "metric" | "priority" | "preference" => {
                    asked.metric = Some(number(&mut words, word)?);
                }
                "table" => asked.table = Some(named(&mut words, word, names::table)?),
                "proto" | "protocol" => {
                    asked.protocol = Some(named(&mut words, word, names::protocol)?);
                }
                "scope" => asked.scope = Some(named(&mut words, word, names::scope)?),
                "type" => asked.kind = Some(named(&mut words, word, names::kind)?),
                "nexthop" => asked.hops.push(Hop::default()),
                word if asked.to.is_none() => match names::kind(word) {
                    Some(kind) if asked.kind.is_none() => asked.kind = Some(kind),
                    _ => asked.to = Some(destination(&words, word)?),
                },
                word => return Err(words.error(format_args!("don't know `{word}`; {GRAMMAR}"))),
            }
        }
        if asked.to.is_none() {
            return Err(words.error(format_args!("where to? {GRAMMAR}")));
        }
        Ok(asked)
    }

    /// Words about the next hop that is being read: true if it was one.
    fn hop(&mut self, word: &str, words: &mut Words<'_>) -> Result<bool> {
        let several = !self.hops.is_empty();
        let hop = self.hops.last_mut().unwrap_or(&mut self.hop);
        match word {
            "via" => {
                let value = words.value(word)?;
                // `via inet ADDRESS` says which family.
                let value = if value == "inet" { words.value(word)? } else { value };
                hop.via = Some(words.address(value)?);
            }
            "dev" => hop.interface = Some(words.value(word)?.to_owned()),
            "onlink" => hop.on_link = true,
            "weight" if several => {
                let weight: u32 = number(words, word)?;
                let weight = u16::try_from(weight).ok().filter(|weight| (1..=256).contains(weight));
                hop.weight = Some(weight.ok_or_else(|| words.error("a weight is from 1 to 256"))?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn kind(&self) -> RouteKind {
        self.kind.unwrap_or(RouteKind::Unicast)
    }

    /// As ip-route(8) fills in what is not said.
    fn route(self) -> RouteRow {
        let kind = self.kind();
        let behind = self.hop.via.is_some() || !self.hops.is_empty();
        let scope = match kind {
            RouteKind::Local => RouteScope::Host,
            RouteKind::Unicast if !behind => RouteScope::Link,
            _ => RouteScope::Global,
        };
        let table = if kind == RouteKind::Local { table::LOCAL } else { table::MAIN };
        // The device of what goes nowhere says nothing.
        let own = (kind == RouteKind::Unicast).then_some(self.hop);
        let own = own.filter(|hop| hop.via.is_some() || hop.interface.is_some());
        RouteRow {
            to: self.to.unwrap_or((IpAddr::from([0; 4]), 0)),
            table: self.table.unwrap_or(table),
            kind,
            protocol: self.protocol.unwrap_or(protocol::BOOT),
            scope: self.scope.unwrap_or(scope),
            metric: self.metric.unwrap_or(0),
            source: self.source,
            hops: own.into_iter().chain(self.hops).map(Hop::row).collect(),
        }
    }

    fn filter(self) -> RouteMatch {
        let kind = self.kind();
        let table = if kind == RouteKind::Local { table::LOCAL } else { table::MAIN };
        let own = Some(self.hop).filter(|hop| hop.via.is_some() || hop.interface.is_some());
        RouteMatch {
            to: self.to.unwrap_or((IpAddr::from([0; 4]), 0)),
            table: self.table.unwrap_or(table),
            kind: self.kind,
            protocol: self.protocol,
            scope: self.scope,
            metric: self.metric,
            source: self.source,
            hops: own.into_iter().chain(self.hops).map(|hop| (hop.interface, hop.via)).collect(),
        }
    }
}

impl Hop {
    fn row(self) -> HopRow {
        HopRow {
            interface: self.interface,
            via: self.via,
            weight: self.weight.unwrap_or(1),
            on_link: self.on_link,
            dead: false,
        }
    }
}

/// A prefix, or `default`.
pub fn destination(words: &Words<'_>, word: &str) -> Result<(IpAddr, u8)> {
    match word {
        "default" | "any" | "all" => Ok((IpAddr::from([0; 4]), 0)),
        word => words.prefix(word),
    }
}

pub fn number(words: &mut Words<'_>, keyword: &str) -> Result<u32> {
    let value = words.value(keyword)?;
    let parsed = match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => value.parse(),
    };
    parsed.map_err(|_| words.error(format_args!("{keyword} `{value}`: write a number")))
}

/// A value that has a name.
pub fn named<T>(
    words: &mut Words<'_>,
    keyword: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T> {
    let value = words.value(keyword)?;
    let expected = match keyword {
        "table" | "lookup" => "main, local, default or a number from 1 on",
        "proto" | "protocol" => "kernel, boot, static or a number to 255",
        "scope" => "global, link or host",
        _ => "unicast, local, blackhole, unreachable, prohibit or throw",
    };
    parse(value).ok_or_else(|| words.error(format_args!("{keyword} `{value}`: write {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, String> {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (_, words) = Words::new("route", &line, &["add"]).unwrap();
        Asked::read(words).map_err(|error| error.to_string())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn hop(via: Option<&str>, interface: Option<&str>) -> HopRow {
        HopRow {
            interface: interface.map(str::to_owned),
            via: via.map(address),
            weight: 1,
            on_link: false,
            dead: false,
        }
    }

    #[test]
    fn words_of_ip_route() {
        let base = RouteRow {
            to: (address("10.9.0.0"), 16),
            table: 254,
            kind: RouteKind::Unicast,
            protocol: 3,
            scope: RouteScope::Global,
            metric: 0,
            source: None,
            hops: vec![hop(Some("10.0.0.1"), None)],
        };
        let on_link = RouteRow {
            scope: RouteScope::Link,
            hops: vec![hop(None, Some("lan"))],
            ..base.clone()
        };
        let shared = RouteRow {
            hops: vec![
                HopRow { weight: 3, ..hop(Some("10.0.0.1"), Some("lan")) },
                hop(Some("10.1.0.1"), None),
            ],
            ..base.clone()
        };
        let local = RouteRow {
            table: 255,
            kind: RouteKind::Local,
            scope: RouteScope::Host,
            hops: Vec::new(),
            ..base.clone()
        };
        let default = (address("0.0.0.0"), 0);
        for (line, expected) in [
            ("add 10.9.0.0/16 via 10.0.0.1", base.clone()),
            ("add to 10.9.0.0/16 via inet 10.0.0.1 table main", base.clone()),
            ("add unicast 10.9.0.0/16 via 10.0.0.1 proto boot", base.clone()),
            ("add default via 10.0.0.1", RouteRow { to: default, ..base.clone() }),
            ("add 10.9.0.0/16 dev lan", on_link.clone()),
            (
                "add 10.9.0.0/16 dev lan scope global",
                RouteRow { scope: RouteScope::Global, ..on_link },
            ),
            (
                "add 10.9.0.0/16 via 10.0.0.1 metric 5 table 7 proto static src 10.0.0.2",
                RouteRow {
                    metric: 5,
                    table: 7,
                    protocol: 4,
                    source: Some(address("10.0.0.2")),
                    ..base.clone()
                },
            ),
            ("add 10.9.0.0/16 nexthop via 10.0.0.1 dev lan weight 3 nexthop via 10.1.0.1", shared),
            ("add local 10.9.0.0/16 dev lo", local),
            (
                "add blackhole 10.9.0.0/16",
                RouteRow { kind: RouteKind::Blackhole, hops: Vec::new(), ..base.clone() },
            ),
        ] {
            assert_eq!(asked(line).map(Asked::route), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_deleted_is_what_is_said() {
        let route = asked("add 10.9.0.0/16").unwrap().filter();
        let any = RouteMatch {
            to: (address("10.9.0.0"), 16),
            table: 254,
            kind: None,
            protocol: None,
            scope: None,
            metric: None,
            source: None,
            hops: Vec::new(),
        };
        assert_eq!(route, any);
        let route = asked("add prohibit 10.9.0.0/16 table 7 metric 9").unwrap().filter();
        let (table, metric, kind) = (7, Some(9), Some(RouteKind::Prohibit));
        assert_eq!(route, RouteMatch { table, metric, kind, ..any.clone() });
        let route = asked("add 10.9.0.0/16 via 10.0.0.1").unwrap().filter();
        assert_eq!(route, RouteMatch { hops: vec![(None, Some(address("10.0.0.1")))], ..any });
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        for (line, words) in [
            ("add via 10.0.0.1", "`route add`: where to? write [KIND] PREFIX"),
            ("add 10.9.0.0/33 dev lan", "`10.9.0.0/33` is not an IPv4 address"),
            ("add 10.9.0.0/16 via", "`route add via`: its value is missing"),
            ("add 10.9.0.0/16 via x", "`x` is not an IPv4 address"),
            ("add default table mian", "table `mian`: write main, local, default or a number"),
            ("add default table 0", "table `0`: write"),
            ("add default proto bgp", "proto `bgp`: write kernel"),
            ("add default metric -1", "metric `-1`: write a number"),
            ("add default nexthop via 10.0.0.1 weight 300", "a weight is from 1 to 256"),
            ("add default mpls 5", "don't know `mpls`; write [KIND] PREFIX"),
        ] {
            let error = asked(line).map(Asked::route).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
