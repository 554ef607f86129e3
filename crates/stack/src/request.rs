//! Calls of programs (and of the operator) as values, so that they can be recorded and replayed.

use crate::{
    bpf::Instruction,
    config::{ConntrackConfig, TcpDefaults},
    table::{
        address_facts::AddressFacts,
        arp_policy::ArpPolicy,
        autoconf::AddressSource,
        bond::BondSettings,
        bridge::BridgeSettings,
        claim::{Match, Rank},
        error_queue::QueuedError,
        fanout::FanoutMode,
        interface::{InterfaceId, InterfaceSettings},
        ip_settings::{IpSettings, PathMtuDiscovery},
        membership::MembershipChange,
        neighbor::NeighborChange,
        packet_socket::Appetite,
        route::{Placement, Route, RouteError, RouteFilter, RoutingSettings, Rule, RuleFilter},
        watch::Stages,
        zone::{Admission, AdmissionId, ZoneId, ZoneSettings},
    },
    tcp::{
        self,
        congestion::Algorithm,
        notices::{Notice, Watch},
    },
    time::Duration,
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::{MacAddr, Prefix},
    ipv4::Protocol,
    vlan::Tag,
};
use std::collections::BTreeSet;

/// Names a socket for as long as it exists: a slot and the slot's generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl SocketId {
    /// One number for logs and maps.
    pub fn as_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }
}

/// Who asks. The engine only compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Principal {
    /// The user, which rules of routing and the sharing of ports are about.
    pub uid: u32,
    /// What zones it is admitted to.
    pub admission: AdmissionId,
}

impl Principal {
    /// This host itself, for what nobody's socket sends.
    pub const HOST: Self = Self { uid: 0, admission: AdmissionId::HOST };

