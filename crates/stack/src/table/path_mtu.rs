//! Path MTUs that routers told (RFC 1191). Invariant: memory is fixed, and each entry goes when its
//! time is over.
//!
//! An array of buckets, one of which a keyed hash of the destination picks: there is nothing to fill
//! up, and nobody finds a destination that would push out another's (CVE-2021-20322). What a packet of
//! ours was answered with comes in here only after a live flow was found to have sent it.

use crate::{
    random::Key,
    table::zone::ZoneId,
    time::{Duration, Instant},
};
use core::net::Ipv4Addr;
use std::collections::VecDeque;

/// The smallest that is believed, as on Linux: a forged one must not make us send crumbs (RFC 1191 §3
/// asks for 68).
pub const MIN_PATH_MTU: u16 = 552;
/// RFC 1191 §6.3: how long until a larger one is tried.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// Destinations behind a narrow link that are talked to at a time: 16 bytes each.
const SLOTS: usize = 4096;
/// Slots that one destination may be in.
const WAYS: usize = 4;

/// A host, and the zone that the way there is in: another zone's may be another host.
pub type Destination = (ZoneId, Ipv4Addr);

#[derive(Clone, Copy, Debug)]
struct Entry {
    destination: Destination,
    mtu: u16,
    expires: Instant,
}

#[derive(Debug)]
pub struct PathMtus {
    key: Key,
    slots: Box<[Option<Entry>]>,
    /// Slots by deadline. All live equally long, so the first to come is the first to go; one that
    /// was renewed meanwhile goes to the end.
    deadlines: VecDeque<(Instant, usize)>,
}

impl PathMtus {
    pub fn new(key: Key) -> Self {
        Self { key, slots: vec![None; SLOTS].into(), deadlines: VecDeque::new() }
    }

    /// The longest packet that gets to `destination`, if a router said so.
    pub fn get(&self, destination: Destination) -> Option<u16> {
        if self.deadlines.is_empty() {
            return None;
        }
        let slots = self.slots.get(self.bucket(destination))?;
        let found = slots.iter().flatten().find(|entry| entry.destination == destination);
        found.map(|entry| entry.mtu)
    }

    /// A router said that no longer packet than `mtu` gets to `destination`. Lengthening it is not
    /// believed.
    pub fn learn(&mut self, now: Instant, destination: Destination, mtu: u16) {
        let bucket = self.bucket(destination);
        let start = bucket.start;
        let Some(slots) = self.slots.get_mut(bucket) else { return };
        let has = |slot: &Option<Entry>| slot.is_some_and(|held| held.destination == destination);
        let held = slots.iter().position(has);
        // The same destination's, a free one, or the one that is over first.
        let over = |(_, slot): &(usize, &Option<Entry>)| slot.map(|held| held.expires);
        let index = held.or_else(|| Some(slots.iter().enumerate().min_by_key(over)?.0));
        let Some((index, slot)) = index.and_then(|at| Some((at, slots.get_mut(at)?))) else {
            return;
        };
        let known = slot.filter(|_| held.is_some()).map_or(u16::MAX, |entry| entry.mtu);
        let expires = now + LIFETIME;
        let entry = Entry { destination, mtu: mtu.max(MIN_PATH_MTU).min(known), expires };
        if slot.replace(entry).is_none() {
            self.deadlines.push_back((expires, start + index));
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// Forgets what is over.
    pub fn expire(&mut self, now: Instant) {
        while let Some((_, index)) = self.deadlines.front().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_front();
            let Some(slot) = self.slots.get_mut(index) else { continue };
            match slot {
                Some(entry) if entry.expires > now => {
                    self.deadlines.push_back((entry.expires, index));
                }
                _ => *slot = None,
            }
        }
    }

    /// The slots that a destination may be in.
    fn bucket(&self, destination: Destination) -> core::ops::Range<usize> {
        let start = (self.key.hash(&destination) % (SLOTS / WAYS) as u64) as usize * WAYS;
        start..start + WAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn mtus() -> PathMtus {
        PathMtus::new(Random::new([3; 16]).key())
    }

    fn host(number: u32) -> Destination {
        (ZoneId::PUBLIC, Ipv4Addr::from_bits(0x0a00_0000 + number))
    }

    #[test]
    fn paths_only_get_shorter_and_not_below_the_floor() {
        let mut mtus = mtus();
        let now = Instant::from_millis(5);
        assert_eq!(mtus.get(host(1)), None);
        for (said, believed) in [(1400, 1400), (1450, 1400), (1300, 1300), (68, 552), (0, 552)] {
            mtus.learn(now, host(1), said);
            assert_eq!(mtus.get(host(1)), Some(believed), "{said}");
        }
        assert_eq!(mtus.get(host(2)), None);
        let elsewhere = ZoneId::new(1).expect("a zone");
        assert_eq!(mtus.get((elsewhere, host(1).1)), None, "another zone's path");
    }

    #[test]
    fn a_path_is_tried_anew_after_ten_minutes() {
        let mut mtus = mtus();
        let start = Instant::from_millis(5);
        let half = start + Duration::from_secs(300);
        mtus.learn(start, host(1), 1400);
        mtus.learn(start, host(2), 1400);
        mtus.learn(half, host(2), 1300);
        mtus.expire(start + LIFETIME);
        assert_eq!((mtus.get(host(1)), mtus.get(host(2))), (None, Some(1300)));
        assert_eq!(mtus.next_timeout(), Some(half + LIFETIME));
        mtus.expire(half + LIFETIME);
        assert_eq!((mtus.get(host(2)), mtus.next_timeout()), (None, None));
    }

    #[test]
    fn a_flood_of_destinations_costs_no_memory() {
        let mut mtus = mtus();
        let now = Instant::from_millis(5);
        for number in 0..100_000 {
            mtus.learn(now, host(number), 1400);
        }
        let held = (0..100_000).filter(|number| mtus.get(host(*number)).is_some()).count();
        assert!(held <= SLOTS && mtus.deadlines.len() == held, "{held}");
        mtus.expire(now + LIFETIME);
        assert!(mtus.slots.iter().all(Option::is_none));
    }
}
