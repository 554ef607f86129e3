//! Ctrl-C and its kin, for programs that have something to say or to clean up at their end.

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    flag,
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a wait goes on before it looks again.
const GLANCE: Duration = Duration::from_millis(20);

/// Raised by SIGINT, SIGTERM, SIGQUIT and SIGHUP, which end the program no more: it has to look.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on the signals raise it.
    pub fn new() -> io::Result<Self> {
        let raised = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP] {
            flag::register(signal, raised.clone())?;
        }
        Ok(Self(raised))
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps, but not past an interrupt.
    pub fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now())
            && !self.is_raised()
        {
            thread::sleep(left.min(GLANCE));
        }
    }
}
