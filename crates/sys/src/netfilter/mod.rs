//! A table of nftables with one ingress chain, by raw nfnetlink messages.
//!
//! The kernel's interface is a batch of netlink messages that takes effect as a whole or not at all
//! (linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h; libnftnl and nft(8) speak the same).
//! The table carries NFT_TABLE_F_OWNER: nobody else may change it, and it goes when the socket that
//! made it closes, so also when the process is killed.

mod message;

use message::{Batch, Expression};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType,
    netlink::{self, SocketAddrNetlink},
    socket_with,
};
use std::{io, os::fd::OwnedFd};

/// Which header a field's offset counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The Ethernet header, as it was on the wire: with its VLAN tag if it had one.
    Link,
    /// The header after that.
    Network,
}

/// Bytes of a frame and a value. At most 16, the size of a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub header: Header,
    pub offset: u32,
    pub value: Vec<u8>,
}

/// What is asked of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The bytes have that value.
    Equal(Field),
    /// They have another.
    Different(Field),
}

/// Frames for which all this holds are dropped.
pub type DropRule = Vec<Condition>;

/// A table of family `netdev` with one chain at an interface's ingress. It drops frames after packet
/// sockets have seen them and before the kernel's own protocols do.
pub struct IngressTable {
    /// The table lives as long as this socket.
    _socket: OwnedFd,
    name: String,
}

/// The chain's place among others at the same hook: first, so that nothing counts or tracks frames
/// that are not the kernel's.
const PRIORITY: i32 = -500;

impl IngressTable {
    /// Makes the table, in the calling thread's network namespace; its name begins with `prefix`.
    pub fn new(prefix: &str, interface: &str, rules: &[DropRule]) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::NETFILTER),
        )?;
        // Port 0: the kernel chooses one that is unique in the namespace, which makes the name so.
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        let port = SocketAddrNetlink::try_from(rustix::net::getsockname(&socket)?)?.pid();
        let name = format!("{prefix}_{port}");

        let mut batch = Batch::new();
        batch.table(&name);
        batch.ingress_chain(&name, interface, PRIORITY);
        for rule in rules {
            let checks = rule.iter().cloned().map(Expression::Check);
            batch.rule(&name, checks.chain([Expression::Drop]));
        }
        let (bytes, mut unanswered) = batch.finish();
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&socket, &bytes, SendFlags::empty(), &kernel)?;

        let mut buffer = vec![0; 8192];
        while unanswered > 0 {
            let (received, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty())?;
            let answers = buffer.get(..received).unwrap_or_default();
            unanswered = unanswered.saturating_sub(message::read_answers(answers)?);
        }
        Ok(Self { _socket: socket, name })
    }

    /// The table's name, as `nft list tables` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }
}
