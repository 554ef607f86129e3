//! What the audit says anybody can do, against everybody trying everything: the policy is asked about
//! each act, and the engine, with zones as the audit was told, does it. What the wire can do is tried in
//! [`wire`].

use narrows_policy::{
    Access, Act, ActKind, Default, Defaults, Effect, Origin, Permit, Policy, Protocol, Rule,
    Subject, Who,
    audit::{Ability, Admitted, Carrier, Model, Zone},
};
use narrows_stack::{
    Config, Instant, InterfaceId, Reply, Request, Shard, SocketId,
    random::Random,
    request::{Envelope, NewLink, Principal},
    table::{
        interface::InterfaceSettings,
        zone::{Admission, AdmissionId, Crossing, ZoneId, ZoneSet, ZoneSettings},
    },
};
use narrows_wire::address::{MacAddr, Prefix};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

mod wire;

const CONFIGURATIONS: u32 = 100;
const USERS: [u32; 4] = [0, 7, 8, 9];
const PUBLIC: &str = "public";
const LAN_AT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const LAB_AT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const MEMBERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 99, 0, 2), Ipv4Addr::new(10, 99, 0, 3)];
const ZONES: [&str; 3] = [PUBLIC, "lab", "vault"];
/// More than any rule names, on both sides of every edge.
const PORTS: [u16; 12] = [0, 1, 2, 3, 4, 5, 6, 1022, 1023, 1024, 1025, 65_535];

fn subject(user: u32) -> Subject<'static> {
    Subject { user, group: user, groups: &[], executable: None, cgroup: None }
}

fn pick<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u32) as usize]
}

fn one_in(random: &mut Random, n: u32) -> bool {
    random.below(n) == 0
}

fn rule(random: &mut Random) -> Rule {
    let kind = pick(
        random,
        &[
            ActKind::Bind,
            ActKind::Bind,
            ActKind::Listen,
            ActKind::Connect,
            ActKind::Connect,
            ActKind::Packet,
            ActKind::Raw,
        ],
    );
    let text = match kind {
        ActKind::Packet | ActKind::Raw => {
            let all = ["", "observe ", "inject ", "claim ", "tap ", "inspect "];
            // Deciding about packets is for packet sockets' rules.
            let known = if kind == ActKind::Packet { all.len() } else { all.len() - 1 };
            let access = pick(random, &all[..known]);
            format!("{access}{}", pick(random, &["*", "lan", "lab0", "lan.7", "vault"]))
        }
        _ => {
            let protocol = match kind {
                ActKind::Listen => "",
                _ => pick(random, &["", "tcp ", "udp "]),
            };
            let networks = [
                "*",
                "10.0.0.2",
                "10.1.0.2",
                "10.99.0.0/24",
                "10.99.0.3",
                "10.0.0.0/8",
                "127.0.0.1",
            ];
            let network = pick(random, &networks);
            let ports = pick(random, &["", ":2", ":0-65535", ":1-4", ":1023", ":1024-65535", ":0"]);
            format!("{protocol}{network}{ports}")
        }
    };
    let who = Who {
        user: (!one_in(random, 4)).then(|| pick(random, &USERS)),
        zone: one_in(random, 3).then(|| pick(random, &ZONES).to_owned()),
        ..Who::default()
    };
    let effect = if one_in(random, 2) { Effect::Deny } else { Effect::Grant };
    let permit = Permit::parse(kind, &text).unwrap_or_else(|why| panic!("{text}: {why}"));
    Rule { effect, who, permit, origin: Origin::Added }
}

fn model(random: &mut Random) -> Model {
    let mut policy = Policy::new(0);
    let rules = random.below(12);
    policy.add((0..rules).map(|_| rule(random)).collect::<Vec<_>>());
    let mut defaults = Defaults::default();
    for kind in [ActKind::Bind, ActKind::Connect, ActKind::Packet, ActKind::Listen] {
        let choices = [Default::Linux, Default::Linux, Default::Deny, Default::Allow];
        defaults.set(kind, pick(random, &choices));
    }
    policy.set_defaults(defaults);
    let user = |user| Who { user: Some(user), ..Who::default() };
    let zone = |name: &str, addresses: &[Ipv4Addr], interface: &str| Zone {
        name: name.into(),
        private: false,
        admitted: Vec::new(),
        addresses: addresses.iter().copied().map(IpAddr::V4).collect(),
        interfaces: vec![interface.to_owned()],
        carriers: Vec::new(),
        reachable_from: Vec::new(),
    };
    let mut zones = vec![
        zone(PUBLIC, &[LAN_AT, Ipv4Addr::LOCALHOST], "lan"),
        zone("lab", &[LAB_AT], "lab0"),
        zone("vault", &MEMBERS, "vault"),
    ];
    for who in USERS {
        if one_in(random, 2) {
            zones[1].admitted.push(Admitted { who: user(who), address: None });
        }
    }
    zones[2].private = true;
    for address in MEMBERS {
        let who = user(pick(random, &USERS));
        zones[2].admitted.push(Admitted { who, address: Some(address.into()) });
    }
    for to in &mut zones {
        let others = ZONES.iter().filter(|from| **from != to.name);
        for from in others {
            if one_in(random, 5) {
                to.reachable_from.push((*from).to_owned());
            }
        }
    }
    Model { policy, zones }
}

