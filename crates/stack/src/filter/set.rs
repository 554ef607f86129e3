//! Named sets and maps. Invariant: no two elements of a set have a key in common.

use super::rule::{MAX_KEY, Verdict};
use crate::{Instant, random::Key};
use core::{ops::RangeInclusive, time::Duration};
use std::collections::{BTreeMap, HashMap};

/// What a map has for a key; a set has nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    Nothing,
    Verdict(Verdict),
    Number(u128),
}

#[derive(Clone, Copy, Debug)]
struct Element {
    data: Data,
    /// `None`: stays.
    expires: Option<Instant>,
    /// Added by a rule, not by the ruleset.
    dynamic: bool,
}

impl Element {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|at| now < at)
    }
}

/// Keys of one number are found in ranges, exact keys of several by hash, ranges of several one by one.
#[derive(Debug)]
pub struct Set {
    id: u64,
    ranges: BTreeMap<u128, (u128, Element)>,
    exact: HashMap<Box<[u128]>, Element, Key>,
    boxes: Vec<(Box<[RangeInclusive<u128>]>, Element)>,
    /// How many elements it may have.
    size: usize,
}

/// Why an element was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it overlaps another element")]
    Overlaps,
    #[error("the set is full")]
    Full,
    #[error("it has too many parts, or an empty range")]
    Malformed,
}

/// An element as reports show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: Box<[RangeInclusive<u128>]>,
    pub data: Data,
    pub expires: Option<Instant>,
}

