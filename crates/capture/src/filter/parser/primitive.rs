//! Primitives: words that say what a value is (`tcp dst port`), and the value.

use super::{Error, LINK, Node, Number, Parser, Relation, Size, number};
use std::net::Ipv4Addr;

const IPV4: u32 = 0x0800;
const ARP: u32 = 0x0806;
const RARP: u32 = 0x8035;
const IPV6: u32 = 0x86dd;
/// Of IPv6: the header of a fragment comes first.
const IPV6_FRAGMENT: u32 = 44;
/// linux/if_packet.h.
const OUTGOING: u32 = 4;

/// By what a value is to be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Qualifiers {
    protocol: Option<Family>,
    direction: Direction,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ether,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Over(Transport),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Direction {
    #[default]
    Either,
    Both,
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Host,
    Net,
    Port,
    PortRange,
    Protocol,
}

/// A protocol over IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transport(pub u32);

impl Transport {
    const TCP: Self = Self(6);
    const UDP: Self = Self(17);
    const SCTP: Self = Self(132);

    pub(super) fn named(word: &str) -> Option<Self> {
        Some(Self(match word {
            "icmp" => 1,
            "igmp" => 2,
            "igrp" => 9,
            "tcp" => Self::TCP.0,
            "udp" => Self::UDP.0,
            "esp" => 50,
            "ah" => 51,
            "pim" => 103,
            "vrrp" => 112,
            "sctp" => Self::SCTP.0,
            _ => return None,
        }))
    }

    /// Those that are looked for in IPv6, too.
    fn is_over_both(self) -> bool {
        [Self::TCP, Self::UDP, Self::SCTP, Self(50), Self(51), Self(103)].contains(&self)
    }
}

