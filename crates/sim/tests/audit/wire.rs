//! The wire sends every frame: from each host, its own and others' addresses, to each, by each interface and
//! with each tag. What arrives at whom is what the audit says, both ways; who answers, too: [`answers`].

use super::*;
use narrows_stack::table::{
    packet_socket::{EVERY_PROTOCOL, PacketType},
    route::{HostModel, RoutingSettings},
};
use narrows_wire::{
    arp,
    checksum::Sum,
    ethernet::{self, EtherType},
    icmpv4, ipv4,
    offload::RxOffload,
    tcp,
    tcp_options::Options,
    udp,
    vlan::{Tag, TagProtocol, VlanId},
};

mod answers;

/// The VLAN of the public interface that is in `lab`.
const VLAN: u16 = 7;
const VLAN_AT: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
const OTHER_VLAN: u16 = 8;
const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x77]);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// Of the first frame; each has its own.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    Datagram { port: u16 },
    Syn { port: u16 },
    Echo,
    Arp,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    interface: &'static str,
    tag: Option<u16>,
    to: MacAddr,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    from_port: u16,
    message: Message,
}

impl Sent {
    fn bytes(&self) -> Vec<u8> {
        let (ether_type, packet) = match self.message {
            Message::Datagram { port } => (EtherType::IPV4, self.datagram(port)),
            Message::Syn { port } => (EtherType::IPV4, self.syn(port)),
            Message::Echo => {
                let mut echo = [0; icmpv4::HEADER_LEN];
                let header =
                    icmpv4::Header::EchoRequest { identifier: self.from_port, sequence: 1 };
                header.emit(&[], &mut echo);
                (EtherType::IPV4, self.packet(ipv4::Protocol::ICMP, &echo))
            }
            Message::Arp => (EtherType::ARP, self.question()),
        };
        let mut link = [0; ethernet::HEADER_LEN];
        ethernet::Header { destination: self.to, source: STATION, ether_type }.emit(&mut link);
        let (addresses, ether_type) = link.split_at(12);
        let tag = self.tag.map(|tag| [&[0x81, 0][..], &tag.to_be_bytes()].concat());
        [addresses, &tag.unwrap_or_default(), ether_type, &packet].concat()
    }

    fn datagram(&self, port: u16) -> Vec<u8> {
        let mut segment = [0; udp::HEADER_LEN];
        let mut header =
            udp::Header { source_port: self.from_port, destination_port: port, checksum: 0 };
        header.emit(0, &mut segment);
        header.checksum = self.checksum(17, &segment);
        header.emit(0, &mut segment);
        self.packet(ipv4::Protocol::UDP, &segment)
    }

    fn syn(&self, port: u16) -> Vec<u8> {
        let header = tcp::Header {
            source_port: self.from_port,
            destination_port: port,
            sequence: 1000,
            flags: tcp::Flags::SYN,
            window: 65_535,
            ..tcp::Header::default()
        };
        let mut segment = [0; tcp::MAX_HEADER_LEN];
        let len = header.emit(&Options::default(), 0, &mut segment);
        let checksum = self.checksum(6, &segment[..len]);
        header.emit(&Options::default(), checksum, &mut segment);
        self.packet(ipv4::Protocol::TCP, &segment[..len])
    }

    fn checksum(&self, protocol: u8, segment: &[u8]) -> u16 {
        let len = segment.len() as u16;
        let sum = Sum::pseudo_header(self.source, self.destination, protocol, len);
        sum.add(Sum::of(segment)).finish()
    }

    fn packet(&self, protocol: ipv4::Protocol, payload: &[u8]) -> Vec<u8> {
        let header = ipv4::Header {
            tos: 0,
            identification: 1,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            protocol,
            source: self.source,
            destination: self.destination,
        };
        let mut packet = [0; ipv4::HEADER_LEN];
        header.emit(payload.len(), &mut packet).expect("short enough");
        [&packet, payload].concat()
    }

    fn question(&self) -> Vec<u8> {
        let mut bytes = [0; arp::LEN];
        let question = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: STATION,
            sender_ip: self.source,
            target_mac: MacAddr([0; 6]),
            target_ip: self.destination,
        };
        question.emit(&mut bytes);
        bytes.to_vec()
    }

    /// The host's address on the link that it comes by, as the link's hosts know it.
    fn link_address(&self) -> Ipv4Addr {
        match (self.interface, self.tag) {
            ("lan", None) => LAN_AT,
            ("lan", _) => VLAN_AT,
            _ => LAB_AT,
        }
    }
}

/// All that a wire can say; `macs` are the host's stations.
fn every_frame(macs: [MacAddr; 2], message: Message) -> Vec<Sent> {
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
                        from_port: 0,
                        message,
                    }));
                }
            }
        }
    }
    for (port, sent) in (FROM_PORT..).zip(&mut all) {
        sent.from_port = port;
    }
    all
}

