//! Values of each type: how they are written, and how nft prints them.

use narrows_stack::{
    conntrack::{Status, flow::state},
    filter::field,
};
use std::{fmt::Write, net::Ipv4Addr, time::Duration};

/// Of a selector, or of what a set has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Ipv4,
    Mac,
    Port,
    Protocol,
    Mark,
    /// By number, which the name has at the time.
    Interface,
    /// By name, also of those that are still to come.
    InterfaceName,
    Group,
    Ethernet,
    Icmp,
    IcmpCode,
    TcpFlags,
    CtState,
    CtStatus,
    CtDirection,
    ArpOperation,
    Dscp,
    Ecn,
    User,
    UserGroup,
    /// By name, as interfaces are.
    Zone,
    Family,
    /// Of so many bits.
    Number(u32),
    Hexadecimal(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Range(u128, u128),
    /// Of [`Type::Interface`].
    Interface(String),
}

impl Value {
    pub(super) fn one(value: u128) -> Self {
        Self::Range(value, value)
    }
}

/// What sets call the types that they can have.
const SET_TYPES: [(&str, Type); 21] = [
    ("ipv4_addr", Type::Ipv4),
    ("ether_addr", Type::Mac),
    ("inet_service", Type::Port),
    ("inet_proto", Type::Protocol),
    ("mark", Type::Mark),
    ("iface_index", Type::Interface),
    ("ifname", Type::InterfaceName),
    ("devgroup", Type::Group),
    ("ether_type", Type::Ethernet),
    ("icmp_type", Type::Icmp),
    ("icmp_code", Type::IcmpCode),
    ("tcp_flag", Type::TcpFlags),
    ("arp_op", Type::ArpOperation),
    ("dscp", Type::Dscp),
    ("ecn", Type::Ecn),
    ("uid", Type::User),
    ("gid", Type::UserGroup),
    ("zone", Type::Zone),
    ("ct_state", Type::CtState),
    ("ct_status", Type::CtStatus),
    ("ct_dir", Type::CtDirection),
];

const PROTOCOLS: [(&str, u128); 9] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("sctp", 132),
    ("udplite", 136),
];

const ICMP_TYPES: [(&str, u128); 13] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
];

/// Codes of "destination unreachable", as `reject` names them too.
pub(super) const ICMP_CODES: [(&str, u128); 8] = [
    ("net-unreachable", 0),
    ("host-unreachable", 1),
    ("prot-unreachable", 2),
    ("port-unreachable", 3),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("admin-prohibited", 13),
    ("frag-needed", 4),
];

const TCP_FLAGS: [(&str, u128); 8] = [
    ("fin", 1),
    ("syn", 2),
    ("rst", 4),
    ("psh", 8),
    ("ack", 16),
    ("urg", 32),
    ("ecn", 64),
    ("cwr", 128),
];

const CT_STATES: [(&str, u128); 5] = [
    ("invalid", state::INVALID as u128),
    ("established", state::ESTABLISHED as u128),
    ("related", state::RELATED as u128),
    ("new", state::NEW as u128),
    ("untracked", state::UNTRACKED as u128),
];

const CT_STATUSES: [(&str, u128); 6] = [
    ("expected", Status::EXPECTED.bits() as u128),
    ("seen-reply", Status::SEEN_REPLY.bits() as u128),
    ("assured", Status::ASSURED.bits() as u128),
    ("confirmed", Status::CONFIRMED.bits() as u128),
    ("snat", Status::SNAT.bits() as u128),
    ("dnat", Status::DNAT.bits() as u128),
];

const CT_DIRECTIONS: [(&str, u128); 2] = [("original", 0), ("reply", 1)];

const ETHER_TYPES: [(&str, u128); 5] =
    [("ip", 0x0800), ("arp", 0x0806), ("ip6", 0x86dd), ("8021q", 0x8100), ("8021ad", 0x88a8)];

const ARP_OPERATIONS: [(&str, u128); 7] = [
    ("request", 1),
    ("reply", 2),
    ("rrequest", 3),
    ("rreply", 4),
    ("inrequest", 8),
    ("inreply", 9),
    ("nak", 10),
];

const DSCPS: [(&str, u128); 22] = [
    ("cs0", 0x00),
    ("cs1", 0x08),
    ("cs2", 0x10),
    ("cs3", 0x18),
    ("cs4", 0x20),
    ("cs5", 0x28),
    ("cs6", 0x30),
    ("cs7", 0x38),
    ("af11", 0x0a),
    ("af12", 0x0c),
    ("af13", 0x0e),
    ("af21", 0x12),
    ("af22", 0x14),
    ("af23", 0x16),
    ("af31", 0x1a),
    ("af32", 0x1c),
    ("af33", 0x1e),
    ("af41", 0x22),
    ("af42", 0x24),
    ("af43", 0x26),
    ("va", 0x2c),
    ("ef", 0x2e),
];

const ECNS: [(&str, u128); 4] = [("not-ect", 0), ("ect1", 1), ("ect0", 2), ("ce", 3)];

const FAMILIES: [(&str, u128); 3] = [("ipv4", 2), ("arp", 3), ("ipv6", 10)];

