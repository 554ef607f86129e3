//! Sessions: the control sockets of programs. Each is one process; who it is, the kernel says.

use crate::{
    control, inspecting, keeper::Keeper, nft, pair, principal::Principal, quota::Bills, requests,
    token, watching, worker::Worker, zones,
};
use mio::{Interest, Registry, Token, unix::SourceFd};
use narrows_ipc::{
    Answer, Endpoint, Error, Hello, Reply, Request, TransportError, VERSION, Welcome,
    inspect::{Attach, Mistake},
};
use slab::Slab;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    rc::Rc,
};

#[cfg(test)]
mod tests;

/// Work done for one session before others get their turn, in requests about a socket.
pub(crate) const WORK_PER_TURN: usize = 32;

/// What a report costs in the same unit: it may look at every socket.
const REPORT_WORK: usize = WORK_PER_TURN;

/// One process's control socket.
#[derive(Debug)]
pub(crate) struct Session {
    pub token: Token,
    pub principal: Rc<Principal>,
    endpoint: Endpoint,
    state: State,
    /// A request that waits for the next turn, and the turn that read it.
    held: Option<(u64, Request, Option<OwnedFd>)>,
    /// Is it in the list of those with packets to read?
    pub queued: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Hello has not come yet.
    New,
    Ready,
    /// A request is being worked on; the next is read when it is answered.
    Busy,
}

impl Session {
    /// The request held from an earlier turn, or the next to be read.
    fn next_request(
        &mut self,
        turn: u64,
        stray: impl FnMut(OwnedFd),
    ) -> Result<Option<(u64, Request, Option<OwnedFd>)>, TransportError> {
        if let Some(held) = self.held.take() {
            return Ok(Some(held));
        }
        let packet = self.endpoint.recv_untrusted::<Request>(stray)?;
        Ok(packet.map(|(request, descriptor)| (turn, request, descriptor)))
    }

    /// Its socket, and an end to the session.
    pub(crate) fn into_socket(self) -> OwnedFd {
        self.endpoint.into_socket()
    }

    fn register(&self, registry: &Registry) -> io::Result<()> {
        let raw = self.endpoint.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&raw), self.token, Interest::READABLE)
    }
}

/// All sessions, by the index in their token.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: Slab<Session>,
    serial: usize,
}

