//! Socket options: what a level and a number mean for an anchor.
//!
//! Four kinds. Those the engine honours go to the daemon. Those that the kernel carries out on
//! the anchor itself (timeouts of reads and writes) or that it can safely remember stay there.
//! Hints that change nothing a program could observe are taken and answered with Linux's
//! defaults. All others are unknown: `ENOPROTOOPT`.

pub mod datagram;

use crate::{sockaddr, tcp_info};
use libc::c_int;
use narrows_client::{
    GroupInterface, MembershipChange, OptionName, SocketKind, SocketOption, ipc::datagram::Attached,
};
use rustix::io::Errno;
use std::{net::Ipv4Addr, time::Duration};

/// Linux's bounds for the keepalive times, in seconds, and for the count of probes.
const KEEPALIVE_SECONDS: std::ops::RangeInclusive<i32> = 1..=32_767;
const KEEPALIVE_COUNT: std::ops::RangeInclusive<i32> = 1..=127;
/// Linux's bounds for TCP_MAXSEG.
const MAX_SEGMENT: std::ops::RangeInclusive<i32> = 88..=32_767;
/// `TCP_CA_NAME_MAX`, the NUL included.
const CONGESTION_NAME: usize = 16;

/// Numbers of options that newer kernels have for times of 64 bits; the same on all machines
/// whose C library uses them.
const SO_RCVTIMEO_NEW: c_int = 66;
const SO_SNDTIMEO_NEW: c_int = 67;
/// From asm-generic/socket.h; missing from the C library's header.
const SO_PEERPIDFD: c_int = 77;
/// From linux/tcp.h, where the C library's header lags.
const TCP_NOTSENT_LOWAT: c_int = 25;
const TCP_FASTOPEN_NO_COOKIE: c_int = 34;

/// Linux's tcp_fin_timeout.
const FIN_WAIT_2: Duration = Duration::from_secs(60);

/// What to do about a `setsockopt`.
#[derive(Debug, PartialEq, Eq)]
pub enum Set {
    Daemon(SocketOption),
    /// What a socket wants to hear of a multicast group.
    Membership {
        group: Ipv4Addr,
        interface: GroupInterface,
        change: MembershipChange,
    },
    /// A filter, to which the value points.
    AttachFilter,
    DetachFilter,
    /// The kernel does it, on the anchor.
    Kernel,
    /// Nothing needs to be done.
    Hint,
}

/// What to do about a `getsockopt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Get {
    Daemon(OptionName),
    Kernel,
    /// The pending error, taken.
    Error,
    Number(c_int),
    /// Whether all of these are told with each datagram.
    Attached(Attached),
    /// Of IP, as a number.
    Protocol,
    /// No value: of length 0.
    Empty,
    /// Who is at the other end.
    Peer(PeerPart),
}

/// What is asked of the one at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerPart {
    /// `struct ucred`; of nobody for another host, as Linux gives it for TCP.
    Credentials,
    /// Supplementary groups.
    Groups,
    /// A pidfd.
    Process,
}

/// Judges `setsockopt(level, name, value)`.
pub fn set(level: c_int, name: c_int, value: &[u8]) -> Result<Set, Errno> {
    match level {
        libc::SOL_SOCKET => set_socket(name, value),
        libc::IPPROTO_TCP => set_tcp(name, value),
        libc::IPPROTO_IP => set_ip(name, value),
        _ => Err(Errno::NOPROTOOPT),
    }
}

fn set_socket(name: c_int, value: &[u8]) -> Result<Set, Errno> {
    let option = match name {
        libc::SO_REUSEADDR => SocketOption::ReuseAddress(number(value)? != 0),
        libc::SO_REUSEPORT => SocketOption::ReusePort(number(value)? != 0),
        libc::SO_KEEPALIVE => SocketOption::KeepAlive(number(value)? != 0),
        libc::SO_SNDBUF | libc::SO_SNDBUFFORCE => SocketOption::SendBuffer(size(value)?),
        libc::SO_RCVBUF | libc::SO_RCVBUFFORCE => SocketOption::ReceiveBuffer(size(value)?),
        libc::SO_LINGER => SocketOption::Linger(linger(value)?),
        libc::SO_MARK => SocketOption::Mark(number(value)?.cast_unsigned()),
        // The kernel's flag is the mark of a listener.
        libc::SO_BROADCAST => {
            number(value)?;
            return Ok(Set::Hint);
        }
        libc::SO_MAX_PACING_RATE => SocketOption::MaxPacingRate(pacing_rate(value)?),
        libc::SO_NO_CHECK => return Ok(Set::Kernel),
        name if is_the_anchors(name) => return Ok(Set::Kernel),
        _ => return Err(Errno::NOPROTOOPT),
    };
    Ok(Set::Daemon(option))
}

