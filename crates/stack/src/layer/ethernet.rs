//! Ethernet: is the frame for this station, and for which protocol?

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{
        arp,
        ipv4_input::{self, LinkDestination},
        link::Ascent,
    },
};
use narrows_wire::ethernet::EtherType;

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    frame: &Ascent<'_>,
) -> Result<(), DropReason> {
    let Ascent { header, payload, offload } = *frame;
    let station = shard.interfaces.get(interface).ok_or(DropReason::NotForThisStation)?;
    let destination = if header.destination == station.settings.mac {
        LinkDestination::Station
    } else if header.destination.is_broadcast() {
        LinkDestination::Broadcast
    } else if header.ether_type == EtherType::IPV4
        && (shard.memberships.takes(interface, header.destination)
            || station.multicast.contains(&header.destination))
    {
        LinkDestination::Group
    } else {
        // Another station's, which a promiscuous device shows us, or a group we have not joined.
        return Err(DropReason::NotForThisStation);
    };
    match header.ether_type {
        EtherType::IPV4 => {
            ipv4_input::input_from_link(shard, now, interface, payload, offload, destination)
        }
        EtherType::ARP => arp::input(shard, now, interface, payload),
        _ => Err(DropReason::UnknownEtherType),
    }
}

#[cfg(test)]
mod tests;
