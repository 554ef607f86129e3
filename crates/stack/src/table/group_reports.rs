//! When to tell routers which groups are joined here: IGMP's timers (RFC 3376 §5). Invariant: one
//! answer and one change per group wait at a time, whatever routers ask.
//!
//! The table decides when and about what; the IGMP layer puts the words together from the filters as
//! they are then. So what changed while something waited is told right, and once.

use crate::{
    random::Random,
    table::{
        interface::InterfaceId,
        membership::{GroupKey, Transition},
    },
    time::{Duration, Instant},
};
use core::net::Ipv4Addr;
use narrows_wire::igmp::{Query, Version};
use std::collections::{BTreeMap, BTreeSet};

/// RFC 3376 §8.1: how often a change is told, unless the querier says otherwise.
const ROBUSTNESS: u8 = 2;
/// RFC 3376 §8.11, and RFC 2236 §8.10 for the older versions.
const UNSOLICITED_INTERVAL_V3_MILLIS: u32 = 1_000;
const UNSOLICITED_INTERVAL_MILLIS: u32 = 10_000;
/// RFC 3376 §8.12: robustness times the query interval, and a response interval.
const OLDER_QUERIER_PRESENT: Duration = Duration::from_secs(260);
/// A query may ask for answers at once. A storm of such gets one in this time: as long as others may
/// still wait in vain, none is sooner.
const MIN_DELAY_MILLIS: u32 = 50;
/// The shortest time that answers are spread over.
const MIN_RESPONSE_MILLIS: u32 = 100;
/// The longest that an answer is put off: what a router of version 1 means.
const MAX_RESPONSE_MILLIS: u32 = 3_174_400;

/// Whose timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The answer to a general query.
    General(InterfaceId),
    /// The answer to a query about a group.
    Response(GroupKey),
    /// Word of a change.
    Change(GroupKey),
}

/// What to tell now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Every group of the interface as it is.
    General(InterfaceId),
    /// A group as it is; with sources, only which of them are wanted.
    Response(GroupKey, BTreeSet<Ipv4Addr>),
    Change(GroupKey, Change),
}

/// What of a group changed (RFC 3376 §5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The mode, so the whole filter is told.
    Mode,
    /// Only these sources.
    Sources(BTreeSet<Ipv4Addr>),
}

/// What routers on a link have shown of themselves.
#[derive(Clone, Copy, Debug)]
struct Routers {
    v1_until: Instant,
    v2_until: Instant,
    robustness: u8,
}

/// A change that has to be told so many times more.
#[derive(Clone, Debug, Default)]
struct Pending {
    mode: u8,
    sources: BTreeMap<Ipv4Addr, u8>,
}

#[derive(Debug, Default)]
pub(crate) struct GroupReports {
    routers: BTreeMap<InterfaceId, Routers>,
    timers: BTreeMap<Timer, Instant>,
    deadlines: BTreeSet<(Instant, Timer)>,
    /// Sources that a query about a group names; none: it is about the group.
    asked: BTreeMap<GroupKey, BTreeSet<Ipv4Addr>>,
    changes: BTreeMap<GroupKey, Pending>,
}

impl GroupReports {
    /// The version to speak on a link: the oldest of its queriers (RFC 3376 §7.2.1).
    pub fn version(&self, now: Instant, interface: InterfaceId) -> Version {
        match self.routers.get(&interface) {
            Some(routers) if now < routers.v1_until => Version::V1,
            Some(routers) if now < routers.v2_until => Version::V2,
            _ => Version::V3,
        }
    }

    /// When `expire` next has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// An interface's filter for a group changed: that is to be told at once, and again.
    pub fn changed(&mut self, now: Instant, transition: &Transition) {
        let Transition { key, before, after } = transition;
        if before == after {
            return;
        }
        // RFC 2236 §3: a leave is said once.
        let old = self.version(now, key.0) != Version::V3;
        let times = if old && after.is_nobody() { 1 } else { self.robustness(key.0) };
        let pending = self.changes.entry(*key).or_default();
        if before.mode != after.mode {
            *pending = Pending { mode: times, sources: BTreeMap::new() };
        } else {
            for source in before.sources.symmetric_difference(&after.sources) {
                pending.sources.insert(*source, times);
            }
        }
        if after.is_nobody() {
            self.disarm(Timer::Response(*key));
            self.asked.remove(key);
        }
        self.arm(Timer::Change(*key), now);
    }

