//! Packets, as those who watch are told of them. With nobody watching each place on a packet's way is
//! one comparison.
//!
//! A frame that is received has one journey, from its device to where it ends, and what it leads to (an
//! answer, the frame that goes on) is in it. A frame that this host makes has one of its own, which ends
//! where it leaves. Nobody is told of a packet that was in a zone he is not admitted to; on the loopback,
//! where all zones meet, he must be admitted to both ends.
//!
//! What is dropped before there is a frame (a datagram without a route, a fragment that waited too long)
//! is counted, and noted in the journey that led to it, but no copy is shown at [`Stages::DROP`].

use crate::{
    InterfaceId, Shard,
    bpf::Context,
    counters::DropReason,
    layer::{
        Arrival,
        filter::Departure,
        link::{self, Ascent},
        packet::{self, above, payload_start, transport_sum},
        raw,
        route::{Decision, Inbound, transport},
        segmentation,
    },
    request::Principal,
    table::{
        packet_socket::PacketType,
        route::{Answer, Query},
        watch::{
            Audience, Entry, Fate, Journey, Record, Role, Sight, Stages, Step, Underway, Watcher,
            Watchers,
        },
        zone::ZoneId,
    },
};
use narrows_wire::{
    address::MacAddr,
    ethernet::{EtherType, HEADER_LEN, Header},
    ipv4,
    offload::{PartialChecksum, RxChecksum, RxOffload, TxOffload},
};

/// A frame in two parts, as it is at one place.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub interface: InterfaceId,
    pub kind: PacketType,
    /// Empty: it is in the payload.
    pub header: &'a [u8],
    pub payload: &'a [u8],
    /// Where in the whole a sum begins that has to be completed, and where from there it goes.
    pub unfinished: Option<(usize, usize)>,
    pub verified: bool,
    pub segment_size: Option<u16>,
}

impl<'a> Frame<'a> {
    fn new(
        interface: InterfaceId,
        kind: PacketType,
        header: &'a [u8],
        payload: &'a [u8],
        offload: RxOffload,
    ) -> Self {
        let sum = || {
            let ether_type = header.get(HEADER_LEN - 2..)?.first_chunk()?;
            let (start, offset) =
                transport_sum(EtherType(u16::from_be_bytes(*ether_type)), payload)?;
            Some((header.len() + start, offset))
        };
        let unfinished = if offload.checksum == RxChecksum::Partial { sum() } else { None };
        let verified = offload.checksum != RxChecksum::Unverified;
        let segment_size = offload.segment_size;
        Self { interface, kind, header, payload, unfinished, verified, segment_size }
    }

    fn outgoing(interface: InterfaceId, frame: &'a [u8], offload: TxOffload) -> Self {
        let unfinished = offload
            .checksum
            .map(|PartialChecksum { start, offset }| (usize::from(start), usize::from(offset)));
        Self {
            interface,
            kind: PacketType::Outgoing,
            header: &[],
            payload: frame,
            unfinished,
            verified: unfinished.is_some(),
            segment_size: offload.segmentation.map(|segmentation| segmentation.segment_size),
        }
    }

    /// Not of the loopback's.
    fn zone(&self, shard: &Shard) -> ZoneId {
        let link = if self.header.is_empty() { self.payload } else { self.header };
        let payload = match self.header.is_empty() {
            true => self.payload.get(HEADER_LEN..).unwrap_or_default(),
            false => self.payload,
        };
        match Header::parse(link) {
            Ok((header, _)) => link::zone_of(shard, self.interface, header.ether_type, payload),
            Err(_) => shard.interfaces.zone(self.interface),
        }
    }

    fn len(&self) -> usize {
        self.header.len() + self.payload.len()
    }

    /// As many bytes as `snap` allows, with the sum that a device was to complete.
    fn copy(&self, snap: usize) -> Box<[u8]> {
        let mut bytes = [self.header, self.payload].concat();
        if let Some((start, offset)) = self.unfinished {
            segmentation::complete(&mut bytes, start, offset);
        }
        bytes.truncate(snap);
        bytes.into()
    }

    /// The IPv4 packet in it, if that is what it is.
    fn packet(&self) -> &'a [u8] {
        match self.header.is_empty() {
            true => self.payload.get(HEADER_LEN..).unwrap_or_default(),
            false => self.payload,
        }
    }

    fn context(&self) -> Context {
        let link = if self.header.is_empty() { self.payload } else { self.header };
        let protocol = link.get(HEADER_LEN - 2..).and_then(|bytes| bytes.first_chunk());
        let protocol = protocol.map_or(0, |bytes| u16::from_be_bytes(*bytes));
        let start = match protocol == EtherType::IPV4.0 {
            true => payload_start(self.packet()),
            false => 0,
        };
        Context {
            protocol,
            packet_type: self.kind as u8,
            interface: self.interface.number(),
            hardware: if self.interface == InterfaceId::LOOPBACK { 772 } else { 1 },
            network: HEADER_LEN,
            payload_offset: u32::try_from(HEADER_LEN + start).unwrap_or(u32::MAX),
            ..Context::default()
        }
    }
}