    /// A user whom nobody admitted anywhere in particular.
    pub const fn user(uid: u32) -> Self {
        Self { uid, admission: AdmissionId::NOBODY }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A new TCP socket → [`Reply::Socket`].
    OpenTcp,
    /// What new TCP sockets start with, and how listeners answer when they are flooded.
    SetTcpDefaults {
        defaults: TcpDefaults,
    },
    /// Whether, and how many, flows are tracked, and for how long.
    SetConntrack {
        config: ConntrackConfig,
    },
    /// A new UDP socket → [`Reply::Socket`].
    OpenUdp,
    /// A new socket for ICMP echo; its local port is the identifier → [`Reply::Socket`].
    OpenPing,
    /// A new raw IP socket of a protocol; of 255 it sends packets of every one. It hears of what comes in by
    /// `interfaces` alone, `None`: by any → [`Reply::Socket`].
    OpenRaw {
        protocol: Protocol,
        interfaces: Option<Box<[InterfaceId]>>,
    },
    SetRaw {
        socket: SocketId,
        option: RawOption,
    },
    /// A new packet socket, for frames or (`cooked`) for what is in them. `protocol`: an Ethernet type,
    /// 3 for every one, 0 for none yet → [`Reply::Socket`].
    OpenPacket {
        cooked: bool,
        protocol: u16,
    },
    /// Which frames a packet socket hears of; a protocol of 0 leaves the one it has.
    BindPacket {
        socket: SocketId,
        interface: Option<InterfaceId>,
        protocol: u16,
    },
    SetPacket {
        socket: SocketId,
        option: PacketOption,
    },
    /// → [`Reply::PacketStatistics`]; the counts begin anew.
    PacketStatistics {
        socket: SocketId,
    },
    /// An unspecified address means any; port 0 means one that is free.
    Bind {
        socket: SocketId,
        local: SocketAddr,
    },
    /// TCP: begins the handshake; `Readiness::CONNECTED` or `FAILED` follows. UDP: sets the peer.
    Connect {
        socket: SocketId,
        remote: SocketAddr,
    },
    /// Forgets the peer; a connection is reset.
    Disconnect {
        socket: SocketId,
    },
    /// UDP and ping: whether `len` bytes could be sent, as if they were → [`Reply::Reachable`].
    Reach {
        socket: SocketId,
        envelope: Envelope,
        len: usize,
    },
    /// UDP and ping: what the path to the connected peer takes → [`Reply::PathMtu`].
    PathMtu {
        socket: SocketId,
    },
    Listen {
        socket: SocketId,
        backlog: u32,
    },
    /// → [`Reply::Accepted`], or [`Error::WouldBlock`].
    Accept {
        socket: SocketId,
    },
    SetOption {
        socket: SocketId,
        option: SocketOption,
    },
    /// → [`Reply::Info`].
    Info {
        socket: SocketId,
    },
    /// Takes the pending error → [`Reply::Error`].
    TakeError {
        socket: SocketId,
    },
    /// Takes the oldest entry of the error queue → [`Reply::QueuedError`].
    TakeQueuedError {
        socket: SocketId,
    },
    /// A connection: what became of all that was sent so far is told later, with `tag`.
    Watch {
        socket: SocketId,
        tag: u32,
        watch: Watch,
    },
    /// Takes the oldest of what was to be told → [`Reply::Notice`].
    TakeNotice {
        socket: SocketId,
    },
    /// No more will be sent: FIN after what is queued.
    ShutdownSend {
        socket: SocketId,
    },
    /// The program is gone; the engine finishes the protocol on its own.
    Close {
        socket: SocketId,
    },
    /// RST, at once.
    Abort {
        socket: SocketId,
    },
    /// What a UDP socket wants to hear of a multicast group. [`Error::NoSuchInterface`]: there is none
    /// of that name, or no way to the group.
    Membership {
        socket: SocketId,
        group: Ipv4Addr,
        interface: GroupInterface,
        change: MembershipChange,
    },

    /// → [`Reply::Interface`].
    AddInterface {
        settings: InterfaceSettings,
    },
    AddAddress {
        interface: InterfaceId,
        prefix: Prefix,
    },
    RemoveAddress {
        interface: InterfaceId,
        prefix: Prefix,
    },
    /// What else there is to know of an address that the interface has.
    DescribeAddress {
        interface: InterfaceId,
        address: Ipv4Addr,
        facts: AddressFacts,
    },
    /// Whether an interface takes frames for a group of stations, by its link address.
    SetMulticast {
        interface: InterfaceId,
        mac: MacAddr,
        joined: bool,
    },
    /// Where the interface's address comes from, beside those that are added.
    SetAddressSource {
        interface: InterfaceId,
        source: AddressSource,
    },
    /// Says on the link where the interface's addresses are, as after a failover.
    AnnounceAddresses {
        interface: InterfaceId,
    },
    AddRoute {
        route: Route,
        placement: Placement,
    },
    /// The first route that the filter names.
    RemoveRoute {
        filter: RouteFilter,
    },
    /// `preference` 0: before all but the local table's.
    AddRule {
        rule: Rule,
    },
    /// The first rule that the filter names.
    RemoveRule {
        filter: RuleFilter,
    },
    /// How an interface takes part in routing from now on.
    SetRouting {
        interface: InterfaceId,
        routing: RoutingSettings,
    },
    /// [`Error::InvalidArgument`]: the name is empty or taken.
    RenameInterface {
        interface: InterfaceId,
        name: String,
    },
    /// Whether ICMP timestamp requests are answered.
    AnswerTimestamps(bool),
    /// An interface that stands upon others → [`Reply::Interface`].
    AddLink {
        name: String,
        link: NewLink,
    },
    /// With its addresses, routes and neighbors. [`Error::InUse`]: others stand upon it.
    RemoveInterface {
        interface: InterfaceId,
    },
    /// Makes an interface part of a bond or bridge.
    Enslave {
        member: InterfaceId,
        master: InterfaceId,
    },
    /// Takes it out again.
    Release {
        member: InterfaceId,
    },
    SetLink {
        interface: InterfaceId,
        change: LinkChange,
    },
    /// Settings of a bond, a bridge or a port.
    ConfigureLink {
        interface: InterfaceId,
        settings: LinkSettings,
    },
    /// A static neighbor entry that no ARP changes.
    PinNeighbor {
        interface: InterfaceId,
        address: IpAddr,
        mac: MacAddr,
    },
    SetNeighbor {
        interface: InterfaceId,
        address: IpAddr,
        change: NeighborChange,
    },
    RemoveNeighbor {
        interface: InterfaceId,
        address: IpAddr,
    },
    /// Whether an interface answers ARP for a host that is reached by another.
    SetProxied {
        interface: InterfaceId,
        address: IpAddr,
        proxied: bool,
    },
    /// The zone of an interface, and of all that is stacked with it. Sockets that have its addresses
    /// and whose owners are not admitted there end.
    SetZone {
        interface: InterfaceId,
        zone: ZoneId,
    },
    /// Which zones are private, and what may go from zone to zone.
    SetZones(ZoneSettings),
    /// What principals of that number are admitted to; `None`: there are none any more. Their sockets
    /// where they no longer are end.
    Admit {
        id: AdmissionId,
        admission: Option<Admission>,
    },
    /// How an interface asks and answers by ARP. Conflict detection concerns addresses that are
    /// added later.
    SetArpPolicy {
        interface: InterfaceId,
        policy: ArpPolicy,
    },
}

/// An interface that stands upon others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewLink {
    Vlan {
        lower: InterfaceId,
        tag: Tag,
    },
    Bond(BondSettings),
    Bridge(BridgeSettings),
    /// The members of a private zone, and no wire.
    Private {
        mac: MacAddr,
    },
}

