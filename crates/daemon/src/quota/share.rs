//! The daemon's descriptors, shared out: each session and each socket takes some, as does each that a program
//! sent until it is closed, and when there are none left nobody gets a session or a socket.
//!
//! What one user may have depends on what is free: at most [`SHARE`] times as many. So one alone gets four
//! fifths of them; two get four ninths each; and whoever comes, however many there are, finds some
//! free. (The rule is the one by which switches share out their buffers: dynamic thresholds, Choudhury
//! and Hahn.)

/// How many times what is free one user may hold.
const SHARE: u64 = 4;

/// Its socket, and the descriptor of its process.
pub(super) const SESSION: u64 = 2;

#[derive(Debug)]
pub(super) struct Descriptors {
    /// What the daemon may open.
    pub limit: u64,
    /// What sessions and sockets have, and what waits to be closed.
    pub used: u64,
}

impl Default for Descriptors {
    /// As if there were no limit.
    fn default() -> Self {
        Self { limit: u64::MAX, used: 0 }
    }
}

impl Descriptors {
    /// May who has `held` have another?
    pub(super) fn allows(&self, held: u64) -> bool {
        held < self.limit.saturating_sub(self.used).saturating_mul(SHARE)
    }

    pub(super) fn took(&mut self, count: u64) {
        self.used = self.used.saturating_add(count);
    }

    pub(super) fn gave(&mut self, count: u64) {
        self.used = self.used.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each of `users` has got when nobody gets any more.
    fn shared_out(limit: u64, users: usize) -> Vec<u64> {
        let mut descriptors = Descriptors { limit, used: 0 };
        let mut held = vec![0; users];
        loop {
            let before = descriptors.used;
            for held in &mut held {
                if descriptors.allows(*held) {
                    descriptors.took(1);
                    *held += 1;
                }
            }
            if descriptors.used == before {
                return held;
            }
        }
    }

    #[test]
    fn each_gets_as_much_and_some_is_left() {
        for (users, each) in [(1, 800), (2, 444), (9, 108)] {
            assert!(shared_out(1000, users).iter().all(|held| held.abs_diff(each) <= 1), "{users}");
        }
    }

    #[test]
    fn who_comes_late_finds_some() {
        let mut descriptors = Descriptors { limit: 1000, used: 0 };
        descriptors.took(800);
        assert!(!descriptors.allows(800));
        let mut late = 0;
        while descriptors.allows(late) {
            descriptors.took(1);
            late += 1;
        }
        assert_eq!(late, 160);
        descriptors.gave(800);
        assert!(descriptors.allows(late));
    }
}
