//! What can go wrong between a program and the daemon.

use narrows_ipc::{TransportError, VERSION};
use std::{io, path::PathBuf};

/// Why no session with the daemon could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("no Narrows daemon listens at {}; start one with `narrows up`", path.display())]
    NotRunning { path: PathBuf },
    #[error("no permission to use the Narrows daemon at {}", path.display())]
    PermissionDenied { path: PathBuf },
    #[error(
        "the Narrows daemon at {} speaks version {daemon} of the protocol, \
         this program version {VERSION}: use programs of one release",
        path.display()
    )]
    VersionMismatch { path: PathBuf, daemon: u32 },
    #[error("the Narrows daemon at {}: {why}", path.display())]
    ZoneRefused { path: PathBuf, why: String },
    #[error("no session with the Narrows daemon at {}: {source}", path.display())]
    Session { path: PathBuf, source: TransportError },
}

impl OpenError {
    pub(crate) fn new(path: PathBuf, error: TransportError) -> Self {
        match error {
            TransportError::VersionMismatch { daemon } => {
                OpenError::VersionMismatch { path, daemon }
            }
            TransportError::Io(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    OpenError::NotRunning { path }
                }
                io::ErrorKind::PermissionDenied => OpenError::PermissionDenied { path },
                _ => OpenError::Session { path, source: TransportError::Io(error) },
            },
            source => OpenError::Session { path, source },
        }
    }
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        let kind = match error {
            OpenError::PermissionDenied { .. } | OpenError::ZoneRefused { .. } => {
                io::ErrorKind::PermissionDenied
            }
            _ => io::ErrorKind::NetworkDown,
        };
        io::Error::new(kind, error)
    }
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon's answer.
    #[error(transparent)]
    Refused(#[from] narrows_ipc::Error),
    /// The daemon's answer in words.
    #[error("{0}")]
    RefusedBecause(String),
    /// Too many open files here: the new socket could not be received.
    #[error("too many open files")]
    TooManyOpenFiles,
    /// The session is over; the daemon has gone or is of another mind about the protocol.
    #[error("the session with the Narrows daemon ended: {0}")]
    SessionEnded(TransportError),
    /// The daemon answered something else than what was asked.
    #[error("the Narrows daemon gave an answer that does not fit the request")]
    UnexpectedAnswer,
}

impl Error {
    /// The number a program finds in `errno`.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Refused(error) => error.errno(),
            Error::RefusedBecause(_) => narrows_ipc::Error::InvalidArgument.errno(),
            Error::TooManyOpenFiles => rustix::io::Errno::MFILE.raw_os_error(),
            Error::SessionEnded(_) | Error::UnexpectedAnswer => {
                narrows_ipc::Error::NetworkDown.errno()
            }
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::from_raw_os_error(error.errno())
    }
}
