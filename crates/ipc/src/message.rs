//! The messages. Each request is one packet of the session's socket, answered by one packet, in
//! order. A request about a socket carries that socket's anchor as SCM_RIGHTS: having the
//! descriptor is what allows to name it.

use crate::{
    change::Change,
    conntrack::{FlowFilter, FlowNews, FlowRow},
    error::Error,
    inspect::InspectorRow,
    link::{BondRow, FdbRow, LinkState, PortRow},
    packet::{FrameMatch, PacketOption, PacketState, TakerRow},
    policy::{Defaults, Forbid, PolicyAnswer, PolicyQuestion, PolicyRow},
    route::{RouteAnswer, RouteQuestion, RouteRow, RouteScope, RuleRow},
    see::{LossRow, WatchOptions},
    zone::ZoneRow,
};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Raised with every change of a message. Both sides must have the same.
pub const VERSION: u32 = 12;

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

/// Socket options by what they mean; levels and numbers are the shim's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketOption {
    /// Only read.
    OriginalDestination(SocketAddr),
    ReuseAddress(bool),
    ReusePort(bool),
    KeepAlive(bool),
    KeepAliveIdle(Duration),
    KeepAliveInterval(Duration),
    KeepAliveCount(u8),
    NoDelay(bool),
    Cork(bool),
    /// Bytes.
    SendBuffer(u32),
    ReceiveBuffer(u32),
    Linger(Option<Duration>),
    MaxSegment(u16),
    UserTimeout(Option<Duration>),
    Congestion(String),
    /// Bytes a second; the maximum of the type: any.
    MaxPacingRate(u64),
    /// SYNs sent again.
    SynRetries(u8),
    /// How long an orphan waits for the peer's FIN; zero: it does not.
    FinWait2(Duration),
    /// SYN-ACKs that would be sent again while a listener waits for text.
    DeferAccept(u8),
    /// Bytes that may wait unsent; the maximum of the type: any.
    UnsentLow(u32),
    /// Bytes of the window at most; the maximum of the type: any.
    WindowClamp(u32),
    QuickAcks(bool),
    /// Connections that a listener takes with their SYN (RFC 7413); 0: none.
    FastOpenBacklog(u32),
    /// The handshake begins with the first text.
    FastOpenConnect(bool),
    FastOpenWithoutCookie(bool),
    TimeToLive(u8),
    TypeOfService(u8),
    /// Root and the daemon's own user alone may set it.
    Mark(u32),
    /// Whether datagrams may go to broadcast addresses.
    Broadcast(bool),
    PathMtuDiscovery(PathMtuDiscovery),
    /// Errors are told also to sockets without a peer, and queued.
    ReceiveErrors(bool),
    /// The name of the only interface that is used; empty: any.
    Device(String),
    /// 0: what is sent to groups stays on this host.
    MulticastTtl(u8),
    /// Whether this host hears what it sends to groups that it joined.
    MulticastLoop(bool),
    /// By which interface what is sent to groups leaves.
    MulticastInterface(GroupInterface),
    /// Whether the socket hears what is for groups that others joined.
    MulticastAll(bool),
    /// Payload bytes that longer datagrams are cut into; 0: they are not.
    SegmentSize(u16),
    /// Several datagrams may be received in one record.
    Coalesce(bool),
    NoChecksum(bool),
    /// Of raw sockets: the program writes IPv4's header too.
    HeaderIncluded(bool),
    /// Of raw ICMP sockets: a bit for each type that is not wanted.
    IcmpFilter(u32),
    /// Of raw sockets: IPv4's options of what is sent.
    IpOptions(Vec<u8>),
    /// What is told with each datagram received: bits of [`crate::datagram::Attached`].
    Attach {
        fields: u8,
        on: bool,
    },
    // read-only
    Kind(SocketKind),
    /// Bytes of an IP packet on the path to the connected peer.
    PathMtu(u16),
    Listening(bool),
    TcpInfo(Box<TcpInfo>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptionName {
    /// To where the peer connected, if it was translated.
    OriginalDestination,
    ReuseAddress,
    ReusePort,
    KeepAlive,
    KeepAliveIdle,
    KeepAliveInterval,
    KeepAliveCount,
    NoDelay,
    Cork,
    SendBuffer,
    ReceiveBuffer,
    Linger,
    MaxSegment,
    UserTimeout,
    Congestion,
    MaxPacingRate,
    SynRetries,
    FinWait2,
    DeferAccept,
    UnsentLow,
    WindowClamp,
    QuickAcks,
    FastOpenBacklog,
    FastOpenConnect,
    FastOpenWithoutCookie,
    TimeToLive,
    TypeOfService,
    Mark,
    Broadcast,
    PathMtuDiscovery,
    ReceiveErrors,
    Device,
    MulticastTtl,
    MulticastLoop,
    MulticastInterface,
    MulticastAll,
    SegmentSize,
    Coalesce,
    NoChecksum,
    HeaderIncluded,
    IcmpFilter,
    IpOptions,
    Attach,
    Kind,
    PathMtu,
    Listening,
    TcpInfo,
}

/// On which interface a group is joined, or sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupInterface {
    /// The one that the route to the group leads by.
    Any,
    /// The one that has this address.
    Address(Ipv4Addr),
    /// By its number.
    Number(u32),
}

