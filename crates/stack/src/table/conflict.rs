//! Addresses on their way to being ours, and what is done when another station has one (RFC 5227).
//! Invariant: an interface has at most one claim to an address, and one that is probed for or was
//! given up is no address of the interface.
//!
//! ```text
//!   Probing ──nobody answered──▶ Announcing ──said twice──▶ Held
//!      │ somebody has it             │ a conflict that defending did not settle │
//!      └───────────────▶ GivenUp ◀───┴──────────────────────────────────────────┘
//! ```
//!
//! An address that was not probed for is defended for ever, at a bounded rate (RFC 5227 §2.4 (c)),
//! so that two forged packets don't take a server off its link. One that was is given up at the
//! second conflict within [`DEFEND_INTERVAL`] (§2.4 (b)).

use crate::{
    random::Random,
    table::interface::InterfaceId,
    time::{Duration, Instant},
};
use core::net::Ipv4Addr;
use narrows_wire::address::Prefix;
use std::collections::{BTreeMap, BTreeSet};

/// RFC 5227 §1.1: before the first probe, so that hosts switched on together don't probe together.
const PROBE_WAIT_MILLIS: u32 = 1_000;
const PROBES: u8 = 3;
/// Between probes.
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_SPREAD_MILLIS: u32 = 1_000;
/// After the last probe.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// An address is defended once in this time.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) type ClaimKey = (InterfaceId, Ipv4Addr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Probing { sent: u8, next: Instant },
    Announcing { sent: u8, next: Instant },
    Held,
    GivenUp,
}

impl Stage {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Probing { next, .. } | Self::Announcing { next, .. } => Some(next),
            Self::Held | Self::GivenUp => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    prefix: Prefix,
    stage: Stage,
    /// It was probed for, and is given up at a conflict.
    yields: bool,
    defended: Option<Instant>,
}

/// What became due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Probe(ClaimKey),
    /// Nobody has it: it is ours, and to be announced.
    Won(ClaimKey, Prefix),
    Announce(ClaimKey),
}

/// What another station's packet means for a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No claim to that address.
    None,
    /// Announce it once more.
    Defend,
    /// It was defended a moment ago.
    Bear,
    /// It was being probed for: it will not be ours.
    Refused,
    /// It was ours and is no longer.
    Lost(Prefix),
}

/// What a report says of an address that is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Being probed for.
    Tentative,
    /// Another station has it.
    Conflict,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ClaimTable {
    claims: BTreeMap<ClaimKey, Claim>,
    deadlines: BTreeSet<(Instant, ClaimKey)>,
}

impl ClaimTable {
    /// Begins to ask if anybody has an address.
    pub fn probe(&mut self, now: Instant, random: &mut Random, key: ClaimKey, prefix: Prefix) {
        let next = now + millis(random, PROBE_WAIT_MILLIS);
        let stage = Stage::Probing { sent: 0, next };
        self.put(key, Claim { prefix, stage, yields: true, defended: None });
    }

    /// An address is ours from now on; the caller announces it, and again when that is due.
    pub fn announce(&mut self, now: Instant, key: ClaimKey, prefix: Prefix) {
        let stage = Stage::Announcing { sent: 1, next: now + ANNOUNCE_INTERVAL };
        self.put(key, Claim { prefix, stage, yields: false, defended: None });
    }

    /// The prefix that was being probed for or given up, if `key` named one.
    pub fn unusable(&self, key: ClaimKey) -> Option<Prefix> {
        let claim = self.claims.get(&key)?;
        matches!(claim.stage, Stage::Probing { .. } | Stage::GivenUp).then_some(claim.prefix)
    }