impl Set {
    /// `id`: by which a later ruleset knows it again. `key`: of its hash.
    pub fn new(id: u64, size: usize, key: Key) -> Self {
        Self {
            id,
            ranges: BTreeMap::new(),
            exact: HashMap::with_hasher(key),
            boxes: Vec::new(),
            size,
        }
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn len(&self) -> usize {
        self.ranges.len() + self.exact.len() + self.boxes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The verdicts of a verdict map.
    pub(super) fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let ranges = self.ranges.values().map(|(_, element)| element);
        let boxes = self.boxes.iter().map(|(_, element)| element);
        let all = ranges.chain(self.exact.values()).chain(boxes);
        all.filter_map(|element| match element.data {
            Data::Verdict(verdict) => Some(verdict),
            _ => None,
        })
    }

    /// An element of the ruleset; the same once more changes what the map has for it.
    pub fn insert(
        &mut self,
        key: &[RangeInclusive<u128>],
        data: Data,
        expires: Option<Instant>,
    ) -> Result<(), Refused> {
        if key.is_empty() || key.len() > MAX_KEY || key.iter().any(RangeInclusive::is_empty) {
            return Err(Refused::Malformed);
        }
        let full = self.len() >= self.size;
        let element = Element { data, expires, dynamic: false };
        if let [range] = key {
            return self.insert_range(range.clone(), element, full);
        }
        if key.iter().all(|range| range.start() == range.end()) {
            let key: Box<[u128]> = key.iter().map(|range| *range.start()).collect();
            if full && !self.exact.contains_key(&key) {
                return Err(Refused::Full);
            }
            self.exact.insert(key, element);
            return Ok(());
        }
        let overlaps = |other: &[RangeInclusive<u128>]| {
            other.iter().zip(key).all(|(a, b)| a.start() <= b.end() && b.start() <= a.end())
        };
        if self.boxes.iter().any(|(other, _)| overlaps(other)) {
            return Err(Refused::Overlaps);
        }
        if full {
            return Err(Refused::Full);
        }
        self.boxes.push((key.into(), element));
        Ok(())
    }

    fn insert_range(
        &mut self,
        range: RangeInclusive<u128>,
        element: Element,
        full: bool,
    ) -> Result<(), Refused> {
        let (low, high) = range.into_inner();
        let before = self.ranges.range(..=high).next_back();
        match before {
            Some((start, (end, _))) if (*start, *end) == (low, high) => {}
            Some((_, (end, _))) if *end >= low => return Err(Refused::Overlaps),
            _ if full => return Err(Refused::Full),
            _ => {}
        }
        self.ranges.insert(low, (high, element));
        Ok(())
    }

    /// What there is for a key.
    pub(super) fn get(&self, now: Instant, key: &[u128]) -> Option<Data> {
        let element = self.find(key)?;
        element.is_live(now).then_some(element.data)
    }

    fn find(&self, key: &[u128]) -> Option<&Element> {
        if let [value] = key {
            let (_, (high, element)) = self.ranges.range(..=*value).next_back()?;
            return (value <= high).then_some(element);
        }
        let within = |(ranges, _): &&(Box<[RangeInclusive<u128>]>, Element)| {
            ranges.iter().zip(key).all(|(range, value)| range.contains(value))
        };
        self.exact.get(key).or_else(|| self.boxes.iter().find(within).map(|(_, found)| found))
    }

    /// Adds a key for a rule; false: there is no room. What expired makes room.
    pub(super) fn add(
        &mut self,
        now: Instant,
        key: &[u128],
        timeout: Option<Duration>,
        refresh: bool,
    ) -> bool {
        let known = self.find(key).is_some_and(|element| element.is_live(now));
        if known && !refresh {
            return true;
        }
        if !known && self.len() >= self.size {
            self.expire(now);
            if self.len() >= self.size {
                return false;
            }
        }
        let expires = timeout.map(|timeout| now + timeout);
        let data = self.find(key).map_or(Data::Nothing, |element| element.data);
        let element = Element { data, expires, dynamic: true };
        match key {
            // Not over a range that the ruleset has.
            [value] if known && !self.ranges.contains_key(value) => {}
            [value] => {
                self.ranges.insert(*value, (*value, element));
            }
            key => {
                self.exact.insert(key.into(), element);
            }
        }
        true
    }

    pub(super) fn delete(&mut self, key: &[u128]) {
        match key {
            [value] if self.ranges.get(value).is_some_and(|(high, _)| high == value) => {
                self.ranges.remove(value);
            }
            [_] => {}
            key => {
                self.exact.remove(key);
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        self.ranges.retain(|_, (_, element)| element.is_live(now));
        self.exact.retain(|_, element| element.is_live(now));
        self.boxes.retain(|(_, element)| element.is_live(now));
    }

    /// What rules have added to a set of the ruleset before this one.
    pub(super) fn take_over(&mut self, old: &Self) {
        for (low, (high, element)) in old.ranges.iter().filter(|(_, (_, found))| found.dynamic) {
            let full = self.len() >= self.size;
            // What is in its way has been put there since.
            let _ = self.insert_range(*low..=*high, *element, full);
        }
        for (key, element) in old.exact.iter().filter(|(_, element)| element.dynamic) {
            if self.len() < self.size {
                self.exact.entry(key.clone()).or_insert(*element);
            }
        }
    }

    /// Its elements in the order of their keys.
    pub fn elements(&self, now: Instant) -> Vec<Listed> {
        let listed = |key: Box<[RangeInclusive<u128>]>, element: &Element| Listed {
            key,
            data: element.data,
            expires: element.expires,
        };
        let ranges = self
            .ranges
            .iter()
            .filter(|(_, (_, element))| element.is_live(now))
            .map(|(low, (high, element))| listed([*low..=*high].into(), element));
        let exact = self.exact.iter().filter(|(_, element)| element.is_live(now));
        let exact = exact
            .map(|(key, element)| listed(key.iter().map(|part| *part..=*part).collect(), element));
        let boxes = self.boxes.iter().filter(|(_, element)| element.is_live(now));
        let boxes = boxes.map(|(key, element)| listed(key.clone(), element));
        let mut all: Vec<_> = ranges.chain(exact).chain(boxes).collect();
        all.sort_by(|a, b| {
            let start = |element: &Listed| -> Vec<u128> {
                element.key.iter().map(|range| *range.start()).collect()
            };
            start(a).cmp(&start(b))
        });
        all
    }
}
