//! Options of sockets, and what they tell of themselves.

use crate::{
    bpf::Instruction,
    table::{
        claim::{Match, Rank},
        fanout::FanoutMode,
        interface::InterfaceId,
        ip_settings::PathMtuDiscovery,
        packet_socket::Appetite,
        watch::Stages,
    },
    tcp::congestion::Algorithm,
    time::Duration,
};
use core::net::Ipv4Addr;
use narrows_wire::{address::MacAddr, ipv4::Protocol};

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
}

/// What a raw IP socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawState {
    pub protocol: Protocol,
    pub header_included: bool,
    pub icmp_filter: u32,
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
