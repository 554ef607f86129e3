//! Deadlines in a hierarchical timing wheel: arming, cancelling and firing are O(1) at a million
//! timers. Invariant: a key has at most one deadline.
//!
//! Six levels of 64 slots; a slot of level 0 is one tick of 2²⁰ ns (about a millisecond), a slot of
//! each further level 64 times that. A timer sits in the level where its deadline first differs
//! from the wheel's position, and moves down as the position reaches its slot. A timer never fires
//! early, and late by less than a tick.
//!
//! Re-arming later is lazy: the entry stays where it is, fires early *for its key*, and the owner,
//! who knows the true deadline, arms again. A retransmission timer pushed back by each ACK costs
//! nothing but a wake-up now and then.

use crate::time::Instant;

/// Whose deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerKey {
    /// The slot of a socket.
    Socket(u32),
    HalfOpen(u32),
    TimeWait(u32),
    /// A tracked flow.
    Flow(u32),
    Neighbors,
    Reassembly,
    /// Bonds and bridges.
    Links,
    /// Claims to addresses.
    Claims,
    PathMtus,
    /// Gateways that are watched.
    Gateways,
    /// Reports about groups.
    Groups,
    /// Leases, and searches for an address.
    Autoconf,
    /// Addresses that were given for a time.
    Addresses,
    /// Packets that wait for an answer.
    Inspectors,
}

const TICK_SHIFT: u32 = 20;
const LEVELS: usize = 6;
const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
/// "No entry" in the links.
const NIL: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: TimerKey,
    tick: u64,
    previous: u32,
    next: u32,
    /// Level and slot where it is linked.
    level: u8,
    slot: u8,
}

#[derive(Debug)]
struct Level {
    occupied: u64,
    heads: [u32; SLOTS],
}

#[derive(Debug)]
pub struct TimerWheel {
    /// Every tick up to here has fired.
    position: u64,
    levels: [Level; LEVELS],
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// Entry of each key, by class and number; `NIL` for none.
    by_key: [Vec<u32>; 5],
    armed: usize,
}

impl Default for TimerWheel {
    fn default() -> Self {
        Self {
            position: 0,
            levels: core::array::from_fn(|_| Level { occupied: 0, heads: [NIL; SLOTS] }),
            entries: Vec::new(),
            free: Vec::new(),
            by_key: Default::default(),
            armed: 0,
        }
    }
}

fn class(key: TimerKey) -> (usize, usize) {
    match key {
        TimerKey::Socket(n) => (0, n as usize),
        TimerKey::HalfOpen(n) => (1, n as usize),
        TimerKey::TimeWait(n) => (2, n as usize),
        TimerKey::Flow(n) => (4, n as usize),
        TimerKey::Neighbors => (3, 0),
        TimerKey::Reassembly => (3, 1),
        TimerKey::Links => (3, 2),
        TimerKey::Claims => (3, 3),
        TimerKey::PathMtus => (3, 4),
        TimerKey::Gateways => (3, 6),
        TimerKey::Groups => (3, 5),
        TimerKey::Autoconf => (3, 7),
        TimerKey::Addresses => (3, 8),
        TimerKey::Inspectors => (3, 9),
    }
}

/// The first tick that begins at `at` or later.
fn tick_at(at: Instant) -> u64 {
    at.as_nanos().div_ceil(1 << TICK_SHIFT)
}

impl TimerWheel {
    /// Fires `key` at `at` or a tick later. If it is armed for an earlier time already, that stays.
    pub fn arm(&mut self, key: TimerKey, at: Instant) {
        let tick = tick_at(at).max(self.position + 1);
        let (class, number) = class(key);
        let index = &mut self.by_key[class];
        if index.len() <= number {
            index.resize(number + 1, NIL);
        }
        let existing = index[number];
        if existing != NIL {
            if self.entries[existing as usize].tick <= tick {
                return;
            }
            self.unlink(existing);
            self.entries[existing as usize].tick = tick;
            self.link(existing);
            return;
        }
        let entry = Entry { key, tick, previous: NIL, next: NIL, level: 0, slot: 0 };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.by_key[class][number] = at;
        self.armed += 1;
        self.link(at);
    }

