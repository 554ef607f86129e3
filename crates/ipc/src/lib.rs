//! Messages between the Narrows daemon and programs: what they are, how they are written, and the
//! packets (with descriptors) that carry them over a Unix socket.

#![forbid(unsafe_code)]

pub mod error;
pub mod message;

pub use error::Error;
pub use message::{Answer, Hello, Reply, Request, VERSION, Welcome};
