//! Timestamps (RFC 792, RFC 1122 §3.2.2.8). Off unless the configuration says otherwise: the time of day
//! is of use to who guesses at seeds made from it.

use super::echo::message;
use crate::{
    Instant, Shard,
    counters::DropReason,
    layer::{
        Arrival,
        ipv4_options::time_of_day,
        ipv4_output::{self, Datagram},
    },
};
use narrows_wire::{icmpv4::Header, ipv4::Protocol};

/// Three times of four bytes.
const TIMES_LEN: usize = 12;

pub(super) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
    identifier: u16,
    sequence: u16,
    payload: &[u8],
) -> Result<(), DropReason> {
    if !shard.config.icmp_timestamps {
        return Err(DropReason::IcmpIgnored);
    }
    let times = payload.first_chunk::<TIMES_LEN>().ok_or(DropReason::IcmpMalformed)?;
    let [a, b, c, d, ..] = *times;
    let destination = arrival.header.source;
    let limit = &mut shard.icmp_limits.echo_replies;
    if !limit.allow(now, &mut shard.random, destination.into()) {
        return Err(DropReason::IcmpRateLimited);
    }
    let time = time_of_day(shard, now).to_be_bytes();
    let times = [[a, b, c, d], time, time].concat();
    let message = message(&Header::TimestampReply { identifier, sequence }, &times);
    let reply = Datagram {
        payload: &message,
        ..Datagram::plain(arrival.header.destination, destination, Protocol::ICMP)
    };
    ipv4_output::output(shard, now, &reply)
}
