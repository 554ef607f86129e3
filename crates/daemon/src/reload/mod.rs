//! `narrows reload`: the configuration file read again, and the difference applied, nothing else.
//!
//! The difference is between the file as it was last read and as it is now, so what was changed at run
//! time stays unless the file now says otherwise; what was removed at run time comes back if the file
//! names it. The file is checked as at the start, what stands in the way is looked for, devices are
//! opened, and the steps are all taken on a [rehearsal](narrows_stack::Shard::rehearsal) of the engine,
//! before anything changes; an error there means that nothing has. What the engine took there it takes
//! again, so nothing is left to fail but the kernel: a TAP that becomes another interface can't be
//! opened before the old one is closed.
//!
//! Each kind of thing is one file with its [`Step`]s: what goes, what comes, what changes. They run
//! in an order in which nothing is missing: routes and neighbors go before addresses and these before
//! interfaces; then all comes back the other way.

mod address;
mod conntrack;
mod interface;
pub(crate) mod neighbor;
mod policy;
pub(crate) mod route;
mod tcp;

use crate::{
    attachment::Attachment,
    config::{Configuration, InterfaceConfig},
    keeper::Keeper,
    links::{self, Hardware, Site},
    nft,
    worker::Worker,
};
use anyhow::{Context, Result, bail};
use narrows_device::{Device, link};
use narrows_stack::{
    request::{Error, Request},
    table::{route::RouteError, zone::ZoneId},
};
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
    pub(crate) fn read(file: Option<PathBuf>, keeper: &Keeper) -> Result<Self> {
        let configuration = match &file {
            None => Configuration::without_file(),
            Some(path) => {
                let text = keeper
                    .configuration(path)
                    .with_context(|| format!("can't read the configuration {}", path.display()))?;
                let links = link::list().context("can't list the kernel's interfaces")?;
                Configuration::parse(path, &text, &links)?
            }
        };
        Ok(Self { file, configuration })
    }
}

/// One change, and what the operator reads of it.
pub(crate) struct Step {
    says: String,
    act: Act,
}

type Asked = dyn Fn(&Site<'_>) -> Result<Vec<Request>>;

enum Act {
    /// Requests of the engine, which name what is there by then.
    Ask(Box<Asked>),
    /// The same, of what is to be gone: it may have gone at run time.
    Forget(Box<Asked>),
    Make(InterfaceConfig),
    /// What a bridge is to know of a port that is new to it.
    Port(InterfaceConfig),
    Remove(String),
}

impl Step {
    pub(crate) fn make(config: InterfaceConfig) -> Self {
        let says = format!("interface {} added", config.name);
        Self { says, act: Act::Make(config) }
    }

    pub(crate) fn remove(name: &str) -> Self {
        Self { says: format!("interface {name} removed"), act: Act::Remove(name.to_owned()) }
    }

    pub(crate) fn ask(
        says: impl Into<String>,
        ask: impl Fn(&Site<'_>) -> Result<Vec<Request>> + 'static,
    ) -> Self {
        Self { says: says.into(), act: Act::Ask(Box::new(ask)) }
    }

    fn forget(
        says: impl Into<String>,
        ask: impl Fn(&Site<'_>) -> Result<Vec<Request>> + 'static,
    ) -> Self {
        Self { says: says.into(), act: Act::Forget(Box::new(ask)) }
    }

    /// Does in the engine what the step is for.
    fn play(&self, site: &mut Site<'_>, hardware: Option<Hardware>) -> Result<()> {
        match &self.act {
            Act::Ask(ask) => {
                for request in ask(site)? {
                    site.request(request)?;
                }
            }
            Act::Forget(ask) => {
                for request in ask(site)? {
                    match site.request(request) {
                        Err(error) if is_absence(&error) => {}
                        result => drop(result?),
                    }
                }
            }
            Act::Make(config) => drop(site.establish(config, hardware)?),
            Act::Port(config) => site.configure_port(config)?,
            Act::Remove(name) => {
                let interface = site.named(name)?;
                site.request(Request::RemoveInterface { interface })?;
            }
        }
        Ok(())
    }
}

/// Does the engine say that there is no such thing?
fn is_absence(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<Error>(),
        Some(
            Error::NoSuchEntry
                | Error::AddressNotAvailable
                | Error::Route(RouteError::NotFound | RouteError::RuleNotFound)
        )
    )
}

/// Both states of the configuration.
struct Difference<'a> {
    old: &'a Configuration,
    new: &'a Configuration,
    /// Interfaces that go, and those that come; one that becomes something else does both.
    going: BTreeSet<&'a str>,
    coming: BTreeSet<&'a str>,
    /// Of those that go: which have gone already, at run time.
    gone: BTreeSet<&'a str>,
}

impl<'a> Difference<'a> {
    /// `is_there`: of an interface of the old configuration, as things are.
    fn between(
        old: &'a Configuration,
        new: &'a Configuration,
        is_there: impl Fn(&str) -> bool,
    ) -> Self {
        let names = old.interfaces.iter().map(|config| &*config.name);
        let gone: BTreeSet<_> = names.filter(|name| !is_there(name)).collect();
        let remade = interface::remade(old, new, &gone);
        let names = |one: &'a Configuration, other: &Configuration| {
            let only = one.interfaces.iter().map(|config| &*config.name).filter(|name| {
                remade.contains(name) || !other.interfaces.iter().any(|held| held.name == *name)
            });
            only.collect()
        };
        Self { old, new, going: names(old, new), coming: names(new, old), gone }
    }

    /// In order.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        steps.extend(route::going(self));
        steps.extend(neighbor::going(self));
        steps.extend(address::going(self));
        steps.extend(interface::going(self));
        steps.extend(zones(self));
        steps.extend(interface::coming(self));
        steps.extend(interface::ports(self));
        steps.extend(address::coming(self));
        steps.extend(address::changed(self));
        steps.extend(neighbor::coming(self));
        steps.extend(route::coming(self));
        steps.extend(icmp(self));
        steps.extend(ports(self));
        steps.extend(tcp::changed(self));
        steps.extend(conntrack::changed(self));
        steps
    }
}

