//! Packets that programs decide about: taken out of a hook, kept until the answer, and put back behind where
//! they were taken.
//!
//! A rule's `queue` gives a packet to whoever inspects that queue; who is attached to a hook is given what its
//! rules let pass. A packet is given to nobody who is not admitted to every zone that it is in, as if he were not
//! there. Where nobody is, a queue with `bypass` lets the packet pass and one without drops it, as on Linux.
//!
//! A packet that waits is whole (all segments of an offloaded one), with its flow held in the table of flows
//! and its route decided. When it comes back, it goes the way that every packet goes, with a [`Since`] that says
//! which hooks it has been asked about already; a ruleset that was swapped meanwhile is asked at that hook from its
//! beginning. What a program makes of a packet is checked first: see [`rewrite`].
//!
//! Where it differs from Linux: several programs may share one queue, packets of a flow keep their order, an answer
//! that comes late is ignored, and addresses and ports can't be rewritten (rules translate those).

mod rewrite;
#[cfg(test)]
mod tests;

use crate::{
    Instant, InterfaceId, Shard,
    conntrack::Tuple,
    counters::{DropReason, Place},
    filter::{Hook, Part, field::View, rule::Queue},
    layer::{
        Arrival,
        conntrack::{self, Membership, Tracking},
        filter::Departure,
        forward::{self, Transit},
        ipv4_input::{self, Entering, LinkDestination},
        ipv4_output,
        route::{Path, Way},
        watch,
    },
    request::Principal,
    shard::Inspection,
    table::{
        inspector::{Answer, End, Inspector, InspectorId, Inspectors, Lie, Source},
        timer::TimerKey,
        watch::Step,
    },
};
use narrows_wire::{
    ipv4::Packet,
    offload::{RxChecksum, RxOffload},
};

/// Behind every chain of a hook.
const PAST_CHAINS: usize = u32::MAX as usize;

/// Which hooks a packet has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Since {
    #[default]
    Beginning,
    /// It comes back from an inspector to where it was.
    Point(Point),
}

/// Where at a hook a packet was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    hook: Hook,
    part: Part,
    /// The base chain that is asked next; past the last: only inspectors are left.
    chain: usize,
    /// The last of those attached to the hook who was asked.
    inspector: u32,
}

impl Since {
    /// Has it passed all of this?
    pub fn covers(self, hook: Hook, part: Part) -> bool {
        matches!(self, Self::Point(at) if (hook, part) < (at.hook, at.part))
    }

    /// The chain to begin with, and the last inspector that was asked.
    pub fn begin(self, hook: Hook, part: Part) -> (usize, u32) {
        match self {
            Self::Point(at) if (hook, part) == (at.hook, at.part) => (at.chain, at.inspector),
            _ => (0, 0),
        }
    }
}

/// What a packet was about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// It came in, and whose it is was not decided.
    Entering(LinkDestination),
    /// It is for this host.
    Here,
    /// It is for raw sockets of this host alone.
    Raw,
    Through(Way),
    /// It is this host's.
    Own(Own),
}

/// Of a packet of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub path: Path,
    pub principal: Principal,
    pub heard_here: bool,
    pub segment_size: Option<u16>,
}

/// A packet that waits.
#[derive(Debug)]
pub struct Parked {
    pub(crate) seen: Instant,
    pub(crate) hook: Hook,
    pub(crate) source: Source,
    pub(crate) input: Option<InterfaceId>,
    pub(crate) output: Option<InterfaceId>,
    pub(crate) user: Option<u32>,
    pub(crate) mark: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: RxOffload,
    course: Course,
    /// Where it came in.
    interface: InterfaceId,
    tracking: Tracking,
    /// Its flow's, which no other flow has.
    serial: u64,
    point: Point,
    /// Of the rules that took it.
    rules: u64,
}

/// A packet at a hook.
pub(crate) struct At<'a> {
    pub hook: Hook,
    pub part: Part,
    pub packet: &'a Arrival<'a>,
    /// If it is this host's.
    pub departure: Option<&'a Departure<'a>>,
    pub view: &'a View<'a>,
}

/// What became of a packet that was to be given to an inspector.
pub(crate) enum Fate {
    /// It waits.
    Parked,
    Passes,
    Refused(DropReason),
}

