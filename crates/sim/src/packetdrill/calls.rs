//! System calls of a script as requests to the engine.
//!
//! Descriptors have the numbers that the script gives them. What a kernel's socket layer does on top
//! of the protocol (non-blocking mode, an error that is told once, end of file after it) is here and
//! in `transfer`.

use super::{
    Fault,
    control::Reports,
    epoll, files,
    flow::{Flow, Phase},
    machine::{Machine, REMOTE},
    options, poll,
    script::{Call, Expected, Expression},
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_stack::{
    Error, Reply, Request, SocketId, request::SocketInfo, tcp::State, time::Duration,
};
use std::collections::BTreeMap;

/// The port of the script's servers, the stack's and the remote one.
pub(super) const SERVER_PORT: u16 = 8080;
/// The first port of remote clients.
const FIRST_CLIENT_PORT: u16 = 40_000;

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Returned(i64),
    Failed(&'static str),
    /// It waits for something, on a descriptor that blocks.
    Blocked,
}

/// One open descriptor.
#[derive(Clone, Debug)]
pub(super) struct Descriptor {
    pub socket: SocketId,
    pub blocking: bool,
    /// shutdown(SHUT_RD)
    pub deaf: bool,
    /// connect() was called.
    pub connecting: bool,
    /// Of a blocking write: bytes taken so far.
    pub written: usize,
    /// A call that waits for the handshake which it began itself.
    pub opening: bool,
    pub reports: Reports,
    /// SO_RCVLOWAT
    pub low: usize,
}

/// The program of the script.
#[derive(Default)]
pub(super) struct Program {
    pub descriptors: BTreeMap<i64, Descriptor>,
    pub flow: Flow,
    /// Whose connection packets and code are about.
    pub subject: Option<SocketId>,
    pub clients: u16,
    /// What was followed before: what still comes of it is nobody's business.
    pub past: Vec<(u16, u16)>,
    pub sets: BTreeMap<i64, epoll::Set>,
    pub others: BTreeMap<i64, files::Other>,
    /// Bytes in each pipe.
    pub pipes: BTreeMap<i64, usize>,
    /// How far from its time a timestamp may be.
    pub tolerance: Duration,
}

impl Program {
    /// Tries a call; `Blocked`: try it again when something has happened.
    pub(super) fn call(
        &mut self,
        machine: &mut Machine,
        line: usize,
        call: &Call,
    ) -> Result<Outcome, Fault> {
        let arguments = Arguments { line, call };
        match call.name.as_str() {
            "socket" => self.socket(machine, &arguments),
            "bind" => self.bind(machine, &arguments),
            "listen" => self.listen(machine, &arguments),
            "accept" => self.accept(machine, &arguments),
            "connect" => self.connect(machine, &arguments),
            "read" | "recv" | "recvfrom" | "readv" | "recvmsg" => self.receive(machine, &arguments),
            "write" | "send" | "sendto" | "writev" | "sendmsg" => {
                let outcome = self.send(machine, &arguments)?;
                self.wrote(machine, &arguments, &outcome)?;
                Ok(outcome)
            }
            "epoll_create" | "epoll_create1" => {
                let number = arguments.new_descriptor(self)?;
                self.sets.insert(number, epoll::Set::default());
                Ok(Outcome::Returned(number))
            }
            "epoll_ctl" => epoll::control(self, &arguments),
            "epoll_wait" => epoll::wait(self, machine, &arguments),
            "pipe" => files::pipe(self, &arguments),
            "open" => files::open(self, &arguments),
            "splice" => files::splice(self, machine, &arguments),
            "sendfile" => files::sendfile(self, machine, &arguments),
            "shutdown" => self.shutdown(machine, &arguments),
            "close" => self.close(machine, &arguments),
            "fcntl" => self.fcntl(&arguments),
            "setsockopt" => options::set(self, machine, &arguments),
            "getsockopt" => options::get(self.socket_of(&arguments)?, machine, &arguments),
            "poll" => poll::poll(self, machine, &arguments),
            "ioctl" => self.ioctl(machine, &arguments),
            name => Err(Fault::unsupported(line, format!("the call {name}()"))),
        }
    }

    fn socket(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        let kind = arguments.words(1)?;
        if !kind.contains(&"SOCK_STREAM") {
            return Err(arguments.unsupported("a socket other than SOCK_STREAM"));
        }
        let socket = match machine.request(Request::OpenTcp) {
            Ok(Reply::Socket(socket)) => socket,
            Ok(_) => return Err(arguments.unsupported("such a socket")),
            Err(error) => return Ok(Outcome::Failed(errno(error))),
        };
        let number = arguments.new_descriptor(self)?;
        let blocking = !kind.contains(&"SOCK_NONBLOCK");
        self.open(number, socket, blocking);
        self.follow(Flow::default(), Some(socket));
        Ok(Outcome::Returned(number))
    }

    fn open(&mut self, number: i64, socket: SocketId, blocking: bool) {
        let descriptor = Descriptor {
            socket,
            blocking,
            deaf: false,
            connecting: false,
            written: 0,
            opening: false,
            reports: Reports::default(),
            low: 1,
        };
        self.descriptors.insert(number, descriptor);
    }

    fn bind(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        let socket = self.socket_of(arguments)?;
        let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVER_PORT));
        let result = machine.request(Request::Bind { socket, local });
        self.flow.local_port = SERVER_PORT;
        self.flow.remote_port = self.next_client();
        done(result)
    }

    fn next_client(&mut self) -> u16 {
        self.clients += 1;
        FIRST_CLIENT_PORT + self.clients
    }

    fn listen(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        let socket = self.socket_of(arguments)?;
        let backlog = arguments.number(1)?.clamp(0, i64::from(u32::MAX)) as u32;
        let result = machine.request(Request::Listen { socket, backlog });
        if result.is_ok() {
            self.flow.phase = Phase::Listening;
        }
        done(result)
    }

    fn accept(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        let (socket, blocking) = self.descriptor(arguments, |it| (it.socket, it.blocking))?;
        match machine.request(Request::Accept { socket }) {
            Ok(Reply::Accepted { socket, .. }) => {
                let number = arguments.new_descriptor(self)?;
                self.open(number, socket, true);
                // As Linux: SO_ZEROCOPY is inherited.
                let zero_copy = self.descriptor(arguments, |it| it.reports.zero_copy)?;
                if let Some(descriptor) = self.descriptors.get_mut(&number) {
                    descriptor.reports.zero_copy = zero_copy;
                }
                self.subject = Some(socket);
                Ok(Outcome::Returned(number))
            }
            Err(Error::WouldBlock) => Ok(would_block(blocking)),
            result => done(result),
        }
    }

    fn connect(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        if arguments.words(1).is_ok_and(|words| words.contains(&"AF_UNSPEC")) {
            let socket = self.socket_of(arguments)?;
            self.descriptor(arguments, |it| (it.connecting, it.opening) = (false, false))?;
            return done(machine.request(Request::Disconnect { socket }));
        }
        let (socket, blocking) = self.descriptor(arguments, |it| (it.socket, it.blocking))?;
        if !self.descriptor(arguments, |it| it.connecting)? {
            let remote = SocketAddr::new(IpAddr::V4(REMOTE), SERVER_PORT);
            let reply = match machine.request(Request::Connect { socket, remote }) {
                Ok(reply) => reply,
                Err(error) => return Ok(Outcome::Failed(errno(error))),
            };
            self.descriptor(arguments, |it| it.connecting = true)?;
            let local_port = self.info(machine, arguments)?.local.port();
            self.follow(Flow::connecting(local_port, SERVER_PORT), Some(socket));
            machine.settle()?;
            if reply == Reply::Deferred {
                return Ok(Outcome::Returned(0));
            }
            return Ok(if blocking { Outcome::Blocked } else { Outcome::Failed("EINPROGRESS") });
        }
        let state = self.info(machine, arguments)?.state;
        if machine.shard.is_deferred(socket) {
            return Ok(Outcome::Failed("EISCONN"));
        }
        if state == State::SynSent || state == State::SynReceived {
            return Ok(if blocking { Outcome::Blocked } else { Outcome::Failed("EALREADY") });
        }
        Ok(match self.take_error(machine, socket) {
            Some(error) => Outcome::Failed(error),
            None if blocking => Outcome::Returned(0),
            None => Outcome::Failed("EISCONN"),
        })
    }

    fn shutdown(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        let socket = self.socket_of(arguments)?;
        let how = arguments.words(1)?;
        let (reading, writing) = match how.first() {
            Some(&"SHUT_RD") => (true, false),
            Some(&"SHUT_WR") => (false, true),
            Some(&"SHUT_RDWR") => (true, true),
            _ => return Err(arguments.syntax(1, "SHUT_RD, SHUT_WR or SHUT_RDWR")),
        };
        if self.info(machine, arguments)?.remote.is_none() {
            return Ok(Outcome::Failed("ENOTCONN"));
        }
        if reading {
            self.descriptor(arguments, |it| it.deaf = true)?;
        }
        if writing {
            done(machine.request(Request::ShutdownSend { socket }))
        } else {
            Ok(Outcome::Returned(0))
        }
    }

    /// Packets and code are about this from now on.
    pub(super) fn follow(&mut self, flow: Flow, subject: Option<SocketId>) {
        let before = (self.flow.local_port, self.flow.remote_port);
        self.past.retain(|ports| *ports != (flow.local_port, flow.remote_port));
        self.past.push(before);
        (self.flow, self.subject) = (flow, subject);
    }

    /// Was a connection between these ports followed before, and isn't any more?
    pub(super) fn is_past(&self, ports: (u16, u16)) -> bool {
        ports != (self.flow.local_port, self.flow.remote_port) && self.past.contains(&ports)
    }

    /// Something happened to a socket, or may have: those who wait for edges look.
    pub(super) fn woken(&mut self, machine: &mut Machine) {
        let awake = machine.take_woken();
        for (number, descriptor) in &mut self.descriptors {
            let socket = descriptor.socket;
            let news = super::control::collect(&mut descriptor.reports, machine, socket);
            if news > 0 || awake.contains(&socket) {
                self.sets.values_mut().for_each(|set| set.wake(*number));
            }
        }
    }

    /// What a call that sent is to tell of later.
    fn wrote(
        &mut self,
        machine: &mut Machine,
        arguments: &Arguments,
        outcome: &Outcome,
    ) -> Result<(), Fault> {
        let copied = super::message::Transfer::parse(arguments)?.has("MSG_ZEROCOPY");
        if matches!(outcome, Outcome::Returned(count) if *count > 0) {
            self.descriptor(arguments, |it| {
                super::control::wrote(&mut it.reports, machine, it.socket, copied);
            })?;
        }
        Ok(())
    }

    fn close(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        let number = arguments.number(0)?;
        if self.others.remove(&number).is_some() || self.sets.remove(&number).is_some() {
            return Ok(Outcome::Returned(0));
        }
        self.sets.values_mut().for_each(|set| set.forget(number));
        let socket = self.socket_of(arguments)?;
        self.descriptors.remove(&arguments.number(0)?);
        done(machine.request(Request::Close { socket }))
    }

    fn fcntl(&mut self, arguments: &Arguments) -> Result<Outcome, Fault> {
        const READ_WRITE: i64 = 0x02;
        const NON_BLOCKING: i64 = 0x800;
        match arguments.words(1)?.first() {
            Some(&"F_GETFL") => {
                let blocking = self.descriptor(arguments, |it| it.blocking)?;
                let flags = if blocking { READ_WRITE } else { READ_WRITE | NON_BLOCKING };
                Ok(Outcome::Returned(flags))
            }
            Some(&"F_SETFL") => {
                let blocking = !arguments.words(2)?.contains(&"O_NONBLOCK");
                self.descriptor(arguments, |it| it.blocking = blocking)?;
                Ok(Outcome::Returned(0))
            }
            _ => Err(arguments.unsupported("this command of fcntl()")),
        }
    }

    /// `ioctl(4, SIOCINQ, [1000])`: bytes that wait, in either direction.
    fn ioctl(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        let info = self.info(machine, arguments)?;
        let words = arguments.words(1)?;
        let came = match words.first() {
            Some(&"SIOCINQ" | &"FIONREAD") => info.receive_queue,
            Some(&"SIOCOUTQ" | &"TIOCOUTQ" | &"FIONWRITE") => info.send_queue,
            Some(&"SIOCOUTQNSD") => info.tcp.as_ref().map_or(0, |tcp| tcp.bytes_unsent as usize),
            _ => return Err(arguments.unsupported("this command of ioctl()")),
        };
        match arguments.list(2)? {
            [Expression::Number(expected)] if *expected == came as i64 => Ok(Outcome::Returned(0)),
            [Expression::Number(expected)] => {
                let expected = format!("{} of {expected}", words.join("|"));
                Err(Fault::mismatch(arguments.line, expected, format!("it is {came}")))
            }
            _ => Err(arguments.syntax(2, "a number in brackets")),
        }
    }

    /// What the first argument names.
    pub(super) fn descriptor<T>(
        &mut self,
        arguments: &Arguments,
        look: impl FnOnce(&mut Descriptor) -> T,
    ) -> Result<T, Fault> {
        let number = arguments.number(0)?;
        let descriptor = self.descriptors.get_mut(&number);
        descriptor.map(look).ok_or_else(|| {
            Fault::syntax(arguments.line, format!("descriptor {number} is not open"))
        })
    }

    pub(super) fn socket_of(&mut self, arguments: &Arguments) -> Result<SocketId, Fault> {
        self.descriptor(arguments, |it| it.socket)
    }

    pub(super) fn info(
        &mut self,
        machine: &mut Machine,
        arguments: &Arguments,
    ) -> Result<SocketInfo, Fault> {
        let socket = self.socket_of(arguments)?;
        let gone = |error| Fault::mismatch(arguments.line, "a socket", format!("{error}"));
        machine.info(socket).map_err(gone)
    }

    pub(super) fn take_error(
        &mut self,
        machine: &mut Machine,
        socket: SocketId,
    ) -> Option<&'static str> {
        match machine.request(Request::TakeError { socket }) {
            Ok(Reply::Error(error)) => error.map(errno),
            _ => None,
        }
    }
}

