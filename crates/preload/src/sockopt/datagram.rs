//! Options of UDP, ping and raw sockets. What only raw sockets have, the daemon refuses to others.

pub mod multicast;

use super::{
    Get, PeerPart, SO_PEERPIDFD, Set, byte_or_number, is_the_anchors, is_the_anchors_to_read,
    number, size, tos, ttl, within,
};
use libc::c_int;
use narrows_client::{OptionName, PathMtuDiscovery, SocketOption, ipc::datagram::Attached};
use rustix::io::Errno;

/// `SO_TIMESTAMP` and `SO_TIMESTAMPNS` for times of 64 bits, from linux/socket.h.
const SO_TIMESTAMP_NEW: c_int = 63;
const SO_TIMESTAMPNS_NEW: c_int = 64;
/// From linux/udp.h and linux/in.h, where the C library's headers lag.
const UDP_SEGMENT: c_int = 103;
const UDP_GRO: c_int = 104;
const IP_MULTICAST_ALL: c_int = 49;
/// From linux/icmp.h, and linux/socket.h for its level.
const ICMP_FILTER: c_int = 1;
const SOL_RAW: c_int = 255;
/// `IFNAMSIZ`, the NUL included.
const INTERFACE_NAME: usize = 16;

/// Judges `setsockopt(level, name, value)`.
pub fn set(level: c_int, name: c_int, value: &[u8]) -> Result<Set, Errno> {
    match level {
        libc::SOL_SOCKET => set_socket(name, value),
        libc::IPPROTO_IP => set_ip(name, value),
        libc::SOL_UDP => set_udp(name, value),
        SOL_RAW if name == ICMP_FILTER => {
            // A shorter value leaves the rest as it is on Linux, where it is nothing at first.
            let mut types = [0; 4];
            types.iter_mut().zip(value).for_each(|(place, byte)| *place = *byte);
            Ok(Set::Daemon(SocketOption::IcmpFilter(u32::from_ne_bytes(types))))
        }
        _ => Err(Errno::NOPROTOOPT),
    }
}

fn set_socket(name: c_int, value: &[u8]) -> Result<Set, Errno> {
    let on = || number(value).map(|number| number != 0);
    let option = match name {
        libc::SO_BROADCAST => SocketOption::Broadcast(on()?),
        libc::SO_MARK => SocketOption::Mark(number(value)?.cast_unsigned()),
        libc::SO_NO_CHECK => SocketOption::NoChecksum(on()?),
        libc::SO_BINDTODEVICE => SocketOption::Device(interface(value)?),
        libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW => attach(Attached::TIMESTAMP, on()?),
        libc::SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW => attach(Attached::TIMESTAMP_NS, on()?),
        libc::SO_REUSEADDR => SocketOption::ReuseAddress(on()?),
        libc::SO_REUSEPORT => SocketOption::ReusePort(on()?),
        libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => SocketOption::SendBuffer(size(value)?),
        libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => SocketOption::ReceiveBuffer(size(value)?),
        // What only streams know of is taken, and changes nothing.
        libc::SO_KEEPALIVE | libc::SO_LINGER => {
            number(value)?;
            return Ok(Set::Hint);
        }
        libc::SO_ATTACH_FILTER => return Ok(Set::AttachFilter),
        libc::SO_DETACH_FILTER => return Ok(Set::DetachFilter),
        // Kept, as on Linux without a queueing discipline that would pace datagrams.
        libc::SO_MAX_PACING_RATE => return Ok(Set::Kernel),
        name if is_the_anchors(name) => return Ok(Set::Kernel),
        _ => return Err(Errno::NOPROTOOPT),
    };
    Ok(Set::Daemon(option))
}

