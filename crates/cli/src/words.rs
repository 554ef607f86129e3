//! Words after an object, as ip(8) reads them: a keyword and its value, in any order.

use anyhow::{Context, Result, anyhow};
use std::net::IpAddr;

/// The words that are left.
pub struct Words<'a> {
    /// What they are about, for errors: `addr add`.
    command: String,
    rest: core::slice::Iter<'a, String>,
}

impl<'a> Words<'a> {
    /// `object`: `addr`, `neigh` …; its first word is the command, `show` if there is none. Commands
    /// may be shortened as ip(8) allows.
    pub fn new(object: &str, words: &'a [String], commands: &[&'a str]) -> Result<(&'a str, Self)> {
        let mut rest = words.iter();
        let command = match words.first() {
            None => "show",
            Some(word) => {
                rest.next();
                let known = ["list", "lst", "ls"].iter().find(|other| *other == word);
                let full = commands.iter().find(|command| command.starts_with(word.as_str()));
                let found = known.map(|_| "show").or(full.copied());
                found.with_context(|| {
                    format!("`{object} {word}`: write one of {}", commands.join(", "))
                })?
            }
        };
        Ok((command, Self { command: format!("{object} {command}"), rest }))
    }

    /// The value of the keyword before.
    pub fn value(&mut self, keyword: &str) -> Result<&'a str> {
        let next = self.rest.next().map(String::as_str);
        next.with_context(|| format!("`{} {keyword}`: its value is missing", self.command))
    }

    pub fn error(&self, what: impl core::fmt::Display) -> anyhow::Error {
        anyhow!("`{}`: {what}", self.command)
    }

    /// An IPv4 address and the length of its prefix; a single host's without one.
    pub fn prefix(&self, word: &str) -> Result<(IpAddr, u8)> {
        let (address, length) = match word.split_once('/') {
            Some((address, length)) => (address, length.parse().ok()),
            None => (word, Some(32)),
        };
        let address: Option<IpAddr> = address.parse().ok().filter(IpAddr::is_ipv4);
        match (address, length) {
            (Some(address), Some(length)) if length <= 32 => Ok((address, length)),
            _ => {
                Err(self
                    .error(format_args!("`{word}` is not an IPv4 address: write as 10.0.0.2/24")))
            }
        }
    }

    pub fn address(&self, word: &str) -> Result<IpAddr> {
        let address: Option<IpAddr> = word.parse().ok().filter(IpAddr::is_ipv4);
        address.ok_or_else(|| self.error(format_args!("`{word}` is not an IPv4 address")))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.rest.next().map(String::as_str)
    }
}

/// Is `address` inside the prefix?
pub fn contains((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn commands_may_be_shortened() {
        for (line, command) in [
            ("", "show"),
            ("show", "show"),
            ("s dev lan", "show"),
            ("lst", "show"),
            ("list", "show"),
            ("a 10.0.0.2/24", "add"),
            ("del x", "delete"),
            ("d x", "delete"),
        ] {
            let line = owned(line);
            let (found, _) = Words::new("addr", &line, &["show", "add", "delete"]).unwrap();
            assert_eq!(found, command, "{line:?}");
        }
        let line = owned("frobnicate");
        let error = Words::new("addr", &line, &["show", "add"]).err().unwrap().to_string();
        assert_eq!(error, "`addr frobnicate`: write one of show, add");
    }

    #[test]
    fn values_are_checked() {
        let line = owned("add dev");
        let (_, mut words) = Words::new("addr", &line, &["add"]).unwrap();
        assert_eq!(words.next(), Some("dev"));
        let error = words.value("dev").unwrap_err().to_string();
        assert_eq!(error, "`addr add dev`: its value is missing");
        assert_eq!(words.prefix("10.0.0.2/24").unwrap(), ([10, 0, 0, 2].into(), 24));
        assert_eq!(words.prefix("10.0.0.2").unwrap(), ([10, 0, 0, 2].into(), 32));
        for bad in ["10.0.0.2/33", "10.0.0/8", "fe80::1/64", "x", "10.0.0.2/x", ""] {
            let error = words.prefix(bad).unwrap_err().to_string();
            assert!(error.contains("is not an IPv4 address"), "{bad}: {error}");
        }
        assert!(words.address("10.0.0.2/24").is_err() && words.address("10.0.0.2").is_ok());
    }

    #[test]
    fn prefixes_contain() {
        let network = ([10, 1, 2, 3].into(), 16);
        assert!(
            contains(network, [10, 1, 9, 9].into()) && !contains(network, [10, 2, 0, 0].into())
        );
        assert!(contains(([0; 4].into(), 0), [9, 9, 9, 9].into()));
    }
}
