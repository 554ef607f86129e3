//! Rules of policy, added and removed at run time. They hold for what is asked from then on; what a
//! program has already, it keeps.

use narrows_ipc::{Error, change::Change};
use narrows_policy::{Policy, Rule, RuleId};

/// `None`: the change is about something else.
pub(super) fn apply(policy: &mut Policy, change: &Change) -> Option<Result<(), Error>> {
    match change {
        Change::AddPolicy { rule } => Some(add(policy, rule)),
        Change::RemovePolicy { rule } => Some(remove(policy, |_, held| held.says_the_same(rule))),
        Change::RemovePolicyById { id } => Some(remove(policy, |held, _| held == *id)),
        _ => None,
    }
}

fn add(policy: &mut Policy, rule: &Rule) -> Result<(), Error> {
    // Where it comes from is not for the program to say.
    let rule = Rule { origin: narrows_policy::Origin::Added, ..rule.clone() };
    if policy.add([rule]).is_empty() { Err(Error::AlreadyExists) } else { Ok(()) }
}

fn remove(policy: &mut Policy, which: impl Fn(RuleId, &Rule) -> bool) -> Result<(), Error> {
    if policy.remove(which) == 0 { Err(Error::NoSuchEntry) } else { Ok(()) }
}
