//! Packet sockets: what programs ask of them, and what their anchors carry: a `SOCK_SEQPACKET` pair, on
//! which each record is a [`Header`] of fixed size and then a frame.
//!
//! The header, in the machine's byte order but for the Ethernet types:
//!
//! | bytes | |
//! |---|---|
//! | 0 | 2: a frame |
//! | 1 | zero |
//! | 2 | to whom the frame was sent, as linux/if_packet.h numbers it |
//! | 3 | 1: the transport's checksum is right; 2: a tag was taken off |
//! | 4 – 7 | index of the interface; 0 from a program: the one that the socket is bound to |
//! | 8 – 9 | Ethernet type; 0 from a program: the socket's |
//! | 10 – 11 | kind of link, as ARPHRD_… |
//! | 12 – 15 | Ethernet type and control information of the tag |
//! | 16 – 22 | a station's address behind its length: who sent it, or who is to get it |
//! | 23 | zero |
//! | 24 – 27 | bytes of the whole frame, of which the filter may have taken fewer |
//! | 28 – 29 | where the network header begins |
//! | 30 | where on its way a tap saw the frame: 1 behind the filter, 2 whole, 3 before it is sent, 4 at its end |
//! | 31 | zero |
//! | 32 – 33 | why it ended: the number of a reason, from 1 on; else 0 |
//! | 34 – 35 | which of the optional fields count, as in [`crate::datagram::Attached`] |
//! | 36 – 47 | zero |
//! | 48 – 55 | when it was seen: nanoseconds since 1970 |
//! | 56 – 95 | zero |

use crate::{codec::Malformed, datagram::Attached, message::Owner, see::Stage};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One instruction of a filter, as `struct sock_filter`.
pub type Instruction = (u16, u8, u8, u32);

/// One thing to set on a packet socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PacketOption {
    Filter(Option<Vec<Instruction>>),
    IgnoreOutgoing(bool),
    VnetHeader(bool),
    /// PACKET_ADD_MEMBERSHIP and the other; `group` for one multicast address.
    Member {
        interface: u32,
        appetite: Appetite,
        joined: bool,
    },
    Fanout {
        group: u16,
        mode: FanoutMode,
        rollover: bool,
        unused: bool,
    },
    /// Incoming frames that are the socket's alone, in place of its earlier claim; `None`: no more.
    /// `InUse`: they overlap somebody else's.
    Claim(Option<FrameMatch>),
    /// Hears of frames at these stages of their way, and no more as they pass interfaces; none: as it did.
    /// `InvalidArgument` of a socket that shares or claims, and of [`Stage::Receive`].
    Tap(Vec<Stage>),
}

/// Which frames that come in by an interface a socket claims, or a question is about; what is not said may
/// be anything. What asks about a packet is about IPv4, what asks about ports is about TCP and UDP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameMatch {
    /// By its number.
    pub interface: u32,
    pub ether_type: Option<u16>,
    pub protocol: Option<u8>,
    pub source: Option<(IpAddr, u8)>,
    pub destination: Option<(IpAddr, u8)>,
    /// First and last.
    pub source_ports: Option<(u16, u16)>,
    pub destination_ports: Option<(u16, u16)>,
}

/// One of those who get such a frame, or see to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakerRow {
    /// `claim`, `packet`, `filter`, `tap`, `raw`, `socket`, `stack`.
    pub stage: String,
    /// What becomes of the frame there.
    pub action: String,
    /// Whose socket it is; `None`: the daemon itself.
    pub owner: Option<Owner>,
}

/// What a socket wants an interface to let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Appetite {
    Group([u8; 6]),
    AllGroups,
    Everything,
}

/// Numbered as PACKET_FANOUT_… are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FanoutMode {
    Hash = 0,
    RoundRobin,
    Cpu,
    Rollover,
    Random,
}

/// What a packet socket hears of, and is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketState {
    /// 0: all.
    pub interface: u32,
    pub protocol: u16,
    pub mac: [u8; 6],
    /// ARPHRD_…
    pub hardware: u16,
    pub cooked: bool,
    pub ignore_outgoing: bool,
    pub vnet_header: bool,
    pub fanout: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub attached: Attached,
    pub kind: u8,
    pub verified: bool,
    /// Ethernet type and control information.
    pub vlan: Option<(u16, u16)>,
    pub interface: u32,
    pub protocol: u16,
    pub hardware: u16,
    pub station: Option<[u8; 6]>,
    pub length: u32,
    pub network: u16,
    pub seen: u64,
    /// Where on its way a tap saw it; of other sockets [`Stage::Receive`].
    pub stage: Stage,
    /// At [`Stage::Drop`] the number of a reason, from 1 on; else 0.
    pub reason: u16,
}

