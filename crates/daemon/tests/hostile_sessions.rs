//! Programs that say anything to the daemon, with descriptors of any kind, and let go at any time.
//!
//! The daemon must not end, nor keep anything once they are gone, nor let somebody else wait for more
//! than a bounded number of its turns. Each run has a seed, which is printed when it fails;
//! `NARROWS_SEED=N` runs that one alone.

mod setup;

use anyhow::{Context, Result, ensure};
use narrows_client::{
    TcpListener, TcpStream,
    ipc::{
        AcceptRecord, Answer, Endpoint, Reply, Request,
        codec::{self, MAX_PACKET},
        message::{GroupInterface, OptionName, SocketKind, SocketOption},
    },
};
use narrows_testbed::as_root;
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    fs::{MemfdFlags, memfd_create},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg,
        socket, socketpair, sockopt,
    },
    process::{PidfdFlags, getpid, pidfd_open},
};
use setup::{PATIENCE, Setup, with_daemon};
use std::{
    fs::File,
    io::{IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Mutex,
    time::Duration,
};

/// What the programs of one run do, in steps.
const STEPS: u32 = 2500;

/// Sessions held at once: more than the daemon serves in a turn, if each has something to say.
const SESSIONS: usize = 24;

/// Descriptors that one packet can carry (SCM_MAX_FD), and anchors that are held at once.
const MOST_SENT: usize = 253;
const ANCHORS: usize = 64;

/// Turns of the daemon between a request and its answer, whoever else asks: what `SESSIONS` can have
/// in their queues is worked off in fewer, by 32 requests of each session in a turn.
const PATIENCE_IN_TURNS: u64 = 200;

/// splitmix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let index = self.below(all.len());
        all.get(index)
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1);
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn address(&mut self) -> SocketAddr {
        let any = Ipv4Addr::from(self.next() as u32);
        let addresses = [
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::BROADCAST,
            [224, 0, 0, 9].into(),
        ];
        let address = if self.below(4) == 0 { any } else { addresses[self.below(4)] };
        let port = [0, 1, 8000, 9000, 40_000, u16::MAX][self.below(6)];
        SocketAddr::from((address, port))
    }
}

/// Everything a hostile program holds.
struct Hostile {
    draw: Draw,
    sessions: Vec<Endpoint>,
    anchors: Vec<OwnedFd>,
    /// Descriptors that are no anchors.
    others: Vec<OwnedFd>,
}

fn strangers() -> Result<Vec<OwnedFd>> {
    let (reader, writer) = rustix::pipe::pipe()?;
    let stream = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let own = pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(vec![
        File::open("/dev/zero")?.into(),
        File::open("/proc/self/maps")?.into(),
        File::open("/")?.into(),
        reader,
        writer,
        stream.0,
        stream.1,
        socket(AddressFamily::INET, SocketType::STREAM, None)?,
        socket(AddressFamily::UNIX, SocketType::DGRAM, None)?,
        socket(AddressFamily::NETLINK, SocketType::RAW, None)?,
        eventfd(0, EventfdFlags::CLOEXEC)?,
        epoll::create(epoll::CreateFlags::CLOEXEC)?,
        memfd_create(c"stranger", MemfdFlags::CLOEXEC)?,
        own,
    ])
}

/// A request as a program could make it.
fn request(draw: &mut Draw) -> Request {
    let local = draw.address();
    let names = [OptionName::TcpInfo, OptionName::Kind, OptionName::Device, OptionName::PathMtu];
    match draw.below(18) {
        0..3 => {
            let kinds = [SocketKind::Tcp, SocketKind::Udp, SocketKind::Ping];
            Request::Socket { kind: kinds[draw.below(3)] }
        }
        3 => Request::Bind { local },
        4 | 5 => Request::Connect { remote: local },
        6 => Request::Listen { backlog: draw.next() as u32 },
        7 => Request::Disconnect,
        8 => Request::LocalAddress,
        9 => Request::PeerAddress,
        10 => Request::GetOption(names[draw.below(4)]),
        11 => Request::SetOption(SocketOption::SendBuffer(draw.next() as u32)),
        12 => Request::SetOption(SocketOption::Linger(Some(Duration::from_secs(draw.next())))),
        13 => Request::SetOption(SocketOption::MulticastInterface(GroupInterface::Number(
            draw.next() as u32,
        ))),
        14 => Request::Reach {
            remote: Some(local),
            source: None,
            interface: draw.next() as u32,
            length: draw.next() as u32,
            segment_size: Some(draw.next() as u16),
        },
        15 => Request::TakeError,
        16 => Request::Sockets { after: draw.next() },
        _ => Request::Statistics,
    }
}

