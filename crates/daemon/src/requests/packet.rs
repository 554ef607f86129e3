//! What programs ask about their packet sockets.

use super::{Caller, engine, may_set};
use crate::{
    anchor::datagram::{
        interface_number, interface_of,
        packet::{hardware, may_inject},
    },
    bpf, options,
    principal::Principal,
    watching::to_engine as to_stage,
    worker::Worker,
};
use narrows_ipc::{
    Answer, Error, Reply, Request,
    datagram::Attached,
    message::{OptionName, SocketKind, SocketOption},
    packet::{Appetite, FanoutMode, FrameMatch, PacketOption, PacketState},
};
use narrows_policy::Access;
use narrows_stack::{
    InterfaceId, SocketId,
    request::{
        Envelope, FanoutRequest, PacketOption as EngineOption, Reply as EngineReply,
        Request as EngineRequest,
    },
    table::{
        claim::{Match, Rank},
        fanout::FanoutMode as EngineMode,
        packet_socket::Appetite as EngineAppetite,
    },
};
use narrows_wire::address::{MacAddr, Prefix};
use std::net::IpAddr;

pub(super) fn about_packets(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
    request: Request,
) -> Answer {
    match request {
        Request::Reach { interface, length, .. } => {
            let interface = interface_of(interface)?;
            let bound = || worker.shard.packet_state(socket).and_then(|state| state.interface);
            if let Some(interface) = interface.or_else(bound) {
                let (shard, authority) = (&worker.shard, &mut worker.authority);
                may_inject(shard, authority, caller.principal, interface)?;
            }
            let envelope = Envelope { interface, ..Envelope::default() };
            super::datagram::reach(worker, caller, socket, envelope, length).map_err(|error| {
                // As Linux says it of a frame that is to go nowhere.
                if error == Error::NoSuchDevice { Error::NoInterface } else { error }
            })
        }
        Request::BindPacket { interface, protocol } => {
            let interface = interface_of(interface)?;
            let taps = worker.shard.packet_state(socket).is_some_and(|state| !state.tap.is_empty());
            let access = if taps { Access::Tap } else { Access::Observe };
            may_use(worker, caller.principal, interface, access)?;
            engine(worker, caller, EngineRequest::BindPacket { socket, interface, protocol })?;
            show_claimed(worker, caller.principal, socket, interface);
            Ok(Reply::Done)
        }
        Request::SetPacket(PacketOption::Claim(Some(frame))) => {
            claim(worker, caller, socket, &frame)
        }
        Request::SetPacket(option) => {
            if let PacketOption::Fanout { .. } = option {
                let bound = worker.shard.packet_state(socket).and_then(|state| state.interface);
                may_use(worker, caller.principal, bound, Access::Share)?;
            }
            if let PacketOption::Tap(stages) = &option
                && let Some(state) = worker.shard.packet_state(socket)
                // Else it hears nothing yet, and binding asks.
                && state.protocol != 0
            {
                let access = if stages.is_empty() { Access::Observe } else { Access::Tap };
                may_use(worker, caller.principal, state.interface, access)?;
            }
            let option = to_engine(option)?;
            engine(worker, caller, EngineRequest::SetPacket { socket, option })?;
            Ok(Reply::Done)
        }
        Request::PacketStatistics => {
            match engine(worker, caller, EngineRequest::PacketStatistics { socket })? {
                EngineReply::PacketStatistics { frames, lost } => {
                    Ok(Reply::PacketStatistics { frames, lost })
                }
                _ => Err(Error::NotSupported),
            }
        }
        Request::PacketState => state(worker, socket).map(Reply::PacketState),
        Request::SetOption(SocketOption::Attach { fields, on }) => {
            let fields = Attached::from_bits(fields).ok_or(Error::InvalidArgument)?;
            let anchor = worker.anchors.get_mut(socket).ok_or(Error::NotASocket)?;
            anchor.datagrams().ok_or(Error::NotSupported)?.attached.set(fields, on);
            Ok(Reply::Done)
        }
        Request::SetOption(option) => {
            may_set(worker, caller, &option)?;
            let option = options::to_engine(option)?;
            engine(worker, caller, EngineRequest::SetOption { socket, option })?;
            Ok(Reply::Done)
        }
        Request::GetOption(name) => option(worker, caller, socket, name).map(Reply::Option),
        Request::TakeError => {
            let anchor = worker.anchors.get_mut(socket).ok_or(Error::NotASocket)?;
            let pending = anchor.datagrams().and_then(|datagrams| datagrams.error.take());
            Ok(Reply::Failure(pending))
        }
        Request::Connect { .. } | Request::Listen { .. } => Err(Error::NotSupported),
        _ => Err(Error::InvalidArgument),
    }
}

/// Who is to hear nothing yet needs no leave; binding asks again.
pub(super) fn may_open(worker: &mut Worker, who: &Principal, protocol: u16) -> Result<(), Error> {
    if protocol == 0 { Ok(()) } else { may_use(worker, who, None, Access::Observe) }
}

