//! Socket options, without the levels and numbers that programs know them by.

use super::{SocketKind, TcpInfo};
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

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
        fields: u16,
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
