//! Which entries `show`, `get` and `flush` are about.

use crate::words::{Words, contains};
use anyhow::Result;
use narrows_ipc::message::NeighborRow;
use std::net::IpAddr;

#[derive(Debug, Default)]
pub struct Filter {
    pub device: Option<String>,
    to: Option<(IpAddr, u8)>,
    /// `None`: all but `noarp`.
    states: Option<Vec<String>>,
    proxy: bool,
}

impl Filter {
    /// `[[to] PREFIX] [dev NAME] [nud STATE …] [proxy]`.
    pub fn read(mut words: Words<'_>) -> Result<Self> {
        let mut filter = Self::default();
        while let Some(word) = words.next() {
            match word {
                "dev" => filter.device = Some(words.value(word)?.to_owned()),
                "nud" => {
                    let state = words.value(word)?.to_ascii_uppercase();
                    filter.states.get_or_insert_default().push(state);
                }
                "proxy" => filter.proxy = true,
                "to" => {
                    let value = words.value(word)?;
                    filter.to = Some(words.prefix(value)?);
                }
                word if filter.to.is_none() => filter.to = Some(words.prefix(word)?),
                word => {
                    return Err(words.error(format_args!(
                        "don't know `{word}`; write [to PREFIX] [dev NAME] [nud STATE] [proxy]"
                    )));
                }
            }
        }
        Ok(filter)
    }

    /// Does it name one entry?
    pub fn is_one(&self) -> bool {
        self.device.is_some() && self.to.is_some_and(|(_, length)| length == 32)
    }

    /// Does it ask for anything in particular?
    pub fn is_empty(&self) -> bool {
        self.device.is_none() && self.to.is_none() && self.states.is_none() && !self.proxy
    }

    /// Were states asked for?
    pub fn has_states(&self) -> bool {
        self.states.is_some()
    }

    pub fn takes(&self, row: &NeighborRow) -> bool {
        let state = match &self.states {
            None => row.state != "NOARP",
            Some(states) => states.iter().any(|state| *state == row.state || state == "ALL"),
        };
        self.device.as_ref().is_none_or(|name| row.interface == *name)
            && self.to.is_none_or(|prefix| contains(prefix, row.address))
            && self.proxy == row.proxy
            && (state || row.proxy)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::rows, *};

    #[test]
    fn entries_are_chosen_by_their_properties() {
        let mut rows = rows().to_vec();
        let noarp =
            NeighborRow { state: "NOARP".into(), address: [10, 3, 0, 4].into(), ..rows[0].clone() };
        rows.push(noarp);
        for (line, expected) in [
            ("", &[1, 9][..]),
            ("dev lan", &[1, 9]),
            ("dev wan", &[]),
            ("10.0.0.9", &[9]),
            ("to 10.0.0.0/29", &[1]),
            ("nud reachable", &[1]),
            ("nud failed nud reachable", &[1, 9]),
            ("nud noarp", &[4]),
            ("nud all", &[1, 9, 4]),
            ("proxy", &[7]),
        ] {
            let line: Vec<String> =
                format!("show {line}").split_whitespace().map(str::to_owned).collect();
            let (_, words) = Words::new("neigh", &line, &["show"]).unwrap();
            let filter = Filter::read(words).unwrap();
            let last = |row: &NeighborRow| match row.address {
                IpAddr::V4(address) => address.octets()[3],
                IpAddr::V6(_) => 0,
            };
            let taken: Vec<u8> = rows.iter().filter(|row| filter.takes(row)).map(last).collect();
            assert_eq!(taken, expected, "{line:?}");
        }
    }
}
