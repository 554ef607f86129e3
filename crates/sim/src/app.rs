//! A program's side of one connection: a script, and the check of every byte that comes.
//!
//! Programs are as edge-triggered ones are: they go on with what blocked them once the engine has
//! told them so, and never otherwise, so that an event which is not told is a run that stands still.

use crate::{
    invariant::{Broken, holds},
    pattern::Pattern,
};
use narrows_stack::{
    Error, Instant, Readiness, Request, Shard, SocketId, request::Principal, time::Duration,
};
use std::collections::VecDeque;

/// The principal of every program here; the engine only compares.
pub const PRINCIPAL: Principal = Principal::user(1);

/// One thing after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// So many bytes of this side's stream.
    Send(u64),
    /// As many as go within this time.
    SendFor(Duration),
    /// So many bytes of the other side's.
    Receive(u64),
    /// Until the other side says that this is all.
    ReceiveToEnd,
    /// The same, `chunk` bytes at a time, with a pause after each.
    ReceiveSlowly {
        chunk: usize,
        every: Duration,
    },
    /// Both at once.
    Exchange {
        send: u64,
        receive: u64,
    },
    /// Sends a byte for each that comes, until the end.
    Echo,
    Pause(Duration),
    ShutdownSend,
    Close,
    Abort,
}

pub type Script = Vec<Action>;

/// The client's script and the server's.
pub type Scripts = (Script, Script);

use Action::{
    Abort, Close, Echo, Exchange, Pause, Receive, ReceiveSlowly, ReceiveToEnd, Send, SendFor,
    ShutdownSend,
};

/// The client sends, the server takes.
pub fn upload(bytes: u64) -> Scripts {
    (vec![Send(bytes), ShutdownSend, ReceiveToEnd, Close], vec![ReceiveToEnd, Close])
}

/// The client sends for a time, the server takes.
pub fn upload_for(time: Duration) -> Scripts {
    (vec![SendFor(time), ShutdownSend, ReceiveToEnd, Close], vec![ReceiveToEnd, Close])
}

/// The client asks with one byte, the server sends and closes first.
pub fn download(bytes: u64) -> Scripts {
    (vec![Send(1), ReceiveToEnd, Close], vec![Receive(1), Send(bytes), Close])
}

/// What the client sends comes back.
pub fn echo(bytes: u64) -> Scripts {
    let client = vec![Exchange { send: bytes, receive: bytes }, ShutdownSend, ReceiveToEnd, Close];
    (client, vec![Echo, Close])
}

/// Requests and replies in turn.
pub fn requests(count: usize, request: u64, reply: u64) -> Scripts {
    let repeat =
        |actions: [Action; 2]| actions.iter().cycle().take(count * 2).cloned().collect::<Script>();
    let mut client = repeat([Send(request), Receive(reply)]);
    let mut server = repeat([Receive(request), Send(reply)]);
    client.push(Close);
    server.extend([ReceiveToEnd, Close]);
    (client, server)
}

/// Both directions at once; then both close at the same moment, or nearly.
pub fn exchange(up: u64, down: u64) -> Scripts {
    (
        vec![Exchange { send: up, receive: down }, Close],
        vec![Exchange { send: down, receive: up }, Close],
    )
}

/// The client has said all, and still listens for as long as the server has something to say.
pub fn half_close(up: u64, down: u64) -> Scripts {
    (
        vec![Send(up), ShutdownSend, ReceiveToEnd, Close],
        vec![ReceiveToEnd, Pause(Duration::from_millis(300)), Send(down), Close],
    )
}

/// The server takes its time, so that the window closes.
pub fn slow_reader(bytes: u64, chunk: usize, every: Duration) -> Scripts {
    (
        vec![Send(bytes), ShutdownSend, ReceiveToEnd, Close],
        vec![Pause(every), ReceiveSlowly { chunk, every }, Close],
    )
}

/// The client breaks off in the middle.
pub fn abort_after(bytes: u64) -> Scripts {
    (vec![Send(bytes), Abort], vec![ReceiveToEnd, Close])
}

/// The client has handed everything over and gone; then the server breaks off.
pub fn abandon(bytes: u64) -> Scripts {
    (vec![Send(bytes), Close], vec![Receive(bytes / 2), Abort])
}

/// What became of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Running,
    /// The script is done.
    Finished,
    /// The other side said that this is all before it was.
    Short,
    Failed(Error),
}

/// What the program is about.
#[derive(Clone, Copy, Debug)]
struct Task {
    /// Position of its own stream up to which to send.
    send_to: u64,
    receive: Until,
    echo: bool,
    pace: Option<(usize, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Position(u64),
    End,
}

/// An echo that can't send stops receiving when it owes this many bytes.
const ECHO_DEBT: u64 = 64 << 10;

/// How a program calls the engine: bytes per call at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    pub send: usize,
    pub receive: usize,
}

