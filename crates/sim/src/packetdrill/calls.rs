//! System calls of a script as requests to the engine.
//!
//! Descriptors have the numbers that the script gives them. What a kernel's socket layer does on top
//! of the protocol (non-blocking mode, an error that is told once, end of file after it) is here.

use super::{
    Fault,
    flow::{Flow, Phase},
    machine::{Machine, REMOTE},
    options, poll,
    script::{Call, Expected, Expression},
};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use narrows_stack::{
    Error, Reply, Request, SocketId,
    request::{SocketInfo, SocketOption},
    tcp::State,
    time::Duration,
};
use std::collections::BTreeMap;

/// The port of the script's servers, the stack's and the remote one.
const SERVER_PORT: u16 = 8080;
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
    connecting: bool,
    /// Of a blocking write: bytes taken so far.
    written: usize,
}

/// The program of the script.
#[derive(Default)]
pub(super) struct Program {
    pub descriptors: BTreeMap<i64, Descriptor>,
    pub flow: Flow,
    /// Whose connection packets and code are about.
    pub subject: Option<SocketId>,
    clients: u16,
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
            "read" | "recv" | "recvfrom" => self.receive(machine, &arguments),
            "write" | "send" | "sendto" => self.send(machine, &arguments),
            "shutdown" => self.shutdown(machine, &arguments),
            "close" => self.close(machine, &arguments),
            "fcntl" => self.fcntl(&arguments),
            "setsockopt" => options::set(self.socket_of(&arguments)?, machine, &arguments),
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
        let number = arguments.new_descriptor(&self.descriptors)?;
        let blocking = !kind.contains(&"SOCK_NONBLOCK");
        self.open(number, socket, blocking);
        (self.flow, self.subject) = (Flow::default(), Some(socket));
        Ok(Outcome::Returned(number))
    }

    fn open(&mut self, number: i64, socket: SocketId, blocking: bool) {
        let descriptor =
            Descriptor { socket, blocking, deaf: false, connecting: false, written: 0 };
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
                let number = arguments.new_descriptor(&self.descriptors)?;
                self.open(number, socket, true);
                self.subject = Some(socket);
                Ok(Outcome::Returned(number))
            }
            Err(Error::WouldBlock) => Ok(would_block(blocking)),
            result => done(result),
        }
    }

    fn connect(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        if arguments.words(1).is_ok_and(|words| words.contains(&"AF_UNSPEC")) {
            return Err(arguments.unsupported("connect() to AF_UNSPEC"));
        }
        let (socket, blocking) = self.descriptor(arguments, |it| (it.socket, it.blocking))?;
        if !self.descriptor(arguments, |it| it.connecting)? {
            let remote = SocketAddr::new(IpAddr::V4(REMOTE), SERVER_PORT);
            if let Err(error) = machine.request(Request::Connect { socket, remote }) {
                return Ok(Outcome::Failed(errno(error)));
            }
            self.descriptor(arguments, |it| it.connecting = true)?;
            let local_port = self.info(machine, arguments)?.local.port();
            self.flow = Flow::connecting(local_port, SERVER_PORT);
            self.subject = Some(socket);
            machine.settle()?;
            return Ok(if blocking { Outcome::Blocked } else { Outcome::Failed("EINPROGRESS") });
        }
        let state = self.info(machine, arguments)?.state;
        if state == State::SynSent || state == State::SynReceived {
            return Ok(if blocking { Outcome::Blocked } else { Outcome::Failed("EALREADY") });
        }
        Ok(match self.take_error(machine, socket) {
            Some(error) => Outcome::Failed(error),
            None if blocking => Outcome::Returned(0),
            None => Outcome::Failed("EISCONN"),
        })
    }

    fn receive(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        let (socket, blocking) = self.descriptor(arguments, |it| (it.socket, it.blocking))?;
        if arguments.is_null(1) {
            return Ok(Outcome::Failed("EFAULT"));
        }
        let deaf = self.descriptor(arguments, |it| it.deaf)?;
        let flags = arguments.words(3).unwrap_or_default();
        for flag in &flags {
            if !matches!(*flag, "MSG_PEEK" | "MSG_DONTWAIT" | "MSG_NOSIGNAL") {
                return Err(arguments.unsupported(flag));
            }
        }
        let room = usize::try_from(arguments.number(2)?).unwrap_or(0);
        let peek = flags.contains(&"MSG_PEEK");
        let mut offered = 0;
        let result = machine.shard.receive_with(machine.now, socket, room, |parts| {
            offered = parts.iter().map(|part| part.len()).sum();
            if peek { 0 } else { offered }
        });
        Ok(match result {
            Ok(_) => Outcome::Returned(offered as i64),
            Err(Error::WouldBlock) if deaf => Outcome::Returned(0),
            Err(Error::WouldBlock) => would_block(blocking && !flags.contains(&"MSG_DONTWAIT")),
            // An error is told once; after it comes the end.
            Err(Error::NotConnected) => Outcome::Failed("ENOTCONN"),
            Err(_) => match self.take_error(machine, socket) {
                Some(error) => Outcome::Failed(error),
                None => Outcome::Returned(0),
            },
        })
    }

    fn send(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
        let (socket, blocking) = self.descriptor(arguments, |it| (it.socket, it.blocking))?;
        if arguments.is_null(1) {
            return Ok(Outcome::Failed("EFAULT"));
        }
        let flags = arguments.words(3).unwrap_or_default();
        for flag in &flags {
            if !matches!(*flag, "MSG_DONTWAIT" | "MSG_NOSIGNAL" | "MSG_MORE") {
                return Err(arguments.unsupported(flag));
            }
        }
        let length = usize::try_from(arguments.number(2)?).unwrap_or(0);
        let more = flags.contains(&"MSG_MORE");
        if more {
            self.cork(machine, socket, true);
        }
        let mut written = self.descriptor(arguments, |it| it.written)?;
        let outcome = loop {
            if written == length {
                break Outcome::Returned(length as i64);
            }
            let left = length - written;
            let result = machine.shard.send_with(machine.now, socket, left, |parts| {
                parts.iter().map(|part| part.len()).sum()
            });
            match result {
                Ok(0) if blocking => break Outcome::Blocked,
                Ok(0) if written > 0 => break Outcome::Returned(written as i64),
                Ok(0) => break Outcome::Failed("EAGAIN"),
                Ok(count) => written += count,
                Err(Error::BrokenPipe) => break Outcome::Failed("EPIPE"),
                Err(_) => {
                    break Outcome::Failed(self.take_error(machine, socket).unwrap_or("EPIPE"));
                }
            }
        };
        let kept = if outcome == Outcome::Blocked { written } else { 0 };
        self.descriptor(arguments, |it| it.written = kept)?;
        Ok(outcome)
    }

    fn cork(&mut self, machine: &mut Machine, socket: SocketId, on: bool) {
        let option = SocketOption::Cork(on);
        // A socket that is not connected keeps the setting for later.
        let _ = machine.request(Request::SetOption { socket, option });
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

    fn close(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<Outcome, Fault> {
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
    fn descriptor<T>(
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

    fn socket_of(&mut self, arguments: &Arguments) -> Result<SocketId, Fault> {
        self.descriptor(arguments, |it| it.socket)
    }

    fn info(&mut self, machine: &mut Machine, arguments: &Arguments) -> Result<SocketInfo, Fault> {
        let socket = self.socket_of(arguments)?;
        let gone = |error| Fault::mismatch(arguments.line, "a socket", format!("{error}"));
        machine.info(socket).map_err(gone)
    }

    fn take_error(&mut self, machine: &mut Machine, socket: SocketId) -> Option<&'static str> {
        match machine.request(Request::TakeError { socket }) {
            Ok(Reply::Error(error)) => error.map(errno),
            _ => None,
        }
    }
}

fn would_block(blocking: bool) -> Outcome {
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
    fn is_null(&self, index: usize) -> bool {
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
    fn new_descriptor(&self, open: &BTreeMap<i64, Descriptor>) -> Result<i64, Fault> {
        let number = match self.call.result {
            Expected::Value(number) if number >= 0 => number,
            Expected::Anything => 3 + open.len() as i64,
            _ => {
                let came = format!("{}() succeeded", self.call.name);
                return Err(Fault::mismatch(self.line, "an error", came));
            }
        };
        if open.contains_key(&number) {
            return Err(Fault::syntax(self.line, format!("descriptor {number} is open already")));
        }
        Ok(number)
    }
}

/// Seconds as an option has them.
pub(super) fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}
