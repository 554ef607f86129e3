//! SYN cookies at a listener: when they are sent, and what their answers make.
//! How they are made is in [`tcp::cookies`](crate::tcp::cookies).

use super::{open, output};
use crate::{
    Instant, Shard,
    config::SynCookies,
    counters::DropReason,
    event::Notice,
    layer::route::{Path, path_for},
    request::SocketId,
    table::{demux::Flow, half_open_share::Share, socket::Listener},
    tcp::{
        cookies::VALIDITY,
        listen::{HalfOpen, Opening},
    },
};
use narrows_wire::{ecn::Codepoint, tcp::Segment};

/// What a SYN to a listener gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// A half-open connection.
    Table,
    Cookie,
}

/// Is there room for another handshake? As Linux, a listener has as many under way as connections may
/// wait for its program, and `limit` at most.
pub(super) fn room(
    listener: &Listener,
    limit: usize,
    cookies: SynCookies,
) -> Result<Room, DropReason> {
    let full = listener.half_open >= limit.min(listener.backlog);
    match cookies {
        SynCookies::Always => Ok(Room::Cookie),
        SynCookies::WhenFull if full => Ok(Room::Cookie),
        SynCookies::Never if full => Err(DropReason::SynQueueFull),
        SynCookies::WhenFull | SynCookies::Never => Ok(Room::Table),
    }
}

/// The same of all the listeners that a user has together.
pub(super) fn share(shard: &mut Shard, user: u32, cookies: SynCookies) -> Result<Room, DropReason> {
    let most = shard.config.limits.half_open_per_user;
    let Share::Full { first } = shard.remnants.half_open_shares.share(user, most) else {
        return Ok(Room::Table);
    };
    if first {
        shard.tell(Notice::HalfOpenShareFull { user });
    }
    match cookies {
        SynCookies::Never => Err(DropReason::SynShareFull),
        SynCookies::WhenFull | SynCookies::Always => Ok(Room::Cookie),
    }
}

/// Answers a SYN, and keeps nothing of it.
pub(super) fn answer(
    shard: &mut Shard,
    now: Instant,
    listener: SocketId,
    flow: Flow,
    (syn, mark): (&Segment<'_>, Codepoint),
    opening: Opening,
) -> Result<(), DropReason> {
    let cookies = shard.secrets.syn_cookies;
    let socket = shard.sockets.get_mut(listener).ok_or(DropReason::TcpNoSocket)?;
    let sequence = |mss| cookies.sequence(now, &flow, syn.header.sequence, mss);
    let syn_ack = HalfOpen::cookie(now, syn, mark, opening, &socket.settings, sequence);
    let state = socket.listener().ok_or(DropReason::TcpNoSocket)?;
    state.cookie_sent_at = Some(now);
    shard.counters.tcp_syn_cookies_sent += 1;
    output::reply(shard, now, flow, &syn_ack);
    Ok(())
}

/// An acknowledgment came to a listener: the handshake that it ends, if it answers a cookie. `None`:
/// no cookie was sent for so long that it is none's answer.
pub(super) fn redeem(
    shard: &mut Shard,
    now: Instant,
    listener: SocketId,
    flow: &Flow,
    segment: &Segment<'_>,
) -> Option<Result<HalfOpen, DropReason>> {
    let header = &segment.header;
    let socket = shard.sockets.get_mut(listener)?;
    let settings = socket.settings.clone();
    let query = super::query(flow, socket.principal, socket.ip.mark);
    let sent_at = socket.listener()?.cookie_sent_at?;
    if header.flags.syn()
        || shard.config.syn_cookies == SynCookies::Never
        || now.since(sent_at) >= VALIDITY
    {
        return None;
    }
    let (iss, irs) = (header.acknowledgment.wrapping_sub(1), header.sequence.wrapping_sub(1));
    let mss = shard.secrets.syn_cookies.check(now, flow, irs, iss);
    let path = query.and_then(|query| path_for(shard, &query));
    let half_open = mss.zip(path.ok()).and_then(|(mss, path): (u16, Path)| {
        let opening = Opening { iss, ..open::opening(shard, now, flow, &path) };
        HalfOpen::from_cookie(now, segment, opening, mss, &settings)
    });
    match half_open {
        Some(_) => shard.counters.tcp_syn_cookies_answered += 1,
        None => shard.counters.tcp_syn_cookies_refused += 1,
    }
    Some(half_open.ok_or(DropReason::TcpBadCookie))
}

#[cfg(test)]
mod tests;
