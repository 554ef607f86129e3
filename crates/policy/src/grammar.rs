//! How rules are written: in the configuration file, on the command line, and in reports.
//!
//! | act | what may follow |
//! |---|---|
//! | `bind`, `listen`, `connect` | `[tcp\|udp\|icmp] ADDRESS[/LENGTH][:PORT[-PORT]]`, `*` for any address |
//! | `multicast` | `GROUP[/LENGTH]`, or `*` |
//! | `raw` | `[observe\|share\|claim\|inject\|tap\|precede] INTERFACE`, or `*` |
//! | `packet` | the same, or `inspect INTERFACE` |
//! | `inspect`, `administer` | nothing |

use crate::{
    act::{Access, ActKind, Protocol},
    network::{Network, bits},
    rule::{Endpoint, Medium, Permit, Rule, Who},
};
use core::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// What is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrammarError(String);

impl fmt::Display for GrammarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GrammarError {}

/// Ports when none are said.
const EVERY_PORT: (u16, u16) = (0, u16::MAX);

impl Permit {
    /// Reads what follows the word for an act; nothing follows `inspect` and `administer`.
    pub fn parse(kind: ActKind, text: &str) -> Result<Self, GrammarError> {
        match kind {
            ActKind::Bind => Endpoint::parse(text).map(Self::Bind),
            ActKind::Listen => match Endpoint::parse(text)? {
                Endpoint { protocol: Some(Protocol::Udp | Protocol::Icmp), .. } => {
                    let why =
                        format!("\"{text}\": only TCP sockets listen: write an address alone");
                    Err(GrammarError(why))
                }
                endpoint => Ok(Self::Listen(endpoint)),
            },
            ActKind::Connect => Endpoint::parse(text).map(Self::Connect),
            ActKind::Multicast => group(text).map(Self::Multicast),
            ActKind::Raw => match Medium::parse(text)? {
                Medium { access: Some(Access::Inspect), .. } => {
                    let why = format!("\"{text}\": write it as packet = [\"{text}\"]");
                    Err(GrammarError(why))
                }
                medium => Ok(Self::Raw(medium)),
            },
            ActKind::Packet => Medium::parse(text).map(Self::Packet),
            ActKind::Inspect if text.is_empty() => Ok(Self::Inspect),
            ActKind::Administer if text.is_empty() => Ok(Self::Administer),
            ActKind::Inspect | ActKind::Administer => {
                Err(GrammarError(format!("\"{text}\": nothing follows {}", kind.name())))
            }
        }
    }
}

impl Endpoint {
    fn parse(text: &str) -> Result<Self, GrammarError> {
        let mistake = || {
            GrammarError(format!(
                "\"{text}\" is not an address with a port: write as \"10.0.0.2:80\", \
                 \"10.0.0.0/24:8000-8999\", \"udp *:53\" or \"*\""
            ))
        };
        let (protocol, rest) = match text.split_once(' ') {
            None => (None, text),
            Some((word, rest)) => {
                let named = Protocol::ALL.into_iter().find(|protocol| protocol.name() == word);
                (Some(named.ok_or_else(mistake)?), rest.trim_start())
            }
        };
        let (network, ports) = split(rest).ok_or_else(mistake)?;
        let network = parse_network(network).map_err(|why| why.unwrap_or_else(mistake))?;
        let ports = match ports {
            None | Some("*") => EVERY_PORT,
            Some(ports) => parse_ports(ports).ok_or_else(mistake)?,
        };
        Ok(Self { protocol, network, ports })
    }
}

/// The address and the ports; an IPv6 address with ports is in brackets.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(ports) => Some((address, Some(ports))),
            None => rest.is_empty().then_some((address, None)),
        };
    }
    match text.split_once(':') {
        Some((address, ports)) if !ports.contains(':') => Some((address, Some(ports))),
        _ => Some((text, None)),
    }
}

/// `Err(None)`: not a network at all.
fn parse_network(text: &str) -> Result<Network, Option<GrammarError>> {
    if text == "*" {
        return Ok(Network::ANY);
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| None)?;
    let length: u8 = match length {
        Some(length) => length.parse().map_err(|_| None)?,
        None => bits(address),
    };
    if length > bits(address) {
        return Err(None);
    }
    Network::new(address, length).ok_or_else(|| {
        let network = crate::network::mask(address, length);
        Some(GrammarError(format!(
            "\"{text}\" has bits behind its length: write {network}/{length}, or {address} for \
             this one address"
        )))
    })
}

fn parse_ports(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = (first.parse().ok()?, last.parse().ok()?);
    (ports.0 <= ports.1).then_some(ports)
}

/// Where groups are (RFC 5771).
fn group(text: &str) -> Result<Network, GrammarError> {
    const GROUPS: (Ipv4Addr, u8) = (Ipv4Addr::new(224, 0, 0, 0), 4);
    let groups = Network::new(GROUPS.0.into(), GROUPS.1);
    let mistake = || {
        GrammarError(format!(
            "\"{text}\" is not a multicast group: write as \"239.1.2.3\", \"239.0.0.0/8\" or \"*\""
        ))
    };
    let network = parse_network(text).map_err(|why| why.unwrap_or_else(mistake))?;
    let inside =
        |groups: Network| groups.contains(network.address()) && network.length() >= GROUPS.1;
    let fits = network == Network::ANY || groups.is_some_and(inside);
    if fits { Ok(network) } else { Err(mistake()) }
}

