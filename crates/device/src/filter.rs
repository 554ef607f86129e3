//! Which frames a packet socket takes.
//!
//! It sees every frame of an interface that the kernel uses too. To copy the kernel's own traffic
//! only to drop it would cost as much as to receive it, so the socket is told what is ours.

use narrows_sys::socket_filter::{Extension, Instruction, MAX_INSTRUCTIONS, packet_type};
use narrows_wire::ethernet::{EtherType, HEADER_LEN};
use std::net::Ipv4Addr;

/// Where the Ethernet header has the type, and an IPv4 header behind it the destination.
const ETHER_TYPE: u32 = 12;
const IPV4_DESTINATION: u32 = HEADER_LEN as u32 + 16;

/// All frames but those that came with a VLAN tag: the kernel takes the tag off before packet sockets
/// see the frame, so they would pass for untagged ones.
pub fn untagged() -> Vec<Instruction> {
    let mut program = refuse_tagged().to_vec();
    program.push(Instruction::take());
    program
}

/// Of these, not the IPv4 packets sent to one station for an address that is none of `addresses`.
/// With more addresses than a filter can name, all.
pub fn untagged_for(addresses: &[Ipv4Addr]) -> Vec<Instruction> {
    let mut program = refuse_tagged().to_vec();
    program.push(Instruction::load_extension(Extension::PacketType));
    for group in [packet_type::BROADCAST, packet_type::MULTICAST] {
        program.extend([Instruction::if_equal(group), Instruction::take()]);
    }
    program.extend([
        Instruction::load_half(ETHER_TYPE),
        Instruction::unless_equal(EtherType::IPV4.0.into()),
        Instruction::take(),
        Instruction::load_word(IPV4_DESTINATION),
    ]);
    for address in addresses {
        program.extend([Instruction::if_equal(address.to_bits()), Instruction::take()]);
    }
    program.push(Instruction::refuse());
    if program.len() > MAX_INSTRUCTIONS { untagged() } else { program }
}

fn refuse_tagged() -> [Instruction; 3] {
    [
        Instruction::load_extension(Extension::VlanTagPresent),
        Instruction::unless_equal(0),
        Instruction::refuse(),
    ]
}
