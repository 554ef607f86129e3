//! (being written)

use crate::OpenError;
use std::net::Ipv4Addr;

/// Keeps the kernel's stack from acting on frames for our addresses, as long as it lives.
pub struct Guard {}

impl Guard {
    /// From now on the kernel drops, after packet sockets saw them, the IPv4 packets and ARP
    /// packets that arrive on `interface` for one of `addresses`.
    pub fn new(_interface: &str, _addresses: &[Ipv4Addr]) -> Result<Self, OpenError> {
        todo!()
    }
}
