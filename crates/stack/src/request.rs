//! Calls of programs (and of the operator) as values, so that they can be recorded and replayed.

use crate::{
    config::{ConntrackConfig, TcpDefaults},
    table::{
        address_facts::AddressFacts,
        arp_policy::ArpPolicy,
        autoconf::AddressSource,
        error_queue::QueuedError,
        interface::{InterfaceId, InterfaceSettings},
        ip_settings::IpSettings,
        membership::MembershipChange,
        neighbor::NeighborChange,
        route::{Placement, Route, RouteFilter, RoutingSettings, Rule, RuleFilter},
        zone::{Admission, AdmissionId, ZoneId, ZoneSettings},
    },
    tcp::{
        self,
        notices::{Notice, Watch},
    },
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::{MacAddr, Prefix},
    ipv4::Protocol,
};

mod error;
mod link;
mod option;

pub use error::Error;
pub use link::{LinkChange, LinkSettings, NewLink, PortChange};
pub use option::{
    FanoutRequest, FrameAddress, GroupInterface, PacketOption, PacketState, RawOption, RawState,
    SocketOption,
};

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
    /// The main group, which the filter's rules may ask for.
    pub gid: u32,
    /// What zones it is admitted to.
    pub admission: AdmissionId,
}

impl Principal {
    /// This host itself, for what nobody's socket sends.
    pub const HOST: Self = Self { uid: 0, gid: 0, admission: AdmissionId::HOST };

    /// A user whom nobody admitted anywhere in particular, whose group has his number.
    pub const fn user(uid: u32) -> Self {
        Self { uid, gid: uid, admission: AdmissionId::NOBODY }
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
    /// The first and the last port for sockets that ask for none in particular; who has one keeps it.
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument): port 0, or none at all.
    SetEphemeralPorts {
        range: (u16, u16),
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
    /// The IPv4 options of what a UDP, ping or raw socket sends, at most 40 bytes.
    /// [`Error::NotSupported`]: a source route.
    SetIpOptions {
        socket: SocketId,
        options: Vec<u8>,
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
