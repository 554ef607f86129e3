//! What follows from policy and zones together: who can do what in each zone, and by which rule.
//!
//! It is about this host: its addresses, its interfaces and the programs on it. An ability is there if
//! any act that belongs to it is possible at all, so a "no" says that nothing is, whatever address, port
//! or protocol is tried. Ports are tried at the edges of what rules name, since between two edges all
//! are alike.

mod forbid;

pub use forbid::{Breach, Forbid, Logins, Profile};

use crate::{Access, Act, ActKind, Decision, Permit, Policy, Protocol, Reason, Subject, Who};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// The zone that admits everybody.
const PUBLIC: &str = "public";

/// All that decides.
#[derive(Clone, Debug)]
pub struct Model {
    pub policy: Policy,
    pub zones: Vec<Zone>,
}

#[derive(Clone, Debug)]
pub struct Zone {
    pub name: String,
    /// Each address is one member's.
    pub private: bool,
    /// Nobody is named for `public`, which admits everybody.
    pub admitted: Vec<Admitted>,
    pub addresses: Vec<IpAddr>,
    pub interfaces: Vec<String>,
    /// What its frames pass besides.
    pub carriers: Vec<Carrier>,
    /// Zones from which a rule lets something begin here.
    pub reachable_from: Vec<String>,
}

/// An interface of another zone, with an interface of the zone upon it: a VLAN's link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    pub interface: String,
    pub zone: String,
}

impl Carrier {
    /// Everything that a zone's interfaces stand upon, near or far, and that is in another zone: `below` says
    /// what an interface stands upon, `zone_of` where one is.
    pub fn of<'a>(
        zone: &str,
        interfaces: impl IntoIterator<Item = &'a str>,
        below: impl Fn(&str) -> Vec<&'a str>,
        zone_of: impl Fn(&str) -> Option<&'a str>,
    ) -> Vec<Self> {
        let mut upon: Vec<&str> = interfaces.into_iter().collect();
        let mut seen: BTreeSet<&str> = upon.iter().copied().collect();
        let mut found = Vec::new();
        while let Some(interface) = upon.pop() {
            for lower in below(interface).into_iter().filter(|lower| seen.insert(lower)) {
                upon.push(lower);
                if let Some(other) = zone_of(lower).filter(|other| *other != zone) {
                    found.push(Self { interface: lower.to_owned(), zone: other.to_owned() });
                }
            }
        }
        found
    }
}

#[derive(Clone, Debug)]
pub struct Admitted {
    pub who: Who,
    /// The member's, in a private zone.
    pub address: Option<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ability {
    /// To have an address and a port there.
    Bind,
    /// To send to an address there.
    Reach,
    /// To get what others send to an address there.
    Receive,
    /// To see what is for others.
    Observe,
    /// To send frames or packets of one's own making.
    Inject,
    /// To send in the name of others.
    Impersonate,
    /// To take what comes in away from others.
    Claim,
    /// To see what the stack makes of packets, at each stage of their way.
    Tap,
    /// To decide what becomes of others' packets.
    Inspect,
}

impl Ability {
    pub const ALL: [Self; 9] = [
        Self::Bind,
        Self::Reach,
        Self::Receive,
        Self::Observe,
        Self::Inject,
        Self::Impersonate,
        Self::Claim,
        Self::Tap,
        Self::Inspect,
    ];

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ability| ability.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Reach => "reach",
            Self::Receive => "receive",
            Self::Observe => "observe",
            Self::Inject => "inject",
            Self::Impersonate => "impersonate",
            Self::Claim => "claim",
            Self::Tap => "tap",
            Self::Inspect => "inspect",
        }
    }
}

/// Whether, and how or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub can: bool,
    /// The path: who admits, then the act and what decides about it.
    pub why: String,
}

/// How a subject is in a zone.
struct Admission<'a> {
    by: String,
    /// Addresses that it may use there.
    own: Vec<IpAddr>,
    zone: &'a Zone,
}

