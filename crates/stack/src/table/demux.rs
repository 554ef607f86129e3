//! Which TCP socket a segment is for. Invariant: a four-tuple names at most one connection, half-open
//! connection or TIME-WAIT; hashes are keyed, so nobody outside can choose collisions.

use crate::{random::Key, request::SocketId};
use core::{
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};
use std::collections::HashMap;

/// The four-tuple of a connection, seen from this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl Hash for Flow {
    /// Three words for IPv4: the derived hash would feed tags, scopes and lengths too.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match FlowKey::of(self) {
            Some(key) => key.hash(state),
            None => (self.local, self.remote).hash(state),
        }
    }
}

/// Where a flow's state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowOwner {
    Connection(SocketId),
    HalfOpen(u32),
    TimeWait(u32),
}

/// A flow of IPv4 as the table keeps it: a million connections are a million of these, and half of
/// the table may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FlowKey {
    /// Local, remote.
    addresses: [u32; 2],
    ports: [u16; 2],
}

impl FlowKey {
    /// `None` of IPv6, which the stack does not speak.
    fn of(flow: &Flow) -> Option<Self> {
        let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (flow.local, flow.remote) else {
            return None;
        };
        Some(Self {
            addresses: [local.ip().to_bits(), remote.ip().to_bits()],
            ports: [local.port(), remote.port()],
        })
    }
}

impl Hash for FlowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [local, remote] = self.addresses.map(u64::from);
        state.write_u64(local << 32 | remote);
        let [local, remote] = self.ports.map(u32::from);
        state.write_u32(local << 16 | remote);
    }
}

#[derive(Debug)]
pub struct Demux {
    key: Key,
    flows: HashMap<FlowKey, FlowOwner, Key>,
    /// TCP listeners by bound address; several share one with SO_REUSEPORT.
    listeners: HashMap<SocketAddr, Vec<SocketId>, Key>,
}

fn wildcard(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)
}

fn remove_from<K: Hash + Eq>(map: &mut HashMap<K, Vec<SocketId>, Key>, key: K, id: SocketId) {
    if let Some(ids) = map.get_mut(&key) {
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            map.remove(&key);
        }
    }
}

impl Demux {
    pub fn new(key: Key) -> Self {
        Self { key, flows: HashMap::with_hasher(key), listeners: HashMap::with_hasher(key) }
    }

    pub fn flow(&self, flow: &Flow) -> Option<FlowOwner> {
        self.flows.get(&FlowKey::of(flow)?).copied()
    }

    /// Replaces what the flow meant before.
    pub fn insert_flow(&mut self, flow: Flow, owner: FlowOwner) {
        if let Some(key) = FlowKey::of(&flow) {
            self.flows.insert(key, owner);
        }
    }

    /// Forgets the flow if it still means `owner`.
    pub fn remove_flow(&mut self, flow: &Flow, owner: FlowOwner) {
        let Some(key) = FlowKey::of(flow) else { return };
        if self.flows.get(&key) == Some(&owner) {
            self.flows.remove(&key);
        }
    }

    pub fn insert_listener(&mut self, local: SocketAddr, id: SocketId) {
        self.listeners.entry(local).or_default().push(id);
    }

    pub fn remove_listener(&mut self, local: SocketAddr, id: SocketId) {
        remove_from(&mut self.listeners, local, id);
    }

    /// The listener for a new flow: of the exact address before the wildcard, where it must be one
    /// that `hears` of that address; of several that share it, the one that the flow's hash falls on.
    pub fn listener(&self, flow: &Flow, hears: impl Fn(SocketId) -> bool) -> Option<SocketId> {
        match self.listeners.get(&flow.local) {
            Some(exact) => self.one_of(exact.iter(), flow),
            None => {
                let anywhere = self.listeners.get(&wildcard(flow.local.port()))?;
                self.one_of(anywhere.iter().filter(|id| hears(**id)), flow)
            }
        }
    }

    /// Of the listeners at `local` that `fit`, the one that the flow's hash falls on.
    pub fn member(
        &self,
        local: SocketAddr,
        flow: &Flow,
        fits: impl Fn(SocketId) -> bool,
    ) -> Option<SocketId> {
        let those = self.listeners.get(&local)?;
        self.one_of(those.iter().filter(|id| fits(**id)), flow)
    }

    fn one_of<'a>(
        &self,
        candidates: impl Iterator<Item = &'a SocketId> + Clone,
        flow: &Flow,
    ) -> Option<SocketId> {
        let mut those = candidates.clone();
        match (those.next(), those.next()) {
            (only, None) => only.copied(),
            _ => {
                let count = candidates.clone().count().max(1) as u64;
                candidates.clone().nth((self.key.hash(flow) % count) as usize).copied()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::BTreeSet;

    fn id(slot: u32) -> SocketId {
        SocketId { slot, generation: 1 }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("address")
    }

    fn flow(local: &str, remote: &str) -> Flow {
        Flow { local: address(local), remote: address(remote) }
    }

    fn demux() -> Demux {
        Demux::new(Random::new([5; 16]).key())
    }

    #[test]
    fn a_listener_of_the_exact_address_goes_before_the_wildcard() {
        let mut demux = demux();
        demux.insert_listener(address("0.0.0.0:80"), id(1));
        demux.insert_listener(address("10.0.0.1:80"), id(2));
        assert_eq!(demux.listener(&flow("10.0.0.1:80", "10.0.0.9:5000"), |_| true), Some(id(2)));
        assert_eq!(demux.listener(&flow("10.0.0.2:80", "10.0.0.9:5000"), |_| true), Some(id(1)));
        assert_eq!(demux.listener(&flow("10.0.0.1:81", "10.0.0.9:5000"), |_| true), None);
        demux.remove_listener(address("10.0.0.1:80"), id(2));
        assert_eq!(demux.listener(&flow("10.0.0.1:80", "10.0.0.9:5000"), |_| true), Some(id(1)));
    }

    #[test]
    fn listeners_that_share_a_port_share_the_flows_and_each_flow_stays() {
        let mut demux = demux();
        for slot in 0..4 {
            demux.insert_listener(address("0.0.0.0:80"), id(slot));
        }
        let chosen: Vec<_> = (1..200)
            .map(|port| {
                let flow = Flow {
                    local: address("10.0.0.1:80"),
                    remote: SocketAddr::new([10, 0, 0, 9].into(), port),
                };
                assert_eq!(demux.listener(&flow, |_| true), demux.listener(&flow, |_| true));
                demux.listener(&flow, |_| true)
            })
            .collect();
        let used: BTreeSet<_> = chosen.iter().copied().collect();
        assert_eq!(used.len(), 4);
    }

    #[test]
    fn a_flow_is_removed_only_by_its_owner() {
        let mut demux = demux();
        let flow = flow("10.0.0.1:80", "10.0.0.9:5000");
        demux.insert_flow(flow, FlowOwner::HalfOpen(3));
        demux.insert_flow(flow, FlowOwner::Connection(id(8)));
        demux.remove_flow(&flow, FlowOwner::HalfOpen(3));
        assert_eq!(demux.flow(&flow), Some(FlowOwner::Connection(id(8))));
        demux.remove_flow(&flow, FlowOwner::Connection(id(8)));
        assert_eq!(demux.flow(&flow), None);
    }
}
