//! Files of frames: pcap and pcapng (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng).
//!
//! What is read is anybody's: no length in it is believed before it is bounded.

mod read;
mod write;

pub use read::Reader;
pub use write::{PcapngWriter, Writer};

/// LINKTYPE_ETHERNET.
const ETHERNET: u16 = 1;

/// The longest frame that files have, as tcpdump takes it.
pub const MAX_FRAME: usize = 262_144;

/// A frame in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Of the interfaces of the file, the place.
    pub interface: u32,
    /// Bytes of the whole frame, of which `bytes` may be the beginning.
    pub length: u32,
    pub bytes: Vec<u8>,
}

/// Whether a frame came in or went out, and to whom it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Unicast,
    Multicast,
    Broadcast,
    /// To another station.
    Promiscuous,
    Outgoing,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is neither a pcap nor a pcapng file")]
    UnknownFormat,
    #[error("its link type {0} is not Ethernet (1)")]
    NotEthernet(u16),
    #[error("it is broken at byte {at}: {what}")]
    Broken { at: u64, what: &'static str },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

#[cfg(test)]
mod tests;
