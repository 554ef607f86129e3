//! Rules on a packet's way: what [`crate::filter`] says, and what is done about it.
//!
//! With no ruleset each hook is one comparison. A rule's `reject` tells the sender, who for a packet of this
//! host is the program: the error goes back by the loopback, and to its socket as any other.
//!
//! Where it differs from Linux: of the fragments of a datagram, only the first shows its transport to
//! `prerouting` and `forward`; `input` sees the whole. A mark that a rule of `output` sets does not
//! route the packet anew. ARP's `output` is asked when a frame leaves its device, and knows no interface above.

use crate::{
    Instant, InterfaceId, Shard,
    conntrack::Tuple,
    counters::DropReason,
    event::{FilterLog, Notice},
    filter::{
        Hook, Outcome, Part,
        field::{Ip, View},
        rule::{Choice, Reject},
    },
    layer::{
        Arrival,
        conntrack::{self, Changed, Tracking},
        icmpv4,
        inspect::{self, At, Course, Fate, Own, Since},
        route::Way,
        tcp, watch,
    },
    request::{Principal, SocketKind},
    table::{
        demux::{Flow, FlowOwner},
        watch::Step,
    },
};
use core::net::SocketAddr;
use narrows_wire::{
    ethernet,
    ipv4::{self, Packet, Protocol},
    offload::RxOffload,
};

/// A packet of this host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure<'a> {
    pub own: Own,
    pub mark: u32,
    pub header: ipv4::Header,
    /// For an error to quote.
    pub header_bytes: &'a [u8],
    /// At least the transport header.
    pub payload: &'a [u8],
    pub payload_len: usize,
    /// Of its transport's checksum there is the pseudo-header's sum.
    pub partial: bool,
    /// By which device, and the frame up to the packet, where that is known already.
    pub frame: Option<(InterfaceId, &'a [u8])>,
    pub since: Since,
    /// Known if it comes back from an inspector.
    pub tracking: Tracking,
}

impl<'a> Departure<'a> {
    /// For an error to be about.
    pub fn arrival(&self) -> Arrival<'a> {
        let Self { own, mark, header, header_bytes, payload, since, tracking, .. } = *self;
        Arrival {
            interface: InterfaceId::LOOPBACK,
            header,
            header_bytes,
            payload,
            offload: RxOffload::default(),
            mark,
            tracking,
            since,
            course: Course::Own(own),
        }
    }
}

/// What rules made of a packet that may go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub mark: u32,
    /// It is to be of no flow.
    pub untrack: bool,
    /// Its flow is to have another end.
    pub choice: Option<Choice>,
}

/// A frame that came by `interface`.
pub(crate) fn ingress(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    link: ethernet::Header,
    payload: &[u8],
) -> Result<(), DropReason> {
    if !listens(shard, Hook::Ingress) {
        return Ok(());
    }
    let view = View { input: Some(interface), ..of_frame(link, payload) };
    decide(shard, now, Hook::Ingress, Part::Whole, view, None).map(|_| ())
}

/// A frame that is about to leave by the device `interface`.
pub(crate) fn egress(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    frame: &[u8],
) -> Result<(), DropReason> {
    if !listens(shard, Hook::Egress) && !listens(shard, Hook::ArpOutput) {
        return Ok(());
    }
    let Ok((link, payload)) = ethernet::Header::parse(frame) else { return Ok(()) };
    let view = View { output: Some(interface), ..of_frame(link, payload) };
    if view.arp.is_some() {
        let arp = View { link: None, ..view };
        decide(shard, now, Hook::ArpOutput, Part::Whole, arp, None)?;
    }
    decide(shard, now, Hook::Egress, Part::Whole, view, None).map(|_| ())
}

/// Are there rules for frames that are about to leave?
pub(crate) fn sees_egress(shard: &Shard) -> bool {
    listens(shard, Hook::Egress)
}

/// An ARP packet that came by `interface`.
pub(crate) fn arp(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &[u8],
) -> Result<(), DropReason> {
    if !listens(shard, Hook::ArpInput) {
        return Ok(());
    }
    let view = View { input: Some(interface), arp: Some(packet), ..View::default() };
    decide(shard, now, Hook::ArpInput, Part::Whole, view, None).map(|_| ())
}

