//! Why a script did not pass.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Counted from 1; 0 if it is about the whole script.
    pub line: usize,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The text can't be understood.
    Syntax(String),
    /// It asks for something that is not there; the feature's name.
    Unsupported(String),
    /// The stack did something else than the script says.
    Mismatch { expected: String, came: String },
}

impl Fault {
    pub(super) fn syntax(line: usize, message: impl Into<String>) -> Self {
        Self { line, kind: Kind::Syntax(message.into()) }
    }

    pub(super) fn unsupported(line: usize, feature: impl Into<String>) -> Self {
        Self { line, kind: Kind::Unsupported(feature.into()) }
    }

    pub(super) fn mismatch(
        line: usize,
        expected: impl Into<String>,
        came: impl Into<String>,
    ) -> Self {
        Self { line, kind: Kind::Mismatch { expected: expected.into(), came: came.into() } }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(formatter, "line {}: ", self.line)?;
        }
        match &self.kind {
            Kind::Syntax(message) => formatter.write_str(message),
            Kind::Unsupported(feature) => write!(formatter, "{feature} is not supported"),
            Kind::Mismatch { expected, came } => {
                write!(formatter, "expected {expected}, but {came}")
            }
        }
    }
}

impl std::error::Error for Fault {}
