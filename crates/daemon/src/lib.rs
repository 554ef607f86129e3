//! The Narrows daemon: owns the network interfaces, runs the engine, and gives programs their
//! sockets.
//!
//! | module | what is there |
//! |---|---|
//! | `startup` | from the configuration to a running worker, or to an error with nothing half done |
//! | `event_loop` | one match over every source of events, and how the daemon waits |
//! | `worker` | the shard, its devices, and a turn's work in its order |
//! | `attachment` | a device and the interface it carries frames for |
//! | `farewell` | what is said to peers and servers at the end |
//! | `leases` | what DHCP granted, for the next start |
//! | `carriers` | wires that are cut, and joined again |
//! | `links` | interfaces of every kind, as configured |
//! | `principal` | who asks, by the kernel's word |
//! | `session`, `requests`, `control` | what programs and the operator ask |
//! | `anchor`, `anchors`, `pair`, `accept`, `epitaph` | the descriptors that stand for sockets |
//! | `cut_through` | connections between two programs, without a copy through the daemon |
//! | `identity` | who is at the other end of a local connection |
//! | `policy` | who may do what |
//! | [`audit`] | what a configuration file comes to, without a daemon |
//! | `quota` | what each user may take, what he has taken, and whose turn it is |
//! | `sandbox`, `keeper` | what the daemon gives up, and who keeps it |
//! | `config` | the configuration file |
//! | [`explain`] | what a daemon would do with a capture, without one |
//! | `watching` | programs that watch packets pass |
//! | `inspecting` | programs that decide about packets |
//! | `nft` | rulesets in nft(8)'s language |
//! | `reload` | what differs in it, and how to get there |

#![forbid(unsafe_code)]

mod accept;
mod anchor;
mod anchors;
mod attachment;
pub mod audit;
mod bpf;
mod carriers;
mod change;
mod clock;
mod closer;
mod config;
mod control;
mod cut_through;
mod epitaph;
mod event_loop;
pub mod explain;
mod farewell;
mod flows;
mod handshakes;
mod identity;
mod inspecting;
pub mod keeper;
mod leases;
mod links;
mod metrics;
mod nft;
mod notice;
mod options;
mod pair;
mod ping;
mod policy;
mod principal;
mod quota;
mod reload;
mod requests;
#[cfg(test)]
mod rig;
mod route;
mod rule;
mod sandbox;
mod session;
mod spin;
mod startup;
mod token;
mod watching;
mod worker;
mod zones;

pub use config::ConfigError;
pub use sandbox::system_calls;

use std::path::PathBuf;

/// How the daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file; without one: a TAP interface `narrows0`, Narrows at 10.111.0.2/24
    /// and the kernel at 10.111.0.1.
    pub config: Option<PathBuf>,
    /// Where programs reach the daemon.
    pub socket: PathBuf,
    /// The program that calls [`keeper::run`] when it is started as `PROGRAM --socket PATH keeper
    /// [--config FILE]`. With it the daemon gives up what it needs no more, unless the configuration
    /// says otherwise; without it, it keeps the rights it was started with.
    pub keeper: Option<PathBuf>,
}

/// Runs the daemon in the foreground, until SIGTERM, SIGINT or a request ends it.
///
/// Says on stderr which interfaces it has, and `narrows: ready, socket PATH` once programs can
/// open sessions. At the end every connection is reset, leases are given back, and the socket's file is
/// removed. An error
/// means that nothing was started, or that the daemon can't go on.
pub fn run(options: Options) -> anyhow::Result<()> {
    let mut daemon = startup::start(&options)?;
    let result = event_loop::run(&mut daemon.worker, &mut daemon.poll);
    farewell::say(&mut daemon.worker, &mut daemon.poll)?;
    tracing::info!("ended");
    Ok(result?)
}
