//! The policy's report, and what it would decide.

use super::page;
use crate::worker::Worker;
use mio::Token;
use narrows_ipc::{
    Answer, Error, Reply,
    policy::{PolicyAnswer, PolicyQuestion, PolicyRow, SubjectRow},
};
use narrows_policy::{Decision, Policy, Subject};

pub(super) fn report(policy: &Policy, after: u32) -> Reply {
    let rules = policy.rules().map(|(id, rule)| PolicyRow { id, rule: rule.clone() });
    let page = page(rules, after);
    Reply::Policy { owner: policy.owner(), defaults: *policy.defaults(), page }
}

/// A refusal that is only asked about is neither counted nor logged.
pub(super) fn decide(worker: &mut Worker, token: Token, question: &PolicyQuestion) -> Answer {
    let session = worker.sessions.get_mut(token).ok_or(Error::BadMessage)?;
    let subject = match &question.subject {
        Some(row) => subject(row),
        None => session.principal.subject(),
    };
    let acts = question.act.acts().ok_or(Error::InvalidArgument)?;
    let authority = &worker.authority;
    let mut decided: Option<Decision> = None;
    for act in &acts {
        let decision = match &question.zone {
            Some(zone) => authority.policy.decide(&subject, zone, act),
            None => authority.decide(Some(&worker.shard), &subject, act),
        };
        // All of it has to be allowed; what is not is the answer.
        if decided.is_none_or(|earlier| earlier.allowed) {
            decided = Some(decision);
        }
    }
    let decision = decided.ok_or(Error::InvalidArgument)?;
    let why = worker.authority.explain(decision);
    Ok(Reply::Decided(PolicyAnswer { allowed: decision.allowed, why }))
}

fn subject(row: &SubjectRow) -> Subject<'_> {
    Subject {
        user: row.user,
        group: row.group,
        groups: &row.groups,
        executable: row.executable.as_deref(),
        cgroup: row.cgroup.as_deref(),
    }
}
