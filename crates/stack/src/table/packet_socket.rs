//! Packet sockets: copies of frames that wait for a program (packet(7)). Invariant: the bytes held
//! never exceed the limit; what comes past it is lost to this socket alone, and counted there.

use crate::{
    bpf::Program,
    counters::DropReason,
    request::SocketId,
    table::{claim::Claims, fanout::Fanouts, interface::InterfaceId, watch::Stages},
    time::Instant,
};
use narrows_wire::address::MacAddr;
use std::collections::VecDeque;

/// Every protocol: ETH_P_ALL.
pub const EVERY_PROTOCOL: u16 = 3;

/// To whom a frame was sent, numbered as in linux/if_packet.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketType {
    Host = 0,
    Broadcast,
    Multicast,
    /// Another station.
    OtherHost,
    /// By this host.
    Outgoing,
}

/// A frame as a packet socket is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameCopy {
    pub interface: InterfaceId,
    pub kind: PacketType,
    /// The Ethernet type, behind a tag.
    pub protocol: u16,
    pub source: MacAddr,
    /// The outermost tag, which is not among the bytes: its Ethernet type and control information.
    pub vlan: Option<(u16, u16)>,
    /// Where the network header begins in the bytes.
    pub network: u16,
    /// Bytes of the whole frame, of which the filter may have taken fewer.
    pub length: u32,
    /// Of several segments in one frame, the payload bytes of each but the last.
    pub segment_size: Option<u16>,
    /// The transport's checksum is right.
    pub verified: bool,
    pub seen: Instant,
    /// Where on its way a tap saw it; empty: as it passed the interface.
    pub stage: Stages,
    /// At [`Stages::DROP`].
    pub reason: Option<DropReason>,
    pub bytes: Box<[u8]>,
}

/// What a copy costs beside its bytes: about the size of [`FrameCopy`] and of its allocation's
/// bookkeeping.
const OVERHEAD: usize = 128;

#[derive(Debug)]
pub struct FrameQueue {
    frames: VecDeque<FrameCopy>,
    bytes: usize,
    limit: usize,
    seen: u32,
    lost: u32,
    lost_ever: u64,
}

impl FrameQueue {
    /// `limit`: bytes of memory that waiting copies may take, their bookkeeping included.
    pub fn new(limit: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, limit, seen: 0, lost: 0, lost_ever: 0 }
    }

    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Is there room for a frame of that length?
    pub fn has_room(&self, length: usize) -> bool {
        self.bytes.saturating_add(length).saturating_add(OVERHEAD) <= self.limit
    }

    /// Takes a copy in if there is room for it, and counts it either way.
    pub fn push(&mut self, frame: FrameCopy) -> bool {
        self.seen = self.seen.saturating_add(1);
        let fits = self.has_room(frame.bytes.len());
        if fits {
            self.bytes += frame.bytes.len() + OVERHEAD;
            self.frames.push_back(frame);
        } else {
            self.lost = self.lost.saturating_add(1);
            self.lost_ever += 1;
        }
        fits
    }

    pub fn pop(&mut self) -> Option<FrameCopy> {
        let frame = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(frame.bytes.len() + OVERHEAD);
        Some(frame)
    }

    /// Frames that found no room, ever.
    pub fn lost_ever(&self) -> u64 {
        self.lost_ever
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames that the filter took, and those of them that were lost, since it was last asked.
    pub fn take_statistics(&mut self) -> (u32, u32) {
        (core::mem::take(&mut self.seen), core::mem::take(&mut self.lost))
    }
}

/// What a socket wants an interface to let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appetite {
    Group(MacAddr),
    AllGroups,
    Everything,
}

#[derive(Debug)]
pub struct PacketSocket {
    /// SOCK_DGRAM: without link headers.
    pub cooked: bool,
    /// An Ethernet type, or [`EVERY_PROTOCOL`]; 0: hears nothing.
    pub protocol: u16,
    /// `None`: hears of all.
    pub interface: Option<InterfaceId>,
    pub filter: Option<Program>,
    pub ignore_outgoing: bool,
    /// Copies begin with a virtio-net header, and so does what is sent.
    pub vnet_header: bool,
    pub memberships: Vec<(InterfaceId, Appetite)>,
    /// Where it hears of frames instead of as they pass interfaces; empty: nowhere else.
    pub tap: Stages,
    /// Hears also of frames that another one has claimed.
    pub sees_claimed: bool,
    /// Shares with others of that number.
    pub fanout: Option<u16>,
    pub queue: FrameQueue,
}

