//! Zones made, changed and removed at run time. A change is a change of the configuration: it is checked
//! as the file is, its steps are tried on a rehearsal of the engine, and then it takes effect whole. Whoever
//! is put out by it loses what he has there first.

use crate::{
    config::{Configuration, text_of},
    links::Site,
    reload::{Step, rehearse, run},
    worker::Worker,
    zones,
};
use anyhow::{Context, Result, anyhow, bail};
use narrows_device::link;
use narrows_ipc::zone::ZoneCommand;
use narrows_stack::{request::Request, table::zone::ZoneId};
use std::collections::BTreeMap;

/// The words of a refusal are for the operator.
pub(super) fn apply(worker: &mut Worker, command: &ZoneCommand) -> Result<()> {
    if let ZoneCommand::Remove { name } = command {
        check_empty(worker, name)?;
    }
    let links = link::list().context("can't list the kernel's interfaces")?;
    let old = &worker.source.configuration;
    let new = old.with(command, &links).map_err(|why| anyhow!(why))?;
    let steps = steps(old, &new, command);
    rehearse(worker, &steps, &BTreeMap::new())?;
    worker.source.configuration = new;
    zones::readmit(worker);
    steps.iter().try_for_each(|step| run(worker, step, &mut BTreeMap::new()))
}

/// Interfaces are somewhere: they are put elsewhere before their zone goes.
fn check_empty(worker: &Worker, name: &str) -> Result<()> {
    let zones = &worker.source.configuration.zones;
    let Some(zone) = zones.iter().find(|zone| zone.name == name) else { return Ok(()) };
    let mut inside = worker.shard.interfaces().filter(|(_, station)| station.zone == zone.id);
    let other = inside.find(|(_, station)| !zone.private || station.settings.name != name);
    if let Some((_, station)) = other {
        let interface = &station.settings.name;
        bail!("\"{interface}\" is in it: `narrows zone set public dev {interface}` first");
    }
    Ok(())
}

fn steps(old: &Configuration, new: &Configuration, command: &ZoneCommand) -> Vec<Step> {
    let settings = new.zone_settings();
    let settings = (old.zone_settings() != settings).then(|| {
        Step::ask("what may cross", move |_| Ok(vec![Request::SetZones(settings.clone())]))
    });
    let find = |all: &Configuration, name: &str| {
        all.interfaces.iter().find(|interface| interface.name == name).cloned()
    };
    let mut steps = Vec::new();
    match command {
        ZoneCommand::Add { name, .. } => steps.extend(find(new, name).map(Step::make)),
        ZoneCommand::Remove { name } if find(new, name).is_none() => {
            steps.extend(find(old, name).map(|_| Step::remove(name)));
        }
        ZoneCommand::Move { interface, zone } => {
            let id = new.zones.iter().find(|held| held.name == *zone);
            let (name, zone) = (interface.clone(), id.map_or(ZoneId::PUBLIC, |held| held.id));
            steps.push(Step::ask(format!("{interface} put there"), move |site| {
                Ok(vec![Request::SetZone { interface: site.named(&name)?, zone }])
            }));
        }
        ZoneCommand::Admit { zone, .. } | ZoneCommand::Expel { zone, .. } => {
            steps.extend(members(old, new, zone));
        }
        _ => {}
    }
    // Private before it has its interface, and until that is gone.
    match command {
        ZoneCommand::Remove { .. } => steps.into_iter().chain(settings).collect(),
        _ => settings.into_iter().chain(steps).collect(),
    }
}

/// The addresses that members of a private zone have gained, or lost.
fn members(old: &Configuration, new: &Configuration, zone: &str) -> Vec<Step> {
    let addresses = |all: &Configuration| {
        let found = all.interfaces.iter().find(|interface| interface.name == zone);
        found.map(|interface| interface.addresses.clone()).unwrap_or_default()
    };
    let (before, after) = (addresses(old), addresses(new));
    let gone = before.iter().filter(|prefix| !after.contains(prefix)).map(|it| (*it, false));
    let come = after.iter().filter(|prefix| !before.contains(prefix)).map(|it| (*it, true));
    gone.chain(come)
        .map(|(prefix, wanted)| {
            let name = zone.to_owned();
            Step::ask(format!("{zone}: address {}", text_of(prefix)), move |site: &Site<'_>| {
                let interface = site.named(&name)?;
                Ok(vec![match wanted {
                    true => Request::AddAddress { interface, prefix },
                    false => Request::RemoveAddress { interface, prefix },
                }])
            })
        })
        .collect()
}