impl Parser<'_> {
    pub(super) fn primitive(&mut self) -> Result<Node, Error> {
        if let Some(node) = self.alone()? {
            return Ok(node);
        }
        let begin = self.at;
        let protocol = self.family();
        let direction = self.direction();
        let kind = self.kind();
        if self.at == begin {
            // A value alone is of the kind that was last.
            return self.value(self.last);
        }
        if let (Some(family), None, None) = (protocol, direction, kind) {
            if matches!(self.peek(), Some("broadcast" | "multicast")) {
                return self.for_many(family);
            }
            return self.is_of(family);
        }
        let implied = match protocol {
            Some(Family::Over(_)) => Kind::Port,
            _ => Kind::Host,
        };
        let qualifiers = Qualifiers {
            protocol,
            direction: direction.unwrap_or_default(),
            kind: kind.unwrap_or(implied),
        };
        self.last = qualifiers;
        self.value(qualifiers)
    }

    /// What needs no value, or one of its own.
    fn alone(&mut self) -> Result<Option<Node>, Error> {
        let Some(word) = self.peek() else { return Ok(None) };
        let outgoing = || Node::equal(Number::PacketType, OUTGOING);
        let node = match word {
            "broadcast" | "multicast" => return self.for_many(Family::Ether).map(Some),
            "inbound" => outgoing().not(),
            "outbound" => outgoing(),
            "less" | "greater" => {
                self.at += 1;
                let length = self.peek().and_then(number);
                let length =
                    length.ok_or_else(|| self.error("a length in bytes should be here"))?;
                let length = Number::Constant(length);
                match word {
                    "less" => Node::Compare(Number::Length, Relation::Greater, length).not(),
                    _ => Node::Compare(Number::Length, Relation::AtLeast, length),
                }
            }
            "vlan" => return self.vlan().map(Some),
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(node))
    }

    /// A tag; what comes behind is about what it is around.
    fn vlan(&mut self) -> Result<Node, Error> {
        self.at += 1;
        let ether_type = Number::at(self.link - 2, Size::Half);
        let tag = Number::at(self.link, Size::Half).masked(0x0fff);
        let kinds = [0x8100, 0x88a8, 0x9100].map(|kind| Node::equal(ether_type.clone(), kind));
        let [one, two, three] = kinds;
        let mut node = one.or(two).or(three);
        if let Some(id) = self.peek().and_then(number) {
            if id > 0xfff {
                return Err(self.error("a VLAN's number is at most 4095"));
            }
            self.at += 1;
            node = node.and(Node::equal(tag, id));
        }
        if self.link >= LINK + 64 {
            return Err(self.error("so many tags are in no frame"));
        }
        self.link += 4;
        Ok(node)
    }

    fn for_many(&mut self, family: Family) -> Result<Node, Error> {
        let node = match (family, self.peek()) {
            (Family::Ether, Some("broadcast")) => mac(0, [0xff; 6]),
            (Family::Ether, Some("multicast")) => bits(Number::at(0, Size::Byte), 1),
            (Family::Ip, Some("multicast")) => self.protocol("ip")?.and(Node::Compare(
                Number::at(self.link + 16, Size::Byte),
                Relation::AtLeast,
                Number::Constant(224),
            )),
            (Family::Ip, _) => {
                return Err(self.error(
                    "which addresses are broadcasts depends on the subnet: write `ether broadcast`",
                ));
            }
            _ => return Err(self.error("only `ether` and `ip` have that")),
        };
        self.at += 1;
        Ok(node)
    }

    fn family(&mut self) -> Option<Family> {
        let family = match self.peek()? {
            "ether" | "link" => Family::Ether,
            "ip" => Family::Ip,
            "ip6" => Family::Ip6,
            "arp" => Family::Arp,
            "rarp" => Family::Rarp,
            word => Family::Over(Transport::named(word)?),
        };
        self.at += 1;
        Some(family)
    }

    fn direction(&mut self) -> Option<Direction> {
        let direction = match self.peek()? {
            "src" => Direction::Source,
            "dst" => Direction::Destination,
            _ => return None,
        };
        self.at += 1;
        let other = if direction == Direction::Source { "dst" } else { "src" };
        let next = self.words.get(self.at..self.at + 2).unwrap_or_default();
        let joined = match next {
            [word, second] if *second == other => match *word {
                "or" | "||" => Direction::Either,
                "and" | "&&" => Direction::Both,
                _ => return Some(direction),
            },
            _ => return Some(direction),
        };
        self.at += 2;
        Some(joined)
    }

    fn kind(&mut self) -> Option<Kind> {
        let kind = match self.peek()? {
            "host" => Kind::Host,
            "net" => Kind::Net,
            "port" => Kind::Port,
            "portrange" => Kind::PortRange,
            "proto" => Kind::Protocol,
            _ => return None,
        };
        self.at += 1;
        Some(kind)
    }

    /// A condition about the value that is next.
    fn value(&mut self, by: Qualifiers) -> Result<Node, Error> {
        let Some(word) = self.peek() else {
            return Err(self.error("an address, port or number should be here"));
        };
        let word = word.trim_start_matches('\\');
        let node = match by.kind {
            Kind::Host if by.protocol == Some(Family::Ether) => {
                let address =
                    parse_mac(word).ok_or_else(|| self.error("a MAC address should be here"))?;
                joined(by.direction, mac(6, address), mac(0, address))
            }
            Kind::Host => {
                let address: Ipv4Addr = word.parse().map_err(|_| {
                    self.error("it is neither an IPv4 address nor a word of filters; names are not looked up")
                })?;
                self.addresses(by, address.to_bits(), u32::MAX)?
            }
            Kind::Net => {
                let (address, mask) = self.net(word)?;
                self.addresses(by, address, mask)?
            }
            Kind::Port => {
                let port = parse_port(word).ok_or_else(|| self.error("a port should be here"))?;
                self.ports(by, port, port)?
            }
            Kind::PortRange => {
                let range = word
                    .split_once('-')
                    .and_then(|(low, high)| Some((parse_port(low)?, parse_port(high)?)));
                let (low, high) =
                    range.ok_or_else(|| self.error("two ports should be here: 6000-6008"))?;
                self.ports(by, low.min(high), high.max(low))?
            }
            Kind::Protocol => self.by_protocol(by, word)?,
        };
        self.at += 1;
        Ok(node)
    }

    fn by_protocol(&self, by: Qualifiers, word: &str) -> Result<Node, Error> {
        let transport = || {
            let named = Transport::named(word).map(|transport| transport.0);
            number(word).filter(|number| *number <= 255).or(named)
        };
        match by.protocol {
            Some(Family::Ether) => {
                let ether_type = match word {
                    "ip" => Some(IPV4),
                    "ip6" => Some(IPV6),
                    "arp" => Some(ARP),
                    "rarp" => Some(RARP),
                    word => number(word).filter(|number| (1536..=0xffff).contains(number)),
                };
                let message = "an Ethernet type should be here: ip, arp, 0x88cc";
                Ok(self.carries(ether_type.ok_or_else(|| self.error(message))?))
            }
            Some(Family::Ip) | None => {
                let number =
                    transport().ok_or_else(|| self.error("a protocol over IP should be here"))?;
                let over_ipv4 = self.over_ipv4(number);
                Ok(match by.protocol {
                    None => self.over_ipv6(number).or(over_ipv4),
                    Some(_) => over_ipv4,
                })
            }
            Some(Family::Ip6) => {
                let number =
                    transport().ok_or_else(|| self.error("a protocol over IP should be here"))?;
                Ok(self.over_ipv6(number))
            }
            Some(_) => Err(self.error("`ether`, `ip` and `ip6` have a `proto`")),
        }
    }

    /// A network, whole or with bytes left out, and its mask.
    fn net(&mut self, word: &str) -> Result<(u32, u32), Error> {
        let bad = |parser: &Self| parser.error("a network should be here: 10.0.0.0/8");
        let (address, length) = match word.split_once('/') {
            Some((address, length)) => (address, length.parse().ok()),
            None => (word, None),
        };
        let parts: Vec<u8> =
            address.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| bad(self))?;
        if parts.is_empty() || parts.len() > 4 || word.contains('/') && length.is_none() {
            return Err(bad(self));
        }
        let given = 8 * parts.len() as u32;
        let mut octets = [0; 4];
        octets.iter_mut().zip(&parts).for_each(|(place, part)| *place = *part);
        let mut mask = mask_of(length.unwrap_or(given)).ok_or_else(|| bad(self))?;
        if self.words.get(self.at + 1) == Some(&"mask") {
            self.at += 2;
            let text = self.peek().unwrap_or_default();
            mask = text.parse::<Ipv4Addr>().map_err(|_| bad(self))?.to_bits();
        }
        let address = u32::from_be_bytes(octets);
        if address & !mask != 0 {
            return Err(self.error("the network has bits behind its mask"));
        }
        Ok((address, mask))
    }

    fn addresses(&self, by: Qualifiers, value: u32, mask: u32) -> Result<Node, Error> {
        let at = |source: u32, destination: u32| {
            let one = |at| Node::equal(Number::at(self.link + at, Size::Word).masked(mask), value);
            joined(by.direction, one(source), one(destination))
        };
        let in_ip = || self.carries(IPV4).and(at(12, 16));
        let in_arp = |ether_type| self.carries(ether_type).and(at(14, 24));
        match by.protocol {
            None => Ok(in_ip().or(in_arp(ARP)).or(in_arp(RARP))),
            Some(Family::Ip) => Ok(in_ip()),
            Some(Family::Arp) => Ok(in_arp(ARP)),
            Some(Family::Rarp) => Ok(in_arp(RARP)),
            Some(Family::Over(transport)) => Ok(self.over_ipv4(transport.0).and(at(12, 16))),
            Some(Family::Ether | Family::Ip6) => {
                Err(self.error("that protocol has no such address"))
            }
        }
    }

    fn ports(&self, by: Qualifiers, low: u32, high: u32) -> Result<Node, Error> {
        let all = [Transport::SCTP, Transport::TCP, Transport::UDP];
        let transports = match by.protocol {
            None | Some(Family::Ip | Family::Ip6) => all.to_vec(),
            Some(Family::Over(transport)) if all.contains(&transport) => vec![transport],
            Some(_) => return Err(self.error("that protocol has no ports")),
        };
        let within = |number: Number| match low == high {
            true => Node::equal(number, low),
            false => Node::Compare(number.clone(), Relation::AtLeast, Number::Constant(low))
                .and(Node::Compare(number, Relation::Greater, Number::Constant(high)).not()),
        };
        let one_of = |at: Number| {
            let one = |transport: &Transport| Node::equal(at.clone(), transport.0);
            transports.iter().map(one).reduce(Node::or)
        };
        let behind = super::Base::BehindIp { header: self.link };
        let port = |at| within(Number::load(behind, at, Size::Half));
        let in_ip = one_of(Number::at(self.link + 9, Size::Byte)).map(|protocol| {
            self.carries(IPV4).and(protocol).and(self.is_first_fragment()).and(joined(
                by.direction,
                port(0),
                port(2),
            ))
        });
        let port = |at| within(Number::at(self.link + 40 + at, Size::Half));
        let in_ipv6 = one_of(Number::at(self.link + 6, Size::Byte)).map(|protocol| {
            self.carries(IPV6).and(protocol).and(joined(by.direction, port(0), port(2)))
        });
        let node = match by.protocol {
            Some(Family::Ip) => in_ip,
            Some(Family::Ip6) => in_ipv6,
            _ => in_ipv6.zip(in_ip).map(|(one, other)| one.or(other)),
        };
        node.ok_or_else(|| self.error("that protocol has no ports"))
    }

    fn is_of(&self, family: Family) -> Result<Node, Error> {
        Ok(match family {
            Family::Ether => {
                return Err(
                    self.error("`host`, `proto`, `broadcast` or `multicast` should be here")
                );
            }
            Family::Ip => self.carries(IPV4),
            Family::Ip6 => self.carries(IPV6),
            Family::Arp => self.carries(ARP),
            Family::Rarp => self.carries(RARP),
            Family::Over(transport) if transport.is_over_both() => {
                self.over_ipv6(transport.0).or(self.over_ipv4(transport.0))
            }
            Family::Over(transport) => self.over_ipv4(transport.0),
        })
    }

    /// A protocol by its name.
    pub(super) fn protocol(&self, name: &str) -> Result<Node, Error> {
        let ether_type = match name {
            "ip" => IPV4,
            "ip6" => IPV6,
            "arp" => ARP,
            "rarp" => RARP,
            _ => return Err(self.error("it is no protocol")),
        };
        Ok(self.carries(ether_type))
    }

    fn carries(&self, ether_type: u32) -> Node {
        Node::equal(Number::at(self.link - 2, Size::Half), ether_type)
    }

    pub(super) fn over_ipv4(&self, transport: u32) -> Node {
        let protocol = Number::at(self.link + 9, Size::Byte);
        self.carries(IPV4).and(Node::equal(protocol, transport))
    }

    fn over_ipv6(&self, transport: u32) -> Node {
        let next = |at| Number::at(self.link + at, Size::Byte);
        let behind_fragment =
            Node::equal(next(6), IPV6_FRAGMENT).and(Node::equal(next(40), transport));
        self.carries(IPV6).and(Node::equal(next(6), transport).or(behind_fragment))
    }
}

