//! `narrows link add|set|delete`, in the words of ip-link(8).

use super::filter::group;
use crate::words::Words;
use anyhow::{Context, Result};
use core::{str::FromStr, time::Duration};
use narrows_client::Stack;
use narrows_ipc::{
    change::Change,
    link::{LinkCommand, LinkKind, LinkSetting},
};

/// `[link LOWER] [name] NAME [SETTING…] type vlan id N [protocol P] | bond … | bridge … | device
/// packet:IF|tap:IF`.
pub fn add(words: Words<'_>, stack: &Stack) -> Result<()> {
    send(read_add(words)?, stack, "add")
}

/// `[dev] NAME SETTING…`.
pub fn set(words: Words<'_>, stack: &Stack) -> Result<()> {
    send(read_set(words)?, stack, "set")
}

/// `[dev] NAME`.
pub fn delete(mut words: Words<'_>, stack: &Stack) -> Result<()> {
    let name = match words.next() {
        Some("dev") => words.value("dev")?.to_owned(),
        Some(name) => name.to_owned(),
        None => return Err(words.error("which? write `link delete NAME`")),
    };
    // `ip link delete NAME type KIND` is what many scripts write.
    match (words.next(), words.next(), words.next()) {
        (None, None, None) | (Some("type"), Some(_), None) => {}
        (Some(word), ..) => return Err(words.error(format_args!("don't know `{word}`"))),
        (None, ..) => {}
    }
    send(LinkCommand::Remove { name }, stack, "delete")
}

fn send(command: LinkCommand, stack: &Stack, what: &str) -> Result<()> {
    let name = match &command {
        LinkCommand::Add { name, .. }
        | LinkCommand::Set { name, .. }
        | LinkCommand::Remove { name } => name.clone(),
        LinkCommand::Station { port, .. } => port.clone(),
    };
    stack.change(Change::Link(command)).with_context(|| format!("link {what} {name}"))
}

fn read_add(mut words: Words<'_>) -> Result<LinkCommand> {
    let (mut name, mut lower, mut kind) = (None, None, None);
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "name" | "dev" => name = Some(words.value(word)?.to_owned()),
            "link" => lower = Some(words.value(word)?.to_owned()),
            "device" => kind = Some(LinkKind::Device(words.value(word)?.to_owned())),
            "type" => kind = Some(read_type(&mut words, lower.as_deref(), &mut settings)?),
            word => {
                let known = setting(word, &mut words)?;
                match known {
                    Some(setting) => settings.push(setting),
                    None if name.is_none() => name = Some(word.to_owned()),
                    None => return Err(unknown(&words, word)),
                }
            }
        }
    }
    let name = name.ok_or_else(|| words.error("what is its name? write `link add NAME …`"))?;
    let kind = kind.ok_or_else(|| {
        words.error("what is it? write `type vlan|bond|bridge`, or `device packet:IF|tap:IF`")
    })?;
    Ok(LinkCommand::Add { name, kind, settings })
}

/// The kind, and what follows it to the end.
fn read_type(
    words: &mut Words<'_>,
    lower: Option<&str>,
    settings: &mut Vec<LinkSetting>,
) -> Result<LinkKind> {
    let kind = words.value("type")?;
    match kind {
        "vlan" => {
            let (mut id, mut protocol) = (None, "802.1Q".to_owned());
            while let Some(word) = words.next() {
                match word {
                    "id" => id = Some(number(words, word)?),
                    "protocol" => protocol = words.value(word)?.to_owned(),
                    word => return Err(unknown(words, word)),
                }
            }
            let lower =
                lower.ok_or_else(|| words.error("on what? write `link add link LOWER …`"))?;
            let id = id.ok_or_else(|| words.error("which VLAN? write `type vlan id N`"))?;
            Ok(LinkKind::Vlan { lower: lower.to_owned(), protocol, id })
        }
        "bond" | "bridge" => {
            while let Some(word) = words.next() {
                settings.push(kind_setting(word, words)?.ok_or_else(|| unknown(words, word))?);
            }
            Ok(if kind == "bond" { LinkKind::Bond } else { LinkKind::Bridge })
        }
        other => Err(words.error(format_args!("type `{other}`: write vlan, bond or bridge"))),
    }
}

fn read_set(mut words: Words<'_>) -> Result<LinkCommand> {
    let mut name = None;
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        match word {
            "dev" => name = Some(words.value(word)?.to_owned()),
            "type" => {
                words.value(word)?;
                while let Some(word) = words.next() {
                    let setting = kind_setting(word, &mut words)?;
                    settings.push(setting.ok_or_else(|| unknown(&words, word))?);
                }
            }
            word => match setting(word, &mut words)? {
                Some(setting) => settings.push(setting),
                None if name.is_none() => name = Some(word.to_owned()),
                None => return Err(unknown(&words, word)),
            },
        }
    }
    let name = name.ok_or_else(|| words.error("which? write `link set NAME …`"))?;
    if settings.is_empty() {
        return Err(words.error("what? write up, down, name NAME, mtu N, address MAC, promisc on|off, forward on|off, …"));
    }
    Ok(LinkCommand::Set { name, settings })
}

