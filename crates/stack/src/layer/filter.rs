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
    counters::DropReason,
    event::{FilterLog, Notice},
    filter::{
        Hook, Outcome,
        field::{Ip, View},
        rule::Reject,
    },
    layer::{Arrival, icmpv4, tcp, watch},
    table::watch::Step,
};
use narrows_wire::{
    ethernet,
    ipv4::{self, Packet, Protocol},
    offload::RxOffload,
};

/// A packet of this host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Departure<'a> {
    pub output: InterfaceId,
    pub user: u32,
    pub mark: u32,
    pub header: ipv4::Header,
    /// For an error to quote.
    pub header_bytes: &'a [u8],
    /// At least the transport header.
    pub payload: &'a [u8],
    pub payload_len: usize,
    /// By which device, and the frame up to the packet, where that is known already.
    pub frame: Option<(InterfaceId, &'a [u8])>,
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
    decide(shard, now, Hook::Ingress, view, None).map(|_| ())
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
        decide(shard, now, Hook::ArpOutput, arp, None)?;
    }
    decide(shard, now, Hook::Egress, view, None).map(|_| ())
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
    decide(shard, now, Hook::ArpInput, view, None).map(|_| ())
}

/// A packet that came in, before it is decided whose it is; the mark that rules gave it.
pub(crate) fn prerouting(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<u32, DropReason> {
    came_in(shard, now, Hook::Prerouting, arrival, None)
}

/// A whole datagram for this host.
pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    came_in(shard, now, Hook::Input, arrival, None).map(|_| ())
}

/// A packet for another host, on its way to `output`.
pub(crate) fn forward(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    output: InterfaceId,
) -> Result<(), DropReason> {
    let mark = came_in(shard, now, Hook::Forward, arrival, Some(output))?;
    let arrival = Arrival { mark, ..*arrival };
    came_in(shard, now, Hook::Postrouting, &arrival, Some(output)).map(|_| ())
}

/// A packet of this host, on its way to an interface.
pub(crate) fn output(
    shard: &mut Shard,
    now: Instant,
    departure: &Departure<'_>,
) -> Result<(), DropReason> {
    if shard.filter.is_none() {
        return Ok(());
    }
    let result = ask_output(shard, now, departure);
    if let Err(reason) = result
        && shard.watchers.is_some()
    {
        watch::held_back(shard, departure, reason);
    }
    result
}

fn ask_output(
    shard: &mut Shard,
    now: Instant,
    departure: &Departure<'_>,
) -> Result<(), DropReason> {
    let Departure { output, user, mut mark, header, header_bytes, payload, payload_len, frame } =
        *departure;
    let ip = Ip { header, header_len: header_bytes.len(), payload_len, payload };
    let arrival = Arrival {
        interface: InterfaceId::LOOPBACK,
        header,
        header_bytes,
        payload,
        offload: RxOffload::default(),
        mark,
    };
    for hook in [Hook::Output, Hook::Postrouting] {
        if listens(shard, hook) {
            let view = View {
                output: Some(output),
                user: Some(user),
                mark,
                ip: Some(ip),
                ..View::default()
            };
            mark = decide(shard, now, hook, view, Some(&arrival))?;
        }
    }
    let Some((device, bytes)) = frame.filter(|_| listens(shard, Hook::Egress)) else {
        return Ok(());
    };
    let Ok((link, tags)) = ethernet::Header::parse(bytes) else { return Ok(()) };
    let view = View { output: Some(device), mark, ip: Some(ip), ..of_frame(link, tags) };
    decide(shard, now, Hook::Egress, view, None).map(|_| ())
}

/// Would a packet of this host pass, as far as its header tells?
pub(crate) fn lets_out(shard: &mut Shard, now: Instant, departure: &Departure<'_>) -> bool {
    let Some(filter) = &mut shard.filter else { return true };
    let Departure { output, user, mark, header, header_bytes, payload, payload_len, .. } =
        *departure;
    let ip = Ip { header, header_len: header_bytes.len(), payload_len, payload };
    let (output, user, ip) = (Some(output), Some(user), Some(ip));
    let mut view = View { output, user, mark, ip, ..View::default() };
    [Hook::Output, Hook::Postrouting]
        .into_iter()
        .all(|hook| filter.would(now, hook, &mut view) == Outcome::Accept)
}

fn listens(shard: &Shard, hook: Hook) -> bool {
    shard.filter.as_ref().is_some_and(|filter| filter.listens(hook))
}

fn came_in(
    shard: &mut Shard,
    now: Instant,
    hook: Hook,
    arrival: &Arrival<'_>,
    output: Option<InterfaceId>,
) -> Result<u32, DropReason> {
    if !listens(shard, hook) {
        return Ok(arrival.mark);
    }
    let Arrival { interface, header, header_bytes, payload, mark, .. } = *arrival;
    let payload_len = payload.len();
    let ip = Ip { header, header_len: header_bytes.len(), payload_len, payload };
    let view = View { input: Some(interface), output, mark, ip: Some(ip), ..View::default() };
    decide(shard, now, hook, view, Some(arrival))
}

/// What rules may ask about a frame; what is in it as far as it is well formed.
fn of_frame(link: ethernet::Header, payload: &[u8]) -> View<'_> {
    let mut view = View { link: Some(link), ..View::default() };
    let (mut ether_type, mut payload) = (link.ether_type, payload);
    if narrows_wire::vlan::TagProtocol::of(ether_type).is_some()
        && let Ok(tagged) = narrows_wire::vlan::Tagged::parse(payload)
    {
        view.vlan = tagged.id.map(|id| id.get());
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
    mut view: View<'_>,
    about: Option<&Arrival<'_>>,
) -> Result<u32, DropReason> {
    let Some(filter) = &mut shard.filter else { return Ok(view.mark) };
    let mut logs = [None; 4];
    let mut places = logs.iter_mut();
    let outcome = filter.evaluate(now, hook, &mut view, |log| {
        if let Some(place) = places.next() {
            *place = Some(log);
        }
    });
    let by = filter.decided();
    watch::note(shard, |_| Step::Filter { hook, outcome, by });
    for log in logs.into_iter().flatten() {
        shard.tell(Notice::FilterLog(entry(hook, &view, log.statement)));
    }
    match (outcome, about) {
        (Outcome::Accept, _) => Ok(view.mark),
        (Outcome::Drop, _) => Err(DropReason::Filtered),
        (Outcome::Reject(how), about) => {
            if let Some(about) = about {
                reject(shard, now, how, about);
            }
            Err(DropReason::FilterRejected)
        }
    }
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