/// What changes about a membership (RFC 3678 §4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MembershipChange {
    Join,
    Leave,
    JoinSource(Ipv4Addr),
    LeaveSource(Ipv4Addr),
    Block(Ipv4Addr),
    Unblock(Ipv4Addr),
    /// The whole filter: from these alone, or from all but these.
    Filter {
        include: bool,
        sources: Vec<Ipv4Addr>,
    },
}

/// Whether packets may be fragmented, numbered as IP_MTU_DISCOVER is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMtuDiscovery {
    Dont = 0,
    Want,
    Do,
    Probe,
    Interface,
    Omit,
}

/// What became of a datagram: `struct sock_extended_err`'s contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedError {
    pub error: Error,
    /// Type and code of the ICMP message, and who sent it; `None`: this host found the error.
    pub icmp: Option<(u8, u8, IpAddr)>,
    /// Where the datagram was to go.
    pub destination: SocketAddr,
    pub interface: u32,
    /// Of errors about the size: what the path takes.
    pub mtu: u32,
    /// The beginning of the datagram's payload.
    pub payload: Vec<u8>,
}

/// `struct tcp_info`'s contents, and what ss(8) prints of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpInfo {
    pub state: TcpState,
    pub congestion: String,
    pub congestion_window: u32,
    /// The maximum of the type: it was never set.
    pub slow_start_threshold: u32,
    /// Bytes a second, of connections that are paced; and that the path delivers, where that is
    /// measured.
    pub pacing_rate: Option<u64>,
    pub max_pacing_rate: u64,
    pub delivery_rate: Option<u64>,
    pub delivery_rate_app_limited: bool,
    pub send_window: u32,
    pub receive_window: u32,
    pub send_mss: u16,
    pub receive_mss: u16,
    /// The largest payload that the peer has sent.
    pub peer_segment: u32,
    pub path_mtu: u16,
    pub send_window_scale: u8,
    pub receive_window_scale: u8,
    pub timestamps: bool,
    pub sack: bool,
    pub ecn: bool,
    /// Each mark is told (RFC 9768).
    pub accurate_ecn: bool,
    pub smoothed_rtt: Duration,
    pub rtt_variance: Duration,
    pub min_rtt: Duration,
    pub retransmission_timeout: Duration,
    pub acknowledgment_timeout: Duration,
    pub bytes_in_flight: u32,
    pub bytes_sent: u64,
    pub bytes_acknowledged: u64,
    pub bytes_received: u64,
    pub bytes_retransmitted: u64,
    pub segments_sent: u64,
    pub segments_received: u64,
    pub text_segments_sent: u64,
    pub text_segments_received: u64,
    /// How long something was to be sent; and how long of that the peer's window, or the send buffer, kept
    /// more from leaving.
    pub busy: Duration,
    pub window_limited: Duration,
    pub buffer_limited: Duration,
    pub reordering: u32,
    pub reorderings: u32,
    pub duplicates_reported: u32,
    pub out_of_order: u32,
    pub delivered_marked: u32,
    pub timeouts: u16,
    pub timeout_recoveries: u16,
    pub timeout_time: Duration,
    pub receive_limit: u32,
    pub probes: u8,
    pub retransmissions: u64,
    pub backoff: u8,
    pub repair: Repair,
    pub bytes_outstanding: u32,
    pub bytes_sacked: u32,
    pub bytes_lost: u32,
    pub bytes_in_repair: u32,
    pub bytes_unsent: u32,
    pub since_sent: Duration,
    pub since_received: Duration,
    pub since_acknowledged: Duration,
    /// The text of a SYN was taken (RFC 7413).
    pub syn_text: bool,
    /// Why not, numbered as Linux's `tcp_fastopen_client_fail`.
    pub fast_open_failure: u8,
    /// Segments that the peer is known to have.
    pub delivered: u32,
}

/// Numbered as Linux's `tcp_ca_state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Repair {
    #[default]
    Open = 0,
    Disorder = 1,
    Recovery = 3,
    Timeout = 4,
}

/// Numbered as in Linux's `tcp_states.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TcpState {
    Established = 1,
    SynSent,
    SynReceived,
    FinWait1,
    FinWait2,
    TimeWait,
    #[default]
    Closed,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl TcpState {
    /// As ss(8) has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTAB",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECV",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "UNCONN",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRow {
    pub id: u64,
    pub protocol: String,
    pub local: SocketAddr,
    pub remote: Option<SocketAddr>,
    pub state: TcpState,
    pub receive_queue: u64,
    pub send_queue: u64,
    /// Datagrams, packets or frames lost for want of reading.
    pub lost: u64,
    /// Who owns it: `None` for what the engine finishes on its own (TIME-WAIT, orphans).
    pub owner: Option<Owner>,
    /// Its bytes pass between two programs of this host without the daemon.
    pub cut_through: bool,
    /// Who is at the other end, if that is a program on this host.
    pub peer: Option<Owner>,
    pub tcp: Option<Box<TcpInfo>>,
}