/// The bytes of one, some of which may be others.
fn packet(draw: &mut Draw) -> Vec<u8> {
    if draw.below(8) == 0 {
        return draw.bytes(300);
    }
    let mut buffer = vec![0; MAX_PACKET];
    let request = request(draw);
    let mut packet = codec::encode(&request, &mut buffer).map(<[u8]>::to_vec).unwrap_or_default();
    if draw.below(3) == 0 {
        for _ in 0..=draw.below(3) {
            let (place, value) = (draw.below(packet.len()), draw.next() as u8);
            if let Some(byte) = packet.get_mut(place) {
                *byte = value;
            }
        }
        packet.truncate(packet.len() - draw.below(3).min(packet.len()));
        packet.extend(draw.bytes(4));
    }
    packet
}

/// Does it ask for something that this test's own user may do, and that would end the test?
fn is_the_operators(packet: &[u8]) -> bool {
    let stops = |request| matches!(request, Request::Stop | Request::Reload | Request::Change(_));
    codec::decode::<Request>(packet).is_ok_and(stops)
}

fn send(to: BorrowedFd<'_>, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SENT))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(to, &[IoSlice::new(packet)], &mut control, flags).map(drop)
}

impl Hostile {
    fn new(seed: u64) -> Result<Self> {
        let (sessions, anchors) = (Vec::new(), Vec::new());
        Ok(Self { draw: Draw(seed), sessions, anchors, others: strangers()? })
    }

    fn step(&mut self, setup: &Setup) -> Result<()> {
        match self.draw.below(20) {
            0 | 1 => self.open_session(setup)?,
            2 => {
                let index = self.draw.below(self.sessions.len());
                if index < self.sessions.len() {
                    self.sessions.swap_remove(index);
                }
            }
            3 | 4 => self.mistreat_anchor(),
            5..9 => self.take_answers()?,
            _ => self.speak(),
        }
        Ok(())
    }

    /// Some never say hello, or say it wrong.
    fn open_session(&mut self, setup: &Setup) -> Result<()> {
        if self.sessions.len() >= SESSIONS {
            return Ok(());
        }
        if self.draw.below(4) > 0 {
            self.sessions.push(Endpoint::connect(&setup.socket())?);
            return Ok(());
        }
        let address = rustix::net::SocketAddrUnix::new(setup.socket())?;
        let session = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
        rustix::net::connect(&session, &address)?;
        let hello = self.draw.bytes(8);
        // The daemon may have ended it already.
        let _ = send(session.as_fd(), &hello, &[]);
        self.sessions.push(Endpoint::new(session));
        Ok(())
    }

    fn speak(&mut self) {
        let packet = packet(&mut self.draw);
        if is_the_operators(&packet) {
            return;
        }
        let Some(session) = self.draw.one_of(&self.sessions) else { return };
        let opens = |request| matches!(request, Request::Socket { .. });
        let is_new = codec::decode::<Request>(&packet).is_ok_and(opens);
        let count = match self.draw.below(40) {
            // About no socket yet.
            5.. if is_new => 0,
            0 => MOST_SENT,
            1..4 => 2,
            4..32 => 1,
            _ => 0,
        };
        let mut descriptors = Vec::new();
        for _ in 0..count {
            let chosen = match self.draw.below(12) {
                0 => self.draw.one_of(&self.others),
                1 => {
                    descriptors.push(session.as_fd());
                    None
                }
                _ => self.draw.one_of(&self.anchors),
            };
            descriptors.extend(chosen.map(AsFd::as_fd));
        }
        // Its queue may be full, and the daemon may have ended it.
        let _ = send(session.as_fd(), &packet, &descriptors);
    }

    /// Reads what came; sessions that are left out never do.
    fn take_answers(&mut self) -> Result<()> {
        let index = self.draw.below(self.sessions.len());
        let Some(session) = self.sessions.get_mut(index).filter(|_| !index.is_multiple_of(4))
        else {
            return Ok(());
        };
        rustix::io::ioctl_fionbio(&*session, true)?;
        while let Ok(Some((_, anchor))) = session.recv::<Answer>() {
            if self.anchors.len() < ANCHORS {
                self.anchors.extend(anchor);
            }
        }
        rustix::io::ioctl_fionbio(&*session, false)?;
        Ok(())
    }

