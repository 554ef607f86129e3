//! Raw IP sockets (raw(7)): copies of the packets for this host, and packets that programs send.
//!
//! A packet is shown to the raw sockets of its protocol when it is whole and the filter has let it in,
//! before the transport has its turn, which it gets as if nobody had looked. Only a packet of a protocol
//! that nobody else here speaks is not answered for, if a raw socket took it. Each socket has a queue of
//! its own, and loses what doesn't fit there.
//!
//! What a program sends behind IPv4 headers of its own (IP_HDRINCL) goes where the address of the call
//! says, whatever the header does; as on Linux the total length and the checksum are always filled in, the
//! identification and the source if they are zero.
//!
//! Zones hold: a socket hears of what is for addresses that its owner may use, and sends where he is
//! admitted. A source that the program makes up may be nobody's, but neither another zone's own address
//! nor one on its links.
//!
//! Where this differs from Linux: a header that no rule of the filter could be asked about (another
//! version, a length below 20 bytes or beyond the packet) is refused with EINVAL rather than sent.
//!
//! | file | what is there |
//! |---|---|
//! | `input` | copies, and errors about what was sent |
//! | `output` | where a packet goes, and its header |
//! | `control` | what programs ask about their raw sockets |

mod control;
mod input;
mod output;

pub(crate) use control::{bind, connect, disconnect, forget, open, set_filter, set_option};
pub(crate) use input::{error, input, whole};
pub(crate) use output::{course, output, reach};

use crate::{Shard, request::SocketId, table::raw::RawSettings};

/// What only a raw socket has.
fn settings(shard: &Shard, id: SocketId) -> Option<&RawSettings> {
    shard.sockets.get(id)?.raw()
}

#[cfg(test)]
mod tests;
