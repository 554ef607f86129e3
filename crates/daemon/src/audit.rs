//! A configuration file as the audit sees it, without a daemon and on any machine: devices need not
//! be there, users and groups that are named by name have to be.

use crate::config::{Configuration, PUBLIC};
use anyhow::{Context, Result};
use narrows_policy::{
    Policy,
    audit::{Admitted, Carrier, Forbid, Model, Zone},
};
use narrows_stack::table::{autoconf::AddressSource, zone::ZoneId};
use std::{net::Ipv4Addr, path::Path};

/// What a file comes to.
#[derive(Clone, Debug)]
pub struct Audited {
    pub model: Model,
    pub forbidden: Vec<Forbid>,
    /// Interfaces whose addresses only a running daemon knows.
    pub unaddressed: Vec<String>,
}

/// Reads a configuration file; nobody but root is the daemon's user. An error says what is wrong with
/// the file, and where.
pub fn read(file: &Path) -> Result<Audited> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("can't read the configuration {}", file.display()))?;
    Ok(audited(Configuration::parse_elsewhere(file, &text)?))
}

fn audited(configuration: Configuration) -> Audited {
    let ids = configuration.zones.iter().map(|zone| zone.id);
    let zones = std::iter::once(ZoneId::PUBLIC).chain(ids);
    let zones = zones.map(|id| zone(&configuration, id)).collect();
    let mut policy = Policy::new(0);
    policy.set_defaults(configuration.defaults);
    policy.add(configuration.policy);
    let finds_its_own = configuration.interfaces.iter().filter(|interface| {
        matches!(interface.source, AddressSource::Dhcp | AddressSource::LinkLocal)
    });
    Audited {
        model: Model { policy, zones },
        forbidden: configuration.forbidden,
        unaddressed: finds_its_own.map(|interface| interface.name.clone()).collect(),
    }
}

fn zone(configuration: &Configuration, id: ZoneId) -> Zone {
    let declared = configuration.zones.iter().find(|zone| zone.id == id);
    let interfaces = || configuration.interfaces.iter().filter(|interface| interface.zone == id);
    // The loopback interface is always there.
    let own = (id == ZoneId::PUBLIC).then_some(("lo", Ipv4Addr::LOCALHOST.into()));
    let addresses = interfaces().flat_map(|interface| &interface.addresses);
    let addresses = addresses.map(|prefix| prefix.address());
    let names = interfaces().map(|interface| interface.name.as_str());
    let mut reachable_from: Vec<String> = Vec::new();
    for allow in configuration.allows.iter().map(|allow| allow.crossing).filter(|one| one.to == id)
    {
        let from = configuration.zone_name(allow.from);
        if !reachable_from.iter().any(|held| held == from) {
            reachable_from.push(from.to_owned());
        }
    }
    let admitted = declared.into_iter().flat_map(|zone| &zone.admitted);
    Zone {
        name: declared.map_or(PUBLIC, |zone| &zone.name).to_owned(),
        private: declared.is_some_and(|zone| zone.private),
        admitted: admitted
            .map(|held| Admitted {
                who: held.who.clone(),
                address: held.member.map(|member| member.address.into()),
            })
            .collect(),
        addresses: own.map(|(_, address)| address).into_iter().chain(addresses).collect(),
        interfaces: own.map(|(name, _)| name).into_iter().chain(names).map(str::to_owned).collect(),
        carriers: carriers(configuration, id),
        reachable_from,
    }
}

/// What the interfaces of a zone stand upon that is in another.
fn carriers(configuration: &Configuration, id: ZoneId) -> Vec<Carrier> {
    let all = &configuration.interfaces;
    let named = |name: &str| all.iter().find(|one| one.name == name);
    let own = all.iter().filter(|one| one.zone == id).map(|one| one.name.as_str());
    let below = |name: &str| -> Vec<&str> {
        named(name).map_or(&[][..], |one| one.link.below()).iter().map(String::as_str).collect()
    };
    let zone_of = |name: &str| named(name).map(|one| configuration.zone_name(one.zone));
    Carrier::of(configuration.zone_name(id), own, below, zone_of)
}
