//! What the daemon says of this host: its interfaces, routes, rules and neighbors, asked for anew
//! each time, because nothing tells the shim of changes.

use crate::session::with;
use narrows_client::ipc::{
    link::LinkKind,
    message::{LinkRow, NeighborRow},
    route::{RouteAnswer, RouteQuestion, RouteRow, RuleRow},
};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr};

pub fn links() -> Result<Vec<LinkRow>, Errno> {
    with(|session| session.links())
}

/// Of one table, or of all.
pub fn routes(table: Option<u32>) -> Result<Vec<RouteRow>, Errno> {
    with(|session| session.routes(table))
}

pub fn route(question: &RouteQuestion) -> Result<RouteAnswer, Errno> {
    with(|session| session.route(question.clone()))
}

pub fn rules() -> Result<Vec<RuleRow>, Errno> {
    with(|session| session.rules())
}

pub fn neighbors() -> Result<Vec<NeighborRow>, Errno> {
    with(|session| session.neighbors())
}

/// The number of the interface of this name; 0 for none, as in reports of the kernel.
pub fn index_of(links: &[LinkRow], name: &str) -> u32 {
    links.iter().find(|link| link.name == name).map_or(0, |link| link.id)
}

pub fn name_of(links: &[LinkRow], index: u32) -> Option<String> {
    links.iter().find(|link| link.id == index).map(|link| link.name.clone())
}

/// `IFF_…` of net/if.h. `all`: the interfaces among which its master is.
pub fn flags(link: &LinkRow, all: &[LinkRow]) -> libc::c_int {
    let state = &link.state;
    let in_bond = state.master.as_ref().is_some_and(|master| {
        all.iter().any(|other| other.name == *master && other.state.kind == LinkKind::Bond)
    });
    let loopback = state.kind == LinkKind::Loopback;
    let running = state.up && state.running;
    [
        (libc::IFF_UP, state.up),
        (libc::IFF_BROADCAST | libc::IFF_MULTICAST, !loopback),
        (libc::IFF_LOOPBACK, loopback),
        (libc::IFF_RUNNING, running),
        (IFF_LOWER_UP, running),
        (libc::IFF_PROMISC, state.promiscuous),
        (libc::IFF_MASTER, state.kind == LinkKind::Bond),
        (libc::IFF_SLAVE, in_bond),
    ]
    .into_iter()
    .filter(|(_, set)| *set)
    .fold(0, |flags, (flag, _)| flags | flag)
}

/// From linux/if.h: what only netlink has room to say.
const IFF_LOWER_UP: libc::c_int = 1 << 16;

/// `ARPHRD_…` of the interface, and the address that is everybody's on its link.
pub fn hardware(link: &LinkRow) -> (u16, [u8; 6]) {
    match link.state.kind {
        LinkKind::Loopback => (libc::ARPHRD_LOOPBACK, [0; 6]),
        _ => (libc::ARPHRD_ETHER, [0xff; 6]),
    }
}

pub fn first_address(link: &LinkRow) -> Option<(Ipv4Addr, u8)> {
    link.addresses.iter().find_map(|row| match row.address {
        IpAddr::V4(own) => Some((own, row.length)),
        IpAddr::V6(_) => None,
    })
}

pub fn mask(length: u8) -> Ipv4Addr {
    Ipv4Addr::from(!u32::MAX.checked_shr(length.into()).unwrap_or(0))
}

/// `None` for the loopback, and for links of two.
pub fn broadcast(own: Ipv4Addr, length: u8) -> Option<Ipv4Addr> {
    let everyone = own.to_bits() | !mask(length).to_bits();
    (length < 31 && !own.is_loopback()).then(|| everyone.into())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use narrows_client::ipc::{
        link::{LinkState, RoutingState, Traffic},
        message::AddressRow,
    };

    /// `lo`, a device `lan`, and a VLAN on it.
    pub fn links() -> Vec<LinkRow> {
        let row = |id, name: &str, kind, mac, address: &str, length| LinkRow {
            id,
            name: name.into(),
            device: String::new(),
            mac,
            mtu: 1500,
            addresses: vec![AddressRow {
                address: address.parse().expect("an address"),
                length,
                secondary: false,
                tentative: false,
                conflict: false,
                label: None,
                scope: None,
                peer: None,
                valid: None,
                preferred: None,
            }],
            up: true,
            state: LinkState {
                kind,
                master: None,
                up: true,
                running: true,
                promiscuous: false,
                group: 0,
                queue: 1000,
                zone: None,
                routing: RoutingState {
                    forward: false,
                    host_model: "strong".into(),
                    reverse_path: "strict".into(),
                    redirects: false,
                },
                arp: Default::default(),
                traffic: Traffic::default(),
            },
        };
        let device = LinkKind::Device("packet:eth1".into());
        let vlan = LinkKind::Vlan { lower: "lan".into(), protocol: "802.1Q".into(), id: 7 };
        let mac = [2, 0, 0, 0, 0, 1];
        vec![
            row(1, "lo", LinkKind::Loopback, [0; 6], "127.0.0.1", 8),
            row(2, "lan", device, mac, "10.0.0.2", 24),
            row(3, "lan.7", vlan, mac, "10.7.0.2", 24),
        ]
    }

    #[test]
    fn flags_are_those_of_linux() {
        let all = links();
        assert_eq!(flags(&all[0], &all), 0x1_0049);
        assert_eq!(flags(&all[1], &all), 0x1_1043);
        let mut down = all[1].clone();
        down.state.running = false;
        down.state.promiscuous = true;
        assert_eq!(flags(&down, &all), 0x1103);
        down.state.master = Some("bond".into());
        let mut bond = all[1].clone();
        (bond.name, bond.state.kind) = ("bond".into(), LinkKind::Bond);
        assert_eq!(flags(&down, &[bond.clone()]), 0x1903);
        assert_eq!(flags(&bond, &[]), 0x1_1443);
    }

    #[test]
    fn interfaces_have_numbers_and_names() {
        let all = links();
        assert_eq!((index_of(&all, "lan"), index_of(&all, "wan")), (2, 0));
        assert_eq!((name_of(&all, 3).as_deref(), name_of(&all, 4)), (Some("lan.7"), None));
    }
}
