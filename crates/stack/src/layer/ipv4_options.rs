//! IPv4 options of packets that came in (RFC 791 §3.1, RFC 1122 §3.2.1.8, RFC 1812 §5.2.4).
//!
//! Every option is parsed, of packets for us and of those that only pass. Source routes ask us to act
//! for another and are refused (RFC 7126 §4.3). A route that is recorded gets our address, a timestamp
//! our time; the router alert and options nobody knows pass as they are.

mod sockets;

pub(crate) use sockets::{arrived, begun, header_len, set};

use crate::{Instant, Shard, counters::DropReason};
use core::net::Ipv4Addr;
use narrows_wire::ipv4::{self, HEADER_LEN, RawOption};

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// RFC 792: the sender is told where in the header.
    Malformed {
        pointer: u8,
    },
    SourceRoute,
}

impl Refusal {
    pub fn reason(self) -> DropReason {
        match self {
            Self::Malformed { .. } => DropReason::Ipv4Malformed,
            Self::SourceRoute => DropReason::Ipv4SourceRoute,
        }
    }
}

/// Who passes the packet on, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub address: Ipv4Addr,
    /// As [`time_of_day`] has it.
    pub time: u32,
}

/// Before the pointer of a route or a timestamp: kind and length. It counts from 1.
const POINTER: usize = 2;
/// The smallest pointer of a route: to the first address.
const FIRST_ADDRESS: u8 = 4;
/// Of a timestamp: overflow and flags come before.
const FIRST_TIME: u8 = 5;

/// Flags of the timestamp option.
const TIMES_ONLY: u8 = 0;
const TIMES_AND_ADDRESSES: u8 = 1;
const TIMES_OF_GIVEN: u8 = 3;

/// The time for timestamps: milliseconds since midnight UT, or, if nobody knows the time of day, since
/// some moment nobody knows, with the bit set that says so (RFC 791 §3.1).
pub(crate) fn time_of_day(shard: &Shard, now: Instant) -> u32 {
    const DAY: u128 = 24 * 60 * 60 * 1000;
    let millis =
        |at_start: u128| ((at_start + u128::from(now.as_nanos() / 1_000_000)) % DAY) as u32;
    match shard.config.time_of_day {
        Some(at_start) => millis(at_start.as_millis()),
        None => millis(u128::from(shard.secrets.time_of_day)) | 1 << 31,
    }
}

/// Is each option what it may be?
pub(crate) fn check(options: &[u8]) -> Result<(), Refusal> {
    let mut seen = [false; 256];
    walk(options, |offset, option| {
        let source_route = [RawOption::LOOSE_SOURCE_ROUTE, RawOption::STRICT_SOURCE_ROUTE];
        if source_route.contains(&option.kind) {
            return Err(Refusal::SourceRoute);
        }
        let known = [RawOption::RECORD_ROUTE, RawOption::TIMESTAMP, RawOption::ROUTER_ALERT];
        if known.contains(&option.kind)
            && core::mem::replace(&mut seen[usize::from(option.kind)], true)
        {
            return Err(malformed(offset));
        }
        match option.kind {
            RawOption::RECORD_ROUTE => check_pointer(offset, option, FIRST_ADDRESS, 4),
            RawOption::TIMESTAMP => check_timestamp(offset, option),
            RawOption::ROUTER_ALERT if option.data.len() != 2 => Err(malformed(offset + 1)),
            _ => Ok(()),
        }
    })
}

/// Writes who we are, and when, where the options ask for it and have room. `is_ours`: for timestamps
/// that only given addresses may write. The options have been checked.
pub(crate) fn record(options: &mut [u8], mark: Mark, is_ours: impl Fn(Ipv4Addr) -> bool) {
    let mut places = Vec::new();
    let found = walk(options, |offset, option| {
        if option.is_recorded() {
            places.push((offset, option.kind, option.data.len() + 2));
        }
        Ok(())
    });
    debug_assert_eq!(found, Ok(()), "checked before");
    for (offset, kind, len) in places {
        let Some(option) = options.get_mut(offset..offset + len) else { continue };
        match kind {
            RawOption::RECORD_ROUTE => record_route(option, mark.address),
            _ => record_time(option, mark, &is_ours),
        }
    }
}

/// The options that an echo reply sends back: a route and timestamps, to be gone on with (RFC 1122
/// §3.2.2.6).
pub(crate) fn echoed(options: &[u8]) -> Vec<u8> {
    ipv4::selected(options, RawOption::is_recorded)
}

