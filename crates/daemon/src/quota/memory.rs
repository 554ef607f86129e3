//! Who pays when memory for buffers and queues becomes short: the largest over its share, first by not
//! growing, then with what its peers have to send again anyway, at last with its largest connection.
//! Everybody else goes on as if there were enough.
//!
//! | what is there | who | pays by |
//! |---|---|---|
//! | more than three quarters of what a user may have | he | being squeezed |
//! | more than three quarters of what all may have | who has more than his share of that | being squeezed |
//! | more than all may have | who has most | what he holds out of order |
//! | the same when looked at again | who has most | a reset of his largest connection |
//!
//! *Squeezed* are those whose buffers don't grow beyond what a connection begins with, and who get no
//! new sockets. A share is an equal part for each who has anything. It ends when a user has less
//! than two thirds of what it began at.
//!
//! The sum of TCP's buffers is known at any time, so looking at each socket costs nothing until there
//! is something to be seen; sockets of datagrams count as if their queues were full.

use super::Bills;
use crate::worker::Worker;
use narrows_ipc::Error;
use narrows_stack::{Holding, Instant, request::Request};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Between two looks: long enough for what was asked of peers and programs to show.
const INTERVAL: Duration = Duration::from_millis(100);

/// So many sockets more make the interval longer by as much again: a look takes a few milliseconds
/// for them, and so never more than a few hundredths of the time.
const SOCKETS_PER_INTERVAL: usize = 50_000;

/// What a socket's queue of datagrams may have come to since the last look.
const QUEUE: u64 = 212_992;

/// When to look, and how short memory was when that was last done.
#[derive(Debug)]
pub(crate) struct Watch {
    next_look: Option<Instant>,
    /// It was too much even so.
    short: bool,
    /// What all may have if the configuration doesn't say.
    pub usual: u64,
}

/// What there is to do, by user.
#[derive(Debug, Default, PartialEq, Eq)]
struct Measures {
    squeezed: BTreeSet<u32>,
    prune: Option<u32>,
    reset: Option<u32>,
    short: bool,
}

/// What each user has, may have, and whether he is squeezed.
#[derive(Clone, Copy, Debug)]
struct Share {
    bytes: u64,
    quota: u64,
    squeezed: bool,
}

fn measures(shares: &BTreeMap<u32, Share>, all: u64, was_short: bool) -> Measures {
    let total: u64 = shares.values().map(|share| share.bytes).fold(0, u64::saturating_add);
    let holders = shares.values().filter(|share| share.bytes > 0).count().max(1) as u64;
    let equal = three_quarters(all) / holders;
    let tight = total > three_quarters(all);
    let pays = |share: &Share| {
        let (own, equal) = (three_quarters(share.quota), equal);
        match share.squeezed {
            false => share.bytes > own || tight && share.bytes > equal,
            true => share.bytes > own / 3 * 2 || share.bytes > equal / 3 * 2 && total > all / 2,
        }
    };
    let squeezed = shares.iter().filter(|(_, share)| pays(share)).map(|(user, _)| *user).collect();
    let short = total > all;
    let largest = shares.iter().max_by_key(|(_, share)| share.bytes).map(|(user, _)| *user);
    Measures {
        squeezed,
        prune: largest.filter(|_| short),
        reset: largest.filter(|_| short && was_short),
        short,
    }
}

/// Of a machine of which nothing is known.
impl Default for Watch {
    fn default() -> Self {
        Self { next_look: None, short: false, usual: u64::MAX }
    }
}

impl Watch {
    /// When to look again, though nothing may happen before.
    pub(crate) fn next_look(&self, bills: &Bills) -> Option<Instant> {
        self.next_look.filter(|_| bills.is_anybody_squeezed())
    }
}

fn three_quarters(bytes: u64) -> u64 {
    bytes - bytes / 4
}

impl Bills {
    fn all_buffer_bytes(&self, usual: u64) -> u64 {
        self.quotas.all_buffer_bytes.unwrap_or(usual)
    }

    /// With how much held there may be somebody who has too much.
    fn first_concern(&self, usual: u64) -> u64 {
        let all = self.all_buffer_bytes(usual);
        let quotas = self.bills.iter().map(|bill| bill.quota.buffer_bytes);
        quotas.fold(three_quarters(all), |least, quota| least.min(three_quarters(quota)))
    }

    fn shares(&self, holding: impl Fn(u32) -> Option<Holding>) -> BTreeMap<u32, Share> {
        let bills = self.bills.iter();
        bills
            .map(|bill| {
                let bytes = holding(bill.user).map_or(0, |holding| holding.bytes as u64);
                let (quota, squeezed) = (bill.quota.buffer_bytes, bill.squeezed);
                (bill.user, Share { bytes, quota, squeezed })
            })
            .collect()
    }

    /// Notes who is squeezed; who was not before, and who is not any more.
    pub(super) fn squeeze(&mut self, squeezed: &BTreeSet<u32>) -> Vec<(u32, bool)> {
        let mut changed = Vec::new();
        for bill in &mut self.bills {
            let now = squeezed.contains(&bill.user);
            if std::mem::replace(&mut bill.squeezed, now) != now {
                changed.push((bill.user, now));
            }
        }
        changed
    }