/// One thing to set on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Bytes of the longest IPv4 packet: 68 or more, and no more than what is below carries.
    Mtu(u16),
    Mac(MacAddr),
    /// By the operator.
    Up(bool),
    /// By its device: is something at the other end of the wire?
    Carrier(bool),
    Promiscuous(bool),
    Group(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkSettings {
    Bond(BondSettings),
    Bridge(BridgeSettings),
    /// Of one port of a bridge.
    Port {
        port: InterfaceId,
        change: PortChange,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortChange {
    /// Who may speak by it; `None`: everybody.
    Bind(Option<BTreeSet<MacAddr>>),
    /// A station that is behind it and stays there.
    Pin(MacAddr),
    Forget(MacAddr),
}

/// On which interface a group is joined, or sent to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupInterface {
    /// The one that the route to the group leads by.
    #[default]
    Any,
    /// The one that has this address.
    Address(Ipv4Addr),
    Interface(InterfaceId),
}

/// Options that programs set with setsockopt(2), by what they mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    ReuseAddress(bool),
    ReusePort(bool),
    KeepAlive(bool),
    KeepAliveIdle(Duration),
    KeepAliveInterval(Duration),
    KeepAliveCount(u8),
    NoDelay(bool),
    Cork(bool),
    /// Bytes.
    SendBuffer(usize),
    ReceiveBuffer(usize),
    /// `Some(0)`: close sends RST.
    Linger(Option<Duration>),
    MaxSegment(u16),
    UserTimeout(Option<Duration>),
    Congestion(Algorithm),
    /// Octets a second; the maximum of the type: any.
    MaxPacingRate(u64),
    /// TCP_FASTOPEN_CONNECT, TCP_FASTOPEN_NO_COOKIE, TCP_FASTOPEN.
    FastOpenConnect(bool),
    FastOpenWithoutCookie(bool),
    FastOpenBacklog(u32),
    /// TCP_SYNCNT.
    SynRetries(u8),
    /// TCP_LINGER2; zero: an orphan does not wait for the peer's FIN.
    FinWait2(Duration),
    /// TCP_DEFER_ACCEPT, as times that a SYN-ACK is due again.
    DeferAccept(u8),
    /// TCP_NOTSENT_LOWAT, in bytes.
    UnsentLow(u32),
    /// TCP_WINDOW_CLAMP, in bytes.
    WindowClamp(u32),
    /// TCP_QUICKACK; for a while.
    QuickAcks(bool),
    /// 1 ..= 255.
    TimeToLive(u8),
    TypeOfService(u8),
    /// For the operator's rules; who may set it is the caller's business.
    Mark(u32),
    Broadcast(bool),
    PathMtu(PathMtuDiscovery),
    ReceiveErrors(bool),
    /// Only what goes by this interface; `None`: any.
    Device(Option<InterfaceId>),
    /// 0: packets to groups stay on this host.
    MulticastTtl(u8),
    MulticastLoop(bool),
    MulticastInterface(GroupInterface),
    MulticastAll(bool),
    /// UDP: payload bytes of the datagrams that longer ones are cut into; 0: they are not.
    SegmentSize(u16),
    /// UDP: several datagrams of one sender may be received in one piece.
    Coalesce(bool),
    /// UDP: sends without a checksum.
    NoChecksum(bool),
}

/// One thing to set on a raw IP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawOption {
    /// IP_HDRINCL.
    HeaderIncluded(bool),
    /// ICMP_FILTER: a bit for each type that it does not want.
    IcmpFilter(u32),
    /// IP_OPTIONS, at most 40 bytes.
    Options(Vec<u8>),
}

