//! Options of packet sockets: what a level and a number mean.

use crate::sockopt::{is_the_anchors, is_the_anchors_to_read, number, size};
use libc::c_int;
use narrows_client::{
    SocketOption,
    ipc::{
        datagram::Attached,
        packet::{Appetite, FanoutMode, FrameMatch, PacketOption},
        see::Stage,
    },
};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr};

const SOL_PACKET: c_int = 263;
const ADD_MEMBERSHIP: c_int = 1;
const DROP_MEMBERSHIP: c_int = 2;
const RX_RING: c_int = 5;
const STATISTICS: c_int = 6;
const AUXDATA: c_int = 8;
const VERSION: c_int = 10;
const HEADER_LENGTH: c_int = 11;
const RESERVE: c_int = 12;
const LOSS: c_int = 14;
const VNET_HEADER: c_int = 15;
const TIMESTAMP: c_int = 17;
const FANOUT: c_int = 18;
const QDISC_BYPASS: c_int = 20;
const IGNORE_OUTGOING: c_int = 23;
/// Of SOL_SOCKET; in asm-generic/socket.h.
const SO_TIMESTAMP_NEW: c_int = 63;
const SO_TIMESTAMPNS_NEW: c_int = 64;
/// Ancillary loads that filters may use: as many as Linux has.
const FILTER_EXTENSIONS: c_int = 64;
const SO_BPF_EXTENSIONS: c_int = 48;

/// Narrows' own level, and its options: see docs/frames.md.
pub const SOL_NARROWS: c_int = 0x4e52;
const CLAIM: c_int = 1;
pub const TAP: c_int = 2;

/// What to do about a `setsockopt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    Packet(PacketOption),
    Daemon(SocketOption),
    /// A filter, which the value points to: `struct sock_fprog`.
    Filter,
    Version(c_int),
    Reserve(u32),
    /// `struct tpacket_req`, or the longer one of version 3.
    Ring([u32; 4], u32),
    Kernel,
    Hint,
}

/// What to do about a `getsockopt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Get {
    Statistics,
    Attached(Attached),
    /// Of the version whose number the value holds.
    HeaderLength,
    Version,
    IgnoreOutgoing,
    VnetHeader,
    Fanout,
    Protocol,
    Type,
    Error,
    Daemon(narrows_client::OptionName),
    Number(c_int),
    Kernel,
}

pub fn set(level: c_int, name: c_int, value: &[u8]) -> Result<Set, Errno> {
    match level {
        SOL_PACKET => set_packet(name, value),
        libc::SOL_SOCKET => set_socket(name, value),
        SOL_NARROWS if name == CLAIM => claim(value).map(Set::Packet),
        SOL_NARROWS if name == TAP => tap(number(value)?).map(Set::Packet),
        _ => Err(Errno::NOPROTOOPT),
    }
}

/// A bit for each stage but the first.
fn tap(bits: c_int) -> Result<PacketOption, Errno> {
    let later = Stage::ALL.iter().skip(1).enumerate();
    if bits >> (Stage::ALL.len() - 1) != 0 {
        return Err(Errno::INVAL);
    }
    let chosen = later.filter(|(at, _)| bits & 1 << at != 0);
    Ok(PacketOption::Tap(chosen.map(|(_, stage)| *stage).collect()))
}

