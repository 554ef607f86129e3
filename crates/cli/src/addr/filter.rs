//! Which addresses `show` and `flush` are about.

use super::scope;
use crate::words::{Words, contains};
use anyhow::Result;
use narrows_ipc::message::{AddressRow, LinkRow};
use std::net::IpAddr;

#[derive(Debug, Default)]
pub struct Filter {
    pub device: Option<String>,
    to: Option<(IpAddr, u8)>,
    scope: Option<String>,
    up: bool,
    secondary: Option<bool>,
    tentative: bool,
    conflict: bool,
    dynamic: Option<bool>,
    deprecated: bool,
    label: Option<String>,
}

impl Filter {
    /// `[[dev] NAME] [to PREFIX] [scope SCOPE] [up] [primary|secondary] [tentative] [dadfailed]
    /// [dynamic|permanent] [deprecated] [label LABEL]`.
    pub fn read(mut words: Words<'_>) -> Result<Self> {
        let mut filter = Self::default();
        while let Some(word) = words.next() {
            match word {
                "dev" => filter.device = Some(words.value(word)?.to_owned()),
                "to" => {
                    let value = words.value(word)?;
                    filter.to = Some(words.prefix(value)?);
                }
                "scope" => filter.scope = Some(words.value(word)?.to_owned()),
                "up" => filter.up = true,
                "primary" => filter.secondary = Some(false),
                "secondary" => filter.secondary = Some(true),
                "tentative" => filter.tentative = true,
                "dadfailed" => filter.conflict = true,
                "dynamic" => filter.dynamic = Some(true),
                "permanent" => filter.dynamic = Some(false),
                "deprecated" => filter.deprecated = true,
                "label" => filter.label = Some(words.value(word)?.to_owned()),
                name if filter.device.is_none() => filter.device = Some(name.to_owned()),
                word => {
                    return Err(words.error(format_args!(
                        "don't know `{word}`; write [dev NAME] [to PREFIX] [scope SCOPE] [up] \
                         [primary|secondary] [tentative] [dadfailed] [dynamic|permanent] \
                         [deprecated] [label LABEL]"
                    )));
                }
            }
        }
        Ok(filter)
    }

    /// Does it ask for certain addresses?
    fn is_about_addresses(&self) -> bool {
        self.to.is_some()
            || self.scope.is_some()
            || self.secondary.is_some()
            || self.tentative
            || self.conflict
            || self.dynamic.is_some()
            || self.deprecated
            || self.label.is_some()
    }

    pub fn takes(&self, row: &AddressRow) -> bool {
        self.to.is_none_or(|prefix| contains(prefix, row.address))
            && self.scope.as_ref().is_none_or(|asked| scope(row) == asked)
            && self.secondary.is_none_or(|secondary| row.secondary == secondary)
            && (!self.tentative || row.tentative)
            && (!self.conflict || row.conflict)
            && self.dynamic.is_none_or(|dynamic| row.valid.is_some() == dynamic)
            && (!self.deprecated || row.preferred == Some(0))
            && self.label.as_ref().is_none_or(|label| row.label.as_ref() == Some(label))
    }

    /// Given the addresses that are left of it, is the interface shown?
    pub fn takes_link(&self, link: &LinkRow) -> bool {
        (!self.up || link.up) && (!self.is_about_addresses() || !link.addresses.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::row, *};

    #[test]
    fn addresses_are_chosen_by_their_properties() {
        let rows = [
            row("10.0.0.2/24"),
            AddressRow { secondary: true, ..row("10.0.0.3/24") },
            AddressRow { tentative: true, ..row("10.1.0.4/24") },
            AddressRow {
                conflict: true,
                label: Some("lan:5".into()),
                valid: Some(9),
                ..row("169.254.3.5/16")
            },
        ];
        for (line, expected) in [
            ("", &[2, 3, 4, 5][..]),
            ("lan", &[2, 3, 4, 5]),
            ("dev lan primary", &[2, 4, 5]),
            ("secondary", &[3]),
            ("dev lan to 10.0.0.0/24", &[2, 3]),
            ("to 10.0.0.3", &[3]),
            ("tentative", &[4]),
            ("dadfailed", &[5]),
            ("dynamic", &[5]),
            ("permanent dev lan", &[2, 3, 4]),
            ("label lan:5", &[5]),
            ("deprecated", &[]),
            ("scope link", &[5]),
            ("scope global dev lan to 10.0.0.0/8 secondary", &[3]),
        ] {
            let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let line: Vec<String> = [vec!["show".to_owned()], line].concat();
            let (_, words) = Words::new("addr", &line, &["show"]).unwrap();
            let filter = Filter::read(words).unwrap();
            let taken: Vec<u8> = rows
                .iter()
                .filter(|row| filter.takes(row))
                .map(|row| match row.address {
                    IpAddr::V4(address) => address.octets()[3],
                    IpAddr::V6(_) => 0,
                })
                .collect();
            assert_eq!(taken, expected, "{line:?}");
        }
    }

    #[test]
    fn unknown_words_are_refused() {
        let line: Vec<String> = ["show", "lan", "wan"].map(str::to_owned).to_vec();
        let (_, words) = Words::new("addr", &line, &["show"]).unwrap();
        let error = Filter::read(words).unwrap_err().to_string();
        assert!(error.starts_with("`addr show`: don't know `wan`; write "), "{error}");
    }
}
