//! ICMP (RFC 792): echo, timestamps, errors received and errors sent.
//!
//! | file | what is there |
//! |---|---|
//! | `echo` | answers to pings, and the pings of programs |
//! | `datagram_error` | what a UDP or ping socket hears of an error |
//! | `timestamp` | answers to who asks the time of day, if that is wanted |
//! | `error_input` | an error about something we sent, to whom it concerns |
//! | `error_output` | errors about what we can't deliver, where RFC 1122 allows them |

mod datagram_error;
mod echo;
mod error_input;
mod error_output;
mod timestamp;

pub(crate) use datagram_error::{no_neighbor, note_error, undeliverable};
pub(crate) use echo::{reach, send_echo};
pub(crate) use error_input::{Problem, forget_path_mtus, learn_path_mtu};
pub(crate) use error_output::{
    fragmentation_needed, parameter_problem, reassembly_timeout, redirect, time_exceeded,
    unreachable,
};

use crate::{Instant, Shard, counters::DropReason, layer::Arrival};
use narrows_wire::{
    Error,
    icmpv4::{Header, kind},
};

pub(crate) fn input(
    shard: &mut Shard,
    now: Instant,
    arrival: &Arrival<'_>,
) -> Result<(), DropReason> {
    let (header, payload) = Header::parse(arrival.payload).map_err(|error| match error {
        Error::Checksum => DropReason::IcmpChecksum,
        Error::Truncated | Error::Malformed => DropReason::IcmpMalformed,
    })?;
    match header {
        // As Linux, which does not look at the code.
        Header::EchoRequest { .. } | Header::Other { kind: kind::ECHO_REQUEST, .. } => {
            echo::request_input(shard, now, arrival)
        }
        Header::EchoReply { identifier, .. } => echo::reply_input(shard, now, arrival, identifier),
        Header::DestinationUnreachable { .. }
        | Header::TimeExceeded { .. }
        | Header::ParameterProblem { .. } => {
            error_input::input(shard, now, arrival, header, payload)
        }
        Header::TimestampRequest { identifier, sequence } => {
            timestamp::input(shard, now, arrival, identifier, sequence, payload)
        }
        // A host that could send us a redirect could send us anywhere. Address masks and information
        // requests are of use to nobody else.
        Header::Redirect { .. } | Header::TimestampReply { .. } | Header::Other { .. } => {
            Err(DropReason::IcmpIgnored)
        }
    }
}

#[cfg(test)]
mod tests;