/// Does the option mean the same for the anchor as for the socket it stands for?
pub fn is_the_anchors(name: c_int) -> bool {
    matches!(
        name,
        libc::SO_RCVTIMEO
            | libc::SO_SNDTIMEO
            | SO_RCVTIMEO_NEW
            | SO_SNDTIMEO_NEW
            | libc::SO_BUSY_POLL
            | libc::SO_DEBUG
            | libc::SO_DONTROUTE
            | libc::SO_INCOMING_CPU
            | libc::SO_OOBINLINE
            | libc::SO_PRIORITY
            | libc::SO_RCVLOWAT
    )
}

/// The same for what can be read, which is somewhat more.
pub fn is_the_anchors_to_read(name: c_int) -> bool {
    is_the_anchors(name)
        || matches!(name, libc::SO_COOKIE | libc::SO_INCOMING_NAPI_ID | libc::SO_SNDLOWAT)
}

fn set_tcp(name: c_int, value: &[u8]) -> Result<Set, Errno> {
    let option = match name {
        libc::TCP_NODELAY => SocketOption::NoDelay(number(value)? != 0),
        libc::TCP_CORK => SocketOption::Cork(number(value)? != 0),
        libc::TCP_KEEPIDLE => SocketOption::KeepAliveIdle(keepalive_time(value)?),
        libc::TCP_KEEPINTVL => SocketOption::KeepAliveInterval(keepalive_time(value)?),
        libc::TCP_KEEPCNT => SocketOption::KeepAliveCount(count(value)?),
        libc::TCP_MAXSEG => match number(value)? {
            // Back to what the path allows, which is where Narrows starts from.
            0 => return Ok(Set::Hint),
            bytes => {
                let bytes = within(bytes, MAX_SEGMENT)?;
                SocketOption::MaxSegment(u16::try_from(bytes).map_err(|_| Errno::INVAL)?)
            }
        },
        libc::TCP_USER_TIMEOUT => {
            let milliseconds = u64::try_from(number(value)?).map_err(|_| Errno::INVAL)?;
            let timeout = (milliseconds != 0).then(|| Duration::from_millis(milliseconds));
            SocketOption::UserTimeout(timeout)
        }
        libc::TCP_CONGESTION => SocketOption::Congestion(congestion(value)?),
        libc::TCP_SYNCNT => SocketOption::SynRetries(count(value)?),
        libc::TCP_LINGER2 => SocketOption::FinWait2(match number(value)? {
            0 => FIN_WAIT_2,
            // Linux: a negative time is none, and so is one that is too long.
            seconds => Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
        }),
        libc::TCP_DEFER_ACCEPT => SocketOption::DeferAccept(answers_in(number(value)?)),
        TCP_NOTSENT_LOWAT => SocketOption::UnsentLow(bytes_or_any(number(value)?)),
        libc::TCP_WINDOW_CLAMP => SocketOption::WindowClamp(bytes_or_any(number(value)?)),
        libc::TCP_QUICKACK => SocketOption::QuickAcks(number(value)? & 1 != 0),
        libc::TCP_FASTOPEN => {
            let backlog = u32::try_from(number(value)?).map_err(|_| Errno::INVAL)?;
            SocketOption::FastOpenBacklog(backlog)
        }
        libc::TCP_FASTOPEN_CONNECT => SocketOption::FastOpenConnect(switch(value)?),
        TCP_FASTOPEN_NO_COOKIE => SocketOption::FastOpenWithoutCookie(switch(value)?),
        _ => return Err(Errno::NOPROTOOPT),
    };
    Ok(Set::Daemon(option))
}

fn set_ip(name: c_int, value: &[u8]) -> Result<Set, Errno> {
    match name {
        libc::IP_TOS => Ok(Set::Daemon(SocketOption::TypeOfService(tos(value)?))),
        libc::IP_TTL => Ok(Set::Daemon(SocketOption::TimeToLive(ttl(value)?))),
        libc::IP_MTU_DISCOVER | libc::IP_RECVERR | libc::IP_BIND_ADDRESS_NO_PORT => Ok(Set::Hint),
        _ => Err(Errno::NOPROTOOPT),
    }
}