pub(super) fn would_block(blocking: bool) -> Outcome {
    if blocking { Outcome::Blocked } else { Outcome::Failed("EAGAIN") }
}

/// A call that gives nothing but success.
pub(super) fn done(result: Result<Reply, Error>) -> Result<Outcome, Fault> {
    Ok(match result {
        Ok(_) => Outcome::Returned(0),
        Err(error) => Outcome::Failed(errno(error)),
    })
}

/// As Linux names it.
pub(super) fn errno(error: Error) -> &'static str {
    match error {
        Error::NoSuchSocket => "EBADF",
        Error::NoSuchInterface => "ENODEV",
        Error::AddressInUse => "EADDRINUSE",
        Error::AddressNotAvailable => "EADDRNOTAVAIL",
        Error::FamilyNotSupported => "EAFNOSUPPORT",
        Error::AlreadyConnected => "EISCONN",
        Error::AlreadyInProgress => "EALREADY",
        Error::NotConnected => "ENOTCONN",
        Error::WouldBlock => "EAGAIN",
        Error::NetworkUnreachable => "ENETUNREACH",
        Error::HostUnreachable => "EHOSTUNREACH",
        Error::ConnectionRefused => "ECONNREFUSED",
        Error::ConnectionReset => "ECONNRESET",
        Error::ConnectionAborted => "ECONNABORTED",
        Error::TimedOut => "ETIMEDOUT",
        Error::BrokenPipe => "EPIPE",
        Error::MessageTooLong => "EMSGSIZE",
        Error::NotSupported => "EOPNOTSUPP",
        Error::LimitReached => "ENOBUFS",
        // The others are the operator's, who has no part in scripts.
        _ => "EINVAL",
    }
}

