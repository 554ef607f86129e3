//! What raw sockets hear of other zones, and what they can say there: nothing.

use super::*;
use crate::request::RawOption;

fn raw(site: &mut Site, who: Principal, protocol: Protocol) -> SocketId {
    site.open(who, Request::OpenRaw { protocol, interfaces: None })
}

#[test]
fn copies_are_for_who_may_use_the_address() {
    let mut site = site(HostModel::Strong);
    let everybody = [STRANGER, TECHNICIAN, APP, DB];
    let sockets = everybody.map(|who| raw(&mut site, who, Protocol::UDP));
    let hearers = |site: &mut Site| sockets.map(|socket| site.heard(socket).is_some());
    // From the wires.
    site.host.receive(&datagram(PEER, OWN));
    assert_eq!(hearers(&mut site), [true; 4], "public is everybody's");
    let (lab, header) = (site.lab, Header { source: LAB_PEER, destination: LAB, ..PACKET });
    let payload = packet(&header, &udp(&header, 1, 2, b"for the lab"));
    site.host.receive_on(lab, &frame(LAB_MAC, EtherType::IPV4, &payload));
    assert_eq!(hearers(&mut site), [false, true, false, false]);
    let header = Header { destination: Ipv4Addr::BROADCAST, ..header };
    let payload = packet(&header, &udp(&header, 1, 2, b"for all of the lab"));
    site.host.receive_on(lab, &frame(MacAddr::BROADCAST, EtherType::IPV4, &payload));
    assert_eq!(hearers(&mut site), [false, true, false, false]);
    // From a member to another.
    let socket = site.bound(APP, at(APP_AT, 7)).expect("bound");
    site.send(socket, at(DB_AT, 7)).expect("sent");
    site.sent();
    assert_eq!(hearers(&mut site), [false, false, false, true]);
}

#[test]
fn nobody_sends_to_another_zone_nor_as_one_of_it() {
    let stray = Ipv4Addr::new(203, 0, 113, 5);
    for (who, source, to, expected) in [
        (STRANGER, OWN, REMOTE, Ok([1, 0, 0])),
        (STRANGER, stray, REMOTE, Ok([1, 0, 0])),
        (STRANGER, LAB, REMOTE, Err(Error::OtherZone)),
        (STRANGER, LAB_PEER, REMOTE, Err(Error::OtherZone)),
        (STRANGER, APP_AT, REMOTE, Err(Error::OtherZone)),
        (STRANGER, OWN, DB_AT, Err(Error::OtherZone)),
        (STRANGER, DB_AT, OWN, Err(Error::OtherZone)),
        (STRANGER, stray, OWN, Err(Error::OtherZone)),
        (TECHNICIAN, LAB_PEER, LAB_PEER, Ok([0, 1, 0])),
        (TECHNICIAN, APP_AT, LAB_PEER, Err(Error::OtherZone)),
        (APP, DB_AT, DB_AT, Err(Error::OtherZone)),
        (APP, APP_AT, DB_AT, Ok([0, 0, 0])),
    ] {
        let mut site = site(HostModel::Strong);
        let socket = raw(&mut site, who, Protocol::UDP);
        let option = RawOption::HeaderIncluded(true);
        site.ask(who, Request::SetRaw { socket, option }).expect("set");
        let header = Header { source, destination: to, ..PACKET };
        let bytes = packet(&header, &udp(&header, 1, 7, b"hello"));
        let now = site.host.now;
        let sent = site.host.shard.send_to(now, socket, Some(at(to, 0)), &bytes);
        let sent = sent.map(|()| site.sent());
        assert_eq!(sent, expected, "{} as {source} to {to}", who.uid);
    }
}

#[test]
fn the_header_does_not_lead_elsewhere_than_the_call() {
    let mut site = site(HostModel::Strong);
    let hearer = site.bound(DB, at(DB_AT, 7)).expect("bound");
    let socket = raw(&mut site, STRANGER, Protocol::UDP);
    let option = RawOption::HeaderIncluded(true);
    site.ask(STRANGER, Request::SetRaw { socket, option }).expect("set");
    // By the loopback, where all zones meet.
    let header = Header { source: OWN, destination: DB_AT, ..PACKET };
    let bytes = packet(&header, &udp(&header, 1, 7, b"hello"));
    let now = site.host.now;
    let sent = site.host.shard.send_to(now, socket, Some(at(OWN, 0)), &bytes);
    assert_eq!(sent, Err(Error::OtherZone));
    site.sent();
    assert_eq!(site.heard(hearer), None);
}

#[test]
fn errors_are_about_what_one_could_have_sent() {
    let mut site = site(HostModel::Strong);
    let lab = site.lab;
    let sockets = [STRANGER, TECHNICIAN].map(|who| {
        let socket = raw(&mut site, who, Protocol::UDP);
        let option = SocketOption::ReceiveErrors(true);
        site.ask(who, Request::SetOption { socket, option }).expect("set");
        socket
    });
    let quoted = Header { source: LAB, destination: LAB_PEER, ..PACKET };
    let quoted = packet(&quoted, &udp(&quoted, 5000, 7, b"hello"));
    let error = icmpv4::Header::DestinationUnreachable { code: Unreachable::HOST, mtu: 0 };
    let header = Header { protocol: Protocol::ICMP, source: LAB_PEER, destination: LAB, ..PACKET };
    let payload = packet(&header, &icmp(&error, &quoted));
    site.host.receive_on(lab, &frame(LAB_MAC, EtherType::IPV4, &payload));
    let told = sockets.map(|socket| site.host.shard.has_queued_errors(socket));
    assert_eq!(told, [false, true]);
}
