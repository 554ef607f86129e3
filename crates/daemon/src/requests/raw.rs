//! What programs ask about their raw IP sockets, where that is not what they ask about UDP ones.
//!
//! Whoever may observe somewhere, or inject, may have such a socket; it hears of what comes in where he
//! may observe, and sends where he may inject.

use super::{Caller, datagram, engine, info, packet, remember_local};
use crate::{
    anchor::datagram::{interface_of, raw::may_inject},
    principal::Principal,
    worker::Worker,
};
use narrows_ipc::{
    Answer, Error, Reply, Request,
    message::{OptionName, SocketKind, SocketOption},
    packet::PacketOption,
};
use narrows_policy::Access;
use narrows_stack::{
    InterfaceId, SocketId,
    request::{Envelope, RawOption, RawState, Request as EngineRequest},
};

pub(super) fn about_raw(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
    request: Request,
) -> Answer {
    match request {
        Request::Bind { local } => {
            engine(worker, caller, EngineRequest::Bind { socket, local })?;
            remember_local(worker, caller, socket)
        }
        Request::Connect { remote } => {
            let envelope = Envelope { remote: Some(remote), ..Envelope::default() };
            let Worker { shard, authority, .. } = &mut *worker;
            may_inject(shard, authority, caller.principal, socket, &envelope)?;
            engine(worker, caller, EngineRequest::Connect { socket, remote })?;
            remember_local(worker, caller, socket)
        }
        Request::Reach { remote, source, interface, length, .. } => {
            let interface = interface_of(interface)?;
            let envelope = Envelope { remote, source, interface, ..Envelope::default() };
            let Worker { shard, authority, .. } = &mut *worker;
            may_inject(shard, authority, caller.principal, socket, &envelope)?;
            datagram::reach(worker, caller, socket, envelope, length)
        }
        Request::SetPacket(option @ PacketOption::Filter(_)) => {
            let option = packet::to_engine(option)?;
            engine(worker, caller, EngineRequest::SetPacket { socket, option })?;
            Ok(Reply::Done)
        }
        Request::SetOption(option) => match to_engine(option) {
            Ok(option) => {
                engine(worker, caller, EngineRequest::SetRaw { socket, option })?;
                Ok(Reply::Done)
            }
            Err(other) => {
                datagram::about_datagrams(worker, caller, socket, Request::SetOption(other))
            }
        },
        Request::GetOption(name) => match read(worker, socket, name)? {
            Some(option) => Ok(Reply::Option(option)),
            None => datagram::about_datagrams(worker, caller, socket, Request::GetOption(name)),
        },
        Request::PeerAddress => {
            let remote = info(worker, caller, socket)?.remote;
            // As on Linux, a peer without a port has no name.
            let remote = remote.filter(|remote| remote.port() != 0);
            remote.map(Reply::Address).ok_or(Error::NotConnected)
        }
        other => datagram::about_datagrams(worker, caller, socket, other),
    }
}

/// Where a new socket of his may observe; `None`: everywhere.
pub(super) fn may_open(
    worker: &mut Worker,
    who: &Principal,
) -> Result<Option<Box<[InterfaceId]>>, Error> {
    let Worker { shard, authority, .. } = worker;
    if authority.lets_raw(who, None, Access::Observe) {
        return Ok(None);
    }
    let lets = |name: &str, access| authority.lets_raw(who, Some(name), access);
    let named = || shard.interfaces().map(|(id, link)| (id, &*link.settings.name));
    let observed: Box<[InterfaceId]> =
        named().filter(|(_, name)| lets(name, Access::Observe)).map(|(id, _)| id).collect();
    if observed.is_empty() && !named().any(|(_, name)| lets(name, Access::Inject)) {
        authority.raw(who, None, Access::Observe)?;
    }
    Ok(Some(observed))
}

/// `Err`: an option that other sockets have too.
fn to_engine(option: SocketOption) -> Result<RawOption, SocketOption> {
    Ok(match option {
        SocketOption::HeaderIncluded(on) => RawOption::HeaderIncluded(on),
        SocketOption::IcmpFilter(types) => RawOption::IcmpFilter(types),
        other => return Err(other),
    })
}

fn read(
    worker: &Worker,
    socket: SocketId,
    name: OptionName,
) -> Result<Option<SocketOption>, Error> {
    let state = worker.shard.raw_state(socket).ok_or(Error::NotASocket)?;
    let RawState { protocol, header_included, icmp_filter } = state;
    Ok(Some(match name {
        OptionName::HeaderIncluded => SocketOption::HeaderIncluded(header_included),
        OptionName::IcmpFilter => SocketOption::IcmpFilter(icmp_filter),
        OptionName::Kind => SocketOption::Kind(SocketKind::Raw { protocol: protocol.0 }),
        _ => return Ok(None),
    }))
}