struct Wired<'a> {
    site: Site<'a>,
    ids: [InterfaceId; 2],
    vlan: InterfaceId,
    macs: [MacAddr; 2],
    weak: bool,
}

impl<'a> Wired<'a> {
    /// Of a model that has the VLAN. `weak`: each interface takes what is for another's address.
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
        Self { site, ids: [lan, lab], vlan, macs: [lan_mac, lab_mac], weak }
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
    for sent in every_frame(wired.macs, Message::Datagram { port }) {
        wired.send(&sent);
        let heard = wired.heard(socket);
        let own = wired.macs[usize::from(sent.interface == "lab0")];
        let from = zone_of(sent.interface, sent.tag).filter(|_| sent.to == own);
        let lets = from.is_some_and(|from| wired.leads(from, zone)) && sent.destination == address;
        assert!(lets || !heard, "{user} in {} hears of {sent:?}", zone.name);
        // A host of the link, as itself.
        let link = sent.link_address();
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

/// What a user's packet socket on every interface sees of all that the wire sends.
fn observes(wired: &mut Wired<'_>, user: u32) -> [u32; 2] {
    let mut found = [0; 2];
    let open = Request::OpenPacket { cooked: false, protocol: EVERY_PROTOCOL };
    let socket = wired.open(user, open);
    for sent in every_frame(wired.macs, Message::Datagram { port: 7 }) {
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
        found[usize::from(seen)] += 1;
    }
    wired.site.ask(Request::Abort { socket });
    found
}

/// Whether a user observes a zone by packet sockets on interfaces that policy lets it look at, which is
/// whether the audit says so.
fn looks(wired: &mut Wired<'_>, user: u32) -> [u32; 2] {
    let access = Access::Observe;
    let [lan, lab] = wired.ids;
    let mut seen: Vec<&str> = Vec::new();
    for (name, zone, at) in
        [("lan", PUBLIC, lan), ("lab0", "lab", lab), ("lan.7", "lab", wired.vlan)]
    {
        if !wired.site.decides(user, zone, &Act::Packet { interface: Some(name), access }) {
            continue;
        }
        let socket = wired.open(user, Request::OpenPacket { cooked: false, protocol: 0 });
        let (interface, protocol) = (Some(at), EVERY_PROTOCOL);
        let bind = Request::BindPacket { socket, interface, protocol };
        if wired.site.shard.request(Instant::ZERO, principal(user), bind).is_ok() {
            for sent in every_frame(wired.macs, Message::Echo) {
                wired.send(&sent);
                let from = zone_of(sent.interface, sent.tag);
                while let Ok(copy) = wired.site.shard.receive_frame(socket) {
                    seen.extend(from.filter(|_| copy.kind != PacketType::Outgoing));
                }
            }
        }
        wired.site.ask(Request::Abort { socket });
    }
    let mut found = [0; 2];
    for zone in [PUBLIC, "lab"] {
        let said = wired.site.model.can(&subject(user), Ability::Observe, zone).expect("a zone");
        let model = wired.site.model.zones.iter().find(|held| held.name == zone).expect("a zone");
        // By raw sockets, of which this isn't about.
        let raw = wired.site.admission(user).zones.contains(id(zone))
            && model.interfaces.iter().any(|name| {
                let interface = Some(name.as_str());
                wired.site.decides(user, zone, &Act::Raw { interface, access })
            });
        let sees = seen.contains(&zone);
        assert!(said.can || !sees, "{user} observes {zone}, but {}", said.why);
        assert!(sees || raw || !said.can, "{user} observes nothing of {zone}, but {}", said.why);
        found[usize::from(sees)] += 1;
    }
    found
}

/// The model with the VLAN, whose frames pass the public interface.
fn with_vlan(mut model: Model) -> Model {
    let lab = &mut model.zones[1];
    lab.addresses.push(VLAN_AT.into());
    lab.interfaces.push("lan.7".to_owned());
    lab.carriers.push(Carrier { interface: "lan".to_owned(), zone: PUBLIC.to_owned() });
    model
}

#[test]
fn the_wire_reaches_whom_the_audit_says() {
    let mut found = [0_u32; 2];
    for seed in 0..CONFIGURATIONS / 10 {
        let model = with_vlan(model(&mut random_of(seed)));
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

#[test]
fn packet_sockets_observe_what_the_audit_says() {
    let mut found = [0_u32; 2];
    for seed in 0..CONFIGURATIONS {
        let model = with_vlan(model(&mut random_of(seed)));
        let mut wired = Wired::new(&model, false);
        for user in USERS {
            let counts = looks(&mut wired, user);
            found = [found[0] + counts[0], found[1] + counts[1]];
        }
    }
    assert!(found.iter().all(|count| *count > CONFIGURATIONS / 2), "{found:?}");
}
