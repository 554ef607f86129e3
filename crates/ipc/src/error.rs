//! Why a request was refused, and the only place that knows errno.

use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::io;

/// Why the daemon refused a request, or what became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    #[error("the descriptor is not a socket of this daemon")]
    NotASocket,
    #[error("not possible for this kind of socket, or in its state")]
    InvalidArgument,
    #[error("the operation is not supported for this socket")]
    NotSupported,
    #[error("no such option")]
    NoSuchOption,
    #[error("permission denied")]
    PermissionDenied,
    /// What the kernel says of sockets that need a capability.
    #[error("operation not permitted")]
    NotPermitted,
    #[error("the address is in use")]
    AddressInUse,
    #[error("there is one already")]
    AlreadyExists,
    #[error("there is none")]
    NoSuchEntry,
    #[error("no such interface")]
    NoSuchDevice,
    #[error("the frame is for no interface")]
    NoInterface,
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
    DestinationRequired,
    #[error("would block")]
    WouldBlock,
    #[error("network unreachable")]
    NetworkUnreachable,
    #[error("no route to host")]
    HostUnreachable,
    #[error("the host is down")]
    HostDown,
    #[error("the host is not on the network")]
    HostIsolated,
    #[error("the host does not speak the protocol")]
    ProtocolUnavailable,
    #[error("the host found an error in the packet's header")]
    ProtocolError,
    #[error("connection refused")]
    ConnectionRefused,
    #[error("connection reset by peer")]
    ConnectionReset,
    #[error("connection aborted")]
    ConnectionAborted,
    #[error("timed out")]
    TimedOut,
    #[error("broken pipe")]
    BrokenPipe,
    #[error("network is down")]
    NetworkDown,
    #[error("message too long")]
    MessageTooLong,
    #[error("no buffer space available")]
    NoBufferSpace,
    #[error("the interface is part of another, or others stand upon it")]
    InUse,
    #[error("the interface would stand upon itself")]
    LinkLoop,
    #[error("it is in a zone that this one is not admitted to")]
    OtherZone,
    #[error("the gateway is not on a link of its interface")]
    GatewayNotOnLink,
    #[error("the gateway is an address of this host")]
    GatewayIsOwn,
    #[error("the preferred source is not an address of this host")]
    SourceNotOwn,
    #[error("the kind of route and its next hops don't fit")]
    BadNextHop,
    #[error("a rule can only go to one of a higher preference")]
    GotoBackwards,
    #[error("the rule that looks up the local table is permanent")]
    RuleIsPermanent,
    #[error("an answer would leave by another interface")]
    ReversePath,
    #[error("the request could not be understood")]
    BadMessage,
}

impl Error {
    /// The number a program finds in `errno`.
    pub fn errno(self) -> i32 {
        let errno = match self {
            Error::NotASocket => Errno::NOTSOCK,
            Error::InvalidArgument => Errno::INVAL,
            Error::NotSupported => Errno::OPNOTSUPP,
            Error::NoSuchOption => Errno::NOPROTOOPT,
            Error::PermissionDenied => Errno::ACCESS,
            Error::NotPermitted => Errno::PERM,
            Error::AddressInUse => Errno::ADDRINUSE,
            Error::AlreadyExists => Errno::EXIST,
            Error::NoSuchEntry => Errno::NOENT,
            Error::NoSuchDevice => Errno::NODEV,
            Error::NoInterface => Errno::NXIO,
            Error::AddressNotAvailable => Errno::ADDRNOTAVAIL,
            Error::FamilyNotSupported => Errno::AFNOSUPPORT,
            Error::AlreadyConnected => Errno::ISCONN,
            Error::AlreadyInProgress => Errno::ALREADY,
            Error::NotConnected => Errno::NOTCONN,
            Error::DestinationRequired => Errno::DESTADDRREQ,
            Error::WouldBlock => Errno::AGAIN,
            // There is no such network for who is not admitted.
            Error::NetworkUnreachable | Error::OtherZone => Errno::NETUNREACH,
            Error::HostUnreachable => Errno::HOSTUNREACH,
            Error::HostDown => Errno::HOSTDOWN,
            Error::HostIsolated => Errno::NONET,
            Error::ProtocolUnavailable => Errno::NOPROTOOPT,
            Error::ProtocolError => Errno::PROTO,
            Error::ConnectionRefused => Errno::CONNREFUSED,
            Error::ConnectionReset => Errno::CONNRESET,
            Error::ConnectionAborted => Errno::CONNABORTED,
            Error::TimedOut => Errno::TIMEDOUT,
            Error::BrokenPipe => Errno::PIPE,
            Error::NetworkDown => Errno::NETDOWN,
            Error::MessageTooLong => Errno::MSGSIZE,
            Error::NoBufferSpace => Errno::NOBUFS,
            Error::InUse => Errno::BUSY,
            Error::LinkLoop => Errno::LOOP,
            Error::GatewayNotOnLink
            | Error::GatewayIsOwn
            | Error::SourceNotOwn
            | Error::BadNextHop
            | Error::GotoBackwards
            | Error::RuleIsPermanent => Errno::INVAL,
            Error::ReversePath => Errno::XDEV,
            Error::BadMessage => Errno::BADMSG,
        };
        errno.raw_os_error()
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::from_raw_os_error(error.errno())
    }
}
