//! What programs ask about their sockets.
//!
//! The descriptor that comes with a request is the proof that its sender may name the socket. Its
//! cookie says which one it is; a descriptor that isn't an anchor of ours is refused.

use crate::{
    anchor::{
        Anchor, State,
        datagram::{Carries, Datagrams},
    },
    cut_through,
    epitaph::Epitaph,
    identity, options, pair,
    principal::Principal,
    requests::datagram::about_datagrams,
    session::Outcome,
    worker::Worker,
};
use mio::Token;
use narrows_ipc::{
    Answer, Error, Reply, Request,
    message::{OptionName, SocketKind, SocketOption},
};
use narrows_policy::{ActKind, Protocol};
use narrows_stack::{
    SocketId,
    request::{Reply as EngineReply, Request as EngineRequest, SocketInfo},
};
use narrows_wire::ipv4::Protocol as IpProtocol;
use rustix::net::sockopt;
use std::{
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    rc::Rc,
};

mod datagram;
pub(crate) mod packet;
mod raw;

pub(crate) fn answer(
    worker: &mut Worker,
    token: Token,
    request: Request,
    descriptor: Option<OwnedFd>,
) -> Outcome {
    let Some(session) = worker.sessions.get_mut(token) else {
        return Outcome::Answer(Err(Error::BadMessage));
    };
    let principal = session.principal.clone();
    match (request, descriptor) {
        (Request::Socket { kind }, None) => match open(worker, principal, kind) {
            Ok(program_end) => Outcome::Anchor(program_end),
            Err(error) => Outcome::Answer(Err(error)),
        },
        (Request::Socket { .. }, Some(descriptor)) => {
            worker.close_foreign(principal.bill, descriptor);
            Outcome::Answer(Err(Error::BadMessage))
        }
        (_, None) => Outcome::Answer(Err(Error::BadMessage)),
        (request, Some(descriptor)) => {
            let Some(cookie) = sockopt::socket_cookie(&descriptor).ok() else {
                worker.close_foreign(principal.bill, descriptor);
                return Outcome::Answer(Err(Error::NotASocket));
            };
            if let Some(socket) = worker.cuts.by_cookie(cookie)
                && request == Request::TakeError
            {
                cut_through::refresh(worker, socket);
            }
            let anchor = worker.anchors.by_cookie(cookie);
            if let Some(socket) = anchor.or_else(|| worker.cuts.by_cookie(cookie)) {
                let caller = Caller { session: token, principal: &principal };
                let mut descriptor = Some(descriptor);
                let outcome = match request {
                    Request::PeerProcess => peer_process(worker, socket),
                    request => Outcome::Answer(about_socket(
                        worker,
                        &caller,
                        socket,
                        request,
                        &mut descriptor,
                    )),
                };
                // What the other program sends into a connection cut through may carry descriptors.
                if let (Some(descriptor), None) = (descriptor, anchor) {
                    worker.close_foreign(principal.bill, descriptor);
                }
                outcome
            } else if let Some(epitaph) = worker.epitaphs.get_mut(cookie) {
                let answer = about_ended(epitaph, &request);
                worker.close_foreign(principal.bill, descriptor);
                Outcome::Answer(answer)
            } else {
                worker.close_foreign(principal.bill, descriptor);
                Outcome::Answer(Err(Error::NotASocket))
            }
        }
    }
}

/// Who asks.
struct Caller<'a> {
    session: Token,
    principal: &'a Principal,
}

