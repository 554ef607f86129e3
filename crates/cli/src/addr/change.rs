//! `narrows addr add|change|replace|delete|flush`, in the words of ip-address(8).

use super::filter::Filter;
use crate::{report, route::names, words::Words};
use anyhow::{Context, Result};
use narrows_client::Stack;
use narrows_ipc::change::{AddressDetails, Change, SetMode};
use std::net::IpAddr;

/// `ADDRESS[/LENGTH] [peer ADDRESS[/LENGTH]] [broadcast ADDRESS|+] [scope SCOPE] [label LABEL]
/// [valid_lft SECONDS] [preferred_lft SECONDS] dev NAME`.
pub fn one(command: &str, words: Words<'_>, stack: &Stack) -> Result<()> {
    let Asked { interface, address, length, details } = Asked::read(words)?;
    let what = format!("{address}/{length} dev {interface}");
    let links = stack.links()?;
    let link = links.iter().find(|link| link.name == interface);
    let link = link.ok_or_else(|| report::no_such_device(&interface))?;
    let held = link.addresses.iter().find(|row| (row.address, row.length) == (address, length));
    match (command, held) {
        ("delete", None) => {
            let shown: Vec<_> = link
                .addresses
                .iter()
                .map(|row| format!("{}/{}", row.address, row.length))
                .collect();
            anyhow::bail!("addr delete {what}: it has only {}", shown.join(", "));
        }
        ("delete", Some(_)) => {
            let change = Change::RemoveAddress { interface, address, length };
            stack.change(change).with_context(|| format!("addr delete {what}"))
        }
        ("change", None) => anyhow::bail!("addr change {what}: there is none; write addr add"),
        _ => {
            let mode = match command {
                "change" => SetMode::Change,
                "replace" => SetMode::Replace,
                _ => SetMode::Create,
            };
            let change = Change::SetAddress { interface, address, length, details, mode };
            stack.change(change).with_context(|| format!("addr {command} {what}"))
        }
    }
}

/// Removes every address that the filter takes; it has to say which.
pub fn flush(words: Words<'_>, stack: &Stack) -> Result<()> {
    let error = words.error("which? write `addr flush dev NAME`");
    let filter = Filter::read(words)?;
    let name = filter.device.clone().ok_or(error)?;
    let links = stack.links()?;
    let link = links.iter().find(|link| link.name == name);
    let link = link.ok_or_else(|| report::no_such_device(&name))?;
    for row in link.addresses.iter().filter(|row| filter.takes(row)) {
        let (address, length) = (row.address, row.length);
        let change = Change::RemoveAddress { interface: name.clone(), address, length };
        stack
            .change(change)
            .with_context(|| format!("addr delete {address}/{length} dev {name}"))?;
    }
    Ok(())
}

/// `dev NAME`: tells the link where the addresses are now, as `arping -U` does; not in ip(8).
pub fn announce(mut words: Words<'_>, stack: &Stack) -> Result<()> {
    let (Some("dev"), Ok(name), None) = (words.next(), words.value("dev"), words.next()) else {
        return Err(words.error("whose addresses? write addr announce dev NAME"));
    };
    let change = Change::AnnounceAddresses { interface: name.to_owned() };
    stack.change(change).with_context(|| format!("addr announce dev {name}"))
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    interface: String,
    address: IpAddr,
    length: u8,
    details: AddressDetails,
}

