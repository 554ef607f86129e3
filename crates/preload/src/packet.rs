//! Packet sockets (packet(7)): anchors whose records are frames behind a header.
//!
//! Sending, receiving, addresses and options are here in safe code; [`ring`] has the memory that
//! libpcap reads frames from.
//!
//! Where this differs from Linux: a fan-out group has no program that chooses, hardware's clocks are not asked,
//! and there is no transmit ring (PACKET_TX_RING fails with ENOPROTOOPT, as on kernels built without). It saves
//! a system call a frame in the kernel; here each frame is a record on the anchor all the same, so a program
//! that falls back to send(2), as they do, loses nothing.

pub mod option;
pub mod ring;

use crate::{control_message::Messages, reached, session::with, sockaddr::Name};
use narrows_client::{
    Error,
    ipc::{
        Reply, Request,
        datagram::{self, Attached},
        packet::{Header, PacketOption, PacketState},
        see::Stage,
    },
};
use rustix::io::Errno;
use std::{os::fd::BorrowedFd, sync::OnceLock};

/// `sizeof(struct sockaddr_ll)`: family, protocol, interface, kind of link and of packet, length and
/// address.
pub const ADDRESS: usize = 20;
/// Those without an address of a station.
const SHORT_ADDRESS: usize = 12;

/// One request about a packet socket, of whose reply `take` says whether it is the right one.
fn ask<T>(
    anchor: BorrowedFd<'_>,
    request: &Request,
    take: impl Fn(Reply) -> Option<T>,
) -> Result<T, Errno> {
    with(|session| {
        let (reply, _) = session.exchange(request, Some(anchor))?;
        take(reply).ok_or(Error::UnexpectedAnswer)
    })
}

fn done(reply: Reply) -> Option<()> {
    matches!(reply, Reply::Done).then_some(())
}

/// bind(2): protocol 0 leaves the one that the socket has.
pub fn bind(anchor: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let address = parse(address)?;
    reached::forget_all();
    let request = Request::BindPacket { interface: address.interface, protocol: address.protocol };
    ask(anchor, &request, done)
}

pub fn set(anchor: BorrowedFd<'_>, option: PacketOption) -> Result<(), Errno> {
    ask(anchor, &Request::SetPacket(option), done)
}

pub fn state(anchor: BorrowedFd<'_>) -> Result<PacketState, Errno> {
    ask(anchor, &Request::PacketState, |reply| match reply {
        Reply::PacketState(state) => Some(state),
        _ => None,
    })
}

/// PACKET_STATISTICS: frames that the filter took, and those lost of them.
pub fn statistics(anchor: BorrowedFd<'_>) -> Result<(u32, u32), Errno> {
    ask(anchor, &Request::PacketStatistics, |reply| match reply {
        Reply::PacketStatistics { frames, lost } => Some((frames, lost)),
        _ => None,
    })
}

/// getsockname(2): what the socket is bound to.
pub fn name(anchor: BorrowedFd<'_>) -> Result<Name, Errno> {
    let state = state(anchor)?;
    let header = Header {
        protocol: state.protocol,
        interface: state.interface,
        hardware: if state.interface == 0 { 0 } else { state.hardware },
        station: (state.interface != 0).then_some(state.mac),
        ..Header::default()
    };
    Ok(Name::new(&encode(&header)))
}

/// What a program says of where a frame is to go, before the header of its record.
pub fn destination(address: &[u8]) -> Result<Header, Errno> {
    parse(address)
}

/// Would the kernel refuse such a frame at once? Asked once for each interface, and again for frames
/// that are too short for a header, or longer than those before.
pub fn may_send(
    anchor: BorrowedFd<'_>,
    cookie: u64,
    header: &Header,
    length: usize,
) -> Result<(), Errno> {
    let to = datagram::Header {
        attached: Attached::PACKET_INFO,
        interface: header.interface,
        ..datagram::Header::default()
    };
    if length < LINK_HEADER || !reached::knows(cookie, &to, length) {
        let longest = with(|session| session.reach(anchor, &to, length))?;
        reached::remember(cookie, &to, longest);
    }
    Ok(())
}

/// Of Ethernet: two addresses and a type.
const LINK_HEADER: usize = 14;

fn parse(address: &[u8]) -> Result<Header, Errno> {
    let (bytes, rest) = address.split_first_chunk::<SHORT_ADDRESS>().ok_or(Errno::INVAL)?;
    let [f0, f1, p0, p1, i0, i1, i2, i3, _, _, _, length] = *bytes;
    if u16::from_ne_bytes([f0, f1]) != libc::AF_PACKET as u16 {
        return Err(Errno::INVAL);
    }
    Ok(Header {
        protocol: u16::from_be_bytes([p0, p1]),
        interface: u32::from_ne_bytes([i0, i1, i2, i3]),
        station: rest.first_chunk().copied().filter(|_| length == 6),
        ..Header::default()
    })
}