/// No bytes: nothing any more. Else interface, Ethernet type, protocol, a zero, source and destination with
/// the lengths of their prefixes, and the ports of both; zeros where it doesn't matter.
fn claim(value: &[u8]) -> Result<PacketOption, Errno> {
    if value.is_empty() {
        return Ok(PacketOption::Claim(None));
    }
    let bytes: &[u8; 28] = value.try_into().map_err(|_| Errno::INVAL)?;
    let [i0, i1, i2, i3, e0, e1, protocol, 0, rest @ ..] = *bytes else {
        return Err(Errno::INVAL);
    };
    let [s0, s1, s2, s3, d0, d1, d2, d3, source_len, destination_len, 0, 0, ports @ ..] = rest
    else {
        return Err(Errno::INVAL);
    };
    let given = |number: u16| (number != 0).then_some(number);
    let prefix = |octets: [u8; 4], length: u8| {
        (length != 0).then(|| (IpAddr::V4(Ipv4Addr::from(octets)), length))
    };
    let port = |at: usize| {
        let bytes = ports.get(at..).and_then(|rest| rest.first_chunk().copied());
        bytes.map_or(0, u16::from_ne_bytes)
    };
    let range = |first: u16, last: u16| (last != 0).then_some((first, last));
    Ok(PacketOption::Claim(Some(FrameMatch {
        interface: u32::from_ne_bytes([i0, i1, i2, i3]),
        ether_type: given(u16::from_ne_bytes([e0, e1])),
        protocol: (protocol != 0).then_some(protocol),
        source: prefix([s0, s1, s2, s3], source_len),
        destination: prefix([d0, d1, d2, d3], destination_len),
        source_ports: range(port(0), port(2)),
        destination_ports: range(port(4), port(6)),
    })))
}

fn set_packet(name: c_int, value: &[u8]) -> Result<Set, Errno> {
    let on = || number(value).map(|number| number != 0);
    Ok(match name {
        ADD_MEMBERSHIP | DROP_MEMBERSHIP => member(value, name == ADD_MEMBERSHIP)?,
        RX_RING => ring(value)?,
        AUXDATA => {
            let fields = Attached::AUXILIARY.bits();
            Set::Daemon(SocketOption::Attach { fields, on: on()? })
        }
        VERSION => match number(value)? {
            version @ 0..=2 => Set::Version(version),
            _ => return Err(Errno::INVAL),
        },
        RESERVE => Set::Reserve(number(value)?.cast_unsigned()),
        VNET_HEADER => Set::Packet(PacketOption::VnetHeader(on()?)),
        IGNORE_OUTGOING => match number(value)? {
            value @ 0..=1 => Set::Packet(PacketOption::IgnoreOutgoing(value != 0)),
            _ => return Err(Errno::INVAL),
        },
        FANOUT => fanout(number(value)?.cast_unsigned())?,
        // What concerns queues and clocks of devices changes nothing here.
        LOSS | TIMESTAMP | QDISC_BYPASS => {
            number(value)?;
            Set::Hint
        }
        _ => return Err(Errno::NOPROTOOPT),
    })
}

/// `struct packet_mreq`: interface, type, length and address.
fn member(value: &[u8], joined: bool) -> Result<Set, Errno> {
    let (bytes, _) = value.split_first_chunk::<16>().ok_or(Errno::INVAL)?;
    let [i0, i1, i2, i3, t0, t1, _, _, a0, a1, a2, a3, a4, a5, _, _] = *bytes;
    let interface = u32::from_ne_bytes([i0, i1, i2, i3]);
    let appetite = match u16::from_ne_bytes([t0, t1]) {
        0 | 3 => Appetite::Group([a0, a1, a2, a3, a4, a5]),
        1 => Appetite::Everything,
        2 => Appetite::AllGroups,
        _ => return Err(Errno::INVAL),
    };
    Ok(Set::Packet(PacketOption::Member { interface, appetite, joined }))
}

/// PACKET_FANOUT: a group's number, and the way in which it shares with its flags.
fn fanout(value: u32) -> Result<Set, Errno> {
    const ROLLOVER: u16 = 0x1000;
    const UNUSED: u16 = 0x2000;
    const IGNORE_OUTGOING: u16 = 0x4000;
    const DEFRAGMENT: u16 = 0x8000;
    let (group, kind) = (value as u16, (value >> 16) as u16);
    let flags = kind & 0xff00;
    if flags & !(ROLLOVER | UNUSED | IGNORE_OUTGOING | DEFRAGMENT) != 0 {
        return Err(Errno::INVAL);
    }
    let mode = match kind & 0xff {
        0 => FanoutMode::Hash,
        1 => FanoutMode::RoundRobin,
        2 => FanoutMode::Cpu,
        3 => FanoutMode::Rollover,
        4 => FanoutMode::Random,
        // All arrive by the one queue that there is.
        5 => FanoutMode::Cpu,
        _ => return Err(Errno::INVAL),
    };
    let (rollover, unused) = (flags & ROLLOVER != 0, flags & UNUSED != 0);
    Ok(Set::Packet(PacketOption::Fanout { group, mode, rollover, unused }))
}

