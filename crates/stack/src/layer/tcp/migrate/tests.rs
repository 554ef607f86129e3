use crate::{
    Error, LocalPeer, Reply, SocketId,
    layer::fixture::{Host, OWN},
    request::{Principal, Request, SocketOption},
    time::Duration,
};
use core::net::SocketAddr;

const WEB: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(OWN), 80);

/// A listener of `uid` that lets others share its port.
fn member(host: &mut Host, uid: u32, backlog: u32) -> SocketId {
    let who = Principal::user(uid);
    let Ok(Reply::Socket(socket)) = host.shard.request(host.now, who, Request::OpenTcp) else {
        panic!("no socket")
    };
    host.request(Request::SetOption { socket, option: SocketOption::ReusePort(true) });
    host.request(Request::Bind { socket, local: WEB });
    host.request(Request::Listen { socket, backlog });
    socket
}

/// A connection under way to the group.
fn client(host: &mut Host, port: u16) -> SocketId {
    let client = host.socket(Request::OpenTcp, (OWN, port));
    host.request(Request::Connect { socket: client, remote: WEB });
    client
}

fn run(host: &mut Host) {
    while host.shard.loop_back(host.now) {}
}

fn accept(host: &mut Host, socket: SocketId) -> Option<SocketAddr> {
    match host.shard.request(host.now, Principal::default(), Request::Accept { socket }) {
        Ok(Reply::Accepted { remote, .. }) => Some(remote),
        _ => None,
    }
}

fn error(host: &mut Host, socket: SocketId) -> Option<Error> {
    run(host);
    match host.request(Request::TakeError { socket }) {
        Reply::Error(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn connections_and_handshakes_go_to_the_other_member() {
    let mut host = Host::with_peer();
    let old = member(&mut host, 1, 1);
    // The queue of two has room for one of the two that begin at once.
    let first = client(&mut host, 5000);
    run(&mut host);
    let [second, third] = [5001, 5002].map(|port| client(&mut host, port));
    let clients = [first, second, third];
    run(&mut host);
    assert_eq!(host.shard.local_peer(third), Some(LocalPeer::HalfOpen { listener: old }));
    let heir = member(&mut host, 1, 8);
    host.request(Request::Close { socket: old });
    // The other one's SYN-ACK comes again, and its answer finds room.
    for _ in 0..40 {
        host.pass(Duration::from_millis(100));
        run(&mut host);
    }
    let peers = [(); 3].map(|()| accept(&mut host, heir).map(|peer| peer.port()));
    assert_eq!(peers, [Some(5000), Some(5001), Some(5002)]);
    for client in clients {
        assert_eq!(error(&mut host, client), None);
    }
}

#[test]
fn what_the_others_have_no_room_for_is_reset() {
    let mut host = Host::with_peer();
    let old = member(&mut host, 1, 8);
    let clients = [5000, 5001].map(|port| client(&mut host, port));
    run(&mut host);
    let heir = member(&mut host, 1, 0);
    host.request(Request::Close { socket: old });
    assert_eq!(accept(&mut host, heir).map(|peer| peer.port()), Some(5000));
    let errors = clients.map(|client| error(&mut host, client));
    assert_eq!(errors, [None, Some(Error::ConnectionReset)]);
}

#[test]
fn a_port_that_was_left_is_its_new_owners() {
    let mut host = Host::with_peer();
    let old = member(&mut host, 1, 8);
    client(&mut host, 5000);
    run(&mut host);
    let heir = member(&mut host, 1, 8);
    host.request(Request::Close { socket: old });
    let accepted = host.request(Request::Accept { socket: heir });
    let Reply::Accepted { socket: accepted, .. } = accepted else { panic!("{accepted:?}") };
    host.request(Request::Close { socket: heir });
    host.request(Request::Abort { socket: accepted });
    // Nothing of either is left.
    host.socket(Request::OpenTcp, (OWN, 80));
}

#[test]
fn who_shares_no_port_leaves_nothing() {
    let mut host = Host::with_peer();
    let old = host.socket(Request::OpenTcp, (OWN, 80));
    host.request(Request::Listen { socket: old, backlog: 8 });
    let waiting = client(&mut host, 5000);
    run(&mut host);
    host.request(Request::Close { socket: old });
    assert_eq!(error(&mut host, waiting), Some(Error::ConnectionReset));
}