impl Default for Calls {
    fn default() -> Self {
        Self { send: 64 << 10, receive: 64 << 10 }
    }
}

#[derive(Debug)]
pub struct Program {
    pub outcome: Outcome,
    /// When to go on after a pause.
    pub wake: Option<Instant>,
    /// When what is sent for a time is enough.
    pub enough: Option<Instant>,
    socket: Option<SocketId>,
    script: VecDeque<Action>,
    task: Option<Task>,
    ready: Readiness,
    calls: Calls,
    own: Pattern,
    other: Pattern,
    sent: u64,
    received: u64,
    /// The engine was told that no more comes.
    sent_all: bool,
    /// The engine told that no more comes.
    saw_end: bool,
}

impl Program {
    /// `own` and `other` are the streams that it sends and receives.
    pub fn new(script: Script, calls: Calls, own: Pattern, other: Pattern) -> Self {
        Self {
            outcome: Outcome::Running,
            wake: None,
            enough: None,
            socket: None,
            script: script.into(),
            task: None,
            ready: Readiness::empty(),
            calls,
            own,
            other,
            sent: 0,
            received: 0,
            sent_all: false,
            saw_end: false,
        }
    }

    /// The program has its connection: the script can begin.
    pub fn begin(&mut self, socket: SocketId) {
        self.socket = Some(socket);
    }

    pub fn has_begun(&self) -> bool {
        self.socket.is_some() || !self.is_running()
    }

