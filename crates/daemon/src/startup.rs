//! From the options to a running worker. Everything is checked before anything is opened; what was
//! opened before something failed goes away with its value.

use crate::{
    Options,
    attachment::Attachment,
    clock::Clock,
    closer::Closer,
    config,
    config::{Configuration, DaemonConfig, from_below},
    keeper::Keeper,
    leases::LeaseFile,
    links::{self, Site},
    nft,
    policy::Authority,
    reload::{self, Source},
    sandbox::{self, Sandbox},
    token,
    worker::Worker,
};
use anyhow::{Context, Result};
use mio::{Interest, Poll, unix::SourceFd};
use narrows_ipc::Listener;
use narrows_policy::Policy;
use narrows_stack::{
    Config, InterfaceId, Shard,
    request::{Principal, Reply, Request},
};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    io::ErrorKind,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
    time::{Duration, SystemTime},
};

/// Descriptors wanted: two for each of half a million connections on their way to programs.
const DESCRIPTORS: u64 = 1 << 20;

/// Of the machine's memory, what is for buffers and queues: about what Linux leaves TCP (tcp_mem).
const MEMORY_PART: u64 = 8;

pub(crate) struct Daemon {
    pub worker: Worker,
    pub poll: Poll,
    /// Readable when a signal asks the daemon to end.
    _signals: UnixStream,
}

pub(crate) fn start(options: &Options) -> Result<Daemon> {
    let source = Source::read(options.config.clone(), &Keeper::Absent)?;
    let configuration = &source.configuration;
    let descriptors = narrows_sys::limits::raise_descriptor_limit(DESCRIPTORS)
        .inspect(|limit| tracing::debug!(limit, "descriptors"))
        .inspect_err(|error| tracing::warn!(%error, "can't raise the limit of open files"));
    let listener = listen(options, &configuration.daemon)?;
    let clock = Clock::start();
    let poll = Poll::new().context("epoll")?;
    let seed = narrows_sys::random::random().context("no randomness from the kernel")?;
    let mut shard = Shard::new(engine_config(configuration), seed);
    request(&mut shard, &clock, Request::SetZones(configuration.zone_settings()))?;
    let mut leases = LeaseFile::open(configuration.dhcp.lease_file.as_deref())?;
    leases.recall(&mut shard, &clock);
    let (interfaces, attachments) = attach(&mut shard, &clock, &poll, configuration)?;
    add_routes(&mut shard, &clock, configuration, &interfaces)?;
    add_neighbors(&mut shard, &clock, configuration, &interfaces)?;
    let signals = signals(&poll).context("signal handlers")?;
    let raw = listener.as_fd().as_raw_fd();
    poll.registry().register(&mut SourceFd(&raw), token::LISTENER, Interest::READABLE)?;
    let mut policy = Policy::new(rustix::process::geteuid().as_raw());
    policy.set_defaults(configuration.defaults);
    policy.add(configuration.policy.iter().cloned());
    let mut authority = Authority::new(policy, clock);
    authority.know_zones(configuration, &shard);
    let registry = poll.registry().try_clone()?;
    let usual_memory = machine_memory() / MEMORY_PART;
    // From here on with fewer rights. Who may administer is still decided by who started it.
    let (socket, program, file) = (&options.socket, &options.keeper, &options.config);
    let keeper = Keeper::start(&configuration.daemon, program.as_deref(), socket, file.as_deref())
        .context("the keeper")?;
    let sandbox = match &keeper {
        Keeper::Absent => None,
        Keeper::There(_) => Some(Sandbox::new(configuration.daemon)?),
    };
    let closer = Closer::start(sandbox.clone())?;
    // The closer's thread is there already, and keeps its patience.
    hurry(&configuration.daemon)?;
    let landlock = sandbox.map(|sandbox| sandbox.enter()).transpose()?.flatten();
    if !configuration.daemon.sandbox {
        tracing::warn!("[daemon] sandbox = false: the daemon keeps all rights it was started with");
    }
    let mut worker = Worker::new(shard, clock, registry, attachments, listener, authority, closer)?;
    (worker.keeper, worker.landlock, worker.leases) = (keeper, landlock, leases);
    worker.links_changed();
    nft::load(&mut worker, source.configuration.filter.as_deref())
        .map_err(|why| anyhow::anyhow!("[filter]: {why}"))?;
    if let Ok(limit) = descriptors {
        worker.bills.set_descriptors(limit);
    }
    worker.bills.set_quotas(source.configuration.quotas.clone());
    worker.memory.usual = usual_memory;
    worker.source = source;
    announce(&worker, options);
    Ok(Daemon { worker, poll, _signals: signals })
}

/// The calling thread goes before others, if it may. Whoever started it with a priority of his choice
/// has that, unless the configuration says otherwise.
fn hurry(config: &DaemonConfig) -> Result<()> {
    if !config.nice_is_wanted && rustix::process::getpriority_process(None) != Ok(0) {
        return Ok(());
    }
    match rustix::process::setpriority_process(None, config.nice) {
        Ok(()) => Ok(()),
        Err(error) if config.nice_is_wanted => {
            Err(error).context(format!("[daemon] nice = {}: this needs CAP_SYS_NICE", config.nice))
        }
        Err(error) => {
            tracing::debug!(%error, "the daemon's priority is that of other programs");
            Ok(())
        }
    }
}

