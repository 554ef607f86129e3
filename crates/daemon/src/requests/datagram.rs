//! What programs ask about their UDP and ping sockets.
//!
//! Datagrams go by the anchor and requests by the session, so a request could overtake what was
//! sent before it: the anchor is emptied first.

use super::{Caller, engine, info, may_set, remember_local};
use crate::{
    anchor::{
        Anchor,
        datagram::{interface_number, interface_of},
    },
    options,
    worker::Worker,
};
use narrows_ipc::{
    Answer, Error, Reply, Request,
    datagram::Attached,
    message::{GroupInterface, MembershipChange, OptionName, QueuedError, SocketOption},
};
use narrows_policy::Protocol;
use narrows_stack::{
    InterfaceId, SocketId,
    request::{
        Envelope, GroupInterface as EngineGroupInterface, Reply as EngineReply,
        Request as EngineRequest, SocketOption as EngineOption,
    },
    table::{
        error_queue::{self, Origin},
        membership::{Filter, FilterMode, MembershipChange as EngineChange},
    },
};
use std::net::IpAddr;

pub(super) fn about_datagrams(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
    request: Request,
) -> Answer {
    match request {
        Request::Bind { local } => {
            let protocol = protocol(worker, socket)?;
            worker.authority.bind(&worker.shard, caller.principal, protocol, local)?;
            engine(worker, caller, EngineRequest::Bind { socket, local })?;
            remember_local(worker, caller, socket)
        }
        Request::Connect { remote } => {
            let protocol = protocol(worker, socket)?;
            worker.authority.connect(&worker.shard, caller.principal, protocol, remote)?;
            engine(worker, caller, EngineRequest::Connect { socket, remote })?;
            remember_local(worker, caller, socket)
        }
        Request::Disconnect => {
            engine(worker, caller, EngineRequest::Disconnect { socket })?;
            remember_local(worker, caller, socket)
        }
        Request::Reach { remote, source, interface, length, segment_size } => {
            let interface = interface_of(interface)?;
            if let Some(remote) = remote {
                let protocol = protocol(worker, socket)?;
                worker.authority.connect(&worker.shard, caller.principal, protocol, remote)?;
            }
            let envelope =
                Envelope { remote, source, interface, segment_size, ..Envelope::default() };
            reach(worker, caller, socket, envelope, length)
        }
        Request::Membership { group, interface, change } => {
            if hears_more(&change) {
                worker.authority.multicast(caller.principal, group.into())?;
            }
            let interface = group_interface(interface)?;
            let change = membership_change(change);
            engine(worker, caller, EngineRequest::Membership { socket, group, interface, change })?;
            Ok(Reply::Done)
        }
        Request::LocalAddress => Ok(Reply::Address(info(worker, caller, socket)?.local)),
        Request::PeerAddress => {
            let remote = info(worker, caller, socket)?.remote;
            let remote = remote.filter(|remote| remote.port() != 0);
            remote.map(Reply::Address).ok_or(Error::NotConnected)
        }
        Request::SetOption(option) => set_option(worker, caller, socket, option),
        Request::GetOption(name) => option(worker, caller, socket, name).map(Reply::Option),
        Request::TakeError => take_error(worker, caller, socket),
        Request::TakeQueuedError => take_queued_error(worker, caller, socket),
        Request::Listen { .. } => Err(Error::NotSupported),
        Request::SetPacket(_) => Err(Error::NoSuchOption),
        _ => Err(Error::BadMessage),
    }
}

fn protocol(worker: &mut Worker, socket: SocketId) -> Result<Protocol, Error> {
    let anchor = worker.anchors.get_mut(socket).ok_or(Error::NotASocket)?;
    anchor.datagrams().and_then(|datagrams| datagrams.protocol()).ok_or(Error::NotSupported)
}

/// Leaving a group, or a source, needs nobody's leave.
fn hears_more(change: &MembershipChange) -> bool {
    match change {
        MembershipChange::Join
        | MembershipChange::JoinSource(_)
        | MembershipChange::Unblock(_)
        | MembershipChange::Filter { .. } => true,
        MembershipChange::Leave | MembershipChange::LeaveSource(_) | MembershipChange::Block(_) => {
            false
        }
    }
}

