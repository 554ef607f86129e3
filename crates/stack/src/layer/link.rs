//! From a device's interface up to the one that gets the packet, and from an interface down to the
//! devices its frames leave by (see [`table::link`](crate::table::link) for what stands upon what).
//!
//! A frame climbs: by its tag to a VLAN, from a member to its bond, from a port to its bridge, until
//! nothing is above that would have it. It descends the other way, and by then it is bytes that a
//! device's queue owns. TCP's data is not: a connection asks by which device its segments leave and
//! with which tags ([`Course`]), waits in line there, and is put in another line when that changes.
//!
//! On a device with nothing upon it all this is one comparison each way.
//!
//! | file | what is there |
//! |---|---|
//! | `output` | the way down |
//! | `bond` | LACP, ARP monitoring, failover |
//! | `bridge` | copies for other ports |
//! | `state` | interfaces made, changed and removed; links that come and go |
//!
//! Where Linux does otherwise: an interface that others stand upon can't be deleted there and then;
//! and a VLAN always has the address of what it is on.

mod bond;
mod bridge;
mod output;
mod state;

pub(crate) use output::{Course, LinkHeader, count_sent, course, line, output};
pub(crate) use state::{add, configure, enslave, handle_timeout, release, remove, set};

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{ethernet, filter, packet, watch},
    table::{link::LinkKind, zone::ZoneId},
};
use narrows_wire::{
    ethernet::{EtherType, HEADER_LEN, Header},
    offload::RxOffload,
    vlan::{TagProtocol, Tagged},
};

/// A frame on its way up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ascent<'a> {
    pub header: Header,
    pub payload: &'a [u8],
    pub offload: RxOffload,
}

/// A frame from a device, or (for a tap of another kind) from the interface it came in by.
pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    frame: &[u8],
    offload: RxOffload,
) -> Result<(), DropReason> {
    let (header, payload) = Header::parse(frame).map_err(|_| DropReason::EthernetTruncated)?;
    let mut frame = Ascent { header, payload, offload };
    let mut at = interface;
    // Each round leads up, and the table is finite; or takes a tag off the frame.
    loop {
        let link = shard.links.get_mut(at).ok_or(DropReason::NotForThisStation)?;
        if !link.up {
            return Err(DropReason::LinkDown);
        }
        let len = HEADER_LEN + frame.payload.len();
        let to = frame.header.destination;
        link.traffic.received(len, to.is_multicast() && !to.is_broadcast());
        if shard.watchers.is_some() {
            watch::input(shard, at, &frame);
        }
        let claimed = shard.packets.is_watching() && packet::input(shard, at, &frame);
        if shard.watchers.is_some() {
            watch::received(shard, at, &frame, claimed);
        }
        if claimed {
            return Ok(());
        }
        filter::ingress(shard, now, at, frame.header, frame.payload)?;
        let link = shard.links.get(at).ok_or(DropReason::NotForThisStation)?;
        let (master, tag) = (link.master, TagProtocol::of(frame.header.ether_type));
        if let Some(protocol) = tag {
            match untag(shard, at, protocol, frame.payload, master.is_some())? {
                Tags::Vlan(vlan, inner) => {
                    at = vlan;
                    (frame.header.ether_type, frame.payload) = (inner.ether_type, inner.payload);
                    continue;
                }
                Tags::Priority(inner) => {
                    (frame.header.ether_type, frame.payload) = (inner.ether_type, inner.payload);
                    continue;
                }
                Tags::Left => {}
            }
        }
        let Some(master) = master else {
            return ethernet::input(shard, now, at, &frame);
        };
        let goes_on = match shard.links.get(master).map(|link| (link.up, &link.kind)) {
            Some((true, LinkKind::Bond(_))) => bond::input(shard, now, master, at, &frame)?,
            Some((true, LinkKind::Bridge(_))) => bridge::input(shard, now, master, at, &frame)?,
            _ => return Err(DropReason::LinkDown),
        };
        if !goes_on {
            return Ok(());
        }
        at = master;
    }
}

/// What a tag says.
enum Tags<'a> {
    /// The frame is a VLAN's.
    Vlan(InterfaceId, Tagged<'a>),
    /// The tag was a priority alone.
    Priority(Tagged<'a>),
    /// The tag is for whoever is above.
    Left,
}

/// `has_master`: a bond or bridge above takes frames with tags that are not known here.
fn untag<'a>(
    shard: &Shard,
    at: InterfaceId,
    protocol: TagProtocol,
    payload: &'a [u8],
    has_master: bool,
) -> Result<Tags<'a>, DropReason> {
    let tagged = Tagged::parse(payload).map_err(|_| DropReason::VlanMalformed)?;
    let Some(id) = tagged.id else {
        return Ok(if has_master { Tags::Left } else { Tags::Priority(tagged) });
    };
    let tag = narrows_wire::vlan::Tag { protocol, id };
    match shard.links.get(at).and_then(|link| link.vlans.get(&tag)) {
        Some(vlan) => Ok(Tags::Vlan(*vlan, tagged)),
        None if has_master => Ok(Tags::Left),
        None => Err(DropReason::VlanUnknown),
    }
}

/// The zone of a frame that is at an interface: of the VLAN that its tag leads to, which may be in
/// another than the link.
pub(crate) fn zone_of(
    shard: &Shard,
    interface: InterfaceId,
    ether_type: EtherType,
    payload: &[u8],
) -> ZoneId {
    let (mut zone, mut at) = (shard.interfaces.zone(interface), Some(interface));
    let (mut ether_type, mut payload) = (ether_type, payload);
    while let Some(protocol) = TagProtocol::of(ether_type)
        && let Ok(tagged) = Tagged::parse(payload)
    {
        // It is the VLAN of the interface itself, or of what that is part of.
        let vlan = tagged.id.and_then(|id| {
            let tag = narrows_wire::vlan::Tag { protocol, id };
            loop {
                let link = at.and_then(|at| shard.links.get(at))?;
                if let Some(vlan) = link.vlans.get(&tag) {
                    return Some(*vlan);
                }
                at = link.master;
            }
        });
        if let Some(vlan) = vlan {
            (zone, at) = (shard.interfaces.zone(vlan), Some(vlan));
        } else if tagged.id.is_some() {
            break;
        }
        (ether_type, payload) = (tagged.ether_type, tagged.payload);
    }
    zone
}

/// The bytes of a frame that goes on to another link.
fn copy(frame: &Ascent<'_>) -> Vec<u8> {
    let mut link = [0; HEADER_LEN];
    frame.header.emit(&mut link);
    [&link[..], frame.payload].concat()
}

/// Is it one of the slow protocols, which are for the member alone?
fn is_slow(frame: &Ascent<'_>) -> bool {
    frame.header.ether_type == EtherType::SLOW
}

#[cfg(test)]
mod tests;
