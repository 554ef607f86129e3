//! What happened to flows, for who asked to be told: as many as fit, and how many did not.

use super::table::Listed;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    New,
    /// It is in another state, or assured.
    Update,
    Destroy,
}

/// Changes that wait: of some seconds of a busy host.
const ROOM: usize = 8192;
/// Who has not asked for so long has gone.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Watch {
    changes: VecDeque<(Change, Listed)>,
    /// Of the first that is there.
    first: u64,
    asked: Option<Instant>,
}

/// What happened since.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct News {
    pub changes: Vec<(Change, Listed)>,
    /// What to ask from next.
    pub next: u64,
    /// There was more than could be kept.
    pub lost: u64,
}

impl Watch {
    pub(super) fn is_on(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn push(&mut self, change: Change, flow: Listed) {
        if self.changes.len() >= ROOM {
            self.changes.pop_front();
            self.first += 1;
        }
        self.changes.push_back((change, flow));
    }

    /// At most `limit` changes from the number `after` on; `None`: from now on.
    pub fn since(&mut self, now: Instant, after: Option<u64>, limit: usize) -> News {
        self.asked = Some(now);
        let end = self.first + self.changes.len() as u64;
        let from = after.unwrap_or(end).clamp(self.first, end);
        let lost = after.map_or(0, |after| self.first.saturating_sub(after));
        let skip = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        let changes: Vec<_> = self.changes.iter().skip(skip).take(limit).cloned().collect();
        News { next: from + changes.len() as u64, changes, lost }
    }

    /// Nobody has asked for long: nothing more is kept.
    pub(crate) fn rest(&mut self, now: Instant) {
        if self.asked.is_some_and(|asked| now.since(asked) > PATIENCE) {
            let end = self.first + self.changes.len() as u64;
            *self = Self { first: end, ..Self::default() };
        }
    }
}