/// A call's arguments, and where it stands.
pub(super) struct Arguments<'a> {
    pub line: usize,
    pub call: &'a Call,
}

impl<'a> Arguments<'a> {
    pub(super) fn unsupported(&self, what: &str) -> Fault {
        Fault::unsupported(self.line, what)
    }

    pub(super) fn syntax(&self, index: usize, wanted: &str) -> Fault {
        let message = format!("argument {} of {}() is to be {wanted}", index + 1, self.call.name);
        Fault::syntax(self.line, message)
    }

    pub(super) fn get(&self, index: usize) -> Option<&'a Expression> {
        self.call.arguments.get(index)
    }

    /// A pointer to nowhere.
    pub(super) fn is_null(&self, index: usize) -> bool {
        matches!(self.get(index), Some(Expression::Word(word)) if word == "NULL")
    }

    pub(super) fn number(&self, index: usize) -> Result<i64, Fault> {
        match self.get(index) {
            Some(Expression::Number(number)) => Ok(*number),
            _ => Err(self.syntax(index, "a number")),
        }
    }

    /// A name, or names with `|` between; `0` is none.
    pub(super) fn words(&self, index: usize) -> Result<Vec<&'a str>, Fault> {
        let wrong = || self.syntax(index, "a name, or several with | between");
        let one = |expression: &'a Expression| match expression {
            Expression::Word(word) => Ok(word.as_str()),
            _ => Err(wrong()),
        };
        match self.get(index) {
            Some(Expression::Or(parts)) => parts.iter().map(one).collect(),
            Some(Expression::Number(0)) => Ok(Vec::new()),
            Some(expression) => Ok(vec![one(expression)?]),
            None => Err(wrong()),
        }
    }

    /// `[7200]`
    pub(super) fn list(&self, index: usize) -> Result<&'a [Expression], Fault> {
        match self.get(index) {
            Some(Expression::List(list)) => Ok(list),
            _ => Err(self.syntax(index, "a list in brackets")),
        }
    }

    /// The number that the script expects of a new descriptor, which must be free.
    pub(super) fn new_descriptor(&self, program: &Program) -> Result<i64, Fault> {
        let number = match self.call.result {
            Expected::Value(number) if number >= 0 => number,
            Expected::Anything => 3 + program.descriptors.len() as i64,
            _ => {
                let came = format!("{}() succeeded", self.call.name);
                return Err(Fault::mismatch(self.line, "an error", came));
            }
        };
        let open = program.descriptors.contains_key(&number)
            || program.others.contains_key(&number)
            || program.sets.contains_key(&number);
        if open {
            return Err(Fault::syntax(self.line, format!("descriptor {number} is open already")));
        }
        Ok(number)
    }
}

/// Seconds as an option has them.
pub(super) fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}