/// A new socket: the engine's part, and the program's end of a new anchor.
fn open(worker: &mut Worker, principal: Rc<Principal>, kind: SocketKind) -> Result<OwnedFd, Error> {
    worker.bills.allow_socket(principal.bill)?;
    let (request, pair) = match kind {
        SocketKind::Tcp => (EngineRequest::OpenTcp, worker.pairs.take()),
        SocketKind::Udp => (EngineRequest::OpenUdp, pair::of_records()),
        SocketKind::Ping => (EngineRequest::OpenPing, pair::of_records()),
        SocketKind::Packet { cooked, protocol } => {
            packet::may_open(worker, &principal, protocol)?;
            (EngineRequest::OpenPacket { cooked, protocol }, pair::of_records())
        }
        SocketKind::Raw { protocol } => {
            let interfaces = raw::may_open(worker, &principal)?;
            let protocol = IpProtocol(protocol);
            (EngineRequest::OpenRaw { protocol, interfaces }, pair::of_records())
        }
    };
    let pair = pair.map_err(|error| worker.refuse_anchor(&error))?;
    let now = worker.clock.now();
    match worker.shard.request(now, principal.of_engine(), request) {
        Ok(EngineReply::Socket(socket)) => {
            let prepare = |anchor: &mut Anchor| {
                let carries = match kind {
                    SocketKind::Tcp => return,
                    SocketKind::Udp => Carries::Datagrams(Protocol::Udp),
                    SocketKind::Ping => Carries::Datagrams(Protocol::Icmp),
                    SocketKind::Packet { .. } => Carries::Frames(None),
                    SocketKind::Raw { .. } => Carries::Packets(None),
                };
                anchor.state = State::Datagrams(Box::new(Datagrams::new(carries)));
            };
            if let SocketKind::Packet { .. } = kind {
                packet::show_claimed(worker, &principal, socket, None);
            }
            worker.add_anchor(socket, principal, pair, prepare).map_err(|error| {
                worker.request_quietly(EngineRequest::Close { socket });
                worker.refuse_anchor(&error)
            })
        }
        Ok(_) => Err(Error::NotSupported),
        Err(error) => {
            if kind == SocketKind::Tcp {
                worker.pairs.put_back(pair);
            }
            Err(options::error(error))
        }
    }
}

fn about_socket(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
    request: Request,
    descriptor: &mut Option<OwnedFd>,
) -> Answer {
    if request == Request::Peer {
        let peer = identity::of_peer(worker, socket);
        let tell = |peer: Rc<Principal>| identity::tell(worker, socket, &peer, caller.principal);
        let told = peer.map(tell).transpose()?;
        return Ok(Reply::Peer(told.map(Box::new)));
    }
    if !matches!(request, Request::Reach { .. }) {
        worker.flush_datagrams(socket);
    }
    if worker.anchors.get(socket).is_some_and(Anchor::is_packets) {
        return packet::about_packets(worker, caller, socket, request);
    }
    if worker.anchors.get(socket).is_some_and(Anchor::is_raw) {
        return raw::about_raw(worker, caller, socket, request);
    }
    if worker.anchors.get(socket).is_some_and(Anchor::is_datagrams) {
        return about_datagrams(worker, caller, socket, request);
    }
    match request {
        Request::Bind { local } => {
            worker.authority.bind(&worker.shard, caller.principal, Protocol::Tcp, local)?;
            let bind = EngineRequest::Bind { socket, local };
            with_port_free(worker, local.port(), |worker| engine(worker, caller, bind.clone()))?;
            remember_local(worker, caller, socket)
        }
        Request::Connect { remote } => connect(worker, caller, socket, remote, descriptor),
        Request::Listen { backlog } => {
            if !worker.authority.policy.is_unrestricted(ActKind::Listen) {
                let local = info(worker, caller, socket)?.local;
                worker.authority.listen(&worker.shard, caller.principal, local)?;
            }
            let backlog = worker.bills.backlog(caller.principal.bill, backlog);
            let listen = EngineRequest::Listen { socket, backlog };
            with_port_free(worker, 0, |worker| engine(worker, caller, listen.clone()))?;
            let anchor = worker.anchors.get_mut(socket).ok_or(Error::NotASocket)?;
            if let Err(error) = anchor.listening() {
                tracing::warn!(%error, "can't bound a listener's anchor");
            }
            remember_local(worker, caller, socket)
        }
        Request::LocalAddress => Ok(Reply::Address(info(worker, caller, socket)?.local)),
        Request::PeerAddress => {
            let connected =
                |anchor: &Anchor| matches!(anchor.state, State::Open(_) | State::Parked(_));
            if worker.anchors.get(socket).is_some_and(|anchor| !connected(anchor)) {
                return Err(Error::NotConnected);
            }
            let info = info(worker, caller, socket)?;
            info.remote.map(Reply::Address).ok_or(Error::NotConnected)
        }
        Request::SetOption(option) => {
            may_set(worker, caller, &option)?;
            let option = options::to_engine(option)?;
            engine(worker, caller, EngineRequest::SetOption { socket, option })?;
            Ok(Reply::Done)
        }
        Request::GetOption(name) => {
            let info = info(worker, caller, socket)?;
            if name == OptionName::OriginalDestination {
                let remote = info.remote.ok_or(Error::NotConnected)?;
                let original = worker.shard.original_destination(info.local, remote);
                let original = original.ok_or(Error::NoSuchEntry)?;
                return Ok(Reply::Option(SocketOption::OriginalDestination(original)));
            }
            options::read(&info, name).map(Reply::Option)
        }
        Request::TakeError => match engine(worker, caller, EngineRequest::TakeError { socket })? {
            EngineReply::Error(error) => Ok(Reply::Failure(error.map(options::error))),
            _ => Err(Error::NotSupported),
        },
        _ => Err(Error::BadMessage),
    }
}

