//! Interfaces that come, go, or are set otherwise.

use super::{Act, Difference, Step};
use crate::{
    attachment::Attachment,
    config::{Configuration, InterfaceConfig, LinkConfig, LinkOptions, from_below},
    links::Site,
};
use anyhow::{Result, bail};
use narrows_device::DeviceSpec;
use narrows_stack::{
    Shard,
    request::{LinkChange, LinkSettings, PortChange, Request},
};
use std::collections::BTreeSet;

/// Interfaces of the same name that are something else now: another device or VLAN, or one whose
/// ground goes. Addresses the operator took back (a MAC or MTU of its own) need a new one too.
/// So do those that were taken away at run time (`gone`).
pub(super) fn remade<'a>(
    old: &'a Configuration,
    new: &'a Configuration,
    gone: &BTreeSet<&'a str>,
) -> BTreeSet<&'a str> {
    let mut remade = BTreeSet::new();
    for index in from_below(&new.interfaces) {
        let Some(config) = new.interfaces.get(index) else { continue };
        let Some(held) = find(old, &config.name) else { continue };
        let other = match (&held.link, &config.link) {
            (LinkConfig::Bond { .. }, LinkConfig::Bond { .. })
            | (LinkConfig::Bridge { .. }, LinkConfig::Bridge { .. }) => false,
            (before, after) => before != after || held.kernel != config.kernel,
        };
        let ground = match &config.link {
            LinkConfig::Vlan { lower, .. } => {
                remade.contains(&**lower) || find(old, lower).is_none()
            }
            _ => false,
        };
        let (before, after) = (&held.options, &config.options);
        let unset = (before.mac.is_some() && after.mac.is_none())
            || (before.mtu.is_some() && after.mtu.is_none());
        if other || ground || unset || gone.contains(&*config.name) {
            remade.insert(&*config.name);
        }
    }
    remade
}

fn find<'a>(configuration: &'a Configuration, name: &str) -> Option<&'a InterfaceConfig> {
    configuration.interfaces.iter().find(|config| config.name == name)
}

/// What was made at run time may stand in the way.
pub(super) fn check(
    shard: &Shard,
    attachments: &[Attachment],
    difference: &Difference<'_>,
) -> Result<()> {
    for config in &difference.new.interfaces {
        let holder = attachments.iter().find(|held| Some(&held.spec) == config.link.device());
        let holder = holder.and_then(|held| shard.interface(held.interface));
        if let Some(station) = holder.filter(|_| difference.coming.contains(&*config.name))
            && !difference.going.contains(&*station.settings.name)
        {
            bail!(
                "device {} of \"{}\" is that of \"{}\", made or renamed at run time: delete or \
                 rename that first",
                config.link.describe(),
                config.name,
                station.settings.name
            );
        }
    }
    for (id, station) in shard.interfaces() {
        let name = &*station.settings.name;
        let configured = find(difference.old, name).is_some();
        if !configured && difference.coming.contains(name) {
            bail!("there is an interface \"{name}\" already, made at run time: delete it first");
        }
        if !difference.going.contains(name) {
            continue;
        }
        let tied = shard.links().above(id).chain(shard.links().members(id));
        for other in tied.filter_map(|id| shard.interface(id)) {
            let other = &*other.settings.name;
            if find(difference.old, other).is_none() {
                bail!("\"{name}\" is tied to \"{other}\", made at run time: delete that first");
            }
        }
    }
    Ok(())
}

/// Members leave first, then interfaces go from above.
pub(super) fn going<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    let old = &difference.old.interfaces;
    let released = old.iter().flat_map(|config| {
        config.link.members().iter().filter_map(|member| released(difference, config, member))
    });
    let removed = from_below(old).into_iter().rev().filter_map(|index| old.get(index));
    let removed = removed.filter(|config| {
        let name = &*config.name;
        difference.going.contains(name) && !difference.gone.contains(name)
    });
    let removed = removed.map(|config| Step {
        says: format!("interface {} removed", config.name),
        act: Act::Remove(config.name.clone()),
    });
    released.chain(removed)
}

