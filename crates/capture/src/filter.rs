//! pcap-filter(7): expressions about Ethernet frames, compiled to the classic BPF that the engine runs.
//!
//! ```text
//!   text ── lexer ──▶ words ── parser ──▶ Node ── code ──▶ instructions
//! ```
//!
//! What is there: `host`, `net`, `port`, `portrange` and `proto` with `ether`, `ip`, `arp`, `rarp`, `tcp`,
//! `udp`, `sctp` and directions; protocols by name; `vlan`, `broadcast`, `multicast`, `less`, `greater`,
//! `inbound`, `outbound`; comparisons of `proto[index:size]`, `len` and arithmetic; `and`, `or`, `not`. As
//! in libpcap, `and` and `or` bind alike from the left, a bare value takes over the words before the last
//! one, and what follows `vlan` is about what is behind the tag.
//!
//! What is not: names of hosts and networks, since nothing here asks a resolver; addresses of IPv6, though
//! `tcp`, `udp` and `port` see what it carries; and `gateway`.

mod code;
mod lexer;
mod parser;

use narrows_stack::bpf::{Context, Instruction as EngineInstruction, Program};

/// One instruction, as `struct sock_filter`: code, jumps, operand.
pub type Instruction = (u16, u8, u8, u32);

/// What is wrong with an expression, at which byte of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter, at `{near}`: {message}")]
pub struct Error {
    /// The word at which it went wrong; `end` at the end.
    pub near: String,
    pub message: String,
}

/// Compiles an expression; an empty one takes everything.
pub fn compile(expression: &str) -> Result<Vec<Instruction>, Error> {
    let words = lexer::words(expression)?;
    code::generate(parser::parse(&words)?.as_ref())
}

/// An expression that frames can be tried by.
#[derive(Clone, Debug)]
pub struct Filter(Program);

impl Filter {
    pub fn new(expression: &str) -> Result<Self, Error> {
        let program = compile(expression)?;
        let instruction = |&(code, jump_true, jump_false, operand): &Instruction| {
            EngineInstruction { code, jump_true, jump_false, operand }
        };
        let program: Vec<_> = program.iter().map(instruction).collect();
        let refused = |refused: narrows_stack::bpf::Refused| Error {
            near: "end".into(),
            message: refused.to_string(),
        };
        Program::new(&program).map(Self).map_err(refused)
    }

    /// Of a whole frame.
    pub fn takes(&self, frame: &[u8]) -> bool {
        self.0.run([frame, &[]], &Context::default()) > 0
    }
}

/// How much of a packet is loaded at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Byte,
    Half,
    Word,
}

/// Where a value is loaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    /// So many bytes from the beginning.
    At(u32),
    /// The same, behind the IPv4 header that begins at `header`.
    BehindIp { header: u32 },
}

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Equal,
    Greater,
    AtLeast,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    And,
    Or,
    Xor,
    Left,
    Right,
}

/// A number computed from a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Number {
    Constant(u32),
    /// Bytes of the frame.
    Length,
    /// What linux/filter.h calls PKTTYPE.
    PacketType,
    Load {
        base: Base,
        index: Box<Number>,
        size: Size,
    },
    Compute(Operator, Box<Number>, Box<Number>),
}

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Compare(Number, Relation, Number),
}

impl Node {
    fn and(self, other: Self) -> Self {
        Self::And(Box::new(self), Box::new(other))
    }

    fn or(self, other: Self) -> Self {
        Self::Or(Box::new(self), Box::new(other))
    }

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }

    fn equal(number: Number, value: u32) -> Self {
        Self::Compare(number, Relation::Equal, Number::Constant(value))
    }
}

impl Number {
    fn load(base: Base, at: u32, size: Size) -> Self {
        Self::Load { base, index: Box::new(Self::Constant(at)), size }
    }

    fn at(at: u32, size: Size) -> Self {
        Self::load(Base::At(0), at, size)
    }

    fn masked(self, mask: u32) -> Self {
        match mask {
            u32::MAX => self,
            mask => Self::Compute(Operator::And, Box::new(self), Box::new(Self::Constant(mask))),
        }
    }
}

#[cfg(test)]
mod tests;
