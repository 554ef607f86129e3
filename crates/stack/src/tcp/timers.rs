//! The deadlines of a connection. They are plain fields: the caller keeps one entry in its wheel
//! for the earliest, and finds out when that fires whether something is really due.

use crate::time::Instant;

/// What the one timer of the sending side is waiting for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Waiting {
    #[default]
    Nothing,
    /// RFC 6298: the oldest unacknowledged octet.
    Timeout,
    /// RFC 8985 §7: the end of a flight is overdue, and nothing follows that could tell.
    TailProbe,
    /// RFC 8985 §6.3: a segment is overtaken, but perhaps only reordered.
    Reordering,
    /// RFC 9293 §3.8.6.1: text waits, nothing is outstanding, and the peer's window (or our own
    /// politeness about small segments) forbids to send it.
    Persist,
    /// Text may leave, nothing is outstanding, and the device takes none: only a program that set a
    /// limit to its patience needs to be told.
    Device,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timers {
    waiting: Waiting,
    sending: Instant,
    /// When the retransmission timeout was last started (RFC 6298 §5.1, §5.3).
    pub started: Instant,
    pub delayed_ack: Instant,
    /// Keepalive, or the end of FIN-WAIT-2 or TIME-WAIT: whichever the phase asks for.
    pub lifetime: Instant,
}

impl Timers {
    pub fn new(now: Instant) -> Self {
        Self {
            waiting: Waiting::Nothing,
            sending: Instant::NEVER,
            started: now,
            delayed_ack: Instant::NEVER,
            lifetime: Instant::NEVER,
        }
    }

    pub fn waiting(&self) -> Waiting {
        self.waiting
    }

    pub fn wait(&mut self, waiting: Waiting, until: Instant) {
        (self.waiting, self.sending) = (waiting, until);
    }

    pub fn stop_waiting(&mut self) {
        self.wait(Waiting::Nothing, Instant::NEVER);
    }

    /// Takes what the sending side waited for, if its time has come.
    pub fn expired(&mut self, now: Instant) -> Waiting {
        if now < self.sending {
            return Waiting::Nothing;
        }
        let waiting = self.waiting;
        self.stop_waiting();
        waiting
    }

    pub fn stop(&mut self) {
        *self = Self::new(self.started);
    }

    pub fn earliest(&self) -> Option<Instant> {
        let earliest = self.sending.min(self.delayed_ack).min(self.lifetime);
        (earliest != Instant::NEVER).then_some(earliest)
    }
}

/// Takes a deadline that has passed.
pub(super) fn take_due(deadline: &mut Instant, now: Instant) -> bool {
    let due = now >= *deadline && *deadline != Instant::NEVER;
    if due {
        *deadline = Instant::NEVER;
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Instant = Instant::from_millis;

    #[test]
    fn the_earliest_is_the_one_that_counts() {
        let mut timers = Timers::new(AT(0));
        assert_eq!(timers.earliest(), None);
        timers.lifetime = AT(9);
        timers.wait(Waiting::Timeout, AT(5));
        timers.delayed_ack = AT(7);
        assert_eq!(timers.earliest(), Some(AT(5)));
        assert_eq!(timers.expired(AT(4)), Waiting::Nothing);
        assert_eq!(timers.expired(AT(5)), Waiting::Timeout);
        assert_eq!(timers.waiting(), Waiting::Nothing);
        assert_eq!(timers.earliest(), Some(AT(7)));
        assert!(!take_due(&mut timers.delayed_ack, AT(6)));
        assert!(take_due(&mut timers.delayed_ack, AT(8)));
        assert!(!take_due(&mut timers.delayed_ack, Instant::NEVER));
        assert_eq!(timers.earliest(), Some(AT(9)));
        timers.stop();
        assert_eq!(timers.earliest(), None);
    }
}
