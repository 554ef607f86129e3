//! The calls that set a socket up or name addresses, on anchors. Each gives what Linux would.

use crate::{
    datagram, kernel, known, netlink, reached,
    session::{self, with},
    signals, sockaddr, sockopt,
};
use narrows_client::{
    GroupInterface, MembershipChange, OptionName, Peer, SocketKind, SocketOption,
    anchor::{self, Accepted, Attempt},
    ipc::datagram::Attached,
};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd},
    net::{RecvFlags, sockopt as kernel_option},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

/// Whose business a `socket()` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Narrows {
        kind: SocketKind,
        nonblocking: bool,
        close_on_exec: bool,
    },
    /// Of rtnetlink, which the shim itself answers.
    Netlink {
        nonblocking: bool,
        close_on_exec: bool,
    },
    Kernel,
}

/// Judges `socket(domain, kind, protocol)`.
pub fn whose(domain: i32, kind: i32, protocol: i32) -> Result<Whose, Errno> {
    let nonblocking = kind & libc::SOCK_NONBLOCK != 0;
    let close_on_exec = kind & libc::SOCK_CLOEXEC != 0;
    let kind = kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
    let kind = match (domain, kind, protocol) {
        // Programs fall back to IPv4.
        (libc::AF_INET6, _, _) => return Err(Errno::AFNOSUPPORT),
        (libc::AF_INET, libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => SocketKind::Tcp,
        (libc::AF_INET, libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => SocketKind::Udp,
        (libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP) => SocketKind::Ping,
        // MPTCP, SCTP, UDP-Lite: programs fall back, or can't do without.
        (libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => {
            return Err(Errno::PROTONOSUPPORT);
        }
        (libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_DGRAM, _) => SocketKind::Packet {
            cooked: kind == libc::SOCK_DGRAM,
            // In the network's byte order, of which the kernel looks at 16 bits.
            protocol: u16::from_be(protocol as u16),
        },
        (libc::AF_INET, libc::SOCK_RAW, 0) => return Err(Errno::PROTONOSUPPORT),
        (libc::AF_INET, libc::SOCK_RAW, protocol) => {
            let protocol = u8::try_from(protocol).map_err(|_| Errno::INVAL)?;
            SocketKind::Raw { protocol }
        }
        (libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_DGRAM, libc::NETLINK_ROUTE) => {
            return Ok(Whose::Netlink { nonblocking, close_on_exec });
        }
        _ => return Ok(Whose::Kernel),
    };
    Ok(Whose::Narrows { kind, nonblocking, close_on_exec })
}

/// A new socket.
pub fn socket(kind: SocketKind, nonblocking: bool, close_on_exec: bool) -> Result<OwnedFd, Errno> {
    let anchor = with(|session| session.socket(kind))?;
    known::remember(anchor.as_fd(), kind);
    if nonblocking {
        set_nonblocking(&anchor)?;
    }
    if !close_on_exec {
        fcntl_setfd(&anchor, FdFlags::empty())?;
    }
    Ok(anchor)
}

/// A socket of rtnetlink.
pub fn netlink_socket(nonblocking: bool, close_on_exec: bool) -> Result<OwnedFd, Errno> {
    let socket = netlink::socket(nonblocking, close_on_exec)?;
    known::expect_records();
    Ok(socket)
}

pub fn bind(anchor: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let local = SocketAddr::V4(sockaddr::parse_local(address)?);
    reached::forget_all();
    with(|session| session.bind(anchor, local))
}

pub fn listen(anchor: BorrowedFd<'_>, backlog: i32) -> Result<(), Errno> {
    // As in Linux, where a negative number is a very large one; the engine has its own limit.
    let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
    with(|session| session.listen(anchor, backlog))
}

/// A listener left behind by a daemon that died polls readable without end. Programs that try
/// again at once, and many ignore what `accept` says, must not burn a core over it.
const PAUSE_WITHOUT_DAEMON: Duration = Duration::from_millis(100);

/// The next connection of a listener: its anchor and the peer. `wait` has the kernel wait for
/// one as the descriptor's flags, its timeout and signals demand; it says how many bytes are
/// there, 0 for the end.
pub fn accept(
    anchor: BorrowedFd<'_>,
    nonblocking: bool,
    close_on_exec: bool,
    wait: impl Fn() -> Result<usize, Errno>,
) -> Result<(OwnedFd, SocketAddr), Errno> {
    if !anchor::is_listening(anchor) {
        return Err(Errno::INVAL);
    }
    let mut flags = RecvFlags::DONTWAIT;
    flags.set(RecvFlags::CMSG_CLOEXEC, close_on_exec);
    loop {
        if wait()? == 0 {
            return Err(end_of_listener(anchor));
        }
        match anchor::accept(anchor, flags) {
            Ok(Accepted::Connection { anchor, record }) => {
                if nonblocking {
                    set_nonblocking(&anchor)?;
                }
                return Ok((anchor, record.peer));
            }
            // Another thread or process was faster, or the end has come: `wait` will tell.
            Ok(Accepted::End) | Err(Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Why no more connections come: shut down, unless worse has happened.
fn end_of_listener(anchor: BorrowedFd<'_>) -> Errno {
    let why = take_error(anchor).unwrap_or_else(Some).unwrap_or(Errno::INVAL);
    if why == Errno::NETDOWN {
        thread::sleep(PAUSE_WITHOUT_DAEMON);
    }
    why
}

/// As [`connect`], for bytes that are ready: if the server has given a cookie before, they leave with the SYN,
/// and there is nothing to wait for (RFC 7413).
pub fn connect_fast(
    anchor: BorrowedFd<'_>,
    address: &[u8],
    nonblocking: bool,
) -> Result<(), Errno> {
    if with(|session| session.peer_address(anchor)).is_ok() {
        return Err(Errno::ISCONN);
    }
    set_option(anchor, &SocketOption::FastOpenConnect(true))?;
    let blocking = !nonblocking && !fcntl_getfl(anchor)?.contains(OFlags::NONBLOCK);
    let connected = connect_as(anchor, address, blocking);
    if connected.is_err() && connected != Err(Errno::INPROGRESS) {
        // The next attempt is one like any other. An open connection takes this option no more, as on Linux.
        set_option(anchor, &SocketOption::FastOpenConnect(false))?;
    }
    connected
}

/// Begins to connect; a blocking socket waits for the end of it.
pub fn connect(anchor: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let blocking = !fcntl_getfl(anchor)?.contains(OFlags::NONBLOCK);
    connect_as(anchor, address, blocking)
}

fn connect_as(anchor: BorrowedFd<'_>, address: &[u8], blocking: bool) -> Result<(), Errno> {
    let remote = match sockaddr::parse_remote(address)? {
        sockaddr::Remote::Address(remote) => SocketAddr::V4(remote),
        sockaddr::Remote::Nobody => return Err(Errno::AFNOSUPPORT),
    };
    let start = || with(|session| session.start_connect(anchor, remote));
    let started = match start() {
        // Over, and the program has been told why.
        Err(Errno::CONNABORTED | Errno::NOTSOCK) if anchor::has_hung_up(anchor) => {
            renew(anchor, !blocking)?;
            start()
        }
        other => other,
    };
    match started {
        // Bytes that go with the SYN may be written at once.
        Ok(()) if !blocking => match anchor::wait_connected(anchor, Some(Duration::ZERO)) {
            Ok(Attempt::Connected) => Ok(()),
            _ => Err(Errno::INPROGRESS),
        },
        // Linux, too, waits for an attempt that is under way.
        Ok(()) | Err(Errno::ALREADY) if blocking => wait_connected(anchor),
        other => other,
    }
}

/// Connects a UDP or ping socket, or undoes that.
pub fn connect_datagrams(anchor: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    reached::forget_all();
    match sockaddr::parse_remote(address)? {
        sockaddr::Remote::Address(remote) => {
            with(|session| session.start_connect(anchor, remote.into()))
        }
        sockaddr::Remote::Nobody => with(|session| session.disconnect(anchor)),
    }
}

fn wait_connected(anchor: BorrowedFd<'_>) -> Result<(), Errno> {
    let timeout = kernel_option::socket_timeout(anchor, kernel_option::Timeout::Send)?;
    let started = Instant::now();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(started.elapsed()));
        match anchor::wait_connected(anchor, left) {
            Ok(Attempt::Connected) => return Ok(()),
            Ok(Attempt::Failed) => return Err(take_error(anchor)?.unwrap_or(Errno::CONNABORTED)),
            // The time of SO_SNDTIMEO is over; the attempt goes on.
            Ok(Attempt::Pending) => return Err(Errno::INPROGRESS),
            Err(Errno::INTR) if signals::interrupted_calls_go_on() => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// After a failed attempt Linux lets a socket try again. The anchor of such a socket is spent,
/// so another takes its number; options that were set on it are as new.
fn renew(anchor: BorrowedFd<'_>, nonblocking: bool) -> Result<(), Errno> {
    let close_on_exec = fcntl_getfd(anchor)?.contains(FdFlags::CLOEXEC);
    let new = socket(SocketKind::Tcp, nonblocking, close_on_exec)?;
    kernel::replace(anchor, new, close_on_exec)
}

pub fn local_address(anchor: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    match with(|session| session.local_address(anchor)) {
        // The daemon remembers no addresses of sockets that have failed.
        Err(errno) if is_over(anchor, errno) => Ok((Ipv4Addr::UNSPECIFIED, 0).into()),
        other => other,
    }
}

pub fn peer_address(anchor: BorrowedFd<'_>) -> Result<SocketAddr, Errno> {
    match with(|session| session.peer_address(anchor)) {
        Err(errno) if is_over(anchor, errno) => Err(Errno::NOTCONN),
        other => other,
    }
}

/// An option that the daemon keeps.
pub fn set_option(anchor: BorrowedFd<'_>, option: &SocketOption) -> Result<(), Errno> {
    if sockopt::is_always_taken(option) {
        return with(|session| session.post_option(anchor, option.clone()));
    }
    match with(|session| session.set_option(anchor, option.clone())) {
        // On a connection that has ended Linux sets options as on any, to no effect.
        Err(errno) if is_over(anchor, errno) => Ok(()),
        Err(Errno::NOPROTOOPT) if matches!(option, SocketOption::Congestion(_)) => {
            Err(Errno::NOENT)
        }
        other => other,
    }
}

/// An option of a UDP or ping socket. All are waited for: what is sent next goes by them.
pub fn set_datagram_option(anchor: BorrowedFd<'_>, option: &SocketOption) -> Result<(), Errno> {
    reached::forget_all();
    with(|session| session.set_option(anchor, option.clone()))
}

/// What a UDP socket wants to hear of a multicast group.
pub fn membership(
    anchor: BorrowedFd<'_>,
    group: Ipv4Addr,
    interface: GroupInterface,
    change: &MembershipChange,
) -> Result<(), Errno> {
    with(|session| session.membership(anchor, group, interface, change.clone()))
}

/// `SO_PEERCRED`: `struct ucred` of the process at the other end. Where that is another host, or
/// nobody, it is what Linux says of every TCP and UDP socket: process 0 and nobody's user and group. An
/// error would leave the structure as it was with programs that don't look, often all zeros: root.
pub fn peer_credentials(anchor: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let peer = peer(anchor)?.map(|peer| peer.owner);
    let fields = peer.map_or([0, u32::MAX, u32::MAX], |owner| [owner.pid, owner.uid, owner.gid]);
    Ok(fields.map(u32::to_ne_bytes).concat())
}

/// `SO_PEERGROUPS`; `ENODATA` where there is no identity, as on Linux.
pub fn peer_groups(anchor: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let groups = peer(anchor)?.ok_or(Errno::NODATA)?.groups;
    Ok(groups.into_iter().flat_map(u32::to_ne_bytes).collect())
}

/// `SO_PEERPIDFD`; `ENODATA` where there is no identity, as on Linux.
pub fn peer_process(anchor: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    with(|session| session.peer_process(anchor)).map_err(|errno| match errno {
        Errno::NOENT => Errno::NODATA,
        errno if is_over(anchor, errno) => Errno::NODATA,
        errno => errno,
    })
}

fn peer(anchor: BorrowedFd<'_>) -> Result<Option<Box<Peer>>, Errno> {
    match with(|session| session.peer(anchor)) {
        Err(errno) if is_over(anchor, errno) => Ok(None),
        other => other,
    }
}

/// Whether a UDP or ping socket tells all of `fields` with each datagram.
pub fn attached(anchor: BorrowedFd<'_>, fields: Attached) -> Result<Vec<u8>, Errno> {
    let on = match with(|session| session.option(anchor, OptionName::Attach))? {
        SocketOption::Attach { fields: set, .. } => {
            Attached::from_bits_truncate(set).contains(fields)
        }
        _ => false,
    };
    Ok(i32::from(on).to_ne_bytes().to_vec())
}

/// `SO_PROTOCOL` of a UDP, ping or raw socket.
pub fn protocol(anchor: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let number = match with(|session| session.option(anchor, OptionName::Kind))? {
        SocketOption::Kind(SocketKind::Ping) => libc::IPPROTO_ICMP,
        SocketOption::Kind(SocketKind::Raw { protocol }) => protocol.into(),
        _ => libc::IPPROTO_UDP,
    };
    Ok(number.to_ne_bytes().to_vec())
}

/// `SO_ERROR` of a UDP or ping socket: told once, and the word of it taken back.
pub fn take_datagram_error(anchor: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
    datagram::drop_any_word(anchor);
    datagram::take_error(anchor)
}

/// The bytes of an option that the daemon keeps.
pub fn option(anchor: BorrowedFd<'_>, name: OptionName) -> Result<Vec<u8>, Errno> {
    let option = match with(|session| session.option(anchor, name)) {
        Err(errno) if is_over(anchor, errno) && name == OptionName::TcpInfo => {
            SocketOption::TcpInfo(Box::default())
        }
        // TCP sends none.
        Err(Errno::NOPROTOOPT) if name == OptionName::IpOptions => {
            SocketOption::IpOptions(Vec::new())
        }
        other => other?,
    };
    Ok(sockopt::encode(&option))
}

/// `SO_ERROR`: why a connection failed or ended, told once.
pub fn take_error(anchor: BorrowedFd<'_>) -> Result<Option<Errno>, Errno> {
    // While it stands there is none, and no need to ask.
    if !anchor::has_hung_up(anchor) {
        return Ok(None);
    }
    // What the kernel says is `ECONNRESET` whatever the reason was; it, too, is told once.
    let broken = kernel_option::socket_error(anchor)?.err();
    match with(|session| session.take_error(anchor)) {
        Ok(failure) => Ok(failure.map(|error| Errno::from_raw_os_error(error.errno())).or(broken)),
        // Ended in order and forgotten since, or left behind by a daemon that died.
        Err(Errno::NOTSOCK) if session::is_current(anchor) => Ok(broken),
        Err(Errno::NOTSOCK) => Ok(Some(Errno::CONNRESET)),
        Err(errno) => Err(errno),
    }
}

/// Whether a request failed because the socket has; not for want of a daemon.
fn is_over(anchor: BorrowedFd<'_>, errno: Errno) -> bool {
    errno != Errno::NETDOWN && anchor::has_hung_up(anchor)
}

fn set_nonblocking(anchor: &OwnedFd) -> Result<(), Errno> {
    fcntl_setfl(anchor, fcntl_getfl(anchor)? | OFlags::NONBLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_ipv4_is_ours() {
        use libc::*;
        let kind_of_ours = |kind, nonblocking, close_on_exec| {
            Ok(Whose::Narrows { kind, nonblocking, close_on_exec })
        };
        let ours = |nonblocking, close| kind_of_ours(SocketKind::Tcp, nonblocking, close);
        let raw = |protocol| kind_of_ours(SocketKind::Raw { protocol }, false, false);
        for (domain, kind, protocol, whose_it_is) in [
            (AF_INET, SOCK_STREAM, 0, ours(false, false)),
            (AF_INET, SOCK_STREAM, IPPROTO_TCP, ours(false, false)),
            (AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0, ours(true, false)),
            (AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ours(true, true)),
            (AF_INET, SOCK_STREAM, IPPROTO_MPTCP, Err(Errno::PROTONOSUPPORT)),
            (AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0, kind_of_ours(SocketKind::Udp, false, true)),
            (AF_INET, SOCK_DGRAM, IPPROTO_UDP, kind_of_ours(SocketKind::Udp, false, false)),
            (AF_INET, SOCK_DGRAM, IPPROTO_ICMP, kind_of_ours(SocketKind::Ping, false, false)),
            (AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE, Err(Errno::PROTONOSUPPORT)),
            (AF_INET, SOCK_RAW, IPPROTO_ICMP, raw(1)),
            (AF_INET, SOCK_RAW, IPPROTO_RAW, raw(255)),
            (AF_INET, SOCK_RAW, 0, Err(Errno::PROTONOSUPPORT)),
            (AF_INET, SOCK_RAW, 256, Err(Errno::INVAL)),
            (AF_INET, SOCK_RAW, -1, Err(Errno::INVAL)),
            (AF_INET6, SOCK_STREAM, 0, Err(Errno::AFNOSUPPORT)),
            (AF_INET6, SOCK_DGRAM, 0, Err(Errno::AFNOSUPPORT)),
            (AF_UNIX, SOCK_STREAM, 0, Ok(Whose::Kernel)),
            (
                AF_NETLINK,
                SOCK_RAW | SOCK_CLOEXEC,
                NETLINK_ROUTE,
                Ok(Whose::Netlink { nonblocking: false, close_on_exec: true }),
            ),
            (AF_NETLINK, SOCK_RAW, NETLINK_GENERIC, Ok(Whose::Kernel)),
            (
                AF_PACKET,
                SOCK_RAW | SOCK_NONBLOCK,
                0x0300,
                kind_of_ours(SocketKind::Packet { cooked: false, protocol: 3 }, true, false),
            ),
            (
                AF_PACKET,
                SOCK_DGRAM,
                0,
                kind_of_ours(SocketKind::Packet { cooked: true, protocol: 0 }, false, false),
            ),
        ] {
            assert_eq!(whose(domain, kind, protocol), whose_it_is, "{domain} {kind} {protocol}");
        }
    }
}
