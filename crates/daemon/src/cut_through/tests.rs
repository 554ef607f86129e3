use crate::rig::{Program, Rig, events, read_now, write};
use narrows_ipc::{Error, Reply, Request, message::SocketOption};
use rustix::{event::PollFlags, io::Errno, net::Shutdown};
use std::{net::SocketAddr, os::fd::OwnedFd, time::Duration};

fn shut(anchor: &OwnedFd, how: Shutdown) {
    rustix::net::shutdown(anchor, how).expect("shutdown");
}

/// A connection that is cut through: the client's end, the server's, and the listener's.
fn connection(rig: &mut Rig, program: &mut Program) -> (OwnedFd, OwnedFd, OwnedFd) {
    let (listener, address) = rig.listener(program);
    let client = rig.connect(program, address);
    let (server, record) = rig.accept(&listener);
    assert_eq!(record.local, address);
    rig.until("writability", |_| events(&client).contains(PollFlags::OUT).then_some(()));
    assert_eq!(rig.worker.cuts.len(), 1);
    (client, server, listener)
}

/// Nothing is left but the anchors of listeners.
fn only_listeners(rig: &mut Rig, listeners: usize) {
    rig.until("ends to go", |rig| {
        super::sweep_port(&mut rig.worker, 0);
        (rig.worker.cuts.len() == 0).then_some(())
    });
    rig.until("sockets to go", |rig| {
        let now = rig.worker.clock.now();
        let sockets = rig.worker.shard.sockets(now).filter(|info| info.id.is_some()).count();
        (sockets == listeners).then_some(())
    });
    assert_eq!(rig.worker.anchors.len(), listeners);
}

#[test]
fn bytes_pass_without_the_daemon() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (client, server, _listener) = connection(&mut rig, &mut program);
    // No turn of the daemon in between.
    assert_eq!(write(&client, b"question"), Ok(8));
    assert_eq!(read_now(&server), Some(Ok(b"question".to_vec())));
    assert_eq!(write(&server, b"answer"), Ok(6));
    assert_eq!(read_now(&client), Some(Ok(b"answer".to_vec())));
    assert_eq!(rig.worker.metrics.cut_through, 1);
    assert_eq!(rig.worker.anchors.len(), 1, "the listener's");
}

#[test]
fn each_end_has_its_name_and_its_options() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (client, server, _listener) = connection(&mut rig, &mut program);
    let mut address =
        |request: Request, anchor: &OwnedFd| match rig.ask(&mut program, request, Some(anchor)) {
            Ok(Reply::Address(address)) => address,
            other => panic!("no address: {other:?}"),
        };
    let (here, there) =
        (address(Request::LocalAddress, &client), address(Request::PeerAddress, &client));
    assert_eq!(address(Request::LocalAddress, &server), there);
    assert_eq!(address(Request::PeerAddress, &server), here);
    let option = Request::SetOption(SocketOption::NoDelay(true));
    assert_eq!(rig.ask(&mut program, option, Some(&server)), Ok(Reply::Done));
    let again = Request::Connect { remote: there };
    assert_eq!(rig.ask(&mut program, again, Some(&client)), Err(Error::AlreadyConnected));
    let Ok(Reply::Peer(Some(peer))) = rig.ask(&mut program, Request::Peer, Some(&server)) else {
        panic!("no peer")
    };
    assert_eq!(peer.owner.pid, std::process::id());
}

#[test]
fn what_is_written_before_the_accept_arrives() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    let client = rig.connect(&mut program, address);
    rig.until("writability", |_| events(&client).contains(PollFlags::OUT).then_some(()));
    assert_eq!(write(&client, b"early"), Ok(5));
    drop(client);
    rig.settle();
    let (server, _) = rig.accept(&listener);
    assert_eq!(rig.read_to_end(&server), Ok(b"early".to_vec()));
    assert_eq!(rig.take_error(&mut program, &server), None);
    drop(server);
    only_listeners(&mut rig, 1);
}

