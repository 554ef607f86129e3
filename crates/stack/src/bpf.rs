//! Classic BPF (McCanne and Jacobson, 1993; bpf(4), linux/filter.h): the filters that programs attach
//! to their sockets.
//!
//! A program is checked once, when it is attached, for all that could go wrong later ([`check`]); jumps
//! lead forward only, so that running it ([`run`]) takes no more steps than it has instructions. The
//! interpreter has no state that outlives a packet, and none that begins uninitialised.
//!
//! Where this differs from Linux: memory that was not stored to is zero, rather than refused; and
//! netlink attributes and hashes of receive queues read as zero, because there are none.

mod check;
mod run;
#[cfg(test)]
mod tests;

pub use run::Context;

/// The most instructions of a program: Linux's BPF_MAXINSNS.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Cells of scratch memory: BPF_MEMWORDS.
const MEMORY: usize = 16;

/// One instruction, laid out as `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    /// Instructions skipped when a jump's condition holds, and when not.
    pub jump_true: u8,
    pub jump_false: u8,
    pub operand: u32,
}

/// A checked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Box<[Instruction]>,
}

/// The filter is not one that ends, or does something that there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {at} of the filter is not allowed")]
pub struct Refused {
    pub at: usize,
}

impl Program {
    pub fn new(instructions: &[Instruction]) -> Result<Self, Refused> {
        check::check(instructions)?;
        Ok(Self { instructions: instructions.into() })
    }

    /// How many bytes of the packet the program takes; 0: it refuses it.
    pub fn run(&self, packet: [&[u8]; 2], context: &Context) -> u32 {
        run::run(&self.instructions, packet, context)
    }
}

/// The parts of an instruction's code.
mod code {
    pub const CLASS: u16 = 0x07;
    pub const LD: u16 = 0;
    pub const LDX: u16 = 1;
    pub const ST: u16 = 2;
    pub const STX: u16 = 3;
    pub const ALU: u16 = 4;
    pub const JMP: u16 = 5;
    pub const RET: u16 = 6;

    pub const SIZE: u16 = 0x18;
    pub const WORD: u16 = 0x00;
    pub const HALF: u16 = 0x08;
    pub const BYTE: u16 = 0x10;

    pub const MODE: u16 = 0xe0;
    pub const IMMEDIATE: u16 = 0x00;
    pub const ABSOLUTE: u16 = 0x20;
    pub const INDIRECT: u16 = 0x40;
    pub const MEMORY: u16 = 0x60;
    pub const LENGTH: u16 = 0x80;
    /// Four times the low half of a byte: an IPv4 header's length.
    pub const HEADER_LENGTH: u16 = 0xa0;

    pub const OPERATION: u16 = 0xf0;
    pub const ADD: u16 = 0x00;
    pub const SUB: u16 = 0x10;
    pub const MUL: u16 = 0x20;
    pub const DIV: u16 = 0x30;
    pub const OR: u16 = 0x40;
    pub const AND: u16 = 0x50;
    pub const SHIFT_LEFT: u16 = 0x60;
    pub const SHIFT_RIGHT: u16 = 0x70;
    pub const NEGATE: u16 = 0x80;
    pub const MOD: u16 = 0x90;
    pub const XOR: u16 = 0xa0;

    pub const ALWAYS: u16 = 0x00;
    pub const EQUAL: u16 = 0x10;
    pub const GREATER: u16 = 0x20;
    pub const NOT_LESS: u16 = 0x30;
    pub const ANY_BIT: u16 = 0x40;

    /// The other operand is X, not the instruction's own.
    pub const X: u16 = 0x08;
    /// Of RET: the result is A.
    pub const A: u16 = 0x10;
    pub const TO_X: u16 = 0x00;
    pub const TO_A: u16 = 0x80;
}

/// Offsets below zero, which name what is not in the packet (SKF_AD_OFF and the two bases).
mod ancillary {
    pub const BASE: u32 = 0xffff_f000;
    pub const NETWORK: u32 = 0xfff0_0000;
    pub const LINK: u32 = 0xffe0_0000;

    pub const PROTOCOL: u32 = 0;
    pub const PACKET_TYPE: u32 = 4;
    pub const INTERFACE: u32 = 8;
    pub const MARK: u32 = 20;
    pub const HARDWARE: u32 = 28;
    pub const XOR_X: u32 = 40;
    pub const VLAN_TAG: u32 = 44;
    pub const VLAN_PRESENT: u32 = 48;
    pub const PAYLOAD_OFFSET: u32 = 52;
    pub const RANDOM: u32 = 56;
    pub const VLAN_PROTOCOL: u32 = 60;
}
