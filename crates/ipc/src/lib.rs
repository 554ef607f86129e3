//! Messages between the Narrows daemon and programs: what they are, how they are written, and the
//! packets (with descriptors) that carry them over a Unix socket.
//!
//! A session is one `SOCK_SEQPACKET` connection to the daemon. Its first packet is a [`Hello`],
//! answered by a [`Welcome`]; then each [`Request`] is answered by one [`Answer`], in order.
//! Programs use an [`Endpoint`] blocking, the daemon uses its own non-blocking.

#![forbid(unsafe_code)]

pub mod accept;
pub mod change;
pub mod codec;
pub mod conntrack;
pub mod datagram;
pub mod error;
pub mod group;
pub mod inspect;
pub mod link;
pub mod listener;
pub mod message;
pub mod packet;
pub mod path;
pub mod policy;
pub mod route;
pub mod see;
pub mod transport;
mod words;
pub mod zone;

pub use accept::AcceptRecord;
pub use error::Error;
pub use listener::{Credentials, Listener};
pub use message::{Answer, Hello, Reply, Request, VERSION, Welcome};
pub use path::socket_path;
pub use transport::{Endpoint, TransportError};
