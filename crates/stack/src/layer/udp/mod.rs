//! UDP (RFC 768).
//!
//! | file | what is there |
//! |---|---|
//! | `input` | a datagram's way to its socket, to several, or to nobody |
//! | `output` | where a datagram goes, its header, and its cutting into several |
//! | `connect` | the one peer that a socket may have |

mod connect;
mod input;
mod output;

pub(crate) use connect::{connect, disconnect, place, relocate};
pub(crate) use input::input;
pub(crate) use output::{
    bound_address, conclude, is_own, output, output_interface, reach, take_port,
};

use crate::counters::DropReason;
use core::net::Ipv4Addr;
use narrows_wire::{checksum::Sum, ipv4::Protocol};

/// Over pseudo-header, header and data.
fn sum(source: Ipv4Addr, destination: Ipv4Addr, datagram: &[u8]) -> Result<Sum, DropReason> {
    let len = u16::try_from(datagram.len()).map_err(|_| DropReason::UdpMalformed)?;
    let pseudo_header = Sum::pseudo_header(source, destination, Protocol::UDP.0, len);
    Ok(pseudo_header.add(Sum::of(datagram)))
}

#[cfg(test)]
mod tests;
