//! Finds the rules that apply to an act without looking at the others.
//!
//! Rules are in one hash table, by the whole of their [`Who`] and by what kind of act they are about.
//! Which fields of `Who` are given at all is the rule's *shape*; a kind of act has few of them, mostly
//! one or two. So a lookup builds, for each shape, the keys that fit the subject (one for each of his
//! groups, or each control group above his), and that is all it looks at.

use crate::{
    act::{Access, Act, ActKind, Protocol, Subject},
    hash::Table,
    network::{Network, bits, mask},
    ports::{PortMap, RuleIndex},
    rule::{Effect, Endpoint, Medium, Permit, Rule, Who},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// What an act is about, as far as a hash can tell: its kind, and its protocol or access.
type Slot = (ActKind, u8);

/// A number for a text that some rule has.
type Name = u32;

/// [`Who`] with numbers for texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Key {
    user: Option<u32>,
    group: Option<u32>,
    executable: Option<Name>,
    cgroup: Option<Name>,
    zone: Option<Name>,
}

/// Which fields of a key are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    user: bool,
    group: bool,
    executable: bool,
    cgroup: bool,
    zone: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    names: Table<String, Name>,
    shapes: Table<Slot, Vec<Shape>>,
    leaves: Table<(Key, Slot), [Leaf; 2]>,
}

/// The rules of one effect for one key and slot.
#[derive(Clone, Debug, Default)]
struct Leaf {
    endpoints: Endpoints,
    /// By the name of an interface; `None`: for every one, or the act has none.
    plain: BTreeMap<Option<Name>, RuleIndex>,
}

/// Rules by address and port. Most of whom they are about have few, which are then where the rest is
/// that was fetched from memory already.
#[derive(Clone, Debug, Default)]
enum Endpoints {
    #[default]
    None,
    One(Range),
    Few(Vec<Range>),
    Many(Box<Networks>),
}

/// So many are looked at one by one.
const FEW: usize = 8;

/// First and last port of a network, and the rule.
#[derive(Clone, Copy, Debug)]
struct Range {
    network: Network,
    ports: (u16, u16),
    rule: RuleIndex,
}

#[derive(Clone, Debug, Default)]
struct Networks {
    networks: Table<Network, PortMap>,
    /// Lengths there are, of both families.
    lengths: BTreeSet<u8>,
    /// Whatever the address.
    anywhere: PortMap,
}

/// What there is for an act, the first of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub deny: Option<RuleIndex>,
    pub grant: Option<RuleIndex>,
}

