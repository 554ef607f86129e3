//! Bytes to values and back, for every protocol Narrows speaks.
//!
//! Each module has a `parse` that is total (any bytes give a value or an [`Error`], never a
//! panic) and an `emit` that writes what `parse` would read. Values are plain structs; variable
//! parts (options, payloads) stay borrowed slices of the input. Nothing here allocates, keeps
//! state or decides anything.

#![forbid(unsafe_code)]

pub mod address;
pub mod arp;
pub mod checksum;
pub mod dhcp;
pub mod ecn;
pub mod ethernet;
pub mod fast_open;
pub mod icmpv4;
pub mod igmp;
pub mod ipv4;
pub mod lacp;
pub mod offload;
pub mod quote;
pub mod rewrite;
pub mod tcp;
pub mod tcp_options;
pub mod udp;
pub mod vlan;

/// Why bytes are not a valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// the input ends before the header, or before what the header says its length is
    #[error("truncated")]
    Truncated,
    /// a field has a value that its protocol does not allow
    #[error("malformed")]
    Malformed,
    /// the checksum does not match
    #[error("bad checksum")]
    Checksum,
}
