//! Code that runs per packet. A layer's receive side is its `input`, its send side its `output`;
//! each returns why a packet went no further, and `Shard` counts that.

use crate::table::interface::InterfaceId;
use narrows_wire::{ipv4, offload::RxOffload};

pub(crate) mod arp;
#[cfg(test)]
pub(crate) mod attacks;
pub(crate) mod autoconf;
pub(crate) mod conntrack;
#[cfg(test)]
mod crossings;
pub(crate) mod ethernet;
pub(crate) mod filter;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod forward;
pub(crate) mod gateway;
pub(crate) mod icmpv4;
pub(crate) mod igmp;
pub(crate) mod inspect;
pub(crate) mod ipv4_fragment;
pub(crate) mod ipv4_input;
pub(crate) mod ipv4_options;
pub(crate) mod ipv4_output;
pub(crate) mod link;
pub(crate) mod loopback;
pub(crate) mod packet;
#[cfg(test)]
mod random_frames;
pub(crate) mod raw;
pub(crate) mod route;
pub(crate) mod segmentation;
pub(crate) mod tcp;
pub(crate) mod transport;
pub(crate) mod udp;
pub(crate) mod watch;

/// A whole datagram for this host, on its way to a transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub interface: InterfaceId,
    pub header: ipv4::Header,
    /// The IPv4 header as it came, for an ICMP error to quote.
    pub header_bytes: &'a [u8],
    pub payload: &'a [u8],
    pub offload: RxOffload,
    /// That rules gave it.
    pub mark: u32,
    pub tracking: conntrack::Tracking,
    pub since: inspect::Since,
    /// What it is about to do.
    pub course: inspect::Course,
}

impl<'a> Arrival<'a> {
    pub fn options(&self) -> &'a [u8] {
        self.header_bytes.get(ipv4::HEADER_LEN..).unwrap_or(&[])
    }
}
