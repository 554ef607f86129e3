//! Who answers what the wire asks: handshakes, echo requests and ARP, of addresses that the zone may reach
//! which the frame comes into, and of no others. An answer tells as much as what is received.

use super::*;
use narrows_stack::Sink;
use narrows_wire::offload::TxOffload;

/// Nobody listens there.
const CLOSED: u16 = 9;

#[derive(Default)]
struct Frames(Vec<Vec<u8>>);

impl Sink for Frames {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, _: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        self.0.push([header, payload[0], payload[1]].concat());
    }
}

/// What a frame of the host's says in answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepts,
    Refuses,
    Echoes,
    IsAt,
}

fn answer(frame: &[u8], sent: &Sent) -> Option<Answer> {
    let (header, payload) = ethernet::Header::parse(frame).ok()?;
    let tagged = header.ether_type.0 == 0x8100;
    let (ether_type, packet) = match payload.split_first_chunk::<4>() {
        Some(([_, _, high, low], rest)) if tagged => {
            (EtherType(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => (header.ether_type, payload),
    };
    if ether_type == EtherType::ARP {
        let arp = arp::Packet::parse(packet).ok()?;
        let is_at = arp.operation == arp::Operation::Reply && arp.sender_ip == sent.destination;
        return is_at.then_some(Answer::IsAt);
    }
    let packet = ipv4::Packet::parse(packet).ok()?;
    if (packet.header.source, packet.header.destination) != (sent.destination, sent.source) {
        return None;
    }
    match packet.header.protocol {
        ipv4::Protocol::TCP => {
            let header = tcp::Segment::parse(packet.payload).ok()?.header;
            let accepts = header.flags.contains(tcp::Flags::SYN);
            // What an earlier frame has begun may be answered again.
            let own = header.destination_port == sent.from_port;
            own.then_some(if accepts { Answer::Accepts } else { Answer::Refuses })
        }
        ipv4::Protocol::ICMP => {
            let (header, _) = icmpv4::Header::parse(packet.payload).ok()?;
            matches!(header, icmpv4::Header::EchoReply { .. }).then_some(Answer::Echoes)
        }
        _ => None,
    }
}

impl Wired<'_> {
    /// The hosts of all links are known, so that no answer waits for ARP.
    fn know_peers(&mut self) {
        let [lan, lab] = self.ids;
        for (interface, own) in [(lan, LAN_AT), (lab, LAB_AT), (self.vlan, VLAN_AT)] {
            let address = peer(own).into();
            self.site.ask(Request::PinNeighbor { interface, address, mac: STATION });
        }
    }

    fn answer_to(&mut self, sent: &Sent) -> Option<Answer> {
        self.send(sent);
        let mut frames = Frames::default();
        for interface in self.ids {
            while self.site.shard.poll_transmit(Instant::ZERO, interface, &mut frames) {}
        }
        frames.0.iter().find_map(|frame| answer(frame, sent))
    }

    /// May what comes by this frame have to do with an address of this zone?
    fn lets(&self, sent: &Sent, zone: &Zone) -> bool {
        let own = self.macs[usize::from(sent.interface == "lab0")];
        let from = zone_of(sent.interface, sent.tag).filter(|_| sent.to == own);
        from.is_some_and(|from| {
            from == zone.name || self.weak && zone.reachable_from.iter().any(|name| name == from)
        })
    }

    /// Has an answer to be given, whoever listens: a host of the link asks as itself, for an address that
    /// is there? Private zones have no way back to a wire, and the daemon takes no rule that leads to one.
    fn has_to(&self, sent: &Sent, zone: &Zone) -> bool {
        let link = sent.link_address();
        self.lets(sent, zone)
            && !zone.private
            && sent.source == peer(link)
            && (self.weak || link == sent.destination)
            && !sent.destination.is_loopback()
    }

    /// A listener at the first port of an address that the user may listen at.
    fn listener(&mut self, user: u32, zone: &str, address: Ipv4Addr) -> Option<(SocketId, u16)> {
        PORTS[1..].iter().find_map(|port| {
            let local = SocketAddr::new(address.into(), *port);
            let bind = Act::Bind { protocol: Protocol::Tcp, local };
            if !self.site.decides(user, zone, &bind)
                || !self.site.decides(user, zone, &Act::Listen { local })
            {
                return None;
            }
            let socket = self.open(user, Request::OpenTcp);
            let requests =
                [Request::Bind { socket, local }, Request::Listen { socket, backlog: 4 }];
            let listens = requests.into_iter().all(|request| {
                self.site.shard.request(Instant::ZERO, principal(user), request).is_ok()
            });
            if !listens {
                self.site.ask(Request::Abort { socket });
            }
            listens.then_some((socket, *port))
        })
    }
}

/// A user's listener at an address answers the handshakes that may get there.
fn accepts(wired: &mut Wired<'_>, user: u32, zone: &Zone, address: Ipv4Addr) -> [u32; 2] {
    let mut found = [0; 2];
    let Some((socket, port)) = wired.listener(user, &zone.name, address) else { return found };
    let said = wired.site.model.can(&subject(user), Ability::Receive, &zone.name).expect("a zone");
    assert!(said.can, "{user} listens at {address}:{port}, but {}", said.why);
    for sent in every_frame(wired.macs, Message::Syn { port }) {
        if sent.destination != address {
            continue;
        }
        let answer = wired.answer_to(&sent);
        let (lets, has_to) = (wired.lets(&sent, zone), wired.has_to(&sent, zone));
        assert!(answer.is_none() || lets, "{user} in {}: {answer:?} to {sent:?}", zone.name);
        if has_to {
            assert_eq!(answer, Some(Answer::Accepts), "{user} in {} of {sent:?}", zone.name);
        }
        found[usize::from(answer.is_some())] += 1;
    }
    wired.site.ask(Request::Abort { socket });
    found
}

/// What the host answers for an address where nobody listens.
fn answers(wired: &mut Wired<'_>, zone: &Zone, address: Ipv4Addr) -> [u32; 2] {
    let mut found = [0; 2];
    let asked = [
        (Message::Syn { port: CLOSED }, Answer::Refuses),
        (Message::Echo, Answer::Echoes),
        (Message::Arp, Answer::IsAt),
    ];
    for (message, expected) in asked {
        for sent in every_frame(wired.macs, message) {
            if sent.destination != address {
                continue;
            }
            let answer = wired.answer_to(&sent);
            let own = wired.macs[usize::from(sent.interface == "lab0")];
            let (may, must) = match message {
                // Whatever may cross, an address is where its zone is.
                Message::Arp => {
                    let to_all = sent.to == MacAddr::BROADCAST || sent.to == own;
                    let same = zone_of(sent.interface, sent.tag) == Some(&*zone.name);
                    let link = sent.link_address();
                    let asks = sent.source == peer(link) && sent.destination == link;
                    (to_all && same, to_all && same && asks)
                }
                _ => (wired.lets(&sent, zone), wired.has_to(&sent, zone)),
            };
            assert!(answer.is_none() || may, "{}: {answer:?} to {sent:?}", zone.name);
            if must {
                assert_eq!(answer, Some(expected), "{} of {sent:?}", zone.name);
            }
            found[usize::from(answer.is_some())] += 1;
        }
    }
    found
}

#[test]
fn the_wire_is_answered_where_it_may_reach() {
    let mut found = [0_u32; 2];
    for seed in 0..CONFIGURATIONS / 10 {
        let model = with_vlan(model(&mut random_of(seed)));
        for weak in [false, true] {
            let mut wired = Wired::new(&model, weak);
            wired.know_peers();
            let mut add = |counts: [u32; 2]| found = [found[0] + counts[0], found[1] + counts[1]];
            for zone in &model.zones {
                for address in &zone.addresses {
                    let IpAddr::V4(address) = *address else { continue };
                    add(answers(&mut wired, zone, address));
                    for user in USERS {
                        add(accepts(&mut wired, user, zone, address));
                    }
                }
            }
        }
    }
    // A few of all that is sent is let in.
    assert!(found[1] > 500 && found[0] > found[1], "{found:?}");
}
