//! Sockets of rtnetlink(7), by which programs such as ip(8) ask for interfaces, addresses, routes,
//! rules and neighbors. They are told of Narrows'.
//!
//! Such a socket is a Unix datagram socket that is connected to itself. What the program sends is
//! taken here, and the answer, made from the daemon's reports, is sent through the socket: so it
//! waits there for whoever has the descriptor, and polling works as on any. The socket's abstract
//! name says what it is and which netlink port it has; nothing is kept in the process, so that
//! `dup`, `fork` and `exec` need no care.
//!
//! Where this differs from the kernel: nothing is told of changes (multicast groups are joined and
//! stay silent); changing anything is refused, with a word about the command that does it; and a
//! dump longer than the socket's buffer takes is cut, and ends in ENOBUFS.

mod link;
mod message;
mod route;

use crate::{host, kernel};
use libc::c_int;
use message::{Message, Request};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind as bind_unix,
        connect as connect_unix, getsockname, send as send_unix, socket_with, sockopt,
    },
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How the names of these sockets begin: then come the port and a number that no other has.
const NAME: &str = "narrows-rtnetlink/";

/// Bytes that may wait to be read: some ten thousand routes. Where it is not permitted, as many as
/// anybody may have.
const BUFFER: usize = 4 << 20;

/// Kinds of requests between these are rtnetlink's; of four each, the third asks.
const FIRST_KIND: u16 = libc::RTM_NEWLINK;
const ASKS: u16 = 2;

/// A new socket.
pub fn socket(nonblocking: bool, close_on_exec: bool) -> Result<OwnedFd, Errno> {
    let mut flags = SocketFlags::empty();
    flags.set(SocketFlags::NONBLOCK, nonblocking);
    flags.set(SocketFlags::CLOEXEC, close_on_exec);
    // As the kernel numbers a process's first.
    named(std::process::id(), flags)
}

fn named(port: u32, flags: SocketFlags) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    if sockopt::set_socket_send_buffer_size_force(&socket, BUFFER).is_err() {
        sockopt::set_socket_send_buffer_size(&socket, BUFFER)?;
    }
    let unique = sockopt::socket_cookie(&socket)?;
    let name = format!("{NAME}{port}/{unique}");
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    bind_unix(&socket, &address)?;
    connect_unix(&socket, &address)?;
    Ok(socket)
}

/// The netlink port of one of these sockets; `None` for any other.
pub fn port(fd: BorrowedFd<'_>) -> Option<u32> {
    let address = SocketAddrUnix::try_from(getsockname(fd).ok()?).ok()?;
    let name = str::from_utf8(address.abstract_name()?).ok()?;
    name.strip_prefix(NAME)?.split('/').next()?.parse().ok()
}

/// `struct sockaddr_nl`: family, padding, port, groups.
pub fn address(port: u32) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..2].copy_from_slice(&(libc::AF_NETLINK as u16).to_ne_bytes());
    bytes[4..8].copy_from_slice(&port.to_ne_bytes());
    bytes
}

/// A program may choose its port: a socket of that name takes the number.
pub fn bind(fd: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    if address.len() < 12 || message::byte(address, 0) != libc::AF_NETLINK as u8 {
        return Err(Errno::INVAL);
    }
    let wanted = message::number(address, 4);
    if wanted == 0 || port(fd) == Some(wanted) {
        return Ok(());
    }
    let close_on_exec = rustix::io::fcntl_getfd(fd)?.contains(rustix::io::FdFlags::CLOEXEC);
    let flags = rustix::fs::fcntl_getfl(fd)?;
    let mut new = SocketFlags::CLOEXEC;
    new.set(SocketFlags::NONBLOCK, flags.contains(rustix::fs::OFlags::NONBLOCK));
    kernel::replace(fd, named(wanted, new)?, close_on_exec)
}

/// The value of an option by which programs tell the kinds of sockets apart; `None`: the socket's own.
pub fn option(level: c_int, name: c_int) -> Option<c_int> {
    match (level, name) {
        (libc::SOL_SOCKET, libc::SO_DOMAIN) => Some(libc::AF_NETLINK),
        (libc::SOL_SOCKET, libc::SO_TYPE) => Some(libc::SOCK_RAW),
        (libc::SOL_SOCKET, libc::SO_PROTOCOL) => Some(libc::NETLINK_ROUTE),
        (libc::SOL_NETLINK, _) => Some(0),
        _ => None,
    }
}

/// Whether setting an option changes nothing: netlink's own, and the buffers, which are as large as
/// may be.
pub fn keeps_option(level: c_int, name: c_int) -> bool {
    level == libc::SOL_NETLINK
        || level == libc::SOL_SOCKET
            && matches!(
                name,
                libc::SO_SNDBUF | libc::SO_RCVBUF | libc::SO_SNDBUFFORCE | libc::SO_RCVBUFFORCE
            )
}

/// What a program sends: answered at once.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    let port = port(fd).ok_or(Errno::NOTSOCK)?;
    // The kernel doubles what it was told, and counts its own bookkeeping in: about as much again.
    let limit = sockopt::socket_send_buffer_size(fd)? / 2;
    for request in message::requests(bytes) {
        for datagram in answer(&request, port, limit)? {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            send_unix(fd.as_fd(), &datagram, flags).map_err(|_| Errno::NOBUFS)?;
        }
    }
    Ok(())
}

