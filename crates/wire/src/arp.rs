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

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn other_protocols_are_refused() {
        let packet = Packet {
            operation: Operation::Request,
            sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            sender_ip: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: MacAddr::ZERO,
            target_ip: Ipv4Addr::new(10, 0, 0, 2),
        };
        let mut bytes = [0; LEN];
        packet.emit(&mut bytes);
        assert_eq!(Packet::parse(&bytes), Ok(packet));
        assert_eq!(Packet::parse(&[&bytes[..], &[0; 18]].concat()), Ok(packet));
        assert_eq!(Packet::parse(&bytes[..27]), Err(Error::Truncated));
        let cases =
            [("hardware", 1, 6), ("protocol", 2, 0x86), ("lengths", 4, 8), ("lengths", 5, 16)];
        for (name, at, value) in cases.into_iter().chain([("operation", 7, 3), ("operation", 7, 0)])
        {
            let mut bytes = bytes;
            bytes[at] = value;
            assert_eq!(Packet::parse(&bytes), Err(Error::Malformed), "{name}");
        }
    }
}
