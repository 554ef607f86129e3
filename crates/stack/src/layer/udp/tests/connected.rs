//! Peers of sockets, and ports that sockets share.

use super::*;

fn local(host: &mut Host, socket: SocketId) -> SocketAddr {
    match host.request(Request::Info { socket }) {
        Reply::Info(info) => info.local,
        other => panic!("{other:?}"),
    }
}

/// As Linux does, what connecting gave a socket goes with the peer, and what the program asked for
/// stays.
#[test]
fn disconnecting_gives_back_what_was_not_asked_for() {
    for (bound, before, after) in [
        (None, (OWN, None), (ANY, Some(0))),
        (Some((ANY, 0)), (OWN, None), (ANY, Some(0))),
        (Some((ANY, 7)), (OWN, Some(7)), (ANY, Some(7))),
        (Some((OWN, 7)), (OWN, Some(7)), (OWN, Some(7))),
        (Some((OWN, 0)), (OWN, None), (OWN, None)),
    ] {
        let mut host = Host::with_peer();
        let Reply::Socket(socket) = host.request(Request::OpenUdp) else { panic!() };
        if let Some((address, port)) = bound {
            host.request(Request::Bind { socket, local: addr(address, port) });
        }
        host.request(Request::Connect { socket, remote: addr(PEER, 5000) });
        for (disconnect, (address, port)) in [(false, before), (true, after)] {
            if disconnect {
                host.request(Request::Disconnect { socket });
            }
            let found = local(&mut host, socket);
            assert_eq!(found.ip(), address, "{bound:?}");
            assert!(port.is_none_or(|port| port == found.port()), "{bound:?}: {found}");
        }
        let sent = host.shard.send_to(host.now, socket, None, b"x");
        assert_eq!(sent, Err(Error::NoDestination), "{bound:?}");
    }
}

#[test]
fn a_socket_that_lost_its_peer_hears_everybody_again() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    host.request(Request::Connect { socket, remote: addr(PEER, 1) });
    host.refused(&to_port(7, b"not the peer's"));
    host.request(Request::Disconnect { socket });
    host.receive(&to_port(7, b"hello"));
    assert_eq!(received(&mut host, socket), Ok((b"hello".to_vec(), addr(PEER, 5000))));
}

#[test]
fn a_port_can_be_had_again_after_disconnect_and_close() {
    let mut host = Host::with_peer();
    let Reply::Socket(first) = host.request(Request::OpenUdp) else { panic!() };
    host.request(Request::Connect { socket: first, remote: addr(PEER, 5000) });
    let port = local(&mut host, first).port();
    host.request(Request::Disconnect { socket: first });
    let second = host.socket(Request::OpenUdp, (ANY, port));
    host.request(Request::Close { socket: second });
    host.socket(Request::OpenUdp, (ANY, port));
}

/// Two sockets on one flow: the later one has it, and its going gives it back.
#[test]
fn of_two_with_one_peer_the_later_hears() {
    let mut host = Host::with_peer();
    let sockets = [0, 1].map(|_| {
        let Reply::Socket(socket) = host.request(Request::OpenUdp) else { panic!() };
        host.request(Request::SetOption { socket, option: SocketOption::ReuseAddress(true) });
        host.request(Request::Bind { socket, local: addr(OWN, 7) });
        host.request(Request::Connect { socket, remote: addr(PEER, 5000) });
        socket
    });
    for socket in [sockets[1], sockets[0]] {
        host.receive(&to_port(7, b"hello"));
        assert!(received(&mut host, socket).is_ok());
        host.request(Request::Close { socket });
    }
    assert_eq!(host.refused(&to_port(7, b"hello")), DropReason::UdpNoSocket);
}

#[test]
fn a_socket_bound_to_a_device_hears_and_sends_there_alone() {
    let mut host = Host::with_peer();
    let mac = narrows_wire::address::MacAddr([2, 0, 0, 0, 1, 2]);
    let second = host.add_interface("eth1", mac, "10.1.0.2/24");
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let bind = |host: &mut Host, device| {
        let option = SocketOption::Device(device);
        host.shard.request(host.now, Default::default(), Request::SetOption { socket, option })
    };
    assert_eq!(bind(&mut host, Some(InterfaceId(9))), Err(Error::NoSuchInterface));
    bind(&mut host, Some(second)).expect("an interface");
    assert_eq!(host.refused(&to_port(7, b"hello")), DropReason::UdpNoSocket);
    let to = Some(addr(PEER, 5000));
    let refused = host.shard.send_to(host.now, socket, to, b"x");
    assert_eq!(refused, Err(Error::NetworkUnreachable), "no route by it");
    bind(&mut host, Some(ETH)).expect("an interface");
    host.receive(&to_port(7, b"hello"));
    assert!(received(&mut host, socket).is_ok());
    host.shard.send_to(host.now, socket, to, b"x").expect("sent");
    assert_eq!(host.sent().len(), 2, "an ICMP error about the first, and this");
}
