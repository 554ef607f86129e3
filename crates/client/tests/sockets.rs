//! The Rust API against a daemon without a network.

mod fake;

use fake::FakeDaemon;
use narrows_client::{
    OpenError, OptionName, SocketOption, Stack, TcpListener, TcpState, TcpStream,
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    os::fd::AsFd,
    path::Path,
    thread,
    time::Duration,
};

fn host(port: u16) -> SocketAddr {
    (fake::HOST, port).into()
}

#[test]
fn bytes_and_ends_go_both_ways() {
    let daemon = FakeDaemon::start("both-ways");
    let stack = Stack::connect(Some(daemon.path())).unwrap();
    let listener = TcpListener::bind(&stack, host(0)).unwrap();
    let address = listener.local_addr().unwrap();
    assert_ne!(address.port(), 0);
    let server = thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        assert_eq!(stream.peer_addr(), peer);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
        peer
    });

    let mut stream = TcpStream::connect(&stack, address).unwrap();
    let sent: Vec<u8> = (0..300_000_u32).map(|i| i as u8).collect();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echoed = Vec::new();
    stream.read_to_end(&mut echoed).unwrap();
    assert!(echoed == sent);
    assert_eq!(server.join().unwrap(), stream.local_addr().unwrap());
    assert_eq!(daemon.sessions(), 1, "sockets of one stack share its session");
}

#[test]
fn a_refused_connection_says_so() {
    let daemon = FakeDaemon::start("refused");
    let stack = Stack::connect(Some(daemon.path())).unwrap();
    let error = TcpStream::connect(&stack, host(9)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_unanswered_connection_times_out() {
    let daemon = FakeDaemon::start("silent");
    let stack = Stack::connect(Some(daemon.path())).unwrap();
    let timeout = Duration::from_millis(50);
    let error = TcpStream::connect_timeout(&stack, host(fake::SILENT), timeout).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_reset_is_not_an_end() {
    let daemon = FakeDaemon::start("reset");
    let stack = Stack::connect(Some(daemon.path())).unwrap();
    let mut all = Vec::new();

    let mut ends = TcpStream::connect(&stack, host(fake::ENDS)).unwrap();
    ends.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");

    let mut resets = TcpStream::connect(&stack, host(fake::RESETS)).unwrap();
    let error = resets.read_to_end(&mut all).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(all, b"hellohello", "what came before the reset is read");
    assert_eq!(resets.read(&mut [0]).unwrap(), 0, "an error is given once");
    assert_eq!(resets.write(&[0]).unwrap_err().kind(), ErrorKind::BrokenPipe);

    let mut resets = TcpStream::connect(&stack, host(fake::RESETS)).unwrap();
    while !narrows_client::anchor::has_hung_up(resets.as_fd()) {
        thread::yield_now();
    }
    assert_eq!(resets.write(&[0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn options_are_kept_and_unknown_ones_refused() {
    let daemon = FakeDaemon::start("options");
    let stack = Stack::connect(Some(daemon.path())).unwrap();
    let stream = TcpStream::connect(&stack, host(fake::ENDS)).unwrap();
    stream.set_nodelay(true).unwrap();
    assert_eq!(stream.option(OptionName::NoDelay).unwrap(), SocketOption::NoDelay(true));
    assert_eq!(stream.info().unwrap().state, TcpState::Established);
    let unknown = SocketOption::Congestion("vegas".into());
    assert!(stream.set_option(unknown).is_err());
}

#[test]
fn nothing_blocks_when_asked_not_to() {
    let daemon = FakeDaemon::start("nonblocking");
    let stack = Stack::connect(Some(daemon.path())).unwrap();
    let listener = TcpListener::bind(&stack, host(0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let taken = TcpListener::bind(&stack, listener.local_addr().unwrap());
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn a_daemon_that_is_not_there_or_dies_is_an_error() {
    let missing = Stack::connect(Some(Path::new("/nonexistent/narrows.sock"))).unwrap_err();
    assert!(matches!(missing, OpenError::NotRunning { .. }), "{missing}");

    let daemon = FakeDaemon::start("dies");
    let stack = Stack::connect(Some(daemon.path())).unwrap();
    let listener = TcpListener::bind(&stack, host(0)).unwrap();
    let connecting = thread::spawn({
        let stack = stack.clone();
        move || TcpStream::connect(&stack, host(fake::SILENT)).unwrap_err()
    });
    thread::sleep(Duration::from_millis(100));
    drop(daemon);
    assert!(listener.accept().is_err());
    assert_eq!(connecting.join().unwrap().kind(), ErrorKind::NetworkDown);
    let error = TcpListener::bind(&stack, host(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NetworkDown);
}