/// A packet that came in, before it is decided whose it is; the mark that rules gave it.
pub(crate) fn prerouting(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<u32, DropReason> {
    came_in(shard, now, Hook::Prerouting, Part::Whole, arrival, None).map(|asked| asked.mark)
}

/// A whole datagram for this host.
pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    came_in(shard, now, Hook::Input, Part::Whole, arrival, None).map(|_| ())
}

/// A packet for another host, on its way to `output`; its bytes, if they are others by now.
pub(crate) fn forward(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    way: &Way,
) -> Result<Option<Vec<u8>>, DropReason> {
    let output = Some(way.interface);
    let mark = came_in(shard, now, Hook::Forward, Part::Whole, arrival, output)?.mark;
    let arrival = Arrival { mark, ..*arrival };
    if arrival.tracking != Tracking::Off {
        return conntrack::postrouting(shard, now, &arrival, (way.interface, way.next_hop));
    }
    came_in(shard, now, Hook::Postrouting, Part::Whole, &arrival, output).map(|_| None)
}

/// A packet of this host, on its way to an interface; what it is then, if it is another.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    departure: &Departure<'_>,
) -> Result<Option<Changed>, DropReason> {
    if shard.conntrack.is_some() {
        let result = conntrack::output(shard, now, departure);
        if let Err(reason) = result
            && reason != DropReason::Parked
            && shard.watchers.is_some()
        {
            watch::held_back(shard, departure, reason);
        }
        return result;
    }
    let result = ask_output(shard, now, departure);
    if let Err(reason) = result
        && reason != DropReason::Parked
        && shard.watchers.is_some()
    {
        watch::held_back(shard, departure, reason);
    }
    result.map(|()| None)
}

fn ask_output(
    shard: &mut Shard,
    now: Instant,
    departure: &Departure<'_>,
) -> Result<(), DropReason> {
    let mut packet = departure.arrival();
    for hook in [Hook::Output, Hook::Postrouting] {
        packet.mark = left(shard, now, hook, Part::Whole, departure, &packet)?.mark;
    }
    left_by_device(shard, now, departure, &packet)
}

/// A packet of this host at a hook, as `packet` is there.
pub(crate) fn left(
    shard: &mut Shard,
    now: Instant,
    hook: Hook,
    part: Part,
    departure: &Departure<'_>,
    packet: &Arrival<'_>,
) -> Result<Asked, DropReason> {
    if !listens(shard, hook) {
        return Ok(Asked { mark: packet.mark, untrack: false, choice: None });
    }
    let view = View {
        output: Some(departure.own.path.interface),
        owner: Some(departure.own.principal),
        mark: packet.mark,
        ip: Some(ip_of(packet, departure.payload_len)),
        ..View::default()
    };
    decide(shard, now, hook, part, view, Some((packet, Some(departure))))
}

/// A packet of this host about to leave in a frame that is known already.
pub(crate) fn left_by_device(
    shard: &mut Shard,
    now: Instant,
    departure: &Departure<'_>,
    packet: &Arrival<'_>,
) -> Result<(), DropReason> {
    let frame = departure.frame.filter(|_| listens(shard, Hook::Egress));
    let Some((device, bytes)) = frame else { return Ok(()) };
    let Ok((link, tags)) = ethernet::Header::parse(bytes) else { return Ok(()) };
    let ip = Some(ip_of(packet, departure.payload_len));
    let view = View { output: Some(device), mark: packet.mark, ip, ..of_frame(link, tags) };
    decide(shard, now, Hook::Egress, Part::Whole, view, None).map(|_| ())
}

fn ip_of<'a>(packet: &Arrival<'a>, payload_len: usize) -> Ip<'a> {
    let Arrival { header, header_bytes, payload, .. } = *packet;
    Ip { header, header_len: header_bytes.len(), payload_len, payload }
}

