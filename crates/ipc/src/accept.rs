//! What a listener's anchor carries: one record of fixed size for each accepted connection, with
//! that connection's anchor attached.
//!
//! For each record that it takes, a program sends one byte the other way: so the daemon knows which
//! connections nobody has when the listener is closed.
//!
//! The kernel never joins two records that carry descriptors into one read, so of several
//! threads or processes that accept, each gets whole records.

use crate::codec::{self, Malformed};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
};

/// An accepted connection's two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptRecord {
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

impl AcceptRecord {
    /// Bytes of a record; two IPv6 addresses and room to grow.
    pub const LEN: usize = 64;

    /// The record's bytes, padded with zeros.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let fits = codec::encode(self, &mut bytes).is_ok();
        debug_assert!(fits, "two addresses take at most 40 bytes");
        bytes
    }

    /// Reads a record; what follows the addresses is padding.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, Malformed> {
        postcard::take_from_bytes(bytes).map(|(record, _padding)| record).map_err(|_| Malformed)
    }

    /// Sends the record with the connection's `anchor` over the daemon's end of a listener's
    /// pair. Never blocks: `WouldBlock` when as many wait there as fit.
    pub fn send(&self, listener: BorrowedFd<'_>, anchor: BorrowedFd<'_>) -> io::Result<()> {
        let bytes = self.encode();
        let anchors = [anchor];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let pushed = control.push(SendAncillaryMessage::ScmRights(&anchors));
        debug_assert!(pushed, "the space is for one descriptor");
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = rustix::io::retry_on_intr(|| {
            sendmsg(listener.as_fd(), &[IoSlice::new(&bytes)], &mut control, flags)
        })?;
        // A stream socket takes so short a packet whole or not at all.
        if sent == Self::LEN { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_trip() {
        for (peer, local) in [
            ("10.77.0.1:40000", "10.77.0.2:80"),
            ("0.0.0.0:0", "255.255.255.255:65535"),
            ("[2001:db8::1]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1"),
        ] {
            let record =
                AcceptRecord { peer: peer.parse().unwrap(), local: local.parse().unwrap() };
            assert_eq!(AcceptRecord::decode(&record.encode()), Ok(record));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        assert_eq!(AcceptRecord::decode(&[0xff; AcceptRecord::LEN]), Err(Malformed));
    }
}
