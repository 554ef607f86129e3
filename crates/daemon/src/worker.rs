//! The worker: one shard, its devices, and the programs that have sockets of it.
//!
//! It works in turns. Events note what became ready; a [`Worker::turn`] then does a bounded amount
//! of each kind of work, in the order receive, act, transmit, and says if any is left.

use crate::{
    accept,
    anchor::{Anchor, State, datagram},
    anchors::Anchors,
    attachment::{Attachment, Others},
    carriers::Carriers,
    clock::Clock,
    closer::Closer,
    config::Configuration,
    cut_through::{self, Cuts},
    epitaph::{Epitaph, Epitaphs},
    handshakes::Handshakes,
    inspecting::{self, Inspections},
    keeper::Keeper,
    leases::LeaseFile,
    metrics::Metrics,
    nft, notice, options,
    pair::{self, Pair, Pairs},
    ping::Pings,
    policy::Authority,
    principal::Principal,
    quota::{BillId, Bills, fair::FairQueue, memory},
    reload::Source,
    session::{self, Sessions},
    watching::{self, Watches},
    zones::{self, Admissions, Refusals},
};
use mio::{Registry, Token, event::Event as Ready};
use narrows_ipc::{Error, Listener};
use narrows_stack::{
    Event, Instant, Readiness, Shard, SocketId,
    request::{Principal as EnginePrincipal, Reply, Request, SocketInfo},
};
use std::{io, os::fd::OwnedFd, rc::Rc, time::Duration};

/// Work done for sessions in one turn, in requests about a socket.
const TURN_REQUESTS: usize = 8 * session::WORK_PER_TURN;

/// What a request costs its user of his share, in bytes whose moving takes as long.
const REQUEST_COST: usize = 32 << 10;

/// Turns for which deadlines wait for the frames that came before them: so many frames may have waited
/// while the daemon did not run, and flows that never end hold nobody up for longer.
const HELD_TURNS: u32 = 4;

/// Sessions accepted in one turn.
const TURN_ACCEPTS: usize = 64;

/// When descriptors or memory are short and nothing of ours was closed: other processes may have
/// closed something.
const RETRY: Duration = Duration::from_millis(100);

/// Ring buffers that were free for so long go back to the system.
const TRIM_INTERVAL: Duration = Duration::from_secs(10);

/// Filler is taken out in pieces of this size.
const SCRATCH: usize = 64 << 10;

mod anchors;

pub(crate) struct Worker {
    pub shard: Shard,
    pub clock: Clock,
    pub registry: Registry,
    pub attachments: Vec<Attachment>,
    pub anchors: Anchors,
    pub epitaphs: Epitaphs,
    pub handshakes: Handshakes,
    pub cuts: Cuts,
    pub sessions: Sessions,
    pub pings: Pings,
    pub carriers: Carriers,
    pub source: Source,
    pub keeper: Keeper,
    pub leases: LeaseFile,
    /// The version of Landlock that holds for this thread.
    pub landlock: Option<u32>,
    /// Given to devices so far.
    serials: usize,
    pub pairs: Pairs,
    pub closer: Closer,
    pub authority: Authority,
    pub admissions: Admissions,
    pub crossings: Refusals,
    /// What may pass.
    pub rules: nft::Rules,
    pub metrics: Metrics,
    pub bills: Bills,
    pub watches: Watches,
    pub inspections: Inspections,
    pub memory: memory::Watch,
    /// The daemon is to end.
    pub stopping: bool,
    /// Turns since deadlines were looked at.
    held_turns: u32,
    listener: Listener,
    /// Sessions wait to be accepted.
    sessions_wait: bool,
    ready_anchors: FairQueue<SocketId>,
    ready_sessions: FairQueue<Token>,
    /// Anchors of datagrams whose device is behind.
    congested: Vec<SocketId>,
    /// Anchors whose users have sent as many frames as they may in a second, and until when at most.
    rationed: Vec<SocketId>,
    ration_at: Option<Instant>,
    /// What could not be done for want of descriptors or memory, and when to try again.
    starved: Vec<SocketId>,
    retry_at: Option<Instant>,
    /// While free ring buffers are kept: when to look which were not needed.
    trim_at: Option<Instant>,
    scratch: Vec<u8>,
    /// Room for one record of an anchor of datagrams.
    record: Vec<u8>,
}

