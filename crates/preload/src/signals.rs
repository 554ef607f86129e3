//! Signals: kept away while the session is in use, and how they interrupt.

use libc::{c_int, c_void};
use std::{mem::MaybeUninit, ptr};

/// Linux's signal set: one bit each for 64 signals. Not the C library's `sigset_t`, whose
/// functions leave out the two signals it uses itself, for cancelling threads among others.
type SignalSet = u64;

/// While it lives, no signal is delivered to this thread.
pub struct Blocked {
    before: SignalSet,
}

impl Blocked {
    pub fn new() -> Self {
        let mut before = 0;
        mask(&SignalSet::MAX, &mut before);
        Blocked { before }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        mask(&self.before, &mut 0);
    }
}

fn mask(set: &SignalSet, before: &mut SignalSet) {
    let kept = crate::kernel::errno();
    // SAFETY: both pointers are to sets of the size said. It can't fail with these arguments.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::from_ref(set).cast::<c_void>(),
            ptr::from_mut(before).cast::<c_void>(),
            size_of::<SignalSet>(),
        );
    }
    crate::kernel::set_errno(kept);
}

/// Signals that a thread raises by what it executes; they don't interrupt calls.
const FAULTS: [c_int; 6] =
    [libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGSYS, libc::SIGTRAP];

/// Whether every handler the program has installed asks for interrupted calls to go on
/// (`SA_RESTART`). `poll` never does by itself, where `connect` would.
pub fn interrupted_calls_go_on() -> bool {
    (1..=libc::SIGRTMAX()).filter(|signal| !FAULTS.contains(signal)).filter_map(handler).all(
        |action| {
            let unhandled = [libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction);
            unhandled || action.sa_flags & libc::SA_RESTART != 0
        },
    )
}

/// What the program does about a signal; `None` for those the C library keeps for itself.
fn handler(signal: c_int) -> Option<libc::sigaction> {
    let mut action = MaybeUninit::uninit();
    // SAFETY: no new action is given, and the pointer is to room for the old one.
    let known = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } == 0;
    // SAFETY: filled in when the call succeeded.
    known.then(|| unsafe { action.assume_init() })
}
