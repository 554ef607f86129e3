//! A session: one process's connection to the daemon, and requests over it.

use crate::error::{Error, OpenError};
use narrows_ipc::{Answer, Endpoint, Reply, Request, TransportError};
use rustix::{net::sockopt::socket_cookie, process::Resource};
use std::{
    os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd},
    path::Path,
};

/// The session's descriptor is moved up to here, out of the way of programs that count on low
/// numbers, unless so few may be open that this would not fit.
const LOWEST_DESCRIPTOR: i32 = 512;

/// Answers that may wait to be read: few enough for the daemon to write them without waiting.
const MOST_OWED: u32 = 32;

/// One connection to the daemon. Requests are answered in order.
#[derive(Debug)]
pub struct Session {
    endpoint: Endpoint,
    /// Answers to come that nobody waits for.
    owed: u32,
    /// The kernel's name for the session's socket, by which [`Session::is_intact`] knows it.
    cookie: u64,
}

impl Session {
    /// Opens a session with the daemon that listens at `path`.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let open = || {
            let endpoint = Endpoint::connect(path)?;
            let cookie = socket_cookie(&endpoint)?;
            Ok(Session { endpoint: moved_up(endpoint), owed: 0, cookie })
        };
        open().map_err(|error| OpenError::new(path.to_owned(), error))
    }

    /// Opens a session whose sockets are in one zone alone, of those that the program is admitted to.
    pub fn open_in(path: &Path, zone: &str) -> Result<Self, OpenError> {
        let mut session = Self::open(path)?;
        let path = path.to_owned();
        match session.ask(&Request::EnterZone { zone: zone.to_owned() }, None) {
            Ok(Reply::Refused(why)) => Err(OpenError::ZoneRefused { path, why }),
            Ok(_) => Ok(session),
            Err(Error::SessionEnded(source)) => Err(OpenError::Session { path, source }),
            Err(error) => Err(OpenError::ZoneRefused { path, why: error.to_string() }),
        }
    }

    /// Whether the session's descriptor is still the session's: programs that close every
    /// descriptor they don't know of close this one too, and the number may be in use again.
    pub fn is_intact(&self) -> bool {
        socket_cookie(&self.endpoint).is_ok_and(|cookie| cookie == self.cookie)
    }

    /// Ends a session that is not intact, leaving alone the descriptor that is not its own.
    pub fn abandon(self) {
        let _ = self.endpoint.into_socket().into_raw_fd();
    }

    /// Sends a request, about `anchor` if one is given, and waits for the answer.
    pub fn exchange(
        &mut self,
        request: &Request,
        anchor: Option<BorrowedFd<'_>>,
    ) -> Result<(Reply, Option<OwnedFd>), Error> {
        self.endpoint.send(request, anchor).map_err(Error::SessionEnded)?;
        self.settle()?;
        match self.endpoint.recv::<Answer>() {
            Ok(Some((Ok(reply), descriptor))) => Ok((reply, descriptor)),
            Ok(Some((Err(refusal), _))) => Err(refusal.into()),
            Err(TransportError::DescriptorLost) => Err(Error::TooManyOpenFiles),
            Ok(None) => Err(Error::UnexpectedAnswer),
            Err(error) => Err(Error::SessionEnded(error)),
        }
    }

    /// Sends a request about `anchor` that can't be refused, and does not wait for the answer.
    /// It is carried out before any later request, and before the daemon learns that the last
    /// copy of the anchor was closed: one travels with the request.
    pub fn post(&mut self, request: &Request, anchor: BorrowedFd<'_>) -> Result<(), Error> {
        if self.owed >= MOST_OWED {
            self.settle()?;
        }
        self.endpoint.send(request, Some(anchor)).map_err(Error::SessionEnded)?;
        self.owed += 1;
        Ok(())
    }

    /// Reads the answers that nobody waited for.
    fn settle(&mut self) -> Result<(), Error> {
        while self.owed > 0 {
            match self.endpoint.recv::<Answer>() {
                Ok(Some(_)) => self.owed -= 1,
                Ok(None) => return Err(Error::UnexpectedAnswer),
                Err(error) => return Err(Error::SessionEnded(error)),
            }
        }
        Ok(())
    }

    /// A request whose answer is a reply alone.
    pub(crate) fn ask(
        &mut self,
        request: &Request,
        anchor: Option<BorrowedFd<'_>>,
    ) -> Result<Reply, Error> {
        self.exchange(request, anchor).map(|(reply, _)| reply)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.endpoint.as_fd()
    }
}

/// The same endpoint on a high descriptor; on the one it has if there is no room higher up.
fn moved_up(endpoint: Endpoint) -> Endpoint {
    let limit = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let half = i32::try_from(limit / 2).unwrap_or(i32::MAX);
    match rustix::io::fcntl_dupfd_cloexec(&endpoint, LOWEST_DESCRIPTOR.min(half)) {
        Ok(socket) => Endpoint::new(socket),
        Err(_) => endpoint,
    }
}