    pub fn cancel(&mut self, key: TimerKey) {
        let (class, number) = class(key);
        let Some(at) = self.by_key[class].get(number).copied().filter(|at| *at != NIL) else {
            return;
        };
        self.unlink(at);
        self.forget(at);
    }

    /// The next key that is due at `now`; it is disarmed.
    pub fn expire(&mut self, now: Instant) -> Option<TimerKey> {
        let now = now.as_nanos() >> TICK_SHIFT;
        loop {
            let Some((level, slot, tick)) = self.next_slot() else {
                self.position = self.position.max(now);
                return None;
            };
            if tick > now {
                self.position = self.position.max(now);
                return None;
            }
            let at = self.levels[level].heads[slot];
            if level == 0 {
                // Stay just before the tick until its slot is empty.
                self.position = self.position.max(tick.saturating_sub(1));
                let key = self.entries[at as usize].key;
                self.unlink(at);
                self.forget(at);
                return Some(key);
            }
            self.position = self.position.max(tick.saturating_sub(1));
            self.cascade(level, slot, tick);
        }
    }

    /// When to call `expire` next; may be earlier than the next deadline, never later.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next_slot().map(|(_, _, tick)| Instant::from_nanos(tick << TICK_SHIFT))
    }

    /// How many keys are armed.
    pub fn len(&self) -> usize {
        self.armed
    }

    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    /// The earliest occupied slot: its level, number, and first tick.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        // The position's successor is where the search begins: all up to the position has fired.
        let from = self.position + 1;
        (0..LEVELS)
            .filter_map(|level| {
                let shift = SLOT_BITS * level as u32;
                let occupied = self.levels[level].occupied;
                if occupied == 0 {
                    return None;
                }
                let here = (from >> shift) as u32 % SLOTS as u32;
                let ahead = occupied.rotate_right(here).trailing_zeros();
                let slot = (here + ahead) as usize % SLOTS;
                let tick = ((from >> shift) + u64::from(ahead)) << shift;
                Some((level, slot, tick.max(from)))
            })
            .min_by_key(|(level, _, tick)| (*tick, core::cmp::Reverse(*level)))
    }

    /// Moves a slot's timers to the levels below, seen from `tick`, the slot's first.
    fn cascade(&mut self, level: usize, slot: usize, tick: u64) {
        let mut at = self.levels[level].heads[slot];
        self.levels[level].heads[slot] = NIL;
        self.levels[level].occupied &= !(1 << slot);
        while at != NIL {
            let next = self.entries[at as usize].next;
            self.link_from(at, tick);
            at = next;
        }
    }

    fn link(&mut self, at: u32) {
        self.link_from(at, self.position + 1);
    }

    /// Links where the deadline first differs from `from`, the earliest tick that can still fire.
    fn link_from(&mut self, at: u32, from: u64) {
        let tick = self.entries[at as usize].tick.max(from);
        let differing = 63 - ((tick ^ from) | 1).leading_zeros();
        let level = (differing / SLOT_BITS).min(LEVELS as u32 - 1);
        // Farther than the top level reaches: as far as it does, and cascaded again from there.
        let reach = 1u64 << (SLOT_BITS * LEVELS as u32);
        let seen = tick.min(from.saturating_add(reach - (reach >> SLOT_BITS) - 1));
        let slot = (seen >> (SLOT_BITS * level)) as usize % SLOTS;
        let level = level as usize;
        let head = self.levels[level].heads[slot];
        let entry = &mut self.entries[at as usize];
        (entry.level, entry.slot, entry.previous, entry.next) =
            (level as u8, slot as u8, NIL, head);
        if head != NIL {
            self.entries[head as usize].previous = at;
        }
        self.levels[level].heads[slot] = at;
        self.levels[level].occupied |= 1 << slot;
    }

    fn unlink(&mut self, at: u32) {
        let Entry { previous, next, level, slot, .. } = self.entries[at as usize];
        let level = &mut self.levels[usize::from(level)];
        if next != NIL {
            self.entries[next as usize].previous = previous;
        }
        if previous != NIL {
            self.entries[previous as usize].next = next;
        } else {
            level.heads[usize::from(slot)] = next;
            if next == NIL {
                level.occupied &= !(1 << slot);
            }
        }
    }

    fn forget(&mut self, at: u32) {
        let (class, number) = class(self.entries[at as usize].key);
        self.by_key[class][number] = NIL;
        self.free.push(at);
        self.armed -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{random::Random, time::Duration};
    use std::collections::BTreeMap;

    fn fired(wheel: &mut TimerWheel, now: Instant) -> Vec<TimerKey> {
        core::iter::from_fn(|| wheel.expire(now)).collect()
    }

    #[test]
    fn no_two_keys_share_a_place() {
        let keys = [
            TimerKey::Socket(0),
            TimerKey::HalfOpen(0),
            TimerKey::TimeWait(0),
            TimerKey::Neighbors,
            TimerKey::Reassembly,
            TimerKey::Links,
            TimerKey::Claims,
            TimerKey::PathMtus,
            TimerKey::Gateways,
            TimerKey::Groups,
            TimerKey::Autoconf,
            TimerKey::Addresses,
        ];
        let places: std::collections::BTreeSet<_> = keys.into_iter().map(class).collect();
        assert_eq!(places.len(), keys.len());
    }

    #[test]
    fn fires_never_early_and_less_than_a_tick_late() {
        let mut wheel = TimerWheel::default();
        let at = Instant::from_millis(200);
        wheel.arm(TimerKey::Socket(7), at);
        assert_eq!(fired(&mut wheel, at - Duration::from_nanos(1)), []);
        assert_eq!(fired(&mut wheel, at + Duration::from_micros(1049)), [TimerKey::Socket(7)]);
        assert_eq!(wheel.next_timeout(), None);
    }

    #[test]
    fn the_earlier_of_two_deadlines_of_a_key_stays() {
        let mut wheel = TimerWheel::default();
        wheel.arm(TimerKey::Neighbors, Instant::from_millis(500));
        wheel.arm(TimerKey::Neighbors, Instant::from_millis(100));
        wheel.arm(TimerKey::Neighbors, Instant::from_millis(900));
        assert_eq!(wheel.len(), 1);
        assert_eq!(fired(&mut wheel, Instant::from_millis(102)), [TimerKey::Neighbors]);
    }

    #[test]
    fn a_cancelled_key_does_not_fire() {
        let mut wheel = TimerWheel::default();
        for n in 0..3 {
            wheel.arm(TimerKey::TimeWait(n), Instant::from_millis(10));
        }
        wheel.cancel(TimerKey::TimeWait(1));
        wheel.cancel(TimerKey::TimeWait(9));
        let mut keys = fired(&mut wheel, Instant::from_millis(20));
        keys.sort_by_key(|key| class(*key));
        assert_eq!(keys, [TimerKey::TimeWait(0), TimerKey::TimeWait(2)]);
        assert!(wheel.is_empty());
    }

    /// Against an ordered map, over deadlines from now to months, with arming, cancelling and
    /// jumps of time.
    #[test]
    fn agrees_with_a_model() {
        let mut random = Random::new([7; 16]);
        let mut wheel = TimerWheel::default();
        let mut model = BTreeMap::new();
        let mut now = Instant::ZERO;
        for _ in 0..200_000 {
            let key = random.below(500);
            match random.below(10) {
                0..=5 => {
                    let ahead = random.next_u64() >> (11 + random.below(42));
                    let at = now + Duration::from_nanos(ahead);
                    wheel.arm(TimerKey::Socket(key), at);
                    let kept = model.entry(key).or_insert(at);
                    *kept = at.min(*kept);
                }
                6 => {
                    wheel.cancel(TimerKey::Socket(key));
                    model.remove(&key);
                }
                _ => {
                    now += Duration::from_nanos(random.next_u64() >> (20 + random.below(35)));
                    for key in fired(&mut wheel, now) {
                        let TimerKey::Socket(key) = key else { panic!("{key:?}") };
                        let at = model.remove(&key).expect("armed");
                        assert!(at <= now, "early");
                    }
                    let late = now - Duration::from_nanos(1 << TICK_SHIFT);
                    assert!(model.values().all(|at| *at > late), "late");
                    assert_eq!(wheel.len(), model.len());
                    let next = model.values().min().copied();
                    assert_eq!(wheel.next_timeout().is_some(), next.is_some());
                    if let (Some(wake), Some(next)) = (wheel.next_timeout(), next) {
                        assert!(wake <= next + Duration::from_nanos(1 << TICK_SHIFT));
                    }
                }
            }
        }
    }
}
