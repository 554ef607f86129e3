//! The interpreter.

use super::{Instruction, MEMORY, ancillary, code};

/// What a filter can ask that is not in the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The Ethernet type.
    pub protocol: u16,
    /// PACKET_HOST and so on, as numbered in linux/if_packet.h.
    pub packet_type: u8,
    /// As programs number interfaces.
    pub interface: u32,
    /// ARPHRD_…
    pub hardware: u16,
    /// Ethernet type and control information of the tag that was taken off.
    pub vlan: Option<(u16, u16)>,
    /// Where the network header begins in the packet.
    pub network: usize,
    /// Bytes of the packet before the payload of its transport.
    pub payload_offset: u32,
    pub random: u32,
}

/// The packet, which is in two pieces where its header was made for the occasion.
#[derive(Clone, Copy)]
struct Bytes<'a>([&'a [u8]; 2]);

impl Bytes<'_> {
    fn len(self) -> u32 {
        let [first, second] = self.0;
        u32::try_from(first.len().saturating_add(second.len())).unwrap_or(u32::MAX)
    }

    fn byte(self, at: usize) -> Option<u8> {
        let [first, second] = self.0;
        first.get(at).or_else(|| second.get(at.checked_sub(first.len())?)).copied()
    }

    /// A number of so many bytes, in the network's order.
    fn number(self, at: u32, size: usize) -> Option<u32> {
        let at = at as usize;
        (at..at.checked_add(size)?)
            .try_fold(0, |number, at| Some(number << 8 | u32::from(self.byte(at)?)))
    }
}

pub(super) fn run(program: &[Instruction], packet: [&[u8]; 2], context: &Context) -> u32 {
    let packet = Bytes(packet);
    let (mut a, mut x, mut memory) = (0_u32, 0_u32, [0_u32; MEMORY]);
    let mut next = 0_usize;
    // Jumps lead forward, so this ends.
    while let Some(Instruction { code, jump_true, jump_false, operand }) =
        program.get(next).copied()
    {
        next += 1;
        let cell = (operand as usize) % MEMORY;
        let value = if code & code::X != 0 { x } else { operand };
        match code & code::CLASS {
            code::LD | code::LDX => {
                let loaded = match code & code::MODE {
                    code::IMMEDIATE => Some(operand),
                    code::LENGTH => Some(packet.len()),
                    code::MEMORY => Some(memory[cell]),
                    code::HEADER_LENGTH => {
                        packet.number(operand, 1).map(|byte| (byte & 0xf).wrapping_mul(4))
                    }
                    code::ABSOLUTE => load(packet, context, operand, size(code), (a, x)),
                    _ => {
                        let at = operand.wrapping_add(x);
                        load(packet, context, at, size(code), (a, x))
                    }
                };
                // What is not there ends the program: the packet is refused.
                let Some(loaded) = loaded else { return 0 };
                *(if code & code::CLASS == code::LD { &mut a } else { &mut x }) = loaded;
            }
            code::ST => memory[cell] = a,
            code::STX => memory[cell] = x,
            code::ALU => match arithmetic(code & code::OPERATION, a, value) {
                Some(result) => a = result,
                None => return 0,
            },
            code::JMP => {
                let skipped = match code & code::OPERATION {
                    code::ALWAYS => operand as usize,
                    operation => {
                        let holds = match operation {
                            code::EQUAL => a == value,
                            code::GREATER => a > value,
                            code::NOT_LESS => a >= value,
                            _ => a & value != 0,
                        };
                        usize::from(if holds { jump_true } else { jump_false })
                    }
                };
                next = next.saturating_add(skipped);
            }
            code::RET => return if code & !code::CLASS == code::A { a } else { operand },
            _ if code & !code::CLASS == code::TO_X => x = a,
            _ => a = x,
        }
    }
    0
}

fn size(code: u16) -> usize {
    match code & code::SIZE {
        code::WORD => 4,
        code::HALF => 2,
        _ => 1,
    }
}

/// From the packet, or from what is known of it.
fn load(
    packet: Bytes<'_>,
    context: &Context,
    at: u32,
    size: usize,
    (a, x): (u32, u32),
) -> Option<u32> {
    let based = |base: usize, offset: u32| {
        packet.number(u32::try_from(base).ok()?.checked_add(offset)?, size)
    };
    match at {
        ancillary::BASE.. => Some(match at - ancillary::BASE {
            ancillary::PROTOCOL => context.protocol.into(),
            ancillary::PACKET_TYPE => context.packet_type.into(),
            ancillary::INTERFACE => context.interface,
            ancillary::HARDWARE => context.hardware.into(),
            ancillary::XOR_X => a ^ x,
            ancillary::VLAN_TAG => context.vlan.map_or(0, |(_, control)| control.into()),
            ancillary::VLAN_PRESENT => context.vlan.is_some().into(),
            ancillary::PAYLOAD_OFFSET => context.payload_offset,
            ancillary::RANDOM => context.random,
            ancillary::VLAN_PROTOCOL => context.vlan.map_or(0, |(protocol, _)| protocol.into()),
            // Marks, queues, hashes and CPUs: there are none, or but one.
            ancillary::MARK | 12..64 => 0,
            _ => return None,
        }),
        ancillary::NETWORK.. => based(context.network, at - ancillary::NETWORK),
        ancillary::LINK.. => based(0, at - ancillary::LINK),
        at => packet.number(at, size),
    }
}

/// `None`: a division by zero, which refuses the packet.
fn arithmetic(operation: u16, a: u32, value: u32) -> Option<u32> {
    Some(match operation {
        code::ADD => a.wrapping_add(value),
        code::SUB => a.wrapping_sub(value),
        code::MUL => a.wrapping_mul(value),
        code::DIV => a.checked_div(value)?,
        code::MOD => a.checked_rem(value)?,
        code::OR => a | value,
        code::AND => a & value,
        code::XOR => a ^ value,
        // By more than the width: by what is left over, as machines do.
        code::SHIFT_LEFT => a.wrapping_shl(value),
        code::SHIFT_RIGHT => a.wrapping_shr(value),
        _ => a.wrapping_neg(),
    })
}
