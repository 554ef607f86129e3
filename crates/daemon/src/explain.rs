//! What a daemon would do with a capture's frames, without one: a shard with the interfaces, zones, routes,
//! neighbors and rules of a configuration, no device, and the time of the capture. Nothing is opened but the
//! configuration, so that any user can ask.
//!
//! A file of several interfaces is of those that the configuration calls the same; what it calls otherwise came by
//! the one that is chosen.
//!
//! Programs are not there. Sockets that listen can be told ([`Explainer::listen`]), and neighbors and tracked flows
//! that a daemon has; a connection that
//! the capture shows half way is nobody's here, and one that it opens does not know the sequence numbers
//! that the real host chose: what its peer acknowledges is judged by others.

use crate::{
    config::{Configuration, InterfaceConfig, LinkConfig, from_below},
    flows,
    links::{Hardware, Site},
    nft,
    reload::{neighbor, route},
    startup::engine_config,
    watching::{Names, journey},
};
use anyhow::{Context, Result, bail};
use mio::Poll;
use narrows_ipc::{
    conntrack::FlowRow,
    see::{Direction, JourneyReport, Seen},
};
use narrows_stack::{
    Instant, InterfaceId, Shard, Sink,
    request::{Principal, Reply, Request},
    table::{
        packet_socket::PacketType,
        watch::{Record, Stages, Watch},
    },
};
use narrows_wire::{
    address::{MacAddr, Prefix},
    ethernet::{self, EtherType},
    ipv4::Packet,
    offload::{Capabilities, RxOffload, TxOffload},
};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

/// What a host is told of its links where nobody knows better.
const MTU: u16 = 1500;
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x6e]);

/// The subnet of an address that was guessed.
const GUESSED_LENGTH: u8 = 24;

/// When the capture begins, as the engine counts: late enough for all that was before.
const BEGIN: Duration = Duration::from_secs(1 << 20);

/// A host that captured frames are shown to, in their order.
pub struct Explainer {
    shard: Shard,
    configuration: Configuration,
    ruleset: nft::Ruleset,
    /// The interface that the frames came by.
    interface: InterfaceId,
    /// The first frame's time, in nanoseconds since 1970.
    first: Option<u64>,
    now: Instant,
}

/// Takes whatever is sent.
struct Void;

impl Sink for Void {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, _: TxOffload, _: &[u8], _: [&[u8]; 2]) {}
}

