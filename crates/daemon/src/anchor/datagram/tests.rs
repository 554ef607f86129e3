use super::*;
use crate::rig::{Program, Rig, events, read_now, write};
use narrows_ipc::{
    Reply, Request,
    message::{SocketKind, SocketOption},
};
use rustix::event::PollFlags;
use std::{
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
};

const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

fn socket(rig: &mut Rig, program: &mut Program) -> OwnedFd {
    rig.socket_of(program, SocketKind::Udp)
}

/// A socket at 127.0.0.1, and its address.
fn bound(rig: &mut Rig, program: &mut Program) -> (OwnedFd, SocketAddr) {
    let anchor = socket(rig, program);
    let local = SocketAddr::from((LOCALHOST, 0));
    assert_eq!(rig.ask(program, Request::Bind { local }, Some(&anchor)), Ok(Reply::Done));
    let address = address(rig, program, &anchor);
    (anchor, address)
}

fn address(rig: &mut Rig, program: &mut Program, anchor: &OwnedFd) -> SocketAddr {
    match rig.ask(program, Request::LocalAddress, Some(anchor)) {
        Ok(Reply::Address(address)) => address,
        other => panic!("no address: {other:?}"),
    }
}

fn send(anchor: &OwnedFd, to: Option<SocketAddr>, payload: &[u8]) -> bool {
    let header = Header { peer: to, ..Header::default() };
    let record = [&header.encode()[..], payload].concat();
    write(anchor, &record).expect("a record") == record.len()
}

fn next(rig: &mut Rig, anchor: &OwnedFd) -> (Header, Vec<u8>) {
    let record = rig.until("a record", |_| read_now(anchor)).expect("a record");
    let (header, payload) = record.split_first_chunk().expect("a header");
    (Header::decode(header).expect("a header"), payload.to_vec())
}

#[test]
fn datagrams_go_whole_with_their_addresses_and_empty_ones_too() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (receiver, to) = bound(&mut rig, &mut program);
    let (sender, from) = bound(&mut rig, &mut program);
    for len in [0, 1, 1472, 65_507] {
        let payload: Vec<u8> = (0..len).map(|index| index as u8).collect();
        assert!(send(&sender, Some(to), &payload));
        let (header, received) = next(&mut rig, &receiver);
        assert_eq!((header.peer, header.own), (Some(from), Some(to.ip())), "{len}");
        assert!(received == payload, "{len} bytes differ");
    }
    drop(sender);
    rig.until("a socket to go", |rig| (rig.worker.anchors.len() == 1).then_some(()));
}

#[test]
fn what_was_sent_before_a_request_goes_before_it() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (receiver, to) = bound(&mut rig, &mut program);
    let (sender, _) = bound(&mut rig, &mut program);
    for ttl in [1, 2, 3] {
        let option = Request::SetOption(SocketOption::TimeToLive(ttl));
        assert_eq!(rig.ask(&mut program, option, Some(&sender)), Ok(Reply::Done));
        // Written between two requests, and looked at by nobody until the second.
        assert!(send(&sender, Some(to), b"x"));
        let request = Request::SetOption(SocketOption::TimeToLive(99));
        program.endpoint.send(&request, Some(sender.as_fd())).expect("send");
        assert_eq!(rig.answer(&mut program).0, Ok(Reply::Done));
    }
    let ttls = [1, 2, 3].map(|_| next(&mut rig, &receiver).0.ttl);
    assert_eq!(ttls, [1, 2, 3]);
}

#[test]
fn what_was_sent_before_the_last_close_still_goes() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (receiver, to) = bound(&mut rig, &mut program);
    let (sender, from) = bound(&mut rig, &mut program);
    // Something unread makes the close a reset of the pair.
    assert!(send(&receiver, Some(from), b"never read"));
    rig.until("readability", |_| events(&sender).contains(PollFlags::IN).then_some(()));
    for _ in 0..20 {
        assert!(send(&sender, Some(to), b"last words"));
    }
    drop(sender);
    for _ in 0..20 {
        assert_eq!(next(&mut rig, &receiver).1, b"last words");
    }
    let local = from;
    let again = socket(&mut rig, &mut program);
    assert_eq!(rig.ask(&mut program, Request::Bind { local }, Some(&again)), Ok(Reply::Done));
}

#[test]
fn a_full_anchor_leaves_datagrams_in_the_engine_which_counts_what_it_drops() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (receiver, to) = bound(&mut rig, &mut program);
    let (sender, _) = bound(&mut rig, &mut program);
    for number in 0..3000_u32 {
        let mut sent = false;
        rig.until("room", |_| {
            sent = send(&sender, Some(to), &number.to_ne_bytes());
            sent.then_some(())
        });
    }
    rig.settle();
    let dropped =
        rig.worker.shard.counters().dropped(narrows_stack::counters::DropReason::ReceiveQueueFull);
    assert!(dropped > 0);
    let mut numbers = Vec::new();
    while numbers.len() as u64 + dropped < 3000 {
        let (_, payload) = next(&mut rig, &receiver);
        numbers.push(u32::from_ne_bytes(payload.try_into().expect("four bytes")));
    }
    assert!(numbers.is_sorted());
    // The oldest are kept.
    assert_eq!(numbers[..100], (0..100).collect::<Vec<_>>());
}

