//! AF_PACKET sockets (packet(7)): whole frames, with a vnet header before each.

use std::{
    ffi::c_int,
    io,
    mem::size_of,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

// linux/if_packet.h; libc has them for some targets only.
const PACKET_ADD_MEMBERSHIP: c_int = 1;
const PACKET_DROP_MEMBERSHIP: c_int = 2;
const PACKET_STATISTICS: c_int = 6;
const PACKET_AUXDATA: c_int = 8;
const PACKET_VNET_HDR: c_int = 15;
const PACKET_IGNORE_OUTGOING: c_int = 23;
const PACKET_MR_MULTICAST: u16 = 0;
const PACKET_MR_PROMISC: u16 = 1;
const PACKET_MR_UNICAST: u16 = 3;

/// A raw packet socket, non-blocking, that receives nothing before it is bound. By the C library's call, so
/// that a program on Narrows gets one of Narrows'.
pub fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call takes no pointers.
    let descriptor = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    check(descriptor)?;
    // SAFETY: the descriptor was made just now, and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Every frame, either way, is led by a `struct virtio_net_hdr` of 10 bytes.
pub fn enable_vnet_header(socket: impl AsFd) -> io::Result<()> {
    set_packet_option(socket, PACKET_VNET_HDR, &1)
}

/// Frames that this machine sends are not received.
pub fn ignore_outgoing(socket: impl AsFd) -> io::Result<()> {
    set_packet_option(socket, PACKET_IGNORE_OUTGOING, &1)
}

/// Beside each frame comes what the kernel took off it (for
/// [`ReceiveBatch::read_tags`](crate::receive_batch::ReceiveBatch::read_tags)).
pub fn enable_auxdata(socket: impl AsFd) -> io::Result<()> {
    set_packet_option(socket, PACKET_AUXDATA, &1)
}

/// What an interface receives for a socket, beside what is sent to its own address. The kernel counts
/// who asked, and forgets it with the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Membership {
    /// Frames for everybody.
    Promiscuous,
    /// Frames for another address.
    Station([u8; 6]),
    /// Frames for a group.
    Group([u8; 6]),
}

/// From now on the interface receives that too, or no longer.
pub fn set_membership(
    socket: impl AsFd,
    interface: u32,
    membership: Membership,
    on: bool,
) -> io::Result<()> {
    /// `struct packet_mreq`.
    #[repr(C)]
    struct Request {
        interface: c_int,
        kind: u16,
        length: u16,
        address: [u8; 8],
    }
    let index = interface.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let (kind, [a, b, c, d, e, f]) = match membership {
        Membership::Promiscuous => (PACKET_MR_PROMISC, [0; 6]),
        Membership::Station(address) => (PACKET_MR_UNICAST, address),
        Membership::Group(address) => (PACKET_MR_MULTICAST, address),
    };
    let request = Request { interface: index, kind, length: 6, address: [a, b, c, d, e, f, 0, 0] };
    let option = if on { PACKET_ADD_MEMBERSHIP } else { PACKET_DROP_MEMBERSHIP };
    // SAFETY: `request` is readable for the length given, and holds no pointers.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const request).cast(),
            size_of::<Request>() as libc::socklen_t,
        )
    };
    check(result)
}

/// From now on frames of every protocol on that interface are received, and sent there.
pub fn bind(socket: impl AsFd, interface: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: interface
            .try_into()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: `address` is a valid sockaddr_ll of the length given.
    let result = unsafe {
        libc::bind(
            socket.as_fd().as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    check(result)
}

/// Frames lost for want of receive buffer since the last call.
pub fn take_drops(socket: impl AsFd) -> io::Result<u32> {
    /// `struct tpacket_stats`.
    #[repr(C)]
    #[derive(Default)]
    struct Statistics {
        packets: u32,
        drops: u32,
    }
    let mut statistics = Statistics::default();
    let mut length = size_of::<Statistics>() as libc::socklen_t;
    // SAFETY: `statistics` and `length` are valid for writes, and `length` is the former's size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &mut length,
        )
    };
    check(result).map(|()| statistics.drops)
}

fn set_packet_option(socket: impl AsFd, option: c_int, value: &c_int) -> io::Result<()> {
    // SAFETY: `value` is readable for the length given, and an int holds no pointers.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const *value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    check(result)
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