/// Would a packet of this host pass, as far as its header tells?
pub(crate) fn lets_out(shard: &mut Shard, now: Instant, departure: &Departure<'_>) -> bool {
    let tuple = Tuple::of(&departure.header, departure.payload);
    let known = tuple.and_then(|tuple| conntrack::peek(shard, now, &tuple));
    let Some(filter) = &mut shard.filter else { return true };
    let mut view = View {
        output: Some(departure.own.path.interface),
        owner: Some(departure.own.principal),
        mark: departure.mark,
        ip: Some(ip_of(&departure.arrival(), departure.payload_len)),
        connection: known.as_ref().map(|(connection, _)| connection),
        connection_mark: known.map_or(0, |(_, mark)| mark),
        ..View::default()
    };
    [Hook::Output, Hook::Postrouting].into_iter().all(|hook| {
        let outcome = filter.would(now, hook, &mut view);
        !matches!(outcome, Outcome::Drop | Outcome::Reject(_))
    })
}

fn listens(shard: &Shard, hook: Hook) -> bool {
    shard.filter.as_ref().is_some_and(|filter| filter.listens(hook))
        || shard.inspectors.is_some() && inspect::attached(shard, hook)
}

/// A packet that came in, at a hook.
pub(crate) fn came_in(
    shard: &mut Shard,
    now: Instant,
    hook: Hook,
    part: Part,
    arrival: &Arrival<'_>,
    output: Option<InterfaceId>,
) -> Result<Asked, DropReason> {
    if !listens(shard, hook) {
        return Ok(Asked { mark: arrival.mark, untrack: false, choice: None });
    }
    let Arrival { interface, payload, mark, .. } = *arrival;
    let ip = Some(ip_of(arrival, payload.len()));
    let asked =
        hook == Hook::Input && shard.filter.as_ref().is_some_and(|filter| filter.asks_owners());
    let owner = if asked { owner(shard, arrival) } else { None };
    let view = View { input: Some(interface), output, mark, owner, ip, ..View::default() };
    decide(shard, now, hook, part, view, Some((arrival, None)))
}

/// Whose connection a packet comes to: of TCP, or of a UDP socket that has a peer. Others, as a listener's,
/// have no owner yet, as on Linux.
fn owner(shard: &Shard, arrival: &Arrival<'_>) -> Option<Principal> {
    let Tuple { source, source_port, destination, destination_port, protocol, .. } =
        Tuple::of(&arrival.header, arrival.payload)?;
    let flow = Flow {
        local: SocketAddr::new(destination.into(), destination_port),
        remote: SocketAddr::new(source.into(), source_port),
    };
    let id = match protocol {
        Protocol::TCP => match shard.demux.flow(&flow)? {
            FlowOwner::Connection(id) => id,
            FlowOwner::HalfOpen(index) => shard.remnants.half_open.get(index as usize)?.listener,
            FlowOwner::TimeWait(_) => return None,
        },
        Protocol::UDP => {
            let hears = |id| shard.hears(id, flow.local.ip());
            let id = shard.datagrams.one(SocketKind::Udp, &flow, arrival.interface, hears)?;
            shard.sockets.get(id)?.remote().map(|_| id)?
        }
        _ => return None,
    };
    shard.sockets.get(id).map(|socket| socket.principal)
}

/// What rules may ask about a frame; what is in it as far as it is well formed.
fn of_frame(link: ethernet::Header, payload: &[u8]) -> View<'_> {
    let mut view = View { link: Some(link), ..View::default() };
    let (mut ether_type, mut payload) = (link.ether_type, payload);
    if narrows_wire::vlan::TagProtocol::of(ether_type).is_some()
        && let Ok(tagged) = narrows_wire::vlan::Tagged::parse(payload)
    {
        view.vlan = tagged.id.map(|id| id.get());
        view.priority = Some(tagged.priority);
        (ether_type, payload) = (tagged.ether_type, tagged.payload);
    }
    match ether_type {
        ethernet::EtherType::ARP => view.arp = Some(payload),
        ethernet::EtherType::IPV4 => view.ip = Packet::parse(payload).ok().as_ref().map(Ip::of),
        _ => {}
    }
    view
}

