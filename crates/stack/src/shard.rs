//! The whole public API of the engine; no protocol rules.

use crate::{config::Config, counters::Counters, random::Random};
use crate::{
    Instant,
    counters::DropReason,
    layer::ethernet,
    request::{Error, SocketId},
    table::{
        interface::{InterfaceId, InterfaceTable},
        neighbor::NeighborTable,
        reassembly::ReassemblyTable,
        route::RouteTable,
    },
};
use narrows_wire::offload::{RxOffload, TxOffload};

/// Where frames to send go. A frame is `header` followed by both parts of `payload`.
pub trait Sink {
    /// Can another frame be taken now?
    fn has_room(&self) -> bool;
    /// Takes a frame; called only while there is room, so it can't fail.
    fn send(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]);
}

pub struct Shard {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) counters: Counters,
    pub(crate) interfaces: InterfaceTable,
    pub(crate) routes: RouteTable,
    pub(crate) neighbors: NeighborTable,
    pub(crate) reassembly: ReassemblyTable,
}

impl Shard {
    pub fn receive(&mut self, now: Instant, interface: InterfaceId, frame: &[u8], offload: RxOffload) {
        self.counters.frames_received += 1;
        self.counters.bytes_received += frame.len() as u64;
        if let Err(reason) = ethernet::input(self, now, interface, frame, offload) {
            self.drop(reason);
        }
    }
    fn drop(&mut self, reason: DropReason) {
        self.counters.drop(reason);
    }
    pub fn new(_: Config, _: [u8; 16]) -> Self { todo!() }
    pub fn x(&self, _: SocketId) -> Error { todo!() }
}
