//! Which of several next hops a flow takes. Invariant: when one dies, no flow of another moves; when
//! it returns, none moves but to it.
//!
//! Flows are hashed to [`BUCKETS`] buckets, and each bucket has a next hop: as many of them as its
//! weight is worth. A change of what hops are worth takes buckets only from those that have too
//! many, and gives them only to those that have too few (the resilient hashing of ip-nexthop(8)).

/// Enough for the shares of a dozen next hops to come out within a percent.
const BUCKETS: usize = 256;

/// The hop of a bucket that has none.
const NOBODY: u8 = u8::MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Buckets {
    /// Index of the hop of each bucket.
    hops: Box<[u8]>,
}

impl Buckets {
    /// `weights`: of each hop, 0 for a dead one; fewer than 255 of them.
    pub fn new(weights: &[u16]) -> Self {
        let mut buckets = Self { hops: [NOBODY; BUCKETS].into() };
        buckets.rebalance(weights);
        buckets
    }

    /// The hops are worth something else from now on.
    pub fn rebalance(&mut self, weights: &[u16]) {
        let total: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        if total == 0 {
            return;
        }
        let mut held = vec![0; weights.len()];
        for hop in &self.hops {
            if let Some(held) = held.get_mut(usize::from(*hop)) {
                *held += 1;
            }
        }
        // How many buckets a hop has less than it is worth, times the sum of all weights.
        let lack = |hop: usize, held: &[usize]| {
            let weight = weights.get(hop).map_or(0, |weight| usize::from(*weight));
            let held = held.get(hop).copied().unwrap_or(0);
            (weight * BUCKETS) as i64 - (held * total) as i64
        };
        let neediest = |held: &[usize]| (0..weights.len()).rev().max_by_key(|hop| lack(*hop, held));
        // What the dead had, to who lacks most.
        for bucket in &mut self.hops {
            if weights.get(usize::from(*bucket)).is_none_or(|weight| *weight == 0) {
                give(bucket, neediest(&held), &mut held);
            }
        }
        // What others have too much of, to who lacks a whole bucket or more.
        while let Some(hop) = neediest(&held).filter(|hop| lack(*hop, &held) >= total as i64) {
            let richest = (0..weights.len()).min_by_key(|hop| lack(*hop, &held));
            let of_richest = |bucket: &&mut u8| Some(usize::from(**bucket)) == richest;
            let Some(bucket) = self.hops.iter_mut().find(of_richest) else { return };
            give(bucket, Some(hop), &mut held);
        }
    }

    /// The hop of a flow: the first that will do, from its bucket on.
    pub fn select(&self, hash: u64, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        let first = (hash % BUCKETS as u64) as usize;
        let from_there = self.hops.iter().cycle().skip(first).take(BUCKETS);
        from_there.map(|hop| usize::from(*hop)).find(|hop| will_do(*hop))
    }
}

/// Hands a bucket over.
fn give(bucket: &mut u8, to: Option<usize>, held: &mut [usize]) {
    let Some(to) = to else { return };
    if let Some(held) = held.get_mut(usize::from(*bucket)) {
        *held -= 1;
    }
    if let (Some(held), Ok(hop)) = (held.get_mut(to), u8::try_from(to)) {
        *held += 1;
        *bucket = hop;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn counts(buckets: &Buckets, hops: usize) -> Vec<usize> {
        (0..hops)
            .map(|hop| buckets.hops.iter().filter(|b| usize::from(**b) == hop).count())
            .collect()
    }

    /// Has each hop all the whole buckets it is worth?
    fn is_fair(buckets: &Buckets, weights: &[u16]) -> bool {
        let total: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let worth = weights.iter().map(|weight| usize::from(*weight) * BUCKETS / total);
        counts(buckets, weights.len()).into_iter().zip(worth).all(|(count, worth)| count >= worth)
    }

    #[test]
    fn shares_follow_weights() {
        for (weights, expected) in [
            (&[1][..], &[256][..]),
            (&[1, 1], &[128, 128]),
            (&[3, 1], &[192, 64]),
            (&[1, 1, 1], &[86, 85, 85]),
            (&[256, 1], &[255, 1]),
            (&[1, 0], &[256, 0]),
        ] {
            let buckets = Buckets::new(weights);
            assert_eq!(counts(&buckets, weights.len()), expected, "{weights:?}");
        }
    }

    proptest! {
        #[test]
        fn a_dead_hop_moves_its_own_flows_alone(
            weights in vec(1_u16..20, 2..12),
            dead in any::<prop::sample::Index>(),
        ) {
            let dead = dead.index(weights.len());
            let before = Buckets::new(&weights);
            let mut after = before.clone();
            let mut left = weights.clone();
            left[dead] = 0;
            after.rebalance(&left);
            prop_assert!(is_fair(&after, &left));
            for (was, is) in before.hops.iter().zip(&after.hops) {
                prop_assert!(usize::from(*is) != dead);
                prop_assert!(was == is || usize::from(*was) == dead, "{} moved to {}", was, is);
            }
            // And back: only to the hop that returned.
            let mut again = after.clone();
            again.rebalance(&weights);
            prop_assert!(is_fair(&again, &weights));
            for (was, is) in after.hops.iter().zip(&again.hops) {
                prop_assert!(was == is || usize::from(*is) == dead);
            }
        }
    }

    #[test]
    fn flows_go_where_they_may() {
        let buckets = Buckets::new(&[1, 1, 1]);
        for hash in 0..1000 {
            let any = buckets.select(hash, |_| true);
            assert_eq!(any, buckets.select(hash, |hop| Some(hop) == any));
            assert_eq!(buckets.select(hash, |hop| hop == 2), Some(2));
            assert_eq!(buckets.select(hash, |_| false), None);
        }
    }

    #[test]
    fn with_every_hop_dead_flows_stay() {
        let mut buckets = Buckets::new(&[1, 2]);
        let before = buckets.clone();
        buckets.rebalance(&[0, 0]);
        assert_eq!(buckets, before);
    }
}