/// `struct tpacket_req`: size and number of blocks, of frames; and of version 3 the private area.
fn ring(value: &[u8]) -> Result<Set, Errno> {
    let field = |at: usize| number(value.get(at..).unwrap_or_default()).map(c_int::cast_unsigned);
    let request = [field(0)?, field(4)?, field(8)?, field(12)?];
    Ok(Set::Ring(request, field(20).unwrap_or(0)))
}

fn set_socket(name: c_int, value: &[u8]) -> Result<Set, Errno> {
    let attach = |fields: Attached| -> Result<Set, Errno> {
        let on = number(value)? != 0;
        Ok(Set::Daemon(SocketOption::Attach { fields: fields.bits(), on }))
    };
    Ok(match name {
        libc::SO_ATTACH_FILTER => Set::Filter,
        libc::SO_DETACH_FILTER => Set::Packet(PacketOption::Filter(None)),
        libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW => attach(Attached::TIMESTAMP)?,
        libc::SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW => attach(Attached::TIMESTAMP_NS)?,
        libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => {
            Set::Daemon(SocketOption::SendBuffer(size(value)?))
        }
        libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => {
            Set::Daemon(SocketOption::ReceiveBuffer(size(value)?))
        }
        libc::SO_REUSEADDR | libc::SO_BROADCAST | libc::SO_KEEPALIVE => {
            number(value)?;
            Set::Hint
        }
        name if is_the_anchors(name) => Set::Kernel,
        _ => return Err(Errno::NOPROTOOPT),
    })
}

