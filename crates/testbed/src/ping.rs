//! (being written)

use crate::Namespace;
use anyhow::Result;
use std::{net::Ipv4Addr, time::Duration};

/// Sends `count` echo requests from the kernel of `namespace`, one after the other, and returns the
/// round-trip time of each reply. An error if any is not answered within a second.
pub fn ping(
    _namespace: &Namespace,
    _destination: Ipv4Addr,
    _count: usize,
) -> Result<Vec<Duration>> {
    todo!()
}
