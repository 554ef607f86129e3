//! A daemon without a network, for tests of what programs see: connections between its own
//! sockets are joined by threads, and some ports behave in a special way.

use narrows_ipc::{
    AcceptRecord, Answer, Endpoint, Error, Hello, Listener, Reply, Request, Welcome,
    message::{OptionName, SocketOption, TcpInfo, TcpState},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send,
        shutdown, socketpair, sockopt::socket_cookie,
    },
};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

/// The address this daemon's host has.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Connecting here never ends.
pub const SILENT: u16 = 2;
/// Connects, sends "hello", and resets.
pub const RESETS: u16 = 3;
/// Connects, sends "hello", and ends the stream.
pub const ENDS: u16 = 4;

/// More than a quarter of the send buffer, so that the anchor does not poll writable.
const FILLER: usize = 64 * 1024;

#[derive(Default)]
struct Socket {
    /// The daemon's end; gone once a connection has failed or its pump has it.
    end: Option<OwnedFd>,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    listening: bool,
    options: Vec<SocketOption>,
    /// Why it failed, until that was told.
    failure: Option<Error>,
    failed: bool,
}

impl Socket {
    fn fail(&mut self, why: Error) {
        (self.failure, self.failed) = (Some(why), true);
    }
}

#[derive(Default)]
struct State {
    sockets: Mutex<HashMap<u64, Socket>>,
    next_port: AtomicU16,
    sessions: AtomicU32,
}

