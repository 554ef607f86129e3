//! The messages. Each request is one packet of the session's socket, answered by one packet, in
//! order. A request about a socket carries that socket's anchor as SCM_RIGHTS: having the
//! descriptor is what allows to name it.

use crate::{
    change::Change,
    conntrack::{FlowFilter, FlowNews, FlowRow},
    error::Error,
    inspect::InspectorRow,
    link::{BondRow, FdbRow, PortRow},
    packet::{FrameMatch, PacketOption, PacketState, TakerRow},
    policy::{Defaults, Forbid, PolicyAnswer, PolicyQuestion, PolicyRow},
    route::{RouteAnswer, RouteQuestion, RouteRow, RuleRow},
    see::{LossRow, WatchOptions},
    zone::ZoneRow,
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

mod option;
mod report;
mod tcp_info;

pub use option::{GroupInterface, MembershipChange, OptionName, PathMtuDiscovery, SocketOption};
pub use report::{
    AddressRow, BillRow, Confinement, DropRow, GroupRow, LinkRow, NeighborRow, NeighborUsage,
    Owner, Peer, SocketRow, Statistics,
};
pub use tcp_info::{Repair, TcpInfo, TcpState};

/// Raised with every change of a message. Both sides must have the same.
pub const VERSION: u32 = 14;

/// The first message of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u32,
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    Ready,
    /// The daemon speaks this version; the session ends.
    VersionMismatch {
        daemon: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// From now on the session's program is in that zone alone, of those that it is admitted to: for
    /// new sockets → `Done`, or [`Reply::Refused`].
    EnterZone {
        zone: String,
    },
    /// → [`Reply::Done`] with the new anchor attached.
    Socket {
        kind: SocketKind,
    },
    // About the attached anchor:
    Bind {
        local: SocketAddr,
    },
    /// → `Done` when the handshake has begun. The anchor becomes writable when it is done, and
    /// hangs up when it failed; `TakeError` then tells why.
    Connect {
        remote: SocketAddr,
    },
    /// Of a packet socket: which frames it hears of; 0 is any interface, and leaves the protocol. → `Done`.
    BindPacket {
        interface: u32,
        protocol: u16,
    },
    SetPacket(PacketOption),
    /// → [`Reply::PacketStatistics`]; the counts begin anew.
    PacketStatistics,
    /// → [`Reply::PacketState`].
    PacketState,
    /// What a tap's frames can end for, in the order of their numbers from 1 on → [`Reply::Names`].
    DropReasons,
    /// Of a UDP or ping socket: no peer any more. → `Done`.
    Disconnect,
    /// Of a UDP or ping socket: could a datagram of `length` bytes be sent there? What the kernel
    /// would refuse at once is refused here; sending itself is by the anchor, without an answer.
    /// → [`Reply::Reachable`].
    Reach {
        /// `None`: the connected peer.
        remote: Option<SocketAddr>,
        source: Option<IpAddr>,
        /// 0: any.
        interface: u32,
        length: u32,
        segment_size: Option<u16>,
    },
    /// What a UDP socket wants to hear of a multicast group. → `Done`.
    Membership {
        group: Ipv4Addr,
        interface: GroupInterface,
        change: MembershipChange,
    },
    /// → `Done`; from now on the anchor carries [`crate::accept::AcceptRecord`]s.
    Listen {
        backlog: u32,
    },
    /// → [`Reply::Address`].
    LocalAddress,
    /// → [`Reply::Address`], or `NotConnected`.
    PeerAddress,
    /// Who is at the other end → [`Reply::Peer`].
    Peer,
    /// The same as a pidfd → [`Reply::Done`] with it attached, or `NoSuchEntry`.
    PeerProcess,
    SetOption(SocketOption),
    /// → [`Reply::Option`].
    GetOption(OptionName),
    /// → [`Reply::Failure`]: the pending error, cleared; also after the daemon's end was closed.
    TakeError,
    /// Of a UDP or ping socket that asked for [`SocketOption::ReceiveErrors`] →
    /// [`Reply::QueuedError`], the oldest.
    TakeQueuedError,

    // About the daemon; list replies come in pages, `after` is the last row's `id` or 0.
    /// → [`Reply::Sockets`].
    Sockets {
        after: u64,
    },
    /// → [`Reply::Statistics`].
    Statistics,
    /// → [`Reply::Bills`].
    Bills {
        after: u32,
    },
    /// → [`Reply::Done`] with a descriptor attached, on which packets are told: see [`crate::see`].
    Watch(Box<WatchOptions>),
    /// Drops by reason and place → [`Reply::Losses`].
    Losses {
        after: u32,
    },
    /// → [`Reply::Links`]. In this request and those for other [`Page`]s, `after` is the number of rows
    /// already there.
    Links {
        after: u32,
    },
    /// → [`Reply::Bonds`].
    Bonds {
        after: u32,
    },
    /// → [`Reply::Ports`].
    Ports {
        after: u32,
    },
    /// → [`Reply::Fdb`].
    Fdb {
        after: u32,
    },
    /// The routes of one table, or of all → [`Reply::Routes`]; `after` is the last reply's `next`.
    Routes {
        table: Option<u32>,
        after: (u32, u64),
    },
    /// → [`Reply::Rules`].
    Rules {
        after: u32,
    },
    /// → [`Reply::Route`], or why there is no way.
    Route(RouteQuestion),
    /// → [`Reply::Neighbors`].
    Neighbors {
        after: u32,
    },
    /// → [`Reply::Groups`].
    Groups {
        after: u32,
    },
    /// → [`Reply::Policy`].
    Policy {
        after: u32,
    },
    /// → [`Reply::Forbidden`].
    Forbidden {
        after: u32,
    },
    /// → [`Reply::Decided`].
    Decide(Box<PolicyQuestion>),
    /// → [`Reply::Zones`].
    Zones {
        after: u32,
    },
    /// Who gets such a frame, in order → [`Reply::Takers`].
    WhoHas {
        frame: Box<FrameMatch>,
        after: u32,
    },
    /// Tracked flows → [`Reply::Flows`], or `Refused`: they are not tracked.
    Flows {
        after: u32,
    },
    /// Who decides about packets → [`Reply::Inspectors`].
    Inspectors {
        after: u32,
    },
    /// Forgets flows → [`Reply::Count`], or `NotPermitted`, or `Refused`.
    FlushFlows(FlowFilter),
    /// What happened to flows since that number, or from now on → [`Reply::FlowNews`], or `Refused`.
    FlowNews {
        after: Option<u64>,
    },
    /// One ICMP echo → [`Reply::Pong`] when answered, or an error after `timeout`.
    Ping {
        destination: Ipv4Addr,
        sequence: u16,
        payload_len: u16,
        timeout: Duration,
    },
    /// Ends the TCP connection between two addresses, as one end sees them → `Done`, `NoSuchEntry`
    /// if there is none, or `NotPermitted`.
    Kill {
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// → `Done`, or `NotPermitted`.
    Change(Change),
    /// Commands in nft(8)'s language, in the memory file that comes along → `Done`, and in the file
    /// what they list; or `Refused`.
    Nft(NftOptions),
    /// → [`Reply::Reloaded`], or `Refused`.
    Reload,
    /// → `Done`; the daemon ends.
    Stop,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftOptions {
    /// List rules with their handles.
    pub handles: bool,
    /// List as libnftables-json(5) has it.
    pub json: bool,
    /// Change nothing.
    pub check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketKind {
    /// The anchor is a stream.
    Tcp,
    /// The anchor carries records: see [`crate::datagram`].
    Udp,
    /// The same, each record a whole ICMP message.
    Ping,
    /// Each record is a frame: see [`crate::packet`]. `cooked`: without its link header. `protocol`: an
    /// Ethernet type, 3 for every one, 0 for none yet.
    Packet { cooked: bool, protocol: u16 },
    /// The anchor carries records, each received one a packet with its IPv4 header: see [`crate::datagram`].
    Raw { protocol: u8 },
}

/// As many rows of a report as fit into one reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Address(SocketAddr),
    /// `None`: another host, or nobody.
    Peer(Option<Box<Peer>>),
    Option(SocketOption),
    Failure(Option<Error>),
    PacketStatistics {
        frames: u32,
        lost: u32,
    },
    PacketState(PacketState),
    Names(Vec<String>),
    QueuedError(Option<Box<QueuedError>>),
    /// The longest payload that could be sent there.
    Reachable {
        longest: u32,
    },
    Sockets {
        rows: Vec<SocketRow>,
        more: bool,
    },
    Statistics(Statistics),
    Bills(Page<BillRow>),
    Losses(Page<LossRow>),
    /// Why not, in words for the operator.
    Refused(String),
    /// What changed, a line each.
    Reloaded(Vec<String>),
    Links(Page<LinkRow>),
    Bonds(Page<BondRow>),
    Ports(Page<PortRow>),
    Fdb(Page<FdbRow>),
    Routes {
        rows: Vec<RouteRow>,
        next: Option<(u32, u64)>,
    },
    Rules(Page<RuleRow>),
    Route(RouteAnswer),
    Neighbors(Page<NeighborRow>),
    Groups(Page<GroupRow>),
    /// By ascending number.
    Policy {
        /// Who may do what root may.
        owner: u32,
        defaults: Defaults,
        page: Page<PolicyRow>,
    },
    /// What the file forbids, in its order.
    Forbidden(Page<Forbid>),
    Decided(PolicyAnswer),
    Zones(Page<ZoneRow>),
    Takers(Page<TakerRow>),
    Flows(Page<FlowRow>),
    Inspectors(Page<InspectorRow>),
    FlowNews(FlowNews),
    Count(u32),
    Pong {
        round_trip: Duration,
        ttl: u8,
    },
}

/// What the daemon sends for each [`Request`].
pub type Answer = Result<Reply, Error>;

/// What became of a datagram: `struct sock_extended_err`'s contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedError {
    pub error: Error,
    /// Type and code of the ICMP message, and who sent it; `None`: this host found the error.
    pub icmp: Option<(u8, u8, IpAddr)>,
    /// Of the packet that brought it, where the program asked for that with datagrams.
    pub ttl: Option<u8>,
    pub tos: Option<u8>,
    /// Where the datagram was to go.
    pub destination: SocketAddr,
    pub interface: u32,
    /// Of errors about the size: what the path takes.
    pub mtu: u32,
    /// The beginning of the datagram's payload.
    pub payload: Vec<u8>,
}
