//! A segment's way to whom it is for: RFC 9293 §3.10.7, up to the connection.

use super::{
    accept, conclude,
    cookies::{self, Room},
    fast_open::{self, Grant},
    leave_time_wait, open, output, query, remove_half_open,
};
use crate::{
    Instant, Shard,
    config::SynCookies,
    counters::DropReason,
    layer::{Arrival, icmpv4, route::path_for, watch},
    request::SocketId,
    table::{
        demux::{Flow, FlowOwner},
        socket::HalfOpenEntry,
        timer::TimerKey,
        watch::{Role, Step},
    },
    tcp::{
        Connection,
        connection::{IcmpError, Outcome, reset_for},
        listen::{HalfOpen, HalfOpenVerdict},
        time_wait::TimeWaitVerdict,
    },
};
use core::net::{IpAddr, SocketAddr};
use narrows_wire::{
    checksum::Sum,
    ecn::Codepoint,
    ipv4::{Header, Protocol},
    offload::{RxChecksum, RxOffload},
    tcp::Segment,
};

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    let segment = Segment::parse(arrival.payload).map_err(|_| DropReason::TcpMalformed)?;
    verify_checksum(arrival)?;
    shard.counters.tcp_segments_received += 1;
    let flow = flow_of(arrival, &segment);
    let owner = shard.demux.flow(&flow);
    watch::note(shard, |shard| found(shard, owner, &flow));
    let mark = Codepoint::of(arrival.header.tos);
    match owner {
        Some(FlowOwner::Connection(id)) => connection_input(shard, now, id, flow, &segment, mark),
        Some(FlowOwner::HalfOpen(index)) => {
            half_open_input(shard, now, index, flow, &segment, mark)
        }
        Some(FlowOwner::TimeWait(index)) => {
            time_wait_input(shard, now, index, flow, &segment, mark)
        }
        None => listen_input(shard, now, flow, &segment, mark, None),
    }
}

/// Whose segment it is, for who watches.
fn found(shard: &Shard, owner: Option<FlowOwner>, flow: &Flow) -> Step {
    let socket = |id, role| Step::Socket { id: Some(id), role };
    match owner {
        Some(FlowOwner::Connection(id)) => socket(id, Role::Connection),
        Some(FlowOwner::HalfOpen(index)) => {
            let entry = shard.remnants.half_open.get(index as usize);
            Step::Socket { id: entry.map(|entry| entry.listener), role: Role::HalfOpen }
        }
        Some(FlowOwner::TimeWait(_)) => Step::Socket { id: None, role: Role::TimeWait },
        None => match listener(shard, flow) {
            Some(id) => socket(id, Role::Listener),
            None => Step::Socket { id: None, role: Role::Nobody },
        },
    }
}

fn verify_checksum(arrival: &Arrival<'_>) -> Result<(), DropReason> {
    if arrival.offload.checksum != RxChecksum::Unverified {
        return Ok(());
    }
    let (header, segment) = (&arrival.header, arrival.payload);
    let len = u16::try_from(segment.len()).map_err(|_| DropReason::TcpMalformed)?;
    let pseudo_header = Sum::pseudo_header(header.source, header.destination, Protocol::TCP.0, len);
    match pseudo_header.add(Sum::of(segment)).finish() {
        0 => Ok(()),
        _ => Err(DropReason::TcpChecksum),
    }
}

fn connection_input(
    shard: &mut Shard,
    now: Instant,
    id: SocketId,
    flow: Flow,
    segment: &Segment<'_>,
    mark: Codepoint,
) -> Result<(), DropReason> {
    let socket = shard.sockets.get_mut(id).ok_or(DropReason::TcpNoSocket)?;
    shard.counters.place.user = Some(socket.principal.uid);
    let connection = socket.connection().ok_or(DropReason::TcpNoSocket)?;
    let outcome = connection.segment_arrives(now, &mut shard.buffers, segment, mark);
    let dropped = outcome.dropped;
    conclude(shard, now, id, flow, outcome);
    dropped.map_or(Ok(()), Err)
}

