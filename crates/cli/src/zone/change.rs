//! What `narrows zone` changes, read from the words in which it is listed.

use crate::{policy::names, words::Words};
use anyhow::{Context, Result, ensure};
use narrows_ipc::zone::{AdmittedRow, CrossingRow, ZoneCommand};

/// The words after `zone`, the first of which is no report.
pub fn read(words: &[String]) -> Result<ZoneCommand> {
    let (command, mut rest) =
        Words::new("zone", words, &["add", "delete", "set", "member", "allow"])?;
    match command {
        "add" => add(&mut rest),
        "delete" => {
            let name = rest.value("")?.to_owned();
            ensure!(rest.next().is_none(), "`zone delete`: one name, and no more words");
            Ok(ZoneCommand::Remove { name })
        }
        "set" => set(&mut rest),
        object => {
            let name = format!("zone {object}");
            let (command, mut rest) =
                Words::new(&name, words.get(1..).unwrap_or_default(), &["add", "delete"])?;
            ensure!(command != "show", "`{name}`: write add or delete; `narrows zone` shows them");
            match object {
                "member" => member(&mut rest, command == "add"),
                _ => allow(&mut rest, command == "add"),
            }
        }
    }
}

fn on(words: &Words<'_>, value: &str) -> Result<bool> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(words.error(format_args!("cut_through {value}: write on or off"))),
    }
}

fn add(words: &mut Words<'_>) -> Result<ZoneCommand> {
    let name = words.value("")?.to_owned();
    let (mut private, mut cut_through) = (false, true);
    while let Some(word) = words.next() {
        match word {
            "private" => private = true,
            "cut_through" => cut_through = words.value(word).and_then(|value| on(words, value))?,
            _ => {
                let says =
                    format_args!("don't know `{word}`; write [private] [cut_through on|off]");
                return Err(words.error(says));
            }
        }
    }
    Ok(ZoneCommand::Add { name, private, cut_through })
}

fn set(words: &mut Words<'_>) -> Result<ZoneCommand> {
    let zone = words.value("")?.to_owned();
    let command = match words.next() {
        Some("dev") => ZoneCommand::Move { interface: words.value("dev")?.to_owned(), zone },
        Some("cut_through") => {
            let value = words.value("cut_through")?;
            ZoneCommand::SetCutThrough { zone, cut_through: on(words, value)? }
        }
        _ => return Err(words.error("write dev INTERFACE or cut_through on|off")),
    };
    ensure!(words.next().is_none(), "`zone set`: one thing at a time");
    Ok(command)
}

fn member(words: &mut Words<'_>, add: bool) -> Result<ZoneCommand> {
    let zone = words.value("")?.to_owned();
    let (mut who, mut length) = (AdmittedRow::default(), None);
    while let Some(word) = words.next() {
        let value = words.value(word)?;
        match word {
            "user" => who.user = Some(names::user(value)?),
            "group" => who.group = Some(names::group(value)?),
            "executable" | "exe" => who.executable = Some(value.to_owned()),
            "cgroup" => who.cgroup = Some(value.to_owned()),
            "at" | "address" => {
                let (address, said) = value.split_once('/').unwrap_or((value, ""));
                let parsed = address.parse().ok();
                let address =
                    parsed.with_context(|| format!("`{value}` is not an IPv4 address"))?;
                who.address = Some(address);
                length = match said {
                    "" => None,
                    said => Some(said.parse().with_context(|| {
                        format!("`{value}`: write the length of the prefix as 10.99.0.2/24")
                    })?),
                };
            }
            "lladdr" => who.mac = Some(mac(value)?),
            _ => {
                return Err(words.error(format_args!(
                    "don't know `{word}`; write [user NAME] [group NAME] [executable PATH] [cgroup \
                     PATH] [at ADDRESS[/LENGTH]] [lladdr MAC]"
                )));
            }
        }
    }
    Ok(match add {
        true => ZoneCommand::Admit { zone, who, length },
        false => ZoneCommand::Expel { zone, who },
    })
}