/// What any interface can be set to. `None`: the word is none of these.
fn setting(word: &str, words: &mut Words<'_>) -> Result<Option<LinkSetting>> {
    Ok(Some(match word {
        "up" => LinkSetting::Up(true),
        "down" => LinkSetting::Up(false),
        "mtu" => LinkSetting::Mtu(number(words, word)?),
        "address" => {
            let text = words.value(word)?;
            LinkSetting::Mac(station(words, text)?)
        }
        "name" => LinkSetting::Name(words.value(word)?.to_owned()),
        "forward" => LinkSetting::Forward(switch(words, word, "on", "off")?),
        "host_model" => LinkSetting::HostModel(words.value(word)?.to_owned()),
        "reverse_path" => LinkSetting::ReversePath(words.value(word)?.to_owned()),
        "redirects" => LinkSetting::Redirects(switch(words, word, "on", "off")?),
        "arp_ignore" => LinkSetting::ArpIgnore(number(words, word)?),
        "arp_announce" => LinkSetting::ArpAnnounce(number(words, word)?),
        "arp_filter" => LinkSetting::ArpFilter(switch(words, word, "on", "off")?),
        "arp_accept" => LinkSetting::ArpAccept(switch(words, word, "on", "off")?),
        "proxy_arp" => LinkSetting::ProxyArp(switch(words, word, "on", "off")?),
        "conflict_detection" => LinkSetting::ConflictDetection(words.value(word)?.to_owned()),
        "address_source" => LinkSetting::AddressSource(words.value(word)?.to_owned()),
        "promisc" => LinkSetting::Promiscuous(switch(words, word, "on", "off")?),
        "group" => LinkSetting::Group(group(words)?),
        "master" => LinkSetting::Master(Some(words.value(word)?.to_owned())),
        "nomaster" => LinkSetting::Master(None),
        _ => return Ok(None),
    }))
}

/// What bonds and bridges can be set to.
fn kind_setting(word: &str, words: &mut Words<'_>) -> Result<Option<LinkSetting>> {
    Ok(Some(match word {
        "mode" => LinkSetting::Mode(words.value(word)?.to_owned()),
        "xmit_hash_policy" => LinkSetting::HashPolicy(words.value(word)?.to_owned()),
        "lacp_rate" => LinkSetting::LacpFast(switch(words, word, "fast", "slow")?),
        "primary" => {
            let name = words.value(word)?;
            LinkSetting::Primary(Some(name).filter(|name| !name.is_empty()).map(str::to_owned))
        }
        "arp_interval" => {
            LinkSetting::ArpInterval(Duration::from_millis(number::<u32>(words, word)?.into()))
        }
        "min_links" => LinkSetting::MinLinks(number(words, word)?),
        "updelay" => {
            LinkSetting::UpDelay(Duration::from_millis(number::<u32>(words, word)?.into()))
        }
        "downdelay" => {
            LinkSetting::DownDelay(Duration::from_millis(number::<u32>(words, word)?.into()))
        }
        "arp_ip_target" => {
            let list = words.value(word)?;
            let targets = list.split(',').map(str::parse).collect::<Result<_, _>>();
            LinkSetting::ArpTargets(targets.map_err(|_| {
                words.error(format_args!("arp_ip_target `{list}`: write as 10.0.0.1,10.0.0.2"))
            })?)
        }
        // ip(8) has hundredths of seconds here.
        "ageing_time" => {
            let hundredths: u32 = number(words, word)?;
            LinkSetting::Ageing(Duration::from_millis(u64::from(hundredths) * 10))
        }
        "fdb_max_learned" => LinkSetting::MaxAddresses(number(words, word)?),
        "flood_limit" => LinkSetting::FloodLimit(number(words, word)?),
        _ => return Ok(None),
    }))
}

fn unknown(words: &Words<'_>, word: &str) -> anyhow::Error {
    words.error(format_args!("don't know `{word}`"))
}

fn number<T: FromStr>(words: &mut Words<'_>, keyword: &str) -> Result<T> {
    let text = words.value(keyword)?;
    text.parse().map_err(|_| words.error(format_args!("{keyword} `{text}`: not such a number")))
}