/// The step by which a member leaves, if it does.
fn released(difference: &Difference<'_>, master: &InterfaceConfig, member: &str) -> Option<Step> {
    let now = find(difference.new, &master.name);
    let stays = now.is_some_and(|now| now.link.members().iter().any(|name| name == member))
        && !difference.going.contains(&*master.name)
        && !difference.going.contains(member);
    let gone = [&*master.name, member].iter().any(|name| difference.gone.contains(name));
    if stays || gone {
        return None;
    }
    let (name, member) = (master.name.clone(), member.to_owned());
    Some(Step::ask(format!("{member} taken out of {name}"), move |site| {
        let member = site.named(&member)?;
        let held = site.shard.links().get(member).and_then(|link| link.master);
        // The operator may have taken it out at run time.
        Ok(held.map(|_| Request::Release { member }).into_iter().collect())
    }))
}

/// Interfaces come from below; those that stay get their new members and settings.
pub(super) fn coming<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    let new = &difference.new.interfaces;
    from_below(new).into_iter().filter_map(|index| new.get(index)).flat_map(|config| {
        if difference.coming.contains(&*config.name) {
            let says = format!("interface {} on {} added", config.name, config.link.describe());
            return vec![Step { says, act: Act::Make(config.clone()) }];
        }
        let held = find(difference.old, &config.name);
        held.map(|held| changed(difference, held, config)).unwrap_or_default()
    })
}

/// Ports that a bridge is told of anew.
pub(super) fn ports<'a>(difference: &'a Difference<'a>) -> impl Iterator<Item = Step> + 'a {
    let master = |configuration: &'a Configuration, name: &str| {
        let mut all = configuration.interfaces.iter();
        all.find(|config| config.link.members().iter().any(|member| member == name))
            .map(|config| &*config.name)
    };
    let new = difference.new.interfaces.iter().filter(move |config| {
        let (before, after) =
            (master(difference.old, &config.name), master(difference.new, &config.name));
        let told = config.options.bound.is_some() || !config.options.stations.is_empty();
        let fresh = before != after
            || difference.coming.contains(&*config.name)
            || after.is_some_and(|master| difference.coming.contains(master));
        told && after.is_some() && fresh
    });
    new.map(|config| Step {
        says: format!("{}: who may speak by it, and who is behind it", config.name),
        act: Act::Port(config.clone()),
    })
}

fn changed(
    difference: &Difference<'_>,
    held: &InterfaceConfig,
    config: &InterfaceConfig,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let name = &config.name;
    for member in config.link.members() {
        let was = held.link.members().contains(member) && !difference.going.contains(&**member);
        if !was {
            let (master, member) = (name.clone(), member.clone());
            steps.push(Step::ask(format!("{member} put into {master}"), move |site| {
                let (member, master) = (site.named(&member)?, site.named(&master)?);
                Ok(vec![Request::Enslave { member, master }])
            }));
        }
    }
    if settings_of(&held.link) != settings_of(&config.link) {
        let config = config.clone();
        steps.push(Step::ask(
            format!("{name}: settings of the {}", kind(&config.link)),
            move |site| {
                let interface = site.named(&config.name)?;
                let settings = settings(site, &config.link)?;
                Ok(settings
                    .map(|settings| Request::ConfigureLink { interface, settings })
                    .into_iter()
                    .collect())
            },
        ));
    }
    if held.arp != config.arp {
        let (name, policy) = (name.clone(), config.arp);
        steps.push(Step::ask(format!("{name}: ARP policy"), move |site| {
            Ok(vec![Request::SetArpPolicy { interface: site.named(&name)?, policy }])
        }));
    }
    if held.routing != config.routing {
        let (name, routing) = (name.clone(), config.routing);
        steps.push(Step::ask(format!("{name}: forwarding and host model"), move |site| {
            Ok(vec![Request::SetRouting { interface: site.named(&name)?, routing }])
        }));
    }
    // A VLAN may have followed its link.
    let link_moved = config.link.below().iter().any(|lower| {
        let zone = |all: &Configuration| find(all, lower).map(|found| found.zone);
        zone(difference.old) != zone(difference.new)
    });
    if held.zone != config.zone || link_moved {
        let (name, zone) = (name.clone(), config.zone);
        let says = format!("{name}: zone {}", difference.new.zone_name(zone));
        steps.push(Step::ask(says, move |site| {
            Ok(vec![Request::SetZone { interface: site.named(&name)?, zone }])
        }));
    }
    if held.source != config.source {
        let (name, source) = (name.clone(), config.source);
        steps.push(Step::ask(format!("{name}: source of its address"), move |site| {
            Ok(vec![Request::SetAddressSource { interface: site.named(&name)?, source }])
        }));
    }
    steps.extend(options_changed(name, &held.options, &config.options));
    steps.extend(port_changed(name, &held.options, &config.options));
    steps
}

