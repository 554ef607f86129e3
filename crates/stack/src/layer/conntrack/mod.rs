//! Flows on a packet's way: found before it is routed, put into the table when it leaves or arrives, and their
//! ends changed in between (RFC 3022).
//!
//! ```text
//!   from a device ── reassembly ── track ── destination ── route ─┬─ forward ── source ── confirm ── to a device
//!                                                                 └─ input ── source ── confirm ── to a socket
//!   from a socket ── track ── destination ── route anew ── source ── confirm ── to a device, or the loopback
//! ```
//!
//! Rules are asked in between by their priorities, as on Linux: those below -200 before a packet's flow is known,
//! those above -100 (at the destination) or 100 (at the source) after its end was changed. Chains of type `nat` are
//! asked for a flow's first packet alone.
//!
//! What goes by the loopback was tracked and changed when it was sent; it is only recognized when it comes in.
//!
//! Where it differs from Linux: fragments are put together also if they are for others, and leave cut to the MTU of
//! the link they leave by, not as they came. Marks of flows outlive nothing but packets. There are no helpers and no
//! zones of tracking: zones of interfaces keep flows apart by what may cross, after the translation.
//!
//! | file | what is there |
//! |---|---|
//! | `track` | which flow a packet is of |
//! | `translate` | giving its flow another end, and the packet what the flow has |
//! | `depart` | packets of this host |

mod depart;
mod track;
mod translate;

#[cfg(test)]
mod tests;

pub(crate) use depart::{Changed, may_reroute, original_destination, output};
pub(crate) use track::{peek, start_anew as renew};
pub(crate) use translate::stands_for_another;

use crate::{
    Instant, InterfaceId, Shard,
    conntrack::{Connection, Direction, FlowId, FlowState, flow::state},
    counters::DropReason,
    filter::{Hook, Part},
    layer::{
        Arrival, filter,
        ipv4_input::{self, Entering},
    },
    table::timer::TimerKey,
};
use core::net::Ipv4Addr;
use narrows_wire::{ipv4::Packet, rewrite::End};

/// What is known of a packet's flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tracking {
    /// Nobody looks.
    #[default]
    Off,
    /// A rule says that nobody is to look.
    Untracked,
    /// It can be of no flow.
    Invalid,
    Of(Membership),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub flow: FlowId,
    pub direction: Direction,
    pub state: FlowState,
}

impl Tracking {
    /// The flow that it may be the first packet of. What this host answers to such a packet while it is on its way is
    /// of the same flow, and none of its business.
    fn begun(self) -> Option<FlowId> {
        match self {
            Self::Of(Membership {
                flow,
                direction: Direction::Original,
                state: FlowState::New,
            }) => Some(flow),
            _ => None,
        }
    }

    /// What rules may ask, and the flow's mark.
    pub fn connection(self, shard: &Shard, now: Instant) -> Option<(Connection, u32)> {
        let without = |state| Some((Connection { state, flow: None }, 0));
        match self {
            Self::Off => None,
            Self::Untracked => without(state::UNTRACKED),
            Self::Invalid => without(state::INVALID),
            Self::Of(Membership { flow, direction, state }) => {
                let flow = shard.conntrack.as_ref()?.get(flow)?;
                let state = match state {
                    FlowState::New => state::NEW,
                    FlowState::Established => state::ESTABLISHED,
                    FlowState::Related => state::RELATED,
                };
                let facts = Some(flow.facts(now, direction));
                Some((Connection { state, flow: facts }, flow.mark()))
            }
        }
    }
}

/// A packet that came in, with flows looked at: on to whom it is for.
pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    entering: &Entering<'_>,
) -> Result<(), DropReason> {
    if !entering.packet.header.is_fragment() {
        return whole_input(shard, now, entering);
    }
    let Some(whole) = ipv4_input::reassemble(shard, now, entering.interface, &entering.packet)?
    else {
        return Ok(());
    };
    let options = entering.packet.options;
    let header_bytes = whole.header.with_options(options, whole.payload.len());
    let header_bytes = header_bytes.ok_or(DropReason::FragmentTooBig)?;
    let packet = Packet {
        header: whole.header,
        header_bytes: &header_bytes,
        options: header_bytes.get(narrows_wire::ipv4::HEADER_LEN..).unwrap_or(&[]),
        payload: &whole.payload,
    };
    let offload = ipv4_input::offload_of_whole(entering.interface);
    whole_input(shard, now, &Entering { packet, offload, ..*entering })
}

fn whole_input(shard: &mut Shard, now: Instant, entering: &Entering<'_>) -> Result<(), DropReason> {
    let arrival = entering.arrival();
    let asked =
        filter::came_in(shard, now, Hook::Prerouting, Part::BeforeTracking, &arrival, None)?;
    let (tracking, offload) = match (entering.tracking, asked.untrack) {
        (Tracking::Off, true) => (Tracking::Untracked, entering.offload),
        (Tracking::Off, false) => track::arrival(shard, now, &arrival)?,
        // It comes back from an inspector.
        (known, _) => (known, entering.offload),
    };
    let entering = Entering { mark: asked.mark, tracking, offload, ..*entering };
    let result = translated_input(shard, now, &entering);
    settle(shard, tracking);
    result
}