/// The datagrams of the answer to one request; `Err` only where the daemon can't be asked.
fn answer(request: &Request<'_>, port: u32, limit: usize) -> Result<Vec<Vec<u8>>, Errno> {
    if !request.has(libc::NLM_F_REQUEST) || request.kind < FIRST_KIND {
        return Ok(Vec::new());
    }
    let refused = |errno, hint| Ok(vec![message::outcome(request, Some(errno), hint, port)]);
    if request.kind % 4 != ASKS {
        return refused(Errno::PERM, CHANGED_ELSEWHERE);
    }
    let rows = if request.is_dump() { dump(request) } else { get(request).map(|one| vec![one]) };
    match rows {
        Err(Errno::NETDOWN) => Err(Errno::NETDOWN),
        Err(Errno::OPNOTSUPP) => refused(Errno::OPNOTSUPP, NOT_REPORTED),
        Err(errno) => refused(errno, ""),
        Ok(rows) if request.is_dump() => Ok(message::dump(request, rows, port, limit)),
        Ok(rows) => {
            let mut answers: Vec<_> =
                rows.into_iter().map(|row| message::one(request, row, port)).collect();
            if request.has(libc::NLM_F_ACK) {
                answers.push(message::outcome(request, None, "", port));
            }
            Ok(answers)
        }
    }
}

const CHANGED_ELSEWHERE: &str =
    "Narrows' interfaces are changed by `narrows link`, `addr`, `route`, `rule` and `neigh`";
const NOT_REPORTED: &str = "Narrows has no report of this kind for netlink";

/// Whether the request is about IPv4, or any family.
fn is_ipv4(request: &Request<'_>) -> bool {
    matches!(i32::from(message::byte(request.body, 0)), libc::AF_UNSPEC | libc::AF_INET)
}

fn dump(request: &Request<'_>) -> Result<Vec<Message>, Errno> {
    let body = request.body;
    let links = host::links()?;
    Ok(match request.kind {
        libc::RTM_GETLINK if i32::from(message::byte(body, 0)) == libc::AF_BRIDGE => {
            return Err(Errno::OPNOTSUPP);
        }
        libc::RTM_GETLINK => links.iter().map(|row| link::row(row, &links)).collect(),
        // There is no IPv6, and so there is nothing to tell of it.
        _ if !is_ipv4(request) => Vec::new(),
        libc::RTM_GETADDR => link::addresses(&links, message::number(body, 4)),
        libc::RTM_GETROUTE if message::number(body, 8) & libc::RTM_F_CLONED != 0 => Vec::new(),
        libc::RTM_GETROUTE => {
            let routes = host::routes(route::table_asked(body))?;
            routes.iter().filter_map(|row| route::row(row, &links)).collect()
        }
        libc::RTM_GETNEIGH => {
            let rows = host::neighbors()?;
            rows.iter().filter_map(|row| route::neighbor(row, body, &links)).collect()
        }
        libc::RTM_GETRULE => host::rules()?.iter().filter_map(route::rule).collect(),
        _ => return Err(Errno::OPNOTSUPP),
    })
}

fn get(request: &Request<'_>) -> Result<Message, Errno> {
    let links = host::links()?;
    match request.kind {
        libc::RTM_GETLINK => Ok(link::row(link::find(&links, request.body)?, &links)),
        libc::RTM_GETROUTE => {
            let question = route::question(&links, request.body)?;
            let answer = host::route(&question)?;
            Ok(route::answer(&question, &answer, &links))
        }
        _ => Err(Errno::OPNOTSUPP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvFlags, recv};

    fn request(kind: u16, flags: i32) -> Vec<u8> {
        let len = 16_u32.to_ne_bytes();
        let rest = [kind.to_ne_bytes(), (flags as u16).to_ne_bytes()].concat();
        [&len[..], &rest, &7_u32.to_ne_bytes(), &0_u32.to_ne_bytes()].concat()
    }

    #[test]
    fn a_socket_is_known_by_its_name_and_has_a_port() {
        let fd = socket(true, true).expect("a socket");
        assert_eq!(port(fd.as_fd()), Some(std::process::id()));
        let copy = rustix::io::dup(&fd).expect("a copy");
        assert_eq!(port(copy.as_fd()), Some(std::process::id()));
        let other = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None);
        assert_eq!(port(other.expect("a socket").as_fd()), None);
    }

    #[test]
    fn the_program_may_choose_its_port() {
        let fd = socket(true, false).expect("a socket");
        bind(fd.as_fd(), &address(4_200_000_001)).expect("free");
        assert_eq!(port(fd.as_fd()), Some(4_200_000_001));
        bind(fd.as_fd(), &address(0)).expect("as it is");
        assert_eq!(port(fd.as_fd()), Some(4_200_000_001));
        assert_eq!(bind(fd.as_fd(), &[0; 12]), Err(Errno::INVAL));
        assert_eq!(bind(fd.as_fd(), &address(1)[..11]), Err(Errno::INVAL));
    }

    #[test]
    fn changes_are_refused_with_a_hint() {
        let fd = socket(true, true).expect("a socket");
        for kind in [libc::RTM_NEWLINK, libc::RTM_DELROUTE, libc::RTM_SETLINK] {
            send(fd.as_fd(), &request(kind, libc::NLM_F_REQUEST)).expect("answered");
            let mut room = [0; 512];
            let (answer, _) = recv(&fd, &mut room, RecvFlags::empty()).expect("an answer");
            let answer = &room[..answer];
            assert_eq!(message::number(answer, 16).cast_signed(), -libc::EPERM, "{kind}");
            assert!(String::from_utf8_lossy(answer).contains("narrows route") || answer.len() > 36);
        }
    }

    #[test]
    fn what_asks_for_nothing_gets_nothing() {
        let fd = socket(true, true).expect("a socket");
        for bytes in [&[][..], &[0; 15], &request(libc::RTM_GETLINK, 0), &request(3, 1)] {
            send(fd.as_fd(), bytes).expect("taken");
            assert_eq!(recv(&fd, &mut [0; 16][..], RecvFlags::empty()).err(), Some(Errno::AGAIN));
        }
    }
}