impl Explainer {
    /// A host as the configuration says; `interface` is the one that frames came by, if not the first
    /// with a device. Its address on the link is the one that `frames` were sent to with its IP address.
    pub fn configured(file: &Path, interface: Option<&str>, frames: &[&[u8]]) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("can't read the configuration {}", file.display()))?;
        let configuration = Configuration::parse_elsewhere(file, &text)?;
        Self::new(configuration, interface, frames)
    }

    /// A host with the one address that most of the frames are for.
    pub fn guessed(frames: &[&[u8]]) -> Result<Self> {
        let mut targets = HashMap::<Ipv4Addr, usize>::new();
        for (_, address) in frames.iter().filter_map(|frame| target(frame)) {
            *targets.entry(address).or_default() += 1;
        }
        let most = targets.into_iter().max_by_key(|(address, count)| (*count, *address));
        let Some((address, _)) = most else {
            bail!("no frame is for one host's IPv4 address: say which host it is with --config")
        };
        let mut configuration = Configuration::without_file();
        let prefix = Prefix::new(address.into(), GUESSED_LENGTH).context("no address")?;
        if let Some(interface) = configuration.interfaces.first_mut() {
            interface.addresses = vec![prefix];
        }
        Self::new(configuration, None, frames)
    }

    fn new(
        configuration: Configuration,
        interface: Option<&str>,
        frames: &[&[u8]],
    ) -> Result<Self> {
        let now = Instant::ZERO + BEGIN;
        // Nothing that it draws is seen by anybody.
        let mut shard = Shard::new(engine_config(&configuration), [0; 16]);
        ask(&mut shard, now, Request::SetZones(configuration.zone_settings()))?;
        let ids = establish(&mut shard, now, &configuration, frames)?;
        let mut routes: Vec<_> = configuration.routes.iter().collect();
        routes.sort_by_key(|route| route.has_gateway());
        let requests = routes
            .into_iter()
            .map(|one| route::add(one, &ids))
            .chain(configuration.rules.iter().map(|rule| route::add_rule(rule, &ids)))
            .chain(configuration.neighbors.iter().map(|one| {
                let id = ids.get(one.interface).copied().unwrap_or(InterfaceId::LOOPBACK);
                neighbor::add(one, id)
            }));
        for request in requests.collect::<Vec<_>>() {
            ask(&mut shard, now, request)?;
        }
        let ruleset = nft::check(configuration.filter.as_deref().unwrap_or_default())
            .map_err(|error| anyhow::anyhow!("[filter]: {error}"))?;
        let position = |wanted: &dyn Fn(&InterfaceConfig) -> bool| {
            configuration.interfaces.iter().position(wanted)
        };
        let found = match interface {
            Some(name) => position(&|config| config.name == name)
                .with_context(|| format!("there is no interface {name} in the configuration"))?,
            None => position(&|config| matches!(config.link, LinkConfig::Device(_)))
                .context("no interface of the configuration has a device")?,
        };
        let interface = ids.get(found).copied().context("no interface")?;
        let mut explainer = Self { shard, configuration, ruleset, interface, first: None, now };
        explainer.install()?;
        let watch = Watch {
            interface: None,
            filter: None,
            stages: Stages::empty(),
            journeys: true,
            sees_claimed: true,
            snap: usize::MAX,
        };
        explainer.shard.watch(Principal::HOST, watch).context("no room to watch")?;
        Ok(explainer)
    }

    /// Rules instead of the configuration's, in nft(8)'s language.
    pub fn set_rules(&mut self, text: &str) -> Result<()> {
        self.ruleset = nft::check(text)?;
        self.install()
    }

    fn install(&mut self) -> Result<()> {
        let compiled =
            nft::compile_for(&self.shard, &self.ruleset, &self.configuration, self.now, [0; 16])
                .map_err(|why| anyhow::anyhow!("[filter]: {why}"))?;
        self.shard.set_filter(compiled);
        Ok(())
    }

    /// A program listens there: for connections, or (`datagrams`) for datagrams.
    pub fn listen(&mut self, local: SocketAddr, datagrams: bool) -> Result<()> {
        let open = if datagrams { Request::OpenUdp } else { Request::OpenTcp };
        let Reply::Socket(socket) = ask(&mut self.shard, self.now, open)? else { return Ok(()) };
        ask(&mut self.shard, self.now, Request::Bind { socket, local })
            .with_context(|| format!("nobody can listen at {local}"))?;
        if !datagrams {
            ask(&mut self.shard, self.now, Request::Listen { socket, backlog: 4096 })?;
        }
        Ok(())
    }

    /// A neighbor that a daemon knows, by an interface of that name; of another host's nothing is taken over.
    pub fn neighbor(&mut self, interface: &str, address: IpAddr, mac: [u8; 6]) -> Result<()> {
        let Some(interface) = self.named(interface) else { return Ok(()) };
        let request = Request::PinNeighbor { interface, address, mac: MacAddr(mac) };
        ask(&mut self.shard, self.now, request).map(drop)
    }

    /// A flow that a daemon tracks, if rules ask about flows here too.
    pub fn flow(&mut self, row: &FlowRow) {
        let now = self.now;
        if let Some(table) = self.shard.conntrack_mut() {
            table.adopt(now, &flows::listed(row, now));
        }
    }

    fn named(&self, name: &str) -> Option<InterfaceId> {
        let mut interfaces = self.shard.interfaces();
        interfaces.find(|(_, station)| station.settings.name == name).map(|(id, _)| id)
    }

    /// What becomes of the next frame, seen at `time` nanoseconds since 1970 on an interface that the file names,
    /// or not. `None`: the host sent it.
    pub fn frame(
        &mut self,
        time: u64,
        interface: Option<&str>,
        frame: &[u8],
    ) -> Option<JourneyReport> {
        let interface = self.place(interface);
        let since = time.saturating_sub(*self.first.get_or_insert(time));
        // Captures from several CPUs go back now and then.
        let now = (Instant::ZERO + BEGIN + Duration::from_nanos(since)).max(self.now);
        while let Some(due) = self.shard.next_timeout().filter(|due| *due <= now) {
            self.now = self.now.max(due);
            self.shard.handle_timeout(self.now);
        }
        self.now = now;
        self.forget();
        let own = self.shard.interface(interface).map(|station| station.settings.mac);
        if ethernet::Header::parse(frame).is_ok_and(|(link, _)| Some(link.source) == own) {
            return None;
        }
        self.shard.receive(now, interface, frame, RxOffload::default());
        let found =
            std::iter::from_fn(|| self.shard.poll_record()).find_map(|(_, record)| match record {
                Record::Journey(way) if way.kind != PacketType::Outgoing => Some(way),
                _ => None,
            });
        let way = found?;
        let names = Names {
            interface: &|id| name_of(&self.shard, id),
            rule: &|chain, rule| nft::describe(&self.ruleset, chain, rule),
            socket: &|_| String::new(),
        };
        let report = journey(&way, time, &names);
        Some(report)
    }

    /// The interface that a file names, or the one that is chosen.
    fn place(&self, name: Option<&str>) -> InterfaceId {
        name.and_then(|name| self.named(name)).unwrap_or(self.interface)
    }

    /// Lets what was sent, and what there is to tell of it, go.
    fn forget(&mut self) {
        let ids: Vec<_> = self.shard.interfaces().map(|(id, _)| id).collect();
        while self.shard.loop_back(self.now) {}
        for id in ids {
            while self.shard.poll_transmit(self.now, id, &mut Void) {}
        }
        while self.shard.poll_event().is_some() {}
        while self.shard.poll_notice().is_some() {}
        while self.shard.poll_record().is_some() {}
    }

    /// A frame that the host sent, which nothing is decided about here.
    pub fn sent(
        &self,
        time: u64,
        interface: Option<&str>,
        frame: &[u8],
        length: u32,
    ) -> JourneyReport {
        let interface = self.place(interface);
        let name = name_of(&self.shard, interface);
        JourneyReport {
            packet: Seen {
                time,
                interface: interface.number(),
                name,
                direction: Direction::Outgoing,
                user: None,
                length,
                bytes: frame.to_vec(),
            },
            steps: Vec::new(),
            verdict: "sent".into(),
            because: "by this host itself, as its link address says".into(),
            reason: None,
        }
    }
}

