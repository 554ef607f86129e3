//! Which UDP or ping socket a datagram is for. Invariant: a bound socket is in one place, under the
//! flow it is connected to or else under the address it is bound to; hashes are keyed.
//!
//! Of the sockets that a datagram could be for, Linux takes the one that says most about it: its
//! sender before its destination address before the port alone; and of equals one that is bound to
//! the interface. Of sockets that share all of that, those with SO_REUSEPORT share the flows; else
//! the one that came last has them all. What is sent to many goes to all of them.

use crate::{
    random::Key,
    request::{SocketId, SocketKind},
    table::{demux::Flow, interface::InterfaceId},
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::HashMap;

/// Where a socket is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Bound(SocketAddr),
    Connected(Flow),
}

/// A socket in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub socket: SocketId,
    /// Shares its place with others by the hash of the flow.
    pub reuse_port: bool,
    /// Hears of what comes in by this interface alone (SO_BINDTODEVICE).
    pub device: Option<InterfaceId>,
}

impl Member {
    fn listens_on(&self, interface: InterfaceId) -> bool {
        self.device.is_none_or(|device| device == interface)
    }
}

#[derive(Debug)]
pub struct DatagramDemux {
    key: Key,
    places: HashMap<(SocketKind, Place), Vec<Member>, Key>,
}

impl DatagramDemux {
    pub fn new(key: Key) -> Self {
        Self { key, places: HashMap::with_hasher(key) }
    }

    pub fn insert(&mut self, kind: SocketKind, place: Place, member: Member) {
        self.places.entry((kind, place)).or_default().push(member);
    }

    pub fn remove(&mut self, kind: SocketKind, place: Place, socket: SocketId) {
        if let Some(members) = self.places.get_mut(&(kind, place)) {
            members.retain(|member| member.socket != socket);
            if members.is_empty() {
                self.places.remove(&(kind, place));
            }
        }
    }

    /// The socket for a datagram to one host; one without an address of its own must be one that
    /// `hears` of that address.
    pub fn one(
        &self,
        kind: SocketKind,
        flow: &Flow,
        interface: InterfaceId,
        hears: impl Fn(SocketId) -> bool,
    ) -> Option<SocketId> {
        let [connected, bound, any] = places(flow);
        [(connected, false), (bound, false), (any, true)].into_iter().find_map(|(place, any)| {
            let members = self.places.get(&(kind, place))?;
            let heard = |member: &Member| !any || hears(member.socket);
            let on_device = |member: &&Member| member.device == Some(interface) && heard(member);
            let anywhere = |member: &&Member| member.device.is_none() && heard(member);
            self.choose(members.iter().filter(on_device), flow)
                .or_else(|| self.choose(members.iter().filter(anywhere), flow))
        })
    }

    /// Of sockets alike, the last one; or of its group the one that the flow's hash falls on.
    fn choose<'a>(
        &self,
        members: impl DoubleEndedIterator<Item = &'a Member> + Clone,
        flow: &Flow,
    ) -> Option<SocketId> {
        let last = members.clone().next_back()?;
        if !last.reuse_port {
            return Some(last.socket);
        }
        let group = members.filter(|member| member.reuse_port);
        let count = group.clone().count().max(1) as u64;
        group.map(|member| member.socket).nth((self.key.hash(flow) % count) as usize)
    }

    /// The sockets for a datagram to many: a broadcast, or a group.
    pub fn all(
        &self,
        kind: SocketKind,
        flow: &Flow,
        interface: InterfaceId,
    ) -> impl Iterator<Item = SocketId> {
        places(flow)
            .into_iter()
            .filter_map(move |place| self.places.get(&(kind, place)))
            .flatten()
            .filter(move |member| member.listens_on(interface))
            .map(|member| member.socket)
    }
}

