//! A virtual network and a virtual clock around real [`Shard`](narrows_stack::Shard)s.
//!
//! A [`Scenario`] says everything about a run: the hosts, the wire between them, what the programs
//! on the hosts do, and which hostile frames come in between; or one seed draws it all. A run is
//! deterministic, so one that fails is run again with every frame written to a pcap file.
//!
//! | module | what is there |
//! |---|---|
//! | [`scenario`] | what a run consists of; running it and reporting its failure |
//! | [`draw`] | a scenario from a seed |
//! | [`world`] | the clock, and whose turn it is |
//! | [`host`] | a shard, its device, and the programs on it |
//! | [`app`] | a program's side of one connection: a script, and its check of every byte |
//! | [`link`](mod@link) | what the wire does to frames |
//! | [`frame`] | a frame on the wire; segmentation in software |
//! | [`hostile`] | frames from somebody who means harm |
//! | [`invariant`] | what must be true of every frame, and of a world at its end |
//! | [`observer`] | what TCP may say, segment by segment |
//! | [`packetdrill`] | scripts in packetdrill's language |
//! | [`trace`] | pcap files |
//! | [`pattern`] | bytes that tell their place in a stream |

#![forbid(unsafe_code)]

pub mod app;
pub mod draw;
pub mod frame;
pub mod host;
pub mod hostile;
pub mod invariant;
pub mod link;
pub mod observer;
pub mod packetdrill;
pub mod pattern;
pub mod scenario;
pub mod trace;
pub mod world;

pub use app::{Action, Script};
pub use link::LinkSettings;
pub use scenario::{Connection, Scenario};