fn set_ip(name: c_int, value: &[u8]) -> Result<Set, Errno> {
    let on = || byte_or_number(value).map(|number| number != 0);
    let option = match name {
        libc::IP_TTL => SocketOption::TimeToLive(ttl(value)?),
        libc::IP_TOS => SocketOption::TypeOfService(tos(value)?),
        libc::IP_MTU_DISCOVER => SocketOption::PathMtuDiscovery(discovery(value)?),
        libc::IP_RECVERR => SocketOption::ReceiveErrors(on()?),
        libc::IP_PKTINFO => attach(Attached::PACKET_INFO, on()?),
        libc::IP_RECVTTL => attach(Attached::TTL, on()?),
        libc::IP_RECVTOS => attach(Attached::TOS, on()?),
        libc::IP_MULTICAST_TTL => SocketOption::MulticastTtl(multicast_ttl(value)?),
        libc::IP_MULTICAST_LOOP => SocketOption::MulticastLoop(on()?),
        IP_MULTICAST_ALL => SocketOption::MulticastAll(within(number(value)?, 0..=1)? != 0),
        libc::IP_MULTICAST_IF => SocketOption::MulticastInterface(multicast::interface(value)?),
        libc::IP_HDRINCL => SocketOption::HeaderIncluded(on()?),
        libc::IP_OPTIONS => SocketOption::IpOptions(value.to_vec()),
        libc::IP_RECVOPTS => attach(Attached::OPTIONS, on()?),
        libc::IP_RETOPTS => attach(Attached::RETURN_OPTIONS, on()?),
        libc::IP_BIND_ADDRESS_NO_PORT => {
            number(value)?;
            return Ok(Set::Hint);
        }
        name => return multicast::membership(name, value),
    };
    Ok(Set::Daemon(option))
}

fn set_udp(name: c_int, value: &[u8]) -> Result<Set, Errno> {
    let option = match name {
        UDP_SEGMENT => {
            let size = within(number(value)?, 0..=c_int::from(u16::MAX))?;
            SocketOption::SegmentSize(u16::try_from(size).map_err(|_| Errno::INVAL)?)
        }
        UDP_GRO => SocketOption::Coalesce(number(value)? != 0),
        _ => return Err(Errno::NOPROTOOPT),
    };
    Ok(Set::Daemon(option))
}

/// IP_MULTICAST_TTL; -1 is the default.
fn multicast_ttl(value: &[u8]) -> Result<u8, Errno> {
    match byte_or_number(value)? {
        -1 => Ok(1),
        ttl => u8::try_from(ttl).map_err(|_| Errno::INVAL),
    }
}

fn attach(fields: Attached, on: bool) -> SocketOption {
    SocketOption::Attach { fields: fields.bits(), on }
}

/// A name up to a NUL or the end, no longer than Linux looks; empty: any interface.
fn interface(value: &[u8]) -> Result<String, Errno> {
    let name = value.get(..INTERFACE_NAME - 1).unwrap_or(value);
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(name.to_vec()).map_err(|_| Errno::NODEV)
}

fn discovery(value: &[u8]) -> Result<PathMtuDiscovery, Errno> {
    Ok(match byte_or_number(value)? {
        libc::IP_PMTUDISC_DONT => PathMtuDiscovery::Dont,
        libc::IP_PMTUDISC_WANT => PathMtuDiscovery::Want,
        libc::IP_PMTUDISC_DO => PathMtuDiscovery::Do,
        libc::IP_PMTUDISC_PROBE => PathMtuDiscovery::Probe,
        libc::IP_PMTUDISC_INTERFACE => PathMtuDiscovery::Interface,
        libc::IP_PMTUDISC_OMIT => PathMtuDiscovery::Omit,
        _ => return Err(Errno::INVAL),
    })
}