fn id(name: &str) -> ZoneId {
    let number = ZONES.iter().position(|zone| *zone == name).expect("a zone");
    ZoneId::new(number).expect("few zones")
}

/// A host with the model's zones.
struct Site<'a> {
    model: &'a Model,
    shard: Shard,
}

impl<'a> Site<'a> {
    fn new(model: &'a Model) -> Self {
        let mut site = Self { model, shard: Shard::new(Config::default(), [3; 16]) };
        for (name, address) in [("lan", LAN_AT), ("lab0", LAB_AT)] {
            let settings = InterfaceSettings {
                name: name.into(),
                mac: MacAddr([2, 0, 0, 0, 0, address.octets()[1] + 1]),
                mtu: 1500,
                capabilities: narrows_wire::offload::Capabilities::default(),
                routing: narrows_stack::table::route::RoutingSettings::default(),
            };
            let interface = site.interface(Request::AddInterface { settings });
            site.address(interface, address);
            if name == "lab0" {
                site.ask(Request::SetZone { interface, zone: id("lab") });
            }
        }
        let link = NewLink::Private { mac: MacAddr([2, 0, 0, 0, 0, 99]) };
        let vault = site.interface(Request::AddLink { name: "vault".into(), link });
        site.ask(Request::SetZone { interface: vault, zone: id("vault") });
        let crossings = model.zones.iter().flat_map(|to| {
            to.reachable_from.iter().map(|from| Crossing {
                from: id(from),
                to: id(&to.name),
                protocol: None,
                ports: None,
                source: None,
                destination: None,
            })
        });
        let private = ZoneSet::only(id("vault"));
        let settings = ZoneSettings { private, crossings: crossings.collect() };
        site.ask(Request::SetZones(settings));
        MEMBERS.iter().for_each(|member| site.address(vault, *member));
        for user in USERS {
            let admission = Some(site.admission(user));
            site.ask(Request::Admit { id: principal(user).admission, admission });
        }
        site
    }

    /// As the daemon has it: of a private zone one is one member, the first that fits.
    fn admission(&self, user: u32) -> Admission {
        let mut admission = Admission::default();
        for zone in &self.model.zones {
            let mut fitting =
                zone.admitted.iter().filter(|held| held.who.fits(&subject(user), &zone.name));
            if let Some(first) = fitting.next() {
                admission.zones = admission.zones.with(ZoneSet::only(id(&zone.name)));
                if let Some(IpAddr::V4(address)) = first.address {
                    admission.members.push(address);
                }
            }
        }
        admission
    }

    fn ask(&mut self, request: Request) -> Reply {
        self.shard.request(Instant::ZERO, Principal::HOST, request).expect("a sound model")
    }

    fn interface(&mut self, request: Request) -> InterfaceId {
        match self.ask(request) {
            Reply::Interface(interface) => interface,
            other => panic!("no interface: {other:?}"),
        }
    }

    fn address(&mut self, interface: InterfaceId, address: Ipv4Addr) {
        let prefix = Prefix::new(address.into(), 24).expect("a prefix");
        self.ask(Request::AddAddress { interface, prefix });
    }

    fn with_socket(
        &mut self,
        user: u32,
        protocol: Protocol,
        act: impl FnOnce(&mut Shard, SocketId) -> bool,
    ) -> bool {
        let open = if protocol == Protocol::Tcp { Request::OpenTcp } else { Request::OpenUdp };
        let opened = self.shard.request(Instant::ZERO, principal(user), open);
        let Ok(Reply::Socket(socket)) = opened else { panic!("no socket: {opened:?}") };
        let done = act(&mut self.shard, socket);
        let close = Request::Abort { socket };
        self.shard.request(Instant::ZERO, principal(user), close).expect("an end");
        done
    }

    fn decides(&self, user: u32, zone: &str, act: &Act<'_>) -> bool {
        self.model.policy.decide(&subject(user), zone, act).allowed
    }

    fn binds(&mut self, user: u32, zone: &str, protocol: Protocol, local: SocketAddr) -> bool {
        self.decides(user, zone, &Act::Bind { protocol, local })
            && self.with_socket(user, protocol, |shard, socket| {
                let bind = Request::Bind { socket, local };
                shard.request(Instant::ZERO, principal(user), bind).is_ok()
            })
    }

    fn receives(&mut self, user: u32, zone: &str, local: SocketAddr) -> bool {
        let tcp = Protocol::Tcp;
        self.binds(user, zone, Protocol::Udp, local)
            || self.decides(user, zone, &Act::Bind { protocol: tcp, local })
                && self.decides(user, zone, &Act::Listen { local })
                && self.with_socket(user, tcp, |shard, socket| {
                    let ask = |shard: &mut Shard, request| {
                        shard.request(Instant::ZERO, principal(user), request).is_ok()
                    };
                    ask(shard, Request::Bind { socket, local })
                        && ask(shard, Request::Listen { socket, backlog: 4 })
                })
    }

