//! ARP for IPv4 over Ethernet (RFC 826).

use crate::{Error, address::MacAddr, ethernet::EtherType};
use core::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

pub const LEN: usize = 28;

/// The hardware type of Ethernet.
const ETHERNET: u16 = 1;

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

/// The packet's bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    hardware: U16,
    protocol: U16,
    hardware_len: u8,
    protocol_len: u8,
    operation: U16,
    sender_mac: [u8; 6],
    sender_ip: [u8; 4],
    target_mac: [u8; 6],
    target_ip: [u8; 4],
}

impl Packet {
    /// Refuses other hardware, other protocols and other operations. What follows is padding.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (layout, _padding) = Layout::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        let kind = (
            layout.hardware.get(),
            layout.hardware_len,
            layout.protocol.get(),
            layout.protocol_len,
        );
        if kind != (ETHERNET, 6, EtherType::IPV4.0, 4) {
            return Err(Error::Malformed);
        }
        let operation = match layout.operation.get() {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Error::Malformed),
        };
        Ok(Self {
            operation,
            sender_mac: MacAddr(layout.sender_mac),
            sender_ip: layout.sender_ip.into(),
            target_mac: MacAddr(layout.target_mac),
            target_ip: layout.target_ip.into(),
        })
    }

    pub fn emit(&self, out: &mut [u8; LEN]) {
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        *out = zerocopy::transmute!(Layout {
            hardware: ETHERNET.into(),
            protocol: EtherType::IPV4.0.into(),
            hardware_len: 6,
            protocol_len: 4,
            operation: operation.into(),
            sender_mac: self.sender_mac.0,
            sender_ip: self.sender_ip.octets(),
            target_mac: self.target_mac.0,
            target_ip: self.target_ip.octets(),
        });
    }
}