fn name_of(shard: &Shard, id: InterfaceId) -> String {
    match shard.interface(id) {
        _ if id == InterfaceId::LOOPBACK => "lo".into(),
        Some(station) => station.settings.name.clone(),
        None => format!("if{}", id.number()),
    }
}

fn ask(shard: &mut Shard, now: Instant, request: Request) -> Result<Reply> {
    Ok(shard.request(now, Principal::HOST, request)?)
}

/// The interfaces, those first that others stand upon; their numbers in the configuration's order.
fn establish(
    shard: &mut Shard,
    now: Instant,
    configuration: &Configuration,
    frames: &[&[u8]],
) -> Result<Vec<InterfaceId>> {
    let poll = Poll::new().context("epoll")?;
    let mut site = Site { shard, now, registry: poll.registry() };
    let mut ids = vec![InterfaceId::LOOPBACK; configuration.interfaces.len()];
    for index in from_below(&configuration.interfaces) {
        let (Some(config), Some(id)) = (configuration.interfaces.get(index), ids.get_mut(index))
        else {
            continue;
        };
        let mac = config.options.mac.or_else(|| mac_of(config, frames)).unwrap_or(MAC);
        let hardware = matches!(config.link, LinkConfig::Device(_))
            .then(|| Hardware::assumed(mac, MTU, Capabilities::default()));
        let made = site.establish(config, hardware);
        *id = made.with_context(|| format!("interface \"{}\"", config.name))?;
    }
    for config in &configuration.interfaces {
        site.configure_port(config)?;
    }
    Ok(ids)
}

/// The link address to which frames for the interface's addresses were sent.
fn mac_of(config: &InterfaceConfig, frames: &[&[u8]]) -> Option<MacAddr> {
    let has = |address: Ipv4Addr| {
        config.addresses.iter().any(|prefix| prefix.address() == IpAddr::V4(address))
    };
    let mut targets = frames.iter().filter_map(|frame| target(frame));
    targets.find(|(_, address)| has(*address)).map(|(mac, _)| mac)
}

/// To which station and address an IPv4 frame was sent, if it was for one host.
fn target(frame: &[u8]) -> Option<(MacAddr, Ipv4Addr)> {
    let (link, payload) = ethernet::Header::parse(frame).ok()?;
    let packet = Packet::parse(payload).ok().filter(|_| link.ether_type == EtherType::IPV4)?;
    let address = packet.header.destination;
    let for_one = link.destination.is_unicast()
        && !address.is_multicast()
        && !address.is_broadcast()
        && !address.is_unspecified();
    for_one.then_some((link.destination, address))
}

#[cfg(test)]
mod tests;