#[test]
fn each_direction_ends_by_itself_and_the_engine_follows() {
    use narrows_stack::tcp::State;
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (client, server, _listener) = connection(&mut rig, &mut program);
    let states = |rig: &mut Rig| {
        let now = rig.worker.clock.now();
        let sockets = rig.worker.shard.sockets(now).filter(|info| info.remote.is_some());
        let mut states: Vec<_> = sockets
            .filter(|info| info.id.is_some())
            .map(|info| format!("{:?}", info.state))
            .collect();
        states.sort();
        states
    };
    let named = |states: [State; 2]| states.map(|state| format!("{state:?}")).to_vec();
    shut(&client, Shutdown::Write);
    assert_eq!(rig.read(&server), Ok(vec![]));
    let half = named([State::CloseWait, State::FinWait2]);
    rig.until("the client's FIN", |rig| (states(rig) == half).then_some(()));
    assert_eq!(write(&server, b"still"), Ok(5));
    assert_eq!(rig.read(&client), Ok(b"still".to_vec()));
    drop(server);
    assert_eq!(rig.read(&client), Ok(vec![]));
    assert_eq!(rig.take_error(&mut program, &client), None);
    drop(client);
    only_listeners(&mut rig, 1);
}

#[test]
fn both_directions_shut_down_is_no_reset() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (client, server, _listener) = connection(&mut rig, &mut program);
    let linger = Request::SetOption(SocketOption::Linger(Some(Duration::ZERO)));
    assert_eq!(rig.ask(&mut program, linger, Some(&client)), Ok(Reply::Done));
    shut(&client, Shutdown::Write);
    shut(&server, Shutdown::Write);
    assert!(events(&server).contains(PollFlags::HUP));
    assert_eq!(rig.take_error(&mut program, &server), None);
    drop(client);
    assert_eq!(rig.take_error(&mut program, &server), None);
    drop(server);
    only_listeners(&mut rig, 1);
}

#[test]
fn a_reset_never_looks_like_an_end() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    // With bytes unread, the kernel tells it by itself.
    let (client, server, listener) = connection(&mut rig, &mut program);
    write(&server, b"never read").expect("write");
    drop(client);
    assert_eq!(rig.read(&server), Err(Errno::CONNRESET));
    drop((server, listener));
    only_listeners(&mut rig, 0);
    // With SO_LINGER 0 there is nothing for it to tell.
    let (client, server, listener) = connection(&mut rig, &mut program);
    let linger = Request::SetOption(SocketOption::Linger(Some(Duration::ZERO)));
    assert_eq!(rig.ask(&mut program, linger, Some(&client)), Ok(Reply::Done));
    write(&client, b"last words").expect("write");
    drop(client);
    assert_eq!(rig.read_to_end(&server), Ok(b"last words".to_vec()));
    assert_eq!(rig.take_error(&mut program, &server), Some(Error::ConnectionReset));
    assert_eq!(rig.take_error(&mut program, &server), None, "told once");
    drop((server, listener));
    only_listeners(&mut rig, 0);
}

#[test]
fn closing_a_listener_resets_who_was_never_accepted_and_nobody_else() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    let clients: Vec<_> = (0..100).map(|_| rig.connect(&mut program, address)).collect();
    let (first, _) = rig.accept(&listener);
    // It never asks anything about it, nor is anything sent.
    rig.settle();
    drop(listener);
    let (taken, rest) = clients.split_first().expect("clients");
    for client in rest {
        rig.until("the end", |_| events(client).contains(PollFlags::HUP).then_some(()));
        assert_eq!(rig.take_error(&mut program, client), Some(Error::ConnectionReset));
    }
    drop(first);
    assert_eq!(rig.read_to_end(taken), Ok(vec![]));
    assert_eq!(rig.take_error(&mut program, taken), None);
    drop(clients);
    only_listeners(&mut rig, 0);
}