/// May rules, or those attached, take out packets of this host?
pub(crate) fn takes_own(shard: &Shard) -> bool {
    let hooks = [Hook::Output, Hook::Postrouting];
    shard.filter.as_ref().is_some_and(|filter| filter.queues())
        || hooks.into_iter().any(|hook| attached(shard, hook))
}

/// Is anybody given what passes here, where no rule of the hook is asked any more?
pub(crate) fn is_last(shard: &Shard, at: &At<'_>) -> bool {
    shard.inspectors.is_some() && matches!(at.part, Part::Whole | Part::AfterTranslation)
}

/// Is anybody given all packets of this hook?
pub(crate) fn attached(shard: &Shard, hook: Hook) -> bool {
    shard.inspectors.as_ref().is_some_and(|inspectors| inspectors.attached(hook))
}

/// A rule gives the packet to a queue; `chain`: to be asked when it comes back.
pub(crate) fn queue(
    shard: &mut Shard,
    now: Instant,
    at: &At<'_>,
    queue: Queue,
    chain: usize,
) -> Fate {
    let absent = match queue.bypass {
        true => Fate::Passes,
        false => Fate::Refused(DropReason::InspectorAbsent),
    };
    let Some(inspectors) = shard.inspectors.take() else { return absent };
    let flow = flow_of(&inspectors, at);
    let numbers = (queue.first, queue.last);
    let chosen = inspectors.choose(numbers, flow, |member| may_have(shard, member, at));
    shard.inspectors = Some(inspectors);
    let point = Point { hook: at.hook, part: at.part, chain, inspector: 0 };
    chosen.map_or(absent, |chosen| park(shard, now, at, chosen, flow, point))
}

/// The rules of the hook let the packet pass: those attached to it are asked, from behind `last` on.
pub(crate) fn ask(shard: &mut Shard, now: Instant, at: &At<'_>, mut last: u32) -> Fate {
    loop {
        let Some(inspectors) = shard.inspectors.take() else { return Fate::Passes };
        let flow = flow_of(&inspectors, at);
        let next = inspectors.iter().find(|(id, member)| {
            id.0 > last
                && member.terms.source == Source::Hook(at.hook)
                && may_have(shard, member, at)
        });
        let next = next.map(|(id, _)| id);
        shard.inspectors = Some(inspectors);
        let Some(next) = next else { return Fate::Passes };
        let point = Point { hook: at.hook, part: at.part, chain: PAST_CHAINS, inspector: next.0 };
        match park(shard, now, at, next, flow, point) {
            Fate::Passes => last = next.0,
            other => return other,
        }
    }
}

/// Both directions of a flow are one.
fn flow_of(inspectors: &Inspectors<Parked>, at: &At<'_>) -> u64 {
    let header = &at.packet.header;
    match Tuple::of(header, at.packet.payload) {
        Some(tuple) => {
            let one = inspectors.flow_of(&tuple);
            let other = inspectors.flow_of(&tuple.inverse());
            one.min(other)
        }
        None => inspectors.flow_of(&(header.source.min(header.destination), header.protocol.0)),
    }
}

/// May he be given the packet, and does he want it?
fn may_have(shard: &Shard, member: &Inspector<Parked>, at: &At<'_>) -> bool {
    let who = member.principal;
    let sides = [at.view.input, at.view.output];
    if member.terms.interface.is_some_and(|only| !sides.contains(&Some(only))) {
        return false;
    }
    let header = &at.packet.header;
    let admitted = |side: &InterfaceId| match *side {
        // Where all zones meet.
        InterfaceId::LOOPBACK => {
            shard.covers(who, header.source.into()) && shard.covers(who, header.destination.into())
        }
        interface => shard.admits(who, interface),
    };
    let takes = |filter: &crate::bpf::Program| {
        let context = crate::bpf::Context { protocol: 0x0800, ..Default::default() };
        filter.run([at.packet.header_bytes, at.packet.payload], &context) > 0
    };
    sides.iter().flatten().all(admitted) && member.terms.filter.as_ref().is_none_or(takes)
}

