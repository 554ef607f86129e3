//! Routes beside those that addresses imply.

use super::{Difference, Step};
use crate::config::{Configuration, RouteConfig, text_of};
use narrows_stack::{
    InterfaceId,
    request::Request,
    table::route::{Facts, Placement, Route, RouteFilter, RouteProtocol, TableId},
};

pub(crate) fn add(config: &RouteConfig, interface: InterfaceId) -> Request {
    let plain = Route::unicast(config.to, interface, config.via);
    let facts = Facts { protocol: RouteProtocol::STATIC, ..plain.facts };
    Request::AddRoute { route: Route { facts, ..plain }, placement: Placement::Alone }
}

fn remove(config: &RouteConfig, interface: InterfaceId) -> Request {
    let mut filter = RouteFilter::to(config.to, TableId::MAIN);
    filter.protocol = Some(RouteProtocol::STATIC);
    filter.hops = vec![(Some(interface), config.via)];
    Request::RemoveRoute { filter }
}

/// With the names of their interfaces.
fn named(configuration: &Configuration) -> impl Iterator<Item = (&RouteConfig, &str)> {
    configuration
        .routes
        .iter()
        .filter_map(|config| Some((config, &*configuration.interfaces.get(config.interface)?.name)))
}

/// Is it in the other configuration too, on an interface that stays?
fn is_kept(
    difference: &Difference<'_>,
    other: &Configuration,
    (config, name): (&RouteConfig, &str),
) -> bool {
    !difference.coming.contains(name)
        && named(other).any(|(held, at)| (held.to, held.via, at) == (config.to, config.via, name))
}

fn describe(config: &RouteConfig, name: &str) -> String {
    let via = config.via.map(|via| format!(" via {via}")).unwrap_or_default();
    format!("route to {}{via} dev {name}", text_of(config.to))
}

pub(super) fn going<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    // By an interface that goes they go along.
    let gone = named(difference.old).filter(|(config, name)| {
        !difference.going.contains(name) && !is_kept(difference, difference.new, (config, name))
    });
    gone.map(|(config, name)| {
        let says = format!("{} removed", describe(config, name));
        let (config, name) = (*config, name.to_owned());
        Step::ask(says, move |site| Ok(vec![remove(&config, site.named(&name)?)]))
    })
}

pub(super) fn coming<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    let new = named(difference.new)
        .filter(|(config, name)| !is_kept(difference, difference.old, (config, name)));
    new.map(|(config, name)| {
        let says = format!("{} added", describe(config, name));
        let (config, name) = (*config, name.to_owned());
        Step::ask(says, move |site| Ok(vec![add(&config, site.named(&name)?)]))
    })
}
