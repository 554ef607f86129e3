//! `narrows who-has`: who gets a frame that comes in by an interface, in order.

use crate::{
    arguments::WhoHas,
    report::{self, Align},
};
use anyhow::{Context, Result, bail};
use narrows_client::Stack;
use narrows_ipc::{
    message::Owner,
    packet::{FrameMatch, TakerRow},
};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

pub fn execute(options: &WhoHas, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let text = options.frame.join(" ");
    let mut frame = parse(&text).with_context(|| format!("`{text}`"))?;
    let links = stack.links()?;
    let link = links.iter().find(|link| link.name == options.interface);
    frame.interface = link.ok_or_else(|| report::no_such_device(&options.interface))?.id;
    let rows = stack.who_has(&frame)?;
    if options.json {
        report::write_json(out, &rows.iter().map(to_json).collect())?;
    } else {
        write_rows(out, &rows)?;
    }
    Ok(())
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;

/// What pcap-filter(7) would call an expression without `or` and `not`.
fn parse(text: &str) -> Result<FrameMatch> {
    let mut frame = FrameMatch::default();
    let mut words = text.split_whitespace();
    let mut source = false;
    while let Some(word) = words.next() {
        let mut value =
            || words.next().with_context(|| format!("something has to follow `{word}`"));
        match word {
            "and" | "&&" => {}
            "src" => {
                source = true;
                continue;
            }
            "dst" => {}
            "ip" => frame.ether_type = Some(ETHERTYPE_IPV4),
            "arp" => frame.ether_type = Some(ETHERTYPE_ARP),
            "icmp" => frame.protocol = Some(1),
            "igmp" => frame.protocol = Some(2),
            "tcp" => frame.protocol = Some(6),
            "udp" => frame.protocol = Some(17),
            "ether" => {
                frame.ether_type = match (value()?, words.next()) {
                    ("proto", Some(kind)) => Some(number(kind)?),
                    _ => bail!("`ether` is followed by `proto` and a number: ether proto 0x88cc"),
                };
            }
            "proto" => {
                frame.protocol = Some(u8::try_from(number(value()?)?).context("a protocol")?)
            }
            "host" | "net" => {
                let prefix = Some(prefix(value()?)?);
                if source { frame.source = prefix } else { frame.destination = prefix }
            }
            "port" | "portrange" => {
                let ports = Some(ports(value()?)?);
                if source { frame.source_ports = ports } else { frame.destination_ports = ports }
            }
            "or" | "||" | "not" | "!" => bail!("`{word}` is more than one question: ask each"),
            other => bail!(
                "don't know `{other}`; write arp, ip, icmp, tcp, udp, ether proto N, proto N, host, net, port or \
                 portrange, after src or dst"
            ),
        }
        source = false;
    }
    Ok(frame)
}

fn number(text: &str) -> Result<u16> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.with_context(|| format!("`{text}` is no number up to 65535"))
}

fn prefix(text: &str) -> Result<(IpAddr, u8)> {
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let address: Ipv4Addr =
        address.parse().with_context(|| format!("`{address}` is no IPv4 address"))?;
    let length = length.parse().ok().filter(|length| *length <= 32);
    Ok((address.into(), length.with_context(|| format!("`{text}`: a length is 0 to 32"))?))
}

fn ports(text: &str) -> Result<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Ok((number(first)?, number(last)?))
}

fn write_rows(out: &mut dyn Write, rows: &[TakerRow]) -> io::Result<()> {
    let cells = |row: &TakerRow| {
        let who = row.owner.as_ref().map(program).unwrap_or_default();
        [row.stage.clone(), row.action.clone(), who]
    };
    let rows: Vec<_> = rows.iter().map(cells).collect();
    report::write_table(out, [Align::Left; 3], &rows)
}

/// As `narrows ss -p` has it.
fn program(owner: &Owner) -> String {
    let name = Path::new(&owner.executable).file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or(&owner.executable);
    format!("users:((\"{name}\",pid={},uid={}))", owner.pid, owner.uid)
}

fn to_json(row: &TakerRow) -> Value {
    let owner = row.owner.as_ref();
    json!({
        "stage": row.stage,
        "action": row.action,
        "pid": owner.map(|owner| owner.pid),
        "uid": owner.map(|owner| owner.uid),
        "executable": owner.map(|owner| &owner.executable),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_named_as_in_tcpdump() {
        let any = FrameMatch::default();
        let host = Some(("10.0.0.2".parse().expect("an address"), 32));
        let net = Some(("10.0.0.0".parse().expect("an address"), 8));
        for (text, frame) in [
            ("", any.clone()),
            ("arp", FrameMatch { ether_type: Some(0x0806), ..any.clone() }),
            ("ether proto 0x88cc", FrameMatch { ether_type: Some(0x88cc), ..any.clone() }),
            (
                "udp port 53",
                FrameMatch { protocol: Some(17), destination_ports: Some((53, 53)), ..any.clone() },
            ),
            (
                "tcp and src net 10.0.0.0/8 and dst host 10.0.0.2 and src portrange 1-2",
                FrameMatch {
                    protocol: Some(6),
                    source: net,
                    destination: host,
                    source_ports: Some((1, 2)),
                    ..any
                },
            ),
        ] {
            assert_eq!(parse(text).expect(text), frame, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("udp port", "follow `port`"),
            ("port x", "`x` is no number"),
            ("host fe80::1", "`fe80::1` is no IPv4 address"),
            ("net 10.0.0.0/33", "0 to 32"),
            ("udp or tcp", "ask each"),
            ("vlan 5", "don't know `vlan`"),
            ("ether 5", "ether proto"),
            ("proto 256", "a protocol"),
        ] {
            let error = format!("{:#}", parse(text).expect_err(text));
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
