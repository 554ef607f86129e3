//! How many half-open connections the listeners of each user have, and may have. Invariant: who has
//! none has no count here.
//!
//! A listener's own limit keeps one flooded service from filling the machine; this one keeps a user
//! from having that many times over by listening often.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct HalfOpenShares {
    held: BTreeMap<u32, usize>,
    /// Of users who have another limit than the rest.
    limits: BTreeMap<u32, usize>,
    /// Who found no room since he last had none: the operator knows.
    told: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Free,
    /// `first`: it was not so before.
    Full {
        first: bool,
    },
}

impl HalfOpenShares {
    /// What a user may have from now on; `None`: as everybody.
    pub fn limit(&mut self, user: u32, limit: Option<usize>) {
        match limit {
            Some(limit) => drop(self.limits.insert(user, limit)),
            None => drop(self.limits.remove(&user)),
        }
    }

    /// May he have another one, if everybody may have `usual`?
    pub fn share(&mut self, user: u32, usual: usize) -> Share {
        let limit = self.limits.get(&user).copied().unwrap_or(usual);
        match self.held.get(&user).copied().unwrap_or(0) < limit {
            true => Share::Free,
            false => Share::Full { first: self.told.insert(user) },
        }
    }

    pub fn began(&mut self, user: u32) {
        *self.held.entry(user).or_default() += 1;
    }

    pub fn ended(&mut self, user: u32) {
        let Some(held) = self.held.get_mut(&user) else { return };
        *held = held.saturating_sub(1);
        if *held == 0 {
            self.held.remove(&user);
            self.told.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_his_own_and_gives_it_back() {
        let mut shares = HalfOpenShares::default();
        shares.limit(7, Some(1));
        for user in [7, 8, 8] {
            assert_eq!(shares.share(user, 2), Share::Free, "{user}");
            shares.began(user);
        }
        let (first, again) = (Share::Full { first: true }, Share::Full { first: false });
        assert_eq!(
            [7, 8, 9, 7].map(|user| shares.share(user, 2)),
            [first, first, Share::Free, again]
        );
        shares.ended(8);
        shares.limit(7, None);
        assert_eq!([7, 8].map(|user| shares.share(user, 2)), [Share::Free; 2]);
        [7, 8].into_iter().for_each(|user| shares.ended(user));
        shares.ended(9);
        assert!(shares.held.is_empty() && shares.told.is_empty());
        assert_eq!(shares.share(7, 0), first, "it is news again");
    }
}
