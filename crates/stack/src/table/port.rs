//! Which local ports are taken, and which one a program gets that asks for none in particular.
//! Invariant: two holders share a port only as Linux's bind(2) and connect(2) allow.

use crate::{
    random::{Key, Random},
    request::{Principal, SocketKind},
    table::demux::Flow,
};
use core::net::{IpAddr, SocketAddr};
use std::{collections::HashMap, sync::Arc};

/// How a socket holds its port. Holders that are alike share an entry and a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    pub kind: SocketKind,
    pub local: SocketAddr,
    pub principal: Principal,
    pub reuse_address: bool,
    pub reuse_port: bool,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// bind(2), not listening.
    Bound,
    Listener,
    /// connect(2) chose the port: others may connect from it to elsewhere.
    Ephemeral,
    /// A connection in TIME-WAIT, from a port that was bound to.
    TimeWait,
}

/// With how many sockets hold the port so.
type Holders = Vec<(Arc<Binding>, u32)>;

#[derive(Debug)]
pub struct PortTable {
    ports: HashMap<(SocketKind, u16), Holders, Key>,
    range: (u16, u16),
    /// RFC 6056 §3.3.4: the double-hash port selection algorithm and its table of counters.
    key: Key,
    counters: Box<[u16; COUNTERS]>,
}

/// Large, so that an attacker can't find flows that share a counter (CVE-2022-1012).
const COUNTERS: usize = 1 << 14;

impl Binding {
    /// Whether this one can't come to a port that `other` holds, at an address that is both's.
    fn conflicts(&self, other: &Self) -> bool {
        if self.role == Role::Ephemeral && other.role == Role::Ephemeral {
            return false;
        }
        let both_reuse_address = self.reuse_address && other.reuse_address;
        // What waits is nobody's any more.
        let one_user = self.principal.uid == other.principal.uid || other.role == Role::TimeWait;
        let both_reuse_port = self.reuse_port && other.reuse_port && one_user;
        // Linux lets both share as long as no other listens: the first listener wins, also beside
        // connections that an earlier one left. Of datagram sockets the last one wins.
        !(both_reuse_port || (both_reuse_address && other.role != Role::Listener))
    }
}

impl PortTable {
    pub fn new(range: (u16, u16), random: &mut Random) -> Self {
        let mut counters = Box::new([0; COUNTERS]);
        counters.fill_with(|| random.next_u32() as u16);
        Self { ports: HashMap::with_hasher(random.key()), range, key: random.key(), counters }
    }

    /// From now on; who has a port keeps it.
    pub fn set_range(&mut self, range: (u16, u16)) {
        self.range = range;
    }

    /// May `binding` take its port? `meet`: whether two have an address in common.
    pub fn allows(&self, binding: &Binding, meet: impl Fn(&Binding, &Binding) -> bool) -> bool {
        let holders = self.ports.get(&(binding.kind, binding.local.port()));
        holders.is_none_or(|holders| {
            holders.iter().all(|(holder, _)| !binding.conflicts(holder) || !meet(binding, holder))
        })
    }

    /// Takes the port; the caller has asked `allows`, or inherits from one who had. Holders that are
    /// alike get the same one: so many are the connections of a listener.
    pub fn take(&mut self, binding: Binding) -> Arc<Binding> {
        let holders = self.ports.entry((binding.kind, binding.local.port())).or_default();
        if let Some((holder, count)) = holders.iter_mut().find(|(holder, _)| **holder == binding) {
            *count += 1;
            return Arc::clone(holder);
        }
        let binding = Arc::new(binding);
        holders.push((Arc::clone(&binding), 1));
        binding
    }

    pub fn release(&mut self, binding: &Binding) {
        let key = (binding.kind, binding.local.port());
        let Some(holders) = self.ports.get_mut(&key) else { return };
        if let Some(at) = holders.iter().position(|(holder, _)| **holder == *binding) {
            holders[at].1 -= 1;
            if holders[at].1 == 0 {
                holders.swap_remove(at);
            }
        }
        if holders.is_empty() {
            self.ports.remove(&key);
        }
    }

    fn range_len(&self) -> u32 {
        u32::from(self.range.1.saturating_sub(self.range.0)) + 1
    }