/// What comes in by an interface can be claimed by whom policy lets; what somebody else has, nobody gets, and
/// the log says who has it.
fn claim(worker: &mut Worker, caller: &Caller<'_>, socket: SocketId, frame: &FrameMatch) -> Answer {
    let wish = frame_match(frame)?;
    may_use(worker, caller.principal, wish.interface, Access::Claim)?;
    let name = wish.interface.and_then(|interface| worker.shard.interface(interface));
    let name = name.map(|station| &*station.settings.name);
    let rank = match worker.authority.lets_packet(caller.principal, name, Access::Precede) {
        true => Rank::First,
        false => Rank::Common,
    };
    let option = EngineOption::Claim(Some((wish.clone(), rank)));
    match engine(worker, caller, EngineRequest::SetPacket { socket, option }) {
        Err(Error::InUse) => {
            let holder = worker.shard.claim_in_the_way(socket, &wish, rank);
            let holder = holder.and_then(|holder| worker.anchors.get(holder));
            if let Some(holder) = holder.map(|anchor| &anchor.principal) {
                let (pid, uid) = (caller.principal.pid, caller.principal.uid);
                let (holder, user) = (holder.pid, holder.uid);
                tracing::warn!(pid, uid, holder, user, "refused a claim that overlaps another");
            }
            Err(Error::InUse)
        }
        other => other.map(|_| Reply::Done),
    }
}

/// What is claimed is shown to observers who may claim it themselves.
pub(super) fn show_claimed(
    worker: &mut Worker,
    who: &Principal,
    socket: SocketId,
    interface: Option<InterfaceId>,
) {
    let station = interface.and_then(|interface| worker.shard.interface(interface));
    let name = station.map(|station| &*station.settings.name);
    let shown = worker.authority.lets_packet(who, name, Access::Claim);
    let option = EngineOption::SeesClaimed(shown);
    worker.request_quietly(EngineRequest::SetPacket { socket, option });
}

/// As the engine names it.
pub(crate) fn frame_match(frame: &FrameMatch) -> Result<Match, Error> {
    let prefix = |named: Option<(IpAddr, u8)>| match named {
        Some((address, length)) => {
            Prefix::new(address, length).map(Some).ok_or(Error::InvalidArgument)
        }
        None => Ok(None),
    };
    Ok(Match {
        interface: interface_of(frame.interface)?,
        ether_type: frame.ether_type,
        protocol: frame.protocol,
        source: prefix(frame.source)?,
        destination: prefix(frame.destination)?,
        source_ports: frame.source_ports,
        destination_ports: frame.destination_ports,
    })
}

/// `None`: on every interface.
fn may_use(
    worker: &mut Worker,
    who: &Principal,
    interface: Option<InterfaceId>,
    access: Access,
) -> Result<(), Error> {
    let name = match interface {
        Some(interface) => match worker.shard.interface(interface) {
            Some(station) => Some(&*station.settings.name),
            None => return Err(Error::NoSuchDevice),
        },
        None => None,
    };
    worker.authority.packet(who, name, access)
}

fn option(
    worker: &mut Worker,
    caller: &Caller<'_>,
    socket: SocketId,
    name: OptionName,
) -> Result<SocketOption, Error> {
    match name {
        OptionName::Attach => super::datagram::attached(worker, socket),
        OptionName::Kind => {
            let PacketState { cooked, protocol, .. } = state(worker, socket)?;
            Ok(SocketOption::Kind(SocketKind::Packet { cooked, protocol }))
        }
        name => options::read(&*super::info(worker, caller, socket)?, name),
    }
}

fn state(worker: &Worker, socket: SocketId) -> Result<PacketState, Error> {
    let state = worker.shard.packet_state(socket).ok_or(Error::NotASocket)?;
    let interface = state.interface;
    let station = interface.and_then(|interface| worker.shard.interface(interface));
    Ok(PacketState {
        interface: interface.map_or(0, interface_number),
        protocol: state.protocol,
        mac: station.map_or([0; 6], |station| station.settings.mac.0),
        hardware: hardware(interface.unwrap_or(InterfaceId::LOOPBACK)),
        cooked: state.cooked,
        ignore_outgoing: state.ignore_outgoing,
        vnet_header: state.vnet_header,
        fanout: state.fanout,
    })
}

pub(super) fn to_engine(option: PacketOption) -> Result<EngineOption, Error> {
    Ok(match option {
        PacketOption::Filter(program) => {
            EngineOption::Filter(program.map(|program| bpf::instructions(&program)))
        }
        PacketOption::IgnoreOutgoing(on) => EngineOption::IgnoreOutgoing(on),
        PacketOption::VnetHeader(on) => EngineOption::VnetHeader(on),
        PacketOption::Member { interface, appetite, joined } => EngineOption::Member {
            interface: interface_of(interface)?.ok_or(Error::NoSuchDevice)?,
            appetite: match appetite {
                Appetite::Group(group) => EngineAppetite::Group(MacAddr(group)),
                Appetite::AllGroups => EngineAppetite::AllGroups,
                Appetite::Everything => EngineAppetite::Everything,
            },
            joined,
        },
        // One that is made goes through `claim`.
        PacketOption::Claim(_) => EngineOption::Claim(None),
        PacketOption::Tap(stages) => {
            EngineOption::Tap(stages.iter().map(|stage| to_stage(*stage)).collect())
        }
        PacketOption::Fanout { group, mode, rollover, unused } => {
            let mode = match mode {
                FanoutMode::Hash => EngineMode::Hash,
                FanoutMode::RoundRobin => EngineMode::RoundRobin,
                FanoutMode::Cpu => EngineMode::Cpu,
                FanoutMode::Rollover => EngineMode::Rollover,
                FanoutMode::Random => EngineMode::Random,
            };
            EngineOption::Fanout(FanoutRequest { group, mode, rollover, unused })
        }
    })
}
