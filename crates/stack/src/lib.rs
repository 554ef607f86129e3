//! The Narrows protocol engine.
//!
//! A [`Shard`] is a whole TCP/IP host without a single system call: frames, requests and the time
//! go in; frames, events and the next deadline come out. It is deterministic: the same inputs and
//! the same seed give the same outputs.
//!
//! | module | what is there |
//! |---|---|
//! | [`shard`] | the whole public API |
//! | [`layer`] | code that runs per packet, from `ethernet` up to `tcp` |
//! | [`table`] | state with one invariant each |
//! | [`tcp`] | one TCP connection; knows no interface and no table |
//! | [`filter`] | rules about what may pass |
//! | [`conntrack`] | which packets belong together, and their translation |
//! | [`dhcp`] | one interface's lease; knows no interface and no table |
//! | [`bpf`] | filters that programs attach to sockets |

#![forbid(unsafe_code)]

pub mod bpf;
pub mod config;
pub mod conntrack;
pub mod counters;
pub mod dhcp;
pub mod event;
pub mod filter;
pub(crate) mod layer;
pub mod random;
mod remedy;
pub mod request;
pub mod shard;
pub mod table;
pub mod tcp;
pub mod time;

pub use config::Config;
pub use event::{Event, Readiness};
pub use request::{Error, Reply, Request, SocketId};
pub use shard::{Holding, LocalPeer, Shard, Sink};
pub use table::interface::InterfaceId;
pub use time::Instant;
