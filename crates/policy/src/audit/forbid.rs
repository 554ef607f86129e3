//! What nobody of some kind may be able to do, whatever rules and zones say: declarations that the audit
//! is held against.
//!
//! A declaration is about everybody who fits it, so about people whom no single rule names: who has two
//! groups, or runs one program in another's control group. What enables somebody are grants and admissions,
//! three of them at most (who is admitted, who may act, and who may do what that act needs besides), so
//! everybody who fits the declaration and up to three of those is tried, and nothing more: being
//! somebody else besides adds nothing but denials.

use super::{Ability, Finding, Model};
use crate::{ActKind, Effect, Origin, Subject, Who};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// No user or group has this number: -1 is the kernel's for none, and this the one before.
const NOBODY_NAMED: u32 = u32::MAX - 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forbid {
    /// Everybody who fits, but for those below.
    pub who: Who,
    pub except: Vec<Who>,
    pub can: Vec<Ability>,
    /// `None`: every one.
    pub zone: Option<String>,
    pub origin: Origin,
}

/// Somebody who can do what a declaration says that he can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    pub who: Profile,
    pub ability: Ability,
    pub zone: String,
    /// The path.
    pub why: String,
}

/// What is known of somebody, and nothing else is so.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profile {
    pub user: Option<u32>,
    pub groups: BTreeSet<u32>,
    pub executable: Option<String>,
    pub cgroup: Option<String>,
}

/// The main group that a user logs in with, and all; `None` if nothing is known of him.
pub type Logins<'a> = &'a dyn Fn(u32) -> Option<(u32, Vec<u32>)>;

impl From<&Who> for Profile {
    fn from(who: &Who) -> Self {
        Self {
            user: who.user,
            groups: who.group.into_iter().collect(),
            executable: who.executable.clone(),
            cgroup: who.cgroup.clone(),
        }
    }
}

impl Profile {
    /// Who is both; `None`: nobody can be.
    fn and(&self, other: &Who) -> Option<Self> {
        Some(Self {
            user: either(self.user.as_ref(), other.user.as_ref(), |_, _| None)?.copied(),
            groups: self.groups.iter().copied().chain(other.group).collect(),
            executable: either(self.executable.as_ref(), other.executable.as_ref(), |_, _| None)?
                .cloned(),
            cgroup: either(self.cgroup.as_ref(), other.cgroup.as_ref(), deeper)?.cloned(),
        })
    }

    /// Is everybody who fits this one somebody who fits the other?
    fn covers(&self, other: &Self) -> bool {
        fn says<T: PartialEq>(own: &Option<T>, other: &Option<T>) -> bool {
            own.is_none() || own == other
        }
        says(&self.user, &other.user)
            && self.groups.is_subset(&other.groups)
            && says(&self.executable, &other.executable)
            && says(&self.cgroup, &other.cgroup)
    }

    /// Asks about him with the groups that he logs in with.
    fn with<R>(&self, logins: Logins<'_>, ask: impl FnOnce(&Subject<'_>) -> R) -> R {
        let login = self.user.and_then(logins);
        let (group, mut groups) = login.unwrap_or((NOBODY_NAMED, Vec::new()));
        groups.extend(&self.groups);
        ask(&Subject {
            user: self.user.unwrap_or(NOBODY_NAMED),
            group,
            groups: &groups,
            executable: self.executable.as_deref(),
            cgroup: self.cgroup.as_deref(),
        })
    }
}

/// What both say, if they say the same; `None`: they don't, and nothing fits both.
fn either<'a, T: PartialEq>(
    one: Option<&'a T>,
    other: Option<&'a T>,
    both: impl Fn(&'a T, &'a T) -> Option<&'a T>,
) -> Option<Option<&'a T>> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => both(one, other).map(Some),
        (one, other) => Some(one.or(other)),
    }
}

/// Of two control groups the one that is in the other.
fn deeper<'a>(one: &'a String, other: &'a String) -> Option<&'a String> {
    match (crate::rule::is_below(one, other), crate::rule::is_below(other, one)) {
        (true, _) => Some(one),
        (false, true) => Some(other),
        (false, false) => None,
    }
}

impl Model {
    /// Whether somebody can; `None`: there is no such zone.
    pub fn ask(
        &self,
        who: &Profile,
        ability: Ability,
        zone: &str,
        logins: Logins<'_>,
    ) -> Option<Finding> {
        who.with(logins, |subject| self.can(subject, ability, zone))
    }

