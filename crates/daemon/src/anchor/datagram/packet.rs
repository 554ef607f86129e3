//! Records of packet sockets: see [`narrows_ipc::packet`].

use super::{RECORD, interface_of, since_1970};
use crate::{policy::Authority, principal::Principal, watching::stage_of};
use narrows_ipc::{Error, datagram::Attached, packet::Header};
use narrows_policy::Access;
use narrows_stack::{
    Instant, InterfaceId, Shard, SocketId, request::FrameAddress, table::packet_socket::FrameCopy,
};
use narrows_wire::address::MacAddr;

/// ARPHRD_ETHER and ARPHRD_LOOPBACK.
const ETHERNET: u16 = 1;
const LOOPBACK: u16 = 772;

/// The kind of an interface's link.
pub(crate) fn hardware(interface: InterfaceId) -> u16 {
    if interface == InterfaceId::LOOPBACK { LOOPBACK } else { ETHERNET }
}

/// The interface by which the last frame was allowed to leave, and by which state of the policy.
pub(crate) type Permitted = Option<(InterfaceId, u64)>;

/// May a frame leave there? What leads nowhere is the engine's to refuse.
pub(super) fn may_send(
    shard: &Shard,
    authority: &mut Authority,
    who: &Principal,
    permitted: &mut Permitted,
    socket: SocketId,
    to: &FrameAddress,
) -> Result<(), Error> {
    let bound = || shard.packet_state(socket).and_then(|state| state.interface);
    let Some(interface) = to.interface.or_else(bound) else { return Ok(()) };
    let asked = (interface, authority.policy.generation());
    if *permitted == Some(asked) {
        return Ok(());
    }
    may_inject(shard, authority, who, interface)?;
    *permitted = Some(asked);
    Ok(())
}

/// May he send frames by that interface?
pub(crate) fn may_inject(
    shard: &Shard,
    authority: &mut Authority,
    who: &Principal,
    interface: InterfaceId,
) -> Result<(), Error> {
    let Some(station) = shard.interface(interface) else { return Ok(()) };
    authority.packet(who, Some(&station.settings.name), Access::Inject)
}

/// What a program is told of a frame; the time always, because it may ask for it later.
pub(super) fn header(frame: &FrameCopy, attached: Attached, now: Instant) -> Header {
    Header {
        attached,
        kind: frame.kind as u8,
        verified: frame.verified,
        vlan: frame.vlan,
        interface: frame.interface.number(),
        protocol: frame.protocol,
        hardware: hardware(frame.interface),
        station: Some(frame.source.0),
        length: frame.length,
        network: frame.network,
        seen: since_1970(now, frame.seen),
        stage: stage_of(frame.stage),
        reason: frame.reason.map_or(0, |reason| reason as u16 + 1),
    }
}

/// Where a program's frame is to go, and the frame.
pub(super) fn parse(bytes: &[u8]) -> Option<(FrameAddress, &[u8])> {
    let (header, frame) = bytes.split_first_chunk().filter(|_| bytes.len() < RECORD)?;
    let header = Header::decode(header).ok()?;
    let to = FrameAddress {
        interface: interface_of(header.interface).ok()?,
        protocol: Some(header.protocol).filter(|protocol| *protocol != 0),
        destination: header.station.map(MacAddr),
    };
    Some((to, frame))
}
