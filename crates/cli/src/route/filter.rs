//! Which routes `show` and `flush` are about, in the words of ip-route(8).

use super::{change::destination, change::named, names};
use crate::words::{Words, contains};
use anyhow::Result;
use narrows_ipc::route::{RouteKind, RouteRow, RouteScope, table};
use std::net::IpAddr;

/// How prefixes compare to the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selects {
    /// The same.
    Exact,
    /// Inside it.
    Root,
    /// Around it.
    Match,
}

#[derive(Debug)]
pub struct Filter {
    /// `None`: all tables.
    pub table: Option<u32>,
    /// A table was named.
    pub table_said: bool,
    pub device: Option<String>,
    pub protocol: Option<u8>,
    pub scope: Option<RouteScope>,
    pub kind: Option<RouteKind>,
    via: Option<IpAddr>,
    source: Option<IpAddr>,
    to: Option<(Selects, (IpAddr, u8))>,
}

impl Filter {
    pub fn read(mut words: Words<'_>) -> Result<Self> {
        let mut filter = Self {
            table: Some(table::MAIN),
            table_said: false,
            device: None,
            protocol: None,
            scope: None,
            kind: None,
            via: None,
            source: None,
            to: None,
        };
        while let Some(word) = words.next() {
            match word {
                "table" => {
                    filter.table_said = true;
                    let any = |word: &str| match word {
                        "all" | "0" => Some(None),
                        word => names::table(word).map(Some),
                    };
                    filter.table = named(&mut words, word, any)?;
                }
                "dev" | "oif" => filter.device = Some(words.value(word)?.to_owned()),
                "via" => {
                    let value = words.value(word)?;
                    filter.via = Some(words.address(value)?);
                }
                "src" => {
                    let value = words.value(word)?;
                    filter.source = Some(words.address(value)?);
                }
                "proto" | "protocol" => {
                    filter.protocol = Some(named(&mut words, word, names::protocol)?);
                }
                "scope" => filter.scope = Some(named(&mut words, word, names::scope)?),
                "type" => filter.kind = Some(named(&mut words, word, names::kind)?),
                "to" | "exact" | "root" | "match" => {
                    let selects = match word {
                        "root" => Selects::Root,
                        "match" => Selects::Match,
                        _ => Selects::Exact,
                    };
                    // `to root PREFIX` is as good as `root PREFIX`.
                    let value = words.value(word)?;
                    let (selects, value) = match value {
                        "root" => (Selects::Root, words.value(value)?),
                        "match" => (Selects::Match, words.value(value)?),
                        "exact" => (Selects::Exact, words.value(value)?),
                        value => (selects, value),
                    };
                    filter.to = Some((selects, destination(&words, value)?));
                }
                word if names::kind(word).is_some() => filter.kind = names::kind(word),
                word => filter.to = Some((Selects::Exact, destination(&words, word)?)),
            }
        }
        Ok(filter)
    }

    /// Does it say nothing?
    pub fn is_empty(&self) -> bool {
        !self.table_said
            && self.device.is_none()
            && self.protocol.is_none()
            && self.scope.is_none()
            && self.kind.is_none()
            && self.via.is_none()
            && self.source.is_none()
            && self.to.is_none()
    }

    pub fn takes(&self, row: &RouteRow) -> bool {
        let device =
            |name: &String| row.hops.iter().any(|hop| hop.interface.as_ref() == Some(name));
        let selected = |(selects, asked): (Selects, (IpAddr, u8))| match selects {
            Selects::Exact => row.to == asked,
            Selects::Root => row.to.1 >= asked.1 && contains(asked, row.to.0),
            Selects::Match => row.to.1 <= asked.1 && contains(row.to, asked.0),
        };
        self.table.is_none_or(|table| table == row.table)
            && self.device.as_ref().is_none_or(device)
            && self.protocol.is_none_or(|protocol| protocol == row.protocol)
            && self.scope.is_none_or(|scope| scope == row.scope)
            && self.kind.is_none_or(|kind| kind == row.kind)
            && self.via.is_none_or(|via| row.hops.iter().any(|hop| hop.via == Some(via)))
            && self.source.is_none_or(|source| row.source == Some(source))
            && self.to.is_none_or(selected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::print::tests::rows;

    fn taken(line: &str) -> Vec<String> {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (_, words) = Words::new("route", &line, &["show"]).unwrap();
        let filter = Filter::read(words).unwrap();
        let rows = rows().into_iter().filter(|row| filter.takes(row));
        rows.map(|row| crate::report::prefix(row.to.0, row.to.1)).collect()
    }

    #[test]
    fn words_of_ip_route_show() {
        let main = ["default", "10.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "203.0.113.7"];
        for (line, expected) in [
            ("show", &main[..]),
            ("show dev v0", &["default", "10.0.0.0/24", "192.0.2.0/24", "203.0.113.7"]),
            ("show proto kernel", &["10.0.0.0/24"]),
            ("show scope link", &["10.0.0.0/24"]),
            ("show type blackhole", &["198.18.0.0/15"]),
            ("show via 10.1.0.9", &["192.0.2.0/24"]),
            ("show table 100", &["default"]),
            ("show table local", &["10.0.0.255"]),
            ("show default", &["default"]),
            ("show 10.0.0.0/24", &["10.0.0.0/24"]),
            ("show root 10.0.0.0/8", &["10.0.0.0/24"]),
            ("show to match 10.0.0.7", &["default", "10.0.0.0/24"]),
            ("show exact 10.0.0.0/8", &[]),
        ] {
            assert_eq!(taken(line), expected, "{line}");
        }
        assert_eq!(taken("show table all").len(), rows().len());
    }
}