    pub fn is_running(&self) -> bool {
        self.outcome == Outcome::Running
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes sent and received.
    pub fn bytes(&self) -> u64 {
        self.sent + self.received
    }

    /// The engine said something; the caller then lets the program go on.
    pub fn tell(&mut self, readiness: Readiness) {
        self.ready |= readiness;
    }

    pub fn fail(&mut self, error: Error) {
        self.outcome = Outcome::Failed(error);
        self.wake = None;
    }

    /// Goes on until something blocks. `Err`: a byte was wrong, or the engine was.
    pub fn run(&mut self, now: Instant, shard: &mut Shard) -> Result<(), Broken> {
        let Some(socket) = self.socket else { return Ok(()) };
        if self.wake.is_some_and(|wake| wake > now) {
            return Ok(());
        }
        self.wake = None;
        if self.enough.is_some_and(|enough| enough <= now) {
            self.enough = None;
            self.task = None;
        }
        while self.is_running() && self.wake.is_none() {
            let Some(task) = self.task else {
                self.next_action(now, shard, socket)?;
                continue;
            };
            let before = self.bytes();
            let received = self.receive(now, shard, socket, task)?;
            let sent = self.send(now, shard, socket, task)?;
            if received && sent {
                self.task = None;
            } else if self.bytes() == before {
                break;
            }
        }
        if !self.is_running() {
            self.let_go(now, shard);
        }
        Ok(())
    }

    fn next_action(
        &mut self,
        now: Instant,
        shard: &mut Shard,
        socket: SocketId,
    ) -> Result<(), Broken> {
        let task = Task {
            send_to: self.sent,
            receive: Until::Position(self.received),
            echo: false,
            pace: None,
        };
        let receive = |count| Until::Position(self.received + count);
        let to_end = Task { receive: Until::End, ..task };
        self.task = match self.script.pop_front().unwrap_or(Close) {
            Send(count) => Some(Task { send_to: self.sent + count, ..task }),
            SendFor(time) => {
                self.enough = Some(now + time);
                Some(Task { send_to: u64::MAX, ..task })
            }
            Receive(count) => Some(Task { receive: receive(count), ..task }),
            ReceiveToEnd => Some(to_end),
            ReceiveSlowly { chunk, every } => Some(Task { pace: Some((chunk, every)), ..to_end }),
            Exchange { send, receive: count } => {
                Some(Task { send_to: self.sent + send, receive: receive(count), ..task })
            }
            Echo => Some(Task { echo: true, ..to_end }),
            Pause(time) => {
                self.wake = Some(now + time);
                None
            }
            ShutdownSend => {
                self.sent_all = true;
                if let Err(error) = shard.request(now, PRINCIPAL, Request::ShutdownSend { socket })
                {
                    self.fail(error);
                }
                None
            }
            Abort => {
                let aborted = shard.request(now, PRINCIPAL, Request::Abort { socket });
                holds!(aborted.is_ok(), "abort failed: {aborted:?}");
                self.socket = None;
                self.outcome = Outcome::Finished;
                None
            }
            Close => {
                self.outcome = Outcome::Finished;
                None
            }
        };
        Ok(())
    }

    /// Closes the socket, if that has not been done.
    pub fn let_go(&mut self, now: Instant, shard: &mut Shard) {
        if let Some(socket) = self.socket.take() {
            self.sent_all = true;
            // What close says, nobody is left to hear.
            let _closed = shard.request(now, PRINCIPAL, Request::Close { socket });
        }
    }

    fn can(&self, readiness: Readiness) -> bool {
        self.is_running() && self.ready.intersects(readiness | Readiness::FAILED)
    }

    /// The engine has nothing for the program: it will say when that changes.
    fn blocked(&mut self, socket: SocketId, readiness: Readiness) -> Result<(), Broken> {
        let (was, failed) = (self.ready, Readiness::FAILED | Readiness::FINISHED);
        let must = if readiness == Readiness::READABLE { failed } else { Readiness::FAILED };
        holds!(!was.intersects(must), "{socket:?}: was told {was:?}, and has to wait");
        self.ready.remove(readiness);
        Ok(())
    }

    /// Sends what there is to send; true: that was all.
    fn send(
        &mut self,
        now: Instant,
        shard: &mut Shard,
        socket: SocketId,
        task: Task,
    ) -> Result<bool, Broken> {
        let send_to = if task.echo { self.received } else { task.send_to };
        while self.sent < send_to && self.can(Readiness::WRITABLE) {
            let most = usize::try_from(send_to - self.sent).unwrap_or(usize::MAX);
            let most = most.min(self.calls.send);
            let mut offered = 0;
            let result = shard.send_with(now, socket, most, |room| {
                for part in room {
                    self.own.fill(self.sent + offered as u64, part);
                    offered += part.len();
                }
                offered
            });
            holds!(offered <= most, "{socket:?}: room for {offered} bytes, asked for {most}");
            match result {
                Ok(0) | Err(Error::WouldBlock) => self.blocked(socket, Readiness::WRITABLE)?,
                Ok(count) => self.sent += count as u64,
                Err(error) => self.fail(error),
            }
        }
        Ok(self.sent == send_to)
    }

    /// Receives what there is, and checks it; true: that was all.
    fn receive(
        &mut self,
        now: Instant,
        shard: &mut Shard,
        socket: SocketId,
        task: Task,
    ) -> Result<bool, Broken> {
        loop {
            let most = match task.receive {
                Until::Position(position) => position - self.received,
                Until::End if self.saw_end => 0,
                Until::End if task.echo => ECHO_DEBT.saturating_sub(self.received - self.sent),
                Until::End => u64::MAX,
            };
            let done = most == 0 && (!task.echo || self.saw_end);
            if most == 0 || !self.can(Readiness::READABLE | Readiness::FINISHED) {
                return Ok(done);
            }
            let call = task.pace.map_or(self.calls.receive, |(chunk, _)| chunk);
            let most = usize::try_from(most).unwrap_or(usize::MAX).min(call);
            let mut seen = None;
            let result = shard.receive_with(now, socket, most, |parts| {
                seen = Some(self.other.check(self.received, parts));
                parts.iter().map(|part| part.len()).sum()
            });
            if let Some(Err(position)) = seen {
                return Err(Broken(format!("{socket:?}: byte {position} is wrong")));
            }
            match result {
                Err(Error::WouldBlock) => self.blocked(socket, Readiness::READABLE)?,
                Ok(0) => {
                    holds!(seen.is_none(), "{socket:?}: offered bytes, and took none");
                    self.saw_end = true;
                    if task.receive != Until::End {
                        self.outcome = Outcome::Short;
                    }
                }
                Ok(count) => {
                    holds!(count <= most, "{socket:?}: {count} bytes, asked for {most}");
                    self.received += count as u64;
                    if let Some((_, every)) = task.pace {
                        self.wake = Some(now + every);
                        return Ok(false);
                    }
                }
                Err(error) => self.fail(error),
            }
        }
    }
}

/// Both sides of a connection, when both are done: an end that was seen was the end.
pub fn check_pair(client: &Program, server: &Program) -> Result<(), Broken> {
    for (name, from, to) in [("client", client, server), ("server", server, client)] {
        holds!(to.received <= from.sent, "{name} sent {}, {} came", from.sent, to.received);
        if to.saw_end {
            holds!(from.sent_all, "an end was seen that {name} never made");
            holds!(
                to.received == from.sent,
                "{name} sent {} bytes, and the end came after {}",
                from.sent,
                to.received
            );
        }
    }
    Ok(())
}