/// Ports that are better known by name; printed as numbers, as nft does.
const SERVICES: [(&str, u128); 24] = [
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
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("imap2", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("mysql", 3306),
    ("postgresql", 5432),
];

impl Type {
    pub(super) fn of_set(name: &str) -> Option<Self> {
        SET_TYPES.iter().find(|(own, _)| *own == name).map(|(_, kind)| *kind)
    }

    /// As sets call it; `None`: they can't have it.
    pub(super) fn name(self) -> Option<&'static str> {
        SET_TYPES.iter().find(|(_, kind)| *kind == self).map(|(name, _)| *name)
    }

    pub(super) fn bits(self) -> u32 {
        match self {
            Self::InterfaceName | Self::Zone => 128,
            Self::Mac => 48,
            Self::CtState | Self::CtStatus => 32,
            Self::CtDirection => 8,
            Self::Ipv4 | Self::Mark | Self::Interface | Self::Group => 32,
            Self::User | Self::UserGroup => 32,
            Self::Port | Self::Ethernet | Self::ArpOperation => 16,
            Self::Protocol | Self::Icmp | Self::IcmpCode | Self::TcpFlags | Self::Family => 8,
            Self::Dscp => 6,
            Self::Ecn => 2,
            Self::Number(bits) | Self::Hexadecimal(bits) => bits,
        }
    }

    pub(super) fn max(self) -> u128 {
        u128::MAX >> (128 - self.bits())
    }

    fn names(self) -> &'static [(&'static str, u128)] {
        match self {
            Self::Protocol => &PROTOCOLS,
            Self::Icmp => &ICMP_TYPES,
            Self::IcmpCode => &ICMP_CODES,
            Self::TcpFlags => &TCP_FLAGS,
            Self::CtState => &CT_STATES,
            Self::CtStatus => &CT_STATUSES,
            Self::CtDirection => &CT_DIRECTIONS,
            Self::Ethernet => &ETHER_TYPES,
            Self::ArpOperation => &ARP_OPERATIONS,
            Self::Dscp => &DSCPS,
            Self::Ecn => &ECNS,
            Self::Family => &FAMILIES,
            Self::Port => &SERVICES,
            Self::Group => &[("default", 0)],
            Self::User | Self::UserGroup => &[("root", 0)],
            _ => &[],
        }
    }

    /// What an example of it looks like, for errors.
    fn example(self) -> &'static str {
        match self {
            Self::Ipv4 => "an address such as 10.0.0.1 or 10.0.0.0/8",
            Self::Mac => "a MAC address such as 02:00:00:00:00:01",
            Self::Port => "a port, or the name of a well-known one",
            Self::Protocol => "a protocol such as tcp, udp or icmp",
            Self::Interface | Self::InterfaceName => "the name of an interface",
            Self::Ethernet => "an Ethernet type such as ip or arp",
            Self::Icmp => "a type of ICMP message such as echo-request",
            Self::IcmpCode => "a code of ICMP's such as port-unreachable",
            Self::TcpFlags => "flags of TCP such as syn or fin",
            Self::CtState => "invalid, new, established, related or untracked",
            Self::CtStatus => "a status of flows such as assured, snat or dnat",
            Self::CtDirection => "original or reply",
            Self::ArpOperation => "request or reply",
            Self::Dscp => "a class such as ef or af11",
            Self::Ecn => "not-ect, ect0, ect1 or ce",
            Self::User => "the number of a user",
            Self::UserGroup => "the number of a group of users",
            Self::Zone => "the name of a zone",
            Self::Group => "a number, or a name of /etc/iproute2/group",
            Self::Family => "ipv4",
            _ => "a number",
        }
    }

    /// A value, a range of them, or a prefix.
    pub(super) fn parse(self, word: &str) -> Result<Value, String> {
        if word == "*" {
            return Ok(Value::Range(0, self.max()));
        }
        match self {
            Self::Interface => return Ok(Value::Interface(word.to_owned())),
            Self::InterfaceName | Self::Zone => return name_in_bytes(word),
            _ => {}
        }
        if let Some(value) = self.single(word) {
            return Ok(Value::one(value));
        }
        if self.is_flags() && word.contains('|') {
            let flags = word.split('|').map(|flag| self.single(flag));
            let all = flags.reduce(|all, flag| Some(all? | flag?)).flatten();
            return all.map(Value::one).ok_or_else(|| self.refuse(word));
        }
        if let (Self::Ipv4, Some((address, length))) = (self, word.split_once('/')) {
            return prefix(address, length).ok_or_else(|| self.refuse(word));
        }
        let (low, high) = word.split_once('-').ok_or_else(|| self.refuse(word))?;
        let (low, high) = (self.single(low), self.single(high));
        match (low, high) {
            (Some(low), Some(high)) if low <= high => Ok(Value::Range(low, high)),
            (Some(_), Some(_)) => Err(format!("the range {word} is upside down")),
            _ => Err(self.refuse(word)),
        }
    }

    /// Are its values letters?
    pub(super) fn is_name(self) -> bool {
        matches!(self, Self::InterfaceName | Self::Zone)
    }

    /// Are its values bits with names?
    pub(super) fn is_flags(self) -> bool {
        matches!(self, Self::TcpFlags | Self::CtState | Self::CtStatus)
    }

    /// Names of the flags that are set.
    pub(super) fn flags(self, value: u128) -> String {
        let set = self.names().iter().filter(|(_, flag)| value & flag != 0);
        match set.map(|(name, _)| *name).collect::<Vec<_>>().join(" | ") {
            none if none.is_empty() => "0x0".to_owned(),
            names => names,
        }
    }

    fn refuse(self, word: &str) -> String {
        format!("\"{word}\" is not {}", self.example())
    }

    fn single(self, word: &str) -> Option<u128> {
        if let Some((_, value)) = self.names().iter().find(|(name, _)| *name == word) {
            return Some(*value);
        }
        let value = match self {
            Self::Ipv4 => field::address(word.parse().ok()?),
            Self::Mac => mac(word)?,
            Self::Group => narrows_ipc::group::number(word)?.into(),
            _ => match word.strip_prefix("0x") {
                Some(digits) => u128::from_str_radix(digits, 16).ok()?,
                None => word.parse().ok()?,
            },
        };
        (value <= self.max()).then_some(value)
    }

    /// As nft prints it.
    pub(super) fn print(self, value: &Value) -> String {
        match value {
            Value::Interface(name) => format!("\"{name}\""),
            Value::Range(0, high) if *high == self.max() && self != Self::Mark => "*".to_owned(),
            Value::Range(low, high) if self.is_name() => name_of(*low, *high),
            Value::Range(low, high) if low == high => self.print_one(*low),
            Value::Range(low, high) => {
                let length = (self == Self::Ipv4).then(|| prefix_length(*low, *high)).flatten();
                match length {
                    Some(length) => format!("{}/{length}", self.print_one(*low)),
                    None => format!("{}-{}", self.print_one(*low), self.print_one(*high)),
                }
            }
        }
    }

    fn print_one(self, value: u128) -> String {
        let named = !matches!(self, Self::Port | Self::User | Self::UserGroup) && !self.is_flags();
        if let Some((name, _)) = self.names().iter().find(|(_, own)| named && *own == value) {
            return (*name).to_owned();
        }
        match self {
            Self::Ipv4 => Ipv4Addr::from_bits(value as u32).to_string(),
            Self::Mac => {
                let bytes: Vec<_> =
                    value.to_be_bytes()[10..].iter().map(|b| format!("{b:02x}")).collect();
                bytes.join(":")
            }
            Self::Mark => format!("0x{value:08x}"),
            Self::Ethernet | Self::Hexadecimal(_) => format!("0x{value:04x}"),
            _ if self.is_flags() => self.flags(value),
            _ => value.to_string(),
        }
    }
}