    fn port(&self, index: u32) -> u16 {
        self.range.0 + (index % self.range_len()) as u16
    }

    /// A port for bind(2) with port 0, tried from a random one on: one that nobody holds at an address that
    /// is both's. As on Linux, options to share a port don't count here.
    pub fn choose(
        &self,
        random: &mut Random,
        binding: Binding,
        meet: impl Fn(&Binding, &Binding) -> bool,
    ) -> Option<u16> {
        let start = random.below(self.range_len());
        let is_free = |port: &u16| {
            let holders = self.ports.get(&(binding.kind, *port));
            holders.is_none_or(|holders| holders.iter().all(|(held, _)| !meet(&binding, held)))
        };
        (0..self.range_len()).map(|step| self.port(start + step)).find(is_free)
    }

    /// A port for connect(2): one from which `usable` says the flow is free, in the order of RFC
    /// 6056's algorithm 4.
    pub fn choose_for(
        &mut self,
        binding: Binding,
        remote: SocketAddr,
        meet: impl Fn(&Binding, &Binding) -> bool,
        usable: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let local = binding.local.ip();
        let offset = self.key.hash(&(local, remote)) as u32;
        let slot = self.key.hash(&(remote, local)) as usize % COUNTERS;
        let count = u32::from(self.counters[slot]);
        let start = (offset % self.range_len()) + count;
        let step = (0..self.range_len()).find(|step| {
            let port = self.port(start + step);
            let candidate = Binding { local: SocketAddr::new(local, port), ..binding };
            self.allows(&candidate, &meet) && usable(port)
        })?;
        self.counters[slot] = (count + step + 1) as u16;
        Some(self.port(start + step))
    }
}

