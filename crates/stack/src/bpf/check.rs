//! Is a program one that ends, and does only what there is?

use super::{Instruction, MAX_INSTRUCTIONS, MEMORY, Refused, code};

pub(super) fn check(instructions: &[Instruction]) -> Result<(), Refused> {
    if instructions.is_empty() || instructions.len() > MAX_INSTRUCTIONS {
        return Err(Refused { at: instructions.len() });
    }
    for (at, instruction) in instructions.iter().enumerate() {
        let left = instructions.len() - at - 1;
        if !is_known(instruction) || !leads_inside(instruction, left) {
            return Err(Refused { at });
        }
    }
    // Every way through leads to the last one, or ends before it.
    match instructions.last() {
        Some(last) if last.code & code::CLASS == code::RET => Ok(()),
        _ => Err(Refused { at: instructions.len() - 1 }),
    }
}

/// `left`: instructions that follow.
fn leads_inside(instruction: &Instruction, left: usize) -> bool {
    let Instruction { code, jump_true, jump_false, operand } = *instruction;
    if code & code::CLASS != code::JMP {
        return true;
    }
    if code & code::OPERATION == code::ALWAYS {
        return (operand as usize) < left;
    }
    usize::from(jump_true.max(jump_false)) < left
}

fn is_known(instruction: &Instruction) -> bool {
    let Instruction { code, operand, .. } = *instruction;
    let in_memory = (operand as usize) < MEMORY;
    match code & code::CLASS {
        code::LD => match (code & code::MODE, code & code::SIZE) {
            (code::ABSOLUTE | code::INDIRECT, code::WORD | code::HALF | code::BYTE) => true,
            (code::IMMEDIATE | code::LENGTH, code::WORD) => true,
            (code::MEMORY, code::WORD) => in_memory,
            _ => false,
        },
        code::LDX => match (code & code::MODE, code & code::SIZE) {
            (code::IMMEDIATE | code::LENGTH, code::WORD) => true,
            (code::MEMORY, code::WORD) => in_memory,
            (code::HEADER_LENGTH, code::BYTE) => true,
            _ => false,
        },
        code::ST | code::STX => code <= code::STX && in_memory,
        code::ALU => is_known_arithmetic(code, operand),
        code::JMP => match code & code::OPERATION {
            code::ALWAYS => code == code::JMP,
            code::EQUAL | code::GREATER | code::NOT_LESS | code::ANY_BIT => code < 0x50,
            _ => false,
        },
        code::RET => matches!(code & !code::CLASS, 0 | code::A),
        _ => matches!(code & !code::CLASS, code::TO_X | code::TO_A),
    }
}

fn is_known_arithmetic(code: u16, operand: u32) -> bool {
    let by_x = code & code::X != 0;
    if code > 0xff {
        return false;
    }
    match code & code::OPERATION {
        code::ADD | code::SUB | code::MUL | code::OR | code::AND | code::XOR => true,
        code::DIV | code::MOD => by_x || operand != 0,
        code::SHIFT_LEFT | code::SHIFT_RIGHT => by_x || operand < u32::BITS,
        code::NEGATE => !by_x,
        _ => false,
    }
}
