//! `narrows reload`: the configuration file read again, and the difference applied, nothing else.
//!
//! The difference is between the file as it was last read and as it is now, so what was changed at run
//! time stays unless the file now says otherwise. The file is checked as at the start, devices are
//! opened, and what stands in the way is looked for, before anything changes; an error there means
//! that nothing has.
//!
//! Each kind of thing is one file with its [`Step`]s: what goes, what comes, what changes. They run
//! in an order in which nothing is missing: routes and neighbors go before addresses and these before
//! interfaces; then all comes back the other way.

mod address;
mod interface;
pub(crate) mod neighbor;
pub(crate) mod route;

use crate::{
    attachment::Attachment,
    config::{Configuration, InterfaceConfig},
    links::{self, Site},
    worker::Worker,
};
use anyhow::{Context, Result, bail};
use narrows_device::{Device, link};
use narrows_stack::request::Request;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// What the daemon is configured by.
pub(crate) struct Source {
    /// `None`: nothing but defaults.
    pub file: Option<PathBuf>,
    /// As last read.
    pub configuration: Configuration,
}

impl Source {
    pub(crate) fn read(file: Option<PathBuf>) -> Result<Self> {
        let configuration = match &file {
            None => Configuration::without_file(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("can't read the configuration {}", path.display()))?;
                let links = link::list().context("can't list the kernel's interfaces")?;
                Configuration::parse(path, &text, &links)?
            }
        };
        Ok(Self { file, configuration })
    }
}

/// One change, and what the operator reads of it.
struct Step {
    says: String,
    act: Act,
}

type Asked = dyn Fn(&Site<'_>) -> Result<Vec<Request>>;

enum Act {
    /// Requests of the engine, which name what is there by then.
    Ask(Box<Asked>),
    Make(InterfaceConfig),
    /// What a bridge is to know of a port that is new to it.
    Port(InterfaceConfig),
    Remove(String),
}

impl Step {
    fn ask(
        says: impl Into<String>,
        ask: impl Fn(&Site<'_>) -> Result<Vec<Request>> + 'static,
    ) -> Self {
        Self { says: says.into(), act: Act::Ask(Box::new(ask)) }
    }
}

/// Both states of the configuration.
struct Difference<'a> {
    old: &'a Configuration,
    new: &'a Configuration,
    /// Interfaces that go, and those that come; one that becomes something else does both.
    going: BTreeSet<&'a str>,
    coming: BTreeSet<&'a str>,
}

impl<'a> Difference<'a> {
    fn between(old: &'a Configuration, new: &'a Configuration) -> Self {
        let remade = interface::remade(old, new);
        let names = |one: &'a Configuration, other: &Configuration| {
            let only = one.interfaces.iter().map(|config| &*config.name).filter(|name| {
                remade.contains(name) || !other.interfaces.iter().any(|held| held.name == *name)
            });
            only.collect()
        };
        Self { old, new, going: names(old, new), coming: names(new, old) }
    }

    /// In order.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        steps.extend(route::going(self));
        steps.extend(neighbor::going(self));
        steps.extend(address::going(self));
        steps.extend(interface::going(self));
        steps.extend(interface::coming(self));
        steps.extend(interface::ports(self));
        steps.extend(address::coming(self));
        steps.extend(neighbor::coming(self));
        steps.extend(route::coming(self));
        steps
    }
}

/// Reads the file again; what was changed, a line each.
pub(crate) fn reload(worker: &mut Worker) -> Result<Vec<String>> {
    let file = worker.source.file.clone();
    if file.is_none() {
        bail!("the daemon was started without a configuration file: nothing to read again");
    }
    let new = Source::read(file)?;
    let difference = Difference::between(&worker.source.configuration, &new.configuration);
    let mut devices = prepare(worker, &difference)?;
    let steps = difference.steps();
    let mut done = Vec::new();
    for step in steps {
        let says = step.says.clone();
        if let Err(error) = run(worker, step, &mut devices) {
            worker.renew_devices();
            bail!("{says}: {error:#}; done before: {}", or_nothing(&done));
        }
        done.push(says);
    }
    worker.source = new;
    worker.links_changed();
    worker.renew_devices();
    Ok(done)
}

fn or_nothing(done: &[String]) -> String {
    if done.is_empty() { "nothing".into() } else { done.join("; ") }
}

/// All that may fail, before anything changes: devices, and what was done at run time.
fn prepare(worker: &Worker, difference: &Difference<'_>) -> Result<BTreeMap<String, Device>> {
    interface::check(&worker.shard, difference)?;
    address::check(&worker.shard, difference)?;
    if difference.old.icmp_timestamps != difference.new.icmp_timestamps {
        bail!("icmp_timestamps is for the start alone: put it back, or start the daemon anew");
    }
    let mut devices = BTreeMap::new();
    for config in &difference.new.interfaces {
        if difference.coming.contains(&*config.name) {
            // Two sockets on one interface of the kernel are fine, two owners of a TAP are not: that
            // one is opened when the old one is closed.
            let taken = worker
                .attachments
                .iter()
                .any(|held| config.link.device().is_some_and(|spec| *spec == held.spec));
            let device = if taken { None } else { links::open(config)? };
            devices.extend(device.map(|device| (config.name.clone(), device)));
        }
    }
    Ok(devices)
}

fn run(worker: &mut Worker, step: Step, devices: &mut BTreeMap<String, Device>) -> Result<()> {
    match step.act {
        Act::Remove(name) => {
            let id = site(worker).named(&name)?;
            crate::change::remove_link(worker, id)
        }
        Act::Make(config) => {
            let device = match devices.remove(&config.name) {
                Some(device) => Some(device),
                None => links::open(&config)?,
            };
            let serial = worker.next_serial();
            let made: (_, Option<Attachment>) = site(worker).make(&config, device, serial)?;
            worker.attachments.extend(made.1);
            Ok(())
        }
        Act::Port(config) => site(worker).configure_port(&config),
        Act::Ask(ask) => {
            let mut site = site(worker);
            for request in ask(&site)? {
                site.request(request)?;
            }
            Ok(())
        }
    }
}

fn site(worker: &mut Worker) -> Site<'_> {
    let now = worker.clock.now();
    Site { shard: &mut worker.shard, now, registry: &worker.registry }
}

#[cfg(test)]
mod tests;
