//! Ends of records (MSG_EOR): no segment has octets from both sides of one, be it new or sent again.
//!
//! As on Linux that says how the sender cuts segments, not that a receiver will see them so.

use super::seq::Seq;
use std::collections::VecDeque;

/// Ends that are kept at a time; a program that sets more gets them joined to the next.
const LIMIT: usize = 4096;

#[derive(Clone, Debug, Default)]
pub(super) struct Records(VecDeque<Seq>);

impl Records {
    pub fn end(&mut self, at: Seq) {
        if self.0.len() < LIMIT && self.0.back() != Some(&at) {
            self.0.push_back(at);
        }
    }

    /// The first end after `at`.
    pub fn after(&self, at: Seq) -> Option<Seq> {
        let index = self.0.partition_point(|end| end.at_or_before(at));
        self.0.get(index).copied()
    }

    /// Everything before `una` is gone.
    pub fn acknowledged(&mut self, una: Seq) {
        while self.0.front().is_some_and(|end| end.at_or_before(una)) {
            self.0.pop_front();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_found_and_forgotten() {
        let mut records = Records::default();
        assert_eq!(records.after(Seq(0)), None);
        for at in [10, 10, 20] {
            records.end(Seq(at));
        }
        assert_eq!(records.after(Seq(9)), Some(Seq(10)));
        assert_eq!(records.after(Seq(10)), Some(Seq(20)));
        records.acknowledged(Seq(10));
        assert_eq!(records.0, [Seq(20)]);
        records.acknowledged(Seq(25));
        assert!(records.is_empty());
    }
}