/// Where sockets for a flow are, those that say most about it first.
fn places(flow: &Flow) -> [Place; 3] {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), flow.local.port());
    [Place::Connected(*flow), Place::Bound(flow.local), Place::Bound(any)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::BTreeSet;

    const ETH: InterfaceId = InterfaceId(1);
    const OTHER: InterfaceId = InterfaceId(2);
    const UDP: SocketKind = SocketKind::Udp;

    fn member(slot: u32) -> Member {
        let socket = SocketId { slot, generation: 1 };
        Member { socket, reuse_port: false, device: None }
    }

    fn flow(local: &str, remote: &str) -> Flow {
        Flow { local: local.parse().expect("address"), remote: remote.parse().expect("address") }
    }

    fn bound(local: &str) -> Place {
        Place::Bound(local.parse().expect("address"))
    }

    fn demux() -> DatagramDemux {
        DatagramDemux::new(Random::new([5; 16]).key())
    }

    fn slots(demux: &DatagramDemux, flow: &Flow, interface: InterfaceId) -> Vec<u32> {
        demux.all(UDP, flow, interface).map(|socket| socket.slot).collect()
    }

    #[test]
    fn who_says_most_about_a_datagram_gets_it() {
        let mut demux = demux();
        let flow = flow("10.0.0.1:53", "10.0.0.9:999");
        for (slot, place) in
            [(1, bound("0.0.0.0:53")), (2, bound("10.0.0.1:53")), (3, Place::Connected(flow))]
        {
            demux.insert(UDP, place, member(slot));
            assert_eq!(demux.one(UDP, &flow, ETH, |_| true), Some(member(slot).socket));
        }
        assert_eq!(demux.one(SocketKind::Ping, &flow, ETH, |_| true), None);
        demux.remove(UDP, Place::Connected(flow), member(3).socket);
        assert_eq!(demux.one(UDP, &flow, ETH, |_| true), Some(member(2).socket));
    }

    #[test]
    fn a_device_goes_before_none_and_hears_of_no_other() {
        let mut demux = demux();
        let flow = flow("10.0.0.1:53", "10.0.0.9:999");
        let device = Member { device: Some(ETH), ..member(1) };
        demux.insert(UDP, bound("0.0.0.0:53"), device);
        assert_eq!(demux.one(UDP, &flow, OTHER, |_| true), None);
        demux.insert(UDP, bound("0.0.0.0:53"), member(2));
        assert_eq!(demux.one(UDP, &flow, ETH, |_| true), Some(device.socket));
        assert_eq!(demux.one(UDP, &flow, OTHER, |_| true), Some(member(2).socket));
    }

    #[test]
    fn of_those_alike_the_last_has_all_and_a_group_shares() {
        let flows: Vec<Flow> =
            (1..200).map(|port| flow("10.0.0.1:53", &format!("10.0.0.9:{port}"))).collect();
        for (reuse_port, used) in [(false, 1), (true, 4)] {
            let mut demux = demux();
            for slot in 0..4 {
                let member = Member { reuse_port, ..member(slot) };
                demux.insert(UDP, bound("0.0.0.0:53"), member);
            }
            let chosen: BTreeSet<_> =
                flows.iter().filter_map(|flow| demux.one(UDP, flow, ETH, |_| true)).collect();
            assert_eq!(chosen.len(), used);
            assert!(reuse_port || chosen.contains(&member(3).socket));
        }
    }

    #[test]
    fn what_is_sent_to_many_goes_to_all() {
        let mut demux = demux();
        let flow = flow("10.0.0.255:67", "10.0.0.9:68");
        for (slot, place) in [
            (1, bound("0.0.0.0:67")),
            (2, bound("10.0.0.255:67")),
            (3, bound("10.0.0.1:67")),
            (4, Place::Connected(flow)),
            (5, bound("0.0.0.0:68")),
        ] {
            demux.insert(UDP, place, member(slot));
        }
        demux.insert(UDP, bound("0.0.0.0:67"), Member { device: Some(OTHER), ..member(6) });
        assert_eq!(slots(&demux, &flow, ETH), [4, 2, 1]);
        assert_eq!(slots(&demux, &flow, OTHER), [4, 2, 1, 6]);
    }
}