impl Index {
    pub(crate) fn new<'a>(rules: impl Iterator<Item = &'a Rule>) -> Self {
        let mut index = Self::default();
        let mut ranges = Ranges::default();
        for (number, rule) in (0..).zip(rules) {
            index.insert(number, rule, &mut ranges);
        }
        for (place, ranges) in ranges.0 {
            let (key, slot, effect) = place;
            let leaf = index.leaf((key, slot), effect);
            leaf.endpoints = Endpoints::new(ranges);
        }
        index
    }

    fn insert(&mut self, number: RuleIndex, rule: &Rule, ranges: &mut Ranges) {
        let key = self.key(&rule.who);
        for slot in slots(&rule.permit) {
            let shapes = self.shapes.entry(slot).or_default();
            if !shapes.contains(&key.shape()) {
                shapes.push(key.shape());
            }
            match &rule.permit {
                Permit::Bind(at) | Permit::Listen(at) | Permit::Connect(at) => {
                    ranges.add((key, slot, rule.effect), at.network, at.ports, number);
                }
                Permit::Multicast(network) => {
                    ranges.add((key, slot, rule.effect), *network, (0, 0), number);
                }
                Permit::Raw(medium) | Permit::Packet(medium) => {
                    let name = medium.interface.as_deref().map(|name| self.name(name));
                    let leaf = self.leaf((key, slot), rule.effect);
                    leaf.plain.entry(name).or_insert(number);
                }
                Permit::Inspect | Permit::Administer => {
                    self.leaf((key, slot), rule.effect).plain.entry(None).or_insert(number);
                }
            }
        }
    }

    fn leaf(&mut self, place: (Key, Slot), effect: Effect) -> &mut Leaf {
        let [deny, grant] = self.leaves.entry(place).or_default();
        match effect {
            Effect::Deny => deny,
            Effect::Grant => grant,
        }
    }

    fn name(&mut self, text: &str) -> Name {
        let next = Name::try_from(self.names.len()).unwrap_or(Name::MAX);
        *self.names.entry(text.to_owned()).or_insert(next)
    }

    fn key(&mut self, who: &Who) -> Key {
        let mut named = |text: &Option<String>| text.as_deref().map(|text| self.name(text));
        Key {
            user: who.user,
            group: who.group,
            executable: named(&who.executable),
            cgroup: named(&who.cgroup.as_deref().map(|path| trimmed(path).to_owned())),
            zone: named(&who.zone),
        }
    }

    /// The rules that apply, whatever the order in which they were given.
    pub(crate) fn find(&self, subject: &Subject<'_>, zone: &str, act: &Act<'_>) -> Found {
        let slot = slot_of(act);
        let Some(shapes) = self.shapes.get(&slot) else { return Found::default() };
        let interface = match act {
            Act::Raw { interface, .. } | Act::Packet { interface, .. } => {
                interface.and_then(|name| self.names.get(name)).copied()
            }
            _ => None,
        };
        let mut found = Found::default();
        for shape in shapes {
            self.for_each_key(*shape, subject, zone, |key| {
                let Some([deny, grant]) = self.leaves.get(&(key, slot)) else { return };
                found.deny = first(found.deny, deny.deny(act, interface));
                found.grant = first(found.grant, grant.grant(act, interface));
            });
        }
        found
    }

    /// Keys of a shape that fit a subject.
    fn for_each_key(
        &self,
        shape: Shape,
        subject: &Subject<'_>,
        zone: &str,
        mut visit: impl FnMut(Key),
    ) {
        let mut key = Key { user: shape.user.then_some(subject.user), ..Key::default() };
        let known = |text: &str| self.names.get(text).copied();
        if shape.executable {
            let Some(name) = subject.executable.and_then(known) else { return };
            key.executable = Some(name);
        }
        if shape.zone {
            let Some(name) = known(zone) else { return };
            key.zone = Some(name);
        }
        let mut with_groups = |key: Key| {
            if !shape.group {
                return visit(key);
            }
            visit(Key { group: Some(subject.group), ..key });
            for group in subject.groups.iter().filter(|group| **group != subject.group) {
                visit(Key { group: Some(*group), ..key });
            }
        };
        if !shape.cgroup {
            return with_groups(key);
        }
        let mut path = subject.cgroup.map(trimmed);
        while let Some(own) = path {
            if let Some(name) = known(own) {
                with_groups(Key { cgroup: Some(name), ..key });
            }
            path = own.rsplit_once('/').map(|(above, _)| above);
        }
    }

    /// Is there any rule of this effect for that kind of act?
    pub(crate) fn has(&self, kind: ActKind, effect: Effect) -> bool {
        self.leaves.iter().any(|((_, slot), [deny, grant])| {
            let leaf = if effect == Effect::Deny { deny } else { grant };
            slot.0 == kind && !(leaf.plain.is_empty() && leaf.endpoints.is_empty())
        })
    }
}

/// The root's path is empty, so that every other is below it.
fn trimmed(path: &str) -> &str {
    path.trim_end_matches('/')
}

fn first(one: Option<RuleIndex>, other: Option<RuleIndex>) -> Option<RuleIndex> {
    one.into_iter().chain(other).min()
}

impl Key {
    fn shape(self) -> Shape {
        Shape {
            user: self.user.is_some(),
            group: self.group.is_some(),
            executable: self.executable.is_some(),
            cgroup: self.cgroup.is_some(),
            zone: self.zone.is_some(),
        }
    }
}

impl Leaf {
    /// Whatever is denied of what the act takes.
    fn deny(&self, act: &Act<'_>, interface: Option<Name>) -> Option<RuleIndex> {
        match act {
            Act::Bind { local, .. } | Act::Listen { local } if local.ip().is_unspecified() => {
                self.endpoints.anywhere(local.port())
            }
            // On every interface is also on the one that is denied.
            Act::Raw { interface: None, .. } | Act::Packet { interface: None, .. } => {
                self.plain.values().min().copied()
            }
            act => self.named(act, interface),
        }
    }

    /// Whatever grants all that the act takes.
    fn grant(&self, act: &Act<'_>, interface: Option<Name>) -> Option<RuleIndex> {
        match act {
            Act::Bind { local, .. } | Act::Listen { local } if local.ip().is_unspecified() => {
                self.endpoints.everywhere(local.ip(), local.port())
            }
            act => self.named(act, interface),
        }
    }

    fn named(&self, act: &Act<'_>, interface: Option<Name>) -> Option<RuleIndex> {
        match act {
            Act::Bind { local: at, .. }
            | Act::Listen { local: at }
            | Act::Connect { remote: at, .. } => self.endpoints.get(at.ip(), at.port()),
            Act::Multicast { group } => self.endpoints.get(*group, 0),
            Act::Raw { .. } | Act::Packet { .. } => {
                let named = interface.and_then(|name| self.plain.get(&Some(name)));
                first(named.copied(), self.plain.get(&None).copied())
            }
            Act::Inspect | Act::Administer => self.plain.get(&None).copied(),
        }
    }
}