fn translated_input(
    shard: &mut Shard,
    now: Instant,
    entering: &Entering<'_>,
) -> Result<(), DropReason> {
    const HOOK: Hook = Hook::Prerouting;
    let arrival = entering.arrival();
    let mark = filter::came_in(shard, now, HOOK, Part::BeforeTranslation, &arrival, None)?.mark;
    let arrival = Arrival { mark, ..arrival };
    let entering = Entering { mark, ..*entering };
    let place = translate::Place { input: Some(entering.interface), output: None };
    translate::decide(shard, now, HOOK, &arrival, End::Destination, place)?;
    let changed = translate::apply(shard, &arrival, HOOK, End::Destination)?;
    let packet = match &changed {
        Some(bytes) => Packet::parse(bytes).map_err(|_| DropReason::Ipv4Malformed)?,
        None => entering.packet,
    };
    let entering = Entering { packet, ..entering };
    let arrival = entering.arrival();
    let mark = filter::came_in(shard, now, HOOK, Part::AfterTranslation, &arrival, None)?.mark;
    ipv4_input::onward(shard, now, &Entering { mark, ..entering })
}

/// A whole datagram for this host: on to its transport.
pub(crate) fn deliver(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    const HOOK: Hook = Hook::Input;
    let mark = filter::came_in(shard, now, HOOK, Part::BeforeTranslation, arrival, None)?.mark;
    let arrival = Arrival { mark, ..*arrival };
    let place = translate::Place { input: Some(arrival.interface), output: None };
    translate::decide(shard, now, HOOK, &arrival, End::Source, place)?;
    let changed = translate::apply(shard, &arrival, HOOK, End::Source)?;
    let arrival = match &changed {
        Some(bytes) => {
            let packet = Packet::parse(bytes).map_err(|_| DropReason::Ipv4Malformed)?;
            let Packet { header, header_bytes, payload, .. } = packet;
            Arrival { header, header_bytes, payload, ..arrival }
        }
        None => arrival,
    };
    let mark = filter::came_in(shard, now, HOOK, Part::AfterTranslation, &arrival, None)?.mark;
    confirm(shard, arrival.tracking)?;
    ipv4_input::to_transport(shard, now, &Arrival { mark, ..arrival })
}

/// A packet that is to leave by `output`; what becomes of its bytes, if anything.
pub(crate) fn postrouting(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    (output, next_hop): (InterfaceId, Ipv4Addr),
) -> Result<Option<Vec<u8>>, DropReason> {
    const HOOK: Hook = Hook::Postrouting;
    let to = Some(output);
    let mark = filter::came_in(shard, now, HOOK, Part::BeforeTranslation, arrival, to)?.mark;
    let arrival = Arrival { mark, ..*arrival };
    let place =
        translate::Place { input: Some(arrival.interface), output: Some((output, next_hop)) };
    translate::decide(shard, now, HOOK, &arrival, End::Source, place)?;
    let changed = translate::apply(shard, &arrival, HOOK, End::Source)?;
    let left = match changed.as_deref().map(Packet::parse) {
        Some(Ok(Packet { header, header_bytes, payload, .. })) => {
            Arrival { header, header_bytes, payload, ..arrival }
        }
        _ => arrival,
    };
    filter::came_in(shard, now, HOOK, Part::AfterTranslation, &left, to)?;
    confirm(shard, arrival.tracking)?;
    Ok(changed)
}

/// The packet passes: the flow that it begins is in the table from now on.
fn confirm(shard: &mut Shard, tracking: Tracking) -> Result<(), DropReason> {
    let (Some(flow), Some(table)) = (tracking.begun(), &mut shard.conntrack) else {
        return Ok(());
    };
    table.confirm(flow)?;
    if let Some(expires) = table.get(flow).map(|flow| flow.expires()) {
        shard.timers.arm(TimerKey::Flow(flow.0), expires);
    }
    Ok(())
}

/// A packet that waited is done with.
pub(crate) fn let_go(shard: &mut Shard, tracking: Tracking) {
    settle(shard, tracking);
}

/// The packet is done with.
fn settle(shard: &mut Shard, tracking: Tracking) {
    if let (Some(flow), Some(table)) = (tracking.begun(), &mut shard.conntrack) {
        table.settle(flow);
    }
}

/// A flow was silent for long.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant, flow: u32) {
    let Some(table) = &mut shard.conntrack else { return };
    table.watch().rest(now);
    if let Some(later) = table.expire(now, FlowId(flow)) {
        shard.timers.arm(TimerKey::Flow(flow), later);
    }
}
