//! Who may do what: rules as the operator writes them, and the decision they lead to.
//!
//! Pure: no I/O, no clock, no users but numbers. `docs/policy.md` says the same for the operator.
//!
//! # How a decision is made
//!
//! A [`Rule`] either *grants* or *denies* one thing ([`Permit`]) to whoever fits all of its [`Who`].
//! A question is whether a [`Subject`] may do one [`Act`] in a zone:
//!
//! 1. If any rule denies it, no.
//! 2. Otherwise, if any rule grants it, yes.
//! 3. Otherwise what the [`Default`] for that kind of act says: what Linux does, if nothing else.
//!
//! So the order of rules means nothing, a grant can be added without looking for what comes before
//! it, and a denial holds whatever else is written.
//!
//! Two things are not as simple:
//!
//! - Binding the wildcard address takes what is for every address. A grant lets bind it only if it is
//!   for every address (`*`); a denial of one address denies the wildcard on the same port too.
//! - The operator (root, and the daemon's own user) can always administer: a denial can't lock out
//!   whoever would have to take it back.
//!
//! # How it is found
//!
//! Ten thousand rules cost about what ten do. [`index`] puts rules into one hash table by their whole
//! `Who` and the kind of act; a question looks there once for each combination of conditions that any
//! rule uses at all and that fits the subject. What is found is a table of prefixes by length, and in
//! each the ports as sorted spans that don't overlap.

#![forbid(unsafe_code)]

mod act;
pub mod audit;
mod decision;
mod grammar;
mod hash;
mod index;
mod network;
mod ports;
mod rule;

pub use act::{Access, Act, ActKind, Protocol, Subject};
pub use decision::{Decision, Default, Defaults, Policy, Reason, RuleId};
pub use grammar::GrammarError;
pub use network::Network;
pub use rule::{Effect, Endpoint, Medium, Origin, Permit, Rule, Who};
