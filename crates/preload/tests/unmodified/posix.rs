//! The C library's socket calls, as a C program would make them.

use libc::{c_int, c_void, sockaddr, sockaddr_in, socklen_t};
use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

pub fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The error's number, of a call that must fail.
#[track_caller]
pub fn errno<T>(result: io::Result<T>) -> c_int {
    match result {
        Ok(_) => panic!("it succeeded"),
        Err(error) => error.raw_os_error().unwrap(),
    }
}

pub fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    // SAFETY: numbers only; the descriptor is new.
    check(unsafe { libc::socket(domain, kind, protocol) })
        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

pub fn tcp() -> OwnedFd {
    socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap()
}

fn to_c(address: SocketAddrV4) -> sockaddr_in {
    sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn from_c(address: sockaddr_in) -> SocketAddrV4 {
    assert_eq!(c_int::from(address.sin_family), libc::AF_INET);
    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(address.sin_port))
}

const LEN: socklen_t = size_of::<sockaddr_in>() as socklen_t;

pub fn connect(fd: &impl AsRawFd, remote: SocketAddrV4) -> io::Result<()> {
    let address = to_c(remote);
    let address = (&raw const address).cast::<sockaddr>();
    // SAFETY: the address is a local of the size said.
    check(unsafe { libc::connect(fd.as_raw_fd(), address, LEN) }).map(drop)
}

pub fn bind(fd: &impl AsRawFd, local: SocketAddrV4) -> io::Result<()> {
    let address = to_c(local);
    let address = (&raw const address).cast::<sockaddr>();
    // SAFETY: the address is a local of the size said.
    check(unsafe { libc::bind(fd.as_raw_fd(), address, LEN) }).map(drop)
}

pub fn listen(fd: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::listen(fd.as_raw_fd(), 64) }).map(drop)
}

type NameCall = unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;

pub fn name(call: NameCall, fd: &impl AsRawFd) -> io::Result<SocketAddrV4> {
    let mut address = to_c(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut len = LEN;
    // SAFETY: the pointers are to locals of the sizes said.
    check(unsafe { call(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut len) })?;
    assert_eq!(len, LEN);
    Ok(from_c(address))
}

pub fn accept4(fd: &impl AsRawFd, flags: c_int) -> io::Result<(OwnedFd, SocketAddrV4)> {
    let mut address = to_c(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut len = LEN;
    let room = (&raw mut address).cast::<sockaddr>();
    // SAFETY: the pointers are to locals of the sizes said; the descriptor is new.
    let accepted = unsafe {
        let accepted = check(libc::accept4(fd.as_raw_fd(), room, &raw mut len, flags))?;
        OwnedFd::from_raw_fd(accepted)
    };
    Ok((accepted, from_c(address)))
}

/// The value of an option: as many bytes as came.
pub fn option(fd: &impl AsRawFd, level: c_int, name: c_int) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; 512];
    let mut len = 512;
    let room = bytes.as_mut_ptr().cast::<c_void>();
    // SAFETY: the pointers are to room of the size said.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, room, &raw mut len) })?;
    bytes.truncate(len as usize);
    Ok(bytes)
}

pub fn number(fd: &impl AsRawFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let bytes = option(fd, level, name)?;
    Ok(c_int::from_ne_bytes(bytes.try_into().unwrap()))
}

pub fn set(fd: &impl AsRawFd, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    let (data, len) = (value.as_ptr().cast::<c_void>(), value.len() as socklen_t);
    // SAFETY: the value is a slice of the size said.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, data, len) }).map(drop)
}

pub fn set_number(fd: &impl AsRawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set(fd, level, name, &value.to_ne_bytes())
}

pub fn recv(fd: &impl AsRawFd, flags: c_int) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; 4096];
    // SAFETY: the buffer is of the size said.
    let read = unsafe { libc::recv(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), 4096, flags) };
    bytes.truncate(usize::try_from(read).map_err(|_| io::Error::last_os_error())?);
    Ok(bytes)
}

pub fn send(fd: &impl AsRawFd, bytes: &[u8], flags: c_int) -> io::Result<usize> {
    let (data, len) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the buffer is of the size said.
    let sent = unsafe { libc::send(fd.as_raw_fd(), data, len, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

pub fn sendto(fd: &impl AsRawFd, bytes: &[u8], remote: SocketAddrV4) -> io::Result<usize> {
    let address = to_c(remote);
    let address = (&raw const address).cast::<sockaddr>();
    let (data, len) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the pointers are to buffers of the sizes said.
    let sent = unsafe { libc::sendto(fd.as_raw_fd(), data, len, 0, address, LEN) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Polls for what `wanted` says, at most `milliseconds` (-1: without end).
pub fn poll(fd: &impl AsRawFd, wanted: i16, milliseconds: c_int) -> i16 {
    let mut polled = libc::pollfd { fd: fd.as_raw_fd(), events: wanted, revents: 0 };
    // SAFETY: one entry.
    check(unsafe { libc::poll(&raw mut polled, 1, milliseconds) }).unwrap();
    polled.revents
}

pub fn set_nonblocking(fd: &impl AsRawFd) {
    // SAFETY: numbers only.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }).unwrap();
}

/// Forks; the child runs `program` and ends. Waits for it, and fails as it does.
pub fn in_child(program: impl FnOnce()) {
    // SAFETY: where the program has more threads, the child calls the C library only.
    match check(unsafe { libc::fork() }).unwrap() {
        0 => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(program));
            // SAFETY: ends the process without the parent's clean-up.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the pointer is to a local.
            check(unsafe { libc::waitpid(child, &raw mut status, 0) }).unwrap();
            assert_eq!(status, 0, "the child failed");
        }
    }
}