/// No connection has this flow: RFC 9293 §3.10.7.2 if somebody listens, else §3.10.7.1.
/// `sequence` is where to begin when an older connection on this flow was in TIME-WAIT.
fn listen_input(
    shard: &mut Shard,
    now: Instant,
    flow: Flow,
    segment: &Segment<'_>,
    mark: Codepoint,
    sequence: Option<u32>,
) -> Result<(), DropReason> {
    let flags = segment.header.flags;
    let Some(listener) = listener(shard, &flow) else {
        refuse(shard, now, flow, segment);
        return Err(DropReason::TcpNoSocket);
    };
    shard.attribute(listener);
    // First RST, then ACK, then SYN.
    if flags.rst() {
        return Err(DropReason::TcpListenUnexpected);
    }
    if flags.ack() {
        let reason = match cookies::redeem(shard, now, listener, &flow, segment) {
            Some(Ok(half_open)) => {
                return begin(shard, now, listener, flow, half_open, segment, mark);
            }
            Some(Err(reason)) => reason,
            None => DropReason::TcpListenUnexpected,
        };
        refuse(shard, now, flow, segment);
        return Err(reason);
    }
    if !flags.syn() {
        return Err(DropReason::TcpListenUnexpected);
    }
    let socket = shard.sockets.get(listener).ok_or(DropReason::TcpNoSocket)?;
    let query = query(&flow, socket.principal, socket.ip.mark);
    let path = query.and_then(|query| path_for(shard, &query));
    let path = path.map_err(|_| DropReason::NoRoute)?;
    let half_open_limit = shard.config.limits.half_open;
    let socket = shard.sockets.get_mut(listener).ok_or(DropReason::TcpNoSocket)?;
    if flags.fin() && socket.settings.refuse_syn_fin {
        return Err(DropReason::TcpListenUnexpected);
    }
    let state = socket.listener().ok_or(DropReason::TcpNoSocket)?;
    if state.accept_queue.len() >= state.backlog {
        return Err(DropReason::AcceptQueueFull);
    }
    // A number past those of an older connection can't be a cookie as well.
    let cookies = if sequence.is_some() { SynCookies::Never } else { shard.config.syn_cookies };
    let room = cookies::room(state, half_open_limit, cookies)?;
    let (user, settings) = (socket.principal.uid, socket.settings.clone());
    let room = match room {
        Room::Table => cookies::share(shard, user, cookies)?,
        Room::Cookie => room,
    };
    let mut opening = open::opening(shard, now, &flow, &path);
    if room == Room::Cookie {
        return cookies::answer(shard, now, listener, flow, (segment, mark), opening);
    }
    opening.iss = sequence.unwrap_or(opening.iss);
    let (state, mut syn_ack) = HalfOpen::new(now, segment, mark, opening, &settings);
    match fast_open::grant(shard, now, listener, &flow, segment) {
        Grant::Early(option) => {
            return fast_open::establish(shard, now, listener, flow, (state, option), segment);
        }
        Grant::Handshake(option) => syn_ack.offer_fast_open(option),
    }
    if let Some(state) = shard.sockets.get_mut(listener).and_then(|socket| socket.listener()) {
        state.half_open += 1;
    }
    let timeout = state.next_timeout();
    let index =
        shard.remnants.half_open.insert(HalfOpenEntry { user, flow, listener, state }) as u32;
    shard.remnants.half_open_shares.began(user);
    shard.demux.insert_flow(flow, FlowOwner::HalfOpen(index));
    shard.timers.arm(TimerKey::HalfOpen(index), timeout);
    output::reply(shard, now, flow, &syn_ack);
    Ok(())
}

/// The socket that listens where a flow ends.
pub(super) fn listener(shard: &Shard, flow: &Flow) -> Option<SocketId> {
    shard.demux.listener(flow, |id| shard.hears(id, flow.local.ip()))
}

/// A segment that the filter rejects with a reset, as if nobody were there.
pub(crate) fn reject(shard: &mut Shard, now: Instant, arrival: &Arrival<'_>) {
    let Ok(segment) = Segment::parse(arrival.payload) else { return };
    refuse(shard, now, flow_of(arrival, &segment), &segment);
}

/// The same for a segment of ours that is not let out: its connection meets the reset that the peer would
/// have sent.
pub(crate) fn reject_own(shard: &mut Shard, now: Instant, departure: &Arrival<'_>) {
    let Ok(segment) = Segment::parse(departure.payload) else { return };
    let Some(reset) = reset_for(&segment) else { return };
    let to_peer = flow_of(departure, &segment);
    let bytes = output::segment(&to_peer, &reset);
    let header = Header {
        source: departure.header.destination,
        destination: departure.header.source,
        ..departure.header
    };
    let offload = RxOffload { checksum: RxChecksum::Partial, segment_size: None };
    let arrival = Arrival { header, payload: &bytes, offload, ..*departure };
    if let Err(reason) = input(shard, now, &arrival) {
        shard.drop(reason);
    }
}

fn flow_of(arrival: &Arrival<'_>, segment: &Segment<'_>) -> Flow {
    Flow {
        local: SocketAddr::new(arrival.header.destination.into(), segment.header.destination_port),
        remote: SocketAddr::new(arrival.header.source.into(), segment.header.source_port),
    }
}

/// RFC 9293 §3.10.7.1.
fn refuse(shard: &mut Shard, now: Instant, flow: Flow, segment: &Segment<'_>) {
    if let Some(reset) = reset_for(segment) {
        output::reply(shard, now, flow, &reset);
    }
}

