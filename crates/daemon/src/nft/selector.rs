//! What can be asked about a packet, by nft's names.

use super::value::Type;
use narrows_stack::{
    conntrack::Direction::{Original, Reply},
    filter::field::{CtField, Field},
};
use narrows_wire::rewrite::End::{Destination, Source};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    /// As it is printed.
    pub words: &'static str,
    pub field: Field,
    pub kind: Type,
}

const fn selector(words: &'static str, field: Field, kind: Type) -> Selector {
    Selector { words, field, kind }
}

const fn of_flow(words: &'static str, field: CtField, kind: Type) -> Selector {
    selector(words, Field::Ct(field), kind)
}

/// Two words each or more, in the order of nft(8).
const TABLE: [Selector; 68] = [
    selector("meta iif", Field::InputInterface, Type::Interface),
    selector("meta oif", Field::OutputInterface, Type::Interface),
    selector("meta iifname", Field::InputName, Type::InterfaceName),
    selector("meta oifname", Field::OutputName, Type::InterfaceName),
    selector("meta iifgroup", Field::InputGroup, Type::Group),
    selector("meta oifgroup", Field::OutputGroup, Type::Group),
    selector("meta length", Field::Length, Type::Number(32)),
    selector("meta protocol", Field::Protocol, Type::Ethernet),
    selector("meta nfproto", Field::Family, Type::Family),
    selector("meta l4proto", Field::Transport, Type::Protocol),
    selector("meta mark", Field::Mark, Type::Mark),
    selector("meta skuid", Field::SocketUser, Type::User),
    selector("meta skgid", Field::SocketGroup, Type::UserGroup),
    // Zones are Narrows' own.
    selector("meta iifzone", Field::InputZone, Type::Zone),
    selector("meta oifzone", Field::OutputZone, Type::Zone),
    selector("ether saddr", Field::EtherSource, Type::Mac),
    selector("ether daddr", Field::EtherDestination, Type::Mac),
    selector("ether type", Field::EtherType, Type::Ethernet),
    selector("vlan id", Field::VlanId, Type::Number(12)),
    selector("vlan pcp", Field::VlanPriority, Type::Number(3)),
    selector("arp operation", Field::ArpOperation, Type::ArpOperation),
    selector("arp saddr ether", Field::ArpSenderMac, Type::Mac),
    selector("arp saddr ip", Field::ArpSenderIp, Type::Ipv4),
    selector("arp daddr ether", Field::ArpTargetMac, Type::Mac),
    selector("arp daddr ip", Field::ArpTargetIp, Type::Ipv4),
    selector("ip saddr", Field::IpSource, Type::Ipv4),
    selector("ip daddr", Field::IpDestination, Type::Ipv4),
    selector("ip protocol", Field::IpProtocol, Type::Protocol),
    selector("ip dscp", Field::IpDscp, Type::Dscp),
    selector("ip ecn", Field::IpEcn, Type::Ecn),
    selector("ip ttl", Field::IpTtl, Type::Number(8)),
    selector("ip length", Field::IpLength, Type::Number(16)),
    selector("ip id", Field::IpIdentification, Type::Number(16)),
    selector("ip frag-off", Field::IpFragment, Type::Hexadecimal(16)),
    selector("ip hdrlength", Field::IpHeaderLength, Type::Number(4)),
    selector("icmp type", Field::IcmpType, Type::Icmp),
    selector("icmp code", Field::IcmpCode, Type::IcmpCode),
    selector("icmp id", Field::IcmpIdentifier, Type::Number(16)),
    selector("icmp sequence", Field::IcmpSequence, Type::Number(16)),
    selector("tcp sport", Field::TcpSourcePort, Type::Port),
    selector("tcp dport", Field::TcpDestinationPort, Type::Port),
    selector("tcp flags", Field::TcpFlags, Type::TcpFlags),
    selector("tcp window", Field::TcpWindow, Type::Number(16)),
    selector("udp sport", Field::UdpSourcePort, Type::Port),
    selector("udp dport", Field::UdpDestinationPort, Type::Port),
    selector("udp length", Field::UdpLength, Type::Number(16)),
    selector("th sport", Field::SourcePort, Type::Port),
    selector("th dport", Field::DestinationPort, Type::Port),
    selector("ct state", Field::Ct(CtField::State), Type::CtState),
    selector("ct direction", Field::Ct(CtField::Direction), Type::CtDirection),
    selector("ct status", Field::Ct(CtField::Status), Type::CtStatus),
    selector("ct mark", Field::Ct(CtField::Mark), Type::Mark),
    selector("ct protocol", Field::Ct(CtField::Protocol), Type::Protocol),
    selector("ct l3proto", Field::Ct(CtField::Family), Type::Family),
    selector("ct bytes", Field::Ct(CtField::Bytes(None)), Type::Number(64)),
    selector("ct packets", Field::Ct(CtField::Packets(None)), Type::Number(64)),
    of_flow("ct original ip saddr", CtField::Address(Original, Source), Type::Ipv4),
    of_flow("ct original ip daddr", CtField::Address(Original, Destination), Type::Ipv4),
    of_flow("ct original proto-src", CtField::Port(Original, Source), Type::Port),
    of_flow("ct original proto-dst", CtField::Port(Original, Destination), Type::Port),
    of_flow("ct original bytes", CtField::Bytes(Some(Original)), Type::Number(64)),
    of_flow("ct original packets", CtField::Packets(Some(Original)), Type::Number(64)),
    of_flow("ct reply ip saddr", CtField::Address(Reply, Source), Type::Ipv4),
    of_flow("ct reply ip daddr", CtField::Address(Reply, Destination), Type::Ipv4),
    of_flow("ct reply proto-src", CtField::Port(Reply, Source), Type::Port),
    of_flow("ct reply proto-dst", CtField::Port(Reply, Destination), Type::Port),
    of_flow("ct reply bytes", CtField::Bytes(Some(Reply)), Type::Number(64)),
    of_flow("ct reply packets", CtField::Packets(Some(Reply)), Type::Number(64)),
];

