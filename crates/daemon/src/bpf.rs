//! Filters of classic BPF as programs send them, for the engine.

use narrows_ipc::{Error, packet::Instruction as Sent};
use narrows_stack::bpf::{Instruction, Program};

pub(crate) fn instructions(sent: &[Sent]) -> Vec<Instruction> {
    let instruction = |&(code, jump_true, jump_false, operand): &Sent| Instruction {
        code,
        jump_true,
        jump_false,
        operand,
    };
    sent.iter().map(instruction).collect()
}

/// A filter that was checked; one that must not run is an invalid argument, as on Linux.
pub(crate) fn compile(sent: &[Sent]) -> Result<Program, Error> {
    Program::new(&instructions(sent)).map_err(|_| Error::InvalidArgument)
}
