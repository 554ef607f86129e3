//! The clock, and whose turn it is.
//!
//! Time jumps from one thing that happens to the next: a frame arrives, a timer of an engine is
//! due, a program wakes, a device has room again. After that the hosts concerned have their turn:
//! events go to programs, programs call the engine, frames go to the wire, until all is quiet.

use crate::{
    app::{self, Outcome, PRINCIPAL, Program},
    host::{Device, Host, Owner},
    hostile::Hostile,
    invariant::{self, Broken, holds},
    link::Link,
    observer::Observer,
    pattern::Pattern,
    scenario::{Ends, Incident, Report, Scenario},
    trace::Trace,
};
use core::net::SocketAddr;
use narrows_stack::{
    Error, Instant, Readiness, Reply, Request, SocketId, event::Event, random::Random,
    request::SocketOption, time::Duration,
};
use std::collections::BTreeMap;

/// Where servers listen.
const PORT: u16 = 80;

/// How often a client tries that gets no answer, from its peer or from ARP.
const ATTEMPTS: u32 = 4;

/// And how long it waits before that.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Rounds of a host's turn: far more than any turn needs.
const MOST_ROUNDS: usize = 100_000;

/// Steps at one instant: far more than anything needs.
const MOST_STEPS_AT_ONCE: usize = 10_000;

/// Steps between looks at a host's memory, which take long when there are many sockets.
const STEPS_BETWEEN_CHECKS: u64 = 16;

/// How long after the last program something may be left of their connections: retransmissions of
/// a FIN back off to minutes, and TIME-WAIT is one.
const LINGER: Duration = Duration::from_secs(3600);

pub struct World {
    now: Instant,
    start: Instant,
    hosts: Vec<Host>,
    /// By number of the sending host.
    links: Vec<Link>,
    /// A client and a server for each connection, in turn.
    programs: Vec<Program>,
    /// Of each program, the number of its host.
    homes: Vec<usize>,
    /// Of each client, how often it has called.
    attempts: Vec<u32>,
    /// The connection to which a client's address, at a server of this number, belongs.
    callers: BTreeMap<(SocketAddr, usize), usize>,
    /// Connections yet to begin, and incidents yet to come.
    agenda: BTreeMap<Instant, Vec<Item>>,
    hostile: Hostile,
    observer: Observer,
    trace: Option<Trace>,
    steps: u64,
}

#[derive(Clone, Copy, Debug)]
enum Item {
    Call(usize),
    Incident(Incident),
}

impl World {
    pub fn new(scenario: &Scenario, trace: Option<Trace>) -> Result<Self, Broken> {
        let mut links = Vec::new();
        let mut hosts = Vec::new();
        for (index, (config, settings)) in scenario.hosts.iter().enumerate() {
            let link = Link::new(settings.clone(), random(scenario.seed, 1 + index as u64));
            let host = Host::new(index, config.clone(), scenario.seed, &link);
            hosts.push(host.map_err(|error| Broken(format!("host {index}: {error}")))?);
            links.push(link);
        }
        let mut world = Self {
            now: scenario.start,
            start: scenario.start,
            hosts,
            links,
            programs: Vec::new(),
            homes: Vec::new(),
            attempts: vec![0; scenario.connections.len()],
            callers: BTreeMap::new(),
            agenda: BTreeMap::new(),
            hostile: Hostile::new(scenario.hostile, random(scenario.seed, 0)),
            observer: Observer::default(),
            trace,
            steps: 0,
        };
        for (index, connection) in scenario.connections.iter().enumerate() {
            let (client, server) = connection.scripts.clone();
            let [up, down] =
                [0, 1].map(|way| Pattern::new(scenario.seed ^ (index as u64) << 1 | way));
            world.programs.push(Program::new(client, connection.calls, up, down));
            world.programs.push(Program::new(server, connection.calls, down, up));
            world.homes.extend([connection.client, connection.server]);
            world.plan(connection.at, Item::Call(index));
        }
        for (at, incident) in &scenario.incidents {
            world.plan(*at, Item::Incident(*incident));
        }
        for index in 0..world.hosts.len() {
            if scenario.connections.iter().any(|connection| connection.server == index) {
                let backlog = scenario.connections.len() as u32;
                let listening = world.hosts[index].listen(world.now, PORT, backlog);
                listening.map_err(|error| Broken(format!("host {index} can't listen: {error}")))?;
            }
        }
        Ok(world)
    }

