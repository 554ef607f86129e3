use crate::{
    pair::Pairs,
    rig::{Rig, events, read_now, write},
};
use narrows_ipc::{Error, Reply, Request};
use rustix::{event::PollFlags, io::Errno, net::Shutdown};
use std::{net::SocketAddr, os::fd::OwnedFd};

/// Bytes that differ from their neighbours and from those a page later.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Sends all of `bytes` one way and checks what arrives; the other end reads up to `sip` at a time.
fn transfer(rig: &mut Rig, from: &OwnedFd, to: &OwnedFd, bytes: &[u8]) {
    let (mut sent, mut arrived) = (0, Vec::new());
    rig.until("all bytes", |_| {
        sent += write(from, &bytes[sent..]).expect("write");
        if let Some(more) = read_now(to) {
            arrived.extend(more.expect("read"));
        }
        (arrived.len() >= bytes.len()).then_some(())
    });
    assert!(arrived == bytes, "the bytes differ");
}

fn shut(anchor: &OwnedFd, how: Shutdown) {
    rustix::net::shutdown(anchor, how).expect("shutdown");
}

fn no_anchors(rig: &mut Rig, left: usize) {
    rig.until("anchors to go", |rig| (rig.worker.anchors.len() == left).then_some(()));
}

#[test]
fn filler_leaves_no_trace_in_the_stream() {
    use super::{Anchor, State};
    use crate::principal::Principal;
    use std::os::fd::AsFd;
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, _server) = rig.connection(&mut program);
    let socket = {
        let cookie = rustix::net::sockopt::socket_cookie(&client).expect("a cookie");
        rig.worker.anchors.by_cookie(cookie).expect("an anchor")
    };
    let mut pairs = Pairs::new().expect("a pair");
    let pair = pairs.take().expect("a pair");
    let principal = Principal::fake(0, &[], "", "");
    let token = rig.worker.anchors.token(socket);
    let registry = &rig.worker.registry;
    let mut anchor =
        Anchor::new(registry, token, socket, 1, principal.into(), pair.end).expect("epoll");
    anchor.connecting(pair.program_end.as_fd(), pairs.filler());
    assert!(!events(&pair.program_end).contains(PollFlags::OUT));
    assert_eq!(write(&pair.program_end, b"early"), Ok(5));
    anchor.connected(&mut [0; 1000]);
    assert!(matches!(anchor.state, State::Open(_)));
    assert!(events(&pair.program_end).contains(PollFlags::OUT));
    assert_eq!(read_now(&anchor.end), Some(Ok(b"early".to_vec())));
}

#[test]
fn bytes_go_both_ways() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    let bytes = pattern(3_000_001);
    transfer(&mut rig, &client, &server, &bytes);
    transfer(&mut rig, &server, &client, &bytes);
}

#[test]
fn each_direction_ends_by_itself() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    write(&client, b"question").expect("write");
    shut(&client, Shutdown::Write);
    assert_eq!(rig.read_to_end(&server), Ok(b"question".to_vec()));
    let bytes = pattern(500_000);
    transfer(&mut rig, &server, &client, &bytes);
    shut(&server, Shutdown::Write);
    assert_eq!(rig.read_to_end(&client), Ok(vec![]));
    assert_eq!(rig.take_error(&mut program, &client), None);
}

#[test]
fn a_large_farewell_arrives_whole() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    let bytes = pattern(150_000);
    assert_eq!(write(&client, &bytes), Ok(bytes.len()));
    drop(client);
    assert!(rig.read_to_end(&server) == Ok(bytes), "the bytes differ");
    assert_eq!(rig.take_error(&mut program, &server), None);
    drop(server);
    no_anchors(&mut rig, 0);
}

#[test]
fn closing_with_bytes_unread_resets() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    write(&server, b"never read").expect("write");
    rig.until("the bytes", |_| events(&client).contains(PollFlags::IN).then_some(()));
    drop(client);
    // Nothing of the server's is unread, so its anchor only ends, and the daemon knows why.
    assert_eq!(rig.read_to_end(&server), Ok(vec![]));
    assert!(events(&server).contains(PollFlags::HUP));
    assert_eq!(rig.take_error(&mut program, &server), Some(Error::ConnectionReset));
    assert_eq!(rig.take_error(&mut program, &server), None);
}

