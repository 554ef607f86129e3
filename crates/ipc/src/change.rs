//! What the operator changes of a running daemon.

use crate::{
    link::LinkCommand,
    policy::{Rule, RuleId},
    route::{RouteMatch, RoutePlacement, RouteRow, RouteScope, RuleRow},
    zone::ZoneCommand,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One change; it takes effect as a whole or not at all. Interfaces by name, MAC addresses as their
/// bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    SetAddress {
        interface: String,
        address: IpAddr,
        length: u8,
        details: AddressDetails,
        mode: SetMode,
    },
    RemoveAddress {
        interface: String,
        address: IpAddr,
        length: u8,
    },
    /// Says on the link where the interface's addresses are.
    AnnounceAddresses {
        interface: String,
    },
    Link(LinkCommand),
    Zone(ZoneCommand),
    /// Whether the interface takes frames for a group of stations.
    SetMulticast {
        interface: String,
        mac: [u8; 6],
        joined: bool,
    },
    SetNeighbor {
        interface: String,
        address: IpAddr,
        mac: [u8; 6],
        state: SetState,
        mode: SetMode,
    },
    RemoveNeighbor {
        interface: String,
        address: IpAddr,
    },
    AddRoute {
        route: RouteRow,
        placement: RoutePlacement,
    },
    RemoveRoute {
        route: RouteMatch,
    },
    AddRule {
        rule: RuleRow,
    },
    /// The first rule of which all is true that is said.
    RemoveRule {
        rule: RuleRow,
    },
    /// Adds a rule of policy; `AlreadyExists` if one says the same.
    AddPolicy {
        rule: Rule,
    },
    /// Removes the rule that says the same.
    RemovePolicy {
        rule: Rule,
    },
    /// Removes a rule by its number.
    RemovePolicyById {
        id: RuleId,
    },
    /// Whether the interface answers ARP for a host that is reached by another.
    SetProxy {
        interface: String,
        address: IpAddr,
        proxied: bool,
    },
}

/// What ip-address(8) says of an address beside its prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressDetails {
    pub label: Option<String>,
    /// `None`: as the address says.
    pub scope: Option<RouteScope>,
    /// The other end, with the length of its prefix; the address is then a single host's.
    pub peer: Option<(IpAddr, u8)>,
    /// Seconds that it lasts, and that it is preferred; `None`: for ever.
    pub valid: Option<u32>,
    pub preferred: Option<u32>,
}

/// The states of ip-neighbour(8) that an entry with a link address can be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetState {
    Permanent,
    NoArp,
    Reachable,
    Stale,
    Delay,
    Probe,
}

/// What may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetMode {
    /// Nothing, else `AlreadyExists`.
    Create,
    /// Something, else `NoSuchEntry`.
    Change,
    Replace,
}