/// What a raw IP socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawState {
    pub protocol: Protocol,
    pub header_included: bool,
    pub icmp_filter: u32,
    pub options: Vec<u8>,
}

/// One thing to set on a packet socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketOption {
    /// Of raw sockets too. [`Error::InvalidArgument`]: it is no filter that ends.
    Filter(Option<Vec<Instruction>>),
    IgnoreOutgoing(bool),
    VnetHeader(bool),
    Member {
        interface: InterfaceId,
        appetite: Appetite,
        joined: bool,
    },
    /// Joins a group, for good.
    Fanout(FanoutRequest),
    /// Incoming frames that are the socket's alone, in place of its earlier claim; `None`: no more.
    /// [`Error::InUse`]: another claim overlaps, see [`crate::Shard::claim_in_the_way`].
    Claim(Option<(Match, Rank)>),
    /// Hears of frames at these stages of their way, and no more as they pass interfaces; empty: as it did.
    /// [`Error::InvalidArgument`] of one that shares or claims, or at [`Stages::RECEIVE`], where
    /// interfaces are.
    Tap(Stages),
    /// Hears also of frames that another one has claimed; who may is the caller's business.
    SeesClaimed(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanoutRequest {
    pub group: u16,
    pub mode: FanoutMode,
    pub rollover: bool,
    /// Rather a number that no group has.
    pub unused: bool,
}

/// What a packet socket hears of, and is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketState {
    pub cooked: bool,
    pub interface: Option<InterfaceId>,
    pub protocol: u16,
    pub ignore_outgoing: bool,
    pub vnet_header: bool,
    pub fanout: Option<u16>,
    /// It has a filter.
    pub filtered: bool,
    pub sees_claimed: bool,
    /// Where it hears of frames, if not at interfaces.
    pub tap: Stages,
}

/// Where a frame goes; what is not said is as the socket is bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameAddress {
    pub interface: Option<InterfaceId>,
    /// Of sockets without link headers: type and station.
    pub protocol: Option<u16>,
    pub destination: Option<MacAddr>,
}

bitflags::bitflags! {
    /// What a program may say of the bytes it sends on a connection.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SendFlags: u8 {
        /// More follows at once (MSG_MORE).
        const MORE = 1;
        /// No segment goes on beyond them (MSG_EOR).
        const END_OF_RECORD = 2;
    }
}

/// What a program does that has more text than a SYN takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It waits, and the rest follows the handshake at once: that carries its acknowledgment.
    Waits,
    Returns,
}

/// What a program may say about one datagram; what it doesn't is as the socket has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The connected peer, if none.
    pub remote: Option<SocketAddr>,
    pub source: Option<IpAddr>,
    pub interface: Option<InterfaceId>,
    pub ttl: Option<u8>,
    pub tos: Option<u8>,
    /// Payload bytes of the datagrams that this one is cut into.
    pub segment_size: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Done,
    /// The handshake begins with the first text that is sent.
    Deferred,
    Socket(SocketId),
    Accepted {
        socket: SocketId,
        local: SocketAddr,
        remote: SocketAddr,
    },
    Info(Box<SocketInfo>),
    Error(Option<Error>),
    QueuedError(Option<Box<QueuedError>>),
    Notice(Option<Notice>),
    /// The longest payload that can be sent there.
    Reachable {
        longest: usize,
    },
    PacketStatistics {
        frames: u32,
        lost: u32,
    },
    /// Bytes of an IP packet.
    PathMtu(u16),
    Interface(InterfaceId),
}