fn park(
    shard: &mut Shard,
    now: Instant,
    at: &At<'_>,
    inspector: InspectorId,
    flow: u64,
    point: Point,
) -> Fate {
    let Some(mut inspectors) = shard.inspectors.take() else { return Fate::Passes };
    let source = inspectors.get_mut(inspector).map(|member| member.terms.source);
    let packet = at.packet;
    let length = packet.header_bytes.len() + packet.payload.len();
    let serial = serial_of(shard, packet.tracking).unwrap_or(0);
    let rules = shard.rules;
    let make = || Parked {
        seen: now,
        hook: at.hook,
        source: source.unwrap_or(Source::Hook(at.hook)),
        input: at.view.input,
        output: at.view.output,
        user: at.departure.map(|departure| departure.own.principal.uid),
        mark: at.view.mark,
        bytes: [packet.header_bytes, packet.payload].concat(),
        offload: packet.offload,
        course: at.departure.map_or(packet.course, |departure| Course::Own(departure.own)),
        interface: packet.interface,
        tracking: packet.tracking,
        serial,
        point,
        rules,
    };
    let parked = inspectors.park(now, inspector, flow, length, make);
    shard.inspectors = Some(inspectors);
    match parked {
        Ok(()) => {
            hold(shard, packet.tracking, true);
            arm(shard);
            watch::note(shard, |_| Step::Inspected { inspector, end: None });
            Fate::Parked
        }
        Err(true) => Fate::Passes,
        Err(false) => Fate::Refused(DropReason::InspectorFull),
    }
}

fn serial_of(shard: &Shard, tracking: Tracking) -> Option<u64> {
    let Tracking::Of(Membership { flow, .. }) = tracking else { return None };
    shard.conntrack.as_ref()?.get(flow).map(|flow| flow.serial())
}

/// A flow that its first packet has not begun yet stays as long as that waits.
fn hold(shard: &mut Shard, tracking: Tracking, on: bool) {
    if let (Tracking::Of(Membership { flow, .. }), Some(table)) = (tracking, &mut shard.conntrack) {
        table.hold(flow, on);
    }
}

fn arm(shard: &mut Shard) {
    let next = shard.inspectors.as_ref().and_then(|inspectors| inspectors.next_deadline());
    match next {
        Some(at) => shard.timers.arm(TimerKey::Inspectors, at),
        None => shard.timers.cancel(TimerKey::Inspectors),
    }
}

/// A packet that waits has been taken.
pub(crate) fn taken(result: Result<(), DropReason>) -> Result<(), DropReason> {
    match result {
        Err(DropReason::Parked) => Ok(()),
        other => other,
    }
}

/// As the inspector is told of it.
pub(crate) fn show(packet: u64, parked: &Parked, snap: usize) -> Inspection<'_> {
    Inspection {
        packet,
        hook: parked.hook,
        source: parked.source,
        input: parked.input,
        output: parked.output,
        user: parked.user,
        mark: parked.mark,
        seen: parked.seen,
        bytes: parked.bytes.get(..snap).unwrap_or(&parked.bytes),
        length: parked.bytes.len(),
        segment_size: rewrite::segment_size(parked),
        partial: match parked.course {
            Course::Own(own) => own.segment_size.is_some(),
            _ => parked.offload.checksum == RxChecksum::Partial,
        },
    }
}

/// What an inspector says of a packet, and the bytes that the packet is to have from now on.
pub(crate) fn answer(
    shard: &mut Shard,
    now: Instant,
    inspector: InspectorId,
    packet: u64,
    answer: Answer,
    bytes: Option<&[u8]>,
) -> Result<(), Lie> {
    let Some(inspectors) = &mut shard.inspectors else { return Err(Lie::Unknown) };
    let result = tell(inspectors, inspector, packet, answer, bytes);
    if let (Err(lie), Some(member)) = (&result, inspectors.get_mut(inspector)) {
        match lie {
            Lie::Stale => member.tally.stale += 1,
            Lie::Unknown | Lie::Rewrite => member.tally.lies += 1,
        }
    }
    let released = result?;
    conclude(shard, now, inspector, released);
    arm(shard);
    Ok(())
}

fn tell(
    inspectors: &mut Inspectors<Parked>,
    inspector: InspectorId,
    packet: u64,
    answer: Answer,
    bytes: Option<&[u8]>,
) -> Result<Vec<(Parked, End)>, Lie> {
    let member = inspectors.get_mut(inspector).ok_or(Lie::Unknown)?;
    let snap = member.terms.snap;
    let parked = member.unanswered(packet)?;
    if let (Some(bytes), Answer::Accept { .. }) = (bytes, &answer) {
        // Who saw the beginning alone can't say what the whole is to be.
        if parked.bytes.len() > snap {
            return Err(Lie::Rewrite);
        }
        rewrite::apply(parked, bytes).ok_or(Lie::Rewrite)?;
        member.tally.rewritten += 1;
    }
    inspectors.answer(inspector, packet, answer)
}