pub fn get(level: c_int, name: c_int) -> Result<Get, Errno> {
    use narrows_client::OptionName;
    Ok(match (level, name) {
        (SOL_PACKET, STATISTICS) => Get::Statistics,
        (SOL_PACKET, AUXDATA) => Get::Attached(Attached::AUXILIARY),
        (SOL_PACKET, HEADER_LENGTH) => Get::HeaderLength,
        (SOL_PACKET, VERSION) => Get::Version,
        (SOL_PACKET, IGNORE_OUTGOING) => Get::IgnoreOutgoing,
        (SOL_PACKET, VNET_HEADER) => Get::VnetHeader,
        (SOL_PACKET, FANOUT) => Get::Fanout,
        (SOL_PACKET, LOSS | TIMESTAMP | QDISC_BYPASS) => Get::Number(0),
        (libc::SOL_SOCKET, libc::SO_ERROR) => Get::Error,
        (libc::SOL_SOCKET, libc::SO_TYPE) => Get::Type,
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => Get::Number(libc::AF_PACKET),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => Get::Protocol,
        (libc::SOL_SOCKET, SO_BPF_EXTENSIONS) => Get::Number(FILTER_EXTENSIONS),
        (libc::SOL_SOCKET, libc::SO_RCVBUF) => Get::Daemon(OptionName::ReceiveBuffer),
        (libc::SOL_SOCKET, libc::SO_SNDBUF) => Get::Daemon(OptionName::SendBuffer),
        (libc::SOL_SOCKET, libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW) => {
            Get::Attached(Attached::TIMESTAMP)
        }
        (libc::SOL_SOCKET, libc::SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW) => {
            Get::Attached(Attached::TIMESTAMP_NS)
        }
        (libc::SOL_SOCKET, libc::SO_REUSEADDR | libc::SO_BROADCAST | libc::SO_ACCEPTCONN) => {
            Get::Number(0)
        }
        (libc::SOL_SOCKET, name) if is_the_anchors_to_read(name) => Get::Kernel,
        _ => return Err(Errno::NOPROTOOPT),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_read_as_documented() {
        let mut value = [0; 28];
        value[..4].copy_from_slice(&2_u32.to_ne_bytes());
        value[6] = 17;
        value[12..16].copy_from_slice(&[10, 0, 0, 2]);
        value[17] = 32;
        value[24..26].copy_from_slice(&53_u16.to_ne_bytes());
        value[26..28].copy_from_slice(&54_u16.to_ne_bytes());
        let frame = FrameMatch {
            interface: 2,
            protocol: Some(17),
            destination: Some((Ipv4Addr::new(10, 0, 0, 2).into(), 32)),
            destination_ports: Some((53, 54)),
            ..FrameMatch::default()
        };
        let read = |value: &[u8]| set(SOL_NARROWS, CLAIM, value);
        assert_eq!(read(&value), Ok(Set::Packet(PacketOption::Claim(Some(frame)))));
        assert_eq!(read(&[]), Ok(Set::Packet(PacketOption::Claim(None))));
        assert_eq!(read(&value[..27]), Err(Errno::INVAL));
        for zero in [7, 18, 19] {
            let mut wrong = value;
            wrong[zero] = 1;
            assert_eq!(read(&wrong), Err(Errno::INVAL), "byte {zero}");
        }
    }

    #[test]
    fn a_tap_is_a_bit_for_each_stage() {
        let read = |bits: c_int| set(SOL_NARROWS, TAP, &bits.to_ne_bytes());
        let tap = |stages: &[Stage]| Ok(Set::Packet(PacketOption::Tap(stages.to_vec())));
        assert_eq!(read(0), tap(&[]));
        assert_eq!(read(1), tap(&[Stage::Filter]));
        assert_eq!(read(10), tap(&[Stage::Reassembled, Stage::Drop]));
        assert_eq!(read(15), tap(&Stage::ALL[1..]));
        assert_eq!((read(16), read(-1)), (Err(Errno::INVAL), Err(Errno::INVAL)));
    }

    #[test]
    fn values_are_read_as_linux_does() {
        let int = |value: c_int| value.to_ne_bytes().to_vec();
        let member = |interface, appetite, joined| {
            Ok(Set::Packet(PacketOption::Member { interface, appetite, joined }))
        };
        let fanout = |group, mode, rollover, unused| {
            Ok(Set::Packet(PacketOption::Fanout { group, mode, rollover, unused }))
        };
        let mreq = |kind: u16| {
            [&2_u32.to_ne_bytes()[..], &kind.to_ne_bytes(), &[6, 0, 1, 0, 0x5e, 0, 0, 1, 0, 0]]
                .concat()
        };
        let group = Appetite::Group([1, 0, 0x5e, 0, 0, 1]);
        for (name, value, expected) in [
            (ADD_MEMBERSHIP, mreq(0), member(2, group, true)),
            (ADD_MEMBERSHIP, mreq(1), member(2, Appetite::Everything, true)),
            (DROP_MEMBERSHIP, mreq(2), member(2, Appetite::AllGroups, false)),
            (ADD_MEMBERSHIP, mreq(4), Err(Errno::INVAL)),
            (ADD_MEMBERSHIP, mreq(1)[..15].to_vec(), Err(Errno::INVAL)),
            (FANOUT, int(0x0001_0007), fanout(7, FanoutMode::RoundRobin, false, false)),
            (FANOUT, int(0x3000_0000), fanout(0, FanoutMode::Hash, true, true)),
            (FANOUT, int(0x0006_0007), Err(Errno::INVAL)),
            (FANOUT, int(0x0100_0007), Err(Errno::INVAL)),
            (IGNORE_OUTGOING, int(2), Err(Errno::INVAL)),
            (VERSION, int(2), Ok(Set::Version(2))),
            (VERSION, int(3), Err(Errno::INVAL)),
            (RX_RING, int(4096), Err(Errno::INVAL)),
            (13, int(1), Err(Errno::NOPROTOOPT)),
        ] {
            assert_eq!(set(SOL_PACKET, name, &value), expected, "{name} {value:?}");
        }
    }
}