    fn mistreat_anchor(&mut self) {
        let index = self.draw.below(self.anchors.len());
        let Some(anchor) = self.anchors.get(index) else { return };
        // All of this may be refused, in the state the anchor is in.
        match self.draw.below(7) {
            0 => _ = rustix::net::shutdown(anchor, Shutdown::Write),
            1 => _ = rustix::net::shutdown(anchor, Shutdown::Read),
            2 => _ = rustix::net::shutdown(anchor, Shutdown::Both),
            3 => {
                let mut room = [0; 5000];
                let _ = rustix::net::recv(anchor, &mut room, RecvFlags::DONTWAIT);
            }
            4 => {
                let other = self.draw.one_of(&self.others).map(AsFd::as_fd);
                let _ = send(anchor.as_fd(), b"take this", other.as_slice());
            }
            5 => drop(self.anchors.swap_remove(index)),
            _ => {
                let bytes = self.draw.bytes(70_000);
                let _ = send(anchor.as_fd(), &bytes, &[]);
            }
        }
    }
}

/// Somebody who behaves, and has a connection.
struct Victim {
    session: Endpoint,
    near: TcpStream,
    far: TcpStream,
}

impl Victim {
    fn new(setup: &Setup) -> Result<Self> {
        let stack = setup.stack()?;
        let listener = TcpListener::bind(&stack, "127.0.0.1:7777".parse()?)?;
        let near = TcpStream::connect(&stack, "127.0.0.1:7777".parse()?)?;
        let (far, _) = listener.accept()?;
        Ok(Self { session: Endpoint::connect(&setup.socket())?, near, far })
    }

    /// Its bytes arrive, and its questions are answered within the bound.
    fn check(&mut self, message: u64) -> Result<()> {
        let before = self.turns()?;
        let after = self.turns()?;
        ensure!(after - before <= PATIENCE_IN_TURNS, "answered after {} turns", after - before);
        let mut bytes = [0; 8];
        self.near.write_all(&message.to_be_bytes())?;
        self.far.read_exact(&mut bytes)?;
        ensure!(u64::from_be_bytes(bytes) == message);
        Ok(())
    }

    fn turns(&mut self) -> Result<u64> {
        self.session.send(&Request::Statistics, None)?;
        let (answer, _) = self.session.recv::<Answer>()?.context("an answer")?;
        let Reply::Statistics(statistics) = answer? else { anyhow::bail!("not statistics") };
        let turns = statistics.counters.iter().find(|(name, _)| name == "daemon-turns");
        Ok(turns.context("turns")?.1)
    }
}

/// What the test has itself: that of its stack, and the one that asks how many there are. (Counting them
/// at the beginning would count those of earlier questions, which may not have gone yet.)
const OWN_SESSIONS: u64 = 2;
/// What a [`Victim`] has, while it lives: that of its streams, and its own.
const VICTIM_SESSIONS: u64 = 2;

/// The daemon keeps a pair that was made for an anchor and not needed, or none.
const SPARE_PAIR: usize = 2;

/// The tests count descriptors, which are the process's.
static ALONE: Mutex<()> = Mutex::new(());

fn descriptors() -> Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

fn run(setup: &Setup, seed: u64) -> Result<()> {
    let before = descriptors()?;
    let anchors = setup.counter("daemon-anchors-opened")?;
    let mut victim = Victim::new(setup)?;
    let mut hostile = Hostile::new(seed)?;
    for step in 0..STEPS {
        hostile.step(setup)?;
        if step % 100 == 0 {
            victim.check(u64::from(step)).with_context(|| format!("step {step}"))?;
        }
    }
    let reached = setup.counter("daemon-anchors-opened")? - anchors;
    ensure!(reached > 20, "only {reached} sockets were made: this run tried nothing");
    drop((victim, hostile));
    setup.until("every session to go", || Ok(setup.counter("daemon-sessions")? == OWN_SESSIONS))?;
    setup.until("every anchor to go", || Ok(setup.counter("daemon-anchors")? == 0))?;
    setup.until("every descriptor to be closed", || Ok(descriptors()? <= before + SPARE_PAIR))?;
    setup.until("every buffer to be given back", || Ok(setup.counter("buffered-bytes")? == 0))
}

