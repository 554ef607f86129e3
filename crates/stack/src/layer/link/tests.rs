use crate::{
    Error, InterfaceId, Reply, Request, Shard,
    counters::DropReason,
    layer::fixture::{ETH, Host, OWN_MAC, PACKET, PEER, PEER_MAC, add_route, prefix, read_arp},
    request::{LinkChange, LinkSettings, NewLink, PortChange, Principal},
    table::{
        bond::{ArpMonitor, BondMode, BondSettings, HashPolicy},
        bridge::BridgeSettings,
    },
    time::Duration,
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::MacAddr,
    arp,
    ethernet::{self, EtherType},
    ipv4,
    offload::{RxChecksum, RxOffload},
    vlan::{Tag, TagProtocol, VlanId},
};

mod bond;
mod bridge;
mod hostile;
mod two_hosts;
mod vlan;

const SECOND_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

fn tag(protocol: TagProtocol, id: u16) -> Tag {
    Tag { protocol, id: VlanId::new(id).expect("a VLAN") }
}

fn customer(id: u16) -> Tag {
    tag(TagProtocol::Dot1q, id)
}

/// A frame with a tag more around it.
fn tagged(tag: Tag, frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &tag.emit(), &frame[12..]].concat()
}

impl Host {
    fn refuse(&mut self, request: Request) -> Error {
        self.shard.request(self.now, Principal::user(1), request).expect_err("refused")
    }

    fn add_link(&mut self, name: &str, link: NewLink) -> InterfaceId {
        match self.request(Request::AddLink { name: name.to_owned(), link }) {
            Reply::Interface(interface) => interface,
            other => panic!("no interface: {other:?}"),
        }
    }

    /// A second device, without an address.
    fn add_device(&mut self, name: &str, mac: MacAddr) -> InterfaceId {
        let interface = self.add_interface(name, mac, "10.250.0.1/30");
        let prefix = prefix("10.250.0.1/30");
        self.request(Request::RemoveAddress { interface, prefix });
        interface
    }

    fn enslave(&mut self, members: &[InterfaceId], master: InterfaceId) {
        for member in members {
            self.request(Request::Enslave { member: *member, master });
        }
    }

    fn address(&mut self, interface: InterfaceId, address: &str) {
        self.request(Request::AddAddress { interface, prefix: prefix(address) });
    }

    fn know(&mut self, interface: InterfaceId, address: Ipv4Addr, mac: MacAddr) {
        self.request(Request::PinNeighbor { interface, address: address.into(), mac });
    }

    fn set(&mut self, interface: InterfaceId, change: LinkChange) {
        self.request(Request::SetLink { interface, change });
    }

    /// Sends a datagram from some port.
    fn say(&mut self, from: Ipv4Addr, port: u16, to: Ipv4Addr) {
        let socket = self.socket(Request::OpenUdp, (from, port));
        let remote = SocketAddr::new(to.into(), 9);
        self.shard.send_to(self.now, socket, Some(remote), b"hello").expect("sent");
        self.request(Request::Close { socket });
    }

    fn refused_on(&mut self, interface: InterfaceId, frame: &[u8]) -> Vec<DropReason> {
        let before = self.drops();
        self.receive_on(interface, frame);
        let after = self.drops().into_iter().filter(|drop| !before.contains(drop));
        after.map(|(reason, _)| reason).collect()
    }
}

#[test]
fn what_can_not_stand_upon_what() {
    let mut host = Host::new();
    let second = host.add_device("eth1", SECOND_MAC);
    let vlan = NewLink::Vlan { lower: second, tag: customer(7) };
    let seventh = host.add_link("eth1.7", vlan.clone());
    let bond = host.add_link("bond0", NewLink::Bond(BondSettings::default()));
    let bridge = host.add_link("br0", NewLink::Bridge(BridgeSettings::default()));
    host.enslave(&[second], bond);
    host.enslave(&[bond], bridge);
    let on_bridge = host.add_link("br0.9", NewLink::Vlan { lower: bridge, tag: customer(9) });
    let add = |name: &str, link| Request::AddLink { name: name.to_owned(), link };
    let enslave = |member, master| Request::Enslave { member, master };
    let nowhere = InterfaceId(99);
    let cases = [
        (add("again", vlan), Error::InUse),
        (add("eth1.7", NewLink::Vlan { lower: second, tag: customer(8) }), Error::InvalidArgument),
        (add("x", NewLink::Vlan { lower: nowhere, tag: customer(8) }), Error::NoSuchInterface),
        (
            add("x", NewLink::Vlan { lower: InterfaceId::LOOPBACK, tag: customer(8) }),
            Error::InvalidArgument,
        ),
        (enslave(second, bridge), Error::InUse),
        (enslave(second, bond), Error::InUse),
        (enslave(bridge, bridge), Error::LinkLoop),
        (enslave(on_bridge, bridge), Error::LinkLoop),
        (enslave(bridge, bond), Error::LinkLoop),
        (enslave(seventh, bond), Error::InvalidArgument),
        (enslave(ETH, second), Error::InvalidArgument),
        (enslave(InterfaceId::LOOPBACK, bridge), Error::InvalidArgument),
        (enslave(nowhere, bridge), Error::NoSuchInterface),
        (Request::Release { member: bridge }, Error::InvalidArgument),
        (Request::RemoveInterface { interface: second }, Error::InUse),
        (Request::RemoveInterface { interface: bond }, Error::InUse),
        (Request::RemoveInterface { interface: InterfaceId::LOOPBACK }, Error::InvalidArgument),
        (Request::RemoveInterface { interface: nowhere }, Error::NoSuchInterface),
    ];
    for (request, error) in cases {
        assert_eq!(host.refuse(request.clone()), error, "{request:?}");
    }
    // A failed request leaves no half of an interface behind.
    assert!(host.shard.interfaces().all(|(_, station)| station.settings.name != "again"));
}