/// Answers that did not come in time.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    while let Some((inspector, released)) =
        shard.inspectors.as_mut().and_then(|inspectors| inspectors.expire(now))
    {
        conclude(shard, now, inspector, released);
    }
    arm(shard);
}

/// An inspector is gone.
pub(crate) fn detach(shard: &mut Shard, now: Instant, inspector: InspectorId) {
    let Some(inspectors) = &mut shard.inspectors else { return };
    let released = inspectors.detach(inspector);
    if inspectors.is_empty() {
        shard.inspectors = None;
    }
    conclude(shard, now, inspector, released);
    arm(shard);
}

fn conclude(shard: &mut Shard, now: Instant, inspector: InspectorId, released: Vec<(Parked, End)>) {
    for (parked, end) in released {
        let interface = parked.input.or(parked.output);
        shard.begin(now, Place { interface, user: parked.user, ..Place::default() });
        let watched = shard.watchers.is_some() && parked.input.is_some();
        let frame = watched.then(|| watch::framed(&parked.bytes));
        let (interface, offload) = (parked.interface, parked.offload);
        if let Some(frame) = &frame {
            watch::depart(shard, interface, frame, offload);
        }
        watch::note(shard, |_| Step::Inspected { inspector, end: Some(end) });
        let result = taken(go_on(shard, now, parked, end));
        if let Some(frame) = &frame {
            watch::arrive(shard, interface, frame, offload, result);
        }
        if let Err(reason) = result {
            shard.counters.drop(reason);
        }
    }
}

/// One that may goes on from where it was.
fn go_on(shard: &mut Shard, now: Instant, parked: Parked, end: End) -> Result<(), DropReason> {
    let Parked { tracking, course, interface, offload, bytes, .. } = &parked;
    hold(shard, *tracking, false);
    let mark = match end {
        End::Accepted { mark } => Ok(mark.unwrap_or(parked.mark)),
        End::Late { open: true } => Ok(parked.mark),
        End::Late { open: false } => Err(DropReason::InspectorLate),
        End::Dropped => Err(DropReason::InspectorRefused),
    };
    let result = mark.and_then(|mark| {
        let since = since(shard, &parked).ok_or(DropReason::InspectorStale)?;
        let packet = Packet::parse(bytes).map_err(|_| DropReason::Ipv4Malformed)?;
        let Packet { header, header_bytes, payload, .. } = packet;
        let (interface, offload, tracking, course) = (*interface, *offload, *tracking, *course);
        let arrival = Arrival {
            interface,
            header,
            header_bytes,
            payload,
            offload,
            mark,
            tracking,
            since,
            course,
        };
        match course {
            Course::Entering(link) => {
                let entering = Entering { interface, packet, offload, link, mark, tracking, since };
                ipv4_input::enter(shard, now, &entering)
            }
            Course::Here => ipv4_input::deliver(shard, now, &arrival),
            Course::Raw => ipv4_input::deliver_raw(shard, now, &arrival),
            Course::Through(way) => {
                let transit = Transit { interface, packet, offload, way, mark, tracking, since };
                forward::input(shard, now, &transit)
            }
            Course::Own(own) => ipv4_output::go_on(shard, now, &arrival, own),
        }
    });
    conntrack::let_go(shard, *tracking);
    result
}

/// Where a packet goes on. `None`: its flow is gone, or rules now want to know flows that it has none of.
fn since(shard: &Shard, parked: &Parked) -> Option<Since> {
    let of_flow = matches!(parked.tracking, Tracking::Of(_));
    if of_flow && serial_of(shard, parked.tracking) != Some(parked.serial) {
        return None;
    }
    let point = parked.point;
    if parked.rules == shard.rules {
        return Some(Since::Point(point));
    }
    let fits = (point.part == Part::Whole) == shard.conntrack.is_none();
    let chain = if point.chain == PAST_CHAINS { PAST_CHAINS } else { 0 };
    fits.then_some(Since::Point(Point { chain, ..point }))
}