    /// Everybody who can what `forbid` says that he can't; of two of whom one is the other and more, the
    /// one.
    pub fn breaches(&self, forbid: &Forbid, logins: Logins<'_>) -> Vec<Breach> {
        let mut found = Vec::new();
        let concerned = |name: &str| forbid.zone.as_deref().is_none_or(|zone| zone == name);
        for zone in self.zones.iter().filter(|zone| concerned(&zone.name)) {
            for ability in &forbid.can {
                self.breaches_of(forbid, *ability, &zone.name, logins, &mut found);
            }
        }
        found
    }

    fn breaches_of(
        &self,
        forbid: &Forbid,
        ability: Ability,
        zone: &str,
        logins: Logins<'_>,
        found: &mut Vec<Breach>,
    ) {
        let begin = found.len();
        for who in self.candidates(forbid, ability) {
            let held = found.get(begin..).unwrap_or_default();
            if held.iter().any(|breach| breach.who.covers(&who)) || !exists(&who, forbid, logins) {
                continue;
            }
            let excepted = who.with(logins, |subject| {
                forbid.except.iter().any(|except| except.fits(subject, zone))
            });
            if excepted {
                continue;
            }
            if let Some(Finding { can: true, why }) = self.ask(&who, ability, zone, logins) {
                found.push(Breach { who, ability, zone: zone.to_owned(), why });
            }
        }
    }

    /// Everybody to try, who says least first.
    fn candidates(&self, forbid: &Forbid, ability: Ability) -> Vec<Profile> {
        let (acts, besides): (&[_], &[_]) = match ability {
            Ability::Bind => (&[ActKind::Bind], &[]),
            Ability::Reach => (&[ActKind::Connect], &[ActKind::Bind]),
            Ability::Receive => (&[ActKind::Bind], &[ActKind::Listen]),
            Ability::Observe
            | Ability::Inject
            | Ability::Impersonate
            | Ability::Claim
            | Ability::Tap => (&[ActKind::Packet, ActKind::Raw], &[]),
            Ability::Inspect => (&[ActKind::Packet], &[]),
        };
        let admitted = self.zones.iter().flat_map(|zone| &zone.admitted).map(|held| &held.who);
        let privileged = [0, self.policy.owner()];
        let privileged = privileged.map(|user| Who { user: Some(user), ..Who::default() });
        let mut tried = BTreeSet::from([Profile::from(&forbid.who)]);
        let carriers: BTreeSet<&str> = self
            .zones
            .iter()
            .flat_map(|zone| &zone.carriers)
            .map(|carrier| carrier.zone.as_str())
            .collect();
        let carrying = self.zones.iter().filter(|zone| carriers.contains(zone.name.as_str()));
        let lists: [Vec<&Who>; 4] = [
            admitted.collect(),
            carrying.flat_map(|zone| &zone.admitted).map(|held| &held.who).collect(),
            privileged.iter().chain(self.granted(acts)).collect(),
            self.granted(besides).collect(),
        ];
        for list in lists {
            let distinct: BTreeSet<&Who> = list.into_iter().collect();
            let more: Vec<Profile> = tried
                .iter()
                .flat_map(|profile| distinct.iter().filter_map(|who| profile.and(who)))
                .collect();
            tried.extend(more);
        }
        let mut tried: Vec<Profile> = tried.into_iter().collect();
        tried.sort_by_key(|who| {
            let parts = [who.user.is_some(), who.executable.is_some(), who.cgroup.is_some()];
            who.groups.len() + parts.into_iter().filter(|said| *said).count()
        });
        tried
    }

    fn granted<'a>(&'a self, kinds: &'a [ActKind]) -> impl Iterator<Item = &'a Who> {
        let rules = self.policy.rules().map(|(_, rule)| rule);
        rules
            .filter(|rule| rule.effect == Effect::Grant && kinds.contains(&rule.permit.kind()))
            .map(|rule| &rule.who)
    }
}

/// A user whose groups are known has no others, but what the declaration itself says.
fn exists(who: &Profile, forbid: &Forbid, logins: Logins<'_>) -> bool {
    who.user.and_then(logins).is_none_or(|(group, groups)| {
        let known =
            |own: &u32| *own == group || groups.contains(own) || forbid.who.group == Some(*own);
        who.groups.iter().all(known)
    })
}

#[cfg(test)]
mod tests;
