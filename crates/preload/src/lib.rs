//! The shim that gives unmodified programs their sockets.
//!
//! `narrows run` preloads it into a program. It takes the C library's place for the calls that
//! set sockets up or name addresses: `socket(AF_INET, SOCK_STREAM, …)` asks the daemon for an
//! anchor, and the calls on that anchor become requests to the daemon. The data calls go straight
//! to the kernel, because an anchor is a real stream socket; the shim only looks at their result
//! when it is an end of the stream or a broken pipe, and puts the true error in its place.
//!
//! - An anchor is known by who made it: the kernel says whose process its other end belongs to
//!   ([`control`]). No table of descriptors is kept that `dup`, `close`, `fork` or `exec` could
//!   falsify.
//! - The session with the daemon is opened at the first need, again in a forked child, and again
//!   when the program has closed its descriptor. While it is in use no signal is delivered to the
//!   thread, so that a handler may call anything that is intercepted.
//! - UDP and ping sockets (`SOCK_DGRAM`) have anchors that keep records apart, each with a header
//!   before the datagram, so their data calls are taken too: [`datagram`]. Every data call must
//!   therefore know which kind of descriptor it is for: [`known`].
//! - Packet sockets' anchors carry frames: [`packet`], with the memory that libpcap reads them from.
//! - What programs ask about interfaces is answered about the daemon's: [`interface_request`] for the
//!   ioctls, [`netlink`] for rtnetlink, `exports::interfaces` for the C library's own functions.
//! - Raw IP sockets' anchors are those of datagrams too; each record received is a packet with its header.
//! - Files of /proc/net about interfaces, routes, neighbors and sockets are answered likewise: [`proc_net`].
//! - `AF_INET6` is refused, so that programs fall back to IPv4. Other families are untouched.
//!
//! `unsafe` is needed where pointers of the program come in and where the C library is called:
//! in `exports`, [`real`], [`signals`], [`datagram`], the ring of [`packet`] and a few lines of [`kernel`]. What calls mean is decided
//! in safe code: [`sockaddr`], [`sockopt`], [`control`], [`control_message`], [`transfer`].

mod control;
mod control_message;
mod datagram;
pub mod exports;
mod host;
mod interface_request;
mod kernel;
mod known;
mod netlink;
mod packet;
mod proc_net;
mod reached;
mod real;
mod session;
mod signals;
mod sockaddr;
mod sockopt;
mod stamp;
mod tcp_info;
mod transfer;