/// The flow that a socket at `local` would have from `port`.
pub fn flow_from(local: IpAddr, port: u16, remote: SocketAddr) -> Flow {
    Flow { local: SocketAddr::new(local, port), remote }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn binding(local: &str, role: Role) -> Binding {
        Binding {
            kind: SocketKind::Tcp,
            local: local.parse().expect("address"),
            principal: Principal::user(1),
            reuse_address: false,
            reuse_port: false,
            role,
        }
    }

    #[test]
    fn another_range_is_for_who_asks_next() {
        let (mut table, mut random) = table();
        let wildcard = binding("0.0.0.0:0", Role::Bound);
        let early = table.choose(&mut random, wildcard, meet).expect("a free one");
        let at = |port| Binding { local: ([0, 0, 0, 0], port).into(), ..wildcard };
        table.take(at(early));
        table.set_range((50_000, 50_001));
        let given: BTreeSet<u16> = (0..2)
            .map(|_| {
                let port = table.choose(&mut random, wildcard, meet).expect("a free one");
                table.take(at(port));
                port
            })
            .collect();
        assert_eq!(given, [50_000, 50_001].into());
        assert_eq!(table.choose(&mut random, wildcard, meet), None);
        assert!(!table.allows(&at(early), meet), "who has a port keeps it");
    }

    /// In one zone, which all are admitted to.
    fn meet(one: &Binding, other: &Binding) -> bool {
        let (one, other) = (one.local.ip(), other.local.ip());
        one == other || one.is_unspecified() || other.is_unspecified()
    }

    fn table() -> (PortTable, Random) {
        let mut random = Random::new([3; 16]);
        (PortTable::new((40_000, 40_099), &mut random), random)
    }

    /// As bind(2) and listen(2) decide on Linux.
    #[test]
    fn who_may_share_a_port() {
        let plain = |local| binding(local, Role::Bound);
        let reuse = |local| Binding { reuse_address: true, ..plain(local) };
        let listener = |local| Binding { reuse_address: true, ..binding(local, Role::Listener) };
        let group = |user| Binding {
            reuse_port: true,
            principal: Principal::user(user),
            ..binding("0.0.0.0:80", Role::Listener)
        };
        let left = |user| Binding { role: Role::TimeWait, ..group(user) };
        let ephemeral = |local| binding(local, Role::Ephemeral);
        let cases = [
            ("same address", plain("10.0.0.1:80"), plain("10.0.0.1:80"), false),
            ("other address", plain("10.0.0.1:80"), plain("10.0.0.2:80"), true),
            ("other port", plain("10.0.0.1:80"), plain("10.0.0.1:81"), true),
            ("wildcard", plain("0.0.0.0:80"), plain("10.0.0.2:80"), false),
            ("both reuse", reuse("0.0.0.0:80"), reuse("10.0.0.2:80"), true),
            ("one reuses", reuse("0.0.0.0:80"), plain("10.0.0.2:80"), false),
            ("reuse, one listens", listener("0.0.0.0:80"), reuse("0.0.0.0:80"), false),
            ("listens beside others", reuse("0.0.0.0:80"), listener("0.0.0.0:80"), true),
            ("two listeners", listener("0.0.0.0:80"), listener("0.0.0.0:80"), false),
            ("a group of one user", group(1), group(1), true),
            ("a group of two users", group(1), group(2), false),
            ("what another user's group left", left(1), group(2), true),
            ("what a group left, over it", left(1), plain("0.0.0.0:80"), false),
            ("connected from one port", ephemeral("10.0.0.1:80"), ephemeral("10.0.0.1:80"), true),
            ("bound over connected", ephemeral("10.0.0.1:80"), plain("0.0.0.0:80"), false),
        ];
        for (what, first, second, allowed) in cases {
            let (mut table, _) = table();
            table.take(first);
            assert_eq!(table.allows(&second, meet), allowed, "{what}");
            table.release(&first);
            assert!(table.allows(&second, meet), "{what}, released");
        }
    }

    #[test]
    fn a_port_is_free_when_its_last_holder_lets_go() {
        let (mut table, _) = table();
        let held = binding("10.0.0.1:80", Role::Bound);
        table.take(held);
        table.take(held);
        table.release(&held);
        assert!(!table.allows(&held, meet));
        table.release(&held);
        assert!(table.allows(&held, meet));
    }

    #[test]
    fn bind_to_port_0_finds_each_free_port_once() {
        let (mut table, mut random) = table();
        let any = binding("0.0.0.0:0", Role::Bound);
        let mut ports = BTreeSet::new();
        while let Some(port) = table.choose(&mut random, any, meet) {
            assert!(ports.insert(port), "{port} twice");
            table.take(binding(&format!("10.0.0.1:{port}"), Role::Bound));
        }
        assert_eq!(ports, (40_000..=40_099).collect());
    }

    /// Else one zone's programs could take all ports from another's.
    #[test]
    fn bind_to_port_0_shares_ports_with_those_at_other_addresses() {
        let (mut table, mut random) = table();
        for port in 40_000..=40_099 {
            table.take(binding(&format!("10.0.0.1:{port}"), Role::Bound));
        }
        let reuse = |local| Binding { reuse_address: true, ..binding(local, Role::Bound) };
        assert_eq!(table.choose(&mut random, reuse("10.0.0.1:0"), meet), None);
        assert_eq!(table.choose(&mut random, reuse("0.0.0.0:0"), meet), None);
        assert!(table.choose(&mut random, binding("10.0.0.2:0", Role::Bound), meet).is_some());
    }

    #[test]
    fn connections_to_one_destination_take_different_ports_in_no_fixed_order() {
        let (mut table, _) = table();
        let from = binding("10.0.0.1:0", Role::Ephemeral);
        let remote = "10.0.0.9:80".parse().expect("address");
        let mut taken = BTreeSet::new();
        for _ in 0..100 {
            let port = table.choose_for(from, remote, meet, |port| !taken.contains(&port));
            assert!(taken.insert(port.expect("a free port")));
        }
        assert_eq!(table.choose_for(from, remote, meet, |port| !taken.contains(&port)), None);
        // Elsewhere the sequence begins elsewhere (RFC 6056 §3.3.4).
        let starts: BTreeSet<_> = (1..=20)
            .filter_map(|host| {
                let remote = SocketAddr::new([10, 0, 1, host].into(), 80);
                table.choose_for(from, remote, meet, |_| true)
            })
            .collect();
        assert!(starts.len() > 10, "{starts:?}");
    }
}