impl Medium {
    fn parse(text: &str) -> Result<Self, GrammarError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (access, interface) = match words[..] {
            [interface] => (None, interface),
            [word, interface] => {
                let named = Access::ALL.into_iter().find(|access| access.name() == word);
                (Some(named.ok_or_else(|| Self::mistake(text))?), interface)
            }
            _ => return Err(Self::mistake(text)),
        };
        let interface = Some(interface).filter(|name| *name != "*").map(str::to_owned);
        Ok(Self { access, interface })
    }

    fn mistake(text: &str) -> GrammarError {
        GrammarError(format!(
            "\"{text}\" is not an interface: write as \"lan\", \"*\", or with what is allowed \
             there, as \"observe lan\" (observe, share, claim, inject, tap, precede or inspect)"
        ))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(protocol) = self.protocol {
            write!(f, "{} ", protocol.name())?;
        }
        let (first, last) = self.ports;
        let v6 = self.network.address().is_ipv6();
        match (self.ports == EVERY_PORT, v6) {
            (true, _) => write!(f, "{}", self.network),
            (false, true) => write!(f, "[{}]:{first}", self.network),
            (false, false) => write!(f, "{}:{first}", self.network),
        }?;
        if first != last && self.ports != EVERY_PORT { write!(f, "-{last}") } else { Ok(()) }
    }
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(access) = self.access {
            write!(f, "{} ", access.name())?;
        }
        f.write_str(self.interface.as_deref().unwrap_or("*"))
    }
}

/// The word for the act, and what follows it.
impl fmt::Display for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        match self {
            Self::Bind(at) | Self::Listen(at) | Self::Connect(at) => write!(f, " {at}"),
            Self::Multicast(groups) => write!(f, " {groups}"),
            Self::Raw(medium) | Self::Packet(medium) => write!(f, " {medium}"),
            Self::Inspect | Self::Administer => Ok(()),
        }
    }
}

/// Keywords and values; nothing for everybody.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [("user", self.user), ("group", self.group)];
        let numbers = numbers.into_iter().filter_map(|(word, id)| Some((word, id?.to_string())));
        let texts =
            [("executable", &self.executable), ("cgroup", &self.cgroup), ("zone", &self.zone)];
        let texts = texts.into_iter().filter_map(|(word, text)| Some((word, text.clone()?)));
        for (number, (word, value)) in numbers.chain(texts).enumerate() {
            let space = if number == 0 { "" } else { " " };
            write!(f, "{space}{word} {value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.who == Who::default() { "" } else { " " };
        write!(f, "{} {}{space}{}", self.effect.name(), self.who, self.permit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_shown() {
        use ActKind::*;
        for (kind, text) in [
            (Bind, "10.0.0.2:80"),
            (Bind, "tcp 10.0.0.2:80"),
            (Bind, "udp *:53"),
            (Bind, "*"),
            (Bind, "10.0.0.0/8:8000-8999"),
            (Bind, "10.0.0.2"),
            (Bind, "fd00::1"),
            (Bind, "[fd00::/16]:80"),
            (Listen, "tcp *:80"),
            (Connect, "icmp 10.0.0.1"),
            (Connect, "*:0"),
            (Multicast, "239.1.2.3"),
            (Multicast, "224.0.0.0/4"),
            (Multicast, "*"),
            (Raw, "lan"),
            (Packet, "observe *"),
            (Packet, "claim eth0.7"),
        ] {
            let permit = Permit::parse(kind, text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(permit.to_string(), format!("{} {text}", kind.name()));
        }
        for (kind, text, shown) in [
            (Bind, "*:*", "bind *"),
            (Bind, "0.0.0.0/0:53", "bind *:53"),
            (Connect, "10.0.0.2/32:1-1", "connect 10.0.0.2:1"),
            (Bind, "[fd00::1]", "bind fd00::1"),
            (Packet, "  share   lan ", "packet share lan"),
        ] {
            assert_eq!(Permit::parse(kind, text).map(|p| p.to_string()).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        use ActKind::*;
        for (kind, text, says) in [
            (Bind, "", "write as \"10.0.0.2:80\""),
            (Bind, "10.0.0.2:x", "write as \"10.0.0.2:80\""),
            (Bind, "10.0.0.2:80-79", "write as \"10.0.0.2:80\""),
            (Bind, "10.0.0.2:65536", "write as \"10.0.0.2:80\""),
            (Bind, "10.0.0.2/33:80", "write as \"10.0.0.2:80\""),
            (Bind, "sctp 10.0.0.2:80", "write as \"10.0.0.2:80\""),
            (Bind, "[fd00::1]80", "write as \"10.0.0.2:80\""),
            (Bind, "10.0.0.2/24:80", "write 10.0.0.0/24, or 10.0.0.2 for this one address"),
            (Listen, "udp *:53", "only TCP sockets listen"),
            (Multicast, "10.0.0.1", "is not a multicast group"),
            (Multicast, "224.0.0.0/3", "is not a multicast group"),
            (Multicast, "0.0.0.0/1", "is not a multicast group"),
            (Raw, "", "write as \"lan\""),
            (Packet, "sniff lan", "precede or inspect"),
            (Packet, "observe lan wan", "write as \"lan\""),
            (Inspect, "all", "nothing follows inspect"),
        ] {
            let error = Permit::parse(kind, text).expect_err(text).to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn rules_are_sentences() {
        let rule = |who: Who| Rule {
            effect: crate::Effect::Grant,
            who,
            permit: Permit::Inspect,
            origin: crate::Origin::Added,
        };
        assert_eq!(rule(Who::default()).to_string(), "grant inspect");
        let who = Who { user: Some(33), zone: Some("dmz".into()), ..Who::default() };
        assert_eq!(rule(who).to_string(), "grant user 33 zone dmz inspect");
    }
}