    /// Addresses of an interface that are not in use, and why.
    pub fn unusable_of(
        &self,
        interface: InterfaceId,
    ) -> impl Iterator<Item = (Prefix, Unusable)> + '_ {
        let all = (interface, Ipv4Addr::UNSPECIFIED)..=(interface, Ipv4Addr::BROADCAST);
        self.claims.range(all).filter_map(|(_, claim)| match claim.stage {
            Stage::Probing { .. } => Some((claim.prefix, Unusable::Tentative)),
            Stage::GivenUp => Some((claim.prefix, Unusable::Conflict)),
            Stage::Announcing { .. } | Stage::Held => None,
        })
    }

    pub fn remove(&mut self, key: ClaimKey) {
        self.take(key);
    }

    /// Forgets the claims of an interface that goes.
    pub fn remove_interface(&mut self, interface: InterfaceId) {
        let keys: Vec<_> = self.claims.keys().copied().collect();
        for key in keys.into_iter().filter(|(at, _)| *at == interface) {
            self.take(key);
        }
    }

    /// When `expire` next has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Does what is due of one claim; call until it gives `None`.
    pub fn expire(&mut self, now: Instant, random: &mut Random) -> Option<Due> {
        let (deadline, key) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        let claim = self.take(key)?;
        let (stage, due) = match claim.stage {
            Stage::Probing { sent, .. } if sent < PROBES => {
                let sent = sent + 1;
                let wait = match sent {
                    PROBES => ANNOUNCE_WAIT,
                    _ => PROBE_MIN + millis(random, PROBE_SPREAD_MILLIS),
                };
                (Stage::Probing { sent, next: now + wait }, Due::Probe(key))
            }
            Stage::Probing { .. } => {
                let stage = Stage::Announcing { sent: 1, next: now + ANNOUNCE_INTERVAL };
                (stage, Due::Won(key, claim.prefix))
            }
            Stage::Announcing { sent, .. } if sent + 1 < ANNOUNCEMENTS => {
                let next = now + ANNOUNCE_INTERVAL;
                (Stage::Announcing { sent: sent + 1, next }, Due::Announce(key))
            }
            // The last one; these two have no deadline.
            Stage::Announcing { .. } | Stage::Held | Stage::GivenUp => {
                (Stage::Held, Due::Announce(key))
            }
        };
        self.put(key, Claim { stage, ..claim });
        Some(due)
    }

    /// Another station says that it has the address, or probes for it too.
    pub fn contest(&mut self, now: Instant, key: ClaimKey, probe: bool) -> Verdict {
        let Some(claim) = self.claims.get(&key).copied() else { return Verdict::None };
        let probing = matches!(claim.stage, Stage::Probing { .. });
        if claim.stage == Stage::GivenUp || (probe && !probing) {
            return Verdict::None;
        }
        let lately = claim.defended.is_some_and(|at| now < at + DEFEND_INTERVAL);
        let verdict = match (probing, lately, claim.yields) {
            (true, ..) => Verdict::Refused,
            (false, false, _) => Verdict::Defend,
            (false, true, false) => return Verdict::Bear,
            (false, true, true) => Verdict::Lost(claim.prefix),
        };
        self.take(key);
        self.put(
            key,
            match verdict {
                Verdict::Defend => Claim { defended: Some(now), ..claim },
                _ => Claim { stage: Stage::GivenUp, ..claim },
            },
        );
        verdict
    }

    fn put(&mut self, key: ClaimKey, claim: Claim) {
        self.take(key);
        if let Some(deadline) = claim.stage.deadline() {
            self.deadlines.insert((deadline, key));
        }
        self.claims.insert(key, claim);
    }

    fn take(&mut self, key: ClaimKey) -> Option<Claim> {
        let claim = self.claims.remove(&key)?;
        if let Some(deadline) = claim.stage.deadline() {
            self.deadlines.remove(&(deadline, key));
        }
        Some(claim)
    }
}

