//! What `/proc` says of a process.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is not known is empty, or false.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessFacts {
    pub executable: String,
    pub cgroup: String,
    /// Does its number mean the same to it as to the daemon? It is in the same PID namespace then.
    pub counts_as_here: bool,
}

impl ProcessFacts {
    /// Of the process that has the number now.
    pub(crate) fn read(pid: u32) -> Self {
        Self {
            executable: executable(pid),
            cgroup: cgroup(pid),
            counts_as_here: counts_as_here(pid),
        }
    }
}

fn executable(pid: u32) -> String {
    let path = std::fs::read_link(format!("/proc/{pid}/exe"));
    path.map(|path: PathBuf| path.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The daemon and its keeper are in the same namespaces.
fn counts_as_here(pid: u32) -> bool {
    let namespace = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/pid"));
    match (namespace(&pid.to_string()), namespace("self")) {
        (Ok(theirs), Ok(ours)) => theirs == ours,
        _ => false,
    }
}

fn cgroup(pid: u32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    cgroup_in(&text).unwrap_or_default().to_owned()
}

/// The path that cgroups(7) calls the process's, of `/proc/PID/cgroup`.
fn cgroup_in(text: &str) -> Option<&str> {
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    let named = || text.lines().find_map(|line| line.split_once(":name=systemd:"));
    unified.or_else(|| named().map(|(_, path)| path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_groups_of_both_versions() {
        for (text, expected) in [
            ("0::/system.slice/nginx.service\n", Some("/system.slice/nginx.service")),
            ("9:name=systemd:/a\n4:memory:/b\n0::/c:d\n", Some("/c:d")),
            ("9:cpu:/b\n1:name=systemd:/user.slice/x\n", Some("/user.slice/x")),
            ("4:memory:/b\n", None),
            ("", None),
        ] {
            assert_eq!(cgroup_in(text), expected, "{text:?}");
        }
    }
}