#[test]
fn whatever_programs_say_the_daemon_serves_the_others_and_keeps_nothing() -> Result<()> {
    let given = std::env::var("NARROWS_SEED").ok().and_then(|text| text.parse().ok());
    let seeds = given.map_or(vec![1, 2, 3, 4], |seed| vec![seed]);
    let _alone = ALONE.lock();
    as_root(|| {
        with_daemon(|setup, _| {
            // Made once: the thread that closes, and what libraries keep.
            run(setup, 0).context("seed 0")?;
            seeds.iter().try_for_each(|seed| run(setup, *seed).context(format!("seed {seed}")))
        })
    })
}

#[test]
fn a_fork_bomb_of_sessions_leaves_nothing() -> Result<()> {
    const BOMB: usize = 400;
    let _alone = ALONE.lock();
    as_root(|| {
        with_daemon(|setup, _| {
            let mut victim = Victim::new(setup)?;
            let before = descriptors()?;
            for round in 0..5 {
                let sessions = (0..BOMB).map(|_| Endpoint::connect(&setup.socket()));
                let sessions = sessions.collect::<Result<Vec<_>, _>>()?;
                victim.check(round)?;
                drop(sessions);
                victim.check(round)?;
            }
            setup.until("every session to go", || {
                Ok(setup.counter("daemon-sessions")? == OWN_SESSIONS + VICTIM_SESSIONS)
            })?;
            setup.until("every descriptor to be closed", || Ok(descriptors()? <= before))
        })
    })
}

/// A socket of the kernel's that can't be closed for an hour, or until the other one is.
fn lingering() -> Result<(OwnedFd, std::net::TcpStream)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let mut socket = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    while socket.write(&[0; 65536]).is_ok() {}
    sockopt::set_socket_linger(&socket, Some(Duration::from_secs(3600)))?;
    Ok((socket.into(), other))
}