fn millis(random: &mut Random, below: u32) -> Duration {
    Duration::from_millis(random.below(below).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const KEY: ClaimKey = (InterfaceId(1), ADDRESS);

    fn prefix() -> Prefix {
        Prefix::new(ADDRESS.into(), 24).expect("a prefix")
    }

    /// What becomes due, with milliseconds since the start, until nothing more does.
    fn run(table: &mut ClaimTable, random: &mut Random) -> Vec<(u64, Due)> {
        let mut due = Vec::new();
        while let Some(at) = table.next_timeout() {
            due.push((at.as_millis(), table.expire(at, random).expect("due")));
            assert!(due.len() < 100, "{due:?}");
        }
        due
    }

    #[test]
    fn an_address_is_probed_for_three_times_and_announced_twice() {
        for seed in 0..50 {
            let mut random = Random::new([seed; 16]);
            let mut table = ClaimTable::default();
            table.probe(Instant::ZERO, &mut random, KEY, prefix());
            assert_eq!(table.unusable(KEY), Some(prefix()));
            let due = run(&mut table, &mut random);
            let [first, second, third, won, again] = due.as_slice() else { panic!("{due:?}") };
            assert!([first, second, third].iter().all(|each| each.1 == Due::Probe(KEY)));
            assert_eq!((won.1, again.1), (Due::Won(KEY, prefix()), Due::Announce(KEY)));
            assert!((0..1000).contains(&first.0), "{due:?}");
            assert!((1000..2000).contains(&(second.0 - first.0)), "{due:?}");
            assert!((1000..2000).contains(&(third.0 - second.0)), "{due:?}");
            assert_eq!((won.0 - third.0, again.0 - won.0), (2000, 2000));
            assert_eq!(table.unusable(KEY), None);
        }
    }

    #[test]
    fn who_has_or_wants_an_address_that_is_probed_for_keeps_it() {
        for probe in [false, true] {
            let mut random = Random::new([1; 16]);
            let mut table = ClaimTable::default();
            table.probe(Instant::ZERO, &mut random, KEY, prefix());
            assert_eq!(table.contest(Instant::ZERO, KEY, probe), Verdict::Refused);
            assert_eq!(table.next_timeout(), None, "it is not asked for any more");
            let rows: Vec<_> = table.unusable_of(InterfaceId(1)).collect();
            assert_eq!(rows, [(prefix(), Unusable::Conflict)]);
            assert_eq!(table.contest(Instant::ZERO, KEY, probe), Verdict::None, "told once");
        }
    }

    #[test]
    fn an_address_that_was_probed_for_is_defended_once_and_then_given_up() {
        let mut random = Random::new([2; 16]);
        let mut table = ClaimTable::default();
        table.probe(Instant::ZERO, &mut random, KEY, prefix());
        run(&mut table, &mut random);
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        assert_eq!(table.contest(at(20), KEY, true), Verdict::None, "a probe is only answered");
        assert_eq!(table.contest(at(20), KEY, false), Verdict::Defend);
        assert_eq!(table.contest(at(30), KEY, false), Verdict::Defend, "that was long ago");
        assert_eq!(table.contest(at(39), KEY, false), Verdict::Lost(prefix()));
        assert_eq!(table.unusable(KEY), Some(prefix()));
    }

    /// Two forged packets must not take a server off its link.
    #[test]
    fn an_address_that_was_only_announced_is_defended_for_ever_at_a_bounded_rate() {
        let mut table = ClaimTable::default();
        table.announce(Instant::ZERO, KEY, prefix());
        let verdicts: Vec<_> = (0..100_000)
            .map(|millis| table.contest(Instant::from_millis(millis), KEY, false))
            .collect();
        assert_eq!(verdicts.iter().filter(|verdict| **verdict == Verdict::Defend).count(), 10);
        assert!(!verdicts.iter().any(|verdict| matches!(verdict, Verdict::Lost(_))));
    }

    #[test]
    fn claims_are_an_interfaces_own_and_go_when_removed() {
        let mut table = ClaimTable::default();
        table.announce(Instant::ZERO, KEY, prefix());
        let elsewhere = (InterfaceId(2), ADDRESS);
        assert_eq!(table.contest(Instant::ZERO, elsewhere, false), Verdict::None);
        table.remove_interface(InterfaceId(2));
        assert_ne!(table.next_timeout(), None);
        table.remove_interface(InterfaceId(1));
        assert_eq!((table.next_timeout(), table.claims.len()), (None, 0));
        table.announce(Instant::ZERO, KEY, prefix());
        table.remove(KEY);
        assert_eq!((table.next_timeout(), table.claims.len()), (None, 0));
        assert_eq!(table.contest(Instant::ZERO, KEY, false), Verdict::None);
    }
}
