//! (being written)

use crate::{OpenError, Received, Statistics};
use narrows_wire::{
    address::MacAddr,
    offload::{Capabilities, RxOffload, TxOffload},
};
use std::{io, os::fd::BorrowedFd};

/// (being written)
pub struct TapDevice {}

impl TapDevice {
    pub fn open(_name: &str) -> Result<Self, OpenError> {
        todo!()
    }
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        todo!()
    }
    pub fn name(&self) -> &str {
        todo!()
    }
    pub fn mac(&self) -> MacAddr {
        todo!()
    }
    pub fn mtu(&self) -> u32 {
        todo!()
    }
    pub fn capabilities(&self) -> Capabilities {
        todo!()
    }
    pub fn receive(
        &mut self,
        _max_frames: usize,
        _input: impl FnMut(&[u8], RxOffload),
    ) -> io::Result<Received> {
        todo!()
    }
    pub fn has_room(&self) -> bool {
        todo!()
    }
    pub fn send(&mut self, _offload: TxOffload, _header: &[u8], _payload: [&[u8]; 2]) {
        todo!()
    }
    pub fn flush(&mut self) -> io::Result<()> {
        todo!()
    }
    pub fn is_blocked(&self) -> bool {
        todo!()
    }
    pub fn statistics(&mut self) -> Statistics {
        todo!()
    }
}