/// Whether the daemon can't refuse an option, so that its answer need not be waited for. Servers
/// set several of these on each connection.
pub fn is_always_taken(option: &SocketOption) -> bool {
    use SocketOption::*;
    matches!(
        option,
        ReuseAddress(_)
            | KeepAlive(_)
            | KeepAliveIdle(_)
            | KeepAliveInterval(_)
            | KeepAliveCount(_)
            | NoDelay(_)
            | Cork(_)
            | Linger(_)
            | UserTimeout(_)
    )
}

/// Judges `getsockopt(level, name)`.
pub fn get(level: c_int, name: c_int) -> Result<Get, Errno> {
    match level {
        libc::SOL_SOCKET => get_socket(name),
        libc::IPPROTO_TCP => get_tcp(name),
        libc::IPPROTO_IP => get_ip(name),
        _ => Err(Errno::NOPROTOOPT),
    }
}

fn get_socket(name: c_int) -> Result<Get, Errno> {
    Ok(match name {
        libc::SO_ERROR => Get::Error,
        libc::SO_DOMAIN => Get::Number(libc::AF_INET),
        libc::SO_PROTOCOL => Get::Number(libc::IPPROTO_TCP),
        libc::SO_ACCEPTCONN => Get::Daemon(OptionName::Listening),
        libc::SO_REUSEADDR => Get::Daemon(OptionName::ReuseAddress),
        libc::SO_REUSEPORT => Get::Daemon(OptionName::ReusePort),
        libc::SO_KEEPALIVE => Get::Daemon(OptionName::KeepAlive),
        libc::SO_SNDBUF => Get::Daemon(OptionName::SendBuffer),
        libc::SO_RCVBUF => Get::Daemon(OptionName::ReceiveBuffer),
        libc::SO_LINGER => Get::Daemon(OptionName::Linger),
        libc::SO_MARK => Get::Daemon(OptionName::Mark),
        libc::SO_MAX_PACING_RATE => Get::Daemon(OptionName::MaxPacingRate),
        libc::SO_BROADCAST => Get::Number(0),
        libc::SO_PEERCRED => Get::Peer(PeerPart::Credentials),
        libc::SO_PEERGROUPS => Get::Peer(PeerPart::Groups),
        SO_PEERPIDFD => Get::Peer(PeerPart::Process),
        libc::SO_TYPE | libc::SO_NO_CHECK => Get::Kernel,
        name if is_the_anchors_to_read(name) => Get::Kernel,
        _ => return Err(Errno::NOPROTOOPT),
    })
}

fn get_tcp(name: c_int) -> Result<Get, Errno> {
    Ok(match name {
        libc::TCP_NODELAY => Get::Daemon(OptionName::NoDelay),
        libc::TCP_CORK => Get::Daemon(OptionName::Cork),
        libc::TCP_KEEPIDLE => Get::Daemon(OptionName::KeepAliveIdle),
        libc::TCP_KEEPINTVL => Get::Daemon(OptionName::KeepAliveInterval),
        libc::TCP_KEEPCNT => Get::Daemon(OptionName::KeepAliveCount),
        libc::TCP_MAXSEG => Get::Daemon(OptionName::MaxSegment),
        libc::TCP_USER_TIMEOUT => Get::Daemon(OptionName::UserTimeout),
        libc::TCP_CONGESTION => Get::Daemon(OptionName::Congestion),
        libc::TCP_INFO => Get::Daemon(OptionName::TcpInfo),
        libc::TCP_DEFER_ACCEPT => Get::Daemon(OptionName::DeferAccept),
        libc::TCP_FASTOPEN => Get::Daemon(OptionName::FastOpenBacklog),
        libc::TCP_FASTOPEN_CONNECT => Get::Daemon(OptionName::FastOpenConnect),
        TCP_FASTOPEN_NO_COOKIE => Get::Daemon(OptionName::FastOpenWithoutCookie),
        libc::TCP_WINDOW_CLAMP => Get::Daemon(OptionName::WindowClamp),
        libc::TCP_LINGER2 => Get::Daemon(OptionName::FinWait2),
        libc::TCP_QUICKACK => Get::Daemon(OptionName::QuickAcks),
        libc::TCP_SYNCNT => Get::Daemon(OptionName::SynRetries),
        TCP_NOTSENT_LOWAT => Get::Daemon(OptionName::UnsentLow),
        _ => return Err(Errno::NOPROTOOPT),
    })
}

