//! Rulesets in nft(8)'s language: read, kept as written, printed back, and compiled for the engine.
//!
//! ```text
//!   text ── lexer ── parser ──▶ commands ── apply ──▶ Ruleset ── compile ──▶ engine's Filter
//!                                                        └── print ──▶ text, as `nft list ruleset`
//! ```
//!
//! Commands of one text take effect together or not at all: they are applied to a copy, which is compiled
//! and swapped in whole. What isn't supported is an error that names line and word.
//!
//! | file | what is there |
//! |---|---|
//! | `lexer` | text to words, with their lines |
//! | `ast` | what a ruleset is made of |
//! | `selector` | what `ip saddr`, `tcp dport` and the others are called, and which values they have |
//! | `value` | values of each type, as written and as printed |
//! | `parser` | words to commands |
//! | `apply` | commands upon a ruleset |
//! | `compile` | a ruleset to the engine's rules |
//! | `print` | a ruleset to text |
//! | `json` | a ruleset to JSON, as `nft -j` has it |
//! | `service` | the daemon's ruleset |

mod apply;
mod ast;
mod compile;
mod json;
mod lexer;
mod parser;
mod print;
mod selector;
mod service;
mod value;

pub(crate) use ast::Ruleset;
use parser::parse;
pub(crate) use service::{Rules, answer, check, compile_for, describe, load, log, renew_ports};

/// What is wrong with a ruleset, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub(crate) struct Error {
    pub line: u32,
    pub message: String,
}

impl Error {
    pub(crate) fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

#[cfg(test)]
mod damaged;
#[cfg(test)]
mod tests;
