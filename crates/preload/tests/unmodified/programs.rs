//! The programs.

use crate::{
    fake,
    posix::{self, errno},
};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

pub const ALL: &[(&str, fn())] = &[
    ("echo", echo),
    ("threads_accept", threads_accept),
    ("refused", refused),
    ("nonblocking_connect", nonblocking_connect),
    ("connect_timeout", connect_timeout),
    ("interrupted_connect", interrupted_connect),
    ("reset_and_end", reset_and_end),
    ("broken_pipe", broken_pipe),
    ("options", options),
    ("names", names),
    ("accept_flags", accept_flags),
    ("accept_without_descriptors", accept_without_descriptors),
    ("listener_shut_down", listener_shut_down),
    ("address_on_connected", address_on_connected),
    ("families", families),
    ("fork", fork),
    ("fork_beside_threads", fork_beside_threads),
    ("exec", exec),
    ("closes_everything", closes_everything),
    ("handlers_read", handlers_read),
];

/// Those that are run without a daemon, or lose it.
pub const LONELY: &[(&str, fn())] = &[("network_down", network_down), ("daemon_dies", daemon_dies)];

fn host(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(fake::HOST, port)
}

/// Bytes there and back through `std::net`.
fn echo() {
    let listener = TcpListener::bind(host(0)).unwrap();
    let address = listener.local_addr().unwrap();
    assert_ne!(address.port(), 0);
    let server = thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), peer);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
        peer
    });
    let mut stream = TcpStream::connect(address).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), address);
    let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i >> 3) as u8).collect();
    stream.write_all(&sent).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut echoed = Vec::new();
    stream.read_to_end(&mut echoed).unwrap();
    assert!(echoed == sent);
    assert_eq!(server.join().unwrap(), stream.local_addr().unwrap());
}

/// Of many threads that accept, each connection goes to one.
fn threads_accept() {
    const CONNECTIONS: usize = 40;
    let listener = TcpListener::bind(host(0)).unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut word = [0];
                    stream.read_exact(&mut word).unwrap();
                    if word == [0] {
                        return;
                    }
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let streams: Vec<_> =
            (0..CONNECTIONS).map(|_| TcpStream::connect(address).unwrap()).collect();
        for mut stream in streams {
            stream.write_all(&[1]).unwrap();
        }
        for _ in 0..4 {
            TcpStream::connect(address).unwrap().write_all(&[0]).unwrap();
        }
    });
    assert_eq!(accepted.into_inner(), CONNECTIONS);
}

