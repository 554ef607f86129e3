//! Who the daemon is, and its capabilities (capabilities(7)).

use crate::config::{Account, DaemonConfig};
use anyhow::{Context, Result, bail};
use rustix::{
    process::{Gid, Uid, geteuid, parent_process_death_signal, set_parent_process_death_signal},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};
use std::fs;

/// The calling thread becomes the user that the configuration names, with no more than `kept` of its
/// capabilities, and can gain nothing by execve(2).
pub(crate) fn become_user(config: &DaemonConfig, kept: CapabilitySet) -> Result<()> {
    // The kernel forgets this for whoever becomes another.
    let death_signal = parent_process_death_signal().context("PR_GET_PDEATHSIG")?;
    limit_bounding_set(kept);
    // Only root can become another, and must not stay root.
    if geteuid().is_root() {
        match may_become(config.user)? {
            true => change_user(config.user)?,
            false if config.user_is_wanted => {
                let Account { user, group } = config.user;
                bail!(
                    "this user namespace has no user {user} with group {group}: leave user out \
                     of [daemon]"
                );
            }
            false => {}
        }
    }
    keep_capabilities(kept)?;
    set_no_new_privs(true).context("PR_SET_NO_NEW_PRIVS")?;
    set_parent_process_death_signal(death_signal).context("PR_SET_PDEATHSIG")
}

/// The calling thread keeps no more than `kept`, and can gain nothing by execve(2).
pub(crate) fn keep_only(kept: CapabilitySet) -> Result<()> {
    limit_bounding_set(kept);
    keep_capabilities(kept)?;
    set_no_new_privs(true).context("PR_SET_NO_NEW_PRIVS")
}

fn change_user(account: Account) -> Result<()> {
    let user = Uid::from_raw(account.user);
    let group = Gid::from_raw(account.group);
    set_keep_capabilities(true).context("PR_SET_KEEPCAPS")?;
    set_thread_groups(&[]).context("setgroups")?;
    set_thread_res_gid(group, group, group).context("setresgid")?;
    set_thread_res_uid(user, user, user).context("setresuid")?;
    Ok(())
}

/// Best effort: whoever has no CAP_SETPCAP has no new privileges either, which is as good.
fn limit_bounding_set(kept: CapabilitySet) {
    for capability in CapabilitySet::all().difference(kept).iter() {
        let _ = remove_capability_from_bounding_set(capability);
    }
}

fn keep_capabilities(kept: CapabilitySet) -> Result<()> {
    clear_ambient_capability_set().context("PR_CAP_AMBIENT_CLEAR_ALL")?;
    let held = capabilities(None).context("capget")?.permitted & kept;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: held, permitted: held, inheritable })
        .context("capset")
}

/// Does the user namespace have that user and group, so that one can become them?
fn may_become(account: Account) -> Result<bool> {
    let has = |map: &str, id| -> Result<bool> {
        let text = fs::read_to_string(map).with_context(|| format!("reading {map}"))?;
        Ok(maps(&text, id))
    };
    Ok(has("/proc/self/uid_map", account.user)? && has("/proc/self/gid_map", account.group)?)
}

/// Lines of "first, first outside, how many" (user_namespaces(7)).
fn maps(text: &str, id: u32) -> bool {
    text.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(|word| word.parse::<u32>().ok());
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let (Some(Some(first)), Some(Some(count))) = (first, count) else { return false };
        id.checked_sub(first).is_some_and(|offset| offset < count)
    })
}

/// As capabilities(7) has them, in lower case and without their prefix.
pub(crate) fn capability_names(set: CapabilitySet) -> Vec<String> {
    set.iter_names().map(|(name, _)| name.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_of_a_namespace() {
        let whole = "         0          0 4294967295\n";
        let root_alone = "         0       1000          1\n";
        let parts = "0 1000 1\n1 100000 65536\n";
        for (map, id, expected) in [
            (whole, 0, true),
            (whole, 65_530, true),
            (whole, u32::MAX, false),
            (root_alone, 0, true),
            (root_alone, 1, false),
            (root_alone, 65_530, false),
            (parts, 65_530, true),
            (parts, 65_537, false),
            ("", 0, false),
            ("0 0\nx y z\n", 0, false),
        ] {
            assert_eq!(maps(map, id), expected, "{id} of {map:?}");
        }
    }

    #[test]
    fn capabilities_have_their_names() {
        let set = CapabilitySet::NET_RAW | CapabilitySet::NET_ADMIN;
        assert_eq!(capability_names(set), ["net_admin", "net_raw"]);
        assert!(capability_names(CapabilitySet::empty()).is_empty());
    }
}
