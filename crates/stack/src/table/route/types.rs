//! What a route is, in the words of ip-route(8).

use crate::table::interface::InterfaceId;
use core::net::Ipv4Addr;
use narrows_wire::address::Prefix;

/// Number of a routing table (`/etc/iproute2/rt_tables`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

impl TableId {
    /// Looked up last; empty unless somebody fills it.
    pub const DEFAULT: Self = Self(253);
    /// Where routes go that name no table.
    pub const MAIN: Self = Self(254);
    /// This host's addresses; looked up first.
    pub const LOCAL: Self = Self(255);
}

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Sent to a next hop.
    Unicast,
    /// For this host, as if the address were an interface's.
    Local,
    /// Dropped without a word.
    Blackhole,
    /// Refused with ICMP host unreachable.
    Unreachable,
    /// Refused with ICMP communication administratively prohibited.
    Prohibit,
    /// As if the table had no route: the next rule decides.
    Throw,
}

impl RouteKind {
    /// Does a route of this kind have next hops?
    pub fn has_hops(self) -> bool {
        self == Self::Unicast
    }
}

/// How far the destination is, as ip-route(8) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Behind a gateway.
    Global,
    /// On a link of this host.
    Link,
    /// This host.
    Host,
}

/// Who made a route (`/etc/iproute2/rt_protos`); for the operator to tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteProtocol(pub u8);

impl RouteProtocol {
    /// Implied by an address.
    pub const KERNEL: Self = Self(2);
    /// Added by a command.
    pub const BOOT: Self = Self(3);
    /// Of the configuration file.
    pub const STATIC: Self = Self(4);
}

/// One of the ways a route offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    pub interface: InterfaceId,
    /// The gateway; `None`: destinations are on the link.
    pub via: Option<Ipv4Addr>,
    /// Its share of the flows, 1 to 256.
    pub weight: u16,
    /// The gateway is on the link, whatever the interface's addresses say.
    pub on_link: bool,
}

impl NextHop {
    pub fn new(interface: InterfaceId, via: Option<Ipv4Addr>) -> Self {
        Self { interface, via, weight: 1, on_link: false }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Host bits cleared.
    pub to: Prefix,
    pub table: TableId,
    pub facts: Facts,
}

/// What routes can have in common; the tables keep it once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Facts {
    pub kind: RouteKind,
    pub protocol: RouteProtocol,
    pub scope: Scope,
    /// Of several routes to one prefix the lowest is used.
    pub metric: u32,
    /// The address to send from, where the sender has no other.
    pub source: Option<Ipv4Addr>,
    /// One, or several that share the flows; none unless the kind has them.
    pub hops: Vec<NextHop>,
}

impl Route {
    /// To `to` by one next hop, in the main table.
    pub fn unicast(to: Prefix, interface: InterfaceId, via: Option<Ipv4Addr>) -> Self {
        let scope = if via.is_some() { Scope::Global } else { Scope::Link };
        let hops = vec![NextHop::new(interface, via)];
        Self {
            to: to.network(),
            table: TableId::MAIN,
            facts: Facts {
                kind: RouteKind::Unicast,
                protocol: RouteProtocol::BOOT,
                scope,
                metric: 0,
                source: None,
                hops,
            },
        }
    }
}

/// How a new route stands to those of the same prefix and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// There must be none (`ip route add`).
    Alone,
    /// Takes the place of the first, or is new (`replace`).
    Replace,
    /// Takes the place of the first, which must be there (`change`).
    Change,
    /// After them (`append`).
    Append,
    /// Before them (`prepend`).
    Prepend,
}

/// Which route to remove: the first in `table` to exactly `to` of which all is true that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteFilter {
    pub to: Prefix,
    pub table: TableId,
    pub kind: Option<RouteKind>,
    pub protocol: Option<RouteProtocol>,
    pub scope: Option<Scope>,
    pub metric: Option<u32>,
    pub source: Option<Ipv4Addr>,
    /// Interface and gateway of the next hops, in order; a `None` is anything. None: any hops.
    pub hops: Vec<(Option<InterfaceId>, Option<Ipv4Addr>)>,
}

impl RouteFilter {
    /// Any route of the table to `to`.
    pub fn to(to: Prefix, table: TableId) -> Self {
        Self {
            to: to.network(),
            table,
            kind: None,
            protocol: None,
            scope: None,
            metric: None,
            source: None,
            hops: Vec::new(),
        }
    }

    pub(super) fn matches(&self, facts: &Facts) -> bool {
        fn agrees<T: PartialEq>(asked: &Option<T>, held: &T) -> bool {
            asked.as_ref().is_none_or(|asked| asked == held)
        }
        let hop_agrees = |(asked, held): (&(Option<InterfaceId>, Option<Ipv4Addr>), &NextHop)| {
            agrees(&asked.0, &held.interface) && (asked.1.is_none() || asked.1 == held.via)
        };
        agrees(&self.kind, &facts.kind)
            && agrees(&self.protocol, &facts.protocol)
            && agrees(&self.scope, &facts.scope)
            && agrees(&self.metric, &facts.metric)
            && (self.source.is_none() || self.source == facts.source)
            && (self.hops.is_empty()
                || self.hops.len() == facts.hops.len()
                    && self.hops.iter().zip(&facts.hops).all(hop_agrees))
    }
}

/// Where a packet of this host's goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    pub interface: InterfaceId,
    /// The gateway, or the destination itself on the link.
    pub next_hop: Ipv4Addr,
    /// The address to send from, if the socket has none.
    pub source: Ipv4Addr,
    /// The longest packet that gets through, as far as is known: the link's, or less if a router
    /// said so (RFC 1191).
    pub mtu: u16,
    /// To all hosts of the link, for who asked to be allowed that.
    pub broadcast: bool,
}

/// Why a route or rule was refused. The message is what the operator reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RouteError {
    #[error("there is a route to that prefix with that metric already")]
    Exists,
    #[error("there is no such route")]
    NotFound,
    #[error("only IPv4 is supported")]
    FamilyNotSupported,
    #[error("there is no such interface")]
    NoSuchInterface,
    #[error("table 0 means none: write a number from 1 on")]
    NoSuchTable,
    #[error("a route of this kind needs a next hop")]
    NoNextHop,
    #[error("a route of this kind has no next hops")]
    UnexpectedNextHop,
    #[error("a gateway of this host's own addresses leads nowhere")]
    GatewayIsOwn,
    #[error("no interface reaches the gateway on its link")]
    GatewayNotOnLink,
    #[error("the preferred source is not an address of this host")]
    SourceNotOwn,
    #[error("a next hop's weight is from 1 to 256")]
    BadWeight,
    #[error("a limit of the engine is reached")]
    LimitReached,
    #[error("there is such a rule already")]
    RuleExists,
    #[error("there is no such rule")]
    RuleNotFound,
    #[error("a rule can only go to one of a higher preference")]
    GotoBackwards,
    #[error("the rule that looks up the local table can't be removed")]
    RuleIsPermanent,
}