/// A refused socket may try again, as in Linux.
fn refused() {
    assert_eq!(TcpStream::connect(host(9)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let socket = posix::tcp();
    for _ in 0..2 {
        assert_eq!(errno(posix::connect(&socket, host(9))), libc::ECONNREFUSED);
    }
    posix::connect(&socket, host(fake::ENDS)).unwrap();
    assert_eq!(posix::recv(&socket, libc::MSG_WAITALL).unwrap(), b"hello");
}

fn nonblocking_connect() {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    for (port, error) in [(9, libc::ECONNREFUSED), (fake::ENDS, 0)] {
        let socket = posix::socket(libc::AF_INET, kind, libc::IPPROTO_TCP).unwrap();
        assert_eq!(errno(posix::connect(&socket, host(port))), libc::EINPROGRESS);
        assert_eq!(posix::poll(&socket, libc::POLLOUT, 0), 0, "not yet");
        // The kernel wakes who waits for a refused anchor a moment before it is writable.
        let told = if error == 0 { libc::POLLOUT } else { libc::POLLERR };
        assert_ne!(posix::poll(&socket, libc::POLLOUT, -1) & told, 0);
        let pending = || posix::number(&socket, libc::SOL_SOCKET, libc::SO_ERROR).unwrap();
        assert_eq!(pending(), error);
        assert_eq!(pending(), 0, "told once");
        if error == 0 {
            assert_eq!(errno(posix::connect(&socket, host(port))), libc::EISCONN);
        }
    }
    let socket = posix::socket(libc::AF_INET, kind, 0).unwrap();
    assert_eq!(errno(posix::connect(&socket, host(fake::SILENT))), libc::EINPROGRESS);
    assert_eq!(posix::poll(&socket, libc::POLLOUT | libc::POLLIN, 50), 0);
}

/// `SO_SNDTIMEO` bounds a connect, which goes on after it.
fn connect_timeout() {
    let socket = posix::tcp();
    let timeout = [0_i64, 50_000].map(i64::to_ne_bytes).concat();
    posix::set(&socket, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &timeout).unwrap();
    let started = Instant::now();
    assert_eq!(errno(posix::connect(&socket, host(fake::SILENT))), libc::EINPROGRESS);
    assert!(started.elapsed() >= Duration::from_millis(50));
}

/// A connect goes on after a signal whose handler says so, and fails after one that doesn't.
fn interrupted_connect() {
    extern "C" fn nothing(_: libc::c_int) {}
    for (flags, expected) in [(libc::SA_RESTART, libc::EINPROGRESS), (0, libc::EINTR)] {
        // SAFETY: the handler does nothing.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            action.sa_flags = flags;
            posix::check(libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()))
                .unwrap();
        }
        let socket = posix::tcp();
        let timeout = [0_i64, 300_000].map(i64::to_ne_bytes).concat();
        posix::set(&socket, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &timeout).unwrap();
        let timer = libc::itimerval {
            it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
            it_value: libc::timeval { tv_sec: 0, tv_usec: 100_000 },
        };
        // SAFETY: the pointer is to a local.
        let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
        posix::check(set).unwrap();
        assert_eq!(errno(posix::connect(&socket, host(fake::SILENT))), expected);
    }
}

fn reset_and_end() {
    let mut ends = TcpStream::connect(host(fake::ENDS)).unwrap();
    let mut all = Vec::new();
    ends.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"hello");

    let mut resets = TcpStream::connect(host(fake::RESETS)).unwrap();
    let error = resets.read_to_end(&mut all).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(all, b"hellohello", "what came before the reset is read");
    assert_eq!(resets.read(&mut [0]).unwrap(), 0, "told once");
    assert_eq!(resets.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
    resets.set_nodelay(true).unwrap();
}

