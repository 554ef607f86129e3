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
