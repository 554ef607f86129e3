//! TAP interfaces (Documentation/networking/tuntap.rst): Ethernet interfaces of the kernel whose
//! other end is a descriptor.

use rustix::fs::{Mode, OFlags, open};
use std::{
    ffi::{c_int, c_uint, c_ulong},
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

/// A descriptor from which a TAP interface can be made, in the calling thread's network namespace.
pub fn open_node() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(open("/dev/net/tun", flags, Mode::empty())?)
}

/// Makes the TAP interface of that name from a descriptor of [`open_node`], or attaches to it if it
/// exists and nobody has. The descriptor does not block; frames either way are led by a `struct
/// virtio_net_hdr` of 10 bytes.
pub fn make_tap(tap: OwnedFd, name: &str) -> io::Result<OwnedFd> {
    // SAFETY: all zeros is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.bytes().any(|byte| byte == 0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    let header_len: c_int = 10;
    // SAFETY: TUNSETVNETHDRSZ reads one int.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header_len) })?;
    Ok(tap)
}

/// The kernel may give the descriptor frames without a complete TCP or UDP checksum, TCP over
/// IPv4 segments of up to 64 KiB, and UDP datagrams that are several in one. False: of the last it
/// knows nothing, either way (Linux before 6.2).
pub fn accept_offloads(tap: impl AsFd) -> io::Result<bool> {
    let segments = libc::TUN_F_CSUM | libc::TUN_F_TSO4;
    // Linux wants both or none.
    match set_offloads(&tap, segments | libc::TUN_F_USO4 | libc::TUN_F_USO6) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            set_offloads(&tap, segments).map(|()| false)
        }
        result => result.map(|()| true),
    }
}

fn set_offloads(tap: impl AsFd, offloads: c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe {
        libc::ioctl(tap.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, c_ulong::from(offloads))
    })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
