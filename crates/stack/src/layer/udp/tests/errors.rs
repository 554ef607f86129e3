//! What a socket hears of its datagrams that did not arrive.

use super::*;

/// An error of the network about a datagram of ours.
fn error(code: u8, about: &[u8]) -> Vec<u8> {
    let message = IcmpHeader::DestinationUnreachable { code: Unreachable(code), mtu: 0 };
    let header = PacketHeader { protocol: Protocol::ICMP, ..PACKET };
    packet_frame(&header, &icmp(&message, &about[14..14 + 28]))
}

#[test]
fn a_connected_socket_hears_of_hard_errors_once() {
    for (code, told) in [
        (0, None),
        (1, None),
        (2, Some(Error::ProtocolUnavailable)),
        (3, Some(Error::ConnectionRefused)),
        (4, Some(Error::MessageTooLong)),
        (7, Some(Error::HostDown)),
        (9, Some(Error::NetworkUnreachable)),
        (13, Some(Error::HostUnreachable)),
    ] {
        let mut host = Host::with_peer();
        let socket = host.socket(Request::OpenUdp, (ANY, 7));
        host.request(Request::Connect { socket, remote: addr(PEER, 5000) });
        host.shard.send_to(host.now, socket, None, b"hello").expect("sent");
        let frame = host.sent_one();
        host.receive(&error(code, &frame));
        let ignored = u64::from(told.is_none());
        assert_eq!(host.dropped(DropReason::IcmpIgnored), ignored, "{code}");
        if let Some(error) = told {
            assert!(host.shard.poll_event().is_some(), "{code}");
            assert_eq!(host.shard.send_to(host.now, socket, None, b"x"), Err(error), "{code}");
        }
        assert_eq!(host.shard.send_to(host.now, socket, None, b"x"), Ok(()), "{code}");
        assert_eq!(received(&mut host, socket), Err(Error::WouldBlock), "{code}");
    }
}

#[test]
fn a_socket_without_a_peer_hears_of_no_errors() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    host.shard.send_to(host.now, socket, Some(addr(PEER, 5000)), b"hello").expect("sent");
    let frame = host.sent_one();
    assert_eq!(host.refused(&error(3, &frame)), DropReason::IcmpIgnored);
    assert_eq!(received(&mut host, socket), Err(Error::WouldBlock));
}

#[test]
fn local_programs_hear_of_closed_ports_too() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, ([127, 0, 0, 1].into(), 7));
    let nobody = addr([127, 0, 0, 1].into(), 9);
    host.request(Request::Connect { socket, remote: nobody });
    host.shard.send_to(host.now, socket, None, b"hello").expect("sent");
    assert!(host.sent().is_empty());
    assert_eq!(received(&mut host, socket), Err(Error::ConnectionRefused));
    assert_eq!(host.drops(), [(DropReason::UdpNoSocket, 1)]);
}

/// With IP_RECVERR a socket hears of all errors, also without a peer, and finds them in its queue.
#[test]
fn who_asks_for_errors_finds_them_in_the_queue() {
    for (code, error) in [
        (0, Error::NetworkUnreachable),
        (1, Error::HostUnreachable),
        (3, Error::ConnectionRefused),
        (4, Error::MessageTooLong),
    ] {
        let mut host = Host::with_peer();
        let socket = host.socket(Request::OpenUdp, (ANY, 7));
        let option = SocketOption::ReceiveErrors(true);
        host.request(Request::SetOption { socket, option });
        host.shard.send_to(host.now, socket, Some(addr(PEER, 5000)), b"hello").expect("sent");
        let frame = host.sent_one();
        let about = self::error(code, &frame);
        host.receive(&about);
        assert_eq!(received(&mut host, socket), Err(error), "{code}");
        let queued = QueuedError {
            error,
            origin: Origin::Icmp(IcmpOrigin {
                kind: 3,
                code,
                from: PEER.into(),
                interface: ETH,
                ttl: 64,
                tos: 0,
            }),
            destination: addr(PEER, 5000),
            // The router didn't say, and the floor is what is believed.
            mtu: if code == 4 { 552 } else { 0 },
            // 28 bytes were quoted: none of the data.
            payload: Box::new([]),
        };
        let take = Request::TakeQueuedError { socket };
        let expected = Reply::QueuedError(Some(Box::new(queued)));
        assert_eq!(host.request(take.clone()), expected, "{code}");
        assert_eq!(host.request(take), Reply::QueuedError(None));
    }
}