/// What holds for the host as a whole.
fn icmp(difference: &Difference<'_>) -> Option<Step> {
    let on = difference.new.icmp_timestamps;
    (difference.old.icmp_timestamps != on).then(|| {
        let says = format!("icmp: timestamp {}", if on { "on" } else { "off" });
        Step::ask(says, move |_| Ok(vec![Request::AnswerTimestamps(on)]))
    })
}

/// What programs are given that ask for no port in particular.
fn ports(difference: &Difference<'_>) -> Option<Step> {
    let range: (u16, u16) = difference.new.local.ip_local_port_range.into();
    (difference.old.local.ip_local_port_range != difference.new.local.ip_local_port_range).then(
        || {
            let says = format!("ports: programs are given {} to {}", range.0, range.1);
            Step::ask(says, move |_| Ok(vec![Request::SetEphemeralPorts { range }]))
        },
    )
}

/// Which zones there are, and what may cross.
fn zones(difference: &Difference<'_>) -> Option<Step> {
    let settings = difference.new.zone_settings();
    (difference.old.zone_settings() != settings).then(|| {
        Step::ask("zones: what may cross", move |_| Ok(vec![Request::SetZones(settings.clone())]))
    })
}

/// Who is admitted where, and what is cut through from now on; connections that are stay so.
fn admissions(difference: &Difference<'_>) -> Vec<String> {
    let (old, new) = (difference.old, difference.new);
    let find = |name: &str| old.zones.iter().find(|zone| zone.name == name);
    let is_gone = |name: &str| new.zones.iter().all(|zone| zone.name != name);
    let gone = old.zones.iter().filter(|zone| is_gone(&zone.name));
    let mut said: Vec<_> = gone.map(|zone| format!("zone {} removed", zone.name)).collect();
    for zone in &new.zones {
        let before = find(&zone.name);
        if before.is_none_or(|before| {
            (&before.admitted, before.private) != (&zone.admitted, zone.private)
        }) {
            said.push(format!("zone {}: who is in it", zone.name));
        }
        if before.map_or(!zone.cut_through, |before| before.cut_through != zone.cut_through) {
            said.push(format!("zone {}: cut_through = {}", zone.name, zone.cut_through));
        }
    }
    if old.local.cut_through != new.local.cut_through {
        said.push(format!("[local] cut_through = {}", new.local.cut_through));
    }
    said
}

/// Reads the file again; what was changed, a line each.
pub(crate) fn reload(worker: &mut Worker) -> Result<Vec<String>> {
    let file = worker.source.file.clone();
    if file.is_none() {
        bail!("the daemon was started without a configuration file: nothing to read again");
    }
    let read = Source::read(file, &worker.keeper)?;
    if worker.source.configuration.daemon != read.configuration.daemon {
        bail!("[daemon] is for the start alone: put it back, or start the daemon anew");
    }
    if worker.source.configuration.dhcp.lease_file != read.configuration.dhcp.lease_file {
        bail!("[dhcp] lease_file is for the start alone: put it back, or start the daemon anew");
    }
    let configuration = read.configuration.keep_zones_of(&worker.source.configuration);
    let mut configuration = configuration.context("too many zones at once: remove some first")?;
    let earlier = &worker.source.configuration;
    configuration.keep_added_zones_of(earlier).map_err(anyhow::Error::msg)?;
    check_moved(worker, &configuration)?;
    let new = Source { configuration, ..read };
    let is_there = |name: &str| {
        let mut interfaces = worker.shard.interfaces();
        interfaces.any(|(_, station)| station.settings.name == name)
    };
    let difference =
        Difference::between(&worker.source.configuration, &new.configuration, is_there);
    interface::check(&worker.shard, &worker.attachments, &difference)?;
    address::check(&worker.shard, &difference)?;
    let mut devices = open(worker, &difference)?;
    let mtus = interface::new_mtus(&difference);
    let steps = difference.steps();
    let readmissions = admissions(&difference);
    rehearse(worker, &steps, &devices)?;
    for (spec, mtu) in mtus {
        links::carry(&spec, mtu)?;
    }
    // Who is put out loses what he has while his address is still there to be known by.
    crate::zones::renew(worker, &new.configuration);
    let mut done = Vec::new();
    for step in steps {
        if let Err(error) = run(worker, &step, &mut devices) {
            worker.interfaces_changed();
            let done = if done.is_empty() { "nothing".into() } else { done.join("; ") };
            bail!("{}: {error:#}; done before: {done}", step.says);
        }
        done.push(step.says);
    }
    done.extend(policy::apply(
        &mut worker.authority.policy,
        &worker.source.configuration,
        &new.configuration,
    ));
    done.extend(readmissions);
    if worker.source.configuration.filter != new.configuration.filter {
        let rules = new.configuration.filter.as_deref();
        if let Err(why) = nft::load(worker, rules) {
            worker.interfaces_changed();
            bail!("[filter]: {why}; done before: {}", done.join("; "));
        }
        done.push("the rules of [filter]".into());
    }
    if worker.source.configuration.quotas != new.configuration.quotas {
        worker.bills.set_quotas(new.configuration.quotas.clone());
        worker.limit_half_open();
        done.push("quotas changed".into());
    }
    if worker.source.configuration.dhcp.release != new.configuration.dhcp.release {
        done.push(format!("[dhcp] release = {}", new.configuration.dhcp.release));
    }
    worker.source = new;
    crate::zones::readmit(worker);
    worker.links_changed();
    worker.interfaces_changed();
    Ok(done)
}