pub(super) fn reach(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
    envelope: Envelope,
    length: u32,
) -> Answer {
    let len = usize::try_from(length).unwrap_or(usize::MAX);
    match engine(worker, caller, EngineRequest::Reach { socket, envelope, len })? {
        EngineReply::Reachable { longest } => {
            Ok(Reply::Reachable { longest: u32::try_from(longest).unwrap_or(u32::MAX) })
        }
        _ => Err(Error::NotSupported),
    }
}

fn set_option(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
    option: SocketOption,
) -> Answer {
    may_set(worker, caller, &option)?;
    let option = match option {
        SocketOption::Attach { fields, on } => {
            let fields = Attached::from_bits(fields).ok_or(Error::InvalidArgument)?;
            let anchor = worker.anchors.get_mut(socket).ok_or(Error::NotASocket)?;
            let datagrams = anchor.datagrams().ok_or(Error::NotSupported)?;
            datagrams.attached.set(fields, on);
            return Ok(Reply::Done);
        }
        SocketOption::IpOptions(options) => {
            engine(worker, caller, EngineRequest::SetIpOptions { socket, options })?;
            return Ok(Reply::Done);
        }
        SocketOption::Device(name) if name.is_empty() => EngineOption::Device(None),
        SocketOption::Device(name) => EngineOption::Device(Some(interface(worker, &name)?)),
        SocketOption::MulticastInterface(interface) => {
            let option = EngineOption::MulticastInterface(group_interface(interface)?);
            // As Linux has it, unlike for a membership.
            let set = engine(worker, caller, EngineRequest::SetOption { socket, option });
            let unknown = |_| Error::AddressNotAvailable;
            return set.map(|_| Reply::Done).map_err(unknown);
        }
        option => options::to_engine(option)?,
    };
    engine(worker, caller, EngineRequest::SetOption { socket, option })?;
    Ok(Reply::Done)
}

/// What goes with each record of the socket's anchor.
pub(super) fn attached(worker: &mut Worker, socket: SocketId) -> Result<SocketOption, Error> {
    let anchor = worker.anchors.get_mut(socket).ok_or(Error::NotASocket)?;
    let fields = anchor.datagrams().ok_or(Error::NotSupported)?.attached.bits();
    Ok(SocketOption::Attach { fields, on: true })
}

fn option(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
    name: OptionName,
) -> Result<SocketOption, Error> {
    match name {
        OptionName::Attach => attached(worker, socket),
        OptionName::IpOptions => {
            let options = worker.shard.ip_options(socket).ok_or(Error::NotASocket)?;
            Ok(SocketOption::IpOptions(options.to_vec()))
        }
        OptionName::PathMtu => match engine(worker, caller, EngineRequest::PathMtu { socket })? {
            EngineReply::PathMtu(mtu) => Ok(SocketOption::PathMtu(mtu)),
            _ => Err(Error::NotSupported),
        },
        OptionName::Device => {
            let device = info(worker, caller, socket)?.ip.and_then(|ip| ip.device);
            let mut interfaces = worker.shard.interfaces();
            let found = interfaces.find(|(id, _)| Some(*id) == device);
            let name = found.map(|(_, interface)| interface.settings.name.clone());
            Ok(SocketOption::Device(name.unwrap_or_default()))
        }
        OptionName::MulticastInterface => {
            let ip = info(worker, caller, socket)?.ip;
            let interface = ip.and_then(|ip| ip.multicast_interface);
            let mut interfaces = worker.shard.interfaces();
            let found = interfaces.find(|(id, _)| Some(*id) == interface);
            let prefix = found.and_then(|(_, interface)| interface.addresses.first().copied());
            Ok(SocketOption::MulticastInterface(match prefix.map(|prefix| prefix.address()) {
                Some(IpAddr::V4(address)) => GroupInterface::Address(address),
                _ => GroupInterface::Any,
            }))
        }
        name => options::read(&*info(worker, caller, socket)?, name),
    }
}