/// The first write to a reset connection says so, the next raises SIGPIPE unless asked not to.
fn broken_pipe() {
    static RAISED: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn count(_: libc::c_int) {
        RAISED.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler only counts.
    unsafe { libc::signal(libc::SIGPIPE, count as *const () as usize) };
    let socket = posix::tcp();
    posix::connect(&socket, host(fake::RESETS)).unwrap();
    while posix::poll(&socket, 0, 1) & libc::POLLHUP == 0 {}
    assert_eq!(errno(posix::send(&socket, b"x", 0)), libc::ECONNRESET);
    assert_eq!(RAISED.load(Ordering::Relaxed), 0);
    assert_eq!(errno(posix::send(&socket, b"x", libc::MSG_NOSIGNAL)), libc::EPIPE);
    assert_eq!(RAISED.load(Ordering::Relaxed), 0);
    assert_eq!(errno(posix::send(&socket, b"x", 0)), libc::EPIPE);
    assert_eq!(RAISED.load(Ordering::Relaxed), 1);

    // A pipe of the kernel's own behaves as ever.
    let (reader, mut writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(writer.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(RAISED.load(Ordering::Relaxed), 2);
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    assert_eq!(errno(posix::send(&ours, b"x", 0)), libc::EPIPE);
    assert_eq!(RAISED.load(Ordering::Relaxed), 3);
}

fn options() {
    let socket = posix::tcp();
    for (name, value) in [
        (libc::SO_TYPE, libc::SOCK_STREAM),
        (libc::SO_DOMAIN, libc::AF_INET),
        (libc::SO_PROTOCOL, libc::IPPROTO_TCP),
        (libc::SO_ACCEPTCONN, 0),
        (libc::SO_ERROR, 0),
    ] {
        assert_eq!(posix::number(&socket, libc::SOL_SOCKET, name).unwrap(), value, "{name}");
    }
    for (level, name, given, kept) in [
        (libc::SOL_SOCKET, libc::SO_REUSEADDR, 1, 1),
        (libc::SOL_SOCKET, libc::SO_SNDBUF, 100_000, 200_000),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY, 7, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 60, 60),
    ] {
        posix::set_number(&socket, level, name, given).unwrap();
        assert_eq!(posix::number(&socket, level, name).unwrap(), kept, "{level} {name}");
    }
    posix::set_number(&socket, libc::IPPROTO_IP, libc::IP_TOS, 0x10).unwrap();
    let unknown = posix::set_number(&socket, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, 1);
    assert_eq!(errno(unknown), libc::ENOPROTOOPT);
    let congestion =
        |name: &[u8]| posix::set(&socket, libc::IPPROTO_TCP, libc::TCP_CONGESTION, name);
    assert_eq!(errno(congestion(b"vegas")), libc::ENOENT);
    congestion(b"reno").unwrap();
    let name = posix::option(&socket, libc::IPPROTO_TCP, libc::TCP_CONGESTION).unwrap();
    assert_eq!(&name[..5], b"reno\0");
    let info = posix::option(&socket, libc::IPPROTO_TCP, libc::TCP_INFO).unwrap();
    assert_eq!(info[0], 1, "established, says the fake");

    // A value shorter than there is room for, and a length that makes no sense.
    let mut value = [0_u8; 2];
    let mut len = 2;
    let get = |value: &mut [u8], len: &mut libc::socklen_t| {
        let room = value.as_mut_ptr().cast();
        // SAFETY: the pointers are to buffers of the sizes said, or not looked at.
        posix::check(unsafe {
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_DOMAIN, room, len)
        })
    };
    get(&mut value, &mut len).unwrap();
    assert_eq!((u16::from_ne_bytes(value), len), (libc::AF_INET as u16, 2));
    len = u32::MAX;
    assert_eq!(errno(get(&mut value, &mut len)), libc::EINVAL);

    posix::bind(&socket, host(0)).unwrap();
    posix::listen(&socket).unwrap();
    assert_eq!(posix::number(&socket, libc::SOL_SOCKET, libc::SO_ACCEPTCONN).unwrap(), 1);
}

fn names() {
    let socket = posix::tcp();
    let unbound = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    assert_eq!(posix::name(libc::getsockname, &socket).unwrap(), unbound);
    assert_eq!(errno(posix::name(libc::getpeername, &socket)), libc::ENOTCONN);
    posix::bind(&socket, host(8080)).unwrap();
    assert_eq!(posix::name(libc::getsockname, &socket).unwrap(), host(8080));
    posix::listen(&socket).unwrap();
    let other = posix::tcp();
    assert_eq!(errno(posix::bind(&other, host(8080))), libc::EADDRINUSE);
}

fn accept_flags() {
    let listener = posix::tcp();
    posix::bind(&listener, host(8080)).unwrap();
    assert_eq!(errno(posix::accept4(&listener, 0)), libc::EINVAL, "it does not listen");
    posix::listen(&listener).unwrap();
    for (flags, close_on_exec, nonblocking) in [
        (0, 0, 0),
        (libc::SOCK_CLOEXEC, libc::FD_CLOEXEC, 0),
        (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, libc::FD_CLOEXEC, libc::O_NONBLOCK),
    ] {
        let client = TcpStream::connect(host(8080)).unwrap();
        let (accepted, peer) = posix::accept4(&listener, flags).unwrap();
        assert_eq!(client.local_addr().unwrap(), peer.into());
        let fd = accepted.as_raw_fd();
        // SAFETY: numbers only.
        let (fd_flags, status) =
            unsafe { (libc::fcntl(fd, libc::F_GETFD), libc::fcntl(fd, libc::F_GETFL)) };
        assert_eq!(fd_flags, close_on_exec);
        assert_eq!(status & libc::O_NONBLOCK, nonblocking);
    }
    posix::set_nonblocking(&listener);
    assert_eq!(errno(posix::accept4(&listener, 0)), libc::EAGAIN);
    assert_eq!(errno(posix::accept4(&listener, 1)), libc::EINVAL);
    let (mut a, b) = UnixStream::pair().unwrap();
    a.write_all(&[0; 64]).unwrap();
    assert_eq!(errno(posix::accept4(&b, 0)), libc::EINVAL, "the kernel's answer");
}

/// With no descriptor free, a connection waits until there is one.
fn accept_without_descriptors() {
    let listener = TcpListener::bind(host(0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"still here").unwrap();
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: the pointer is to a local.
    posix::check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }).unwrap();
    let mut filled = Vec::new();
    while let Ok(one) = listener.try_clone() {
        filled.push(one);
    }
    assert_eq!(errno(listener.accept()), libc::EMFILE);
    assert_eq!(errno(posix::socket(libc::AF_INET, libc::SOCK_STREAM, 0)), libc::EMFILE);
    drop(filled);
    let (mut accepted, _) = listener.accept().unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    accepted.read_to_string(&mut all).unwrap();
    assert_eq!(all, "still here");
}

