//! Datagrams to groups.

use super::*;
use crate::{
    request::GroupInterface,
    table::membership::{Filter, FilterMode, MembershipChange},
};
use narrows_wire::{address::MacAddr, ethernet::EtherType};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

fn listener(host: &mut Host, change: Option<MembershipChange>) -> SocketId {
    let Reply::Socket(socket) = host.request(Request::OpenUdp) else { panic!() };
    host.request(Request::SetOption { socket, option: SocketOption::ReuseAddress(true) });
    host.request(Request::Bind { socket, local: addr(ANY, 5353) });
    if let Some(change) = change {
        let interface = GroupInterface::Interface(ETH);
        host.request(Request::Membership { socket, group: GROUP, interface, change });
    }
    socket
}

fn to_group(source: Ipv4Addr) -> Vec<u8> {
    let header = PacketHeader { source, destination: GROUP, ttl: 1, ..PACKET };
    let packet = packet(&header, &udp(&header, 5000, 5353, b"hello"));
    frame(MacAddr::of_group(GROUP), EtherType::IPV4, &packet)
}

/// Who hears: members by their filters, and who is no member as IP_MULTICAST_ALL says.
#[test]
fn members_hear_whom_they_want_to() {
    let other = Ipv4Addr::new(10, 0, 0, 9);
    let mut host = Host::with_peer();
    let everybody = listener(&mut host, Some(MembershipChange::Join));
    let one = listener(&mut host, Some(MembershipChange::JoinSource(PEER)));
    let not_one = listener(
        &mut host,
        Some(MembershipChange::Set(Filter { mode: FilterMode::Exclude, sources: [PEER].into() })),
    );
    let no_member = listener(&mut host, None);
    let stranger = listener(&mut host, None);
    let option = SocketOption::MulticastAll(false);
    host.request(Request::SetOption { socket: stranger, option });
    for (source, heard) in
        [(PEER, [true, true, false, true, false]), (other, [true, false, true, true, false])]
    {
        host.receive(&to_group(source));
        let sockets = [everybody, one, not_one, no_member, stranger];
        assert_eq!(sockets.map(|socket| received(&mut host, socket).is_ok()), heard, "{source}");
    }
}

#[test]
fn what_is_sent_to_a_group_travels_as_the_socket_says() {
    let mut host = Host::with_peer();
    let mac = MacAddr([2, 0, 0, 0, 1, 2]);
    let second = host.add_interface("eth1", mac, "10.1.0.2/24");
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let send = |host: &mut Host| {
        host.shard.send_to(host.now, socket, Some(addr(GROUP, 5353)), b"hello").expect("sent");
    };
    send(&mut host);
    let frame = host.sent_one();
    let (link, packet) = read_packet(&frame);
    assert_eq!(link.destination, MacAddr::of_group(GROUP));
    assert_eq!((packet.header.source, packet.header.ttl), (OWN, 1));
    let set = |host: &mut Host, option| host.request(Request::SetOption { socket, option });
    set(&mut host, SocketOption::MulticastTtl(9));
    set(&mut host, SocketOption::MulticastInterface(GroupInterface::Interface(second)));
    send(&mut host);
    let frames = host.sent_on(second);
    let header = read_packet(&frames[0]).1.header;
    assert_eq!((header.source, header.ttl), (Ipv4Addr::new(10, 1, 0, 2), 9));
    set(&mut host, SocketOption::MulticastInterface(GroupInterface::Address(OWN)));
    set(&mut host, SocketOption::MulticastTtl(0));
    send(&mut host);
    assert!(host.sent().is_empty(), "it stays here");
    set(&mut host, SocketOption::MulticastLoop(false));
    send(&mut host);
    assert!(host.sent().is_empty(), "or nowhere");
}

#[test]
fn a_host_hears_itself_if_it_joined_and_if_the_sender_says_so() {
    for (joined, looped) in [(true, true), (true, false), (false, true)] {
        let mut host = Host::with_peer();
        let receiver = listener(&mut host, joined.then_some(MembershipChange::Join));
        host.sent();
        let sender = host.socket(Request::OpenUdp, (ANY, 7));
        let option = SocketOption::MulticastLoop(looped);
        host.request(Request::SetOption { socket: sender, option });
        host.shard.send_to(host.now, sender, Some(addr(GROUP, 5353)), b"me").expect("sent");
        assert_eq!(host.sent().len(), 1);
        let heard = received(&mut host, receiver);
        let expected = Ok((b"me".to_vec(), addr(OWN, 7)));
        assert_eq!(heard == expected, joined && looped, "{joined} {looped}: {heard:?}");
    }
}

#[test]
fn a_socket_may_be_bound_to_a_group_and_hears_no_other() {
    let mut host = Host::with_peer();
    let bound = host.socket(Request::OpenUdp, (GROUP, 5353));
    let elsewhere = host.socket(Request::OpenUdp, (Ipv4Addr::new(239, 9, 9, 9), 5353));
    let (interface, change) = (GroupInterface::Any, MembershipChange::Join);
    host.request(Request::Membership { socket: bound, group: GROUP, interface, change });
    host.receive(&to_group(PEER));
    assert!(received(&mut host, bound).is_ok());
    assert_eq!(received(&mut host, elsewhere), Err(Error::WouldBlock));
    // It sends from an address of its own.
    host.sent();
    host.shard.send_to(host.now, bound, Some(addr(PEER, 9)), b"x").expect("sent");
    assert_eq!(read_packet(&host.sent_one()).1.header.source, OWN);
}

#[test]
fn the_loopback_has_groups_of_its_own() {
    let mut host = Host::with_peer();
    let receiver = listener(&mut host, None);
    let interface = GroupInterface::Address(Ipv4Addr::LOCALHOST);
    let change = MembershipChange::Join;
    host.request(Request::Membership { socket: receiver, group: GROUP, interface, change });
    assert!(host.sent().is_empty(), "nobody to tell");
    let sender = host.socket(Request::OpenUdp, (ANY, 7));
    let option = SocketOption::MulticastInterface(interface);
    host.request(Request::SetOption { socket: sender, option });
    host.shard.send_to(host.now, sender, Some(addr(GROUP, 5353)), b"me").expect("sent");
    assert!(host.sent().is_empty());
    assert!(received(&mut host, receiver).is_ok());
    assert_eq!(received(&mut host, receiver), Err(Error::WouldBlock), "once");
}
