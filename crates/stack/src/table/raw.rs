//! Raw IP sockets (raw(7)): which there are, and what only they have. Invariant: no more than
//! [`MAX_SOCKETS`], since each costs every packet of its protocol a look.

use crate::{bpf::Program, request::SocketId, table::interface::InterfaceId};
use narrows_wire::ipv4::Protocol;

/// Raw sockets of a shard.
const MAX_SOCKETS: usize = 256;

/// What a socket of protocol 255 is for: it sends packets of every protocol, with headers of its own.
pub const EVERY_PROTOCOL: Protocol = Protocol(255);

/// Beside what it has as any datagram socket.
#[derive(Debug)]
pub struct RawSettings {
    pub protocol: Protocol,
    /// IP_HDRINCL: the program writes IPv4's header too.
    pub header_included: bool,
    /// ICMP_FILTER: a bit for each type below 32 that it does not want.
    pub icmp_filter: u32,
    /// SO_ATTACH_FILTER, which sees a packet from its IPv4 header on.
    pub filter: Option<Program>,
    /// Hears of what comes in by these alone; `None`: by any.
    pub interfaces: Option<Box<[InterfaceId]>>,
}

impl RawSettings {
    pub fn new(protocol: Protocol, interfaces: Option<Box<[InterfaceId]>>) -> Self {
        Self {
            protocol,
            header_included: protocol == EVERY_PROTOCOL,
            icmp_filter: 0,
            filter: None,
            interfaces,
        }
    }

    /// May it be told of what comes in there?
    pub fn listens_on(&self, interface: InterfaceId) -> bool {
        self.interfaces.as_ref().is_none_or(|allowed| allowed.contains(&interface))
    }

    /// Does its ICMP_FILTER keep a message of that type from it? Types above 31 it can't name.
    pub fn refuses(&self, icmp_type: u8) -> bool {
        1_u32.checked_shl(icmp_type.into()).is_some_and(|bit| self.icmp_filter & bit != 0)
    }
}

/// The raw sockets, in the order in which they were made.
#[derive(Debug, Default)]
pub struct RawSockets {
    members: Vec<(Protocol, SocketId)>,
}

impl RawSockets {
    /// Is there room for one more?
    pub fn has_room(&self) -> bool {
        self.members.len() < MAX_SOCKETS
    }

    pub fn insert(&mut self, protocol: Protocol, socket: SocketId) {
        self.members.push((protocol, socket));
    }

    pub fn remove(&mut self, socket: SocketId) {
        self.members.retain(|(_, member)| *member != socket);
    }

    /// Most of the time there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Those of a protocol.
    pub fn of(&self, protocol: Protocol) -> impl Iterator<Item = SocketId> {
        let ours = move |member: &&(Protocol, SocketId)| member.0 == protocol;
        self.members.iter().filter(ours).map(|(_, socket)| *socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_icmp_filter_names_the_types_below_32() {
        let mut raw = RawSettings::new(Protocol::ICMP, None);
        raw.icmp_filter = 1 << 8 | 1 << 31;
        let refused: Vec<u8> = (0..=255).filter(|kind| raw.refuses(*kind)).collect();
        assert_eq!(refused, [8, 31]);
    }

    #[test]
    fn sockets_are_found_by_protocol_until_they_go() {
        let socket = |slot| SocketId { slot, generation: 1 };
        let mut table = RawSockets::default();
        for (protocol, slot) in [(1, 1), (6, 2), (1, 3)] {
            table.insert(Protocol(protocol), socket(slot));
        }
        assert_eq!(table.of(Protocol::ICMP).collect::<Vec<_>>(), [socket(1), socket(3)]);
        table.remove(socket(1));
        assert_eq!(table.of(Protocol::ICMP).collect::<Vec<_>>(), [socket(3)]);
        assert_eq!(table.of(Protocol::UDP).count(), 0);
        while table.has_room() {
            table.insert(Protocol::UDP, socket(9));
        }
        assert_eq!(table.of(Protocol::UDP).count(), MAX_SOCKETS - 2);
    }
}