/// Sends a descriptor over one of the ways to the daemon; false: the kernel doesn't let it.
type Way = fn(&Setup, BorrowedFd<'_>) -> Result<(bool, Endpoint)>;

/// A session whose next packet is read so late that its sender has let go of what is in it.
fn busy_session(setup: &Setup) -> Result<Endpoint> {
    let mut session = Endpoint::connect(&setup.socket())?;
    for _ in 0..20 {
        session.send(&Request::Statistics, None)?;
    }
    Ok(session)
}

fn was_sent(sent: Result<(), Errno>) -> Result<bool> {
    match sent {
        Ok(()) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

fn along(
    session: Endpoint,
    request: &Request,
    stranger: BorrowedFd<'_>,
) -> Result<(bool, Endpoint)> {
    let mut buffer = [0; MAX_PACKET];
    let packet = codec::encode(request, &mut buffer)?;
    Ok((was_sent(send(session.as_fd(), packet, &[stranger]))?, session))
}

const WAYS: [(&str, Way); 6] = [
    ("instead of hello", |setup, stranger| {
        let address = rustix::net::SocketAddrUnix::new(setup.socket())?;
        let session = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
        rustix::net::connect(&session, &address)?;
        let sent = was_sent(send(session.as_fd(), b"hello", &[stranger]))?;
        Ok((sent, Endpoint::new(session)))
    }),
    ("with a request about no socket", |setup, stranger| {
        along(busy_session(setup)?, &Request::DropReasons, stranger)
    }),
    ("with a request about a socket", |setup, stranger| {
        along(busy_session(setup)?, &Request::LocalAddress, stranger)
    }),
    ("unread", |setup, stranger| {
        let session = busy_session(setup)?;
        // As good as the end.
        send(session.as_fd(), b"", &[])?;
        along(session, &Request::LocalAddress, stranger)
    }),
    ("as bytes of a connection", |setup, stranger| {
        let mut session = Endpoint::connect(&setup.socket())?;
        let anchor = open(&mut session, SocketKind::Tcp)?;
        Ok((was_sent(send(anchor.as_fd(), b"x", &[stranger]))?, session))
    }),
    ("with a datagram", |setup, stranger| {
        let mut session = Endpoint::connect(&setup.socket())?;
        let anchor = open(&mut session, SocketKind::Udp)?;
        Ok((was_sent(send(anchor.as_fd(), b"x", &[stranger]))?, session))
    }),
];

#[test]
fn descriptors_that_take_an_hour_to_close_hold_up_nobody_and_are_not_lost() -> Result<()> {
    /// Sessions after them, whose own descriptors must not get lost behind them.
    const SESSIONS: u64 = 1500;
    let _alone = ALONE.lock();
    as_root(|| {
        with_daemon(|setup, _| {
            let mut victim = Victim::new(setup)?;
            sockopt::set_socket_timeout(&victim.session, sockopt::Timeout::Recv, Some(PATIENCE))?;
            setup.until("the victim to be cut through", || {
                Ok(setup.counter("daemon-anchors")? == 0)
            })?;
            let before = descriptors()?;
            let (mut others, mut closing, mut ways) = (Vec::new(), Vec::new(), 0);
            for (what, way) in WAYS {
                let (stranger, other) = lingering()?;
                let (sent, session) = way(setup, stranger.as_fd()).context(what)?;
                // If nobody else has it, this takes an hour too.
                closing.push(std::thread::spawn(move || drop(stranger)));
                others.push(other);
                ways += usize::from(sent);
                victim.check(1).context(what)?;
                drop(session);
                victim.check(2).context(what)?;
            }
            ensure!(ways >= 3, "{ways} ways were open: this run tried nothing");
            for round in 0..SESSIONS {
                drop(Endpoint::connect(&setup.socket())?);
                if round.is_multiple_of(100) {
                    victim.check(round)?;
                }
            }
            drop(others);
            for thread in closing {
                thread.join().ok().context("a thread that closes")?;
            }
            setup.until("every descriptor to be closed", || Ok(descriptors()? <= before))
        })
    })
}

/// How far a socket has come when its program turns on it.
#[derive(Clone, Copy, Debug)]
enum Point {
    Fresh,
    Bound,
    Listening,
    /// With a connection that nobody accepted.
    Wanted,
    /// To somebody who never answers.
    Connecting,
    Connected,
    /// The peer has sent its last byte.
    PeerEnded,
    /// The peer has reset the connection.
    PeerReset,
    Datagrams,
    ConnectedDatagrams,
}

const POINTS: [Point; 10] = [
    Point::Fresh,
    Point::Bound,
    Point::Listening,
    Point::Wanted,
    Point::Connecting,
    Point::Connected,
    Point::PeerEnded,
    Point::PeerReset,
    Point::Datagrams,
    Point::ConnectedDatagrams,
];

/// One program's socket, and what has to live as long.
struct Scene {
    session: Endpoint,
    anchor: OwnedFd,
    _others: Vec<OwnedFd>,
}

fn exchange(
    session: &mut Endpoint,
    request: &Request,
    anchor: Option<BorrowedFd<'_>>,
) -> Result<Option<OwnedFd>> {
    session.send(request, anchor)?;
    // Whether it is refused is not the question here.
    Ok(session.recv::<Answer>()?.context("an answer")?.1)
}

fn open(session: &mut Endpoint, kind: SocketKind) -> Result<OwnedFd> {
    exchange(session, &Request::Socket { kind }, None)?.context("an anchor")
}

/// The anchor that comes with the next record of a listener's.
fn accept(listener: &OwnedFd) -> Result<OwnedFd> {
    let mut record = [0; AcceptRecord::LEN];
    sockopt::set_socket_timeout(listener, sockopt::Timeout::Recv, Some(PATIENCE))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(listener, &mut [IoSliceMut::new(&mut record)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let came = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    came.context("a record without an anchor")
}

impl Scene {
    fn at(setup: &Setup, point: Point) -> Result<Self> {
        let mut session = Endpoint::connect(&setup.socket())?;
        let kind = match point {
            Point::Datagrams | Point::ConnectedDatagrams => SocketKind::Udp,
            _ => SocketKind::Tcp,
        };
        let mut anchor = open(&mut session, kind)?;
        let mut others = Vec::new();
        let local: SocketAddr = "127.0.0.1:9100".parse()?;
        let mut ask = |request: &Request, about: &OwnedFd| {
            exchange(&mut session, request, Some(about.as_fd())).map(drop)
        };
        // The one before may be in TIME-WAIT.
        ask(&Request::SetOption(SocketOption::ReuseAddress(true)), &anchor)?;
        match point {
            Point::Fresh | Point::Datagrams => {}
            Point::Bound => ask(&Request::Bind { local }, &anchor)?,
            Point::Connecting => {
                ask(&Request::Connect { remote: "10.77.0.99:1".parse()? }, &anchor)?
            }
            Point::ConnectedDatagrams => ask(&Request::Connect { remote: local }, &anchor)?,
            Point::Listening
            | Point::Wanted
            | Point::Connected
            | Point::PeerEnded
            | Point::PeerReset => {
                ask(&Request::Bind { local }, &anchor)?;
                ask(&Request::Listen { backlog: 8 }, &anchor)?;
            }
        }
        if matches!(point, Point::Wanted | Point::Connected | Point::PeerEnded | Point::PeerReset) {
            let other = open(&mut session, SocketKind::Tcp)?;
            exchange(&mut session, &Request::Connect { remote: local }, Some(other.as_fd()))?;
            others.push(other);
        }
        if matches!(point, Point::Connected | Point::PeerEnded | Point::PeerReset) {
            // As the program with the listener would: the record brings the connection's anchor.
            let accepted = accept(&anchor)?;
            let listener = std::mem::replace(&mut anchor, accepted);
            if let (Point::PeerReset, Some(other)) = (point, others.pop()) {
                rustix::net::send(&anchor, b"unread", SendFlags::NOSIGNAL)?;
                drop(other);
            } else if let (Point::PeerEnded, Some(other)) = (point, others.last()) {
                rustix::net::shutdown(other, Shutdown::Write)?;
            }
            others.push(listener);
        }
        Ok(Self { session, anchor, _others: others })
    }
}

type Act = fn(Scene) -> Result<()>;

/// What its program does then. All of it may be refused, by the kernel or by the daemon.
const ACTS: [(&str, Act); 8] = [
    ("lets go", |_| Ok(())),
    ("lets go of the session first", |scene| {
        drop(scene.session);
        Ok(())
    }),
    ("writes and lets go", |scene| {
        let _ = send(scene.anchor.as_fd(), &[7; 60_000], &[]);
        Ok(())
    }),
    ("stops reading", |scene| {
        let _ = rustix::net::shutdown(&scene.anchor, Shutdown::Read);
        let _ = send(scene.anchor.as_fd(), b"x", &[]);
        Ok(())
    }),
    ("stops writing", |scene| {
        let _ = rustix::net::shutdown(&scene.anchor, Shutdown::Write);
        Ok(())
    }),
    ("stops both and goes on", |mut scene| {
        let _ = rustix::net::shutdown(&scene.anchor, Shutdown::Both);
        let about = Some(scene.anchor.as_fd());
        exchange(&mut scene.session, &Request::Listen { backlog: 1 }, about)?;
        exchange(&mut scene.session, &Request::TakeError, about)?;
        Ok(())
    }),
    ("sends itself along", |scene| {
        let _ = send(scene.anchor.as_fd(), b"x", &[scene.anchor.as_fd()]);
        Ok(())
    }),
    ("asks for everything at once", |mut scene| {
        let remote = "127.0.0.1:9100".parse()?;
        let about = Some(scene.anchor.as_fd());
        for request in [
            Request::Connect { remote },
            Request::Listen { backlog: 0 },
            Request::Disconnect,
            Request::Bind { local: remote },
            Request::PeerAddress,
        ] {
            exchange(&mut scene.session, &request, about)?;
        }
        Ok(())
    }),
];

#[test]
fn anchors_may_be_mistreated_at_every_point_of_a_sockets_life() -> Result<()> {
    let _alone = ALONE.lock();
    as_root(|| {
        with_daemon(|setup, _| {
            let mut victim = Victim::new(setup)?;
            setup.until("the victim to be cut through", || {
                Ok(setup.counter("daemon-anchors")? == 0)
            })?;
            let open = descriptors()?;
            for point in POINTS {
                for (what, act) in ACTS {
                    let what = format!("{point:?}, {what}");
                    Scene::at(setup, point).and_then(act).with_context(|| what.clone())?;
                    setup.until(&what, || Ok(setup.counter("daemon-anchors")? == 0))?;
                    victim.check(7).context(what)?;
                }
            }
            setup.until("every descriptor to be closed", || Ok(descriptors()? <= open))
        })
    })
}
