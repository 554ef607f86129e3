//! A worker without devices, and programs on the same thread: connections go over 127.0.0.1 inside
//! the engine.

use crate::{
    clock::Clock, closer::Closer, event_loop, policy::Authority, token::LISTENER, worker::Worker,
};
use mio::{Events, Interest, Poll, unix::SourceFd};
use narrows_ipc::{
    AcceptRecord, Answer, Endpoint, Error, Hello, Listener, Reply, Request, VERSION, Welcome,
    message::SocketKind,
};
use narrows_policy::Policy;
use narrows_stack::{Config, Shard};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg},
};
use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

/// Nothing here takes that long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub worker: Worker,
    poll: Poll,
    events: Events,
    path: PathBuf,
}

/// A program with a session; its calls never block.
pub(crate) struct Program {
    pub endpoint: Endpoint,
}

impl Rig {
    /// All bytes go through the engine.
    pub(crate) fn new() -> Self {
        let mut rig = Self::with_cut_through();
        rig.worker.source.configuration.local.cut_through = false;
        rig
    }

    /// As a daemon is by default.
    pub(crate) fn with_cut_through() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("narrows-rig-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name).join("narrows.sock");
        let listener = Listener::bind(&path, 0o600).expect("bind");
        let poll = Poll::new().expect("epoll");
        let raw = listener.as_fd().as_raw_fd();
        let registry = poll.registry();
        registry.register(&mut SourceFd(&raw), LISTENER, Interest::READABLE).expect("epoll_ctl");
        let shard = Shard::new(Config::default(), [7; 16]);
        let registry = registry.try_clone().expect("epoll");
        let policy = Policy::new(rustix::process::geteuid().as_raw());
        let clock = Clock::start();
        let authority = Authority::new(policy, clock);
        let closer = Closer::start(None).expect("a thread");
        let worker = Worker::new(shard, clock, registry, Vec::new(), listener, authority, closer);
        Self { worker: worker.expect("a worker"), poll, events: Events::with_capacity(64), path }
    }

    /// One round of the event loop, without waiting.
    pub(crate) fn step(&mut self) {
        self.poll.poll(&mut self.events, Some(Duration::ZERO)).expect("epoll");
        for event in &self.events {
            event_loop::dispatch(&mut self.worker, event);
        }
        self.worker.turn();
    }