#[test]
fn an_error_makes_the_anchor_readable_and_is_told_once() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let anchor = socket(&mut rig, &mut program);
    let remote = SocketAddr::from((LOCALHOST, 9));
    let connect = Request::Connect { remote };
    assert_eq!(rig.ask(&mut program, connect, Some(&anchor)), Ok(Reply::Done));
    // Two errors, one word.
    assert!(send(&anchor, None, b"hello") && send(&anchor, None, b"hello"));
    assert_eq!(next(&mut rig, &anchor).0.content, Content::Error);
    assert_eq!(rig.take_error(&mut program, &anchor), Some(Error::ConnectionRefused));
    assert_eq!(rig.take_error(&mut program, &anchor), None);
    assert_eq!(read_now(&anchor), None);
    // And the socket goes on.
    assert!(send(&anchor, None, b"hello"));
    assert_eq!(next(&mut rig, &anchor).0.content, Content::Error);
}

#[test]
fn what_could_not_be_sent_is_refused_when_asked() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let anchor = socket(&mut rig, &mut program);
    let reach = |remote: Option<[u8; 4]>, length| Request::Reach {
        remote: remote.map(|address| SocketAddr::from((address, 9))),
        source: None,
        interface: 0,
        length,
        segment_size: None,
    };
    for (request, answer) in [
        (reach(None, 0), Err(Error::DestinationRequired)),
        (reach(Some([192, 0, 2, 1]), 0), Err(Error::NetworkUnreachable)),
        (reach(Some(LOCALHOST), 65_508), Err(Error::MessageTooLong)),
        (reach(Some(LOCALHOST), 65_507), Ok(Reply::Reachable { longest: 65_507 })),
    ] {
        assert_eq!(rig.ask(&mut program, request, Some(&anchor)), answer);
    }
    assert_ne!(address(&mut rig, &mut program, &anchor).port(), 0, "it has a port now");
}

/// A program can only hurt itself.
#[test]
fn records_that_are_no_datagrams_are_ignored() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (receiver, to) = bound(&mut rig, &mut program);
    let (sender, _) = bound(&mut rig, &mut program);
    let header = Header { peer: Some(to), ..Header::default() };
    let word = Header { content: Content::Error, ..header };
    let mut unknown = header.encode();
    unknown[1] = 0xff;
    let long = [&header.encode()[..], &vec![0; 65_536]].concat();
    let outside = Header {
        attached: Attached::PACKET_INFO,
        own: Some([8, 8, 8, 8].into()),
        interface: u32::MAX,
        ..header
    };
    for record in [&b"x"[..], &[0xff; 64], &word.encode(), &unknown, &long, &outside.encode()] {
        write(&sender, record).expect("a record");
    }
    assert!(send(&sender, Some(to), b"after all that"));
    assert_eq!(next(&mut rig, &receiver).1, b"after all that");
    assert_eq!(read_now(&receiver), None);
}

#[test]
fn who_shut_its_socket_down_is_sent_nothing_and_others_go_on() {
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (receiver, to) = bound(&mut rig, &mut program);
    let (sender, from) = bound(&mut rig, &mut program);
    rustix::net::shutdown(&receiver, rustix::net::Shutdown::Read).expect("shutdown");
    for _ in 0..1000 {
        rig.until("room", |_| send(&sender, Some(to), &[0; 1000]).then_some(()));
    }
    rig.settle();
    assert!(send(&receiver, Some(from), b"still here"));
    assert_eq!(next(&mut rig, &sender).1, b"still here");
}

#[test]
fn a_flood_of_datagrams_has_its_part_of_a_turn_and_waits_for_the_next() {
    const SENT: usize = 100;
    let mut rig = Rig::new();
    let mut program = rig.program();
    let (_receiver, to) = bound(&mut rig, &mut program);
    let (sender, _) = bound(&mut rig, &mut program);
    let most = crate::anchor::CHUNK / COST;
    for _ in 0..SENT {
        assert!(send(&sender, Some(to), b"x"));
    }
    let mut sent = rig.worker.metrics.bytes_from_programs;
    let mut turns = Vec::new();
    rig.until("the flood to pass", |rig| {
        let now = rig.worker.metrics.bytes_from_programs;
        turns.push((now - sent) as usize);
        sent = now;
        (turns.iter().sum::<usize>() == SENT).then_some(())
    });
    assert!(turns.iter().all(|count| *count <= most), "{turns:?}, each at most {most}");
    assert!(turns.iter().filter(|count| **count > 0).count() >= SENT / most, "{turns:?}");
}
