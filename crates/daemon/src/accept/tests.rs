use crate::rig::{Program, Rig, events, take_record, write};
use narrows_ipc::{Error, Reply, Request, message::SocketOption};
use rustix::event::PollFlags;
use std::{net::SocketAddr, os::fd::OwnedFd};

#[test]
fn a_burst_arrives_once_each_and_in_order() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    // More than wait in the listener's anchor, so that some wait in the engine.
    let clients: Vec<_> = (0..200u8).map(|_| rig.connect(&mut program, address)).collect();
    for (number, client) in clients.iter().enumerate() {
        rig.until("a connection", |_| events(client).contains(PollFlags::OUT).then_some(()));
        write(client, &[number as u8]).expect("write");
    }
    assert_eq!(rig.worker.anchors.len(), 1 + 200 + 64 + 1, "64 wait in the anchor and one is held");
    for number in 0..200u8 {
        let (server, _) = rig.accept(&listener);
        assert_eq!(rig.read(&server), Ok(vec![number]));
    }
    rig.settle();
    assert!(take_record(&listener).is_none());
}

#[test]
fn closing_a_listener_resets_who_was_never_accepted() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    let clients: Vec<_> = (0..100).map(|_| rig.connect(&mut program, address)).collect();
    let (first, _) = rig.accept(&listener);
    write(&first, b"welcome").expect("write");
    rig.settle();
    drop(listener);
    let (taken, rest) = clients.split_first().expect("clients");
    for client in rest {
        rig.until("the end", |_| events(client).contains(PollFlags::HUP).then_some(()));
        assert_eq!(rig.take_error(&mut program, client), Some(Error::ConnectionReset));
    }
    assert_eq!(rig.read(taken), Ok(b"welcome".to_vec()));
    drop((clients, first));
    rig.until("anchors to go", |rig| (rig.worker.anchors.len() == 0).then_some(()));
}

#[test]
fn who_was_accepted_may_outlive_the_listener_in_silence() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    let client = rig.connect(&mut program, address);
    let (server, _) = rig.accept(&listener);
    drop(listener);
    rig.settle();
    drop(server);
    assert_eq!(rig.read_to_end(&client), Ok(vec![]));
    assert_eq!(rig.take_error(&mut program, &client), None);
}

#[test]
fn a_listener_shut_down_for_reading_keeps_nothing() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (listener, address) = rig.listener(&mut program);
    rustix::net::shutdown(&listener, rustix::net::Shutdown::Read).expect("shutdown");
    let client = rig.connect(&mut program, address);
    rig.until("the end", |_| events(&client).contains(PollFlags::HUP).then_some(()));
}

/// A listener that shares its port with others of its user.
fn member(rig: &mut Rig, program: &mut Program, local: SocketAddr) -> (OwnedFd, SocketAddr) {
    let anchor = rig.socket(program);
    for request in [
        Request::SetOption(SocketOption::ReusePort(true)),
        Request::Bind { local },
        Request::Listen { backlog: 4096 },
    ] {
        assert_eq!(rig.ask(program, request, Some(&anchor)), Ok(Reply::Done));
    }
    match rig.ask(program, Request::LocalAddress, Some(&anchor)) {
        Ok(Reply::Address(address)) => (anchor, address),
        other => panic!("no address: {other:?}"),
    }
}

/// What waits for a member of a group that is closed comes to another, with what was sent meanwhile:
/// records in the pair, the one held, and what is in the engine's queue.
fn a_member_leaves_all_it_has(mut rig: Rig) {
    let (mut program, mut other_program) = (rig.program(), rig.program());
    let (first, address) = member(&mut rig, &mut program, SocketAddr::from(([127, 0, 0, 1], 0)));
    let clients: Vec<_> = (0..100u8).map(|_| rig.connect(&mut program, address)).collect();
    for (number, client) in clients.iter().enumerate() {
        rig.until("a connection", |_| events(client).contains(PollFlags::OUT).then_some(()));
        write(client, &[number as u8]).expect("write");
    }
    let mut servers: Vec<_> = (0..10).map(|_| rig.accept(&first).0).collect();
    rig.settle();
    let (second, _) = member(&mut rig, &mut other_program, address);
    drop(first);
    servers.extend((10..100).map(|_| rig.accept(&second).0));
    let mut seen: Vec<_> = servers.iter().map(|server| rig.read(server).expect("a byte")).collect();
    seen.sort();
    assert_eq!(seen, (0..100).map(|number| vec![number]).collect::<Vec<_>>());
    // They work both ways, and end.
    for server in &servers {
        write(server, b"hello").expect("write");
    }
    drop(servers);
    for client in &clients {
        assert_eq!(rig.read_to_end(client), Ok(b"hello".to_vec()));
    }
}

#[test]
fn who_shares_a_port_gets_what_a_member_leaves() {
    a_member_leaves_all_it_has(Rig::new());
}

#[test]
fn who_shares_a_port_gets_what_is_cut_through() {
    a_member_leaves_all_it_has(Rig::with_cut_through());
}

#[test]
fn what_a_member_leaves_is_of_who_takes_it() {
    let mut rig = Rig::with_cut_through();
    let (mut program, mut heir) = (rig.program(), rig.program());
    let (first, address) = member(&mut rig, &mut program, SocketAddr::from(([127, 0, 0, 1], 0)));
    let _client = rig.connect(&mut program, address);
    rig.settle();
    let (second, _) = member(&mut rig, &mut heir, address);
    drop(first);
    let (server, _) = rig.accept(&second);
    let cookie = rustix::net::sockopt::socket_cookie(&second).expect("a cookie");
    let listener = rig.worker.anchors.by_cookie(cookie).expect("a listener");
    let owner = rig.worker.anchors.get(listener).expect("an anchor").principal.clone();
    let cookie = rustix::net::sockopt::socket_cookie(&server).expect("a cookie");
    let socket = rig.worker.cuts.by_cookie(cookie).expect("cut through");
    let end = rig.worker.cuts.end(socket).expect("an end");
    assert!(std::rc::Rc::ptr_eq(&end.principal, &owner));
}