#[test]
fn interfaces_stand_so_high_and_no_higher() {
    let mut host = Host::new();
    let mut lower = ETH;
    let mut add = |lower, id| {
        let link = NewLink::Vlan { lower, tag: customer(id) };
        host.shard.request(
            host.now,
            Principal::user(1),
            Request::AddLink { name: format!("v{id}"), link },
        )
    };
    for id in 2..=crate::table::link::MAX_DEPTH as u16 {
        match add(lower, id) {
            Ok(Reply::Interface(next)) => lower = next,
            other => panic!("{id}: {other:?}"),
        }
    }
    assert_eq!(add(lower, 100), Err(Error::LimitReached));
}

#[test]
fn an_mtu_fits_what_is_below() {
    let mut host = Host::new();
    let vlan = host.add_link("v", NewLink::Vlan { lower: ETH, tag: customer(5) });
    let mtu = |interface, mtu| Request::SetLink { interface, change: LinkChange::Mtu(mtu) };
    for (request, allowed) in [
        (mtu(ETH, 67), false),
        (mtu(ETH, 68), true),
        (mtu(vlan, 69), false),
        (mtu(ETH, 9000), true),
        (mtu(vlan, 8000), true),
        (mtu(ETH, 7999), false),
        (mtu(ETH, 65_535), true),
        (mtu(InterfaceId::LOOPBACK, 1500), false),
    ] {
        let reply = host.shard.request(host.now, Principal::user(1), request.clone());
        assert_eq!(reply.is_ok(), allowed, "{request:?}");
    }
    let mtu_of = |shard: &Shard, id| shard.interfaces.get(id).map(|it| it.settings.mtu);
    assert_eq!(mtu_of(&host.shard, vlan), Some(8000));
}

#[test]
fn a_removed_interface_takes_everything_along() {
    let mut host = Host::with_peer();
    let vlan = host.add_link("v", NewLink::Vlan { lower: ETH, tag: customer(5) });
    host.address(vlan, "10.5.0.2/24");
    let far = Ipv4Addr::new(10, 5, 0, 1);
    host.know(vlan, far, PEER_MAC);
    host.request(add_route("172.16.0.0/12", vlan, Some(far)));
    let routes = host.shard.routes().count();
    host.request(Request::RemoveInterface { interface: vlan });
    assert_eq!(host.shard.routes().count(), routes - 2);
    assert!(host.shard.neighbors().all(|neighbor| neighbor.interface != vlan));
    assert_eq!(host.shard.interfaces.owner("10.5.0.2".parse().unwrap()), None);
    // Its number is not given again.
    let again = host.add_link("v", NewLink::Vlan { lower: ETH, tag: customer(5) });
    assert_ne!(again, vlan);
}

#[test]
fn nothing_passes_an_interface_that_is_down() {
    let mut host = Host::with_peer();
    host.set(ETH, LinkChange::Up(false));
    assert_eq!(host.refused(&crate::layer::fixture::ping(&PACKET)), DropReason::LinkDown);
    let socket = host.socket(Request::OpenUdp, (crate::layer::fixture::OWN, 9));
    let sent = host.shard.send_to(host.now, socket, Some(SocketAddr::new(PEER.into(), 9)), b"x");
    assert!(sent.is_err());
    host.set(ETH, LinkChange::Up(true));
    host.receive(&crate::layer::fixture::ping(&PACKET));
    assert_eq!(host.sent().len(), 1);
}
