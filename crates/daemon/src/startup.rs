//! From the options to a running worker. Everything is checked before anything is opened; what was
//! opened before something failed goes away with its value.

use crate::{
    Options, attachment::Attachment, authorize::Policy, clock::Clock, config,
    config::Configuration, config::InterfaceConfig, token, worker::Worker,
};
use anyhow::{Context, Result, bail};
use mio::{Interest, Poll, unix::SourceFd};
use narrows_device::{Device, DeviceSpec, link};
use narrows_ipc::Listener;
use narrows_stack::{
    Config, InterfaceId, Shard,
    request::{Principal, Reply, Request},
    table::interface::InterfaceSettings,
};
use narrows_wire::address::MacAddr;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    io::ErrorKind,
    net::Ipv4Addr,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::UnixStream,
    },
};

/// Descriptors wanted: two for each of half a million connections on their way to programs.
const DESCRIPTORS: u64 = 1 << 20;

/// Any program may open a session; what it may do is decided by who it is.
const SOCKET_MODE: u32 = 0o666;

/// The longest IPv4 packet.
const MAX_MTU: u16 = u16::MAX;

pub(crate) struct Daemon {
    pub worker: Worker,
    pub poll: Poll,
    /// Readable when a signal asks the daemon to end.
    _signals: UnixStream,
}

pub(crate) fn start(options: &Options) -> Result<Daemon> {
    let configuration = configuration(options)?;
    match narrows_sys::limits::raise_descriptor_limit(DESCRIPTORS) {
        Ok(limit) => tracing::debug!(limit, "descriptors"),
        Err(error) => tracing::warn!(%error, "can't raise the limit of open files"),
    }
    let listener = Listener::bind(&options.socket, SOCKET_MODE).map_err(|error| {
        let path = options.socket.display();
        match error.kind() {
            ErrorKind::AddrInUse => anyhow::anyhow!(
                "another daemon answers at {path}: end it with `narrows --socket {path} down`, or \
                 choose another path with --socket"
            ),
            _ => anyhow::Error::new(error).context(format!("can't listen at {path}")),
        }
    })?;
    let clock = Clock::start();
    let poll = Poll::new().context("epoll")?;
    let seed = narrows_sys::random::random().context("no randomness from the kernel")?;
    let mut shard = Shard::new(Config::default(), seed);
    let mut attachments = Vec::new();
    for interface in &configuration.interfaces {
        let index = attachments.len();
        let attachment = attach(&mut shard, &clock, &poll, index, interface)
            .with_context(|| format!("interface \"{}\"", interface.name))?;
        attachments.push(attachment);
    }
    add_routes(&mut shard, &clock, &configuration, &attachments)?;
    add_neighbors(&mut shard, &clock, &configuration, &attachments)?;
    let signals = signals(&poll).context("signal handlers")?;
    let raw = listener.as_fd().as_raw_fd();
    poll.registry().register(&mut SourceFd(&raw), token::LISTENER, Interest::READABLE)?;
    let policy = Policy { daemon_uid: rustix::process::geteuid().as_raw() };
    let registry = poll.registry().try_clone()?;
    let worker = Worker::new(shard, clock, registry, attachments, listener, policy)?;
    announce(&configuration, &worker, options);
    Ok(Daemon { worker, poll, _signals: signals })
}

fn configuration(options: &Options) -> Result<Configuration> {
    let Some(path) = &options.config else { return Ok(Configuration::without_file()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("can't read the configuration {}", path.display()))?;
    let links = link::list().context("can't list the kernel's interfaces")?;
    Ok(Configuration::parse(path, &text, &links)?)
}

/// Opens the device and makes it the engine's interface.
fn attach(
    shard: &mut Shard,
    clock: &Clock,
    poll: &Poll,
    index: usize,
    config: &InterfaceConfig,
) -> Result<Attachment> {
    let device = Device::open(&config.device)?;
    if let (DeviceSpec::Tap(name), Some((address, length))) = (&config.device, config.kernel) {
        address_kernel(name, address, length)?;
    }
    let settings = InterfaceSettings {
        name: config.name.clone(),
        mac: device.mac(),
        mtu: u16::try_from(device.mtu()).unwrap_or(MAX_MTU),
        capabilities: device.capabilities(),
    };
    let interface = match request(shard, clock, Request::AddInterface { settings })? {
        Reply::Interface(interface) => interface,
        _ => bail!("the engine gave the interface no number"),
    };
    request(shard, clock, Request::SetArpPolicy { interface, policy: config.arp })?;
    for prefix in &config.addresses {
        request(shard, clock, Request::AddAddress { interface, prefix: *prefix })?;
    }
    let spec = config.device.clone();
    let mut attachment = Attachment::new(poll.registry(), index, spec, device, interface)?;
    attachment.renew(shard)?;
    Ok(attachment)
}

/// The kernel's side of a TAP.
fn address_kernel(name: &str, address: Ipv4Addr, length: u8) -> Result<()> {
    let found = link::find(name).context("can't list the kernel's interfaces")?;
    let link = found.with_context(|| format!("{name} is gone"))?;
    link::add_address(link.index, address, length)
        .with_context(|| format!("can't give the kernel {address}/{length} on {name}"))?;
    link::set_up(link.index).with_context(|| format!("can't set {name} up"))
}

fn add_routes(
    shard: &mut Shard,
    clock: &Clock,
    configuration: &Configuration,
    attachments: &[Attachment],
) -> Result<()> {
    for route in &configuration.routes {
        let attachment = attachments.get(route.interface);
        let interface = attachment.map_or(InterfaceId::LOOPBACK, |found| found.interface);
        let add = Request::AddRoute { to: route.to, interface, via: route.via };
        request(shard, clock, add)
            .with_context(|| format!("route to {}", config::text_of(route.to)))?;
    }
    Ok(())
}

fn add_neighbors(
    shard: &mut Shard,
    clock: &Clock,
    configuration: &Configuration,
    attachments: &[Attachment],
) -> Result<()> {
    for neighbor in &configuration.neighbors {
        let attachment = attachments.get(neighbor.interface);
        let interface = attachment.map_or(InterfaceId::LOOPBACK, |found| found.interface);
        let address = neighbor.address.into();
        request(shard, clock, Request::PinNeighbor { interface, address, mac: neighbor.mac })
            .with_context(|| format!("neighbor {address}"))?;
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

fn announce(configuration: &Configuration, worker: &Worker, options: &Options) {
    for (config, attachment) in configuration.interfaces.iter().zip(&worker.attachments) {
        let addresses: Vec<_> = config.addresses.iter().map(|own| config::text_of(*own)).collect();
        eprintln!(
            "narrows: {} on {}, {}, {}",
            config.name,
            config.device,
            addresses.join(", "),
            text_of_mac(attachment.device.mac())
        );
    }
    eprintln!("narrows: ready, socket {}", options.socket.display());
}

fn text_of_mac(mac: MacAddr) -> String {
    mac.0.map(|byte| format!("{byte:02x}")).join(":")
}
