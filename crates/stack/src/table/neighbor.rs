//! Link addresses of neighbors. Invariant: at most the limit's entries; a pinned one never changes.

use crate::{table::interface::InterfaceId, time::Instant};
use core::net::IpAddr;
use narrows_wire::address::MacAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    Incomplete,
    Reachable,
    Stale,
    Failed,
    Pinned,
}

/// One row of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    pub interface: InterfaceId,
    pub address: IpAddr,
    pub mac: Option<MacAddr>,
    pub state: NeighborState,
    pub updated: Instant,
}

#[derive(Debug, Default)]
pub struct NeighborTable {}

impl NeighborTable {
    pub fn iter(&self) -> impl Iterator<Item = Neighbor> {
        core::iter::empty()
    }
}
