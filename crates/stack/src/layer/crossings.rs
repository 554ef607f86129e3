//! What must not get from one zone to another, each way by which it could: a host with its interface in
//! `public`, one in the zone `lab`, and a private zone with two members.

use super::fixture::*;
use crate::{
    Error, InterfaceId, Readiness, Reply, SocketId,
    counters::DropReason,
    request::{GroupInterface, LinkChange, NewLink, Principal, Request, SocketOption},
    table::{
        bridge::BridgeSettings,
        membership::MembershipChange,
        neighbor::NeighborState,
        route::{HostModel, RoutingSettings},
        zone::{Admission, AdmissionId, Crossing, ZoneId, ZoneSet, ZoneSettings},
    },
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::MacAddr,
    arp::{Operation, Packet},
    ethernet::EtherType,
    icmpv4::{self, Unreachable},
    ipv4::{Header, Protocol},
    vlan::{Tag, TagProtocol, VlanId},
};

mod raw;
mod rules;
mod several;
mod vlan;
mod watching;

const LAB: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
const LAB_PEER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 7);
const LAB_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const APP_AT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const DB_AT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 3);

const STRANGER: Principal = Principal::user(66);
const TECHNICIAN: Principal = Principal { admission: AdmissionId(1), ..Principal::user(1) };
const APP: Principal = Principal { admission: AdmissionId(2), ..Principal::user(2) };
const DB: Principal = Principal { admission: AdmissionId(3), ..Principal::user(3) };

struct Site {
    host: Host,
    lab: InterfaceId,
    vault: InterfaceId,
}

fn zone(number: usize) -> ZoneId {
    ZoneId::new(number).expect("a zone")
}

fn lab_zone() -> ZoneId {
    zone(1)
}

fn vault_zone() -> ZoneId {
    zone(2)
}

