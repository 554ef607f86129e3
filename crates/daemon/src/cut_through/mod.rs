//! Cut-through: a TCP connection between two programs of this host runs on one kernel socket pair,
//! without a copy through the daemon.
//!
//! The engine makes the connection, as it makes any other: the handshake runs over the loopback, so
//! policy, routes, zones, the listener's backlog and the choice among SO_REUSEPORT's members are the
//! engine's, and both connections hold their ports and four-tuples, are listed, and answer for options
//! and TCP_INFO, to the end. Only the bytes take another way:
//!
//! | step | what happens |
//! |---|---|
//! | the client's handshake is done, with a listener here | its anchor is *parked*: what the program writes stays in the pair |
//! | the listener's program is sent the connection | with the daemon's end of the client's pair, not a new one: [`join`] |
//! | a program shuts down or closes | the set of both ends says so ([`watch`]), and the engine's connections follow: [`end`] |
//! | the operator, or the engine, ends the connection | a copy of an end is taken back, and shut down: [`sever`] |
//!
//! When it isn't possible or not allowed (`cut_through = false`, in `[local]` or
//! for a zone), the parked anchor is opened
//! as others are, and its bytes go through the engine.
//!
//! A pair that the daemon couldn't take back is not made: without the keeper, and the right to trace the
//! programs (ptrace(2)), the daemon carries their bytes itself.
//!
//! # What differs from TCP
//!
//! The kernel's Unix stream socket stands for both ends. A write after the peer has closed fails at
//! once with EPIPE, where TCP lets the first one pass. `shutdown(SHUT_RD)` also ends what the peer can
//! write. MSG_OOB is the Unix socket's. TCP_INFO's counts stay 0, of bytes
//! too: there are no segments, no byte passes the daemon, and the kernel counts none of a Unix pair. Connections
//! that are cut through outlive the daemon. Which end closed first is not known where both have by the time
//! the daemon looks: then the client's has, and TIME-WAIT is at its port.
//!
//! An end closed with SO_LINGER 0 is a reset for the other end, unless it had shut down its stream and
//! the daemon had seen that before.

mod end;
mod join;
mod sever;
mod table;
pub(crate) mod watch;

#[cfg(test)]
mod tests;

pub(crate) use end::{abort, look, look_before_report, refresh, sweep, sweep_port};
pub(crate) use join::{join, open_parked, park};
pub(crate) use sever::{engine_says, kill};
pub(crate) use table::{Cuts, End};
