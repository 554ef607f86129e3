//! What a call says of the bytes it moves: `read(3, ..., 100)`, `sendmsg(3, {msg_iov(2)=[…]}, 0)`.

use super::{Fault, calls::Arguments, script::Expression};

/// One call that moves bytes, in whichever form it is written.
pub(super) struct Transfer<'a> {
    /// Of each buffer, in order.
    pub lengths: Vec<usize>,
    pub flags: Vec<&'a str>,
    /// Of recvmsg(): what the call should find.
    pub control: Option<&'a [Expression]>,
    pub message_flags: Option<Vec<&'a str>>,
    /// A buffer is a pointer to nowhere.
    pub fault: bool,
}

impl<'a> Transfer<'a> {
    pub(super) fn parse(arguments: &Arguments<'a>) -> Result<Self, Fault> {
        match arguments.call.name.as_str() {
            "readv" | "writev" => Ok(Self::plain(vectors(arguments, 1)?, Vec::new())),
            "sendmsg" | "recvmsg" => Self::message(arguments),
            _ => {
                let flags = match arguments.get(3) {
                    Some(_) => arguments.words(3)?,
                    None => Vec::new(),
                };
                let length = usize::try_from(arguments.number(2)?).unwrap_or(0);
                let fault = arguments.is_null(1);
                Ok(Self { fault, ..Self::plain(vec![length], flags) })
            }
        }
    }

    fn plain(lengths: Vec<usize>, flags: Vec<&'a str>) -> Self {
        Self { lengths, flags, control: None, message_flags: None, fault: false }
    }

    fn message(arguments: &Arguments<'a>) -> Result<Self, Fault> {
        let Some(Expression::Record(fields)) = arguments.get(1) else {
            return Err(arguments.syntax(1, "a message in braces"));
        };
        let vectors = field(fields, "msg_iov").and_then(list);
        let wrong = || arguments.syntax(1, "a message with msg_iov(n)=[{..., length}, …]");
        let lengths = vectors.ok_or_else(wrong)?.iter().map(length).collect::<Option<Vec<_>>>();
        let mut transfer = Self::plain(lengths.ok_or_else(wrong)?, arguments.words(2)?);
        transfer.control = field(fields, "msg_control").and_then(list);
        transfer.message_flags = field(fields, "msg_flags").map(names);
        Ok(transfer)
    }

    pub(super) fn length(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub(super) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// The first flag that is none of these.
    pub(super) fn other_than(&self, known: &[&str]) -> Option<&'a str> {
        self.flags.iter().copied().find(|flag| !known.contains(flag))
    }
}

/// `[{..., 100}, {..., 200}]`
fn vectors(arguments: &Arguments<'_>, index: usize) -> Result<Vec<usize>, Fault> {
    let lengths = arguments.list(index)?.iter().map(length).collect::<Option<Vec<_>>>();
    lengths.ok_or_else(|| arguments.syntax(index, "a list of {..., length}"))
}

fn length(vector: &Expression) -> Option<usize> {
    match vector {
        Expression::Record(parts) => match parts.as_slice() {
            [_, Expression::Number(length)] => usize::try_from(*length).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The value of `name=…` in a record.
pub(super) fn field<'a>(fields: &'a [Expression], name: &str) -> Option<&'a Expression> {
    fields.iter().find_map(|field| match field {
        Expression::Field(known, value) if known == name => Some(&**value),
        _ => None,
    })
}

pub(super) fn list(expression: &Expression) -> Option<&[Expression]> {
    match expression {
        Expression::List(list) => Some(list),
        _ => None,
    }
}

/// Names with `|` between; a number is none.
pub(super) fn names(expression: &Expression) -> Vec<&str> {
    match expression {
        Expression::Or(parts) => parts.iter().flat_map(names).collect(),
        Expression::Word(word) => vec![word.as_str()],
        _ => Vec::new(),
    }
}