/// Of `meta`, which may be left out before these.
const WITHOUT_META: [&str; 11] = [
    "iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup", "iifzone", "oifzone", "mark",
    "skuid", "skgid",
];

/// Of those, the ones that nft prints with it.
const PRINTED_WITH_META: [&str; 3] = ["mark", "skuid", "skgid"];

/// The selector that begins with these words, and how many of them it is.
pub(super) fn find(words: &[&str]) -> Option<(Selector, usize)> {
    let first = words.first()?;
    if WITHOUT_META.contains(first) {
        let whole = format!("meta {first}");
        return TABLE.iter().find(|selector| selector.words == whole).map(|found| (*found, 1));
    }
    let matches = |selector: &&Selector| {
        let mut own = selector.words.split(' ');
        own.clone().count() <= words.len() && own.by_ref().zip(words).all(|(a, b)| a == *b)
    };
    let found = TABLE.iter().find(matches)?;
    Some((*found, found.words.split(' ').count()))
}

/// Does a selector begin with this word?
pub(super) fn begins(word: &str) -> bool {
    WITHOUT_META.contains(&word)
        || TABLE.iter().any(|selector| selector.words.split(' ').next() == Some(word))
}

/// As nft prints it: without `meta` where that may be left out.
pub(super) fn words(selector: &Selector) -> &'static str {
    match selector.words.strip_prefix("meta ") {
        Some(short) if WITHOUT_META.contains(&short) && !PRINTED_WITH_META.contains(&short) => {
            short
        }
        _ => selector.words,
    }
}

/// The selectors after one word, for an error.
pub(super) fn choices(word: &str) -> String {
    let choices = TABLE.iter().filter_map(|selector| {
        let (first, rest) = selector.words.split_once(' ')?;
        (first == word).then_some(rest)
    });
    choices.collect::<Vec<_>>().join(", ")
}
