//! Reports about the policy, and questions to it.

pub use narrows_policy::audit::Forbid;
pub use narrows_policy::{Defaults, Effect, Permit, Policy, Rule, RuleId, Who};
use serde::{Deserialize, Serialize};

/// A rule of the running daemon, by its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    pub id: RuleId,
    pub rule: Rule,
}

/// May somebody do something?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyQuestion {
    /// `None`: who asks.
    pub subject: Option<SubjectRow>,
    /// `None`: the one that the act would happen in.
    pub zone: Option<String>,
    /// About one thing: [`Permit::acts`] has to know it.
    pub act: Permit,
}

/// A process that might ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectRow {
    pub user: u32,
    pub group: u32,
    pub groups: Vec<u32>,
    pub executable: Option<String>,
    pub cgroup: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAnswer {
    pub allowed: bool,
    /// By which rule, and where it is written; or why without one.
    pub why: String,
}