impl Worker {
    pub(crate) fn new(
        shard: Shard,
        clock: Clock,
        registry: Registry,
        attachments: Vec<Attachment>,
        listener: Listener,
        authority: Authority,
        closer: Closer,
    ) -> io::Result<Self> {
        let carriers = Carriers::watch(&registry)?;
        // A session may carry them once it is known whose it is.
        pair::refuse_descriptors(&listener)?;
        Ok(Self {
            shard,
            clock,
            registry,
            attachments,
            anchors: Anchors::default(),
            epitaphs: Epitaphs::new(),
            handshakes: Handshakes::default(),
            cuts: Cuts::default(),
            sessions: Sessions::default(),
            pings: Pings::default(),
            carriers,
            source: Source { file: None, configuration: Configuration::default() },
            keeper: Keeper::Absent,
            leases: LeaseFile::default(),
            landlock: None,
            serials: 0,
            pairs: Pairs::new()?,
            closer,
            authority,
            admissions: Admissions::default(),
            crossings: Refusals::default(),
            rules: nft::Rules::default(),
            metrics: Metrics::default(),
            bills: Bills::default(),
            watches: Watches::default(),
            inspections: Inspections::default(),
            memory: memory::Watch::default(),
            stopping: false,
            held_turns: 0,
            listener,
            sessions_wait: true,
            ready_anchors: FairQueue::default(),
            ready_sessions: FairQueue::default(),
            congested: Vec::new(),
            rationed: Vec::new(),
            ration_at: None,
            starved: Vec::new(),
            retry_at: None,
            trim_at: None,
            scratch: vec![0; SCRATCH],
            record: vec![0; datagram::RECORD],
        })
    }

    /// The descriptor of a device is ready.
    pub(crate) fn device_ready(&mut self, serial: usize) {
        let mut attachments = self.attachments.iter_mut();
        if let Some(attachment) = attachments.find(|attachment| attachment.serial == serial) {
            attachment.note();
        }
    }

    /// A number that no device has, nor had.
    pub(crate) fn next_serial(&mut self) -> usize {
        let held = self.attachments.iter().map(|attachment| attachment.serial + 1).max();
        self.serials = self.serials.max(held.unwrap_or(0)) + 1;
        self.serials
    }

    /// The kernel's interfaces have changed.
    pub(crate) fn links_changed(&mut self) {
        self.carriers.note(&mut self.shard, &self.attachments, self.clock.now());
    }

    /// Programs want to open sessions.
    pub(crate) fn listener_ready(&mut self) {
        self.sessions_wait = true;
    }

    pub(crate) fn anchor_ready(&mut self, token: Token, event: &Ready) {
        let Some(anchor) = self.anchors.by_token(token) else { return };
        anchor.note(event);
        let socket = anchor.socket;
        match anchor.state {
            // Before the connections that the kernel closes with it.
            State::Listening(_) if anchor.has_hung_up() => {
                accept::serve(self, socket);
            }
            // Before requests that may want its port.
            State::Fresh if anchor.has_hung_up() => self.close(socket),
            State::Datagrams(_) if anchor.has_hung_up() => {
                self.pump_at_once(socket);
            }
            _ => self.queue(socket),
        }
    }

    /// Puts an anchor on the list of those with work to do.
    pub(crate) fn queue(&mut self, socket: SocketId) {
        if let Some(anchor) = self.anchors.get_mut(socket)
            && !anchor.queued
        {
            anchor.queued = true;
            self.ready_anchors.push(anchor.principal.bill, socket);
        }
    }

    /// Puts a session on the list of those with packets to read.
    pub(crate) fn queue_session(&mut self, token: Token) {
        if let Some(session) = self.sessions.get_mut(token)
            && !session.queued
        {
            session.queued = true;
            self.ready_sessions.push(session.principal.bill, token);
        }
    }