/// May he be told of what passes there?
fn admits(shard: &Shard, who: Principal, frame: &Frame<'_>) -> bool {
    if frame.interface != InterfaceId::LOOPBACK {
        return shard.admits(who, frame.interface)
            && (shard.zones.is_single() || shard.zones.of(who).contains(frame.zone(shard)));
    }
    shard.zones.is_single()
        || ipv4::Packet::parse(frame.packet()).is_ok_and(|packet| {
            let ipv4::Header { source, destination, .. } = packet.header;
            shard.covers(who, source.into()) && shard.covers(who, destination.into())
        })
}

/// Whom a frame is for, of those who `want` such.
fn audience(
    shard: &Shard,
    watchers: &Watchers,
    frame: &Frame<'_>,
    want: impl Fn(&Watcher) -> bool,
) -> Audience {
    let mut audience = Audience::default();
    let mut context = None;
    for (id, member) in watchers.iter() {
        let context = context.get_or_insert_with(|| frame.context());
        let takes =
            |filter: &crate::bpf::Program| filter.run([frame.header, frame.payload], context) > 0;
        if want(member)
            && admits(shard, member.principal, frame)
            && member.watch.filter.as_ref().is_none_or(takes)
        {
            audience.add(id);
        }
    }
    audience
}

fn show(shard: &mut Shard, stage: Stages, frame: &Frame<'_>, reason: Option<DropReason>) {
    packet::tap(shard, stage, frame, reason);
    show_unless_claimed(shard, stage, frame, reason, false);
}

fn show_unless_claimed(
    shard: &mut Shard,
    stage: Stages,
    frame: &Frame<'_>,
    reason: Option<DropReason>,
    claimed: bool,
) {
    let Some(mut watchers) = shard.watchers.take() else { return };
    let audience = audience(shard, &watchers, frame, |member| {
        member.watch.stages.contains(stage)
            && (!claimed || member.watch.sees_claimed)
            && member.watch.interface.is_none_or(|only| only == frame.interface)
    });
    if !audience.is_empty() {
        let sight = Sight {
            seen: shard.packets.clock,
            stage,
            interface: frame.interface,
            kind: frame.kind,
            user: shard.counters.place.user,
            reason,
            length: frame.len(),
            bytes: frame.copy(watchers.snap(audience)),
        };
        watchers.push(audience, Record::Sight(sight));
    }
    shard.watchers = Some(watchers);
}

/// Who follows the whole way of a frame that is at its beginning.
fn followers(shard: &Shard, watchers: &Watchers, frame: &Frame<'_>) -> Audience {
    audience(shard, watchers, frame, |member| member.watch.journeys)
}

/// Notes a decision about the packet at hand.
#[inline]
pub(crate) fn note(shard: &mut Shard, step: impl FnOnce(&Shard) -> Step) {
    if shard.watchers.is_some() {
        let step = step(shard);
        keep(shard, step);
    }
}

#[cold]
fn keep(shard: &mut Shard, step: Step) {
    if let Some(watchers) = &mut shard.watchers {
        watchers.note(step);
    }
}

/// A call from outside begins.
#[cold]
pub(crate) fn begin(shard: &mut Shard) {
    if let Some(watchers) = &mut shard.watchers {
        watchers.made.clear();
        watchers.received = None;
    }
}

/// To whom a frame was sent, as far as the interface it came by can tell.
fn kind_of(shard: &Shard, interface: InterfaceId, destination: MacAddr) -> PacketType {
    match shard.interfaces.get(interface) {
        Some(station) if destination == station.settings.mac => PacketType::Host,
        _ if interface == InterfaceId::LOOPBACK => PacketType::Host,
        _ if destination.is_broadcast() => PacketType::Broadcast,
        _ if !destination.is_unicast() => PacketType::Multicast,
        _ => PacketType::OtherHost,
    }
}

/// The link header of packets that have none.
const NO_HEADER: [u8; HEADER_LEN] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];

