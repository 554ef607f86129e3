//! The wire sends every frame: from each host, its own and others' addresses, to each, by each interface and
//! with each tag. What arrives at whom is what the audit says, both ways.

use super::*;
use narrows_stack::table::{
    packet_socket::{EVERY_PROTOCOL, PacketType},
    route::{HostModel, RoutingSettings},
};
use narrows_wire::{
    checksum::Sum,
    ethernet::{self, EtherType},
    ipv4,
    offload::RxOffload,
    udp,
    vlan::{Tag, TagProtocol, VlanId},
};

/// The VLAN of the public interface that is in `lab`.
const VLAN: u16 = 7;
const VLAN_AT: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
const OTHER_VLAN: u16 = 8;
const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x77]);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const FROM_PORT: u16 = 4000;

/// The zone that a frame comes into; `None`: nobody's.
fn zone_of(interface: &str, tag: Option<u16>) -> Option<&'static str> {
    match (interface, tag) {
        ("lan", None) => Some(PUBLIC),
        ("lab0", None) | ("lan", Some(VLAN)) => Some("lab"),
        _ => None,
    }
}

/// A host on the link of an address.
fn peer(own: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = own.octets();
    Ipv4Addr::new(a, b, c, 9)
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    interface: &'static str,
    tag: Option<u16>,
    to: MacAddr,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    port: u16,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let Self { tag, to, source, destination, port, .. } = *self;
        let mut segment = [0; udp::HEADER_LEN];
        let mut header =
            udp::Header { source_port: FROM_PORT, destination_port: port, checksum: 0 };
        header.emit(0, &mut segment);
        let sum = Sum::pseudo_header(source, destination, 17, segment.len() as u16);
        header.checksum = sum.add(Sum::of(&segment)).finish();
        header.emit(0, &mut segment);
        let header = ipv4::Header {
            tos: 0,
            identification: 1,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol: ipv4::Protocol::UDP,
            source,
            destination,
        };
        let mut packet = [0; ipv4::HEADER_LEN];
        header.emit(segment.len(), &mut packet).expect("short enough");
        let mut link = [0; ethernet::HEADER_LEN];
        let header =
            ethernet::Header { destination: to, source: STATION, ether_type: EtherType::IPV4 };
        header.emit(&mut link);
        let (addresses, ether_type) = link.split_at(12);
        let tag = tag.map(|tag| [&[0x81, 0][..], &tag.to_be_bytes()].concat()).unwrap_or_default();
        [addresses, &tag, ether_type, &packet, &segment].concat()
    }
}

/// All that a wire can say to somebody at a port; `macs` are the host's stations.
fn every_frame(macs: [MacAddr; 2], port: u16) -> Vec<Sent> {
    let own = [LAN_AT, LAB_AT, VLAN_AT, MEMBERS[0], MEMBERS[1], Ipv4Addr::LOCALHOST];
    let mut sources: Vec<_> = own.iter().flat_map(|own| [*own, peer(*own)]).collect();
    sources.push(ELSEWHERE);
    let mut all = Vec::new();
    for (interface, mac) in ["lan", "lab0"].into_iter().zip(macs) {
        for tag in [None, Some(VLAN), Some(OTHER_VLAN)] {
            for to in [mac, MacAddr::BROADCAST, STATION] {
                for source in &sources {
                    all.extend(own.iter().map(|destination| Sent {
                        interface,
                        tag,
                        to,
                        source: *source,
                        destination: *destination,
                        port,
                    }));
                }
            }
        }
    }
    all
}

struct Wired<'a> {
    site: Site<'a>,
    ids: [InterfaceId; 2],
    macs: [MacAddr; 2],
    weak: bool,
}

impl<'a> Wired<'a> {
    /// A VLAN more than the model has. `weak`: each interface takes what is for another's address.
    fn new(model: &'a Model, weak: bool) -> Self {
        let mut site = Site::new(model);
        let named = |site: &Site<'_>, name: &str| {
            let mut all = site.shard.interfaces();
            let (id, station) = all.find(|(_, held)| held.settings.name == name).expect("there");
            (id, station.settings.mac)
        };
        let (lan, lan_mac) = named(&site, "lan");
        let (lab, lab_mac) = named(&site, "lab0");
        let id_7 = VlanId::new(VLAN).expect("a VLAN");
        let tag = Tag { protocol: TagProtocol::Dot1q, id: id_7 };
        let link = NewLink::Vlan { lower: lan, tag };
        let vlan = site.interface(Request::AddLink { name: "lan.7".into(), link });
        site.ask(Request::SetZone { interface: vlan, zone: id("lab") });
        site.address(vlan, VLAN_AT);
        let host_model = if weak { HostModel::Weak } else { HostModel::Strong };
        for interface in [lan, lab, vlan] {
            let routing = RoutingSettings { host_model, ..RoutingSettings::default() };
            site.ask(Request::SetRouting { interface, routing });
        }
        Self { site, ids: [lan, lab], macs: [lan_mac, lab_mac], weak }
    }

    fn open(&mut self, user: u32, open: Request) -> SocketId {
        match self.site.shard.request(Instant::ZERO, principal(user), open) {
            Ok(Reply::Socket(socket)) => socket,
            other => panic!("no socket: {other:?}"),
        }
    }

    /// The first port of an address that the user may receive at, and a socket there.
    fn bound(&mut self, user: u32, zone: &str, address: Ipv4Addr) -> Option<(SocketId, u16)> {
        PORTS[1..].iter().find_map(|port| {
            let local = SocketAddr::new(address.into(), *port);
            let act = Act::Bind { protocol: Protocol::Udp, local };
            if !self.site.decides(user, zone, &act) {
                return None;
            }
            let socket = self.open(user, Request::OpenUdp);
            let bind = Request::Bind { socket, local };
            let bound = self.site.shard.request(Instant::ZERO, principal(user), bind);
            bound.is_ok().then_some((socket, *port))
        })
    }

    fn send(&mut self, sent: &Sent) {
        let at = usize::from(sent.interface == "lab0");
        let offload = RxOffload::default();
        self.site.shard.receive(Instant::ZERO, self.ids[at], &sent.bytes(), offload);
    }

    fn heard(&mut self, socket: SocketId) -> bool {
        self.site.shard.receive_datagram(socket).is_ok()
    }

    /// Is what comes into one zone let into another? UDP's answers are told by ports alone, so a rule
    /// back is as good as one there.
    fn leads(&self, from: &str, to: &Zone) -> bool {
        let zone = |name: &str| self.site.model.zones.iter().find(|zone| zone.name == name);
        let back = zone(from).is_some_and(|from| from.reachable_from.contains(&to.name));
        from == to.name || self.weak && (to.reachable_from.iter().any(|name| name == from) || back)
    }
}