/// The options that later fragments carry too (RFC 791 §3.2).
pub(crate) fn copied(options: &[u8]) -> Vec<u8> {
    ipv4::selected(options, RawOption::is_copied)
}

/// Calls `visit` with each option and where it begins.
fn walk<'a>(
    options: &'a [u8],
    mut visit: impl FnMut(usize, RawOption<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut offset = 0;
    loop {
        // One at a time, so that its place is known.
        let rest = options.get(offset..).unwrap_or_default();
        match rest.first() {
            None | Some(0) => return Ok(()),
            Some(1) => offset += 1,
            Some(_) => {
                let option = ipv4::options(rest).next();
                let Some(Ok(option)) = option else { return Err(malformed(offset)) };
                visit(offset, option)?;
                offset += 2 + option.data.len();
            }
        }
    }
}

/// `offset`: into the options.
fn malformed(offset: usize) -> Refusal {
    Refusal::Malformed { pointer: u8::try_from(HEADER_LEN + offset).unwrap_or(u8::MAX) }
}

/// The pointer lies past what is before the entries, and what it points at is a whole entry of `size`
/// or the end.
fn check_pointer(
    offset: usize,
    option: RawOption<'_>,
    first: u8,
    size: usize,
) -> Result<(), Refusal> {
    let len = option.data.len() + 2;
    let Some(pointer) = option.data.first().copied() else { return Err(malformed(offset + 1)) };
    if pointer < first {
        return Err(malformed(offset + POINTER));
    }
    let begin = usize::from(pointer) - 1;
    let full = begin >= len;
    if full || begin + size <= len { Ok(()) } else { Err(malformed(offset + POINTER)) }
}

fn check_timestamp(offset: usize, option: RawOption<'_>) -> Result<(), Refusal> {
    let Some(flags) = option.data.get(1) else { return Err(malformed(offset + 1)) };
    let size = match flags & 0x0f {
        TIMES_ONLY => 4,
        TIMES_AND_ADDRESSES | TIMES_OF_GIVEN => 8,
        _ => return Err(malformed(offset + 3)),
    };
    check_pointer(offset, option, FIRST_TIME, size)?;
    let pointer = option.data.first().copied().unwrap_or(0);
    let full = usize::from(pointer) > option.data.len() + 2;
    // RFC 791: an overflow of the overflow count is an error.
    if full && flags >> 4 == 0x0f && flags & 0x0f != TIMES_OF_GIVEN {
        return Err(malformed(offset + 3));
    }
    Ok(())
}

/// What the option's pointer points at: `size` bytes, if there is room for them.
fn entry(option: &mut [u8], size: usize) -> Option<&mut [u8]> {
    let begin = usize::from(*option.get(POINTER)?).checked_sub(1)?;
    option.get_mut(begin..begin + size)
}

/// Points past an entry.
fn advance(option: &mut [u8], size: u8) {
    if let Some(pointer) = option.get_mut(POINTER) {
        *pointer = pointer.saturating_add(size);
    }
}

fn record_route(option: &mut [u8], address: Ipv4Addr) {
    if let Some(entry) = entry(option, 4) {
        entry.copy_from_slice(&address.octets());
        advance(option, 4);
    }
}

fn record_time(option: &mut [u8], mark: Mark, is_ours: impl Fn(Ipv4Addr) -> bool) {
    let Some(flags) = option.get(3).map(|byte| byte & 0x0f) else { return };
    let size = if flags == TIMES_ONLY { 4 } else { 8 };
    let time = mark.time.to_be_bytes();
    let Some(entry) = entry(option, usize::from(size)) else {
        // Nobody is missing where the addresses were given.
        if let Some(byte) = option.get_mut(3).filter(|_| flags != TIMES_OF_GIVEN) {
            *byte = byte.saturating_add(0x10);
        }
        return;
    };
    let written = match (flags, entry.split_first_chunk_mut::<4>()) {
        (TIMES_ONLY, Some((first, _))) => {
            *first = time;
            true
        }
        (TIMES_AND_ADDRESSES, Some((address, rest))) => {
            *address = mark.address.octets();
            rest.copy_from_slice(&time);
            true
        }
        (_, Some((address, rest))) if is_ours(Ipv4Addr::from(*address)) => {
            rest.copy_from_slice(&time);
            true
        }
        _ => false,
    };
    if written {
        advance(option, size);
    }
}

#[cfg(test)]
mod tests;
