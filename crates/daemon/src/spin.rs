//! Whether to stay awake a little when there is nothing to do.
//!
//! Waking a sleeping processor takes longer than a whole request and response, so while events
//! follow each other closely the daemon polls for a moment, giving way to programs that can run,
//! before it sleeps. When events come far apart that moment is wasted, and it sleeps at once.

use std::time::Duration;

/// How long one moment of polling may be.
pub(crate) const LIMIT: Duration = Duration::from_micros(50);

/// A sleep this short would have been cut by polling: the limit and the cost of being woken.
const WORTHWHILE: Duration = Duration::from_micros(90);

/// Waits in a row that must have been long before polling stops.
const MAX_CREDIT: u8 = 4;

/// Remembers how the last waits went.
#[derive(Debug, Default)]
pub(crate) struct Spin {
    credit: u8,
}

impl Spin {
    /// Is it likely that something comes within [`LIMIT`]?
    pub(crate) fn is_worthwhile(&self) -> bool {
        self.credit > 0
    }

    /// A wait, polled or slept, ended with something to do after `duration`.
    pub(crate) fn waited(&mut self, duration: Duration) {
        if duration <= WORTHWHILE {
            self.credit = (self.credit + 1).min(MAX_CREDIT);
        } else {
            self.credit = self.credit.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_only_while_events_follow_closely() {
        let mut spin = Spin::default();
        assert!(!spin.is_worthwhile());
        spin.waited(Duration::from_micros(20));
        assert!(spin.is_worthwhile());
        for _ in 0..100 {
            spin.waited(Duration::from_micros(80));
        }
        for _ in 0..MAX_CREDIT {
            assert!(spin.is_worthwhile());
            spin.waited(Duration::from_millis(10));
        }
        assert!(!spin.is_worthwhile());
    }
}
