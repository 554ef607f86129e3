//! Why something is refused.

use crate::table::route::RouteError;

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