#[test]
fn the_queue_is_bounded_and_taking_one_brings_the_next() {
    let config =
        Config { limits: Limits { queued_errors: 2, ..Limits::default() }, ..Config::default() };
    let mut host = Host::with(config, [1; 16]).pinned();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    host.request(Request::SetOption { socket, option: SocketOption::ReceiveErrors(true) });
    host.shard.send_to(host.now, socket, Some(addr(PEER, 5000)), b"hello").expect("sent");
    let frame = host.sent_one();
    for code in [1, 3, 0] {
        host.receive(&error(code, &frame));
    }
    assert_eq!(received(&mut host, socket), Err(Error::NetworkUnreachable), "the last one");
    let mut errors = Vec::new();
    while let Reply::QueuedError(Some(queued)) = host.request(Request::TakeQueuedError { socket }) {
        errors.push((queued.error, received(&mut host, socket).err()));
    }
    let next = Some(Error::ConnectionRefused);
    let nothing = Some(Error::WouldBlock);
    assert_eq!(errors, [(Error::HostUnreachable, next), (Error::ConnectionRefused, nothing)]);
}

#[test]
fn what_is_too_long_for_the_path_is_told_with_the_path_s_size() {
    let mut host = Host::with_peer();
    let socket = host.socket(Request::OpenUdp, (ANY, 7));
    let set = |host: &mut Host, option| host.request(Request::SetOption { socket, option });
    set(&mut host, SocketOption::PathMtu(PathMtuDiscovery::Do));
    set(&mut host, SocketOption::ReceiveErrors(true));
    let to = Some(addr(PEER, 5000));
    let envelope = Envelope { remote: to, ..Envelope::default() };
    let mut reach = |len| {
        host.shard.request(host.now, Default::default(), Request::Reach { socket, envelope, len })
    };
    assert_eq!(reach(1472), Ok(Reply::Reachable { longest: 1472 }));
    assert_eq!(reach(1473), Err(Error::MessageTooLong));
    assert_eq!(host.shard.send_to(host.now, socket, to, &[0; 1473]), Err(Error::MessageTooLong));
    assert!(host.sent().is_empty());
    let woken = crate::Event { socket, readiness: Readiness::READABLE };
    assert!(std::iter::from_fn(|| host.shard.poll_event()).any(|event| event == woken));
    for _ in 0..2 {
        let Reply::QueuedError(Some(queued)) = host.request(Request::TakeQueuedError { socket })
        else {
            panic!("no error")
        };
        assert_eq!((queued.origin, queued.mtu), (Origin::Local, 1500));
        assert_eq!((queued.error, queued.destination), (Error::MessageTooLong, addr(PEER, 0)));
    }
}

#[test]
fn a_neighbor_that_does_not_answer_is_told_who_asked() {
    for wanted in [false, true] {
        let mut host = Host::new();
        let socket = host.socket(Request::OpenUdp, (ANY, 7));
        host.request(Request::SetOption { socket, option: SocketOption::ReceiveErrors(wanted) });
        let to = Some(addr(PEER, 5000));
        assert_eq!(host.shard.send_to(host.now, socket, to, b"waits"), Ok(()));
        host.pass(crate::time::Duration::from_secs(10));
        host.sent();
        let expected = if wanted { Error::HostUnreachable } else { Error::WouldBlock };
        assert_eq!(received(&mut host, socket), Err(expected));
        let Reply::QueuedError(queued) = host.request(Request::TakeQueuedError { socket }) else {
            panic!()
        };
        let data = queued.map(|queued| queued.payload.into_vec());
        assert_eq!(data, wanted.then(|| b"waits".to_vec()));
    }
}