    fn plan(&mut self, at: Duration, item: Item) {
        self.agenda.entry(self.start + at).or_default().push(item);
    }

    /// Until all programs are done, and nothing is left of them.
    pub fn run(mut self, scenario: &Scenario) -> Result<Report, Broken> {
        let deadline = self.start + scenario.deadline;
        self.advance(scenario, deadline, |world| {
            world.agenda.is_empty() && (0..world.programs.len()).all(|n| world.is_done(scenario, n))
        })?;
        let programs_done = self.now.since(self.start);
        self.check_ends(scenario)?;
        self.close_listeners();
        self.advance(scenario, self.now + LINGER, |world| {
            world.hosts.iter().all(|host| invariant::check_left(host, world.now).is_ok())
        })?;
        let now = self.now;
        self.hosts.iter().try_for_each(|host| invariant::check_left(host, now))?;
        Ok(Report {
            programs_done,
            ended: now.since(self.start),
            client_iss: self.client_iss(scenario),
            bytes: self.programs.iter().map(Program::bytes).sum(),
            received: self.programs.iter().skip(1).step_by(2).map(Program::received).collect(),
            counters: self.hosts.iter().map(|host| host.shard.counters().clone()).collect(),
        })
    }

    /// A server whose client broke off may never have heard of it.
    fn is_done(&self, scenario: &Scenario, number: usize) -> bool {
        let program = &self.programs[number];
        let is_server = number % 2 == 1;
        !program.is_running()
            || is_server
                && !program.has_begun()
                && scenario.connections[number / 2].ends == Ends::Broken
                && !self.programs[number - 1].is_running()
    }