/// What a user's socket at an address hears of all that the wire sends.
fn receives(wired: &mut Wired<'_>, user: u32, zone: &Zone, address: Ipv4Addr) -> [u32; 2] {
    let mut found = [0; 2];
    let Some((socket, port)) = wired.bound(user, &zone.name, address) else { return found };
    let said = wired.site.model.can(&subject(user), Ability::Receive, &zone.name).expect("a zone");
    assert!(said.can, "{user} is bound to {address}:{port}, but {}", said.why);
    for sent in every_frame(wired.macs, port) {
        wired.send(&sent);
        let heard = wired.heard(socket);
        let own = wired.macs[usize::from(sent.interface == "lab0")];
        let from = zone_of(sent.interface, sent.tag).filter(|_| sent.to == own);
        let lets = from.is_some_and(|from| wired.leads(from, zone)) && sent.destination == address;
        assert!(lets || !heard, "{user} in {} hears of {sent:?}", zone.name);
        // A host of the link, as itself.
        let link = match (sent.interface, sent.tag) {
            ("lan", None) => LAN_AT,
            ("lan", _) => VLAN_AT,
            _ => LAB_AT,
        };
        // A strong host has an address on one link, a weak one on all; the loopback's is on none.
        let there = (wired.weak || link == address) && !address.is_loopback();
        if sent.source == peer(link) && lets && there {
            assert!(heard, "{user} in {} hears nothing of {sent:?}", zone.name);
        }
        found[usize::from(heard)] += 1;
    }
    wired.site.ask(Request::Abort { socket });
    found
}

/// What a user's packet socket sees of all that the wire sends, where policy lets it look.
fn observes(wired: &mut Wired<'_>, user: u32) -> [u32; 2] {
    let mut found = [0; 2];
    let open = Request::OpenPacket { cooked: false, protocol: EVERY_PROTOCOL };
    let socket = wired.open(user, open);
    for sent in every_frame(wired.macs, 7) {
        wired.send(&sent);
        let mut seen = false;
        while let Ok(copy) = wired.site.shard.receive_frame(socket) {
            seen |= copy.kind != PacketType::Outgoing;
        }
        // A tag that leads nowhere is seen on its link.
        let link = if sent.interface == "lan" { PUBLIC } else { "lab" };
        let name = zone_of(sent.interface, sent.tag).unwrap_or(link);
        let zones = wired.site.admission(user).zones;
        // The VLAN's frames pass the link too, which is another zone's.
        let admitted = zones.contains(id(name));
        assert_eq!(seen, admitted, "{user} at a packet socket, of {sent:?}");
        let interface = Some(sent.interface);
        let act = Act::Packet { interface, access: Access::Observe };
        if seen && sent.tag.is_none() && wired.site.decides(user, name, &act) {
            let said = wired.site.model.can(&subject(user), Ability::Observe, name);
            let said = said.expect("a zone");
            assert!(said.can, "{user} sees {sent:?}, but {}", said.why);
        }
        found[usize::from(seen)] += 1;
    }
    wired.site.ask(Request::Abort { socket });
    found
}

#[test]
fn the_wire_reaches_whom_the_audit_says() {
    let mut found = [0_u32; 2];
    for seed in 0..CONFIGURATIONS / 10 {
        let model = model(&mut random_of(seed));
        for weak in [false, true] {
            let mut wired = Wired::new(&model, weak);
            for user in USERS {
                let mut add = |counts: [u32; 2]| {
                    found = [found[0] + counts[0], found[1] + counts[1]];
                };
                for zone in &model.zones {
                    for address in &zone.addresses {
                        let IpAddr::V4(address) = *address else { continue };
                        add(receives(&mut wired, user, zone, address));
                    }
                }
                add(observes(&mut wired, user));
            }
        }
    }
    assert!(found.iter().all(|count| *count > 1000), "{found:?}");
}
