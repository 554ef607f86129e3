//! Rules between the operator's words and the engine's.

use crate::{
    change::{interface_named, prefix},
    control::interface_name,
    worker::Worker,
};
use narrows_ipc::{
    Error,
    route::{RuleAction, RuleRow, RuleSelector},
};
use narrows_stack::{
    InterfaceId,
    request::Request,
    table::route::{Action, Rule, RuleFilter, Selector, TableId},
};
use narrows_wire::address::Prefix;
use std::net::IpAddr;

pub(crate) fn add(worker: &Worker, rule: &RuleRow) -> Result<Request, Error> {
    let action = rule.action.ok_or(Error::InvalidArgument)?;
    Ok(Request::AddRule {
        rule: Rule {
            preference: rule.preference.unwrap_or(0),
            selector: selector(worker, &rule.selector)?,
            action: engine_action(action),
        },
    })
}

pub(crate) fn remove(worker: &Worker, rule: &RuleRow) -> Result<Request, Error> {
    Ok(Request::RemoveRule {
        filter: RuleFilter {
            preference: rule.preference,
            selector: selector(worker, &rule.selector)?,
            action: rule.action.map(engine_action),
        },
    })
}

pub(crate) fn report(worker: &Worker) -> impl Iterator<Item = RuleRow> {
    let pair = |prefix: Prefix| (prefix.address(), prefix.length());
    let name = |id: InterfaceId| interface_name(worker, id);
    worker.shard.rules().map(move |Rule { preference, selector, action }| RuleRow {
        preference: Some(*preference),
        selector: RuleSelector {
            not: selector.invert,
            from: selector.from.map(pair),
            to: selector.to.map(pair),
            input: selector.input.map(name),
            output: selector.output.map(name),
            input_group: selector.input_group,
            output_group: selector.output_group,
            mark: selector.mark,
            users: selector.users.as_ref().map(|users| (*users.start(), *users.end())),
        },
        action: Some(match action {
            Action::Lookup(table) => RuleAction::Lookup(table.0),
            Action::Goto(preference) => RuleAction::Goto(*preference),
            Action::Blackhole => RuleAction::Blackhole,
            Action::Unreachable => RuleAction::Unreachable,
            Action::Prohibit => RuleAction::Prohibit,
        }),
    })
}

fn selector(worker: &Worker, asked: &RuleSelector) -> Result<Selector, Error> {
    // All addresses are as good as none named.
    let network = |pair: Option<(IpAddr, u8)>| {
        pair.filter(|(_, length)| *length > 0)
            .map(|(address, length)| Ok(prefix(address, length)?.network()))
            .transpose()
    };
    let named = |name: &Option<String>| {
        name.as_deref().map(|name| interface_named(worker, name)).transpose()
    };
    Ok(Selector {
        invert: asked.not,
        from: network(asked.from)?,
        to: network(asked.to)?,
        input: named(&asked.input)?,
        output: named(&asked.output)?,
        input_group: asked.input_group,
        output_group: asked.output_group,
        mark: asked.mark,
        users: asked.users.map(|(first, last)| first..=last),
    })
}

fn engine_action(action: RuleAction) -> Action {
    match action {
        RuleAction::Lookup(table) => Action::Lookup(TableId(table)),
        RuleAction::Goto(preference) => Action::Goto(preference),
        RuleAction::Blackhole => Action::Blackhole,
        RuleAction::Unreachable => Action::Unreachable,
        RuleAction::Prohibit => Action::Prohibit,
    }
}