/// Judges `getsockopt(level, name)`.
pub fn get(level: c_int, name: c_int) -> Result<Get, Errno> {
    Ok(match (level, name) {
        (libc::SOL_SOCKET, name) => return get_socket(name),
        (libc::IPPROTO_IP, libc::IP_TTL) => Get::Daemon(OptionName::TimeToLive),
        (libc::IPPROTO_IP, libc::IP_TOS) => Get::Daemon(OptionName::TypeOfService),
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER) => Get::Daemon(OptionName::PathMtuDiscovery),
        (libc::IPPROTO_IP, libc::IP_MTU) => Get::Daemon(OptionName::PathMtu),
        (libc::IPPROTO_IP, libc::IP_RECVERR) => Get::Daemon(OptionName::ReceiveErrors),
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => Get::Attached(Attached::PACKET_INFO),
        (libc::IPPROTO_IP, libc::IP_RECVTTL) => Get::Attached(Attached::TTL),
        (libc::IPPROTO_IP, libc::IP_RECVTOS) => Get::Attached(Attached::TOS),
        (libc::IPPROTO_IP, libc::IP_RECVOPTS) => Get::Attached(Attached::OPTIONS),
        (libc::IPPROTO_IP, libc::IP_RETOPTS) => Get::Attached(Attached::RETURN_OPTIONS),
        (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT) => Get::Number(0),
        (libc::IPPROTO_IP, libc::IP_MULTICAST_TTL) => Get::Daemon(OptionName::MulticastTtl),
        (libc::IPPROTO_IP, libc::IP_MULTICAST_LOOP) => Get::Daemon(OptionName::MulticastLoop),
        (libc::IPPROTO_IP, IP_MULTICAST_ALL) => Get::Daemon(OptionName::MulticastAll),
        (libc::IPPROTO_IP, libc::IP_MULTICAST_IF) => Get::Daemon(OptionName::MulticastInterface),
        (libc::IPPROTO_IP, libc::IP_OPTIONS) => Get::Daemon(OptionName::IpOptions),
        (libc::IPPROTO_IP, libc::IP_HDRINCL) => Get::Daemon(OptionName::HeaderIncluded),
        (SOL_RAW, ICMP_FILTER) => Get::Daemon(OptionName::IcmpFilter),
        (libc::SOL_UDP, UDP_SEGMENT) => Get::Daemon(OptionName::SegmentSize),
        (libc::SOL_UDP, UDP_GRO) => Get::Daemon(OptionName::Coalesce),
        (libc::IPPROTO_IP | libc::SOL_UDP, _) => return Err(Errno::NOPROTOOPT),
        _ => return Err(Errno::OPNOTSUPP),
    })
}

