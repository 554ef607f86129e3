//! Routes and rules, as the operator names them. Interfaces by name, tables and protocols by the
//! numbers of ip-route(8).

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Table numbers that have names.
pub mod table {
    pub const DEFAULT: u32 = 253;
    pub const MAIN: u32 = 254;
    pub const LOCAL: u32 = 255;
}

/// Who made a route.
pub mod protocol {
    pub const KERNEL: u8 = 2;
    pub const BOOT: u8 = 3;
    pub const STATIC: u8 = 4;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteKind {
    Unicast,
    Local,
    /// Only in reports: implied by an address.
    Broadcast,
    Blackhole,
    Unreachable,
    Prohibit,
    Throw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteScope {
    Global,
    Link,
    Host,
}

/// A route that there is, or that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    pub to: (IpAddr, u8),
    pub table: u32,
    pub kind: RouteKind,
    pub protocol: u8,
    pub scope: RouteScope,
    pub metric: u32,
    pub source: Option<IpAddr>,
    pub hops: Vec<HopRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopRow {
    /// `None` in a wish: the one that reaches the gateway.
    pub interface: Option<String>,
    pub via: Option<IpAddr>,
    pub weight: u16,
    pub on_link: bool,
    /// Only in reports: the gateway does not answer.
    pub dead: bool,
}

/// How a new route stands to those of the same prefix and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoutePlacement {
    Add,
    Replace,
    Change,
    Append,
    Prepend,
}

/// Which route to remove: the first of the table to that prefix of which all is true that is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMatch {
    pub to: (IpAddr, u8),
    pub table: u32,
    pub kind: Option<RouteKind>,
    pub protocol: Option<u8>,
    pub scope: Option<RouteScope>,
    pub metric: Option<u32>,
    pub source: Option<IpAddr>,
    /// Interface and gateway of each next hop; none: any.
    pub hops: Vec<(Option<String>, Option<IpAddr>)>,
}

/// What is asked of the route tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteQuestion {
    pub destination: Option<IpAddr>,
    pub source: Option<IpAddr>,
    /// As if the packet had come in there.
    pub input: Option<String>,
    pub output: Option<String>,
    pub mark: u32,
    pub user: u32,
    /// Protocol and ports of the flow, which share several next hops.
    pub transport: (u8, u16, u16),
}

/// Where the packet goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteAnswer {
    pub kind: RouteKind,
    pub interface: String,
    pub via: Option<IpAddr>,
    /// To send from, if the question names no source.
    pub source: Option<IpAddr>,
    pub table: u32,
    /// The path's MTU, where a router told it.
    pub mtu: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRow {
    /// `None` in a wish: before all but the local table's.
    pub preference: Option<u32>,
    pub selector: RuleSelector,
    /// `None` only where rules are to be removed: any.
    pub action: Option<RuleAction>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSelector {
    pub not: bool,
    pub from: Option<(IpAddr, u8)>,
    pub to: Option<(IpAddr, u8)>,
    pub input: Option<String>,
    pub output: Option<String>,
    pub input_group: Option<u32>,
    pub output_group: Option<u32>,
    /// Value and mask.
    pub mark: Option<(u32, u32)>,
    /// First and last.
    pub users: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleAction {
    Lookup(u32),
    Goto(u32),
    Blackhole,
    Unreachable,
    Prohibit,
}