/// A zone does not go while an interface is in it that was put there at run time.
fn check_moved(worker: &Worker, new: &Configuration) -> Result<()> {
    let old = &worker.source.configuration;
    let goes = |zone: &ZoneId| {
        let has = |all: &Configuration| all.zones.iter().any(|held| held.id == *zone);
        has(old) && !has(new)
    };
    for (_, station) in worker.shard.interfaces().filter(|(_, station)| goes(&station.zone)) {
        let name = &station.settings.name;
        let configured = old.interfaces.iter().find(|held| held.name == *name);
        if configured.is_none_or(|held| held.zone != station.zone) {
            bail!(
                "zone \"{}\" goes, but \"{name}\" was put into it at run time: `narrows zone set public \
                 dev {name}` first",
                old.zone_name(station.zone)
            );
        }
    }
    Ok(())
}

/// A device for each interface that comes, but for those that another has until it goes.
fn open(worker: &Worker, difference: &Difference<'_>) -> Result<BTreeMap<String, Device>> {
    let mut devices = BTreeMap::new();
    for config in &difference.new.interfaces {
        if difference.coming.contains(&*config.name) {
            // Two sockets on one interface of the kernel are fine, two owners of a TAP are not: that
            // one is opened when the old one is closed.
            let device = if held(worker, config).is_some() {
                None
            } else {
                links::open(config, &worker.keeper)?
            };
            devices.extend(device.map(|device| (config.name.clone(), device)));
        }
    }
    Ok(devices)
}

/// Who has the interface's device.
fn held<'a>(worker: &'a Worker, config: &InterfaceConfig) -> Option<&'a Attachment> {
    let spec = config.link.device()?;
    worker.attachments.iter().find(|held| held.spec == *spec)
}

/// All steps on a copy of the engine: what it refuses is known before anything changes.
pub(crate) fn rehearse(
    worker: &Worker,
    steps: &[Step],
    devices: &BTreeMap<String, Device>,
) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let mut trial = worker.shard.rehearsal();
    let now = worker.clock.now();
    let mut site = Site { shard: &mut trial, now, registry: &worker.registry };
    for step in steps {
        let hardware = match &step.act {
            Act::Make(config) => {
                let open = devices.get(&config.name);
                open.or_else(|| held(worker, config).map(|held| &held.device)).map(Hardware::of)
            }
            _ => None,
        };
        step.play(&mut site, hardware)
            .with_context(|| format!("{}: not possible, and nothing was changed", step.says))?;
    }
    Ok(())
}

pub(crate) fn run(
    worker: &mut Worker,
    step: &Step,
    devices: &mut BTreeMap<String, Device>,
) -> Result<()> {
    match &step.act {
        Act::Remove(name) => {
            let id = site(worker).named(name)?;
            crate::change::remove_link(worker, id)
        }
        Act::Make(config) => {
            let device = match devices.remove(&config.name) {
                Some(device) => Some(device),
                None => links::open(config, &worker.keeper)?,
            };
            let serial = worker.next_serial();
            let made: (_, Option<Attachment>) = site(worker).make(config, device, serial)?;
            worker.attachments.extend(made.1);
            Ok(())
        }
        Act::Ask(_) | Act::Forget(_) | Act::Port(_) => step.play(&mut site(worker), None),
    }
}

fn site(worker: &mut Worker) -> Site<'_> {
    let now = worker.clock.now();
    Site { shard: &mut worker.shard, now, registry: &worker.registry }
}

#[cfg(test)]
mod tests;