fn get_socket(name: c_int) -> Result<Get, Errno> {
    Ok(match name {
        libc::SO_ERROR => Get::Error,
        libc::SO_TYPE => Get::Daemon(OptionName::Kind),
        libc::SO_DOMAIN => Get::Number(libc::AF_INET),
        libc::SO_PROTOCOL => Get::Protocol,
        libc::SO_ACCEPTCONN | libc::SO_KEEPALIVE => Get::Number(0),
        libc::SO_BROADCAST => Get::Daemon(OptionName::Broadcast),
        libc::SO_MARK => Get::Daemon(OptionName::Mark),
        libc::SO_NO_CHECK => Get::Daemon(OptionName::NoChecksum),
        libc::SO_BINDTODEVICE => Get::Daemon(OptionName::Device),
        libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW => Get::Attached(Attached::TIMESTAMP),
        libc::SO_TIMESTAMPNS | SO_TIMESTAMPNS_NEW => Get::Attached(Attached::TIMESTAMP_NS),
        libc::SO_REUSEADDR => Get::Daemon(OptionName::ReuseAddress),
        libc::SO_REUSEPORT => Get::Daemon(OptionName::ReusePort),
        libc::SO_SNDBUF => Get::Daemon(OptionName::SendBuffer),
        libc::SO_RCVBUF => Get::Daemon(OptionName::ReceiveBuffer),
        libc::SO_LINGER => Get::Daemon(OptionName::Linger),
        libc::SO_PEERCRED => Get::Peer(PeerPart::Credentials),
        libc::SO_PEERGROUPS => Get::Peer(PeerPart::Groups),
        SO_PEERPIDFD => Get::Peer(PeerPart::Process),
        libc::SO_MAX_PACING_RATE => Get::Kernel,
        name if is_the_anchors_to_read(name) => Get::Kernel,
        _ => return Err(Errno::NOPROTOOPT),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_linux_does() {
        let int = |value: c_int| value.to_ne_bytes();
        let daemon = |option| Ok(Set::Daemon(option));
        use libc::*;
        for (level, name, value, meaning) in [
            (IPPROTO_IP, IP_TTL, &int(5)[..], daemon(SocketOption::TimeToLive(5))),
            (IPPROTO_IP, IP_TTL, &[5], daemon(SocketOption::TimeToLive(5))),
            (IPPROTO_IP, IP_TTL, &int(-1), daemon(SocketOption::TimeToLive(64))),
            (IPPROTO_IP, IP_TTL, &int(0), Err(Errno::INVAL)),
            (IPPROTO_IP, IP_TTL, &int(256), Err(Errno::INVAL)),
            (IPPROTO_IP, IP_TTL, &[], Err(Errno::INVAL)),
            (IPPROTO_IP, IP_TOS, &int(0x1ff), daemon(SocketOption::TypeOfService(0xff))),
            (IPPROTO_IP, IP_MTU_DISCOVER, &int(6), Err(Errno::INVAL)),
            (IPPROTO_IP, IP_PKTINFO, &int(1), daemon(attach(Attached::PACKET_INFO, true))),
            (IPPROTO_IP, IP_PKTINFO, &[0], daemon(attach(Attached::PACKET_INFO, false))),
            (SOL_SOCKET, SO_BROADCAST, &int(2), daemon(SocketOption::Broadcast(true))),
            (SOL_SOCKET, SO_BROADCAST, &[1], Err(Errno::INVAL)),
            (SOL_SOCKET, SO_BINDTODEVICE, b"eth0\0x", daemon(SocketOption::Device("eth0".into()))),
            (SOL_SOCKET, SO_BINDTODEVICE, b"", daemon(SocketOption::Device(String::new()))),
            (SOL_SOCKET, SO_KEEPALIVE, &int(1), Ok(Set::Hint)),
            (SOL_UDP, UDP_SEGMENT, &int(1400), daemon(SocketOption::SegmentSize(1400))),
            (SOL_UDP, UDP_SEGMENT, &int(70_000), Err(Errno::INVAL)),
            (IPPROTO_IP, IP_MULTICAST_TTL, &[0], daemon(SocketOption::MulticastTtl(0))),
            (IPPROTO_IP, IP_MULTICAST_TTL, &int(-1), daemon(SocketOption::MulticastTtl(1))),
            (IPPROTO_IP, IP_MULTICAST_TTL, &int(256), Err(Errno::INVAL)),
            (IPPROTO_IP, IP_MULTICAST_ALL, &int(2), Err(Errno::INVAL)),
            (IPPROTO_TCP, TCP_NODELAY, &int(1), Err(Errno::NOPROTOOPT)),
        ] {
            assert_eq!(set(level, name, value), meaning, "{level} {name} {value:?}");
        }
    }

    #[test]
    fn what_can_be_set_can_be_asked_for() {
        use libc::*;
        for (level, name) in [
            (SOL_SOCKET, SO_BROADCAST),
            (SOL_SOCKET, SO_REUSEADDR),
            (SOL_SOCKET, SO_REUSEPORT),
            (SOL_SOCKET, SO_RCVBUF),
            (SOL_SOCKET, SO_TIMESTAMP),
            (SOL_SOCKET, SO_TIMESTAMPNS),
            (IPPROTO_IP, IP_TTL),
            (IPPROTO_IP, IP_TOS),
            (IPPROTO_IP, IP_PKTINFO),
            (IPPROTO_IP, IP_RECVTTL),
            (IPPROTO_IP, IP_RECVTOS),
            (IPPROTO_IP, IP_RECVERR),
            (IPPROTO_IP, IP_MTU_DISCOVER),
            (SOL_UDP, UDP_SEGMENT),
            (SOL_UDP, UDP_GRO),
            (IPPROTO_IP, IP_HDRINCL),
            (IPPROTO_IP, IP_OPTIONS),
            (SOL_RAW, ICMP_FILTER),
        ] {
            assert!(set(level, name, &1_i32.to_ne_bytes()).is_ok(), "{level} {name}");
            assert!(get(level, name).is_ok(), "{level} {name}");
        }
        assert_eq!(get(libc::IPPROTO_TCP, libc::TCP_NODELAY), Err(Errno::OPNOTSUPP));
    }
}
