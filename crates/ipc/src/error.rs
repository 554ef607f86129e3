//! Why a request was refused, and the only place that knows errno.

use serde::{Deserialize, Serialize};

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
    #[error("the address is in use")]
    AddressInUse,
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
    #[error("would block")]
    WouldBlock,
    #[error("network unreachable")]
    NetworkUnreachable,
    #[error("no route to host")]
    HostUnreachable,
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
    #[error("the request could not be understood")]
    BadMessage,
}
