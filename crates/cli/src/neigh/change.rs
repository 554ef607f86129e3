//! `narrows neigh add|change|replace|delete|flush`, in the words of ip-neighbour(8).

use super::filter::Filter;
use crate::words::Words;
use anyhow::{Context, Result, ensure};
use narrows_client::Stack;
use narrows_ipc::change::{Change, SetMode, SetState};
use std::net::IpAddr;

pub fn one(command: &str, words: Words<'_>, stack: &Stack) -> Result<()> {
    let asked = Asked::read(words)?;
    let what = format!("neigh {command} {} dev {}", asked.address, asked.interface);
    let change = asked.change(command).with_context(|| what.clone())?;
    stack.change(change).context(what)
}

/// Removes the entries that the filter takes; it has to say which. What the operator set stays
/// unless its state is asked for.
pub fn flush(words: Words<'_>, stack: &Stack) -> Result<()> {
    let error = words.error("which? write `neigh flush dev NAME`");
    let filter = Filter::read(words)?;
    ensure!(!filter.is_empty(), error);
    for row in stack.neighbors()?.iter().filter(|row| filter.takes(row)) {
        if row.state == "PERMANENT" && !filter.has_states() {
            continue;
        }
        let (interface, address) = (row.interface.clone(), row.address);
        let change = match row.proxy {
            true => Change::SetProxy { interface, address, proxied: false },
            false => Change::RemoveNeighbor { interface, address },
        };
        let what = || format!("neigh delete {} dev {}", row.address, row.interface);
        stack.change(change).with_context(what)?;
    }
    Ok(())
}

/// `[proxy] ADDRESS [lladdr MAC] [nud STATE] dev NAME`.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    interface: String,
    address: IpAddr,
    proxy: bool,
    mac: Option<[u8; 6]>,
    state: SetState,
}

impl Asked {
    fn read(mut words: Words<'_>) -> Result<Self> {
        let (mut interface, mut address, mut mac) = (None, None, None);
        let (mut proxy, mut state) = (false, SetState::Permanent);
        while let Some(word) = words.next() {
            match word {
                "dev" => interface = Some(words.value(word)?.to_owned()),
                "lladdr" => {
                    let value = words.value(word)?;
                    let parsed = parse_mac(value);
                    mac = Some(parsed.ok_or_else(|| {
                        words.error(format_args!(
                            "`{value}` is not a MAC address: write as 02:00:00:00:00:01"
                        ))
                    })?);
                }
                "nud" => {
                    let value = words.value(word)?;
                    state = parse_state(value).ok_or_else(|| {
                        words.error(format_args!(
                            "nud {value}: write permanent, noarp, reachable, stale, delay or probe"
                        ))
                    })?;
                }
                "proxy" => proxy = true,
                "to" => {
                    let value = words.value(word)?;
                    address = Some(words.address(value)?);
                }
                word if address.is_none() => address = Some(words.address(word)?),
                word => {
                    return Err(words.error(format_args!(
                        "don't know `{word}`; write ADDRESS [lladdr MAC] [nud STATE] dev NAME"
                    )));
                }
            }
        }
        let address = address.ok_or_else(|| words.error("which neighbor? write its address"))?;
        let interface = interface.ok_or_else(|| words.error("where? write dev NAME"))?;
        Ok(Self { interface, address, proxy, mac, state })
    }

    fn change(self, command: &str) -> Result<Change> {
        let Self { interface, address, proxy, mac, state } = self;
        let mode = match command {
            "delete" if proxy => {
                return Ok(Change::SetProxy { interface, address, proxied: false });
            }
            "delete" => return Ok(Change::RemoveNeighbor { interface, address }),
            _ if proxy => return Ok(Change::SetProxy { interface, address, proxied: true }),
            "add" => SetMode::Create,
            "change" => SetMode::Change,
            _ => SetMode::Replace,
        };
        let mac = mac.context("its link address is missing: write lladdr MAC")?;
        Ok(Change::SetNeighbor { interface, address, mac, state, mode })
    }
}

fn parse_state(word: &str) -> Option<SetState> {
    Some(match word {
        "permanent" => SetState::Permanent,
        "noarp" => SetState::NoArp,
        "reachable" => SetState::Reachable,
        "stale" => SetState::Stale,
        "delay" => SetState::Delay,
        "probe" => SetState::Probe,
        _ => return None,
    })
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        let part = parts.next().filter(|part| (1..=2).contains(&part.len()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Change, String> {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let commands = ["add", "change", "replace", "delete"];
        let (command, words) = Words::new("neigh", &line, &commands).unwrap();
        let asked = Asked::read(words).and_then(|asked| asked.change(command));
        asked.map_err(|error| error.to_string())
    }

    #[test]
    fn words_of_ip_neighbour() {
        let (interface, address) = ("lan".to_owned(), IpAddr::from([10, 0, 0, 1]));
        let mac = [2, 0, 0, 0, 0, 0xf];
        let set = |state, mode| Change::SetNeighbor {
            interface: interface.clone(),
            address,
            mac,
            state,
            mode,
        };
        let proxy = |proxied| Change::SetProxy { interface: interface.clone(), address, proxied };
        for (line, expected) in [
            (
                "add 10.0.0.1 lladdr 02:00:00:00:00:0f dev lan",
                set(SetState::Permanent, SetMode::Create),
            ),
            (
                "change to 10.0.0.1 dev lan lladdr 2:0:0:0:0:f nud stale",
                set(SetState::Stale, SetMode::Change),
            ),
            (
                "replace 10.0.0.1 lladdr 02:00:00:00:00:0f dev lan nud noarp",
                set(SetState::NoArp, SetMode::Replace),
            ),
            ("add proxy 10.0.0.1 dev lan", proxy(true)),
            ("del proxy 10.0.0.1 dev lan", proxy(false)),
            (
                "del 10.0.0.1 dev lan",
                Change::RemoveNeighbor { interface: interface.clone(), address },
            ),
        ] {
            assert_eq!(read(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        for (line, words) in [
            ("add 10.0.0.1 dev lan", "write lladdr MAC"),
            ("add 10.0.0.1 lladdr 02:00:00:00:00:0f", "where? write dev NAME"),
            ("add dev lan", "which neighbor?"),
            ("add 10.0.0.1/24 dev lan", "`10.0.0.1/24` is not an IPv4 address"),
            ("add 10.0.0.1 lladdr 02:00:00 dev lan", "`02:00:00` is not a MAC address: write as"),
            ("add 10.0.0.1 lladdr 02:00:00:00:00:00:00 dev lan", "is not a MAC address"),
            ("add 10.0.0.1 nud failed dev lan", "nud failed: write permanent, noarp"),
            ("add 10.0.0.1 dev lan router", "don't know `router`; write ADDRESS"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
