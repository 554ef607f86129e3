//! Users and groups by name and by number, as this machine knows them.

use anyhow::{Context, Result};
use nix::unistd::{Gid, Group, Uid, User};
use std::ffi::CString;

pub fn of_user(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

pub fn of_group(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}

/// A number is itself, as in chown(1).
pub fn user(text: &str) -> Result<u32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let user = User::from_name(text).with_context(|| format!("looking up user `{text}`"))?;
    Ok(user.with_context(|| format!("no user `{text}` on this machine"))?.uid.as_raw())
}

pub fn group(text: &str) -> Result<u32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let group = Group::from_name(text).with_context(|| format!("looking up group `{text}`"))?;
    Ok(group.with_context(|| format!("no group `{text}` on this machine"))?.gid.as_raw())
}

/// The main group that a user logs in with, and the others; `None` if nothing is known of him.
pub fn groups_of(uid: u32) -> Option<(u32, Vec<u32>)> {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
    let name = CString::new(user.name).ok()?;
    let groups = nix::unistd::getgrouplist(&name, user.gid).ok()?;
    let mut groups: Vec<u32> = groups.into_iter().map(Gid::as_raw).collect();
    groups.sort_unstable();
    groups.dedup();
    Some((user.gid.as_raw(), groups))
}
