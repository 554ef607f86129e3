//! Which frames a packet socket takes.
//!
//! It sees every frame of an interface that the kernel uses too. To copy the kernel's own traffic
//! only to drop it would cost as much as to receive it, so the socket is told what is ours.

use narrows_sys::socket_filter::{Extension, Instruction, MAX_INSTRUCTIONS, packet_type};
use narrows_wire::{
    address::MacAddr,
    ethernet::{EtherType, HEADER_LEN},
    vlan::VlanId,
};
use std::net::Ipv4Addr;

/// Where the Ethernet header has the type, and an IPv4 header behind it the destination.
const ETHER_TYPE: u32 = 12;
const IPV4_DESTINATION: u32 = HEADER_LEN as u32 + 16;

/// The bits of a tag's control information that name the VLAN.
const VLAN_BITS: u32 = 0x0fff;

/// What a device is to receive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of the IPv4 packets sent to one station, those for these addresses; `None`: for any. All other
    /// frames without a tag are received anyway.
    pub addresses: Option<Vec<Ipv4Addr>>,
    /// Set on an interface that forwards: of the IPv4 packets sent to it, all but those for these
    /// addresses, which are the kernel's own. `addresses` then are ours among them.
    pub forwards_but: Option<Vec<Ipv4Addr>>,
    /// Frames with a tag of these VLANs.
    pub vlans: Vec<VlanId>,
    /// Stations whose frames are ours too, beside the device's own.
    pub stations: Vec<MacAddr>,
    /// Groups whose frames an interface that filters is to let in.
    pub groups: Vec<MacAddr>,
    /// Every frame, for whomever, with whatever tag.
    pub everything: bool,
}

impl Wanted {
    /// Do frames with a tag matter?
    pub fn tags(&self) -> bool {
        self.everything || !self.vlans.is_empty()
    }
}

/// The filter of a packet socket. The kernel takes the (outer) tag off a frame before packet sockets
/// see it, so without a look at that a tagged frame would pass for an untagged one. With more
/// addresses than a filter can name, all are taken.
pub fn program(wanted: &Wanted) -> Vec<Instruction> {
    if wanted.everything {
        return vec![Instruction::take()];
    }
    let tags = by_tag(&wanted.vlans);
    let mut program = tags.clone();
    let (take, refuse) = (Instruction::take(), Instruction::refuse());
    match (&wanted.forwards_but, &wanted.addresses) {
        (Some(kernels), _) => program.extend(by_address(kernels, refuse, take)),
        (None, Some(addresses)) => program.extend(by_address(addresses, take, refuse)),
        (None, None) => program.push(take),
    }
    if program.len() > MAX_INSTRUCTIONS {
        program = tags;
        program.push(Instruction::take());
    }
    program
}

/// Decides on frames with a tag, and goes on with those without one, or with a priority alone.
fn by_tag(vlans: &[VlanId]) -> Vec<Instruction> {
    let mut tagged =
        vec![Instruction::load_extension(Extension::VlanTag), Instruction::and(VLAN_BITS)];
    for vlan in vlans {
        tagged.extend([Instruction::if_equal(vlan.get().into()), Instruction::take()]);
    }
    tagged.extend([Instruction::unless_equal(0), Instruction::refuse()]);
    let mut program = vec![
        Instruction::load_extension(Extension::VlanTagPresent),
        Instruction::if_equal(0),
        Instruction::skip(tagged.len() as u32),
    ];
    program.extend(tagged);
    program
}

/// IPv4 packets sent to one station for one of `addresses`, and for others; other frames are taken.
fn by_address(addresses: &[Ipv4Addr], named: Instruction, other: Instruction) -> Vec<Instruction> {
    let mut program = vec![Instruction::load_extension(Extension::PacketType)];
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
        program.extend([Instruction::if_equal(address.to_bits()), named]);
    }
    program.push(other);
    program
}