fn arrived<'a>(
    shard: &Shard,
    interface: InterfaceId,
    bytes: &'a [u8],
    offload: RxOffload,
) -> Frame<'a> {
    if interface == InterfaceId::LOOPBACK {
        return Frame::new(interface, PacketType::Host, &NO_HEADER, bytes, offload);
    }
    let (header, payload) = bytes.split_at(HEADER_LEN.min(bytes.len()));
    let destination = header.first_chunk().map(|mac| MacAddr(*mac));
    let kind = destination.map_or(PacketType::OtherHost, |mac| kind_of(shard, interface, mac));
    Frame::new(interface, kind, header, payload, offload)
}

/// A frame of a device, or a packet on the loopback, begins its way.
#[cold]
pub(crate) fn depart(shard: &mut Shard, interface: InterfaceId, bytes: &[u8], offload: RxOffload) {
    let frame = arrived(shard, interface, bytes, offload);
    let Some(watchers) = &shard.watchers else { return };
    let audience = followers(shard, watchers, &frame);
    if let Some(watchers) = &mut shard.watchers {
        watchers.received = Some(Underway { audience, steps: Vec::new() });
        watchers.link = NO_HEADER;
    }
    if interface == InterfaceId::LOOPBACK {
        let out = Frame { kind: PacketType::Outgoing, ..frame };
        show(shard, Stages::TRANSMIT, &out, None);
        show(shard, Stages::RECEIVE, &frame, None);
        keep(shard, Step::At(interface));
    }
}

/// A packet behind the header of those that have none.
pub(crate) fn framed(packet: &[u8]) -> Vec<u8> {
    [&NO_HEADER[..], packet].concat()
}

/// The way of what departed ends here.
#[cold]
pub(crate) fn arrive(
    shard: &mut Shard,
    interface: InterfaceId,
    bytes: &[u8],
    offload: RxOffload,
    result: Result<(), DropReason>,
) {
    let frame = arrived(shard, interface, bytes, offload);
    if let Err(reason) = result {
        show(shard, Stages::DROP, &frame, Some(reason));
    }
    let Some(Underway { audience, steps }) =
        shard.watchers.as_mut().and_then(|watchers| watchers.received.take())
    else {
        return;
    };
    let fate = result.map_or_else(Fate::Dropped, |()| Fate::Taken);
    tell(shard, audience, &frame, steps, fate);
}

/// To those who follow it, may see where it has been, and asked for one of those interfaces.
fn tell(shard: &mut Shard, audience: Audience, frame: &Frame<'_>, steps: Vec<Step>, fate: Fate) {
    let Some(mut watchers) = shard.watchers.take() else { return };
    let at = |step: &Step| match step {
        Step::At(interface) | Step::Sent { interface, .. } => Some(*interface),
        _ => None,
    };
    let mut allowed = Audience::default();
    for (id, member) in watchers.iter() {
        let claimed =
            steps.iter().any(|step| matches!(step, Step::Socket { role: Role::Holder, .. }));
        let mut places = steps.iter().filter_map(at).filter(|at| *at != InterfaceId::LOOPBACK);
        let wanted = member.watch.interface.is_none_or(|only| {
            only == frame.interface || steps.iter().filter_map(at).any(|at| at == only)
        });
        let told = wanted && (!claimed || member.watch.sees_claimed);
        if told && places.all(|place| shard.admits(member.principal, place)) {
            allowed.add(id);
        }
    }
    let audience = audience.and(allowed);
    if !audience.is_empty() {
        let journey = Journey {
            seen: shard.packets.clock,
            interface: frame.interface,
            kind: frame.kind,
            user: shard.counters.place.user,
            length: frame.len(),
            bytes: frame.copy(watchers.snap(audience)),
            steps,
            fate,
        };
        watchers.push(audience, Record::Journey(Box::new(journey)));
    }
    shard.watchers = Some(watchers);
}

/// A frame is at an interface, on its way up.
#[cold]
pub(crate) fn input(shard: &mut Shard, interface: InterfaceId, frame: &Ascent<'_>) {
    keep(shard, Step::At(interface));
    let Some(watchers) = &mut shard.watchers else { return };
    frame.header.emit(&mut watchers.link);
}

/// There it goes on; or not, when it is `claimed`.
#[cold]
pub(crate) fn received(
    shard: &mut Shard,
    interface: InterfaceId,
    frame: &Ascent<'_>,
    claimed: bool,
) {
    let kind = kind_of(shard, interface, frame.header.destination);
    let mut link = [0; HEADER_LEN];
    frame.header.emit(&mut link);
    let frame = Frame::new(interface, kind, &link, frame.payload, frame.offload);
    show_unless_claimed(shard, Stages::RECEIVE, &frame, None, claimed);
}