fn listener_shut_down() {
    let listener = TcpListener::bind(host(0)).unwrap();
    let fd = listener.as_raw_fd();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(errno(listener.accept()), libc::EINVAL));
        thread::sleep(Duration::from_millis(50));
        // SAFETY: numbers only.
        posix::check(unsafe { libc::shutdown(fd, libc::SHUT_RDWR) }).unwrap();
    });
}

/// Linux ignores the address given when sending on a TCP socket.
fn address_on_connected() {
    let listener = TcpListener::bind(host(0)).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    assert_eq!(posix::sendto(&client, b"hello", host(1)).unwrap(), 5);
    let mut word = [0; 5];
    accepted.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
}

fn families() {
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
        let refused = posix::socket(libc::AF_INET6, kind, 0);
        assert_eq!(errno(refused), libc::EAFNOSUPPORT);
    }
    assert!(TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_err());
    let (mut a, mut b) = UnixStream::pair().unwrap();
    a.write_all(b"unix").unwrap();
    drop(a);
    let mut all = String::new();
    b.read_to_string(&mut all).unwrap();
    assert_eq!(all, "unix");
    assert_eq!(errno(posix::socket(libc::AF_INET, libc::SOCK_STREAM, 262)), libc::EPROTONOSUPPORT);
    assert_eq!(errno(posix::set_number(&-1, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)), libc::EBADF);
}

/// Forked workers share a listener; each has a session of its own.
fn fork() {
    let listener = TcpListener::bind(host(0)).unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    for _ in &clients {
        posix::in_child(|| {
            let (mut stream, peer) = listener.accept().unwrap();
            assert_eq!(listener.local_addr().unwrap(), address);
            assert_eq!(stream.peer_addr().unwrap(), peer);
            stream.set_nodelay(true).unwrap();
            stream.write_all(b"from a worker").unwrap();
            posix::in_child(|| assert_eq!(stream.peer_addr().unwrap(), peer));
        });
    }
    for client in &mut clients {
        let mut word = [0; 13];
        client.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"from a worker");
        assert_eq!(client.peer_addr().unwrap(), address);
    }
}

/// A child finds the session in order, whatever other threads were doing with it.
fn fork_beside_threads() {
    let socket = posix::tcp();
    let stop = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while stop.load(Ordering::Relaxed) == 0 {
                    posix::number(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY).unwrap();
                }
            });
        }
        for _ in 0..40 {
            posix::in_child(|| {
                posix::name(libc::getsockname, &socket).unwrap();
            });
            posix::name(libc::getsockname, &socket).unwrap();
        }
        stop.store(1, Ordering::Relaxed);
    });
}

