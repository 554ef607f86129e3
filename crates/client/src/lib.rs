//! Sockets of a Narrows daemon, for Rust programs, and the questions one can ask the daemon.
//!
//! ```no_run
//! use narrows_client::{Stack, TcpStream};
//! use std::io::{Read, Write};
//!
//! # fn main() -> std::io::Result<()> {
//! let stack = Stack::connect(None)?;
//! let mut stream = TcpStream::connect(&stack, "10.77.0.1:80".parse().unwrap())?;
//! stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
//! let mut page = Vec::new();
//! stream.read_to_end(&mut page)?;
//! # Ok(())
//! # }
//! ```
//!
//! A socket is an *anchor*: one end of a Unix socket pair whose other end the daemon holds. Data
//! goes through it as through any stream socket, `poll` and `epoll` work on it, and the socket
//! lives until the last copy of the descriptor is closed. A [`UdpSocket`]'s carries records, each a
//! datagram behind a header, and a [`RawSocket`]'s are packets. What an anchor can't carry (addresses of streams, options, errors)
//! goes over the [`Session`], with the anchor attached to say which socket is meant.

#![forbid(unsafe_code)]

mod admin;
pub mod anchor;
mod error;
mod inspect;
mod nft;
mod packet_socket;
mod raw_socket;
mod session;
mod socket;
mod stack;
mod tcp_listener;
mod tcp_stream;
mod udp_socket;
mod watch;

pub use admin::{PolicyReport, Pong};
pub use error::{Error, OpenError};
pub use inspect::Inspector;
pub use narrows_ipc as ipc;
pub use narrows_ipc::message::{
    GroupInterface, MembershipChange, NftOptions, OptionName, Owner, PathMtuDiscovery, Peer,
    QueuedError, SocketKind, SocketOption, TcpInfo, TcpState,
};
pub use packet_socket::PacketSocket;
pub use raw_socket::RawSocket;
pub use session::Session;
pub use stack::Stack;
pub use tcp_listener::{Incoming, TcpListener};
pub use tcp_stream::TcpStream;
pub use udp_socket::UdpSocket;
pub use watch::Watch;