/// A packet that came this far, behind the link header that it came with.
#[cold]
pub(crate) fn passed(
    shard: &mut Shard,
    stage: Stages,
    interface: InterfaceId,
    packet: &[u8],
    offload: RxOffload,
) {
    let Some(link) = shard.watchers.as_ref().map(|watchers| watchers.link) else { return };
    let destination = link.first_chunk().map_or(MacAddr::ZERO, |mac| MacAddr(*mac));
    let kind = kind_of(shard, interface, destination);
    show(shard, stage, &Frame::new(interface, kind, &link, packet, offload), None);
}

/// The entry of the route tables that a packet for another host goes by.
fn entry_for(shard: &Shard, inbound: &Inbound<'_>) -> Option<Entry> {
    let Inbound { interface, header, payload, mark, .. } = *inbound;
    let query = Query {
        source: Some(header.source),
        input: Some(interface),
        mark,
        transport: transport(header, payload),
        ..Query::to(header.destination)
    };
    match shard.routes.lookup(&query) {
        Answer::Found(found) => Some(Entry { to: found.to, table: found.table }),
        Answer::Refused(_) | Answer::None => None,
    }
}

/// Whose packet it is.
#[cold]
pub(crate) fn decided(shard: &mut Shard, inbound: &Inbound<'_>, decision: &Decision) {
    let step = match *decision {
        Decision::Deliver(cast) => Step::Local(cast),
        Decision::Forward(way) => Step::Forward {
            interface: way.interface,
            next_hop: way.next_hop,
            entry: entry_for(shard, inbound),
        },
        // The reason says it.
        Decision::Refuse(_) => return,
    };
    keep(shard, step);
}

/// A whole datagram for this host.
#[cold]
pub(crate) fn whole(shard: &mut Shard, arrival: &Arrival<'_>) {
    let Arrival { interface, mut offload, .. } = *arrival;
    let packet = raw::whole(arrival, arrival.options());
    if offload.checksum == RxChecksum::Partial {
        // It has been completed.
        offload.checksum = RxChecksum::Verified;
    }
    passed(shard, Stages::REASSEMBLED, interface, &packet, offload);
}

/// A frame goes down by an interface; `last`: which is the device.
#[cold]
pub(crate) fn output(
    shard: &mut Shard,
    interface: InterfaceId,
    bytes: &[u8],
    offload: TxOffload,
    last: bool,
) {
    let frame = Frame::outgoing(interface, bytes, offload);
    show(shard, Stages::TRANSMIT, &frame, None);
    if !last {
        return;
    }
    let Some(watchers) = &mut shard.watchers else { return };
    if watchers.received.is_some() {
        return keep(shard, Step::Sent { interface, bytes: frame.copy(usize::MAX) });
    }
    let steps = core::mem::take(&mut watchers.made);
    made(shard, &frame, steps, Fate::Sent);
}

/// A connection's segment, which goes by `device` on behalf of `interface`, perhaps another one.
#[cold]
pub(crate) fn segment(
    shard: &mut Shard,
    interface: InterfaceId,
    device: InterfaceId,
    bytes: &[u8],
    offload: TxOffload,
) {
    if interface != device {
        let (untagged, offload) = above(bytes, offload);
        output(shard, interface, &untagged, offload, false);
    }
    output(shard, device, bytes, offload, true);
}

/// The end of the way of a frame that this host made.
fn made(shard: &mut Shard, frame: &Frame<'_>, steps: Vec<Step>, fate: Fate) {
    let Some(watchers) = &shard.watchers else { return };
    let audience = followers(shard, watchers, frame);
    tell(shard, audience, frame, steps, fate);
}

/// A frame that did not get to its device.
#[cold]
pub(crate) fn lost(
    shard: &mut Shard,
    interface: InterfaceId,
    bytes: &[u8],
    offload: TxOffload,
    reason: DropReason,
) {
    end(shard, &Frame::outgoing(interface, bytes, offload), reason);
}

/// A packet of this host that the filter holds back.
#[cold]
pub(crate) fn held_back(shard: &mut Shard, departure: &Departure<'_>, reason: DropReason) {
    let packet = [departure.header_bytes, departure.payload].concat();
    let kind = PacketType::Outgoing;
    let offload = RxOffload::default();
    let frame = Frame::new(departure.own.path.interface, kind, &NO_HEADER, &packet, offload);
    end(shard, &frame, reason);
}

fn end(shard: &mut Shard, frame: &Frame<'_>, reason: DropReason) {
    show(shard, Stages::DROP, frame, Some(reason));
    let Some(watchers) = &mut shard.watchers else { return };
    if watchers.received.is_none() {
        let steps = core::mem::take(&mut watchers.made);
        made(shard, frame, steps, Fate::Dropped(reason));
    }
}

#[cfg(test)]
mod tests;
