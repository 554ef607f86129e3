//! ARP for IPv4 over Ethernet (RFC 826).

use crate::{Error, address::MacAddr};
use core::net::Ipv4Addr;

pub const LEN: usize = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Request,
    Reply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub operation: Operation,
    pub sender_mac: MacAddr,
    pub sender_ip: Ipv4Addr,
    pub target_mac: MacAddr,
    pub target_ip: Ipv4Addr,
}

impl Packet {
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let _ = bytes;
        todo!()
    }

    pub fn emit(&self, out: &mut [u8; LEN]) {
        let _ = out;
        todo!()
    }
}
