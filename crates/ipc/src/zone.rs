//! Zones as reports have them, and what the operator changes of them.

use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv4Addr};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneRow {
    pub name: String,
    /// Its only interface is its members', and each has one address there.
    pub private: bool,
    /// May local connections run past the engine?
    pub cut_through: bool,
    pub interfaces: Vec<String>,
    /// Beside everybody in `public`.
    pub admitted: Vec<AdmittedRow>,
    /// What may begin here and go to another zone.
    pub crossings: Vec<CrossingRow>,
    /// How much would have gone from here to which zone, and was not let.
    pub refused: Vec<(String, u64)>,
}

/// One change of the zones; it is checked as the configuration file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZoneCommand {
    Add {
        name: String,
        private: bool,
        cut_through: bool,
    },
    /// With the rules from and to it; not while interfaces are in it.
    Remove {
        name: String,
    },
    /// Puts an interface into a zone.
    Move {
        interface: String,
        zone: String,
    },
    SetCutThrough {
        zone: String,
        cut_through: bool,
    },
    /// `length`: of the members' network, said with the first of them.
    Admit {
        zone: String,
        who: AdmittedRow,
        length: Option<u8>,
    },
    /// The first of whom all is true that is said.
    Expel {
        zone: String,
        who: AdmittedRow,
    },
    Allow {
        from: String,
        crossing: CrossingRow,
    },
    Forbid {
        from: String,
        crossing: CrossingRow,
    },
}

/// In the words of `narrows zone`.
impl fmt::Display for ZoneCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |yes: bool| if yes { "on" } else { "off" };
        match self {
            Self::Add { name, private, cut_through } => {
                let private = if *private { " private" } else { "" };
                write!(f, "add {name}{private} cut_through {}", on(*cut_through))
            }
            Self::Remove { name } => write!(f, "del {name}"),
            Self::Move { interface, zone } => write!(f, "set {zone} dev {interface}"),
            Self::SetCutThrough { zone, cut_through } => {
                write!(f, "set {zone} cut_through {}", on(*cut_through))
            }
            Self::Admit { zone, who, .. } => write!(f, "member add {zone}{who}"),
            Self::Expel { zone, who } => write!(f, "member del {zone}{who}"),
            Self::Allow { from, crossing } => write!(f, "allow add {from}{crossing}"),
            Self::Forbid { from, crossing } => write!(f, "allow del {from}{crossing}"),
        }
    }
}

/// Whoever fits all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmittedRow {
    pub user: Option<u32>,
    pub group: Option<u32>,
    pub executable: Option<String>,
    pub cgroup: Option<String>,
    /// Of a member of a private zone.
    pub address: Option<Ipv4Addr>,
    pub mac: Option<[u8; 6]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossingRow {
    pub to: String,
    /// IP's number; `None`: every one.
    pub protocol: Option<u8>,
    pub ports: Option<(u16, u16)>,
    /// As 10.0.0.0/8.
    pub source: Option<String>,
    pub destination: Option<String>,
}

/// In the words in which it is listed, each after a space.
impl fmt::Display for AdmittedRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        let parts = [
            self.user.map(|user| format!(" user {user}")),
            self.group.map(|group| format!(" group {group}")),
            self.executable.as_ref().map(|path| format!(" executable {path}")),
            self.cgroup.as_ref().map(|path| format!(" cgroup {path}")),
            self.address.map(|address| format!(" at {address}")),
            self.mac.map(|address| format!(" lladdr {}", mac(address))),
        ];
        parts.into_iter().flatten().try_for_each(|part| formatter.write_str(&part))
    }
}

/// In the words in which it is listed, each after a space.
impl fmt::Display for CrossingRow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = |number| match number {
            1 => "icmp".into(),
            6 => "tcp".into(),
            17 => "udp".into(),
            number => u8::to_string(&number),
        };
        let ports = |(low, high): (u16, u16)| match low == high {
            true => format!(" dport {low}"),
            false => format!(" dport {low}-{high}"),
        };
        let parts = [
            Some(format!(" to {}", self.to)),
            self.protocol.map(|number| format!(" protocol {}", protocol(number))),
            self.ports.map(ports),
            self.source.as_ref().map(|network| format!(" saddr {network}")),
            self.destination.as_ref().map(|network| format!(" daddr {network}")),
        ];
        parts.into_iter().flatten().try_for_each(|part| formatter.write_str(&part))
    }
}
