//! What has held text back, and for how long (Linux: tcpi_busy_time, tcpi_rwnd_limited and
//! tcpi_sndbuf_limited).

use super::connection::Connection;
use crate::time::{Duration, Instant};

/// What keeps more text from leaving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Held {
    /// There is none, and nothing is on its way.
    #[default]
    Idle,
    /// The path, or congestion control: what it should be.
    Busy,
    /// The peer's window.
    ByWindow,
    /// The program has more, and the send buffer does not take it.
    ByBuffer,
}

/// Adds times up, in microseconds; they stop after an hour and some of being held in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chronograph {
    held: Held,
    since: Instant,
    /// Of [`Held`]'s, but the first.
    totals: [u32; 3],
}

impl Chronograph {
    pub fn note(&mut self, now: Instant, held: Held) {
        if held == self.held {
            return;
        }
        if let Some(total) = self.index().and_then(|index| self.totals.get_mut(index)) {
            *total = total.saturating_add(micros(now.since(self.since)));
        }
        (self.held, self.since) = (held, now);
    }

    fn index(&self) -> Option<usize> {
        (self.held as usize).checked_sub(1)
    }

    pub fn total(&self, now: Instant, held: Held) -> Duration {
        let Some(index) = (held as usize).checked_sub(1) else { return Duration::ZERO };
        let past = Duration::from_micros(self.totals.get(index).copied().unwrap_or(0).into());
        if self.held == held { past + now.since(self.since) } else { past }
    }

    /// As Linux, however it was held.
    pub fn busy(&self, now: Instant) -> Duration {
        [Held::Busy, Held::ByWindow, Held::ByBuffer].map(|held| self.total(now, held)).iter().sum()
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

impl Connection {
    /// After anything that could matter to it.
    pub(super) fn note_holding(&mut self, now: Instant) {
        let (outstanding, unsent) = (self.snd.outstanding(), self.snd.unsent());
        let held = if outstanding == 0 && unsent == 0 {
            Held::Idle
        } else if unsent == 0 && self.edges.is_starved() {
            Held::ByBuffer
        } else if unsent > 0
            && self.snd.window_room() < unsent.min(self.segment())
            && self.in_flight() < self.congestion.window
        {
            Held::ByWindow
        } else {
            Held::Busy
        };
        self.chronograph.note(now, held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_for_what_held_it() {
        let at = Instant::from_millis;
        let ms = Duration::from_millis;
        let mut chronograph = Chronograph::default();
        for (millis, held) in [
            (10, Held::Busy),
            (15, Held::ByWindow),
            (45, Held::Busy),
            (50, Held::ByBuffer),
            (57, Held::Idle),
            (1000, Held::Busy),
        ] {
            chronograph.note(at(millis), held);
        }
        let now = at(1003);
        assert_eq!(chronograph.total(now, Held::ByWindow), ms(30));
        assert_eq!(chronograph.total(now, Held::ByBuffer), ms(7));
        assert_eq!(chronograph.busy(now), ms(47 + 3));
    }
}