    /// With and without an address of one's own to send from.
    fn reaches(&mut self, user: u32, zone: &str, remote: SocketAddr) -> bool {
        let sources: Vec<(String, IpAddr)> = self
            .model
            .zones
            .iter()
            .flat_map(|zone| zone.addresses.iter().map(|own| (zone.name.clone(), *own)))
            .collect();
        let who = principal(user);
        if self.decides(user, zone, &Act::Connect { protocol: Protocol::Udp, remote }) {
            for source in sources.iter().map(|(_, own)| Some(*own)).chain([None]) {
                let envelope = Envelope { remote: Some(remote), source, ..Envelope::default() };
                if self.with_socket(user, Protocol::Udp, |shard, socket| {
                    let reach = Request::Reach { socket, envelope, len: 1 };
                    shard.request(Instant::ZERO, who, reach).is_ok()
                }) {
                    return true;
                }
            }
        }
        let protocol = Protocol::Tcp;
        if !self.decides(user, zone, &Act::Connect { protocol, remote }) || remote.port() == 0 {
            return false;
        }
        let connect = |shard: &mut Shard, socket| {
            shard.request(Instant::ZERO, who, Request::Connect { socket, remote }).is_ok()
        };
        if self.with_socket(user, protocol, connect) {
            return true;
        }
        for (from, own) in sources {
            for local in PORTS.map(|port| SocketAddr::new(own, port)) {
                let bound = self.decides(user, &from, &Act::Bind { protocol, local });
                if bound
                    && self.with_socket(user, protocol, |shard, socket| {
                        let bind = Request::Bind { socket, local };
                        shard.request(Instant::ZERO, who, bind).is_ok() && connect(shard, socket)
                    })
                {
                    return true;
                }
            }
        }
        false
    }

    /// Packet and raw sockets, where the zone admits whoever asks.
    fn touches(&self, user: u32, zone: &Zone, access: Access) -> bool {
        let admitted = self.admission(user).zones.contains(id(&zone.name));
        let interface = zone.interfaces.first().map(String::as_str);
        let acts = [Act::Packet { interface, access }, Act::Raw { interface, access }];
        admitted && acts.iter().any(|act| self.decides(user, &zone.name, act))
    }

    /// What an inspector asks before it attaches.
    fn inspects(&self, user: u32, zone: &Zone) -> bool {
        let interface = zone.interfaces.first().map(String::as_str);
        let act = Act::Packet { interface, access: Access::Inspect };
        let admitted = self.admission(user).zones.contains(id(&zone.name));
        admitted && self.decides(user, &zone.name, &act)
    }

    fn tries(&mut self, user: u32, ability: Ability, zone: &Zone) -> bool {
        let at: Vec<SocketAddr> = zone
            .addresses
            .iter()
            .flat_map(|address| PORTS.map(|port| SocketAddr::new(*address, port)))
            .collect();
        let name = &zone.name;
        match ability {
            Ability::Bind => at.iter().any(|local| {
                Protocol::ALL[..2].iter().any(|protocol| self.binds(user, name, *protocol, *local))
            }),
            Ability::Receive => at.iter().any(|local| self.receives(user, name, *local)),
            Ability::Reach => at.iter().any(|remote| self.reaches(user, name, *remote)),
            Ability::Observe => self.touches(user, zone, Access::Observe),
            Ability::Inject | Ability::Impersonate => self.touches(user, zone, Access::Inject),
            Ability::Claim => self.touches(user, zone, Access::Claim),
            Ability::Tap => self.touches(user, zone, Access::Tap),
            Ability::Inspect => self.inspects(user, zone),
        }
    }
}

fn random_of(seed: u32) -> Random {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&seed.to_le_bytes());
    Random::new(key)
}

fn principal(user: u32) -> Principal {
    Principal { admission: AdmissionId(user + 1), ..Principal::user(user) }
}

#[test]
fn the_audit_says_what_trying_everything_finds() {
    let mut found = [0_u32; 2];
    for seed in 0..CONFIGURATIONS {
        let model = model(&mut random_of(seed));
        let mut site = Site::new(&model);
        for user in USERS {
            for zone in &model.zones {
                for ability in Ability::ALL {
                    let said = model.can(&subject(user), ability, &zone.name).expect("a zone");
                    let can = site.tries(user, ability, zone);
                    found[usize::from(can)] += 1;
                    assert_eq!(
                        said.can,
                        can,
                        "seed {seed}: may {user} {} {}? {}\n{model:#?}",
                        ability.name(),
                        zone.name,
                        said.why
                    );
                }
            }
        }
    }
    // Both answers were given often, or nothing was shown.
    assert!(found.iter().all(|count| *count > CONFIGURATIONS * 10), "{found:?}");
}
