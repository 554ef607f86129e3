//! Conditions to instructions, from the end to the beginning: whatever a jump leads to is there already,
//! so that how far it is away is known.

use super::{Base, Error, Instruction, Node, Number, Operator, Relation, Size};

/// linux/filter.h.
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const LOAD: u16 = 0x00;
const INDIRECT: u16 = 0x40;
const ABSOLUTE: u16 = 0x20;
const LOAD_IMMEDIATE: u16 = 0x00;
const LOAD_LENGTH: u16 = 0x80;
const LOAD_X_MEMORY: u16 = 0x61;
const LOAD_X_HEADER_LENGTH: u16 = 0xb1;
const STORE: u16 = 0x02;
const TO_X: u16 = 0x07;
const ARITHMETIC: u16 = 0x04;
const WITH_X: u16 = 0x08;
const ADD_X: u16 = 0x0c;
/// SKF_AD_OFF + SKF_AD_PKTTYPE.
const PACKET_TYPE: u32 = 0xffff_f004;

/// The most instructions that a kernel or an engine takes.
const MAX_INSTRUCTIONS: usize = 4096;
/// Cells of scratch memory.
const CELLS: u32 = 16;
/// What is taken of a packet: all of it.
const WHOLE: u32 = 262_144;

pub(super) fn generate(node: Option<&Node>) -> Result<Vec<Instruction>, Error> {
    let mut code = Code { backwards: vec![(RETURN, 0, 0, 0), (RETURN, 0, 0, WHOLE)] };
    if let Some(node) = node {
        code.node(node, 1, 0)?;
    }
    code.backwards.reverse();
    Ok(code.backwards)
}

fn too_long() -> Error {
    Error { near: "end".into(), message: "the filter is too long to be compiled".into() }
}

struct Code {
    backwards: Vec<Instruction>,
}

impl Code {
    /// Instructions that go to the one at `yes` if the condition holds, and else to the one at `no`.
    fn node(&mut self, node: &Node, yes: usize, no: usize) -> Result<(), Error> {
        match node {
            Node::Not(inner) => self.node(inner, no, yes),
            Node::And(first, then) => {
                self.node(then, yes, no)?;
                let next = self.backwards.len() - 1;
                self.node(first, next, no)
            }
            Node::Or(first, then) => {
                self.node(then, yes, no)?;
                let next = self.backwards.len() - 1;
                self.node(first, yes, next)
            }
            Node::Compare(left, relation, right) => {
                let code = match relation {
                    Relation::Equal => 0x15,
                    Relation::Greater => 0x25,
                    Relation::AtLeast => 0x35,
                };
                let (yes, no) = (self.within_reach(yes, 2)?, self.within_reach(no, 1)?);
                let jump = |at: usize| (self.backwards.len() - 1 - at) as u8;
                let mut straight = Vec::new();
                let operand = match right {
                    Number::Constant(value) => {
                        compute(left, 0, &mut straight)?;
                        (code, *value)
                    }
                    right => {
                        compute(right, 0, &mut straight)?;
                        straight.push((STORE, 0, 0, 0));
                        compute(left, 1, &mut straight)?;
                        straight.push((LOAD_X_MEMORY, 0, 0, 0));
                        (code | WITH_X, 0)
                    }
                };
                let (code, value) = operand;
                self.backwards.push((code, jump(yes), jump(no), value));
                self.backwards.extend(straight.into_iter().rev());
                if self.backwards.len() > MAX_INSTRUCTIONS { Err(too_long()) } else { Ok(()) }
            }
        }
    }

    /// Where to jump to get to `at`, from behind `more` instructions to come: there, or to a long jump.
    fn within_reach(&mut self, at: usize, more: usize) -> Result<usize, Error> {
        let distance = self.backwards.len() + more - at;
        if distance <= usize::from(u8::MAX) {
            return Ok(at);
        }
        let far = u32::try_from(self.backwards.len() - 1 - at).map_err(|_| too_long())?;
        self.backwards.push((JUMP, 0, 0, far));
        Ok(self.backwards.len() - 1)
    }
}

/// Leaves a number in A; memory from `cell` on is free to use.
fn compute(number: &Number, cell: u32, out: &mut Vec<Instruction>) -> Result<(), Error> {
    match number {
        Number::Constant(value) => out.push((LOAD_IMMEDIATE, 0, 0, *value)),
        Number::Length => out.push((LOAD_LENGTH, 0, 0, 0)),
        Number::PacketType => out.push((LOAD | ABSOLUTE, 0, 0, PACKET_TYPE)),
        Number::Load { base, index, size } => load(*base, index, *size, cell, out)?,
        Number::Compute(operator, left, right) => {
            let code = ARITHMETIC | code_of(*operator);
            if let Number::Constant(value) = **right {
                compute(left, cell, out)?;
                out.push((code, 0, 0, value));
                return Ok(());
            }
            if cell >= CELLS {
                return Err(too_long());
            }
            compute(right, cell, out)?;
            out.push((STORE, 0, 0, cell));
            compute(left, cell + 1, out)?;
            out.push((LOAD_X_MEMORY, 0, 0, cell));
            out.push((code | WITH_X, 0, 0, 0));
        }
    }
    Ok(())
}

fn load(
    base: Base,
    index: &Number,
    size: Size,
    cell: u32,
    out: &mut Vec<Instruction>,
) -> Result<(), Error> {
    let size = match size {
        Size::Word => 0x00,
        Size::Half => 0x08,
        Size::Byte => 0x10,
    };
    let beyond = || Error { near: "[".into(), message: "no packet is that long".into() };
    match (base, index) {
        (Base::At(start), Number::Constant(index)) => {
            let at = start.checked_add(*index).filter(|at| *at <= WHOLE).ok_or_else(beyond)?;
            out.push((LOAD | ABSOLUTE | size, 0, 0, at));
        }
        (Base::At(start), index) => {
            compute(index, cell, out)?;
            out.push((TO_X, 0, 0, 0));
            out.push((LOAD | INDIRECT | size, 0, 0, start));
        }
        (Base::BehindIp { header }, Number::Constant(index)) => {
            let at = header.checked_add(*index).filter(|at| *at <= WHOLE).ok_or_else(beyond)?;
            out.push((LOAD_X_HEADER_LENGTH, 0, 0, header));
            out.push((LOAD | INDIRECT | size, 0, 0, at));
        }
        (Base::BehindIp { header }, index) => {
            compute(index, cell, out)?;
            out.push((LOAD_X_HEADER_LENGTH, 0, 0, header));
            out.push((ADD_X, 0, 0, 0));
            out.push((TO_X, 0, 0, 0));
            out.push((LOAD | INDIRECT | size, 0, 0, header));
        }
    }
    Ok(())
}

fn code_of(operator: Operator) -> u16 {
    match operator {
        Operator::Add => 0x00,
        Operator::Subtract => 0x10,
        Operator::Multiply => 0x20,
        Operator::Divide => 0x30,
        Operator::Or => 0x40,
        Operator::And => 0x50,
        Operator::Left => 0x60,
        Operator::Right => 0x70,
        Operator::Modulo => 0x90,
        Operator::Xor => 0xa0,
    }
}