/// `struct sockaddr_ll`.
pub fn encode(header: &Header) -> [u8; ADDRESS] {
    let mut bytes = [0; ADDRESS];
    bytes[..2].copy_from_slice(&(libc::AF_PACKET as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&header.protocol.to_be_bytes());
    bytes[4..8].copy_from_slice(&header.interface.to_ne_bytes());
    bytes[8..10].copy_from_slice(&header.hardware.to_ne_bytes());
    bytes[10] = header.kind;
    if let Some(station) = header.station {
        bytes[11] = 6;
        bytes[12..18].copy_from_slice(&station);
    }
    bytes
}

/// The control messages that a program asked for with each frame; `snapped`: bytes that it gets.
pub fn messages(header: &Header, snapped: usize) -> Messages {
    let stage = Some(header.stage).filter(|stage| *stage != Stage::Receive);
    let tapped = stage.map(|stage| seen_at(stage, &reason(header.reason)));
    Messages::of_frame(header, &auxiliary(header, snapped), tapped.as_deref())
}

/// Where a tap saw a frame, as the bit by which it asked for the stage; and why it ended there.
fn seen_at(stage: Stage, reason: &str) -> Vec<u8> {
    let bit = 1_u32 << (stage as u8).saturating_sub(1);
    [&bit.to_ne_bytes()[..], reason.as_bytes()].concat()
}

/// The name of what a frame ended for: asked for once, since they are the daemon's for as long as it runs.
fn reason(number: u16) -> String {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let Some(at) = usize::from(number).checked_sub(1) else { return String::new() };
    let ask = || {
        with(|session| match session.exchange(&Request::DropReasons, None)? {
            (Reply::Names(names), _) => Ok(names),
            _ => Err(Error::UnexpectedAnswer),
        })
    };
    let names = match NAMES.get() {
        Some(names) => names,
        None => match ask() {
            Ok(names) => NAMES.get_or_init(|| names),
            Err(_) => return String::new(),
        },
    };
    names.get(at).cloned().unwrap_or_default()
}

/// `TP_STATUS_…` of linux/if_packet.h.
pub const STATUS_USER: u32 = 1;
const STATUS_VLAN: u32 = 1 << 4 | 1 << 6;
const STATUS_CHECKSUM_VALID: u32 = 1 << 7;

pub fn status(header: &Header) -> u32 {
    let tagged = if header.vlan.is_some() { STATUS_VLAN } else { 0 };
    STATUS_USER | tagged | if header.verified { STATUS_CHECKSUM_VALID } else { 0 }
}

/// `struct tpacket_auxdata`: status, both lengths, both offsets, and the tag.
fn auxiliary(header: &Header, snapped: usize) -> [u8; 20] {
    let mut bytes = [0; 20];
    let snapped = u32::try_from(snapped).unwrap_or(u32::MAX);
    let (protocol, control) = header.vlan.unwrap_or_default();
    let numbers = [status(header), header.length, snapped];
    bytes[..12].copy_from_slice(&numbers.map(u32::to_ne_bytes).concat());
    let halves = [0, header.network, control, protocol];
    bytes[12..].copy_from_slice(&halves.map(u16::to_ne_bytes).concat());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_trip() {
        let header = Header {
            kind: 4,
            protocol: 0x0806,
            interface: 3,
            hardware: 1,
            station: Some([2, 3, 4, 5, 6, 7]),
            ..Header::default()
        };
        let bytes = encode(&header);
        assert_eq!(bytes, [17, 0, 8, 6, 3, 0, 0, 0, 1, 0, 4, 6, 2, 3, 4, 5, 6, 7, 0, 0]);
        let expected = Header { kind: 0, hardware: 0, ..header };
        assert_eq!(parse(&bytes), Ok(expected));
        assert_eq!(parse(&bytes[..12]), Ok(Header { station: None, ..expected }));
        assert_eq!(parse(&bytes[..11]), Err(Errno::INVAL));
        let mut other = bytes;
        other[0] = 2;
        assert_eq!(parse(&other), Err(Errno::INVAL));
    }

    #[test]
    fn auxiliary_data_tells_of_the_tag() {
        let header = Header {
            vlan: Some((0x8100, 7)),
            verified: true,
            length: 100,
            network: 14,
            ..Header::default()
        };
        let bytes = auxiliary(&header, 60);
        assert_eq!(bytes[..4], 0xd1_u32.to_ne_bytes());
        assert_eq!(bytes[4..12], [100_u32, 60].map(u32::to_ne_bytes).concat());
        assert_eq!(bytes[12..], [0_u16, 14, 7, 0x8100].map(u16::to_ne_bytes).concat());
    }
}
