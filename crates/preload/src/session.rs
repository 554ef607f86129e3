//! The process's session with the daemon, and the daemons it has known.
//!
//! Opened at the first need. A forked child opens its own, because its principal is another and
//! because two processes can't share one session's order of answers. When the daemon has ended
//! the session, one attempt is made to open another.

use crate::{kernel, signals};
use narrows_client::{
    Error, OpenError, Session,
    ipc::{self, path::ZONE_VARIABLE},
};
use rustix::io::Errno;
use std::{
    cell::UnsafeCell,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

/// What is behind the lock.
struct State {
    session: Option<Session>,
    /// The process that opened it. Processes made without `fork`'s handlers are told by this.
    process: u32,
    /// The user and group it was opened as: a program that drops its privileges drops them here too.
    user: (u32, u32),
}

static STATE: Mutex<State> = Mutex::new(State { session: None, process: 0, user: (0, 0) });

/// Daemons whose anchors this process may hold, newest first: after a daemon was restarted, what
/// is left of the earlier one's sockets must still be known as such.
static DAEMONS: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];

/// The socket's path, found when the shim is loaded: programs change their environment later.
static PATH: OnceLock<PathBuf> = OnceLock::new();

/// The zone that the program is to be in, if it was started so.
static ZONE: OnceLock<Option<String>> = OnceLock::new();

/// Whether the program was told that the daemon can't be reached: once is enough.
static COMPLAINED: AtomicBool = AtomicBool::new(false);

/// Prepares what must not wait until a signal handler or a forked child needs it.
pub fn prepare() {
    PATH.get_or_init(|| ipc::socket_path(None));
    zone();
    kernel::at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/// Makes one request, or several, over the session. No signal is delivered meanwhile.
pub fn with<T>(call: impl Fn(&mut Session) -> Result<T, Error>) -> Result<T, Errno> {
    let _blocked = signals::Blocked::new();
    let mut state = lock();
    state.check();
    let fresh = state.session.is_none();
    match state.call(&call) {
        // The daemon may have been started again since the last request.
        Err(Failure::Ended) if !fresh => state.call(&call),
        other => other,
    }
    .map_err(|failure| match failure {
        Failure::Ended => Errno::NETDOWN,
        Failure::Errno(errno) => errno,
    })
}

/// Whether the descriptor is an anchor, by who made the pair it is of.
pub fn is_anchor(fd: BorrowedFd<'_>) -> bool {
    let Some(process) = kernel::peer_process(fd) else { return false };
    if is_daemon(process) {
        return true;
    }
    // A program that was executed with anchors open has not met the daemon yet.
    let met_none = DAEMONS.iter().all(|daemon| daemon.load(Ordering::Relaxed) == 0);
    met_none && meet() && is_daemon(process)
}

/// Whether an anchor is of the daemon that the session is with, not of an earlier one.
pub fn is_current(anchor: BorrowedFd<'_>) -> bool {
    let current = DAEMONS[0].load(Ordering::Relaxed);
    kernel::peer_process(anchor).is_some_and(|process| process == current)
}

fn is_daemon(process: u32) -> bool {
    DAEMONS.iter().any(|daemon| daemon.load(Ordering::Relaxed) == process)
}

/// Opens the session for its own sake; whether there is one.
fn meet() -> bool {
    let _blocked = signals::Blocked::new();
    let mut state = lock();
    state.check();
    state.session.is_some() || state.open().is_ok()
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Failure {
    /// The daemon has gone.
    Ended,
    Errno(Errno),
}

impl State {
    /// Lets go of a session that is another process's or another user's, or whose descriptor the
    /// program closed.
    fn check(&mut self) {
        let Some(session) = &self.session else { return };
        let intact = session.is_intact();
        if intact && self.process == std::process::id() && self.user == user() {
            return;
        }
        if let Some(session) = self.session.take() {
            if intact { drop(session) } else { session.abandon() }
        }
    }

    fn call<T>(&mut self, call: &impl Fn(&mut Session) -> Result<T, Error>) -> Result<T, Failure> {
        if self.session.is_none() {
            self.open().map_err(|error| complain(&error))?;
        }
        let session = self.session.as_mut().ok_or(Failure::Ended)?;
        match call(session) {
            Ok(value) => Ok(value),
            Err(Error::SessionEnded(_) | Error::UnexpectedAnswer) => {
                self.session = None;
                Err(Failure::Ended)
            }
            Err(error) => Err(Failure::Errno(Errno::from_raw_os_error(error.errno()))),
        }
    }

    fn open(&mut self) -> Result<(), OpenError> {
        let path = PATH.get_or_init(|| ipc::socket_path(None));
        let session = match zone() {
            Some(zone) => Session::open_in(path, zone)?,
            None => Session::open(path)?,
        };
        if let Some(daemon) = kernel::peer_process(session.as_fd()) {
            note_daemon(daemon);
        }
        self.session = Some(session);
        self.process = std::process::id();
        self.user = user();
        Ok(())
    }
}

fn zone() -> Option<&'static str> {
    // What is no text names no zone: the daemon refuses it.
    let read = || Some(std::env::var_os(ZONE_VARIABLE)?.to_string_lossy().into_owned());
    ZONE.get_or_init(|| read().filter(|zone| !zone.is_empty())).as_deref()
}

/// What the daemon will find the session's user and group to be.
fn user() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Puts a daemon first in the list. Only called with the lock held.
fn note_daemon(daemon: u32) {
    let mut pushed = daemon;
    for known in &DAEMONS {
        let old = known.swap(pushed, Ordering::Relaxed);
        if old == daemon || old == 0 {
            return;
        }
        pushed = old;
    }
}

/// One line for the user, the first time; the errno for the program.
fn complain(error: &OpenError) -> Failure {
    if let OpenError::Session { source: ipc::TransportError::Io(source), .. } = error
        && let Some(errno) = Errno::from_io_error(source)
        && matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM)
    {
        return Failure::Errno(errno);
    }
    if !COMPLAINED.swap(true, Ordering::Relaxed) {
        kernel::print_error(&error.to_string());
    }
    Failure::Errno(match error {
        OpenError::ZoneRefused { .. } => Errno::ACCESS,
        _ => Errno::NETDOWN,
    })
}

/// Where the lock is kept across a fork, so that the child finds it in order.
struct Held(UnsafeCell<Option<(MutexGuard<'static, State>, signals::Blocked)>>);

// SAFETY: only touched by the thread that forks, between taking the lock and letting go of it:
// the lock itself keeps others away.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

extern "C" fn before_fork() {
    let blocked = signals::Blocked::new();
    let state = lock();
    // SAFETY: this thread has the lock.
    unsafe { *HELD.0.get() = Some((state, blocked)) };
}

extern "C" fn after_fork_in_parent() {
    // SAFETY: this thread has had the lock since before_fork.
    drop(unsafe { (*HELD.0.get()).take() });
}

extern "C" fn after_fork_in_child() {
    // SAFETY: as in the parent, and this is the only thread.
    let mut held = unsafe { (*HELD.0.get()).take() };
    if let Some((state, _)) = &mut held {
        // The parent's session: this process's copy of its descriptor is closed.
        state.process = 0;
        state.check();
    }
}