/// Both real interfaces forward, and have the given host model.
fn site(host_model: HostModel) -> Site {
    let mut host = Host::with_peer();
    let lab = host.add_interface("lab0", LAB_MAC, "10.1.0.2/24");
    let mac = MacAddr([2, 0, 0, 0, 2, 2]);
    let link = NewLink::Private { mac };
    let Reply::Interface(vault) = host.request(Request::AddLink { name: "vault".into(), link })
    else {
        panic!("no interface")
    };
    host.request(Request::SetZone { interface: lab, zone: lab_zone() });
    host.request(Request::SetZone { interface: vault, zone: vault_zone() });
    let private = ZoneSet::only(vault_zone());
    host.request(Request::SetZones(ZoneSettings { private, crossings: Vec::new() }));
    for prefix in ["10.99.0.2/24", "10.99.0.3/24"].map(prefix) {
        host.request(Request::AddAddress { interface: vault, prefix });
    }
    for (who, zone, members) in [
        (TECHNICIAN, lab_zone(), vec![]),
        (APP, vault_zone(), vec![APP_AT]),
        (DB, vault_zone(), vec![DB_AT]),
    ] {
        let zones = ZoneSet::PUBLIC.with(ZoneSet::only(zone));
        let admission = Some(Admission { zones, members });
        host.request(Request::Admit { id: who.admission, admission });
    }
    let routing = RoutingSettings { forward: true, host_model, ..Default::default() };
    for interface in [ETH, lab] {
        host.request(Request::SetRouting { interface, routing });
    }
    let request = Request::PinNeighbor { interface: lab, address: LAB_PEER.into(), mac: PEER_MAC };
    host.request(request);
    Site { host, lab, vault }
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

impl Site {
    fn ask(&mut self, who: Principal, request: Request) -> Result<Reply, Error> {
        self.host.shard.request(self.host.now, who, request)
    }

    fn open(&mut self, who: Principal, open: Request) -> SocketId {
        match self.ask(who, open) {
            Ok(Reply::Socket(socket)) => socket,
            other => panic!("no socket: {other:?}"),
        }
    }

    /// A UDP socket of `who`, bound.
    fn bound(&mut self, who: Principal, local: SocketAddr) -> Result<SocketId, Error> {
        let socket = self.open(who, Request::OpenUdp);
        self.ask(who, Request::Bind { socket, local }).map(|_| socket)
    }

    fn listener(&mut self, who: Principal, local: SocketAddr) -> Result<SocketId, Error> {
        let socket = self.open(who, Request::OpenTcp);
        self.ask(who, Request::Bind { socket, local })?;
        self.ask(who, Request::Listen { socket, backlog: 8 }).map(|_| socket)
    }

    fn send(&mut self, socket: SocketId, to: SocketAddr) -> Result<(), Error> {
        let now = self.host.now;
        self.host.shard.send_to(now, socket, Some(to), b"hello")
    }

    /// What a socket has received, and from whom.
    fn heard(&mut self, socket: SocketId) -> Option<SocketAddr> {
        self.host.shard.receive_datagram(socket).ok().map(|datagram| datagram.from)
    }

    fn source_of(&mut self, who: Principal, to: Ipv4Addr) -> Result<IpAddr, Error> {
        let socket = self.open(who, Request::OpenUdp);
        self.ask(who, Request::Connect { socket, remote: at(to, 9) })?;
        match self.ask(who, Request::Info { socket }) {
            Ok(Reply::Info(info)) => Ok(info.local.ip()),
            other => panic!("no info: {other:?}"),
        }
    }

    /// Frames that leave, by interface.
    fn sent(&mut self) -> [usize; 3] {
        [ETH, self.lab, self.vault].map(|interface| self.host.sent_on(interface).len())
    }

    fn allow(&mut self, crossing: Crossing) {
        let private = ZoneSet::only(vault_zone());
        let settings = ZoneSettings { private, crossings: vec![crossing] };
        self.host.request(Request::SetZones(settings));
    }
}

fn datagram(source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let header = Header { source, destination, ..PACKET };
    packet_frame(&header, &udp(&header, 5000, 7, b"hello"))
}

#[test]
fn frames_for_another_zones_address_end_here() {
    for model in [HostModel::Strong, HostModel::Weak] {
        let mut site = site(model);
        let heard = [(TECHNICIAN, LAB), (APP, APP_AT), (STRANGER, Ipv4Addr::UNSPECIFIED)]
            .map(|(who, address)| site.bound(who, at(address, 7)).expect("bound"));
        for destination in [LAB, APP_AT, DB_AT] {
            let reason = site.host.refused(&datagram(PEER, destination));
            assert_eq!(reason, DropReason::OtherZone, "{destination} {model:?}");
            let ping = ping(&Header { destination, ..PACKET });
            let before = site.host.dropped(DropReason::OtherZone);
            site.host.receive(&ping);
            assert_eq!(site.host.dropped(DropReason::OtherZone), before + 1);
        }
        assert_eq!(heard.map(|socket| site.heard(socket)), [None; 3]);
        assert_eq!(site.sent(), [0; 3], "no answer, no error");
    }
}

#[test]
fn no_interface_answers_arp_for_another_zone() {
    let mut site = site(HostModel::Weak);
    for target_ip in [LAB, APP_AT, DB_AT, LAB_PEER] {
        let request = Packet {
            operation: Operation::Request,
            sender_mac: PEER_MAC,
            sender_ip: PEER,
            target_mac: MacAddr::ZERO,
            target_ip,
        };
        assert_eq!(site.host.refused(&arp_frame(&request)), DropReason::ArpNotForUs);
    }
    assert_eq!(site.sent(), [0; 3]);
}

#[test]
fn spoofed_sources_of_another_zone_are_martians() {
    let mut site = site(HostModel::Weak);
    let all = site.bound(DB, at(Ipv4Addr::UNSPECIFIED, 7)).expect("bound");
    for source in [APP_AT, DB_AT, LAB] {
        assert_eq!(site.host.refused(&datagram(source, OWN)), DropReason::Martian, "{source}");
    }
    assert_eq!(site.heard(all), None);
}

#[test]
fn nothing_is_forwarded_from_zone_to_zone() {
    let mut site = site(HostModel::Strong);
    // To a host of the lab: by the only way that public has, its own default route.
    site.host.receive(&datagram(PEER, LAB_PEER));
    assert_eq!(site.sent(), [1, 0, 0]);
    // From the lab to the world: the only way is another zone's.
    let (lab, header) = (site.lab, Header { source: LAB_PEER, destination: REMOTE, ..PACKET });
    let frame = frame(LAB_MAC, EtherType::IPV4, &packet(&header, &udp(&header, 1, 2, b"out")));
    site.host.receive_on(lab, &frame);
    assert_eq!(site.host.dropped(DropReason::OtherZone), 1);
    assert_eq!(site.sent(), [0, 1, 0], "it is told that there is no route");
}

#[test]
fn ways_out_are_those_of_ones_zones() {
    let mut site = site(HostModel::Strong);
    for (who, to, source) in [
        (STRANGER, LAB_PEER, Ok(OWN)),
        (TECHNICIAN, LAB_PEER, Ok(LAB)),
        (TECHNICIAN, REMOTE, Ok(OWN)),
        (APP, REMOTE, Ok(OWN)),
        (APP, DB_AT, Ok(APP_AT)),
        (DB, APP_AT, Ok(DB_AT)),
        (DB, DB_AT, Ok(DB_AT)),
        (APP, Ipv4Addr::new(10, 99, 0, 77), Err(Error::HostUnreachable)),
        (STRANGER, Ipv4Addr::new(10, 99, 0, 77), Ok(OWN)),
        (STRANGER, DB_AT, Err(Error::OtherZone)),
        (STRANGER, LAB, Err(Error::OtherZone)),
        (TECHNICIAN, DB_AT, Err(Error::OtherZone)),
        (TECHNICIAN, LAB, Ok(LAB)),
    ] {
        let found = site.source_of(who, to);
        assert_eq!(found, source.map(IpAddr::V4), "{who:?} to {to}");
    }
}

#[test]
fn of_equal_routes_the_smaller_circles_comes_first() {
    let mut site = site(HostModel::Strong);
    let lab = site.lab;
    site.host.request(Request::AddRoute {
        route: crate::table::route::Route::unicast(prefix("0.0.0.0/0"), lab, Some(LAB_PEER)),
        placement: crate::table::route::Placement::Append,
    });
    assert_eq!(site.source_of(STRANGER, REMOTE), Ok(OWN.into()));
    assert_eq!(site.source_of(TECHNICIAN, REMOTE), Ok(LAB.into()));
}

#[test]
fn addresses_are_for_who_is_admitted() {
    let mut site = site(HostModel::Strong);
    for (who, address, bound) in [
        (STRANGER, LAB, false),
        (STRANGER, APP_AT, false),
        (APP, DB_AT, false),
        (APP, APP_AT, true),
        (DB, DB_AT, true),
        (TECHNICIAN, APP_AT, false),
        (TECHNICIAN, LAB, true),
        (STRANGER, OWN, true),
        (STRANGER, Ipv4Addr::new(10, 1, 0, 255), false),
        (TECHNICIAN, Ipv4Addr::new(10, 1, 0, 255), true),
    ] {
        let expected = bound.then_some(()).ok_or(Error::AddressNotAvailable);
        assert_eq!(site.bound(who, at(address, 80)).map(drop), expected, "{who:?} {address}");
        if !address.is_broadcast() && address.octets()[3] != 255 {
            let listens = site.listener(who, at(address, 80)).map(drop);
            assert_eq!(listens, expected, "{who:?} {address}");
        }
    }
    // Nor can a datagram be sent as from another's.
    let socket = site.bound(APP, at(Ipv4Addr::UNSPECIFIED, 81)).expect("bound");
    let envelope = crate::request::Envelope {
        remote: Some(at(DB_AT, 80)),
        source: Some(DB_AT.into()),
        ..Default::default()
    };
    let now = site.host.now;
    let sent = site.host.shard.send_datagram(now, socket, &envelope, b"as another");
    assert_eq!(sent, Err(Error::NetworkUnreachable));
}

#[test]
fn a_wildcard_stands_for_the_addresses_of_its_owner() {
    let mut site = site(HostModel::Strong);
    // Who has the port everywhere in public has it in no other zone.
    let squatter = site.bound(STRANGER, at(Ipv4Addr::UNSPECIFIED, 7)).expect("bound");
    let server = site.bound(DB, at(DB_AT, 7)).expect("its own address is free");
    let client = site.bound(APP, at(APP_AT, 0)).expect("bound");
    site.send(client, at(DB_AT, 7)).expect("sent");
    assert_eq!(site.sent(), [0; 3], "no frame leaves");
    assert!(site.heard(server).is_some_and(|from| from.ip() == APP_AT));
    assert_eq!(site.heard(squatter), None);
    // Its port is taken for those who meet it.
    let everywhere = at(Ipv4Addr::UNSPECIFIED, 7);
    assert_eq!(site.bound(DB, everywhere), Err(Error::AddressInUse));
    // A member's wildcard hears of its own address, and not of another member's.
    let wide = site.bound(DB, at(Ipv4Addr::UNSPECIFIED, 8)).expect("bound");
    site.send(client, at(DB_AT, 8)).expect("sent");
    site.send(client, at(APP_AT, 8)).expect("sent");
    site.sent();
    assert!(site.heard(wide).is_some());
    assert_eq!(site.heard(wide), None);
}

#[test]
fn listeners_hear_of_their_zones() {
    let mut site = site(HostModel::Strong);
    let stranger = site.listener(STRANGER, at(Ipv4Addr::UNSPECIFIED, 80)).expect("listens");
    let connect = |site: &mut Site, who, to| {
        let socket = site.open(who, Request::OpenTcp);
        let asked = site.ask(who, Request::Connect { socket, remote: at(to, 80) }).map(drop);
        site.sent();
        asked.map(|()| site.ask(who, Request::TakeError { socket }))
    };
    let refused = Ok(Ok(Reply::Error(Some(Error::ConnectionRefused))));
    assert_eq!(connect(&mut site, APP, DB_AT), refused, "the stranger's wildcard isn't there");
    let server = site.listener(DB, at(DB_AT, 80)).expect("listens");
    assert_eq!(connect(&mut site, APP, DB_AT), Ok(Ok(Reply::Error(None))));
    let accept = |site: &mut Site, socket| site.ask(DB, Request::Accept { socket });
    let accepted = accept(&mut site, server);
    assert!(
        matches!(accepted, Ok(Reply::Accepted { remote, .. }) if remote.ip() == APP_AT),
        "{accepted:?}"
    );
    assert_eq!(accept(&mut site, stranger), Err(Error::WouldBlock));
    assert_eq!(connect(&mut site, STRANGER, DB_AT), Err(Error::OtherZone));
    assert_eq!(site.host.dropped(DropReason::OtherZone), 1, "counted, and not sent");
}

#[test]
fn errors_by_icmp_reach_no_flow_of_another_zone() {
    let mut site = site(HostModel::Weak);
    let socket = site.bound(TECHNICIAN, at(LAB, 9)).expect("bound");
    site.ask(TECHNICIAN, Request::Connect { socket, remote: at(REMOTE, 7) }).expect_err("no way");
    let remote = at(LAB_PEER, 7);
    site.ask(TECHNICIAN, Request::Connect { socket, remote }).expect("connected");
    let quoted = Header { source: LAB, destination: LAB_PEER, dont_fragment: true, ..PACKET };
    let quote = packet(&quoted, &udp(&quoted, 9, 7, &[0; 1000]));
    let code = Unreachable::FRAGMENTATION_NEEDED;
    let errors = [
        icmpv4::Header::DestinationUnreachable { code: Unreachable::PORT, mtu: 0 },
        icmpv4::Header::DestinationUnreachable { code, mtu: 600 },
    ];
    for error in errors {
        for destination in [LAB, OWN] {
            let header = Header { protocol: Protocol::ICMP, destination, ..PACKET };
            let reason = site.host.refused(&packet_frame(&header, &icmp(&error, &quote)));
            let expected =
                if destination == LAB { DropReason::OtherZone } else { DropReason::IcmpUnmatched };
            assert_eq!(reason, expected);
        }
    }
    assert_eq!(site.ask(TECHNICIAN, Request::TakeError { socket }), Ok(Reply::Error(None)));
    let mtu = site.ask(TECHNICIAN, Request::PathMtu { socket });
    assert_eq!(mtu, Ok(Reply::PathMtu(1500)));
}

#[test]
fn path_mtus_are_learned_for_one_zone() {
    let mut site = site(HostModel::Strong);
    let lab = site.lab;
    site.host.request(add_route("192.0.2.0/24", lab, Some(LAB_PEER)));
    let mut mtu_of = |who, learn: bool| {
        let socket = site.open(who, Request::OpenUdp);
        site.ask(who, Request::Connect { socket, remote: at(REMOTE, 7) }).expect("connected");
        if learn {
            let Ok(Reply::Info(info)) = site.ask(who, Request::Info { socket }) else {
                panic!("no info")
            };
            let quoted = Header { source: OWN, destination: REMOTE, dont_fragment: true, ..PACKET };
            let quote = packet(&quoted, &udp(&quoted, info.local.port(), 7, &[0; 1400]));
            let code = Unreachable::FRAGMENTATION_NEEDED;
            let error = icmpv4::Header::DestinationUnreachable { code, mtu: 900 };
            let header = Header { protocol: Protocol::ICMP, ..PACKET };
            site.host.receive(&packet_frame(&header, &icmp(&error, &quote)));
        }
        site.ask(who, Request::PathMtu { socket })
    };
    assert_eq!(mtu_of(STRANGER, true), Ok(Reply::PathMtu(900)));
    assert_eq!(mtu_of(TECHNICIAN, false), Ok(Reply::PathMtu(1500)));
}

#[test]
fn neighbors_are_their_interfaces() {
    let mut site = site(HostModel::Strong);
    let claim = Packet {
        operation: Operation::Reply,
        sender_mac: MacAddr([2, 0, 0, 0, 0, 0x66]),
        sender_ip: LAB_PEER,
        target_mac: OWN_MAC,
        target_ip: OWN,
    };
    let lab = site.lab;
    site.ask(Principal::HOST, Request::RemoveNeighbor { interface: lab, address: LAB_PEER.into() })
        .expect("removed");
    let socket = site.bound(TECHNICIAN, at(LAB, 9)).expect("bound");
    site.send(socket, at(LAB_PEER, 9)).expect("waits for its next hop");
    assert_eq!(site.host.refused(&arp_frame(&claim)), DropReason::ArpUnsolicited);
    let states = |site: &Site| -> Vec<_> {
        let all = site.host.shard.neighbors();
        all.filter(|row| row.address == IpAddr::V4(LAB_PEER)).map(|row| row.state).collect()
    };
    assert_eq!(states(&site), [NeighborState::Incomplete]);
}

#[test]
fn what_is_stacked_is_in_one_zone() {
    let mut site = site(HostModel::Strong);
    let link = NewLink::Bridge(BridgeSettings::default());
    let Ok(Reply::Interface(bridge)) =
        site.ask(Principal::HOST, Request::AddLink { name: "br0".into(), link })
    else {
        panic!("no bridge")
    };
    let (lab, vault) = (site.lab, site.vault);
    site.ask(Principal::HOST, Request::Enslave { member: ETH, master: bridge }).expect("a port");
    for member in [lab, vault] {
        let refused = site.ask(Principal::HOST, Request::Enslave { member, master: bridge });
        assert_eq!(refused, Err(Error::OtherZone));
    }
    let tag = Tag { protocol: TagProtocol::Dot1q, id: VlanId::new(7).expect("a VLAN") };
    let link = NewLink::Vlan { lower: lab, tag };
    let Ok(Reply::Interface(vlan)) =
        site.ask(Principal::HOST, Request::AddLink { name: "lab0.7".into(), link })
    else {
        panic!("no VLAN")
    };
    let zones = |site: &Site| {
        let zone = |id| site.host.shard.interface(id).map(|found| found.zone);
        [ETH, bridge, lab, vlan].map(|id| zone(id).expect("there"))
    };
    let (public, lab_zone) = (ZoneId::PUBLIC, lab_zone());
    assert_eq!(zones(&site), [public, public, lab_zone, lab_zone]);
    site.ask(Principal::HOST, Request::SetZone { interface: ETH, zone: lab_zone }).expect("set");
    site.ask(Principal::HOST, Request::SetZone { interface: vlan, zone: public }).expect("set");
    assert_eq!(zones(&site), [lab_zone, lab_zone, lab_zone, public], "a VLAN has one of its own");
    let up = Request::SetLink { interface: bridge, change: LinkChange::Up(true) };
    site.ask(Principal::HOST, up).expect("set");
    let loopback = Request::SetZone { interface: InterfaceId::LOOPBACK, zone: lab_zone };
    assert_eq!(site.ask(Principal::HOST, loopback), Err(Error::InvalidArgument));
}

#[test]
fn who_is_put_out_loses_its_sockets() {
    let mut site = site(HostModel::Strong);
    let listener = site.listener(DB, at(DB_AT, 80)).expect("listens");
    let datagram = site.bound(DB, at(DB_AT, 7)).expect("bound");
    let wide = site.bound(DB, at(Ipv4Addr::UNSPECIFIED, 9)).expect("bound");
    let client = site.open(APP, Request::OpenTcp);
    site.ask(APP, Request::Connect { socket: client, remote: at(DB_AT, 80) }).expect("asked");
    site.sent();
    let Ok(Reply::Accepted { socket: server, .. }) =
        site.ask(DB, Request::Accept { socket: listener })
    else {
        panic!("not accepted")
    };
    while site.host.shard.poll_event().is_some() {}
    site.ask(Principal::HOST, Request::Admit { id: DB.admission, admission: None }).expect("done");
    let mut failed = Vec::new();
    while let Some(event) = site.host.shard.poll_event() {
        if event.readiness.contains(Readiness::FAILED) {
            failed.push(event.socket);
        }
    }
    failed.sort();
    let mut expected = [listener, datagram, server];
    expected.sort();
    assert_eq!(failed, expected, "those at its address, and no others");
    for socket in expected {
        let error = site.ask(DB, Request::TakeError { socket });
        assert_eq!(error, Ok(Reply::Error(Some(Error::OtherZone))));
    }
    let from = site.bound(APP, at(APP_AT, 0)).expect("bound");
    for port in [7, 9] {
        site.send(from, at(DB_AT, port)).expect("sent");
    }
    site.sent();
    assert_eq!((site.heard(datagram), site.heard(wide)), (None, None));
    let told = site.ask(APP, Request::TakeError { socket: client });
    assert_eq!(told, Ok(Reply::Error(Some(Error::ConnectionReset))));
}