fn get_ip(name: c_int) -> Result<Get, Errno> {
    Ok(match name {
        libc::IP_RECVERR | libc::IP_BIND_ADDRESS_NO_PORT => Get::Number(0),
        libc::IP_TOS => Get::Daemon(OptionName::TypeOfService),
        libc::IP_TTL => Get::Daemon(OptionName::TimeToLive),
        libc::IP_MTU_DISCOVER => Get::Number(libc::IP_PMTUDISC_WANT),
        libc::IP_OPTIONS => Get::Empty,
        libc::SO_ORIGINAL_DST => Get::Daemon(OptionName::OriginalDestination),
        _ => return Err(Errno::NOPROTOOPT),
    })
}

/// An option's value as C programs read it.
pub fn encode(option: &SocketOption) -> Vec<u8> {
    let number = match option {
        SocketOption::ReuseAddress(on)
        | SocketOption::ReusePort(on)
        | SocketOption::KeepAlive(on)
        | SocketOption::NoDelay(on)
        | SocketOption::Cork(on)
        | SocketOption::QuickAcks(on)
        | SocketOption::FastOpenConnect(on)
        | SocketOption::FastOpenWithoutCookie(on)
        | SocketOption::Broadcast(on)
        | SocketOption::MulticastLoop(on)
        | SocketOption::MulticastAll(on)
        | SocketOption::ReceiveErrors(on)
        | SocketOption::Coalesce(on)
        | SocketOption::NoChecksum(on)
        | SocketOption::HeaderIncluded(on)
        | SocketOption::Attach { on, .. }
        | SocketOption::Listening(on) => c_int::from(*on),
        SocketOption::Mark(mark) | SocketOption::IcmpFilter(mark) => mark.cast_signed(),
        SocketOption::IpOptions(bytes) => return bytes.clone(),
        SocketOption::TimeToLive(byte)
        | SocketOption::TypeOfService(byte)
        | SocketOption::MulticastTtl(byte) => c_int::from(*byte),
        SocketOption::MulticastInterface(interface) => {
            let address = match interface {
                GroupInterface::Address(address) => *address,
                GroupInterface::Any | GroupInterface::Number(_) => Ipv4Addr::UNSPECIFIED,
            };
            return address.octets().to_vec();
        }
        SocketOption::PathMtuDiscovery(mode) => *mode as c_int,
        SocketOption::SegmentSize(bytes) | SocketOption::PathMtu(bytes) => c_int::from(*bytes),
        SocketOption::Kind(kind) => match kind {
            SocketKind::Tcp => libc::SOCK_STREAM,
            SocketKind::Udp | SocketKind::Ping => libc::SOCK_DGRAM,
            SocketKind::Packet { cooked: true, .. } => libc::SOCK_DGRAM,
            SocketKind::Packet { cooked: false, .. } | SocketKind::Raw { .. } => libc::SOCK_RAW,
        },
        SocketOption::OriginalDestination(address) => return sockaddr::encode(*address).to_vec(),
        SocketOption::Device(name) => return [name.as_bytes(), &[0]].concat(),
        // Linux counts its bookkeeping in, and says twice what it was told.
        SocketOption::SendBuffer(bytes) | SocketOption::ReceiveBuffer(bytes) => {
            c_int::try_from(bytes.saturating_mul(2)).unwrap_or(c_int::MAX)
        }
        SocketOption::KeepAliveIdle(time) | SocketOption::KeepAliveInterval(time) => seconds(*time),
        SocketOption::KeepAliveCount(count) | SocketOption::SynRetries(count) => {
            c_int::from(*count)
        }
        SocketOption::FinWait2(time) if time.is_zero() => -1,
        SocketOption::FinWait2(time) => seconds(*time),
        SocketOption::DeferAccept(answers) => seconds_of(*answers),
        // As Linux writes what was never set.
        SocketOption::UnsentLow(u32::MAX) | SocketOption::WindowClamp(u32::MAX) => 0,
        SocketOption::UnsentLow(bytes)
        | SocketOption::WindowClamp(bytes)
        | SocketOption::FastOpenBacklog(bytes) => c_int::try_from(*bytes).unwrap_or(c_int::MAX),
        SocketOption::MaxSegment(bytes) => c_int::from(*bytes),
        SocketOption::UserTimeout(timeout) => {
            let milliseconds = timeout.unwrap_or_default().as_millis();
            c_int::try_from(milliseconds).unwrap_or(c_int::MAX)
        }
        SocketOption::Linger(time) => {
            let on = c_int::from(time.is_some());
            let fields = [on, seconds(time.unwrap_or_default())];
            return fields.map(c_int::to_ne_bytes).concat();
        }
        // A program that asks for four bytes gets the low ones.
        SocketOption::MaxPacingRate(rate) => return rate.to_ne_bytes().to_vec(),
        SocketOption::Congestion(name) => {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(CONGESTION_NAME, 0);
            return bytes;
        }
        SocketOption::TcpInfo(info) => return tcp_info::encode(info).to_vec(),
    };
    number.to_ne_bytes().to_vec()
}