fn name_in_bytes(word: &str) -> Result<Value, String> {
    let too_long = || format!("\"{word}\" is longer than 16 bytes, which no name here can be");
    match word.strip_suffix('*') {
        // Whatever comes after these letters.
        Some(start) => {
            let low = field::name(start).ok_or_else(too_long)?;
            let rest = 128 - 8 * start.len() as u32;
            Ok(Value::Range(low, low | u128::MAX.checked_shr(128 - rest).unwrap_or(0)))
        }
        None => field::name(word).map(Value::one).ok_or_else(too_long),
    }
}

fn name_of(low: u128, high: u128) -> String {
    let bytes = low.to_be_bytes();
    let name: Vec<u8> = bytes.iter().copied().take_while(|byte| *byte != 0).collect();
    let mut quoted = format!("\"{}", String::from_utf8_lossy(&name));
    if low != high {
        quoted.push('*');
    }
    quoted.push('"');
    quoted
}

fn prefix(address: &str, length: &str) -> Option<Value> {
    let (address, length): (Ipv4Addr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
    let low = address.to_bits() & !hosts;
    (length <= 32).then_some(Value::Range(low.into(), (low | hosts).into()))
}

/// Of the prefix that is exactly this range.
fn prefix_length(low: u128, high: u128) -> Option<u32> {
    let hosts = high - low;
    let aligned = (hosts + 1).is_power_of_two() && low & hosts == 0;
    aligned.then(|| 32 - hosts.trailing_ones())
}

fn mac(word: &str) -> Option<u128> {
    let mut value = 0;
    let mut pairs = 0;
    for pair in word.split(':') {
        value = value << 8 | u128::from(u8::from_str_radix(pair, 16).ok()?);
        pairs += 1;
    }
    (pairs == 6).then_some(value)
}

/// `1d2h3m4s5ms`; a bare number is seconds.
pub(super) fn duration(word: &str) -> Option<Duration> {
    if let Ok(seconds) = word.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = word;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let amount: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let millis: u64 = match &after[..unit] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(amount.checked_mul(millis)?))?;
        rest = &after[unit..];
    }
    Some(total)
}

pub(super) fn print_duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let mut text = String::new();
    for (name, unit) in
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
    {
        if millis >= unit {
            let _ = write!(text, "{}{name}", millis / unit);
            millis %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}
