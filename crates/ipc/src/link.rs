//! Interfaces: what they are and stand upon, and what the operator makes and sets. Interfaces by
//! name, MAC addresses as their bytes, words as ip-link(8) has them.

use serde::{Deserialize, Serialize};
use std::{net::Ipv4Addr, time::Duration};

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkKind {
    Loopback,
    /// `packet:eth1`, `tap:narrows0`.
    Device(String),
    Vlan {
        lower: String,
        /// `802.1Q` or `802.1ad`.
        protocol: String,
        id: u16,
    },
    Bond,
    Bridge,
    /// Of a private zone: its members are all there is on it.
    Private,
}

/// How an interface is, beside its addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    pub kind: LinkKind,
    /// The bond or bridge it is part of.
    pub master: Option<String>,
    /// Set up by the operator.
    pub up: bool,
    /// Frames can reach a wire.
    pub running: bool,
    pub promiscuous: bool,
    pub group: u32,
    /// Frames that may wait for the wire.
    pub queue: u32,
    /// `None`: `public`.
    pub zone: Option<String>,
    pub routing: RoutingState,
    pub arp: ArpState,
    pub traffic: Traffic,
}

/// What passed an interface since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_dropped: u64,
    pub rx_multicast: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_dropped: u64,
}

/// How an interface takes part in routing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingState {
    pub forward: bool,
    /// `strong` or `weak`.
    pub host_model: String,
    /// `strict`, `loose` or `off`.
    pub reverse_path: String,
    pub redirects: bool,
}

/// How an interface asks and answers by ARP, in Linux's words and numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArpState {
    pub ignore: u8,
    pub announce: u8,
    pub filter: bool,
    pub accept: bool,
    pub proxy: bool,
    /// `announce`, `probe` or `off`.
    pub conflict_detection: String,
}

/// One thing to set on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkSetting {
    Up(bool),
    Name(String),
    Mtu(u16),
    Mac([u8; 6]),
    Promiscuous(bool),
    Group(u32),
    Forward(bool),
    HostModel(String),
    ReversePath(String),
    Redirects(bool),
    ArpIgnore(u8),
    ArpAnnounce(u8),
    ArpFilter(bool),
    ArpAccept(bool),
    ProxyArp(bool),
    ConflictDetection(String),
    /// `static`, `dhcp` or `link-local`.
    AddressSource(String),
    /// `None`: takes it out of the one it is part of.
    Master(Option<String>),
    Mode(String),
    HashPolicy(String),
    LacpFast(bool),
    Primary(Option<String>),
    /// Zero: no monitoring.
    ArpInterval(Duration),
    ArpTargets(Vec<Ipv4Addr>),
    MinLinks(u8),
    UpDelay(Duration),
    DownDelay(Duration),
    Ageing(Duration),
    MaxAddresses(u32),
    FloodLimit(u32),
    /// Of a bridge's port: who may speak by it; `None`: everybody.
    Bind(Option<Vec<[u8; 6]>>),
}

/// A change of interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkCommand {
    Add {
        name: String,
        kind: LinkKind,
        settings: Vec<LinkSetting>,
    },
    Set {
        name: String,
        settings: Vec<LinkSetting>,
    },
    Remove {
        name: String,
    },
    /// Whether a station is behind a bridge's port for good.
    Station {
        port: String,
        mac: [u8; 6],
        known: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BondRow {
    pub name: String,
    pub mode: String,
    pub hash_policy: String,
    pub lacp_fast: bool,
    pub primary: Option<String>,
    /// The member in use, with active-backup.
    pub active: Option<String>,
    pub arp_interval: Option<Duration>,
    pub arp_targets: Vec<Ipv4Addr>,
    pub min_links: u8,
    pub up_delay: Duration,
    pub down_delay: Duration,
    pub members: Vec<MemberRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    pub name: String,
    pub mac: [u8; 6],
    pub running: bool,
    /// Frames leave by it.
    pub usable: bool,
    pub failures: u64,
    /// With 802.3ad.
    pub lacp: Option<LacpRow>,
}

/// Of one port: both ends, as its LACPDUs say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LacpRow {
    pub actor_port: u16,
    pub actor_state: u8,
    pub partner_system: [u8; 6],
    pub partner_key: u16,
    pub partner_port: u16,
    pub partner_state: u8,
}

/// A port of a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// As programs see it: Linux's count from 1.
    pub id: u32,
    pub name: String,
    pub bridge: String,
    pub mtu: u16,
    pub up: bool,
    pub running: bool,
    /// It was found to be part of a loop.
    pub closed: bool,
    pub bound: Option<Vec<[u8; 6]>>,
}

/// A station that a bridge knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbRow {
    pub mac: [u8; 6],
    pub port: String,
    pub bridge: String,
    /// Since it was heard; `None`: the operator said so, or it is the bridge itself.
    pub age: Option<Duration>,
}