impl Model {
    /// `None`: there is no such zone.
    pub fn can(&self, subject: &Subject<'_>, ability: Ability, zone: &str) -> Option<Finding> {
        let zone = self.zones.iter().find(|held| held.name == zone)?;
        if ability == Ability::Reach {
            return Some(self.reach(subject, zone));
        }
        let Some(admission) = self.admission(subject, zone) else {
            return Some(no(format!("zone {} doesn't admit him", zone.name)));
        };
        let acts: Vec<Act<'_>> = match ability {
            Ability::Bind | Ability::Receive | Ability::Reach => {
                self.binds(&admission.own).collect()
            }
            Ability::Observe => return Some(self.touch(subject, admission, Access::Observe)),
            Ability::Inject | Ability::Impersonate => {
                return Some(self.touch(subject, admission, Access::Inject));
            }
            Ability::Claim => return Some(self.touch(subject, admission, Access::Claim)),
            Ability::Tap => return Some(self.touch(subject, admission, Access::Tap)),
            Ability::Inspect => touches(zone, Access::Inspect),
        };
        let receives = ability == Ability::Receive;
        let enough = |act: &Act<'_>| match act {
            Act::Bind { protocol: Protocol::Tcp, local } if receives => {
                self.policy.decide(subject, &zone.name, &Act::Listen { local: *local }).allowed
            }
            _ => true,
        };
        Some(self.first_allowed(subject, &admission, acts.into_iter().filter(enough)))
    }

    /// By the zone's interfaces, or by what carries them: packet sockets there have to do with the frames of
    /// those zones alone that admit who asks, the interface's too.
    fn touch(&self, subject: &Subject<'_>, admission: Admission<'_>, access: Access) -> Finding {
        let zone = admission.zone;
        let found = self.first_allowed(subject, &admission, touches(zone, access).into_iter());
        if found.can {
            return found;
        }
        let ways = zone.carriers.iter().filter_map(|carrier| {
            let below = self.zones.iter().find(|held| held.name == carrier.zone)?;
            let Admission { by, own, .. } = self.admission(subject, below)?;
            let by = format!("{}, its frames pass {}, {by}", admission.by, carrier.interface);
            let act = Act::Packet { interface: Some(&carrier.interface), access };
            let admission = Admission { by, own, zone: below };
            Some(self.first_allowed(subject, &admission, std::iter::once(act)))
        });
        ways.into_iter().find(|way| way.can).unwrap_or(found)
    }

    fn admission<'a>(&self, subject: &Subject<'_>, zone: &'a Zone) -> Option<Admission<'a>> {
        if zone.name == PUBLIC {
            let by = "everybody is in zone public".to_owned();
            return Some(Admission { by, own: zone.addresses.clone(), zone });
        }
        let fitting = zone.admitted.iter().find(|held| held.who.fits(subject, &zone.name))?;
        let own = match fitting.address {
            Some(address) => vec![address],
            None if zone.private => Vec::new(),
            None => zone.addresses.clone(),
        };
        Some(Admission { by: format!("zone {} admits {}", zone.name, fitting.who), own, zone })
    }

    /// From any zone that the subject has an address in: the same, one from which something may begin
    /// there, or one in which something there may begin, for UDP, of which nobody can tell what answers.
    /// A connection to another zone has to be bound to an address first.
    fn reach(&self, subject: &Subject<'_>, zone: &Zone) -> Finding {
        let mut found = no(format!("no zone that he is in may begin anything in {}", zone.name));
        for from in &self.zones {
            let here = from.name == zone.name;
            let leads = zone.reachable_from.contains(&from.name);
            let back = from.reachable_from.contains(&zone.name);
            let Some(mut admission) = self.admission(subject, from) else { continue };
            if admission.own.is_empty() || !(here || leads || back) {
                continue;
            }
            let bindable = || {
                self.binds(&admission.own).any(|act| {
                    let tcp = matches!(act, Act::Bind { protocol: Protocol::Tcp, .. });
                    tcp && self.policy.decide(subject, &from.name, &act).allowed
                })
            };
            let tcp = here || leads && bindable();
            if !here {
                let (one, other) = if leads { (from, zone) } else { (zone, from) };
                admission.by += &format!(", something may go from {} to {}", one.name, other.name);
            }
            let acts = self
                .connects(zone)
                .filter(|act| tcp || matches!(act, Act::Connect { protocol: Protocol::Udp, .. }));
            found = self.first_allowed(subject, &Admission { zone, ..admission }, acts);
            if found.can {
                break;
            }
        }
        found
    }

    fn connects(&self, zone: &Zone) -> impl Iterator<Item = Act<'static>> {
        let mut ports = self.edges(ActKind::Connect);
        // Nothing can be sent there.
        ports.remove(&0);
        let of = |address: &IpAddr| -> Vec<_> {
            ports.iter().map(|port| SocketAddr::new(*address, *port)).collect()
        };
        let at: Vec<SocketAddr> = zone.addresses.iter().flat_map(of).collect();
        at.into_iter().flat_map(|remote| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| Act::Connect { protocol, remote })
        })
    }

    fn first_allowed<'a>(
        &self,
        subject: &Subject<'_>,
        admission: &Admission<'_>,
        acts: impl Iterator<Item = Act<'a>>,
    ) -> Finding {
        let mut refused = None;
        for act in acts {
            let decision = self.policy.decide(subject, &admission.zone.name, &act);
            if decision.allowed {
                let why = format!("{}; {act}: {}", admission.by, self.reason(decision));
                return Finding { can: true, why };
            }
            refused.get_or_insert((act, decision));
        }
        match refused {
            Some((act, decision)) => no(format!("{act}: {}", self.reason(decision))),
            None => no(format!("nothing in zone {} is his to use", admission.zone.name)),
        }
    }

    fn reason(&self, decision: Decision) -> String {
        match decision.reason {
            Reason::Rule(id) => match self.policy.rule(id) {
                Some(rule) => format!("{}: {rule}", rule.origin),
                None => decision.reason.to_string(),
            },
            reason => reason.to_string(),
        }
    }

    fn binds(&self, own: &[IpAddr]) -> impl Iterator<Item = Act<'static>> {
        let ports = self.edges(ActKind::Bind);
        let at: Vec<_> = own
            .iter()
            .flat_map(|address| ports.iter().map(|port| SocketAddr::new(*address, *port)))
            .collect();
        at.into_iter().flat_map(|local| {
            [Protocol::Tcp, Protocol::Udp].map(|protocol| Act::Bind { protocol, local })
        })
    }

    /// Where the ports begin that rules or defaults tell from those before; an edge of listening is one
    /// of binding too.
    fn edges(&self, kind: ActKind) -> BTreeSet<u16> {
        let mut edges = BTreeSet::from([0, 1, 1024]);
        for (_, rule) in self.policy.rules() {
            let (Permit::Bind(at) | Permit::Listen(at) | Permit::Connect(at)) = &rule.permit else {
                continue;
            };
            let about = rule.permit.kind();
            if about == kind || (kind, about) == (ActKind::Bind, ActKind::Listen) {
                edges.extend([Some(at.ports.0), at.ports.1.checked_add(1)].into_iter().flatten());
            }
        }
        edges
    }

    /// Everybody whom a rule or a zone names, and `public`'s everybody: [`Who`] without a zone.
    pub fn named(&self) -> BTreeSet<Who> {
        let rules = self.policy.rules().map(|(_, rule)| &rule.who);
        let admitted = self.zones.iter().flat_map(|zone| &zone.admitted).map(|held| &held.who);
        rules.chain(admitted).map(|who| Who { zone: None, ..who.clone() }).collect()
    }
}

fn no(why: String) -> Finding {
    Finding { can: false, why }
}

/// Packet and raw sockets on every interface of a zone; inspectors are asked about as packet sockets alone.
fn touches(zone: &Zone, access: Access) -> Vec<Act<'_>> {
    let each = zone.interfaces.iter().map(|name| Some(name.as_str()));
    each.flat_map(|interface| [Act::Packet { interface, access }, Act::Raw { interface, access }])
        .filter(|act| access != Access::Inspect || matches!(act, Act::Packet { .. }))
        .collect()
}