fn joined(direction: Direction, source: Node, destination: Node) -> Node {
    match direction {
        Direction::Either => source.or(destination),
        Direction::Both => source.and(destination),
        Direction::Source => source,
        Direction::Destination => destination,
    }
}

/// Any of these bits.
fn bits(number: Number, mask: u32) -> Node {
    Node::equal(number.masked(mask), 0).not()
}

/// An address of the link, at an offset.
fn mac(at: u32, [a, b, c, d, e, f]: [u8; 6]) -> Node {
    let low = Number::at(at + 2, Size::Word);
    let high = Number::at(at, Size::Half);
    Node::equal(low, u32::from_be_bytes([c, d, e, f]))
        .and(Node::equal(high, u32::from_be_bytes([0, 0, a, b])))
}

fn mask_of(length: u32) -> Option<u32> {
    match length {
        0 => Some(0),
        1..=32 => Some(u32::MAX << (32 - length)),
        _ => None,
    }
}

fn parse_mac(word: &str) -> Option<[u8; 6]> {
    let mut parts = word.split(':');
    let mut address = [0; 6];
    for place in &mut address {
        *place = parts.next().and_then(|part| u8::from_str_radix(part, 16).ok())?;
    }
    parts.next().is_none().then_some(address)
}

/// A port, by number or by one of the names that everybody knows.
fn parse_port(word: &str) -> Option<u32> {
    const NAMES: [(&str, u32); 16] = [
        ("ftp-data", 20),
        ("ftp", 21),
        ("ssh", 22),
        ("telnet", 23),
        ("smtp", 25),
        ("domain", 53),
        ("bootps", 67),
        ("bootpc", 68),
        ("tftp", 69),
        ("http", 80),
        ("pop3", 110),
        ("ntp", 123),
        ("imap2", 143),
        ("snmp", 161),
        ("https", 443),
        ("syslog", 514),
    ];
    let named = || NAMES.iter().find(|(name, _)| *name == word).map(|(_, port)| *port);
    number(word).filter(|port| *port <= 0xffff).or_else(named)
}