fn machine_memory() -> u64 {
    let machine = rustix::system::sysinfo();
    machine.totalram.saturating_mul(u64::from(machine.mem_unit))
}

fn listen(options: &Options, config: &DaemonConfig) -> Result<Listener> {
    let bound = Listener::bind_for(&options.socket, config.socket_mode, config.socket_group);
    bound.map_err(|error| {
        let path = options.socket.display();
        match error.kind() {
            ErrorKind::AddrInUse => anyhow::anyhow!(
                "another daemon answers at {path}: end it with `narrows --socket {path} down`, or \
                 choose another path with --socket"
            ),
            _ => anyhow::Error::new(error).context(format!("can't listen at {path}")),
        }
    })
}

pub(crate) fn engine_config(configuration: &Configuration) -> Config {
    // Timestamps are of the time of day in UT.
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let day = Duration::from_secs(24 * 60 * 60);
    let of_day = |time: Duration| Duration::from_secs(time.as_secs() % day.as_secs());
    let mut config = Config {
        time_of_day: since_epoch.ok().map(of_day),
        icmp_timestamps: configuration.icmp_timestamps,
        conntrack: configuration.conntrack.clone(),
        ephemeral_ports: configuration.local.ip_local_port_range.into(),
        ..Config::default()
    };
    config.set_tcp_defaults(&configuration.tcp);
    config
}

/// Opens the devices, then makes the interfaces: those first that others stand upon. Their numbers
/// are in the order of the configuration.
fn attach(
    shard: &mut Shard,
    clock: &Clock,
    poll: &Poll,
    configuration: &Configuration,
) -> Result<(Vec<InterfaceId>, Vec<Attachment>)> {
    let mut devices = Vec::new();
    for config in &configuration.interfaces {
        let device = links::open(config, &Keeper::Absent);
        devices.push(device.with_context(|| format!("interface \"{}\"", config.name))?);
    }
    let mut site = Site { shard, now: clock.now(), registry: poll.registry() };
    let mut attachments = Vec::new();
    let mut ids = vec![InterfaceId::LOOPBACK; configuration.interfaces.len()];
    for index in from_below(&configuration.interfaces) {
        let (Some(config), Some(device), Some(id)) =
            (configuration.interfaces.get(index), devices.get_mut(index), ids.get_mut(index))
        else {
            continue;
        };
        let made = site.make(config, device.take(), index);
        let (made, attachment) = made.with_context(|| format!("interface \"{}\"", config.name))?;
        *id = made;
        attachments.extend(attachment);
    }
    for config in &configuration.interfaces {
        site.configure_port(config)?;
    }
    Ok((ids, attachments))
}

fn add_routes(
    shard: &mut Shard,
    clock: &Clock,
    configuration: &Configuration,
    interfaces: &[InterfaceId],
) -> Result<()> {
    let mut routes: Vec<_> = configuration.routes.iter().collect();
    routes.sort_by_key(|route| route.has_gateway());
    for route in routes {
        request(shard, clock, reload::route::add(route, interfaces))
            .with_context(|| format!("route to {}", config::text_of(route.to)))?;
    }
    for rule in &configuration.rules {
        request(shard, clock, reload::route::add_rule(rule, interfaces))
            .with_context(|| format!("rule {}", rule.preference))?;
    }
    Ok(())
}

fn add_neighbors(
    shard: &mut Shard,
    clock: &Clock,
    configuration: &Configuration,
    interfaces: &[InterfaceId],
) -> Result<()> {
    for neighbor in &configuration.neighbors {
        let interface =
            interfaces.get(neighbor.interface).copied().unwrap_or(InterfaceId::LOOPBACK);
        request(shard, clock, reload::neighbor::add(neighbor, interface))
            .with_context(|| format!("neighbor {}", neighbor.address))?;
    }
    Ok(())
}

fn request(shard: &mut Shard, clock: &Clock, request: Request) -> Result<Reply> {
    Ok(shard.request(clock.now(), Principal::default(), request)?)
}

/// From now on these signals end the daemon in order, instead of at once.
fn signals(poll: &Poll) -> std::io::Result<UnixStream> {
    let (signals, wake) = UnixStream::pair()?;
    signals.set_nonblocking(true)?;
    for signal in [SIGTERM, SIGINT] {
        signal_hook::low_level::pipe::register(signal, wake.try_clone()?)?;
    }
    let raw = signals.as_raw_fd();
    poll.registry().register(&mut SourceFd(&raw), token::SIGNAL, Interest::READABLE)?;
    Ok(signals)
}

fn announce(worker: &Worker, options: &Options) {
    for config in &worker.source.configuration.interfaces {
        let mut interfaces = worker.shard.interfaces();
        let found = interfaces.find(|(_, interface)| interface.settings.name == config.name);
        let mac = found.map(|(_, interface)| interface.settings.mac.to_string());
        let addresses = config.addresses.iter().map(|own| config::text_of(*own));
        let parts: Vec<_> = addresses.chain(mac).collect();
        eprintln!("narrows: {} on {}, {}", config.name, config.link.describe(), parts.join(", "));
    }
    tracing::info!("sandbox: {}", sandbox::report(worker.landlock));
    eprintln!("narrows: ready, socket {}", options.socket.display());
}
