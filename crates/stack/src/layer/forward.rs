//! Packets for others, on their way from one interface to another (RFC 1812 §5).
//!
//! What is decided here is only whether a packet may pass: [`crate::layer::route`] has said where to.
//! A packet whose device is idle goes from the buffer that it came in to that device. Others are copied
//! once, into the frame that waits for its turn. A large one, which is
//! several TCP segments or UDP datagrams in one, passes whole, and so does a checksum that nobody
//! computed yet: what its device can't do is done when it leaves ([`crate::layer::segmentation`]).
//!
//! | file | what is there |
//! |---|---|
//! | `frames` | a packet to the frames it leaves in: one, or fragments |
//! | `passage` | a packet that leaves at once, from where it lies |

mod frames;
mod passage;

pub(crate) use passage::{Onward, Span};

use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{
        Arrival, arp,
        conntrack::Tracking,
        filter, icmpv4,
        inspect::{Course, Since},
        ipv4_options::{self, Mark},
        route::Way,
    },
};
use core::net::Ipv4Addr;
use frames::Egress;
use narrows_wire::{
    ipv4::{self, Packet},
    offload::RxOffload,
};

/// A packet that came in by one interface and is to leave by another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transit<'a> {
    pub interface: InterfaceId,
    pub packet: Packet<'a>,
    pub offload: RxOffload,
    pub way: Way,
    /// That rules gave it.
    pub mark: u32,
    pub tracking: Tracking,
    pub since: Since,
}

impl<'a> Transit<'a> {
    /// For an ICMP error to be about.
    fn arrival(&self) -> Arrival<'a> {
        let Packet { header, header_bytes, payload, .. } = self.packet;
        let Self { interface, offload, way, mark, tracking, since, .. } = *self;
        let course = Course::Through(way);
        Arrival { interface, header, header_bytes, payload, offload, mark, tracking, since, course }
    }
}

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    transit: &Transit<'_>,
) -> Result<(), DropReason> {
    let Transit { packet, way, .. } = transit;
    // RFC 1812 §5.3.1: a packet that may not live on is not forwarded.
    if packet.header.ttl <= 1 {
        icmpv4::time_exceeded(shard, now, &transit.arrival());
        return Err(DropReason::TtlExceeded);
    }
    let link = shard.interfaces.get(way.interface).ok_or(DropReason::NoRoute)?;
    let egress = Egress { mac: link.settings.mac, mtu: link.settings.mtu };
    if packet.header.dont_fragment && frames::longest_piece(transit) > usize::from(egress.mtu) {
        icmpv4::fragmentation_needed(shard, now, &transit.arrival(), egress.mtu);
        return Err(DropReason::MessageTooLong);
    }
    let changed = filter::forward(shard, now, &transit.arrival(), way)?;
    let packet = match &changed {
        Some(bytes) => Packet::parse(bytes).map_err(|_| DropReason::Ipv4Malformed)?,
        None => *packet,
    };
    let transit = &Transit { packet, ..*transit };
    redirect(shard, now, transit);
    let header = header(shard, now, transit).ok_or(DropReason::Ipv4Malformed)?;
    if let Some(onward) = passage::find(shard, now, transit, &header, &egress) {
        shard.counters.packets_forwarded += 1;
        shard.onward = Some(onward);
        return Ok(());
    }
    let frames = frames::of(transit, &header, &egress)?;
    shard.counters.packets_forwarded += 1;
    arp::output(shard, now, way.interface, way.next_hop, frames)
}

/// The header as it leaves: a hop less to go, and in its options who passed it on.
fn header(shard: &Shard, now: Instant, transit: &Transit<'_>) -> Option<Vec<u8>> {
    let Packet { header, header_bytes, options, payload } = transit.packet;
    if options.is_empty() {
        let mut bytes = header_bytes.to_vec();
        ipv4::decrement_ttl(&mut bytes);
        return Some(bytes);
    }
    let way = transit.way;
    // RFC 1812 §4.2.2.2: the address of the interface that it leaves by.
    let address = shard.interfaces.source_for(way.interface, way.next_hop);
    let mut options = options.to_vec();
    if let Some(address) = address {
        let mark = Mark { address, time: ipv4_options::time_of_day(shard, now) };
        let is_ours = |address: Ipv4Addr| shard.interfaces.owner(address.into()).is_some();
        ipv4_options::record(&mut options, mark, is_ours);
    }
    let header = ipv4::Header { ttl: header.ttl.checked_sub(1)?, ..header };
    header.with_options(&options, payload.len())
}

/// Tells a host of a better gateway on its link, if this interface is set to (RFC 1812 §5.2.7.2). The
/// packet goes on all the same.
fn redirect(shard: &mut Shard, now: Instant, transit: &Transit<'_>) {
    let Transit { interface, packet, way, .. } = transit;
    if *interface != way.interface || !packet.options.is_empty() {
        return;
    }
    let Some(link) = shard.interfaces.get(*interface) else { return };
    let same_subnet = |prefix: &narrows_wire::address::Prefix| {
        prefix.contains(packet.header.source.into()) && prefix.contains(way.next_hop.into())
    };
    if link.settings.routing.redirects && link.addresses.iter().any(same_subnet) {
        icmpv4::redirect(shard, now, &transit.arrival(), way.next_hop);
    }
}

#[cfg(test)]
mod tests;