    /// Runs the loop until `done` gives something.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = done(self) {
                return value;
            }
            assert!(start.elapsed() < PATIENCE, "never came: {what}");
            self.step();
        }
    }

    /// Runs the loop until nothing is left to do that does not wait for time.
    pub(crate) fn settle(&mut self) {
        for _ in 0..16 {
            self.step();
        }
    }

    /// A session that has said nothing yet.
    pub(crate) fn stranger(&mut self) -> Program {
        let socket = rustix::net::socket_with(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::SEQPACKET,
            rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
            None,
        );
        let socket = socket.expect("socket");
        let address = rustix::net::SocketAddrUnix::new(&self.path).expect("a path");
        rustix::net::connect(&socket, &address).expect("connect");
        Program { endpoint: Endpoint::new(socket) }
    }

    pub(crate) fn program(&mut self) -> Program {
        let mut program = self.stranger();
        program.endpoint.send(&Hello { version: VERSION }, None).expect("hello");
        let welcome =
            self.until("a welcome", |_| program.endpoint.recv::<Welcome>().expect("recv"));
        assert_eq!(welcome.0, Welcome::Ready);
        program
    }

    pub(crate) fn answer(&mut self, program: &mut Program) -> (Answer, Option<OwnedFd>) {
        self.until("an answer", |_| program.endpoint.recv::<Answer>().expect("recv"))
    }

    pub(crate) fn ask(
        &mut self,
        program: &mut Program,
        request: Request,
        anchor: Option<&OwnedFd>,
    ) -> Answer {
        program.endpoint.send(&request, anchor.map(AsFd::as_fd)).expect("send");
        self.answer(program).0
    }

    pub(crate) fn socket(&mut self, program: &mut Program) -> OwnedFd {
        self.socket_of(program, SocketKind::Tcp)
    }

    pub(crate) fn socket_of(&mut self, program: &mut Program, kind: SocketKind) -> OwnedFd {
        let request = Request::Socket { kind };
        program.endpoint.send(&request, None).expect("send");
        match self.answer(program) {
            (Ok(Reply::Done), Some(anchor)) => anchor,
            other => panic!("no socket: {other:?}"),
        }
    }

    /// A listener on 127.0.0.1, and where it is.
    pub(crate) fn listener(&mut self, program: &mut Program) -> (OwnedFd, SocketAddr) {
        let anchor = self.socket(program);
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        assert_eq!(self.ask(program, Request::Bind { local }, Some(&anchor)), Ok(Reply::Done));
        let listen = Request::Listen { backlog: 4096 };
        assert_eq!(self.ask(program, listen, Some(&anchor)), Ok(Reply::Done));
        match self.ask(program, Request::LocalAddress, Some(&anchor)) {
            Ok(Reply::Address(address)) => (anchor, address),
            other => panic!("no address: {other:?}"),
        }
    }

    /// A connection under way.
    pub(crate) fn connect(&mut self, program: &mut Program, remote: SocketAddr) -> OwnedFd {
        let anchor = self.socket(program);
        assert_eq!(self.ask(program, Request::Connect { remote }, Some(&anchor)), Ok(Reply::Done));
        anchor
    }

    pub(crate) fn accept(&mut self, listener: &OwnedFd) -> (OwnedFd, AcceptRecord) {
        let taken = self.until("a connection", |_| take_record(listener));
        assert_eq!(write(listener, &[0]), Ok(1));
        taken
    }

    /// Two ends of an established connection: the one that connected, and the other.
    pub(crate) fn connection(&mut self, program: &mut Program) -> (OwnedFd, OwnedFd) {
        let (listener, address) = self.listener(program);
        let client = self.connect(program, address);
        let (server, record) = self.accept(&listener);
        assert_eq!(record.local, address);
        self.until("writability", |_| events(&client).contains(PollFlags::OUT).then_some(()));
        (client, server)
    }

    pub(crate) fn take_error(&mut self, program: &mut Program, anchor: &OwnedFd) -> Option<Error> {
        match self.ask(program, Request::TakeError, Some(anchor)) {
            Ok(Reply::Failure(error)) => error,
            other => panic!("no failure: {other:?}"),
        }
    }

    /// What is read next: bytes, nothing at the end, or an error.
    pub(crate) fn read(&mut self, anchor: &OwnedFd) -> Result<Vec<u8>, Errno> {
        self.until("bytes", |_| read_now(anchor))
    }

    /// Everything up to the end.
    pub(crate) fn read_to_end(&mut self, anchor: &OwnedFd) -> Result<Vec<u8>, Errno> {
        let mut all = Vec::new();
        loop {
            match self.read(anchor)? {
                bytes if bytes.is_empty() => return Ok(all),
                bytes => all.extend(bytes),
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(directory) = self.path.parent() {
            // Nothing depends on it.
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

pub(crate) fn take_record(listener: &OwnedFd) -> Option<(OwnedFd, AcceptRecord)> {
    let mut bytes = [0; AcceptRecord::LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    match recvmsg(listener, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
        Ok(received) => assert_eq!(received.bytes, AcceptRecord::LEN),
        Err(Errno::AGAIN) => return None,
        Err(errno) => panic!("accept: {errno}"),
    }
    let anchor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut arrived) => arrived.next(),
        _ => None,
    });
    Some((anchor.expect("an anchor"), AcceptRecord::decode(&bytes).expect("a record")))
}

pub(crate) fn read_now(anchor: &OwnedFd) -> Option<Result<Vec<u8>, Errno>> {
    let mut bytes = vec![0; 1 << 20];
    match rustix::net::recv(anchor, &mut bytes[..], RecvFlags::DONTWAIT) {
        Ok((count, _)) => {
            bytes.truncate(count);
            Some(Ok(bytes))
        }
        Err(Errno::AGAIN) => None,
        Err(errno) => Some(Err(errno)),
    }
}

/// Bytes taken; fewer than offered when the anchor is full.
pub(crate) fn write(anchor: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::net::send(anchor, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN) => Ok(0),
        other => other,
    }
}

/// What poll(2) says of it now.
pub(crate) fn events(anchor: &impl AsFd) -> PollFlags {
    let anchor: BorrowedFd<'_> = anchor.as_fd();
    let mut fds = [PollFd::new(&anchor, PollFlags::IN | PollFlags::OUT | PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).expect("poll");
    fds[0].revents()
}
