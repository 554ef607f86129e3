//! Connection tracking: which packets belong together, and what is said of them (RFC 3022, RFC 5382, RFC 4787).
//!
//! A [`Flow`](flow::Flow) is a conversation between two ends, known by its two tuples: what packets of its first
//! direction look like when they come in, and what the answers look like. Without translation the second is
//! the inverse of the first; translation is nothing else than a second tuple that is not. So a packet is
//! translated by what the other direction's tuple says, and back by the same.
//!
//! | file | what is there |
//! |---|---|
//! | `tuple` | what names a direction |
//! | `flow` | a conversation |
//! | `tcp` | the states of one of TCP's, and which segments can belong to it |
//! | `table` | all flows, by their tuples |
//! | `nat` | choosing another end |
//! | `watch` | what happened to flows, for who asked to be told |
//!
//! A flow comes into the table when its first packet has passed all rules: what is dropped leaves nothing
//! behind. Where a flow is in the packet's way is in [`crate::layer::conntrack`].
//!
//! Payload never opens anything: there are no helpers for protocols that name ports (CVE-2020-16022).

pub mod flow;
pub mod nat;
pub mod table;
mod tcp;
pub mod tuple;
pub mod watch;

pub use flow::{Connection, FlowState, Status};
pub use table::{Conntrack, FlowId, Listed};
pub use tcp::{Observed, State as TcpState};
pub use tuple::{Direction, Tuple};

#[cfg(test)]
mod tests;