impl PacketSocket {
    pub fn new(cooked: bool, limit: usize) -> Self {
        Self {
            cooked,
            protocol: 0,
            interface: None,
            filter: None,
            ignore_outgoing: false,
            vnet_header: false,
            memberships: Vec::new(),
            tap: Stages::empty(),
            sees_claimed: false,
            fanout: None,
            queue: FrameQueue::new(limit),
        }
    }

    /// Does the socket hear of such frames, but for its filter? A tap of one protocol hears of those that go
    /// out too: it has asked for their stage.
    pub fn hears(&self, interface: InterfaceId, protocol: u16, kind: PacketType) -> bool {
        (self.protocol == EVERY_PROTOCOL || self.protocol == protocol)
            && self.protocol != 0
            && self.interface.is_none_or(|bound| bound == interface)
            && !(kind == PacketType::Outgoing
                && (self.ignore_outgoing || self.protocol != EVERY_PROTOCOL && self.tap.is_empty()))
    }
}

/// Which sockets are packet sockets, in the order in which they were made.
#[derive(Debug, Default)]
pub struct PacketSockets {
    pub members: Vec<SocketId>,
    pub fanouts: Fanouts,
    /// What comes in and is one socket's alone.
    pub claims: Claims,
    /// Who is sending right now: nobody hears of his own frames.
    pub sender: Option<SocketId>,
    /// The time of the call under way, for frames on their way out.
    pub clock: Instant,
}

impl PacketSockets {
    /// Is anybody to be told of frames? Most of the time nobody is.
    #[inline]
    pub fn is_watching(&self) -> bool {
        !self.members.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> FrameCopy {
        FrameCopy {
            interface: InterfaceId(1),
            kind: PacketType::Host,
            protocol: 0x0800,
            source: MacAddr::ZERO,
            vlan: None,
            network: 14,
            length: length as u32,
            segment_size: None,
            verified: false,
            seen: Instant::ZERO,
            stage: Stages::empty(),
            reason: None,
            bytes: vec![0; length].into(),
        }
    }

    #[test]
    fn a_full_queue_loses_what_comes_and_counts_it() {
        let mut queue = FrameQueue::new(2 * (OVERHEAD + 60));
        assert_eq!([60, 60, 1].map(|length| queue.push(frame(length))), [true, true, false]);
        assert_eq!(queue.take_statistics(), (3, 1));
        assert_eq!(queue.take_statistics(), (0, 0));
        assert!(queue.pop().is_some() && queue.push(frame(60)));
        assert_eq!((queue.pop().is_some(), queue.pop().is_some(), queue.pop()), (true, true, None));
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_socket_hears_of_its_protocol_and_interface() {
        use PacketType::{Host, Outgoing};
        let mut socket = PacketSocket::new(false, 0);
        let eth = InterfaceId(1);
        assert!(!socket.hears(eth, 0x0800, Host));
        assert!(!socket.hears(eth, 0, Host));
        socket.protocol = 0x0800;
        assert!(socket.hears(eth, 0x0800, Host) && !socket.hears(eth, 0x0806, Host));
        // As on Linux, only who hears of everything hears of what is sent.
        assert!(!socket.hears(eth, 0x0800, Outgoing));
        socket.protocol = EVERY_PROTOCOL;
        assert!(socket.hears(eth, 0x0806, Host) && socket.hears(eth, 0x0800, Outgoing));
        socket.ignore_outgoing = true;
        assert!(!socket.hears(eth, 0x0800, Outgoing));
        socket.interface = Some(InterfaceId(2));
        assert!(!socket.hears(eth, 0x0800, Host) && socket.hears(InterfaceId(2), 0x0800, Host));
    }
}