fn switch(words: &mut Words<'_>, keyword: &str, on: &str, off: &str) -> Result<bool> {
    match words.value(keyword)? {
        word if word == on => Ok(true),
        word if word == off => Ok(false),
        word => Err(words.error(format_args!("{keyword} `{word}`: write {on} or {off}"))),
    }
}

/// The address of one station.
pub fn station(words: &Words<'_>, text: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> =
        text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        words.error(format_args!("`{text}` is not a MAC address: write as 02:00:00:00:00:01"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<LinkCommand, String> {
        let line: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let (command, words) = Words::new("link", &line, &super::super::COMMANDS).unwrap();
        let read = if command == "add" { read_add(words) } else { read_set(words) };
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn words_of_ip_link() {
        let vlan = |protocol: &str| LinkKind::Vlan {
            lower: "lan".into(),
            protocol: protocol.into(),
            id: 100,
        };
        let add =
            |name: &str, kind, settings| LinkCommand::Add { name: name.into(), kind, settings };
        let set = |settings| LinkCommand::Set { name: "lan".into(), settings };
        let cases = [
            ("add link lan name v type vlan id 100", add("v", vlan("802.1Q"), vec![])),
            (
                "add link lan v mtu 1400 type vlan protocol 802.1ad id 100",
                add("v", vlan("802.1ad"), vec![LinkSetting::Mtu(1400)]),
            ),
            (
                "add bond0 type bond mode active-backup lacp_rate fast",
                add(
                    "bond0",
                    LinkKind::Bond,
                    vec![LinkSetting::Mode("active-backup".into()), LinkSetting::LacpFast(true)],
                ),
            ),
            (
                "add name br0 type bridge ageing_time 3000",
                add("br0", LinkKind::Bridge, vec![LinkSetting::Ageing(Duration::from_secs(30))]),
            ),
            (
                "add name lan2 device packet:eth1",
                add("lan2", LinkKind::Device("packet:eth1".into()), vec![]),
            ),
            (
                "set dev lan up mtu 9000 promisc on group 7 nomaster",
                set(vec![
                    LinkSetting::Up(true),
                    LinkSetting::Mtu(9000),
                    LinkSetting::Promiscuous(true),
                    LinkSetting::Group(7),
                    LinkSetting::Master(None),
                ]),
            ),
            (
                "set lan name uplink forward on host_model weak reverse_path loose redirects off",
                set(vec![
                    LinkSetting::Name("uplink".into()),
                    LinkSetting::Forward(true),
                    LinkSetting::HostModel("weak".into()),
                    LinkSetting::ReversePath("loose".into()),
                    LinkSetting::Redirects(false),
                ]),
            ),
            (
                "set lan arp_ignore 2 arp_announce 0 arp_filter on arp_accept off proxy_arp on",
                set(vec![
                    LinkSetting::ArpIgnore(2),
                    LinkSetting::ArpAnnounce(0),
                    LinkSetting::ArpFilter(true),
                    LinkSetting::ArpAccept(false),
                    LinkSetting::ProxyArp(true),
                ]),
            ),
            (
                "set lan conflict_detection probe address_source dhcp",
                set(vec![
                    LinkSetting::ConflictDetection("probe".into()),
                    LinkSetting::AddressSource("dhcp".into()),
                ]),
            ),
            ("set lan master br0", set(vec![LinkSetting::Master(Some("br0".into()))])),
            (
                "set lan type bond min_links 2 updelay 200 downdelay 50",
                set(vec![
                    LinkSetting::MinLinks(2),
                    LinkSetting::UpDelay(Duration::from_millis(200)),
                    LinkSetting::DownDelay(Duration::from_millis(50)),
                ]),
            ),
            (
                "set lan type bond arp_interval 100 arp_ip_target 10.0.0.1,10.0.0.2",
                set(vec![
                    LinkSetting::ArpInterval(Duration::from_millis(100)),
                    LinkSetting::ArpTargets(vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]),
                ]),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        for (line, expected) in [
            ("add", "what is its name?"),
            ("add v", "what is it?"),
            ("add v type vlan id 5", "on what?"),
            ("add link lan v type vlan", "which VLAN?"),
            ("add link lan v type vlan id x", "id `x`: not such a number"),
            ("add v type vxlan", "type `vxlan`: write vlan, bond or bridge"),
            ("add v type bond mod x", "don't know `mod`"),
            ("set", "which?"),
            ("set lan", "what?"),
            ("set lan mtu", "its value is missing"),
            ("set lan mtu 70000", "mtu `70000`: not such a number"),
            ("set lan forward yes", "forward `yes`: write on or off"),
            ("set lan promisc yes", "promisc `yes`: write on or off"),
            ("set lan address 1:2:3", "`1:2:3` is not a MAC address"),
            ("set lan frobnicate", "don't know `frobnicate`"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