/// The daemon; it ends, with every session, when dropped.
pub struct FakeDaemon {
    path: PathBuf,
    state: Arc<State>,
    stop: Option<std::io::PipeWriter>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FakeDaemon {
    /// Starts one with a socket of its own, named after `name`.
    pub fn start(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("narrows-{name}-{}.sock", std::process::id()));
        let listener = Listener::bind(&path, 0o600).unwrap();
        let state = Arc::new(State::default());
        state.next_port.store(40_000, Ordering::Relaxed);
        let (stopped, stop) = std::io::pipe().unwrap();
        let thread = thread::spawn({
            let state = state.clone();
            move || serve(&listener, &state, &Arc::new(stopped))
        });
        FakeDaemon { path, state, stop: Some(stop), thread: Some(thread) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sessions opened so far.
    pub fn sessions(&self) -> u32 {
        self.state.sessions.load(Ordering::Relaxed)
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        // As when a process dies: every descriptor of it is closed.
        drop(self.stop.take());
        self.state.sockets.lock().unwrap().clear();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Waits for `what` until `stopped`'s writer is gone; `false` then.
fn wait(what: BorrowedFd<'_>, stopped: &impl AsFd) -> bool {
    let mut polled = [
        PollFd::from_borrowed_fd(what, PollFlags::IN),
        PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN),
    ];
    while poll(&mut polled, None).is_err() {}
    polled[1].revents().is_empty()
}

fn serve(listener: &Listener, state: &Arc<State>, stopped: &Arc<std::io::PipeReader>) {
    let mut sessions = Vec::new();
    while wait(listener.as_fd(), stopped) {
        while let Some(endpoint) = listener.accept().unwrap() {
            state.sessions.fetch_add(1, Ordering::Relaxed);
            let (state, stopped) = (state.clone(), stopped.clone());
            sessions.push(thread::spawn(move || session(endpoint, &state, &stopped)));
        }
    }
    for session in sessions {
        session.join().unwrap();
    }
}

fn session(mut endpoint: Endpoint, state: &Arc<State>, stopped: &std::io::PipeReader) {
    if !wait(endpoint.as_fd(), stopped) || !matches!(endpoint.recv::<Hello>(), Ok(Some(_))) {
        return;
    }
    endpoint.send(&Welcome::Ready, None).unwrap();
    while wait(endpoint.as_fd(), stopped) {
        let Ok(Some((request, anchor))) = endpoint.recv::<Request>() else { return };
        let (answer, new) = match state.answer(request, anchor) {
            Ok((reply, new)) => (Ok(reply), new),
            Err(error) => (Err(error), None),
        };
        let answer: Answer = answer;
        if endpoint.send(&answer, new.as_ref().map(|new| new.as_fd())).is_err() {
            return;
        }
    }
}

impl State {
    fn answer(
        self: &Arc<Self>,
        request: Request,
        anchor: Option<OwnedFd>,
    ) -> Result<(Reply, Option<OwnedFd>), Error> {
        if let Request::Socket { .. } = request {
            let (cookie, end, anchor) = pair();
            let socket = Socket { end: Some(end), ..Socket::default() };
            self.sockets.lock().unwrap().insert(cookie, socket);
            return Ok((Reply::Done, Some(anchor)));
        }
        let anchor = anchor.ok_or(Error::NotASocket)?;
        let cookie = socket_cookie(&anchor).map_err(|_| Error::NotASocket)?;
        let mut sockets = self.sockets.lock().unwrap();
        sockets.retain(|_, socket| !socket.end.as_ref().is_some_and(has_hung_up));
        let in_use = sockets.values().any(|other| {
            other.listening
                && matches!(request, Request::Bind { local } if other.local == Some(local))
        });
        let socket = sockets.get_mut(&cookie).ok_or(Error::NotASocket)?;
        if socket.failed {
            return match request {
                Request::TakeError => Ok((Reply::Failure(socket.failure.take()), None)),
                Request::Connect { .. } => {
                    Err(socket.failure.take().unwrap_or(Error::ConnectionAborted))
                }
                _ => Err(Error::NotASocket),
            };
        }
        let reply = match request {
            Request::Bind { local } => {
                if in_use {
                    return Err(Error::AddressInUse);
                }
                socket.local = Some(self.with_port(local));
                Reply::Done
            }
            Request::Listen { .. } => {
                let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
                socket.local.get_or_insert_with(|| self.with_port(any));
                socket.listening = true;
                Reply::Done
            }
            Request::Connect { remote } => {
                if socket.remote.is_some() {
                    return Err(Error::AlreadyConnected);
                }
                socket.remote = Some(remote);
                let local = *socket.local.get_or_insert_with(|| self.with_port((HOST, 0).into()));
                drop(sockets);
                let filler = fill(&anchor);
                let state = self.clone();
                thread::spawn(move || state.connect(cookie, local, remote, filler));
                Reply::Done
            }
            Request::LocalAddress => {
                let none = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
                Reply::Address(socket.local.unwrap_or(none))
            }
            Request::PeerAddress => Reply::Address(socket.remote.ok_or(Error::NotConnected)?),
            Request::SetOption(SocketOption::Congestion(name)) if name != "reno" => {
                return Err(Error::NoSuchOption);
            }
            Request::SetOption(option) => {
                socket.options.retain(|set| name_of(set) != name_of(&option));
                socket.options.push(option);
                Reply::Done
            }
            Request::GetOption(OptionName::Listening) => {
                Reply::Option(SocketOption::Listening(socket.listening))
            }
            Request::GetOption(OptionName::TcpInfo) => {
                Reply::Option(SocketOption::TcpInfo(Box::new(TcpInfo {
                    state: TcpState::Established,
                    ..TcpInfo::default()
                })))
            }
            Request::GetOption(name) => {
                let set = socket.options.iter().find(|set| name_of(set) == Some(name));
                let buffer = SocketOption::SendBuffer(64 * 1024);
                Reply::Option(set.cloned().unwrap_or(buffer))
            }
            Request::TakeError => Reply::Failure(None),
            _ => return Err(Error::NotSupported),
        };
        Ok((reply, None))
    }

    fn with_port(&self, address: SocketAddr) -> SocketAddr {
        match address.port() {
            0 => (address.ip(), self.next_port.fetch_add(1, Ordering::Relaxed)).into(),
            _ => address,
        }
    }

    /// What the network would do about a connection attempt, a moment later.
    fn connect(&self, cookie: u64, local: SocketAddr, remote: SocketAddr, filler: usize) {
        thread::sleep(Duration::from_millis(20));
        let mut sockets = self.sockets.lock().unwrap();
        let end = match sockets.get_mut(&cookie) {
            Some(socket) if remote.port() != SILENT => socket.end.take(),
            _ => None,
        };
        let Some(end) = end else { return };
        if remote.port() == RESETS || remote.port() == ENDS {
            discard(&end, filler);
            send(&end, b"hello", SendFlags::NOSIGNAL).unwrap();
            if remote.port() == RESETS {
                sockets.get_mut(&cookie).unwrap().fail(Error::ConnectionReset);
            } else {
                shutdown(&end, Shutdown::Write).unwrap();
                sockets.get_mut(&cookie).unwrap().end = Some(end);
            }
            return;
        }
        let port = remote.port();
        let listener = sockets
            .values()
            .find(|other| other.listening && other.local.is_some_and(|at| at.port() == port))
            .and_then(|other| other.end.as_ref());
        let Some(listener) = listener else {
            // With the filler unread, the program sees that it failed.
            sockets.get_mut(&cookie).unwrap().fail(Error::ConnectionRefused);
            return;
        };
        let (accepted, other_end, anchor) = pair();
        let record = AcceptRecord { peer: local, local: remote };
        record.send(listener.as_fd(), anchor.as_fd()).unwrap();
        let socket = Socket { local: Some(remote), remote: Some(local), ..Socket::default() };
        sockets.insert(accepted, socket);
        drop(sockets);
        discard(&end, filler);
        join(end, other_end);
    }
}

/// A socket: the name of its anchor, the daemon's end, the anchor.
fn pair() -> (u64, OwnedFd, OwnedFd) {
    let (end, anchor) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    (socket_cookie(&anchor).unwrap(), end, anchor)
}

/// Whether the program closed every copy of the anchor.
fn has_hung_up(end: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(end, PollFlags::empty())];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn fill(anchor: &OwnedFd) -> usize {
    send(anchor, &vec![0; FILLER], SendFlags::DONTWAIT).unwrap()
}

fn discard(end: &OwnedFd, mut filler: usize) {
    while filler > 0 {
        let mut bytes = vec![0; filler];
        filler -= recv(end, &mut bytes, RecvFlags::empty()).unwrap().0;
    }
}

/// Two threads carry the bytes of two daemon's ends to each other.
fn join(a: OwnedFd, b: OwnedFd) {
    let (a, b) = (Arc::new(a), Arc::new(b));
    for (from, to) in [(a.clone(), b.clone()), (b, a)] {
        thread::spawn(move || {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok((read @ 1.., _)) = recv(&*from, &mut bytes[..], RecvFlags::empty()) {
                let mut left = &bytes[..read];
                while let Ok(sent @ 1..) = send(&*to, left, SendFlags::NOSIGNAL) {
                    left = &left[sent..];
                    if left.is_empty() {
                        break;
                    }
                }
            }
            let _ = shutdown(&*to, Shutdown::Write);
        });
    }
}

fn name_of(option: &SocketOption) -> Option<OptionName> {
    Some(match option {
        SocketOption::ReuseAddress(_) => OptionName::ReuseAddress,
        SocketOption::ReusePort(_) => OptionName::ReusePort,
        SocketOption::KeepAlive(_) => OptionName::KeepAlive,
        SocketOption::KeepAliveIdle(_) => OptionName::KeepAliveIdle,
        SocketOption::KeepAliveInterval(_) => OptionName::KeepAliveInterval,
        SocketOption::KeepAliveCount(_) => OptionName::KeepAliveCount,
        SocketOption::NoDelay(_) => OptionName::NoDelay,
        SocketOption::Cork(_) => OptionName::Cork,
        SocketOption::SendBuffer(_) => OptionName::SendBuffer,
        SocketOption::ReceiveBuffer(_) => OptionName::ReceiveBuffer,
        SocketOption::Linger(_) => OptionName::Linger,
        SocketOption::MaxSegment(_) => OptionName::MaxSegment,
        SocketOption::UserTimeout(_) => OptionName::UserTimeout,
        SocketOption::Congestion(_) => OptionName::Congestion,
        SocketOption::TimeToLive(_) => OptionName::TimeToLive,
        SocketOption::TypeOfService(_) => OptionName::TypeOfService,
        // Of datagrams, and read-only ones.
        _ => return None,
    })
}