impl Asked {
    fn read(mut words: Words<'_>) -> Result<Self> {
        let (mut interface, mut own, mut all) = (None, None, None);
        let mut details = AddressDetails::default();
        while let Some(word) = words.next() {
            match word {
                "dev" => interface = Some(words.value(word)?.to_owned()),
                "broadcast" | "brd" => all = Some(words.value(word)?),
                "local" => {
                    let value = words.value(word)?;
                    own = Some(words.prefix(value)?);
                }
                "peer" => {
                    let value = words.value(word)?;
                    details.peer = Some(words.prefix(value)?);
                }
                "label" => details.label = Some(words.value(word)?.to_owned()),
                "scope" => {
                    let value = words.value(word)?;
                    let scope = names::scope(value).ok_or_else(|| {
                        words.error(format_args!("scope `{value}`: write global, link or host"))
                    })?;
                    details.scope = Some(scope);
                }
                "valid_lft" => details.valid = lifetime(&mut words, word)?,
                "preferred_lft" => details.preferred = lifetime(&mut words, word)?,
                word if own.is_none() => own = Some(words.prefix(word)?),
                word => {
                    return Err(words.error(format_args!(
                        "don't know `{word}`; write ADDRESS/LENGTH [peer ADDRESS/LENGTH] [brd +] [scope \
                         SCOPE] [label LABEL] [valid_lft SECONDS] [preferred_lft SECONDS] dev NAME"
                    )));
                }
            }
        }
        let (address, length) = own.ok_or_else(|| words.error("which address?"))?;
        let interface = interface.ok_or_else(|| words.error("where? write dev NAME"))?;
        // The broadcast address of a subnet is what its prefix makes it.
        let computed = report::broadcast(address, length).map(|all| all.to_string());
        if all.is_some_and(|all| all != "+" && Some(all) != computed.as_deref()) {
            let computed = computed.unwrap_or_else(|| "none".to_owned());
            return Err(words.error(format_args!(
                "the broadcast address of {address}/{length} is {computed}: leave brd out"
            )));
        }
        if details.peer.is_some() && length < 32 {
            return Err(words.error(format_args!(
                "{address}/{length} has a subnet of its own: leave its length out, or peer"
            )));
        }
        // As ip-address(8): preferred for as long as it is valid, unless it is said.
        details.preferred = details.preferred.or(details.valid);
        if details.valid < details.preferred && details.valid.is_some() {
            return Err(words.error("preferred_lft is longer than valid_lft: write less"));
        }
        Ok(Self { interface, address, length, details })
    }
}

/// `None`: for ever.
fn lifetime(words: &mut Words<'_>, keyword: &str) -> Result<Option<u32>> {
    match words.value(keyword)? {
        "forever" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            words.error(format_args!("{keyword} `{text}`: write seconds, or forever"))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_ipc::route::RouteScope;

    fn read(line: &str) -> Result<Asked, String> {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (_, words) = Words::new("addr", &line, &["add"]).unwrap();
        Asked::read(words).map_err(|error| error.to_string())
    }

    #[test]
    fn words_of_ip_address() {
        let asked = |length| {
            let (interface, details) = ("lan".into(), AddressDetails::default());
            Ok(Asked { interface, address: [10, 0, 0, 2].into(), length, details })
        };
        for (line, length) in [
            ("add 10.0.0.2/24 dev lan", 24),
            ("add dev lan 10.0.0.2/24", 24),
            ("add 10.0.0.2 dev lan", 32),
            ("add local 10.0.0.2/16 dev lan", 16),
            ("add 10.0.0.2/24 brd + dev lan", 24),
            ("add 10.0.0.2/24 broadcast 10.0.0.255 dev lan", 24),
        ] {
            assert_eq!(read(line), asked(length), "{line}");
        }
    }

    #[test]
    fn more_may_be_said_of_an_address() {
        let line = "add 10.0.0.2 peer 10.9.0.1/24 scope link label lan:1 valid_lft 100 dev lan";
        let details = AddressDetails {
            label: Some("lan:1".into()),
            scope: Some(RouteScope::Link),
            peer: Some(([10, 9, 0, 1].into(), 24)),
            valid: Some(100),
            preferred: Some(100),
        };
        assert_eq!(read(line).unwrap().details, details);
        let forever = "add 10.0.0.2/24 valid_lft forever preferred_lft 0 dev lan";
        let details = AddressDetails { preferred: Some(0), ..AddressDetails::default() };
        assert_eq!(read(forever).unwrap().details, details);
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        for (line, words) in [
            ("add 10.0.0.2/24", "`addr add`: where? write dev NAME"),
            ("add dev lan", "`addr add`: which address?"),
            ("add 10.0.0.2/40 dev lan", "`10.0.0.2/40` is not an IPv4 address: write as"),
            ("add 10.0.0.2/24 dev", "`addr add dev`: its value is missing"),
            ("add 10.0.0.2/24 dev lan weight 3", "don't know `weight`; write ADDRESS/LENGTH"),
            ("add 10.0.0.2/24 peer 10.0.0.3 dev lan", "leave its length out, or peer"),
            ("add 10.0.0.2/24 scope far dev lan", "write global, link or host"),
            ("add 10.0.0.2/24 valid_lft soon dev lan", "write seconds, or forever"),
            ("add 10.0.0.2/24 valid_lft 5 preferred_lft 6 dev lan", "longer than valid_lft"),
            ("add 10.0.0.2/24 brd 10.0.0.7 dev lan", "is 10.0.0.255: leave brd out"),
            ("add 10.0.0.2/32 brd 10.0.0.2 dev lan", "is none: leave brd out"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