impl Endpoints {
    fn new(ranges: Vec<Range>) -> Self {
        match ranges[..] {
            [] => Self::None,
            [one] => Self::One(one),
            _ if ranges.len() <= FEW => Self::Few(ranges),
            _ => Self::Many(Box::new(Networks::new(&ranges))),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The first rule about that port whose network is right.
    fn search(&self, port: u16, right: impl Fn(Network) -> bool) -> Option<RuleIndex> {
        let few = match self {
            Self::None | Self::Many(_) => &[],
            Self::One(one) => core::slice::from_ref(one),
            Self::Few(few) => few,
        };
        let (first, last) = (|range: &&Range| range.ports.0, |range: &&Range| range.ports.1);
        let mut few = few.iter().filter(|range| first(range) <= port && port <= last(range));
        // They are in the order of their rules.
        few.find(|range| right(range.network)).map(|range| range.rule)
    }

    fn get(&self, address: IpAddr, port: u16) -> Option<RuleIndex> {
        match self {
            Self::Many(many) => many.get(address, port),
            few => few.search(port, |network| network.contains(address)),
        }
    }

    /// Only by a rule about every address.
    fn everywhere(&self, address: IpAddr, port: u16) -> Option<RuleIndex> {
        match self {
            Self::Many(many) => many.at_length(address, 0, port),
            few => few.search(port, |network| network.length() == 0 && network.contains(address)),
        }
    }

    fn anywhere(&self, port: u16) -> Option<RuleIndex> {
        match self {
            Self::Many(many) => many.anywhere.get(port),
            few => few.search(port, |_| true),
        }
    }
}

impl Networks {
    fn new(ranges: &[Range]) -> Self {
        let mut by_network = BTreeMap::<Network, Vec<_>>::new();
        for Range { network, ports: (first, last), rule } in ranges {
            by_network.entry(*network).or_default().push((*first, *last, *rule));
        }
        let all: Vec<_> = by_network.values().flatten().copied().collect();
        let maps = by_network.iter().map(|(network, ports)| (*network, PortMap::new(ports)));
        Self {
            networks: maps.collect(),
            lengths: by_network.keys().map(|network| network.length()).collect(),
            anywhere: PortMap::new(&all),
        }
    }

    fn get(&self, address: IpAddr, port: u16) -> Option<RuleIndex> {
        let lengths = self.lengths.range(..=bits(address));
        lengths.filter_map(|length| self.at_length(address, *length, port)).min()
    }

    fn at_length(&self, address: IpAddr, length: u8, port: u16) -> Option<RuleIndex> {
        let network = Network::new(mask(address, length), length)?;
        self.networks.get(&network)?.get(port)
    }
}

type Place = (Key, Slot, Effect);

/// Rules about addresses and ports, gathered before their tables are made.
#[derive(Default)]
struct Ranges(Table<Place, Vec<Range>>);

impl Ranges {
    fn add(&mut self, place: Place, network: Network, ports: (u16, u16), rule: RuleIndex) {
        self.0.entry(place).or_default().push(Range { network, ports, rule });
    }
}

/// All that a rule is about.
fn slots(permit: &Permit) -> Vec<Slot> {
    let kind = permit.kind();
    let of_protocol = |protocol: Protocol| (kind, protocol as u8);
    let of_access = |access: Access| (kind, access as u8);
    match permit {
        Permit::Listen(_) => vec![of_protocol(Protocol::Tcp)],
        Permit::Bind(Endpoint { protocol, .. }) | Permit::Connect(Endpoint { protocol, .. }) => {
            match protocol {
                Some(protocol) => vec![of_protocol(*protocol)],
                None => Protocol::ALL.map(of_protocol).to_vec(),
            }
        }
        Permit::Raw(Medium { access, .. }) | Permit::Packet(Medium { access, .. }) => {
            match access {
                Some(access) => vec![of_access(*access)],
                None => Access::ALL.map(of_access).to_vec(),
            }
        }
        Permit::Multicast(_) | Permit::Inspect | Permit::Administer => vec![(kind, 0)],
    }
}

fn slot_of(act: &Act<'_>) -> Slot {
    let detail = match act {
        Act::Bind { protocol, .. } | Act::Connect { protocol, .. } => *protocol as u8,
        Act::Raw { access, .. } | Act::Packet { access, .. } => *access as u8,
        Act::Listen { .. } => Protocol::Tcp as u8,
        Act::Multicast { .. } | Act::Inspect | Act::Administer => 0,
    };
    (act.kind(), detail)
}

#[cfg(test)]
mod tests;