fn mac(text: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> =
        text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .with_context(|| format!("`{text}` is not a MAC address: write as 02:00:00:00:00:01"))
}

fn allow(words: &mut Words<'_>, add: bool) -> Result<ZoneCommand> {
    const GRAMMAR: &str = "write FROM to TO [protocol tcp|udp|icmp] [dport PORT[-PORT]] [saddr \
                           NETWORK] [daddr NETWORK]";
    let from = words.value("")?.to_owned();
    let mut crossing = CrossingRow {
        to: String::new(),
        protocol: None,
        ports: None,
        source: None,
        destination: None,
    };
    while let Some(word) = words.next() {
        let value = words.value(word)?;
        match word {
            "to" => crossing.to = value.to_owned(),
            "protocol" | "proto" => {
                let known = [("icmp", 1), ("tcp", 6), ("udp", 17)];
                let found = known.iter().find(|(name, _)| *name == value);
                let found = found.with_context(|| format!("protocol `{value}`: {GRAMMAR}"))?;
                crossing.protocol = Some(found.1);
            }
            "dport" => {
                let (low, high) = value.split_once('-').unwrap_or((value, value));
                let both = low.parse().ok().zip(high.parse().ok());
                crossing.ports = Some(both.with_context(|| format!("dport `{value}`: {GRAMMAR}"))?);
            }
            "saddr" => crossing.source = Some(value.to_owned()),
            "daddr" => crossing.destination = Some(value.to_owned()),
            _ => return Err(words.error(format_args!("don't know `{word}`; {GRAMMAR}"))),
        }
    }
    if crossing.to.is_empty() {
        return Err(words.error(GRAMMAR));
    }
    Ok(match add {
        true => ZoneCommand::Allow { from, crossing },
        false => ZoneCommand::Forbid { from, crossing },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_line(line: &str) -> Result<ZoneCommand> {
        read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn commands_are_said_as_they_are_read() {
        for line in [
            "add vault private cut_through off",
            "add lab cut_through on",
            "del lab",
            "set lab dev eth1",
            "set lab cut_through off",
            "member add vault user 1001 group 7 executable /bin/app cgroup /a at 10.99.0.2 lladdr \
             02:00:0a:63:00:02",
            "member del vault at 10.99.0.2",
            "allow add public to lab protocol tcp dport 80-90 saddr 10.0.0.0/8 daddr 10.1.0.0/24",
            "allow del lab to public protocol udp dport 53",
        ] {
            assert_eq!(read_line(line).expect(line).to_string(), line);
        }
        let short = read_line("member a v user root address 10.99.0.2/26").expect("short");
        let who =
            AdmittedRow { user: Some(0), address: "10.99.0.2".parse().ok(), ..Default::default() };
        assert_eq!(short, ZoneCommand::Admit { zone: "v".into(), who, length: Some(26) });
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (line, says) in [
            ("frobnicate", "write one of add, delete, set, member, allow"),
            ("add", "its value is missing"),
            ("add x red", "don't know `red`; write [private]"),
            ("add x cut_through maybe", "write on or off"),
            ("del a b", "one name"),
            ("set lab", "write dev INTERFACE or"),
            ("set lab dev a dev b", "one thing at a time"),
            ("member", "write add or delete"),
            ("member add lab colour red", "don't know `colour`; write [user NAME]"),
            ("member add lab user", "`zone member add user`: its value is missing"),
            ("member add lab user no-such-user", "no user `no-such-user`"),
            ("member add v user 1 at 10.99.0.256", "is not an IPv4 address"),
            ("member add v user 1 at 10.99.0.2/x", "write the length"),
            ("member add v user 1 lladdr 02:00", "is not a MAC address"),
            ("allow add public", "write FROM to TO"),
            ("allow add public to lab protocol sctp", "protocol `sctp`: write FROM"),
            ("allow add public to lab dport http", "dport `http`: write FROM"),
        ] {
            let error = read_line(line).expect_err(line).to_string();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
