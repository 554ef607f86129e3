use super::*;
use rustix::net::sockopt;
use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

/// How long anything here may take, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(20);

/// Users, each with a bill.
fn users(bills: &mut Bills, count: u32) -> Vec<BillId> {
    (0..count).map(|user| bills.open_session(user, Vec::new()).expect("a bill")).collect()
}

/// A socket of the kernel's that can't be closed for an hour, or until the other one is.
fn lingering() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut socket = TcpStream::connect(listener.local_addr().expect("its port")).expect("connect");
    let (other, _) = listener.accept().expect("accept");
    socket.set_nonblocking(true).expect("non-blocking");
    let full = std::iter::repeat_with(|| socket.write(&[0; 65536])).find_map(Result::err);
    assert_eq!(full.map(|error| error.kind()), Some(ErrorKind::WouldBlock));
    sockopt::set_socket_linger(&socket, Some(Duration::from_secs(3600))).expect("SO_LINGER");
    (socket.into(), other)
}

/// A descriptor, and a pipe that ends when it is closed.
fn witness() -> (OwnedFd, std::io::PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    (writer.into(), reader)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn as_many_users_as_there_are_threads_but_one_hold_up_nobody_else() {
    let (mut bills, closer) = (Bills::default(), Closer::start(None).expect("threads"));
    let users = users(&mut bills, THREADS as u32);
    let (honest, hostile) = users.split_last().expect("users");
    let mut others = Vec::new();
    for owner in hostile {
        // More than one, for what waits behind the first.
        for _ in 0..2 {
            let (socket, other) = lingering();
            closer.close(&mut bills, *owner, socket);
            others.push(other);
        }
    }
    for _ in 0..3 {
        let (descriptor, mut closed) = witness();
        closer.close(&mut bills, *honest, descriptor);
        assert_eq!(closed.read(&mut [0]).expect("read"), 0);
        until("the honest one's bill", || {
            closer.settle(&mut bills);
            bills.waiting(*honest) == 0
        });
    }
    assert!(hostile.iter().all(|owner| bills.waiting(*owner) == 2));
    drop(others);
    until("the others' bills", || {
        closer.settle(&mut bills);
        users.iter().all(|owner| bills.waiting(*owner) == 0)
    });
}

#[test]
fn what_waits_behind_one_that_takes_long_is_closed_after_it() {
    let (mut bills, closer) = (Bills::default(), Closer::start(None).expect("threads"));
    let owner = users(&mut bills, 1)[0];
    let (socket, other) = lingering();
    closer.close(&mut bills, owner, socket);
    let (descriptors, readers): (Vec<_>, Vec<_>) = (0..400).map(|_| witness()).unzip();
    descriptors.into_iter().for_each(|one| closer.close(&mut bills, owner, one));
    closer.settle(&mut bills);
    assert_eq!(bills.waiting(owner), 401);
    drop(other);
    for mut reader in readers {
        assert_eq!(reader.read(&mut [0]).expect("read"), 0);
    }
    until("the bill to be settled", || {
        closer.settle(&mut bills);
        bills.waiting(owner) == 0
    });
}