#[test]
fn ends_that_close_at_once_are_found() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    for _ in 0..50 {
        let client = rig.connect(&mut program, address);
        let (server, _) = rig.accept(&listener);
        drop((client, server));
    }
    assert!(rig.worker.cuts.len() < 10, "each that begins has others looked at");
    only_listeners(&mut rig, 1);
}

#[test]
fn a_port_held_by_nobody_can_be_had_at_once() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (client, server, listener) = connection(&mut rig, &mut program);
    let Ok(Reply::Address(local)) = rig.ask(&mut program, Request::LocalAddress, Some(&listener))
    else {
        panic!("no address")
    };
    // The first to close is the one whose port waits.
    drop(client);
    rig.settle();
    drop((server, listener));
    let again = rig.socket(&mut program);
    assert_eq!(rig.ask(&mut program, Request::Bind { local }, Some(&again)), Ok(Reply::Done));
}

#[test]
fn the_operator_can_end_it() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (client, server, _listener) = connection(&mut rig, &mut program);
    let names = [Request::LocalAddress, Request::PeerAddress];
    let [local, remote] =
        names.map(|request| match rig.ask(&mut program, request, Some(&client)) {
            Ok(Reply::Address(address)) => address,
            other => panic!("no address: {other:?}"),
        });
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let wrong = Request::Kill { local, remote: nobody };
    assert_eq!(rig.ask(&mut program, wrong, None), Err(Error::NoSuchEntry));
    assert_eq!(rig.ask(&mut program, Request::Kill { local, remote }, None), Ok(Reply::Done));
    for end in [&client, &server] {
        assert!(events(end).contains(PollFlags::HUP));
        assert_eq!(write(end, b"x"), Err(Errno::PIPE));
    }
    assert_eq!(rig.take_error(&mut program, &client), Some(Error::ConnectionAborted));
    assert_eq!(rig.take_error(&mut program, &server), Some(Error::ConnectionReset));
    only_listeners(&mut rig, 1);
}

#[test]
fn the_operator_can_end_one_that_goes_through_the_engine() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (client, server) = rig.connection(&mut program);
    assert_eq!(rig.worker.cuts.len(), 0);
    let names = [Request::LocalAddress, Request::PeerAddress];
    let [local, remote] =
        names.map(|request| match rig.ask(&mut program, request, Some(&client)) {
            Ok(Reply::Address(address)) => address,
            other => panic!("no address: {other:?}"),
        });
    assert_eq!(rig.ask(&mut program, Request::Kill { local, remote }, None), Ok(Reply::Done));
    assert_eq!(rig.take_error(&mut program, &client), Some(Error::ConnectionAborted));
    rig.until("the reset", |_| events(&server).contains(PollFlags::HUP).then_some(()));
    assert_eq!(rig.take_error(&mut program, &server), Some(Error::ConnectionReset));
}

#[test]
fn a_full_queue_makes_the_client_wait_and_its_bytes_arrive() {
    let mut rig = Rig::with_cut_through();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    let listen = Request::Listen { backlog: 1 };
    assert_eq!(rig.ask(&mut program, listen, Some(&listener)), Ok(Reply::Done));
    // More than wait in the listener's anchor and in the engine's queue.
    let clients: Vec<_> = (0..80u8)
        .map(|number| {
            let client = rig.connect(&mut program, address);
            rig.settle();
            assert_eq!(write(&client, &[number]), Ok(1));
            client
        })
        .collect();
    // 64 wait in the listener's anchor, one is held, two wait in the engine's queue.
    let stands = |client: &&OwnedFd| events(client).contains(PollFlags::OUT);
    assert_eq!(clients.iter().filter(stands).count(), 64 + 1 + 2);
    for number in 0..64 + 1 + 2 {
        let (server, _) = rig.accept(&listener);
        assert_eq!(rig.read(&server), Ok(vec![number]));
    }
}