    /// A router asks. `joined`: is the group one of the interface's?
    pub fn asked(
        &mut self,
        now: Instant,
        random: &mut Random,
        interface: InterfaceId,
        query: &Query<'_>,
        joined: bool,
    ) {
        self.note_querier(now, interface, query);
        let longest = u32::from(query.max_response).saturating_mul(100);
        let longest = longest.clamp(MIN_RESPONSE_MILLIS, MAX_RESPONSE_MILLIS);
        let spread = millis(random, longest - MIN_DELAY_MILLIS);
        let at = now + Duration::from_millis(MIN_DELAY_MILLIS.into()) + spread;
        let general = Timer::General(interface);
        // RFC 3376 §5.2: an answer to everything that comes sooner is answer enough.
        if self.timers.get(&general).is_some_and(|due| *due <= at) {
            return;
        }
        if query.group.is_unspecified() {
            self.sooner(general, at);
            return;
        }
        if !joined {
            return;
        }
        let key = (interface, query.group);
        let waits = self.timers.contains_key(&Timer::Response(key));
        let sources: BTreeSet<_> = query.sources().collect();
        let asked = self.asked.entry(key).or_default();
        if sources.is_empty()
            || waits && asked.is_empty()
            || asked.len() + sources.len() > MAX_ASKED
        {
            asked.clear();
        } else {
            asked.extend(sources);
        }
        self.sooner(Timer::Response(key), at);
    }

    /// Another host reported the group, in an older version's words: once is enough for a link
    /// (RFC 2236 §3).
    pub fn heard(&mut self, now: Instant, key: GroupKey) {
        if self.version(now, key.0) != Version::V3 {
            self.disarm(Timer::Response(key));
            self.asked.remove(&key);
        }
    }

    /// Gives what is to be told now; call until it gives `None`.
    pub fn expire(&mut self, now: Instant, random: &mut Random) -> Option<Due> {
        let (deadline, timer) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.disarm(timer);
        match timer {
            Timer::General(interface) => Some(Due::General(interface)),
            Timer::Response(key) => {
                Some(Due::Response(key, self.asked.remove(&key).unwrap_or_default()))
            }
            Timer::Change(key) => {
                let pending = self.changes.get_mut(&key)?;
                let change = if pending.mode > 0 {
                    pending.mode -= 1;
                    Change::Mode
                } else {
                    let sources = pending.sources.keys().copied().collect();
                    pending.sources.values_mut().for_each(|times| *times -= 1);
                    pending.sources.retain(|_, times| *times > 0);
                    Change::Sources(sources)
                };
                if pending.mode > 0 || !pending.sources.is_empty() {
                    let interval = match self.version(now, key.0) {
                        Version::V3 => UNSOLICITED_INTERVAL_V3_MILLIS,
                        Version::V1 | Version::V2 => UNSOLICITED_INTERVAL_MILLIS,
                    };
                    self.arm(Timer::Change(key), now + millis(random, interval));
                } else {
                    self.changes.remove(&key);
                }
                Some(Due::Change(key, change))
            }
        }
    }

    /// An interface is gone.
    pub fn remove_interface(&mut self, interface: InterfaceId) {
        let is_there = |timer: &Timer| match timer {
            Timer::General(at) | Timer::Response((at, _)) | Timer::Change((at, _)) => {
                *at == interface
            }
        };
        self.timers.retain(|timer, _| !is_there(timer));
        self.deadlines.retain(|(_, timer)| !is_there(timer));
        self.routers.remove(&interface);
        self.asked.retain(|key, _| key.0 != interface);
        self.changes.retain(|key, _| key.0 != interface);
    }

    fn robustness(&self, interface: InterfaceId) -> u8 {
        self.routers.get(&interface).map_or(ROBUSTNESS, |routers| routers.robustness)
    }

    /// RFC 3376 §7.2.1. What waits in the words of another version is not said any more.
    fn note_querier(&mut self, now: Instant, interface: InterfaceId, query: &Query<'_>) {
        let before = self.version(now, interface);
        let routers = self.routers.entry(interface).or_insert(Routers {
            v1_until: Instant::ZERO,
            v2_until: Instant::ZERO,
            robustness: ROBUSTNESS,
        });
        let until = now + OLDER_QUERIER_PRESENT;
        match query.version {
            Version::V1 => routers.v1_until = until,
            Version::V2 => routers.v2_until = until,
            // RFC 3376 §4.1.6: zero says nothing.
            Version::V3 if query.robustness > 0 => routers.robustness = query.robustness,
            Version::V3 => {}
        }
        if self.version(now, interface) != before {
            let routers = self.routers.get(&interface).copied();
            self.remove_interface(interface);
            self.routers.extend(routers.map(|routers| (interface, routers)));
        }
    }

    fn sooner(&mut self, timer: Timer, at: Instant) {
        if self.timers.get(&timer).is_none_or(|due| at < *due) {
            self.arm(timer, at);
        }
    }

    fn arm(&mut self, timer: Timer, at: Instant) {
        self.disarm(timer);
        self.timers.insert(timer, at);
        self.deadlines.insert((at, timer));
    }

    fn disarm(&mut self, timer: Timer) {
        if let Some(at) = self.timers.remove(&timer) {
            self.deadlines.remove(&(at, timer));
        }
    }
}

/// Sources that queries about one group may name before it is answered as a whole.
const MAX_ASKED: usize = 256;

fn millis(random: &mut Random, below: u32) -> Duration {
    Duration::from_millis(random.below(below).into())
}

#[cfg(test)]
mod tests;