#[test]
fn a_reset_comes_after_the_bytes_before_it() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    let bytes = pattern(100_000);
    assert_eq!(write(&client, &bytes), Ok(bytes.len()));
    write(&server, b"never read").expect("write");
    rig.until("the bytes", |_| {
        let waiting = rustix::io::ioctl_fionread(&server).expect("FIONREAD");
        (waiting == bytes.len() as u64 && events(&client).contains(PollFlags::IN)).then_some(())
    });
    drop(client);
    assert!(rig.read_to_end(&server) == Ok(bytes), "the bytes differ");
    assert_eq!(rig.take_error(&mut program, &server), Some(Error::ConnectionReset));
}

#[test]
fn a_refused_connection_says_so() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    drop(listener);
    no_anchors(&mut rig, 0);
    let client = rig.connect(&mut program, address);
    rig.until("the failure", |_| events(&client).contains(PollFlags::ERR).then_some(()));
    assert!(events(&client).contains(PollFlags::HUP));
    assert_eq!(rig.read(&client), Err(Errno::CONNRESET));
    assert_eq!(rig.take_error(&mut program, &client), Some(Error::ConnectionRefused));
    assert_eq!(rig.take_error(&mut program, &client), None);
    let peer = rig.ask(&mut program, Request::PeerAddress, Some(&client));
    assert_eq!(peer, Err(Error::NotConnected));
    assert!(matches!(
        rig.ask(&mut program, Request::LocalAddress, Some(&client)),
        Ok(Reply::Address(_))
    ));
}

#[test]
fn no_route_is_an_error_at_once() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let anchor = rig.socket(&mut program);
    let remote = SocketAddr::from(([192, 0, 2, 1], 80));
    let answer = rig.ask(&mut program, Request::Connect { remote }, Some(&anchor));
    assert_eq!(answer, Err(Error::NetworkUnreachable));
    assert!(events(&anchor).contains(PollFlags::OUT), "no filler is left in it");
}

#[test]
fn connect_and_close_at_once() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    drop(rig.connect(&mut program, address));
    let (server, _) = rig.accept(&listener);
    assert_eq!(rig.read_to_end(&server), Ok(vec![]));
    drop((server, listener));
    no_anchors(&mut rig, 0);
}

#[test]
fn sockets_that_do_nothing_go_with_their_descriptor() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let anchors: Vec<_> = (0..100).map(|_| rig.socket(&mut program)).collect();
    assert_eq!(rig.worker.anchors.len(), 100);
    drop(anchors);
    no_anchors(&mut rig, 0);
}

#[test]
fn a_copy_keeps_the_socket() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    let copy = client.try_clone().expect("dup");
    drop(client);
    transfer(&mut rig, &copy, &server, &pattern(10_000));
    drop(copy);
    assert_eq!(rig.read_to_end(&server), Ok(vec![]));
}

#[test]
fn who_never_reads_stalls_nobody_else() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    let (quick_client, quick_server) = rig.connection(&mut program);
    // More than fits between them.
    let bytes = pattern(32 << 20);
    let (mut sent, mut idle) = (0, 0);
    while idle < 100 {
        let count = write(&client, &bytes[sent..]).expect("write");
        sent += count;
        idle = if count == 0 { idle + 1 } else { 0 };
        rig.step();
    }
    assert!(sent < bytes.len());
    transfer(&mut rig, &quick_client, &quick_server, &bytes[..1 << 20]);
    // And the first goes on where it stopped.
    let first = rig.read(&server).expect("bytes");
    assert!(first[..] == bytes[..first.len()]);
    drop((client, server));
    no_anchors(&mut rig, 4);
}

#[test]
fn who_wants_no_bytes_gets_none_and_the_peer_goes_on() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    shut(&server, Shutdown::Read);
    let bytes = pattern(1 << 20);
    let mut sent = 0;
    rig.until("all to be taken", |_| {
        sent += write(&client, &bytes[sent..]).expect("write");
        (sent == bytes.len()).then_some(())
    });
    write(&server, b"answer").expect("write");
    assert_eq!(rig.read(&client), Ok(b"answer".to_vec()));
}

#[test]
fn shutting_both_down_ends_the_connection_in_order() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    write(&client, b"last words").expect("write");
    shut(&client, Shutdown::Both);
    assert_eq!(rig.read_to_end(&server), Ok(b"last words".to_vec()));
    assert_eq!(rig.take_error(&mut program, &server), None);
    // The program still holds it, and may ask.
    assert_eq!(rig.take_error(&mut program, &client), None);
    let again = Request::Connect { remote: SocketAddr::from(([127, 0, 0, 1], 9)) };
    assert_eq!(rig.ask(&mut program, again, Some(&client)), Err(Error::ConnectionAborted));
}
