//! The one way across: a rule of the operator's.

use super::*;

#[test]
fn a_rule_lets_through_what_it_says_and_its_answers() {
    let mut site = site(HostModel::Strong);
    site.allow(Crossing {
        from: ZoneId::PUBLIC,
        to: lab_zone(),
        protocol: Some(Protocol::UDP),
        ports: Some((7, 7)),
        source: None,
        destination: None,
    });
    site.host.receive(&datagram(PEER, LAB_PEER));
    assert_eq!(site.sent(), [0, 1, 0]);
    let header = Header { source: PEER, destination: LAB_PEER, ..PACKET };
    let other = packet_frame(&header, &udp(&header, 5000, 8, b"another port"));
    assert_eq!(site.host.refused(&other), DropReason::OtherZone);
    let lab = site.lab;
    for (from, to, expected) in [(7, 5000, 1), (5000, 7, 0)] {
        let header = Header { source: LAB_PEER, destination: PEER, ..PACKET };
        let payload = packet(&header, &udp(&header, from, to, b"back"));
        site.host.receive_on(lab, &frame(LAB_MAC, EtherType::IPV4, &payload));
        assert_eq!(site.sent(), [expected, 0, 0], "{from} to {to}");
    }
    // What an answer may be about, an error may be too.
    let quoted = Header { source: PEER, destination: LAB_PEER, ..PACKET };
    let quote = packet(&quoted, &udp(&quoted, 5000, 7, b"hello"));
    let error = icmpv4::Header::DestinationUnreachable { code: Unreachable::PORT, mtu: 0 };
    let header = Header { source: LAB_PEER, destination: PEER, protocol: Protocol::ICMP, ..PACKET };
    let payload = packet(&header, &icmp(&error, &quote));
    site.host.receive_on(lab, &frame(LAB_MAC, EtherType::IPV4, &payload));
    assert_eq!(site.sent(), [1, 0, 0]);
}

#[test]
fn a_weak_host_answers_where_a_rule_lets_it() {
    let mut site = site(HostModel::Weak);
    site.allow(Crossing {
        from: ZoneId::PUBLIC,
        to: lab_zone(),
        protocol: None,
        ports: None,
        source: None,
        destination: None,
    });
    site.host.receive(&ping(&Header { destination: LAB, ..PACKET }));
    let answers = site.host.sent();
    assert_eq!(answers.len(), 1);
    let (header, ..) = read_icmp(&answers[0]);
    assert_eq!((header.source, header.destination), (LAB, PEER));
    // Not the vault's, and no question the other way.
    assert_eq!(site.host.refused(&datagram(PEER, APP_AT)), DropReason::OtherZone);
    let question = Header { source: LAB_PEER, destination: OWN, ..PACKET };
    let request = icmpv4::Header::EchoRequest { identifier: 5, sequence: 6 };
    let header = Header { protocol: Protocol::ICMP, ..question };
    let payload = packet(&header, &icmp(&request, b"?"));
    let before = site.host.dropped(DropReason::OtherZone);
    let lab = site.lab;
    site.host.receive_on(lab, &frame(LAB_MAC, EtherType::IPV4, &payload));
    assert_eq!(site.host.dropped(DropReason::OtherZone), before + 1);
}

#[test]
fn what_is_refused_is_counted_by_the_two_zones() {
    let mut site = site(HostModel::Strong);
    let pairs = |site: &Site| -> Vec<_> {
        let rows = site.host.shard.counters().drops_by_place();
        let rows = rows.filter(|(reason, ..)| *reason == DropReason::OtherZone);
        let mut pairs: Vec<_> = rows
            .map(|(_, place, count)| {
                let (from, to) = place.crossing.expect("both are known");
                (from.number(), to.number(), place.user, count)
            })
            .collect();
        pairs.sort_unstable();
        pairs
    };
    // From the wire: to an address here, and to another host.
    for destination in [LAB, APP_AT] {
        site.host.receive(&datagram(PEER, destination));
    }
    let lab = site.lab;
    for destination in [OWN, REMOTE] {
        site.host.receive_on(lab, &datagram_to(LAB_MAC, LAB_PEER, destination));
    }
    assert_eq!(pairs(&site), [(0, 1, None, 1), (0, 2, None, 1), (1, 0, None, 2)]);
    // From programs, who are told.
    let socket = site.open(STRANGER, Request::OpenUdp);
    assert_eq!(site.send(socket, at(APP_AT, 7)), Err(Error::OtherZone));
    let socket = site.open(TECHNICIAN, Request::OpenTcp);
    let remote = at(DB_AT, 80);
    let refused = site.ask(TECHNICIAN, Request::Connect { socket, remote });
    assert_eq!(refused, Err(Error::OtherZone));
    let found = pairs(&site);
    for row in [(0, 2, Some(STRANGER.uid), 1), (1, 2, Some(TECHNICIAN.uid), 1)] {
        assert!(found.contains(&row), "{row:?} of {found:?}");
    }
}

fn datagram_to(mac: MacAddr, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
    let header = Header { source, destination, ..PACKET };
    frame(mac, EtherType::IPV4, &packet(&header, &udp(&header, 5000, 7, b"hello")))
}
