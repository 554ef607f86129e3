//! The daemon's ruleset: changed by commands, or by the configuration.

use super::{
    apply::{Listing, apply},
    ast::{Level, Log, Ruleset},
    compile::{Names, compile},
    parse,
    parser::List,
    print::{Live, Part, print},
};
use crate::{config::Configuration, session::Outcome, worker::Worker};
use mio::Token;
use narrows_ipc::{Error, Reply, message::NftOptions};
use narrows_stack::{
    Instant, InterfaceId, Shard,
    event::FilterLog,
    filter::{Filter, Port, field, rule::ChainId},
    random::Random,
    table::zone::ZoneId,
};
use rustix::fs::SealFlags;
use std::{
    collections::HashMap,
    fmt::Write as _,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::OwnedFd,
};

/// A text of a hundred thousand rules has ten megabytes.
const MAX_TEXT: u64 = 64 << 20;

/// What was last compiled, and what its `log` statements say.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    ruleset: Ruleset,
    logs: Vec<Log>,
}

impl Rules {
    /// A rule as it was written, with its chain; of no rule, the chain's policy.
    pub(crate) fn describe(&self, chain: ChainId, rule: Option<usize>) -> String {
        describe(&self.ruleset, chain, rule)
    }
}

/// Chains and rules are numbered as [`compile`] goes through them.
pub(crate) fn describe(ruleset: &Ruleset, chain: ChainId, rule: Option<usize>) -> String {
    let live = ruleset.tables.iter().filter(|(_, table)| !table.dormant);
    let mut chains =
        live.flat_map(|(key, table)| table.chains.iter().map(move |found| (key, found)));
    let Some(((family, table), (name, chain))) = chains.nth(chain) else { return String::new() };
    let place = format!("{} {table} {name}", family.name());
    match rule.and_then(|rule| chain.rules.get(rule)) {
        Some(rule) => {
            format!("rule {} of {place}: {}", rule.handle, super::print::rule(rule))
        }
        None => format!("the policy of {place}"),
    }
}

/// Commands, in a memory file that came with the request; what they list is left in it.
pub(crate) fn answer(
    worker: &mut Worker,
    token: Token,
    options: NftOptions,
    descriptor: Option<OwnedFd>,
) -> Outcome {
    let Some(descriptor) = descriptor else { return Outcome::Answer(Err(Error::BadMessage)) };
    Outcome::Answer(serve(worker, token, options, descriptor))
}

fn serve(
    worker: &mut Worker,
    token: Token,
    options: NftOptions,
    descriptor: OwnedFd,
) -> narrows_ipc::Answer {
    let session = worker.sessions.get_mut(token).ok_or(Error::BadMessage)?;
    let principal = session.principal.clone();
    worker.authority.administer(&principal)?;
    let mut file = File::from(descriptor);
    let text = match read(&mut file) {
        Ok(text) => text,
        Err(error) => return Ok(Reply::Refused(format!("can't read the commands: {error}"))),
    };
    let output = match run(worker, &text, options) {
        Ok(output) => output,
        Err(why) => return Ok(Reply::Refused(why)),
    };
    if !options.check {
        tracing::info!(pid = principal.pid, bytes = text.len(), "ruleset changed or listed");
    }
    match leave(&mut file, &output) {
        Ok(()) => Ok(Reply::Done),
        Err(error) => Ok(Reply::Refused(format!("can't hand over the listing: {error}"))),
    }
}

/// Only from memory: no other file can be sure not to keep the daemon waiting.
fn read(file: &mut File) -> io::Result<String> {
    let strange = || io::Error::other("not a memory file of a bearable size");
    let seals = rustix::fs::fcntl_get_seals(&*file).map_err(|_| strange())?;
    if file.metadata()?.len() > MAX_TEXT {
        return Err(strange());
    }
    if seals.intersects(SealFlags::SHRINK | SealFlags::WRITE) {
        return Err(io::Error::other("the memory file is sealed"));
    }
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(file).take(MAX_TEXT).read_to_string(&mut text)?;
    Ok(text)
}

fn leave(file: &mut File, output: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(output.as_bytes())
}

/// Does what the commands say, all or none of it; what they list.
fn run(worker: &mut Worker, text: &str, options: NftOptions) -> Result<String, String> {
    let commands = parse(text).map_err(|error| error.to_string())?;
    let mut ruleset = worker.rules.ruleset.clone();
    let lists = apply(&mut ruleset, commands).map_err(|error| error.to_string())?;
    if ruleset != worker.rules.ruleset {
        install(worker, ruleset, options.check)?;
    }
    let text = listing(worker, &lists, options);
    if !options.check {
        for Listing { list, .. } in lists.iter().filter(|listing| listing.reset) {
            reset(worker, list);
        }
    }
    Ok(text)
}

/// Counters and quotas begin anew.
fn reset(worker: &mut Worker, list: &List) {
    let tables = worker.rules.ruleset.tables.iter_mut();
    for (_, table) in tables.filter(|(key, _)| list.concerns(key)) {
        for (_, object) in table.objects.iter_mut().filter(|(key, _)| list.wants(Part::Object(key)))
        {
            object.state = object.state.anew();
            if let Some(filter) = worker.shard.filter_mut() {
                filter.reset((object.handle, 0));
            }
        }
    }
}

/// The ruleset of the configuration, instead of whatever there is.
pub(crate) fn load(worker: &mut Worker, text: Option<&str>) -> Result<(), String> {
    let ruleset = check(text.unwrap_or_default()).map_err(|error| error.to_string())?;
    install(worker, ruleset, false)
}

