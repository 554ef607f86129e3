//! Routes beside those that addresses imply, and rules.

use super::{Difference, Step};
use crate::{
    config::{Configuration, RouteConfig, RuleConfig, text_of},
    links::Site,
};
use narrows_stack::{
    InterfaceId,
    request::Request,
    table::route::{Action, Placement, RouteFilter, RuleFilter, TableId},
};

pub(crate) fn add(config: &RouteConfig, interfaces: &[InterfaceId]) -> Request {
    Request::AddRoute { route: config.route(interfaces), placement: Placement::Alone }
}

pub(crate) fn add_rule(config: &RuleConfig, interfaces: &[InterfaceId]) -> Request {
    Request::AddRule { rule: config.rule(interfaces) }
}

fn remove(config: &RouteConfig, interfaces: &[InterfaceId]) -> Request {
    let route = config.route(interfaces);
    let facts = route.facts;
    Request::RemoveRoute {
        filter: RouteFilter {
            kind: Some(facts.kind),
            protocol: Some(facts.protocol),
            metric: Some(facts.metric),
            hops: facts.hops.iter().map(|hop| (Some(hop.interface), hop.via)).collect(),
            ..RouteFilter::to(route.to, route.table)
        },
    }
}

fn remove_rule(config: &RuleConfig, interfaces: &[InterfaceId]) -> Request {
    let rule = config.rule(interfaces);
    Request::RemoveRule {
        filter: RuleFilter {
            preference: Some(rule.preference),
            selector: rule.selector,
            action: Some(rule.action),
        },
    }
}

/// The names of a configuration's interfaces, which routes and rules know by their places.
fn names(configuration: &Configuration) -> Vec<String> {
    configuration.interfaces.iter().map(|config| config.name.clone()).collect()
}

fn name(names: &[String], index: usize) -> &str {
    names.get(index).map_or("", String::as_str)
}

/// Their numbers, as they are by then.
fn ids(site: &Site<'_>, names: &[String]) -> Vec<InterfaceId> {
    names.iter().map(|name| site.named(name).unwrap_or(InterfaceId::LOOPBACK)).collect()
}

/// By interfaces that all go: it goes along.
fn goes_along(difference: &Difference<'_>, config: &RouteConfig, names: &[String]) -> bool {
    let goes = |index| difference.going.contains(name(names, index));
    !config.hops.is_empty() && config.hops.iter().all(|hop| goes(hop.interface))
}

/// Is the route in the other configuration too, on interfaces that stay?
fn is_kept(
    difference: &Difference<'_>,
    (config, here): (&RouteConfig, &[String]),
    other: &Configuration,
) -> bool {
    let there = names(other);
    let same = |held: &RouteConfig| {
        let hops = config.hops.iter().zip(&held.hops);
        let same_links = hops.clone().all(|(a, b)| {
            let link = name(here, a.interface);
            link == name(&there, b.interface) && !difference.coming.contains(link)
        });
        let placed = RouteConfig { hops: held.hops.clone(), ..config.clone() };
        let same_hops = config.hops.len() == held.hops.len()
            && hops
                .clone()
                .all(|(a, b)| (a.via, a.weight, a.on_link) == (b.via, b.weight, b.on_link));
        same_links && same_hops && placed == *held
    };
    other.routes.iter().any(same)
}

/// The same of a rule.
fn is_rule_kept(
    difference: &Difference<'_>,
    (config, here): (&RuleConfig, &[String]),
    other: &Configuration,
) -> bool {
    let there = names(other);
    let link =
        |names: &[String], index: Option<usize>| index.map(|index| name(names, index).to_owned());
    let same = |held: &RuleConfig| {
        let links = [(config.input, held.input), (config.output, held.output)];
        let same_links = links.into_iter().all(|(a, b)| {
            let (a, b) = (link(here, a), link(&there, b));
            a == b && a.is_none_or(|name| !difference.coming.contains(&*name))
        });
        let placed = RuleConfig { input: held.input, output: held.output, ..config.clone() };
        same_links && placed == *held
    };
    other.rules.iter().any(same)
}

fn describe(config: &RouteConfig, names: &[String]) -> String {
    let mut text = format!("route to {}", text_of(config.to));
    if config.table != TableId::MAIN {
        text += &format!(" in table {}", config.table.0);
    }
    for hop in &config.hops {
        text += &hop.via.map(|via| format!(" via {via}")).unwrap_or_default();
        text += &format!(" dev {}", name(names, hop.interface));
    }
    text
}

fn describe_rule(config: &RuleConfig) -> String {
    match config.action {
        Action::Lookup(table) => format!("rule {} lookup {}", config.preference, table.0),
        Action::Goto(target) => format!("rule {} goto {target}", config.preference),
        _ => format!("rule {}", config.preference),
    }
}

pub(super) fn going<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    let names = names(difference.old);
    let rules = difference.old.rules.iter().filter({
        let names = names.clone();
        move |config| !is_rule_kept(difference, (config, &names), difference.new)
    });
    let rules = rules.map({
        let names = names.clone();
        move |config| {
            let (config, names) = (config.clone(), names.clone());
            Step::forget(format!("{} removed", describe_rule(&config)), move |site| {
                Ok(vec![remove_rule(&config, &ids(site, &names))])
            })
        }
    });
    let routes = difference.old.routes.iter().filter({
        let names = names.clone();
        move |config| {
            !goes_along(difference, config, &names)
                && !is_kept(difference, (config, &names), difference.new)
        }
    });
    let routes = routes.map(move |config| {
        let (config, names) = (config.clone(), names.clone());
        Step::forget(format!("{} removed", describe(&config, &names)), move |site| {
            Ok(vec![remove(&config, &ids(site, &names))])
        })
    });
    rules.chain(routes)
}

pub(super) fn coming<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    let names = names(difference.new);
    let mut routes: Vec<_> = difference.new.routes.iter().collect();
    routes.retain(|config| !is_kept(difference, (config, &names), difference.old));
    // Gateways may be reached by those without.
    routes.sort_by_key(|config| config.has_gateway());
    let routes = routes.into_iter().map({
        let names = names.clone();
        move |config| {
            let (config, names) = (config.clone(), names.clone());
            Step::ask(format!("{} added", describe(&config, &names)), move |site| {
                Ok(vec![add(&config, &ids(site, &names))])
            })
        }
    });
    let rules = difference.new.rules.iter().filter({
        let names = names.clone();
        move |config| !is_rule_kept(difference, (config, &names), difference.old)
    });
    let rules = rules.map(move |config| {
        let (config, names) = (config.clone(), names.clone());
        Step::ask(format!("{} added", describe_rule(&config)), move |site| {
            Ok(vec![add_rule(&config, &ids(site, &names))])
        })
    });
    routes.chain(rules)
}
