//! Records of raw IP sockets, which are those of datagrams, and who may send them.

use crate::{options, policy::Authority, principal::Principal};
use narrows_ipc::Error;
use narrows_policy::Access;
use narrows_stack::{Shard, SocketId, request::Envelope};

/// By which state of the policy packets may leave anywhere.
pub(crate) type Permitted = Option<u64>;

/// May a packet leave by the interface that it would? What leads nowhere is the engine's to refuse.
pub(crate) fn may_send(
    shard: &mut Shard,
    authority: &mut Authority,
    who: &Principal,
    permitted: &mut Permitted,
    socket: SocketId,
    envelope: &Envelope,
) -> Result<(), Error> {
    let generation = authority.policy.generation();
    if *permitted == Some(generation) {
        return Ok(());
    }
    if authority.lets_raw(who, None, Access::Inject) {
        *permitted = Some(generation);
        return Ok(());
    }
    may_inject(shard, authority, who, socket, envelope)
}

/// The same, of one packet.
pub(crate) fn may_inject(
    shard: &mut Shard,
    authority: &mut Authority,
    who: &Principal,
    socket: SocketId,
    envelope: &Envelope,
) -> Result<(), Error> {
    let interface = shard.raw_course(socket, envelope).map_err(options::error)?;
    let station = shard.interface(interface).ok_or(Error::NoSuchDevice)?;
    authority.raw(who, Some(&station.settings.name), Access::Inject)
}
