//! What the engine tells the outside: that a socket became something, and what the operator should
//! know.

use crate::{
    filter::Hook,
    request::{Error, SocketId},
    table::interface::InterfaceId,
    time::Duration,
};
use core::net::Ipv4Addr;
use narrows_wire::{
    address::{MacAddr, Prefix},
    dhcp::NAME_SERVERS,
    ethernet,
    ipv4::Protocol,
};

bitflags::bitflags! {
    /// What a socket became since it was last told; several may be set at once.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Readiness: u8 {
        /// Bytes, a datagram, or the end of the stream can be received.
        const READABLE = 1;
        /// There is room to send into.
        const WRITABLE = 2;
        /// The handshake of an active open is done.
        const CONNECTED = 4;
        /// A listener has a connection to accept.
        const ACCEPTABLE = 8;
        /// The peer has sent everything: after the readable bytes comes the end.
        const FINISHED = 16;
        /// The connection is gone; the reason is the socket's error.
        const FAILED = 32;
    }
}

/// A socket and what became of it. Events of one socket are merged until they are polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub socket: SocketId,
    pub readiness: Readiness,
}

/// Something that happened to the host, for its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Another station, `by`, has or wants an address of ours.
    AddressConflict {
        interface: InterfaceId,
        address: Ipv4Addr,
        by: MacAddr,
        outcome: ConflictOutcome,
    },
    /// An address that was given for a time is not used any more.
    AddressExpired { interface: InterfaceId, prefix: Prefix },
    /// A DHCP server granted an address.
    Leased {
        interface: InterfaceId,
        prefix: Prefix,
        router: Option<Ipv4Addr>,
        name_servers: [Option<Ipv4Addr>; NAME_SERVERS],
        server: Ipv4Addr,
        lasts: Duration,
    },
    /// It did so again.
    LeaseRenewed { interface: InterfaceId, prefix: Prefix, lasts: Duration },
    /// The server was told that it can have the address again.
    LeaseReleased { interface: InterfaceId, prefix: Prefix, server: Ipv4Addr },
    /// It did, but the address can't be the interface's.
    LeaseUnusable { interface: InterfaceId, prefix: Prefix, error: Error },
    /// It expired, or the server took it back: the address is not used any more.
    LeaseEnded { interface: InterfaceId, prefix: Prefix },
    /// The listeners of a user have as many half-open connections as he may have: SYNs
    /// get cookies, or are dropped where there are none.
    HalfOpenShareFull { user: u32 },
    /// A packet met a rule that wants it written down.
    FilterLog(FilterLog),
}

/// A packet, as far as a log needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterLog {
    /// Which `log` statement, as the ruleset numbers them.
    pub statement: u32,
    pub hook: Hook,
    pub input: Option<InterfaceId>,
    pub output: Option<InterfaceId>,
    pub link: Option<ethernet::Header>,
    /// Source and destination.
    pub addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    pub protocol: Option<Protocol>,
    pub ports: Option<(u16, u16)>,
    /// Bytes, without the link header.
    pub length: usize,
    pub mark: u32,
}

/// What was done about a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictOutcome {
    /// The address was announced once more, and stays.
    Defended,
    /// The address is not used until it is removed and added again.
    GivenUp,
}