impl Sessions {
    /// Takes a new session in.
    pub(crate) fn insert(
        &mut self,
        registry: &Registry,
        keeper: &Keeper,
        bills: &mut Bills,
        endpoint: Endpoint,
    ) -> io::Result<Token> {
        let mut principal = Principal::of_peer(&endpoint, keeper)?;
        principal.bill = bills.open_session(principal.uid, principal.all_groups())?;
        let principal = Rc::new(principal);
        let Principal { pid, uid, gid, groups, .. } = &*principal;
        let (executable, cgroup) = (principal.executable(), principal.cgroup());
        tracing::debug!(pid, uid, gid, ?groups, executable, cgroup, "session opened");
        let entry = self.sessions.vacant_entry();
        self.serial = self.serial.wrapping_add(1);
        let token = token::session(self.serial, entry.key());
        let session =
            Session { token, principal, endpoint, state: State::New, held: None, queued: false };
        if let Err(error) = session.register(registry) {
            bills.close_session(session.principal.bill);
            return Err(error);
        }
        entry.insert(session);
        Ok(token)
    }

    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut Session> {
        self.sessions.get_mut(token::index(token)).filter(|session| session.token == token)
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<Session> {
        self.get_mut(token)?;
        self.sessions.try_remove(token::index(token))
    }

    pub(crate) fn principals(&self) -> impl Iterator<Item = &Rc<Principal>> {
        self.sessions.iter().map(|(_, session)| &session.principal)
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }
}

/// What a request leads to.
pub(crate) enum Outcome {
    Answer(Answer),
    /// With the program's end of a new anchor.
    Anchor(OwnedFd),
    /// The answer comes later, by [`answer_later`].
    Pending,
}

/// Reads and answers what a session has sent, and adds to `work` what that took; true: more may be
/// waiting.
pub(crate) fn serve(worker: &mut Worker, token: Token, work: &mut usize) -> bool {
    let limit = *work + WORK_PER_TURN;
    while *work < limit {
        *work += 1;
        let Some(session) = worker.sessions.get_mut(token) else { return false };
        let bill = session.principal.bill;
        let (is_full, waited) = (!worker.bills.has_room(bill), worker.bills.waiting(bill));
        let stray = |descriptor| worker.closer.close(&mut worker.bills, bill, descriptor);
        let step = match session.state {
            State::New => match greet(session, stray) {
                Ok(Greeted::Attach(wish)) => {
                    inspecting::attach(worker, token, wish);
                    return false;
                }
                Ok(Greeted::Waits) => Ok(false),
                Ok(Greeted::Hello) => Ok(true),
                Err(error) => Err(error),
            },
            State::Busy => return false,
            State::Ready => match session.next_request(worker.metrics.turns, stray) {
                Ok(Some((turn, request, descriptor)))
                    if needs_order(&request, is_full) && turn == worker.metrics.turns =>
                {
                    session.held = Some((turn, request, descriptor));
                    return true;
                }
                Ok(None) => return false,
                Ok(Some((_, request, descriptor))) => {
                    if is_report(&request) {
                        *work += REPORT_WORK;
                    }
                    let outcome = answer(worker, token, request, descriptor);
                    reply(worker, token, outcome)
                }
                // The packet is gone, and the session still in step.
                Err(TransportError::Malformed(_)) => refuse(worker, token, Error::BadMessage),
                Err(TransportError::DescriptorLost) => refuse(worker, token, Error::NoBufferSpace),
                Err(error) => Err(error),
            },
        };
        // It costs as much as to make one.
        let strays = worker.bills.waiting(bill).saturating_sub(waited);
        *work += usize::try_from(strays).unwrap_or(limit);
        match step {
            Ok(more) if strays > 0 && !worker.bills.is_within_share(bill) => {
                tracing::debug!(more, strays, "descriptors that nobody asked for");
                end(worker, token, &TransportError::DescriptorLost);
                return false;
            }
            Ok(true) => {}
            Ok(false) => return false,
            Err(error) => {
                end(worker, token, &error);
                return false;
            }
        }
    }
    true
}

/// Ends a session; the sockets its process made live as long as their descriptors.
pub(crate) fn end(worker: &mut Worker, token: Token, why: &TransportError) {
    let Some(mut session) = worker.sessions.remove(token) else { return };
    let bill = session.principal.bill;
    if let Some((_, _, Some(descriptor))) = session.held.take() {
        worker.close_foreign(bill, descriptor);
    }
    worker.bills.close_session(bill);
    worker.handshakes.session_ended(token);
    worker.pings.forget(&mut worker.shard, worker.clock.now(), token);
    tracing::debug!(pid = session.principal.pid, %why, "session ended");
    // Packets it never read may carry descriptors of the program's.
    worker.close_foreign(bill, session.endpoint.into_socket());
    worker.descriptor_freed();
}

/// Answers a request that was [`Outcome::Pending`], and reads on.
pub(crate) fn answer_later(worker: &mut Worker, token: Token, answer: Answer) {
    let Some(session) = worker.sessions.get_mut(token) else { return };
    session.state = State::Ready;
    if let Err(error) = reply(worker, token, Outcome::Answer(answer)) {
        end(worker, token, &error);
    } else {
        worker.queue_session(token);
    }
}

/// What a session begins with.
enum Greeted {
    /// Nothing has come yet.
    Waits,
    Hello,
    /// It is none that asks, but one that inspects.
    Attach(Result<Attach, Mistake>),
}

fn greet(session: &mut Session, mut stray: impl FnMut(OwnedFd)) -> Result<Greeted, TransportError> {
    let version = match session.endpoint.recv_untrusted::<Hello>(&mut stray) {
        Ok(None) => return Ok(Greeted::Waits),
        Ok(Some((hello, descriptor))) => {
            descriptor.into_iter().for_each(stray);
            hello.version
        }
        Err(TransportError::Malformed(_)) if Attach::is_meant(session.endpoint.refused()) => {
            return Ok(Greeted::Attach(Attach::decode(session.endpoint.refused())));
        }
        // An older or newer program may say hello in other words.
        Err(TransportError::Malformed(_)) => 0,
        Err(error) => return Err(error),
    };
    if version != VERSION {
        session.endpoint.send(&Welcome::VersionMismatch { daemon: VERSION }, None)?;
        return Err(TransportError::Closed);
    }
    pair::accept_descriptors(&session.endpoint)?;
    session.endpoint.send(&Welcome::Ready, None)?;
    session.state = State::Ready;
    Ok(Greeted::Hello)
}

fn answer(
    worker: &mut Worker,
    token: Token,
    request: Request,
    descriptor: Option<OwnedFd>,
) -> Outcome {
    worker.metrics.requests += 1;
    match request {
        Request::Ping { .. }
        | Request::Kill { .. }
        | Request::Stop
        | Request::Reload
        | Request::Change(_) => about_daemon(worker, token, request, descriptor),
        Request::Watch(options) => match descriptor {
            Some(descriptor) => {
                worker.close_stray(token, descriptor);
                Outcome::Answer(Err(Error::BadMessage))
            }
            None => watching::open(worker, token, *options),
        },
        Request::EnterZone { zone } => enter_zone(worker, token, zone, descriptor),
        Request::Nft(options) => nft::answer(worker, token, options, descriptor),
        request if is_report(&request) => about_daemon(worker, token, request, descriptor),
        request => requests::answer(worker, token, request, descriptor),
    }
}

fn enter_zone(
    worker: &mut Worker,
    token: Token,
    zone: String,
    descriptor: Option<OwnedFd>,
) -> Outcome {
    let principal = worker.sessions.get_mut(token).map(|session| session.principal.clone());
    let (Some(principal), None) = (principal, &descriptor) else {
        descriptor.into_iter().for_each(|stray| worker.close_stray(token, stray));
        return Outcome::Answer(Err(Error::BadMessage));
    };
    let entered = zones::enter(worker, &principal, zone);
    Outcome::Answer(Ok(entered.map_or_else(Reply::Refused, |()| Reply::Done)))
}

/// May what the program closed before it asked change the answer? Such a request waits until the
/// events that came before it were looked at: a port is free, and a listener gone, when close(2)
/// has returned. So is a place in a user's quota that `is_full`.
fn needs_order(request: &Request, is_full: bool) -> bool {
    is_full && matches!(request, Request::Socket { .. })
        || matches!(
            request,
            Request::Bind { .. }
                | Request::Connect { .. }
                | Request::Disconnect
                | Request::Listen { .. }
                | Request::TakeError
        )
}

fn is_report(request: &Request) -> bool {
    matches!(
        request,
        Request::Sockets { .. }
            | Request::Statistics
            | Request::Bills { .. }
            | Request::Losses { .. }
            | Request::Links { .. }
            | Request::Bonds { .. }
            | Request::Ports { .. }
            | Request::Fdb { .. }
            | Request::Routes { .. }
            | Request::Rules { .. }
            | Request::Route(_)
            | Request::Neighbors { .. }
            | Request::Groups { .. }
            | Request::Policy { .. }
            | Request::Forbidden { .. }
            | Request::Decide(_)
            | Request::Zones { .. }
            | Request::WhoHas { .. }
            | Request::DropReasons
            | Request::Flows { .. }
            | Request::Inspectors { .. }
            | Request::FlowNews { .. }
            | Request::FlushFlows(_)
    )
}

fn about_daemon(
    worker: &mut Worker,
    token: Token,
    request: Request,
    descriptor: Option<OwnedFd>,
) -> Outcome {
    if let Some(descriptor) = descriptor {
        worker.close_stray(token, descriptor);
        return Outcome::Answer(Err(Error::BadMessage));
    }
    control::answer(worker, token, request)
}

fn refuse(worker: &mut Worker, token: Token, error: Error) -> Result<bool, TransportError> {
    reply(worker, token, Outcome::Answer(Err(error)))
}

fn reply(worker: &mut Worker, token: Token, outcome: Outcome) -> Result<bool, TransportError> {
    let Some(session) = worker.sessions.get_mut(token) else { return Ok(false) };
    match outcome {
        Outcome::Answer(answer) => {
            worker.metrics.requests_refused += u64::from(answer.is_err());
            session.endpoint.send(&answer, None)?;
            Ok(true)
        }
        Outcome::Anchor(program_end) => {
            let done: Answer = Ok(Reply::Done);
            session.endpoint.send(&done, Some(program_end.as_fd()))?;
            Ok(true)
        }
        Outcome::Pending => {
            session.state = State::Busy;
            Ok(false)
        }
    }
}