/// An executed program knows the sockets it inherits.
fn exec() {
    const INHERITED: &str = "NARROWS_TEST_INHERITED";
    if let Ok(fd) = std::env::var(INHERITED) {
        // SAFETY: the parent left it open for this.
        let listener = unsafe { OwnedFd::from_raw_fd(fd.parse().unwrap()) };
        assert_eq!(posix::number(&listener, libc::SOL_SOCKET, libc::SO_ACCEPTCONN).unwrap(), 1);
        let (stream, peer) = posix::accept4(&listener, 0).unwrap();
        assert_eq!(posix::name(libc::getpeername, &stream).unwrap(), peer);
        posix::send(&stream, b"executed", 0).unwrap();
        return;
    }
    let listener = posix::tcp();
    posix::bind(&listener, host(8080)).unwrap();
    posix::listen(&listener).unwrap();
    let mut client = TcpStream::connect(host(8080)).unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .env(INHERITED, listener.as_raw_fd().to_string())
        .status()
        .unwrap();
    assert!(status.success());
    let mut word = String::new();
    client.read_to_string(&mut word).unwrap();
    assert_eq!(word, "executed");
}

/// Daemons close every descriptor they don't know of, the session's too, and reuse its number.
fn closes_everything() {
    let listener = TcpListener::bind(host(0)).unwrap();
    let address = listener.local_addr().unwrap();
    let keep = u32::try_from(listener.as_raw_fd()).unwrap();
    // SAFETY: nothing above the listener is in use by this program.
    posix::check(unsafe { libc::close_range(keep + 1, u32::MAX, 0) }).unwrap();
    assert_eq!(listener.local_addr().unwrap(), address);

    // SAFETY: as before; then every number is taken by files of another kind.
    posix::check(unsafe { libc::close_range(keep + 1, u32::MAX, 0) }).unwrap();
    let (ours, _theirs) = UnixStream::pair().unwrap();
    for number in 512..600 {
        // SAFETY: the numbers are free.
        posix::check(unsafe { libc::dup2(ours.as_raw_fd(), number) }).unwrap();
    }
    assert_eq!(listener.local_addr().unwrap(), address);
    assert!(TcpStream::connect(address).is_ok());
    // SAFETY: numbers only.
    posix::check(unsafe { libc::fcntl(599, libc::F_GETFD) }).unwrap();
}

/// Signal handlers may use sockets while the program does.
fn handlers_read() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: libc::c_int) {
        let socket = posix::tcp();
        posix::name(libc::getsockname, &socket).unwrap();
        ENDED.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: glibc's malloc is not used by what the handler calls, but for paths not taken here.
    unsafe { libc::signal(libc::SIGALRM, handler as *const () as usize) };
    let timer = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 2_000 },
        it_value: libc::timeval { tv_sec: 0, tv_usec: 2_000 },
    };
    // SAFETY: the pointer is to a local.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    posix::check(set).unwrap();
    let started = Instant::now();
    let socket = posix::tcp();
    while started.elapsed() < Duration::from_millis(300) {
        posix::set_number(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1).unwrap();
    }
    assert!(ENDED.load(Ordering::Relaxed) > 10);
}

fn network_down() {
    for _ in 0..2 {
        assert_eq!(errno(TcpStream::connect(host(80))), libc::ENETDOWN);
    }
}

fn daemon_dies() {
    let listener = TcpListener::bind(host(0)).unwrap();
    let idle = posix::tcp();
    thread::scope(|scope| {
        let connecting = scope.spawn(|| errno(TcpStream::connect(host(fake::SILENT))));
        let accepting = scope.spawn(|| errno(listener.accept()));
        let reading = scope.spawn(|| errno(posix::recv(&idle, 0)));
        thread::sleep(Duration::from_millis(100));
        println!("!");
        assert_eq!(connecting.join().unwrap(), libc::ENETDOWN);
        assert_eq!(accepting.join().unwrap(), libc::ENETDOWN);
        assert_eq!(reading.join().unwrap(), libc::ECONNRESET);
    });
    assert_eq!(errno(TcpListener::bind(host(0))), libc::ENETDOWN);
    assert_eq!(errno(posix::name(libc::getsockname, &idle)), libc::ENETDOWN);
}
