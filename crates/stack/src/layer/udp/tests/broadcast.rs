//! Datagrams to everybody on a link.

use super::*;
use narrows_wire::{address::MacAddr, ethernet::EtherType};

const SUBNET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 255);

fn sender(host: &mut Host, port: u16) -> SocketId {
    let socket = host.socket(Request::OpenUdp, (ANY, port));
    host.request(Request::SetOption { socket, option: SocketOption::Broadcast(true) });
    socket
}

#[test]
fn who_may_broadcast_reaches_the_link_and_this_host() {
    for to in [SUBNET, Ipv4Addr::BROADCAST] {
        let mut host = Host::with_peer();
        let socket = sender(&mut host, 7);
        let listener = host.socket(Request::OpenUdp, (ANY, 67));
        host.shard.send_to(host.now, socket, Some(addr(to, 67)), b"hello").expect("sent");
        let frame = host.sent_one();
        let (link, packet) = read_packet(&frame);
        assert_eq!(link.destination, MacAddr::BROADCAST);
        assert_eq!((packet.header.source, packet.header.destination), (OWN, to));
        assert_eq!(received(&mut host, listener), Ok((b"hello".to_vec(), addr(OWN, 7))));
    }
}

#[test]
fn who_did_not_ask_for_it_may_not() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    for to in [SUBNET, Ipv4Addr::BROADCAST] {
        let remote = addr(to, 67);
        let sent = host.shard.send_to(host.now, socket, Some(remote), b"hello");
        assert_eq!(sent, Err(Error::BroadcastDenied));
        let connect = Request::Connect { socket, remote };
        let connected = host.shard.request(host.now, Default::default(), connect);
        assert_eq!(connected, Err(Error::BroadcastDenied));
    }
    assert!(host.sent().is_empty());
}

#[test]
fn no_connection_goes_to_a_broadcast_address() {
    let mut host = Host::with_peer();
    let Reply::Socket(socket) = host.request(Request::OpenTcp) else { panic!() };
    let connect = Request::Connect { socket, remote: addr(SUBNET, 80) };
    let refused = host.shard.request(host.now, Default::default(), connect);
    assert_eq!(refused, Err(Error::NetworkUnreachable));
}

/// RFC 1122 §4.1.3.4.
#[test]
fn a_broadcast_is_for_all_who_listen() {
    let mut host = Host::with_peer();
    let reusing = |host: &mut Host, local| {
        let Reply::Socket(socket) = host.request(Request::OpenUdp) else { panic!() };
        host.request(Request::SetOption { socket, option: SocketOption::ReuseAddress(true) });
        host.request(Request::Bind { socket, local: addr(local, 67) });
        socket
    };
    let listening = [ANY, ANY, SUBNET].map(|local| reusing(&mut host, local));
    let own_only = reusing(&mut host, OWN);
    let header = PacketHeader { destination: SUBNET, ..PACKET };
    let packet = packet(&header, &udp(&header, 68, 67, b"hello"));
    host.receive(&frame(MacAddr::BROADCAST, EtherType::IPV4, &packet));
    for socket in listening {
        assert_eq!(received(&mut host, socket), Ok((b"hello".to_vec(), addr(PEER, 68))));
    }
    assert_eq!(received(&mut host, own_only), Err(Error::WouldBlock));
    assert_eq!(host.drops(), []);
}

#[test]
fn a_broadcast_for_nobody_is_dropped_without_an_answer() {
    let mut host = Host::with_peer();
    let header = PacketHeader { destination: SUBNET, ..PACKET };
    let packet = packet(&header, &udp(&header, 68, 67, b"hello"));
    let reason = host.refused(&frame(MacAddr::BROADCAST, EtherType::IPV4, &packet));
    assert_eq!(reason, DropReason::UdpNoSocket);
    assert!(host.sent().is_empty());
}