/// A count as keepalive probes and SYNs have it.
fn count(value: &[u8]) -> Result<u8, Errno> {
    u8::try_from(within(number(value)?, KEEPALIVE_COUNT)?).map_err(|_| Errno::INVAL)
}

/// 0 or 1, and nothing else.
fn switch(value: &[u8]) -> Result<bool, Errno> {
    Ok(within(number(value)?, 0..=1)? == 1)
}

/// 0, and what Linux takes for more than there is, mean any.
fn bytes_or_any(number: c_int) -> u32 {
    u32::try_from(number).ok().filter(|bytes| *bytes != 0).unwrap_or(u32::MAX)
}

/// How often a SYN-ACK is sent again in so many seconds, as Linux counts: after 1, 2, 4 … seconds, 120
/// at most.
fn answers_in(seconds: c_int) -> u8 {
    let (mut count, mut timeout, mut period) = (u8::from(seconds > 0), 1, 1);
    while seconds > period && count > 0 && count < u8::MAX {
        count += 1;
        timeout = (timeout * 2).min(120);
        period += timeout;
    }
    count
}

/// The seconds that so many are sent again in.
fn seconds_of(answers: u8) -> c_int {
    (0..c_int::from(answers)).map(|shift| (1 << shift.min(7)).min(120)).sum()
}

/// An `int`; a longer value's first bytes are one.
pub fn number(value: &[u8]) -> Result<c_int, Errno> {
    value.first_chunk().map(|bytes| c_int::from_ne_bytes(*bytes)).ok_or(Errno::INVAL)
}

/// SO_MAX_PACING_RATE: an `unsigned long`, or four bytes, of which all ones are no limit.
fn pacing_rate(value: &[u8]) -> Result<u64, Errno> {
    if let Some(bytes) = value.first_chunk() {
        return Ok(u64::from_ne_bytes(*bytes));
    }
    let rate = number(value)?.cast_unsigned();
    Ok(if rate == u32::MAX { u64::MAX } else { rate.into() })
}

/// At the level of IP Linux takes a single byte too.
fn byte_or_number(value: &[u8]) -> Result<c_int, Errno> {
    number(value).or_else(|_| value.first().map(|byte| c_int::from(*byte)).ok_or(Errno::INVAL))
}

/// IP_TTL; -1 is the default.
fn ttl(value: &[u8]) -> Result<u8, Errno> {
    match byte_or_number(value)? {
        -1 => Ok(64),
        ttl => u8::try_from(within(ttl, 1..=255)?).map_err(|_| Errno::INVAL),
    }
}

/// IP_TOS, of which Linux takes the low byte.
fn tos(value: &[u8]) -> Result<u8, Errno> {
    Ok(byte_or_number(value)? as u8)
}

/// A buffer's size: like Linux, a negative number is a very large one.
pub fn size(value: &[u8]) -> Result<u32, Errno> {
    Ok(u32::try_from(number(value)?).unwrap_or(i32::MAX as u32))
}

fn linger(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let on = number(value)?;
    let seconds = number(value.get(size_of::<c_int>()..).unwrap_or_default())?;
    // Linux takes a negative time for the longest.
    let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(i32::MAX as u64));
    Ok((on != 0).then_some(time))
}

fn keepalive_time(value: &[u8]) -> Result<Duration, Errno> {
    let seconds = within(number(value)?, KEEPALIVE_SECONDS)?;
    u64::try_from(seconds).map(Duration::from_secs).map_err(|_| Errno::INVAL)
}

/// Up to a NUL or the end, and no longer than Linux looks. A name that is not text is none that
/// exists.
fn congestion(value: &[u8]) -> Result<String, Errno> {
    if value.is_empty() {
        return Err(Errno::INVAL);
    }
    let name = value.get(..CONGESTION_NAME - 1).unwrap_or(value);
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8(name.to_vec()).map_err(|_| Errno::NOENT)
}

fn within(number: c_int, range: std::ops::RangeInclusive<c_int>) -> Result<c_int, Errno> {
    if range.contains(&number) { Ok(number) } else { Err(Errno::INVAL) }
}

fn seconds(time: Duration) -> c_int {
    c_int::try_from(time.as_secs()).unwrap_or(c_int::MAX)
}

#[cfg(test)]
mod tests;
