//! Addresses of interfaces that stay.

use super::{Difference, Step};
use crate::{
    config::{InterfaceConfig, text_of},
    links::described,
};
use anyhow::{Result, bail};
use narrows_stack::{Shard, request::Request};
use narrows_wire::address::Prefix;

/// The interfaces that stay, before and after.
fn kept<'a>(
    difference: &'a Difference<'a>,
) -> impl Iterator<Item = (&'a InterfaceConfig, &'a InterfaceConfig)> {
    let new = difference.new.interfaces.iter();
    new.filter(|config| !difference.coming.contains(&*config.name)).filter_map(|config| {
        let mut old = difference.old.interfaces.iter();
        Some((old.find(|held| held.name == config.name)?, config))
    })
}

/// Nobody else may have got a new address at run time.
pub(super) fn check(shard: &Shard, difference: &Difference<'_>) -> Result<()> {
    let old = difference.old.interfaces.iter().flat_map(|config| &config.addresses);
    let old: Vec<_> = old.map(|prefix| prefix.address()).collect();
    for config in &difference.new.interfaces {
        for prefix in config.addresses.iter().filter(|it| !old.contains(&it.address())) {
            let holder = shard.interfaces().find(|(_, station)| {
                let other =
                    station.settings.name != config.name || !station.addresses.contains(prefix);
                other && station.addresses.iter().any(|held| held.address() == prefix.address())
            });
            if let Some((_, station)) = holder {
                bail!(
                    "{} was given to \"{}\" at run time: remove it there first",
                    prefix.address(),
                    station.settings.name
                );
            }
        }
    }
    Ok(())
}

pub(super) fn going<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    kept(difference).flat_map(|(held, config)| {
        let gone = held.addresses.iter().filter(|prefix| !config.addresses.contains(prefix));
        gone.map(|prefix| {
            let says = format!("{}: address {} removed", config.name, text_of(*prefix));
            step(says, &config.name, *prefix, false)
        })
    })
}

pub(super) fn coming<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    kept(difference).flat_map(|(held, config)| {
        let added = config.addresses.iter().filter(|prefix| !held.addresses.contains(prefix));
        added.map(|prefix| {
            let says = format!("{}: address {} added", config.name, text_of(*prefix));
            step(says, &config.name, *prefix, true)
        })
    })
}

/// Label, peer and the like; who is new to the interface has none yet.
pub(super) fn changed<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    kept(difference).flat_map(|(held, config)| {
        config.addresses.iter().filter_map(|prefix| {
            let details = |config: &InterfaceConfig| {
                let mut described = config.described.iter();
                let found = described.find(|(other, _)| other == prefix);
                found.map(|(_, details)| details.clone()).unwrap_or_default()
            };
            let (before, after) = (details(held), details(config));
            let says = format!("{}: what is said of {}", config.name, text_of(*prefix));
            let (name, prefix) = (config.name.clone(), *prefix);
            (before != after).then(|| {
                Step::ask(says, move |site| {
                    Ok(vec![described(site.named(&name)?, prefix, &after, site.now)?])
                })
            })
        })
    })
}

/// One that the operator added or removed meanwhile is as it is to be.
fn step(says: String, name: &str, prefix: Prefix, wanted: bool) -> Step {
    let name = name.to_owned();
    Step::ask(says, move |site| {
        let interface = site.named(&name)?;
        let station = site.shard.interface(interface);
        let there = station.is_some_and(|station| station.addresses.contains(&prefix));
        Ok(match (wanted, there) {
            (true, false) => vec![Request::AddAddress { interface, prefix }],
            (false, true) => vec![Request::RemoveAddress { interface, prefix }],
            _ => Vec::new(),
        })
    })
}
