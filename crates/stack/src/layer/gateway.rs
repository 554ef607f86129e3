//! Gateways among which flows are shared are watched: a dead one must not go on taking its share.
//!
//! Each is asked by ARP once a second, alone, unless it was heard of since. One that is silent to three
//! such questions, as the neighbor table counts them, is dead until it answers again. Gateways that no
//! other could stand in for are not watched. Linux looks at what the neighbor table happens to know
//! (fib_multipath_use_neigh) and asks nobody.

use crate::{
    Instant, InterfaceId, Shard,
    layer::{arp, tcp},
    table::{neighbor::Watched, timer::TimerKey},
    time::Duration,
};
use core::net::Ipv4Addr;

/// Between two questions: a second is what a flow can bear three of, and next to nothing on a link.
const INTERVAL: Duration = Duration::from_secs(1);

/// Begins to watch, if there is something to.
pub(crate) fn arm(shard: &mut Shard, now: Instant) {
    if shard.routes.balances() {
        shard.timers.arm(TimerKey::Gateways, now + INTERVAL);
    }
}

/// Asks those of whom nothing was heard, and says which are dead.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    let watched = shard.routes.balanced_gateways();
    for (interface, gateway) in shard.routes.dead_gateways() {
        if !watched.contains(&(interface, gateway)) {
            shard.routes.set_alive(interface, gateway, true);
        }
    }
    for (interface, gateway) in watched {
        match arp::watch(shard, now, interface, gateway) {
            Watched::Alive => answered(shard, interface, gateway),
            Watched::Dead => {
                shard.routes.set_alive(interface, gateway, false);
                // Who waits for it finds another way.
                tcp::neighbor_settled(shard, interface, gateway);
            }
            Watched::Ask | Watched::Probe(_) => {}
        }
    }
    arm(shard, now);
}

/// A neighbor was heard of, which may be a gateway.
pub(crate) fn answered(shard: &mut Shard, interface: InterfaceId, neighbor: Ipv4Addr) {
    if !shard.routes.is_alive(interface, neighbor) {
        shard.routes.set_alive(interface, neighbor, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        layer::fixture::*,
        request::Request,
        table::route::{Facts, NextHop, Placement, Route},
    };
    use core::net::SocketAddr;
    use narrows_wire::{
        address::MacAddr,
        arp::{Operation, Packet},
        ethernet::Header,
    };
    use std::collections::BTreeMap;

    const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const MACS: [(Ipv4Addr, MacAddr); 2] =
        [(PEER, PEER_MAC), (SECOND, MacAddr([2, 0, 0, 0, 0, 9]))];

    /// Two gateways share the way to everywhere.
    fn host() -> Host {
        let mut host = Host::new();
        host.request(remove_route("0.0.0.0/0"));
        let single = Route::unicast(prefix("0.0.0.0/0"), ETH, Some(PEER));
        let hops = vec![NextHop::new(ETH, Some(PEER)), NextHop::new(ETH, Some(SECOND))];
        let route = Route { facts: Facts { hops, ..single.facts }, ..single };
        host.request(Request::AddRoute { route, placement: Placement::Alone });
        host
    }

    /// Lets seconds pass in which these gateways answer; how many datagrams, each of a flow of its
    /// own and sent at the end of each second, left by whom.
    fn shares(host: &mut Host, seconds: u32, alive: &[Ipv4Addr]) -> BTreeMap<MacAddr, usize> {
        let mut shares = BTreeMap::new();
        let socket = host.socket(Request::OpenUdp, (OWN, 0));
        for second in 0..seconds {
            host.pass(Duration::from_secs(1));
            for port in 1..=100 {
                let to = Some(SocketAddr::new(REMOTE.into(), port));
                host.shard.send_to(host.now, socket, to, b"x").expect("sent");
            }
            for frame in host.sent() {
                if is_arp(&frame) {
                    answer(host, read_arp(&frame).1, alive);
                } else if second + 1 == seconds {
                    let (link, _) = Header::parse(&frame).expect("a frame");
                    *shares.entry(link.destination).or_default() += 1;
                }
            }
        }
        host.request(Request::Close { socket });
        shares
    }

    fn answer(host: &mut Host, question: Packet, alive: &[Ipv4Addr]) {
        for (address, mac) in MACS {
            if question.target_ip == address && alive.contains(&address) {
                let reply = Packet {
                    operation: Operation::Reply,
                    sender_mac: mac,
                    sender_ip: address,
                    target_mac: OWN_MAC,
                    target_ip: OWN,
                };
                let mut frame = arp_frame(&reply);
                frame[..6].copy_from_slice(&OWN_MAC.0);
                host.receive(&frame);
            }
        }
    }

    #[test]
    fn a_gateway_that_dies_gives_its_flows_to_the_other_and_takes_them_back() {
        let mut host = host();
        let both = [PEER, SECOND];
        let is_fair = |shares: &BTreeMap<MacAddr, usize>| {
            let [first, second] = MACS.map(|(_, mac)| shares.get(&mac).copied().unwrap_or(0));
            first + second == 100 && first.min(second) > 25
        };
        let before = shares(&mut host, 5, &both);
        assert!(is_fair(&before), "{before:?}");
        let after = shares(&mut host, 8, &[PEER]);
        assert_eq!(after, BTreeMap::from([(PEER_MAC, 100)]));
        let again = shares(&mut host, 5, &both);
        assert!(is_fair(&again), "{again:?}");
    }

    #[test]
    fn nobody_is_watched_where_nobody_could_stand_in() {
        let mut host = Host::with_peer();
        host.pass(Duration::from_secs(100));
        assert!(host.sent().is_empty());
    }

    #[test]
    fn a_route_that_goes_takes_its_watch_along() {
        let mut host = host();
        shares(&mut host, 8, &[PEER]);
        assert!(!host.shard.routes.is_alive(ETH, SECOND));
        host.request(remove_route("0.0.0.0/0"));
        host.pass(Duration::from_secs(2));
        assert!(host.shard.routes.is_alive(ETH, SECOND));
        host.sent();
        host.pass(Duration::from_secs(100));
        assert!(host.sent().is_empty());
    }
}