/// A ruleset by itself.
pub(crate) fn check(text: &str) -> Result<Ruleset, super::Error> {
    let mut ruleset = Ruleset::default();
    apply(&mut ruleset, parse(text)?)?;
    Ok(ruleset)
}

/// Swaps the ruleset in whole; `check`: only says whether that could be.
fn install(worker: &mut Worker, ruleset: Ruleset, check: bool) -> Result<(), String> {
    let seed = narrows_sys::random::random().map_err(|error| error.to_string())?;
    let now = worker.clock.now();
    let compiled = {
        let shard = &worker.shard;
        let interface = |name: &str| named(shard, name);
        compile(&ruleset, &Names { interface: &interface }, now, &mut Random::new(seed))?
    };
    if check {
        return Ok(());
    }
    let (filter, logs) = match compiled {
        Some(compiled) => (Some(compiled.filter), compiled.logs),
        None => (None, Vec::new()),
    };
    worker.shard.set_filter(filter);
    worker.rules = Rules { ruleset, logs };
    renew_ports(worker);
    Ok(())
}

fn named(shard: &Shard, name: &str) -> Option<InterfaceId> {
    if name == "lo" {
        return Some(InterfaceId::LOOPBACK);
    }
    let mut interfaces = shard.interfaces();
    interfaces.find(|(_, interface)| interface.settings.name == name).map(|(id, _)| id)
}

/// What interfaces are called has changed, or the rules that ask for it.
pub(crate) fn renew_ports(worker: &mut Worker) {
    if worker.shard.filter().is_none() {
        return;
    }
    let configuration = &worker.source.configuration;
    let ports = ports(&worker.shard, &|zone| configuration.zone_name(zone));
    if let Some(filter) = worker.shard.filter_mut() {
        filter.set_ports(ports);
    }
}

fn ports<'a>(shard: &Shard, zone_name: &dyn Fn(ZoneId) -> &'a str) -> HashMap<InterfaceId, Port> {
    let links = shard.links();
    let port = |id: InterfaceId, name: &str, zone: Option<ZoneId>| Port {
        name: field::name(name).unwrap_or_default(),
        group: links.get(id).map_or(0, |link| link.group),
        // A longer one can be in no rule.
        zone: zone.and_then(|zone| field::name(zone_name(zone))),
    };
    let mut ports: HashMap<_, _> = shard
        .interfaces()
        .map(|(id, found)| (id, port(id, &found.settings.name, Some(found.zone))))
        .collect();
    ports.insert(InterfaceId::LOOPBACK, port(InterfaceId::LOOPBACK, "lo", None));
    ports
}

/// The rules for a host that no daemon runs. `seed`: 128 bits that its enemies don't know.
pub(crate) fn compile_for(
    shard: &Shard,
    ruleset: &Ruleset,
    configuration: &Configuration,
    now: Instant,
    seed: [u8; 16],
) -> Result<Option<Filter>, String> {
    let interface = |name: &str| named(shard, name);
    let compiled = compile(ruleset, &Names { interface: &interface }, now, &mut Random::new(seed))?;
    Ok(compiled.map(|compiled| {
        let mut filter = compiled.filter;
        filter.set_ports(ports(shard, &|zone| configuration.zone_name(zone)));
        filter
    }))
}

fn listing(worker: &Worker, lists: &[Listing], options: NftOptions) -> String {
    if lists.is_empty() {
        return String::new();
    }
    let now = worker.clock.now();
    let live = worker.shard.filter().map(|filter| Live::of(filter, now)).unwrap_or_default();
    let ruleset = &worker.rules.ruleset;
    if options.json {
        return super::json::print(ruleset, lists, &live);
    }
    lists.iter().map(|listing| print(ruleset, &listing.list, &live, options.handles)).collect()
}

/// A packet that a rule wants in the log, as the kernel writes it.
pub(crate) fn log(worker: &Worker, entry: &FilterLog) {
    let Some(log) = worker.rules.logs.get(entry.statement as usize) else { return };
    let mut line = format!("{}{}", log.prefix, line(worker, entry));
    if let Some(group) = log.group {
        let _ = write!(line, " GROUP={group}");
    }
    match log.level {
        Level::Emergency | Level::Alert | Level::Critical | Level::Error => {
            tracing::error!("{line}")
        }
        // Where nothing is said it is a warning to the kernel; here that is what was asked for.
        Level::Warning | Level::Notice | Level::Info => tracing::info!("{line}"),
        Level::Debug => tracing::debug!("{line}"),
    }
}

fn line(worker: &Worker, entry: &FilterLog) -> String {
    let name = |interface: Option<InterfaceId>| match interface {
        None => String::new(),
        Some(InterfaceId::LOOPBACK) => "lo".to_owned(),
        Some(interface) => worker
            .shard
            .interface(interface)
            .map(|found| found.settings.name.clone())
            .unwrap_or_default(),
    };
    let mut line = format!("IN={} OUT={}", name(entry.input), name(entry.output));
    if let Some(link) = &entry.link {
        let _ = write!(line, " MACSRC={} MACDST={}", link.source, link.destination);
    }
    if let Some((source, destination)) = entry.addresses {
        let _ = write!(line, " SRC={source} DST={destination}");
    }
    let _ = write!(line, " LEN={}", entry.length);
    if let Some(protocol) = entry.protocol {
        let name = match protocol.0 {
            1 => "ICMP".to_owned(),
            6 => "TCP".to_owned(),
            17 => "UDP".to_owned(),
            other => other.to_string(),
        };
        let _ = write!(line, " PROTO={name}");
    }
    if let Some((source, destination)) = entry.ports {
        let _ = write!(line, " SPT={source} DPT={destination}");
    }
    if entry.mark != 0 {
        let _ = write!(line, " MARK=0x{:x}", entry.mark);
    }
    line
}