    fn is_anybody_squeezed(&self) -> bool {
        self.bills.iter().any(|bill| bill.squeezed)
    }
}

/// Looks who has too much, if it is time and there may be somebody, and does about it what has to be
/// done.
pub(crate) fn relieve(worker: &mut Worker, now: Instant) {
    if worker.memory.next_look.is_some_and(|at| now < at) {
        return;
    }
    let anchors = worker.anchors.len();
    let most = (worker.shard.buffered_bytes() as u64).saturating_add(anchors as u64 * QUEUE);
    let usual = worker.memory.usual;
    if most <= worker.bills.first_concern(usual) && !worker.bills.is_anybody_squeezed() {
        return;
    }
    let stretch = u32::try_from(1 + anchors / SOCKETS_PER_INTERVAL).unwrap_or(u32::MAX);
    worker.memory.next_look = Some(now + INTERVAL.saturating_mul(stretch));
    let holdings = worker.shard.holdings();
    let shares = worker.bills.shares(|user| holdings.get(&user).copied());
    let measures = measures(&shares, worker.bills.all_buffer_bytes(usual), worker.memory.short);
    worker.memory.short = measures.short;
    for (user, squeezed) in worker.bills.squeeze(&measures.squeezed) {
        let bytes = shares.get(&user).map_or(0, |share| share.bytes);
        match squeezed {
            true => tracing::warn!(user, bytes, "has too much in buffers: they grow no more"),
            false => {
                tracing::info!(user, bytes, "buffers may grow again");
                worker.shard.squeeze(now, user, false);
            }
        }
    }
    for user in &measures.squeezed {
        // With what he has accepted or set since the last look.
        worker.shard.squeeze(now, *user, true);
    }
    if let Some(user) = measures.prune {
        worker.shard.prune(user);
    }
    let largest = |user: u32| holdings.get(&user)?.largest;
    if let Some((user, (socket, bytes))) =
        measures.reset.and_then(|user| Some((user, largest(user)?)))
    {
        tracing::error!(user, bytes, "memory is short: his largest connection is reset");
        worker.metrics.resets_for_memory += 1;
        match worker.anchors.get(socket) {
            Some(_) => worker.break_off(socket, Error::NoBufferSpace),
            None => worker.request_quietly(Request::Abort { socket }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// User, bytes, quota, whether squeezed.
    type Held = (u32, u64, u64, bool);

    fn shares(all: &[Held]) -> BTreeMap<u32, Share> {
        let share = |(user, bytes, quota, squeezed): &Held| {
            (*user, Share { bytes: *bytes, quota: *quota, squeezed: *squeezed })
        };
        all.iter().map(share).collect()
    }

    #[test]
    fn the_largest_over_its_share_pays_and_nobody_else() {
        const NO: u64 = u64::MAX;
        /// Name, what is held, whether it was short before; who is squeezed, who prunes and who is reset.
        type Case = (&'static str, &'static [Held], bool, &'static [u32], [Option<u32>; 2]);
        let cases: [Case; 9] = [
            ("plenty", &[(1, 500, NO, false), (2, 100, NO, false)], false, &[], [None; 2]),
            ("tight", &[(1, 700, NO, false), (2, 100, NO, false)], false, &[1], [None; 2]),
            ("alone", &[(1, 800, NO, false), (2, 0, NO, false)], false, &[1], [None; 2]),
            ("short", &[(1, 950, NO, true), (2, 100, NO, false)], false, &[1], [Some(1), None]),
            ("short still", &[(1, 950, NO, true), (2, 100, NO, false)], true, &[1], [Some(1); 2]),
            ("no more", &[(1, 600, NO, true), (2, 100, NO, false)], true, &[1], [None; 2]),
            ("over", &[(1, 200, NO, true), (2, 100, NO, false)], true, &[], [None; 2]),
            ("beyond a quota", &[(1, 80, 100, false), (2, 100, NO, false)], false, &[1], [None; 2]),
            ("within it again", &[(1, 50, 100, true), (2, 100, NO, false)], false, &[], [None; 2]),
        ];
        for (name, held, was_short, squeezed, [prune, reset]) in cases {
            let found = measures(&shares(held), 1000, was_short);
            let short = prune.is_some();
            let squeezed = squeezed.iter().copied().collect();
            assert_eq!(found, Measures { squeezed, prune, reset, short }, "{name}");
        }
    }

    #[test]
    fn who_has_the_same_as_everybody_is_not_squeezed_alone() {
        let equal = [(1, 300, u64::MAX, false), (2, 300, u64::MAX, false)];
        let found = measures(&shares(&equal), 1000, false);
        assert_eq!(found.squeezed, BTreeSet::new(), "600 of 1000 are not tight");
        let equal = [(1, 400, u64::MAX, false), (2, 400, u64::MAX, false)];
        let found = measures(&shares(&equal), 1000, false);
        assert_eq!(found.squeezed, [1, 2].into(), "both have more than 375");
    }
}
