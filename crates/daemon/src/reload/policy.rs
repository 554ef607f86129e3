//! Rules of policy and defaults. They come last, all at once, since nothing else depends on them; what
//! programs have got by rules that went, they keep.

use crate::config::Configuration;
use narrows_policy::{ActKind, Policy};

/// Applies the difference; what it was, a line each.
pub(super) fn apply(policy: &mut Policy, old: &Configuration, new: &Configuration) -> Vec<String> {
    let mut done = Vec::new();
    for kind in ActKind::ALL {
        let (was, is) = (old.defaults.get(kind), new.defaults.get(kind));
        if was != is {
            done.push(format!("policy: {} by default {}", kind.name(), is.name()));
        }
    }
    if !done.is_empty() {
        policy.set_defaults(new.defaults);
    }
    let (went, came) = policy.replace(&old.policy, &new.policy);
    done.extend(went.iter().map(|rule| format!("policy: {rule} removed")));
    done.extend(came.iter().map(|rule| format!("policy: {rule} added")));
    if old.forbidden != new.forbidden {
        done.push("policy: what is forbidden".into());
    }
    done
}