/// Who has the other end of a connection on this host: the principal that made that socket, or whose
/// listener it came to, by the kernel's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `pid` is 0 where the asker's PID namespace has no number for the process.
    pub owner: Owner,
    /// Supplementary, in ascending order.
    pub groups: Vec<u32>,
    /// The zone that the other end's address is in.
    pub zone: String,
}

/// The kernel's word about the process that opened the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
    /// Empty when unknown.
    pub executable: String,
    /// Its path, empty when unknown.
    pub cgroup: String,
    /// The process is gone, and another may have its number; what it made lives on.
    pub ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Name and value, in the order of a report.
    pub counters: Vec<(String, u64)>,
    pub drops: Vec<DropRow>,
    pub confinement: Confinement,
}

/// What the daemon itself may do, by the kernel's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub user: u32,
    /// As capabilities(7) has them, in lower case and without their prefix.
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    /// How many system calls it may make; `None`: any.
    pub system_calls: Option<u32>,
    /// The version of Landlock that holds.
    pub landlock: Option<u32>,
}

impl fmt::Display for Confinement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, capabilities, no_new_privileges, system_calls, landlock } = self;
        let capabilities = match capabilities.as_slice() {
            [] => "no capabilities".into(),
            // Root's are all there are, which is too many to read.
            many if many.len() > 8 => format!("{} capabilities", many.len()),
            few => format!("capabilities {}", few.join(" ")),
        };
        let privileges = if *no_new_privileges { "no new privileges" } else { "new privileges" };
        write!(formatter, "user {user}, {capabilities}, {privileges}, ")?;
        match system_calls {
            Some(count) => write!(formatter, "{count} system calls, ")?,
            None => write!(formatter, "any system call, ")?,
        }
        match landlock {
            Some(version) => write!(formatter, "landlock version {version}"),
            None => write!(formatter, "no landlock"),
        }
    }
}

/// What a user has of the daemon, and has had since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillRow {
    pub user: u32,
    /// Now.
    pub sessions: u64,
    pub sockets: u64,
    /// Bytes that wait in the sockets, either way.
    pub queued: u64,
    /// Bytes of memory that their buffers and queues take.
    pub memory: u64,
    /// Since the start, packets for the user's sockets, or from them, that went no further.
    pub drops: u64,
    /// Since the start, as what follows.
    pub requests: u64,
    /// Acts beyond the user's quota.
    pub refused: u64,
    pub bytes_to_programs: u64,
    pub bytes_from_programs: u64,
    /// Spent by the daemon on sessions and sockets.
    pub time: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    pub name: String,
    pub meaning: String,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// As programs see it: Linux's count from 1.
    pub id: u32,
    pub name: String,
    pub device: String,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub addresses: Vec<AddressRow>,
    pub up: bool,
    pub state: LinkState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRow {
    pub address: IpAddr,
    /// Of the prefix.
    pub length: u8,
    /// Another address of the interface is in the same subnet, and goes before it.
    pub secondary: bool,
    /// Being probed for, and not in use yet.
    pub tentative: bool,
    /// Another station has it: not in use.
    pub conflict: bool,
    pub label: Option<String>,
    /// `None`: as the address says.
    pub scope: Option<RouteScope>,
    pub peer: Option<(IpAddr, u8)>,
    /// Seconds that it still lasts, and is preferred; `None`: for ever.
    pub valid: Option<u32>,
    pub preferred: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborRow {
    pub address: IpAddr,
    pub interface: String,
    pub mac: Option<[u8; 6]>,
    /// As ip-neighbour(8) names it: REACHABLE, STALE, DELAY, PROBE, INCOMPLETE, FAILED, PERMANENT,
    /// NOARP; nothing for a proxy.
    pub state: String,
    /// The interface answers for this host, which is elsewhere.
    pub proxy: bool,
    pub usage: NeighborUsage,
}

/// Seconds since a neighbor's entry was used, confirmed and changed, and how many questions it has not
/// answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborUsage {
    pub used: u64,
    pub confirmed: u64,
    pub updated: u64,
    pub probes: u8,
}

/// A multicast group that is joined on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Of the interface.
    /// As programs see it: Linux's count from 1.
    pub id: u32,
    pub interface: String,
    /// `None`: joined by the link address alone.
    pub group: Option<IpAddr>,
    pub mac: [u8; 6],
    /// How many sockets joined it; the stack itself counts as one.
    pub users: u32,
}
