//! Networks to try Narrows on: namespaces joined by a veth pair, programs in them, and peers.
//!
//! Nothing here leaves a trace: namespaces have no names, only descriptors, and go with the
//! process; programs die with the thread that started them.

#![forbid(unsafe_code)]

mod as_root;
mod daemon;
mod interrupt;
mod namespace;
pub mod netlink;
mod network;
pub mod peer;
mod ping;
mod process;

pub use as_root::as_root;
pub use daemon::Daemon;
pub use interrupt::Interrupt;
pub use namespace::{Namespace, enter_user_namespace_if_needed};
pub use network::{Network, join};
pub use ping::ping;
pub use process::{Output, Process, wait_for_listener};