fn decide(
    shard: &mut Shard,
    now: Instant,
    hook: Hook,
    part: Part,
    view: View<'_>,
    about: Option<(&Arrival<'_>, Option<&Departure<'_>>)>,
) -> Result<Asked, DropReason> {
    let packet = about.map(|(packet, _)| packet);
    let since = packet.map_or(Since::Beginning, |packet| packet.since);
    let mut asked = Asked { mark: view.mark, untrack: false, choice: None };
    if since.covers(hook, part) {
        return Ok(asked);
    }
    let (mut first, last) = since.begin(hook, part);
    let mut view = view;
    loop {
        let outcome = rules(shard, now, hook, (part, first), &mut view, packet);
        asked = Asked { mark: view.mark, untrack: asked.untrack | view.untrack, choice: None };
        let at = about.map(|(packet, departure)| At { hook, part, packet, departure, view: &view });
        let fate = match (outcome, at) {
            (Outcome::Accept, Some(at)) if inspect::is_last(shard, &at) => {
                inspect::ask(shard, now, &at, last)
            }
            (Outcome::Accept, _) => return Ok(asked),
            (Outcome::Translate(choice), _) => return Ok(Asked { choice: Some(choice), ..asked }),
            (Outcome::Drop, _) => return Err(DropReason::Filtered),
            (Outcome::Reject(how), _) => {
                if let Some(packet) = packet {
                    reject(shard, now, how, packet);
                }
                return Err(DropReason::FilterRejected);
            }
            (Outcome::Queue { queue, next }, Some(at)) => {
                first = next;
                inspect::queue(shard, now, &at, queue, next)
            }
            // Rulesets that take out frames, or ARP, were refused.
            (Outcome::Queue { .. }, None) => return Err(DropReason::InspectorAbsent),
        };
        match (fate, outcome) {
            (Fate::Parked, _) => return Err(DropReason::Parked),
            (Fate::Refused(reason), _) => return Err(reason),
            (Fate::Passes, Outcome::Queue { .. }) => {}
            (Fate::Passes, _) => return Ok(asked),
        }
    }
}

/// What rules say, from the chain `first` on.
fn rules(
    shard: &mut Shard,
    now: Instant,
    hook: Hook,
    (part, first): (Part, usize),
    view: &mut View<'_>,
    about: Option<&Arrival<'_>>,
) -> Outcome {
    let tracking = about.map_or(Tracking::Off, |about| about.tracking);
    let known = tracking.connection(shard, now);
    let Some(filter) = &mut shard.filter else { return Outcome::Accept };
    let (connection, connection_mark) = match &known {
        Some((connection, mark)) => (Some(connection), *mark),
        None => (None, 0),
    };
    let mut asking = View { connection, connection_mark, ..*view };
    let mut logs = [None; 4];
    let mut places = logs.iter_mut();
    let outcome = filter.evaluate(now, hook, (part, first), &mut asking, |log| {
        if let Some(place) = places.next() {
            *place = Some(log);
        }
    });
    let by = filter.decided();
    // Of parts without a chain there is nothing to say.
    if by.is_some() || part == Part::Whole && first == 0 {
        watch::note(shard, |_| Step::Filter { hook, outcome, by });
    }
    for log in logs.into_iter().flatten() {
        shard.tell(Notice::FilterLog(entry(hook, &asking, log.statement)));
    }
    if let (Tracking::Of(known), Some(table)) = (tracking, &mut shard.conntrack)
        && let Some(flow) = table.get_mut(known.flow)
    {
        flow.set_mark(asking.connection_mark);
    }
    (view.mark, view.untrack) = (asking.mark, asking.untrack);
    outcome
}

fn reject(shard: &mut Shard, now: Instant, how: Reject, about: &Arrival<'_>) {
    match how {
        Reject::Icmp(code) => icmpv4::unreachable(shard, now, about, code),
        Reject::TcpReset if about.header.protocol == Protocol::TCP => {
            // Where a packet of this host was to go, nobody is told; the connection is.
            match about.interface {
                InterfaceId::LOOPBACK => tcp::reject_own(shard, now, about),
                _ => tcp::reject(shard, now, about),
            }
        }
        Reject::TcpReset => {}
    }
}

fn entry(hook: Hook, view: &View<'_>, statement: u32) -> FilterLog {
    let header = view.ip.map(|ip| ip.header);
    FilterLog {
        statement,
        hook,
        input: view.input,
        output: view.output,
        link: view.link,
        addresses: header.map(|header| (header.source, header.destination)),
        protocol: header.map(|header| header.protocol),
        ports: view.ports(),
        length: view.len(),
        mark: view.mark,
    }
}

#[cfg(test)]
mod tests;
