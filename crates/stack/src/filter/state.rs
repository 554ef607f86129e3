//! What changes while packets pass: counters, token buckets, quotas. Each has the name of the rule and
//! place it belongs to, by which a new ruleset finds those of the old.

use crate::Instant;
use core::time::Duration;
use std::collections::HashMap;

pub type CounterId = usize;
pub type LimitId = usize;
pub type QuotaId = usize;

/// The rule, and which of its kind in it; or a named object.
pub type Name = (u64, u32);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    pub packets: u64,
    pub bytes: u64,
}

/// How often something may happen. A bucket of `burst` units more than one interval's worth that fills
/// steadily, as nft's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Packets, or bytes, per `interval`; at least 1.
    pub amount: u64,
    pub interval: Duration,
    pub burst: u64,
    pub of_bytes: bool,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    /// In nanoseconds' worth.
    tokens: u128,
    filled_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub bytes: u64,
    pub used: u64,
}

#[derive(Debug, Default)]
pub struct State {
    counters: Vec<(Name, Counter)>,
    limits: Vec<(Name, Bucket)>,
    quotas: Vec<(Name, Quota)>,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        let mut bucket = Self { rate, tokens: 0, filled_at: Instant::ZERO };
        bucket.tokens = bucket.capacity();
        bucket
    }

    /// What one unit costs.
    fn price(&self) -> u128 {
        self.rate.interval.as_nanos() / u128::from(self.rate.amount.max(1))
    }

    fn capacity(&self) -> u128 {
        // nft: bytes have the burst on top of the rate, packets have it alone.
        let units = match self.rate.of_bytes {
            true => self.rate.amount.saturating_add(self.rate.burst),
            false => self.rate.burst.max(1),
        };
        self.price().saturating_mul(units.into())
    }

    fn take(&mut self, now: Instant, bytes: usize) -> bool {
        let passed = now.since(self.filled_at).as_nanos();
        self.tokens = self.tokens.saturating_add(passed).min(self.capacity());
        self.filled_at = now;
        let units = if self.rate.of_bytes { bytes as u128 } else { 1 };
        match self.tokens.checked_sub(self.price().saturating_mul(units)) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

impl State {
    pub fn add_counter(&mut self, name: Name, counter: Counter) -> CounterId {
        self.counters.push((name, counter));
        self.counters.len() - 1
    }

    pub fn add_limit(&mut self, name: Name, rate: Rate) -> LimitId {
        self.limits.push((name, Bucket::new(rate)));
        self.limits.len() - 1
    }

    pub fn add_quota(&mut self, name: Name, quota: Quota) -> QuotaId {
        self.quotas.push((name, quota));
        self.quotas.len() - 1
    }

    pub fn counter(&self, id: CounterId) -> Option<Counter> {
        self.counters.get(id).map(|(_, counter)| *counter)
    }

    pub fn quota(&self, id: QuotaId) -> Option<Quota> {
        self.quotas.get(id).map(|(_, quota)| *quota)
    }

    pub fn counters_by_name(&self) -> HashMap<Name, Counter> {
        self.counters.iter().copied().collect()
    }

    /// As nft lists them: no more than all of a quota is used, whatever came after.
    pub fn quotas_by_name(&self) -> HashMap<Name, Quota> {
        let capped = |quota: Quota| Quota { used: quota.used.min(quota.bytes), ..quota };
        self.quotas.iter().map(|(name, quota)| (*name, capped(*quota))).collect()
    }

    pub(super) fn counters(&self) -> usize {
        self.counters.len()
    }

    pub(super) fn limits(&self) -> usize {
        self.limits.len()
    }

    pub(super) fn quotas(&self) -> usize {
        self.quotas.len()
    }

    pub(super) fn count(&mut self, id: CounterId, bytes: usize) {
        if let Some((_, counter)) = self.counters.get_mut(id) {
            counter.packets = counter.packets.wrapping_add(1);
            counter.bytes = counter.bytes.wrapping_add(bytes as u64);
        }
    }

    /// Is there still room under the rate for this packet?
    pub(super) fn within_rate(&mut self, id: LimitId, now: Instant, bytes: usize) -> bool {
        self.limits.get_mut(id).is_some_and(|(_, bucket)| bucket.take(now, bytes))
    }

    /// Is the quota not used up, this packet counted in?
    pub(super) fn within_quota(&mut self, id: QuotaId, bytes: usize) -> bool {
        self.quotas.get_mut(id).is_some_and(|(_, quota)| {
            quota.used = quota.used.saturating_add(bytes as u64);
            quota.used <= quota.bytes
        })
    }

    pub(super) fn quota_left(&self, id: QuotaId) -> bool {
        self.quota(id).is_some_and(|quota| quota.used < quota.bytes)
    }

    /// Counts from nothing again.
    pub(super) fn reset(&mut self, name: Name) {
        if let Some((_, counter)) = self.counters.iter_mut().find(|(own, _)| *own == name) {
            *counter = Counter::default();
        }
        if let Some((_, quota)) = self.quotas.iter_mut().find(|(own, _)| *own == name) {
            quota.used = 0;
        }
    }

    pub(super) fn take_over(&mut self, old: &Self) {
        let counters: HashMap<_, _> = old.counters.iter().copied().collect();
        for (name, counter) in &mut self.counters {
            if let Some(old) = counters.get(name) {
                *counter = *old;
            }
        }
        let limits: HashMap<_, _> = old.limits.iter().copied().collect();
        for (name, bucket) in &mut self.limits {
            if let Some(old) = limits.get(name).filter(|old| old.rate == bucket.rate) {
                *bucket = *old;
            }
        }
        let quotas: HashMap<_, _> = old.quotas.iter().copied().collect();
        for (name, quota) in &mut self.quotas {
            if let Some(old) = quotas.get(name) {
                quota.used = old.used;
            }
        }
    }
}