fn group_interface(interface: GroupInterface) -> Result<EngineGroupInterface, Error> {
    Ok(match interface {
        GroupInterface::Any => EngineGroupInterface::Any,
        GroupInterface::Address(address) => EngineGroupInterface::Address(address),
        GroupInterface::Number(number) => match interface_of(number)? {
            Some(interface) => EngineGroupInterface::Interface(interface),
            None => EngineGroupInterface::Any,
        },
    })
}

fn membership_change(change: MembershipChange) -> EngineChange {
    match change {
        MembershipChange::Join => EngineChange::Join,
        MembershipChange::Leave => EngineChange::Leave,
        MembershipChange::JoinSource(source) => EngineChange::JoinSource(source),
        MembershipChange::LeaveSource(source) => EngineChange::LeaveSource(source),
        MembershipChange::Block(source) => EngineChange::Block(source),
        MembershipChange::Unblock(source) => EngineChange::Unblock(source),
        MembershipChange::Filter { include, sources } => EngineChange::Set(Filter {
            mode: if include { FilterMode::Include } else { FilterMode::Exclude },
            sources: sources.into_iter().collect(),
        }),
    }
}

/// The interface that Narrows calls so, or the one on the device that the kernel calls so.
fn interface(worker: &Worker, name: &str) -> Result<InterfaceId, Error> {
    let named = worker.shard.interfaces().find(|(_, each)| each.settings.name == name);
    let attached = || worker.attachments.iter().find(|each| each.device.name() == name);
    let found = named.map(|(id, _)| id).or_else(|| attached().map(|each| each.interface));
    found.ok_or(Error::NoSuchDevice)
}

fn take_error(worker: &mut Worker, caller: &Caller<'_>, socket: SocketId) -> Answer {
    // As on Linux, with entries in its error queue a socket is in error still.
    if worker.shard.has_queued_errors(socket)
        && let Some(datagrams) = worker.anchors.get_mut(socket).and_then(Anchor::datagrams)
    {
        datagrams.owe_word();
        worker.flush_datagrams(socket);
    }
    let pending = worker.anchors.get_mut(socket).and_then(Anchor::datagrams);
    if let Some(error) = pending.and_then(|datagrams| datagrams.error.take()) {
        return Ok(Reply::Failure(Some(error)));
    }
    match engine(worker, caller, EngineRequest::TakeError { socket })? {
        EngineReply::Error(error) => Ok(Reply::Failure(error.map(options::error))),
        _ => Err(Error::NotSupported),
    }
}

/// With the queue's entry goes the pending error; if another entry is left, the engine brings that
/// one's.
fn take_queued_error(worker: &mut Worker, caller: &Caller<'_>, socket: SocketId) -> Answer {
    let request = EngineRequest::TakeQueuedError { socket };
    let EngineReply::QueuedError(queued) = engine(worker, caller, request)? else {
        return Err(Error::NotSupported);
    };
    let datagrams = worker.anchors.get_mut(socket).and_then(|anchor| anchor.datagrams());
    let mut attached = Attached::default();
    if let Some(datagrams) = datagrams.filter(|_| queued.is_some()) {
        datagrams.error = None;
        attached = datagrams.attached;
    }
    Ok(Reply::QueuedError(queued.map(|queued| Box::new(queued_error(*queued, attached)))))
}

fn queued_error(queued: error_queue::QueuedError, attached: Attached) -> QueuedError {
    let icmp = match queued.origin {
        Origin::Local => None,
        Origin::Icmp(icmp) => Some(icmp),
    };
    let interface = icmp.map_or(0, |icmp| interface_number(icmp.interface));
    QueuedError {
        error: options::error(queued.error),
        icmp: icmp.map(|icmp| (icmp.kind, icmp.code, icmp.from)),
        ttl: icmp.map(|icmp| icmp.ttl).filter(|_| attached.contains(Attached::TTL)),
        tos: icmp.map(|icmp| icmp.tos).filter(|_| attached.contains(Attached::TOS)),
        destination: queued.destination,
        interface,
        mtu: queued.mtu,
        payload: queued.payload.into_vec(),
    }
}
