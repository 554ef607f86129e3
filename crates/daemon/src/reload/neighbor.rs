//! Neighbors that are not asked for.

use super::{Difference, Step};
use crate::config::{Configuration, NeighborConfig};
use narrows_stack::{InterfaceId, request::Request};

pub(crate) fn add(config: &NeighborConfig, interface: InterfaceId) -> Request {
    Request::PinNeighbor { interface, address: config.address.into(), mac: config.mac }
}

/// With the names of their interfaces.
fn named(configuration: &Configuration) -> impl Iterator<Item = (&NeighborConfig, &str)> {
    configuration
        .neighbors
        .iter()
        .filter_map(|config| Some((config, &*configuration.interfaces.get(config.interface)?.name)))
}

/// Is it in the other configuration too, on an interface that stays?
fn is_kept(
    difference: &Difference<'_>,
    other: &Configuration,
    (config, name): (&NeighborConfig, &str),
) -> bool {
    !difference.coming.contains(name)
        && named(other)
            .any(|(held, at)| (held.address, held.mac, at) == (config.address, config.mac, name))
}

pub(super) fn going<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    // Of an interface that goes they go along.
    let gone = named(difference.old).filter(|(config, name)| {
        !difference.going.contains(name) && !is_kept(difference, difference.new, (config, name))
    });
    gone.map(|(config, name)| {
        let (address, name) = (config.address.into(), name.to_owned());
        Step::forget(format!("neighbor {address} on {name} removed"), move |site| {
            Ok(vec![Request::RemoveNeighbor { interface: site.named(&name)?, address }])
        })
    })
}

pub(super) fn coming<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    let new = named(difference.new)
        .filter(|(config, name)| !is_kept(difference, difference.old, (config, name)));
    new.map(|(config, name)| {
        let (config, name) = (*config, name.to_owned());
        let says = format!("neighbor {} on {name} added", config.address);
        Step::ask(says, move |site| Ok(vec![add(&config, site.named(&name)?)]))
    })
}
