//! Who watches packets pass.

use super::Shard;
use crate::{
    request::Principal,
    table::watch::{Audience, Record, Watch, WatcherId},
};

impl Shard {
    /// Tells somebody of packets from now on; `None`: as many watch as can.
    pub fn watch(&mut self, principal: Principal, watch: Watch) -> Option<WatcherId> {
        self.interfaces.touch();
        self.watchers.get_or_insert_default().add(principal, watch)
    }

    pub fn unwatch(&mut self, watcher: WatcherId) {
        self.interfaces.touch();
        if self.watchers.as_mut().is_some_and(|watchers| watchers.remove(watcher)) {
            self.watchers = None;
        }
    }

    /// What was seen, and whom to tell of it; `None` when all is told.
    #[must_use]
    pub fn poll_record(&mut self) -> Option<(Audience, Record)> {
        self.watchers.as_mut()?.pop()
    }

    /// Records that somebody lost because too many waited, since this was last asked.
    pub fn take_lost_records(&mut self, watcher: WatcherId) -> u64 {
        self.watchers.as_mut().map_or(0, |watchers| watchers.take_lost(watcher))
    }
}
