//! On whose account neighbor entries are. Invariant: each entry is on one account, and an account without
//! entries is none.

use super::{
    NeighborKey, Payer,
    state::{Entry, State, Worth},
};
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default)]
pub(super) struct Shares(BTreeMap<Payer, Share>);

#[derive(Clone, Debug, Default)]
struct Share {
    entries: usize,
    incomplete: usize,
    /// Entries that may go, the first one first.
    expendable: BTreeSet<(Worth, Instant, NeighborKey)>,
}

impl Shares {
    pub(super) fn put(&mut self, key: NeighborKey, entry: &Entry) {
        let share = self.0.entry(entry.payer).or_default();
        share.entries += 1;
        share.incomplete += usize::from(matches!(entry.state, State::Incomplete { .. }));
        if let Some(worth) = entry.state.worth() {
            share.expendable.insert((worth, entry.updated, key));
        }
    }

    pub(super) fn take(&mut self, key: NeighborKey, entry: &Entry) {
        let Some(share) = self.0.get_mut(&entry.payer) else { return };
        share.entries -= 1;
        share.incomplete -= usize::from(matches!(entry.state, State::Incomplete { .. }));
        if let Some(worth) = entry.state.worth() {
            share.expendable.remove(&(worth, entry.updated, key));
        }
        if share.entries == 0 {
            self.0.remove(&entry.payer);
        }
    }

    pub(super) fn incomplete_of(&self, payer: Payer) -> usize {
        self.0.get(&payer).map_or(0, |share| share.incomplete)
    }

    /// The first to go of the largest account that has any. It is looked for among all: that is asked for
    /// new entries of a full table alone.
    pub(super) fn first_to_go(&self) -> Option<NeighborKey> {
        let able = self.0.values().filter(|share| !share.expendable.is_empty());
        let largest = able.max_by_key(|share| share.entries)?;
        largest.expendable.first().map(|(_, _, key)| *key)
    }

    /// Entries that may go.
    #[cfg(test)]
    pub(super) fn expendable(&self) -> usize {
        self.0.values().map(|share| share.expendable.len()).sum()
    }

    #[cfg(test)]
    pub(super) fn entries_of(&self, payer: Payer) -> usize {
        self.0.get(&payer).map_or(0, |share| share.entries)
    }
}