    /// Lets time pass until `done`, or until `deadline` or an end of all that could happen.
    fn advance(
        &mut self,
        scenario: &Scenario,
        deadline: Instant,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Broken> {
        let mut steps_at_once = 0;
        loop {
            for index in 0..self.hosts.len() {
                if std::mem::take(&mut self.hosts[index].dirty) {
                    self.turn(scenario, index)?;
                }
            }
            if done(self) {
                return Ok(());
            }
            let next = self.next_instant().unwrap_or(Instant::NEVER);
            if next > deadline {
                return self.stands_still(deadline);
            }
            steps_at_once = if next > self.now { 0 } else { steps_at_once + 1 };
            holds!(steps_at_once < MOST_STEPS_AT_ONCE, "time stands still at {:?}", self.now);
            self.now = self.now.max(next);
            self.step(scenario)?;
        }
    }

    /// The deadline has come, or nothing will ever happen again.
    fn stands_still(&self, deadline: Instant) -> Result<(), Broken> {
        let waiting: Vec<_> =
            self.programs.iter().enumerate().filter(|(_, program)| program.is_running()).collect();
        if waiting.is_empty() {
            let left = |host| invariant::check_left(host, self.now);
            return self.hosts.iter().try_for_each(left);
        }
        let infos: Vec<_> =
            self.hosts.iter().flat_map(|host| host.shard.sockets(self.now)).collect();
        Err(Broken(format!(
            "not done by {:?}: {waiting:#?}\nsockets: {infos:#?}",
            deadline.since(self.start)
        )))
    }

    fn next_instant(&self) -> Option<Instant> {
        let frames = self.links.iter().filter_map(Link::next_arrival);
        let room = self.links.iter().filter_map(|link| link.room_at(self.now));
        let timers = self.hosts.iter().filter_map(|host| host.shard.next_timeout());
        let wakes = self.programs.iter().flat_map(|program| [program.wake, program.enough]);
        let wakes = wakes.flatten();
        let agenda = self.agenda.keys().next().copied();
        frames.chain(room).chain(timers).chain(wakes).chain(agenda).min()
    }

    /// All that happens now.
    fn step(&mut self, scenario: &Scenario) -> Result<(), Broken> {
        let now = self.now;
        self.steps += 1;
        while let Some(entry) = self.agenda.first_entry().filter(|entry| *entry.key() <= now) {
            for item in entry.remove() {
                match item {
                    Item::Call(connection) => self.call(scenario, connection)?,
                    Item::Incident(Incident::Silent { host, silent }) => {
                        self.links[host].down = silent;
                    }
                }
            }
        }
        for sender in 0..self.links.len() {
            while let Some(frame) = self.links[sender].receive(now) {
                self.deliver(sender, &frame);
            }
            // A device that had no room may have some now.
            self.hosts[sender].dirty |= self.links[sender].settings.backpressure;
        }
        for host in &mut self.hosts {
            if host.shard.next_timeout().is_some_and(|at| at <= now) {
                host.shard.handle_timeout(now);
                host.dirty = true;
                let next = host.shard.next_timeout();
                holds!(next.is_none_or(|at| at > now), "{}: a timer is due for ever", host.name);
            }
        }
        for (program, home) in self.programs.iter_mut().zip(&self.homes) {
            let wakes = [program.wake, program.enough].into_iter().flatten();
            if wakes.min().is_some_and(|wake| wake <= now) {
                let host = &mut self.hosts[*home];
                program.run(now, &mut host.shard)?;
                host.dirty = true;
            }
        }
        if self.steps.is_multiple_of(STEPS_BETWEEN_CHECKS) {
            self.hosts.iter().try_for_each(|host| invariant::check_host(host, now))?;
        }
        Ok(())
    }

    /// The wire is a hub: everybody else hears a frame.
    fn deliver(&mut self, sender: usize, frame: &crate::frame::Frame) {
        let forged = self.hostile.follow(frame);
        for frame in [Some(frame), forged.as_ref()].into_iter().flatten() {
            for (_, host) in self.hosts.iter_mut().enumerate().filter(|(at, _)| *at != sender) {
                host.shard.receive(self.now, host.interface, &frame.bytes, frame.offload);
                host.dirty = true;
            }
        }
    }

    /// Events to programs, frames to the wire, until all is quiet.
    fn turn(&mut self, scenario: &Scenario, index: usize) -> Result<(), Broken> {
        for _ in 0..MOST_ROUNDS {
            let mut quiet = true;
            while let Some(event) = self.hosts[index].shard.poll_event() {
                self.tell(scenario, index, event)?;
                quiet = false;
            }
            let host = &mut self.hosts[index];
            quiet &= !host.shard.loop_back(self.now);
            let link = &mut self.links[index];
            let trace = self.trace.as_mut();
            let (now, observer) = (self.now, &mut self.observer);
            let mut device = Device { now, link, observer, trace, sent: 0, broken: None };
            let waiting = host.shard.poll_transmit(self.now, host.interface, &mut device);
            quiet &= device.sent == 0;
            if let Some(Broken(why)) = device.broken {
                return Err(Broken(format!("{}: {why}", host.name)));
            }
            let room = self.links[index].has_room(self.now);
            if quiet && !(waiting && room) {
                return Ok(());
            }
        }
        Err(Broken(format!("{} never comes to rest", self.hosts[index].name)))
    }

    fn tell(&mut self, scenario: &Scenario, index: usize, event: Event) -> Result<(), Broken> {
        let Event { socket, readiness } = event;
        let host = &mut self.hosts[index];
        match host.owners.get(&socket) {
            Some(Owner::Listener) => self.accept(scenario, index, socket),
            Some(Owner::Program(number)) => {
                let number = *number;
                let program = &mut self.programs[number];
                if program.has_begun() {
                    program.tell(readiness);
                    program.run(self.now, &mut host.shard)
                } else if readiness.contains(Readiness::CONNECTED) {
                    program.begin(socket);
                    program.tell(readiness | Readiness::WRITABLE);
                    program.run(self.now, &mut host.shard)
                } else if readiness.contains(Readiness::FAILED) {
                    self.call_failed(number, socket)
                } else {
                    Ok(())
                }
            }
            None => Err(Broken(format!("{readiness:?} for an unknown {socket:?}"))),
        }
    }

    /// A client calls its server.
    fn call(&mut self, scenario: &Scenario, index: usize) -> Result<(), Broken> {
        let connection = &scenario.connections[index];
        let (now, number) = (self.now, index * 2);
        let remote = SocketAddr::new(self.hosts[connection.server].address.into(), PORT);
        self.attempts[index] += 1;
        let host = &mut self.hosts[connection.client];
        let called = host.open(now, Owner::Program(number)).and_then(|socket| {
            set(host, now, socket, &connection.options)?;
            host.request(now, Request::Connect { socket, remote })?;
            host.local(now, socket)
        });
        match called {
            Ok(local) => {
                self.callers.insert((local, connection.server), index);
                let [up, down] = streams(scenario, index);
                self.observer.expect(local, remote, up);
                self.observer.expect(remote, local, down);
                Ok(())
            }
            Err(error) => Err(Broken(format!("connect: {error}"))),
        }
    }

    /// No answer: as a patient program, the client tries again a few times.
    fn call_failed(&mut self, number: usize, socket: SocketId) -> Result<(), Broken> {
        let host = &mut self.hosts[self.homes[number]];
        let reply = host.request(self.now, Request::TakeError { socket });
        let Ok(Reply::Error(Some(error))) = reply else {
            return Err(Broken(format!("failed without an error: {reply:?}")));
        };
        let closed = host.request(self.now, Request::Close { socket });
        holds!(closed.is_ok(), "close of a failed socket: {closed:?}");
        let index = number / 2;
        let silence = matches!(error, Error::TimedOut | Error::HostUnreachable);
        if silence && self.attempts[index] < ATTEMPTS {
            let again = self.now.since(self.start) + RETRY_AFTER;
            self.plan(again, Item::Call(index));
            return Ok(());
        }
        self.programs[number].fail(error);
        // Nobody will come.
        self.programs[number + 1].fail(error);
        Ok(())
    }

    fn accept(
        &mut self,
        scenario: &Scenario,
        index: usize,
        listener: SocketId,
    ) -> Result<(), Broken> {
        let now = self.now;
        loop {
            let host = &mut self.hosts[index];
            let (socket, remote) = match host.request(now, Request::Accept { socket: listener }) {
                Ok(Reply::Accepted { socket, remote, .. }) => (socket, remote),
                Err(Error::WouldBlock) => return Ok(()),
                // Gone while it waited.
                Err(Error::ConnectionAborted) => continue,
                other => return Err(Broken(format!("accept: {other:?}"))),
            };
            let connection = self.callers.get(&(remote, index)).copied();
            let program = connection.map(|connection| connection * 2 + 1);
            match program.filter(|number| !self.programs[*number].has_begun()) {
                Some(number) => {
                    host.owners.insert(socket, Owner::Program(number));
                    let options = &scenario.connections[number / 2].options;
                    set(host, now, socket, options)
                        .map_err(|error| Broken(format!("accepted socket: {error}")))?;
                    self.programs[number].begin(socket);
                }
                // A caller who has given up meanwhile.
                None => drop(host.request(now, Request::Abort { socket })),
            }
        }
    }

    fn check_ends(&self, scenario: &Scenario) -> Result<(), Broken> {
        for (pair, connection) in self.programs.chunks_exact(2).zip(&scenario.connections) {
            let [client, server] = pair else { continue };
            let outcomes = [client.outcome, server.outcome];
            let right = match connection.ends {
                Ends::Clean => outcomes == [Outcome::Finished; 2],
                Ends::Broken => true,
                Ends::Fails(error) => client.outcome == Outcome::Failed(error),
            };
            holds!(right, "{:?}: client and server are {outcomes:?}", connection.ends);
            app::check_pair(client, server)?;
        }
        Ok(())
    }

    fn client_iss(&self, scenario: &Scenario) -> Vec<u32> {
        let mut callers: Vec<_> = self.callers.iter().collect();
        callers.sort_by_key(|(_, index)| **index);
        let calls = callers.into_iter().map(|((local, _), index)| {
            let server = scenario.connections[*index].server;
            (*local, SocketAddr::new(self.hosts[server].address.into(), PORT))
        });
        calls.filter_map(|(from, to)| self.observer.initial_sequence(from, to)).collect()
    }

    fn close_listeners(&mut self) {
        for host in &mut self.hosts {
            let owners = host.owners.iter();
            let listeners: Vec<SocketId> = owners
                .filter(|(_, owner)| **owner == Owner::Listener)
                .map(|(socket, _)| *socket)
                .collect();
            for socket in listeners {
                // What is left afterwards is looked at.
                let _closed = host.request(self.now, Request::Close { socket });
            }
        }
    }
}

fn set(
    host: &mut Host,
    now: Instant,
    socket: SocketId,
    options: &[SocketOption],
) -> Result<(), Error> {
    for option in options {
        host.shard.request(now, PRINCIPAL, Request::SetOption { socket, option: *option })?;
    }
    Ok(())
}

/// What the client of a connection sends, and what the server does.
fn streams(scenario: &Scenario, connection: usize) -> [Pattern; 2] {
    let number = scenario.seed ^ (connection as u64) << 1;
    [Pattern::new(number), Pattern::new(number | 1)]
}

/// One of several independent sources of randomness of a scenario.
fn random(seed: u64, number: u64) -> Random {
    let mut key = [0xa5; 16];
    key[..8].copy_from_slice(&seed.to_be_bytes());
    key[8] = number as u8;
    Random::new(key)
}