    /// When [`Worker::turn`] has something to do at the latest, if no event comes first.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let timeouts = [
            self.shard.next_timeout(),
            self.pings.next_timeout(),
            self.retry_at,
            self.trim_at,
            self.cuts.next_look,
            self.ration_at,
            self.memory.next_look(&self.bills),
            self.crossings.next_line(&self.shard),
        ];
        let devices = self.attachments.iter().map(Attachment::next_timeout);
        timeouts.into_iter().chain(devices).flatten().min()
    }

    /// Does a bounded amount of what there is to do; true: more is left.
    pub(crate) fn turn(&mut self) -> bool {
        self.metrics.turns += 1;
        let now = self.clock.now();
        if self.closer.settle(&mut self.bills) {
            self.descriptor_freed();
        }
        let mut more = self.receive(now);
        let frames_wait = more;
        self.retry(now);
        more |= self.accept_sessions();
        self.serve_sessions();
        self.expire(now, frames_wait);
        self.note_events();
        self.note_notices();
        zones::log_refusals(self, now);
        self.renew_devices();
        self.serve_anchors();
        more |= inspecting::serve(self);
        more |= self.shard.loop_back(now);
        for attachment in &mut self.attachments {
            more |= attachment.transmit(&mut self.shard, now);
            if let Err(error) = attachment.watch(&self.registry) {
                tracing::warn!(device = attachment.device.name(), %error, "can't watch");
            }
        }
        self.note_events();
        self.resume_congested();
        watching::deliver(self);
        more |= inspecting::deliver(self);
        more || !self.ready_anchors.is_empty() || !self.ready_sessions.is_empty()
    }

    /// Frames from all devices; true: more may be waiting.
    fn receive(&mut self, now: Instant) -> bool {
        let mut more = false;
        for index in 0..self.attachments.len() {
            if let Some((attachment, mut others)) = Others::than(&mut self.attachments, index) {
                more |= attachment.receive(&mut self.shard, now, &mut others);
            }
        }
        more
    }

    fn accept_sessions(&mut self) -> bool {
        for _ in 0..TURN_ACCEPTS {
            if !self.sessions_wait {
                return false;
            }
            let result = match self.listener.accept() {
                Ok(Some(endpoint)) => {
                    let Self { registry, keeper, bills, .. } = self;
                    self.sessions.insert(registry, keeper, bills, endpoint)
                }
                Ok(None) => {
                    self.sessions_wait = false;
                    return false;
                }
                Err(error) => {
                    self.sessions_wait = false;
                    self.retry_later();
                    Err(error)
                }
            };
            match result {
                Ok(token) => {
                    self.metrics.sessions_opened += 1;
                    let session = self.sessions.get_mut(token);
                    if let Some(principal) = session.map(|session| session.principal.clone()) {
                        let limit = self.bills.half_open_of(principal.bill);
                        self.limit_half_open_of(limit);
                        zones::admit(self, &principal);
                    }
                    self.queue_session(token);
                }
                Err(error) => {
                    self.metrics.sessions_refused += 1;
                    let refused = self.metrics.sessions_refused;
                    // The second, the fourth and so on: nobody fills a disk.
                    if refused.is_power_of_two() {
                        tracing::warn!(%error, refused, "can't open a session");
                    }
                }
            }
        }
        self.sessions_wait
    }

    /// Tells the engine how many connections the listeners of each user may have half open.
    pub(crate) fn limit_half_open(&mut self) {
        let limits: Vec<_> = self.bills.half_open().collect();
        limits.into_iter().for_each(|limit| self.limit_half_open_of(Some(limit)));
    }

    fn limit_half_open_of(&mut self, limit: Option<(u32, u64)>) {
        let Some((user, most)) = limit else { return };
        self.shard.limit_half_open(user, Some(usize::try_from(most).unwrap_or(usize::MAX)));
    }

    fn serve_sessions(&mut self) {
        let mut work = 0;
        for _ in 0..self.ready_sessions.len() {
            if work >= TURN_REQUESTS {
                break;
            }
            let Some((bill, token)) = self.ready_sessions.pop() else { break };
            let Some(session) = self.sessions.get_mut(token) else { continue };
            session.queued = false;
            let (before, start) = (work, self.clock.now());
            if session::serve(self, token, &mut work) {
                self.queue_session(token);
            }
            let done = work - before;
            self.ready_sessions.charge(bill, done * REQUEST_COST);
            self.bills.note_requests(bill, done as u64, self.clock.now().since(start));
        }
    }

    /// What is due is done, but first it is seen what came in time. After a while in which the daemon did
    /// not run, the acknowledgments of what it would send again are among the frames that wait.
    fn expire(&mut self, now: Instant, frames_wait: bool) {
        if frames_wait && self.held_turns < HELD_TURNS {
            self.held_turns += 1;
        } else {
            self.held_turns = 0;
            if self.shard.next_timeout().is_some_and(|at| at <= now) {
                self.shard.handle_timeout(now);
            }
        }
        self.trim(now);
        memory::relieve(self, now);
        self.renew_rations(now);
        cut_through::sweep(self, now);
        while let Some(answered) = self.pings.expire(&mut self.shard, now) {
            session::answer_later(self, answered.session, answered.answer);
        }
    }

    fn trim(&mut self, now: Instant) {
        if self.trim_at.is_some_and(|at| at <= now) {
            self.shard.trim_buffers();
            self.trim_at = None;
        }
        if self.trim_at.is_none() && self.shard.warm_bytes() > 0 {
            self.trim_at = Some(now + TRIM_INTERVAL);
        }
    }

    /// Learns from the engine what became of sockets.
    pub(crate) fn note_events(&mut self) {
        while let Some(Event { socket, readiness }) = self.shard.poll_event() {
            let Some(anchor) = self.anchors.get_mut(socket) else {
                match self.cuts.end(socket) {
                    Some(_) => cut_through::engine_says(self, socket, readiness),
                    None => self.ping_answered(socket),
                }
                continue;
            };
            if readiness.contains(Readiness::CONNECTED) {
                anchor.connected(&mut self.scratch);
                if !cut_through::park(self, socket) {
                    self.handshakes.established(socket);
                }
            }
            if readiness.contains(Readiness::FAILED) {
                if let Some(anchor) = self.anchors.get_mut(socket) {
                    anchor.fail();
                }
                self.handshakes.failed(socket);
            }
            self.queue(socket);
        }
    }

    /// Logs what the engine has to tell the operator.
    fn note_notices(&mut self) {
        while let Some(notice) = self.shard.poll_notice() {
            notice::log(self, notice);
        }
    }

    /// The operator has changed interfaces: devices, and rules that name them, are told.
    pub(crate) fn interfaces_changed(&mut self) {
        nft::renew_ports(self);
        self.authority.know_zones(&self.source.configuration, &self.shard);
        self.renew_devices();
    }

    /// Tells devices what changed for their interfaces.
    pub(crate) fn renew_devices(&mut self) {
        for attachment in &mut self.attachments {
            if let Err(error) = attachment.renew(&self.shard) {
                tracing::warn!(device = attachment.device.name(), "{error:#}");
            }
        }
    }

    fn ping_answered(&mut self, socket: SocketId) {
        if let Some(answered) = self.pings.receive(&mut self.shard, &self.clock, socket) {
            session::answer_later(self, answered.session, answered.answer);
        }
    }

    /// Takes a pair into use as the anchor of `socket`, and returns the program's end of it.
    pub(crate) fn add_anchor(
        &mut self,
        socket: SocketId,
        principal: Rc<Principal>,
        pair: Pair,
        prepare: impl FnOnce(&mut Anchor),
    ) -> io::Result<OwnedFd> {
        let Pair { end, program_end, cookie } = pair;
        let token = self.anchors.token(socket);
        let mut anchor = Anchor::new(&self.registry, token, socket, cookie, principal, end)?;
        prepare(&mut anchor);
        self.bills.socket_made(anchor.principal.bill);
        self.anchors.insert(anchor);
        self.metrics.anchors_opened += 1;
        Ok(program_end)
    }

    /// The program let go of a socket: the engine finishes the protocol.
    pub(crate) fn close(&mut self, socket: SocketId) {
        self.end(socket, Request::Close { socket }, None);
    }

    /// The program let go of a connection without having read everything.
    pub(crate) fn abort(&mut self, socket: SocketId) {
        if self.cuts.token_of(socket).is_some() {
            return cut_through::abort(self, socket);
        }
        self.end(socket, Request::Abort { socket }, None);
    }

    /// The connection is reset, and the program told `why`.
    pub(crate) fn break_off(&mut self, socket: SocketId, why: Error) {
        self.end(socket, Request::Abort { socket }, Some(why));
    }

    /// What the engine says of a socket.
    pub(crate) fn info(&mut self, socket: SocketId) -> Option<Box<SocketInfo>> {
        let request = Request::Info { socket };
        match self.shard.request(self.clock.now(), EnginePrincipal::default(), request) {
            Ok(Reply::Info(info)) => Some(info),
            _ => None,
        }
    }

    /// The connection failed; the program finds out from its anchor.
    fn fail(&mut self, socket: SocketId) {
        let now = self.clock.now();
        let request = Request::TakeError { socket };
        let error = match self.shard.request(now, EnginePrincipal::default(), request) {
            Ok(Reply::Error(error)) => error.map(options::error),
            _ => Some(Error::ConnectionAborted),
        };
        self.end(socket, Request::Close { socket }, error);
    }

    fn end(&mut self, socket: SocketId, request: Request, error: Option<Error>) {
        self.request_quietly(request);
        let Some(anchor) = self.anchors.remove(socket) else { return };
        self.bills.socket_gone(anchor.principal.bill);
        self.epitaphs.insert(anchor.cookie, Epitaph { error, local: anchor.local });
        drop(anchor);
        self.descriptor_freed();
    }

    /// For requests whose failure changes nothing: the socket is gone already.
    pub(crate) fn request_quietly(&mut self, request: Request) {
        let now = self.clock.now();
        if let Err(error) = self.shard.request(now, EnginePrincipal::default(), request) {
            tracing::debug!(%error, "request to the engine");
        }
    }

    /// Counts an anchor that can't be made, and says what the program is told.
    pub(crate) fn refuse_anchor(&mut self, error: &io::Error) -> Error {
        if self.metrics.anchors_refused == 0 || !pair::is_shortage(error) {
            tracing::warn!(%error, anchors = self.anchors.len(), "can't make an anchor");
        }
        self.metrics.anchors_refused += 1;
        Error::NoBufferSpace
    }

    /// A listener can't hand over its connections for want of descriptors or memory.
    pub(crate) fn starve(&mut self, listener: SocketId) {
        self.starved.push(listener);
        self.retry_later();
    }

    fn retry_later(&mut self) {
        self.retry_at = Some(self.clock.now() + RETRY);
    }

    /// Has a descriptor closed that a program sent, or whose unread packets may carry some.
    pub(crate) fn close_foreign(&mut self, owner: BillId, descriptor: OwnedFd) {
        self.closer.close(&mut self.bills, owner, descriptor);
    }

    /// The same, of one that came over a session.
    pub(crate) fn close_stray(&mut self, session: Token, descriptor: OwnedFd) {
        let bill = self.sessions.get_mut(session).map(|session| session.principal.bill);
        self.close_foreign(bill.unwrap_or_default(), descriptor);
    }

    /// Something was closed: what waits for descriptors may try again.
    pub(crate) fn descriptor_freed(&mut self) {
        if self.retry_at.is_some() {
            self.retry_at = Some(Instant::ZERO);
        }
    }

    fn retry(&mut self, now: Instant) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        self.retry_at = None;
        self.sessions_wait = true;
        for listener in std::mem::take(&mut self.starved) {
            self.queue(listener);
        }
    }

    /// Frames in and out, and nothing for programs: those are gone.
    pub(crate) fn serve_devices(&mut self) {
        let now = self.clock.now();
        let more = self.receive(now);
        self.expire(now, more);
        self.note_notices();
        for attachment in &mut self.attachments {
            while attachment.transmit(&mut self.shard, now) {}
        }
    }
}

#[cfg(test)]
mod tests;