/// What there is to know about a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketInfo {
    /// `None` for connections that no program holds: half-open ones and TIME-WAIT.
    pub id: Option<SocketId>,
    pub principal: Principal,
    pub kind: SocketKind,
    /// The program has closed it; the engine finishes the protocol.
    pub orphan: bool,
    pub local: SocketAddr,
    pub remote: Option<SocketAddr>,
    /// Other kinds than TCP are `Established` with a peer, and else `Closed`.
    pub state: tcp::State,
    /// Set for TCP connections.
    pub tcp: Option<tcp::Info>,
    /// Bytes (listeners: connections) waiting for the program.
    pub receive_queue: usize,
    /// Bytes not yet acknowledged (listeners: the backlog).
    pub send_queue: usize,
    /// Datagrams, packets or frames that found no room in its queue.
    pub lost: u64,
    /// As set for the socket; `None` where `id` is.
    pub settings: Option<tcp::Settings>,
    pub ip: Option<IpSettings>,
    /// Of UDP sockets: UDP_SEGMENT, UDP_GRO, SO_NO_CHECK.
    pub segment_size: u16,
    pub coalesce: bool,
    pub no_checksum: bool,
    pub reuse_address: bool,
    pub reuse_port: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketKind {
    Tcp,
    Udp,
    Ping,
    Packet,
    Raw,
}

/// Why a request was refused, or a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    #[error("no such socket")]
    NoSuchSocket,
    #[error("no such interface")]
    NoSuchInterface,
    #[error("the interface is down")]
    LinkDown,
    #[error("not possible for this kind of socket, or in its state")]
    InvalidState,
    #[error("the operation is not supported, or turned off")]
    NotSupported,
    #[error("an argument has a value that is not allowed")]
    InvalidArgument,
    #[error("the address is in use")]
    AddressInUse,
    #[error("there is one already")]
    AlreadyExists,
    #[error("there is none")]
    NoSuchEntry,
    #[error("the address is not one of this host's")]
    AddressNotAvailable,
    #[error("the address family is not supported")]
    FamilyNotSupported,
    #[error("the socket is connected already")]
    AlreadyConnected,
    #[error("a connection attempt is under way already")]
    AlreadyInProgress,
    #[error("the socket is not connected")]
    NotConnected,
    #[error("the datagram has no destination")]
    NoDestination,
    #[error("sending to a broadcast address was not asked for")]
    BroadcastDenied,
    #[error("nothing there yet")]
    WouldBlock,
    #[error("no route to that network")]
    NetworkUnreachable,
    #[error("the host does not answer")]
    HostUnreachable,
    #[error("the host is down")]
    HostDown,
    #[error("the host is not on the network")]
    HostIsolated,
    #[error("the host does not speak the protocol")]
    ProtocolUnavailable,
    #[error("the host found the packet's header wrong")]
    ProtocolError,
    #[error("a source route failed")]
    SourceRouteFailed,
    #[error("the peer refused the connection")]
    ConnectionRefused,
    #[error("the peer reset the connection")]
    ConnectionReset,
    #[error("the connection was aborted")]
    ConnectionAborted,
    #[error("the peer did not answer in time")]
    TimedOut,
    #[error("sending was shut down")]
    BrokenPipe,
    #[error("the datagram is too long")]
    MessageTooLong,
    #[error("its answer would leave by another interface")]
    SourceNotBelieved,
    #[error("a rule of the filter drops it")]
    Filtered,
    #[error("a route or rule prohibits it")]
    Prohibited,
    #[error("it is in a zone that this one is not admitted to")]
    OtherZone,
    #[error("a limit of the engine is reached")]
    LimitReached,
    #[error("the interface is part of another, or others stand upon it")]
    InUse,
    #[error("the interface would stand upon itself")]
    LinkLoop,
    #[error(transparent)]
    Route(#[from] RouteError),
}
