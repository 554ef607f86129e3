//! What the operator makes of entries.

use super::{
    DELAY_FIRST_PROBE, NeighborKey, NeighborTable, PendingDatagram,
    state::{Entry, State},
};
use crate::time::{Duration, Instant};
use narrows_wire::address::MacAddr;
use std::collections::VecDeque;

/// What the operator makes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborSetting {
    /// Never changes and is never let go.
    Permanent,
    /// Is not changed by what arrives, and may be let go for want of room.
    NoArp,
    /// As if it had just answered.
    Reachable,
    Stale,
    Delay,
    Probe,
}

/// What a change may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborMode {
    /// There must be no entry.
    Create,
    /// There must be one.
    Change,
    Replace,
}

/// One call of the operator about one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborChange {
    pub mac: MacAddr,
    pub setting: NeighborSetting,
    pub mode: NeighborMode,
}

/// Why an entry could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetError {
    Exists,
    Missing,
    Full,
}

impl NeighborTable {
    /// Sets an entry as the operator says, and gives what waited for it. `reachable`: how long one
    /// set to [`NeighborSetting::Reachable`] is so.
    pub(crate) fn set(
        &mut self,
        now: Instant,
        limit: usize,
        key: NeighborKey,
        NeighborChange { mac, setting, mode }: NeighborChange,
        reachable: Duration,
    ) -> Result<VecDeque<PendingDatagram>, SetError> {
        match (mode, self.entries.contains_key(&key)) {
            (NeighborMode::Create, true) => return Err(SetError::Exists),
            (NeighborMode::Change, false) => return Err(SetError::Missing),
            (NeighborMode::Create | NeighborMode::Replace, false) if !self.make_room(limit) => {
                return Err(SetError::Full);
            }
            _ => {}
        }
        let state = match setting {
            NeighborSetting::Permanent => State::Fixed { mac, permanent: true },
            NeighborSetting::NoArp => State::Fixed { mac, permanent: false },
            NeighborSetting::Reachable => State::Reachable { mac, until: now + reachable },
            NeighborSetting::Stale => State::Stale { mac },
            NeighborSetting::Delay => State::Delay { mac, until: now + DELAY_FIRST_PROBE },
            // The first question is put when the table is next looked at, which is at once.
            NeighborSetting::Probe => State::Probe { mac, tries: 0, ask_again: now },
        };
        Ok(self.replace(key, Entry::new(state, now)))
    }

    /// Forgets an entry, and gives what waited for it; `None`: there is none.
    pub(crate) fn remove(&mut self, key: NeighborKey) -> Option<VecDeque<PendingDatagram>> {
        match self.take(key)?.state {
            State::Incomplete { pending, .. } => Some(pending),
            _ => Some(VecDeque::new()),
        }
    }
}
