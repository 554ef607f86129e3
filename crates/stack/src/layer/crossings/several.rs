//! What is for several at once, and what a program names an interface for.

use super::*;

#[test]
fn broadcasts_stay_in_their_zone() {
    let mut site = site(HostModel::Strong);
    let reuse = |site: &mut Site, who| {
        let socket = site.open(who, Request::OpenUdp);
        for option in [SocketOption::ReuseAddress(true), SocketOption::Broadcast(true)] {
            site.ask(who, Request::SetOption { socket, option }).expect("set");
        }
        let local = at(Ipv4Addr::UNSPECIFIED, 7);
        site.ask(who, Request::Bind { socket, local }).expect("bound");
        socket
    };
    let sockets = [STRANGER, TECHNICIAN, APP, DB].map(|who| reuse(&mut site, who));
    let hearers = |site: &mut Site| sockets.map(|socket| site.heard(socket).is_some());
    // From the wire.
    let lab = site.lab;
    for (interface, mac, source, destination, expected) in [
        (ETH, OWN_MAC, PEER, Ipv4Addr::BROADCAST, [true, true, true, true]),
        (lab, LAB_MAC, LAB_PEER, Ipv4Addr::BROADCAST, [false, true, false, false]),
        (lab, LAB_MAC, LAB_PEER, Ipv4Addr::new(10, 1, 0, 255), [false, true, false, false]),
    ] {
        let header = Header { source, destination, ..PACKET };
        let payload = packet(&header, &udp(&header, 1, 7, b"all"));
        site.host.receive_on(interface, &frame(mac, EtherType::IPV4, &payload));
        assert_eq!(hearers(&mut site), expected, "{source} to {destination}");
    }
    // From a member: to members alone, and no frame leaves.
    let all = Ipv4Addr::new(10, 99, 0, 255);
    let [stranger, technician, app, _] = sockets;
    site.send(app, at(all, 7)).expect("sent");
    assert_eq!(site.sent(), [0; 3]);
    assert_eq!(hearers(&mut site), [false, false, true, true]);
    // From others: there is no such network, or it is somewhere else.
    site.send(technician, at(all, 7)).expect("by the default route");
    site.send(stranger, at(Ipv4Addr::new(10, 1, 0, 255), 7)).expect("by the default route");
    assert_eq!(site.sent(), [2, 0, 0]);
    assert_eq!(hearers(&mut site), [false; 4]);
}

#[test]
fn groups_stay_in_their_zone() {
    let mut site = site(HostModel::Strong);
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let (lab, vault) = (site.lab, site.vault);
    let join = |site: &mut Site, who, interface| {
        let socket = site.open(who, Request::OpenUdp);
        let option = SocketOption::ReuseAddress(true);
        site.ask(who, Request::SetOption { socket, option }).expect("set");
        let local = at(Ipv4Addr::UNSPECIFIED, 7);
        site.ask(who, Request::Bind { socket, local }).expect("bound");
        let request =
            Request::Membership { socket, group, interface, change: MembershipChange::Join };
        site.ask(who, request).map(|_| socket)
    };
    for interface in [
        GroupInterface::Interface(lab),
        GroupInterface::Address(LAB),
        GroupInterface::Interface(vault),
        GroupInterface::Address(APP_AT),
    ] {
        let refused = join(&mut site, STRANGER, interface);
        assert_eq!(refused, Err(Error::NoSuchInterface), "{interface:?}");
    }
    let stranger = join(&mut site, STRANGER, GroupInterface::Any).expect("joined");
    let technician = join(&mut site, TECHNICIAN, GroupInterface::Interface(lab)).expect("joined");
    let app = join(&mut site, APP, GroupInterface::Interface(vault)).expect("joined");
    let db = join(&mut site, DB, GroupInterface::Interface(vault)).expect("joined");
    let everybody = [stranger, technician, app, db];
    let hearers = |site: &mut Site| everybody.map(|socket| site.heard(socket).is_some());
    site.sent();
    let header = Header { source: LAB_PEER, destination: group, ttl: 1, ..PACKET };
    let payload = packet(&header, &udp(&header, 1, 7, b"all"));
    site.host.receive_on(lab, &frame(MacAddr::of_group(group), EtherType::IPV4, &payload));
    assert_eq!(hearers(&mut site), [false, true, false, false]);
    let interface = GroupInterface::Interface(vault);
    let option = SocketOption::MulticastInterface(interface);
    site.ask(APP, Request::SetOption { socket: app, option }).expect("set");
    site.send(app, at(group, 7)).expect("sent");
    assert_eq!(site.sent(), [0; 3]);
    assert_eq!(hearers(&mut site), [false, false, true, true]);
    let refused = site.ask(STRANGER, Request::SetOption { socket: stranger, option });
    assert_eq!(refused, Err(Error::NoSuchInterface));
}

#[test]
fn interfaces_of_other_zones_are_not_there_to_be_bound_to() {
    let mut site = site(HostModel::Strong);
    let (lab, vault) = (site.lab, site.vault);
    for (who, interface, there) in [
        (STRANGER, lab, false),
        (STRANGER, vault, false),
        (STRANGER, ETH, true),
        (TECHNICIAN, lab, true),
        (APP, vault, true),
    ] {
        let socket = site.open(who, Request::OpenUdp);
        let option = SocketOption::Device(Some(interface));
        let expected = there.then_some(()).ok_or(Error::NoSuchInterface);
        let set = site.ask(who, Request::SetOption { socket, option }).map(drop);
        assert_eq!(set, expected, "{who:?}");
        let envelope = crate::request::Envelope {
            remote: Some(at(Ipv4Addr::BROADCAST, 9)),
            interface: Some(interface),
            ..Default::default()
        };
        let now = site.host.now;
        let option = SocketOption::Broadcast(true);
        site.ask(who, Request::SetOption { socket, option }).expect("set");
        let sent = site.host.shard.send_datagram(now, socket, &envelope, b"by that one");
        assert_eq!(sent, there.then_some(()).ok_or(Error::OtherZone), "{who:?}");
    }
}
