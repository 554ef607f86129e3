//! Whom a rule or a question is about.

use super::names;
use crate::arguments::PolicyQuery;
use anyhow::{Context, Result, ensure};
use narrows_ipc::policy::SubjectRow;
use narrows_policy::Who;

/// No group has this number (it is setgid(2)'s for none), so no rule about groups applies.
const NO_GROUP: u32 = u32::MAX;

/// As it was written.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    user: Option<String>,
    groups: Vec<String>,
    executable: Option<String>,
    cgroup: Option<String>,
    zone: Option<String>,
}

impl Asked {
    pub fn from_options(query: &PolicyQuery) -> Self {
        Self {
            user: query.user.clone(),
            groups: query.group.clone(),
            executable: query.executable.clone(),
            cgroup: query.cgroup.clone(),
            zone: query.zone.clone(),
        }
    }

    /// Takes a keyword with its value; false: there is no such keyword.
    pub fn set(&mut self, keyword: &str, value: &str) -> bool {
        let value = value.to_owned();
        match keyword {
            "user" => self.user = Some(value),
            "group" => self.groups.push(value),
            "executable" | "exe" => self.executable = Some(value),
            "cgroup" => self.cgroup = Some(value),
            "zone" => self.zone = Some(value),
            _ => return false,
        }
        true
    }

    pub fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    /// Whom a rule would be about.
    pub fn who(&self) -> Result<Who> {
        ensure!(self.groups.len() <= 1, "a rule is about one group: write a rule for each");
        for path in [&self.executable, &self.cgroup].into_iter().flatten() {
            ensure!(path.starts_with('/'), "`{path}`: write the whole path, from / on");
        }
        Ok(Who {
            user: self.user.as_deref().map(names::user).transpose()?,
            group: self.groups.first().map(|group| names::group(group)).transpose()?,
            executable: self.executable.clone(),
            cgroup: self.cgroup.clone(),
            zone: self.zone.clone(),
        })
    }

    /// Who would ask; `None`: this very process. Without groups, a user has those he logs in with.
    pub fn subject(&self) -> Result<Option<SubjectRow>> {
        let Asked { user, groups, executable, cgroup, .. } = self;
        if user.is_none() && groups.is_empty() && executable.is_none() && cgroup.is_none() {
            return Ok(None);
        }
        let user = user.as_deref().context("who would ask? write --user NAME, too")?;
        let user = names::user(user)?;
        let groups = groups.iter().map(|group| names::group(group)).collect::<Result<Vec<_>>>()?;
        let (group, groups) = match groups.first() {
            Some(first) => (*first, groups),
            None => names::groups_of(user).unwrap_or((NO_GROUP, Vec::new())),
        };
        let (executable, cgroup) = (executable.clone(), cgroup.clone());
        Ok(Some(SubjectRow { user, group, groups, executable, cgroup }))
    }
}