const FRAME: u8 = 2;
const VERIFIED: u8 = 1;
const TAGGED: u8 = 2;

impl Header {
    /// Bytes before each frame: as many as before a datagram.
    pub const LEN: usize = crate::datagram::Header::LEN;

    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let verified = if self.verified { VERIFIED } else { 0 };
        let flags = verified | if self.vlan.is_some() { TAGGED } else { 0 };
        bytes[..4].copy_from_slice(&[FRAME, 0, self.kind, flags]);
        bytes[4..8].copy_from_slice(&self.interface.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.protocol.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.hardware.to_ne_bytes());
        let (tag, control) = self.vlan.unwrap_or_default();
        bytes[12..14].copy_from_slice(&tag.to_be_bytes());
        bytes[14..16].copy_from_slice(&control.to_ne_bytes());
        if let Some(station) = self.station {
            bytes[16] = 6;
            bytes[17..23].copy_from_slice(&station);
        }
        bytes[24..28].copy_from_slice(&self.length.to_ne_bytes());
        bytes[28..30].copy_from_slice(&self.network.to_ne_bytes());
        bytes[30] = self.stage as u8;
        bytes[32..34].copy_from_slice(&self.reason.to_ne_bytes());
        bytes[34..36].copy_from_slice(&self.attached.bits().to_ne_bytes());
        bytes[48..56].copy_from_slice(&self.seen.to_ne_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, Malformed> {
        let [content, 0, kind, flags, rest @ ..] = *bytes else { return Err(Malformed) };
        let [i0, i1, i2, i3, p0, p1, h0, h1, t0, t1, c0, c1, rest @ ..] = rest;
        let [station_len, s0, s1, s2, s3, s4, s5, _, l0, l1, l2, l3, n0, n1, rest @ ..] = rest;
        let [stage, 0, r0, r1, a0, a1, rest @ ..] = rest else { return Err(Malformed) };
        let (zeros, rest) = rest.split_at(12);
        let (seen, end) = rest.split_first_chunk().ok_or(Malformed)?;
        if content != FRAME || flags & !(VERIFIED | TAGGED) != 0 {
            return Err(Malformed);
        }
        if zeros.iter().chain(end).any(|byte| *byte != 0) {
            return Err(Malformed);
        }
        let tag = (u16::from_be_bytes([t0, t1]), u16::from_ne_bytes([c0, c1]));
        Ok(Self {
            attached: Attached::from_bits(u16::from_ne_bytes([a0, a1])).ok_or(Malformed)?,
            kind,
            verified: flags & VERIFIED != 0,
            vlan: (flags & TAGGED != 0).then_some(tag),
            interface: u32::from_ne_bytes([i0, i1, i2, i3]),
            protocol: u16::from_be_bytes([p0, p1]),
            hardware: u16::from_ne_bytes([h0, h1]),
            station: match station_len {
                0 => None,
                6 => Some([s0, s1, s2, s3, s4, s5]),
                _ => return Err(Malformed),
            },
            length: u32::from_ne_bytes([l0, l1, l2, l3]),
            network: u16::from_ne_bytes([n0, n1]),
            seen: u64::from_ne_bytes(*seen),
            stage: *Stage::ALL.get(usize::from(stage)).ok_or(Malformed)?,
            reason: u16::from_ne_bytes([r0, r1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_trip() {
        let full = Header {
            attached: Attached::AUXILIARY | Attached::TIMESTAMP_NS,
            kind: 4,
            verified: true,
            vlan: Some((0x88a8, 0x2007)),
            interface: 0x0102_0304,
            protocol: 0x0806,
            hardware: 772,
            station: Some([2, 3, 4, 5, 6, 7]),
            length: 70_000,
            network: 14,
            seen: u64::MAX,
            stage: Stage::Drop,
            reason: 0x0102,
        };
        for header in [full, Header::default()] {
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let good = Header::default().encode();
        for (at, value) in [
            (0, 0),
            (0, 3),
            (1, 0x80),
            (3, 4),
            (16, 5),
            (30, 5),
            (31, 1),
            (35, 0x80),
            (36, 1),
            (47, 1),
            (95, 1),
        ] {
            let mut bytes = good;
            bytes[at] = value;
            assert_eq!(Header::decode(&bytes), Err(Malformed), "byte {at}");
        }
    }
}