fn peer_process(worker: &Worker, socket: SocketId) -> Outcome {
    let peer = identity::of_peer(worker, socket).ok_or(Error::NoSuchEntry);
    match peer.and_then(|peer| identity::process(&peer)) {
        Ok(process) => Outcome::Anchor(process),
        Err(error) => Outcome::Answer(Err(error)),
    }
}

/// A socket whose connection is over, and whose anchor a program still holds.
fn about_ended(epitaph: &mut Epitaph, request: &Request) -> Answer {
    match request {
        Request::TakeError => Ok(Reply::Failure(epitaph.error.take())),
        Request::LocalAddress => Ok(Reply::Address(epitaph.local)),
        Request::PeerAddress => Err(Error::NotConnected),
        Request::Peer => Ok(Reply::Peer(None)),
        Request::SetOption(_) => Ok(Reply::Done),
        Request::GetOption(OptionName::TcpInfo) => {
            Ok(Reply::Option(SocketOption::TcpInfo(Box::default())))
        }
        Request::GetOption(OptionName::Listening) => {
            Ok(Reply::Option(SocketOption::Listening(false)))
        }
        Request::Connect { .. } => Err(epitaph.error.take().unwrap_or(Error::ConnectionAborted)),
        _ => Err(Error::InvalidArgument),
    }
}

/// Most options concern nobody but the program.
fn may_set(worker: &mut Worker, caller: &Caller<'_>, option: &SocketOption) -> Result<(), Error> {
    match option {
        SocketOption::Mark(_) => worker.authority.administer(caller.principal),
        _ => Ok(()),
    }
}

fn connect(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
    remote: SocketAddr,
    program_end: &mut Option<OwnedFd>,
) -> Answer {
    worker.authority.connect(&worker.shard, caller.principal, Protocol::Tcp, remote)?;
    worker.bills.allow_connection(caller.principal.bill, worker.clock.now())?;
    let connect = EngineRequest::Connect { socket, remote };
    let reply = with_port_free(worker, 0, |worker| engine(worker, caller, connect.clone()))?;
    let anchor = worker.anchors.get_mut(socket).ok_or(Error::NotASocket)?;
    if reply == EngineReply::Deferred {
        // The SYN waits for the program's first bytes, so that it must be able to write them.
        anchor.open();
        return remember_local(worker, caller, socket);
    }
    let program_end = program_end.take().ok_or(Error::BadMessage)?;
    anchor.connecting(program_end.as_fd(), worker.pairs.filler());
    worker.handshakes.begin(socket, caller.session, program_end);
    remember_local(worker, caller, socket)
}

/// Makes a request that may be refused for want of `port` (0: any), when it may be free and nobody has
/// told of it yet.
fn with_port_free(
    worker: &mut Worker,
    port: u16,
    request: impl Fn(&mut Worker) -> Result<EngineReply, Error>,
) -> Result<EngineReply, Error> {
    match request(worker) {
        Err(Error::AddressInUse | Error::AddressNotAvailable) if worker.cuts.len() > 0 => {
            cut_through::sweep_port(worker, port);
            request(worker)
        }
        other => other,
    }
}

fn remember_local(worker: &mut Worker, caller: &Caller<'_>, socket: SocketId) -> Answer {
    let local = info(worker, caller, socket)?.local;
    if let Some(anchor) = worker.anchors.get_mut(socket) {
        anchor.local = local;
    }
    Ok(Reply::Done)
}

fn info(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
) -> Result<Box<SocketInfo>, Error> {
    match engine(worker, caller, EngineRequest::Info { socket })? {
        EngineReply::Info(info) => Ok(info),
        _ => Err(Error::NotSupported),
    }
}

fn engine(
    worker: &mut Worker,
    caller: &Caller<'_>,
    request: EngineRequest,
) -> Result<EngineReply, Error> {
    let now = worker.clock.now();
    worker.shard.request(now, caller.principal.of_engine(), request).map_err(options::error)
}
