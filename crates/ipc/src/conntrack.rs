//! Tracked flows as reports have them.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    pub id: u64,
    /// IP's number.
    pub protocol: u8,
    /// What packets of the first direction look like when they come in, and what answers look like.
    pub tuples: [TupleRow; 2],
    /// Of TCP: Linux's name.
    pub state: Option<String>,
    /// Bits as Linux numbers them (`ct status`).
    pub status: u32,
    pub mark: u32,
    /// Packets and bytes of each direction.
    pub counts: [(u64, u64); 2],
    /// Seconds until it is forgotten if nothing comes.
    pub timeout: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TupleRow {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// Of ICMP: the identifier.
    pub source_port: u16,
    pub destination_port: u16,
    /// Of ICMP.
    pub kind: u8,
}

/// Flows that fit all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowFilter {
    pub protocol: Option<u8>,
    /// Of the first direction.
    pub source: Option<Ipv4Addr>,
    pub destination: Option<Ipv4Addr>,
    pub source_port: Option<u16>,
    pub destination_port: Option<u16>,
    pub state: Option<String>,
    pub mark: Option<u32>,
}

impl FlowFilter {
    pub fn fits(&self, row: &FlowRow) -> bool {
        let [first, _] = &row.tuples;
        let is = |wanted: Option<u16>, port: u16| wanted.is_none_or(|wanted| wanted == port);
        self.protocol.is_none_or(|protocol| protocol == row.protocol)
            && self.source.is_none_or(|address| address == first.source)
            && self.destination.is_none_or(|address| address == first.destination)
            && is(self.source_port, first.source_port)
            && is(self.destination_port, first.destination_port)
            && self.state.as_ref().is_none_or(|state| row.state.as_ref() == Some(state))
            && self.mark.is_none_or(|mark| mark == row.mark)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlowChange {
    New,
    Update,
    Destroy,
}

/// What happened to flows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowNews {
    pub changes: Vec<(FlowChange, FlowRow)>,
    /// What to ask from next.
    pub next: u64,
    /// Changes that were not kept.
    pub lost: u64,
}