fn half_open_input(
    shard: &mut Shard,
    now: Instant,
    index: u32,
    flow: Flow,
    segment: &Segment<'_>,
    mark: Codepoint,
) -> Result<(), DropReason> {
    let owner = FlowOwner::HalfOpen(index);
    let entry = shard.remnants.half_open_of(owner).ok_or(DropReason::TcpNoSocket)?;
    let listener = entry.listener;
    let found = shard.sockets.get(listener);
    let patience = found.map_or(0, |socket| socket.settings.defer_accept);
    shard.counters.place.user = found.map(|socket| socket.principal.uid);
    match entry.state.segment_arrives(now, segment, patience) {
        HalfOpenVerdict::Established => establish(shard, now, index, listener, flow, segment, mark),
        HalfOpenVerdict::Reply(answer) => {
            output::reply(shard, now, flow, &answer);
            Ok(())
        }
        HalfOpenVerdict::Drop(reason) => Err(reason),
        HalfOpenVerdict::Reset => {
            remove_half_open(shard, index);
            Ok(())
        }
    }
}

/// The handshake is done: a socket for the listener's accept queue.
fn establish(
    shard: &mut Shard,
    now: Instant,
    index: u32,
    listener: SocketId,
    flow: Flow,
    segment: &Segment<'_>,
    mark: Codepoint,
) -> Result<(), DropReason> {
    let socket = shard.sockets.get_mut(listener).ok_or(DropReason::TcpNoSocket)?;
    let state = socket.listener().ok_or(DropReason::TcpNoSocket)?;
    if state.accept_queue.len() >= state.backlog {
        // It stays half-open: the SYN-ACK is sent again, and its answer may find room.
        return Err(DropReason::AcceptQueueFull);
    }
    let half_open = remove_half_open(shard, index).ok_or(DropReason::TcpNoSocket)?;
    begin(shard, now, listener, flow, half_open, segment, mark)
}

/// A connection from a handshake that `segment` ends.
fn begin(
    shard: &mut Shard,
    now: Instant,
    listener: SocketId,
    flow: Flow,
    half_open: HalfOpen,
    segment: &Segment<'_>,
    mark: Codepoint,
) -> Result<(), DropReason> {
    let socket = shard.sockets.get_mut(listener).ok_or(DropReason::TcpNoSocket)?;
    let settings = socket.settings.clone();
    let state = socket.listener().ok_or(DropReason::TcpNoSocket)?;
    if state.accept_queue.len() >= state.backlog {
        return Err(DropReason::AcceptQueueFull);
    }
    let connection = Connection::accept(now, half_open, &settings);
    let id = accept::enqueue(shard, listener, flow, connection)?;
    connection_input(shard, now, id, flow, segment, mark)
}

fn time_wait_input(
    shard: &mut Shard,
    now: Instant,
    index: u32,
    flow: Flow,
    segment: &Segment<'_>,
    mark: Codepoint,
) -> Result<(), DropReason> {
    let limit = shard.config.limits.time_wait_duration;
    let entry = shard.remnants.time_wait.get_mut(index as usize);
    let entry = entry.ok_or(DropReason::TcpNoSocket)?;
    match entry.state.segment_arrives(now, segment) {
        TimeWaitVerdict::Acknowledge { reply, restart } => {
            if restart {
                entry.expires = now + limit;
            }
            output::reply(shard, now, flow, &reply);
            Ok(())
        }
        TimeWaitVerdict::Drop(reason) => Err(reason),
        TimeWaitVerdict::Expire => {
            leave_time_wait(shard, index);
            Ok(())
        }
        TimeWaitVerdict::Reopen => {
            let sequence = open::sequence_after(entry.state.snd_nxt);
            if listener(shard, &flow).is_some() {
                leave_time_wait(shard, index);
            }
            listen_input(shard, now, flow, segment, mark, Some(sequence))
        }
    }
}

/// An ICMP error whose quoted header names one of this host's flows, sent with `sequence`.
pub(crate) fn error_input(
    shard: &mut Shard,
    now: Instant,
    flow: Flow,
    sequence: u32,
    error: IcmpError,
) -> Result<(), DropReason> {
    let Some(FlowOwner::Connection(id)) = shard.demux.flow(&flow) else {
        return Err(DropReason::IcmpUnmatched);
    };
    let socket = shard.sockets.get_mut(id).ok_or(DropReason::IcmpUnmatched)?;
    let connection = socket.connection().ok_or(DropReason::IcmpUnmatched)?;
    if !connection.is_outstanding(sequence) {
        return Err(DropReason::IcmpUnmatched);
    }
    let known = match (error, flow.local.ip(), flow.remote.ip()) {
        (IcmpError::FragmentationNeeded { mtu }, IpAddr::V4(local), IpAddr::V4(remote)) => {
            Some(((local, remote), mtu))
        }
        _ => None,
    };
    let fate = connection.icmp_error(now, &mut shard.buffers, sequence, error);
    conclude(shard, now, id, flow, Outcome { reply: None, dropped: None, fate });
    // For connections to come, and for others to that host.
    if let Some((path, mtu)) = known {
        icmpv4::learn_path_mtu(shard, now, path, mtu);
    }
    Ok(())
}
