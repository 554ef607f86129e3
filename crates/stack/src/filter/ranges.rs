//! Sets of numbers, as ranges. Invariant: the ranges ascend, and no two overlap or touch.

use core::ops::RangeInclusive;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Box<[(u128, u128)]>);

impl Ranges {
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u128>>) -> Self {
        let mut all: Vec<_> = ranges
            .into_iter()
            .filter(|range| !range.is_empty())
            .map(RangeInclusive::into_inner)
            .collect();
        all.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for (low, high) in all {
            match merged.last_mut() {
                Some((_, end)) if low <= end.saturating_add(1) => *end = high.max(*end),
                _ => merged.push((low, high)),
            }
        }
        Self(merged.into())
    }

    pub fn one(value: u128) -> Self {
        Self([(value, value)].into())
    }

    pub fn contains(&self, value: u128) -> bool {
        if let [(low, high)] = *self.0 {
            return low <= value && value <= high;
        }
        let after = self.0.partition_point(|(low, _)| *low <= value);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, high)| value <= *high)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_merged_and_asked() {
        let ranges = Ranges::new([5..=9, 1..=2, 10..=12, 3..=3, 20..=20, u128::MAX..=u128::MAX]);
        assert_eq!(
            ranges.iter().collect::<Vec<_>>(),
            [(1, 3), (5, 12), (20, 20), (u128::MAX, u128::MAX)]
        );
        for (value, within) in [(0, false), (1, true), (4, false), (12, true), (13, false)] {
            assert_eq!(ranges.contains(value), within, "{value}");
        }
        assert!(ranges.contains(u128::MAX) && !ranges.contains(u128::MAX - 1));
        assert!(!Ranges::default().contains(0));
    }
}
