//! The daemon, as a program sees it.

use crate::{
    error::{Error, OpenError},
    session::Session,
};
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// A session shared by a program's threads and sockets. Clones are the same session.
#[derive(Clone, Debug)]
pub struct Stack {
    session: Arc<Mutex<Session>>,
}

impl Stack {
    /// Opens a session with the daemon at `path`, or where [`narrows_ipc::socket_path`] says.
    pub fn connect(path: Option<&Path>) -> Result<Self, OpenError> {
        let session = Session::open(&narrows_ipc::socket_path(path))?;
        Ok(Stack { session: Arc::new(Mutex::new(session)) })
    }

    /// The same, in one zone alone of those that the program is admitted to: its wildcard, its ways and
    /// its addresses are that zone's.
    pub fn connect_in(path: Option<&Path>, zone: &str) -> Result<Self, OpenError> {
        let session = Session::open_in(&narrows_ipc::socket_path(path), zone)?;
        Ok(Stack { session: Arc::new(Mutex::new(session)) })
    }

    /// Has the session for the length of one call; others wait.
    pub(crate) fn with<T>(
        &self,
        call: impl FnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // A panic can't leave a session half changed: its only state is in the kernel.
        call(&mut self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