/// Without what is listed apart.
fn settings_of(link: &LinkConfig) -> LinkConfig {
    match link.clone() {
        LinkConfig::Bond { bond, .. } => LinkConfig::Bond { members: Vec::new(), bond },
        LinkConfig::Bridge { settings, .. } => LinkConfig::Bridge { ports: Vec::new(), settings },
        link => link,
    }
}

fn kind(link: &LinkConfig) -> &'static str {
    match link {
        LinkConfig::Device(_) => "device",
        LinkConfig::Vlan { .. } => "VLAN",
        LinkConfig::Bond { .. } => "bond",
        LinkConfig::Bridge { .. } => "bridge",
        LinkConfig::Private { .. } => "private zone",
    }
}

fn settings(site: &Site<'_>, link: &LinkConfig) -> Result<Option<LinkSettings>> {
    Ok(match link {
        LinkConfig::Bond { bond, .. } => Some(LinkSettings::Bond(site.bond_settings(bond)?)),
        LinkConfig::Bridge { settings, .. } => Some(LinkSettings::Bridge(*settings)),
        LinkConfig::Device(_) | LinkConfig::Vlan { .. } | LinkConfig::Private { .. } => None,
    })
}

fn options_changed(name: &str, before: &LinkOptions, after: &LinkOptions) -> Vec<Step> {
    let mut changes = Vec::new();
    if let Some(mtu) = after.mtu.filter(|_| before.mtu != after.mtu) {
        changes.push((format!("{name}: mtu {mtu}"), LinkChange::Mtu(mtu)));
    }
    if let Some(mac) = after.mac.filter(|_| before.mac != after.mac) {
        changes.push((format!("{name}: address {mac}"), LinkChange::Mac(mac)));
    }
    if before.group != after.group {
        let group = after.group;
        changes.push((format!("{name}: group {group}"), LinkChange::Group(group)));
    }
    if before.promiscuous != after.promiscuous {
        let on = after.promiscuous;
        let word = if on { "on" } else { "off" };
        changes.push((format!("{name}: promisc {word}"), LinkChange::Promiscuous(on)));
    }
    let step = |(says, change)| {
        let name = name.to_owned();
        Step::ask(says, move |site| {
            Ok(vec![Request::SetLink { interface: site.named(&name)?, change }])
        })
    };
    changes.into_iter().map(step).collect()
}

/// The devices whose packets are to be of another length, and which.
pub(super) fn new_mtus(difference: &Difference<'_>) -> Vec<(DeviceSpec, u16)> {
    let stay = difference.new.interfaces.iter().filter(|config| {
        let held = find(difference.old, &config.name);
        !difference.coming.contains(&*config.name)
            && held.is_some_and(|held| held.options.mtu != config.options.mtu)
    });
    stay.filter_map(|config| Some((config.link.device()?.clone(), config.options.mtu?))).collect()
}

fn port_changed(name: &str, before: &LinkOptions, after: &LinkOptions) -> Vec<Step> {
    let mut changes = Vec::new();
    if before.bound != after.bound {
        let says = match &after.bound {
            None => format!("{name}: bind any"),
            Some(bound) => {
                let list: Vec<_> = bound.iter().map(ToString::to_string).collect();
                format!("{name}: bind {}", list.join(","))
            }
        };
        changes.push((says, PortChange::Bind(after.bound.clone())));
    }
    for mac in before.stations.difference(&after.stations) {
        changes.push((format!("{name}: station {mac} removed"), PortChange::Forget(*mac)));
    }
    for mac in after.stations.difference(&before.stations) {
        changes.push((format!("{name}: station {mac} added"), PortChange::Pin(*mac)));
    }
    let step = |(says, change): (String, PortChange)| {
        let name = name.to_owned();
        Step::ask(says, move |site| site.port_request(&name, change.clone()))
    };
    changes.into_iter().map(step).collect()
}
