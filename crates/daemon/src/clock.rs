//! The engine's time: nanoseconds since the daemon began.

use narrows_stack::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    pub(crate) fn now(&self) -> Instant {
        // 584 years fit.
        Instant::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }
}
